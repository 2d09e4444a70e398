"""Scaling of genes from sums: median and interquartile range of all hospitals' training cases.

Real tables are full of outliers (z-scores up to 36,893), which a mean and a standard deviation
follow. Each column is counted in dyadic trees, twice: on one public grid for all, even in
asinh(value), which finds where its values are in whatever units; then on a grid of its own over
these. So quartiles are exact within a 128th of the range that holds most values. Columns of few
distinct values, such as copy numbers, have no quartiles worth the name: they are scaled by mean and
standard deviation of values clipped to +-10, which travel as sums.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from .dyadic import column_trees, node_bounds, nodes_of, quantile, quantile_bounds
from .errors import ProtocolError
from .genes import candidate_columns
from .question import Shapes, Sums, numbers_of, require_counts, require_keys, require_large
from .study import StudyConfig
from .sums import SLACK

LEAVES = 128
REACH = 14.6  # asinh of the public grid's last edge, about a million
INSIDE = 0.05  # share of values that may lie beyond either end of a column's own grid
BROAD = 10.0  # clip of the moments
NORMAL_IQR = 1.3489795003921634  # interquartile range of a normal distribution of deviation 1
SMALLEST_SD = 1e-6  # below this a column is constant
PLACES = np.arange(LEAVES + 1.0)  # edges of a grid, in leaves
Values = NDArray[np.float64]  # (columns,)


@dataclass(frozen=True, slots=True, eq=False)
class Grid:
    """A grid of ``LEAVES`` leaves for every column; the first and the last leaf are open."""

    low: Values
    high: Values

    def leaves_of(self, values: NDArray[np.float64]) -> NDArray[np.intp]:
        """The leaf of each value (cases, columns)."""
        place = (values - self.low) * (LEAVES / (self.high - self.low))
        return np.clip(np.floor(place), 0, LEAVES - 1).astype(np.intp)

    def value_of(self, place: NDArray[np.float64]) -> Values:
        """The value at a place of each column's grid, 0 to ``LEAVES``."""
        found: Values = self.low + place * (self.high - self.low) / LEAVES
        return found


@dataclass(frozen=True, slots=True, eq=False)
class GeneValues:
    """The question for the distribution of every candidate column."""

    topic: ClassVar[str] = "gene values"
    grid: Grid | None = None  # None: the public one

    @classmethod
    def from_json(cls, value: Mapping[str, Any], study: StudyConfig) -> Self:
        """Read what ``to_json`` wrote."""
        require_keys(value, ("grid",), cls.topic)
        if value["grid"] is None:
            return cls()
        shape = (2, len(candidate_columns(study)))
        low, high = numbers_of(value["grid"], cls.topic, shape=shape)
        if (high <= low).any():
            raise ProtocolError(f"question about {cls.topic}: a grid without width")
        return cls(Grid(low, high))

    def to_json(self) -> dict[str, Any]:
        """The question as JSON."""
        return {"grid": [self.grid.low.tolist(), self.grid.high.tolist()] if self.grid else None}

    def shapes(self, study: StudyConfig) -> Shapes:
        """A tree and three moments per candidate column; ``sites`` is 1 where it is measured."""
        size = len(candidate_columns(study))
        moments = dict.fromkeys(("count", "total", "squares", "sites"), (size,))
        return {"trees": (size, nodes_of(LEAVES)), **moments}

    def require_possible(self, sums: Sums, study: StudyConfig) -> None:  # noqa: ARG002
        """Counts, moments within the clip, and as many values in a tree as counted."""
        require_counts(sums, ("trees", "count", "sites"))
        count, total, squares = sums["count"], sums["total"], sums["squares"]
        if (
            not np.array_equal(sums["trees"].sum(axis=1), count)
            or not np.array_equal(sums["sites"], count > 0)
            or (squares < 0).any()
            or (total**2 > SLACK * count * squares).any()
            or (squares > SLACK * BROAD**2 * count).any()
        ):
            raise ProtocolError("message has gene sums that no cohort can have")

    def require_enough(self, sums: Sums, least: int) -> None:
        """Each column over none or enough, and no small count in a tree."""
        require_large(sums, ("trees", "count"), least)

    def cases(self, sums: Sums) -> int:
        """Of the column that most cases have."""
        return int(sums["count"].max(initial=0))


