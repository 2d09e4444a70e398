"""How far training can move a weight: what no honest update exceeds. Pure functions, no torch.

Adam divides by what it saw, so the gradients' size does not matter. With new moments m, v at the
start of a round, beta1 = 0.9, beta2 = 0.999 and any gradients g_1 ... g_t, step t moves a weight by
lr |m / (1 - beta1^t)| / (sqrt(v / (1 - beta2^t)) + eps), and Cauchy and Schwarz give for m and v

    |sum beta1^(t-i) g_i|^2 <= sum (beta1^2 / beta2)^(t-i)  sum beta2^(t-i) g_i^2

which is ``step_bound``: 1 in the first step, 1.04 in the 10th, 2.2 in the 100th, 7.3 in the end.
(Kingma & Ba 2015, section 2.1, name 3.16 for a gradient that comes once; gradients that grow from
step to step exceed it.) Weight decay is part of the gradient and changes nothing.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .change import ROUNDING, from_words
from .errors import WeightsError
from .study import StudyConfig
from .weights import Update

BETA1, BETA2 = 0.9, 0.999  # of torch.optim.Adam, as ``training.adam`` makes it
SLACK = ROUNDING + 1e-3  # of a bfloat16 change, and of float32 inside Adam; as a share of the move
SETTLED = 20_000  # steps after which ``step_bound`` does not grow any more
ULP = 2.0**-23  # a weight is rounded to float32 after each step, by at most half of this share


def step_bound(step: int) -> float:
    """How many learning rates Adam's step number ``step``, from 1, can move a weight.

    >>> [round(step_bound(step), 3) for step in (1, 10, 100, 10_000)]
    [1.0, 1.043, 2.243, 7.27]
    """
    ratio = BETA1**2 / BETA2
    mean = math.sqrt((1 - ratio**step) / (1 - ratio)) * (1 - BETA1) / (1 - BETA1**step)
    return mean * math.sqrt((1 - BETA2**step) / (1 - BETA2))


def steps_of(study: StudyConfig, cases: int) -> int:
    """Optimiser steps of a round over ``cases`` cases; a private one has a fixed number."""
    if study.is_private:
        return study.private_steps
    return study.local_epochs * -(-cases // study.batch_cases)


def largest_move(study: StudyConfig, cases: int) -> float:
    """The furthest that a round over ``cases`` cases can move one weight, before rounding.

    lr times the sum of ``step_bound`` over its steps.
    """
    steps = steps_of(study, cases)
    first = min(steps, SETTLED)
    told = sum(step_bound(step) for step in range(1, first + 1))
    return study.learning_rate * (told + (steps - first) * step_bound(SETTLED))


def require_possible_move(
    update: Update, base: Mapping[str, NDArray[np.float32]], *, study: StudyConfig, cases: int
) -> float:
    """The L2 norm of what an update changes; refuse one that no training can have made.

    One array at a time: no copy of the whole model.

    Args:
        update: weights after training, or their change as bfloat16 words; names and shapes of
            ``base``, some of them.
        base: the weights that training started from.
        study: learning rate, epochs and cases per step.
        cases: trained on, at the most.

    Raises:
        WeightsError: a value is not finite, or a weight moved further than training can move it.
    """
    steps, furthest = steps_of(study, cases), largest_move(study, cases) * (1 + SLACK)
    squares = 0.0
    for name, array in update.items():
        change = change_in(array, base[name])
        if not np.isfinite(change).all():
            raise WeightsError("a value that is not finite")
        largest = float(np.abs(base[name]).max(initial=0.0)) + furthest
        if np.abs(change).max(initial=0.0) > furthest + steps * ULP * largest:
            raise WeightsError("weights moved further than training can move them")
        squares += float(np.square(change).sum())
    return math.sqrt(squares)


def change_in(array: NDArray[Any], base: NDArray[np.float32]) -> NDArray[np.float64]:
    """One array of an update as new minus old weights, in float64."""
    if array.dtype == np.uint16:
        return from_words(array).astype(np.float64)
    return array.astype(np.float64) - base
