"""All that the coordinator's disk holds of a run, half-way or at its end. Reads, never writes."""

import json
from dataclasses import dataclass, replace
from typing import Any

from ghanet_model.distribution import installed
from ghanet_model.errors import StudyError, TrainingError
from ghanet_model.files import sha256
from ghanet_model.ledger import read_ledger
from ghanet_model.study import RELEASE_SUFFIX, StudyConfig, read_study

from . import progress
from .checkpoint import Checkpoint, read_checkpoint
from .config import ServerConfig
from .finish import SELECTED_FILE, FinalEvaluation, read_final
from .ledger import server_ledger
from .report_rounds import released_round
from .roster import Roster, read_roster
from .rounds import FINAL_FILE

STATE_FILES = ("cohort", "signature", "panel", "evaluation", "reference")  # .json, below state/


@dataclass(frozen=True, slots=True)
class RunReport:
    """One run; what is not there yet is None."""

    study: StudyConfig
    roster: Roster
    checkpoint: Checkpoint | None = None
    final: FinalEvaluation | None = None  # of the released model
    last: FinalEvaluation | None = None  # of the last round's, where another one is released
    released: int | None = None  # its round
    cohort: dict[str, Any] | None = None
    signature: dict[str, Any] | None = None
    panel: dict[str, Any] | None = None
    evaluation: dict[str, Any] | None = None
    reference: dict[str, Any] | None = None
    now: progress.Progress | None = None
    running: bool = False  # a run goes on at this moment
    digests: dict[str, Any] | None = None

    @property
    def number(self) -> int:
        """Rounds trained."""
        return self.checkpoint.number if self.checkpoint else 0

    @property
    def stopped(self) -> str:
        """Why no run goes on though the study is not at its end; empty where that is not so."""
        if self.now is None or self.running or self.now.phase == progress.FINISHED:
            return ""
        return self.now.error or f"in '{self.now.phase}', without a word"

    @property
    def undelivered(self) -> str:
        """Who did not get the release."""
        finished = self.now is not None and self.now.phase == progress.FINISHED
        return self.now.error if self.now and finished else ""

    @property
    def state(self) -> str:
        """How far the run has come, in words."""
        of = f"{self.number} of {self.study.rounds} rounds"
        if self.number < self.study.rounds:
            return f"half-way: {of}" if self.number else f"before the first round: {of}"
        if self.final is None:
            return f"trained, not evaluated yet: {of}"
        return f"finished: {of}, evaluated" + ("" if self.evaluation else " by C-index only")


def read_run(config: ServerConfig) -> RunReport:
    """What there is of the folder's run.

    Raises:
        TrainingError: nothing yet.
        StudyError: a file belongs to another study than study.yaml, or is damaged.
    """
    study = read_study(config.folder)
    checkpoint = read_checkpoint(config.state / "checkpoints", study=study.digest)
    last, kept = (_read_final(config, name, study) for name in (FINAL_FILE, SELECTED_FILE))
    sites = last.sites if last else ()
    number = released_round(study, checkpoint, sites, kept=bool(kept)) if checkpoint else None
    other = checkpoint is not None and number != checkpoint.number
    found = RunReport(
        study,
        read_roster(config.folder),
        checkpoint,
        final=kept if other else last,
        last=last,
        released=number,
    )
    whole = with_files(config, found)
    if checkpoint is None and not any(getattr(whole, key) for key in STATE_FILES):
        raise TrainingError(
            "there is nothing to report yet", hint="run 'ghanet-server train' first"
        )
    return whole


def of_release(
    config: ServerConfig,
    study: StudyConfig,
    roster: Roster,
    checkpoint: Checkpoint,
    final: FinalEvaluation | None,
) -> RunReport:
    """A run at its end, its released model in memory, with all that lies on disk."""
    found = RunReport(
        study,
        roster,
        checkpoint,
        final,
        last=_read_final(config, FINAL_FILE, study) or final,
        released=checkpoint.selected or checkpoint.number if final else None,
    )
    whole = with_files(config, found)
    now = replace(whole.now, phase=progress.FINISHED, error="") if whole.now else None
    return replace(whole, running=False, now=now)


def with_files(config: ServerConfig, found: RunReport) -> RunReport:
    """The same run with everything else that lies on disk."""
    cohort, signature, panel, evaluation, reference = (
        _read(config, f"{name}.json", found.study) for name in STATE_FILES
    )
    return replace(
        found,
        cohort=cohort,
        signature=signature,
        panel=panel,
        evaluation=evaluation,
        reference=reference,
        now=progress.read_progress(config.state),
        running=progress.is_running(config.state),
        digests=digests_of(config, found.study),
    )


def _read_final(config: ServerConfig, name: str, study: StudyConfig) -> FinalEvaluation | None:
    values = _read(config, name, study)
    return read_final(values, study=study.digest) if values else None


def _read(config: ServerConfig, name: str, study: StudyConfig) -> dict[str, Any] | None:
    """A file of state/, None where there is none."""
    try:
        values: dict[str, Any] = json.loads((config.state / name).read_text())
        digest = values["study"]
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError):
        raise StudyError(
            f"state/{name} is damaged", hint="delete it and run 'ghanet-server train' again"
        ) from None
    if digest != study.digest:
        raise StudyError(
            f"state/{name} belongs to another study than study.yaml",
            hint="restore study.yaml, or start the new study in a folder of its own",
        )
    return values


def digests_of(config: ServerConfig, study: StudyConfig) -> dict[str, Any]:
    """What proves which study, software, release and ledger the numbers are of."""
    here, lines = installed(), read_ledger(server_ledger(config).path)
    release = config.releases / f"{study.name}{RELEASE_SUFFIX}"
    return {
        "study": study.digest,
        "software": here.digest,
        "versions": dict(here.versions),
        "release": sha256(release.read_bytes()) if release.exists() else None,
        "ledger_lines": len(lines),
        "ledger_head": lines[-1].digest if lines else None,
    }
