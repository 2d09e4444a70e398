"""The arms of a benchmark: one model each, by federation, from pooled cases, or from one hospital.

Every arm gives the risk of every case of every hospital, to six decimals as predictions.csv does.
"""

import shutil
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

import numpy as np
import torch
import yaml
from numpy.typing import NDArray

from client.bags import SiteBags, training_bags
from ghanet_model.bag import Bag, Outcome
from ghanet_model.cox import Linear, fit, linear_risk, mean_and_sd
from ghanet_model.cox import site_covariate_sums as moments_of
from ghanet_model.cox import site_cox_sums as step_of
from ghanet_model.errors import StudyError
from ghanet_model.genes import GenePanel
from ghanet_model.network import Network, new_model
from ghanet_model.panel import panel_of_tables
from ghanet_model.question import add_sums
from ghanet_model.release import model_config, read_release
from ghanet_model.study import RELEASE_SUFFIX, StudyConfig, read_study
from ghanet_model.training import TrainingSettings, round_seed, train
from server.cox_fit import RIDGE

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "deploy"))  # it is no package

from engine import init_coordinator, join, run_here
from hospitals import Hospital, Place
from local import COORDINATOR

THREADS = 1  # of every arm, and of each hospital of the federation
GROUPS_FILE = "gene_groups.csv"
Risks = NDArray[np.float64]  # (cases,) hospital after hospital


def write_study(folder: Path, values: dict[str, object], groups: Path) -> StudyConfig:
    """study.yaml and its gene groups, for the coordinator and for the other arms.

    Raises:
        SettingsError: a value or the gene groups cannot be used.
    """
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(groups, folder / GROUPS_FILE)
    text = yaml.safe_dump({"format": 1, **values, "gene_groups": GROUPS_FILE}, sort_keys=False)
    (folder / "study.yaml").write_text(text)
    return read_study(folder)


def panel_of(hospitals: Iterable[Hospital], study: StudyConfig) -> GenePanel:
    """The gene panel of these hospitals' sums, made as the coordinator makes it."""
    genes = {hospital.name: hospital.cohort.training_genes for hospital in hospitals}
    tables = {name: table for name, table in genes.items() if table is not None}
    return panel_of_tables(study, tables, least=study.minimum_cases)


def federate(
    root: Path,
    places: Sequence[Place],
    hospitals: Sequence[Hospital],
    *,
    trains: set[str],
    panel: GenePanel,
) -> Risks:
    """The study in ``root`` by the functions of coordinator and hospitals, in this process.

    Args:
        root: where coordinator and hospitals have their folders; study.yaml is there.
        places: the hospitals' files.
        hospitals: the same, as they are predicted.
        trains: names; the others infer.
        panel: of the pooled tables.

    Raises:
        GHANetError: a stage failed, or the gene panel is not that of the pooled tables.
    """
    study = read_study(root / COORDINATOR)
    init_coordinator(root)
    for place in places:
        join(
            root,
            place.name,
            role="trains" if place.name in trains else "infers",
            genes=place.genes is not None and place.name in trains,
            settings=place.settings() | {"encoder": study.encoder, "threads": THREADS},
        )
    run_here(root)
    released = root / COORDINATOR / "releases" / f"{study.name}{RELEASE_SUFFIX}"
    key = root / COORDINATOR / "keys" / "release.key.pub"
    found = read_release(released, public_pem=key.read_bytes())
    if found.panel != panel:
        raise StudyError("the federated gene panel is not that of the pooled tables")
    return predict(found.model(), hospitals, study)


def learn(
    hospitals: Sequence[Hospital], study: StudyConfig, *, panel: GenePanel, name: str
) -> Network:
    """A model trained in this process on the training cases of these hospitals, as one cohort.

    As long as the federation trains: ``local_epochs`` at a time, ``rounds`` times, the optimiser
    starting anew each time; ``name`` takes the hospital's place in the seed of each round.
    """
    torch.set_num_threads(THREADS)
    bags = PooledBags([_training_bags(hospital, study, panel) for hospital in hospitals])
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


def _training_bags(hospital: Hospital, study: StudyConfig, panel: GenePanel) -> SiteBags:
    return training_bags(
        hospital.cohort,
        hospital.features,
        study=study,
        panel=panel if hospital.has_genes else None,
        cache=hospital.cache,
    )


def predict(model: Network, hospitals: Sequence[Hospital], study: StudyConfig) -> Risks:
    """The risk of every case, from slides alone."""
    risks = [
        float(model.predict([bag.features]).risk[0])
        for h in hospitals
        for bag in SiteBags(h.known, h.features, study=study, cache=h.cache)
    ]
    return np.round(risks, 6)


def cox(
    hospitals: Sequence[Hospital],
    study: StudyConfig,
    *,
    trains: set[str],
    risks: Risks | None = None,
) -> Risks:
    """Site-stratified Cox on age, sex, grade and stage, as the coordinator fits it, from sums.

    Args:
        hospitals: all; their training cases are fitted to where ``trains`` has their name.
        study: its ``minimum_cases`` holds for these sums as in a deployment.
        trains: names.
        risks: of a model, a fifth covariate: the stacked arm. Of training cases they are too good.

    Raises:
        TrainingError: it does not converge.
    """
    x = np.array([case.covariates for hospital in hospitals for case in hospital.known])
    if risks is not None:
        x = np.column_stack([x, risks])
    parts = np.split(x, np.cumsum([len(hospital.known) for hospital in hospitals])[:-1])
    least = study.minimum_cases
    strata = [
        _Stratum.of(hospital, part)
        for hospital, part in zip(hospitals, parts, strict=True)
        if hospital.name in trains
    ]
    centre = mean_and_sd(add_sums([moments_of(one.x, least=least) for one in strata]))

    def ask(beta: Risks) -> dict[str, NDArray[np.float64]]:
        at = Linear(*centre, beta)
        return add_sums([step_of(s.x, s.times, s.events, at, least=least) for s in strata])

    return linear_risk(x, Linear(*centre, fit(ask, x.shape[1], l2=RIDGE).beta))


@dataclass(frozen=True, slots=True, eq=False)
class _Stratum:
    """One hospital's training cases as Cox's model sees them."""

    x: NDArray[np.float64]  # (n, p)
    times: NDArray[np.float64]
    events: NDArray[np.bool_]

    @classmethod
    def of(cls, hospital: Hospital, x: NDArray[np.float64]) -> "_Stratum":
        """Those of the hospital's known cases that training may see."""
        chosen = [case.can_train for case in hospital.known]
        outcomes = [case.outcome for case in hospital.known if case.can_train and case.outcome]
        times = np.array([outcome.time for outcome in outcomes])
        return cls(x[chosen], times, np.array([outcome.event for outcome in outcomes]))


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
