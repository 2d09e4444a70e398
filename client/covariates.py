"""Covariates of a clinical table: age, sex, grade and stage as numbers. Names of cases stay inside.

Each is optional. A word that is not understood is as if nothing were said, and is counted and
named; it is a problem only if site.yaml names the column and nothing in it is understood.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ghanet_model.page_numbers import plural

from .config import Columns
from .table import NOT_KNOWN, Problem, Rule, Table

OLDEST = 120.0  # years
SHOWN = 5  # words that are named
PATIENT_COVARIATES = {  # as a cBioPortal study names them
    "age": "AGE",
    "sex": "SEX",
    "grade": "GRADE",
    "stage": "AJCC_PATHOLOGIC_TUMOR_STAGE",
}
_FEMALE = "female f w weiblich frau woman femme feminin femenino femminile vrouw v mujer donna"
_MALE = "male m mannlich mann man homme masculin masculino maschile uomo hombre"
_SEX = {**dict.fromkeys(_FEMALE.split(), 1.0), **dict.fromkeys(_MALE.split(), 0.0)}
_FLAGS = {"1": 1.0, "1.0": 1.0, "true": 1.0, "yes": 1.0, "0": 0.0, "0.0": 0.0}
_FLAGS |= {"false": 0.0, "no": 0.0}
_UNKNOWN = {"unknown", "[unknown]", "[discrepancy]", "x", "nx", "gx", "stage x", "-", "?"}
_ROMAN = {"0": 0.0, "i": 1.0, "ii": 2.0, "iii": 3.0, "iv": 4.0}
_STAGE = re.compile(r"(?:stage|stadium|stade|ajcc)?\s*(0|i{1,3}|iv|[1-4])(?:[abcs]\d?)?")
_GRADE = re.compile(r"(?:who|grade|grad|g)?\s*(?:grade\s*)?(i{1,3}|iv|[1-4])(?:\.0)?")
_GRADE_WORDS = {"low": 1.0, "low grade": 1.0, "high": 3.0, "high grade": 3.0}
_GRADE_WORDS |= {"intermediate": 2.0, "intermediate grade": 2.0, "undifferentiated": 4.0}
_GRADE_WORDS |= {"well differentiated": 1.0, "moderately differentiated": 2.0}
_GRADE_WORDS |= {"poorly differentiated": 3.0}
_HINTS = {
    "age": "use years",
    "sex": "use female and male; a column of 1 and 0 needs a name that says it, such as is_female",
    "grade": "use G1 to G4, 1 to 4, low grade or high grade",
    "stage": "use Stage I to IV, with or without letters, or 0 to 4",
}


@dataclass(frozen=True, slots=True, eq=False)
class Covariates:
    """What a table says of each row, and what can be said of that."""

    numbers: NDArray[np.float64] = field(repr=False)  # (rows, 4) age, female, grade, stage
    rules: tuple[Rule, ...]
    understood: tuple[str, ...]
    problems: tuple[Problem, ...]


def covariate_columns(columns: Columns) -> dict[str, str]:
    """The table's names of age, sex, grade and stage."""
    return {"age": columns.age, "sex": columns.sex, "grade": columns.grade, "stage": columns.stage}


USUAL = {*covariate_columns(Columns()).values(), *PATIENT_COVARIATES.values()}


def read_covariates(table: Table, columns: Columns) -> Covariates:
    """Read the covariates that the table has."""
    values = np.full((len(table.frame), 4), np.nan)
    rules: list[Rule] = []
    said, problems = [], []
    names = covariate_columns(columns)
    for place, (kind, column) in enumerate(names.items()):
        if column not in table.header:
            continue
        if kind == "age":
            values[:, place], rule, words = _age(table, column)
            rules.append(rule)
        else:
            values[:, place], words = _words(table, column, _meaning(kind, column))
        is_named = column not in USUAL
        if is_named and words and not np.isfinite(values[:, place]).any():
            what = f"nothing in {column} is understood as {kind}"
            problems.append(Problem(table.name, None, what, _HINTS[kind]))
        said.append(_said(kind, table, column, values[:, place], words))
    absent = [kind for kind, column in names.items() if column not in table.header]
    if absent:
        said.append(f"{table.name}: no column for {', '.join(absent)}")
    return Covariates(values, tuple(rules), tuple(said), tuple(problems))


