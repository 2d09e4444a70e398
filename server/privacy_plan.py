"""What the privacy of a study would cost and drown, before it starts: a table and a plot."""

import io
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ghanet_model.errors import SettingsError
from ghanet_model.files import write_atomic
from ghanet_model.privacy import epsilon_after, histogram_charge, mechanism_of
from ghanet_model.study import MOST_DELTA_BY_CASES, StudyConfig

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PLOT_FILE = "privacy_plan.png"
SMALL_BATCH = 16.0  # expected cases of a step; below, most of a step is noise
MOST_NOISE = 0.1  # noise over the largest signal of an expected step
POINTS = 20  # of the curve of epsilon
MOST_LETTERS = 24  # of a name in the plot
LINE, LIMIT = "#0072b2", "#d55e00"


def plan_lines(study: StudyConfig, cohorts: Mapping[str, int]) -> Iterator[str]:
    """Constants, then a line for each cohort, then warnings.

    Args:
        study: a private one.
        cohorts: declared training cases, by hospital.

    Raises:
        SettingsError: not a private study, or a delta too large for a cohort.
    """
    require_plannable(study, cohorts)
    one, last = mechanism_of(study), epsilon_after(study, study.rounds)
    yield (
        f"epsilon {study.epsilon:g} at delta {study.delta:g} for each case with all its slides, "
        f"accountant {study.accountant.upper()}; {last:.3f} after round {study.rounds}"
    )
    yield (
        f"each step: sampling rate {one.sampling_rate:g}, clipping norm {one.clipping_norm:g}, "
        f"noise {one.noise:g} (sigma); {one.steps} steps a round, {one.steps * study.rounds} in all"
    )
    yield f"evaluated cases: two histograms, noise {histogram_charge(study).noise:g} on each count"
    yield ""
    yield f"{'hospital':<24} {'cases':>6} {'expected batch':>15} {'noise / signal':>15}"
    for name, cases in cohorts.items():
        yield f"{name:<24} {cases:>6} {batch_of(study, cases):>15.1f} {ratio(study, cases):>15.3f}"
    yield from warnings_of(study, cohorts)


def require_plannable(study: StudyConfig, cohorts: Mapping[str, int]) -> None:
    """Refuse what cannot be planned.

    Raises:
        SettingsError: why.
    """
    if not study.is_private:
        raise SettingsError(
            "study.yaml: privacy is off", hint="write 'privacy: local', see docs/privacy.md"
        )
    for name, cases in cohorts.items():
        if study.delta * cases > MOST_DELTA_BY_CASES:
            raise SettingsError(
                f"study.yaml: 'delta' is {study.delta:g}, {name} has {cases} cases",
                hint=f"use at most {MOST_DELTA_BY_CASES / cases:.1e}: 0.01 over its cases",
            )


def batch_of(study: StudyConfig, cases: int) -> float:
    """Cases of a step, on average."""
    return study.sampling_rate * cases


def ratio(study: StudyConfig, cases: int) -> float:
    """Deviation of the noise over the longest sum that an average step can have."""
    return mechanism_of(study).noise / batch_of(study, cases)


def warnings_of(study: StudyConfig, cohorts: Mapping[str, int]) -> Iterator[str]:
    """Cohorts that are too small to learn from."""
    for name, cases in cohorts.items():
        if batch_of(study, cases) < SMALL_BATCH or ratio(study, cases) > MOST_NOISE:
            yield (
                f"warning: {name} is small for this: {batch_of(study, cases):.1f} cases a step, "
                f"noise {ratio(study, cases):.2f} of the largest signal a step can have (warned of "
                f"above {MOST_NOISE:g}, or below {SMALL_BATCH:g} cases)"
            )


def write_plot(path: Path, study: StudyConfig, cohorts: Mapping[str, int]) -> None:
    """Epsilon over rounds, and noise over signal by the size of a cohort."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415 - takes a second
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=(11, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    _draw_epsilon(left, study)
    _draw_noise(right, study, cohorts)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=150)
    write_atomic(path, buffer.getvalue())


def _draw_epsilon(axes: "Axes", study: StudyConfig) -> None:
    """What a case has spent after each round, and all that it may."""
    rounds = sorted({round(study.rounds * n / POINTS) for n in range(1, POINTS + 1)} - {0})
    spent = [epsilon_after(study, number) for number in rounds]
    axes.plot([0, *rounds], [0.0, *spent], color=LINE, marker="o", markersize=3)
    _draw_limit(axes, study.epsilon, "all that a case may spend")
    axes.set(title="Epsilon of a training case", xlabel="round", ylabel="epsilon")
    axes.set(xlim=(0, None), ylim=(0, 1.1 * study.epsilon))
    axes.locator_params(axis="x", integer=True)


def _draw_noise(axes: "Axes", study: StudyConfig, cohorts: Mapping[str, int]) -> None:
    """Noise by cases, on a scale where halves are alike; hospitals are named beside it."""
    from matplotlib.ticker import LogLocator, NullLocator  # noqa: PLC0415

    first, last = min([*cohorts.values(), 20]), max([*cohorts.values(), 600])
    sizes = [first * (last / first) ** (n / 200) for n in range(201)]
    axes.plot(sizes, [ratio(study, round(size)) for size in sizes], color=LINE)
    axes.set(title="Noise over signal of a step", xlabel="training cases of a hospital")
    axes.set(ylabel="noise / largest signal", yscale="log", xlim=(0, last))
    _draw_limit(axes, MOST_NOISE, "warned of above", side="right")
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    _name_points(axes, {name: (cases, ratio(study, cases)) for name, cases in cohorts.items()})


def _draw_limit(axes: "Axes", value: float, said: str, side: str = "left") -> None:
    """A dashed line with what it means above it."""
    axes.axhline(value, color=LIMIT, linestyle="--")
    place = 1.0 if side == "right" else 0.02
    across = axes.get_yaxis_transform()
    axes.text(place, value, said, color=LIMIT, transform=across, ha=side, va="bottom")


def _name_points(axes: "Axes", points: Mapping[str, tuple[float, float]]) -> None:
    """Points, and their names in a column to the right, apart from each other."""
    from ghanet_model.page_svg import apart, short  # noqa: PLC0415 - matplotlib takes a second

    low, high = (math.log(end) for end in axes.get_ylim())
    heights = [(math.log(value) - low) / (high - low) for _, value in points.values()]
    places = apart(heights, min(0.06, 1.0 / len(points)))
    for (name, point), place in zip(points.items(), places, strict=True):
        axes.plot(*point, "o", color=LINE, clip_on=False)
        axes.annotate(
            short(name, MOST_LETTERS),
            point,
            xytext=(1.03, place),
            textcoords="axes fraction",
            va="center",
            fontsize="small",
            parse_math=False,
            arrowprops={"arrowstyle": "-", "color": "grey", "linewidth": 0.6},
        )
