"""Fitting the clinical arms over the network: Newton's method on sums of scores and information."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ghanet_model.cox import Fit, Linear, fit, mean_and_sd
from ghanet_model.cox_questions import CoxMoments, CoxStep
from ghanet_model.errors import GHANetError, TrainingError
from ghanet_model.evaluation import FITTED
from ghanet_model.question import Sums, add_sums

from .roster import Member
from .run import Run
from .statistics import Model, ask_sums

TOLERANCE = 1e-5  # of a step: Newton's error after it is about its square
RIDGE = 1.0  # on standardised covariates, on the scale of the log likelihood


@dataclass(frozen=True, slots=True)
class ArmFit:
    """An arm that was fitted, and who had a part in it."""

    linear: Linear
    fit: Fit
    known: NDArray[np.float64]  # (p,) cases that each covariate is known of
    cases: int
    events: int
    hospitals: tuple[str, ...]  # whose sums are in it
    withheld: tuple[str, ...]  # who had too few cases or deaths to tell


class _LostError(GHANetError):
    """Hospitals stopped answering in the middle of a fit."""

    def __init__(self, left_out: Mapping[str, str]) -> None:
        super().__init__("a hospital stopped answering")
        self.left_out = left_out


def fit_arm(
    run: Run, arm: str, members: Sequence[Member], model: Model
) -> tuple[ArmFit | None, dict[str, str]]:
    """Fit an arm; begins anew without a hospital that stops answering.

    Returns:
        The fit, None where there is nothing to fit, and who was left out, why.
    """
    left_out: dict[str, str] = {}
    while True:
        asked = [member for member in members if member.name not in left_out]
        moments = ask_sums(run, CoxMoments(arm), asked, model=model)
        left_out |= moments.left_out
        there = [member for member in asked if member.name in moments.good]
        total = add_sums(moments.good.values()) if there else None
        if total is None or not total["count"].any():
            return None, left_out
        try:
            return _fit(_Asking(run, arm, there, model, total)), left_out
        except _LostError as error:
            left_out |= error.left_out
        except TrainingError as error:
            return None, left_out | {arm: str(error)}


@dataclass(frozen=True, slots=True, eq=False)
class _Asking:
    """One fit over hospitals that all have to answer at every step."""

    run: Run
    arm: str
    members: list[Member]
    model: Model
    moments: Sums
    answers: dict[str, Sums] = field(default_factory=dict)  # the last ones, by hospital
    asked: list[NDArray[np.float64]] = field(default_factory=list)  # coefficients so far

    def at(self, beta: NDArray[np.float64]) -> Linear:
        """These coefficients, with the standardisation of all hospitals."""
        return Linear(*mean_and_sd(self.moments), beta)

    def __call__(self, beta: NDArray[np.float64]) -> Sums:
        """The sums of all hospitals; the same question is not asked twice in a row."""
        if self.answers and np.array_equal(beta, self.asked[-1]):
            return add_sums(self.answers.values())
        step = CoxStep(self.arm, self.at(beta))
        answers = ask_sums(self.run, step, self.members, model=self.model)
        if answers.left_out:
            raise _LostError(answers.left_out)
        self.asked.append(beta)
        self.answers.update(answers.good)
        return add_sums(answers.good.values())


def _fit(ask: _Asking) -> ArmFit | None:
    size = FITTED[ask.arm]
    first = ask(np.zeros(size))
    if not first["told"][0]:
        return None
    found = fit(ask, size, l2=RIDGE, tolerance=TOLERANCE)
    return ArmFit(
        ask.at(found.beta),
        found,
        known=ask.moments["count"],
        cases=int(first["cases"][0]),
        events=int(first["events"][0]),
        hospitals=tuple(name for name, sums in ask.answers.items() if sums["told"][0]),
        withheld=tuple(name for name, sums in ask.answers.items() if sums["withheld"][0]),
    )
