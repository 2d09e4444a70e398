"""The cohort table: sums that add to the pooled table, and no small cell in what leaves."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ghanet_model.cohort_table import CLASSES, UNTOLD, CohortTable, Described, table_of
from ghanet_model.errors import GateError, ProtocolError
from ghanet_model.question import Sums, add_sums
from ghanet_model.settings import FORMAT
from ghanet_model.study import StudyConfig

STUDY = StudyConfig(
    name="s",
    encoder="e",
    feature_width=4,
    time_bin_edges=(12.0, 36.0),
    gene_groups="g.csv",
    groups=(("group", ("TP53",)),),
)
QUESTION = CohortTable()


def drawn(cases: int, seed: int, *, outcomes: bool = True) -> Described:
    """A cohort with unknown values here and there."""
    rng = np.random.default_rng(seed)

    def some(values: np.ndarray, unknown: float = 0.1) -> np.ndarray:
        return np.where(rng.random(cases) < unknown, np.nan, values.astype(float))

    role = rng.integers(0, 3, cases)
    lost = 0.0 if outcomes else 2.0
    return Described(
        time=some(rng.exponential(30, cases), lost),
        event=some(rng.integers(0, 2, cases), lost),
        age=some(rng.normal(65, 10, cases).clip(0, 120)),
        female=some(rng.integers(0, 2, cases)),
        grade=some(rng.integers(1, 5, cases), 0.4),
        stage=some(rng.integers(0, 5, cases)),
        training=role == 0,
        held_out=role == 1,
        with_genes=rng.random(cases) < 0.7,
    )


def part(cohort: Described, chosen: np.ndarray) -> Described:
    """Some of the cases."""
    return Described(**{name: getattr(cohort, name)[chosen] for name in Described.__slots__})


@given(cases=st.integers(1, 80), sites=st.integers(1, 5), seed=st.integers(0, 999))
@settings(max_examples=40, deadline=None)
def test_tables_of_hospitals_add_to_the_pooled_one(cases: int, sites: int, seed: int) -> None:
    """Whatever the split, sums equal the table of all cases in one place."""
    cohort = drawn(cases, seed)
    where = np.random.default_rng(seed).integers(0, sites, cases)
    parts = [table_of(part(cohort, where == site), least=1) for site in range(sites)]
    added, pooled = add_sums(parts), table_of(cohort, least=1)
    for name, array in pooled.items():
        np.testing.assert_allclose(added[name], array, rtol=1e-12, err_msg=name)


@given(cases=st.integers(0, 120), least=st.integers(3, 15), seed=st.integers(0, 999))
@settings(max_examples=60, deadline=None)
def test_what_leaves_is_possible_and_large(cases: int, least: int, seed: int) -> None:
    """Both sides take every table that a cohort has, and no count in it is small."""
    sums = table_of(drawn(cases, seed), least=least)
    QUESTION.require_possible(sums, STUDY)
    QUESTION.require_enough(sums, least)
    for name in ("sizes", *CLASSES, "age_known", "age_tree", "times"):
        assert not ((sums[name] > 0) & (sums[name] < least)).any(), name
    assert {name: array.shape for name, array in sums.items()} == QUESTION.shapes(STUDY)


@given(cases=st.integers(10, 120), seed=st.integers(0, 999))
@settings(max_examples=40, deadline=None)
def test_no_small_cell_follows_from_what_leaves(cases: int, seed: int) -> None:
    """An untold cell is never alone, so the number of cases does not give it away."""
    sums = table_of(drawn(cases, seed), least=10)
    for name in CLASSES:
        assert sums[UNTOLD + name].sum() != 1
    if sums[UNTOLD + "outcome"].any():
        assert not sums["times"].any()


def test_a_few_cases_tell_nothing() -> None:
    """Not even how many they are; only that they were not told."""
    sums = table_of(drawn(9, 1), least=10)
    assert not any(array.any() for name, array in sums.items() if not name.startswith(UNTOLD))
    assert sums[UNTOLD + "sizes"].all()


def test_a_hospital_without_outcomes_is_described_all_the_same() -> None:
    """All outcomes are unknown, the rest is told."""
    sums = table_of(drawn(50, 1, outcomes=False), least=10)
    assert sums["outcome"].tolist() == [0, 0, 50]
    assert sums["age_known"][0] > 30
    assert not sums["times"].any()


def test_few_known_ages_stay() -> None:
    """Neither sums nor tree are over fewer than the least."""
    cohort = drawn(30, 1)
    cohort.age[9:] = np.nan
    sums = table_of(cohort, least=10)
    assert not any(sums[name].any() for name in ("age_known", "age_total", "age_squares"))
    assert not sums["age_tree"].any()


def more_events(sums: dict[str, np.ndarray]) -> None:
    """A death too many."""
    sums["outcome"] += [0, 1, 0]


def half_a_case(sums: dict[str, np.ndarray]) -> None:
    """A count that is none."""
    sums["sex"] += [0.5, -0.5, 0]


def told_and_untold(sums: dict[str, np.ndarray]) -> None:
    """A cell that is both."""
    sums["untold_sex"] += 1


def impossible_ages(sums: dict[str, np.ndarray]) -> None:
    """A mean without spread to match."""
    sums["age_squares"] *= 0.1


def another_follow_up(sums: dict[str, np.ndarray]) -> None:
    """Times of more deaths than there are."""
    sums["times"][1, 0] += 10


def larger_part(sums: dict[str, np.ndarray]) -> None:
    """More training cases than cases."""
    sums["sizes"][1] = 1000


@pytest.mark.parametrize(
    "change",
    [more_events, half_a_case, told_and_untold, impossible_ages, another_follow_up, larger_part],
)
def test_an_impossible_table_is_refused(change: Callable[[Sums], None]) -> None:
    """Numbers that no cohort can have are no numbers."""
    sums = {name: array.copy() for name, array in table_of(drawn(200, 3), least=1).items()}
    QUESTION.require_possible(sums, STUDY)
    change(sums)
    with pytest.raises(ProtocolError):
        QUESTION.require_possible(sums, STUDY)


def test_a_table_with_a_small_cell_does_not_leave() -> None:
    """The gate holds the rule whoever made the table."""
    with pytest.raises(GateError, match="small cells"):
        QUESTION.require_enough(table_of(drawn(60, 1), least=1), 10)


def test_a_lonely_untold_cell_does_not_leave() -> None:
    """It follows from the total."""
    sums = dict(table_of(drawn(200, 1), least=1))
    sums["outcome"] = np.array([150.0, 0, 45])
    sums["untold_outcome"] = np.array([0.0, 1, 0])
    sums |= {name: np.zeros_like(sums[name]) for name in ("times", "age_tree", "stage", "grade")}
    with pytest.raises(GateError, match="follows from all"):
        QUESTION.require_enough(sums, 2)


def test_the_question_has_no_parts() -> None:
    """Anything else is not this question."""
    assert CohortTable.from_json(QUESTION.to_json(), STUDY) == QUESTION
    with pytest.raises(ProtocolError):
        CohortTable.from_json({"format": FORMAT}, STUDY)


def test_deaths_are_untold_where_they_would_tell_few_held_out_ones() -> None:
    """A round tells 30 deaths of training: with 35 of all, 5 of the held-out cases would follow."""
    cohort = drawn(80, 5)
    first = np.arange(80) < 60
    event = np.where(first, np.arange(80) % 2, np.arange(80) < 65).astype(float)
    cohort = replace(cohort, event=event, training=first, held_out=~first)
    sums = table_of(cohort, least=10)
    assert sums[UNTOLD + "outcome"].tolist() == [1, 1, 1]
    assert not sums["outcome"].any()
    assert not sums["times"].any()
