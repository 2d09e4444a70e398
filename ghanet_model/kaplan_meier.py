"""Survival of groups on a monthly grid: Kaplan-Meier, log-rank, censoring. Sums in, curves out.

Month m holds times from m up to, not including, m + 1; the last month is open. In a month deaths
come before censorings. A curve's entry h is the chance to be alive after h whole months, from the
months before h (Kaplan and Meier 1958). Trees are those of ``dyadic``: with ``least`` 1 and times
of whole months everything here equals lifelines; counts that stayed in longer boxes are spread
evenly over their months, and ``kaplan_meier_bounds`` says how far off that can be.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import chi2 as chi2_distribution

from .dyadic import node_bounds, nodes_of, spread, tree_counts
from .errors import TrainingError

MONTHS = 256
NORMAL_95 = 1.959963984540054
Curve = NDArray[np.float64]  # (MONTHS,)
CENSORED, DEAD = 0, 1
SLACK = 1e-9  # of a sum of parts


def time_tree(time: ArrayLike, event: ArrayLike, *, least: int) -> NDArray[np.float64]:
    """Months of follow-up as trees (2, nodes), of censored and of dead cases.

    Nothing is told where either of the two is of a few: the other and the total would tell it.

    Raises:
        TrainingError: a time is negative or not finite.
    """
    months, died = month_of(time), np.asarray(event, bool)
    sizes = (int((~died).sum()), int(died.sum()))
    if any(0 < size < least for size in sizes):
        return np.zeros((2, nodes_of(MONTHS)))
    return np.array(
        [tree_counts(months[died == which], MONTHS, least=least) for which in (False, True)]
    )


def month_of(time: ArrayLike) -> NDArray[np.intp]:
    """The month that each time falls into; the last one is open."""
    times = np.asarray(time, float)
    if not np.isfinite(times).all() or (times < 0).any():
        raise TrainingError("a time of follow-up is negative or missing")
    found: NDArray[np.intp] = np.minimum(times, MONTHS - 1).astype(np.intp)
    return found


def at_risk(tree: NDArray[np.float64]) -> Curve:
    """Cases under observation at the start of each month."""
    leaving = spread(tree).sum(axis=-2)  # (..., MONTHS)
    found: Curve = leaving[..., ::-1].cumsum(axis=-1)[..., ::-1]
    return found


def kaplan_meier(tree: NDArray[np.float64]) -> Curve:
    """S(h) = product over months m < h of 1 - d_m / n_m; 1 where nobody is at risk any more."""
    censored, deaths = spread(tree)
    return _curve(deaths, censored)


def reverse_kaplan_meier(tree: NDArray[np.float64]) -> Curve:
    """G(h): the chance not to be censored in h months, deaths of a month taken out first."""
    censored, deaths = spread(tree)
    return _product(_share(censored, at_risk(tree) - deaths))


def kaplan_meier_bounds(tree: NDArray[np.float64]) -> NDArray[np.float64]:
    """Between what the curve of the cases lies, wherever they are in their boxes (2, MONTHS).

    S(h) falls when a censoring comes before a death instead of after it, and when a death comes
    before h instead of later. So it is lowest with deaths as late as their boxes allow, but before
    h where they can be, and censorings as early as possible; it is highest the other way round.
    Both are curves that some cases have, so the bounds are exact.

    >>> both = kaplan_meier_bounds(time_tree([1, 1, 5, 7], [True, True, False, False], least=2))
    >>> both[:, [0, 1, 2, 9]].tolist()
    [[1.0, 1.0, 0.5, 0.5], [1.0, 1.0, 0.5, 0.5]]
    """
    lowest, highest = np.ones(MONTHS), np.ones(MONTHS)
    first, after = node_bounds(MONTHS)
    for h in range(1, MONTHS):
        late = np.where(first < h, np.minimum(after, h) - 1, first)
        lowest[h] = _curve(_by_month(tree[DEAD], late), _by_month(tree[CENSORED], first))[h]
        early = np.where(after > h, after - 1, first)
        highest[h] = _curve(_by_month(tree[DEAD], early), _by_month(tree[CENSORED], after - 1))[h]
    return np.array([lowest, highest])


def _by_month(counts: NDArray[np.float64], months: NDArray[np.intp]) -> Curve:
    """Cases of each month, all cases of a node in one."""
    return np.bincount(months, counts, minlength=MONTHS).astype(np.float64)


def _curve(deaths: Curve, censored: Curve) -> Curve:
    risk = (deaths + censored)[::-1].cumsum()[::-1]
    return _product(_share(deaths, risk))


def kaplan_meier_interval(tree: NDArray[np.float64]) -> NDArray[np.float64]:
    """The curve and its 95% interval (3, MONTHS), by Greenwood 1926 on the log-log scale.

    The interval is of the draw of cases; where counts stayed in boxes, ``kaplan_meier_bounds`` is
    what the boxes leave open. While a box has brought part of the first death only, Greenwood's
    formula does not hold: there the lower limit is that of the first whole death, which is one for
    every month before, and the upper limit is 1.
    """
    deaths, risk = spread(tree)[DEAD], at_risk(tree)
    curve = kaplan_meier(tree)
    alive = risk * (risk - deaths)
    greenwood = np.divide(deaths, alive, out=np.zeros_like(deaths), where=alive > 0)
    variance = np.concatenate([[0.0], greenwood.cumsum()[:-1]])
    inside = (curve > 0) & (curve < 1)
    width = np.zeros_like(curve)
    width[inside] = NORMAL_95 * np.sqrt(variance[inside]) / -np.log(curve[inside])
    low, high = curve ** np.exp(width), curve ** np.exp(-width)
    before = np.concatenate([[0.0], deaths.cumsum()[:-1]])  # deaths before each month
    whole = int(np.searchsorted(before, 1.0 - SLACK))
    if whole < MONTHS:
        begun = slice(int(np.searchsorted(before, 0.0, side="right")), whole)
        low[begun], high[begun] = low[whole], 1.0
    return np.array([curve, low, high])


def median_of(curve: Curve) -> float | None:
    """The first month after which at most half are left; None where more are to the end."""
    below = np.flatnonzero(curve <= 0.5)
    return float(below[0]) if len(below) else None


@dataclass(frozen=True, slots=True)
class LogRank:
    """A log-rank test of equal survival in several groups."""

    chi2: float
    dof: int
    p: float


def log_rank(trees: NDArray[np.float64]) -> LogRank:
    """Compare groups (G, 2, nodes), Mantel 1966; NaN where there is nothing to compare."""
    deaths, risk = spread(trees)[:, DEAD], at_risk(trees)  # (G, MONTHS)
    total, n = deaths.sum(axis=0), risk.sum(axis=0)
    seen = n > 1
    share = np.divide(risk, n, out=np.zeros_like(risk), where=n > 0)
    surplus = (deaths - share * total).sum(axis=1)
    factor = np.zeros_like(total)
    factor[seen] = total[seen] * (n - total)[seen] / (n - 1)[seen]
    variance = np.diag((share * factor).sum(axis=1)) - (share * factor) @ share.T
    dof = len(trees) - 1
    own, spread_of = surplus[:dof], variance[:dof, :dof]
    if dof < 1 or np.linalg.matrix_rank(spread_of) < dof:
        return LogRank(float("nan"), dof, float("nan"))
    chi2 = float(own @ np.linalg.solve(spread_of, own))
    return LogRank(chi2, dof, float(chi2_distribution.sf(chi2, dof)))


def _share(leaving: Curve, risk: Curve) -> Curve:
    found = np.divide(leaving, risk, out=np.zeros_like(leaving), where=risk > 0)
    return np.clip(found, 0.0, 1.0)


def _product(leaving: Curve) -> Curve:
    return np.concatenate([[1.0], np.cumprod(1 - leaving)[:-1]])