def _age(table: Table, column: str) -> tuple[NDArray[np.float64], Rule, Counter[str]]:
    years = table.numbers(column)
    text = table.text(column)
    words = Counter(text[table.is_known(column) & years.isna()])
    wrong = (years < 0) | (years > OLDEST)
    rule = (wrong, f"{column} is not an age", f"years, from 0 to {OLDEST:.0f}, or empty")
    return years.where(~wrong).to_numpy(np.float64), rule, words


def _words(
    table: Table, column: str, meaning: Callable[[str], float | None]
) -> tuple[NDArray[np.float64], Counter[str]]:
    """Numbers of a column of words, and the words that are not understood."""
    cells = table.text(column)
    found = {cell: meaning(_plain(cell)) for cell in cells.unique()}
    strange = [c for c in cells if found[c] is None and not _is_unknown(_plain(c))]
    numbers = [np.nan if found[cell] is None else found[cell] for cell in cells]
    return np.array(numbers, np.float64), Counter(strange)


def _meaning(kind: str, column: str) -> Callable[[str], float | None]:
    if kind == "sex":
        return lambda word: _sex(word, _plain(column))
    return _grade if kind == "grade" else _stage


def number_of(kind: str, text: str) -> float | None:
    """One value of age, sex, grade or stage as a table's would be read; None: not understood."""
    if kind != "age":
        return _meaning(kind, kind)(_plain(text))
    try:
        years = float(text)
    except ValueError:
        return None
    return years if 0 <= years <= OLDEST else None


def _sex(word: str, column: str) -> float | None:
    """1 for female; flags only where the column's name says what they flag."""
    names = set(re.split(r"[^a-z]+", column))
    if word in _FLAGS and names & {"female", "weiblich"}:
        return _FLAGS[word]
    if word in _FLAGS and names & {"male", "mannlich"}:
        return 1 - _FLAGS[word]
    return _SEX.get(word)


def _grade(word: str) -> float | None:
    if word in _GRADE_WORDS:
        return _GRADE_WORDS[word]
    match = _GRADE.fullmatch(word)
    return _number(match[1]) if match else None


def _stage(word: str) -> float | None:
    match = _STAGE.fullmatch(word.removesuffix(".0"))
    return _number(match[1]) if match else None


def _number(text: str) -> float:
    return _ROMAN[text] if text in _ROMAN else float(text)


def _is_unknown(word: str) -> bool:
    return word in NOT_KNOWN or word in _UNKNOWN


def _plain(word: str) -> str:
    """A word in small letters, without accents."""
    letters = unicodedata.normalize("NFKD", word.strip().casefold())
    return "".join(letter for letter in letters if not unicodedata.combining(letter))


def _said(
    kind: str, table: Table, column: str, values: NDArray[np.float64], words: Counter[str]
) -> str:
    """How many are known, and the words behind grades that have no number.

    A word that is not understood is named where it has no digit and several cases have it: so it
    is no case's name, and no date.
    """
    known = plural(int(np.isfinite(values).sum()), "case")
    parts = [f"{kind}: column '{column}', known of {known}"]
    if kind == "grade":
        used = {_plain(word) for word in table.text(column).unique()} & set(_GRADE_WORDS)
        parts += [f"'{word}' = {_GRADE_WORDS[word]:.0f}" for word in sorted(used)]
    if words:
        common = [word for word, cells in words.most_common() if cells > 1]
        plain = [word[:40] for word in common if not re.search(r"\d", word)]
        named = ": " + ", ".join(map(repr, plain[:SHOWN])) if plain else ""
        parts.append(f"{plural(words.total(), 'case')} not understood, taken as unknown{named}")
    return "; ".join(parts)
