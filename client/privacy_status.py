"""What a cohort's privacy budget has lost and to whom, as text and as a plot. Stays at the site."""

import io
from collections.abc import Iterator, Sequence
from pathlib import Path

from ghanet_model.accounting import merge
from ghanet_model.files import write_atomic
from ghanet_model.ledger import SENT, read_ledger
from ghanet_model.study import StudyConfig
from ghanet_model.wire import ROUND, STATISTICS

from .budget import Entry, Release, budget_ledger, entries, spent_by
from .config import SiteConfig
from .ledger import ledger_path

PLOT_FILE = "privacy.png"
SPENT, CAP = "#0072b2", "#d55e00"  # told apart by every eye, and in grey
MOST_POINTS = 200  # of the plot; epsilon is counted anew at each


def read_entries(config: SiteConfig) -> list[Entry]:
    """Every charge of this cohort, of all studies, from a ledger that was proven whole."""
    lines = budget_ledger(config.folder, config.privacy).verified()
    return entries(lines, config.privacy.cohort)


def cap_of(config: SiteConfig, study: StudyConfig) -> float | None:
    """The most that this hospital allows; None where neither it nor the study names any."""
    if config.privacy.epsilon is not None:
        return config.privacy.epsilon
    return study.epsilon if study.is_private else None


def status_lines(found: Sequence[Entry], config: SiteConfig, study: StudyConfig) -> Iterator[str]:
    """A line for each study, then the cohort's whole, then what noise did not cover."""
    cap, by = cap_of(config, study), study.accountant
    delta = min((entry.release.delta for entry in found), default=study.delta)
    yield (
        f"cohort '{config.privacy.cohort}': a case with all its slides, one added or removed; "
        f"accountant {by.upper()}, delta {delta:g}"
    )
    if found:
        yield f"{'study':<24} {'part':<11} {'releases':>8} {'steps':>6} {'noise':>8} {'epsilon':>8}"
    for name, part, releases in _by_part(found):
        charges = merge(release.charge for release in releases)
        noise = ", ".join(sorted({f"{charge.noise:g}" for charge in charges}))
        steps = sum(charge.steps for charge in charges)
        spent = spent_by(releases, by=by, delta=delta)
        yield f"{name:<24} {part:<11} {len(releases):>8} {steps:>6} {noise:>8} {spent:>8.3f}"
    spent = spent_by([entry.release for entry in found], by=by)
    left = "no cap is set" if cap is None else f"of {cap:g}, {max(0.0, cap - spent):.3f} left"
    yield f"spent: {spent:.3f} {left}"
    exact = exact_answers(config, found)
    if exact:
        yield (
            f"besides, {exact} answers left this folder without noise, of studies that are not "
            "private: no epsilon covers them"
        )


def _by_part(found: Sequence[Entry]) -> list[tuple[str, str, list[Release]]]:
    groups: dict[tuple[str, str, str], list[Release]] = {}
    for entry in found:
        one = entry.release
        groups.setdefault((one.study, one.name, one.part), []).append(one)
    return [(name, part, releases) for (_, name, part), releases in groups.items()]


def exact_answers(config: SiteConfig, found: Sequence[Entry]) -> int:
    """Answers about cases that were sent from this folder and not charged."""
    charged = {entry.digest for entry in found}
    return sum(
        line.what == SENT
        and line.facts.get("kind") in (ROUND, STATISTICS)
        and line.facts.get("charge") not in charged
        for line in read_ledger(ledger_path(config.folder))
    )


def write_plot(found: Sequence[Entry], config: SiteConfig, study: StudyConfig) -> Path:
    """Draw epsilon after every charge, and the cap, into ``privacy.png``; return its path."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415 - takes a second
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=(9, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    every = max(1, -(-len(found) // MOST_POINTS))
    numbers = sorted({*range(0, len(found), every), len(found)})
    releases, by = [entry.release for entry in found], study.accountant
    spent = [spent_by(releases[:number], by=by) for number in numbers]
    axes.step(numbers, spent, where="post", color=SPENT, label="spent")
    cap = cap_of(config, study)
    if cap is not None:
        axes.axhline(cap, color=CAP, linestyle="--", label=f"cap, {cap:g}")
    axes.set_title(f"{config.name}, cohort '{config.privacy.cohort}': privacy spent")
    axes.set_xlabel("releases charged, oldest first")
    axes.set_ylabel("epsilon")
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=150)
    write_atomic(config.folder / PLOT_FILE, buffer.getvalue(), private=True)
    return config.folder / PLOT_FILE
