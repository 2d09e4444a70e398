"""``benchmarks/heat_maps.py``: does a heat map show the patches that decide a slide's risk?

On slides of held-out cases of a finished demo: how far the risk moves when the tenth of patches
with the highest weight is deleted, beside tenths drawn at random. No case is named. See README.md.
"""

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parent))  # benchmarks/, which is no package

from intervals import Estimate, draws
from options import benchmark_parser
from report import markdown

from client.cohort import Case, require_cohort
from client.config import SITE_FILE, SiteConfig, read_site
from client.features import find_features, read_features
from client.predict import find_release
from client.slide_answer import patch_weights
from client.slide_prediction import LEAST_PATCHES
from ghanet_model.commands import run_command
from ghanet_model.errors import CohortError, FeaturesError
from ghanet_model.files import write_json
from ghanet_model.network import Network, new_model
from ghanet_model.release import Release

SHARE = 0.1  # of a slide's patches, deleted
DRAWS, QUICK_DRAWS = 20, 5  # of patches at random
LEAST_SLIDES = 30
LEAST_RATIO, LEAST_BOUND = 2.0, 1.0  # by --check


@dataclass(frozen=True, slots=True)
class Changes:
    """How far a slide's risk moves when patches are deleted, absolute; random: mean over draws."""

    hospital: str
    patches: int
    highest: float
    random: float
    lowest: float


def benchmark(options: argparse.Namespace) -> int:
    """Delete, measure, print the table."""
    torch.set_num_threads(1)
    count, rng = QUICK_DRAWS if options.quick else DRAWS, np.random.default_rng(options.seed)
    found: list[Changes] = []
    for folder in hospitals(options.demo):
        config = read_site(folder)
        release = find_release(config, None)
        model = model_of(release, options.untrained)
        found += [
            changes_of(model, features, rng, times=count, hospital=config.name)
            for features in slides_of(config, release, training=options.training)
        ]
        print(f"{time.strftime('%H:%M:%S')} {config.name}", file=sys.stderr, flush=True)
    if not found:
        raise CohortError("no slides", hint="the demo has none, or --training found no case")
    whose = "other than held-out" if options.training else "held-out"
    print(f"\nchange of risk, slides of {whose} cases, {SHARE:.0%} of patches deleted\n")
    print(table(found))
    ratio = ratio_of(found)
    print(f"\nhighest over random: {ratio}, 95% by bootstrap over {len(found)} slides")
    if options.json:
        rows = [asdict(one) for one in found]
        write_json(options.json, {"cases": whose, "ratio": asdict(ratio), "slides": rows})
    missed = missed_targets(len(found), ratio)
    if options.check and missed:
        raise FeaturesError(f"targets missed: {'; '.join(missed)}")
    return 0


def model_of(release: Release, seed: int | None) -> Network:
    """The released model; or, with a seed, one of its sizes that learnt nothing."""
    model = release.model()
    return model if seed is None else new_model(model.config, seed=seed)


def hospitals(demo: Path) -> list[Path]:
    """Folders of hospitals, as ``make demo`` leaves them.

    Raises:
        CohortError: there are none.
    """
    found = sorted(path.parent for path in demo.glob(f"*/{SITE_FILE}"))
    if not found:
        raise CohortError(f"{demo}: no hospitals in it", hint="run 'make demo' first")
    return found


def slides_of(config: SiteConfig, release: Release, *, training: bool) -> Iterator[torch.Tensor]:
    """Features (N, D) of the slides of held-out cases, or of those that may train; no other.

    Raises:
        CohortError, FeaturesError: the tables or a feature file cannot be used.
    """
    cohort = require_cohort(replace(config, genes=None), release.study)
    folder = find_features(config.features)
    wanted = (slide for case in cohort.cases if _is(case, training) for slide in case.slides)
    for slide in wanted:
        path = folder.file_of(slide.slide_id, where=slide.where)
        study = release.study
        features = read_features(
            path, width=study.feature_width, encoder=study.encoder, where=slide.where
        )
        if len(features) >= LEAST_PATCHES:  # as prediction has it
            yield features


def _is(case: Case, training: bool) -> bool:  # noqa: FBT001 - of this module alone
    return case.can_train if training else case.held_out


def changes_of(
    model: Network,
    features: torch.Tensor,
    rng: np.random.Generator,
    *,
    times: int,
    hospital: str,
) -> Changes:
    """Of one slide's features (N, D)."""
    prediction = model.predict([features])
    risk, order = float(prediction.risk[0]), np.argsort(patch_weights(prediction), kind="stable")
    patches = len(order)
    count = max(1, round(SHARE * patches))

    def change(deleted: NDArray[np.int64]) -> float:
        kept = np.setdiff1d(order, deleted)
        return abs(float(model.predict([features[torch.from_numpy(kept)]]).risk[0]) - risk)

    drawn = [rng.choice(patches, count, replace=False) for _ in range(times)]
    random = float(np.mean([change(deleted) for deleted in drawn]))
    return Changes(hospital, patches, change(order[-count:]), random, change(order[:count]))


def ratio_of(found: Sequence[Changes]) -> Estimate:
    """The mean change by the highest weights over that by random ones; bootstrap over slides."""
    changes = np.array([[one.highest, one.random] for one in found])  # (slides, 2)
    sums = draws(len(found)) @ changes  # (1 + R, 2)
    return Estimate.of(sums[:, 0] / sums[:, 1])


def missed_targets(slides: int, ratio: Estimate) -> list[str]:
    """What --check complains about."""
    missed = []
    if slides < LEAST_SLIDES:
        missed.append(f"{slides} slides, fewer than {LEAST_SLIDES}")
    if not ratio.value >= LEAST_RATIO:
        missed.append(f"ratio {ratio.value:.2f}, below {LEAST_RATIO:.1f}")
    if not ratio.low > LEAST_BOUND:
        missed.append(f"lower bound {ratio.low:.2f}, not above {LEAST_BOUND:.1f}")
    return missed


def table(found: Sequence[Changes]) -> str:
    """A row for each hospital, and one for all."""
    header = [
        "", "slides", "patches, median", "highest weights", "random", "lowest weights",
        "highest / random",
    ]  # fmt: skip
    names = list(dict.fromkeys(one.hospital for one in found))
    parts = [(name, [one for one in found if one.hospital == name]) for name in names]
    return markdown([header, *(_row(name, part) for name, part in [*parts, ("all", found)])])


def _row(name: str, part: Sequence[Changes]) -> list[str]:
    means = (
        f"{np.mean([getattr(one, key) for one in part]):.3f}"
        for key in ("highest", "random", "lowest")
    )
    median = f"{np.median([one.patches for one in part]):.0f}"
    return [name, str(len(part)), median, *means, str(ratio_of(part))]


def make_parser() -> argparse.ArgumentParser:
    """The few options."""
    parser = benchmark_parser(
        "heat_maps.py", __doc__, benchmark, quick=f"{QUICK_DRAWS} draws in place of {DRAWS}"
    )
    add = parser.add_argument
    add("--demo", type=Path, required=True, metavar="FOLDER", help="what 'make demo' left")
    add(
        "--training",
        action="store_true",
        help="slides of cases not held out, to choose a weight by",
    )
    add("--untrained", type=int, metavar="SEED", help="a model with random weights, to compare")
    add("--seed", type=int, default=0, help="of random patches; default: 0")
    return parser


if __name__ == "__main__":
    sys.exit(run_command(make_parser()))
