"""The page of a validation: one file that needs nothing else, made of its numbers.

First whether to believe it, then order, probabilities, groups, errors, then what to do with it.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from ghanet_model.page_html import (
    Html,
    bullets,
    document,
    figure,
    join,
    later,
    note,
    section,
    table,
    tag,
    tile,
)
from ghanet_model.page_numbers import (
    NOTHING,
    TO,
    between,
    count,
    interval,
    number,
    p_value,
    part,
    plural,
)
from ghanet_model.page_survival import survival

from . import validation_words as words
from .validation_numbers import ALL, FEW_DEATHS, SLOPE_DEATHS
from .validation_plot import calibration_plot
from .validation_table import warnings_of, which_cases, why_none

Found = Mapping[str, Any]


def validation_page(found: Found) -> str:
    """The page.

    Args:
        found: as the JSON file holds it.
    """
    parts = (
        ("Which cases", _cases(found)),
        ("Does it order patients?", _order(found)),
        ("Are its probabilities right here?", _calibration(found)),
        ("Survival by group of risk", _groups(found)),
        ("Errors of predicted survival", _brier(found)),
        ("Recalibration for this hospital", _recalibration(found)),
        ("Limits", [bullets(_limits(found))]),
        ("Where this comes from", [_provenance(found)]),
    )
    body = (section(place, title, *content) for place, (title, content) in enumerate(parts, 1))
    title = f"Validation of {found['release']['name']} at {found['hospital']}"
    return document(title, tag("main", _top(title, found), *body))


def _top(title: str, found: Found) -> Html:
    warnings = (tag("p", tag("b", "Mind: "), said, class_="warning") for said in warnings_of(found))
    return tag(
        "header",
        tag("p", "Federated G-HANet", class_="kicker"),
        tag("h1", title),
        tag("p", tag("b", words.BANNER), " ", words.STAYS, class_="warning", role="note"),
        *warnings,
        tag("div", *_tiles(found), class_="tiles"),
    )


def _tiles(found: Found) -> Iterator[Html]:
    yield tile("cases", count(found["cases"]), plural(found["deaths"], "death"))
    own, theirs = found["c_index"], found["release_c_index"]
    yield tile("C-index here", number(own["value"]), _limits_of(own))
    yield tile("the release's own", number(part(theirs, "value")), _limits_of(theirs))
    name = "observed / expected"
    yield tile(name, number(part(found["ratio"], "value"), 2), _limits_of(found["ratio"], 2))


def _limits_of(found: Any, digits: int = 3) -> str:
    limits = between(found, digits)
    return f"95% interval {limits}" if limits else "no interval"


def _cases(found: Found) -> Iterator[Html]:
    last = f"{found['horizons'][-1]:g} months"
    follow_up = found["follow_up"]
    rows = [
        ("cases", which_cases(found)),
        ("died", count(found["deaths"])),
        (f"died before {last}", count(found["deaths_before_last_edge"])),
        ("deaths expected before that", number(found["expected_deaths"], 1)),
        ("median follow-up", "not reached" if follow_up is None else f"{follow_up:g} months"),
    ]
    yield table(("", "found"), rows, left=(0, 1), kind="prose")


def _order(found: Found) -> Iterator[Html]:
    own, theirs = found["c_index"], found["release_c_index"]
    rows = [
        ("this hospital", number(own["value"]), between(own) or NOTHING, count(own["pairs"])),
        ("the release's own", number(part(theirs, "value")), between(theirs) or NOTHING, NOTHING),
    ]
    yield table(("C-index", "value", "95% interval", "pairs"), rows)
    if own["value"] is None:
        yield later(words.NO_PAIR)
    if theirs is None:
        yield later(words.NO_RELEASE_C)
    is_own = found["hospital"] in (part(theirs, "hospitals") or ())
    hospitals = words.OWN_TOO if is_own else ""
    yield note(words.ORDER.format(replicates=count(own["replicates"]), hospitals=hospitals))


def _calibration(found: Found) -> Iterator[Html]:
    rows = found["calibration"]
    head = ("group", "cases", "followed", "predicted", "observed", "observed / expected deaths")
    yield table(head, _calibration_rows(rows), caption="Survival, predicted and observed")
    yield note(words.RATIO)
    yield figure(calibration_plot(rows), words.CALIBRATION)
    fitted = found["line"] or {}
    lines = [
        ("intercept, slope held at 1", interval(found["intercept"], 2)),
        ("slope between cases", interval(found["slope_between"], 2)),
        ("intercept a, with b", interval(fitted.get("a"), 2)),
        ("slope b, cases and time", interval(fitted.get("b"), 2)),
    ]
    yield table(("", "value (95% interval)"), lines, caption="Intercept and slope")
    rule = words.RULE.format(few=FEW_DEATHS, most=SLOPE_DEATHS - 1, slope=SLOPE_DEATHS)
    yield note(words.SLOPES.format(recalibrated=rule[0].lower() + rule[1:]))


def _calibration_rows(rows: Sequence[Found]) -> Iterator[Sequence[str]]:
    """A heading per edge, a row per group."""
    for months, some in groupby(rows, key=lambda row: row["months"]):
        yield (f"at {months:g} months",)
        for row in some:
            ratio = {"value": row["ratio"], "low": row["ratio_low"], "high": row["ratio_high"]}
            yield (
                row["group"] if row["group"] != ALL else "all cases",
                count(row["cases"]),
                count(row["followed"]),
                _percent(row["predicted"]),
                _percent(row["observed"]) + _percents(row),
                interval(ratio, 2),
            )


def _percent(share: float | None) -> str:
    return NOTHING if share is None else f"{100 * share:.0f}%"


def _percents(row: Found) -> str:
    low, high = row["low"], row["high"]
    return "" if low is None or high is None else f" ({100 * low:.0f}{TO}{100 * high:.0f}%)"


def _groups(found: Found) -> Iterator[Html]:
    groups = found["groups"]
    low, high = (number(cut, 2) for cut in groups["cutoffs"])
    yield figure(survival(groups), words.GROUPS.format(low=low, high=high))
    yield tag("p", _tested(groups))


def _tested(groups: Found) -> str:
    told = zip(groups["names"], groups["cases"], groups["deaths"], strict=True)
    said = ", ".join(f"{name} {cases} ({plural(deaths, 'death')})" for name, cases, deaths in told)
    test = groups["log_rank"]
    if test is None:
        return f"Cases by group: {said}. Log-rank test: not estimable."
    degrees = plural(test["dof"], "degree")
    return (
        f"Cases by group: {said}. Log-rank test: chi-squared {number(test['chi2'], 1)}, {degrees} "
        f"of freedom, p {p_value(test['p'])}."
    )


def _brier(found: Found) -> Iterator[Html]:
    rows = [(f"at {row['months']:g} months", row) for row in found["brier"]]
    if whole := found["integrated_brier"]:
        rows.append((f"integrated to {whole['months']:g} months", whole))
    if not rows:
        yield later(words.NO_BRIER)
        return
    head = ("Brier score", "release", "Kaplan-Meier alone", "gained")
    yield table(head, [_brier_row(title, row) for title, row in rows])
    yield note(words.BRIER)


def _brier_row(title: str, row: Found) -> Sequence[str]:
    own, alone = row["model"], row["kaplan_meier"]
    gained = f"{number(100 * (1 - own / alone), 1)}%" if alone else NOTHING
    return title, number(own), number(alone), gained


def _recalibration(found: Found) -> Iterator[Html]:
    kept = found["recalibration"]
    if kept is None:
        yield later(words.NO_RECALIBRATION.format(why=why_none(found)))
        return
    a, b = number(kept["a"]), number(kept["b"])
    yield tag("p", words.RECALIBRATION.format(a=a, b=b, deaths=kept["deaths"]))
    command = f"ghanet-client predict --recalibration {kept['file']}"
    yield tag("p", tag("code", command))


def _limits(found: Found) -> Iterator[str]:
    last = f"{found['horizons'][-1]:g}"
    yield from (limit.format(last=last) for limit in words.LIMITS)
    yield f"Terms of the encoder: {found['encoder']['terms']}."


def _provenance(found: Found) -> Html:
    release = found["release"]
    facts = {
        "release": f"{release['name']}, {release['sha256']}",
        "signed by": release["signed_by"],
        "study": release["study"],
        "encoder": found["encoder"]["name"],
        "made": found["date"],
    }
    listed = ((tag("dt", what), tag("dd", tag("code", said))) for what, said in facts.items())
    return tag("dl", *(join(pair) for pair in listed), class_="digests")
