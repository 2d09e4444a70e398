"""The narrow door: nginx before SuperLink. Opened, tended and closed by ``ghanet-server start``.

It passes what a hospital needs to hospitals that show their certificate. Everything else of
SuperLink answers on the loopback only. The settings and what each line is for: ``door.conf``.
"""

import datetime as dt
import grp
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from ghanet_model.door import LIST_FILE, list_times
from ghanet_model.errors import DeploymentError, GHANetError, KeysError
from ghanet_model.files import write_atomic
from ghanet_model.processes import (
    LOG_BYTES,
    Child,
    can_listen,
    free_port,
    start_child,
    stop_children,
)

from .config import AUTO, NGINX, PORT_FILE, SERVER_FILE, ServerConfig
from .door_files import (
    PAIRS_FILE,
    door_folder,
    require_authority,
    write_door_files,
)
from .roster import ROSTER_FILE

SETTINGS_FILE, PID_FILE = "nginx.conf", "nginx.pid"
TEMPLATE = Path(__file__).with_name("door.conf")
PLACES = ("/usr/sbin", "/usr/local/sbin", "/usr/local/nginx/sbin")  # rarely on a user's PATH
UNPRIVILEGED = "nobody"  # whom nginx's workers run as where root starts it
LIST_AGE = dt.timedelta(days=1)  # after which the list of refused certificates is written anew
LOOK_SECONDS = 60.0  # between looks at its age
READY_SECONDS, STEADY_SECONDS, REOPENINGS = 10.0, 60.0, 3
Say = Callable[[str], None]


def find_nginx() -> str | None:
    """Path of nginx, if it is installed."""
    path = os.pathsep.join([os.environ.get("PATH", ""), *PLACES])
    return shutil.which("nginx", path=path)


def has_door(config: ServerConfig) -> bool:
    """Whether ``start`` opens a door: by server.yaml, and by what is installed."""
    return config.door == NGINX or (config.door == AUTO and find_nginx() is not None)


def behind_door(config: ServerConfig) -> ServerConfig:
    """The same server with the place of SuperLink behind its door, remembered for all commands."""
    path = config.state / PORT_FILE
    if config.door == NGINX:
        require_nginx()
    if not has_door(config):
        path.unlink(missing_ok=True)
        return replace(config, inner_port=0)
    port = config.inner_port
    while not port or port == config.port or not can_listen("127.0.0.1", port):
        port = free_port()
    write_atomic(path, str(port).encode())
    return replace(config, inner_port=port)


@dataclass
class Door:
    """nginx at work, and when what it has read was written."""

    config: ServerConfig
    say: Say
    child: Child
    read: tuple[int, ...]  # of the files that it read last
    roster: tuple[int, ...]  # of the roster that they were written from
    opened: float  # monotonic seconds
    reopened: int = 0  # times in a row
    look: float = 0.0  # when the list's age is looked at next
    trouble: str = ""  # why the list could not be written, as it was said last

    def tend(self) -> None:
        """Reopen a door that closed by itself; renew its list; have it read what is new.

        Raises:
            DeploymentError: it does not stay open, or refuses its settings.
        """
        if not self.child.running:
            self._reopen()
        if time.monotonic() > self.look or written(self.config) != self.read:
            self._renew_list()
        elif facts_of(self.config.folder / ROSTER_FILE) != self.roster:
            self._renew_list()  # whoever changed it may have failed to write the list
        if written(self.config) != self.read:
            self.reload()

    def reload(self) -> None:
        """Have nginx read list and pairs anew; connections of before end within 45 s.

        Raises:
            DeploymentError: it would refuse them, and go on with the old ones.
        """
        self.read = written(self.config)
        require_settings(self.config)
        _set_log_aside(self.config)
        self.child.process.send_signal(signal.SIGHUP)

    def close(self) -> None:
        """End nginx."""
        stop_children([self.child])

    def _reopen(self) -> None:
        self.close()  # a worker may have outlived it
        steady = time.monotonic() - self.opened > STEADY_SECONDS
        self.reopened = 0 if steady else self.reopened + 1
        if self.reopened > REOPENINGS:
            raise DeploymentError("the door does not stay open", hint="see logs/door.log")
        self.say("the door closed by itself (see logs/door.log); opening it again")
        self.child, self.read, self.opened = _start(self.config)

    def _renew_list(self) -> None:
        self.look = time.monotonic() + LOOK_SECONDS
        roster = facts_of(self.config.folder / ROSTER_FILE)
        try:
            if roster != self.roster or _is_old_list(self.config):
                write_door_files(self.config)
            self.roster, self.trouble = roster, ""
        except (GHANetError, OSError) as error:
            if str(error) != self.trouble:
                self.say(f"warning: the list of refused certificates cannot be written ({error})")
            self.trouble = str(error)


