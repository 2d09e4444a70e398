"""``ghanet-server start``: SuperLink, SuperExec and the door as one, ended as one."""

import datetime as dt
import errno
import secrets
import socket
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from ghanet_model.errors import DeploymentError
from ghanet_model.files import write_atomic
from ghanet_model.heartbeat import Heart
from ghanet_model.processes import (
    Child,
    flower_environment,
    program,
    start_child,
    stop_children,
    stop_on_signals,
)

from . import control
from .config import FOLDER_VARIABLE, ServerConfig
from .door import behind_door, open_door
from .door_words import door_line, door_lines
from .membership import align_keys
from .roster import read_roster

READY_SECONDS = 90.0
Say = Callable[[str], None]


def serve(config: ServerConfig, say: Say) -> int:
    """Serve until asked to stop.

    Raises:
        DeploymentError: the port is taken, or a process does not start or ends by itself.
    """
    _require_free_port(config)
    config = behind_door(config)
    heart = Heart(config.state)
    heart.stop()  # of a start that was killed
    ready_mark(config).unlink(missing_ok=True)
    config.logs.mkdir(parents=True, exist_ok=True)
    config.state.mkdir(parents=True, exist_ok=True)
    control.write_flower_settings(config)
    write_atomic(config.keys / "superexec.secret", secrets.token_bytes(48), private=True)
    stopping = stop_on_signals()
    children, door = [_start_superlink(config)], None
    try:
        _wait_until_serving(config, children[0], stopping)
        align_keys(config)
        children.append(_start_superexec(config))
        door = open_door(config, say) if config.inner_port else None
        write_atomic(ready_mark(config), b"")
        _say_ready(config, say)
        while not stopping.wait(0.3):
            _require_running(children)
            if door:
                door.tend()
            heart.beat(working=True)
    finally:
        heart.stop()
        ready_mark(config).unlink(missing_ok=True)
        stop_children([*([door.child] if door else []), *children[::-1]])
    say("stopped")
    return 0


def ready_mark(config: ServerConfig) -> Path:
    """A file that is there once every hospital in good standing is let in."""
    return config.state / "serving"


def _require_free_port(config: ServerConfig) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((config.listen, config.port))
        except OSError as error:
            why = (error.strerror or "unknown reason").lower()
            hint = "another server runs there, or change 'port' or 'listen' in server.yaml"
            if error.errno == errno.EACCES:
                hint = "ports below 1024 need a right: see deploy/README.md, or take another port"
            raise DeploymentError(
                f"port {config.port} of {config.listen} cannot be used ({why})", hint=hint
            ) from None


def _start_superlink(config: ServerConfig) -> Child:
    command = [sys.executable, "-m", "server.superlink"]
    host = config.local_host if config.inner_port else config.listen
    command += ["--host", host, "--port", str(config.local_port)]
    command += ["--ssl-ca-certfile", str(config.keys / "ca.crt")]
    command += ["--ssl-certfile", str(config.keys / "server.crt")]
    command += ["--ssl-keyfile", str(config.keys / "server.key")]
    command += ["--enable-supernode-auth", "--database", str(config.state / "superlink.db")]
    command += ["--isolation", "process", "--disable-runtime-dependency-installation"]
    command += ["--superexec-auth-secret-file", str(config.keys / "superexec.secret")]
    environment = flower_environment(config.flower_home)
    return start_child(
        "SuperLink", command, environment=environment, log=config.logs / "superlink.log"
    )


def _start_superexec(config: ServerConfig) -> Child:
    command = [sys.executable, "-m", "ghanet_model.attached", program("flower-superexec")]
    command += ["--runtime-api-address", config.local_address]
    command += ["--root-certificates", str(config.keys / "ca.crt")]
    command += ["--superexec-auth-secret-file", str(config.keys / "superexec.secret")]
    environment = flower_environment(
        config.flower_home,
        **{FOLDER_VARIABLE: str(config.folder), "FLWR_SUPEREXEC_TASK_POLL_INTERVAL": "1"},
    )  # it has one task per run
    return start_child(
        "SuperExec", command, environment=environment, log=config.logs / "superexec.log"
    )


def _wait_until_serving(config: ServerConfig, child: Child, stopping: threading.Event) -> None:
    end = time.monotonic() + READY_SECONDS
    while not stopping.is_set() and not control.is_serving(config):
        _require_running([child])
        if time.monotonic() > end:
            raise DeploymentError("SuperLink does not answer", hint="see logs/superlink.log")
        time.sleep(0.2)


def _require_running(children: list[Child]) -> None:
    for child in children:
        if not child.running:
            raise DeploymentError(
                f"{child.name} ended by itself", hint=f"see logs/{child.name.lower()}.log"
            )


def _say_ready(config: ServerConfig, say: Say) -> None:
    roster = read_roster(config.folder)
    say(f"serving {len(roster.active())} enrolled hospital(s) at {config.address}")
    say(door_line(config))
    for line in door_lines(config, roster, dt.datetime.now(dt.UTC)):
        if line.startswith("warning: "):
            say(line)
    say("stop with Ctrl-C; a run in progress goes on after the next start and 'train'")
