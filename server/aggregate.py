"""Aggregation: the case-weighted mean of updates, summed in float64 and divided once. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from ghanet_model.errors import WeightsError
from ghanet_model.network import DECODERS
from ghanet_model.protocol import RoundReply
from ghanet_model.weights import Arrays, check_same_shape


@dataclass(frozen=True, slots=True)
class Expected:
    """What an acceptable update of this round looks like."""

    number: int
    base: str  # fingerprint of the weights that were sent
    like: Arrays  # these weights


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
    check_same_shape(reply.trained, branches)


def apply_updates(base: Arrays, replies: Iterable[RoundReply]) -> Arrays:
    """Base plus the weighted mean update.

    Every array is averaged over the sites that trained it: gene decoders by cases with genes over
    sites with genes, everything else by cases over all. Arrays that nobody trained stay.
    """
    total = {name: np.zeros(array.shape, np.float64) for name, array in base.items()}
    weight = dict.fromkeys(base, 0)
    for reply in replies:
        for name, array in reply.trained.items():
            cases = reply.gene_cases if name.startswith(DECODERS) else reply.cases
            total[name] += cases * (array.astype(np.float64) - base[name])
            weight[name] += cases
    return {
        name: (array + total[name] / weight[name]).astype(np.float32) if weight[name] else array
        for name, array in base.items()
    }
