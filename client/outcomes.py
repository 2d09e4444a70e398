"""Outcomes: follow-up and events of a clinical table in words and units of the hospital.

Inside, follow-up is months, and an event is True for died. What was understood is said in words.
"""

import datetime as dt
import unicodedata
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from .config import DATE_ORDERS, Columns, EventWords, SiteConfig
from .dates import Dates, read_dates
from .table import NOT_KNOWN, Problem, Rule, Table

DAYS_PER_MONTH = 365.25 / 12
LONGEST_MEDIAN = 240.0  # months; a table of days without its unit is far above
_MONTHS_IN = {"months": 1.0, "days": 1 / DAYS_PER_MONTH, "years": 12.0}
_YES = "1 1.0 true yes y wahr ja vrai oui verdadero si vero waar"
_NO = "0 0.0 false no n falsch nein faux non falso onwaar nee"
_DIED = """died dead deceased death tot verstorben gestorben decede decedee mort morte
    muerto muerta fallecido fallecida morto morta deceduto deceduta overleden dood uncensored"""
_ALIVE = """alive living lives lebt lebend lebendig am_leben vivant vivante en_vie
    vivo viva vivente in_leven levend censored"""
_FLAGS = {word: word in _YES.split() for word in f"{_YES} {_NO}".split()}
_STATES = {word.replace("_", " "): word in _DIED.split() for word in f"{_DIED} {_ALIVE}".split()}
_DATES_HINT = "one way for the whole column: 2020-12-31, 31.12.2020, 31/12/2020, 12/31/2020"


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """A part of the outcomes: a value per row, and what can be said of it."""

    cells: "pd.Series"  # months, or True, False and None
    rules: tuple[Rule, ...]
    understood: str = ""
    problems: tuple[Problem, ...] = field(default=())  # of the whole column


def time_columns(columns: Columns) -> list[str]:
    """The columns that say how long a case was followed."""
    return [columns.start, columns.end] if columns.start and columns.end else [columns.time]


def event_column(columns: Columns) -> str:
    """The column that says what happened."""
    return columns.censorship or columns.event


def read_follow_up(table: Table, config: SiteConfig, columns: Columns) -> Part:
    """Months of follow-up, of a column of numbers or of two dates."""
    if columns.start and columns.end:
        return _from_dates(table, columns.start, columns.end, config.date_order)
    return _from_numbers(table, columns.time, config.time_unit)


def _from_numbers(table: Table, column: str, unit: str) -> Part:
    known, values = table.is_known(column), table.numbers(column)
    months = values * _MONTHS_IN[unit] if unit != "days" else values / DAYS_PER_MONTH
    mark = "comma" if table.decimal_comma else "point"
    rules = (
        (~known, f"{column} is missing", f"{unit} of follow-up"),
        (known & values.isna(), f"{column} is not a number", f"use {unit}, with a decimal {mark}"),
        (np.isinf(values), f"{column} is not finite", f"use {unit}"),
        (np.isfinite(values) & (values < 0), f"{column} is negative", f"use {unit}, 0 or more"),
    )
    said = f"follow-up: column '{column}' in {unit}"
    hint = "is the column in days? Then say time_unit: days in site.yaml"
    if unit != "months":
        hint = f"is the column really in {unit}? See time_unit in site.yaml"
    return Part(months, rules, said, _implausible(table, months, hint))


def _implausible(table: Table, months: "pd.Series", hint: str) -> tuple[Problem, ...]:
    good = months[np.isfinite(months)]
    if good.empty or good.median() <= LONGEST_MEDIAN:
        return ()
    what = f"the median follow-up would be more than {LONGEST_MEDIAN:.0f} months"
    return (Problem(table.name, None, what, hint),)


