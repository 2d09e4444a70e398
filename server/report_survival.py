"""Parts 5 and 6 of the page: survival by group of risk, calibration, errors of predictions."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from ghanet_model.page_html import Html, figure, join, later, note, section, table, tag
from ghanet_model.page_numbers import NOTHING, TO, count, number, p_value, part, plural
from ghanet_model.page_survival import survival

from .report_plots import calibration
from .report_words import (
    BRIER,
    CALIBRATION,
    CUTOFFS,
    KAPLAN_MEIER,
    LATER,
    NO_GROUP,
    WITHHELD_GROUPS,
)

Values = Mapping[str, Any]


def by_group(place: int, twin: Values) -> Html:
    """Survival of low, intermediate and high risk."""
    title, groups = "Survival by group of risk", part(twin, "evaluation", "groups")
    if groups is None:
        return section(place, title, later(LATER))
    if not groups.get("survival"):
        return section(place, title, later(NO_GROUP))
    warning = _warning(groups.get("withheld") or {})
    drawing = figure(survival(groups), KAPLAN_MEIER)
    return section(place, title, warning, tag("p", _tested(groups)), drawing)


def _warning(withheld: Mapping[str, Sequence[str]]) -> Html:
    if not withheld:
        return Html("")
    where = "; ".join(f"{name}: {', '.join(groups)}" for name, groups in withheld.items())
    said = WITHHELD_GROUPS.format(hospitals=plural(len(withheld), "hospital"), where=where)
    return tag("p", tag("b", "Mind: "), said, class_="warning")


def _tested(groups: Values) -> str:
    """Cases by group, the log-rank test, the cut-offs."""
    low, high = groups.get("cutoffs") or (None, None)
    told = zip(groups["names"], groups.get("cases") or (), strict=False)
    cases = ", ".join(f"{name} {count(number_)}" for name, number_ in told)
    cut = CUTOFFS.format(low=number(low, 2), high=number(high, 2))
    return (
        f"Cases by group: {cases}. Log-rank test: {_log_rank(groups.get('log_rank') or {})}. {cut}"
    )


def _log_rank(test: Values) -> str:
    if test.get("chi2") is None:
        return "not estimable"
    degrees, p = plural(test.get("dof") or 0, "degree"), p_value(test.get("p"))
    return f"chi-squared {number(test['chi2'], 1)}, {degrees} of freedom, p {p}"


def calibrated(place: int, twin: Values) -> Html:
    """Predicted against observed survival, and errors of predictions."""
    title, rows = "Calibration and Brier score", part(twin, "evaluation", "calibration")
    if not rows:
        said = NO_GROUP if twin.get("evaluation") else LATER
        return section(place, title, later(said), _brier(twin))
    head = ("group of risk", "cases", "predicted", "observed (95% interval)")
    cells = table(head, _calibration_rows(rows), caption="Survival, predicted and observed")
    both = tag("div", figure(calibration(rows), CALIBRATION), cells, class_="pair")
    return section(place, title, both, _brier(twin))


def _calibration_rows(rows: Sequence[Values]) -> Iterator[Sequence[str]]:
    """A heading per horizon, a row per group."""
    for months, some in groupby(rows, key=lambda row: row["months"]):
        yield (f"at {months:g} months",)
        for row in some:
            predicted, observed = _percent(row.get("predicted")), _percent(row.get("observed"))
            yield row["group"], count(row.get("cases")), predicted, f"{observed}{_limits(row)}"


def _percent(share: float | None) -> str:
    return NOTHING if share is None else f"{100 * share:.0f}%"


def _limits(row: Values) -> str:
    low, high = row.get("low"), row.get("high")
    return "" if low is None or high is None else f" ({100 * low:.0f}{TO}{100 * high:.0f}%)"


def _brier(twin: Values) -> Html:
    """Errors of the model's predictions beside those of one Kaplan-Meier curve for all."""
    found = twin.get("evaluation")
    whole = part(found, "integrated_brier")
    rows = [_brier_row(f"at {row['months']:g} months", row) for row in part(found, "brier") or ()]
    if whole:
        rows.append(_brier_row(f"integrated to {whole['months']:g} months", whole))
    if not rows:
        return Html("")
    head = ("Brier score", "model", "Kaplan-Meier alone", "gained")
    return join([table(head, rows, caption="Errors of predicted survival"), note(BRIER)])


def _brier_row(title: str, row: Values) -> Sequence[str]:
    model, alone = row.get("model"), row.get("kaplan_meier")
    gained = None if model is None or not alone else 100 * (1 - model / alone)
    share = NOTHING if gained is None else f"{number(gained, 1)}%"
    return title, number(model), number(alone), share
