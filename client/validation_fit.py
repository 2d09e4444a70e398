"""Slope and intercept of predicted survival on one hospital's cases. Pure: arrays in, numbers out.

Of cumulative hazards H = -log S the recalibrated ones are H' = e^a H^b, which is
log(-log S') = a + b log(-log S) (van Houwelingen, Statistics in Medicine 2000;19:3401). Inside a
time bin the hazard is constant, as in ``brier.survival_at``: case i is followed for the part f_ik
of bin k, d_ik is 1 where it died there, and with D_ik(b) = H_ik^b - H_i(k-1)^b

    l(a, b) = sum over cases and bins of d_ik (a + log D_ik(b)) - e^a f_ik D_ik(b)

It is a Poisson likelihood (Crowson, Atkinson, Therneau, Statistical Methods in Medical Research
2016;25:1692): at each b the best e^a is observed over expected deaths. Nothing beyond the last
edge is looked at: who lives that long is censored there.

b is one number for cases and time. How far apart predictions of *cases* should be is
``slope_between``: Cox's coefficient of log(-log S), with a baseline of its own (Royston and
Altman, BMC Medical Research Methodology 2013;13:33).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from ghanet_model.cox import fit
from ghanet_model.errors import TrainingError
from ghanet_model.kaplan_meier import NORMAL_95
from ghanet_model.partial_likelihood import cox_sums

SLOPES = (0.05, 8.0)  # between which b is looked for; at an end there is none
SMALLEST = 1e-9  # hazards below count as this one, those near 1 as 1 less this
Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number with its 95% interval."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, value: float, error: float) -> "Estimate":
        """With Wald's interval from a standard error."""
        width = NORMAL_95 * float(error)
        return cls(value, value - width, value + width)


@dataclass(frozen=True, slots=True, eq=False)
class Followed:
    """Cases in the bins before the last edge."""

    hazard: Array  # H (n, K-1), predicted, cumulative
    part: Array  # f (n, K-1), from 0 to 1
    died: NDArray[np.bool_]  # d (n, K-1)

    @property
    def deaths(self) -> int:
        """All of them."""
        return int(self.died.sum())

    @property
    def expected(self) -> float:
        """Deaths that the release expects while cases are followed."""
        return float((self.part * np.diff(self.hazard, axis=1, prepend=0.0)).sum())


def followed(
    time: Array, event: NDArray[np.bool_], hazards: Array, edges: Sequence[float]
) -> Followed:
    """Follow cases through the bins.

    Args:
        time: (n,) months.
        event: (n,) true for died.
        hazards: (n, K) predicted.
        edges: K-1 rising edges in months.
    """
    bounds = np.array([0.0, *edges])
    part = np.clip((time[:, None] - bounds[:-1]) / np.diff(bounds), 0.0, 1.0)
    bins = np.searchsorted(bounds[1:], time, side="right")  # (n,)
    died = (bins[:, None] == np.arange(len(edges))) & event[:, None]
    inside = np.clip(hazards[:, : len(edges)], SMALLEST, 1 - SMALLEST)
    return Followed(-np.log1p(-inside).cumsum(axis=1), part, died)


def shift(cases: Followed) -> Estimate | None:
    """The intercept a with b = 1: log of observed over expected deaths; None without a death."""
    if not cases.deaths:
        return None
    return Estimate.of(math.log(cases.deaths / cases.expected), cases.deaths**-0.5)


@dataclass(frozen=True, slots=True)
class Line:
    """Intercept and slope together."""

    a: Estimate
    b: Estimate


def line(cases: Followed) -> Line | None:
    """The a and b of the largest likelihood; None where no slope between ``SLOPES`` has it."""
    if not cases.deaths:
        return None
    found = minimize_scalar(
        lambda b: -_profile(cases, b), bounds=SLOPES, method="bounded", options={"xatol": 1e-9}
    )
    b = float(found.x)
    if min(b - SLOPES[0], SLOPES[1] - b) < 1e-3:
        return None
    a, information = _at(cases, b)
    if np.linalg.det(information) <= 0:
        return None
    errors = np.sqrt(np.diag(np.linalg.inv(information)))
    return Line(Estimate.of(a, errors[0]), Estimate.of(b, errors[1]))


def _profile(cases: Followed, b: float) -> float:
    """The likelihood at b, with the a that is best there."""
    steps = np.diff(cases.hazard**b, axis=1, prepend=0.0)  # D (n, K-1)
    own = np.log(steps[cases.died]).sum()
    return float(own - cases.deaths * np.log((cases.part * steps).sum()))


def _at(cases: Followed, b: float) -> tuple[float, Array]:
    """The best a at b, and the observed information (2, 2) there."""
    logs = np.log(cases.hazard)
    power = cases.hazard**b
    d0, d1, d2 = (np.diff(power * logs**n, axis=1, prepend=0.0) for n in range(3))
    a = math.log(cases.deaths / (cases.part * d0).sum())
    s0, s1, s2 = (math.exp(a) * (cases.part * d).sum() for d in (d0, d1, d2))
    x0, x1, x2 = (d[cases.died] for d in (d0, d1, d2))
    return a, np.array([[s0, s1], [s1, s2 - (x2 / x0 - (x1 / x0) ** 2).sum()]])


def slope_between(
    time: Array, event: NDArray[np.bool_], cases: Followed, last: float
) -> Estimate | None:
    """Cox's coefficient of log(-log S) at the last edge; None where it cannot be estimated."""
    z = np.log(cases.hazard[:, -1:])  # (n, 1)
    died = event & (time < last)
    if not died.any() or np.ptp(z) < SMALLEST:
        return None
    cut = np.minimum(time, last)
    try:
        found = fit(lambda beta: cox_sums(z - z.mean(), cut, died, beta), 1, l2=0.0)
    except TrainingError:
        return None
    return Estimate.of(float(found.beta[0]), float(found.se[0]))
