"""Calibration and Brier score of predicted survival, as sums over cases. Pure.

Inside a time bin the hazard is constant, so survival falls there as a power of the time passed:
S(t) = S(k-1) (1 - h_k)^((t - e_(k-1)) / (e_k - e_(k-1))). Beyond the last edge nothing is said.

Brier score at month h (Graf et al. 1999): the mean over cases of S(h)^2 / G(T) for who died before
h, (1 - S(h))^2 / G(h) for who was seen alive at h, and 0 for who was censored before; G(m) is the
chance not to be censored in the months before m, deaths of a month coming before its censorings
(reverse Kaplan-Meier). G is that of all hospitals and comes with the question, so that what a
hospital sends is one sum. Integrated, it is the mean over months 0 to the last edge, by trapezoids.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .kaplan_meier import MONTHS, kaplan_meier_interval, month_of

SMALLEST_CHANCE = 1e-3  # of not being censored; bounds the weight of one case


def survival_at(
    hazards: NDArray[np.float64], edges: Sequence[float], months: ArrayLike
) -> NDArray[np.float64]:
    """Predicted survival (n, H) at months up to the last edge, from hazards (n, K).

    Raises:
        ValueError: a month beyond the last edge, of which hazards say nothing, or before 0.

    >>> survival_at(np.array([[0.5, 0.0, 0.3]]), (12, 36), [6, 12, 24]).round(4).tolist()
    [[0.7071, 0.5, 0.5]]
    """
    bounds = np.array([0.0, *edges])  # (K,)
    survival = np.cumprod(1 - hazards[:, : len(edges)], axis=1)  # (n, K-1)
    before = np.hstack([np.ones((len(hazards), 1)), survival])
    asked = np.asarray(months, float)
    if not ((asked >= 0) & (asked <= bounds[-1])).all():
        raise ValueError("survival is asked for at a month beyond the last edge, or before 0")
    bins = np.clip(np.searchsorted(bounds, asked, side="left") - 1, 0, len(edges) - 1)
    part = (asked - bounds[bins]) / (bounds[bins + 1] - bounds[bins])
    found: NDArray[np.float64] = before[:, bins] * (1 - hazards[:, bins]) ** part
    return found


def brier_sums(
    time: ArrayLike,
    event: ArrayLike,
    hazards: NDArray[np.float64],
    edges: Sequence[float],
    survival: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sums of weighted squared errors, of the model and of Kaplan-Meier as everybody's prediction.

    Args:
        time: (n,) months.
        event: (n,) true for died.
        hazards: (n, K) of the model.
        edges: of the time bins; the horizons.
        survival: (2, MONTHS) of all hospitals: being alive, and not being censored.

    Returns:
        (2, H) at each edge, rounded down to whole months, and (2,) the mean over the months up to
        the last edge (trapezoids).
    """
    month, died = month_of(time), np.asarray(event, bool)
    last = min(int(edges[-1]), MONTHS - 1)
    grid = np.arange(last + 1)
    model = survival_at(hazards, edges, grid)  # (n, last + 1)
    reference = np.broadcast_to(survival[0, grid], model.shape)
    weights = _weights(month, died, grid, survival[1])
    alive = month[:, None] >= grid
    errors = np.array([((alive - own) ** 2 * weights).sum(axis=0) for own in (model, reference)])
    horizons = [min(int(edge), last) for edge in edges]
    middles = (errors[:, 1:] + errors[:, :-1]) / 2
    return errors[:, horizons], middles.sum(axis=1) / max(last, 1)


def _weights(
    month: NDArray[np.intp],
    died: NDArray[np.bool_],
    grid: NDArray[np.intp],
    uncensored: NDArray[np.float64],
) -> NDArray[np.float64]:
    """(n, months): what one case's error counts at each month."""
    chance = np.maximum(uncensored, SMALLEST_CHANCE)
    alive, dead = month[:, None] >= grid, died[:, None] & (month[:, None] < grid)
    found: NDArray[np.float64] = alive / chance[grid] + dead / chance[month][:, None]
    return found


@dataclass(frozen=True, slots=True)
class Observed:
    """Survival of a group at a horizon, with its 95% interval."""

    value: float
    low: float
    high: float


def observed_survival(tree: NDArray[np.float64], months: float) -> Observed:
    """Kaplan-Meier of a group (2, nodes) at a horizon, rounded down to whole months."""
    value, low, high = kaplan_meier_interval(tree)[:, min(int(months), MONTHS - 1)]
    return Observed(float(value), float(low), float(high))
