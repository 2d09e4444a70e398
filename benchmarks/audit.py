"""``benchmarks/audit.py``: how well a model tells the cases it was trained on from others.

The attack that hospitals play by ``ghanet-client audit``, on the 1,200 training cases of a drawn
consortium and 3,000 others: on a model trained without privacy for too long, and on private ones.
"""

import argparse
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))  # benchmarks/, which is no package

from consortium import Cases, DrawnHospital, draw_consortium
from options import benchmark_parser
from privacy import RECIPES
from privacy_search import begin_worker
from recipes import Recipe, federate
from report import markdown

from ghanet_model.attack import Audited, attack
from ghanet_model.bag import Bag
from ghanet_model.commands import run_command
from ghanet_model.errors import TrainingError
from ghanet_model.files import write_json
from ghanet_model.training import TrainingSettings

SEED = 21  # a consortium that no setting was chosen by
OVERTRAINED = "over-trained"
REFERENCE = TrainingSettings(
    epochs=10, batch_cases=16, learning_rate=1e-3, weight_decay=1e-5, gene_loss_weight=0.3
)
MODELS: Mapping[str, Recipe] = {
    OVERTRAINED: Recipe(width=64, epsilon=0.0, rounds=60, learning_rate=2e-3, batch_cases=8),
    **{f"{preset}, epsilon 3": private for preset, (private, _) in RECIPES.items()},
}
LEAST_LEAK, MOST_LEAK, WIDEST = 0.65, 0.56, 0.03  # by --check; the last is half an interval


@dataclass(frozen=True, slots=True)
class Known:
    """A case of the drawn consortium."""

    bag: Bag
    seen: bool
    hospital: int

    @property
    def of_class(self) -> tuple[int, int, bool]:
        """Cases are compared inside hospital, time bin and event."""
        assert self.bag.outcome is not None
        return self.hospital, self.bag.outcome.time_bin, self.bag.outcome.event


def benchmark(options: argparse.Namespace) -> int:
    """Train, attack, print the table, write all numbers."""
    with ProcessPoolExecutor(2, get_context("spawn"), initializer=begin_worker) as pool:
        tasks = {
            name: pool.submit(audited, recipe, quick=options.quick)
            for name, recipe in MODELS.items()
        }
        found: dict[str, Audited] = {}
        for name, task in tasks.items():
            found[name] = task.result()
            print(f"{name}: done", file=sys.stderr, flush=True)
    print(table(found))
    if options.json:
        write_json(options.json, {"seed": SEED, "audits": {n: asdict(a) for n, a in found.items()}})
    if options.check:
        require_targets(found)
    return 0


def audited(recipe: Recipe, *, quick: bool) -> Audited:
    """Train a consortium's model and attack it."""
    hospitals = draw_consortium(SEED)
    cases = list(_known(hospitals))
    reference = REFERENCE
    if quick:
        recipe = replace(recipe, rounds=2, steps=1, width=16)
        cases, reference = cases[::4], replace(REFERENCE, epochs=1)
    return attack(
        federate(recipe, hospitals, SEED),
        [case.bag for case in cases],
        outcomes=[case.bag.outcome for case in cases if case.bag.outcome is not None],
        seen=[case.seen for case in cases],
        classes=[case.of_class for case in cases],
        reference=reference,
        use_genes=True,
        bar=lambda _: lambda _done, _all: None,
    )


def _known(hospitals: tuple[DrawnHospital, ...]) -> Iterator[Known]:
    for place, own in enumerate(hospitals):
        parts: tuple[Cases, ...] = (own.training, own.selection, own.test)
        for part in parts:
            yield from (Known(bag, part is own.training, place) for bag in part.bags)


def table(found: Mapping[str, Audited]) -> str:
    """AUC of both variants, with intervals."""
    rows = [["model", "AUC by loss (95% interval)", "calibrated", "trained on", "others"]]
    for name, one in found.items():
        sizes: list[Any] = [f"{one.loss.members:,}", f"{one.loss.others:,}"]
        rows.append([name, str(one.loss), str(one.calibrated), *sizes])
    return markdown(rows)


def require_targets(found: Mapping[str, Audited]) -> None:
    """Refuse an audit that sees no leak where there is one, or a private model that leaks.

    Raises:
        TrainingError: which model.
    """
    for name, one in found.items():
        for variant in (one.loss, one.calibrated):
            if (variant.high - variant.low) / 2 > WIDEST:
                raise TrainingError(f"{name}: the interval {variant} is too wide")
            if name != OVERTRAINED and variant.high >= MOST_LEAK:
                raise TrainingError(f"{name}: {variant} is not below {MOST_LEAK:g}")
    leak = found[OVERTRAINED]
    if max(leak.loss.low, leak.calibrated.low) <= LEAST_LEAK:
        raise TrainingError(f"{OVERTRAINED}: {leak.loss} is not above {LEAST_LEAK:g}")


def make_parser() -> argparse.ArgumentParser:
    """The few options."""
    return benchmark_parser(
        "audit.py", __doc__, benchmark, quick="tiny models and a quarter of the cases"
    )


if __name__ == "__main__":
    sys.exit(run_command(make_parser()))
