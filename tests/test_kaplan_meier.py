"""Kaplan-Meier and log-rank from sums: those of lifelines on the pooled cases, on the same grid."""

import itertools

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from lifelines import KaplanMeierFitter
from lifelines.statistics import multivariate_logrank_test

from ghanet_model.dyadic import spread
from ghanet_model.errors import TrainingError
from ghanet_model.kaplan_meier import (
    at_risk,
    kaplan_meier,
    kaplan_meier_bounds,
    kaplan_meier_interval,
    log_rank,
    median_of,
    reverse_kaplan_meier,
    time_tree,
)

seeds = st.integers(0, 2**32 - 1)


def draw(seed, cases, *, longest=90):
    """Months with ties, deaths, hospitals and groups."""
    rng = np.random.default_rng(seed)
    time = rng.uniform(0, longest, cases)
    return time, rng.random(cases) < 0.6, rng.integers(0, 4, cases), rng.integers(0, 3, cases)


def summed(time, event, site):
    """The trees of all hospitals together, nothing suppressed."""
    own = [site == number for number in range(4)]
    return sum(time_tree(time[at], event[at], least=1) for at in own)


@settings(max_examples=25, deadline=None)
@given(seeds, st.integers(5, 120))
def test_curve_and_interval_of_any_split_are_those_of_lifelines(seed, cases):
    """Survival after h months, and Greenwood's interval on the log-log scale."""
    time, event, site, _ = draw(seed, cases)
    fitter = KaplanMeierFitter().fit(np.floor(time), event)
    months = np.arange(0, int(time.max()) + 1)
    curve, low, high = kaplan_meier_interval(summed(time, event, site))[:, months + 1]
    assert curve == pytest.approx(fitter.survival_function_at_times(months).to_numpy(), abs=1e-12)
    bounds = fitter.confidence_interval_.reindex(months, method="ffill").to_numpy()
    inside = (curve > 0) & (curve < 1)
    assert np.column_stack([low, high])[inside] == pytest.approx(bounds[inside], abs=1e-9)


def test_part_of_a_death_makes_no_wide_interval():
    """Ten deaths spread over 64 months: before the first whole one its own limit holds."""
    time = np.concatenate([np.linspace(1, 60, 10), np.full(50, 100.0)])
    tree = time_tree(time, time < 100, least=10)
    curve, low, high = kaplan_meier_interval(tree)
    deaths = np.concatenate([[0.0], spread(tree)[1].cumsum()[:-1]])
    whole = int(np.argmax(deaths >= 1))
    assert whole > 5
    assert low[0] == high[0] == curve[0] == 1
    assert (low[1:whole] == low[whole]).all()
    assert (high[1:whole] == 1).all()
    assert low[whole] > 0.85  # exp(1.96) times its log: .887
    assert (np.diff(low[:60]) <= 0).all()
    assert (low[:60] <= curve[:60]).all()


@settings(max_examples=25, deadline=None)
@given(seeds, st.integers(20, 120))
def test_log_rank_of_any_split_is_that_of_lifelines(seed, cases):
    """Three groups, chi-squared, degrees of freedom and p."""
    time, event, site, group = draw(seed, cases)
    assume(len(set(group)) == 3 and event.any())
    trees = np.array(
        [summed(time[group == g], event[group == g], site[group == g]) for g in range(3)]
    )
    found = log_rank(trees)
    theirs = multivariate_logrank_test(np.floor(time), group, event)
    assert found.chi2 == pytest.approx(theirs.test_statistic, abs=1e-8)
    assert (found.dof, found.p) == (2, pytest.approx(theirs.p_value, abs=1e-10))


def test_censoring_takes_deaths_of_a_month_out_first():
    """One death and one censoring of four in the same month: 1 of 3 is censored."""
    tree = time_tree([5, 5, 9, 9], [True, False, False, False], least=1)
    assert reverse_kaplan_meier(tree)[[5, 6, 9]].tolist() == pytest.approx([1, 2 / 3, 2 / 3])
    assert kaplan_meier(tree)[[5, 6]].tolist() == pytest.approx([1, 3 / 4])
    assert at_risk(tree)[[0, 5, 6, 10]].tolist() == [4, 4, 2, 0]


def test_the_median_is_the_month_after_which_half_are_left():
    """None where more than half live to the end."""
    assert median_of(kaplan_meier(time_tree([3, 7, 9, 11], [True] * 4, least=1))) == 8
    assert median_of(kaplan_meier(time_tree([3, 7, 9], [True, False, False], least=1))) is None


@pytest.mark.parametrize(("deaths", "alive"), [(9, 30), (30, 9), (5, 5)])
def test_a_hospital_with_few_deaths_or_few_survivors_tells_neither(deaths, alive):
    """The other of the two would tell it."""
    tree = time_tree(np.arange(deaths + alive), [True] * deaths + [False] * alive, least=10)
    assert not tree.any()


@settings(max_examples=25, deadline=None)
@given(seeds, st.integers(10, 200), st.integers(2, 12), st.integers(5, 300))
def test_the_pooled_curve_lies_inside_its_bounds(seed, cases, least, longest):
    """Of the hospitals that tell, whatever the split and however much stays in boxes."""
    time, event, site, _ = draw(seed, cases, longest=longest)
    tree, told = np.zeros((2, 511)), np.zeros(cases, bool)
    for at in (site == number for number in range(4)):
        own = time_tree(time[at], event[at], least=least)
        tree, told = tree + own, told | (at & own.any())
    low, high = kaplan_meier_bounds(tree)
    exact = kaplan_meier(time_tree(time[told], event[told], least=1))
    assert (low <= exact + 1e-12).all()
    assert (exact <= high + 1e-12).all()


@settings(max_examples=10, deadline=None)
@given(seeds, st.integers(1, 60))
def test_without_suppression_the_bounds_are_the_curve(seed, cases):
    """Nothing is left open."""
    tree = time_tree(*draw(seed, cases)[:2], least=1)
    assert kaplan_meier_bounds(tree) == pytest.approx(np.tile(kaplan_meier(tree), (2, 1)))


def test_bounds_are_curves_of_placements():
    """Two deaths, two censored cases of months 0 to 3: what the 256 placements reach, not more."""
    tree = np.zeros((2, 511))
    tree[:, 63] = 2  # months 0 to 3
    reached = [
        kaplan_meier(time_tree(months, [True, True, False, False], least=1))[:6]
        for months in itertools.product(range(4), repeat=4)
    ]
    low, high = kaplan_meier_bounds(tree)[:, :6]
    assert low == pytest.approx(np.min(reached, axis=0))
    assert high == pytest.approx(np.max(reached, axis=0))


@pytest.mark.parametrize(("cases", "late"), [(80, 0), (80, 2), (300, 2)])
def test_with_suppression_the_curve_stays_near(cases, late):
    """At 1, 3 and 5 years; a few late cases do not spoil it."""
    rng = np.random.default_rng(0)
    time, event = np.minimum(rng.exponential(30, cases), 120), rng.random(cases) < 0.5
    time[:late] = 140
    exact, coarse = (kaplan_meier(time_tree(time, event, least=least)) for least in (1, 10))
    assert np.abs(exact - coarse)[[12, 36, 60]].max() < 0.07


def test_groups_without_deaths_cannot_be_compared():
    """No number is made up."""
    tree = time_tree([5, 6], [False, False], least=1)
    assert np.isnan(log_rank(np.array([tree, tree])).p)


def test_a_negative_time_is_refused():
    """It would be the last month."""
    with pytest.raises(TrainingError, match="negative or missing"):
        time_tree([-1.0], [True], least=1)
