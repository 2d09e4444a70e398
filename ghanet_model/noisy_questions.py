"""Questions of a private study about evaluated cases: two histograms, each told once, with noise.

The noise is added in the hospital. Counts may be below 0 and are no whole numbers; nothing in them
is exact, so no rule about small numbers applies.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np

from .errors import ProtocolError
from .noisy_histogram import FINE_BINS, RISK_BINS, TIME_BINS
from .question import Shapes, Sums, WithoutParts, numbers_of, require_keys
from .study import StudyConfig


def risk_range(study: StudyConfig) -> tuple[float, float]:
    """All that a risk can be: minus the sum of K chances to be alive."""
    return -float(study.time_bins), 0.0


class _Noisy:
    """What both questions have in common: nothing in an answer is exact."""

    def require_possible(self, sums: Sums, study: StudyConfig) -> None:
        """Anything finite can be said with noise."""

    def require_enough(self, sums: Sums, least: int) -> None:
        """Noise covers every case, few or many."""

    def cases(self, sums: Sums) -> int:  # noqa: ARG002
        """Not told."""
        return 0


@dataclass(frozen=True, slots=True)
class NoisyRisks(WithoutParts, _Noisy):
    """Where the model's risks of evaluated cases lie."""

    topic: ClassVar[str] = "noisy risks"

    def shapes(self, study: StudyConfig) -> Shapes:  # noqa: ARG002
        """Counts in equal bins of all that a risk can be."""
        return {"risks": (FINE_BINS,)}


@dataclass(frozen=True, slots=True)
class NoisyOutcomes(_Noisy):
    """Risk, time and event of evaluated cases, in one table."""

    topic: ClassVar[str] = "noisy outcomes"
    edges: tuple[float, ...]  # between risk bins

    @classmethod
    def from_json(cls, value: Mapping[str, Any], study: StudyConfig) -> Self:  # noqa: ARG003
        """Read what ``to_json`` wrote."""
        require_keys(value, ("edges",), cls.topic)
        edges = numbers_of(value["edges"], cls.topic, shape=(RISK_BINS - 1,))
        if (np.diff(edges) < 0).any():
            raise ProtocolError(f"question about {cls.topic}: edges that do not rise")
        return cls(tuple(edges.tolist()))

    def to_json(self) -> dict[str, Any]:
        """The question as JSON."""
        return {"edges": list(self.edges)}

    def shapes(self, study: StudyConfig) -> Shapes:  # noqa: ARG002
        """Counts by risk, time and event."""
        return {"counts": (RISK_BINS, TIME_BINS, 2)}
