"""How well predicted gene-group activity follows what was measured, and what risks are usual.

Activity is the mean z of a group's genes. Correlation is inside hospitals: each hospital's values
are centred on its own mean, so that differences between hospitals' assays do not count.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from .cox import NORMAL_95, Linear
from .errors import ProtocolError
from .evaluation import FITTED, RiskTree
from .question import Shapes, Sums, WithoutParts, require_counts, require_keys, require_large
from .study import StudyConfig
from .sums import SLACK

LEAST_R = 0.2  # a group whose interval is not above it is not to be read


@dataclass(frozen=True, slots=True)
class GeneActivity(WithoutParts):
    """Predicted and measured activity of each gene group, on held-out cases with genes."""

    topic: ClassVar[str] = "gene activity"

    def shapes(self, study: StudyConfig) -> Shapes:
        """For each group: cases, hospitals, sums of squares and products around the means."""
        size = (len(study.groups),)
        return dict.fromkeys(("count", "hospitals", "predicted", "measured", "product"), size)

    def require_possible(self, sums: Sums, study: StudyConfig) -> None:  # noqa: ARG002
        """Cauchy-Schwarz."""
        require_counts(sums, ("count", "hospitals"))
        predicted, measured = sums["predicted"], sums["measured"]
        if (
            (predicted < 0).any()
            or (measured < 0).any()
            or (np.abs(sums["product"]) > SLACK * np.sqrt(predicted * measured) + 1e-9).any()
            or (sums["hospitals"] != (sums["count"] > 0)).any()
        ):
            raise ProtocolError("message has sums of gene groups that no cohort can have")

    def require_enough(self, sums: Sums, least: int) -> None:
        """Each group over none, or over enough."""
        require_large(sums, ("count",), least)

    def cases(self, sums: Sums) -> int:
        """Of the group that most cases have."""
        return int(sums["count"].max(initial=0))


def activity_sums(
    predicted: NDArray[np.float64], measured: NDArray[np.float64], *, least: int
) -> Sums:
    """One hospital's sums.

    Args:
        predicted: (n, G) mean predicted z.
        measured: (n, G) mean measured z; NaN where nothing of the group was measured.
        least: groups with fewer cases tell nothing.
    """
    names = ("count", "hospitals", "predicted", "measured", "product")
    sums = {name: np.zeros(predicted.shape[1]) for name in names}
    for group, (x, y) in enumerate(zip(predicted.T, measured.T, strict=True)):
        known = np.isfinite(y)
        if known.sum() < max(least, 2):
            continue
        a, b = x[known] - x[known].mean(), y[known] - y[known].mean()
        values = (known.sum(), 1.0, a @ a, b @ b, a @ b)
        for name, value in zip(names, values, strict=True):
            sums[name][group] = value
    return sums


@dataclass(frozen=True, slots=True)
class Correlation:
    """Pearson's r with its 95% interval (Fisher's z); NaN where there is none."""

    r: float
    low: float
    high: float
    cases: int


def correlations(sums: Sums) -> list[Correlation]:
    """Of each group, over the hospitals together; each hospital's mean costs a degree of freedom.

    >>> one = activity_sums(np.arange(12.0)[:, None], np.arange(12.0)[:, None] ** 2, least=10)
    >>> round(correlations(one)[0].r, 3)
    0.962
    """
    return [_correlation(sums, group) for group in range(len(sums["count"]))]


def _correlation(sums: Sums, group: int) -> Correlation:
    cases, hospitals = int(sums["count"][group]), int(sums["hospitals"][group])
    free = cases - hospitals - 2  # Fisher's n - 3, where the first mean is that of n - 1
    whole = float(np.sqrt(sums["predicted"][group] * sums["measured"][group]))
    if free < 1 or not whole:
        return Correlation(float("nan"), float("nan"), float("nan"), cases)
    r = float(np.clip(sums["product"][group] / whole, -1.0, 1.0))
    z, half = np.arctanh(np.clip(r, -0.999999, 0.999999)), NORMAL_95 / np.sqrt(free)
    return Correlation(r, float(np.tanh(z - half)), float(np.tanh(z + half)), cases)


@dataclass(frozen=True, slots=True, eq=False)
class ArmRisks(RiskTree):
    """How an arm's risks are distributed over the cases that it was fitted to."""

    topic: ClassVar[str] = "arm risks"
    arm: str
    at: Linear

    @classmethod
    def from_json(cls, value: Mapping[str, Any], study: StudyConfig) -> Self:  # noqa: ARG003
        """Read what ``to_json`` wrote."""
        require_keys(value, ("arm", "at"), cls.topic)
        if value["arm"] not in FITTED:
            raise ProtocolError(f"question about {cls.topic}: no such arm")
        arm = str(value["arm"])
        return cls(arm, Linear.from_json(value["at"], cls.topic, size=FITTED[arm]))

    def to_json(self) -> dict[str, Any]:
        """The question as JSON."""
        return {"arm": self.arm, "at": self.at.to_json()}

    @property
    def spread(self) -> float:
        """What a risk is divided by on the grid: as if its covariates were independent."""
        return float(np.sqrt((self.at.beta**2).sum())) or 1.0
