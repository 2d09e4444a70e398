"""What releases cost: epsilon of a history of Gaussian mechanisms, by Opacus' accountants.

Unit is the case with all its slides; neighbours differ by one case added or removed. A history is
a list of charges, their order is of no matter, and equal ones are as one of more steps.
"""

import math
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from opacus.accountants import create_accountant

from .errors import SettingsError
from .study import ACCOUNTANTS, RDP

MOST_NOISE = 10_000.0  # above it nothing is left to learn from
MOST_PRV = 50.0  # an epsilon that protects nobody
NOISE_STEP = 0.001  # noise is planned in steps of this, rounded up


@dataclass(frozen=True, slots=True)
class Charge:
    """``steps`` Gaussian mechanisms, each on a Poisson sample of the cases.

    Args:
        noise: deviation of the noise, in units of the most that one case can change (sigma).
        rate: chance of a case to be in a sample (q); 1: all cases, as in a sum that is told.
        steps: how often.
    """

    noise: float
    rate: float
    steps: int

    def __post_init__(self) -> None:
        """Refuse what cannot be a mechanism."""
        whole = self.steps >= 0 and 0 < self.rate <= 1
        if not whole or not math.isfinite(self.noise) or self.noise < 0:
            raise SettingsError(f"no mechanism has {self}")


def epsilon_of(charges: Iterable[Charge], *, delta: float, accountant: str) -> float:
    """Epsilon of a history; 0 for an empty one, infinite where a release had no noise.

    PRV's grid grows with epsilon, beyond memory for large ones: above MOST_PRV epsilon is RDP's,
    which is never below the true one.

    Args:
        charges: all that was ever released about the cases.
        delta: at which epsilon is told.
        accountant: RDP (Mironov 2017) or PRV (Gopi et al. 2021), as in Opacus.

    Raises:
        SettingsError: another accountant, or a delta that is none.
    """
    if accountant not in ACCOUNTANTS:
        raise SettingsError(f"no accountant '{accountant}'", hint=f"use {', '.join(ACCOUNTANTS)}")
    if not 0 < delta < 1:
        raise SettingsError(f"delta is {delta}, not between 0 and 1")
    merged = merge(charges)
    if not merged:
        return 0.0
    if any(not charge.noise for charge in merged):
        return math.inf
    spent = _epsilon_by(RDP, merged, delta)
    if accountant == RDP or spent > MOST_PRV:
        return spent
    return _epsilon_by(accountant, merged, delta)


def _epsilon_by(accountant: str, charges: Iterable[Charge], delta: float) -> float:
    counter = create_accountant(accountant)
    counter.history = [(charge.noise, charge.rate, charge.steps) for charge in charges]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that another order of RDP would tell a lower epsilon
        return float(counter.get_epsilon(delta))


def merge(charges: Iterable[Charge]) -> list[Charge]:
    """The same history with equal mechanisms as one, in a fixed order; without those of 0 steps."""
    steps: Counter[tuple[float, float]] = Counter()
    for charge in charges:
        steps[charge.noise, charge.rate] += charge.steps
    return [Charge(*key, count) for key, count in sorted(steps.items()) if count]


def plan_noise(
    unplanned: Charge,
    epsilon: float,
    *,
    delta: float,
    accountant: str,
    others: Sequence[Charge] = (),
) -> float:
    """The least noise with which ``unplanned`` and ``others`` together stay within epsilon.

    Args:
        unplanned: rate and steps of all rounds together; its noise is not looked at.
        epsilon: the whole budget.
        delta: of the budget.
        accountant: RDP or PRV.
        others: releases besides, with a noise that is fixed.

    Raises:
        SettingsError: no noise is enough, or what stands beside is above the budget already.
    """

    def fits(noise: float) -> bool:
        history = [replace(unplanned, noise=noise), *others]
        return epsilon_of(history, delta=delta, accountant=accountant) <= epsilon

    return _least(fits, epsilon)


def _least(fits: Callable[[float], bool], epsilon: float) -> float:
    """By doubling, then by halving the gap, in whole steps."""
    high = 1
    while not fits(high * NOISE_STEP):
        high *= 2
        if high * NOISE_STEP > MOST_NOISE:
            raise SettingsError(
                f"no noise keeps this study within epsilon {epsilon:g}",
                hint="fewer rounds or steps, a lower sampling rate, or a higher epsilon",
            )
    low = high // 2  # too little, or 0
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if fits(middle * NOISE_STEP) else (middle, high)
    return round(high * NOISE_STEP, 3)
