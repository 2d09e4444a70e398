"""Recall of releases: sign a notice, and never deliver that release again.

A notice lies in releases/NAME-SHA8.recall; state/recalls.json says which hospital confirmed which
notice, and when. No Flower and no torch here.
"""

import json
from pathlib import Path

from ghanet_model.errors import ReleaseError
from ghanet_model.files import sha256, write_atomic
from ghanet_model.ledger import RECALLED
from ghanet_model.recall import (
    DIGEST,
    DIGEST_SHOWN,
    RECALL_SUFFIX,
    Recall,
    make_recall,
    read_recall,
)
from ghanet_model.study import RELEASE_SUFFIX, read_study

from .config import ServerConfig
from .ledger import server_ledger
from .roster import read_roster

RECALLS_FILE = "recalls.json"
Told = dict[str, dict[str, str]]  # digest of a notice -> hospital -> when it confirmed it


def read_recalls(config: ServerConfig) -> list[Recall]:
    """All notices of the folder, oldest first.

    Raises:
        ReleaseError: one that is damaged or not signed by this folder's release key.
    """
    public = (config.keys / "release.key.pub").read_bytes()
    paths = config.releases.glob(f"*{RECALL_SUFFIX}")
    return sorted((read_recall(path, public_pem=public) for path in paths), key=lambda n: n.date)


def find_recall(config: ServerConfig, digest: str) -> Recall | None:
    """The notice that recalls the release of this SHA-256; None where there is none."""
    return next((notice for notice in read_recalls(config) if notice.sha256 == digest), None)


def recalled_words(config: ServerConfig, content: bytes) -> str:
    """Why a release is not delivered, in one line; '' where it was not recalled."""
    found = find_recall(config, sha256(content))
    return f"release {found}; it is not delivered" if found else ""


def recall_release(config: ServerConfig, named: str, *, reason: str) -> tuple[Recall, bool]:
    """Recall a release, for good; its notice, and whether it is new.

    Args:
        config: of the folder.
        named: a release file, its name in releases/, or its SHA-256.
        reason: for the hospitals; not needed where it was recalled before.

    Raises:
        ReleaseError: no such release, or no reason.
        KeysError: the release key cannot be read.
    """
    release, digest = _named(config, named)
    found = find_recall(config, digest)
    if found is not None:
        return found, False
    key_file = config.keys / "release.key"
    notice = make_recall(release, digest, reason=reason, key_file=key_file)
    server_ledger(config).append(RECALLED, release=release, sha256=digest, reason=notice.reason)
    write_atomic(path_of(config, notice), notice.content)  # last: with it there, nothing is missing
    return notice, True


def path_of(config: ServerConfig, notice: Recall) -> Path:
    """Where a notice lies."""
    name = f"{notice.release}-{notice.sha256[:DIGEST_SHOWN]}{RECALL_SUFFIX}"
    return config.releases / name


def _named(config: ServerConfig, named: str) -> tuple[str, str]:
    """Name and SHA-256 of a release; the name of one that is not here is the study's."""
    if DIGEST.fullmatch(named.lower()):
        return _name_of(config, named.lower()), named.lower()
    from ghanet_model.release import read_release  # noqa: PLC0415 - torch takes seconds

    inside = config.releases / Path(named).name
    path = inside if Path(named).name == named and inside.exists() else Path(named)
    public = (config.keys / "release.key.pub").read_bytes()
    try:
        release = read_release(path, public_pem=public)
    except ReleaseError as error:
        raise ReleaseError(
            str(error), hint="name a file of releases/, or the release's SHA-256, 64 digits"
        ) from None
    return release.name, release.sha256


def _name_of(config: ServerConfig, digest: str) -> str:
    path = file_of(config, digest)
    return path.stem if path else read_study(config.folder).name


def file_of(config: ServerConfig, digest: str) -> Path | None:
    """The file in releases/ of this SHA-256; None where there is none."""
    paths = sorted(config.releases.glob(f"*{RELEASE_SUFFIX}"))
    return next((path for path in paths if sha256(path.read_bytes()) == digest), None)


def read_told(config: ServerConfig) -> Told:
    """Which hospital confirmed which notice."""
    path = config.state / RECALLS_FILE
    found: Told = json.loads(path.read_text()) if path.exists() else {}
    return found


def known_lines(config: ServerConfig, notice: Recall) -> list[str]:
    """Which hospitals know a notice, and which do not yet."""
    done = read_told(config).get(notice.digest, {})
    active = [member.name for member in read_roster(config.folder).active()]
    known = {"known to": list(done), "not yet known to": [n for n in active if n not in done]}
    return [f"  {words} {', '.join(names)}" for words, names in known.items() if names]


def recall_lines(config: ServerConfig) -> list[str]:
    """Every recalled release in words, and which hospitals know."""
    found: list[str] = []
    for notice in read_recalls(config):
        found += [f"release: {notice}", *known_lines(config, notice)]
    return found
