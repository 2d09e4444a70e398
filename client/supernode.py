"""Launcher of Flower's SuperNode: the real one, ended when its parent ends, never left idle."""

import os
import sys
import time
from importlib.metadata import version
from types import SimpleNamespace

import flwr.supernode.start_client_internal as loop
from flwr.supernode.cli import flower_supernode

from ghanet_model.processes import end_with_parent

FLOWER = "1.41.0"  # whose loop is known; another version keeps its own sleep
IDLE_SECONDS = 3.0  # Flower's sleep after a look at the server that found nothing
LEAST_SECONDS, SHARE = 0.5, 0.05
WORK_SECONDS = 0.1  # between looks at the own app's answer, inside this machine


class Patience:
    """How long SuperNode sleeps: the sooner after work, the shorter.

    Rounds follow each other, and a look costs the server about 6 ms of one core. So SuperNode looks
    again after a twentieth of the time since its last work: a wait grows by 5 % at most. Fifty
    hospitals then cost half a core after a round, and as little as Flower's own when idle.
    """

    def __init__(self) -> None:
        self._worked = time.monotonic()

    def sleep(self, seconds: float) -> None:
        """In place of ``time.sleep`` in the loop; shorter sleeps than the idle one are in work."""
        if seconds < IDLE_SECONDS:
            self._worked = time.monotonic()
            time.sleep(min(seconds, WORK_SECONDS))
        else:
            since = time.monotonic() - self._worked
            time.sleep(min(seconds, max(LEAST_SECONDS, SHARE * since)))


def shorten_idle_sleep() -> bool:
    """Let the loop of the Flower version that we know sleep with patience; whether it was done."""
    if version("flwr") != FLOWER:
        return False
    patient = SimpleNamespace(**{**vars(time), "sleep": Patience().sleep})
    setattr(loop, "time", patient)  # noqa: B010 - the module's own import, not a name it offers
    return True


if __name__ == "__main__":
    end_with_parent()
    shorten_idle_sleep()
    sys.argv[0] = "flower-supernode"
    code = 75  # a SuperNode whose loop ended can stay alive and idle; end it so it is restarted
    try:
        flower_supernode()
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 75
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
