"""Cases packed for the network, and made ahead: in order, one ahead, and no thread left behind."""

import threading
from collections.abc import Iterator

import pytest
import torch

from ghanet_model import batches
from ghanet_model.bag import Bag
from ghanet_model.batches import batches_of, pack, read_ahead
from ghanet_model.errors import FeaturesError

WIDTH = 3


def bags_of(*patches, kind=torch.float16):
    """Bags of so many patches, each its own numbers."""
    return [Bag(torch.full((n, WIDTH), float(i), dtype=kind)) for i, n in enumerate(patches)]


def numbers(made: list[int], *, error_at: int | None = None) -> Iterator[int]:
    """0, 1, 2, ... without end, noted when made; perhaps an error in place of one."""
    for number in range(1_000_000):
        if number == error_at:
            raise FeaturesError("damaged")
        made.append(number)
        yield number


def test_batches_hold_few_patches(monkeypatch):
    """A batch never exceeds the bound, but for a single case larger than it; all cases come."""
    monkeypatch.setattr(batches, "PATCHES_AT_ONCE", 10)
    found = list(batches_of(bags_of(30, 4, 6, 9, 1, 2), 6, pin=False))
    assert [batch.lengths for batch in found] == [[30], [4, 6], [9, 1], [2]]
    assert [batch.ends_step for batch in found] == [False, False, False, True]
    assert {batch.step_cases for batch in found} == {6}


def test_bags_of_a_batch_share_its_memory():
    """Packing copies once: the bags are views of the batch, in the order they came."""
    (batch,) = batches_of(bags_of(2, 1), 2, pin=False)
    assert batch.features[:, 0].tolist() == [0.0, 0.0, 1.0]
    assert batch.bags[1].features.data_ptr() == batch.features[2:].data_ptr()


def test_one_case_is_not_copied():
    """A batch of a single case is that case's own memory."""
    (bag,) = bags_of(4)
    assert pack([bag.features], pin=False).data_ptr() == bag.features.data_ptr()


@pytest.mark.parametrize(
    ("kinds", "kind"),
    [
        ((torch.float16, torch.float16), torch.float16),
        ((torch.float16, torch.float32), torch.float32),
        ((torch.float16, torch.bfloat16), torch.float32),
    ],
)
def test_the_stored_type_is_kept(kinds, kind):
    """Features stay as stored; where types differ, in the one that holds them all."""
    packed = pack([torch.ones(2, WIDTH, dtype=own) for own in kinds], pin=False)
    assert packed.dtype == kind
    assert packed.shape == (4, WIDTH)


def test_items_come_in_order_from_another_thread():
    """All items come, in order, and the main thread makes none."""
    items = (threading.current_thread() for _ in range(3))
    with read_ahead(items) as coming:
        made_by = list(coming)
    assert len(made_by) == 3
    assert threading.main_thread() not in made_by
    with read_ahead(range(100)) as coming:
        assert list(coming) == list(range(100))


def test_one_item_is_made_ahead_and_no_more():
    """While an item is used, at most one other is there; left early, the thread is gone."""
    made: list[int] = []
    threads = threading.active_count()
    with read_ahead(numbers(made)) as coming:
        for item in coming:
            assert len(made) <= item + 2
            if item == 20:
                break
    assert threading.active_count() == threads
    assert len(made) <= 22


def test_the_next_item_is_made_meanwhile():
    """The next item gets made without being asked for."""
    started = threading.Event()

    def items():
        yield 1
        started.set()
        yield 2

    with read_ahead(items()) as coming:
        next(coming)
        assert started.wait(10)


def test_an_error_comes_where_its_item_would_have():
    """Items made before an error are still given; then it is raised, and the thread is gone."""
    threads = threading.active_count()
    with read_ahead(numbers([], error_at=3)) as coming:
        assert [next(coming), next(coming), next(coming)] == [0, 1, 2]
        with pytest.raises(FeaturesError, match="damaged"):
            next(coming)
    assert threading.active_count() == threads


def test_an_error_of_the_consumer_ends_the_thread():
    """Whatever the consumer raises goes on, and the thread is gone."""
    threads = threading.active_count()
    with pytest.raises(ZeroDivisionError), read_ahead(numbers([])) as coming:
        raise ZeroDivisionError(next(coming))
    assert threading.active_count() == threads
