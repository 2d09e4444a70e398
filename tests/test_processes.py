"""Processes: what we start we end, with all that it started, whoever dies first."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ghanet_model import processes
from ghanet_model.errors import DeploymentError
from ghanet_model.processes import (
    Child,
    flower_environment,
    free_port,
    program,
    start_child,
    stop_children,
    stop_on_signals,
)

DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
SLEEP = "print('up', flush=True); time.sleep(60)"
FAMILY = f"""\
import subprocess, sys
deaf = subprocess.Popen([sys.executable, "-c", {DEAF + SLEEP!r}], stdout=subprocess.PIPE)
deaf.stdout.readline()
print("grandchild", deaf.pid, flush=True)
deaf.wait()
"""
PARENT = """\
import os, sys, time
from pathlib import Path
from ghanet_model.processes import start_child
child = start_child(
    "child", [sys.executable, *sys.argv[2:]], environment=os.environ, log=Path(sys.argv[1])
)
print(child.process.pid, flush=True)
time.sleep(60)
"""
ATTACHED = """\
import time
from ghanet_model.processes import end_with_parent
end_with_parent()
print("attached", flush=True)
time.sleep(60)
"""


def wait_until(fact: Callable[[], bool], seconds: float = 10.0) -> bool:
    """Whether it came true in time."""
    end = time.monotonic() + seconds
    while not fact() and time.monotonic() < end:
        time.sleep(0.02)
    return fact()


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and waits to be collected does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"


@pytest.fixture
def start(tmp_path):
    """Start Python code as a child; what is left at the end of a test is killed."""
    started = []

    def begin(code: str, **options) -> Child:
        command = [sys.executable, "-c", code]
        options = {"environment": os.environ, "log": tmp_path / "logs" / "child.log"} | options
        started.append(start_child("child", command, **options))
        return started[-1]

    yield begin
    for child in started:
        if child.running:
            os.killpg(child.process.pid, signal.SIGKILL)
        child.process.wait()


def test_output_goes_to_the_log(start, tmp_path):
    """Both streams of a child are in its log, after what was there before."""
    (tmp_path / "logs").mkdir()
    log = tmp_path / "logs" / "child.log"
    log.write_text("before\n")
    child = start("import sys; print('out', flush=True); print('err', file=sys.stderr)")
    assert child.process.wait() == 0
    assert wait_until(lambda: log.read_text() == "before\nout\nerr\n")


def test_each_line_is_heard_as_it_comes(start):
    """A listener gets whole lines while the child runs, bytes that are no text included."""
    heard = []
    child = start(
        r"import os, time; os.write(1, b'a\nb\xff\n'); time.sleep(60)", on_line=heard.append
    )
    assert wait_until(lambda: len(heard) == 2)
    assert heard == ["a", "b\N{REPLACEMENT CHARACTER}"]
    assert child.running


def test_the_last_lines_are_kept(start):
    """Enough lines stay in memory to say why a child ended, and no more."""
    child = start("for i in range(500): print('line', i)")
    assert wait_until(lambda: child.last("line 499") is not None)
    assert child.last("line") == "line 499"
    assert child.last("line 4$") is None
    assert len(child.lines) == 100


def test_a_long_log_is_set_aside(start, tmp_path, monkeypatch):
    """A log does not grow without end; the last one stays to be read."""
    monkeypatch.setattr(processes, "LOG_BYTES", 10)
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "child.log").write_text("x" * 11)
    start("print('new')").process.wait()
    assert wait_until(lambda: (tmp_path / "logs" / "child.log").read_text() == "new\n")
    assert (tmp_path / "logs" / "child.old.log").read_text() == "x" * 11


def test_a_child_has_only_its_environment(start, monkeypatch):
    """A child sees what it is given and nothing of ours."""
    monkeypatch.setenv("OURS", "secret")
    child = start("import os; print(sorted(os.environ))", environment={"GIVEN": "1"})
    assert wait_until(lambda: child.last("GIVEN") is not None)
    assert "OURS" not in child.last("GIVEN")


def test_a_polite_child_ends_by_itself(start):
    """A child that understands SIGTERM ends in its own way, at once."""
    code = "import signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: sys.exit(7)); "
    child = start(code + SLEEP)
    assert wait_until(lambda: child.last("up") is not None)
    began = time.monotonic()
    stop_children([child])
    assert child.process.returncode == 7
    assert time.monotonic() - began < 5


def test_a_deaf_grandchild_ends_too(start, monkeypatch):
    """Nothing of the tree is left, though its leader is gone and the rest ignores SIGTERM."""
    monkeypatch.setattr(processes, "STOP_SECONDS", 0.5)
    child = start(FAMILY)
    assert wait_until(lambda: child.last("grandchild") is not None)
    grandchild = int(child.last("grandchild").split()[1])
    assert is_alive(grandchild)
    stop_children([child])
    assert not child.running
    assert wait_until(lambda: not is_alive(grandchild), seconds=2)


def test_several_children_are_stopped_together(start, monkeypatch):
    """Deaf children wait for the end of patience side by side, not one after the other."""
    monkeypatch.setattr(processes, "STOP_SECONDS", 1.0)
    children = [start(DEAF + SLEEP) for _ in range(3)]
    assert wait_until(lambda: all(child.last("up") for child in children))
    began = time.monotonic()
    stop_children(children)
    assert time.monotonic() - began < 2.5
    assert not any(child.running for child in children)


def test_stopping_what_has_ended_is_no_error(start):
    """Children that ended by themselves are stopped like others, also twice."""
    child = start("pass")
    child.process.wait()
    stop_children([child])
    stop_children([child])
    assert child.process.returncode == 0


@pytest.fixture
def parent(tmp_path):
    """Start a process that starts a child from arguments; gives (parent, the child's pid)."""
    started = []

    def begin(*arguments: str) -> tuple[subprocess.Popen, int]:
        command = [sys.executable, "-c", PARENT, str(tmp_path / "child.log"), *arguments]
        process = subprocess.Popen(command, stdout=subprocess.PIPE)
        child = int(process.stdout.readline())
        started.append((process, child))
        return process, child

    yield begin
    for process, child in started:
        process.kill()
        process.wait()
        process.stdout.close()
        if is_alive(child):
            os.killpg(child, signal.SIGKILL)


def has_said(log: Path, word: str) -> bool:
    """Whether a log holds a word."""
    return log.exists() and word in log.read_text()


def test_a_child_ends_with_its_parent(parent, tmp_path):
    """After kill -9 of its parent a child is gone within 2 seconds."""
    process, child = parent("-c", ATTACHED)
    assert wait_until(lambda: has_said(tmp_path / "child.log", "attached"))
    assert is_alive(child)
    process.kill()
    assert wait_until(lambda: not is_alive(child), seconds=2)


def test_a_child_that_was_still_starting_ends_too(parent, tmp_path):
    """A parent that dies before its child looked for it is missed all the same."""
    silent = ATTACHED.replace(
        'print("attached", flush=True)', ""
    )  # a word into the closed pipe would end it too
    process, child = parent("-c", f"import time; time.sleep(1)\n{silent}")
    process.kill()
    process.wait()
    assert is_alive(child)
    assert wait_until(lambda: not is_alive(child), seconds=5)


def test_an_attached_program_ends_with_its_parent(parent, tmp_path):
    """Programs of others are held to it by 'python -m ghanet_model.attached'."""
    script = tmp_path / "tool"
    script.write_text("import sys, time\nprint('got', *sys.argv[1:], flush=True)\ntime.sleep(60)\n")
    process, child = parent("-m", "ghanet_model.attached", str(script), "--a", "b")
    assert wait_until(lambda: has_said(tmp_path / "child.log", "got --a b"))
    process.kill()
    assert wait_until(lambda: not is_alive(child), seconds=2)


def test_a_child_lives_while_its_parent_does(parent, tmp_path):
    """Being attached ends nothing by itself; a grandchild does not take our parent for its own."""
    nested = f"import subprocess, sys\n{ATTACHED.rsplit('time.sleep', 1)[0]}"
    nested += f"subprocess.run([sys.executable, '-c', {ATTACHED!r}])\n"
    _, child = parent("-c", nested)
    log = tmp_path / "child.log"
    assert wait_until(lambda: log.exists() and log.read_text().count("attached") == 2)
    time.sleep(0.6)
    assert is_alive(child)


def test_a_free_port_can_be_listened_on():
    """The port is free, and another one is given while it is taken."""
    port = free_port()
    with socket.create_server(("127.0.0.1", port)):
        assert free_port() != port


def test_flower_is_told_to_be_quiet(tmp_path, monkeypatch):
    """No telemetry and no update check, our programs first, and the caller's additions."""
    monkeypatch.setenv("PATH", "/elsewhere")
    monkeypatch.setenv("FLWR_TELEMETRY_ENABLED", "1")
    found = flower_environment(tmp_path, EXTRA="x")
    assert (found["FLWR_TELEMETRY_ENABLED"], found["FLWR_DISABLE_UPDATE_CHECK"]) == ("0", "1")
    assert found["PATH"].split(os.pathsep) == [str(Path(sys.executable).parent), "/elsewhere"]
    assert (found["FLWR_HOME"], found["EXTRA"]) == (str(tmp_path), "x")


def test_a_program_is_found_beside_this_python():
    """Commands of this environment go before those of the system."""
    assert Path(program("pytest")).parent == Path(sys.executable).parent


def test_a_missing_program_is_named():
    """A command that is not installed is our error."""
    with pytest.raises(DeploymentError, match="'no-such-program' is not installed"):
        program("no-such-program")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_asks_to_stop(number):
    """Ctrl-C and a service manager's SIGTERM set the event, and end nothing by force."""
    before = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        stopping = stop_on_signals()
        assert isinstance(stopping, threading.Event)
        assert not stopping.is_set()
        os.kill(os.getpid(), number)
        assert stopping.wait(2)
    finally:
        for n, handler in before.items():
            signal.signal(n, handler)
