"""Choosing genes from sums: Welch's test of the pooled cases, the same genes for every hospital."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import false_discovery_control, ttest_ind
from test_genes import make_study

from ghanet_model.bag import Outcome
from ghanet_model.gene_classes import (
    HIGH,
    LOW,
    GeneClasses,
    class_sums,
    discoveries,
    risk_class,
    select,
    welch,
)
from ghanet_model.gene_values import gene_value_sums, own_grid, scaling_of
from ghanet_model.genes import candidate_columns
from ghanet_model.panel import make_panel
from ghanet_model.question import add_sums
from ghanet_model.survival import time_bin_of

EDGES = (12.0, 36.0, 60.0)
STUDY = make_study(time_bin_edges=EDGES)
seeds = st.integers(0, 2**32 - 1)


def draw(seed, cases):
    """Six columns, two of which know who dies early; outcomes and hospitals."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(cases, 6))
    time = rng.exponential(40 * np.exp(-0.8 * values[:, 0] + 0.5 * values[:, 3]))
    values[rng.random(values.shape) < 0.05] = np.nan
    outcomes = [
        Outcome(float(t), bool(e), time_bin_of(float(t), EDGES))
        for t, e in zip(time, rng.random(cases) < 0.7, strict=True)
    ]
    return values, outcomes, rng.integers(0, 3, cases)


def sums_of(values, outcomes, site, *, least=1):
    """Both answers of every hospital."""
    parts = [np.flatnonzero(site == number) for number in sorted(set(site))]
    grid = own_grid(add_sums(gene_value_sums(values[at], least=least) for at in parts))
    found = {
        str(n): gene_value_sums(values[at], least=least, grid=grid) for n, at in enumerate(parts)
    }
    scaling = scaling_of(add_sums(found.values()), grid)
    classes = {
        str(n): class_sums(values[at], [outcomes[i] for i in at], scaling, STUDY, least=least)
        for n, at in enumerate(parts)
    }
    return found, scaling, classes


@settings(max_examples=20, deadline=None)
@given(seeds)
def test_p_values_of_any_split_are_those_of_scipy_on_pooled_cases(seed):
    """Welch's test of the clipped, scaled values."""
    values, outcomes, site = draw(seed, 120)
    _, scaling, classes = sums_of(values, outcomes, site)
    of = np.array([-1 if (c := risk_class(o, STUDY)) is None else c for o in outcomes])
    scaled = scaling.apply(values, STUDY.gene_clip)
    theirs = ttest_ind(scaled[of == HIGH], scaled[of == LOW], equal_var=False, nan_policy="omit")
    assert welch(add_sums(classes.values())) == pytest.approx(np.asarray(theirs.pvalue), rel=1e-6)


@settings(max_examples=20, deadline=None)
@given(seeds, st.sampled_from(["fdr", "top"]))
def test_the_choice_of_any_split_is_that_of_the_pooled_table(seed, rule):
    """One choice for all, identical."""
    values, outcomes, site = draw(seed, 120)
    study = make_study(time_bin_edges=EDGES, gene_selection=rule, gene_selection_top=2)
    panels = [make_panel(study, *sums_of(values, outcomes, place)) for place in (site, 0 * site)]
    assert panels[0].groups == panels[1].groups


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=30), st.sampled_from([0.01, 0.05, 0.2]))
def test_discoveries_are_those_of_scipy(p, level):
    """Benjamini-Hochberg."""
    adjusted = false_discovery_control(np.array(p))
    clear = np.abs(adjusted - level) > 1e-9
    assert (discoveries(np.array(p), level) == (adjusted <= level))[clear].all()


def test_who_was_censored_early_is_in_no_class():
    """Nobody knows whether they are of high or low risk."""
    cases = [(5, True), (30, True), (30, False), (40, False), (50, True), (90, False)]
    classes = [risk_class(Outcome(t, e, time_bin_of(t, EDGES)), STUDY) for t, e in cases]
    assert classes == [HIGH, HIGH, None, LOW, LOW, LOW]


def test_no_group_is_ever_empty():
    """Where nothing differs, the smallest p of each group are taken."""
    study = make_study(gene_selection="fdr", gene_selection_level=0.01)
    groups = select(study, np.ones(6, bool), np.array([0.9, 0.5, 0.7, 0.6, 0.8, 0.4]))
    assert [len(columns) for _, columns in groups] == [4, 4]
    few = select(study, np.array([False] * 5 + [True]), np.ones(6))
    assert [columns for _, columns in few] == [(), ("C_rnaseq",)]


def test_top_takes_the_best_of_each_group():
    """At least five where a group has so many."""
    symbols = tuple(f"G{n}" for n in range(9))
    study = make_study(
        groups=(("one", symbols),),
        gene_types=("rnaseq",),
        gene_selection="top",
        gene_selection_top=6,
    )
    p = np.linspace(0.9, 0.1, 9)
    ((_, columns),) = select(study, np.ones(9, bool), p)
    assert columns == tuple(candidate_columns(study)[3:])


def test_a_class_of_few_cases_tells_nothing():
    """Nine deaths are told by no sum; the other class is."""
    values, outcomes, site = draw(0, 60)
    highs = [i for i, o in enumerate(outcomes) if risk_class(o, STUDY) == HIGH][:9]
    lows = [i for i, o in enumerate(outcomes) if risk_class(o, STUDY) == LOW]
    chosen = sorted(highs + lows)
    _, scaling, _ = sums_of(values, outcomes, site)
    sums = class_sums(values[chosen], [outcomes[i] for i in chosen], scaling, STUDY, least=10)
    assert not any(sums[name][HIGH].any() for name in sums)
    GeneClasses(scaling).require_enough(sums, 10)


def test_the_question_survives_the_wire():
    """Centre and scale of every column."""
    _, scaling, _ = sums_of(*draw(0, 60))
    asked = GeneClasses(scaling)
    again = GeneClasses.from_json(json.loads(json.dumps(asked.to_json())), STUDY)
    assert np.array_equal(again.scaling.centre, scaling.centre)
    assert np.array_equal(again.scaling.scale, scaling.scale)
