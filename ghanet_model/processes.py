"""Processes that live and die together: started with a clean environment, never left behind."""

import multiprocessing
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from .errors import DeploymentError

STOP_SECONDS = 8.0
PARENT_VARIABLE = "GHANET_PARENT"  # tells a child whose end is its own
LOG_BYTES = 20_000_000  # a log larger than this is set aside at the next start
PROXY_VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
FLOWER_ENVIRONMENT = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
    "FLWR_SUPEREXEC_TASK_POLL_INTERVAL": "0.1",
    "PYTHONUNBUFFERED": "1",
}


def flower_environment(home: Path, **extra: str) -> dict[str, str]:
    """Environment for Flower's programs: no telemetry, no update check, our programs on PATH.

    No proxy either, unless ``extra`` names one: they reach this machine only.
    """
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    ours = {name: text for name, text in os.environ.items() if name.upper() not in PROXY_VARIABLES}
    return {**ours, **FLOWER_ENVIRONMENT, "PATH": programs, "FLWR_HOME": str(home), **extra}


def program(name: str) -> str:
    """Path of a command installed beside this Python.

    Raises:
        DeploymentError: it is not installed here.
    """
    found = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
    if found is None:
        raise DeploymentError(f"command '{name}' is not installed", hint="install the project")
    return found


@dataclass
class Child:
    """One process of ours; its output goes to a log, line by line through ``on_line``."""

    name: str
    process: subprocess.Popen[bytes]
    lines: list[str] = field(default_factory=list)  # the last ones, for saying why it ended

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self.process.poll() is None

    def last(self, pattern: str) -> str | None:
        """The newest kept line that holds ``pattern``."""
        return next((line for line in reversed(self.lines) if re.search(pattern, line)), None)


@dataclass(frozen=True, slots=True)
class Account:
    """Another user of this machine, as root starts programs for it."""

    name: str
    user: int
    group: int
    home: Path  # where its programs work

    @property
    def options(self) -> dict[str, Any]:
        """For ``subprocess``: its rights and no others."""
        return {"user": self.user, "group": self.group, "extra_groups": [], "cwd": self.home}


def start_child(  # noqa: PLR0913 - what a process needs; each by name but what it is
    name: str,
    command: Sequence[str],
    *,
    environment: Mapping[str, str],
    log: Path,
    on_line: Callable[[str], None] = lambda _: None,
    account: Account | None = None,
) -> Child:
    """Start a process in its own group, its output copied to ``log``; as ``account`` if given."""
    log.parent.mkdir(parents=True, exist_ok=True)
    if log.exists() and log.stat().st_size > LOG_BYTES:
        log.replace(log.with_suffix(".old.log"))
    process = subprocess.Popen(
        command,
        env={**environment, PARENT_VARIABLE: str(os.getpid())},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        **(account.options if account else {}),
    )
    child = Child(name, process)
    threading.Thread(target=_copy_output, args=(child, log, on_line), daemon=True).start()
    return child


def _copy_output(child: Child, log: Path, on_line: Callable[[str], None]) -> None:
    pipe = child.process.stdout
    if pipe is None:
        return
    with pipe, log.open("ab") as file:
        for raw in pipe:
            file.write(raw)
            file.flush()
            line = raw.decode(errors="replace").rstrip()
            child.lines = [*child.lines[-99:], line]
            on_line(line)


def stop_children(children: Sequence[Child]) -> None:
    """Ask every child's group to end, in order; after some seconds end what is left."""
    for child in children:
        _signal_group(child, signal.SIGTERM)
    end = time.monotonic() + STOP_SECONDS
    while any(_group_alive(child) for child in children) and time.monotonic() < end:
        time.sleep(0.05)
    for child in children:
        _signal_group(child, signal.SIGKILL)
        child.process.wait()


def _signal_group(child: Child, number: signal.Signals) -> None:
    try:
        os.killpg(child.process.pid, number)
    except (ProcessLookupError, PermissionError):
        return


def _group_alive(child: Child) -> bool:
    child.process.poll()  # collects it, so that a dead leader does not count
    try:
        os.killpg(child.process.pid, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def end_with_parent() -> None:
    """End this process's group when its parent is gone, even if that was killed."""
    parent = int(os.environ.pop(PARENT_VARIABLE, os.getppid()))  # it may be gone already

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.2)
        os.killpg(os.getpgrp(), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()


def exit_with(stop: Connection) -> None:
    """End this worker, whatever it does, when ``stop`` is closed or its parent is gone.

    Unlike ``end_with_parent`` it ends nobody else of the process group.
    """
    parent = multiprocessing.parent_process()
    sentinels = [parent.sentinel] if parent else []

    def watch() -> None:
        wait([stop, *sentinels])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def free_port() -> int:
    """A TCP port of the loopback interface that nobody listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def can_listen(host: str, port: int) -> bool:
    """Whether a server could listen there now."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def stop_on_signals() -> threading.Event:
    """An event that SIGINT and SIGTERM set, so that a command can end in order."""
    stopping = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopping.set())
    return stopping
