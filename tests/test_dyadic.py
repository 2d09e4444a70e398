"""Dyadic trees: they add, tell nothing of a few, and hold what they say they hold."""

import itertools
from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ghanet_model.dyadic import (
    column_trees,
    node_bounds,
    nodes_of,
    quantile,
    quantile_bounds,
    spread,
    tree_counts,
)

SIZE = 32
EDGES = np.linspace(0, 1, SIZE + 1)
values = st.lists(st.floats(0, 0.999), max_size=60)
leasts = st.integers(1, 12)


def leaves_of(cases):
    """The leaf of each value from 0 to 1."""
    return (np.array(cases, float) * SIZE).astype(int)


@settings(deadline=None)
@given(values, leasts)
def test_no_count_of_a_few_is_told(cases, least):
    """Every count is 0 or of at least so many; all cases are told or none."""
    counts = tree_counts(leaves_of(cases), SIZE, least=least)
    assert ((counts == 0) | (counts >= least)).all()
    assert counts.sum() == (len(cases) if len(cases) >= least else 0)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 7), st.integers(0, 15)), max_size=60), leasts)
def test_no_count_of_a_few_is_told_over_two_axes(cases, least):
    """The same where boxes have two sides."""
    counts = tree_counts(np.array(cases).reshape(-1, 2), (8, 16), least=least)
    assert ((counts == 0) | (counts >= least)).all()
    assert counts.sum() == (len(cases) if len(cases) >= least else 0)


@settings(deadline=None)
@given(values, leasts)
def test_every_case_lies_in_the_box_that_counts_it(cases, least):
    """Boxes inside an interval count at most the cases there, and all of them together all."""
    leaves, counts = leaves_of(cases), tree_counts(leaves_of(cases), SIZE, least=least)
    first, last = node_bounds(SIZE)
    for node in range(len(counts)):
        below = (first >= first[node]) & (last <= last[node])
        inside = (leaves >= first[node]) & (leaves < last[node])
        assert counts[below].sum() <= inside.sum()


@settings(deadline=None)
@given(values, values)
def test_trees_of_single_cases_add_to_the_pooled_histogram(left, right):
    """With a least of 1 every count is at a leaf, and sums of sites equal the pooled tree."""
    trees = [tree_counts(leaves_of(cases), SIZE, least=1) for cases in (left, right, left + right)]
    assert np.array_equal(trees[0] + trees[1], trees[2])
    assert np.array_equal(spread(trees[2]), np.bincount(leaves_of(left + right), minlength=SIZE))


@settings(deadline=None)
@given(values, leasts, st.sampled_from([0.1, 0.25, 0.5, 0.75, 1.0]))
def test_the_pooled_quantile_lies_inside_its_bounds(cases, least, share):
    """Wherever cases are inside their boxes; and the value lies there too."""
    tree = tree_counts(leaves_of(cases), SIZE, least=least)
    low, high = quantile_bounds(tree, EDGES, share)
    if not tree.any():
        assert np.isnan([low, high, quantile(tree, EDGES, share)]).all()
        return
    true = np.quantile(cases, share, method="inverted_cdf")
    assert low <= true <= high
    assert high - low >= 1 / SIZE - 1e-12


@settings(deadline=None)
@given(values)
def test_without_suppression_a_quantile_is_off_by_a_leaf_at_most(cases):
    """The stated error of the grid."""
    if cases:
        tree = tree_counts(leaves_of(cases), SIZE, least=1)
        true = np.quantile(cases, 0.5, method="inverted_cdf")
        assert abs(quantile(tree, EDGES, 0.5) - true) <= 1 / SIZE + 1e-9


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 50), leasts)
def test_trees_of_columns_are_those_of_each_column(seed, cases, least):
    """Many at once, with values that are not there."""
    rng = np.random.default_rng(seed)
    leaves, measured = rng.integers(0, SIZE, (cases, 3)), rng.random((cases, 3)) < 0.7
    trees = column_trees(leaves, SIZE, least=least, measured=measured)
    for column in range(3):
        own = leaves[measured[:, column], column]
        assert np.array_equal(trees[column], tree_counts(own, SIZE, least=least))


def test_a_grid_that_is_no_power_of_two_is_refused():
    """Its halves would not be nodes."""
    with pytest.raises(ValueError, match="no power of two"):
        nodes_of(12)


@pytest.mark.parametrize("least", [3, 4])
def test_no_small_number_of_cases_follows_from_a_tree(least: int) -> None:
    """Of all cohorts with the same tree, those in any interval differ wherever they are few."""
    for cases in range(least, 3 * least):
        alike = defaultdict(list)
        for leaves in itertools.combinations_with_replacement(range(4), cases):
            tree = tuple(tree_counts(leaves, 4, least=least))
            alike[tree].append(np.bincount(leaves, minlength=4))
        for found in alike.values():
            for low, high in itertools.combinations(range(5), 2):
                numbers = {int(one[low:high].sum()) for one in found}
                assert len(numbers) > 1 or numbers.pop() not in range(1, least)


def test_a_few_late_cases_cost_little():
    """Three of 73 do not keep the others at the root: most months are known to a few months."""
    rng = np.random.default_rng(0)
    months = np.append(rng.integers(0, 90, 70), [140, 150, 160])
    tree = tree_counts(months, 256, least=10)
    first, after = node_bounds(256)
    assert tree[0] == 10
    assert tree[after - first <= 32].sum() >= 50
