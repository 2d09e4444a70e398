"""Dyadic trees: histograms that add, tell nothing of a few, and say how exact they are. Pure.

An axis has L = 2^d leaves on a public grid and 2L - 1 nodes, all its dyadic intervals: node 0 is
the whole axis, the children of node i are 2i + 1 and 2i + 2, the last L nodes are the leaves. A
hospital counts every case at exactly one node, in whose box it lies. It starts with the whole grid
and halves a box, again and again, where each half holds no case or at least ``least``. Where one
half holds a few, these are peeled off: they stay in the box together with the cases beside them, as
many as make ``least``, and the others go on. What is fewer than twice ``least`` stays. So no count
of a few ever leaves, trees of hospitals add, and whoever gets their sum knows of every count in
which box its cases lie: hence a value, with the count spread evenly over the box, and an exact
bound, with all cases where they do most harm. With ``least`` 1 all counts are at leaves.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

Counts = NDArray[np.float64]


def nodes_of(size: int) -> int:
    """Nodes of an axis of ``size`` leaves, a power of two."""
    if size < 1 or size & (size - 1):
        raise ValueError(f"{size} leaves are no power of two")
    return 2 * size - 1


def node_bounds(size: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """First leaf, and leaf after the last, of every node (nodes,).

    >>> [bounds.tolist() for bounds in node_bounds(4)]
    [[0, 0, 2, 0, 1, 2, 3], [4, 2, 4, 1, 2, 3, 4]]
    """
    node = np.arange(nodes_of(size))
    level = np.floor(np.log2(node + 1)).astype(np.intp)
    width = size >> level
    first = (node + 1 - (1 << level)) * width
    return first, first + width


def column_trees(
    leaves: NDArray[np.integer], size: int, *, least: int, measured: NDArray[np.bool_] | None = None
) -> Counts:
    """One tree per column.

    Args:
        leaves: (cases, columns), the leaf of each value, 0 ... size - 1.
        size: leaves of the grid.
        least: the fewest cases that a count may be of, but none.
        measured: (cases, columns), which values there are; None: all.

    Returns:
        (columns, nodes); a column with fewer than ``least`` values tells nothing.
    """
    columns = leaves.shape[1]
    if least <= 1:
        return _leaf_counts(leaves, size, measured)
    trees = np.zeros((columns, nodes_of(size)))
    for column in range(columns):
        own = leaves[:, column] if measured is None else leaves[measured[:, column], column]
        trees[column] = tree_counts(own, size, least=least)
    return trees


def _leaf_counts(
    leaves: NDArray[np.integer], size: int, measured: NDArray[np.bool_] | None
) -> Counts:
    columns = leaves.shape[1]
    place = leaves + size * np.arange(columns)
    known = place.ravel() if measured is None else place[measured]
    trees = np.zeros((columns, nodes_of(size)))
    trees[:, size - 1 :] = np.bincount(known, minlength=columns * size).reshape(columns, size)
    return trees


def tree_counts(leaves: ArrayLike, sizes: int | Sequence[int], *, least: int) -> Counts:
    """The tree of one hospital's cases, over one axis or several.

    A box is halved along the axis that was halved least often so far, or the next one that can be.

    Args:
        leaves: (cases,) or (cases, axes), the leaf of each case on each axis.
        sizes: leaves per axis.
        least: the fewest cases that a count may be of, but none.

    Returns:
        Counts by node, one axis of nodes per axis; all 0 for fewer than ``least`` cases.

    >>> tree_counts([0, 0, 0, 0, 0, 3], 4, least=3).tolist()
    [3.0, 0.0, 0.0, 3.0, 0.0, 0.0, 0.0]
    """
    sizes = [sizes] if isinstance(sizes, int) else list(sizes)
    rows = np.asarray(leaves, np.intp).reshape(-1, len(sizes))
    counts = np.zeros([nodes_of(size) for size in sizes])
    boxes = [((0,) * len(sizes), rows)] if len(rows) >= max(1, least) else []
    while boxes:
        box, inside = boxes.pop()
        halves = _halves(box, inside, sizes, least)
        counts[box] += len(inside) - sum(len(half) for _, half in halves)
        boxes += halves
    return counts


def _halves(
    box: tuple[int, ...], inside: NDArray[np.intp], sizes: Sequence[int], least: int
) -> list[tuple[tuple[int, ...], NDArray[np.intp]]]:
    """What of a box goes on into its halves; nothing where it must not or cannot be halved."""
    levels = [(node + 1).bit_length() - 1 for node in box]
    for axis in sorted(range(len(box)), key=lambda a: levels[a]):
        width = sizes[axis] >> levels[axis]
        if width == 1:
            continue
        first = (box[axis] + 1 - (1 << levels[axis])) * width
        parts = _parted(inside, axis, first + width // 2, least)
        nodes = (2 * box[axis] + 1, 2 * box[axis] + 2)
        halves = [
            ((*box[:axis], node, *box[axis + 1 :]), part)
            for node, part in zip(nodes, parts, strict=True)
            if len(part)
        ]
        if halves:
            return halves
    return []


def _parted(
    inside: NDArray[np.intp], axis: int, middle: int, least: int
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Cases that go on below and above the middle of an axis; a few are peeled off."""
    above = inside[:, axis] >= middle
    more = int(above.sum())
    fewer = len(inside) - more
    if all(count == 0 or count >= least for count in (fewer, more)):
        return inside[~above], inside[above]
    if len(inside) < 2 * least:
        return inside[:0], inside[:0]
    ordered = inside[np.argsort(inside[:, axis], kind="stable")]
    if fewer < more:
        return inside[:0], ordered[least:]
    return ordered[:-least], inside[:0]


