"""Building the images with buildah: no daemon, no registry, pip as it is configured here."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PROGRAMS = {"buildah": "buildah", "debootstrap": "debootstrap", "bwrap": "bubblewrap"}
PROGRAMS |= {"setpriv": "util-linux"}  # program -> Debian's package
SUITE = "bookworm"
OWN_KEYS = ("cert", "constraint")  # of pip's settings: brought as a secret; the project's own


@dataclass(frozen=True, slots=True)
class Image:
    """A built image."""

    name: str
    config: dict[str, Any]  # as an engine reads it
    health: list[str]  # the command of HEALTHCHECK
    bytes: int  # unpacked
    packed: int  # as it travels


class Builder:
    """Images below one folder; what is built stays there, so that a second time is short."""

    def __init__(self, work: Path, driver: str) -> None:
        self.work, self.driver = work, driver
        work.mkdir(parents=True, exist_ok=True)
        if work.is_symlink() or work.stat().st_uid != os.getuid():
            raise PermissionError(f"{work} belongs to somebody else: remove it, or name another")
        work.chmod(0o755)

    def make_base(self) -> str:
        """A base of Debian with Python, made once."""
        name, folder = f"localhost/{SUITE}-python:check", self.work / "base"
        if name in self._buildah("images", "--format", "{{.Name}}:{{.Tag}}").split():
            return name
        shutil.rmtree(folder, ignore_errors=True)
        print("making a base with debootstrap", flush=True)
        include = "--include=python3,python3-venv,ca-certificates"
        command = ["debootstrap", "--variant=minbase", include, SUITE, str(folder)]
        with (self.work / "debootstrap.log").open("wb") as log:
            subprocess.run(command, check=True, stdout=log)
        for cache in ("var/cache/apt/archives", "var/lib/apt/lists"):
            shutil.rmtree(folder / cache)
            (folder / cache / "partial").mkdir(parents=True)
        container = self._buildah("from", "scratch").strip()
        self._buildah("copy", "--quiet", container, str(folder), "/")
        self._buildah("commit", "--quiet", container, name)
        self._buildah("rm", container)
        return name

    def build(self, side: str, base: str) -> Image:
        """Build a target of the Dockerfile."""
        name = f"localhost/ghanet-{side}:check"
        command = ["build", "--layers", "--format", "docker", "--pull-never", "--isolation"]
        command += ["chroot", "--network", "host", "--build-arg", f"BASE={base}"]
        command += [*self._pip, "--file", "deploy/Dockerfile", "--target", side, "--tag", name]
        print(f"building {side}; see {self._log(side)}", flush=True)
        with self._log(side).open("wb") as log:
            whole = [*self._command, *command, "."]
            subprocess.run(whole, check=True, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT)
        facts = json.loads(self._buildah("inspect", "--type", "image", name))
        archive = self.work / f"{side}.tar"
        archive.unlink(missing_ok=True)
        self._buildah("push", "--quiet", name, f"oci-archive:{archive}")
        config = facts["Docker"]["config"]
        packed = archive.stat().st_size
        archive.unlink()
        return Image(name, config, config["Healthcheck"]["Test"], self._bytes(name), packed)

    @contextmanager
    def mounted(self, image: Image) -> Iterator[Path]:
        """The image's files, as long as they are needed."""
        container = self._buildah("from", "--pull-never", image.name).strip()
        try:
            yield Path(self._buildah("mount", container).strip())
        finally:
            self._buildah("rm", container)

    def _log(self, side: str) -> Path:
        return self.work / f"build-{side}.log"

    def _bytes(self, name: str) -> int:
        sizes = json.loads(self._buildah("images", "--json", name))[0]["size"]
        number, unit = sizes.split()
        return int(float(number) * {"KB": 1e3, "MB": 1e6, "GB": 1e9}[unit])

    @cached_property
    def _pip(self) -> list[str]:
        """Options that bring this machine's settings of pip into the build, not into the image."""
        settings = dict(pip_settings())
        path = self.work / "pip.conf"
        path.unlink(missing_ok=True)
        path.touch(mode=0o600)  # an index may have a password
        path.write_text(
            "[global]\n"
            + "".join(f"{k} = {v}\n" for k, v in settings.items() if k not in OWN_KEYS)
            + ("cert = /run/secrets/ca.pem\n" if "cert" in settings else "")
        )
        options = ["--secret", f"id=pip,src={self.work / 'pip.conf'}"]
        if "cert" in settings:
            options += ["--secret", f"id=ca,src={settings['cert']}"]
        for key in ("find-links", "index-url", "extra-index-url"):
            for place in settings.get(key, "").split():
                path = Path(place.removeprefix("file://"))
                if path.is_absolute() and path.exists():
                    top = Path(*path.parts[:3])  # files of an index lie beside its pages
                    options += ["--volume", f"{top}:{top}:ro"]
        return options

    @property
    def _command(self) -> list[str]:
        places = ["--root", f"{self.work}/store", "--runroot", f"{self.work}/run"]
        return ["buildah", "--storage-driver", self.driver, *places]

    def _buildah(self, *arguments: str) -> str:
        done = subprocess.run(
            [*self._command, *arguments], check=True, stdout=subprocess.PIPE, text=True
        )
        return done.stdout


def pip_settings() -> Iterator[tuple[str, str]]:
    """What pip is told here for every command; the environment last, which counts most."""
    command = [sys.executable, "-m", "pip", "config", "list"]
    listed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found = [line.partition("=")[::2] for line in listed.stdout.splitlines()]
    for section in ("global.", ":env:."):
        for key, value in found:
            if key.startswith(section):
                yield key.removeprefix(section), value.strip("'").replace("\\n", " ")
