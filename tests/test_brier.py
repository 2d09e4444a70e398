"""Brier score and calibration from sums: scikit-survival's, and a plain reading of Graf et al."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lifelines import KaplanMeierFitter

from ghanet_model.brier import brier_sums, observed_survival, survival_at
from ghanet_model.kaplan_meier import kaplan_meier, reverse_kaplan_meier, time_tree

GOLDEN = json.loads((Path(__file__).parent / "golden" / "brier.json").read_text())
EDGES = (12.0, 36.0, 60.0)
seeds = st.integers(0, 2**32 - 1)


def draw(seed, cases):
    """Whole months, deaths, hazards and hospitals."""
    rng = np.random.default_rng(seed)
    time = rng.integers(0, 90, cases).astype(float)
    return time, rng.random(cases) < 0.6, rng.random((cases, 4)), rng.integers(0, 3, cases)


def plain_brier(time, event, survival, horizon):
    """One case after the other, the chance of not being censored from lifelines."""
    # deaths of a month come before its censorings, so they are shifted before them
    fitter = KaplanMeierFitter().fit(np.where(event, time, time + 0.5), ~event)
    total = 0.0
    for t, died, s in zip(time, event, survival, strict=True):
        if died and t < horizon:
            total += s**2 / max(float(fitter.predict(t)), 1e-3)
        elif t >= horizon:
            total += (1 - s) ** 2 / max(float(fitter.predict(horizon - 0.01)), 1e-3)
    return total


def test_scores_are_those_of_scikit_survival():
    """At every horizon and integrated, with the censoring that it found (golden/brier.py)."""
    time, event, hazards = (np.array(GOLDEN[name]) for name in ("time", "event", "hazards"))
    tree = time_tree(time, event, least=1)
    chances = np.array([kaplan_meier(tree), reverse_kaplan_meier(tree)])
    assert chances[1, 1:61] == pytest.approx(GOLDEN["uncensored"], abs=1e-12)
    scores, integrated = brier_sums(time, event, hazards, GOLDEN["edges"], chances)
    assert scores[0] / len(time) == pytest.approx(GOLDEN["brier"], abs=1e-12)
    assert integrated[0] / len(time) == pytest.approx(GOLDEN["integrated_brier"], abs=1e-12)


def test_kaplan_meier_as_everybodys_prediction_is_the_reference():
    """Hazards of which Kaplan-Meier follows score the same as the reference, at the edges."""
    time, event, _, _ = draw(4, 80)
    tree = time_tree(time, event, least=1)
    chances = np.array([kaplan_meier(tree), reverse_kaplan_meier(tree)])
    alive = chances[0, [0, 12, 36, 60]]
    hazards = np.tile([*(1 - alive[1:] / alive[:-1]), 0.5], (80, 1))
    model, reference = brier_sums(time, event, hazards, EDGES, chances)[0]
    assert model == pytest.approx(reference, rel=1e-12)


@pytest.mark.parametrize("month", [60.5, -1.0])
def test_survival_beyond_the_last_edge_is_not_made_up(month):
    """Nor before the start."""
    with pytest.raises(ValueError, match="beyond the last edge"):
        survival_at(np.full((1, 4), 0.5), EDGES, [month])


@settings(max_examples=20, deadline=None)
@given(seeds, st.integers(5, 60))
def test_summed_brier_scores_of_any_split_are_the_pooled_ones(seed, cases):
    """At every horizon, weights from the pooled censoring."""
    time, event, hazards, site = draw(seed, cases)
    pooled = time_tree(time, event, least=1)
    chances = np.array([kaplan_meier(pooled), reverse_kaplan_meier(pooled)])
    parts = [
        brier_sums(time[at], event[at], hazards[at], EDGES, chances)
        for at in (site == number for number in range(3))
    ]
    survival = survival_at(hazards, EDGES, EDGES)
    wanted = [plain_brier(time, event, survival[:, k], edge) for k, edge in enumerate(EDGES)]
    assert sum(part[0] for part in parts)[0] == pytest.approx(wanted, rel=1e-9)
    whole = brier_sums(time, event, hazards, EDGES, chances)
    assert sum(part[1] for part in parts) == pytest.approx(whole[1], rel=1e-12)


def test_a_perfect_prediction_scores_0_and_a_coin_a_quarter():
    """Without censoring the score is the mean squared error."""
    time, event = np.array([5.0, 20.0, 80.0, 90.0]), np.ones(4, bool)
    chances = np.ones((2, 256))
    sure = np.array([[1.0, 0, 0, 0], [0, 1.0, 0, 0], [0, 0, 0, 0.5], [0, 0, 0, 0.5]])
    assert brier_sums(time, event, sure, EDGES, chances)[0][0].tolist() == [0.0, 0.0, 0.0]
    coin = np.array([[0.5, 0, 0, 0]] * 4)
    assert brier_sums(time, event, coin, EDGES, chances)[0][0].tolist() == [1.0, 1.0, 1.0]


def test_survival_at_the_edges_is_the_product_of_the_bins_before():
    """And at time 0 it is 1."""
    hazards = np.array([[0.1, 0.2, 0.3, 0.4]])
    assert survival_at(hazards, EDGES, (0.0, *EDGES))[0] == pytest.approx([1, 0.9, 0.72, 0.504])


def test_observed_survival_of_a_group_is_kaplan_meier_at_the_horizon():
    """With its interval."""
    time, event, _, _ = draw(2, 60)
    found = observed_survival(time_tree(time, event, least=1), 36)
    fitter = KaplanMeierFitter().fit(time, event)
    assert found.value == pytest.approx(float(fitter.predict(35.5)))
    assert found.low < found.value < found.high
