"""The arms of a benchmark: one model each, by federation, from pooled cases, or from one hospital.

Every arm gives the risk of every case of every hospital, to six decimals as predictions.csv does.
"""

import csv
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from functools import reduce
from operator import add
from pathlib import Path
from typing import overload

import numpy as np
import torch
import yaml
from numpy.typing import NDArray

from client.answers import round_seed
from client.bags import SiteBags, training_bags
from ghanet_model.bag import Bag, Outcome
from ghanet_model.errors import DeploymentError, StudyError
from ghanet_model.genes import GenePanel, GeneSums, gene_sums, make_panel
from ghanet_model.network import Network, new_model
from ghanet_model.release import model_config
from ghanet_model.study import StudyConfig, read_study
from ghanet_model.training import TrainingSettings, train

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "deploy"))  # it is no package

from hospitals import TIME, Hospital, Place
from local import CLIENT, COORDINATOR, LocalConsortium

THREADS = 2  # of an arm that trains in this process
SITE_THREADS = 1  # of each hospital of the federation
GROUPS_FILE = "gene_groups.csv"


def write_study(folder: Path, values: dict[str, object], groups: Path) -> StudyConfig:
    """study.yaml and its gene groups, for the coordinator and for the other arms.

    Raises:
        SettingsError: a value or the gene groups cannot be used.
    """
    folder.mkdir(parents=True)
    shutil.copyfile(groups, folder / GROUPS_FILE)
    text = yaml.safe_dump({"format": 1, **values, "gene_groups": GROUPS_FILE}, sort_keys=False)
    (folder / "study.yaml").write_text(text)
    return read_study(folder)


def panel_of(hospitals: Iterable[Hospital], study: StudyConfig) -> GenePanel:
    """The gene panel of these hospitals' sums, made as the coordinator makes it."""
    parts = [_sums(hospital, study) for hospital in hospitals if hospital.has_genes]
    return make_panel(study, reduce(add, parts), sites=len(parts))


def _sums(hospital: Hospital, study: StudyConfig) -> GeneSums:
    genes = hospital.cohort.training_genes
    assert genes is not None
    return gene_sums(genes, clip=study.gene_clip, minimum_cases=study.minimum_cases)


def federate(
    folder: Path, places: Sequence[Place], hospitals: Sequence[Hospital], *, trains: set[str]
) -> NDArray[np.float64]:
    """The whole deployment by its commands; each hospital predicts with what it was delivered.

    Raises:
        DeploymentError: a command failed.
        StudyError: the coordinator's gene panel is not that of the pooled tables.
    """
    study = read_study(folder / COORDINATOR)
    try:
        with LocalConsortium(folder) as consortium:
            consortium.init_coordinator()
            for place in places:
                _join(consortium, place, study, trains=place.name in trains)
            consortium.start_server()
            for place in places:
                consortium.start_site(place.name)
            consortium.train()
            for place in places:
                consortium.command(place.name, CLIENT, "predict")
    except subprocess.CalledProcessError as error:
        said = (error.stderr or "").strip().splitlines() or ["it said nothing"]
        raise DeploymentError(
            f"{' '.join(map(str, error.cmd))}: {said[0]}",
            hint=f"logs are below {folder}, if kept by --work",
        ) from None
    _require_panel(consortium, study, panel_of(_of(hospitals, trains), study))
    return np.concatenate([_predictions(folder / h.name / "predictions.csv", h) for h in hospitals])


def _join(consortium: LocalConsortium, place: Place, study: StudyConfig, *, trains: bool) -> None:
    consortium.site(place.name).mkdir()
    settings = place.settings() | {"encoder": study.encoder, "threads": SITE_THREADS}
    consortium.join(
        place.name,
        role="trains" if trains else "infers",
        genes=place.genes is not None,
        settings={**settings, "columns": {"time": TIME}},
    )
    consortium.command(place.name, CLIENT, "check")


def _of(hospitals: Sequence[Hospital], names: set[str]) -> list[Hospital]:
    return [hospital for hospital in hospitals if hospital.name in names]


def _require_panel(consortium: LocalConsortium, study: StudyConfig, panel: GenePanel) -> None:
    """The gene panel that was federated must be the pooled one, number by number."""
    stored = yaml.safe_load((consortium.coordinator / "state" / "panel.json").read_text())
    if GenePanel.from_json(stored["panel"], study=study) != panel:
        raise StudyError("the federated gene panel is not that of the pooled tables")


def _predictions(path: Path, hospital: Hospital) -> NDArray[np.float64]:
    """Risks of a predictions.csv, in the order of the hospital's cases."""
    with path.open(newline="") as file:
        rows = csv.DictReader(line for line in file if not line.startswith("#"))
        risks = {row["case_id"]: float(row["risk"]) for row in rows}
    return np.array([risks[case.case_id] for case in hospital.known])


def learn(
    hospitals: Sequence[Hospital], study: StudyConfig, *, panel: GenePanel, name: str
) -> Network:
    """A model trained in this process on the training cases of these hospitals, as one cohort.

    As long as the federation trains: ``local_epochs`` at a time, ``rounds`` times, the optimiser
    starting anew each time; ``name`` takes the hospital's place in the seed of each round.
    """
    torch.set_num_threads(THREADS)
    bags = PooledBags(
        [
            training_bags(h.cohort, h.features, study=study, panel=panel if h.has_genes else None)
            for h in hospitals
        ]
    )
    model = new_model(model_config(study, panel), seed=study.seed)
    for number in range(1, study.rounds + 1):
        train(
            model,
            bags,
            TrainingSettings.from_study(study),
            outcomes=bags.outcomes,
            use_genes=any(hospital.has_genes for hospital in hospitals),
            seed=round_seed(study, number, name),
            device=torch.device("cpu"),
        )
    return model


def predict(
    model: Network, hospitals: Sequence[Hospital], study: StudyConfig
) -> NDArray[np.float64]:
    """The risk of every case, from slides alone."""
    risks = [
        float(model.predict([bag.features]).risk[0])
        for hospital in hospitals
        for bag in SiteBags(hospital.known, hospital.features, study=study)
    ]
    return np.round(risks, 6)


class PooledBags(Sequence[Bag]):
    """The bags of several hospitals as one sequence; read when asked for."""

    def __init__(self, sites: Sequence[SiteBags]) -> None:
        self._places = [(site, index) for site in sites for index in range(len(site))]
        found = [outcome for site in sites for outcome in site.outcomes]
        self.outcomes: list[Outcome] = [outcome for outcome in found if outcome is not None]

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, index: int) -> Bag: ...
    @overload
    def __getitem__(self, index: slice) -> list[Bag]: ...
    def __getitem__(self, index: int | slice) -> Bag | list[Bag]:
        if isinstance(index, slice):
            return [site[place] for site, place in self._places[index]]
        site, place = self._places[index]
        return site[place]
