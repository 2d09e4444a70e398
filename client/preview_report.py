"""A preview for people: every name, size and number of an answer, and how far weights moved."""

import io
import math
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ghanet_model.files import write_atomic
from ghanet_model.record import Record, Scalar, Vector

from .preview import Preview, branch_of

BINS = 81  # of the histogram, around 0
SPOKEN = {"uint16": "bfloat16"}  # what words of 16 bits stand for


def render(preview: Preview) -> str:
    """All that would leave, as lines of at most 100 columns."""
    values, arrays = len(preview.record.values), len(preview.record.arrays)
    what = f"{values} values and {arrays} arrays, {preview.size:,} bytes, would leave this hospital"
    kept = f"the gate would keep it: {preview.refusal}"
    lines = [
        preview.question.why,
        f"{what}:",
        "",
        *_value_lines(preview.record),
        *_array_lines(preview),
        "",
        kept if preview.refusal else "the gate would let it out",
    ]
    return "\n".join(lines)


def _value_lines(record: Record) -> Iterator[str]:
    for name, value in record.values.items():
        yield f"  {name:<28}{_shown(value)}"
    if record.values.get("cases") and "events" not in record.values:
        yield f"  {'events':<28}not told: a small cell"


def _shown(value: Scalar) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value) or "-"


def _array_lines(preview: Preview) -> Iterator[str]:
    if not preview.record.arrays:
        return
    what = "change" if preview.base else "value"
    head = ("array", "type", "shape", "bytes", "norm", f"largest {what}")
    yield _row(*head)
    squares = 0.0
    for name, change in preview.changes():
        sent = preview.record.arrays[name]
        norm, largest = _norm(change), float(np.abs(change).max(initial=0))
        squares += norm**2
        kind, shape = SPOKEN.get(sent.dtype.name, sent.dtype.name), " x ".join(map(str, sent.shape))
        yield _row(name, kind, shape, f"{sent.nbytes:,}", f"{norm:.3g}", f"{largest:.3g}")
    total = sum(array.nbytes for array in preview.record.arrays.values())
    yield _row("all", "", "", f"{total:,}", f"{math.sqrt(squares):.3g}", "")


def _norm(change: Vector) -> float:
    return float(np.sqrt(np.square(change, dtype=np.float64).sum()))


def _row(*cells: str) -> str:
    name, kind, shape, size, norm, largest = cells
    return f"  {name:<41}{kind:<9}{shape:>11}{size:>12}{norm:>9}{largest:>15}".rstrip()


def write_histogram(path: Path, preview: Preview) -> None:
    """Plot how far weights moved, a line per branch; readable by this user only."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - half a second that others save

    branches: dict[str, list[NDArray[Any]]] = defaultdict(list)
    for name, change in preview.changes():
        branches[branch_of(name)].append(np.ravel(change))
    largest = max(float(np.abs(c).max(initial=0)) for own in branches.values() for c in own)
    edges = np.linspace(-1, 1, BINS + 1) * (largest or 1.0)
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.subplots()
    for branch, changes in branches.items():
        counts = sum((np.histogram(one, edges)[0] for one in changes), np.zeros(BINS, np.int64))
        axes.stairs(counts, edges, label=f"{branch}, {counts.sum():,} weights", linewidth=1.6)
    axes.set_yscale("symlog")
    axes.set_ylim(bottom=0)
    axes.set_xlabel("change of a weight by training")
    axes.set_ylabel("weights")
    axes.legend(loc="best", fontsize="small", frameon=False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=150)
    write_atomic(path, buffer.getvalue(), private=True)
