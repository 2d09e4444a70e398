"""Drawings of the evaluation: C-indices, survival by group, calibration, hazard ratios."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ghanet_model.page_html import Html
from ghanet_model.page_numbers import interval, part, ratio_at
from ghanet_model.page_survival import GROUP_STYLES
from ghanet_model.page_svg import (
    ACCENT,
    ALONE,
    CLINICAL,
    HALF,
    INK,
    PAPER,
    SOFT,
    STACKED,
    drawing,
    grid_lines,
    new_figure,
    short,
    to_svg,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ARM_MARKS = {  # told apart by shape too
    "federated": (ACCENT, "o"),
    "alone": (ALONE, "s"),
    "clinical": (CLINICAL, "D"),
    "stacked": (STACKED, "^"),
}
HORIZON_MARKS = "osD^v"
DOTTED = (0, (1, 2.5))
ALL = "all hospitals"
Found = Mapping[str, Any]


def forest(evaluation: Found) -> Html:
    """C-index of every arm with its interval, over all hospitals and at each."""
    arms = evaluation.get("arms") or {}
    blocks = {ALL: {arm: part(arms, arm, "c_within") for arm in ARM_MARKS}}
    blocks |= {name: found or {} for name, found in (evaluation.get("by_hospital") or {}).items()}
    rows = list(_forest_rows(blocks))
    headings = [not arm for _, arm, _ in rows]
    places = [place + 0.4 * sum(headings[: place + 1]) for place in range(len(rows))]
    with drawing("forest"):
        figure = new_figure(52 + 20 * max(places, default=0.0))
        axes = figure.subplots()
        axes.axvline(0.5, color=SOFT, linewidth=0.9, linestyle=DOTTED)
        for place, (name, arm, found) in zip(places, rows, strict=True):
            if found is not None:
                _whisker(axes, place, found, ARM_MARKS[arm], strong=name == ALL)
                _at_the_right(axes, place, interval(found, 2))
        _name_rows(axes, places, [arm or short(name) for name, arm, _ in rows], bold=headings)
        axes.set_xlabel("C-index, pairs inside each hospital")
        return to_svg(figure, "forest plot of C-indices with 95% intervals")


def _forest_rows(blocks: Mapping[str, Found]) -> Iterator[tuple[str, str, Found | None]]:
    """(hospital, arm, value) from above to below; a row of its name alone above a hospital's."""
    for name, found in blocks.items():
        known = [arm for arm in ARM_MARKS if part(found, arm, "value") is not None]
        if known:
            yield name, "", None
        for arm in known:
            yield name, arm, found[arm]


def _whisker(
    axes: "Axes", place: float, found: Found, mark: tuple[str, str], *, strong: bool
) -> None:
    """A value with its interval as a line; ``mark`` is its colour and shape."""
    (colour, shape), low, high = mark, part(found, "low"), part(found, "high")
    if low is not None and high is not None:
        axes.plot([low, high], [place, place], color=colour, linewidth=2.4 if strong else 1.3)
    size = 8 if strong else 5.5
    axes.plot(found["value"], place, shape, color=colour, markersize=size, markeredgecolor=PAPER)


def _at_the_right(axes: "Axes", place: float, said: str) -> None:
    """Numbers beside a row."""
    beside = axes.get_yaxis_transform()
    axes.text(1.03, place, said, va="center", transform=beside, fontsize=11.5)


def _name_rows(
    axes: "Axes", places: Sequence[float], labels: Sequence[str], *, bold: Sequence[bool]
) -> None:
    """Rows from above to below with their names at the left."""
    axes.set_ylim(max(places, default=0.0) + 0.6, min(places, default=0.0) - 0.7)
    axes.set_yticks(places, labels)
    for label, heading in zip(axes.get_yticklabels(), bold, strict=True):
        label.set(color=INK if heading else SOFT, fontweight="bold" if heading else "normal")
    axes.spines["left"].set_visible(False)
    grid_lines(axes, "x")


