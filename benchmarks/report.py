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
COARSE = "federated, bfloat16"
UNSEEN = "WSI-only hospitals, all cases"


@dataclass(frozen=True, slots=True, eq=False)
class Column:
    """Some cases, and the pairs among them that are compared."""

    name: str
    chosen: NDArray[np.bool_]  # of all cases
    pairs: NDArray[np.bool_]  # (n, n), of the chosen
    weights: NDArray[np.float64]  # (1 + R, n): the same draws for every arm and seed
    events: int
    needs_unseen: bool = False  # holds training cases: only for arms that never saw them

    def size(self) -> str:
        """Cases, events and comparable pairs."""
        return f"{self.chosen.sum()}, {self.events}, {self.pairs.sum()}"


@dataclass(frozen=True, slots=True, eq=False)
class Arm:
    """What one way of training says of every case, once per seed."""

    name: str
    risks: NDArray[np.float64]  # (seeds, cases)
    saw: frozenset[int]  # hospitals, by index, whose training cases it learned from
    seconds: tuple[float, ...]  # per seed, for training and predicting

    def c_indices(self, column: Column, cases: Cases) -> list[Replicates] | None:
        """C and its replicates per seed; None where training saw cases of the column."""
        if column.needs_unseen and self.saw & set(cases.hospital[column.chosen].tolist()):
            return None
        return [c_indices(own[column.chosen], column.pairs, column.weights) for own in self.risks]


def make_columns(cases: Cases) -> tuple[Column, ...]:
    """The held-out cases, all and by kind of hospital, and every case of WSI-only hospitals."""

    def column(
        name: str,
        chosen: NDArray[np.bool_],
        *,
        strata: NDArray[np.int_] | None = None,
        needs_unseen: bool = False,
    ) -> Column:
        times, events = cases.times[chosen], cases.events[chosen]
        own = None if strata is None else strata[chosen]
        pairs = comparable(times, events, own)
        weights = draws(int(chosen.sum()))
        return Column(name, chosen, pairs, weights, int(events.sum()), needs_unseen)

    held_out = cases.held_out
    return (
        column("held-out cases", held_out),
        column("held-out, pairs within hospitals", held_out, strata=cases.hospital),
        column("WSI-only hospitals, held-out", held_out & cases.wsi_only),
        column(UNSEEN, cases.wsi_only, needs_unseen=True),
    )


@dataclass(frozen=True, slots=True)
class Found:
    """One row in one column: per seed, and the mean over seeds."""

    mean: Estimate
    seeds: tuple[Estimate, ...]


Row = dict[str, Found | None]  # by column


def compare(arms: Sequence[Arm], cases: Cases, columns: Sequence[Column]) -> dict[str, Row]:
    """Every arm, the mean of the hospitals alone, and what the federation gains, by column."""
    rows: dict[str, Row] = {}
    for column in columns:
        for name, seeds in _with_differences(arms, cases, column).items():
            rows.setdefault(name, {})[column.name] = _found(seeds) if seeds else None
    return rows


def _with_differences(
    arms: Sequence[Arm], cases: Cases, column: Column
) -> dict[str, list[Replicates] | None]:
    values = {arm.name: arm.c_indices(column, cases) for arm in arms}
    alone = [v for name, v in values.items() if name.startswith(ALONE) and v is not None]
    mean = [np.mean(seed, axis=0) for seed in zip(*alone, strict=True)] or None
    if COARSE in values:
        return {**values, f"{COARSE} - {FEDERATED}": _minus(values[COARSE], values[FEDERATED])}
    first = {name: values.pop(name) for name in (FEDERATED, POOLED)}
    federated, pooled = first.values()
    return {
        **first,
        f"{ALONE}, mean": mean,
        **values,
        f"{FEDERATED} - {POOLED}": _minus(federated, pooled),
        f"{FEDERATED} - {ALONE}, mean": _minus(federated, mean),
    }


def _minus(a: list[Replicates] | None, b: list[Replicates] | None) -> list[Replicates] | None:
    """Seed by seed, replicate by replicate."""
    return [x - y for x, y in zip(a, b, strict=True)] if a and b else None


def _found(seeds: Sequence[Replicates]) -> Found:
    return Found(Estimate.of(np.mean(seeds, axis=0)), tuple(Estimate.of(seed) for seed in seeds))


def missed_targets(rows: Mapping[str, Row]) -> list[str]:
    """Which of the benchmark's targets the held-out cases did not meet, in words."""
    if COARSE in rows:
        gap = _mean(rows, f"{COARSE} - {FEDERATED}")
        apart = not gap.low <= 0 <= gap.high
        return [f"{COARSE} differs, and the interval leaves out 0: {gap}"] if apart else []
    gain = _mean(rows, f"{FEDERATED} - {ALONE}, mean")
    gap = _mean(rows, f"{FEDERATED} - {POOLED}")
    missed = []
    if not gain.value >= 0:
        missed.append(f"federated is below the mean of the hospitals alone: {gain}")
    if not gap.high >= 0:
        missed.append(f"federated is below pooled, and the interval leaves out 0: {gap}")
    return missed


def _mean(rows: Mapping[str, Row], name: str) -> Estimate:
    found = next(iter(rows[name].values()))  # the first column: all held-out cases
    return found.mean if found else Estimate(math.nan, math.nan, math.nan)


def main_table(arms: Sequence[Arm], columns: Sequence[Column], rows: Mapping[str, Row]) -> str:
    """C-index by arm and column: mean over seeds, and seconds per seed."""
    seconds = {arm.name: f"{np.mean(arm.seconds):.0f}" for arm in arms}
    header = ["mean over seeds", *(column.name for column in columns), "seconds"]
    sizes = ["cases, events, pairs", *(column.size() for column in columns), ""]
    body = [
        [name, *(str(f.mean) if f else "-" for f in row.values()), seconds.get(name, "")]
        for name, row in rows.items()
    ]
    return markdown([header, sizes, *body])


def seeds_table(seeds: Sequence[int], rows: Mapping[str, Row]) -> str:
    """The same per seed, hospitals alone as their mean."""
    kept = {n: row for n, row in rows.items() if not n.startswith(f"{ALONE} ")}
    body = [
        [name, str(seed), *(str(f.seeds[place]) if f else "-" for f in row.values())]
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
                column: f and {"mean": _numbers(f.mean), "seeds": [_numbers(s) for s in f.seeds]}
                for column, f in row.items()
            }
            for name, row in rows.items()
        },
        "seconds": {arm.name: [round(second, 1) for second in arm.seconds] for arm in arms},
    }


def _numbers(estimate: Estimate) -> list[float] | None:
    numbers = [estimate.value, estimate.low, estimate.high]
    return numbers if all(map(math.isfinite, numbers)) else None
