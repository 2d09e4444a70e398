"""What an answer about one slide needs beside the model: usual slides, usual risks, gene groups.

Asked once, after the evaluation; the result is one file, and goes into the release as it is.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ghanet_model.cox import COVARIATES, Linear
from ghanet_model.evaluation import QUANTILE_LEAVES, STACKED
from ghanet_model.files import write_json
from ghanet_model.genes import GenePanel
from ghanet_model.pairs import risk_edges
from ghanet_model.percentile import boxes_of
from ghanet_model.question import Question, Sums, add_sums
from ghanet_model.reliability import ArmRisks, GeneActivity, correlations
from ghanet_model.slide_questions import SlideDistances, SlideMoments, SlideShape
from ghanet_model.slide_reference import Moments, Shape, SlideReference
from ghanet_model.weights import fingerprint_of

from .checkpoint import Checkpoint
from .evaluation import begin
from .roster import Member
from .run import Run
from .statistics import Model, ask_sums

REFERENCE_FILE = "reference.json"
Fits = Mapping[str, Mapping[str, Any]]


def describe_reference(
    run: Run, checkpoint: Checkpoint, panel: GenePanel, fits: Fits
) -> dict[str, Any]:
    """What the released model's answers are held against, from sums of all hospitals that train.

    Args:
        run: the run.
        checkpoint: of the released model.
        panel: of its genes.
        fits: the clinical arms, as the evaluation's ``cox``.
    """
    path, base = run.config.state / REFERENCE_FILE, fingerprint_of(checkpoint.weights)
    mark = {"study": run.study.digest, "base": base}
    found = _read(path.read_text()) if path.exists() else {}
    if mark.items() <= found.items():
        return dict(found["reference"])
    run, members, model = begin(run, checkpoint, panel)
    training = [member for member in members if member.trains]
    asking = _Asking(run)
    slides = slide_reference(asking, training)
    result = {
        "features": slides.to_json() if slides else None,
        "gene_groups": _gene_groups(asking, training, panel, model),
        "cox": {arm: _arm(asking, training, model, arm, fit) for arm, fit in fits.items()},
    }
    write_json(path, {**mark, "reference": result, "left_out": asking.left_out})
    return result


@dataclass
class _Asking:
    """Questions of one run, and who gave no part of an answer: the first of each, and why."""

    run: Run
    left_out: dict[str, str] = field(default_factory=dict)

    def total(
        self, topic: Question, members: Sequence[Member], model: Model | None = None
    ) -> Sums | None:
        """The sums of all who answer; None where nobody tells anything."""
        answers = ask_sums(self.run, topic, members, model=model)
        told = {name: sums for name, sums in answers.good.items() if topic.cases(sums)}
        silent = dict.fromkeys(answers.good.keys() - told.keys(), "too few cases")
        for name, why in (answers.left_out | silent).items():
            self.left_out.setdefault(name, f"{topic.topic}: {why}")
        return add_sums(told.values()) if told else None


def _read(text: str) -> dict[str, Any]:
    found = json.loads(text)
    return found if isinstance(found, dict) else {}


def slide_reference(asking: _Asking, members: Sequence[Member]) -> SlideReference | None:
    """What the training slides are like; None where too few hospitals could tell."""
    moments = asking.total(SlideMoments(), members)
    if moments is None:
        return None
    shape = asking.total(SlideShape(Moments.of(moments)), members)
    if shape is None:
        return None
    shaped = Shape.of(Moments.of(moments), shape)
    distances = asking.total(SlideDistances(shaped), members)
    return None if distances is None else SlideReference.of(shaped, distances)


def _gene_groups(
    asking: _Asking, members: Sequence[Member], panel: GenePanel, model: Model
) -> list[dict[str, Any]] | None:
    """How well each group's predicted activity follows the measured one, on held-out cases."""
    with_genes = [member for member in members if member.has_genes]
    total = asking.total(GeneActivity(), with_genes, model)
    if total is None:
        return None
    return [
        {
            "name": name,
            "r": _number(own.r),
            "low": _number(own.low),
            "high": _number(own.high),
            "cases": own.cases,
        }
        for (name, _), own in zip(panel.groups, correlations(total), strict=True)
    ]


def _arm(
    asking: _Asking, members: Sequence[Member], model: Model, arm: str, fit: Mapping[str, Any]
) -> dict[str, Any]:
    """A fitted arm as it is applied to one patient, and which of its risks are usual."""
    beta = np.log(np.array(fit["hazard_ratio"], np.float64))
    at = Linear(np.array(fit["mean"], np.float64), np.array(fit["sd"], np.float64), beta)
    total = asking.total(ArmRisks(arm, at), members, model)
    grid, spread = risk_edges(QUANTILE_LEAVES), ArmRisks(arm, at).spread
    return {
        "covariates": [*COVARIATES, *(["model risk"] if arm == STACKED else [])],
        "mean": at.mean.tolist(),
        "sd": at.sd.tolist(),
        "beta": beta.tolist(),
        "risk_boxes": boxes_of(total["risks"], grid, scale=spread) if total else [],
    }


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
