"""Covariates: words of many hospitals become the same numbers, and nothing is guessed."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from client.config import Columns
from client.covariates import read_covariates
from client.table import Table
from client.tables import read_table

SHARED = Path(__file__).parents[2] / "shared" / "data"
NAN = float("nan")


def table_of(**columns):
    """A table of text."""
    frame = pd.DataFrame(columns, dtype=object)
    frame.index += 2
    return Table("clinical.csv", tuple(columns), frame)


def read(kind, cells, **columns):
    """One column's numbers, and all that was read."""
    name = columns.get(kind, kind)
    found = read_covariates(table_of(**{name: cells}), Columns(**columns))
    place = ["age", "sex", "grade", "stage"].index(kind)
    return found.numbers[:, place].tolist(), found


@pytest.mark.parametrize(
    ("word", "number"),
    [
        ("Stage IIA", 2),
        ("IIIC1", 3),
        ("stage iv", 4),
        ("2", 2),
        ("3.0", 3),
        ("Stadium IB", 1),
        ("Stage 0", 0),
        ("Stage X", NAN),
        ("[Discrepancy]", NAN),
        ("", NAN),
    ],
)
def test_stages_of_letters_and_numbers_are_one_to_four(word, number):
    """Letters behind the stage are dropped; what says nothing is unknown."""
    values, _ = read("stage", [word, "Stage I"])
    assert values == pytest.approx([number, 1], nan_ok=True)


@pytest.mark.parametrize(
    ("word", "number"),
    [("G2", 2), ("Grade 3", 3), ("High Grade", 3), ("low grade", 1), ("WHO IV", 4), ("1.0", 1)],
)
def test_grades_are_one_to_four(word, number):
    """High grade counts as 3, low grade as 1."""
    assert read("grade", [word])[0] == [number]


@pytest.mark.parametrize(
    ("word", "number"), [("FEMALE", 1), ("weiblich", 1), ("m", 0), ("lady", NAN)]
)
def test_sexes_in_words(word, number):
    """1 for female."""
    assert read("sex", [word, "male"])[0] == pytest.approx([number, 0], nan_ok=True)


def test_flags_are_understood_where_the_column_says_what_they_flag():
    """1 in is_female is female, in is_male it is not, in sex it is nobody knows."""
    assert read("sex", ["1", "0.0"], sex="is_female")[0] == [1, 0]
    assert read("sex", ["1", "0"], sex="is_male")[0] == [0, 1]
    _, found = read("sex", ["1", "2"], sex="geschlecht")
    assert [str(problem) for problem in found.problems] == [
        "clinical.csv: nothing in geschlecht is understood as sex"
    ]
    assert "is_female" in found.problems[0].hint


def test_an_age_that_nobody_reaches_is_a_problem_of_its_row():
    """A year of birth, say."""
    table = table_of(age=["61", "1961", "", "-3"])
    found = read_covariates(table, Columns())
    problems = [str(problem) for problem in table.problems(found.rules)]
    assert problems == [
        "clinical.csv row 3: age is not an age",
        "clinical.csv row 5: age is not an age",
    ]
    assert found.numbers[:, 0].tolist() == pytest.approx([61, NAN, NAN, NAN], nan_ok=True)


def test_words_that_are_not_understood_are_counted_and_named():
    """They are unknown, and nobody has to guess which."""
    _, found = read("grade", ["G1", "borderline", "borderline", "[Not Available]"])
    assert found.understood[0] == (
        "grade: column 'grade', known of 1 case; "
        "2 cases not understood, taken as unknown: 'borderline'"
    )
    assert not found.problems


def test_words_that_could_be_a_cases_are_not_named():
    """One that stands there once, or has a digit: a name, a number of a file, a date."""
    cells = ["II", "Müller", "12.03.1961", "12.03.1961"]
    for kind, cell in (("stage", "II"), ("age", "61")):
        _, found = read(kind, [cell, *cells[1:]])
        assert found.understood[0].endswith("; 3 cases not understood, taken as unknown")


def test_what_low_and_high_grade_count_as_is_said():
    """A number for a word is a choice."""
    _, found = read("grade", ["High Grade", "low grade", "G2"])
    assert found.understood[0] == (
        "grade: column 'grade', known of 3 cases; 'high grade' = 3; 'low grade' = 1"
    )


@pytest.mark.parametrize(
    ("cohort", "stage", "known"),
    [
        ("blca", "ajcc_pathologic_tumor_stage", (373, 373, 371, 371)),
        ("brca", "ajcc_pathologic_tumor_stage", (956, 956, 0, 934)),
        ("gbmlgg", "ajcc_pathologic_tumor_stage", (569, 569, 478, 0)),
        ("ucec", "clinical_stage", (478, 480, 480, 480)),
    ],
)
def test_tables_of_real_cohorts_are_understood(cohort, stage, known):
    """Of every case that says something; the two columns of sex say the same."""
    path = SHARED / cohort / "clinical.csv"
    if not path.is_file():
        pytest.skip("no shared tables beside the project")
    names = {"age": "age", "grade": "histological_grade", "stage": stage}
    table, problems = read_table(path, [*names.values(), "is_female", "gender"])
    flags = read_covariates(table, Columns(**names, sex="is_female"))
    words = read_covariates(table, Columns(**names, sex="gender"))
    assert [*problems, *flags.problems, *table.problems(flags.rules)] == []
    assert tuple(np.isfinite(flags.numbers).sum(axis=0)) == known
    assert np.array_equal(flags.numbers, words.numbers, equal_nan=True)
    assert not any("not understood" in line for line in flags.understood)


def test_a_table_without_covariates_is_no_problem():
    """It is said."""
    found = read_covariates(table_of(time=["1"]), Columns())
    assert not found.problems
    assert np.isnan(found.numbers).all()
    assert found.understood == ("clinical.csv: no column for age, sex, grade, stage",)
