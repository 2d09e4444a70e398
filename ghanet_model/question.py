"""Questions about sums: each is answered with arrays of fixed shape that add over hospitals.

A topic is one kind of question, a frozen dataclass with the methods of ``Question``. What it may be
asked with, what an answer looks like, which sums no cohort can have and which are over too few
cases to leave a hospital: all of it is said in one place, and both sides and the gate use that.
"""

import json
from collections.abc import Iterable, Mapping
from functools import reduce
from typing import Any, ClassVar, Protocol, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .errors import GateError, ProtocolError
from .study import StudyConfig

Sums: TypeAlias = Mapping[str, NDArray[np.float64]]
Shapes: TypeAlias = Mapping[str, tuple[int, ...]]


class Question(Protocol):
    """One question about sums."""

    topic: ClassVar[str]  # its name on the wire

    @classmethod
    def from_json(cls, value: Mapping[str, Any], study: StudyConfig) -> Self:
        """Read what ``to_json`` wrote; it came from elsewhere.

        Raises:
            ProtocolError: it cannot be asked.
        """

    def to_json(self) -> dict[str, Any]:
        """The question as JSON."""

    def shapes(self, study: StudyConfig) -> Shapes:
        """The arrays of an answer, all float64, by name."""

    def require_possible(self, sums: Sums, study: StudyConfig) -> None:
        """Refuse sums that no cohort can have; shapes are right and values finite.

        Raises:
            ProtocolError: such sums.
        """

    def require_enough(self, sums: Sums, least: int) -> None:
        """Refuse sums of one hospital over fewer than ``least`` cases, but over none.

        Raises:
            GateError: the rule that is broken.
        """

    def cases(self, sums: Sums) -> int:
        """The most cases that any of the sums is over."""


class WithoutParts:
    """Half of a question that can be asked in one way only."""

    __slots__ = ()
    topic: ClassVar[str]

    @classmethod
    def from_json(cls, value: Mapping[str, Any], study: StudyConfig) -> Self:  # noqa: ARG003
        """Read the question, which has no parts; see ``Question``."""
        require_keys(value, (), cls.topic)
        return cls()

    def to_json(self) -> dict[str, Any]:
        """The question as JSON."""
        return {}


def add_sums(parts: Iterable[Sums]) -> Sums:
    """The sums of several hospitals together."""
    return reduce(lambda a, b: {name: a[name] + b[name] for name in a}, parts)


def zeros(shapes: Shapes) -> dict[str, NDArray[np.float64]]:
    """The sums over nothing."""
    return {name: np.zeros(shape) for name, shape in shapes.items()}


def text_of(question: Question) -> str:
    """The question for the wire."""
    return json.dumps(question.to_json())


def require_keys(value: Mapping[str, Any], keys: Iterable[str], topic: str) -> None:
    """Refuse a question with more or other parts than its topic has.

    Raises:
        ProtocolError: more or fewer.
    """
    if set(value) != set(keys):
        raise ProtocolError(f"question about {topic}: other parts than agreed")


def numbers_of(value: object, topic: str, *, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Finite numbers of this shape, from the parts of a question.

    Raises:
        ProtocolError: anything else.
    """
    try:
        found = np.asarray(value, np.float64)
    except (TypeError, ValueError, OverflowError):
        raise ProtocolError(f"question about {topic}: not numbers") from None
    if found.shape != shape or not np.isfinite(found).all():
        raise ProtocolError(f"question about {topic}: numbers of another shape, or not finite")
    return found


def require_counts(sums: Sums, names: Iterable[str]) -> None:
    """Refuse counts that are negative or no whole numbers.

    Raises:
        ProtocolError: such counts.
    """
    for name in names:
        if (sums[name] < 0).any() or (sums[name] % 1).any():
            raise ProtocolError(f"message has '{name}' that are no counts")


def require_large(sums: Sums, names: Iterable[str], least: int) -> None:
    """Refuse counts of fewer than ``least`` cases, but of none.

    Raises:
        GateError: a small cell.
    """
    for name in names:
        if ((sums[name] > 0) & (sums[name] < least)).any():
            raise GateError(f"small cells: '{name}' of fewer than {least} cases")
