"""Signatures of features: another encoder has nothing in common, another hospital much."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ghanet_model.errors import GateError, ProtocolError
from ghanet_model.question import Sums, add_sums
from ghanet_model.signature import FeatureSignature, concordance, likeness, similarities
from ghanet_model.study import StudyConfig

WIDTH = 256
QUESTION = FeatureSignature()
STUDY = StudyConfig(
    name="s",
    encoder="e",
    feature_width=WIDTH,
    time_bin_edges=(12.0, 36.0),
    gene_groups="g.csv",
    groups=(("group", ("TP53",)),),
)
Change = Callable[[np.ndarray], np.ndarray]
WORLD = np.random.default_rng(0)
CENTRE, SPREAD = WORLD.standard_normal(WIDTH), WORLD.uniform(0.2, 1.5, WIDTH)
ROTATION = np.linalg.qr(WORLD.standard_normal((WIDTH, WIDTH)))[0]
ORDER = WORLD.permutation(WIDTH)


def same(features: np.ndarray) -> np.ndarray:
    """As they are."""
    return features


def signature(seed: int, *, cases: int = 40, change: Change = same) -> Sums:
    """One hospital with a stain of its own, (cases, WIDTH) summed."""
    rng = np.random.default_rng(seed)
    stain = 0.3 * rng.standard_normal(WIDTH)
    looks = CENTRE + stain + SPREAD * rng.standard_normal((cases, WIDTH))
    return sums_of(change(np.maximum(looks, 0)))


def sums_of(features: np.ndarray) -> Sums:
    """What a hospital with these cases sends."""
    cases = np.array([float(len(features))])
    total, squares = features.sum(axis=0), (features**2).sum(axis=0)
    return {"count": cases, "patches": 100 * cases, "total": total, "squares": squares}


@pytest.mark.parametrize(
    "change",
    [
        lambda x: x @ ROTATION,
        lambda x: np.maximum(x @ ROTATION, 0),
        lambda x: x[:, ORDER],
        lambda x: x / np.linalg.norm(x, axis=1, keepdims=True),
    ],
    ids=["rotated", "rotated and cut", "permuted", "normalised"],
)
@pytest.mark.parametrize("others", [2, 5])
def test_another_encoder_is_far_from_the_others_and_these_are_near(
    change: Change, others: int
) -> None:
    """Also of three hospitals, and it pulls none of the others down."""
    signatures = {f"right {seed}": signature(seed) for seed in range(others)}
    found = similarities(signatures | {"other": signature(99, change=change)})
    assert found.pop("other") < 0.25
    assert min(found.values()) > 0.7


def test_ten_cases_are_enough() -> None:
    """A small hospital is not named for being small."""
    signatures = {f"right {seed}": signature(seed) for seed in range(4)}
    assert min(similarities(signatures | {"small": signature(9, cases=10)}).values()) > 0.6


def test_of_two_nobody_can_say_who_differs() -> None:
    """Both get the same number; one alone gets none."""
    one, other = signature(1), signature(2, change=lambda x: x @ ROTATION)
    found = similarities({"a": one, "b": other})
    assert found["a"] == found["b"] < 0.25
    assert similarities({"a": one}) == {}


def test_two_against_two_are_all_named() -> None:
    """No camp is a majority."""
    strange = {f"strange {s}": signature(s, change=lambda x: x @ ROTATION) for s in (1, 2)}
    found = similarities({f"right {seed}": signature(seed) for seed in (3, 4)} | strange)
    assert max(found.values()) < 0.25


@given(st.integers(0, 99), st.integers(0, 99))
@settings(max_examples=20, deadline=None)
def test_likeness_is_mutual_and_at_most_one(one: int, other: int) -> None:
    """A hospital is as like another as that is like it, and like itself most of all."""
    a, b = signature(one, cases=12), signature(other, cases=12)
    assert likeness(a, b) == pytest.approx(likeness(b, a))
    assert likeness(a, b) <= likeness(a, a) == pytest.approx(1)


def test_signatures_add() -> None:
    """Sums of two halves are the sums of all."""
    rng = np.random.default_rng(1)
    cases = rng.standard_normal((20, WIDTH))
    added = add_sums([sums_of(cases[:7]), sums_of(cases[7:])])
    for name, array in sums_of(cases).items():
        np.testing.assert_allclose(added[name], array, atol=1e-10)


def test_features_that_never_vary_compare() -> None:
    """Dead dimensions give numbers, not NaN."""
    constant = sums_of(np.ones((12, WIDTH)))
    assert likeness(constant, constant) == 1
    assert np.isfinite(likeness(constant, signature(1)))
    assert concordance(np.zeros(3), np.zeros(3)) == 1


def negative_squares(sums: dict[str, np.ndarray]) -> None:
    """A square below zero."""
    sums["squares"][0] = -1


def no_spread(sums: dict[str, np.ndarray]) -> None:
    """A total that its squares do not allow."""
    sums["total"][0] = 1e6


def no_patches(sums: dict[str, np.ndarray]) -> None:
    """Fewer patches than cases."""
    sums["patches"][0] = 1


def no_cases(sums: dict[str, np.ndarray]) -> None:
    """Sums over nobody."""
    sums["count"][0] = 0


@pytest.mark.parametrize("change", [negative_squares, no_spread, no_patches, no_cases])
def test_impossible_sums_are_refused(change: Callable[[Sums], None]) -> None:
    """Numbers that no cohort can have are no numbers."""
    sums = {name: array.copy() for name, array in signature(1).items()}
    QUESTION.require_possible(sums, STUDY)
    change(sums)
    with pytest.raises(ProtocolError):
        QUESTION.require_possible(sums, STUDY)


def test_sums_over_a_few_cases_do_not_leave() -> None:
    """The mean of one case's patches is that case."""
    QUESTION.require_enough(signature(1, cases=10), 10)
    with pytest.raises(GateError, match="small cells"):
        QUESTION.require_enough(signature(1, cases=9), 10)
