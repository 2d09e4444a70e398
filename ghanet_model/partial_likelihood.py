"""Cox's partial likelihood of one stratum, with its derivatives. Pure: arrays in, sums out.

At each death, l(beta) gains eta of who died less the logarithm of the sum of exp(eta) over who is
at risk; eta = z beta. Sums over strata are those of the stratified model. Ties: Efron (1977).
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .errors import TrainingError

DIVERGES = "a covariate that separates the dead from the others? A ridge above 0 helps"
Vector = NDArray[np.float64]


def cox_sums(
    z: NDArray[np.float64], time: ArrayLike, event: ArrayLike, beta: Vector
) -> dict[str, NDArray[np.float64]]:
    """Score, information and log partial likelihood of one stratum at ``beta``, Efron's ties.

    Args:
        z: (n, p) standardised covariates.
        time: (n,) months.
        event: (n,) true for died.
        beta: (p,).

    Raises:
        TrainingError: coefficients so large that no hazard can be computed.
    """
    died, size = np.asarray(event, bool), z.shape[1]
    with np.errstate(over="ignore", invalid="ignore"):
        eta = z @ beta
    if not np.isfinite(eta).all():
        raise TrainingError("a Cox model's coefficients are too large", hint=DIVERGES)
    score, information, likelihood = np.zeros(size), np.zeros((size, size)), 0.0
    at_risk = _Weighed(-math.inf, 0.0, np.zeros(size), np.zeros((size, size)))
    for rows in _from_longest(np.asarray(time, float)):
        at_risk += _Weighed.of(z[rows], eta[rows])
        dead = rows[died[rows]]
        score += z[dead].sum(axis=0)
        likelihood += float(eta[dead].sum())
        for weighed in _efron(at_risk, z[dead], eta[dead]):
            mean = weighed.s1 / weighed.s0
            score -= mean
            information += weighed.s2 / weighed.s0 - np.outer(mean, mean)
            likelihood -= math.log(weighed.s0) + weighed.top
    return {
        "score": score,
        "information": (information + information.T) / 2,
        "log_likelihood": np.array([likelihood]),
        "events": np.array([float(died.sum())]),
        "cases": np.array([float(len(died))]),
    }


@dataclass(frozen=True, slots=True, eq=False)
class _Weighed:
    """Sums of 1, z and z z' over cases, weighed exp(eta - top); top keeps them from overflow."""

    top: float
    s0: float
    s1: Vector  # (p,)
    s2: NDArray[np.float64]  # (p, p)

    @classmethod
    def of(cls, z: NDArray[np.float64], eta: Vector) -> "_Weighed":
        """The sums over these cases, (n, p) and (n,), n at least 1."""
        top = float(eta.max())
        weight = np.exp(eta - top)
        return cls(top, float(weight.sum()), weight @ z, (z.T * weight) @ z)

    def __add__(self, other: "_Weighed") -> "_Weighed":
        top = max(self.top, other.top)
        a, b = math.exp(self.top - top), math.exp(other.top - top)
        s0, s1 = a * self.s0 + b * other.s0, a * self.s1 + b * other.s1
        return _Weighed(top, s0, s1, a * self.s2 + b * other.s2)

    def times(self, share: float) -> "_Weighed":
        """A share of all sums."""
        return _Weighed(self.top, share * self.s0, share * self.s1, share * self.s2)


def _from_longest(time: Vector) -> list[NDArray[np.intp]]:
    """Indices of cases with the same time, from the longest down: who is at risk came before."""
    if not len(time):
        return []
    order = np.argsort(-time, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(time[order])) + 1)


def _efron(at_risk: _Weighed, z: NDArray[np.float64], eta: Vector) -> Iterator[_Weighed]:
    """Those at risk at each of d tied deaths: the k-th is less k / d of the dead."""
    if len(eta):
        dead = _Weighed.of(z, eta)
        yield from (at_risk + dead.times(-tied / len(eta)) for tied in range(len(eta)))
