"""Delimited text, as hospitals export it: which letters, which separator, which decimal mark.

All three are found out from the whole file, and said. What fits nothing is refused, never guessed.
"""

import codecs
import csv
import itertools
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import pandas as pd

from ghanet_model.errors import CohortError

from .table import DECIMAL_COMMA, Problem, Table

_SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs"}
_SAMPLE = 50  # rows that must bear out the separator, if there are three or more
_CHUNK = 1 << 20  # bytes
_STATED = re.compile(r'"?sep=(.)"?')  # line 1 of some of Excel's own exports
_SAVE_AS = "save it as CSV UTF-8"


@dataclass(frozen=True, slots=True)
class Letters:
    """How bytes of a file become letters."""

    codec: str
    name: str


@dataclass(frozen=True, slots=True)
class _Layout:
    """Where the header is, and what separates its cells."""

    separator: str
    skipped: int  # lines before the header
    header: tuple[str, ...]


def read_delimited(
    path: Path, wanted: Collection[str], *, numbers: Collection[str] = ()
) -> tuple[Table, list[Problem]]:
    """Read the wanted columns; rows have the numbers that an editor shows.

    Args:
        path: comma, semicolon or tab separated text.
        wanted: names of columns.
        numbers: those of them where a decimal comma is looked for.

    Raises:
        CohortError: not text, or not a table.
    """
    letters = letters_of(path)
    try:
        with path.open(newline="", encoding=letters.codec) as file:
            layout = _layout_of(list(itertools.islice(file, _SAMPLE)), wanted)
            file.seek(0)
            frame, problems, comma = _rows(file, path.name, layout, wanted, numbers)
    except UnicodeDecodeError:
        raise CohortError(f"is not {letters.name} text", hint=_SAVE_AS) from None
    except csv.Error:
        raise CohortError("is not a CSV table", hint="look for a quote that never ends") from None
    words = [_SEPARATORS[layout.separator], *(["decimal comma"] if comma else []), letters.name]
    if layout.skipped:
        words.append(f"header in line {layout.skipped + 1}")
    return Table(path.name, layout.header, frame, tuple(words), comma), problems


def letters_of(path: Path) -> Letters:
    """UTF-16 by its mark, UTF-8 if the whole file is, else the Western letters of Windows.

    Raises:
        CohortError: not text.
    """
    with path.open("rb") as file:
        start = file.read(4)
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return Letters("utf-16", "UTF-16")
    if _is_decoded(path, "utf-8"):
        return Letters("utf-8-sig", "UTF-8")
    if _is_decoded(path, "cp1252"):
        return Letters("cp1252", "Latin-1 (Windows-1252)")
    raise CohortError("is not text of a known kind", hint=_SAVE_AS)


def _is_decoded(path: Path, codec: str) -> bool:
    decoder = codecs.getincrementaldecoder(codec)()
    with path.open("rb") as file:
        try:
            for chunk in iter(lambda: file.read(_CHUNK), b""):
                if b"\0" in chunk:
                    hint = f"{_SAVE_AS}; an Excel workbook's name ends in .xlsx"
                    raise CohortError("is not text", hint=hint)
                decoder.decode(chunk)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            return False
    return True


def _layout_of(lines: Sequence[str], wanted: Collection[str]) -> _Layout:
    """The separator that finds most wanted columns in the header and that the rows bear out."""
    skipped, stated = _before_header(lines, wanted)
    lines = lines[skipped:]
    found = {mark: _cells(lines[:1], mark) for mark in stated or _SEPARATORS}
    headers = {mark: tuple(c.strip() for c in cells[0]) for mark, cells in found.items() if cells}
    if not headers:
        return _Layout(",", skipped, ())
    ranks = {m: (len(set(wanted) & set(header)), len(header)) for m, header in headers.items()}
    best = max(ranks, key=lambda mark: ranks[mark])
    if [*ranks.values()].count(ranks[best]) > 1 and ranks[best][1] > 1:
        raise _no_table()
    header = headers[best]
    rows = [cells for cells in _cells(lines[1:], best) if any(cell.strip() for cell in cells)]
    if len(rows) > 2 and all(len(cells) != len(header) for cells in rows):
        raise _no_table()
    return _Layout(best, skipped, header)


def _no_table() -> CohortError:
    hint = "the header and all rows need the same separator: save it as CSV with commas"
    return CohortError("cells are not separated by ',', ';' or tabs throughout", hint=hint)


def _before_header(lines: Sequence[str], wanted: Collection[str]) -> tuple[int, str]:
    """Lines that are no header: 'sep=;', and those that start with '#' and name no column."""
    skipped, stated = 0, ""
    for line in lines:
        match = _STATED.fullmatch(line.strip())
        names = {cell.strip() for mark in _SEPARATORS for cell in line.split(mark)}
        if match and not skipped and match[1] in _SEPARATORS:
            stated = match[1]
        elif not line.startswith("#") or names & set(wanted):
            break
        skipped += 1
    return skipped, stated


def _cells(lines: Sequence[str], separator: str) -> list[list[str]]:
    """The first rows; none if the separator leaves cells too long to be read."""
    try:
        return list(csv.reader(lines, delimiter=separator))
    except csv.Error:
        return []


def _rows(
    file: TextIO,
    table: str,
    layout: _Layout,
    wanted: Collection[str],
    numbers: Collection[str],
) -> tuple["pd.DataFrame", list[Problem], bool]:
    """The wanted cells, the rows that cannot be read, and whether decimals have a comma."""
    header = layout.header
    places = [index for index, name in enumerate(header) if name in wanted]
    measured = [place for place in places if header[place] in numbers]
    may_be_comma, comma = layout.separator != ",", False
    rows, lines, problems = [], [], []
    for line, cells in _records(file, layout):
        if len(cells) != len(header):
            what = f"has {len(cells)} cells, the header {len(header)}"
            hint = "a cell that holds the separator needs quotes around it"
            problems.append(Problem(table, line, what, hint))
            continue
        if may_be_comma and not comma:
            some = (cells[place] for place in measured if "," in cells[place])
            comma = any(DECIMAL_COMMA.fullmatch(cell.strip()) for cell in some)
        rows.append([cells[place] for place in places])
        lines.append(line)
    frame = pd.DataFrame(rows, columns=[header[place] for place in places], dtype=object)
    return frame.set_axis(pd.Index(lines, dtype="int64")), problems, comma


def _records(file: TextIO, layout: _Layout) -> Iterator[tuple[int, list[str]]]:
    """The rows below the header that hold anything, each with its line."""
    for _ in range(layout.skipped):
        file.readline()
    reader = csv.reader(file, delimiter=layout.separator, strict=True)
    next(reader, None)
    for cells in reader:
        if any(cell and not cell.isspace() for cell in cells):
            yield layout.skipped + reader.line_num, cells
