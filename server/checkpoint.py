"""Checkpoints: one safetensors file per round, weights and history together, written atomically."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ghanet_model.errors import GHANetError, StudyError, WeightsError
from ghanet_model.files import canonical_json, sha256, write_atomic
from ghanet_model.metrics import Concordance, EvaluationSums
from ghanet_model.settings import FORMAT
from ghanet_model.weights import (
    Arrays,
    fingerprint_of,
    from_safetensors,
    metadata_of,
    to_safetensors,
)

_SUMS = ("evaluation", "validation")
KEEP = 3  # newest checkpoints that stay on disk; more where an ensemble needs them


@dataclass(frozen=True, slots=True)
class SiteRound:
    """What one hospital did in one round. Sums and counts only."""

    name: str
    trained: bool
    cases: int = 0  # trained on
    events: int | None = 0  # of these; None: a small cell, which the hospital does not tell
    gene_cases: int = 0
    loss: float = 0.0
    seconds: float = 0.0
    evaluation: EvaluationSums | None = None  # of the model that came in
    validation: EvaluationSums | None = None  # of the same model, on cases kept to choose by
    withheld: str = ""  # why the site gave no sum
    left_out: str = ""  # why the round went on without it
    sent: int = 0  # bytes of arrays that went to it
    received: int = 0  # and came from it


@dataclass(frozen=True, slots=True)
class RoundRecord:
    """One round as history keeps it."""

    number: int
    seconds: float
    sites: tuple[SiteRound, ...]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The model after ``number`` rounds and how it got there."""

    number: int
    study: str  # digest
    weights: Arrays
    history: tuple[RoundRecord, ...] = ()
    selected: int | None = None  # the round whose weights these are, where not ``number``


def _file(folder: Path, number: int) -> Path:
    return folder / f"round-{number:04d}.safetensors"


def write_checkpoint(folder: Path, checkpoint: Checkpoint, *, keep: int = KEEP) -> None:
    """Write a checkpoint, then remove all but the ``keep`` newest, which are too old to matter."""
    metadata = {
        "format": str(FORMAT),
        "number": str(checkpoint.number),
        "study": checkpoint.study,
        "history": json.dumps([asdict(record) for record in checkpoint.history]),
    }
    metadata["sha256"] = _digest(metadata, checkpoint.weights)
    content = to_safetensors(checkpoint.weights, metadata)
    write_atomic(_file(folder, checkpoint.number), content)
    for old in sorted(folder.glob("round-*.safetensors"))[:-keep]:
        old.unlink()


def read_checkpoint(folder: Path, *, study: str) -> Checkpoint | None:
    """The newest checkpoint, or None where there is none.

    Raises:
        StudyError: it belongs to another study.
        WeightsError: it is damaged.
    """
    files = sorted(folder.glob("round-*.safetensors"))
    return _read(files[-1], study=study) if files else None


def weights_before(folder: Path, checkpoint: Checkpoint) -> Arrays | None:
    """The weights of the round before; None where its file is gone or no good."""
    return weights_after(folder, checkpoint.number - 1, study=checkpoint.study)


def weights_after(folder: Path, number: int, *, study: str) -> Arrays | None:
    """The weights after so many rounds; None where their file is gone or no good."""
    try:
        found = _read(_file(folder, number), study=study)
    except (OSError, GHANetError):
        return None
    return found.weights if found.number == number else None


def _read(path: Path, *, study: str) -> Checkpoint:
    content = path.read_bytes()
    weights = from_safetensors(content, where=path.name)
    metadata = metadata_of(content)
    if metadata.pop("sha256", "") != _digest(metadata, weights):
        raise WeightsError(
            f"state/checkpoints/{path.name} is damaged",
            hint="remove it; the run goes on from the one before",
        )
    if metadata.get("study") != study:
        raise StudyError(
            f"state/checkpoints/{path.name} belongs to another study than study.yaml",
            hint="restore study.yaml, or start the new study in a folder of its own",
        )
    history = tuple(round_from_json(record) for record in json.loads(metadata["history"]))
    return Checkpoint(int(metadata["number"]), study, weights, history)


def _digest(metadata: dict[str, str], weights: Arrays) -> str:
    """SHA-256 of all that a checkpoint holds."""
    return sha256(canonical_json([metadata, fingerprint_of(weights)]))


def round_from_json(values: dict[str, Any]) -> RoundRecord:
    """A round as JSON holds it."""
    sites = tuple(
        SiteRound(**{**site, **{key: sums_from_json(site.get(key)) for key in _SUMS}})
        for site in values["sites"]
    )
    return RoundRecord(values["number"], values["seconds"], sites)


def sums_from_json(values: dict[str, Any] | None) -> EvaluationSums | None:
    """Evaluation sums as JSON holds them."""
    if values is None:
        return None
    return EvaluationSums(**{**values, "concordance": Concordance(**values["concordance"])})
