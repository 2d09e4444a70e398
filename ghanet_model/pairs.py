"""Pairs of cases that risks order: bootstrap replicates that add, and C over all hospitals. Pure.

C inside hospitals (c_within) is a ratio of sums of pairs, so pairs are what hospitals send, of the
cases and of R bootstrap samples of them. C over all pairs (c_all) needs cases of different
hospitals side by side: a tree over month and risk (see ``dyadic``) gives it with an exact bound.
Which pairs compare, and how ties count, is as in ``metrics.concordance``.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .dyadic import node_bounds, nodes_of, spread, tree_counts
from .errors import TrainingError
from .kaplan_meier import CENSORED, DEAD, MONTHS, month_of

RISK_LEAVES = 64  # of the risk's grid in c_all
LIMIT = 4.0  # the grid of risks reaches this many spreads to both sides; its ends are open
PAIRS_AT_ONCE = 4_000_000  # bounds the memory of comparing every case with every other
LEVEL = 95.0


@dataclass(frozen=True, slots=True)
class Interval:
    """A value with its 95% percentile interval (Efron 1979); NaN where there is none."""

    value: float
    low: float
    high: float
    pairs: float  # that the value is over
    left_out: int  # bootstrap samples without a comparable pair, not in the interval


def draw_weights(
    cases: int, replicates: int, generator: np.random.Generator
) -> NDArray[np.float64]:
    """How often each sample holds each case (1 + R, n); row 0 holds each once."""
    drawn = generator.multinomial(cases, np.full(cases, 1 / max(cases, 1)), size=replicates)
    return np.vstack([np.ones(cases), drawn])


def replicate_pairs(
    time: ArrayLike, event: ArrayLike, risks: NDArray[np.float64], *, weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Pairs of one hospital by what each arm says of them.

    Args:
        time: (n,) months.
        event: (n,) true for died.
        risks: (arms, n), higher is worse.
        weights: (1 + R, n), how often each sample holds each case.

    Returns:
        (arms, 1 + R, 4): concordant, discordant, tied, comparable; w_i w_j of each pair added.

    Raises:
        TrainingError: a time or risk is NaN, which would count as discordant.

    >>> replicate_pairs([1, 2], [True, False], np.array([[5.0, 3.0]]), weights=np.ones((1, 2)))
    array([[[1., 0., 0., 1.]]])
    """
    times, died = np.asarray(time, float), np.asarray(event, bool)
    if np.isnan(times).any() or np.isnan(risks).any():
        raise TrainingError("pairs: a time or risk is not a number")
    found = np.zeros((len(risks), len(weights), 4))
    deaths = np.flatnonzero(died)
    rows = max(1, PAIRS_AT_ONCE // max(1, len(times)))
    for chunk in (deaths[start : start + rows] for start in range(0, len(deaths), rows)):
        own = times[chunk, None]
        later = (times > own) | ((times == own) & ~died)  # (rows, n)
        left = weights[:, chunk]  # (1 + R, rows)
        comparable = ((left @ later.astype(float)) * weights).sum(axis=1)
        for number, risk in enumerate(risks):
            mine = risk[chunk, None]
            for place, pairs in ((0, later & (mine > risk)), (2, later & (mine == risk))):
                found[number, :, place] += ((left @ pairs.astype(float)) * weights).sum(axis=1)
            found[number, :, 3] += comparable
    found[..., 1] = found[..., 3] - found[..., 0] - found[..., 2]
    return found


def estimate(pairs: NDArray[np.float64]) -> Interval:
    """C with its interval, from pairs (1 + R, 4) of one arm, added over hospitals.

    Cases are drawn inside each hospital, so the interval is of these hospitals' patients: it says
    nothing of hospitals that did not take part.
    """
    return _interval(_c_indices(pairs), pairs[0, 3])


def difference(of: NDArray[np.float64], minus: NDArray[np.float64]) -> Interval:
    """The difference of two arms' C, their samples the same ones."""
    return _interval(_c_indices(of) - _c_indices(minus), min(of[0, 3], minus[0, 3]))


def _c_indices(pairs: NDArray[np.float64]) -> NDArray[np.float64]:
    good, known = pairs[:, 0] + pairs[:, 2] / 2, pairs[:, 3]
    found: NDArray[np.float64] = np.full(len(pairs), np.nan)
    np.divide(good, known, out=found, where=known > 0)
    return found


def _interval(replicates: NDArray[np.float64], pairs: float) -> Interval:
    drawn = replicates[1:][np.isfinite(replicates[1:])]
    tail = (100 - LEVEL) / 2
    low, high = np.percentile(drawn, [tail, 100 - tail]) if len(drawn) else (np.nan, np.nan)
    left_out = len(replicates) - 1 - len(drawn)
    return Interval(float(replicates[0]), float(low), float(high), float(pairs), left_out)


def risk_edges(leaves: int) -> NDArray[np.float64]:
    """Edges of the grid of risks, in spreads from the centre."""
    return np.linspace(-LIMIT, LIMIT, leaves + 1)


def risk_leaves(place: NDArray[np.float64], leaves: int) -> NDArray[np.intp]:
    """The leaf of each risk, given in spreads from the centre; the ends are open.

    Raises:
        TrainingError: a risk is NaN.
    """
    if np.isnan(place).any():
        raise TrainingError("a risk is not a number")
    found = np.floor((place + LIMIT) * (leaves / (2 * LIMIT)))
    return np.clip(found, 0, leaves - 1).astype(np.intp)


def pair_tree(
    time: ArrayLike, event: ArrayLike, place: NDArray[np.float64], *, least: int
) -> NDArray[np.float64]:
    """Cases by month and risk, censored and dead: (2, nodes of months, nodes of risks).

    Nothing is told where either of the two is of a few.
    """
    died = np.asarray(event, bool)
    sizes, counts = (MONTHS, RISK_LEAVES), (int((~died).sum()), int(died.sum()))
    if any(0 < count < least for count in counts):
        return np.zeros((2, *map(nodes_of, sizes)))
    leaves = np.column_stack([month_of(time), risk_leaves(place, RISK_LEAVES)])
    return np.array([tree_counts(leaves[died == d], sizes, least=least) for d in (False, True)])


@dataclass(frozen=True, slots=True)
class CAll:
    """Harrell's C over all pairs of all hospitals, and between what it lies."""

    value: float  # counts spread evenly inside their boxes
    low: float
    high: float
    comparable_low: float  # pairs that certainly compare
    comparable_high: float  # and those that may


def c_all(tree: NDArray[np.float64]) -> CAll:
    """C over all pairs, from the sum of hospitals' trees (Harrell et al. 1996).

    Of two boxes that are apart in time it is certain who died first; if they are apart in risk too,
    what the risks say of it. Of the pairs that certainly compare A are certainly concordant, B
    certainly discordant and U either. V pairs, of boxes that share a month, may compare or not. A
    pair more in the denominator lowers C if discordant and raises it if concordant, so C is lowest
    with all of U discordant and, of V, exactly those comparing that can be discordant; and highest
    the other way round:

        A / (A + B + U + V_discordant) <= C <= (A + U + V_concordant) / (A + B + U + V_concordant)

    Where no such denominator is left, only pairs of one kind can compare: C is 1, or 0, or there is
    none. Two deaths whose boxes share a month compare once at most. Pairs are bounded one by one,
    so no placement of cases need reach a bound; none goes beyond it.
    """
    return CAll(_spread_c(tree), *_bounds(tree))


def _spread_c(tree: NDArray[np.float64]) -> float:
    leaves = spread(spread(tree, axis=1), axis=2)  # (2, months, risks)
    dead, censored = leaves[DEAD], leaves[CENSORED]
    both = dead + censored
    later = both[::-1].cumsum(axis=0)[::-1] - both + censored  # (months, risks), of each month
    below = later.cumsum(axis=1) - later
    concordant, tied = (dead * below).sum(), (dead * later).sum()
    comparable = (dead.sum(axis=1) * later.sum(axis=1)).sum()
    return _ratio(concordant + tied / 2, comparable)


def _bounds(tree: NDArray[np.float64]) -> tuple[float, float, float, float]:
    """Lowest and highest C, fewest and most comparable pairs."""
    first, last = node_bounds(MONTHS)
    before = (last[:, None] <= first).astype(float)  # (t, t'): certainly earlier
    beside = ((first[:, None] < last) & (first < last[:, None])).astype(float)
    first, last = node_bounds(RISK_LEAVES)
    above = (first[:, None] >= last).astype(float)  # (r, r'): certainly of higher risk
    dead, censored = tree[DEAD], tree[CENSORED]
    sure, good, bad = _related(before.T @ dead, dead + censored, above)
    mixed, may_not_differ, may_not_agree = _related(beside.T @ dead, censored, above)
    both = (beside.T @ dead).sum(axis=1) @ dead.sum(axis=1)
    deaths = (both - dead.sum()) / 2  # pairs of two deaths that share a month
    may_agree, may_differ = mixed - may_not_agree + deaths, mixed - may_not_differ + deaths
    low = _ratio(good, sure + may_differ, otherwise=1.0 if may_agree else np.nan)
    high = _ratio(sure - bad + may_agree, sure + may_agree, otherwise=0.0 if may_differ else np.nan)
    return low, high, float(sure), float(sure + mixed + deaths)


def _related(
    left: NDArray[np.float64], right: NDArray[np.float64], above: NDArray[np.float64]
) -> tuple[float, float, float]:
    """Pairs of cases (t, r) on both sides of the same t: all, left's risk above, left's below."""
    pairs = left.sum(axis=1) @ right.sum(axis=1)
    higher, lower = ((left @ apart) * right for apart in (above, above.T))
    return float(pairs), float(higher.sum()), float(lower.sum())


def _ratio(part: float, whole: float, *, otherwise: float = np.nan) -> float:
    return float(part / whole) if whole > 0 else otherwise
