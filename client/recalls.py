"""Recalled releases at a hospital: notices in inbox/recalls/, and the refusal of what they name.

A notice is looked up by the digest of the release, so another name or place of the file changes
nothing. The ledger knows every notice too: one that is gone recalls its release all the same.
"""

from pathlib import Path

from ghanet_model.errors import LedgerError, ReleaseError, SettingsError
from ghanet_model.files import write_atomic
from ghanet_model.invitation import RELEASE_KEY_FILE
from ghanet_model.ledger import RECALLED, parse_line
from ghanet_model.recall import RECALL_SUFFIX, Recall, label_of, read_recall
from ghanet_model.release import Release

from .consent import INBOX
from .ledger import ledger_path, site_ledger

RECALLS = Path(INBOX) / "recalls"  # below the hospital's folder
HINT = "do not use it; ask the coordinator for a newer release"


def release_key(folder: Path) -> bytes:
    """The public half of the consortium's release key, PEM.

    Raises:
        SettingsError: this folder has none.
    """
    try:
        return (folder / "keys" / RELEASE_KEY_FILE).read_bytes()
    except FileNotFoundError:
        raise SettingsError(
            f"keys/{RELEASE_KEY_FILE} is missing",
            hint="run 'ghanet-client init' with your invitation",
        ) from None


def put_recall(folder: Path, notice: Recall) -> bool:
    """Put a verified notice into place, then into the ledger; whether it is news.

    Raises:
        LedgerError: the ledger cannot be written; the notice is in place.
    """
    write_atomic(_place_of(folder, notice.sha256), notice.content)
    if _ledger_knows(folder, notice.sha256):
        return False
    site_ledger(folder).append(RECALLED, release=notice.release, sha256=notice.sha256)
    return True


def require_not_recalled(folder: Path, release: Release) -> None:
    """Refuse a release that a notice in this folder recalls.

    Args:
        folder: the hospital's.
        release: verified.

    Raises:
        ReleaseError: since when and why, or that its notice is damaged or gone.
        LedgerError: the ledger cannot be read.
    """
    path, label = _place_of(folder, release.sha256), label_of(release.name, release.sha256)
    if _is_there(path):
        try:
            notice = read_recall(path, public_pem=release_key(folder))
        except ReleaseError:
            raise ReleaseError(
                f"{label} was recalled; the notice {RECALLS / path.name} is damaged", hint=HINT
            ) from None
        raise ReleaseError(str(notice), hint=HINT)
    if _ledger_knows(folder, release.sha256):
        raise ReleaseError(
            f"{label} was recalled, as the ledger says; the notice {RECALLS / path.name} is gone",
            hint=HINT,
        )


def is_recalled(folder: Path, digest: str) -> bool:
    """Whether a release must not be used: its notice is in place, or the ledger knows of it.

    Raises:
        LedgerError: the ledger cannot be read.
    """
    return _is_there(_place_of(folder, digest)) or _ledger_knows(folder, digest)


def _is_there(path: Path) -> bool:
    """A link that leads nowhere is there too."""
    return path.exists() or path.is_symlink()


def _place_of(folder: Path, digest: str) -> Path:
    return folder / RECALLS / f"{digest}{RECALL_SUFFIX}"


def _ledger_knows(folder: Path, digest: str) -> bool:
    """Whether a line recalls this release; of the other lines none is looked at."""
    try:
        lines = ledger_path(folder).read_bytes().splitlines()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise LedgerError(f"the ledger cannot be read ({error.strerror})") from None
    found = (n for n, line in enumerate(lines, start=1) if digest.encode() in line)
    named = (parse_line(lines[number - 1], number) for number in found)
    return any(line.what == RECALLED and line.facts.get("sha256") == digest for line in named)
