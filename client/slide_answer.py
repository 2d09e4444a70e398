"""What a release says of one bag of patches, as JSON: numbers, gate, and where they come from."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ghanet_model.extraction import encoder_terms
from ghanet_model.network import Network, Prediction
from ghanet_model.percentile import shares_below
from ghanet_model.release import NOTICE, Release
from ghanet_model.reliability import LEAST_R
from ghanet_model.slide_reference import SlideReference

from .band import Ensemble, survival_of, with_band
from .clinical_answer import Patient, require_clinical, side_by_side
from .recalibration import Recalibration, with_recalibration
from .slide_gate import judge, passed, reference_of

FORMAT = 2


@dataclass(frozen=True, slots=True)
class Shown:
    """What is shown beside a release's own answer, and whether where the gate would hide it."""

    recalibration: Recalibration | None = None
    patient: Patient | None = None
    hidden: bool = False  # numbers of slides unlike the training slides too

    @property
    def mark(self) -> list[Any]:
        """Differs where answers would."""
        bent = self.recalibration.digest if self.recalibration else ""
        known = [repr(number) for number in self.patient.numbers] if self.patient else []
        return [bent, known, self.hidden]


@dataclass(frozen=True, slots=True, eq=False)
class Answering:
    """A release ready to answer."""

    release: Release
    model: Network
    ensemble: Ensemble | None
    reference: SlideReference | None  # of its training slides
    shown: Shown

    @classmethod
    def of(cls, release: Release, model: Network, shown: Shown) -> "Answering":
        """Of a verified release and its model.

        Raises:
            ReleaseError: what it says of its training slides cannot be; or a clinical model is
                asked for, and it holds none.
        """
        if shown.patient:
            require_clinical(release)
        device = model.weight.device
        return cls(release, model, Ensemble.of(release, device), reference_of(release), shown)

    def answer(self, features: Tensor) -> tuple[dict[str, Any], NDArray[np.float64]]:
        """What it says of patches (N, D), and the weight of each (N,)."""
        release, shown = self.release, self.shown
        bag = features.to(self.model.weight.device)
        prediction = self.model.predict([bag])
        band = self.ensemble.band(bag, prediction) if self.ensemble else None
        values = answer_json(release, prediction, patches=len(bag))
        if shown.patient:
            values["clinical"] = side_by_side(release, shown.patient, values["risk"])
        values = with_recalibration(with_band(values, release, band), shown.recalibration)
        values = passed(values, judge(self.reference, features), shows_all=shown.hidden)
        return values, patch_weights(prediction)


def patch_weights(prediction: Prediction) -> NDArray[np.float64]:
    """How much of what is pooled comes from each patch (N,), over all gene groups; adds up to 1."""
    weights = prediction.patch_weights[0].cpu().double().mean(dim=0)
    return np.asarray((weights / weights.sum()).numpy(), np.float64)


def answer_json(release: Release, prediction: Prediction, *, patches: int) -> dict[str, Any]:
    """All that is said of a slide, with where it comes from."""
    study, risk = release.study, float(prediction.risk[0])
    groups = [name for name, _ in release.panel.groups]
    told = (release.manifest.get("reference") or {}).get("gene_groups") or []
    reliable = {own["name"]: own for own in told}
    return {
        "format": FORMAT,
        "notice": NOTICE,
        "release": release.named(),
        "encoder": {
            "name": study.encoder,
            "terms": encoder_terms(study.encoder, study.extraction),
            **asdict(study.extraction),
        },
        "patches": patches,
        "risk": risk,
        "risk_group": release.risk_group(risk),
        "shares_below": _shares_below(release, risk),
        "survival": [
            {"months": months, "probability": one}
            for months, one in zip(study.time_bin_edges, survival_of(prediction), strict=True)
        ],
        "gene_groups": [
            {"name": name, "mean_z": float(genes[0].mean()), **_reliability(reliable.get(name))}
            for name, genes in zip(groups, prediction.genes, strict=True)
        ],
        "not_checked": ["whether the slide is like those that the model was trained on"],
    }


def _shares_below(release: Release, risk: float) -> list[float] | None:
    """Between what the share of training cases with a lower risk lies; None: not reported."""
    boxes: Sequence[Sequence[float]] | None
    boxes = (release.manifest.get("reference") or {}).get("risk_boxes")
    return list(shares_below(boxes, risk)) if boxes else None


def _reliability(told: dict[str, Any] | None) -> dict[str, Any]:
    """How a group did on held-out cases, and whether its activity may be read."""
    if told is None or told["low"] is None:
        return {"reliability": None, "readable": False}
    found = {key: told[key] for key in ("r", "low", "high", "cases")}
    return {"reliability": found, "readable": told["low"] > LEAST_R}
