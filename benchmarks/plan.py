"""What a benchmark runs: the hospitals, the study, the seeds. Fixed here, but for few options."""

import argparse
import os
import platform
from dataclasses import asdict, dataclass
from pathlib import Path

from arms import GROUPS_FILE
from hospitals import Place, find_places

from ghanet_model.errors import SettingsError

SEEDS = (0, 1, 2)
STUDY: dict[str, object] = {
    "name": "benchmark",
    "gene_types": ["rnaseq", "cnv"],
    "time_bin_edges": [12, 36, 60],
}


@dataclass(frozen=True, slots=True)
class Recipe:
    """How long and how fast every arm trains."""

    rounds: int
    local_epochs: int
    batch_cases: int
    learning_rate: float


# compact: of nine tried by cross-validation inside the training cases of BLCA (plasmode, fold 0),
# the one whose federated C-index was highest in the end; README.md has the figures. published: the
# paper's learning rate and 20 epochs, in smaller steps; not tuned.
RECIPES = {
    "compact": Recipe(rounds=8, local_epochs=4, batch_cases=8, learning_rate=2e-3),
    "published": Recipe(rounds=5, local_epochs=4, batch_cases=16, learning_rate=2e-4),
}
BFLOAT16 = {"training_precision": "bfloat16", "exchange_precision": "bfloat16"}
QUICK = {"rounds": 1, "local_epochs": 1}


@dataclass(frozen=True, slots=True)
class Plan:
    """One benchmark."""

    places: tuple[Place, ...]
    study: dict[str, object]  # what study.yaml says, but for the seed
    groups: Path
    seeds: tuple[int, ...]
    wsi_only_trains: bool
    bfloat16: bool  # only the federation, in float32 and in bfloat16

    @property
    def training(self) -> set[str]:
        """Hospitals that train in the federation, and make the pooled cohort."""
        return {place.name for place in self.places if place.genes or self.wsi_only_trains}

    def __str__(self) -> str:
        told = (f"{key} {self.study[key]}" for key in ("preset", *Recipe.__dataclass_fields__))
        role = "train" if self.wsi_only_trains else "infer"
        return f"{', '.join(told)}, seeds {self.seeds}, WSI-only hospitals {role}, {machine()}"


def machine() -> str:
    """Where it ran."""
    return f"{os.cpu_count()} cores ({platform.machine()}), no GPU used"


def few(places: tuple[Place, ...]) -> tuple[Place, ...]:
    """Two hospitals with genes and one without: the smallest that shows every arm."""
    genes = [place for place in places if place.genes]
    return (*genes[:2], *[place for place in places if not place.genes][:1])


def make_plan(options: argparse.Namespace) -> Plan:
    """What to run, from the command line and the hospitals' folders.

    Raises:
        SettingsError, FeaturesError: the folders are not those of hospitals.
    """
    places = find_places(options.sites)
    if options.quick:
        places = few(places)
    groups = options.groups or options.sites / GROUPS_FILE
    if not groups.is_file():
        hint = "--groups FILE: a CSV with one column of symbols per group (signatures.csv)"
        raise SettingsError(f"{groups}: no gene groups", hint=hint)
    facts = places[0].facts()
    recipe = asdict(RECIPES[options.preset]) | (QUICK if options.quick else {})
    given = {key: getattr(options, key) for key in recipe if getattr(options, key, None)}
    study = STUDY | {
        "encoder": facts.encoder or "unnamed",
        "feature_width": facts.width,
        "preset": options.preset,
        **recipe,
        **given,
    }
    seeds = SEEDS[:1] if options.quick else SEEDS
    return Plan(
        places,
        study,
        groups,
        seeds,
        wsi_only_trains=options.wsi_only == "trains",
        bfloat16=options.bfloat16,
    )
