"""``benchmarks/privacy.py --work DIR``: what privacy costs, in C-index and in time.

Drawn consortia of 300, 400 and 500 training cases, other seeds and cases than those that
privacy_search.py chose these recipes by, at epsilon 3; the others share its recipe. Each trained
model is a file when it is done; a run started again goes on.
"""

import argparse
import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean, stdev

import torch
from scipy.stats import t as student

sys.path.insert(0, str(Path(__file__).resolve().parent))  # benchmarks/, which is no package

from options import benchmark_parser
from privacy_search import try_all
from recipes import CPU, Recipe, untrained
from report import markdown

from ghanet_model.bag import Bag, Outcome
from ghanet_model.batches import Batch, batches_of
from ghanet_model.commands import run_command
from ghanet_model.errors import TrainingError
from ghanet_model.files import write_json
from ghanet_model.loss import case_losses
from ghanet_model.network import Network
from ghanet_model.private_training import (
    Mechanism,
    add_clipped,
    add_noise,
    case_gradient,
    learned_parameters,
)
from ghanet_model.training import TrainingSettings, predict, seeded, training_mode

SEEDS = (11, 12, 13, 14, 15)  # none of the search's
EPSILONS = (8.0, 3.0, 1.0)
PATCHES, COST_CASES, REPEATS = 4096, 6, 5
MOST_COST = 1.1  # by --check: seconds of a clipped case over those of a plain one
QUIET = Mechanism(1.0, 1.0, 1, noise=0.0, nominal_cases=1)
RECIPES: Mapping[str, tuple[Recipe, Recipe]] = {  # private, and without; both by the search
    "compact": (
        Recipe(width=128, learning_rate=1e-2, gene_loss_weight=0.0),
        Recipe(width=128, epsilon=0.0, rounds=10, learning_rate=1e-3),
    ),
    "abmil": (
        Recipe(
            preset="abmil",
            width=32,
            learning_rate=2e-2,
            gene_loss_weight=0.0,
            sampling_rate=0.5,
            rounds=6,
            steps=5,
        ),
        Recipe(preset="abmil", width=128, epsilon=0.0, rounds=20, learning_rate=3e-3),
    ),
}


