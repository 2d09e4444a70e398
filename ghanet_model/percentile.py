"""Where a risk lies among many that are known by boxes only. Pure.

Hospitals tell risks as trees (see ``dyadic``): so many cases in this box, where in it nobody says.
So a share of cases with a lower risk has two bounds, and both are told.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from .dyadic import node_bounds

Box = tuple[float, float, int]  # from, to, cases
OPEN = 1e30  # stands for no end; JSON has no infinity


def boxes_of(
    tree: NDArray[np.float64], edges: NDArray[np.float64], *, scale: float = 1, centre: float = 0
) -> list[Box]:
    """The boxes of a tree (nodes,) that hold cases, as risks: centre + scale * place on the grid.

    Args:
        tree: counts by node.
        edges: (leaves + 1,), rising places; the first and the last leaf are open.
        scale: above 0.
        centre: of the grid.
    """
    first, last = node_bounds(len(edges) - 1)
    ends = centre + scale * edges
    ends[0], ends[-1] = -OPEN, OPEN
    return [
        (_short(ends[first[node]]), _short(ends[last[node]]), int(tree[node]))
        for node in np.flatnonzero(tree)
    ]


def _short(value: float) -> float:
    return float(f"{value:.6g}")


def shares_below(boxes: Sequence[Sequence[float]], risk: float) -> tuple[float, float]:
    """Between what the share of cases with a lower risk lies; (0, 1) without a case.

    >>> shares_below([(0.0, 1.0, 30), (1.0, 2.0, 10), (0.0, 4.0, 10)], 1.5)
    (0.6, 1.0)
    """
    total = sum(cases for _, _, cases in boxes)
    if not total:
        return 0.0, 1.0
    surely = sum(cases for _, high, cases in boxes if high <= risk)
    perhaps = sum(cases for low, _, cases in boxes if low < risk)
    return surely / total, perhaps / total


def risk_at(boxes: Sequence[Sequence[float]], share: float) -> tuple[float, float]:
    """Between which risks a percentile lies: that of the boxes' lower ends, and of their upper.

    >>> risk_at([(0.0, 1.0, 30), (1.0, 2.0, 10), (0.0, 4.0, 10)], 0.5)
    (0.0, 1.0)
    """
    total = sum(cases for _, _, cases in boxes)
    low, high = (
        next(end for end, cases in _rising(boxes, place) if cases >= share * total)
        for place in (0, 1)
    )
    return low, high


def _rising(boxes: Sequence[Sequence[float]], place: int) -> Iterator[tuple[float, float]]:
    """Ends of boxes from the lowest on, with the cases up to there."""
    so_far = 0.0
    for box in sorted(boxes, key=lambda box: box[place]):
        so_far += box[2]
        yield box[place], so_far
