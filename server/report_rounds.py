"""What every hospital did in every round, and what was chosen: from a run's history. Pure."""

from collections.abc import Iterable, Sequence
from typing import Any

from ghanet_model.study import VALIDATION, StudyConfig

from .checkpoint import Checkpoint, SiteRound
from .intake import QUARANTINE
from .rounds import total_c_index
from .selection import best_round, validation_by_round, validation_nll

TRAINED, ONLY_TRAINED, EVALUATED, ANSWERED, LEFT_OUT, QUARANTINED, NOT_ASKED = DEEDS = (
    "trained and evaluated",
    "trained only",
    "evaluated",
    "answered",
    "left out",
    "quarantined",
    "not asked",
)
END, RELEASED = "end", "released"  # stages after the last round


def participation(
    checkpoint: Checkpoint | None, last: Sequence[SiteRound], released: Sequence[SiteRound] = ()
) -> list[dict[str, Any]]:
    """Every stage in which hospitals were asked about a model.

    Args:
        checkpoint: its history has the rounds.
        last: the evaluation of the last round's model.
        released: that of the released model, where it is another.
    """
    history = checkpoint.history if checkpoint else ()
    rounds = [
        {"stage": str(record.number), "behind": record.number - 1, **_of(record.sites)}
        for record in history
    ]
    end = {"stage": END, "behind": len(history), **_of(last)}
    other = {"stage": RELEASED, "behind": None, **_of(released)}
    return [*rounds, *([end] if last else []), *([other] if released else [])]


def _of(sites: Sequence[SiteRound]) -> dict[str, Any]:
    """What one stage brought."""
    return {
        "loss": mean_loss(sites),
        "c_index": total_c_index(sites),  # of the model that came in
        "pairs": sum(_pairs(site) or 0 for site in sites),
        "validation": validation_nll(sites),
        "hospitals": {site.name: _deed(site) for site in sites},
    }


def mean_loss(sites: Iterable[SiteRound]) -> float | None:
    """Mean training loss, by cases; None where nobody trained."""
    trained = [site for site in sites if site.trained]
    cases = sum(site.cases for site in trained)
    return sum(site.loss * site.cases for site in trained) / cases if cases else None


def _deed(site: SiteRound) -> dict[str, Any]:
    """What one hospital did in one round."""
    return {
        "did": _did(site),
        "why": site.left_out.removeprefix(QUARANTINE) or site.withheld,
        "cases": site.cases if site.trained else None,
        "gene_cases": site.gene_cases if site.trained else None,
        "loss": site.loss if site.trained else None,
        "c_index": site.evaluation.concordance.c_index if site.evaluation else None,
        "pairs": _pairs(site),
        "seconds": site.seconds or None,
        "sent_bytes": site.sent,
        "received_bytes": site.received,
    }


def _did(site: SiteRound) -> str:
    if site.left_out:
        return QUARANTINED if site.left_out.startswith(QUARANTINE) else LEFT_OUT
    if site.trained:
        return TRAINED if site.evaluation else ONLY_TRAINED
    if site.evaluation:
        return EVALUATED
    return ANSWERED if site.received else NOT_ASKED


def _pairs(site: SiteRound) -> int | None:
    return site.evaluation.concordance.comparable if site.evaluation else None


def released_round(
    study: StudyConfig, last: Checkpoint, sites: Sequence[SiteRound], *, kept: bool
) -> int | None:
    """Which round's model is released; None while that is not known.

    Args:
        study: says how it is chosen.
        last: the last checkpoint.
        sites: what hospitals said of its model, empty before that.
        kept: whether another model than the last was evaluated at the end.
    """
    if last.number < study.rounds or not sites:
        return None
    best = best_round(validated(last, sites)) if study.selected_round == VALIDATION else None
    if best in (None, last.number):
        return last.number
    return best if kept else None


def validated(last: Checkpoint, sites: Sequence[SiteRound]) -> dict[int, float]:
    """Validation loss by number of rounds behind the model."""
    found, nll = validation_by_round(last.history), validation_nll(sites)
    return found if nll is None else {**found, last.number: nll}
