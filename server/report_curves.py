"""Drawings of training: C-index and loss by round, each hospital faint, all together bold."""

import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ghanet_model.files import write_atomic
from ghanet_model.page_html import Html
from ghanet_model.page_svg import (
    ACCENT,
    HALF,
    INK,
    PAPER,
    SOFT,
    apart,
    drawing,
    grid_lines,
    new_figure,
    short,
    to_svg,
)

from .checkpoint import SiteRound
from .rounds import total_c_index

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_NAMES = 12  # hospitals whose lines are named; more could not be read
HEIGHT = 290
Curves = Mapping[str, Sequence[float]]  # by name; NaN where there is none


def c_index_curve(stages: Sequence[Mapping[str, Any]]) -> Html:
    """C-index of the model behind 0, 1, ... rounds, at each hospital and over all pairs."""
    stages = [stage for stage in stages if stage["behind"] is not None]
    rounds = [stage["behind"] for stage in stages]
    label = f"C-index by round, {len(_names(stages))} hospitals and all together"
    with drawing("c-index"):
        figure = new_figure(HEIGHT, HALF)
        axes = figure.subplots()
        axes.axhline(0.5, color=SOFT, linewidth=0.9, linestyle=(0, (1, 2.5)))
        every = _column(stages, "c_index")
        _lines(axes, rounds, _by_hospital(stages, "c_index"), every)
        axes.set(xlabel="rounds behind the model", ylabel="C-index")
        return to_svg(figure, label)


def loss_curve(stages: Sequence[Mapping[str, Any]], chosen: int | None) -> Html:
    """Training loss in each round, and validation loss of the model behind as many rounds."""
    trained = [stage for stage in stages if stage["loss"] is not None]
    rounds = [stage["behind"] + 1 for stage in trained]
    with drawing("loss"):
        figure = new_figure(HEIGHT, HALF)
        axes = figure.subplots()
        every = _column(trained, "loss")
        if any(stage["validation"] is not None for stage in stages):
            _validation(axes, stages, chosen)
        _lines(axes, rounds, _by_hospital(trained, "loss"), every)
        axes.set(xlabel="round", ylabel="loss")
        return to_svg(figure, f"training loss in {len(trained)} rounds")


def _validation(axes: "Axes", stages: Sequence[Mapping[str, Any]], chosen: int | None) -> None:
    stages = [stage for stage in stages if stage["behind"] is not None]
    rounds, values = _column(stages, "behind"), _column(stages, "validation")
    axes.plot(rounds, values, color=INK, linewidth=1.6, linestyle=(0, (4, 2)))
    if chosen in rounds:
        place = chosen, values[rounds.index(chosen)]
        axes.plot(*place, "o", color=INK, markerfacecolor=PAPER, markersize=8, markeredgewidth=1.6)


def _names(stages: Sequence[Mapping[str, Any]]) -> list[str]:
    return sorted({name for stage in stages for name in stage["hospitals"]})


def _by_hospital(stages: Sequence[Mapping[str, Any]], key: str) -> Curves:
    found = {
        name: _column([stage["hospitals"].get(name) or {} for stage in stages], key)
        for name in _names(stages)
    }
    return {name: values for name, values in found.items() if not all(map(math.isnan, values))}


def _column(values: Sequence[Mapping[str, Any]], key: str) -> list[float]:
    """One number of each, NaN where there is none."""
    found = [one.get(key) for one in values]
    return [math.nan if number is None else float(number) for number in found]


def _lines(axes: "Axes", rounds: Sequence[int], curves: Curves, every: Sequence[float]) -> None:
    """The hospitals' lines faint, all together bold; a lone round is a point."""
    marker = "o" if len(rounds) < 3 else ""
    for values in curves.values():
        axes.plot(rounds, values, color=SOFT, linewidth=1.1, alpha=0.6, marker=marker, markersize=3)
    axes.plot(rounds, every, color=ACCENT, linewidth=2.6, marker="o", markersize=4)
    grid_lines(axes)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
    axes.margins(x=0.03)
    _names_at_the_end(axes, rounds, {**curves, "all": every})


def _names_at_the_end(axes: "Axes", rounds: Sequence[int], curves: Curves) -> None:
    """Each line's name beside its last value, as far as names can be read."""
    shown = curves if len(curves) <= MOST_NAMES + 1 else {"all": curves["all"]}
    known = {n: [v for v in vs if not math.isnan(v)] for n, vs in shown.items()}
    ends = {name: values[-1] for name, values in known.items() if values}
    low, high = axes.get_ylim()
    places = apart(list(ends.values()), 0.064 * (high - low))
    axes.set_ylim(low, high)
    for name, place in zip(ends, places, strict=True):
        _name(axes, short(name), max(rounds), place, bold=name == "all")


def _name(axes: "Axes", name: str, x: float, y: float, *, bold: bool) -> None:
    axes.annotate(
        name,
        (x, y),
        xytext=(9, 0),
        textcoords="offset points",
        va="center",
        color=ACCENT if bold else SOFT,
        fontweight="bold" if bold else "normal",
        fontsize=12.5 if bold else 11.5,
        annotation_clip=False,
    )


def write_curve(path: Path, names: tuple[str, ...], stages: list[tuple[SiteRound, ...]]) -> None:
    """Plot the C-index of every site and over all against the rounds behind the model."""
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.subplots()
    rounds = range(len(stages))
    for name in names:
        sums = [next((s.evaluation for s in stage if s.name == name), None) for stage in stages]
        values = [s.concordance.c_index if s else None for s in sums]
        axes.plot(rounds, [_or_nan(v) for v in values], marker=".", alpha=0.6, label=name)
    overall = [_or_nan(total_c_index(stage)) for stage in stages]
    axes.plot(rounds, overall, color="black", linewidth=2.2, marker="o", label="all, by pairs")
    axes.axhline(0.5, color="grey", linewidth=0.8, linestyle=":")
    axes.set_xlabel("rounds behind the model")
    axes.set_ylabel("C-index, pairs inside each hospital")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(loc="best", fontsize="small", frameon=False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=150)
    write_atomic(path, buffer.getvalue())


def _or_nan(value: float | None) -> float:
    return float("nan") if value is None else value
