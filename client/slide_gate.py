"""The gate before an answer: whether a slide is like those that the model was trained on.

Where it is not, no number is shown. Where the release does not say what training slides are like,
nobody knows, and that is what is said.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ghanet_model.evaluation import CLINICAL
from ghanet_model.release import Release
from ghanet_model.slide_reference import DISTANCES, MOST_USUAL, SlideReference, unusual

LIKE, UNLIKE, UNKNOWN = VERDICTS = ("like", "unlike", "not checked")
HIDDEN: Mapping[str, Any] = {
    "risk": None,
    "risk_group": "",
    "shares_below": None,
    "survival": [],
    "gene_groups": [],
}


@dataclass(frozen=True, slots=True)
class Distance:
    """One way in which a slide may differ from the training slides."""

    what: str
    deviations: float  # of the logarithm, over training cases
    far: bool


@dataclass(frozen=True, slots=True)
class Gate:
    """What was looked at, and what came of it."""

    verdict: str
    cases: int = 0  # of training, that the slide was held against
    distances: tuple[Distance, ...] = ()

    @property
    def why(self) -> str:
        """What is too unusual, in words."""
        return ", ".join(one.what for one in self.distances if one.far)

    def to_json(self) -> dict[str, Any]:
        """For the answer."""
        return {
            "verdict": self.verdict,
            "training_cases": self.cases,
            "most_usual": MOST_USUAL,
            "distances": [
                {"what": one.what, "deviations": round(one.deviations, 3), "far": one.far}
                for one in self.distances
            ],
        }


def reference_of(release: Release) -> SlideReference | None:
    """What the release says of its training slides.

    Raises:
        ReleaseError: it says something that cannot be.
    """
    said = (release.manifest.get("reference") or {}).get("features")
    if said is None:
        return None
    return SlideReference.from_json(said, width=release.study.feature_width)


def judge(reference: SlideReference | None, features: Tensor) -> Gate:
    """Hold a slide's features (N, D) against the training slides."""
    if reference is None:
        return Gate(UNKNOWN)
    deviations = reference.deviations(features)
    far = unusual(deviations)
    found = tuple(
        Distance(what, float(value), beyond)
        for what, value, beyond in zip(DISTANCES, deviations, far, strict=True)
    )
    return Gate(UNLIKE if any(far) else LIKE, reference.cases, found)


def passed(answer: Mapping[str, Any], gate: Gate, *, shows_all: bool) -> dict[str, Any]:
    """The answer with its gate; without its numbers where the slide is unlike the training ones."""
    is_hidden = gate.verdict == UNLIKE and not shows_all
    unchecked = [] if gate.verdict != UNKNOWN else list(answer["not_checked"])
    said = {"gate": gate.to_json(), "hidden": is_hidden, "not_checked": unchecked}
    return {**answer, **(_hidden(answer) if is_hidden else {}), **said}


def _hidden(answer: Mapping[str, Any]) -> dict[str, Any]:
    """What stands in place of numbers of the slide; what clinical facts alone say may stay."""
    if "clinical" not in answer:
        return dict(HIDDEN)
    return {**HIDDEN, "clinical": [one for one in answer["clinical"] if one["arm"] == CLINICAL]}
