"""Keeps the trainer running beside the connection: started, started again, ended with it."""

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ghanet_model.processes import Child, start_child, stop_children

from .config import FOLDER_VARIABLE
from .frames import GROUP_VARIABLE

LOOK_SECONDS = 0.3
FIRST_DELAY, LONGEST_DELAY = 1.0, 60.0
STEADY_SECONDS = 60.0  # one that ran for this long did not die at once
KILLED = -9  # by a signal that the system sends when memory runs out
LARGE_PAGES = {"THP_MEM_ALLOC_ENABLE": "1"}  # torch asks Linux for them: fewer page faults
Say = Callable[[str], None]


@contextmanager
def trainer_beside(folder: Path, say: Say, *, group: int | None = None) -> Iterator[None]:
    """A trainer of this hospital's folder runs inside the block, however often it dies.

    Args:
        folder: the hospital's.
        say: one line for its console.
        group: of the user that the app runs as, if that is another one.
    """
    ended = threading.Event()
    keeper = threading.Thread(target=_keep, args=(folder, say, ended, group))
    keeper.start()
    try:
        yield
    finally:
        ended.set()
        keeper.join()


def _keep(folder: Path, say: Say, ended: threading.Event, group: int | None) -> None:
    """Start the trainer until told to end; ever later if it keeps dying at once."""
    delay = FIRST_DELAY
    while not ended.is_set():
        began = time.monotonic()
        trainer = _start(folder, group)
        while trainer.running and not ended.wait(LOOK_SECONDS):
            pass
        stop_children([trainer])
        if ended.is_set():
            return
        if time.monotonic() - began > STEADY_SECONDS:
            delay = FIRST_DELAY
        killed = trainer.process.returncode == KILLED
        what = "was killed (out of memory?)" if killed else "ended"
        say(f"the trainer {what}; starting it again in {delay:.0f} s, see logs/trainer.log")
        ended.wait(delay)
        delay = min(LONGEST_DELAY, 2 * delay)


def _start(folder: Path, group: int | None) -> Child:
    return start_child(
        "Trainer",
        [sys.executable, "-m", "client.trainer"],
        environment={
            **os.environ,
            **LARGE_PAGES,
            FOLDER_VARIABLE: str(folder),
            GROUP_VARIABLE: "" if group is None else str(group),
            "PYTHONUNBUFFERED": "1",
        },
        log=folder / "logs" / "trainer.log",
    )
