"""Survival curves by group of risk, drawn for pages of both sides."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .page_html import Html
from .page_numbers import at, part
from .page_svg import HIGH, INK, LOW, MID, SOFT, drawing, grid_lines, new_figure, to_svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Found = Mapping[str, Any]
GROUP_STYLES = {"low": (LOW, "-"), "intermediate": (MID, (0, (5, 2))), "high": (HIGH, "-")}


def survival(groups: Found) -> Html:
    """Kaplan-Meier by group of risk with 95% bands; below, how many are still followed."""
    names = list(groups["names"])
    last = max((len(curve or ()) for curve in groups["survival"]), default=1) - 1
    with drawing("survival"):
        figure = new_figure(370)
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=(5, 0.42 * len(names)))
        for place, name in enumerate(names):
            _survival_line(above, groups, place, name)
        above.set(ylim=(0, 1.02), xlim=(0, last), ylabel="alive")
        above.yaxis.set_major_formatter(lambda share, _: f"{100 * share:.0f}%")
        grid_lines(above)
        above.legend(
            frameon=False, loc="lower left", labelcolor=INK, title="risk", alignment="left"
        )
        _at_risk(below, groups, names)
        return to_svg(figure, f"survival over {last} months of {len(names)} groups of risk")


def _survival_line(axes: "Axes", groups: Found, place: int, name: str) -> None:
    """A group's curve with its band; nothing where nobody is in the group."""
    curve, low, high = (_curve(groups, key, place) for key in ("survival", "low", "high"))
    if not curve or at(groups, "cases", place) == 0:
        return
    (colour, line), months = GROUP_STYLES.get(name, (SOFT, "-")), range(len(curve))
    if len(low) == len(high) == len(curve):
        axes.fill_between(months, low, high, step="post", color=colour, alpha=0.14, linewidth=0)
    axes.step(months, curve, where="post", color=colour, linewidth=2.2, linestyle=line, label=name)


def _curve(groups: Found, key: str, place: int) -> list[float]:
    row = at(groups, key, place) or ()
    return [math.nan if value is None else float(value) for value in row]


def _at_risk(axes: "Axes", groups: Found, names: Sequence[str]) -> None:
    """The table of numbers below the curves."""
    months = part(groups, "at_risk", "months") or []
    rows = part(groups, "at_risk", "numbers") or []
    axes.set_yticks(range(len(names)), names)
    for label, name in zip(axes.get_yticklabels(), names, strict=True):
        label.set_color(GROUP_STYLES.get(name, (SOFT, "-"))[0])
    axes.set(ylim=(len(names) - 0.5, -0.5), xlabel="months")
    axes.set_title("still followed", loc="left", color=SOFT, fontsize=11.5)
    axes.set_xticks(months)
    axes.tick_params(length=0)
    axes.tick_params(axis="y", pad=14)
    for spine in axes.spines.values():
        spine.set_visible(False)
    for place, numbers in enumerate(rows):
        for month, number in zip(months, numbers or (), strict=False):
            if number is not None:
                axes.text(month, place, f"{number:.0f}", ha="center", va="center", clip_on=False)
