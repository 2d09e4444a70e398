"""Progress of a run as one small JSON file that commands follow. Counts and names only."""

import datetime as dt
import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from ghanet_model.errors import DeploymentError
from ghanet_model.files import write_json

PROGRESS_FILE, LOCK_FILE = "progress.json", "run.lock"
WAITING, STATISTICS, ROUND, FINAL, EVALUATION, DELIVERY = (
    "waiting for hospitals",
    "statistics",
    "round",
    "final evaluation",
    "evaluation of all arms",
    "delivery",
)
DESCRIBING, COMPARING = "describing cohorts", "comparing features"
FINISHED, FAILED = "finished", "failed"
LOCK_TRIES, LOCK_SECONDS = 10, 0.02


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a run stands."""

    run: str  # id of this run, so that a follower knows old news from new
    phase: str = WAITING
    round_number: int = 0
    rounds: int = 0
    sites: dict[str, str] = field(default_factory=dict)  # name -> what it is doing
    round_seconds: tuple[float, ...] = ()
    round_bytes: tuple[int, ...] = ()  # of arrays, to and from all hospitals
    c_index: tuple[float | None, ...] = ()  # of the models that came into rounds 1, 2, ...
    error: str = ""
    hint: str = ""
    updated: str = ""

    @property
    def ended(self) -> bool:
        """Whether nothing more will come."""
        return self.phase in (FINISHED, FAILED)


@dataclass
class Reporter:
    """Writes progress; the only writer while a run goes on."""

    folder: Path
    now: Progress

    def say(self, **changes: object) -> None:
        """Change some fields and write."""
        stamp = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
        self.now = replace(self.now, **changes, updated=stamp)  # type: ignore[arg-type]
        write_json(self.folder / PROGRESS_FILE, asdict(self.now))

    def site(self, name: str, doing: str) -> None:
        """What one hospital is doing now."""
        self.say(sites={**self.now.sites, name: doing})


def read_progress(folder: Path) -> Progress | None:
    """The last progress written, None before the first run."""
    try:
        values = json.loads((folder / PROGRESS_FILE).read_text())
        for key in ("round_seconds", "round_bytes", "c_index"):
            values[key] = tuple(values[key])
        return Progress(**values)
    except (OSError, ValueError, KeyError, TypeError):
        return None


@contextmanager
def run_lock(folder: Path) -> Iterator[None]:
    """Hold the folder's run lock; the system frees it however the process ends.

    Raises:
        DeploymentError: another run holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        if not any(_took(handle, fcntl.LOCK_EX) for _ in range(LOCK_TRIES)):
            raise DeploymentError("another run holds this folder")
        yield
    finally:
        os.close(handle)


def _took(handle: int, kind: int) -> bool:
    """Whether the lock could be taken; waits a little where not, as ``is_running`` holds it too."""
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        time.sleep(LOCK_SECONDS)
        return False
    return True


def is_running(folder: Path) -> bool:
    """Whether a run holds the lock now; a look that disturbs neither a run nor another look."""
    try:
        handle = os.open(folder / LOCK_FILE, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        return not _took(handle, fcntl.LOCK_SH)
    finally:
        os.close(handle)
