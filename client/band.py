"""The band of a survival curve: what models of a release's other rounds say of the same patches.

A range, not an interval: it holds nothing of other patients or of another training.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ghanet_model.network import Network, Prediction
from ghanet_model.release import Release
from ghanet_model.survival import survival_at_edges
from ghanet_model.weights import load_weights

WHAT = (
    "range over the released model and those of {count} of the last rounds; "
    "not a confidence interval"
)


@dataclass(frozen=True, slots=True)
class Band:
    """The smallest and the largest chance to be alive at each edge, (K-1,) each."""

    low: tuple[float, ...]
    high: tuple[float, ...]

    def by_edge(self) -> list[float]:
        """Low and high of the first edge, then of the next, (2 K - 2,)."""
        return [one for both in zip(self.low, self.high, strict=True) for one in both]


@dataclass(frozen=True, slots=True, eq=False)
class Ensemble:
    """The models of other rounds: one network, which takes the weights of each in turn."""

    release: Release
    network: Network

    @classmethod
    def of(cls, release: Release, device: torch.device) -> "Ensemble | None":
        """Of a verified release; None where it holds one model alone."""
        return cls(release, release.model().to(device)) if release.ensemble else None

    def band(self, features: Tensor, released: Prediction) -> Band:
        """Over the released model's prediction for one bag and those of all others.

        Args:
            features: (N, D), as the released model was given them.
            released: what it said.
        """
        said = [survival_of(released)]
        for weights in self.release.ensemble.values():
            load_weights(self.network, weights)
            said.append(survival_of(self.network.predict([features])))
        by_edge = list(zip(*said, strict=True))
        return Band(tuple(map(min, by_edge)), tuple(map(max, by_edge)))


def survival_of(prediction: Prediction) -> tuple[float, ...]:
    """The chance to be alive at each edge, of the first case, (K-1,)."""
    return tuple(survival_at_edges(prediction.survival)[0].tolist())


def what_it_is(release: Release) -> str:
    """What the band is, in words."""
    return WHAT.format(count=len(release.ensemble))


def with_band(answer: dict[str, Any], release: Release, band: Band | None) -> dict[str, Any]:
    """The answer with its band: 'low' and 'high' at each edge, and what they are."""
    if band is None:
        return answer
    rows: Sequence[dict[str, Any]] = answer["survival"]
    survival = [
        {**row, "low": low, "high": high}
        for row, low, high in zip(rows, band.low, band.high, strict=True)
    ]
    said = {"rounds": sorted(release.ensemble), "what": what_it_is(release)}
    return {**answer, "survival": survival, "band": said}
