"""Concordance agrees with lifelines, and sums of sites are what they say."""

from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lifelines.utils import concordance_index

from ghanet_model import metrics
from ghanet_model.errors import TrainingError
from ghanet_model.metrics import (
    Concordance,
    EvaluationSums,
    concordance,
    events_in_words,
    told,
)

CASES = st.lists(  # few values, so that times and risks tie
    st.tuples(st.integers(0, 5), st.booleans(), st.integers(-3, 3)), min_size=1, max_size=40
)


def cohort(n, *, values, seed=0):
    """Times, events and risks that tie often when ``values`` is small."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, values, n), rng.random(n) < 0.5, rng.integers(0, values, n)


@given(CASES)
@settings(max_examples=200, deadline=None)
def test_concordance_is_that_of_lifelines(cases):
    """Ties in time and in risk count as in lifelines; no pair there is None here."""
    time, event, risk = (np.array(column) for column in zip(*cases, strict=True))
    try:
        expected = concordance_index(time, -risk, event)
    except ZeroDivisionError:
        expected = None
    assert concordance(time, event, risk).c_index == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("values", [4, 10_000])
def test_concordance_of_many_cases_is_that_of_lifelines(values):
    """The same holds for 500 cases with many ties and with few."""
    time, event, risk = cohort(500, values=values)
    expected = concordance_index(time, -risk, event)
    assert concordance(time, event, risk).c_index == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("time", "event", "risk", "expected"),
    [
        ((1, 2), (1, 0), (5, 3), Concordance(1, 0, 0, 1)),
        ((1, 2), (1, 0), (3, 5), Concordance(0, 1, 0, 1)),
        ((1, 2), (1, 1), (4, 4), Concordance(0, 0, 1, 1)),
        ((1, 1), (1, 0), (5, 3), Concordance(1, 0, 0, 1)),  # censored at the time of the death
        ((1, 1), (1, 1), (5, 3), Concordance()),  # two deaths at one time
        ((1, 2), (0, 1), (5, 3), Concordance()),  # censored before the death
    ],
)
def test_one_pair_is_counted_once(time, event, risk, expected):
    """A pair counts in the class it belongs to, and in no other."""
    assert concordance(time, event, risk) == expected


def test_memory_is_bounded_without_changing_the_count(monkeypatch):
    """Comparing a few rows at a time gives the counts of comparing all at once."""
    time, event, risk = cohort(101, values=8)
    whole = concordance(time, event, risk)
    monkeypatch.setattr(metrics, "PAIRS_AT_ONCE", 250)
    assert concordance(time, event, risk) == whole


def test_concordances_add():
    """Sites add up class by class, and the sum of their pairs is divided once."""
    parts = [concordance(*cohort(30, values=6, seed=seed)) for seed in range(3)]
    total = sum(parts, start=Concordance())
    for name, value in asdict(total).items():
        assert value == sum(getattr(part, name) for part in parts)
    assert total.comparable == total.concordant + total.discordant + total.tied_risk
    assert total.c_index == (total.concordant + total.tied_risk / 2) / total.comparable


def test_no_pair_is_no_c_index():
    """Without a comparable pair there is no C-index, not one of zero or a half."""
    assert concordance([], [], []).c_index is None
    assert concordance([3, 4], [False, False], [1, 2]).c_index is None


@pytest.mark.parametrize(
    ("time", "risk"), [([1, np.nan], [1, 2]), ([1, 2], [np.nan, 2]), ([1, 2], [1])]
)
def test_values_that_are_no_numbers_are_refused(time, risk):
    """NaN or columns of different length give no concordance."""
    with pytest.raises(TrainingError, match="concordance"):
        concordance(time, [True, True], risk)


def test_evaluation_sums_of_sites_are_those_of_all_cases():
    """Mean and spread of the risk from added sums are those of the pooled cases."""
    risks = [np.array([-3.0, -1.5]), np.array([-2.0, -0.5, -0.25])]
    sites = [
        EvaluationSums(len(r), 1, 2.0 * len(r), r.sum(), (r**2).sum(), Concordance(1, 0, 0, 1))
        for r in risks
    ]
    total, pooled = sum(sites, start=EvaluationSums()), np.concatenate(risks)
    assert (total.cases, total.events, total.concordance.comparable) == (5, 2, 2)
    assert total.mean_nll == pytest.approx(2.0)
    assert total.mean_risk == pytest.approx(pooled.mean())
    assert total.sd_risk == pytest.approx(pooled.std())


@pytest.mark.parametrize("name", ["mean_nll", "mean_risk", "sd_risk"])
def test_no_case_has_no_mean(name):
    """A mean over no case is refused, not zero."""
    with pytest.raises(TrainingError, match="no case"):
        getattr(EvaluationSums(), name)


@pytest.mark.parametrize(
    ("count", "wanted"), [(0, 0), (1, None), (9, None), (10, 10), (30, 30), (31, None), (40, 40)]
)
def test_small_cells_are_not_told(count, wanted):
    """Of 40 cases: neither 1 to 9 deaths, nor 1 to 9 survivors."""
    assert told(count, 40, least=10) == wanted
    sums = EvaluationSums(40, count).without_small_cells(least=10)
    assert (sums.events, sums.untold_events) == ((0, 1) if wanted is None else (count, 0))


def test_untold_events_add_up_and_are_said():
    """What some hospitals told is summed; how many did not is counted beside it."""
    sites = [EvaluationSums(40, 21), EvaluationSums(30, 10), EvaluationSums(40, 3)]
    total = sum((s.without_small_cells(least=10) for s in sites), start=EvaluationSums())
    assert (total.cases, total.events, total.untold_events) == (110, 31, 1)
    assert events_in_words(total.events, total.untold_events) == "31 + untold at 1 hospital"
    assert events_in_words(0, 2) == "untold at 2 hospitals"
    assert events_in_words(0, 0) == "0"
