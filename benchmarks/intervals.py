"""C-index with bootstrap intervals, paired over everything that is compared. Pure.

Row 0 of every array of replicates is the sample itself, so a mean or a difference of C-indices is
the same arithmetic for the value and for its interval. n cases, R replicates.
"""

import math
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

REPLICATES = 2000
GENERATOR = 20261101  # seed of the draws: the same for every arm, seed and run
LEVEL = 95.0

Replicates: TypeAlias = NDArray[np.float64]  # (1 + R,) C-indices


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value with its 95% percentile interval; NaN where there is no comparable pair."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, replicates: Replicates) -> "Estimate":
        """The sample's value, and the percentiles of its replicates that have one."""
        drawn = replicates[1:][np.isfinite(replicates[1:])]
        tail = (100 - LEVEL) / 2
        low, high = np.percentile(drawn, [tail, 100 - tail]) if len(drawn) else (math.nan, math.nan)
        return cls(float(replicates[0]), float(low), float(high))

    def holds(self, value: float) -> bool:
        """Whether the interval holds a value."""
        return self.low <= value <= self.high

    def __str__(self) -> str:
        if math.isnan(self.value):
            return "-"
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})"


def draws(cases: int, *, replicates: int = REPLICATES) -> NDArray[np.float64]:
    """How often each replicate holds each case (1 + R, n); row 0 holds each once."""
    chances = np.full(cases, 1 / max(1, cases))
    drawn = np.random.default_rng(GENERATOR).multinomial(cases, chances, size=replicates)
    return np.vstack([np.ones(cases), drawn])


def comparable(
    times: NDArray[np.float64], events: NDArray[np.bool_], strata: NDArray[np.int_] | None = None
) -> NDArray[np.bool_]:
    """(n, n): case i died and case j is known to have lived longer; if given, in one stratum.

    The rules are those of ``ghanet_model.metrics.concordance``.
    """
    later = (times > times[:, None]) | ((times == times[:, None]) & ~events)
    pairs = events[:, None] & later
    return pairs if strata is None else pairs & (strata == strata[:, None])


def c_indices(
    risks: NDArray[np.float64], pairs: NDArray[np.bool_], weights: NDArray[np.float64]
) -> Replicates:
    """Harrell's C of every replicate; NaN where none of its pairs is comparable.

    C = sum of w_i w_j s_ij over sum of w_i w_j p_ij, with p the comparable pairs and s 1 where
    the earlier death has the higher risk, 1/2 where risks tie.
    """
    mine = risks[:, None]
    scores = pairs * ((mine > risks) + 0.5 * (mine == risks))  # (n, n)
    good = ((weights @ scores) * weights).sum(axis=1)
    known = ((weights @ pairs) * weights).sum(axis=1)
    return np.divide(good, known, out=np.full(len(weights), np.nan), where=known > 0)
