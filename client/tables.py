"""Tables: delimited text, Excel or Parquet in, columns of text and numbers out.

Problems are collected, not thrown.
"""

import difflib
import re
import stat
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ghanet_model.errors import CohortError

from .delimited import read_delimited
from .excel import read_excel
from .table import FIRST_ROW, Problem, Table

__all__ = ("Problem", "Table", "mangled", "read_table")

_LARGEST_FILE = 8 << 30  # bytes
_MOST_CELLS = 300_000_000
_OTHER_KINDS = {
    ".xls": "open it in Excel and save it as .xlsx",
    ".xlsm": "workbooks with macros are never opened: save it as .xlsx",
    ".xlsb": "open it in Excel and save it as .xlsx",
    ".ods": "open it and save it as .xlsx or as CSV",
}
_MONTHS = "jan|feb|mar|mär|mrz|apr|may|mai|jun|jul|aug|sep|sept|okt|oct|nov|dec|dez|dic|déc"
_MANGLED = re.compile(
    rf"(\d{{1,2}}[-./ ]{{1,2}}({_MONTHS})\.?|({_MONTHS})[-./ ]{{1,2}}\d{{1,4}}"
    r"|\d{4}-\d\d-\d\d( 00:00:00)?)(_.*)?",
    re.IGNORECASE,
)


def read_table(
    path: Path,
    needed: Sequence[str],
    *,
    optional: Sequence[str] = (),
    numbers: Collection[str] = (),
) -> tuple[Table | None, list[Problem]]:
    """Read the named columns of a table.

    Args:
        path: the file; its suffix says what it is.
        needed: columns that must be there.
        optional: columns that may be there.
        numbers: those of both where a decimal comma is looked for.

    Returns:
        The table, or None where it cannot be used at all, and the problems found on the way.
    """
    try:
        table, problems = _read(path, needed, optional, numbers)
    except FileNotFoundError:
        return None, [Problem(path.name, None, "not found", "see its path in site.yaml")]
    except (OSError, pa.ArrowException, ValueError):  # pyarrow's own of damaged files are many
        return None, [Problem(path.name, None, "cannot be read", "is it a whole, closed file?")]
    except CohortError as error:
        return None, [Problem(path.name, None, str(error), error.hint)]
    asked, header = (*needed, *optional), table.header
    missing = [_missing_column(path.name, name, asked, header) for name in needed]
    problems += [problem for problem in missing if problem]
    times = Counter(header)
    twice = sorted({name for name in asked if times[name] > 1})
    problems += [Problem(path.name, None, f"column '{name}' is there twice") for name in twice]
    if twice or any(missing):
        return None, problems
    problems += mangled(path.name, header)
    if table.frame.empty:
        return None, [
            *problems,
            Problem(path.name, None, "has no rows", "one row per case or slide"),
        ]
    return table, problems


def mangled(table: str, names: Sequence[str]) -> list[Problem]:
    """A problem if names are what spreadsheets make of genes such as MARCHF1 and SEPTIN2."""
    dates = [name for name in names if _MANGLED.fullmatch(name)]
    if not dates:
        return []
    what = f"gene names were turned into dates: {', '.join(repr(name) for name in dates[:5])}"
    more = f" and {len(dates) - 5} more" if len(dates) > 5 else ""
    hint = "a spreadsheet did this: take the names (MARCHF1, SEPTIN2, DELEC1, ...) from the source"
    return [Problem(table, None, what + more, hint)]


def _read(
    path: Path, needed: Sequence[str], optional: Sequence[str], numbers: Collection[str]
) -> tuple[Table, list[Problem]]:
    suffix = path.suffix.lower()
    if suffix != ".xlsx" and suffix not in _READERS:
        hint = _OTHER_KINDS.get(suffix, "save it as CSV, .xlsx or Parquet")
        raise CohortError(f"tables of kind '{suffix}' are not read", hint=hint)
    facts = path.stat()
    if not stat.S_ISREG(facts.st_mode):
        raise CohortError("is no file", hint="see its path in site.yaml")
    if facts.st_size > _LARGEST_FILE:
        raise CohortError("is too large for a table", hint="keep the columns the study needs")
    if suffix == ".xlsx":
        return read_excel(path, needed, optional=optional)
    return _READERS[suffix](path, {*needed, *optional}, numbers)


def _read_text(
    path: Path, wanted: set[str], numbers: Collection[str]
) -> tuple[Table, list[Problem]]:
    return read_delimited(path, wanted, numbers=numbers)


def _read_parquet(
    path: Path,
    wanted: set[str],
    numbers: Collection[str],  # noqa: ARG001 - numbers have a type of their own here
) -> tuple[Table, list[Problem]]:
    with pq.ParquetFile(path) as file:
        header = tuple(str(name) for name in file.schema_arrow.names)
        here = [name for name in header if name in wanted]
        if file.metadata.num_rows * max(1, len(here)) > _MOST_CELLS:
            raise CohortError("is too large for a table", hint="one row per case or slide")
        content = file.read(columns=here)
    frame = content.to_pandas(ignore_metadata=True)
    lines = range(FIRST_ROW, FIRST_ROW + len(frame))
    frame = frame.set_axis(pd.Index(lines, dtype="int64"))
    return Table(path.name, header, frame, ("Parquet",)), []


_Reader = Callable[[Path, set[str], Collection[str]], tuple[Table, list[Problem]]]
_READERS: dict[str, _Reader] = {
    ".csv": _read_text,
    ".tsv": _read_text,
    ".txt": _read_text,
    ".parquet": _read_parquet,
}


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
