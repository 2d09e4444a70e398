"""Sums that hospitals told before the first round, kept by hospital: nobody is asked twice.

A hospital that is enrolled later, or that could not answer, is asked at the next start. Sums of
another study are not used, nor those of a hospital that takes part no more.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ghanet_model.errors import WeightsError
from ghanet_model.files import write_atomic
from ghanet_model.question import Question, Sums
from ghanet_model.weights import from_safetensors, metadata_of, to_safetensors

from .intake import REASONS
from .run import GRACE_SECONDS, Run, gather, refreshed
from .statistics import ask_sums

FOLDER = "sums"  # below state/


@dataclass(frozen=True, slots=True)
class Kept:
    """What hospitals in good standing told, in roster order."""

    sums: dict[str, Sums] = field(repr=False)
    left_out: dict[str, str]  # why one told nothing


def kept_sums(
    run: Run, topic: Question, *, phase: str, online: Iterable[str] | None = None
) -> Kept:
    """What was told before, and now by all others.

    Args:
        run: the run.
        topic: what to ask.
        phase: what followers of the run read meanwhile.
        online: whom to ask; None: wait for hospitals as a round does, at first for all that train.

    Raises:
        TrainingError: hospitals that are waited for do not come.
    """
    known = read_kept(run, topic)
    run = refreshed(run)
    missing = {member.name for member in run.roster.active()} - set(known)
    if not missing:
        return Kept(known, {})
    if online is None:
        online = gather(run, everybody=not known, grace=0.0 if known else GRACE_SECONDS)
        run = refreshed(run)
    run.reporter.say(phase=phase)
    absent = missing - set(online)
    asked = [member for member in run.roster.active() if member.name in missing - absent]
    answers = ask_sums(run, topic, asked)
    sums = known | answers.good
    left_out = dict.fromkeys(sorted(absent), REASONS["offline"]) | answers.left_out
    names = [member.name for member in run.roster.active()]
    kept = Kept(
        {name: sums[name] for name in names if name in sums},
        {name: left_out[name] for name in names if name in left_out},
    )
    keep(run, topic, kept.sums)
    return kept


def read_kept(run: Run, topic: Question) -> dict[str, Sums]:
    """What hospitals that still take part told about this study before."""
    try:
        content = _path(run, topic).read_bytes()
        arrays = from_safetensors(content, where="kept sums")
    except (FileNotFoundError, WeightsError):
        return {}
    if metadata_of(content).get("study") != run.study.digest:
        return {}
    shapes = topic.shapes(run.study)
    names = {key.partition("/")[0] for key in arrays}
    active = [member.name for member in run.roster_now().active()]
    return {
        name: {key: np.asarray(arrays[f"{name}/{key}"], np.float64) for key in shapes}
        for name in active
        if name in names
    }


def keep(run: Run, topic: Question, sums: Mapping[str, Sums]) -> None:
    """Keep these sums, and no others."""
    arrays = {f"{name}/{key}": array for name, own in sums.items() for key, array in own.items()}
    content = to_safetensors(arrays, {"study": run.study.digest})
    write_atomic(_path(run, topic), content)


def _path(run: Run, topic: Question) -> Path:
    return run.config.state / FOLDER / f"{topic.topic.replace(' ', '-')}.safetensors"
