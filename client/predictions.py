"""What a model says of this hospital's cases, made once and kept while the same is asked about."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from ghanet_model.bag import Outcome
from ghanet_model.batches import read_ahead
from ghanet_model.errors import BehindError, GenesError, WeightsError
from ghanet_model.genes import GenePanel
from ghanet_model.network import Network, new_model
from ghanet_model.protocol import StatisticsAsk
from ghanet_model.release import model_config
from ghanet_model.study import StudyConfig
from ghanet_model.weights import Arrays, fingerprint_of, load_weights

from .bags import SiteBags, evaluation_bags, training_bags, validation_bags
from .cohort import Case, Cohort
from .site import Site
from .watched import Watched

TRAINING, VALIDATION, EVALUATION, EVERYBODY = "training", "validation", "evaluation", "everybody"


@dataclass(frozen=True, slots=True, eq=False)
class Chosen:
    """Some cases of this hospital, in the cohort's order."""

    time: NDArray[np.float64] = field(repr=False)  # (n,) months
    event: NDArray[np.bool_] = field(repr=False)
    covariates: NDArray[np.float64] = field(repr=False)  # (n, 4), NaN: not known

    def __len__(self) -> int:
        return len(self.time)


def is_chosen(case: Case, which: str) -> bool:
    """Whether a case is one of these."""
    if case.outcome is None:
        return False
    return {
        TRAINING: case.can_train,
        VALIDATION: case.validation,
        EVALUATION: case.held_out,
        EVERYBODY: True,
    }[which]


def chosen(cohort: Cohort, which: str) -> Chosen:
    """Outcomes and covariates of some cases."""
    cases = [case for case in cohort.cases if is_chosen(case, which)]
    outcomes: Sequence[Outcome] = [case.outcome for case in cases if case.outcome]
    return Chosen(
        np.array([outcome.time for outcome in outcomes], np.float64),
        np.array([outcome.event for outcome in outcomes], bool),
        np.array([case.covariates for case in cases], np.float64).reshape(len(cases), -1),
    )


def hazards_of(site: Site, ask: StatisticsAsk, which: str) -> NDArray[np.float64]:
    """The hazards (n, K) that the model of a question gives some cases.

    Raises:
        BehindError: its weights are not held here; they are needed whole.
        WeightsError: weights came that are not those that were announced.
    """
    weights = weights_of_question(site, ask)
    panel = panel_of(ask.panel, site.study)
    return remembered_hazards(site, weights, panel, key=ask.base, which=which)


def remembered_hazards(
    site: Site, weights: Arrays, panel: GenePanel, *, key: str, which: str
) -> NDArray[np.float64]:
    """The hazards that these weights give, from memory where they were asked before."""

    def make() -> NDArray[np.float64]:
        model = new_model(model_config(site.study, panel), seed=site.study.seed)
        load_weights(model, weights)
        return _predict(site, model, which)

    return site.memory.predicted(site.cohort(), (key, which), make)


def weights_of_question(site: Site, ask: StatisticsAsk) -> Arrays:
    """The weights that a question is about, held here or sent with it; see ``hazards_of``."""
    found = site.held.find(ask.base)
    if found is not None:
        return found
    if not ask.weights:
        raise BehindError(
            f"asked about {ask.topic} of a model that is not held here",
            hint="nothing to do: the coordinator now sends it whole",
        )
    if fingerprint_of(ask.weights) != ask.base:
        raise WeightsError("the weights that came are not those that were announced")
    site.held.keep(ask.weights, ask.base)
    return ask.weights


def _predict(site: Site, model: Network, which: str) -> NDArray[np.float64]:
    torch.set_num_threads(site.config.threads)
    device = torch.device(site.config.device)
    model.to(device)
    bags = Watched(_bags(site, which), site.require_wanted)
    with read_ahead(bags) as coming:
        rows = [model.predict([bag.features.to(device)]).hazards[0] for bag in coming]
    empty = torch.zeros((0, site.study.time_bins))
    return (torch.stack(rows) if rows else empty).cpu().double().numpy()


def _bags(site: Site, which: str) -> SiteBags:
    cohort, features, study, cache = site.cohort(), site.features(), site.study, site.cache
    if which == TRAINING:
        return training_bags(cohort, features, study=study, cache=cache)
    if which == VALIDATION:
        return validation_bags(cohort, features, study=study, cache=cache)
    trains = which == EVALUATION
    return evaluation_bags(cohort, features, study=study, trains=trains, cache=cache)


def panel_of(text: str, study: StudyConfig) -> GenePanel:
    """A gene panel that came as text.

    Raises:
        GenesError: no panel of this study.
    """
    try:
        return GenePanel.from_json(json.loads(text), study=study)
    except (ValueError, RecursionError):
        raise GenesError("gene panel: not JSON") from None
