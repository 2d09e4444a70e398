"""What the training slides are like, and how far another slide is from them. Pure.

A slide is described by mean and standard deviation of its patches, dimension by dimension (2 D
numbers), and by how many patches it has. From sums over the training cases of all hospitals follow
the mean and the deviation of each number, and the covariance of a few public projections of all of
them, shrunk to its diagonal. Three distances of a slide follow: how unusual its numbers are one by
one, how unusual they are together (Mahalanobis), and how unusual its number of patches is. Their
logarithms have a mean and a deviation over training cases; a slide that is many deviations above is
unlike what the model was trained on. No such rule finds everything: a tumour of another organ whose
patches look alike is not found.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, split

from .errors import ReleaseError
from .question import Sums

PLACES = 16  # k: public projections whose covariance is known
MOST_DEVIATION = 8.0  # a number further away counts as this far: one is not the whole slide
MOST_USUAL = 3.0  # deviations of a log distance; beyond, a slide is unlike the training cases
FLOOR = 0.01  # of the mean deviation: numbers that hardly vary
BLOCK = 1024  # patches that are added in one go; more take memory of the slide's size
TINY = 1e-9
DISTANCES = ("numbers one by one", "numbers together", "number of patches")
Vector = NDArray[np.float64]


def described(features: Tensor) -> Vector:
    """Mean and standard deviation of patches (N, D) -> (2 D,), in double precision by blocks."""
    width = features.shape[1]
    total, squares = np.zeros(width), np.zeros(width)
    for block in split(features, BLOCK):
        own = block.double().cpu()
        total += np.asarray(own.sum(dim=0))
        squares += np.asarray((own**2).sum(dim=0))
    mean = total / len(features)
    return np.concatenate([mean, np.sqrt(np.maximum(squares / len(features) - mean**2, 0.0))])


@lru_cache(maxsize=4)
def projection(size: int) -> NDArray[np.float64]:
    """The public projection (PLACES, size): signs from SHAKE-256, so everybody has the same."""
    count = PLACES * size
    stream = hashlib.shake_256(f"slide projection {size}".encode()).digest(-(-count // 8))
    bits = np.unpackbits(np.frombuffer(stream, np.uint8))[:count]
    signs: NDArray[np.float64] = (2.0 * bits - 1.0).reshape(PLACES, size) / np.sqrt(size)
    signs.flags.writeable = False
    return signs


@dataclass(frozen=True, slots=True, eq=False)
class Moments:
    """Mean and deviation over training cases of each of a slide's numbers, (2 D,) both."""

    mean: Vector
    sd: Vector  # above 0

    @classmethod
    def of(cls, sums: Sums) -> "Moments":
        """From ``count``, ``total`` and ``squares``."""
        mean = sums["total"] / sums["count"]
        sd = np.sqrt(np.maximum(sums["squares"] / sums["count"] - mean**2, 0.0))
        return cls(mean, sd + FLOOR * sd.mean() + TINY)

    def deviations(self, numbers: Vector) -> Vector:
        """How many deviations each number (..., 2 D) is from the mean, at most MOST_DEVIATION."""
        scaled: Vector = np.clip((numbers - self.mean) / self.sd, -MOST_DEVIATION, MOST_DEVIATION)
        return scaled

    def places(self, numbers: Vector) -> Vector:
        """The projections (..., PLACES) of these deviations."""
        found: Vector = self.deviations(numbers) @ projection(len(self.mean)).T
        return found


