"""A whole consortium on one machine: every side in its own folder, real commands, real processes.

The demo, the benchmarks and the end-to-end tests use it. What it copies between folders (the
invitation, a public key) is what people would send each other.
"""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import yaml

from ghanet_model.processes import free_port

HERE = Path(sys.executable).parent
SERVER, CLIENT = "ghanet-server", "ghanet-client"
COORDINATOR = "coordinator"
HOST = "127.0.0.1"
READY_SECONDS = 120.0


class LocalConsortium:
    """Coordinator and hospitals below one folder. Use as a context: it ends what it started."""

    def __init__(self, folder: Path, *, echo: bool = False, door: bool = False) -> None:
        self.folder = folder
        self.door = door  # nginx before SuperLink; every hospital then has a certificate
        self.echo = echo  # show each command and its output, as in a terminal
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def coordinator(self) -> Path:
        """The coordinator's folder."""
        return self.folder / COORDINATOR

    def site(self, name: str) -> Path:
        """A hospital's folder."""
        return self.folder / name

    def command(
        self, side: str, command: str, *arguments: str, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run one command in a side's folder, as a person there would."""
        if self.echo:
            print(f"[{side}] $ {command} {' '.join(arguments)}", flush=True)
        return subprocess.run(
            [HERE / command, *arguments],
            cwd=self.folder / side,
            check=check,
            capture_output=not self.echo,
            text=True,
            stdin=subprocess.DEVNULL,
        )

    def init_coordinator(self) -> None:
        """Keys, certificates and invitation, for the study that lies in the folder."""
        port = str(free_port())
        self.command(COORDINATOR, SERVER, "init", "--host", HOST, "--port", port)
        edit(self.coordinator / "server.yaml", {"door": "nginx" if self.door else "none"})

    def join(
        self, name: str, *, role: str, genes: bool, settings: dict[str, object], cases: int = 1000
    ) -> None:
        """A hospital makes its key, edits site.yaml, approves what it will run and is enrolled."""
        invitation = str(self.coordinator / "invitation.json")
        self.command(name, CLIENT, "init", "--name", name, "--invitation", invitation)
        edit(self.site(name) / "site.yaml", settings)
        self.command(name, CLIENT, "approve", "--yes")
        key = str(self.site(name) / "keys" / "site_key.pub")
        options = ["--role", role, "--cases", str(cases), *(["--genes"] if genes else [])]
        request = ["--request", str(self.site(name) / "keys" / "door.csr")] if self.door else []
        self.command(COORDINATOR, SERVER, "enrol", name, key, *options, *request)
        if self.door:
            self.take_certificate(name)

    def take_certificate(self, name: str) -> None:
        """A hospital puts the certificate that the coordinator made into place."""
        certificate = str(self.coordinator / "certificates" / f"{name}.crt")
        self.command(name, CLIENT, "certificate", certificate)

    def start_server(self) -> None:
        """Start the server and wait until it serves."""
        self._start(COORDINATOR, SERVER)
        end = time.monotonic() + READY_SECONDS
        log = self.coordinator / "start.log"
        while "serving" not in log.read_text():
            if self.running[COORDINATOR].poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"the server did not start: {log.read_text()}")
            time.sleep(0.3)

    def start_site(self, name: str, **environment: str) -> None:
        """Start a hospital; it connects in its own time."""
        self._start(name, CLIENT, **environment)

    def _start(self, side: str, command: str, **environment: str) -> None:
        if self.echo:
            print(f"[{side}] $ {command} start &", flush=True)
        with (self.folder / side / "start.log").open("wb") as log:
            self.running[side] = subprocess.Popen(
                [*_ends_with_us(), HERE / command, "start"],
                cwd=self.folder / side,
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env={**os.environ, "PYTHONUNBUFFERED": "1", **environment},
                start_new_session=True,
            )

    def train(self, *, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Train the study to its end, or go on."""
        return self.command(COORDINATOR, SERVER, "train", check=check)

    def stop(self, *names: str) -> None:
        """End these sides, or all: hospitals first, while the server can say goodbye."""
        chosen = names or tuple(self.running)[::-1]
        for name in chosen:
            self.running[name].terminate()
        for name in chosen:
            process = self.running.pop(name)
            try:
                process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                process.kill()


def _ends_with_us() -> list[str]:
    """Before a command: it is asked to end when this process is gone, even if that was killed."""
    program = shutil.which("setpriv")  # of util-linux
    return [program, "--pdeathsig", "TERM"] if program else []


def edit(path: Path, settings: dict[str, object]) -> None:
    """Change some settings of a YAML file; None takes one out."""
    values = yaml.safe_load(path.read_text()) | settings
    kept = {key: value for key, value in values.items() if value is not None}
    path.write_text(yaml.safe_dump(kept, sort_keys=False))