def calibration(rows: Sequence[Found]) -> Html:
    """Predicted survival against observed, a mark for each horizon, a colour for each group."""
    horizons = sorted({row["months"] for row in rows})
    with drawing("calibration"):
        figure = new_figure(420, HALF)
        axes = figure.subplots()
        axes.plot([0, 1], [0, 1], color=SOFT, linewidth=0.9, linestyle=DOTTED)
        for row in rows:
            mark = HORIZON_MARKS[horizons.index(row["months"]) % len(HORIZON_MARKS)]
            _calibrated(axes, row, GROUP_STYLES.get(row["group"], (SOFT, "-"))[0], mark)
        axes.set(xlim=(0, 1), ylim=(0, 1.02), yticks=(0.2, 0.4, 0.6, 0.8, 1), aspect="equal")
        axes.set(xlabel="predicted survival", ylabel="observed survival")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(lambda share, _: f"{100 * share:.0f}%")
        grid_lines(axes, "both")
        _calibration_key(
            axes, horizons, [name for name in GROUP_STYLES if name in {r["group"] for r in rows}]
        )
        return to_svg(figure, f"predicted and observed survival at {len(horizons)} horizons")


def _calibrated(axes: "Axes", row: Found, colour: str, mark: str) -> None:
    x, y = row.get("predicted"), row.get("observed")
    if x is None or y is None:
        return
    if row.get("low") is not None and row.get("high") is not None:
        axes.plot([x, x], [row["low"], row["high"]], color=colour, linewidth=1.3)
    axes.plot(x, y, mark, color=colour, markersize=8, markeredgecolor=PAPER)


def _calibration_key(axes: "Axes", horizons: Sequence[float], names: Sequence[str]) -> None:
    """Marks are horizons, colours are groups."""
    from matplotlib.lines import Line2D  # noqa: PLC0415

    marks = [
        Line2D(
            [],
            [],
            linestyle="",
            marker=HORIZON_MARKS[place % 5],
            color=SOFT,
            label=f"{months:g} months",
        )
        for place, months in enumerate(horizons)
    ]
    colours = [
        Line2D([], [], linewidth=4, color=GROUP_STYLES[name][0], label=f"{name} risk")
        for name in names
    ]
    axes.legend(handles=[*marks, *colours], frameon=False, loc="lower right", labelcolor=INK)


def hazard_ratios(arm: str, cox: Found, words: Sequence[str]) -> Html:
    """Hazard ratios with 95% intervals on a logarithmic axis."""
    with drawing(f"cox-{arm}"):
        figure = new_figure(56 + 26 * len(words))
        axes = figure.subplots()
        axes.axvline(1, color=SOFT, linewidth=0.9, linestyle=DOTTED)
        axes.set_xscale("log")
        for place in range(len(words)):
            found = ratio_at(cox, place)
            if found["value"] is not None:
                _whisker(axes, place, found, ARM_MARKS.get(arm, (ACCENT, "o")), strong=True)
                _at_the_right(axes, place, interval(found, 2))
        _name_rows(axes, range(len(words)), words, bold=[False] * len(words))
        _ratio_ticks(axes)
        axes.set_xlabel("hazard ratio per standard deviation")
        return to_svg(figure, f"hazard ratios of the {arm} Cox model")


def _ratio_ticks(axes: "Axes") -> None:
    """Ratios that people say, as far as the axis reaches."""
    from matplotlib.ticker import NullLocator  # noqa: PLC0415

    low, high = axes.get_xlim()
    low, high = min(low, 0.78), max(high, 1.3)
    said = [v for v in (0.1, 0.2, 0.5, 0.7, 1, 1.5, 2, 3, 5, 10) if low <= v <= high]
    axes.set_xlim(low, high)
    axes.set_xticks(said, [f"{value:g}" for value in said])
    axes.xaxis.set_minor_locator(NullLocator())
