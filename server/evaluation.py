"""The evaluation after the last round: what four arms are worth, from sums of all hospitals.

Nothing here chooses a model: cases that are evaluated have no part in training, in the choice of a
round or in the fits. The result is one file; a stop in the middle begins the evaluation anew.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ghanet_model.dyadic import nodes_of, quantile
from ghanet_model.evaluation import (
    CLINICAL,
    QUANTILE_LEAVES,
    STACKED,
    Evaluation,
    FollowUp,
    Scale,
    TrainingRisks,
)
from ghanet_model.files import write_json
from ghanet_model.genes import GenePanel
from ghanet_model.kaplan_meier import MONTHS, kaplan_meier, reverse_kaplan_meier
from ghanet_model.metrics import EvaluationSums
from ghanet_model.pairs import risk_edges
from ghanet_model.percentile import boxes_of
from ghanet_model.question import Question as Topic
from ghanet_model.question import Sums, add_sums
from ghanet_model.weights import fingerprint_of

from . import progress
from .checkpoint import Checkpoint
from .cox_fit import ArmFit, fit_arm
from .evaluation_report import Evaluated, evaluation_json
from .roster import Member
from .run import Run, refreshed
from .statistics import Model, ask_each

EVALUATION_FILE = "evaluation.json"
TERTILE = 0.4307  # standard deviations from the mean to a normal distribution's tertiles


def evaluate(
    run: Run, checkpoint: Checkpoint, panel: GenePanel, training_risk: EvaluationSums
) -> dict[str, Any]:
    """Evaluate the released model, once.

    Args:
        run: the run.
        checkpoint: its weights are evaluated.
        panel: of its genes.
        training_risk: sums of the model's risk over training cases.
    """
    found = read_evaluation(run)
    if found is not None:
        return found
    run, members, model = begin(run, checkpoint, panel)
    evaluated = _evaluate(run, members, model, training_risk)
    result = {"study": run.study.digest, **evaluation_json(run.study, evaluated)}
    write_json(run.config.state / EVALUATION_FILE, result)
    return result


def begin(run: Run, checkpoint: Checkpoint, panel: GenePanel) -> tuple[Run, list[Member], Model]:
    """The run as it is now, the hospitals that can be asked, and the model they are asked about."""
    run = refreshed(run)
    run.reporter.say(phase=progress.EVALUATION)
    online = run.exchange.online()
    members = [member for member in run.roster.active() if member.name in online]
    weights = checkpoint.weights
    return run, members, Model(fingerprint_of(weights), json.dumps(panel.to_json()), weights)


def read_evaluation(run: Run) -> dict[str, Any] | None:
    """The evaluation as its file holds it; None where there is none of this study."""
    try:
        found: dict[str, Any] = json.loads((run.config.state / EVALUATION_FILE).read_text())
    except FileNotFoundError:
        return None
    return found if found.get("study") == run.study.digest else None


def _evaluate(
    run: Run, members: Sequence[Member], model: Model, training_risk: EvaluationSums
) -> Evaluated:
    left_out: dict[str, str] = {}
    training = [member for member in members if member.trains]
    scale = Scale(training_risk.mean_risk, training_risk.sd_risk or 1.0)
    times = _ask(run, {m.name: FollowUp(m.trains) for m in members}, members, None, left_out)
    risks = _ask(
        run, dict.fromkeys(_names(training), TrainingRisks(scale)), training, model, left_out
    )
    trees = [sums["risks"] for sums in risks.values()]
    cutoffs = cutoffs_of(scale, trees)
    fits: dict[str, ArmFit] = {}
    for arm in (CLINICAL, STACKED):
        fitted, lost = fit_arm(run, arm, training, model)
        left_out |= lost
        if fitted is not None:
            fits[arm] = fitted
    total = add_sums(times.values())["times"] if times else np.zeros((2, 2 * MONTHS - 1))
    survival = np.array([kaplan_meier(total), reverse_kaplan_meier(total)])
    linear = {arm: fitted.linear for arm, fitted in fits.items()}
    topics = {m.name: Evaluation(m.trains, scale, cutoffs, linear, survival) for m in members}
    sums = _ask(run, topics, members, model, left_out)
    untold = [name for name, own in times.items() if not own["times"].any()]
    grid = risk_edges(QUANTILE_LEAVES)
    usual = boxes_of(_added(trees), grid, scale=scale.spread, centre=scale.centre)
    return Evaluated(sums, fits, cutoffs, total, left_out, untold, usual)


def _ask(
    run: Run,
    topics: Mapping[str, Topic],
    members: Iterable[Member],
    model: Model | None,
    left_out: dict[str, str],
) -> dict[str, Sums]:
    """Ask; who does not answer is noted and asked again at the next question."""
    answers = ask_each(run, topics, members, model=model)
    left_out |= answers.left_out
    return answers.good


def _names(members: Iterable[Member]) -> list[str]:
    return [member.name for member in members]


def cutoffs_of(scale: Scale, trees: Sequence[NDArray[np.float64]]) -> tuple[float, float]:
    """Tertiles of the training cases' risk; those of a normal distribution where none is told."""
    total = _added(trees)
    if not total.any():
        return scale.back(-TERTILE), scale.back(TERTILE)
    edges = risk_edges(QUANTILE_LEAVES)
    low, high = (float(quantile(total, edges, share)) for share in (1 / 3, 2 / 3))
    return scale.back(low), scale.back(high)


def _added(trees: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    return sum(trees, np.zeros(nodes_of(QUANTILE_LEAVES)))
