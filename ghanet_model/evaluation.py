"""Questions of the evaluation: follow-up, risks of training cases, and how well each arm predicts.

Four arms say a risk of every case that no training sees: the federated model, the model that its
hospital trained alone, the clinical Cox model, and the stacked one, clinical with the federated
model's risk. Arms are compared on the same cases and, inside a hospital, with the same bootstrap
draws, so that intervals of their differences come from sums too.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from .cox import COVARIATES, Linear
from .dyadic import nodes_of
from .errors import ProtocolError
from .kaplan_meier import MONTHS
from .pairs import RISK_LEAVES
from .question import Shapes, Sums, numbers_of, require_counts, require_keys, require_large
from .study import StudyConfig
from .sums import SLACK

FEDERATED, ALONE, CLINICAL, STACKED = ARMS = ("federated", "alone", "clinical", "stacked")
RANKED = (FEDERATED, CLINICAL, STACKED)  # arms of one model for all, whose risks compare anywhere
FITTED: Mapping[str, int] = {CLINICAL: len(COVARIATES), STACKED: len(COVARIATES) + 1}
LOW, INTERMEDIATE, HIGH = GROUPS = ("low", "intermediate", "high")  # of risk
QUANTILE_LEAVES = 1024  # of the risk, for cut-offs
CONCORDANT, DISCORDANT, TIED, COMPARABLE = range(4)


@dataclass(frozen=True, slots=True)
class FollowUp:
    """How long the evaluated cases were followed, and who died."""

    topic: ClassVar[str] = "follow-up"
    trains: bool  # only held-out cases, at a hospital that trains

    @classmethod
    def from_json(cls, value: Mapping[str, Any], study: StudyConfig) -> Self:  # noqa: ARG003
        """Read what ``to_json`` wrote."""
        require_keys(value, ("trains",), cls.topic)
        return cls(flag_of(value["trains"], cls.topic))

    def to_json(self) -> dict[str, Any]:
        """The question as JSON."""
        return {"trains": self.trains}

    def shapes(self, study: StudyConfig) -> Shapes:  # noqa: ARG002
        """A tree of months for censored and one for dead cases."""
        return {"times": (2, nodes_of(MONTHS))}

    def require_possible(self, sums: Sums, study: StudyConfig) -> None:  # noqa: ARG002
        """Counts."""
        require_counts(sums, sums)

    def require_enough(self, sums: Sums, least: int) -> None:
        """No small cell."""
        require_large(sums, sums, least)

    def cases(self, sums: Sums) -> int:
        """All of them."""
        return int(sums["times"].sum())


@dataclass(frozen=True, slots=True)
class Scale:
    """How a risk is put on the common grid: (risk - centre) / spread."""

    centre: float
    spread: float

    def of(self, risk: NDArray[np.float64]) -> NDArray[np.float64]:
        """Risks on the grid."""
        return (risk - self.centre) / self.spread

    def back(self, place: float) -> float:
        """A place on the grid as a risk."""
        return self.centre + place * self.spread

    @classmethod
    def from_json(cls, value: object, topic: str) -> "Scale":
        """Read the two numbers."""
        centre, spread = numbers_of(value, topic, shape=(2,)).tolist()
        if not spread > 0:
            raise ProtocolError(f"question about {topic}: a spread that is not above 0")
        return cls(centre, spread)

    def to_json(self) -> list[float]:
        """The two numbers."""
        return [self.centre, self.spread]


class RiskTree:
    """Half of a question about how risks are distributed."""

    __slots__ = ()

    def shapes(self, study: StudyConfig) -> Shapes:  # noqa: ARG002
        """A tree of risks."""
        return {"risks": (nodes_of(QUANTILE_LEAVES),)}

    def require_possible(self, sums: Sums, study: StudyConfig) -> None:  # noqa: ARG002
        """Counts."""
        require_counts(sums, sums)

    def require_enough(self, sums: Sums, least: int) -> None:
        """No small cell."""
        require_large(sums, sums, least)

    def cases(self, sums: Sums) -> int:
        """All of them."""
        return int(sums["risks"].sum())


@dataclass(frozen=True, slots=True)
class TrainingRisks(RiskTree):
    """How the model's risks of training cases are distributed: cut-offs of risk groups."""

    topic: ClassVar[str] = "training risks"
    scale: Scale

    @classmethod
    def from_json(cls, value: Mapping[str, Any], study: StudyConfig) -> Self:  # noqa: ARG003
        """Read what ``to_json`` wrote."""
        require_keys(value, ("scale",), cls.topic)
        return cls(Scale.from_json(value["scale"], cls.topic))

    def to_json(self) -> dict[str, Any]:
        """The question as JSON."""
        return {"scale": self.scale.to_json()}


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """How well each arm predicts what happened to the evaluated cases."""

    topic: ClassVar[str] = "evaluation"
    trains: bool  # only held-out cases, at a hospital that trains
    scale: Scale  # of the model's risk
    cutoffs: tuple[float, float]  # of the model's risk, between low, intermediate and high
    fits: Mapping[str, Linear]  # of CLINICAL and STACKED, as far as they could be fitted
    survival: NDArray[np.float64]  # (2, months): of being alive, of not being censored

    @classmethod
    def from_json(cls, value: Mapping[str, Any], study: StudyConfig) -> Self:  # noqa: ARG003
        """Read what ``to_json`` wrote."""
        topic = cls.topic
        require_keys(value, ("trains", "scale", "cutoffs", "fits", "survival"), topic)
        fits = value["fits"]
        if not isinstance(fits, Mapping) or not set(fits) <= set(FITTED):
            raise ProtocolError(f"question about {topic}: fits of other arms")
        low, high = numbers_of(value["cutoffs"], topic, shape=(2,)).tolist()
        survival = numbers_of(value["survival"], topic, shape=(2, MONTHS))
        if (survival < 0).any() or (survival > 1).any():
            raise ProtocolError(f"question about {topic}: chances outside of 0 to 1")
        return cls(
            trains=flag_of(value["trains"], topic),
            scale=Scale.from_json(value["scale"], topic),
            cutoffs=(low, high),
            fits={a: Linear.from_json(v, topic, size=FITTED[a]) for a, v in fits.items()},
            survival=survival,
        )

    def to_json(self) -> dict[str, Any]:
        """The question as JSON."""
        return {
            "trains": self.trains,
            "scale": self.scale.to_json(),
            "cutoffs": list(self.cutoffs),
            "fits": {arm: fit.to_json() for arm, fit in self.fits.items()},
            "survival": self.survival.tolist(),
        }

    def shapes(self, study: StudyConfig) -> Shapes:
        """See the fields' comments; R replicates, H horizons."""
        arms, horizons = len(ARMS), len(study.time_bin_edges)
        times, risks = nodes_of(MONTHS), nodes_of(RISK_LEAVES)
        return {
            "cases": (arms,),
            "events": (arms,),  # 0 where untold
            "untold_events": (arms,),
            "pairs": (arms, 1 + study.replicates, 4),
            "order": (len(RANKED), 2, times, risks),  # for C over pairs of all hospitals
            "group_cases": (len(GROUPS),),
            "group_untold": (len(GROUPS),),  # 1 where times or predictions of a group are not told
            "group_times": (len(GROUPS), 2, times),
            "group_predicted": (len(GROUPS), horizons),  # sums of predicted survival
            "brier_cases": (1,),
            "brier": (2, horizons),  # sums of squared errors: of the model, of Kaplan-Meier
            "integrated_brier": (2,),
        }

    def require_possible(self, sums: Sums, study: StudyConfig) -> None:  # noqa: ARG002
        """Counts, and pairs that add up."""
        counts = ("cases", "events", "untold_events", "pairs", "order")
        require_counts(sums, counts[:3])
        require_counts(sums, ("order", "group_cases", "group_untold", "group_times", "brier_cases"))
        pairs = sums["pairs"]
        whole = np.isclose(pairs[..., :COMPARABLE].sum(axis=-1), pairs[..., COMPARABLE])
        possible = (
            whole.all()
            and (pairs >= 0).all()
            and (sums["events"] <= sums["cases"]).all()
            and (sums["brier"] >= 0).all()
            and (sums["integrated_brier"] >= 0).all()
            and (sums["group_predicted"] >= 0).all()
            and (sums["group_predicted"] <= SLACK * sums["group_cases"][:, None]).all()
        )
        if not possible:
            raise ProtocolError("message has an evaluation that no cohort can have")

    def require_enough(self, sums: Sums, least: int) -> None:
        """No arm over too few cases, no small cell in a tree, no group of a few."""
        require_large(sums, ("cases", "events", "order", "group_times", "brier_cases"), least)
        require_large(sums, ("group_cases",), least)

    def cases(self, sums: Sums) -> int:
        """Of the arm that most cases have."""
        return int(max(sums["cases"].max(), sums["brier_cases"].max()))


def flag_of(value: object, topic: str) -> bool:
    """A yes or no of a question.

    Raises:
        ProtocolError: anything else.
    """
    if not isinstance(value, bool):
        raise ProtocolError(f"question about {topic}: not yes or no")
    return value
