"""Recall notices: NAME-SHA8.recall, one signed line that says which release is not to be used.

Canonical JSON of format, release, its SHA-256, reason, date and an Ed25519 signature over the rest,
by the key that signs releases. A notice is accepted only if it is byte for byte what this module
would write from its content. There is no notice that takes one back.
"""

import base64
import datetime as dt
import errno
import json
import re
from dataclasses import dataclass
from pathlib import Path

from .errors import KeysError, ReleaseError
from .files import read_file
from .keys import is_signed, sign
from .settings import FORMAT
from .signed import Signed
from .study import NAME, RELEASE_SUFFIX

RECALL_SUFFIX = ".recall"
MOST_BYTES, MOST_REASON = 10_000, 500  # of a notice; characters of its reason
DIGEST_SHOWN = 8  # of the release's 64 digits, in file names and lines
HINT = "ask the coordinator for the recall notice again"
DIGEST = re.compile(r"[0-9a-f]{64}")
DATE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00")


@dataclass(frozen=True, slots=True)
class Recall(Signed):
    """A release that is not to be used any more."""

    release: str  # its name
    sha256: str  # of the whole release file
    reason: str  # one line
    date: str  # UTC, ISO 8601
    signature: str  # base64 of Ed25519 over the notice without this field
    format: int = FORMAT

    @property
    def since(self) -> str:
        """When it was recalled, for people."""
        return f"{self.date[:16].replace('T', ' ')} UTC"

    def __str__(self) -> str:
        """Which release, since when and why, in one line."""
        return f"{label_of(self.release, self.sha256)} was recalled on {self.since}: {self.reason}"


def label_of(release: str, digest: str) -> str:
    """A release for people: its file name and the first digits of its SHA-256."""
    return f"{release}{RELEASE_SUFFIX} (sha256 {digest[:DIGEST_SHOWN]})"


def make_recall(
    release: str, digest: str, *, reason: str, key_file: Path, date: dt.datetime | None = None
) -> Recall:
    """Sign a notice.

    Args:
        release: name of the release.
        digest: SHA-256 of the release file, 64 hexadecimal digits.
        reason: for the hospitals; spaces and line ends become single spaces.
        key_file: the Ed25519 key that signs releases; its public half stands beside it.
        date: UTC; default: now.

    Raises:
        ReleaseError: no reason, one that is too long, or no name or digest of a release.
        KeysError: the key cannot be read, or its public half is of another key.
    """
    now = (date or dt.datetime.now(dt.UTC)).isoformat(timespec="seconds")
    bare = Recall(release, digest, " ".join(reason.split()), now, signature="")
    if not 0 < len(bare.reason) <= MOST_REASON:
        raise ReleaseError(
            f"a recall needs a reason of 1 to {MOST_REASON} characters",
            hint='--reason "what is wrong with the release": hospitals read it',
        )
    if not _is_possible(bare):
        raise ReleaseError(
            "a recall needs a release's name and SHA-256, and a reason in plain text"
        )
    signature = sign(key_file, bare.unsigned)
    public = key_file.with_name(f"{key_file.name}.pub").read_bytes()
    if not is_signed(public, signature, bare.unsigned, where=key_file.name):
        raise KeysError(
            f"keys/{key_file.name} and keys/{key_file.name}.pub do not belong together",
            hint="restore both from the same backup",
        )
    return Recall(release, digest, bare.reason, now, base64.b64encode(signature).decode())


def read_recall(path: Path, *, public_pem: bytes) -> Recall:
    """Read and verify a notice.

    Raises:
        ReleaseError: missing, too large, damaged, changed, or signed by another key.
    """
    try:
        content = read_file(path, most=MOST_BYTES)
    except OSError as error:
        if error.errno == errno.EFBIG:
            raise ReleaseError(f"{path.name}: larger than any recall notice", hint=HINT) from None
        raise ReleaseError(
            f"{path.name}: no such recall notice", hint=f"give the path of a {RECALL_SUFFIX} file"
        ) from None
    return verify_recall(content, public_pem=public_pem, where=path.name)


def verify_recall(content: bytes, *, public_pem: bytes, where: str) -> Recall:
    """Verify the bytes of a notice; see ``read_recall``."""
    if len(content) > MOST_BYTES:
        raise ReleaseError(f"{where}: larger than any recall notice", hint=HINT)
    try:
        notice = Recall(**json.loads(content))
        whole = _is_possible(notice) and notice.content == content
        signature = base64.b64decode(notice.signature, validate=True)
    except (ValueError, TypeError, RecursionError):
        whole = False
    if not whole:
        raise ReleaseError(f"{where}: not a recall notice, or a damaged one", hint=HINT)
    if not is_signed(public_pem, signature, notice.unsigned, where="keys/release.pub"):
        raise ReleaseError(f"{where}: not signed by this consortium's release key", hint=HINT)
    return notice


def _is_possible(notice: Recall) -> bool:
    """Whether every field is what ``make_recall`` could have put there."""
    texts = (notice.release, notice.sha256, notice.reason, notice.date, notice.signature)
    return (
        notice.format == FORMAT
        and type(notice.format) is int
        and all(isinstance(text, str) for text in texts)
        and NAME.fullmatch(notice.release) is not None
        and DIGEST.fullmatch(notice.sha256) is not None
        and DATE.fullmatch(notice.date) is not None
        and 0 < len(notice.reason) <= MOST_REASON
        and notice.reason.isprintable()
    )
