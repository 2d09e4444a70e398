"""An image run as compose would: its user, no rights, a read-only system, one folder to write."""

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

USER = 10001
STOP_SECONDS = 40.0
DATA = "/srv/ghanet-data"  # where compose has it


class Sandbox:
    """A container in small, by bubblewrap; shares this machine's network. Use as a context."""

    def __init__(self, config: dict[str, Any], files: Path, place: Path) -> None:
        """Prepare it.

        Args:
            config: of the image.
            files: of the image, mounted.
            place: a new folder for what it writes.
        """
        self.config, self.files = config, files
        self.name = str(config["Entrypoint"][0])
        self.system, self.folder = place / "system", place / "folder"
        self.data: Path | None = None  # of this machine; it sees it at DATA, and can only read
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        for path in (self.system, self.folder):
            path.mkdir(parents=True)
        os.chown(self.folder, USER, USER)
        # where bubblewrap, as that user, can see it: buildah's own folders are closed
        subprocess.run(["/usr/bin/mount", "--bind", self.files, self.system], check=True)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
        subprocess.run(["/usr/bin/umount", self.system], check=True)

    def _wrapped(self, command: list[str]) -> list[str]:
        user = ["--reuid", str(USER), "--regid", str(USER), "--clear-groups"]
        options = ["--ro-bind", str(self.system), "/", "--proc", "/proc", "--dev", "/dev"]
        options += ["--tmpfs", "/tmp", "--bind", str(self.folder), "/ghanet"]  # noqa: S108
        if self.data:
            options += ["--tmpfs", str(Path(DATA).parent), "--ro-bind", str(self.data), DATA]
        options += ["--unshare-all", "--share-net", "--die-with-parent", "--new-session"]
        options += ["--cap-drop", "ALL", "--clearenv", "--chdir", self.config["WorkingDir"]]
        for one in self.config["Env"]:
            options += ["--setenv", *one.split("=", 1)]
        return [str(shutil.which("setpriv")), *user, "bwrap", *options, *command]

    def run(self, command: list[str]) -> str:
        """Run a command in it; what it said. A failure is shown and raised."""
        done = subprocess.run(
            self._wrapped(command), check=False, stdout=subprocess.PIPE, text=True
        )
        if done.returncode:
            print(f"{done.stdout}\n{self.log()}")
            done.check_returncode()
        return done.stdout

    def command(self, *arguments: str) -> str:
        """Run the image's program."""
        return self.run([*self.config["Entrypoint"], *arguments])

    def health(self) -> tuple[int, str]:
        """What HEALTHCHECK would find."""
        command = self._wrapped(self.config["Healthcheck"]["Test"][1:])
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        return done.returncode, done.stdout + done.stderr

    def start(self) -> None:
        """Start what the image starts."""
        command = self._wrapped(self.config["Entrypoint"] + self.config["Cmd"])
        with (self.folder.parent / "said").open("wb") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)

    def log(self) -> str:
        """What it said since it was started."""
        path = self.folder.parent / "said"
        return path.read_text() if path.exists() else ""

    def threads(self) -> int:
        """Threads of all its processes, which compose limits."""
        return sum(len(list(Path(f"/proc/{pid}/task").glob("*"))) for pid in self._processes())

    def _processes(self) -> list[int]:
        """What was started and all below it, from above; no other of this machine."""
        found = [self._process.pid] if self._process else []
        for pid in found:
            for children in Path(f"/proc/{pid}/task").glob("*/children"):
                found += [int(child) for child in children.read_text().split()]
        return found

    def stop(self) -> None:
        """Ask the program to end, as an engine does, and wait as long as compose."""
        if self._process is None:
            return
        names = {pid: Path(f"/proc/{pid}/comm").read_text() for pid in self._processes()}
        inner = [pid for pid, name in names.items() if name.strip() not in ("setpriv", "bwrap")]
        if inner:
            os.kill(inner[0], signal.SIGTERM)  # the image's program; bubblewrap hands on nothing
        end = time.monotonic() + STOP_SECONDS
        while self._process.poll() is None and time.monotonic() < end:
            time.sleep(0.1)
        self._process.kill()
        self._process.wait()
        self._process = None
