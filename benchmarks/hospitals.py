"""The hospitals of a benchmark: one folder each, read as a site reads its own. Nothing is written.

Expected in each, as ``make_cohort.py --sites --fold K`` writes it: clinical.csv (case_id,
survival_months, event, split), slides.csv, features/, and genes.parquet where there are genes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from client.cohort import Case, Cohort, require_cohort
from client.config import Columns, SiteConfig
from client.features import FeatureFacts, FeatureFolder, find_features, inspect_features
from ghanet_model.errors import CohortError, SettingsError
from ghanet_model.study import StudyConfig

TIME = "survival_months"
HINT = "make them: make_cohort.py --cohort blca --sites --outcome plasmode --fold 0 --out DIR"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a hospital's files are."""

    name: str
    folder: Path

    @property
    def genes(self) -> Path | None:
        """Its gene table, if it has one."""
        path = self.folder / "genes.parquet"
        return path if path.is_file() else None

    def settings(self) -> dict[str, str]:
        """What its site.yaml says of its files."""
        files = {
            "clinical": self.folder / "clinical.csv",
            "slides": self.folder / "slides.csv",
            "features": self.folder / "features",
            "genes": self.genes,
        }
        return {key: str(path) for key, path in files.items() if path}

    def facts(self) -> FeatureFacts:
        """Encoder and width, as the first of its feature files says."""
        found = find_features(self.folder / "features")
        return inspect_features(found.path / f"{min(found.stems)}.h5", where=self.name)


@dataclass(frozen=True, slots=True)
class Hospital:
    """One hospital with its cases."""

    name: str
    cohort: Cohort = field(repr=False)
    features: FeatureFolder = field(repr=False)

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
    folders = sorted(path.parent for path in sites.glob("*/clinical.csv"))
    if not folders:
        raise SettingsError(f"{sites}: no folder of a hospital (with clinical.csv)", hint=HINT)
    places = tuple(Place(f.name.lower().replace("_", "-"), f.resolve()) for f in folders)
    if not any(place.genes for place in places):
        raise SettingsError(f"{sites}: no hospital has genes.parquet", hint=HINT)
    return places


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
        folder=place.folder,
        clinical=place.folder / "clinical.csv",
        genes=place.genes,
        columns=Columns(time=TIME),
    )
    return Hospital(place.name, require_cohort(config, study), find_features(config.features))


@dataclass(frozen=True, slots=True, eq=False)
class Cases:
    """Outcome and place of every case, hospital after hospital. No case is named."""

    times: NDArray[np.float64]
    events: NDArray[np.bool_]
    hospital: NDArray[np.int_]  # index into the hospitals
    held_out: NDArray[np.bool_]
    wsi_only: NDArray[np.bool_]  # at a hospital without genes


def all_cases(hospitals: Sequence[Hospital]) -> Cases:
    """What evaluation needs to know of the cases.

    Raises:
        CohortError: no case is held out.
    """
    rows = [
        (case.outcome.time, case.outcome.event, number, case.held_out, not hospital.has_genes)
        for number, hospital in enumerate(hospitals)
        for case in hospital.known
        if case.outcome
    ]
    times, events, places, held_out, wsi_only = (
        np.array(column) for column in zip(*rows, strict=True)
    )
    if not held_out.any():
        raise CohortError("no case is held out", hint="clinical.csv needs 'split': use --fold")
    return Cases(times, events, places, held_out, wsi_only)
