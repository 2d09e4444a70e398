"""Questions of the clinical baseline: a Cox model per arm, stratified by hospital, from sums."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np

from .cox import Linear
from .errors import ProtocolError
from .evaluation import FITTED
from .question import Shapes, Sums, require_counts, require_keys, require_large
from .study import StudyConfig
from .sums import SLACK


@dataclass(frozen=True, slots=True)
class CoxMoments:
    """Sums of covariates, from which mean and standard deviation of all hospitals follow."""

    topic: ClassVar[str] = "covariates"
    arm: str

    @classmethod
    def from_json(cls, value: Mapping[str, Any], study: StudyConfig) -> Self:  # noqa: ARG003
        """Read what ``to_json`` wrote."""
        require_keys(value, ("arm",), cls.topic)
        return cls(_arm_of(value["arm"], cls.topic))

    def to_json(self) -> dict[str, Any]:
        """The question as JSON."""
        return {"arm": self.arm}

    def shapes(self, study: StudyConfig) -> Shapes:  # noqa: ARG002
        """One number per covariate."""
        return dict.fromkeys(("count", "total", "squares"), (FITTED[self.arm],))

    def require_possible(self, sums: Sums, study: StudyConfig) -> None:  # noqa: ARG002
        """(sum x)^2 is at most n times the sum of x^2."""
        require_counts(sums, ("count",))
        count, total, squares = sums["count"], sums["total"], sums["squares"]
        if (squares < 0).any() or (total**2 > SLACK * count * squares).any():
            raise ProtocolError("message has sums of covariates that no cohort can have")

    def require_enough(self, sums: Sums, least: int) -> None:
        """Each covariate over none, or over enough."""
        require_large(sums, ("count",), least)

    def cases(self, sums: Sums) -> int:
        """Of the covariate that most cases have."""
        return int(sums["count"].max())


@dataclass(frozen=True, slots=True, eq=False)
class CoxStep:
    """Score and information of the partial likelihood at these coefficients."""

    topic: ClassVar[str] = "cox"
    arm: str
    at: Linear

    @classmethod
    def from_json(cls, value: Mapping[str, Any], study: StudyConfig) -> Self:  # noqa: ARG003
        """Read what ``to_json`` wrote."""
        require_keys(value, ("arm", "at"), cls.topic)
        arm = _arm_of(value["arm"], cls.topic)
        return cls(arm, Linear.from_json(value["at"], cls.topic, size=FITTED[arm]))

    def to_json(self) -> dict[str, Any]:
        """The question as JSON."""
        return {"arm": self.arm, "at": self.at.to_json()}

    def shapes(self, study: StudyConfig) -> Shapes:  # noqa: ARG002
        """Of p covariates."""
        size, one = FITTED[self.arm], (1,)
        shapes = {"score": (size,), "information": (size, size)}
        rest = ("log_likelihood", "events", "cases", "told", "withheld")
        return {**shapes, **dict.fromkeys(rest, one)}

    def require_possible(self, sums: Sums, study: StudyConfig) -> None:  # noqa: ARG002
        """Counts, a log likelihood of at most 0, an information that is symmetric."""
        require_counts(sums, ("events", "cases", "told", "withheld"))
        information = sums["information"]
        if (
            sums["events"] > sums["cases"]
            or sums["log_likelihood"] > 0
            or not np.allclose(information, information.T)
            or (np.diag(information) < 0).any()
        ):
            raise ProtocolError("message has sums of a Cox model that no cohort can have")

    def require_enough(self, sums: Sums, least: int) -> None:
        """Over no case and no death, or over enough of both."""
        require_large(sums, ("cases", "events"), least)

    def cases(self, sums: Sums) -> int:
        """All of them."""
        return int(sums["cases"][0])


def _arm_of(value: object, topic: str) -> str:
    if value not in FITTED:
        raise ProtocolError(f"question about {topic}: no such arm")
    return str(value)
