"""The app bundle: what a run brings to hospitals. It names entry points and carries no code."""

import io
import tomllib
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .errors import ApprovalError
from .files import sha256, write_atomic

BUNDLE_FILE = "bundle.fab"  # in a hospital's folder, from the invitation
SETTINGS, LICENSE, LISTING = BUNDLE_FILES = ("pyproject.toml", "LICENSE", ".info/CONTENT")
SERVER_APP, CLIENT_APP = "server.app:app", "client.app:app"
MOST_BYTES = 65_536  # of a bundle, and of each file in it
LICENSE_TEXT = "Apache-2.0, see the installed distribution federated-ghanet.\n"
SETTINGS_TEXT = f"""\
# What hospitals receive as "the app": names of entry points that they have installed, no code.
[project]
name = "federated-ghanet-app"
version = "1.0.0"
license = {{ file = "LICENSE" }}
dependencies = ["flwr>=1.41.0"]

[tool.flwr.app]
publisher = "consortium"
fab-format-version = 1
flwr-version-target = "1.41.0"
fab-include = ["/pyproject.toml", "/LICENSE"]

[tool.flwr.app.components]
serverapp = "{SERVER_APP}"
clientapp = "{CLIENT_APP}"

[tool.flwr.app.config]
"""


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle that was looked into."""

    digest: str  # SHA-256 of the file, which Flower calls the run's FAB hash
    files: Mapping[str, str]  # text of each
    entries: Mapping[str, str]  # serverapp and clientapp: module and name in it


def write_source(folder: Path) -> None:
    """Write what a bundle is built from: two text files."""
    write_atomic(folder / SETTINGS, SETTINGS_TEXT.encode())
    write_atomic(folder / LICENSE, LICENSE_TEXT.encode())


def open_bundle(content: bytes) -> Bundle:
    """Look into a bundle without unpacking it anywhere.

    Raises:
        ApprovalError: it is no bundle, is too large, holds another file than the three that a
            bundle without code has, or starts another app at the hospital than ours.
    """
    if len(content) > MOST_BYTES:
        raise _wrong(f"is larger than {MOST_BYTES} bytes")
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            files = _read(archive)
        entries = dict(tomllib.loads(files[SETTINGS])["tool"]["flwr"]["app"]["components"])
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, NotImplementedError):
        raise _wrong("is no readable archive") from None
    except (ValueError, KeyError, TypeError, RecursionError, RuntimeError):
        raise _wrong("has settings that cannot be read") from None
    if entries.get("clientapp") != CLIENT_APP:
        raise _wrong(f"starts another app at the hospital than {CLIENT_APP}")
    return Bundle(sha256(content), files, {key: str(value) for key, value in entries.items()})


def _read(archive: zipfile.ZipFile) -> dict[str, str]:
    members = archive.infolist()
    names = [member.filename for member in members]
    if sorted(names) != sorted(BUNDLE_FILES):
        others = ", ".join(repr(name[:80]) for name in names if name not in BUNDLE_FILES)
        raise _wrong(f"holds other files than {', '.join(BUNDLE_FILES)}: {others[:200] or 'fewer'}")
    if any(member.file_size > MOST_BYTES for member in members):
        raise _wrong(f"holds a file larger than {MOST_BYTES} bytes")
    return {member.filename: archive.read(member).decode() for member in members}


def _wrong(why: str) -> ApprovalError:
    return ApprovalError(
        f"the app bundle {why}", hint="ask the coordinator what it is; do not approve it"
    )
