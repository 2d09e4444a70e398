"""Small cells: which counts of a classification may leave when its total is known too. Pure."""

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.float64]


def without_small_cells(counts: Counts, *, least: int) -> tuple[Counts, Counts]:
    """Cells that may leave, and 1.0 where one may not.

    A small cell stays, and with it the smallest of the large ones (all of these where several are
    equal), else the total would tell it. Where no cell is large, all stay, those of nobody too.
    From 3 cases on, whoever knows total and rule is left with several values for every such cell.

    >>> [cells.tolist() for cells in without_small_cells(np.array([30.0, 4, 12, 0]), least=10)]
    [[30.0, 0.0, 0.0, 0.0], [0.0, 1.0, 1.0, 0.0]]
    """
    small, large = (counts > 0) & (counts < least), counts >= max(1, least)
    if not small.any():
        return counts, np.zeros_like(counts)
    partner = counts == counts[large].min() if large.any() else np.ones_like(small)
    untold = small | partner
    return np.where(untold, 0.0, counts), untold.astype(np.float64)
