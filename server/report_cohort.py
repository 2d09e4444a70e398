"""Part 1 of the page: the cases of every hospital."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ghanet_model.page_html import Html, join, later, note, section, table, tag
from ghanet_model.page_numbers import NOTHING, UNTOLD, count, number, part

from .report_words import NO_COHORT, UNTOLD_NOTE

Values = Mapping[str, Any]

AT_ONCE = 8  # hospitals beside each other in a table
COUNTS = (  # small letters: part of the row above
    ("Cases", "cases"),
    ("to train on", "training"),
    ("held out", "held_out"),
    ("with genes", "with_genes"),
    ("Deaths", "events"),
)
CLASSES = (("Sex", "sex"), ("Stage", "stage"), ("Grade", "grade"))


def cohort(place: int, twin: Values) -> Html:
    """The cohort table, or what the rounds alone tell."""
    title, found = "Cohort by hospital", twin.get("cohort") or {}
    names = list(found.get("hospitals") or ())
    if not names:
        return section(place, title, later(NO_COHORT), _known_cases(twin))
    columns = [names[start : start + AT_ONCE] for start in range(0, len(names), AT_ONCE)]
    tables = (_cohort_table(found, some) for some in columns)
    return section(place, title, *tables, note(UNTOLD_NOTE))


def _known_cases(twin: Values) -> Html:
    """Counts that came with the rounds."""
    rows = [
        (
            site["name"],
            count(site["cases"] or None),
            _events(site["events"], site["untold_events"]) if site["cases"] else NOTHING,
            count(site["evaluated"] or None),
        )
        for site in twin["sites"]
    ]
    head = ("hospital", "cases that took part", "deaths", "evaluated")
    return table(head, rows, caption="What the rounds tell")


def _events(told: int, untold: int) -> str:
    return f"{count(told)} + {UNTOLD}" if told and untold else UNTOLD if untold else count(told)


def _cohort_table(found: Values, names: Sequence[str]) -> Html:
    """A column per hospital and one for all; a row per characteristic."""
    every, total = list(found["hospitals"].values()), found.get("total") or {}
    columns = [found["hospitals"][name] or {} for name in names]
    rows = [
        *_count_rows(columns, every, total),
        ("Median follow-up, months", *(number(c.get("follow_up"), 0) for c in (*columns, total))),
        *_mean_follow_up(columns, total),
        ("Age, years: mean (SD)", *(_age(c.get("age")) for c in (*columns, total))),
        *(row for title, key in CLASSES for row in _class_rows(title, key, columns, every, total)),
    ]
    caption = "Cases and their characteristics"
    return table(("", *names, "all"), rows, caption=caption, kind="cohort")


def _count_rows(
    columns: Sequence[Values], every: Sequence[Values], total: Values
) -> Iterator[Sequence[str]]:
    for title, key in COUNTS:
        if any(key in (one or {}) for one in every):
            name = _sub(title) if title.islower() else title
            yield (name, *(_told(column, key) for column in columns), _summed(every, total, key))


def _mean_follow_up(columns: Sequence[Values], total: Values) -> Iterator[Sequence[str]]:
    """Exact where a median is not known."""
    found = [one.get("mean_follow_up") for one in (*columns, total)]
    if any(value is not None for value in found):
        yield ("Mean follow-up, months", *(number(value, 0) for value in found))


def _class_rows(
    title: str, key: str, columns: Sequence[Values], every: Sequence[Values], total: Values
) -> Iterator[Sequence[str]]:
    """A classification: its name, then a row per class that anybody has or does not tell."""
    words = dict.fromkeys(word for one in every for word in part(one, key) or {})
    rows = [
        (_sub(word), *(_share(c, key, word) for c in columns), _summed(every, total, key, word))
        for word in words
        if any(part(one, key, word) != 0 for one in every)
    ]
    if rows:
        yield (title,)
        yield from rows


def _sub(title: str) -> Html:
    """The name of a row below the row that it is part of."""
    return tag("span", title, class_="sub")


def _told(values: Values, *keys: str) -> Html:
    """A count, or that it is untold."""
    found = part(values, *keys)
    return _untold() if found is None else Html(count(found))


def _untold(hospitals: int = 0) -> Html:
    where = f" at {hospitals}" if hospitals else ""
    return tag("span", f"{UNTOLD}{where}", class_="untold")


def _summed(every: Sequence[Values], total: Values, *keys: str) -> Html:
    """A count over all hospitals, with how many did not tell theirs."""
    hidden, found = sum(part(one, *keys) is None for one in every), part(total, *keys)
    if not hidden:
        return _told(total, *keys)
    return join([count(found), " + ", _untold(hidden)]) if found else _untold(hidden)


def _age(age: Values | None) -> Html:
    if part(age, "mean") is None:
        return Html(NOTHING)
    return Html(f"{number(part(age, 'mean'), 1)} ({number(part(age, 'sd'), 1)})")


def _share(values: Values, key: str, word: str) -> Html:
    """A class's cases and their percentage."""
    found, cases = part(values, key, word), part(values, "cases")
    if not found or not cases:
        return _told(values, key, word)
    return join([count(found), " ", tag("small", f"{100 * found / cases:.0f}%")])