def gene_value_sums(
    values: NDArray[np.floating[Any]], *, least: int, grid: Grid | None = None
) -> Sums:
    """One hospital's distributions, from values (cases, candidate columns); NaN: not measured.

    A column measured in fewer than ``least`` cases says nothing, not even that.
    """
    exact = values.astype(np.float64)
    enough = np.isfinite(exact).sum(axis=0) >= max(1, least)
    measured = np.isfinite(exact) & enough
    filled = np.where(measured, exact, 0.0)
    leaves = grid.leaves_of(filled) if grid else public_grid(1).leaves_of(np.arcsinh(filled))
    clipped = np.clip(filled, -BROAD, BROAD)
    return {
        "trees": column_trees(leaves, LEAVES, least=max(1, least), measured=measured),
        "count": measured.sum(axis=0, dtype=np.float64),
        "total": clipped.sum(axis=0),
        "squares": (clipped**2).sum(axis=0),
        "sites": enough.astype(np.float64),
    }


def public_grid(columns: int) -> Grid:
    """The same for every column and study, of asinh(value)."""
    return Grid(np.full(columns, -REACH), np.full(columns, REACH))


def own_grid(sums: Sums) -> Grid:
    """A grid for every column over most of its values, from sums on the public grid."""
    trees = sums["trees"]
    public = public_grid(len(trees))
    low = np.sinh(public.value_of(quantile_bounds(trees, PLACES, INSIDE)[0]))
    high = np.sinh(public.value_of(quantile_bounds(trees, PLACES, 1 - INSIDE)[1]))
    known = np.isfinite(low) & np.isfinite(high)
    return Grid(np.where(known, low, 0.0), np.where(known, high, 1.0))


@dataclass(frozen=True, slots=True, eq=False)
class Scaling:
    """How every candidate column is scaled; ``scale`` is 0 where it is constant or not known."""

    centre: Values
    scale: Values

    def apply(self, values: NDArray[np.floating[Any]], clip: float) -> NDArray[np.float64]:
        """Values (cases, candidate columns) on this scale, clipped; 0 where constant."""
        varies = self.scale > 0
        scaled = (values - self.centre) / np.where(varies, self.scale, 1.0)
        return np.where(varies, np.clip(scaled, -clip, clip), 0.0)


def scaling_of(sums: Sums, grid: Grid) -> Scaling:
    """Median and IQR / 1.349; mean and deviation where quartiles are less than two leaves apart."""
    places = [quantile(sums["trees"], PLACES, share) for share in (0.25, 0.5, 0.75)]
    low, centre, high = (grid.value_of(place) for place in places)
    resolved = places[2] - places[0] > 2  # leaves
    count = np.maximum(sums["count"], 1)
    mean = sums["total"] / count
    sd = np.sqrt(np.maximum(sums["squares"] / count - mean**2, 0.0))
    scale = np.where(resolved, (high - low) / NORMAL_IQR, np.where(sd > SMALLEST_SD, sd, 0.0))
    return Scaling(np.where(resolved, centre, mean), np.where(sums["count"] > 0, scale, 0.0))


def scaling_bounds(sums: Sums, grid: Grid, share: float) -> tuple[Values, Values]:
    """Between what this quantile of the pooled values of each column lies, wherever they are."""
    low, high = quantile_bounds(sums["trees"], PLACES, share)
    return (
        np.where(low <= 0, -np.inf, grid.value_of(low)),
        np.where(high >= LEAVES, np.inf, grid.value_of(high)),
    )


def coarseness(sums: Sums) -> Values:
    """The share of each column's values that stayed in boxes larger than a leaf."""
    first, last = node_bounds(LEAVES)
    coarse = sums["trees"][:, last - first > 1].sum(axis=1)
    found: Values = coarse / np.maximum(sums["count"], 1)
    return found