def _is_old_list(config: ServerConfig) -> bool:
    """Whether the list is to be written anew; one that is gone or damaged is."""
    try:
        begins, _ = list_times(config.keys)
    except KeysError:
        return True
    return dt.datetime.now(dt.UTC) - begins > LIST_AGE


def open_door(config: ServerConfig, say: Say) -> Door:
    """Start nginx with a new list, and wait until it listens.

    Raises:
        DeploymentError: it is not installed, refuses its settings or does not start.
        KeysError: the authority of hospitals' certificates cannot be read.
    """
    require_authority(config)
    roster = facts_of(config.folder / ROSTER_FILE)
    write_door_files(config)
    write_settings(config)
    config.logs.mkdir(parents=True, exist_ok=True)
    child, read, opened = _start(config)
    return Door(config, say, child, read, roster, opened)


def write_settings(config: ServerConfig) -> None:
    """Fill in the template."""
    host = f"[{config.listen}]" if ":" in config.listen else config.listen
    text = TEMPLATE.read_text()
    values = {"USER": _user(), "LISTEN": f"{host}:{config.port}", "INNER": str(config.inner_port)}
    for name, value in values.items():
        text = text.replace(f"@{name}@", value)
    write_atomic(door_folder(config) / SETTINGS_FILE, text.encode(), private=True)


def _user() -> str:
    """Root starts nginx for somebody with no rights; anybody else for himself."""
    if os.geteuid() != 0:
        return ""
    try:
        found = pwd.getpwnam(UNPRIVILEGED)
        return f"user {UNPRIVILEGED} {grp.getgrgid(found.pw_gid).gr_name};"
    except KeyError:
        raise DeploymentError(
            f"there is no user '{UNPRIVILEGED}' for nginx to run as",
            hint="run 'ghanet-server start' as a user of its own, not as root",
        ) from None


def written(config: ServerConfig) -> tuple[int, ...]:
    """When the files that nginx reads were written; changes with each of them."""
    return facts_of(config.keys / LIST_FILE) + facts_of(door_folder(config) / PAIRS_FILE)


def facts_of(path: Path) -> tuple[int, ...]:
    """What changes whenever a file is written anew; nothing where there is none."""
    try:
        facts = path.stat()
    except FileNotFoundError:
        return ()
    return facts.st_mtime_ns, facts.st_ino


def require_settings(config: ServerConfig) -> None:
    """Ask nginx whether it would take its settings.

    Raises:
        DeploymentError: it would not; says why.
    """
    done = subprocess.run(
        [*_command(config), "-t", "-q"], capture_output=True, text=True, check=False
    )
    if done.returncode:
        why = (done.stderr.strip().splitlines() or ["no reason given"])[0]
        raise DeploymentError(f"nginx refuses the door's settings: {why}")


def require_nginx() -> str:
    """Path of nginx.

    Raises:
        DeploymentError: it is not installed.
    """
    program = find_nginx()
    if program is None:
        raise DeploymentError(
            "nginx is not installed, which the door needs",
            hint="Debian: apt install nginx-light, and disable its own service; or 'door: none' in "
            f"{SERVER_FILE}, which leaves run control open to whoever reaches the port",
        )
    return program


def _command(config: ServerConfig) -> list[str]:
    return [require_nginx(), "-e", "stderr", "-p", str(door_folder(config)), "-c", SETTINGS_FILE]


def _start(config: ServerConfig) -> tuple[Child, tuple[int, ...], float]:
    require_settings(config)
    _set_log_aside(config)
    read = written(config)
    (door_folder(config) / PID_FILE).unlink(missing_ok=True)
    command = [sys.executable, "-m", "server.nginx", *_command(config)]
    child = start_child("door", command, environment=dict(os.environ), log=config.logs / "door.log")
    end = time.monotonic() + READY_SECONDS
    while not _is_open(config):
        if not child.running or time.monotonic() > end:
            stop_children([child])
            why = child.lines[-1] if child.lines else "no reason given"
            raise DeploymentError(f"nginx does not start: {why}", hint="see logs/door.log")
        time.sleep(0.05)
    return child, read, time.monotonic()


def _is_open(config: ServerConfig) -> bool:
    """Whether it listens, and its master has gone so far that it takes signals."""
    pid = door_folder(config) / PID_FILE
    if not (pid.exists() and pid.read_text().strip()):
        return False
    try:
        with socket.create_connection((config.own_host, config.port), timeout=1):
            return True
    except OSError:
        return False


def _set_log_aside(config: ServerConfig) -> None:
    log = config.logs / "door-access.log"
    if log.exists() and log.stat().st_size > LOG_BYTES:
        log.replace(log.with_suffix(".old.log"))
