"""What a check found as a picture: follow-up, events, slides and genes. Stays at the site."""

import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ghanet_model.files import write_atomic

from .check import GroupCoverage, SiteReport

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PLOT_FILE = "check.png"
EVENT, CENSORED = "#d55e00", "#56b4e9"  # told apart by every eye, and in grey
PLAIN = "#0072b2"
_BARS = 24  # of the follow-up histogram
_MOST_GROUPS = 12  # that can be read
_LONGEST_NAME = 30  # letters of a group


def write_plot(folder: Path, report: SiteReport) -> Path:
    """Draw what there is into ``check.png``, readable by its owner only, and return its path."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415 - takes a second
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=(11, 7.6), layout="constrained")
    FigureCanvasAgg(figure)
    (above,), (below,) = figure.subfigures(2, 1, squeeze=False)  # names below take no room above
    (times, bins), (slides, genes) = above.subplots(1, 2), below.subplots(1, 2)
    figure.suptitle(f"{report.site}, study {report.study}: {report.cases} cases")
    for axes in (times, bins, slides, genes):
        axes.spines[["top", "right"]].set_visible(False)
    _draw_times(times, report)
    _draw_bins(bins, report)
    _draw_slides(slides, report)
    _draw_genes(genes, report)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=150)
    write_atomic(folder / PLOT_FILE, buffer.getvalue(), private=True)
    return folder / PLOT_FILE


def _draw_times(axes: "Axes", report: SiteReport) -> None:
    """Cases by months of follow-up, and where the study's time bins meet."""
    axes.set_title("Follow-up")
    if not report.outcomes:
        _say(axes, "no outcomes")
        return
    died = [outcome.time for outcome in report.outcomes if outcome.event]
    alive = [outcome.time for outcome in report.outcomes if not outcome.event]
    end = max(*died, *alive, *report.edges)
    axes.hist(
        [died, alive],
        bins=np.linspace(0, end, _BARS + 1).tolist(),
        stacked=True,
        color=[EVENT, CENSORED],
        label=["event", "censored"],
    )
    for place, edge in enumerate(report.edges):
        label = "edge of time bins" if place == 0 else None
        axes.axvline(edge, color="grey", linewidth=1.2, linestyle=":", label=label)
    axes.set_xlabel("months")
    _name_cases(axes)
    axes.legend(loc="best", fontsize="small", frameon=False)


def _draw_bins(axes: "Axes", report: SiteReport) -> None:
    """Events and censored cases of each time bin."""
    axes.set_title("Time bins of the study")
    if not report.outcomes:
        _say(axes, "no outcomes")
        return
    names = _bin_names(report.edges)
    for offset, event, colour, label in (
        (-0.2, True, EVENT, "event"),
        (0.2, False, CENSORED, "censored"),
    ):
        found = [outcome.time_bin for outcome in report.outcomes if outcome.event == event]
        counts = np.bincount(np.array(found, int), minlength=len(names))
        places = np.arange(len(names)) + offset
        axes.bar_label(axes.bar(places, counts, 0.4, color=colour, label=label), fontsize="small")
    axes.set_xticks(range(len(names)), names, rotation=0 if len(names) < 7 else 60)
    axes.set_xlabel("months")
    _name_cases(axes)
    axes.legend(loc="best", fontsize="small", frameon=False)


def _bin_names(edges: tuple[float, ...]) -> list[str]:
    """(12, 36) as '0-12', '12-36', 'from 36'."""
    pairs = zip((0.0, *edges), edges, strict=False)
    return [*(f"{start:g}\u2013{end:g}" for start, end in pairs), f"from {edges[-1]:g}"]


def _draw_slides(axes: "Axes", report: SiteReport) -> None:
    """Cases with one, two, or more slides."""
    axes.set_title("Slides per case")
    if not report.cases:
        _say(axes, "no cases")
        return
    bars = axes.bar(["1", "2", "3 or more"], report.slides_per_case, 0.6, color=PLAIN)
    axes.bar_label(bars, fontsize="small")
    axes.set_xlabel("slides")
    _name_cases(axes)


def _draw_genes(axes: "Axes", report: SiteReport) -> None:
    """The share of each group's columns that enough cases have; the least covered if many."""
    axes.set_title(f"Gene columns measured in {report.minimum_cases} cases or more")
    if not report.genes:
        _say(axes, "no genes")
        return
    shown = sorted(report.genes, key=_share)[:_MOST_GROUPS]
    shown = [one for one in report.genes if one in shown]  # in the study's order
    bars = axes.barh(range(len(shown)), [100 * _share(one) for one in shown], 0.6, color=PLAIN)
    texts = [f"{one.measured} of {one.candidates}" for one in shown]
    axes.bar_label(bars, texts, padding=3, fontsize="small")
    axes.set_yticks(range(len(shown)), [_short(one.group) for one in shown])
    axes.invert_yaxis()
    axes.set_xlim(0, 125)  # room for the words beside a full bar
    axes.set_xticks(range(0, 101, 20))
    rest = f" ({len(shown)} groups of {len(report.genes)}, the lowest)"
    axes.set_xlabel("% of the study's columns" + rest * (len(shown) < len(report.genes)))


def _share(one: GroupCoverage) -> float:
    return one.measured / max(one.candidates, 1)


def _short(name: str) -> str:
    """A name of 30 letters at most; long ones often begin alike. '$' begins no formula."""
    shown = name if len(name) <= _LONGEST_NAME else f"{name[:14]} ... {name[-11:]}"
    return shown.replace("$", r"\$")


def _name_cases(axes: "Axes") -> None:
    from matplotlib.ticker import MaxNLocator  # noqa: PLC0415

    axes.set_ylabel("cases")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))


def _say(axes: "Axes", text: str) -> None:
    axes.set_axis_off()
    axes.text(0.5, 0.5, text, ha="center", va="center", color="grey", transform=axes.transAxes)
