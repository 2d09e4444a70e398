"""One table in memory: columns of text and numbers, and the problems of its rows.

What is said about a table names its file, rows and columns, never what stands in a cell.
"""

import re
import unicodedata
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.api.types import is_numeric_dtype, is_object_dtype

from ghanet_model.errors import CohortError, GHANetError
from ghanet_model.page_numbers import plural

FIRST_ROW = 2  # the header is line 1
NOT_KNOWN = frozenset(
    ("", "na", "n/a", "#n/a", "nan", "null", "none", "[not available]", "[not applicable]")
)
DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+(?:[eE][+-]?\d+)?")


@dataclass(frozen=True, slots=True)
class Problem:
    """Something a person must mend: which file, which line of it, what is wrong, what to do."""

    table: str
    row: int | None  # as seen in the file, the header being line 1; None: the whole file
    what: str
    hint: str = ""
    kind: type[GHANetError] = CohortError

    def __str__(self) -> str:
        place = self.table if self.row is None else f"{self.table} row {self.row}"
        return f"{place}: {self.what}"


Rule = tuple["pd.Series", str, str]  # rows where it holds, what is wrong with them, the hint


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """The columns of a file that we asked for; the frame's index is the row a person sees."""

    name: str
    header: tuple[str, ...]  # every column of the file
    frame: "pd.DataFrame"
    layout: tuple[str, ...] = ()  # how the file is written: semicolons, decimal comma, ...
    decimal_comma: bool = False

    @property
    def understood(self) -> str:
        """How the file was read, in words."""
        rows = plural(len(self.frame), "row")
        return f"{self.name}: {', '.join((*self.layout, rows))}"

    def unused(self, asked: Collection[str]) -> list[str]:
        """How many columns of the file nobody asked for, if there are any, in words."""
        number = sum(name not in asked for name in self.header)
        return [f"{self.name}: columns not used: {number}"] if number else []

    def text(self, column: str) -> "pd.Series":
        """A column as stripped text, nothing as ''."""
        return self.frame[column].map(_text).astype(object)

    def ids(self, column: str) -> "pd.Series":
        """A column of names: letters with accents are the same however they were composed."""
        return self.text(column).map(lambda name: unicodedata.normalize("NFC", name))

    def numbers(self, column: str) -> "pd.Series":
        """A column as floats; what is no number is NaN, see ``is_known`` for the difference."""
        text = self.text(column)
        if self.decimal_comma:
            text = text.map(_with_point)
        return pd.to_numeric(text, errors="coerce").astype(float)

    def is_known(self, column: str) -> "pd.Series":
        """Whether a cell says anything."""
        return ~self.text(column).str.lower().isin(NOT_KNOWN).astype(bool)

    def matrix(self, columns: Sequence[str]) -> tuple[NDArray[np.float32], list[Problem]]:
        """Columns as (rows, columns) with NaN where nothing is known; a bad cell is a problem."""
        values = np.empty((len(self.frame), len(columns)), dtype=np.float32)
        wrong = np.zeros(values.shape, dtype=bool)
        for place, column in enumerate(columns):
            numbers = self._measured(column)
            if numbers is None:
                numbers = self.numbers(column)
                wrong[:, place] = self.is_known(column) & numbers.isna()
            with np.errstate(over="ignore"):
                values[:, place] = numbers.to_numpy(np.float32)
        wrong |= np.isinf(values)
        values[wrong] = np.nan
        hint = "leave a value empty where it was not measured"
        if self.decimal_comma:
            hint += "; the numbers of this table have a decimal comma"
        return values, [
            Problem(self.name, int(self.frame.index[row]), what, hint)
            for row in np.flatnonzero(wrong.any(axis=1))
            for what in [f"{columns[int(wrong[row].argmax())]} is not a finite number"]
        ]

    def _measured(self, column: str) -> "pd.Series | None":
        """The column if every cell is plainly a number; else it needs a closer look."""
        cells = self.frame[column]
        if is_numeric_dtype(cells):
            return cells.astype(float)
        if not is_object_dtype(cells):
            return None
        if self.decimal_comma:
            if any("." in cell for cell in cells):
                return None
            cells = pd.Series([cell.replace(",", ".") for cell in cells], cells.index)
        numbers = pd.to_numeric(cells, errors="coerce").astype(float)
        return None if numbers.isna().any() else numbers

    def problems(self, rules: Iterable[Rule]) -> list[Problem]:
        """One problem for each row where a rule (mask, what, hint) holds, by row."""
        found = [
            Problem(self.name, int(row), what, hint)
            for mask, what, hint in rules
            for row in mask.index[mask.astype(bool)]
        ]
        return sorted(found, key=lambda problem: problem.row or 0)


def id_rules(ids: "pd.Series", column: str) -> list[Rule]:
    """What holds of a column that names each case once."""
    named = ids != ""
    twice = named & ids.duplicated()
    return [
        (~named, f"{column} is empty", "every row names its case"),
        (twice, f"{column} is that of an earlier row", "one row per case"),
    ]


def is_broken(rules: Iterable[Rule]) -> NDArray[np.bool_]:
    """Rows where any rule holds."""
    broken: NDArray[np.bool_] = np.logical_or.reduce([m.to_numpy(bool) for m, _, _ in rules])
    return broken


def _with_point(cell: str) -> str:
    """A number with a decimal comma as Python writes it; one with a point is then no number."""
    if DECIMAL_COMMA.fullmatch(cell):
        return cell.replace(",", ".")
    return "?" if "." in cell else cell


def _text(cell: object) -> str:
    """A cell as a person would type it: 7.0 in a column with gaps is the number 7."""
    if isinstance(cell, str):
        return cell.strip()
    if isinstance(cell, float | np.floating):
        number = float(cell)
        return "" if np.isnan(number) else f"{number:.0f}" if number.is_integer() else repr(number)
    return "" if cell is None or cell is pd.NA or cell is pd.NaT else str(cell).strip()
