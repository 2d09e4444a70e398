"""Pairs: sums of hospitals give C of the pooled pairs, with intervals and honest bounds."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from lifelines.utils import concordance_index

from ghanet_model.errors import TrainingError
from ghanet_model.metrics import concordance
from ghanet_model.pairs import (
    c_all,
    difference,
    draw_weights,
    estimate,
    pair_tree,
    replicate_pairs,
)

seeds = st.integers(0, 2**32 - 1)


def draw(seed, cases):
    """Months with ties, deaths, hospitals, and two arms' risks with ties, in spreads."""
    rng = np.random.default_rng(seed)
    time = np.round(rng.exponential(30, cases), rng.integers(0, 2))
    risks = np.round(rng.normal(size=(2, cases)) - time / 40, 1)
    return time, rng.random(cases) < 0.6, rng.integers(0, 3, cases), risks


@settings(max_examples=30, deadline=None)
@given(seeds, st.integers(1, 60))
def test_replicates_count_the_pairs_of_a_table_with_repeated_rows(seed, cases):
    """Row 0 is the sample; a sample that holds a case twice counts its pairs twice."""
    time, event, _, risks = draw(seed, cases)
    weights = draw_weights(cases, 3, np.random.default_rng(seed))
    found = replicate_pairs(time, event, risks, weights=weights)
    for arm in range(2):
        for row, weight in enumerate(weights.astype(int)):
            again = np.repeat(np.arange(cases), weight)
            one = concordance(time[again], event[again], risks[arm][again])
            wanted = [one.concordant, one.discordant, one.tied_risk, one.comparable]
            assert found[arm, row].tolist() == pytest.approx(wanted)


@settings(max_examples=30, deadline=None)
@given(seeds, st.integers(5, 80))
def test_sums_over_hospitals_give_c_of_pairs_inside_them(seed, cases):
    """As counted in one place with the hospitals known."""
    time, event, site, risks = draw(seed, cases)
    parts = [
        replicate_pairs(time[at], event[at], risks[:, at], weights=np.ones((1, at.sum())))
        for at in (site == number for number in range(3))
    ]
    pooled = sum(
        (concordance(time[at], event[at], risks[0, at]) for at in (site == n for n in range(3))),
        start=concordance([], [], []),
    )
    assume(pooled.comparable)
    assert estimate(sum(parts)[0]).value == pytest.approx(pooled.c_index)


@settings(max_examples=60, deadline=None)
@given(seeds, st.integers(4, 90), st.sampled_from([1, 2, 5, 10]))
def test_the_c_of_all_pairs_lies_inside_its_bounds(seed, cases, least):
    """Pooled lifelines, whatever the split and however much is suppressed."""
    time, event, site, risks = draw(seed, cases)
    told = [at for at in (site == number for number in range(3)) if is_told(event[at], least)]
    assume(told)
    chosen = np.any(told, axis=0)
    tree = sum(pair_tree(time[at], event[at], risks[0, at], least=least) for at in told)
    try:
        true = concordance_index(time[chosen], -risks[0, chosen], event[chosen])
    except ZeroDivisionError:
        return
    found = c_all(tree)
    assert found.low - 1e-12 <= true <= found.high + 1e-12
    pairs = concordance(time[chosen], event[chosen], risks[0, chosen]).comparable
    assert found.comparable_low <= pairs <= found.comparable_high


def is_told(event, least):
    """Whether a hospital may tell a tree."""
    counts = (event.sum(), (~event).sum())
    return len(event) > 0 and all(count == 0 or count >= least for count in counts)


@settings(max_examples=30, deadline=None)
@given(seeds, st.integers(5, 60))
def test_on_the_grid_c_of_all_pairs_is_exact(seed, cases):
    """Whole months and risks of one per cell: value as lifelines, from any split."""
    rng = np.random.default_rng(seed)
    time, event = rng.integers(0, 90, cases), rng.random(cases) < 0.6
    risk = (rng.integers(0, 64, cases) + 0.5) / 8 - 4
    site = rng.integers(0, 3, cases)
    parts = (
        pair_tree(time[site == s], event[site == s], risk[site == s], least=1) for s in range(3)
    )
    try:
        true = concordance_index(time, -risk, event)
    except ZeroDivisionError:
        return
    assert c_all(sum(parts)).value == pytest.approx(true, abs=1e-12)


