"""The heartbeat of a command that keeps running: a small file that says when the next is due.

``start`` of either side writes it, ``health`` reads it. It says nothing of cases or messages.
"""

import datetime as dt
import json
import time
from dataclasses import dataclass
from pathlib import Path

from .certificates import MOST_BYTES, WARN_DAYS, certificate_end
from .errors import DeploymentError, KeysError
from .files import read_file, write_json
from .settings import FORMAT

HEARTBEAT_FILE = "heartbeat.json"  # in state/
BEAT_SECONDS, PATIENCE_SECONDS = 10.0, 60.0  # between beats; a beat may be late by so much
LONGEST_PAUSE = dt.timedelta(hours=1)  # no pause between two tries is as long
_DAMAGED = (ValueError, KeyError, TypeError)


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """What was said last."""

    due: dt.datetime  # of the next beat
    working: bool  # connected, or serving
    since: dt.datetime  # that is so


class Heart:
    """Beats for a running command; a beat that cannot be written is missed, and that shows.

    A second one goes on where the first left off, until ``stop``.
    """

    def __init__(self, state: Path) -> None:
        self._path = state / HEARTBEAT_FILE
        self._next = 0.0  # monotonic seconds
        try:
            before = _read(self._path)
        except (OSError, *_DAMAGED):
            before = None
        self._working = before.working if before else None
        self._since = before.since if before else dt.datetime.now(dt.UTC)

    def beat(self, *, working: bool, pause: float = 0.0) -> None:
        """Say that all goes on; call it often, it writes every few seconds or when that changes.

        Args:
            working: connected, or serving.
            pause: seconds that may pass until the next call.
        """
        if working == self._working and time.monotonic() < self._next and not pause:
            return
        now = dt.datetime.now(dt.UTC)
        if working != self._working:
            self._working, self._since = working, now
        self._next = time.monotonic() + BEAT_SECONDS
        due = now + dt.timedelta(seconds=max(pause, BEAT_SECONDS))
        values = {"format": FORMAT, "due": due.isoformat(), "working": working}
        try:
            write_json(self._path, {**values, "since": self._since.isoformat()})
        except OSError:
            return  # a full disk ends no process; 'health' sees that the beat is missing

    def stop(self) -> None:
        """The command ended in order."""
        self._path.unlink(missing_ok=True)


def require_heartbeat(state: Path, now: dt.datetime) -> Heartbeat:
    """The heartbeat of a command that goes on.

    Raises:
        DeploymentError: there is none, it cannot be read, or it is late.
    """
    path = state / HEARTBEAT_FILE
    if not path.exists():
        raise DeploymentError("'start' does not run here", hint="it may not serve or connect yet")
    try:
        found = _read(path)
    except (OSError, *_DAMAGED):
        raise DeploymentError(
            f"state/{HEARTBEAT_FILE} cannot be read", hint="stop and start again"
        ) from None
    if found.due - now > LONGEST_PAUSE:
        raise DeploymentError(
            f"state/{HEARTBEAT_FILE} is of the future",
            hint="was the clock set back? stop and start again",
        )
    late = now - found.due
    if late.total_seconds() > PATIENCE_SECONDS:
        raise DeploymentError(
            f"'start' has said nothing for {spelt_time(late)} more than it should",
            hint="it hangs, was killed, or the disk is full: look at logs/, then start it again",
        )
    return found


def _read(path: Path) -> Heartbeat:
    values = json.loads(read_file(path, most=MOST_BYTES))
    due, since = (dt.datetime.fromisoformat(values[key]) for key in ("due", "since"))
    _ = due - since, since - dt.datetime.now(dt.UTC)  # both have a time zone
    return Heartbeat(due, bool(values["working"]), since)


def certificate_lines(keys: Path, now: dt.datetime) -> list[str]:
    """A line for each certificate that ends soon.

    Raises:
        KeysError: one has ended, or cannot be read.
    """
    lines = []
    for path in sorted(keys.glob("*.crt")):
        if ".old." in path.name:
            continue
        left = certificate_end(read_file(path, most=MOST_BYTES)) - now
        if left.total_seconds() <= 0:
            raise KeysError(
                f"certificate keys/{path.name} has ended",
                hint="'ghanet-server start' renews its own; for others ask the coordinator",
            )
        if left.days < WARN_DAYS:
            lines.append(f"warning: certificate keys/{path.name} ends in {spelt_time(left)}")
    return lines


def spelt_time(span: dt.timedelta) -> str:
    """A span of time in one unit.

    >>> spelt_time(dt.timedelta(seconds=90)), spelt_time(dt.timedelta(days=3))
    ('90 s', '3 days')
    """
    seconds = span.total_seconds()
    for unit, size in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size:.0f} {unit}"
    return f"{seconds:.0f} s"
