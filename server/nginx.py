"""Launcher of nginx: it ends when its parent ends; SIGHUP makes it read its settings anew."""

import signal
import subprocess
import sys

from ghanet_model.processes import end_with_parent

started: list[subprocess.Popen[bytes]] = []


def read_anew(*_: object) -> None:
    """Pass SIGHUP on."""
    for nginx in started:
        nginx.send_signal(signal.SIGHUP)


if __name__ == "__main__":
    end_with_parent()
    signal.signal(signal.SIGHUP, read_anew)  # first: it may come at once
    started.append(subprocess.Popen(sys.argv[1:]))
    sys.exit(started[0].wait())
