"""The benchmark's arithmetic: bootstrap, differences, columns, targets. No training."""

import importlib.util
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ghanet_model.metrics import Concordance, concordance

PATH = Path(__file__).resolve().parent.parent / "benchmarks" / "tcga.py"


def load():
    """benchmarks/tcga.py, which is no package; what it puts on the path it finds beside itself."""
    spec = importlib.util.spec_from_file_location("benchmark_tcga", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


tcga = load()
hospitals, intervals, report = (sys.modules[n] for n in ("hospitals", "intervals", "report"))

COHORTS = st.lists(  # few values, so that times and risks tie
    st.tuples(st.integers(0, 5), st.booleans(), st.integers(-3, 3), st.integers(0, 1)),
    min_size=1,
    max_size=30,
)


def arrays(rows):
    """Times, events, risks and hospitals of drawn rows."""
    time, event, risk, hospital = (np.array(column) for column in zip(*rows, strict=True))
    return time.astype(float), event.astype(bool), risk.astype(float), hospital


def make_cases(n=60, *, seed=0):
    """Two hospitals with genes and one without; two folds hold out a third of the cases each."""
    rng = np.random.default_rng(seed)
    hospital, fold = np.arange(n) % 3, np.array([0, 1, -1])[np.arange(n) // 3 % 3]
    times, events = rng.exponential(20, n), rng.random(n) < 0.6
    return hospitals.Cases(times, events, hospital, fold, hospital == 2)


def make_arm(name, risks, *, seeds=2):
    """An arm that says the same with every seed."""
    return report.Arm(name, np.tile(risks, (seeds, 1)), 1.0)


@pytest.fixture
def found():
    """Federated knows the truth, pooled says the same, hospitals alone guess."""
    cases = make_cases()
    rng = np.random.default_rng(5)
    arms = [
        make_arm("federated", -cases.times),
        make_arm("pooled", -cases.times),
        make_arm("alone a", rng.random(len(cases.times))),
        make_arm("alone c", rng.random(len(cases.times))),
    ]
    return arms, cases, report.compare(arms, report.make_columns(cases))


@given(COHORTS)
@settings(max_examples=100, deadline=None)
def test_first_row_is_the_concordance_of_the_sample(rows):
    """Row 0 is Harrell's C as ``ghanet_model.metrics`` has it, ties and all."""
    time, event, risk, _ = arrays(rows)
    pairs, weights = intervals.comparable(time, event), intervals.draws(len(time), replicates=3)
    expected = concordance(time, event, risk)
    assert pairs.sum() == expected.comparable
    value = intervals.c_indices(risk, pairs, weights)[0]
    c_index = np.nan if expected.c_index is None else expected.c_index
    assert value == pytest.approx(c_index, abs=1e-12, nan_ok=True)


@given(COHORTS)
@settings(max_examples=50, deadline=None)
def test_a_replicate_is_the_concordance_of_what_was_drawn(rows):
    """Weights give what repeating the drawn cases would give."""
    time, event, risk, _ = arrays(rows)
    weights = intervals.draws(len(time), replicates=5)
    values = intervals.c_indices(risk, intervals.comparable(time, event), weights)
    for own, value in zip(weights.astype(int), values, strict=True):
        expected = concordance(*(np.repeat(column, own) for column in (time, event, risk))).c_index
        assert value == pytest.approx(np.nan if expected is None else expected, nan_ok=True)


@given(COHORTS)
@settings(max_examples=50, deadline=None)
def test_pairs_within_hospitals_are_the_sum_of_their_concordances(rows):
    """With strata, C is that of the hospitals' added pairs."""
    time, event, risk, hospital = arrays(rows)
    parts = [
        concordance(time[own], event[own], risk[own]) for own in (hospital == 0, hospital == 1)
    ]
    expected = sum(parts, start=Concordance()).c_index
    pairs = intervals.comparable(time, event, hospital)
    value = intervals.c_indices(risk, pairs, np.ones((1, len(time))))[0]
    assert value == pytest.approx(np.nan if expected is None else expected, nan_ok=True)


def test_a_perfect_risk_is_1_in_every_replicate():
    """Who dies first has the higher risk, whatever is drawn."""
    cases = make_cases()
    pairs = intervals.comparable(cases.times, cases.events)
    values = intervals.c_indices(-cases.times, pairs, intervals.draws(len(cases.times)))
    estimate = intervals.Estimate.of(values)
    assert (estimate.value, estimate.low, estimate.high) == (1.0, 1.0, 1.0)


@pytest.mark.parametrize("seed", range(5))
def test_the_interval_holds_the_value(seed):
    """And it is one: neither a point nor everything."""
    cases = make_cases(seed=seed)
    risks = -cases.times + np.random.default_rng(seed).normal(0, 20, len(cases.times))
    pairs = intervals.comparable(cases.times, cases.events)
    estimate = intervals.Estimate.of(intervals.c_indices(risks, pairs, intervals.draws(len(risks))))
    assert 0 < estimate.low < estimate.value < estimate.high < 1
    assert 0.1 < estimate.high - estimate.low < 0.4


def test_draws_are_the_same_each_time():
    """Every replicate draws n cases, in every run the same."""
    weights = intervals.draws(20, replicates=50)
    assert weights.shape == (51, 20)
    assert (weights.sum(axis=1) == 20).all()
    assert (weights == intervals.draws(20, replicates=50)).all()


def test_no_pair_is_no_value():
    """Without an event there is nothing to compare, and '-' says so."""
    values = intervals.c_indices(np.arange(3.0), np.zeros((3, 3), bool), intervals.draws(3))
    assert str(intervals.Estimate.of(values)) == "-"


def test_equal_arms_do_not_differ(found):
    """Federated and pooled say the same: the difference is 0 and so is its interval."""
    rows = found[2]
    for column in rows["federated - pooled"].values():
        assert (column.mean.value, column.mean.low, column.mean.high) == (0, 0, 0)


def test_the_mean_alone_is_the_mean_of_the_hospitals(found):
    """Value for value; and the difference to federated is what is printed."""
    rows = {name: row["held-out cases"] for name, row in found[2].items()}
    alone = (rows["alone a"].mean.value + rows["alone c"].mean.value) / 2
    assert rows["alone, mean"].mean.value == pytest.approx(alone)
    assert rows["federated - alone, mean"].mean.value == pytest.approx(1 - alone)


def test_columns_hold_the_cases_that_were_held_out(found):
    """Of all hospitals, and of WSI-only ones."""
    columns = report.make_columns(found[1])
    assert [int(column.chosen.sum()) for column in columns] == [42, 42, 14]


def test_no_pair_crosses_folds(found):
    """C of two folds is that of their added pairs: models of two folds are never compared."""
    cases, risk = found[1], np.random.default_rng(2).random(60)
    parts = [
        concordance(cases.times[own], cases.events[own], risk[own])
        for own in (cases.fold == 0, cases.fold == 1)
    ]
    first = report.make_columns(cases)[0]
    value = make_arm("federated", risk).c_indices(first)[0][0]
    assert value == pytest.approx(sum(parts, start=Concordance()).c_index)


def test_tables_have_a_row_per_arm_and_nothing_about_a_case(found):
    """Markdown: header, rule, sizes, arms, mean alone and two differences."""
    arms, cases, rows = found
    columns = report.make_columns(cases)
    lines = report.main_table(arms, columns, rows).splitlines()
    assert len(lines) == 3 + len(arms) + 3
    assert len({len(line) for line in lines}) == 1
    per_seed = report.seeds_table((0, 1), rows).splitlines()
    assert len(per_seed) == 2 + 2 * 5
    numbers = report.as_json(arms, columns, rows)
    assert numbers["c_index"]["federated"]["held-out cases"]["mean"] == [1.0, 1.0, 1.0]


def test_the_gain_over_the_hospitals_alone_is_a_target(found):
    """Met where federated is the best; missed, in words, where it is the worst."""
    arms, cases, rows = found
    assert report.missed_targets(rows, chance=False) == []
    worst = [make_arm("federated", cases.times), *arms[1:]]
    missed = report.missed_targets(report.compare(worst, report.make_columns(cases)), chance=False)
    assert [re.sub(":.*", "", line) for line in missed] == ["federated - alone, mean is below 0.03"]


def test_chance_is_a_target_of_arms_that_read_slides(found):
    """Who knows the truth of a null cohort is named: it has a leak; who guesses is not."""
    missed = report.missed_targets(found[2], chance=True)
    assert [re.sub(":.*", "", line) for line in missed] == [
        "federated leaves out 0.5",
        "pooled leaves out 0.5",
    ]


def test_a_folder_without_hospitals_is_refused_in_one_line(tmp_path, capsys):
    """Exit code 1, what is wrong, and how to make one."""
    code = tcga.run_command(tcga.make_parser(), ["--sites", str(tmp_path)])
    error, hint = capsys.readouterr().err.splitlines()
    assert code == 1
    assert error == f"tcga.py: error: {tmp_path}: no folder of a hospital (with clinical.csv)"
    assert hint.startswith("tcga.py: hint: make them: make_cohort.py")
