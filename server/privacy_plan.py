"""What the privacy of a study would cost and drown, before it starts: a table and a plot."""

import io
from collections.abc import Iterator, Mapping
from pathlib import Path

from ghanet_model.errors import SettingsError
from ghanet_model.files import write_atomic
from ghanet_model.privacy import epsilon_after, histogram_charge, mechanism_of
from ghanet_model.study import MOST_DELTA_BY_CASES, StudyConfig

PLOT_FILE = "privacy_plan.png"
SMALL_BATCH = 16.0  # expected cases of a step; below, most of a step is noise
MOST_NOISE = 0.1  # noise over the largest signal of an expected step
POINTS = 20  # of the curve of epsilon
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
    rounds = sorted({round(study.rounds * n / POINTS) for n in range(1, POINTS + 1)} - {0})
    spent = [epsilon_after(study, number) for number in rounds]
    left.plot([0, *rounds], [0.0, *spent], color=LINE, marker="o", markersize=3)
    left.axhline(study.epsilon, color=LIMIT, linestyle="--")
    left.set(title="Epsilon of a training case", xlabel="round", ylabel="epsilon", ylim=(0, None))
    sizes = range(20, max([*cohorts.values(), 600]) + 1, 20)
    right.plot(sizes, [ratio(study, size) for size in sizes], color=LINE)
    right.axhline(MOST_NOISE, color=LIMIT, linestyle="--")
    for name, cases in cohorts.items():
        right.plot(cases, ratio(study, cases), "o", color=LINE)
        right.annotate(
            name, (cases, ratio(study, cases)), xytext=(4, 4), textcoords="offset points"
        )
    right.set(title="Noise over signal of a step", xlabel="training cases of a hospital")
    right.set(ylabel="noise / largest signal", yscale="log")
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=150)
    write_atomic(path, buffer.getvalue())
