"""Metrics that add: what sites report are sums, divided once at the end. Never a case's value."""

import math
from dataclasses import dataclass, field, fields
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .errors import TrainingError

PAIRS_AT_ONCE = 4_000_000  # bounds the memory of comparing every case with every other


@dataclass(frozen=True, slots=True)
class Concordance:
    """Pairs of cases whose order is known, by what the risks say of them."""

    concordant: int = 0  # who died first had the higher risk
    discordant: int = 0
    tied_risk: int = 0
    comparable: int = 0  # all three together

    def __add__(self, other: "Concordance") -> "Concordance":
        return Concordance(
            self.concordant + other.concordant,
            self.discordant + other.discordant,
            self.tied_risk + other.tied_risk,
            self.comparable + other.comparable,
        )

    @property
    def c_index(self) -> float | None:
        """Harrell's C: (concordant + tied_risk / 2) / comparable; None without a pair."""
        if self.comparable == 0:
            return None
        return (self.concordant + self.tied_risk / 2) / self.comparable


def concordance(time: ArrayLike, event: ArrayLike, risk: ArrayLike) -> Concordance:
    """Compare all pairs of cases (n,).

    A pair is comparable when one case died and the other was seen alive later: followed longer,
    or censored at the same time. Two deaths at the same time are not comparable. These are the
    rules of ``lifelines.utils.concordance_index``.

    Args:
        time: months of follow-up.
        event: true for died.
        risk: higher is worse.

    Raises:
        TrainingError: lengths differ or a value is NaN.
    """
    times, risks = np.asarray(time, float), np.asarray(risk, float)
    died = np.asarray(event, bool)
    if not times.shape == risks.shape == died.shape:
        raise TrainingError("concordance: times, events and risks differ in number")
    if np.isnan(times).any() or np.isnan(risks).any():
        raise TrainingError("concordance: a time or risk is not a number")
    rows = max(1, PAIRS_AT_ONCE // max(1, len(times)))
    deaths = np.flatnonzero(died)
    chunks = (deaths[start : start + rows] for start in range(0, len(deaths), rows))
    return sum((_compare(chunk, times, died, risks) for chunk in chunks), start=Concordance())


def _compare(
    first: NDArray[np.intp],
    times: NDArray[np.float64],
    died: NDArray[np.bool_],
    risks: NDArray[np.float64],
) -> Concordance:
    """Pairs of the cases ``first``, who died, with every case known to live longer."""
    own = times[first, None]  # (rows, 1)
    later = (times > own) | ((times == own) & ~died)  # (rows, n)
    higher = int((later & (risks[first, None] > risks)).sum())
    tied = int((later & (risks[first, None] == risks)).sum())
    pairs = int(later.sum())
    return Concordance(higher, pairs - higher - tied, tied, pairs)


@dataclass(frozen=True, slots=True)
class EvaluationSums:
    """Sums over the cases that a model was evaluated on. Pairs are formed within a site."""

    cases: int = 0
    events: int = 0
    nll: float = 0.0
    risk: float = 0.0
    risk_squared: float = 0.0
    concordance: Concordance = field(default_factory=Concordance)

    def __add__(self, other: Self) -> Self:
        sums = {f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(self)}
        return type(self)(**sums)

    @property
    def mean_nll(self) -> float:
        """Mean negative log-likelihood. Raises TrainingError without a case."""
        return self._mean(self.nll)

    @property
    def mean_risk(self) -> float:
        """Mean risk. Raises TrainingError without a case."""
        return self._mean(self.risk)

    @property
    def sd_risk(self) -> float:
        """Standard deviation of the risk, divided by n. Raises TrainingError without a case."""
        return math.sqrt(max(0.0, self._mean(self.risk_squared) - self.mean_risk**2))

    def _mean(self, total: float) -> float:
        if self.cases == 0:
            raise TrainingError("no case was evaluated")
        return total / self.cases
