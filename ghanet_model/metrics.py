"""Metrics that add: what sites report are sums, divided once at the end. Never a case's value."""

import math
from dataclasses import dataclass, field, fields, replace
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


def told(count: int, of: int, *, least: int) -> int | None:
    """A count out of ``of`` cases as it may leave a hospital; None: a small cell, not told.

    Untold is a count above 0 and below ``least``, and one whose rest is: 38 of 40 tells of 2.

    >>> [told(count, 40, least=10) for count in (0, 9, 10, 30, 31, 40)]
    [0, None, 10, 30, None, 40]
    """
    small = any(0 < cell < least for cell in (count, of - count))
    return None if small else count


def events_in_words(events: int, untold: int) -> str:
    """Numbers of events for people, with the hospitals that did not tell theirs.

    >>> [events_in_words(31, 0), events_in_words(31, 1), events_in_words(0, 2)]
    ['31', '31 + untold at 1 hospital', 'untold at 2 hospitals']
    """
    where = f"untold at {untold} hospital{'s' * (untold > 1)}" if untold else ""
    return " + ".join(part for part in (str(events) if events or not untold else "", where) if part)


@dataclass(frozen=True, slots=True)
class EvaluationSums:
    """Sums over the cases that a model was evaluated on. Pairs are formed within a site.

    Pair counts say more than that nobody died where an untold count is behind them. With a single
    death among n cases, ``comparable`` is how many were seen alive after it: its place in time
    among them, no date; ``concordant`` is how many of these have a lower risk: its place among the
    risks. With d deaths, ``comparable`` is at most d n, so few pairs tell of few deaths. Who may
    not learn that sets a higher minimum of cases; counts of pairs are what a C-index is made of.
    """

    cases: int = 0
    events: int = 0  # of the hospitals that told it
    nll: float = 0.0
    risk: float = 0.0
    risk_squared: float = 0.0
    concordance: Concordance = field(default_factory=Concordance)
    untold_events: int = 0  # hospitals that did not tell their number of events

    def without_small_cells(self, *, least: int) -> Self:
        """The same sums of one hospital, its number of events untold where ``told`` says so."""
        if told(self.events, self.cases, least=least) is not None:
            return self
        return replace(self, events=0, untold_events=1)

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
