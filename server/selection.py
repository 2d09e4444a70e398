"""Choosing the round that is released: the last, or the best on cases kept for that alone.

Evaluation cases are never looked at: what chooses is the mean negative log-likelihood over the
validation cases of hospitals that train, which neither train nor evaluate.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import reduce
from operator import add

from ghanet_model.study import VALIDATION

from .checkpoint import Checkpoint, RoundRecord, SiteRound, read_checkpoint, write_checkpoint
from .run import Run

FOLDER = "selected"  # below state/: the best model so far


def validation_nll(sites: Sequence[SiteRound]) -> float | None:
    """Mean negative log-likelihood over validation cases; None where nobody told any."""
    sums = [site.validation for site in sites if site.validation]
    return reduce(add, sums).mean_nll if sums else None


def validation_by_round(history: Sequence[RoundRecord]) -> dict[int, float]:
    """By number of rounds behind the model; that of round r comes into round r + 1.

    The untrained model, of round 0, cannot be chosen.
    """
    found = {record.number - 1: validation_nll(record.sites) for record in history}
    return {number: nll for number, nll in found.items() if number and nll is not None}


def best_round(found: Mapping[int, float]) -> int | None:
    """The round of smallest loss, the earliest of equals; None where none was validated."""
    return min(found, key=lambda number: (found[number], number)) if found else None


def keep_best(run: Run, before: Checkpoint, after: Checkpoint) -> None:
    """Keep the model that came into the last round if it is the best so far."""
    if run.study.selected_round != VALIDATION:
        return
    if best_round(validation_by_round(after.history)) == before.number:
        write_checkpoint(run.config.state / FOLDER, replace(before, history=()))


def selected(run: Run, last: Checkpoint, final: Sequence[SiteRound]) -> Checkpoint:
    """The last checkpoint with the weights of the round that is released.

    Args:
        run: the run.
        last: the last checkpoint.
        final: what hospitals said of its model.
    """
    if run.study.selected_round != VALIDATION:
        return last
    found = validation_by_round(last.history)
    nll = validation_nll(final)
    if nll is not None:
        found[last.number] = nll
    best = best_round(found)
    kept = read_checkpoint(run.config.state / FOLDER, study=run.study.digest)
    if best in (None, last.number) or kept is None or kept.number != best:
        return last
    return replace(last, weights=kept.weights, selected=kept.number)
