"""Questions from which follows what the training slides are like; see ``slide_reference``."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np

from .errors import ProtocolError
from .question import (
    Shapes,
    Sums,
    WithoutParts,
    numbers_of,
    require_counts,
    require_keys,
    require_large,
)
from .slide_reference import DISTANCES, MOST_DEVIATION, PLACES, Moments, Shape, is_positive
from .study import StudyConfig
from .sums import SLACK

MOST_LOG = 50.0  # no log distance is larger


@dataclass(frozen=True, slots=True)
class SlideMoments(WithoutParts):
    """Sums over training cases of mean and deviation of each one's patches, and their squares."""

    topic: ClassVar[str] = "slide moments"

    def shapes(self, study: StudyConfig) -> Shapes:
        """Two numbers for each of a slide's."""
        wide = (2 * study.feature_width,)
        return {"count": (1,), "total": wide, "squares": wide}

    def require_possible(self, sums: Sums, study: StudyConfig) -> None:  # noqa: ARG002
        """(sum x)^2 is at most n times the sum of x^2."""
        _require_moments(sums)

    def require_enough(self, sums: Sums, least: int) -> None:
        """Over no case, or over enough."""
        require_large(sums, ("count",), least)

    def cases(self, sums: Sums) -> int:
        """All of them."""
        return int(sums["count"][0])


@dataclass(frozen=True, slots=True, eq=False)
class SlideShape:
    """Sums over training cases of their projections and of products of these."""

    topic: ClassVar[str] = "slide shape"
    moments: Moments

    @classmethod
    def from_json(cls, value: Mapping[str, Any], study: StudyConfig) -> Self:
        """Read what ``to_json`` wrote."""
        require_keys(value, ("mean", "sd"), cls.topic)
        return cls(_moments_of(value, study, cls.topic))

    def to_json(self) -> dict[str, Any]:
        """The question as JSON."""
        return _moments_json(self.moments)

    def shapes(self, study: StudyConfig) -> Shapes:  # noqa: ARG002
        """Of PLACES projections."""
        return {"count": (1,), "total": (PLACES,), "products": (PLACES, PLACES)}

    def require_possible(self, sums: Sums, study: StudyConfig) -> None:
        """A symmetric matrix without a negative direction, and no product beyond the clip's."""
        products, count = sums["products"], sums["count"]
        most = count * MOST_DEVIATION**2 * 2 * study.feature_width  # of |projection|^2
        _require_moments({**sums, "squares": np.diag(products)})
        if (
            not np.allclose(products, products.T)
            or np.linalg.eigvalsh(products).min() < -1e-6 * max(1.0, np.abs(products).max())
            or (np.diag(products) > SLACK * most).any()
        ):
            raise ProtocolError("message has sums of slides that no cohort can have")

    def require_enough(self, sums: Sums, least: int) -> None:
        """More cases than projections: of fewer, products would tell in which plane they lie."""
        require_large(sums, ("count",), least_for_shape(least))

    def cases(self, sums: Sums) -> int:
        """All of them."""
        return int(sums["count"][0])


def least_for_shape(least: int) -> int:
    """The fewest cases whose products may leave a hospital that lets out sums over ``least``."""
    return max(least, PLACES + 1)


@dataclass(frozen=True, slots=True, eq=False)
class SlideDistances:
    """Sums over training cases of their log distances, and their squares."""

    topic: ClassVar[str] = "slide distances"
    shape: Shape

    @classmethod
    def from_json(cls, value: Mapping[str, Any], study: StudyConfig) -> Self:
        """Read what ``to_json`` wrote."""
        require_keys(value, ("mean", "sd", "centre", "covariance"), cls.topic)
        covariance = numbers_of(value["covariance"], cls.topic, shape=(PLACES, PLACES))
        if not is_positive(covariance):
            raise ProtocolError(f"question about {cls.topic}: no covariance")
        centre = numbers_of(value["centre"], cls.topic, shape=(PLACES,))
        return cls(Shape(_moments_of(value, study, cls.topic), centre, covariance))

    def to_json(self) -> dict[str, Any]:
        """The question as JSON."""
        shape = self.shape
        return {
            **_moments_json(shape.moments),
            "centre": shape.centre.tolist(),
            "covariance": shape.covariance.tolist(),
        }

    def shapes(self, study: StudyConfig) -> Shapes:  # noqa: ARG002
        """Two numbers for each distance."""
        size = (len(DISTANCES),)
        return {"count": (1,), "total": size, "squares": size}

    def require_possible(self, sums: Sums, study: StudyConfig) -> None:  # noqa: ARG002
        """(sum x)^2 is at most n times the sum of x^2, and no logarithm is beyond reason."""
        _require_moments(sums)
        if (sums["squares"] > sums["count"] * MOST_LOG**2).any():
            raise ProtocolError("message has sums of slides that no cohort can have")

    def require_enough(self, sums: Sums, least: int) -> None:
        """Over no case, or over enough."""
        require_large(sums, ("count",), least)

    def cases(self, sums: Sums) -> int:
        """All of them."""
        return int(sums["count"][0])


def _require_moments(sums: Sums) -> None:
    require_counts(sums, ("count",))
    count, total, squares = sums["count"], sums["total"], sums["squares"]
    if (squares < 0).any() or (np.abs(total) > SLACK * np.sqrt(count * squares) + 1e-9).any():
        raise ProtocolError("message has sums of slides that no cohort can have")


def _moments_json(moments: Moments) -> dict[str, Any]:
    return {"mean": moments.mean.tolist(), "sd": moments.sd.tolist()}


def _moments_of(value: Mapping[str, Any], study: StudyConfig, topic: str) -> Moments:
    shape = (2 * study.feature_width,)
    mean, sd = (numbers_of(value[key], topic, shape=shape) for key in ("mean", "sd"))
    if (sd <= 0).any():
        raise ProtocolError(f"question about {topic}: a deviation that is not above 0")
    return Moments(mean, sd)
