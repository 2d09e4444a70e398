"""Gene groups: the file beside study.yaml that says which genes belong together. CSV or GMT.

CSV    a column per group: its name, below it one gene symbol per line
GMT    a line per group: name, description, gene symbols, a tab between each

What stands in the file makes the study, not its format, name or order of symbols.
"""

import csv
import io
import os
import re
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from .errors import SettingsError

Groups: TypeAlias = tuple[tuple[str, tuple[str, ...]], ...]  # (group, symbols)

MOST_BYTES = 2_000_000  # some thousand groups
NAME_HINT = "use letters, digits, '-', '_' and blanks, and the ending .csv or .gmt"
_FILE_NAME = re.compile(r"\w[\w. -]*\.(csv|gmt)", re.IGNORECASE)
_LONGEST_FILE_NAME = 200  # bytes; writing it atomically makes a longer one
_SYMBOL = re.compile(r"[\w.@/:'()*+-]{1,60}")
_NUMBER = re.compile(r"\d+([.,]\d+)?(e[+-]?\d+)?", re.IGNORECASE)
_MONTH = r"(?:jan|feb|mar|m[äa]r|mrz|apr|avr|ma[iy]|jun|jul|aug|ago|ao|sep|set|oct|okt|nov|dec|dez)"
_DATE = re.compile(
    rf"\d{{1,4}}[-./ ]+{_MONTH}[a-zéûä]*\.?([-./ ]+\d{{2,4}})?"  # 1-Mar, 2. Sept. 2021
    rf"|{_MONTH}[a-zéûä]*[-./ ]+\d{{1,4}}"  # Mar-01
    r"|\d{4}[-./]\d{1,2}[-./]\d{1,2}([ T]\d{1,2}:\d{2}(:\d{2})?)?"  # 2021-03-01 00:00:00
    r"|\d{1,2}[-./]\d{1,2}([-./](\d{2}|\d{4}))?",  # 01.03.2021
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class _Group:
    """A group as the file has it, each thing with its line."""

    line: int
    name: str
    symbols: list[tuple[int, str]]  # (line, symbol), no blanks


def is_groups_name(name: str) -> bool:
    """Whether gene groups may be in a file of this name: in the same folder, CSV or GMT."""
    return bool(_FILE_NAME.fullmatch(name)) and len(name.encode()) <= _LONGEST_FILE_NAME


def read_groups(path: Path) -> Groups:
    """Read gene groups in the order of the file, each symbol of a group once, sorted.

    Raises:
        SettingsError: missing, too large, no table, or a group or symbol that cannot be one.
    """
    text = read_groups_text(path)
    read = _read_gmt if path.suffix.lower() == ".gmt" else _read_csv
    groups = read(text, path.name)
    if not groups:
        raise SettingsError(f"{path.name}: no gene groups", hint="the first line names them")
    _require_names(groups, path.name)
    _require_symbols(groups, path.name)
    return tuple((one.name, tuple(sorted({s for _, s in one.symbols}))) for one in groups)


def read_groups_text(path: Path) -> str:
    """The text of a gene groups file, UTF-8 or Latin-1 (Windows-1252).

    Raises:
        SettingsError: missing, too large, or not text.
    """
    content = _read_bytes(path)
    for encoding in ("utf-8-sig", "cp1252"):
        try:
            text = content.decode(encoding)
        except UnicodeDecodeError:
            continue
        if "\0" not in text:
            return text
    raise SettingsError(f"{path.name}: not text", hint="save it as CSV UTF-8, or as GMT")


def _read_bytes(path: Path) -> bytes:
    try:
        _require_small(path.stat(), path.name)
        return path.read_bytes()
    except FileNotFoundError:
        hint = "a CSV with one column of gene symbols per group, or a GMT file"
        raise SettingsError(f"{path.name}: not found beside study.yaml", hint=hint) from None
    except OSError as error:
        raise SettingsError(f"{path.name}: cannot be read ({type(error).__name__})") from None


def _require_small(found: os.stat_result, where: str) -> None:
    """Refuse what may have no end, before it is read."""
    if not stat.S_ISREG(found.st_mode):
        raise SettingsError(f"{where}: not a file", hint="gene groups are a CSV or GMT file")
    if found.st_size > MOST_BYTES:
        raise SettingsError(
            f"{where}: {found.st_size / 1e6:.1f} MB, at most {MOST_BYTES / 1e6:.0f} are read",
            hint="keep the groups that the study needs",
        )


def _read_csv(text: str, where: str) -> list[_Group]:
    """Columns as groups. The separator is the one that occurs most: symbols hold none of them."""
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter=max(",;\t", key=text.count), strict=True
    )
    try:
        lines = [(reader.line_num, _trimmed(cells)) for cells in reader]
    except csv.Error:
        raise SettingsError(
            f"{where} line {reader.line_num}: not a CSV table",
            hint="look for a quote that never ends",
        ) from None
    (header, names), *rows = [(line, cells) for line, cells in lines if cells] or [(1, [])]
    columns: list[list[tuple[int, str]]] = [[] for _ in names]
    for line, cells in rows:
        if len(cells) > len(names):
            raise SettingsError(
                f"{where} line {line}: {len(cells)} cells, there are {len(names)} gene groups",
                hint="the first line needs a name for each column",
            )
        for column, symbol in zip(columns, cells, strict=False):
            column.extend([(line, symbol)] if symbol else [])
    return [_Group(header, *pair) for pair in zip(names, columns, strict=True)]


