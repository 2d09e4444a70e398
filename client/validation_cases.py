"""The cases that a release is validated on, and what it predicts for them. They stay here."""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import Progress

from ghanet_model.batches import read_ahead
from ghanet_model.errors import CohortError
from ghanet_model.evaluation import GROUPS
from ghanet_model.release import Release

from .bags import SiteBags, evaluation_bags
from .cohort import Cohort, require_cohort
from .config import SiteConfig
from .features import find_features
from .predict import require_encoder

HELD_OUT, OUTSIDE, MIXED = "held out", "none trained", "training cases among them"


@dataclass(frozen=True, slots=True, eq=False)
class Cases:
    """Outcomes beside predictions, without names."""

    time: NDArray[np.float64] = field(repr=False)  # (n,) months
    event: NDArray[np.bool_] = field(repr=False)  # (n,)
    hazards: NDArray[np.float64] = field(repr=False)  # (n, K)
    risk: NDArray[np.float64] = field(repr=False)  # (n,)
    group: NDArray[np.intp] = field(repr=False)  # (n,) place in GROUPS
    which: str = OUTSIDE  # HELD_OUT, OUTSIDE or MIXED
    trained: int = 0  # of them, that training saw

    def __len__(self) -> int:
        return len(self.time)


def has_trained(config: SiteConfig, release: Release) -> bool:
    """Whether this hospital's cases trained the release; yes where it does not say who did."""
    listed: Any = release.manifest.get("participation")
    if not isinstance(listed, list):
        return True
    own = [site for site in listed if site.get("name") == config.name]
    return any(site.get("rounds_trained") for site in own)


def predicted_cases(
    config: SiteConfig, release: Release, *, everybody: bool, progress: Progress
) -> Cases:
    """Predict the cases with an outcome: the held-out ones where this hospital trained.

    Args:
        config: of the hospital.
        release: verified.
        everybody: training cases too.
        progress: shown while it predicts.

    Raises:
        CohortError: no such case, or a table with a problem.
        FeaturesError: another encoder, or a feature file that cannot be used.
    """
    require_encoder(config, release)
    cohort = require_cohort(replace(config, genes=None), release.study)
    trained = has_trained(config, release)
    bags = _bags(config, release, cohort, only_held_out=trained and not everybody)
    seen = sum(case.can_train or (case.validation and not case.held_out) for case in cohort.cases)
    which = OUTSIDE if not trained else MIXED if everybody and seen else HELD_OUT
    outcomes = [outcome for outcome in bags.outcomes if outcome is not None]
    hazards, risk = _predict(config, release, bags, progress)
    return Cases(
        np.array([outcome.time for outcome in outcomes], np.float64),
        np.array([outcome.event for outcome in outcomes], bool),
        hazards,
        risk,
        np.array([GROUPS.index(release.risk_group(one)) for one in risk.tolist()], np.intp),
        which,
        seen if which == MIXED else 0,
    )


def _bags(config: SiteConfig, release: Release, cohort: Cohort, *, only_held_out: bool) -> SiteBags:
    if not any(case.outcome for case in cohort.cases):
        raise CohortError(
            "no case has an outcome, so there is nothing to compare predictions with",
            hint="name a table of outcomes in site.yaml: clinical, or cbioportal",
        )
    if only_held_out and not any(case.outcome and case.held_out for case in cohort.cases):
        raise CohortError(
            "no case was held out: all of this hospital's cases could train the release",
            hint="--all takes them, and flatters: a model looks better on cases it has seen",
        )
    features = find_features(config.features)
    return evaluation_bags(cohort, features, study=release.study, trains=only_held_out)


def _predict(
    config: SiteConfig, release: Release, bags: SiteBags, progress: Progress
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Hazards (n, K) and risks (n,), as 'ghanet-client predict' has them."""
    torch.set_num_threads(config.threads)
    device = torch.device(config.device)
    model = release.model().to(device)
    bar = progress.add_task("predicting", total=len(bags))
    hazards, risks = [], []
    with read_ahead(bags) as coming:
        for bag in coming:
            prediction = model.predict([bag.features.to(device)])
            hazards.append(prediction.hazards[0].cpu().double().numpy())
            risks.append(float(prediction.risk[0]))
            progress.advance(bar)
    return np.array(hazards, np.float64), np.array(risks, np.float64)
