"""Tables: CSV or Parquet in, columns of text and numbers out. Problems are collected, not thrown.

What is said about a table names its file, rows and columns, never what stands in a cell.
"""

import csv
import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pandas.api.types import is_numeric_dtype

from ghanet_model.errors import CohortError, GHANetError

FIRST_ROW = 2  # the header is line 1
NOT_KNOWN = frozenset(("", "na", "n/a", "nan", "null", "none"))
_FLAGS = {"0": 0.0, "0.0": 0.0, "false": 0.0, "1": 1.0, "1.0": 1.0, "true": 1.0}


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


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """The columns of a file that we asked for; the frame's index is the row a person sees."""

    name: str
    header: tuple[str, ...]  # every column of the file
    frame: "pd.DataFrame"

    def text(self, column: str) -> "pd.Series":
        """A column as stripped text, nothing as ''."""
        return self.frame[column].map(_text).astype(object)

    def numbers(self, column: str) -> "pd.Series":
        """A column as floats; what is no number is NaN, see ``is_known`` for the difference."""
        return pd.to_numeric(self.text(column), errors="coerce").astype(float)

    def flags(self, column: str) -> "pd.Series":
        """A column of 0, 1, true or false as 0.0 and 1.0; everything else is NaN."""
        return self.text(column).map(lambda cell: _FLAGS.get(cell.lower(), np.nan)).astype(float)

    def is_known(self, column: str) -> "pd.Series":
        """Whether a cell says anything."""
        return ~self.text(column).str.lower().isin(NOT_KNOWN).astype(bool)

    def matrix(self, columns: Sequence[str]) -> tuple[NDArray[np.float32], list[Problem]]:
        """Columns as (rows, columns) with NaN where nothing is known; a bad cell is a problem."""
        values = np.empty((len(self.frame), len(columns)), dtype=np.float32)
        wrong = np.zeros(values.shape, dtype=bool)
        for place, column in enumerate(columns):
            cells = self.frame[column]
            if is_numeric_dtype(cells):
                numbers = cells.astype(float)
            else:
                numbers = self.numbers(column)
                wrong[:, place] = self.is_known(column) & numbers.isna()
            with np.errstate(over="ignore"):
                values[:, place] = numbers.to_numpy(np.float32)
        wrong |= np.isinf(values)
        values[wrong] = np.nan
        hint = "leave a value empty where it was not measured"
        return values, [
            Problem(self.name, int(self.frame.index[row]), what, hint)
            for row in np.flatnonzero(wrong.any(axis=1))
            for what in [f"{columns[int(wrong[row].argmax())]} is not a finite number"]
        ]

    def problems(self, rules: Iterable[tuple["pd.Series", str, str]]) -> list[Problem]:
        """One problem for each row where a rule (mask, what, hint) holds, by row."""
        found = [
            Problem(self.name, int(row), what, hint)
            for mask, what, hint in rules
            for row in mask.index[mask.astype(bool)]
        ]
        return sorted(found, key=lambda problem: problem.row or 0)


def read_table(
    path: Path, needed: Sequence[str], *, optional: Sequence[str] = ()
) -> tuple[Table | None, list[Problem]]:
    """Read the named columns of a table.

    Returns:
        The table, or None where it cannot be used at all, and the problems found on the way.
    """
    try:
        header, frame, problems = _READERS[_suffix(path)](path, {*needed, *optional})
    except FileNotFoundError:
        return None, [Problem(path.name, None, "not found", "see its path in site.yaml")]
    except (OSError, pa.ArrowException):
        return None, [Problem(path.name, None, "cannot be read", "is it a whole, closed file?")]
    except CohortError as error:
        return None, [Problem(path.name, None, str(error), error.hint)]
    asked = (*needed, *optional)
    missing = [_missing_column(path.name, name, asked, header) for name in needed]
    problems += [problem for problem in missing if problem]
    twice = sorted({n for n in asked if header.count(n) > 1})
    problems += [Problem(path.name, None, f"column '{name}' is there twice") for name in twice]
    if twice or any(missing):
        return None, problems
    if frame.empty:
        return None, [
            *problems,
            Problem(path.name, None, "has no rows", "one row per case or slide"),
        ]
    return Table(path.name, header, frame), problems


