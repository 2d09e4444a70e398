"""A proposal for a study's time bins, from the summed months of follow-up of its hospitals."""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ghanet_model.dyadic import node_bounds, spread
from ghanet_model.kaplan_meier import DEAD, MONTHS, at_risk

HORIZONS = (12, 36, 60)  # months that a report quotes
YEAR = 12
UNEVEN = 1.5  # times an equal share of the deaths: a bin with more is halved


class Proposal(NamedTuple):
    """Edges for study.yaml, and why these."""

    edges: tuple[float, ...]  # whole months, rising; none where no death is known
    sentence: str


def propose_edges(
    time_tree: NDArray[np.float64], *, horizons: Sequence[int] = HORIZONS, bins: int = 4
) -> Proposal:
    """Edges with the horizons among them, and about equally many deaths from one to the next.

    The horizons that follow-up reaches come first. Then the bin with most deaths is halved where
    half of them have died, until there are ``bins`` and none has more than one and a half times an
    equal share, or months are too long to halve it.

    Args:
        time_tree: (2, nodes) of ``kaplan_meier``, censored and dead cases of all hospitals.
        horizons: months that should be edges.
        bins: the fewest wanted.
    """
    deaths = spread(time_tree)[DEAD]  # (months,)
    total = deaths.sum()
    if not total:
        return Proposal((), "no hospital told when anybody died: no edges can be proposed")
    risk = at_risk(time_tree)
    reached = [month for month in sorted(horizons) if month < MONTHS and risk[month] >= 1]
    edges = [0, *reached, MONTHS]
    while (month := _next_edge(deaths, edges, bins)) is not None:
        edges = sorted([*edges, month])
    beyond = [month for month in horizons if month not in reached]
    said = _said(_shares(deaths, edges), beyond) + _coarse(time_tree[DEAD])
    return Proposal(tuple(float(month) for month in edges[1:-1]), said)


def _shares(deaths: NDArray[np.float64], edges: Sequence[int]) -> list[float]:
    """Of all deaths, by bin."""
    return [float(deaths[a:b].sum() / deaths.sum()) for a, b in itertools.pairwise(edges)]


def _next_edge(deaths: NDArray[np.float64], edges: Sequence[int], bins: int) -> int | None:
    """The month that halves the bin with most deaths; None where this is enough."""
    shares = _shares(deaths, edges)
    fullest = int(np.argmax(shares))
    if len(shares) >= bins and shares[fullest] <= UNEVEN / bins:
        return None
    return _middle(deaths, edges[fullest], edges[fullest + 1])


def _middle(deaths: NDArray[np.float64], first: int, after: int) -> int | None:
    """The month between two edges that halves the deaths best; None where there is none."""
    below = deaths[first:after].cumsum()
    if len(below) < 2 or np.count_nonzero(deaths[first:after]) < 2:
        return None
    return first + 1 + int(np.argmin(np.abs(below[:-1] - below[-1] / 2)))


def _said(shares: Sequence[float], beyond: Sequence[int]) -> str:
    parts = ", ".join(f"{share:.0%}" for share in shares)
    missing = " and ".join(f"{month}" for month in beyond)
    short = f"; follow-up does not reach {missing} months" if beyond else ""
    return f"{len(shares)} bins with {parts} of the deaths{short}"


def _coarse(deaths: NDArray[np.float64]) -> str:
    """A warning where small numbers were told as boxes of more than a year."""
    first, after = node_bounds(MONTHS)
    share = deaths[after - first > YEAR].sum() / deaths.sum()
    return f"; {share:.0%} of the deaths are known to no better than a year" if share else ""