def _from_dates(table: Table, start: str, end: str, order: str | None) -> Part:
    read = {column: _read_dates(table, column, order) for column in (start, end)}
    first, last = read[start].days, read[end].days
    both = first.notna() & last.notna()
    today = dt.datetime.now().astimezone().date()
    days = pd.Series(np.nan, first.index)
    days[both] = [(b - a).days for a, b in zip(first[both], last[both], strict=True)]
    rules: list[Rule] = []
    for column, dates in read.items():
        rules += _date_rules(table, column, dates, today)
    hint = f"{start} is the date of diagnosis, {end} of death or last contact"
    rules.append((days < 0, f"{end} is before {start}", hint))
    months = days / DAYS_PER_MONTH
    problems = [p for column, dates in read.items() for p in _date_problems(table, column, dates)]
    formats = " and ".join(f"'{column}' as {dates.format}" for column, dates in read.items())
    said = f"follow-up: from dates, {formats}"
    return Part(months, tuple(rules), said, (*problems, *_implausible(table, months, hint)))


def _read_dates(table: Table, column: str, order: str | None) -> Dates:
    return read_dates(table.text(column).where(table.is_known(column), ""), order)


def _date_rules(table: Table, column: str, dates: Dates, today: dt.date) -> list[Rule]:
    known = table.is_known(column)
    future = dates.days.map(lambda date: date is not None and date > today).astype(bool)
    rules = [
        (~known, f"{column} is missing", "a date"),
        (future, f"{column} is in the future", "is the year right?"),
    ]
    if dates.format:
        what = f"{column} is not a date as the others, such as {dates.format}"
        rules.append((known & dates.days.isna(), what, _DATES_HINT))
    return rules


def _date_problems(table: Table, column: str, dates: Dates) -> list[Problem]:
    if not dates.format:
        return [Problem(table.name, None, f"{column} holds no date", _DATES_HINT)]
    if not dates.is_open:
        return []
    what = f"day and month of {column} cannot be told apart"
    hint = f"say date_order: {' or '.join(DATE_ORDERS)} in site.yaml"
    return [Problem(table.name, None, what, hint)]


def read_events(table: Table, columns: Columns, words: EventWords) -> Part:
    """Who died, of a column of flags or words; a censorship column says the opposite."""
    column = event_column(columns)
    text = table.text(column)
    meanings = {cell: _meaning(cell, columns, words) for cell in text.unique()}
    values = text.map(meanings).astype(object)
    known = table.is_known(column)
    hint = _event_hint(column, is_censorship=columns.censorship is not None)
    rules = (
        (~known & values.isna(), f"{column} is missing", hint),
        (known & values.isna(), f"{column} is neither died nor alive", hint),
    )
    return Part(values, rules, _said(column, meanings))


def _event_hint(column: str, *, is_censorship: bool) -> str:
    flags = "1 for censored, 0 for died" if is_censorship else "1 for died, 0 for alive"
    own = "for words of your own see event_words in site.yaml"
    return f"{column} is {flags}, or a word such as deceased or living; {own}"


def _meaning(cell: str, columns: Columns, words: EventWords) -> bool | None:
    """Whether a cell says that the case died; None: it says nothing that we understand."""
    word = _plain(cell)
    own = {_plain(w): True for w in words.died} | {_plain(w): False for w in words.alive}
    if word in own:
        return own[word]
    if word in NOT_KNOWN:
        return None
    flag, _, state = word.partition(":")
    if state and flag in ("0", "1") and columns.censorship is None:
        says = _STATES.get(state.strip(), flag == "1")  # 1:DECEASED, 1:Recurred/Progressed
        return says if says == (flag == "1") else None
    if word in _FLAGS and not set(own) & set(_FLAGS):
        return _FLAGS[word] != (columns.censorship is not None)
    return _STATES.get(word)


def _plain(word: str) -> str:
    """A word without case and accents: 'Décédé' is 'decede'."""
    letters = unicodedata.normalize("NFKD", word.strip().casefold())
    return "".join(letter for letter in letters if not unicodedata.combining(letter))


def _said(column: str, meanings: dict[str, bool | None]) -> str:
    """Words are no case's; those that were not understood are not repeated."""
    parts = []
    for says, name in ((True, "died"), (False, "alive")):
        cells = sorted({_shown(cell) for cell, meaning in meanings.items() if meaning is says})
        parts += [f"{', '.join(cells[:8])} = {name}"] if cells else []
    return f"events: column '{column}', {', '.join(parts)}"


def _shown(cell: str) -> str:
    flag, mark, state = cell.partition(":")
    return repr(cell if not mark or _plain(state) in _STATES else f"{flag}:...")
