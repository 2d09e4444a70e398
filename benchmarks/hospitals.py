"""The hospitals of a benchmark: one folder each, read as a site reads its own. Nothing is written.

Expected in each, as ``make_cohort.py --sites`` writes it: clinical.csv (case_id, survival_months,
event; split unless --splits is given), slides.csv, features/, and genes.parquet where there are
genes; age, is_female, grade and stage for the clinical arms.
"""

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from client.cache import MEGABYTE, FeatureCache
from client.cohort import Case, Cohort, require_cohort
from client.config import Columns, SiteConfig
from client.features import FeatureFacts, FeatureFolder, find_features, inspect_features
from ghanet_model.errors import CohortError, SettingsError
from ghanet_model.files import write_atomic
from ghanet_model.study import StudyConfig

COLUMNS = Columns(time="survival_months", sex="is_female")
CACHE = 4000 * MEGABYTE  # of each hospital: a benchmark's features stay in memory
CLINICAL_FILE = "clinical.csv"
TRAIN, VAL = "train", "val"
HINT = "make them: make_cohort.py --cohort blca --sites --outcome plasmode --out DIR"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a hospital's files are."""

    name: str
    folder: Path
    clinical: Path

    @property
    def genes(self) -> Path | None:
        """Its gene table, if it has one."""
        path = self.folder / "genes.parquet"
        return path if path.is_file() else None

    def settings(self) -> dict[str, object]:
        """What its site.yaml says of its files."""
        files = {
            "clinical": self.clinical,
            "slides": self.folder / "slides.csv",
            "features": self.folder / "features",
            "genes": self.genes,
        }
        own = {key: value for key, value in asdict(COLUMNS).items() if value is not None}
        return {key: str(path) for key, path in files.items() if path} | {"columns": own}

    def facts(self) -> FeatureFacts:
        """Encoder and width, as the first of its feature files says."""
        found = find_features(self.folder / "features")
        return inspect_features(found.path_of(min(found.stems)), where=self.name)


@dataclass(frozen=True, slots=True, eq=False)
class Hospital:
    """One hospital with its cases."""

    name: str
    cohort: Cohort = field(repr=False)
    features: FeatureFolder = field(repr=False)
    cache: FeatureCache = field(repr=False)

    @property
    def has_genes(self) -> bool:
        """Whether it has a gene table."""
        return self.cohort.genes is not None

    @property
    def known(self) -> list[Case]:
        """Its cases with an outcome: those that are evaluated."""
        return [case for case in self.cohort.cases if case.outcome is not None]

    def can_train(self, study: StudyConfig) -> bool:
        """Whether it has enough cases, and an event, to train on."""
        events = [case.outcome.event for case in self.known if case.outcome and case.can_train]
        return len(events) >= study.minimum_cases and any(events)


def find_places(sites: Path) -> tuple[Place, ...]:
    """The hospitals' folders below ``sites``, by name.

    Raises:
        SettingsError: there are none, or none of one kind.
    """
    tables = sorted(sites.glob(f"*/{CLINICAL_FILE}"))
    if not tables:
        raise SettingsError(f"{sites}: no folder of a hospital (with {CLINICAL_FILE})", hint=HINT)
    places = tuple(
        Place(path.parent.name.lower().replace("_", "-"), path.parent.resolve(), path.resolve())
        for path in tables
    )
    if not any(place.genes for place in places):
        raise SettingsError(f"{sites}: no hospital has genes.parquet", hint=HINT)
    return places


def split_places(places: Sequence[Place], splits: Path, folder: Path) -> tuple[Place, ...]:
    """The same hospitals with tables, below ``folder``, whose ``split`` is that of a fold.

    Args:
        places: the hospitals.
        splits: CSV with the columns train and val, a case id in each cell.
        folder: where the tables are written.

    Raises:
        SettingsError: the file has no such columns, or a case in both.
        CohortError: a hospital has a case that is in neither.
    """
    with splits.open(newline="") as file:
        rows = list(csv.DictReader(file))
    if not rows or not {TRAIN, VAL} <= set(rows[0]):
        raise SettingsError(f"{splits}: no columns train and val", hint="one case id per cell")
    split = {row[kind]: kind for kind in (TRAIN, VAL) for row in rows if row[kind]}
    if len(split) != sum(bool(row[kind]) for kind in (TRAIN, VAL) for row in rows):
        raise SettingsError(f"{splits}: a case is there twice", hint="either in train or in val")
    return tuple(_with_split(place, split, splits, folder / place.name) for place in places)


