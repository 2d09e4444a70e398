"""Cox's proportional hazards, stratified by hospital, from sums. Pure: no file, no network.

Each hospital is a stratum with a baseline hazard of its own, so a hospital's partial likelihood
needs its own cases only, and score and information of all hospitals are sums. Newton's method on
these sums gives the coefficients of the same model on pooled cases. Ties: Efron (1977).

Covariates are standardised with mean and standard deviation of all hospitals; one that is not
known is put at the mean. The ridge takes l2 / 2 |beta|^2 from the log likelihood; lifelines'
``penalizer`` is l2 divided by the number of cases, on covariates standardised as here.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import norm

from .errors import TrainingError
from .question import Sums, numbers_of

COVARIATES = ("age", "female", "grade", "stage")
SMALLEST_SD = 1e-9  # below this a covariate is constant
NORMAL_95 = 1.959963984540054
Vector = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Linear:
    """A Cox model as it is applied: covariates are standardised, weighted and added."""

    mean: NDArray[np.float64]  # (p,)
    sd: NDArray[np.float64]  # (p,)
    beta: NDArray[np.float64]  # (p,)

    @classmethod
    def from_json(cls, value: object, topic: str, *, size: int) -> "Linear":
        """Read three rows of numbers."""
        return cls(*numbers_of(value, topic, shape=(3, size)))

    def to_json(self) -> list[list[float]]:
        """Three rows of numbers."""
        return [self.mean.tolist(), self.sd.tolist(), self.beta.tolist()]


def site_covariate_sums(x: NDArray[np.float64], *, least: int) -> Sums:
    """Sums of one hospital's covariates (n, p) for their mean and standard deviation."""
    known = known_enough(x, least=least)
    values = np.where(np.isnan(known), 0.0, known)
    return {
        "count": np.isfinite(known).sum(axis=0, dtype=np.float64),
        "total": values.sum(axis=0),
        "squares": (values**2).sum(axis=0),
    }


def known_enough(x: NDArray[np.float64], *, least: int) -> NDArray[np.float64]:
    """Covariates (n, p), those not known of at least ``least`` cases as known of none."""
    few = np.isfinite(x).sum(axis=0) < least
    return np.where(few, np.nan, x)


def mean_and_sd(sums: Sums) -> tuple[Vector, Vector]:
    """Mean and standard deviation (divided by n) of each covariate; 0 where none is known."""
    count = np.maximum(sums["count"], 1)
    mean = sums["total"] / count
    return mean, np.sqrt(np.maximum(sums["squares"] / count - mean**2, 0.0))


def standardise(x: NDArray[np.float64], mean: Vector, sd: Vector) -> NDArray[np.float64]:
    """Covariates (n, p) with mean 0 and deviation 1; 0 where not known or constant."""
    varies = sd > SMALLEST_SD
    scaled = (x - mean) / np.where(varies, sd, 1.0)
    return np.where(np.isfinite(scaled) & varies, scaled, 0.0)


def linear_risk(x: NDArray[np.float64], at: Linear) -> Vector:
    """The log hazard ratio of each case (n,) against one at the mean, from covariates (n, p)."""
    risk: Vector = standardise(x, at.mean, at.sd) @ at.beta
    return risk


def cox_sums(
    z: NDArray[np.float64], time: ArrayLike, event: ArrayLike, beta: Vector
) -> dict[str, NDArray[np.float64]]:
    """Score, information and log partial likelihood of one stratum at ``beta``, Efron's ties.

    Args:
        z: (n, p) standardised covariates.
        time: (n,) months.
        event: (n,) true for died.
        beta: (p,).
    """
    order = np.argsort(-np.asarray(time, float), kind="stable")
    times, died, z = np.asarray(time, float)[order], np.asarray(event, bool)[order], z[order]
    size = z.shape[1]
    score, information, likelihood = np.zeros(size), np.zeros((size, size)), 0.0
    eta = z @ beta
    top = float(eta.max(initial=0.0))
    weight = np.exp(eta - top)
    s0, s1, s2 = 0.0, np.zeros(size), np.zeros((size, size))
    last_of_ties = np.append(np.diff(times) != 0, True)[: len(times)]
    start = 0  # from the longest time down: who is at risk is behind
    for end in (np.flatnonzero(last_of_ties) + 1).tolist():
        rows, w = z[start:end], weight[start:end]
        s0, s1, s2 = s0 + w.sum(), s1 + w @ rows, s2 + (rows.T * w) @ rows
        dead = died[start:end]
        deaths = int(dead.sum())
        if deaths:
            d0, d1 = w[dead].sum(), w[dead] @ rows[dead]
            d2 = (rows[dead].T * w[dead]) @ rows[dead]
            score += rows[dead].sum(axis=0)
            likelihood += float(eta[start:end][dead].sum())
            for tied in range(deaths):
                part = tied / deaths
                total = s0 - part * d0
                mean = (s1 - part * d1) / total
                score -= mean
                information += (s2 - part * d2) / total - np.outer(mean, mean)
                likelihood -= math.log(total) + top
        start = end
    return {
        "score": score,
        "information": (information + information.T) / 2,
        "log_likelihood": np.array([likelihood]),
        "events": np.array([float(died.sum())]),
        "cases": np.array([float(len(times))]),
    }