def _suffix(path: Path) -> str:
    suffix = path.suffix.lower()
    if suffix not in _READERS:
        raise CohortError(
            f"tables of kind '{suffix}' are not read", hint="save it as CSV or Parquet"
        )
    return suffix


def _missing_column(
    table: str, wanted: str, asked: Sequence[str], header: tuple[str, ...]
) -> Problem | None:
    """A missing column. What stands in line 1 is repeated only if it surely is a header."""
    if wanted in header:
        return None
    hint = "line 1 must name the columns; if yours have other names, see site.yaml: columns"
    is_header = bool(set(asked) & set(header))
    cutoff = 0.6 if is_header else 1.0  # without a header, a case could look like a column name
    plain = {_plain(name): name for name in reversed(header)}
    near = difflib.get_close_matches(_plain(wanted), plain, n=1, cutoff=cutoff)
    if near:
        hint = f"did you mean '{plain[near[0]]}'? If so, say so in site.yaml: columns"
    if is_header:
        shown = ", ".join(name[:40] for name in header[:12])
        more = f" and {len(header) - 12} more" if len(header) > 12 else ""
        hint += f"; the columns are {shown}{more}"
    return Problem(table, None, f"column '{wanted}' is missing", hint)


def _plain(name: str) -> str:
    """A name without case and punctuation: 'Case ID' and 'case_id' are near."""
    return "".join(letter for letter in name.lower() if letter.isalnum())


_Read = tuple[tuple[str, ...], "pd.DataFrame", list[Problem]]


def _read_csv(path: Path, wanted: set[str]) -> _Read:
    """Read by line, so that rows have the numbers an editor shows."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            return _csv_rows(file, path.name, wanted)
    except UnicodeDecodeError:
        raise CohortError("is not UTF-8 text", hint="save it as CSV UTF-8") from None
    except csv.Error:
        raise CohortError("is not a CSV table", hint="look for a quote that never ends") from None


def _csv_rows(file: Iterable[str], table: str, wanted: set[str]) -> _Read:
    reader = csv.reader(file, strict=True)
    header = tuple(cell.strip() for cell in next(reader, []))
    if len(header) == 1 and any(mark in header[0] for mark in ";\t"):
        raise CohortError("cells are not separated by ','", hint="save it as CSV with commas")
    places = [index for index, name in enumerate(header) if name in wanted]
    rows, lines, problems = [], [], []
    for cells in reader:
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) != len(header):
            what = f"has {len(cells)} cells, the header {len(header)}"
            hint = "a cell with a comma needs quotes around it"
            problems.append(Problem(table, reader.line_num, what, hint))
            continue
        rows.append([cells[place] for place in places])
        lines.append(reader.line_num)
    frame = pd.DataFrame(rows, columns=[header[place] for place in places], dtype=object)
    return header, frame.set_axis(pd.Index(lines, dtype="int64")), problems


def _read_parquet(path: Path, wanted: set[str]) -> _Read:
    with pq.ParquetFile(path) as file:
        header = tuple(str(name) for name in file.schema_arrow.names)
        content = file.read(columns=[name for name in header if name in wanted])
    frame = content.to_pandas(ignore_metadata=True)
    lines = range(FIRST_ROW, FIRST_ROW + len(frame))
    return header, frame.set_axis(pd.Index(lines, dtype="int64")), []


_READERS = {".csv": _read_csv, ".parquet": _read_parquet}


def _text(cell: object) -> str:
    """A cell as a person would type it: 7.0 in a column with gaps is the number 7."""
    if isinstance(cell, float | np.floating):
        number = float(cell)
        return "" if np.isnan(number) else f"{number:.0f}" if number.is_integer() else repr(number)
    return "" if cell is None or cell is pd.NA or cell is pd.NaT else str(cell).strip()
