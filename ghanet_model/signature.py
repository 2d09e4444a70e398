"""The signature of a hospital's features: mean and spread by dimension, and how alike two are.

Many patch encoders give equally many numbers, so a shape cannot tell one from another; what each
dimension is like on average can. Stains and case mix move a signature a little; another encoder,
or features that were normalised in another way, leave nothing in common.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from .errors import ProtocolError
from .question import Shapes, Sums, WithoutParts, require_counts, require_large
from .study import StudyConfig
from .sums import SLACK

FLOOR = 0.01  # of the mean spread: dimensions that hardly vary are all the same
Vector = NDArray[np.float64]  # (D,)


@dataclass(frozen=True, slots=True)
class FeatureSignature(WithoutParts):
    """The question for sums over cases of the mean of each one's patches."""

    topic: ClassVar[str] = "features"

    def shapes(self, study: StudyConfig) -> Shapes:
        """Two numbers per dimension; numbers of cases and of patches."""
        one, wide = (1,), (study.feature_width,)
        return {"count": one, "patches": one, "total": wide, "squares": wide}

    def require_possible(self, sums: Sums, study: StudyConfig) -> None:  # noqa: ARG002
        """(sum x)^2 is at most n times the sum of x^2, and every case has a patch."""
        require_counts(sums, ("count", "patches"))
        count, total, squares = sums["count"], sums["total"], sums["squares"]
        if (
            (squares < 0).any()
            or (np.abs(total) > SLACK * np.sqrt(count) * np.sqrt(squares)).any()
            or sums["patches"] < count
            or (not count.any() and (sums["patches"].any() or squares.any()))
        ):
            raise ProtocolError("message has sums of features that no cohort can have")

    def require_enough(self, sums: Sums, least: int) -> None:
        """Over no case, or over enough."""
        require_large(sums, ("count",), least)

    def cases(self, sums: Sums) -> int:
        """All of them."""
        return int(sums["count"][0])


def similarities(signatures: Mapping[str, Sums]) -> dict[str, float]:
    """How like the others each hospital is: 1 the same, 0 nothing in common.

    The median of its likeness to every other one, the upper of the two middle ones: so who is like
    more than half of all counts as right, and one that differs does not pull the others down. Of
    two hospitals nobody can say who differs, both get the same; one alone gets nothing.
    """
    found = {}
    for name, own in signatures.items():
        alike = sorted(likeness(own, other) for key, other in signatures.items() if key != name)
        if alike:
            found[name] = alike[len(alike) // 2]
    return found


def likeness(one: Sums, other: Sums) -> float:
    """Halfway between the concordance of means and that of log spreads, over dimensions."""
    pairs = zip(_profile(one), _profile(other), strict=True)
    return sum(concordance(a, b) for a, b in pairs) / 2


def _profile(sums: Sums) -> tuple[Vector, Vector]:
    """Mean and log of the standard deviation over cases, by dimension."""
    mean = sums["total"] / sums["count"]
    spread = np.sqrt(np.maximum(sums["squares"] / sums["count"] - mean**2, 0.0))
    return mean, np.log(spread + FLOOR * spread.mean() + np.finfo(float).tiny)


def concordance(x: Vector, y: Vector) -> float:
    """Lin's coefficient (1989): 2 cov(x, y) / (var x + var y + (mean x - mean y)^2).

    Unlike a correlation it falls when one is twice the other.

    >>> x = np.array([0.0, 1.0, 2.0])
    >>> concordance(x, x), round(concordance(x, 2 * x), 3), concordance(x, -x + 2)
    (1.0, 0.615, -1.0)
    """
    shared = float(np.mean((x - x.mean()) * (y - y.mean())))
    whole = float(x.var() + y.var() + (x.mean() - y.mean()) ** 2)
    return 2 * shared / whole if whole else 1.0
