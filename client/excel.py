"""Excel workbooks (.xlsx): the sheet that has the columns, its cells with their types.

A workbook is a zip of XML from elsewhere: it is measured, and searched for entities, before it is
opened. Formulas are never computed, only their last result is read; macros and links are not.
"""

import warnings
import zipfile
import zlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openpyxl
import pandas as pd

from ghanet_model.errors import CohortError

from .table import Problem, Table

_MOST_BYTES = 400_000_000  # of all parts together, once unpacked
_SMALL = 10_000_000  # bytes from which on the ratio counts
_HIGHEST_RATIO = 100  # unpacked to packed; tables of numbers reach 30
_MOST_PARTS = 2_000
_MOST_ROWS = 1_048_576  # Excel's own
_MOST_CELLS = 30_000_000
_CHUNK = 1 << 20  # bytes
_ENTITIES = b"<!DOCTYPE"  # no workbook needs one; entities are declared in it
_PARQUET = "save it as CSV or Parquet"


@dataclass(frozen=True, slots=True)
class _Sheet:
    """A sheet and what its first row says."""

    number: int
    content: Any  # an openpyxl worksheet
    header: tuple[str, ...]


def read_excel(
    path: Path, needed: Sequence[str], *, optional: Sequence[str] = ()
) -> tuple[Table, list[Problem]]:
    """Read the needed and optional columns of the sheet that has the needed ones.

    Raises:
        CohortError: no workbook, one that is not safe to open, or several such sheets.
    """
    _require_safe(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of parts that we do not read, such as styles
            return _read(path, needed, optional), []
    except (CohortError, OSError):
        raise
    except Exception:  # noqa: BLE001 - openpyxl has no error of its own for a damaged workbook
        raise CohortError("is not a whole Excel workbook", hint=_PARQUET) from None


def _require_safe(path: Path) -> None:
    """Refuse what would unpack to far more than it is, and XML that declares entities."""
    try:
        with zipfile.ZipFile(path) as file:
            parts = file.infolist()
            unpacked = sum(part.file_size for part in parts)
            ratio = unpacked / max(1, path.stat().st_size)
            if unpacked > _MOST_BYTES or len(parts) > _MOST_PARTS:
                raise CohortError("is too large for a workbook", hint=_PARQUET)
            if unpacked > _SMALL and ratio > _HIGHEST_RATIO:
                hint = f"{_PARQUET}; files made to fill the memory look like this"
                raise CohortError(f"unpacks to {ratio:.0f} times its size", hint=hint)
            if any(_has_entities(file, part) for part in parts):
                raise CohortError("declares XML entities, no workbook does", hint=_PARQUET)
    except (zipfile.BadZipFile, zipfile.LargeZipFile, NotImplementedError, RuntimeError, EOFError):
        hint = "is it protected with a password, or an older .xls? Save it as .xlsx without one"
        raise CohortError("is not an Excel workbook", hint=hint) from None
    except (ValueError, zlib.error):
        raise CohortError("is not a whole Excel workbook", hint=_PARQUET) from None


def _has_entities(file: zipfile.ZipFile, part: zipfile.ZipInfo) -> bool:
    """Whether a part declares entities; nothing bigger than a chunk is in memory."""
    before = b""
    with file.open(part) as content:
        while chunk := content.read(_CHUNK):
            text = before + chunk.replace(b"\0", b"")  # UTF-16 without its zeros
            if _ENTITIES in text:
                return True
            before = text[-len(_ENTITIES) :]
    return False


def _read(path: Path, needed: Sequence[str], optional: Sequence[str]) -> Table:
    book = openpyxl.load_workbook(path, read_only=True, data_only=True, keep_links=False)
    try:
        sheets = [
            _Sheet(number, sheet, _header(sheet)) for number, sheet in enumerate(book.worksheets, 1)
        ]
        if not sheets:
            raise CohortError("has no sheet", hint=_PARQUET)
        sheet = _chosen(sheets, needed, optional)
        frame = _frame(sheet, {*needed, *optional})
    finally:
        book.close()
    layout = f"Excel, sheet {sheet.number} of {len(sheets)}" if len(sheets) > 1 else "Excel"
    return Table(path.name, sheet.header, frame, (layout,))


def _header(sheet: Any) -> tuple[str, ...]:
    sheet.reset_dimensions()  # what a file says of its size is not always so
    first = next(sheet.iter_rows(min_row=1, values_only=True), ())
    cells = ["" if cell is None else str(cell).strip() for cell in first]
    while cells and not cells[-1]:
        cells.pop()
    return tuple(cells)


def _chosen(sheets: Sequence[_Sheet], needed: Sequence[str], optional: Sequence[str]) -> _Sheet:
    """The one sheet that has the columns; if none has, the one that has most of them."""
    fits = [sheet for sheet in sheets if set(needed) <= set(sheet.header)]
    fits = [sheet for sheet in fits if set(optional) & set(sheet.header)] or fits
    if len(fits) > 1:
        numbers = " and ".join(str(sheet.number) for sheet in fits)
        hint = "keep one of them in the workbook, or save that sheet as CSV"
        raise CohortError(f"sheets {numbers} have the columns asked for", hint=hint)
    wanted = {*needed, *optional}
    return fits[0] if fits else max(sheets, key=lambda sheet: len(wanted & set(sheet.header)))


def _frame(sheet: _Sheet, wanted: Collection[str]) -> "pd.DataFrame":
    places = [place for place, name in enumerate(sheet.header) if name in wanted]
    rows, lines = [], []
    for line, cells in _records(sheet):
        rows.append([cells[place] if place < len(cells) else None for place in places])
        lines.append(line)
    columns = [sheet.header[place] for place in places]
    frame = pd.DataFrame(rows, columns=columns, dtype=object)
    return frame.set_axis(pd.Index(lines, dtype="int64"))


def _records(sheet: _Sheet) -> Iterator[tuple[int, tuple[object, ...]]]:
    """The rows below the header that hold anything, each with Excel's number."""
    seen = 0
    for line, cells in enumerate(sheet.content.iter_rows(min_row=1, values_only=True), 1):
        seen += len(cells)
        if line > _MOST_ROWS or seen > _MOST_CELLS:
            raise CohortError("has too many rows or columns for a workbook", hint=_PARQUET)
        if line > 1 and any(cell is not None and str(cell).strip() for cell in cells):
            yield line, cells
