"""Parts 8 to 10 of the page: genes and features, what was withheld, digests and method."""

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from ghanet_model.page_html import Html, bullets, join, later, section, table, tag
from ghanet_model.page_html import note as noted
from ghanet_model.page_numbers import NOTHING, count, number, part, plural

from .report_words import (
    HORIZONS,
    LIMITS,
    MISSING_NOTE,
    NO_PANEL,
    NOT_COMPARED,
    SELECTIONS,
    SIMILARITY,
    SMALL_NUMBERS,
    SUMS,
    TIES,
    VALIDATION,
)

Values = Mapping[str, Any]
_TIME = re.compile(r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d)[\d:]*\+00:00")


def genes_and_features(place: int, twin: Values) -> Html:
    """The gene panel, and whose features are unlike the others'."""
    genes = _genes(twin) if twin.get("genes") else later(NO_PANEL)
    headed = (tag("h3", "Gene panel"), genes, tag("h3", "Features"), _features(twin))
    return section(place, "Genes and features", *headed)


def _genes(twin: Values) -> Html:
    genes, settings = twin["genes"], twin["settings"]
    coverage = genes.get("coverage") or {}
    rows = [_group_row(group, coverage) for group in genes["groups"]]
    head = ("group", "candidates", *(f"measured at {name}" for name in coverage), "learnt")
    selected = SELECTIONS.get(settings.get("gene_selection"), "").format(**settings)
    said = f"{plural(genes['columns'], 'gene column')} in {plural(len(rows), 'group')}. {selected}"
    return join([tag("p", said), table(head, rows, caption="Gene columns by group")])


def _group_row(group: Values, coverage: Values) -> Sequence[str]:
    name = group["name"]
    measured = (part(coverage, hospital, name) or [None] for hospital in coverage)
    counts = (group["candidates"], *(found[0] for found in measured), group["kept"])
    return name, *map(count, counts)


def _features(twin: Values) -> Html:
    made, found = tag("p", _encoder(twin["settings"])), twin.get("signature")
    similar, least = part(found, "similarity") or {}, part(found, "least")
    if not similar:
        return join([made, later(NOT_COMPARED)])
    foreign = part(found, "foreign") or []
    rows = [
        (name, _bar(value), number(value, 2), "unlike the others" if name in foreign else "")
        for name, value in similar.items()
    ]
    said = f"{SIMILARITY.format(least=number(least, 2))} {_named(foreign, least)}"
    head = ("hospital", "", "similarity", "")
    compared = table(head, rows, caption="Similarity of features", left=(0, 1, 3))
    return join([made, tag("p", said), compared])


def _encoder(settings: Values) -> str:
    """What made the features, and under which terms."""
    terms, cut = settings.get("encoder_terms"), settings.get("extraction") or {}
    microns = f"{cut['pixels']} pixels at {number(cut['mpp'], 2)} microns each" if cut else "?"
    return f"Encoder: {settings['encoder']}, patches of {microns}. Its terms: {terms or NOTHING}."


def _named(foreign: Sequence[str], least: float | None) -> str:
    if not least:
        return "The study has switched this off: nobody would be named."
    return f"Named: {', '.join(foreign)}." if foreign else "No hospital is below."


def _bar(value: float | None) -> Html:
    if value is None:
        return Html("")
    width = f"width:{100 * min(1.0, max(0.0, value)):.0f}%"
    return tag("span", tag("span", style=width), class_="bar", aria_hidden="true")


def withheld(place: int, twin: Values) -> Html:
    """Everything that is missing."""
    title, rows = "Withheld and left out", twin["withheld"]
    if not rows:
        return section(place, title, tag("p", "Nothing was withheld and nobody was left out."))
    where = len({row["hospital"] for row in rows if row["hospital"]})
    counted = f"{plural(len(rows), 'entry', 'entries')} at {plural(where, 'hospital')}."
    cells = table(("what", "why"), _withheld_rows(rows), left=(0, 1), kind="prose")
    return section(place, title, tag("p", f"{counted} {MISSING_NOTE}"), cells)


def _withheld_rows(rows: Sequence[Values]) -> Iterator[Sequence[str]]:
    """A heading per hospital, a row per thing."""
    for name, some in groupby(rows, key=lambda row: row["hospital"]):
        yield (name or "all hospitals",)
        for row in some:
            yield row["what"], _TIME.sub(r"\1 \2 UTC", row["why"])


def account(place: int, twin: Values) -> Html:
    """What proves the numbers, how they were computed, what they do not say."""
    found = twin.get("digests") or {}
    digests = {
        "study": found.get("study"),
        "release": found.get("release") or "not made yet",
        "software": found.get("software"),
        f"ledger, line {count(found.get('ledger_lines'))}": found.get("ledger_head") or "empty",
    }
    listed = (piece for what, value in digests.items() for piece in _digest(what, value))
    versions = ", ".join(f"{n} {v}" for n, v in (found.get("versions") or {}).items())
    return section(
        place,
        "Digests and method",
        tag("dl", *listed, class_="digests"),
        noted(f"Versions at the coordinator: {versions}.") if versions else "",
        tag("h3", "How it was computed"),
        bullets(_method(twin["settings"])),
        tag("h3", "What it does not say"),
        bullets(LIMITS),
    )


def _digest(what: str, value: object) -> Sequence[Html]:
    return tag("dt", what), tag("dd", tag("code", str(value or NOTHING)))


def _method(settings: Values) -> Iterator[str]:
    yield SUMS.format(**settings)
    if settings["validation"]:
        yield VALIDATION.format(**settings)
    yield HORIZONS.format(horizons=", ".join(f"{edge:g}" for edge in settings["time_bin_edges"]))
    yield SMALL_NUMBERS.format(**settings)
    yield TIES
