"""Predicted against observed survival of one hospital, drawn for its page."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ghanet_model.page_html import Html
from ghanet_model.page_survival import GROUP_STYLES
from ghanet_model.page_svg import INK, PAPER, SOFT, drawing, grid_lines, new_figure, to_svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MARKS = "osD^v"
DOTTED = (0, (1, 2.5))
Row = Mapping[str, Any]


def calibration_plot(rows: Sequence[Row]) -> Html:
    """A mark for each edge of the study, a colour for each group of risk and one for all."""
    months = sorted({row["months"] for row in rows})
    with drawing("validation-calibration"):
        figure = new_figure(375, 610)
        axes = figure.subplots()
        axes.plot([0, 1], [0, 1], color=SOFT, linewidth=0.9, linestyle=DOTTED)
        for row in rows:
            _draw(axes, row, MARKS[months.index(row["months"]) % len(MARKS)])
        axes.set(xlim=(0, 1.01), ylim=(0, 1.02), yticks=(0.2, 0.4, 0.6, 0.8, 1), aspect="equal")
        axes.set(xlabel="predicted survival", ylabel="observed survival")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(lambda share, _: f"{100 * share:.0f}%")
        grid_lines(axes, "both")
        _key(figure, months, list(dict.fromkeys(row["group"] for row in rows)))
        return to_svg(
            figure, f"predicted and observed survival at {len(months)} months of the study"
        )


def _colour(group: str) -> str:
    return GROUP_STYLES[group][0] if group in GROUP_STYLES else INK


def _draw(axes: "Axes", row: Row, mark: str) -> None:
    x, y, colour = row["predicted"], row["observed"], _colour(row["group"])
    if y is None:
        return
    if row["low"] is not None:
        axes.plot([x, x], [row["low"], row["high"]], color=colour, linewidth=1.3)
    axes.plot(x, y, mark, color=colour, markersize=8, markeredgecolor=PAPER, clip_on=False)


def _key(figure: "Figure", months: Sequence[float], groups: Sequence[str]) -> None:
    """Marks are months, colours are groups; beside the axes, where no point can be."""
    from matplotlib.lines import Line2D  # noqa: PLC0415 - takes a second

    marks = [
        Line2D(
            [], [], linestyle="", color=SOFT, marker=MARKS[n % len(MARKS)], label=f"{m:g} months"
        )
        for n, m in enumerate(months)
    ]
    colours = [
        Line2D([], [], linewidth=4, color=_colour(g), label=f"{g} risk" if g in GROUP_STYLES else g)
        for g in groups
    ]
    figure.legend(
        handles=[*marks, *colours],
        loc="outside right upper",
        labelcolor=INK,
        frameon=False,
        handlelength=1.6,
    )