def _with_split(place: Place, split: dict[str, str], splits: Path, folder: Path) -> Place:
    with place.clinical.open(newline="") as file:
        rows = list(csv.DictReader(file))
    missing = sum(row[COLUMNS.case_id] not in split for row in rows)
    if missing:
        raise CohortError(
            f"{place.name}: {missing} of {len(rows)} cases are not in {splits.name}",
            hint="--splits DIR: a folder of splits_0.csv, splits_1.csv, ... of this cohort",
        )
    text = io.StringIO()
    writer = csv.DictWriter(text, list(dict.fromkeys([*rows[0], COLUMNS.split])))
    writer.writeheader()
    writer.writerows(row | {COLUMNS.split: split[row[COLUMNS.case_id]]} for row in rows)
    path, content = folder / CLINICAL_FILE, text.getvalue().encode()
    if not path.exists() or path.read_bytes() != content:  # a changed file would be read again
        write_atomic(path, content)
    return replace(place, clinical=path)


def open_hospital(place: Place, study: StudyConfig) -> Hospital:
    """Read a hospital's tables, as its own side does.

    Raises:
        CohortError, GenesError, FeaturesError: a table or the feature folder cannot be used.
    """
    config = SiteConfig(
        name=place.name,
        server="127.0.0.1:1",  # never asked
        slides=place.folder / "slides.csv",
        features=place.folder / "features",
        encoder=study.encoder,
        folder=place.clinical.parent,
        clinical=place.clinical,
        genes=place.genes,
        columns=COLUMNS,
    )
    cohort, features = require_cohort(config, study), find_features(config.features)
    return Hospital(place.name, cohort, features, _cache_of(place.folder))


@cache
def _cache_of(_folder: Path) -> FeatureCache:
    """One per hospital and process: all folds read the same files."""
    return FeatureCache(CACHE)


@dataclass(frozen=True, slots=True, eq=False)
class Cases:
    """Outcome and place of every case, hospital after hospital. No case is named."""

    times: NDArray[np.float64]
    events: NDArray[np.bool_]
    hospital: NDArray[np.int_]  # index into the hospitals
    fold: NDArray[np.int_]  # whose held-out case it is; -1: of none that was run
    wsi_only: NDArray[np.bool_]  # at a hospital without genes


def held_out(hospitals: Sequence[Hospital]) -> NDArray[np.bool_]:
    """Which of all cases this fold holds out.

    Raises:
        CohortError: none.
    """
    found = np.array([case.held_out for hospital in hospitals for case in hospital.known])
    if not found.any():
        raise CohortError("no case is held out", hint="clinical.csv needs 'split', or use --splits")
    return found


def all_cases(folds: dict[int, Sequence[Hospital]]) -> Cases:
    """What evaluation needs to know of the cases.

    Raises:
        CohortError: two folds hold out the same case, or one none.
    """
    masks = np.array([held_out(hospitals) for hospitals in folds.values()])  # (folds, cases)
    if (masks.sum(axis=0) > 1).any():
        raise CohortError("a case is held out by two folds", hint="each case in one val at most")
    rows = [
        (case.outcome.time, case.outcome.event, number, not hospital.has_genes)
        for number, hospital in enumerate(next(iter(folds.values())))
        for case in hospital.known
        if case.outcome
    ]
    times, events, places, wsi_only = (np.array(column) for column in zip(*rows, strict=True))
    fold = np.where(masks.any(axis=0), np.array(list(folds))[masks.argmax(axis=0)], -1)
    return Cases(times, events, places, fold, wsi_only)