def spread(counts: Counts, axis: int = -1) -> Counts:
    """Counts by leaf, those of a node spread evenly over its leaves.

    >>> spread(np.array([8.0, 0, 2, 0, 0, 0, 1])).tolist()
    [2.0, 2.0, 3.0, 4.0]
    """
    nodes = np.moveaxis(counts, axis, -1)
    size = (nodes.shape[-1] + 1) // 2
    leaves = np.zeros((*nodes.shape[:-1], size))
    for level in range(size.bit_length()):
        here, width = nodes[..., 2**level - 1 : 2 ** (level + 1) - 1], size >> level
        leaves += np.repeat(here / width, width, axis=-1)
    return np.moveaxis(leaves, -1, axis)


def quantile(tree: Counts, edges: NDArray[np.float64], share: float) -> NDArray[np.float64]:
    """The value below which this share of cases lies, counts spread evenly; NaN without a case.

    Args:
        tree: (..., nodes).
        edges: (leaves + 1,), rising.
        share: from 0 to 1.
    """
    flat = spread(tree).reshape(-1, len(edges) - 1)
    found = [_place(row, edges, share) for row in flat]
    return np.array(found).reshape(tree.shape[:-1])


def _place(leaves: Counts, edges: NDArray[np.float64], share: float) -> float:
    total = leaves.sum()
    if not total:
        return float("nan")
    below = np.concatenate([[0.0], np.cumsum(leaves)])
    wanted = share * total
    leaf = min(int(np.searchsorted(below, wanted, side="left")), len(leaves))
    leaf = max(leaf - 1, int(np.flatnonzero(leaves)[0]))
    inside = (wanted - below[leaf]) / leaves[leaf] if leaves[leaf] else 0.0
    return float(edges[leaf] + min(max(inside, 0.0), 1.0) * (edges[leaf + 1] - edges[leaf]))


def quantile_bounds(
    tree: Counts, edges: NDArray[np.float64], share: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Between what the quantile of the cases' own values lies, wherever they are in their boxes.

    The quantile is the smallest value that at least ``share`` of the cases do not exceed (numpy's
    method 'inverted_cdf'). A value beyond the grid counts as on its last edge. NaN without a case.
    """
    first, last = node_bounds(len(edges) - 1)
    flat = tree.reshape(-1, tree.shape[-1])
    low = [_ranked(row, edges[first], share) for row in flat]
    high = [_ranked(row, edges[last], share) for row in flat]
    return np.array(low).reshape(tree.shape[:-1]), np.array(high).reshape(tree.shape[:-1])


def _ranked(counts: Counts, values: NDArray[np.float64], share: float) -> float:
    """The quantile if every case of a node had this value."""
    total = counts.sum()
    if not total:
        return float("nan")
    order = np.argsort(values, kind="stable")
    rank = max(np.ceil(share * total - 1e-9), 1.0)
    return float(values[order][np.searchsorted(np.cumsum(counts[order]), rank, side="left")])
