"""``benchmarks/privacy_search.py --work DIR``: settings of private training, by drawn cases.

One setting after the other, each at its best value before the next: see STAGES. Chosen by cases
that no reported figure is of. Each cell is a file when it is done; a run started again goes on.
"""

import argparse
import json
import signal
import sys
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent))  # benchmarks/, which is no package

from options import benchmark_parser
from recipes import Recipe, Tried, attempt
from report import markdown

from ghanet_model.commands import run_command
from ghanet_model.files import canonical_json, sha256, write_json
from ghanet_model.processes import end_with_parent

SEEDS = (1, 2, 3)  # of the search; figures are reported with others
EPSILON = 3.0
STARTS: Mapping[str, Recipe] = {  # arms; the last two are what privacy is compared with
    "compact": Recipe(width=32, sampling_rate=0.5, rounds=6, steps=5, learning_rate=5e-3),
    "abmil": Recipe(preset="abmil", width=128, sampling_rate=0.5, rounds=6, steps=5),
    "compact-off": Recipe(width=128, epsilon=0.0, rounds=10, learning_rate=1e-3),
    "abmil-off": Recipe(preset="abmil", width=128, epsilon=0.0, rounds=10, learning_rate=1e-3),
}


@dataclass(frozen=True, slots=True)
class Stage:
    """Values of some settings that are tried together, each of them with the best so far."""

    name: str
    changes: tuple[Mapping[str, Any], ...]


def _sizes_and_rates(*pairs: tuple[int, float]) -> Stage:
    changes = tuple({"width": width, "learning_rate": rate} for width, rate in pairs)
    return Stage("width and learning rate", changes)


SAMPLING = Stage(
    "sampling rate, rounds and steps",  # each reads the cohort 15 times
    tuple(
        {"sampling_rate": q, "rounds": rounds, "steps": steps}
        for q, rounds, steps in ((0.2, 15, 5), (0.5, 3, 10), (0.5, 6, 5), (0.5, 30, 1), (1.0, 3, 5))
    ),
)
CLIPPING = Stage("clipping norm", tuple({"clipping_norm": norm} for norm in (0.1, 10.0)))
GENES = Stage("gene loss", tuple({"gene_loss_weight": weight} for weight in (0.0, 1.0)))
EPOCHS = Stage("rounds", tuple({"rounds": rounds} for rounds in (5, 20)))
AGAIN = Stage("learning rate, again", tuple({"learning_rate": rate} for rate in (5e-3, 1e-2, 2e-2)))
STAGES: Mapping[str, tuple[Stage, ...]] = {
    "compact": (
        _sizes_and_rates(
            *((width, rate) for width in (16, 32) for rate in (5e-3, 1e-2)),
            *((width, rate) for width in (64, 128) for rate in (5e-3, 1e-2, 2e-2)),
        ),
        SAMPLING,
        CLIPPING,
        GENES,
        AGAIN,
    ),
    "abmil": (
        _sizes_and_rates(
            *((width, rate) for width in (32, 128) for rate in (2e-3, 5e-3, 1e-2)), (512, 2e-3)
        ),
        SAMPLING,
        CLIPPING,
        GENES,
        AGAIN,
    ),
    "compact-off": (_sizes_and_rates((64, 1e-3), (128, 3e-4), (128, 3e-3)), EPOCHS, GENES),
    "abmil-off": (
        _sizes_and_rates((32, 1e-3), (32, 3e-3), (128, 3e-4), (128, 3e-3)),
        EPOCHS,
        GENES,
    ),
}


