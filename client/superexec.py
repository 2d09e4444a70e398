"""Launcher of Flower's SuperExec: the real one, whose apps start at once.

Flower starts a new Python for every message, and its imports alone take longer than most answers.
Here Python's fork server imports them once and runs no app itself: each message gets a new process,
a copy of that one. Its token stands on no command line.
"""

import multiprocessing
import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from multiprocessing import forkserver
from types import SimpleNamespace

import flwr.supercore.superexec.executor.subprocess_executor as executor
import flwr.supernode.runtime.run_clientapp as runtime
from flwr.supercore.cli import flower_superexec
from flwr.supernode.cli import flwr_clientapp

from ghanet_model.attached import give_up_new_privileges
from ghanet_model.commands import say_error
from ghanet_model.errors import GHANetError
from ghanet_model.processes import end_with_parent
from ghanet_model.wire import ARRIVAL_SECONDS

from .seal import require_flower

APP = "flwr-clientapp"  # by which name Flower would start it
PULL = "pull_and_inflate_object_from_tree"  # what takes in a message, part by part
IMPORTED = ["client.superexec", "client.app"]  # this module imports Flower's side of the app


def run_app(arguments: Sequence[str]) -> None:
    """Flower's app for one message; only ever in a process of its own."""
    pull = partial(vars(runtime)[PULL], initial_backoff=ARRIVAL_SECONDS)
    vars(runtime)[PULL] = pull
    sys.argv = list(arguments)
    flwr_clientapp()


def start_app(arguments: Sequence[str]) -> None:
    """In place of ``subprocess.Popen`` in Flower's executor; other programs are not started."""
    if arguments[0] != APP:
        say_error("superexec", f"a hospital runs no {arguments[0]}", "ask the coordinator why")
        return
    multiprocessing.get_context("forkserver").Process(
        target=run_app, args=(arguments,), name=APP, daemon=True
    ).start()


def main() -> int:
    """Run SuperExec until it ends; returns 1 where it cannot begin."""
    end_with_parent()
    give_up_new_privileges()
    try:
        require_flower()
        multiprocessing.set_forkserver_preload(IMPORTED)
        forkserver.ensure_running()
    except GHANetError as error:
        say_error("superexec", str(error), error.hint)
        return 1
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        say_error(
            "superexec", f"no app can be started: {why}", "is there room in the folder of TMPDIR?"
        )
        return 1
    vars(executor)["subprocess"] = SimpleNamespace(Popen=start_app, DEVNULL=subprocess.DEVNULL)
    sys.argv[0] = "flower-superexec"
    flower_superexec()
    return 0
