"""The end of a private study: two noisy histograms of every hospital, and what follows from them.

Nothing else is asked about cases, so no other number of a private study is known to anybody.
"""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ghanet_model.evaluation import GROUPS
from ghanet_model.files import write_json
from ghanet_model.genes import GenePanel
from ghanet_model.metrics import EvaluationSums
from ghanet_model.noisy_histogram import (
    FINE_BINS,
    RISK_BINS,
    TIME_EDGES,
    life_table,
    noisy_c,
    risk_edges,
)
from ghanet_model.noisy_questions import NoisyOutcomes, NoisyRisks, risk_range
from ghanet_model.privacy import histogram_charge
from ghanet_model.question import Sums, add_sums

from .checkpoint import Checkpoint, SiteRound
from .evaluation import EVALUATION_FILE, begin, read_evaluation
from .finish import FinalEvaluation
from .rounds import FINAL_FILE
from .run import Run
from .statistics import ask_sums

MOST_DEVIATION = 0.15  # of C; beyond, its interval would hold chance and perfection
PER_GROUP = RISK_BINS // len(GROUPS)  # a third of the cases each


def nothing_exact(run: Run) -> FinalEvaluation:
    """The evaluation that other studies have, with nothing in it."""
    sites = tuple(SiteRound(name, trained=False) for name in run.roster.names())
    final = FinalEvaluation(sites, EvaluationSums())
    write_json(run.config.state / FINAL_FILE, {"study": run.study.digest, **asdict(final)})
    return final


def evaluate_privately(run: Run, checkpoint: Checkpoint, panel: GenePanel) -> dict[str, Any]:
    """Evaluate the released model, once; charged to the evaluated cases."""
    found = read_evaluation(run)
    if found is not None:
        return found
    run, members, model = begin(run, checkpoint, panel)
    risks = ask_sums(run, NoisyRisks(), members, model=model)
    edges = _edges(run, [sums["risks"] for sums in risks.good.values()])
    outcomes = ask_sums(run, NoisyOutcomes(tuple(edges.tolist())), members, model=model)
    left_out = risks.left_out | outcomes.left_out
    result: dict[str, Any] = {
        "study": run.study.digest,
        "arms": None,
        "differences": [],
        "brier": [],
        "calibration": [],
        "groups": {"cutoffs": [edges[PER_GROUP - 1], edges[2 * PER_GROUP - 1]]},
        "left_out": left_out,
        "noisy": noisy_json(outcomes.good, histogram_charge(run.study).noise),
    }
    write_json(run.config.state / EVALUATION_FILE, result)
    return result


def _edges(run: Run, risks: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    low, high = risk_range(run.study)
    return risk_edges(sum(risks, np.zeros(FINE_BINS)), low=low, high=high)


def noisy_json(outcomes: dict[str, Sums], noise: float) -> dict[str, Any]:
    """C and survival by risk group, with what the noise makes of them.

    Args:
        outcomes: of each hospital.
        noise: deviation of each of its counts.
    """
    found = noisy_c([sums["counts"] for sums in outcomes.values()], noise)
    names = sorted(outcomes)
    c_within = None
    if found is not None and found.deviation < MOST_DEVIATION:
        low, high = found.interval
        c_within = {"value": found.value, "low": low, "high": high, "of_noise": found.of_noise}
    return {
        "hospitals": names,
        "noise": noise,
        "c_within": c_within,
        "months": list(TIME_EDGES),
        "survival": _curves(outcomes, noise) if outcomes else {},
    }


def _curves(outcomes: dict[str, Sums], noise: float) -> dict[str, Any]:
    """Survival of each risk group at the ends of the time bins; null where nobody is at risk."""
    total = add_sums(outcomes.values())["counts"]
    deviation = noise * (PER_GROUP * len(outcomes)) ** 0.5
    curves = {}
    for number, name in enumerate(GROUPS):
        rows = total[number * PER_GROUP : (number + 1) * PER_GROUP].sum(axis=0)
        survival, of_log = life_table(rows, deviation)
        curves[name] = {
            "survival": [None if np.isnan(s) else float(s) for s in survival],
            "deviation_of_log": [None if np.isnan(s) else float(s) for s in of_log],
        }
    return curves
