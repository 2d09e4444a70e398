"""Small cells: what may leave of a classification whose total is known."""

import itertools
from collections import defaultdict
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ghanet_model.small_cells import without_small_cells

CELLS = st.lists(st.integers(0, 40), min_size=2, max_size=6)


def tables(total: int, cells: int) -> Iterator[tuple[int, ...]]:
    """Every way to put so many cases into so many cells."""
    for cuts in itertools.combinations_with_replacement(range(total + 1), cells - 1):
        yield tuple(b - a for a, b in itertools.pairwise((0, *cuts, total)))


@given(CELLS, st.integers(1, 15))
def test_no_small_cell_leaves(cells: list[int], least: int) -> None:
    """What is told is 0 or large, true, and untold cells are 0 in it."""
    counts = np.array(cells, float)
    told, untold = without_small_cells(counts, least=least)
    assert not ((told > 0) & (told < least)).any()
    assert np.array_equal(told, np.where(untold > 0, 0, counts))
    assert untold.sum() != 1


@given(CELLS)
def test_without_a_least_all_is_told(cells: list[int]) -> None:
    """A policy of one case withholds nothing."""
    told, untold = without_small_cells(np.array(cells, float), least=1)
    assert told.tolist() == cells
    assert not untold.any()


@pytest.mark.parametrize("cells", [2, 3, 4])
@pytest.mark.parametrize("least", [3, 4])
def test_no_untold_cell_follows_from_the_total(least: int, cells: int) -> None:
    """Of all tables with this total that look the same from outside, every such cell differs."""
    for total in range(least, 4 * least):
        alike = defaultdict(list)
        for table in tables(total, cells):
            told, untold = without_small_cells(np.array(table, float), least=least)
            alike[tuple(told), tuple(untold)].append(table)
        for (_, untold), found in alike.items():
            for cell in np.flatnonzero(untold):
                assert len({table[cell] for table in found}) > 1
