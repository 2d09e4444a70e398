"""What a benchmark found, as numbers and as Markdown. Pure: risks in, tables out."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from hospitals import Cases
from intervals import Estimate, Replicates, c_indices, comparable, draws
from numpy.typing import NDArray

FEDERATED, POOLED, ALONE = "federated", "pooled", "alone"
WITHOUT_GENES, COARSE = "federated-no-gene-loss", "federated-bfloat16"
CLINICAL, STACKED = "clinical", "stacked"
ARMS = (FEDERATED, POOLED, ALONE, WITHOUT_GENES, CLINICAL, STACKED, COARSE)
MEAN = f"{ALONE}, mean"
COMPARED = (  # a row for each pair whose arms are both there
    (FEDERATED, MEAN),
    (FEDERATED, POOLED),
    (FEDERATED, WITHOUT_GENES),
    (FEDERATED, CLINICAL),
    (STACKED, CLINICAL),
    (COARSE, FEDERATED),
)
SLIDES_ONLY = (FEDERATED, POOLED, MEAN, WITHOUT_GENES)  # by chance where slides say nothing
GAIN = 0.03  # of federated over the mean of the hospitals alone, by --check


@dataclass(frozen=True, slots=True, eq=False)
class Column:
    """Some cases, and the pairs among them that are compared."""

    name: str
    chosen: NDArray[np.bool_]  # of all cases
    pairs: NDArray[np.bool_]  # (n, n), of the chosen
    weights: NDArray[np.float64]  # (1 + R, n): the same draws for every arm and seed
    events: int

    def size(self) -> str:
        """Cases, events and comparable pairs."""
        return f"{self.chosen.sum()}, {self.events}, {self.pairs.sum()}"


@dataclass(frozen=True, slots=True, eq=False)
class Arm:
    """What one way of training says of every case, once per seed."""

    name: str
    risks: NDArray[np.float64]  # (seeds, cases), each by the model that held the case out
    seconds: float  # per model, to train and predict

    def c_indices(self, column: Column) -> list[Replicates]:
        """C and its replicates per seed."""
        return [c_indices(own[column.chosen], column.pairs, column.weights) for own in self.risks]


def make_columns(cases: Cases) -> tuple[Column, ...]:
    """Cases that a fold held out, all and by kind of hospital; pairs are inside folds."""

    def column(name: str, chosen: NDArray[np.bool_], strata: NDArray[np.int_]) -> Column:
        times, events = cases.times[chosen], cases.events[chosen]
        pairs = comparable(times, events, strata[chosen])
        return Column(name, chosen, pairs, draws(int(chosen.sum())), int(events.sum()))

    held_out = cases.fold >= 0
    place = cases.fold * (cases.hospital.max() + 1) + cases.hospital
    return (
        column("held-out cases", held_out, cases.fold),
        column("held-out, pairs within hospitals", held_out, place),
        column("WSI-only hospitals, held-out", held_out & cases.wsi_only, cases.fold),
    )


@dataclass(frozen=True, slots=True)
class Found:
    """One row in one column: per seed, and the mean over seeds."""

    mean: Estimate
    seeds: tuple[Estimate, ...]


Row = dict[str, Found]  # by column


def compare(arms: Sequence[Arm], columns: Sequence[Column]) -> dict[str, Row]:
    """Every arm, the mean of the hospitals alone, and differences, by column."""
    rows: dict[str, Row] = {}
    for column in columns:
        for name, seeds in _with_differences(arms, column).items():
            rows.setdefault(name, {})[column.name] = _found(seeds)
    return rows


def _with_differences(arms: Sequence[Arm], column: Column) -> dict[str, list[Replicates]]:
    values = {arm.name: arm.c_indices(column) for arm in arms}
    alone = {name: v for name, v in values.items() if name.startswith(f"{ALONE} ")}
    means = {MEAN: [np.mean(seed, axis=0) for seed in zip(*alone.values(), strict=True)]}
    common = {name: values[name] for name in ARMS if name in values} | (means if alone else {})
    return {
        **common,
        **alone,
        **{
            f"{a} - {b}": [x - y for x, y in zip(common[a], common[b], strict=True)]
            for a, b in COMPARED
            if a in common and b in common
        },
    }


def _found(seeds: Sequence[Replicates]) -> Found:
    return Found(Estimate.of(np.mean(seeds, axis=0)), tuple(Estimate.of(seed) for seed in seeds))


def missed_targets(rows: Mapping[str, Row], *, chance: bool) -> list[str]:
    """Which of the benchmark's targets the held-out cases did not meet, in words.

    Args:
        rows: what was found.
        chance: slides say nothing of this cohort, so every arm that reads only them must guess.
    """
    if chance:
        means = {name: _mean(rows, name) for name in SLIDES_ONLY if name in rows}
        return [f"{name} leaves out 0.5: {c}" for name, c in means.items() if not c.holds(0.5)]
    gain = f"{FEDERATED} - {MEAN}"
    missed = []
    if gain in rows and not _mean(rows, gain).value >= GAIN:
        missed.append(f"{gain} is below {GAIN}: {_mean(rows, gain)}")
    coarse = f"{COARSE} - {FEDERATED}"
    if coarse in rows and not _mean(rows, coarse).holds(0):
        missed.append(f"{coarse} leaves out 0: {_mean(rows, coarse)}")
    return missed


def _mean(rows: Mapping[str, Row], name: str) -> Estimate:
    return next(iter(rows[name].values())).mean  # the first column: all held-out cases


def main_table(arms: Sequence[Arm], columns: Sequence[Column], rows: Mapping[str, Row]) -> str:
    """C-index by arm and column: mean over seeds, and seconds per seed."""
    seconds = {arm.name: f"{arm.seconds:.0f}" for arm in arms if arm.seconds}
    header = ["mean over seeds", *(column.name for column in columns), "seconds"]
    sizes = ["cases, events, pairs", *(column.size() for column in columns), ""]
    body = [
        [name, *(str(found.mean) for found in row.values()), seconds.get(name, "")]
        for name, row in rows.items()
    ]
    return markdown([header, sizes, *body])


def seeds_table(seeds: Sequence[int], rows: Mapping[str, Row]) -> str:
    """The same per seed, hospitals alone as their mean."""
    kept = {n: row for n, row in rows.items() if not n.startswith(f"{ALONE} ")}
    body = [
        [name, str(seed), *(str(found.seeds[place]) for found in row.values())]
        for name, row in kept.items()
        for place, seed in enumerate(seeds)
    ]
    return markdown([["per seed", "seed", *next(iter(rows.values()))], *body])


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, columns of equal width; the first row is the header."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [" | ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) for row in rows]
    lines.insert(1, " | ".join("-" * width for width in widths))
    return "\n".join(f"| {line} |" for line in lines)


def as_json(
    arms: Sequence[Arm], columns: Sequence[Column], rows: Mapping[str, Row]
) -> dict[str, Any]:
    """All of it in numbers; null where there is none."""
    return {
        "columns": {
            column.name: {
                "cases": int(column.chosen.sum()),
                "events": column.events,
                "pairs": int(column.pairs.sum()),
            }
            for column in columns
        },
        "c_index": {
            name: {
                column: {"mean": _numbers(f.mean), "seeds": [_numbers(s) for s in f.seeds]}
                for column, f in row.items()
            }
            for name, row in rows.items()
        },
        "seconds": {arm.name: round(arm.seconds, 1) for arm in arms},
    }


def _numbers(estimate: Estimate) -> list[float] | None:
    numbers = [estimate.value, estimate.low, estimate.high]
    return numbers if all(map(math.isfinite, numbers)) else None
