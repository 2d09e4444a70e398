"""Aggregation: the case-weighted mean of updates, summed in float64 and divided once. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ghanet_model.change import MINUS_ZERO, Change, apply_change, from_words, to_words
from ghanet_model.errors import WeightsError
from ghanet_model.network import DECODERS
from ghanet_model.protocol import RoundReply
from ghanet_model.study import BFLOAT16
from ghanet_model.weights import Arrays, Update, check_same_shape, fingerprint_of


@dataclass(frozen=True, slots=True)
class Expected:
    """What an acceptable answer to this round looks like."""

    number: int
    base: str  # fingerprint of the weights that were sent
    like: Arrays  # these weights
    precision: str  # of updates, as the study says


def check_round(reply: RoundReply, number: int, base: str) -> None:
    """Refuse an answer to another question: another round, or other weights that came in."""
    if reply.number != number or reply.base != base:
        raise WeightsError("its answer belongs to another round")


def check_update(reply: RoundReply, expected: Expected, *, asked_genes: bool) -> None:
    """Refuse an update that cannot be averaged.

    Raises:
        WeightsError: another round or base, no cases, other arrays than the branches that were
            trained, a wrong shape, or a value that is not finite.
    """
    check_round(reply, expected.number, expected.base)
    if reply.cases < 1 or max(reply.gene_cases, reply.events) > reply.cases:
        raise WeightsError(f"update claims {reply.cases} cases, {reply.gene_cases} with genes")
    if reply.gene_cases and not asked_genes:
        raise WeightsError("update trained gene decoders without being asked to")
    branches = {
        name: array
        for name, array in expected.like.items()
        if reply.gene_cases or not name.startswith(DECODERS)
    }
    dtype = np.uint16 if expected.precision == BFLOAT16 else np.float32
    check_same_shape(reply.update, branches, dtype=dtype)


@dataclass(frozen=True, slots=True)
class Contribution:
    """One hospital's part in a mean."""

    cases: int
    gene_cases: int
    update: Update


def apply_updates(base: Arrays, contributions: Iterable[Contribution]) -> Arrays:
    """Base plus the weighted mean update, holding one contribution at a time.

    Every array is averaged over the sites that trained it: gene decoders by cases with genes over
    sites with genes, everything else by cases over all. Arrays that nobody trained stay. Where
    updates came as bfloat16 changes, so does their mean: base plus the rounded mean, in float32.
    """
    total = {name: np.zeros(array.shape, np.float64) for name, array in base.items()}
    weight = dict.fromkeys(base, 0)
    rounded = False
    for contribution in contributions:
        rounded |= any(array.dtype == np.uint16 for array in contribution.update.values())
        _add(contribution, base, total, weight)
        del contribution  # before the next one is read
    means = {name: total.pop(name) / weight[name] for name in base if weight[name]}
    if rounded:
        words = {name: to_words(mean.astype(np.float32)) for name, mean in means.items()}
        return apply_change(base, words)
    return {
        name: (array + means[name]).astype(np.float32) if name in means else array
        for name, array in base.items()
    }


def _add(
    contribution: Contribution,
    base: Arrays,
    total: dict[str, NDArray[np.float64]],
    weight: dict[str, int],
) -> None:
    for name, array in contribution.update.items():
        decoder = name.startswith(DECODERS)
        cases = contribution.gene_cases if decoder else contribution.cases
        total[name] += cases * _difference(array, base[name])
        weight[name] += cases


def _difference(array: NDArray[Any], base: NDArray[np.float32]) -> NDArray[np.float64]:
    """An update's array as new minus old weights, in float64."""
    if array.dtype == np.uint16:
        return from_words(array).astype(np.float64)
    return array.astype(np.float64) - base


def change_between(before: Arrays, after: Arrays) -> Change | None:
    """The bfloat16 change that turns one set of weights into the other, to the bit.

    There is always one where ``after`` is ``before`` plus bfloat16 words: a sum that was rounded
    differs from ``before`` by so few units in the last place that 8 bits hold them. None where
    there is none.
    """
    change: Change = {}
    for name, array in after.items():
        same = array.view(np.uint32) == before[name].view(np.uint32)
        if not same.all():
            change[name] = np.where(same, MINUS_ZERO, to_words(array - before[name]))
    found = apply_change(before, change)
    return change if fingerprint_of(found) == fingerprint_of(after) else None