@dataclass(frozen=True, slots=True)
class Mean:
    """A mean over seeds with its 95% interval (Student's t)."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Mean":
        """Of one value per seed."""
        mean = fmean(values)
        if len(values) < 2:
            return cls(mean, math.nan, math.nan)
        reach = student.ppf(0.975, len(values) - 1) * stdev(values) / len(values) ** 0.5
        return cls(mean, mean - reach, mean + reach)

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})"


@dataclass(frozen=True, slots=True)
class Cost:
    """CPU seconds of one case, and of the noise of one step."""

    plain: float
    clipped: float
    noise: float
    parameters: int


def benchmark(options: argparse.Namespace) -> int:
    """Measure, print both tables, write all numbers."""
    options.work.mkdir(parents=True, exist_ok=True)
    seeds = SEEDS[:2] if options.quick else SEEDS
    costs = {preset: measure_cost(preset) for preset in RECIPES}
    print(f"{cost_table(costs)}\n", flush=True)
    found = {} if options.only_cost else c_by_epsilon(options, seeds)
    if found:
        print(c_table(found))
    if options.json:
        c_index = {
            preset: {name: asdict(Mean.of(values)) for name, values in row.items()}
            for preset, row in found.items()
        }
        cost = {preset: asdict(one) for preset, one in costs.items()}
        write_json(options.json, {"seeds": list(seeds), "c_index": c_index, "cost": cost})
    if options.check:
        require_targets(costs)
    return 0


def c_by_epsilon(
    options: argparse.Namespace, seeds: Sequence[int]
) -> dict[str, dict[str, list[float]]]:
    """C on test cases by preset and epsilon, one value per seed."""
    found = {}
    for preset, (private, plain) in RECIPES.items():
        recipes = {"off": plain} | {f"{e:g}": replace(private, epsilon=e) for e in EPSILONS}
        if options.quick:
            recipes = {n: replace(r, rounds=1, steps=1, width=16) for n, r in recipes.items()}
        tried = try_all(options.work, recipes.values(), seeds, workers=options.workers)
        found[preset] = {
            name: [one.test for one in tried[recipe]] for name, recipe in recipes.items()
        }
    return found


def c_table(found: Mapping[str, Mapping[str, Sequence[float]]]) -> str:
    """C of each epsilon, and what is lost against no privacy on the same seeds."""
    rows = [["preset", "epsilon", "C-index (95% interval)", "lost"]]
    for preset, row in found.items():
        for name, values in row.items():
            lost = [off - own for off, own in zip(row["off"], values, strict=True)]
            rows.append([preset, name, str(Mean.of(values)), str(Mean.of(lost))])
    return markdown(rows)


def measure_cost(preset: str) -> Cost:
    """One-bag training beside clipped one-bag training, in turns in one process, one thread."""
    torch.set_num_threads(1)
    recipe = replace(RECIPES[preset][0], width=0)
    model = untrained(recipe)
    learned = learned_parameters(model, use_genes=True)
    batches, settings = _batches(recipe), recipe.settings()
    total = [torch.zeros_like(parameter) for parameter in learned]

    def plain() -> None:
        for batch in batches:
            loss = _loss(model, batch, settings)
            loss.backward()  # type: ignore[no-untyped-call]

    def clipped() -> None:
        for batch in batches:
            gradient = case_gradient(model, learned, batch, settings, seed=1)
            add_clipped(total, gradient, QUIET, batch.bags[0].outcome)

    with training_mode(model), seeded(0, CPU):
        seconds = [(_seconds(plain), _seconds(clipped)) for _ in range(REPEATS)]
    noise = _seconds(lambda: add_noise(total, replace(QUIET, noise=1.0)))
    return Cost(
        plain=min(one for one, _ in seconds) / COST_CASES,
        clipped=min(other for _, other in seconds) / COST_CASES,
        noise=noise,
        parameters=sum(parameter.numel() for parameter in learned),
    )


def _loss(model: Network, batch: Batch, settings: TrainingSettings) -> torch.Tensor:
    found = predict(model, batch.features, batch.lengths, precision=settings.precision)
    return case_losses(found, batch.bags, gene_weight=settings.gene_loss_weight).total.sum()


def _batches(recipe: Recipe) -> list[Batch]:
    generator = torch.Generator().manual_seed(1)
    sizes = recipe.sizes()
    bags = [
        Bag(
            torch.randn(PATCHES, sizes.feature_width, generator=generator),
            Outcome(10.0 * n, n % 2 == 0, n % sizes.time_bins),
            tuple(torch.randn(size, generator=generator) for size in sizes.group_sizes),
        )
        for n in range(COST_CASES)
    ]
    return [next(batches_of([bag], 1, pin=False)) for bag in bags]


def _seconds(work: Callable[[], None]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def cost_table(costs: Mapping[str, Cost]) -> str:
    """Milliseconds and their ratio."""
    head = ["preset", "parameters", "plain, ms a case", "clipped", "ratio", "noise, ms a step"]
    rows = [
        [
            preset,
            f"{one.parameters:,}",
            f"{1e3 * one.plain:.1f}",
            f"{1e3 * one.clipped:.1f}",
            f"{one.clipped / one.plain:.3f}",
            f"{1e3 * one.noise:.0f}",
        ]
        for preset, one in costs.items()
    ]
    return f"{PATCHES} patches a case, CPU seconds, one thread\n\n{markdown([head, *rows])}"


def require_targets(costs: Mapping[str, Cost]) -> None:
    """Refuse a cost above the target.

    Raises:
        TrainingError: of which preset.
    """
    for preset, one in costs.items():
        if one.clipped > MOST_COST * one.plain:
            ratio = one.clipped / one.plain
            raise TrainingError(f"{preset}: a clipped case takes {ratio:.2f} of a plain one")


def make_parser() -> argparse.ArgumentParser:
    """The few options."""
    parser = benchmark_parser(
        "privacy.py", __doc__, benchmark, quick="two seeds of tiny models: to see it run"
    )
    add = parser.add_argument
    add("--work", type=Path, required=True, help="folder of models that are done")
    add("--workers", type=int, default=2, help="processes; default: 2")
    add("--only-cost", action="store_true", help="time alone")
    return parser


if __name__ == "__main__":
    sys.exit(run_command(make_parser()))
