"""The cohort table: what the coordinator may know of a hospital's cases, as counts that add.

Sex, stage, grade and outcome are classifications: a small cell does not leave, nor whatever would
give it away, see ``small_cells``. How many cases are trained on, held out or sequenced says nothing
about a patient: such a number is told from ``least`` cases on.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from .dyadic import nodes_of, tree_counts
from .errors import GateError, ProtocolError
from .kaplan_meier import MONTHS, month_of
from .question import Shapes, Sums, WithoutParts, require_counts, require_large, zeros
from .small_cells import without_small_cells
from .study import StudyConfig
from .sums import SLACK

SIZES = ("cases", "training", "held_out", "with_genes")
CLASSES: Mapping[str, tuple[str, ...]] = {
    "outcome": ("survivors", "events", "unknown"),
    "sex": ("female", "male", "unknown"),
    "stage": ("0", "I", "II", "III", "IV", "unknown"),
    "grade": ("1", "2", "3", "4", "unknown"),
}
LEVELS: Mapping[str, tuple[float, ...]] = {  # values of all cells but the last
    "outcome": (0, 1),
    "sex": (1, 0),
    "stage": (0, 1, 2, 3, 4),
    "grade": (1, 2, 3, 4),
}
YEARS = 128  # leaves of the tree of ages, one year each
_ONE = (1,)
UNTOLD = "untold_"  # before the name of cells: how many hospitals did not tell each


@dataclass(frozen=True, slots=True, eq=False)
class Described:
    """What a cohort table is made of, by case; NaN where not known."""

    time: NDArray[np.float64] = field(repr=False)  # (n,) months
    event: NDArray[np.float64] = field(repr=False)  # 1 died, 0 alive when last seen
    age: NDArray[np.float64] = field(repr=False)  # years
    female: NDArray[np.float64] = field(repr=False)  # 1 or 0
    grade: NDArray[np.float64] = field(repr=False)  # 1 ... 4
    stage: NDArray[np.float64] = field(repr=False)  # 0 ... 4
    training: NDArray[np.bool_] = field(repr=False)
    held_out: NDArray[np.bool_] = field(repr=False)
    with_genes: NDArray[np.bool_] = field(repr=False)

    def __len__(self) -> int:
        return len(self.time)


@dataclass(frozen=True, slots=True)
class CohortTable(WithoutParts):
    """The question for it."""

    topic: ClassVar[str] = "cohort table"

    def shapes(self, study: StudyConfig) -> Shapes:  # noqa: ARG002
        """Cells, which of them are untold, sums and tree of ages, trees of months."""
        return _shapes()

    def require_possible(self, sums: Sums, study: StudyConfig) -> None:  # noqa: ARG002
        """Counts that fit each other."""
        require_counts(sums, set(sums) - {"age_total", "age_squares", "months"})
        cases, known = sums["sizes"][0], sums["age_known"][0]
        total, squares = sums["age_total"][0], sums["age_squares"][0]
        if (
            sums["sizes"].max() > cases
            or any(not _is_partition(sums, name) for name in CLASSES)
            or max(known, sums["age_tree"].sum()) > cases
            or sums["age_tree"].sum() not in (0, known)
            or min(squares, sums["months"][0]) < 0
            or (sums["months"].any() and not cases)
            or abs(total) > SLACK * np.sqrt(known * squares)
            or any(sums[UNTOLD + name].max() > 1 for name in ("sizes", *CLASSES))
            or any(sums[name][sums[UNTOLD + name] > 0].any() for name in ("sizes", *CLASSES))
            or (sums["times"].any() and not _fits(sums["times"], sums["outcome"]))
        ):
            raise ProtocolError("message has a cohort table that no cohort can have")

    def require_enough(self, sums: Sums, least: int) -> None:
        """No small cell, and none that follows from the others."""
        counts = ("sizes", *CLASSES, "age_known", "age_tree", "times")
        require_large(sums, counts, least)
        for name in CLASSES:
            if sums[UNTOLD + name].sum() == 1:
                raise GateError(f"small cells: the one of '{name}' that is untold follows from all")
        if sums["times"].any() and sums[UNTOLD + "outcome"].any():
            raise GateError("small cells: times tell an outcome that is untold")

    def cases(self, sums: Sums) -> int:
        """All of them."""
        return int(sums["sizes"][0])


def _shapes() -> dict[str, tuple[int, ...]]:
    cells = {"sizes": (len(SIZES),), **{name: (len(words),) for name, words in CLASSES.items()}}
    ages = dict.fromkeys(("age_known", "age_total", "age_squares", "months"), _ONE)
    trees = {"age_tree": (nodes_of(YEARS),), "times": (2, nodes_of(MONTHS))}
    return {**cells, **{UNTOLD + name: shape for name, shape in cells.items()}, **ages, **trees}


def _is_partition(sums: Sums, name: str) -> bool:
    """Whether every case is in one cell, unless cells are untold."""
    told, cases = sums[name].sum(), sums["sizes"][0]
    return bool(told <= cases if sums[UNTOLD + name].any() else told == cases)


def _fits(times: NDArray[np.float64], outcome: NDArray[np.float64]) -> bool:
    return np.array_equal(times.sum(axis=1), outcome[:2])


def table_of(cohort: Described, *, least: int) -> Sums:
    """The table of one hospital; a cohort of fewer than ``least`` cases tells nothing."""
    sums = zeros(_shapes())
    if len(cohort) < max(1, least):
        for name in ("sizes", *CLASSES):
            sums[UNTOLD + name] += float(len(cohort) > 0)
        return sums
    sizes = np.array([len(cohort), *(getattr(cohort, name).sum() for name in SIZES[1:])], float)
    small = (sizes > 0) & (sizes < least)
    sums["sizes"], sums[UNTOLD + "sizes"] = np.where(small, 0.0, sizes), small.astype(float)
    values = {"outcome": cohort.event, "sex": cohort.female}
    values |= {"stage": cohort.stage, "grade": cohort.grade}
    for name, found in values.items():
        cells = without_small_cells(_cells(found, LEVELS[name]), least=least)
        sums[name], sums[UNTOLD + name] = cells
    if _outcomes_follow(cohort, least):
        sums["outcome"], sums[UNTOLD + "outcome"] = 0 * sums["outcome"], 1 + 0 * sums["outcome"]
    known = np.isfinite(cohort.event)
    if known.sum() >= least:
        sums["months"] += cohort.time[known].sum()
    if not sums[UNTOLD + "outcome"].any():
        sums["times"] = np.array([_months(cohort, event, least) for event in LEVELS["outcome"]])
    return {**sums, **_ages(cohort.age[np.isfinite(cohort.age)], least)}


def _outcomes_follow(cohort: Described, least: int) -> bool:
    """Whether all outcomes, less those of training, would tell a small number of held-out ones.

    Rounds tell deaths of training cases, the evaluation those of held-out cases.
    """
    parts = (cohort.training, cohort.held_out, ~(cohort.training | cohort.held_out))
    counts = [(cohort.event[part] == event).sum() for part in parts for event in (0.0, 1.0)]
    return any(0 < count < least for count in counts)


def _months(cohort: Described, event: float, least: int) -> NDArray[np.float64]:
    """Months of follow-up of the dead or of the survivors."""
    return tree_counts(month_of(cohort.time[cohort.event == event]), MONTHS, least=least)


def _cells(values: NDArray[np.float64], levels: tuple[float, ...]) -> NDArray[np.float64]:
    """Cases of each level, and of none of them."""
    found = [float((values == level).sum()) for level in levels]
    return np.array([*found, len(values) - sum(found)])


def _ages(age: NDArray[np.float64], least: int) -> Sums:
    """Sums over known ages and their tree; nothing of a few."""
    age = age if len(age) >= least else age[:0]
    years = np.clip(age, 0, YEARS - 1).astype(np.intp)
    parts = {"age_known": len(age), "age_total": age.sum(), "age_squares": (age**2).sum()}
    sums = {name: np.array([part], np.float64) for name, part in parts.items()}
    return {**sums, "age_tree": tree_counts(years, YEARS, least=least)}
