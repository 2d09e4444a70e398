"""Membership inference: how well a model's losses tell the cases it was trained on from others.

An attacker who has the model and a case's data guesses from the case's loss. The score of a case is
minus its loss (Yeom et al. 2018), or how much smaller its loss is than that of a reference model
which did not see it (difficulty calibration, Watson et al. 2022). What is told is the chance that a
case trained on scores higher than another: .5 is a guess, 1 is certainty.

Only cases with the same time bin and event are compared, since losses differ between these and
trained cases may be of another mix. Nothing here reads a file or knows a case.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .errors import TrainingError

REPLICATES = 2000
LEVEL = 95.0


@dataclass(frozen=True, slots=True)
class Audit:
    """What an attacker would reach with one score."""

    auc: float  # within classes of outcome, weighted by pairs
    low: float  # its 95% interval, bootstrap over members and others of each class
    high: float
    members: int  # cases trained on, in classes that can be compared
    others: int

    def __str__(self) -> str:
        return f"{self.auc:.3f} ({self.low:.3f} to {self.high:.3f})"


def audit(  # noqa: PLR0913 - two samples and their classes
    members: ArrayLike,
    others: ArrayLike,
    *,
    member_classes: Sequence[object],
    other_classes: Sequence[object],
    seed: int = 0,
    replicates: int = REPLICATES,
) -> Audit:
    """Compare scores of cases trained on (m,) with those of others (n,), class by class.

    Args:
        members: scores of cases trained on, higher for what was seen.
        others: scores of cases that were not.
        member_classes: of each member, (time bin, event).
        other_classes: the same of the others.
        seed: of the bootstrap.
        replicates: of the bootstrap.

    Raises:
        TrainingError: no class has cases of both kinds, or a score is not finite.
    """
    seen, unseen = np.asarray(members, float), np.asarray(others, float)
    if not (np.isfinite(seen).all() and np.isfinite(unseen).all()):
        raise TrainingError("a loss is not finite, the model cannot be audited")
    rng = np.random.default_rng(seed)
    won, pairs, sizes = np.zeros(1 + replicates), 0, np.zeros(2, int)
    for one in sorted({*map(str, member_classes)} & {*map(str, other_classes)}):
        own = seen[[str(name) == one for name in member_classes]]
        rest = unseen[[str(name) == one for name in other_classes]]
        won += _wins(own, rest, rng, replicates)
        pairs += len(own) * len(rest)
        sizes += len(own), len(rest)
    if not pairs:
        raise TrainingError("no time bin and event has both cases trained on and others")
    found, tail = won / pairs, (100 - LEVEL) / 2
    low, high = np.percentile(found[1:], [tail, 100 - tail])
    return Audit(float(found[0]), float(low), float(high), int(sizes[0]), int(sizes[1]))


def _wins(
    own: NDArray[np.float64], rest: NDArray[np.float64], rng: np.random.Generator, replicates: int
) -> NDArray[np.float64]:
    """Pairs (1 + R,) in which the member scores higher, ties by half; the sample itself first."""
    better = (own[:, None] > rest) + 0.5 * (own[:, None] == rest)  # (m, n)
    m, n = better.shape
    a = np.vstack([np.ones(m), rng.multinomial(m, np.full(m, 1 / m), replicates)])
    b = np.vstack([np.ones(n), rng.multinomial(n, np.full(n, 1 / n), replicates)])
    wins: NDArray[np.float64] = np.einsum("rm,rm->r", a, b @ better.T)
    return wins
