"""Cox's proportional hazards, stratified by hospital, from sums. Pure: no file, no network.

Each hospital is a stratum with a baseline hazard of its own, so a hospital's partial likelihood
needs its own cases only, and score and information of all hospitals are sums. Newton's method on
these sums gives the coefficients of the same model on pooled cases. Ties: Efron (1977).

Covariates are standardised with mean and standard deviation of all hospitals; one that is not
known is put at the mean. The ridge takes l2 / 2 |beta|^2 from the log likelihood; lifelines'
``penalizer`` is l2 divided by the number of cases, on covariates standardised as here.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import norm

from .errors import ProtocolError, TrainingError
from .metrics import told
from .partial_likelihood import DIVERGES, Vector, cox_sums
from .question import Sums, numbers_of

COVARIATES = ("age", "female", "grade", "stage")
MOST_SPREAD = 12.0  # of log hazards inside a hospital; fits of real covariates have 2 to 6
SMALLEST_SD = 1e-9  # below this a covariate is constant
MOST_LEVELS = 5  # of a covariate that counts few things, such as stage
MOST_HALVINGS = 20  # of one step
SLACK = 1e-9  # of a log likelihood, relative: rounding is no descent
NORMAL_95 = 1.959963984540054


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
    known = tellable(x, least=least)
    values = np.where(np.isnan(known), 0.0, known)
    return {
        "count": np.isfinite(known).sum(axis=0, dtype=np.float64),
        "total": values.sum(axis=0),
        "squares": (values**2).sum(axis=0),
    }


def tellable(x: NDArray[np.float64], *, least: int) -> NDArray[np.float64]:
    """Covariates (n, p) as they may enter sums: what is known of few cases is as if not known.

    That is a covariate that is known of fewer than ``least`` cases, and of one such as sex, grade
    or stage each value that fewer have: how many would follow from number, sum and squares.
    """
    known = np.array(x, np.float64)
    for column in known.T:
        values, cases = np.unique(column[np.isfinite(column)], return_counts=True)
        if len(values) <= MOST_LEVELS:
            column[np.isin(column, values[cases < least])] = np.nan
    return known_enough(known, least=least)


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


def site_cox_sums(
    x: NDArray[np.float64], time: ArrayLike, event: ArrayLike, at: Linear, *, least: int
) -> Sums:
    """One hospital's part as it may leave: nothing with few deaths, none, or few survivors.

    ``told`` and ``withheld`` count the hospitals of either kind. With ``least`` 1 nothing is small.

    Raises:
        ProtocolError: coefficients at which single cases would outweigh all others.
    """
    z = standardise(tellable(x, least=least), at.mean, at.sd)
    if least > 1 and len(z) and np.ptp(z @ at.beta) > MOST_SPREAD:
        raise ProtocolError("coefficients so large that a sum would be about a few cases")
    sums = cox_sums(z, time, event, at.beta)
    enough = bool(told(int(sums["events"][0]), int(sums["cases"][0]), least=least))
    kept = sums if enough else {name: np.zeros_like(array) for name, array in sums.items()}
    return {**kept, "told": np.array([float(enough)]), "withheld": np.array([float(not enough)])}


@dataclass(frozen=True, slots=True, eq=False)
class Fit:
    """A fitted model."""

    beta: Vector  # (p,) log hazard ratios of one standard deviation
    se: Vector  # (p,) from the information, ridge included
    log_likelihood: float  # without the ridge
    steps: int  # exchanges of coefficients and sums, halvings not counted

    @property
    def z(self) -> Vector:
        """Wald's statistic of each coefficient."""
        return self.beta / self.se

    @property
    def p(self) -> Vector:
        """Two-sided p of each coefficient, Wald; 1 where a covariate is constant."""
        found: Vector = 2 * norm.sf(np.abs(self.z))
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
        move = _newton_move(sums, beta, l2)
        if np.abs(move).max(initial=0.0) < tolerance:
            return _fitted(beta + move, sums, l2, step)
        beta, sums = _uphill(ask, sums, beta, move, l2)
    raise _no_maximum()


def _newton_move(sums: Sums, beta: Vector, l2: float) -> Vector:
    """Information and ridge, inverse, times the score with ridge."""
    information = sums["information"] + l2 * np.eye(len(beta))
    try:
        move = np.linalg.solve(information, sums["score"] - l2 * beta)
    except np.linalg.LinAlgError:
        raise _no_maximum() from None
    return np.asarray(move, np.float64)


def _uphill(
    ask: Callable[[Vector], Sums], sums: Sums, beta: Vector, move: Vector, l2: float
) -> tuple[Vector, Sums]:
    """The first of move, move / 2, move / 4, ... that does not descend, and the sums there."""
    value = _penalised(sums, beta, l2)
    lowest = value - SLACK * (1 + abs(value))
    for halvings in range(MOST_HALVINGS):
        there = beta + move / 2**halvings
        found = ask(there)
        if _penalised(found, there, l2) >= lowest:
            return there, found
    raise _no_maximum()


def _no_maximum() -> TrainingError:
    return TrainingError("the Cox model does not converge", hint=DIVERGES)


def _penalised(sums: Sums, beta: Vector, l2: float) -> float:
    return float(sums["log_likelihood"][0] - l2 / 2 * beta @ beta)


def _fitted(beta: Vector, sums: Sums, l2: float, steps: int) -> Fit:
    """The sums are those of the last step but one, a move below the tolerance away."""
    covariance = np.linalg.inv(sums["information"] + l2 * np.eye(len(beta)))
    return Fit(beta, np.sqrt(np.diag(covariance)), float(sums["log_likelihood"][0]), steps)
