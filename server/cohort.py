"""The stage that describes cohorts: one table per hospital and one of all, before the first round.

It ends no run: a hospital that tells nothing is left out, with the reason.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ghanet_model.cohort_table import CLASSES, SIZES, UNTOLD, YEARS, CohortTable
from ghanet_model.dyadic import quantile, quantile_bounds
from ghanet_model.files import write_json
from ghanet_model.kaplan_meier import MONTHS, median_of, reverse_kaplan_meier
from ghanet_model.question import Sums, add_sums, zeros

from . import progress
from .kept import kept_sums
from .run import Run

COHORT_FILE = "cohort.json"
SURVIVORS, EVENTS, UNKNOWN = 0, 1, 2  # cells of the outcome
COARSE_MONTHS, COARSE_YEARS = 36, 5  # a quantile that is not known to that is not told


def describe_cohorts(run: Run, *, online: Iterable[str] | None = None) -> dict[str, Sums]:
    """Write state/cohort.json; returns the tables that it is made of, by hospital.

    Args:
        run: the run.
        online: whom to ask; None: wait for hospitals as a round does.

    Raises:
        TrainingError: hospitals that are waited for do not come.
    """
    topic = CohortTable()
    kept = kept_sums(run, topic, phase=progress.DESCRIBING, online=online)
    total = add_sums([zeros(topic.shapes(run.study)), *kept.sums.values()])
    found = {
        "study": run.study.digest,
        "hospitals": {name: summary_of(sums) for name, sums in kept.sums.items()},
        "total": {**summary_of(total), "untold": untold_of(kept.sums)},
        "left_out": kept.left_out,
    }
    write_json(run.config.state / COHORT_FILE, found)
    return kept.sums


def summary_of(sums: Sums) -> dict[str, Any]:
    """A table as people read it, of one hospital or of several; None where nobody told."""
    return {
        **_cells(SIZES, sums["sizes"], sums[UNTOLD + "sizes"]),
        "events": _events(sums),
        "follow_up": _follow_up(sums["times"]),
        "mean_follow_up": _mean_follow_up(sums),
        "age": _age(sums),
        **{
            name: _cells(CLASSES[name], sums[name], sums[UNTOLD + name])
            for name in ("sex", "stage", "grade")
        },
    }


def untold_of(tables: dict[str, Sums]) -> dict[str, Any]:
    """How many hospitals did not tell each entry of the total."""
    told = {name: summary_of(sums) for name, sums in tables.items()}
    found: dict[str, Any] = {}
    for key in (*SIZES, "events", "follow_up", "age"):
        found[key] = sum(one[key] is None for one in told.values())
    for name in ("sex", "stage", "grade"):
        found[name] = {
            word: sum(one[name][word] is None for one in told.values()) for word in CLASSES[name]
        }
    return found


def _cells(words: tuple[str, ...], counts: Any, untold: Any) -> dict[str, int | None]:
    pairs = zip(counts, untold, strict=True)
    numbers = [None if hidden and not count else int(count) for count, hidden in pairs]
    return dict(zip(words, numbers, strict=True))


def _events(sums: Sums) -> int | None:
    """Deaths; None also where no outcome is known."""
    counts, untold = sums["outcome"], sums[UNTOLD + "outcome"]
    if not counts[EVENTS] and (untold[EVENTS] or not counts[SURVIVORS]):
        return None
    return int(counts[EVENTS])


def _follow_up(times: NDArray[np.float64]) -> float | None:
    """Median follow-up in months, by reverse Kaplan-Meier.

    None also where small numbers were told in boxes so wide that the median observed time may be
    years away.
    """
    if not times.any():
        return None
    months = np.arange(MONTHS + 1, dtype=np.float64)
    if _width(times.sum(axis=0), months, 0.5) > COARSE_MONTHS:
        return None
    return median_of(reverse_kaplan_meier(times))


def _mean_follow_up(sums: Sums) -> float | None:
    """Months from diagnosis to death or last news, the mean over cases with an outcome: exact."""
    cases = sums["sizes"][0] - sums["outcome"][UNKNOWN]
    if not sums["months"].any() or sums[UNTOLD + "outcome"][UNKNOWN]:
        return None
    return round(float(sums["months"][0] / cases), 1)


def _width(tree: NDArray[np.float64], edges: NDArray[np.float64], share: float) -> float:
    """How far apart the ends are between which this quantile lies."""
    low, high = quantile_bounds(tree, edges, share)
    return float(high - low)


def _age(sums: Sums) -> dict[str, Any] | None:
    """Mean and standard deviation of known ages in years; quartiles where boxes are narrow."""
    known = sums["age_known"][0]
    if not known:
        return None
    mean = float(sums["age_total"][0] / known)
    variance = max(float(sums["age_squares"][0] / known) - mean**2, 0.0)
    years = np.arange(YEARS + 1, dtype=np.float64)
    shares = (0.25, 0.5, 0.75)
    exact = all(_width(sums["age_tree"], years, share) <= COARSE_YEARS for share in shares)
    quartiles = [round(float(quantile(sums["age_tree"], years, share)), 1) for share in shares]
    return {
        "mean": round(mean, 2),
        "sd": round(variance**0.5, 2),
        "known": int(known),
        "quartiles": quartiles if exact else None,
    }