def test_boxes_that_are_apart_leave_no_doubt():
    """Distinct months and risks: value and both bounds are the same."""
    time, risk = np.arange(0, 40, 4.0), np.linspace(3.5, -3.5, 10)
    found = c_all(pair_tree(time, np.ones(10, bool), risk, least=1))
    assert (found.value, found.low, found.high) == (1.0, 1.0, 1.0)


@settings(max_examples=20, deadline=None)
@given(seeds, st.integers(4, 40))
def test_cases_that_are_apart_leave_no_doubt_of_the_pooled_c(seed, cases):
    """Deaths and censorings, each in a month and a risk leaf of its own: both bounds are C."""
    rng = np.random.default_rng(seed)
    time, risk = rng.permutation(cases) + 0.5, (rng.permutation(cases) + 0.5) / 8 - 4
    event, site = rng.random(cases) < 0.6, rng.integers(0, 3, cases)
    assume(concordance(time, event, risk).comparable)
    parts = [(time[site == s], event[site == s], risk[site == s]) for s in range(3)]
    found = c_all(sum(pair_tree(*part, least=1) for part in parts))
    true = concordance_index(time, -risk, event)
    assert [found.value, found.low, found.high] == pytest.approx([true] * 3, abs=1e-12)


@pytest.mark.parametrize(("risk", "expected"), [(3.0, 1.0), (-3.0, 0.0)])
def test_where_only_one_kind_of_pair_can_compare_c_is_known(risk, expected):
    """A death and a censoring in one month: if they compare, the risks say how."""
    found = c_all(pair_tree([5.5, 5.2], [True, False], np.array([risk, 0.0]), least=1))
    assert (found.low, found.high) == (expected, expected)
    assert (found.comparable_low, found.comparable_high) == (0, 1)


def test_a_risk_that_is_no_number_is_refused():
    """It would count as discordant, or lie on the grid's end."""
    risks = np.array([[1.0, np.nan]])
    with pytest.raises(TrainingError, match="not a number"):
        replicate_pairs([1, 2], [True, True], risks, weights=np.ones((1, 2)))
    with pytest.raises(TrainingError, match="not a number"):
        pair_tree([1, 2], [True, True], risks[0], least=1)


def test_samples_without_a_pair_are_left_out_and_counted():
    """Of two cases, half of the samples hold one of them twice."""
    weights = np.array([[1.0, 1], [2, 0], [1, 1], [0, 2]])
    pairs = replicate_pairs([1, 2], [True, False], np.array([[2.0, 1]]), weights=weights)
    found = estimate(pairs[0])
    assert (found.value, found.low, found.high, found.pairs) == (1.0, 1.0, 1.0, 1.0)
    assert found.left_out == 2


def test_arms_that_share_draws_have_a_narrow_difference():
    """An arm and nearly itself: the interval of the difference is narrower than either's."""
    rng = np.random.default_rng(0)
    time, event, risk = rng.exponential(30, 80), rng.random(80) < 0.6, rng.normal(size=80)
    risks = np.array([risk, risk + rng.normal(scale=0.05, size=80)])
    pairs = replicate_pairs(time, event, risks, weights=draw_weights(80, 200, rng))
    one, both = estimate(pairs[0]), difference(pairs[0], pairs[1])
    assert both.high - both.low < 0.3 * (one.high - one.low)
    assert one.low < one.value < one.high


def test_the_interval_covers_as_often_as_it_says():
    """200 samples of chance risks: about 95% of the intervals hold one half."""
    rng, held = np.random.default_rng(1), 0
    for _ in range(200):
        time, event, risk = rng.exponential(30, 40), rng.random(40) < 0.6, rng.normal(size=40)
        pairs = replicate_pairs(time, event, risk[None], weights=draw_weights(40, 200, rng))
        found = estimate(pairs[0])
        held += found.low <= 0.5 <= found.high
    assert 0.88 < held / 200 < 0.99


def test_without_a_comparable_pair_there_is_no_number():
    """Nobody died."""
    pairs = replicate_pairs([1, 2], [False, False], np.zeros((1, 2)), weights=np.ones((3, 2)))
    assert np.isnan(estimate(pairs[0]).value)
    assert np.isnan(c_all(pair_tree([1, 2], [False] * 2, np.zeros(2), least=1)).value)
