"""An evaluation from one noisy histogram of each hospital: risk, time and event, cell by cell.

A case is in one cell, so adding or removing one changes one count by 1: with normal noise of
deviation sigma on every cell, the release is a Gaussian mechanism of noise sigma. All that follows
from it is free. Noise of different cells is independent, and a pair is always of two cells, so
numbers of pairs are unbiased; their variance is known.

Shapes: R risk bins of rising risk, T time bins of the public grid, the last dimension is alive and
died; H hospitals.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .errors import ProtocolError
from .secure import normals

TIME_EDGES = (6.0, 12.0, 24.0, 36.0, 60.0)  # months; noise grows with the root of the cells
TIME_BINS = len(TIME_EDGES) + 1
RISK_BINS = 6  # two to a risk group
FINE_BINS = 64  # of the first look at where risks lie
NORMAL_95 = 1.959964

Counts = NDArray[np.float64]


def risk_counts(risk: ArrayLike, *, low: float, high: float) -> Counts:
    """Cases by risk (FINE_BINS,), in equal bins of a public range; the first and last are open."""
    place = (np.asarray(risk, np.float64) - low) / (high - low) * FINE_BINS
    bins = np.clip(np.floor(place), 0, FINE_BINS - 1).astype(int)
    return np.bincount(bins, minlength=FINE_BINS).astype(np.float64)


def risk_edges(counts: Counts, *, low: float, high: float) -> NDArray[np.float64]:
    """Inner edges (RISK_BINS - 1,) that part the cases evenly, as well as noisy counts tell.

    The running total is made to rise and read between its points; equal shares of the range are
    taken where the counts add up to less than one case.
    """
    points = np.linspace(low, high, FINE_BINS + 1)
    total = np.maximum.accumulate(np.concatenate([[0.0], np.cumsum(counts)]).clip(min=0.0))
    shares = np.arange(1, RISK_BINS) / RISK_BINS
    if total[-1] < 1:
        equal: NDArray[np.float64] = low + shares * (high - low)
        return equal
    rising = total + np.arange(FINE_BINS + 1) * 1e-9 * total[-1]  # so that it can be inverted
    edges: NDArray[np.float64] = np.interp(shares * rising[-1], rising, points)
    return edges


def joint_counts(risk: ArrayLike, time: ArrayLike, event: ArrayLike, edges: ArrayLike) -> Counts:
    """Cases by risk, time and event (R, T, 2)."""
    found = np.zeros((len(np.asarray(edges)) + 1, TIME_BINS, 2))
    row = np.searchsorted(np.asarray(edges), np.asarray(risk), side="right")
    column = np.searchsorted(TIME_EDGES, np.asarray(time), side="right")
    np.add.at(found, (row, column, np.asarray(event, int)), 1.0)
    return found


def with_noise(counts: Counts, noise: float) -> Counts:
    """The counts as they may leave: normal noise from the operating system on every cell."""
    return counts + noise * normals(counts.size).reshape(counts.shape)


@dataclass(frozen=True, slots=True)
class NoisyC:
    """A C-index with its 95% interval, which covers both the sample of cases and the noise."""

    value: float
    deviation: float
    of_noise: float  # the part of the deviation that is noise
    comparable: float  # pairs, an estimate

    @property
    def interval(self) -> tuple[float, float]:
        """Within 0 and 1."""
        width = NORMAL_95 * self.deviation
        return max(0.0, self.value - width), min(1.0, self.value + width)


def noisy_c(hospitals: Sequence[Counts], noise: float) -> NoisyC | None:
    """C over pairs inside hospitals, weighted by pairs; None where noise leaves no pair.

    A pair is comparable where one died and the other was seen in a later time bin; equal risk bins
    count half. Pairs that are close in time are left out, so C is somewhat above that of exact
    times: by .01 to .02 on drawn cases, see the tests. Deviation by the delta method: cells are
    independent, a count varies by itself (Poisson) and by sigma.

    Args:
        hospitals: noisy counts (R, T, 2), one array for each.
        noise: sigma, of every cell.

    Raises:
        ProtocolError: arrays of another shape.
    """
    parts = [_pairs(counts) for counts in hospitals]
    won, pairs = sum(part.won for part in parts), sum(part.pairs for part in parts)
    if pairs <= 0:
        return None
    value = won / pairs
    slopes = [(part.won_slope - value * part.pairs_slope) / pairs for part in parts]
    by_noise = noise**2 * sum(float(np.square(slope).sum()) for slope in slopes)
    by_cases = sum(
        float((np.square(slope) * counts).sum())
        for slope, counts in zip(slopes, hospitals, strict=True)
    )
    deviation = (by_noise + max(0.0, by_cases)) ** 0.5
    return NoisyC(float(value), deviation, by_noise**0.5, float(pairs))


@dataclass(frozen=True, slots=True, eq=False)
class _Pairs:
    """Pairs of one hospital that are ordered rightly, all of them, and their slopes by cell."""

    won: float
    pairs: float
    won_slope: Counts  # (R, T, 2)
    pairs_slope: Counts


def _pairs(counts: Counts) -> _Pairs:
    if counts.ndim != 3 or counts.shape[1:] != (TIME_BINS, 2):
        raise ProtocolError(f"counts of shape {counts.shape}, not (R, {TIME_BINS}, 2)")
    died = counts[:, :, 1]  # (R, T)
    every = counts.sum(axis=2)
    later = every[:, ::-1].cumsum(axis=1)[:, ::-1] - every  # (R, T): seen after bin t
    order = np.tri(len(counts), k=-1) + 0.5 * np.eye(len(counts))  # (R, R): 1 where r > r'
    won, won_slope = _sum_and_slope(died, later, order)
    pairs, pairs_slope = _sum_and_slope(died, later, np.ones_like(order))
    return _Pairs(won, pairs, won_slope, pairs_slope)


def _sum_and_slope(died: Counts, later: Counts, kernel: Counts) -> tuple[float, Counts]:
    """sum_t died_t' kernel later_t, and what one more case in each cell (R, T, 2) adds to it."""
    as_first = kernel @ later  # (R, T): added by a death
    met = kernel.T @ died  # (R, T): by who lives on, for each bin that he outlives
    as_other = met.cumsum(axis=1) - met
    slope = np.stack([as_other, as_other + as_first], axis=2)
    return float((died * as_first).sum()), slope


def life_table(counts: Counts, noise: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Survival of a group at the ends of the time bins but the last, by the actuarial method.

    Who was last seen in a bin is at risk for half of it (Cutler & Ederer 1958).

    Args:
        counts: of the group (T, 2), added over risk bins and hospitals.
        noise: deviation of each of these sums.

    Returns:
        Survival (T - 1,) and the deviation of its logarithm (Greenwood's, and of the noise); from
        where fewer than one are at risk on, NaN.
    """
    alive, died = counts[:-1, 0], counts[:-1, 1].clip(min=0.0)
    every = counts.sum(axis=1)
    cells = 2 * (len(counts) - np.arange(len(counts) - 1))  # in the sum of who is at risk
    at_risk = every[::-1].cumsum()[::-1][:-1] - alive / 2
    known = np.logical_and.accumulate(at_risk >= 1)
    n = np.where(known, at_risk, 1.0)
    rate = np.clip(died / n, 0.0, 1.0)
    survival = np.where(known, np.cumprod(1 - rate), np.nan)
    varies = (rate * (1 - rate) * n + noise**2 * (1 + rate**2 * cells)) / n**2
    deviation = np.sqrt(np.cumsum(varies / np.maximum(1 - rate, 1e-3) ** 2))
    return survival, np.where(known, deviation, np.nan)