@dataclass(frozen=True, slots=True, eq=False)
class Shape:
    """Moments, and how the projections lie: centre (PLACES,), covariance (PLACES, PLACES)."""

    moments: Moments
    centre: Vector
    covariance: NDArray[np.float64]  # shrunk, positive definite

    @classmethod
    def of(cls, moments: Moments, sums: Sums) -> "Shape":
        """From ``count``, ``total`` and ``products``; the fewer the cases, the more is shrunk."""
        count = float(sums["count"][0])
        centre = sums["total"] / count
        covariance = sums["products"] / count - np.outer(centre, centre)
        kept = count / (count + PLACES)
        diagonal = np.diag(np.maximum(np.diag(covariance), TINY))
        return cls(moments, centre, kept * covariance + (1 - kept) * diagonal)

    def log_distances(self, numbers: Vector, patches: int) -> Vector:
        """Logarithms of a slide's distances (3,), in the order of DISTANCES."""
        alone = np.sqrt(np.mean(self.moments.deviations(numbers) ** 2))
        off = self.moments.places(numbers) - self.centre
        together = np.sqrt(off @ np.linalg.solve(self.covariance, off) / PLACES)
        return np.log([alone + TINY, together + TINY, float(patches)])


@dataclass(frozen=True, slots=True, eq=False)
class SlideReference:
    """What the training slides of all hospitals are like."""

    shape: Shape
    log_mean: Vector  # (3,) of log distances over training cases
    log_sd: Vector  # (3,) above 0
    cases: int

    @classmethod
    def of(cls, shape: Shape, sums: Sums) -> "SlideReference":
        """From ``count``, ``total`` and ``squares`` of log distances."""
        count = float(sums["count"][0])
        mean = sums["total"] / count
        sd = np.sqrt(np.maximum(sums["squares"] / count - mean**2, 0.0))
        return cls(shape, mean, sd + TINY, int(count))

    def deviations(self, features: Tensor) -> Vector:
        """How unusual a slide's distances are (3,), in deviations over training cases.

        Args:
            features: (N, D) of one slide.
        """
        logs = self.shape.log_distances(described(features), len(features))
        found: Vector = (logs - self.log_mean) / self.log_sd
        return found

    def to_json(self) -> dict[str, Any]:
        """For the manifest, six digits each."""
        moments = self.shape.moments
        return {
            "cases": self.cases,
            "mean": _rounded(moments.mean),
            "sd": _rounded(moments.sd),
            "centre": _rounded(self.shape.centre),
            "covariance": [_rounded(row) for row in self.shape.covariance],
            "log_mean": _rounded(self.log_mean),
            "log_sd": _rounded(self.log_sd),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any], *, width: int) -> "SlideReference":
        """Read what ``to_json`` wrote, for features of this width.

        Raises:
            ReleaseError: other numbers than those.
        """
        try:
            mean, sd, centre, log_mean, log_sd = (
                np.array(value[key], np.float64)
                for key in ("mean", "sd", "centre", "log_mean", "log_sd")
            )
            covariance = np.array(value["covariance"], np.float64)
            cases = int(value["cases"])
        except (KeyError, TypeError, ValueError, OverflowError):
            raise _unusable() from None
        every = (mean, sd, centre, log_mean, log_sd, covariance)
        shapes = [(2 * width,)] * 2 + [(PLACES,), (3,), (3,), (PLACES, PLACES)]
        if [own.shape for own in every] != shapes or not all(np.isfinite(o).all() for o in every):
            raise _unusable()
        if (sd <= 0).any() or (log_sd <= 0).any() or not is_positive(covariance):
            raise _unusable()
        return cls(Shape(Moments(mean, sd), centre, covariance), log_mean, log_sd, cases)


def is_positive(covariance: NDArray[np.float64]) -> bool:
    """Whether a matrix can be a covariance that has an inverse."""
    if not np.allclose(covariance, covariance.T):
        return False
    return bool(np.linalg.eigvalsh(covariance).min() > 0)


def unusual(deviations: Vector) -> list[bool]:
    """Which distances are too unusual: far above the mean; patches also far below."""
    far = [*(deviations[:2] > MOST_USUAL), abs(deviations[2]) > MOST_USUAL]
    return [bool(one) for one in far]


def _rounded(values: Vector) -> list[float]:
    return [float(f"{value:.6g}") for value in values.tolist()]


def _unusable() -> ReleaseError:
    return ReleaseError("its reference of training slides cannot be used")
