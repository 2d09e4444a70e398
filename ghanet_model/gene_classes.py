"""Which genes differ between who died early and who lived on: Welch's test from sums.

High risk: died in the earlier half of the study's time bins. Low risk: followed into the later
half, dead or alive. Who was censored early is in neither. With the paper's four bins this is its
choice (an event in bins 0-1 against bins 2-3); it took p < .05 with no correction for the number
of genes, on cases drawn with replacement, and could leave a group empty.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as t_distribution

from .bag import Outcome
from .errors import ProtocolError
from .gene_values import Scaling
from .genes import candidate_columns, candidate_groups
from .question import Shapes, Sums, numbers_of, require_counts, require_keys, require_large
from .study import ALL, FDR, StudyConfig
from .sums import SLACK

HIGH, LOW = 0, 1
FEWEST = 5  # genes of a group, where it has so many
SMALLEST_VARIANCE = 1e-12


@dataclass(frozen=True, slots=True, eq=False)
class GeneClasses:
    """The question for sums of scaled values by class of risk."""

    topic: ClassVar[str] = "gene classes"
    scaling: Scaling

    @classmethod
    def from_json(cls, value: Mapping[str, Any], study: StudyConfig) -> Self:
        """Read what ``to_json`` wrote."""
        require_keys(value, ("centre", "scale"), cls.topic)
        shape = (len(candidate_columns(study)),)
        centre, scale = (numbers_of(value[k], cls.topic, shape=shape) for k in ("centre", "scale"))
        if (scale < 0).any():
            raise ProtocolError(f"question about {cls.topic}: a scale below 0")
        return cls(Scaling(centre, scale))

    def to_json(self) -> dict[str, Any]:
        """The question as JSON."""
        return {"centre": self.scaling.centre.tolist(), "scale": self.scaling.scale.tolist()}

    def shapes(self, study: StudyConfig) -> Shapes:
        """Per class, high and low risk, and candidate column."""
        return dict.fromkeys(("count", "total", "squares"), (2, len(candidate_columns(study))))

    def require_possible(self, sums: Sums, study: StudyConfig) -> None:
        """Counts, and moments of values within the clip."""
        require_counts(sums, ("count",))
        count, total, squares = sums["count"], sums["total"], sums["squares"]
        if (
            (squares < 0).any()
            or (total**2 > SLACK * count * squares).any()
            or (squares > SLACK * study.gene_clip**2 * count).any()
        ):
            raise ProtocolError("message has gene sums that no cohort can have")

    def require_enough(self, sums: Sums, least: int) -> None:
        """Each class and column over none, or over enough."""
        require_large(sums, ("count",), least)

    def cases(self, sums: Sums) -> int:
        """Of the column that most cases have."""
        return int(sums["count"].sum(axis=0).max(initial=0))


def risk_class(outcome: Outcome, study: StudyConfig) -> int | None:
    """HIGH, LOW, or None for who was censored early."""
    if outcome.time_bin >= study.time_bins // 2:
        return LOW
    return HIGH if outcome.event else None


def class_sums(
    values: NDArray[np.floating[Any]],
    outcomes: Sequence[Outcome],
    scaling: Scaling,
    study: StudyConfig,
    *,
    least: int,
) -> Sums:
    """One hospital's sums of scaled values (cases, candidate columns) by class of risk."""
    scaled = scaling.apply(values.astype(np.float64), study.gene_clip)
    of = np.array([-1 if (c := risk_class(o, study)) is None else c for o in outcomes], int)
    parts = [_sums_of(scaled[of == which], least) for which in (HIGH, LOW)]
    return {name: np.array([part[name] for part in parts]) for name in parts[0]}


def _sums_of(values: NDArray[np.float64], least: int) -> Sums:
    measured = np.isfinite(values)
    told = measured & (measured.sum(axis=0) >= max(1, least))
    filled = np.where(told, values, 0.0)
    count = told.sum(axis=0, dtype=np.float64)
    return {"count": count, "total": filled.sum(axis=0), "squares": (filled**2).sum(axis=0)}


def welch(sums: Sums) -> NDArray[np.float64]:
    """Two-sided p of every column, Welch 1947; 1 where a class has fewer than two values."""
    count = np.maximum(sums["count"], 2)
    mean = sums["total"] / count
    variance = np.maximum(sums["squares"] - count * mean**2, 0.0) / (count - 1)
    parts = variance / count  # (2, columns)
    both = parts.sum(axis=0)
    usable = (sums["count"] >= 2).all(axis=0) & (both > SMALLEST_VARIANCE)
    safe = np.where(usable, both, 1.0)
    statistic = (mean[HIGH] - mean[LOW]) / np.sqrt(safe)
    terms = (parts**2 / (count - 1)).sum(axis=0)
    dof = safe**2 / np.where(terms > 0, terms, 1.0)
    return np.where(usable, 2 * t_distribution.sf(np.abs(statistic), dof), 1.0)


def discoveries(p: NDArray[np.float64], level: float) -> NDArray[np.bool_]:
    """Benjamini and Hochberg 1995: which of these tests to believe at this share of false ones."""
    order = np.argsort(p, kind="stable")
    passes = p[order] <= level * np.arange(1, len(p) + 1) / max(len(p), 1)
    found = np.zeros(len(p), bool)
    if passes.any():
        found[order[: np.flatnonzero(passes)[-1] + 1]] = True
    return found


def select(
    study: StudyConfig, usable: NDArray[np.bool_], p: NDArray[np.float64] | None
) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """The columns of each group that are learnt, the same for every hospital.

    Args:
        study: how to choose.
        usable: (candidate columns,) measured everywhere and not constant.
        p: of every candidate column; None where all are taken.
    """
    columns = candidate_columns(study)
    place = {column: index for index, column in enumerate(columns)}
    passing = usable
    if p is not None and study.gene_selection == FDR:
        passing = np.zeros(len(columns), bool)
        passing[usable] = discoveries(p[usable], study.gene_selection_level)
    chosen = []
    for name, candidates in candidate_groups(study):
        own = [place[column] for column in candidates if usable[place[column]]]
        if p is not None and study.gene_selection != ALL:
            by_p = sorted(own, key=lambda index: (p[index], index))
            wanted = [index for index in by_p if passing[index]]
            most = len(own) if study.gene_selection == FDR else study.gene_selection_top
            fewest = min(FEWEST, len(own))
            own = wanted[:most] if len(wanted[:most]) >= fewest else by_p[:fewest]
        chosen.append((name, tuple(columns[index] for index in sorted(own))))
    return tuple(chosen)
