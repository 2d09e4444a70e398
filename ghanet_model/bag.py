"""Bag: all the model needs for one case. It carries no name; who a case is stays with the site."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from torch import Tensor


@dataclass(frozen=True, slots=True)
class Outcome:
    """What happened to a case."""

    time: float  # months of follow-up
    event: bool  # True = died at ``time``, False = alive when last seen
    time_bin: int  # 0 ... K-1, where ``time`` falls among the study's edges


@dataclass(frozen=True, slots=True)
class Bag:
    """Features, outcome and genes of one case; several slides of a case are one bag."""

    features: Tensor  # (N, D)
    outcome: Outcome | None = None  # None: not known
    genes: tuple[Tensor, ...] | None = None  # one (n_g,) per group, scaled; NaN: not measured


Bags: TypeAlias = Sequence[Bag]  # a site's implementation may read each bag when asked for
