"""The stage that compares features: who used another encoder is named before the first round."""

import logging
from collections.abc import Iterable, Mapping

import numpy as np

from ghanet_model.errors import TrainingError
from ghanet_model.files import write_json
from ghanet_model.question import Sums
from ghanet_model.signature import FeatureSignature, similarities

from . import progress
from .kept import keep, kept_sums
from .run import Run

SIGNATURE_FILE = "signature.json"
TOO_FEW = "too few cases to be compared"
MANY_TIMES = 3.0  # the others' patches per case: perhaps another magnification
log = logging.getLogger("ghanet")


def compare_features(run: Run, *, online: Iterable[str] | None = None) -> None:
    """Write state/signature.json: how like the others' the features of each hospital are.

    A hospital that is named is asked again at the next start: it may have mended its features.

    Args:
        run: the run.
        online: whom to ask; None: wait for hospitals as a round does.

    Raises:
        TrainingError: hospitals whose features are less like the others' than the study wants.
    """
    least = run.study.feature_similarity
    if not least:
        _write(run, {}, [], {}, {})
        return
    topic = FeatureSignature()
    kept = kept_sums(run, topic, phase=progress.COMPARING, online=online)
    told = {name: sums for name, sums in kept.sums.items() if sums["count"][0]}
    few = {name: TOO_FEW for name in kept.sums if name not in told}
    similarity = similarities(told)
    foreign = [name for name, found in similarity.items() if found < least]
    patches = {name: float(sums["patches"][0] / sums["count"][0]) for name, sums in told.items()}
    _write(run, similarity, foreign, patches, kept.left_out | few)
    _note_patches(patches)
    if foreign:
        keep(run, topic, _without(kept.sums, foreign))
        raise _differ(similarity, foreign, patches, least)


def _write(
    run: Run,
    similarity: Mapping[str, float],
    foreign: list[str],
    patches: Mapping[str, float],
    left_out: Mapping[str, str],
) -> None:
    found = {
        "study": run.study.digest,
        "similarity": {name: round(value, 4) for name, value in similarity.items()},
        "least": run.study.feature_similarity,
        "foreign": foreign,
        "patches": {name: round(value, 1) for name, value in patches.items()},
        "left_out": dict(left_out),
    }
    write_json(run.config.state / SIGNATURE_FILE, found)


def _note_patches(patches: Mapping[str, float]) -> None:
    """Say who has many more or fewer patches per case than the others; it ends nothing."""
    for name, own in patches.items():
        others = [value for key, value in patches.items() if key != name]
        times = own / float(np.median(others)) if others else 1.0
        if not 1 / MANY_TIMES < times < MANY_TIMES:
            text = "%s has %.1f times the patches per case of the others: another magnification?"
            log.warning(text, name, times)


def _without(sums: Mapping[str, Sums], names: list[str]) -> dict[str, Sums]:
    return {name: own for name, own in sums.items() if name not in names}


def _differ(
    similarity: Mapping[str, float], foreign: list[str], patches: Mapping[str, float], least: float
) -> TrainingError:
    named = ", ".join(
        f"{name} {similarity[name]:.2f} ({patches[name]:.0f} patches per case)" for name in foreign
    )
    everybody = len(foreign) == len(similarity)
    whose = "each other's, nobody can say whose are right" if everybody else "most hospitals'"
    return TrainingError(
        f"features unlike {whose}: similarity {least:g} is needed, found {named}",
        hint="check encoder, magnification and normalisation there, then run 'ghanet-server train' "
        "again; or revoke who differs; feature_similarity: 0 in study.yaml asks no more",
    )
