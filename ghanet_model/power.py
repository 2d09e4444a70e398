"""What difference in C-index an evaluation can detect, before anything is trained. By simulation.

Two models that know nothing give every case a risk, normal, of a given correlation; times to death
and to the last news are exponential, so that deaths are spread evenly over the cases in the order
of their times. C is that of pairs inside hospitals, all hospitals' pairs added. What then lies
between the two models is luck. A difference that is to be found in 80% of such studies by a test at
5%, two-sided, must be 2.8 times as large as the standard deviation of that luck: 1.960 + 0.842.
Chance is the worst case: between models of C = 0.8 luck is about a fifth smaller.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .errors import TrainingError
from .metrics import Concordance, concordance

LEVEL, POWER = 1.959964, 0.841621  # normal quantiles of 97.5% and 80%


@dataclass(frozen=True, slots=True)
class Power:
    """How exactly C-indices will be known; NaN where no pair compares."""

    sd: float  # standard deviation of one model's C
    sd_difference: float  # of the difference of two models' C, on the same cases

    @property
    def half_width(self) -> float:
        """Of one C's 95% interval."""
        return LEVEL * self.sd

    @property
    def detectable(self) -> float:
        """The smallest difference that is found in 80% of studies."""
        return (LEVEL + POWER) * self.sd_difference


def detectable_difference(
    cases: Sequence[int],
    events: Sequence[int],
    *,
    correlation: float,
    replicates: int,
    seed: int,
) -> Power:
    """Simulate evaluations of two models that are equally good.

    Args:
        cases: that are evaluated, by hospital.
        events: deaths among them.
        correlation: of the two models' risks, 0 to 1.
        replicates: simulated studies.
        seed: of the simulation.

    Raises:
        TrainingError: more deaths than cases, or a correlation that cannot be.
    """
    if any(not 0 <= died <= of for died, of in zip(events, cases, strict=True)):
        raise TrainingError("power: a hospital with more deaths than cases")
    if not 0 <= correlation <= 1:
        raise TrainingError(f"power: a correlation of {correlation:g}")
    generator = np.random.default_rng(seed)
    found = np.array([_study(cases, events, correlation, generator) for _ in range(replicates)])
    return Power(float(found[:, 0].std()), float((found[:, 0] - found[:, 1]).std()))


def _study(
    cases: Sequence[int], events: Sequence[int], correlation: float, generator: np.random.Generator
) -> tuple[float, float]:
    """C of the two models in one simulated study."""
    first, second = Concordance(), Concordance()
    for of, died in zip(cases, events, strict=True):
        risks = _risks(of, correlation, generator)  # (2, cases)
        time, event = generator.exponential(size=of), np.arange(of) < died
        first += concordance(time, event, risks[0])
        second += concordance(time, event, risks[1])
    return _value(first), _value(second)


def _risks(of: int, correlation: float, generator: np.random.Generator) -> NDArray[np.float64]:
    """Risks of two models (2, cases): what they share, and what is each one's own."""
    shared, own = generator.standard_normal(of), generator.standard_normal((2, of))
    return np.asarray(np.sqrt(correlation) * shared + np.sqrt(1 - correlation) * own)


def _value(pairs: Concordance) -> float:
    return math.nan if pairs.c_index is None else pairs.c_index
