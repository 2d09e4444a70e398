"""What this hospital says of the evaluated cases: sums of every arm, with small numbers untold."""

import hashlib
import hmac
import secrets
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ghanet_model.brier import brier_sums, survival_at
from ghanet_model.cox import (
    known_enough,
    linear_risk,
    site_covariate_sums,
    site_cox_sums,
)
from ghanet_model.cox_questions import CoxMoments, CoxStep
from ghanet_model.dyadic import tree_counts
from ghanet_model.evaluation import (
    ALONE,
    ARMS,
    CLINICAL,
    FEDERATED,
    GROUPS,
    QUANTILE_LEAVES,
    RANKED,
    STACKED,
    Evaluation,
    FollowUp,
    TrainingRisks,
)
from ghanet_model.files import write_atomic
from ghanet_model.kaplan_meier import time_tree
from ghanet_model.metrics import told
from ghanet_model.pairs import draw_weights, pair_tree, replicate_pairs, risk_leaves
from ghanet_model.protocol import StatisticsAsk
from ghanet_model.question import Sums, zeros

from .alone import alone_weights
from .predictions import (
    EVALUATION,
    EVERYBODY,
    TRAINING,
    VALIDATION,
    Chosen,
    chosen,
    hazards_of,
    panel_of,
    remembered_hazards,
)
from .site import Site

DRAWS_KEY_FILE = "draws.key"


def follow_up(site: Site, _ask: StatisticsAsk, question: FollowUp) -> Sums:
    """Months of the evaluated cases, a tree for censored and one for dead cases."""
    cases = chosen(site.cohort(), _which(trains=question.trains))
    return {"times": time_tree(cases.time, cases.event, least=site.least)}


def training_risks(site: Site, ask: StatisticsAsk, question: TrainingRisks) -> Sums:
    """The model's risks of training cases."""
    risk = risk_of(hazards_of(site, ask, TRAINING))
    leaves = risk_leaves(question.scale.of(risk), QUANTILE_LEAVES)
    return {"risks": tree_counts(leaves, QUANTILE_LEAVES, least=site.least)}


def covariates(site: Site, ask: StatisticsAsk, question: CoxMoments) -> Sums:
    """Sums over the cases that an arm is fitted to."""
    _, x = fitted(site, ask, question.arm)
    return site_covariate_sums(x, least=site.least)


def cox(site: Site, ask: StatisticsAsk, question: CoxStep) -> Sums:
    """Score and information of this hospital's stratum."""
    cases, x = fitted(site, ask, question.arm)
    return site_cox_sums(x, cases.time, cases.event, question.at, least=site.least)


def fitted(site: Site, ask: StatisticsAsk, arm: str) -> tuple[Chosen, NDArray[np.float64]]:
    """The cases that an arm is fitted to, and their covariates (n, p).

    The stacked arm takes the model's risk too. Of training cases that risk is too good, so where
    the study keeps validation cases it is fitted to these.
    """
    which = VALIDATION if arm == STACKED and site.study.validation else TRAINING
    cases = chosen(site.cohort(), which)
    if arm != STACKED:
        return cases, cases.covariates
    return cases, np.column_stack([cases.covariates, risk_of(hazards_of(site, ask, which))])


def evaluation(site: Site, ask: StatisticsAsk, question: Evaluation) -> Sums:
    """Every arm on the evaluated cases."""
    sums = zeros(question.shapes(site.study))
    which = _which(trains=question.trains)
    cases = chosen(site.cohort(), which)
    if len(cases) < site.least:
        return sums
    hazards = hazards_of(site, ask, which)
    risks = _arm_risks(site, ask, question, cases, hazards)
    present = [number for number, arm in enumerate(ARMS) if arm in risks]
    events = told(int(cases.event.sum()), len(cases), least=site.least)
    sums["cases"][present] = len(cases)
    sums["events"][present] = events or 0
    sums["untold_events"][present] = events is None
    weights = draw_weights(len(cases), site.study.replicates, _generator(site, ask.base))
    stacked = np.array([risks[ARMS[number]] for number in present])
    sums["pairs"][present] = replicate_pairs(cases.time, cases.event, stacked, weights=weights)
    for number, arm in enumerate(RANKED):
        if arm in risks:
            place = (
                question.scale.of(risks[arm]) if arm == FEDERATED else _own(question, arm, risks)
            )
            sums["order"][number] = pair_tree(cases.time, cases.event, place, least=site.least)
    _add_groups(sums, site, question, cases, hazards)
    _add_brier(sums, site, question, cases, hazards)
    return sums