def search(options: argparse.Namespace) -> int:
    """Run what is left of the search, print its table, write it."""
    arms = options.arms or list(STARTS)
    seeds = SEEDS[:1] if options.quick else SEEDS[: options.seeds]
    options.work.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    for arm in arms:
        best = STARTS[arm]
        if options.quick:
            best = replace(best, rounds=1, steps=1, sampling_rate=0.1, noise=1.0, width=16)
        stages = STAGES[arm][:1] if options.quick else STAGES[arm]
        for stage in stages:
            changes = stage.changes[:2] if options.quick else stage.changes
            recipes = list(dict.fromkeys([best, *(replace(best, **own) for own in changes)]))
            found = try_all(options.work, recipes, seeds, workers=options.workers)
            best = max(recipes, key=lambda recipe: fmean(t.selection for t in found[recipe]))
            rows += [
                {
                    "arm": arm,
                    "stage": stage.name,
                    **_row(recipe, found[recipe], chosen=recipe == best),
                }
                for recipe in recipes
            ]
            print(f"\n{arm}, {stage.name}\n\n{_table(rows, arm, stage)}", flush=True)
    if options.json:
        write_json(options.json, {"seeds": list(seeds), "epsilon": EPSILON, "rows": rows})
    return 0


def try_all(
    work: Path, recipes: Iterable[Recipe], seeds: Sequence[int], *, workers: int
) -> dict[Recipe, list[Tried]]:
    """Every recipe with every seed; what is on disk is read, the rest is computed."""
    wanted = [(recipe, seed) for recipe in recipes for seed in seeds]
    missing = [cell for cell in wanted if not cell_file(work, *cell).exists()]
    with ProcessPoolExecutor(workers, get_context("spawn"), initializer=begin_worker) as pool:
        tasks = {pool.submit(attempt, *cell): cell for cell in missing}
        for number, task in enumerate(as_completed(tasks), start=1):
            tried = task.result()
            write_json(cell_file(work, *tasks[task]), asdict(tried))
            print(f"{number} of {len(missing)}: {tried.seconds:.0f} s", file=sys.stderr, flush=True)
    found: dict[Recipe, list[Tried]] = {}
    for cell in wanted:
        values = json.loads(cell_file(work, *cell).read_text())
        found.setdefault(cell[0], []).append(Tried(**values))
    return found


def begin_worker() -> None:
    """One thread, and no longer than its parent."""
    end_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent's to handle
    torch.set_num_threads(1)


def cell_file(work: Path, recipe: Recipe, seed: int) -> Path:
    """Where a cell is when it is done; another recipe has another name."""
    return work / f"{sha256(canonical_json({**asdict(recipe), 'seed': seed}))[:20]}.json"


def _row(recipe: Recipe, tried: Sequence[Tried], *, chosen: bool) -> dict[str, Any]:
    return {
        "chosen": chosen,
        **asdict(recipe),
        "parameters": tried[0].parameters,
        "selection": [one.selection for one in tried],
        "train": [one.train for one in tried],
        "seconds": fmean(one.seconds for one in tried),
    }


def _table(rows: Sequence[Mapping[str, Any]], arm: str, stage: Stage) -> str:
    shown = ("width", "learning_rate", "clipping_norm", "sampling_rate", "rounds", "steps")
    body = [
        [
            *(f"{row[name]:g}" for name in (*shown, "gene_loss_weight")),
            f"{row['parameters']:,}",
            f"{fmean(row['selection']):.3f}",
            " ".join(f"{value:.3f}" for value in row["selection"]),
            "*" if row["chosen"] else "",
        ]
        for row in rows
        if row["arm"] == arm and row["stage"] == stage.name
    ]
    head = ["W", "rate of learning", "C", "q", "rounds", "steps", "genes", "parameters"]
    return markdown([[*head, "C-index", "by seed", "chosen"], *body])


def make_parser() -> argparse.ArgumentParser:
    """The few options."""
    parser = benchmark_parser(
        "privacy_search.py",
        __doc__,
        search,
        quick="a few cells of one step, to see it run",
        check=None,
    )
    add = parser.add_argument
    add("--work", type=Path, required=True, help="folder of cells that are done")
    add("--arms", nargs="+", choices=list(STARTS), help="default: all")
    add("--seeds", type=int, default=len(SEEDS), help=f"default: {len(SEEDS)}")
    add("--workers", type=int, default=2, help="processes; default: 2")
    return parser


if __name__ == "__main__":
    sys.exit(run_command(make_parser()))
