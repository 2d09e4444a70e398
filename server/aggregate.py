"""Aggregation: the case-weighted mean of updates, summed in float64 and divided once. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ghanet_model.change import MINUS_ZERO, Change, apply_change, from_words, to_words
from ghanet_model.network import DECODERS
from ghanet_model.weights import Arrays, Update, fingerprint_of


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
