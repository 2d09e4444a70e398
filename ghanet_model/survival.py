"""Survival in discrete time: bins, hazards, curves, risk. Pure functions; nothing beyond the data.

A study states K-1 rising edges in months. They cut time into K bins, the last one open:

    bin 0: [0, edge 0)    bin k: [edge k-1, edge k)    bin K-1: [edge K-2, ever)

The hazard of bin k is the chance to die in it given life at its start.
"""

import math
from bisect import bisect_right
from collections.abc import Sequence

from torch import Tensor

from .errors import CohortError


def time_bin_of(months: float, edges: Sequence[float]) -> int:
    """The bin that holds a time: the number of edges at or before it.

    Args:
        months: time since diagnosis, 0 or more.
        edges: K-1 rising edges in months.

    Raises:
        CohortError: ``months`` is negative or not finite.

    >>> [time_bin_of(months, (12, 36, 60)) for months in (0, 11.9, 12, 59, 60, 600)]
    [0, 0, 1, 2, 3, 3]
    """
    if not 0 <= months < math.inf:
        raise CohortError("a time of follow-up is negative or missing", hint="months, 0 or more")
    return bisect_right(edges, months)


def survival_from(hazards: Tensor) -> Tensor:
    """S(k) = prod over j <= k of 1 - h(j): the chance to live beyond bin k, (B, K) -> (B, K).

    >>> import torch
    >>> survival_from(torch.tensor([[0.5, 0.2]])).tolist()
    [[0.5, 0.4000000059604645]]
    """
    return (1 - hazards).cumprod(dim=1)


def risk_from(survival: Tensor) -> Tensor:
    """Minus the sum over k of S(k), (B, K) -> (B,): higher is worse, from -K up to 0."""
    return -survival.sum(dim=1)


def survival_at_edges(survival: Tensor) -> Tensor:
    """The chance to be alive at each edge, (B, K) -> (B, K-1).

    Column k is the survival at edge k. The last bin has no end, so its column is left out:
    beyond the last edge nothing can be estimated.
    """
    return survival[:, :-1]
