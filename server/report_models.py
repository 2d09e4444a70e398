"""Parts 4 and 7 of the page: how well each model orders cases, and the clinical Cox models."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ghanet_model.metrics import events_in_words
from ghanet_model.page_html import Html, bullets, figure, join, later, note, section, table, tag
from ghanet_model.page_numbers import (
    NOTHING,
    at,
    between,
    count,
    interval,
    number,
    p_value,
    part,
    plural,
    ratio_at,
    signed,
)

from .report_plots import ARM_MARKS, forest, hazard_ratios
from .report_words import ARMS, COX, FOREST, HOW_C, HOW_COX, LATER

Values = Mapping[str, Any]
UNITS = {"age": "year", "female": "women : men", "grade": "grade", "stage": "stage"}
NAMES = {"female": "female sex", "model risk": "model's risk"}


def c_indices(place: int, twin: Values) -> Html:
    """C-index of every arm, their differences, and by hospital."""
    title, found = "C-indices", twin.get("evaluation") or {}
    if not found.get("arms"):
        return section(place, title, later(_so_far(twin)))
    arms = (join([tag("b", a), f": {said}"]) for a, said in ARMS.items() if a in found["arms"])
    return section(
        place,
        title,
        _arms_table(found),
        bullets(arms),
        _differences(found),
        figure(forest(found), FOREST),
        _by_hospital(found),
        note(HOW_C.format(replicates=count(found.get("replicates")))),
    )


def _so_far(twin: Values) -> str:
    if twin.get("c_index") is None:
        return f"{LATER} Learning curves show the C-index by round."
    so_far = f"The last model's C-index is {number(twin['c_index'])}, without an interval"
    return f"{so_far}: models were not compared."


def _arms_table(found: Values) -> Html:
    c = ("C within hospitals (95% interval)", "pairs", "C over all pairs [bounds]")
    head = ("model", *c, "cases", "deaths", "hospitals")
    rows = [_arm_row(arm, values or {}) for arm, values in found["arms"].items()]
    return table(head, rows, caption="C-index on evaluation cases")


def _arm_row(arm: str, values: Values) -> Sequence[str]:
    hospitals, events = values.get("hospitals"), values.get("events")
    untold = values.get("untold_events") or 0
    return (
        arm,
        interval(values.get("c_within")),
        count(part(values, "c_within", "pairs")),
        _bounded(values.get("c_all")),
        count(values.get("cases")),
        NOTHING if events is None else events_in_words(events, untold),
        count(len(hospitals) if isinstance(hospitals, list) else hospitals),
    )


def _bounded(found: Values | None) -> str:
    """C over all pairs with the bounds that follow from the grid."""
    limits = between(found)
    return number(part(found, "value")) + (f" [{limits}]" if limits else "")


def _differences(found: Values) -> Html:
    rows = [
        (
            f"{row['of']} minus {row['minus']}",
            signed(row),
            _verdict(row),
            count(len(row.get("hospitals") or ())),
        )
        for row in found.get("differences") or ()
    ]
    head = ("difference in C", "value (95% interval)", "", "hospitals")
    caption = "Differences, on the same cases and draws"
    return table(head, rows, caption=caption, left=(0, 2)) if rows else Html("")


def _verdict(row: Values) -> str:
    low, high = row.get("low"), row.get("high")
    if low is None or high is None:
        return "no interval" if row.get("hospitals") else "no hospital has both"
    includes = low <= 0 <= high
    return "includes 0: no difference is shown" if includes else "the interval excludes 0"


def _by_hospital(found: Values) -> Html:
    rows = [
        (name, *(_pairs_cell(part(values, arm)) for arm in ARM_MARKS))
        for name, values in (found.get("by_hospital") or {}).items()
    ]
    head, caption = ("hospital", *ARM_MARKS), "C-index by hospital, 95% interval and pairs"
    return table(head, rows, caption=caption) if rows else Html("")


def _pairs_cell(values: Values | None) -> Html:
    if part(values, "value") is None:
        return Html(NOTHING)
    return join([interval(values, 2), " ", tag("small", count(part(values, "pairs")))])


def cox_models(place: int, twin: Values) -> Html:
    """The clinical baseline, and what the model's risk adds to it."""
    title, found = "Clinical Cox models", part(twin, "evaluation", "cox")
    if not found:
        said = "None could be fitted." if twin.get("evaluation") else LATER
        return section(place, title, later(said))
    fits = {arm: cox for arm, cox in found.items() if cox}
    pieces = (piece for arm, cox in fits.items() for piece in _cox(arm, cox))
    ways = dict.fromkeys(_how_cox(cox) for cox in fits.values())
    return section(place, title, *pieces, *map(note, ways))


def _cox(arm: str, cox: Values) -> Iterator[Html]:
    covariates = cox.get("covariates") or []
    words = [NAMES.get(name, name) for name in covariates]
    yield tag("h3", f"{arm.capitalize()}: {ARMS.get(arm, '')}")
    yield figure(hazard_ratios(arm, cox, words), f"Hazard ratios with 95% intervals, {arm} model.")
    ratios = ("hazard ratio per SD (95% interval)", "p", "hazard ratio per unit", "unit")
    head = ("covariate", *ratios, "SD", "known for")
    rows = [_covariate(cox, name, place) for place, name in enumerate(covariates)]
    yield table(head, rows, caption=f"{arm.capitalize()} model", left=(0, 4))
    yield note(_fitted(cox))


def _covariate(cox: Values, name: str, place: int) -> Sequence[str]:
    sd = at(cox, "sd", place)
    found = ratio_at(cox, place)
    per_unit = {key: _per_unit(value, sd) for key, value in found.items()}
    return (
        NAMES.get(name, name),
        interval(found, 2),
        p_value(at(cox, "p", place)),
        interval(per_unit, 2) if name in UNITS else NOTHING,
        UNITS.get(name, ""),
        number(sd, 2),
        count(at(cox, "known", place)),
    )


def _per_unit(ratio: float | None, sd: float | None) -> float | None:
    """A ratio per standard deviation as one per year, grade or stage."""
    return math.exp(math.log(ratio) / sd) if ratio and sd else None


def _fitted(cox: Values) -> str:
    """On whom a model was fitted."""
    withheld = ", ".join(cox.get("withheld") or ())
    return COX.format(
        cases=count(cox.get("cases")),
        deaths=count(cox.get("events")),
        hospitals=plural(len(cox.get("hospitals") or ()), "hospital"),
        left_out=f" Left out for small numbers: {withheld}." if withheld else "",
    )


def _how_cox(cox: Values) -> str:
    ties = str(cox.get("ties") or NOTHING).capitalize()
    return HOW_COX.format(ties=ties, half=(cox.get("l2") or 0) / 2)
