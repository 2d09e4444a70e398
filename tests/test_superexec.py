"""The launcher of SuperExec: what it changes in Flower is there, and apps start as copies."""

import inspect
import multiprocessing
import os
import re
import subprocess
import sys
from pathlib import Path

import flwr.supercore.superexec.executor.subprocess_executor as executor
import flwr.supernode.runtime.run_clientapp as runtime
import pytest
from flwr.supercore.constant import TASK_TYPE_TO_COMMAND, TaskType

from client.launch import SUPEREXEC
from client.superexec import APP, PULL, start_app

TWICE = """\
import multiprocessing, os, sys, time
from client.superexec import APP, IMPORTED, start_app
multiprocessing.set_forkserver_preload(IMPORTED)
for _ in range(2):
    began = time.monotonic()
    start_app([APP, "--help"])
    (app,) = multiprocessing.process._children  # active_children() forgets those that have ended
    app.join()
    print("code", app.exitcode, app.pid, time.monotonic() - began, flush=True)
print("self", os.getpid())
"""


KILLED = """\
import multiprocessing, os, signal
from multiprocessing.forkserver import _forkserver
from client.superexec import APP, start_app
for _ in range(2):
    start_app([APP, "--help"])
    (app,) = multiprocessing.process._children  # active_children() forgets those that have ended
    app.join()
    print("code", app.exitcode, flush=True)
    server = _forkserver._forkserver_pid
    os.kill(server, signal.SIGKILL)
    os.waitid(os.P_PID, server, os.WEXITED | os.WNOWAIT)
"""


def test_flower_starts_apps_where_we_think() -> None:
    """The pinned version starts every process by the one name that we replace."""
    source = inspect.getsource(executor)
    assert re.findall(r"\bsubprocess\.\w+", source) == [
        "subprocess.Popen",
        "subprocess.DEVNULL",
        "subprocess.DEVNULL",
        "subprocess.Popen",
    ]
    assert executor.subprocess is subprocess
    assert TASK_TYPE_TO_COMMAND[TaskType.CLIENT_APP] == APP


def test_an_app_is_a_process_of_its_own_that_imports_nothing() -> None:
    """Flower's command runs in it, with its exit code; the second one starts at once."""
    command = [sys.executable, "-c", TWICE]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    codes = [line.split()[1:] for line in done.stdout.splitlines() if line.startswith("code")]
    (first, first_id, imported), (second, second_id, seconds) = codes
    own = done.stdout.split()[-1]
    assert (first, second) == ("0", "0")
    assert len({first_id, second_id, own}) == 3
    assert done.stdout.count("Run a Flower ClientApp") == 2
    assert float(seconds) < float(imported) / 2  # seen on two busy cores: .05 s and 3.5 s
    assert done.stderr == ""


def test_a_killed_fork_server_is_started_again() -> None:
    """The next app starts as if nothing had been."""
    command = [sys.executable, "-c", KILLED]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.count("code 0") == 2


def test_no_room_for_its_socket_is_one_clear_line(tmp_path: Path) -> None:
    """A full or long temporary folder: what is wrong and what to do, no traceback."""
    long = tmp_path / ("x" * 100)
    long.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", SUPEREXEC],
        env={**os.environ, "TMPDIR": str(long)},
        start_new_session=True,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "superexec: error: no app can be started: af_unix path too long\n"
        "superexec: hint: is there room in the folder of TMPDIR?\n"
    )


@pytest.mark.parametrize("kind", sorted(set(TASK_TYPE_TO_COMMAND) - {TaskType.CLIENT_APP}))
def test_no_other_program_is_started(kind: TaskType, capsys: pytest.CaptureFixture[str]) -> None:
    """Flower knows apps that are no hospital's; its token is not repeated."""
    name = TASK_TYPE_TO_COMMAND[kind]
    start_app([name, "--token", "x"])
    assert multiprocessing.active_children() == []
    assert capsys.readouterr().err == (
        f"superexec: error: a hospital runs no {name}\nsuperexec: hint: ask the coordinator why\n"
    )


def test_a_part_that_has_not_arrived_is_looked_for_again_soon() -> None:
    """Taking in a message, Flower's app waits as long as Flower's constant says: a second."""
    assert inspect.signature(vars(runtime)[PULL]).parameters["initial_backoff"].default == 1
    assert f"message = {PULL}(" in inspect.getsource(runtime.pull_task_input)
    assert "initial_backoff" not in inspect.getsource(runtime)