def site_cox_sums(
    x: NDArray[np.float64], time: ArrayLike, event: ArrayLike, at: Linear, *, least: int
) -> Sums:
    """One hospital's part as it may leave: nothing with few cases or few deaths.

    ``told`` and ``withheld`` count the hospitals of either kind.
    """
    z = standardise(known_enough(x, least=least), at.mean, at.sd)
    sums = cox_sums(z, time, event, at.beta)
    enough = sums["cases"][0] >= least and sums["events"][0] >= max(1, least)
    kept = sums if enough else {name: np.zeros_like(array) for name, array in sums.items()}
    return {**kept, "told": np.array([float(enough)]), "withheld": np.array([float(not enough)])}


@dataclass(frozen=True, slots=True, eq=False)
class Fit:
    """A fitted model."""

    beta: Vector  # (p,) log hazard ratios of one standard deviation
    se: Vector  # (p,) from the information, ridge included
    log_likelihood: float  # without the ridge
    steps: int

    @property
    def p(self) -> Vector:
        """Two-sided p of each coefficient, Wald; NaN where a covariate is constant."""
        with np.errstate(divide="ignore", invalid="ignore"):
            found: Vector = 2 * norm.sf(np.abs(self.beta / self.se))
        return found

    @property
    def hazard_ratios(self) -> NDArray[np.float64]:
        """Hazard ratios of one standard deviation with their 95% interval (3, p)."""
        width = NORMAL_95 * self.se
        return np.exp([self.beta, self.beta - width, self.beta + width])


def fit(
    ask: Callable[[Vector], Sums],
    size: int,
    *,
    l2: float,
    tolerance: float = 1e-9,
    most: int = 25,
) -> Fit:
    """Newton's method with step halving, on sums that ``ask`` gets from wherever cases are.

    Args:
        ask: the sums of all strata at some coefficients.
        size: covariates, p.
        l2: ridge, above 0 where a covariate may be constant.
        tolerance: of the largest change of a coefficient.
        most: steps.

    Raises:
        TrainingError: it does not converge.
    """
    beta = np.zeros(size)
    sums = ask(beta)
    for step in range(1, most + 1):
        information = sums["information"] + l2 * np.eye(size)
        try:
            move = np.linalg.solve(information, sums["score"] - l2 * beta)
        except np.linalg.LinAlgError:
            break
        value = _penalised(sums, beta, l2)
        for _ in range(20):
            tried = ask(beta + move)
            if _penalised(tried, beta + move, l2) >= value - 1e-9 * (1 + abs(value)):
                break
            move = move / 2
        beta, sums = beta + move, tried
        if np.abs(move).max(initial=0.0) < tolerance:
            return _fitted(beta, sums, l2, step)
    raise TrainingError(
        "the Cox model does not converge",
        hint="a covariate that separates the dead from the others? A ridge above 0 helps",
    )


def _penalised(sums: Sums, beta: Vector, l2: float) -> float:
    return float(sums["log_likelihood"][0] - l2 / 2 * beta @ beta)


def _fitted(beta: Vector, sums: Sums, l2: float, steps: int) -> Fit:
    covariance = np.linalg.inv(sums["information"] + l2 * np.eye(len(beta)))
    return Fit(beta, np.sqrt(np.diag(covariance)), float(sums["log_likelihood"][0]), steps)