def _own(
    question: Evaluation, arm: str, risks: dict[str, NDArray[np.float64]]
) -> NDArray[np.float64]:
    """A linear risk on the grid: as if its standardised covariates were independent."""
    size = float(np.sqrt((question.fits[arm].beta ** 2).sum()))
    return risks[arm] / (size or 1.0)


def _arm_risks(
    site: Site,
    ask: StatisticsAsk,
    question: Evaluation,
    cases: Chosen,
    hazards: NDArray[np.float64],
) -> dict[str, NDArray[np.float64]]:
    """The risk of each case (n,) by every arm that this hospital can say one of."""
    risks = {FEDERATED: risk_of(hazards)}
    own = alone_weights(site) if question.trains and site.study.train_alone else None
    if own is not None:
        panel = panel_of(ask.panel, site.study)
        key = f"alone beside {ask.base}"
        which = _which(trains=question.trains)
        risks[ALONE] = risk_of(remembered_hazards(site, own, panel, key=key, which=which))
    x = known_enough(cases.covariates, least=site.least)
    if np.isfinite(x).any():
        for arm, fit in question.fits.items():
            full = x if arm == CLINICAL else np.column_stack([x, risks[FEDERATED]])
            risks[arm] = linear_risk(full, fit)
    return risks


def _add_groups(
    sums: dict[str, NDArray[np.float64]],
    site: Site,
    question: Evaluation,
    cases: Chosen,
    hazards: NDArray[np.float64],
) -> None:
    """Times and predictions by group of risk, where none of them is a small number."""
    group = np.searchsorted(question.cutoffs, risk_of(hazards), side="right")  # (n,) 0, 1, 2
    edges = site.study.time_bin_edges
    predicted = survival_at(hazards, edges, edges)  # (n, H)
    members = [group == number for number in range(len(GROUPS))]
    told_groups = groups_told(members, cases.event, least=site.least)
    for number, own in enumerate(members):
        if number not in told_groups:
            sums["group_untold"][number] = own.any()
            continue
        sums["group_cases"][number] = own.sum()
        sums["group_times"][number] = time_tree(cases.time[own], cases.event[own], least=site.least)
        sums["group_predicted"][number] = predicted[own].sum(axis=0)


def groups_told(
    members: Sequence[NDArray[np.bool_]], event: NDArray[np.bool_], *, least: int
) -> set[int]:
    """The groups whose dead and survivors are none or enough, and those of the rest together too.

    Without the second, the rest would follow from the total.
    """

    def is_large(chosen: NDArray[np.bool_]) -> bool:
        counts = ((chosen & event).sum(), (chosen & ~event).sum())
        return all(count == 0 or count >= least for count in counts)

    told_groups = {n for n, own in enumerate(members) if own.any() and is_large(own)}
    while told_groups:
        rest = ~np.any([members[n] for n in told_groups], axis=0)
        if is_large(rest):
            break
        told_groups.remove(min(told_groups, key=lambda n: members[n].sum()))
    return told_groups


def _add_brier(
    sums: dict[str, NDArray[np.float64]],
    site: Site,
    question: Evaluation,
    cases: Chosen,
    hazards: NDArray[np.float64],
) -> None:
    """Squared errors of the model's survival, and of Kaplan-Meier as everybody's."""
    found = brier_sums(
        cases.time, cases.event, hazards, site.study.time_bin_edges, question.survival
    )
    sums["brier_cases"][0] = len(cases)
    sums["brier"][:], sums["integrated_brier"][:] = found


def risk_of(hazards: NDArray[np.float64]) -> NDArray[np.float64]:
    """Minus the sum of survival over the time bins, (n, K) -> (n,)."""
    found: NDArray[np.float64] = -np.cumprod(1 - hazards, axis=1).sum(axis=1)
    return found


def _which(*, trains: bool) -> str:
    return EVALUATION if trains else EVERYBODY


def _generator(site: Site, base: str) -> np.random.Generator:
    """Draws that nobody outside can repeat: with known draws, sums could be solved for pairs."""
    path = site.config.folder / "keys" / DRAWS_KEY_FILE
    if not path.exists() and site.memory.durable:
        write_atomic(path, secrets.token_bytes(32), private=True)
    key = path.read_bytes() if path.exists() else secrets.token_bytes(32)
    mark = hmac.new(key, f"{site.study.digest}|{base}".encode(), hashlib.sha256)
    return np.random.default_rng(int(mark.hexdigest(), 16))
