"""Models of other rounds that go into a release beside it. Read from checkpoints, never made anew.

They are the newest rounds' other than the released one: of a study that releases its last round,
the rounds before it. A checkpoint that cannot be read is left out, and the release says so.
"""

import logging
from dataclasses import dataclass
from pathlib import Path

from ghanet_model.release import MAX_BYTES
from ghanet_model.study import StudyConfig
from ghanet_model.weights import Arrays

from .checkpoint import KEEP, Checkpoint, weights_after
from .run import Run

ROOM = 100_000_000  # bytes of a release that manifest and model card may need
UNREADABLE, TOO_LARGE = "checkpoint missing or damaged", "release too large"
log = logging.getLogger("ghanet")


@dataclass(frozen=True, slots=True)
class Ensemble:
    """Weights by round, and the rounds that should be there and are not, with the reason."""

    weights: dict[int, Arrays]
    missing: dict[int, str]

    def as_json(self) -> dict[str, object]:
        """As a manifest holds it."""
        missing = [{"round": number, "why": why} for number, why in self.missing.items()]
        return {"rounds": sorted(self.weights), "missing": missing}


def kept(study: StudyConfig) -> int:
    """How many checkpoints must stay on disk."""
    return max(KEEP, study.ensemble + 1)


def wanted(checkpoint: Checkpoint, most: int) -> list[int]:
    """Rounds of the ensemble, the newest first; the untrained model, of round 0, is none.

    >>> wanted(Checkpoint(5, "", {}), 3), wanted(Checkpoint(5, "", {}, selected=4), 3)
    ([4, 3, 2], [5, 3, 2])
    """
    released = checkpoint.selected or checkpoint.number
    return [number for number in range(checkpoint.number, 0, -1) if number != released][:most]


def ensemble_of(run: Run, checkpoint: Checkpoint) -> Ensemble:
    """The models that the study asks for beside the released one, as far as there are any."""
    found = read_ensemble(run.config.state / "checkpoints", checkpoint, run.study.ensemble)
    for number, why in found.missing.items():
        log.warning("the ensemble lacks the model of round %d: %s", number, why)
    return found


def read_ensemble(
    folder: Path, checkpoint: Checkpoint, most: int, *, most_bytes: int = MAX_BYTES - ROOM
) -> Ensemble:
    """Weights of ``most`` rounds from their checkpoints, as many as fit into a release."""
    weights: dict[int, Arrays] = {}
    missing: dict[int, str] = {}
    one = sum(array.nbytes for array in checkpoint.weights.values())
    for number in wanted(checkpoint, most):
        if (len(weights) + 2) * one > most_bytes:
            missing[number] = TOO_LARGE
        elif (found := weights_after(folder, number, study=checkpoint.study)) is None:
            missing[number] = UNREADABLE
        else:
            weights[number] = found
    return Ensemble(weights, missing)


def card_section(ensemble: Ensemble) -> str:
    """What a model card says of it; nothing where the study asked for none."""
    if not ensemble.weights and not ensemble.missing:
        return ""
    rounds = ", ".join(map(str, sorted(ensemble.weights))) or "none"
    missing = [f"* Not in it: round {n}, {why}.\n" for n, why in ensemble.missing.items()]
    return f"""
## Ensemble

Models of other rounds of this training are in the release: {rounds}. A slide's survival has a band
from the smallest to the largest that they and the released model say. The band shows how far the
last rounds moved the answer; it is not a confidence interval.
{"".join(missing)}"""