def _read_gmt(text: str, where: str) -> list[_Group]:
    """Lines as groups; descriptions say nothing to a program."""
    groups = []
    for line, content in enumerate(io.StringIO(text, newline=None), start=1):
        if not content.strip():
            continue
        name, *rest = (cell.strip() for cell in content.split("\t"))
        if not rest:
            raise SettingsError(
                f"{where} line {line}: no tab",
                hint="a line of GMT is name, description and symbols, a tab between each",
            )
        groups.append(_Group(line, name, [(line, symbol) for symbol in rest[1:] if symbol]))
    return groups


def _trimmed(cells: list[str]) -> list[str]:
    """Cells without blanks around them, and without empty ones at the end."""
    found = [cell.strip() for cell in cells]
    while found and not found[-1]:
        found.pop()
    return found


def _require_names(groups: list[_Group], where: str) -> None:
    """Every group has a name of its own, and genes."""
    first: dict[str, int] = {}
    for place, one in enumerate(groups, start=1):
        line = f"{where} line {one.line}"
        if not one.name:
            raise SettingsError(f"{line}: gene group {place} has no name", hint="name it")
        if not one.name.isprintable() or len(one.name) > 100:
            raise SettingsError(
                f"{line}: the name of gene group {place} is too long or holds control characters",
                hint="use letters, digits and blanks, 100 at most",
            )
        if one.name in first:
            raise SettingsError(
                f"{line}: gene group '{one.name}' is there twice, first in line {first[one.name]}",
                hint="rename one of them, or put their genes together",
            )
        if not one.symbols:
            raise SettingsError(
                f"{line}: gene group '{one.name}' has no genes", hint="add gene symbols, or drop it"
            )
        first[one.name] = one.line


def _require_symbols(groups: list[_Group], where: str) -> None:
    """Refuse what is no gene symbol; dates first, because they look like sloppy symbols."""
    symbols = [found for one in groups for found in one.symbols]
    if dates := [(line, symbol) for line, symbol in symbols if _DATE.fullmatch(symbol)]:
        raise SettingsError(
            f"{where}: dates in place of gene symbols: {_places(dates)}",
            hint="a spreadsheet made them of symbols such as MARCHF1 or SEPTIN2, once MARCH1 and "
            "SEPT2: write the symbols again, in a column of type text",
        )
    if numbers := [(line, symbol) for line, symbol in symbols if _NUMBER.fullmatch(symbol)]:
        raise SettingsError(
            f"{where}: numbers in place of gene symbols: {_places(numbers)}",
            hint="use the file with gene symbols, not with Entrez ids",
        )
    if others := [(line, symbol) for line, symbol in symbols if not _SYMBOL.fullmatch(symbol)]:
        raise SettingsError(
            f"{where}: not gene symbols: {_places(others)}",
            hint="one symbol per cell, such as TP53; commas, semicolons or tabs between cells",
        )


def _places(found: Iterable[tuple[int, str]]) -> str:
    """The first few, each with its line; control characters are shown as escapes."""
    shown = list(dict.fromkeys(found))
    words = ", ".join(f"{symbol[:20]!r} in line {line}" for line, symbol in shown[:5])
    return f"{words} and {len(shown) - 5} more" if len(shown) > 5 else words
