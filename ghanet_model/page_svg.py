"""Drawings as SVG inside a page: colours are the page's, so one drawing serves light and dark."""

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from .page_html import Html, tag

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = (
    "ink",
    "soft",
    "grid",
    "paper",
    "accent",
    "alone",
    "clinical",
    "stacked",
    "low",
    "mid",
    "high",
)
_HEX = {name: f"#fe00{place:02x}" for place, name in enumerate(COLOURS)}  # no drawing has these
_NAMES = {code: name for name, code in _HEX.items()}
INK, SOFT, GRID, PAPER, ACCENT, ALONE, CLINICAL, STACKED, LOW, MID, HIGH = _HEX.values()
WIDTH, HALF = 500, 470  # units of a drawing alone, and beside another; letters are 12.5 high
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text
    "font.size": 12.5,
    "text.color": INK,
    "axes.labelcolor": SOFT,
    "axes.edgecolor": SOFT,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.unicode_minus": True,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "xtick.labelcolor": SOFT,
    "ytick.labelcolor": SOFT,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "lines.solid_capstyle": "round",
    "text.parse_math": False,  # a name with two '$' is a name
}
_CUTS = (  # what a drawing inside a page does not need
    (re.compile(r"^.*?(?=<g id=\"figure_1\">)", re.DOTALL), ""),
    (re.compile(r"</svg>\s*$"), ""),
    (re.compile(r"<metadata>.*?</metadata>", re.DOTALL), ""),
    (re.compile(r" id=\"[A-Za-z0-9.]+_\d+\""), ""),
    (re.compile(r" ?font-family: [^;\"]*;?"), ""),
    (re.compile(r" transform=\"rotate\(-0 [^\"]*\""), ""),
    (re.compile(r"xlink:href"), "href"),
    (re.compile(r"\s+"), " "),
)


_TAG, _DIGITS = re.compile(r"<[^>]*>"), re.compile(r"(\d+\.\d\d)\d+")  # of places, not of text


@contextmanager
def drawing(name: str) -> Iterator[None]:
    """Draw in the page's style; ``name`` keeps ids of two drawings of a page apart."""
    with mpl.rc_context({**_STYLE, "svg.hashsalt": name}):
        yield


def new_figure(height: float, width: float = WIDTH) -> Figure:
    """An empty drawing of this many units."""
    figure = Figure(figsize=(width / 72, height / 72), layout="constrained")
    FigureCanvasSVG(figure)
    return figure


def to_svg(figure: Figure, label: str) -> Html:
    """The drawing as an element; ``label`` says what it shows to those who do not see it."""
    file = io.StringIO()
    figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    content = file.getvalue()
    for pattern, instead in _CUTS:
        content = pattern.sub(instead, content)
    content = _TAG.sub(lambda tag: _DIGITS.sub(r"\1", tag[0]), content)
    content = re.sub(r"#fe00[0-9a-f]{2}", lambda code: f"var(--{_NAMES[code[0]]})", content)
    width, height = (72 * side for side in figure.get_size_inches())
    box = f"0 0 {width:.0f} {height:.0f}"
    return tag("svg", Html(content), viewBox=box, class_="plot", role="img", aria_label=label)


def grid_lines(axes: "Axes", axis: str = "y") -> None:
    """Faint lines behind the data, and no ticks where they are."""
    axes.grid(visible=True, axis="both" if axis == "both" else "x" if axis == "x" else "y")
    axes.tick_params(length=0, axis="both")


def short(name: str, most: int = 16) -> str:
    """A name that leaves room for the drawing."""
    return name if len(name) <= most else f"{name[: most - 1]}\N{HORIZONTAL ELLIPSIS}"


def apart(places: list[float], least: float) -> list[float]:
    """The same places in the same order, moved so that neighbours are ``least`` apart.

    >>> apart([0.0, 0.1, 1.0], 0.5)
    [-0.2, 0.3, 1.0]
    """
    order = sorted(range(len(places)), key=places.__getitem__)
    groups: list[tuple[float, int]] = []  # (centre, how many)
    for place in order:
        groups.append((places[place], 1))
        while len(groups) > 1 and _overlap(groups[-2], groups[-1], least):
            groups[-2:] = [_merged(groups[-2], groups[-1])]
    moved = [centre + least * (n - (size - 1) / 2) for centre, size in groups for n in range(size)]
    found = dict(zip(order, moved, strict=True))
    return [round(found[place], 9) for place in range(len(places))]


def _overlap(one: tuple[float, int], two: tuple[float, int], least: float) -> bool:
    return two[0] - one[0] < least * (one[1] + two[1]) / 2


def _merged(one: tuple[float, int], two: tuple[float, int]) -> tuple[float, int]:
    size = one[1] + two[1]
    return (one[0] * one[1] + two[0] * two[1]) / size, size
