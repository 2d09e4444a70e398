"""What a benchmark runs: hospitals, study, folds, seeds, arms. Fixed here, but for few options."""

import argparse
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from arms import GROUPS_FILE
from hospitals import Place, find_places
from report import ALONE, ARMS, CLINICAL, COARSE, FEDERATED, STACKED, WITHOUT_GENES

from ghanet_model.errors import SettingsError
from ghanet_model.files import canonical_json, sha256

FOLDS, SEEDS = (0, 1, 2, 3, 4), (0, 1, 2)
WORKERS = 2
STUDY: dict[str, object] = {
    "name": "benchmark",
    "gene_types": ["rnaseq", "cnv"],
    "time_bin_edges": [12, 36, 60],
    "replicates": 1,  # intervals are made here, over all folds
}


@dataclass(frozen=True, slots=True)
class Recipe:
    """How long and how fast every arm trains."""

    rounds: int
    local_epochs: int
    batch_cases: int
    learning_rate: float
    gene_loss_weight: float


# compact: chosen by cross-validation inside training cases; README.md has every setting that was
# tried. published: the paper's learning rate and 20 epochs, in smaller steps; not tuned.
RECIPES = {
    "compact": Recipe(16, 2, batch_cases=8, learning_rate=1e-3, gene_loss_weight=1.0),
    "published": Recipe(5, 4, batch_cases=16, learning_rate=2e-4, gene_loss_weight=0.3),
}
QUICK = {"rounds": 2, "local_epochs": 1}
CHANGES: dict[str, dict[str, object]] = {  # what another federation's study says differently
    FEDERATED: {},
    WITHOUT_GENES: {"gene_loss_weight": 0.0},
    COARSE: {"training_precision": "bfloat16", "exchange_precision": "bfloat16"},
}
FITTED = (CLINICAL, STACKED)  # after training, without a cell of their own


@dataclass(frozen=True, slots=True)
class Plan:
    """One benchmark."""

    places: tuple[Place, ...]
    study: dict[str, object]  # what study.yaml says, but for the seed
    groups: Path
    splits: Path | None  # folder of splits_K.csv; None: the tables' own split, as fold 0
    folds: tuple[int, ...]
    seeds: tuple[int, ...]
    arms: tuple[str, ...]
    wsi_only_trains: bool
    workers: int

    @property
    def training(self) -> set[str]:
        """Hospitals that train in the federation, and make the pooled cohort."""
        return {place.name for place in self.places if place.genes or self.wsi_only_trains}

    @property
    def trained(self) -> list[str]:
        """Every model that is trained: one cell for each fold and seed."""
        own = [f"{ALONE} {place.name}" for place in self.places]
        arms = [arm for arm in self.arms if arm not in FITTED]
        return [name for arm in arms for name in (own if arm == ALONE else [arm])]

    def digest(self, fold: int) -> str:
        """What risks depend on, but for the seed, the arm and this code."""
        files = [self.groups, *(place.clinical for place in self.places)]
        files += [self.split_file(fold)] if self.splits else []
        contents = [sha256(file.read_bytes()) for file in files]
        return sha256(canonical_json([self.study, sorted(self.training), contents]))

    def split_file(self, fold: int) -> Path:
        """The split of a fold."""
        assert self.splits is not None
        return self.splits / f"splits_{fold}.csv"

    def __str__(self) -> str:
        told = (f"{key} {self.study[key]}" for key in ("preset", *Recipe.__dataclass_fields__))
        role = "train" if self.wsi_only_trains else "infer"
        return (
            f"{', '.join(told)}, folds {self.folds}, seeds {self.seeds}, "
            f"WSI-only hospitals {role}, {machine()}"
        )


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
    given = {
        key: getattr(options, key) for key in recipe if getattr(options, key, None) is not None
    }
    study = STUDY | {
        "encoder": facts.encoder or "unnamed",
        "feature_width": facts.width,
        "preset": options.preset,
        **recipe,
        **given,
    }
    return Plan(
        places,
        study,
        groups,
        options.splits,
        folds=_folds(options),
        seeds=tuple(options.seeds or (SEEDS[:1] if options.quick else SEEDS)),
        arms=_arms(options.arms),
        wsi_only_trains=options.wsi_only == "trains",
        workers=options.workers,
    )


def _folds(options: argparse.Namespace) -> tuple[int, ...]:
    """Which folds; without --splits there is one, that of the tables.

    Raises:
        SettingsError: a fold has no file.
    """
    folds = tuple(options.folds or (FOLDS[:1] if options.quick or not options.splits else FOLDS))
    if options.splits is None and len(folds) > 1:
        raise SettingsError("several folds need --splits", hint="a folder of splits_0.csv, ...")
    for fold in folds if options.splits else ():
        if not (file := options.splits / f"splits_{fold}.csv").is_file():
            raise SettingsError(f"{file}: no such file", hint="--folds names those that are there")
    return folds


def _arms(given: Sequence[str] | None) -> tuple[str, ...]:
    """Which arms, in the order of the report; a stack needs the federation.

    Raises:
        SettingsError: it is not there.
    """
    chosen = set(given or (arm for arm in ARMS if arm != COARSE))
    if FEDERATED not in chosen and chosen & {STACKED, WITHOUT_GENES, COARSE}:
        raise SettingsError("these arms are compared with the federation", hint="add federated")
    return tuple(arm for arm in ARMS if arm in chosen)
