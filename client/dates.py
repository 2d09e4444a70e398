"""Dates as tables have them: one format for a whole column, found out and said, never guessed."""

import datetime as dt
import re
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from .config import DAY_FIRST, MONTH_FIRST

_YEAR, _MONTH, _DAY = r"(?P<y>\d{4})", r"(?P<m>\d{1,2})", r"(?P<d>\d{1,2})"
_CLOCK = r"(?:[T ]\s*\d{1,2}:\d{2}(?::\d{2}(?:[.,]\d+)?)?\s*(?:[AaPp][Mm]|Z|[+-]\d{2}:?\d{2})?)?"


@dataclass(frozen=True, slots=True)
class _Format:
    """A way to write dates; a time of day may follow, and is not used."""

    name: str
    pattern: re.Pattern[str]
    order: str | None = None  # day first, month first; None: it shows

    def parse(self, cell: str) -> dt.date | None:
        """The date of a cell in this format, if it is one."""
        match = self.pattern.fullmatch(cell)
        if not match:
            return None
        try:
            return dt.date(int(match["y"]), int(match["m"]), int(match["d"]))
        except ValueError:
            return None


def _format(name: str, pattern: str, order: str | None = None) -> _Format:
    return _Format(name, re.compile(pattern + _CLOCK), order)


_DOTS = _format("31.12.2020", rf"{_DAY}\.{_MONTH}\.{_YEAR}")
_FORMATS = (
    _format("2020-12-31", rf"{_YEAR}[-/.]{_MONTH}[-/.]{_DAY}"),
    _format("20201231", r"(?P<y>\d{4})(?P<m>\d\d)(?P<d>\d\d)"),
    _DOTS,
    _format("31/12/2020", rf"{_DAY}[-/]{_MONTH}[-/]{_YEAR}", DAY_FIRST),
    _format("12/31/2020", rf"{_MONTH}[-/]{_DAY}[-/]{_YEAR}", MONTH_FIRST),
)
_DOTS_MONTH_FIRST = _format("12.31.2020", rf"{_MONTH}\.{_DAY}\.{_YEAR}", MONTH_FIRST)


@dataclass(frozen=True, slots=True, eq=False)
class Dates:
    """A column of dates; None where a cell is no date of the column's format."""

    days: "pd.Series"  # of datetime.date or None
    format: str  # an example of it; '' if no cell is a date
    is_open: bool = False  # day and month cannot be told apart


def read_dates(cells: "pd.Series", order: str | None) -> Dates:
    """Read a column by the one format that fits most cells, all of them in a good table.

    Args:
        cells: stripped text; '' is not looked at.
        order: day first or month first, as the site says; None: the cells must tell.
    """
    text = [str(cell) for cell in cells]
    parsed = {one.name: [one.parse(cell) for cell in text] for one in _formats_for(order)}
    fits = {name: sum(date is not None for date in dates) for name, dates in parsed.items()}
    most = max(fits.values())
    best = [name for name, number in fits.items() if number == most]
    if most == 0:
        return Dates(pd.Series([None] * len(text), cells.index, dtype=object), "")
    is_open = any(parsed[name] != parsed[best[0]] for name in best)
    values = pd.Series(parsed[best[0]], cells.index, dtype=object)
    return Dates(values, best[0], is_open)


def _formats_for(order: str | None) -> Sequence[_Format]:
    if order == MONTH_FIRST:
        return [*(f for f in _FORMATS if f.order != DAY_FIRST and f != _DOTS), _DOTS_MONTH_FIRST]
    return [f for f in _FORMATS if order is None or f.order != MONTH_FIRST]
