"""The installed distribution: which files of ours, and with which versions, this side runs."""

import importlib.util
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from .errors import DeploymentError
from .files import canonical_json, sha256

NAME = "federated-ghanet"
PACKAGES = ("ghanet_model", "client")  # what a hospital runs; the server's part it never loads
_REQUIRED = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_EXTRA = re.compile(r";.*\bextra\s*==")


@dataclass(frozen=True, slots=True)
class Distribution:
    """What is installed."""

    files: Mapping[str, str]  # SHA-256 of each file of ours, by package and path
    versions: Mapping[str, str]  # of the distributions that ours names

    @property
    def digest(self) -> str:
        """SHA-256 over all of it."""
        return sha256(canonical_json(asdict(self)))


def installed() -> Distribution:
    """What would be loaded now; reads every file again, a few hundred kilobytes.

    Raises:
        DeploymentError: the distribution is not installed.
    """
    return Distribution(_files(), dict(_versions()))


def _files() -> dict[str, str]:
    """Both an installed wheel and a folder of sources have the packages as folders."""
    return {
        f"{package}/{path.relative_to(folder).as_posix()}": sha256(path.read_bytes())
        for package in PACKAGES
        for folder in (_folder(package),)
        for path in sorted(folder.rglob("*"))
        if "__pycache__" not in path.parts and path.is_file()
    }


def _folder(package: str) -> Path:
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise DeploymentError(f"package '{package}' is not installed")
    return Path(spec.origin).parent


@cache
def _versions() -> tuple[tuple[str, str], ...]:
    """A running process keeps the versions that it loaded."""
    try:
        named = [line for line in requires(NAME) or () if not _EXTRA.search(line)]
        names = [match[0] for line in named if (match := _REQUIRED.match(line))]
        return ((NAME, version(NAME)), *((name, version(name)) for name in sorted(names)))
    except PackageNotFoundError as error:
        raise DeploymentError(
            f"distribution '{error.name}' is not installed", hint="install the project again"
        ) from None
