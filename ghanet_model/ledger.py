"""The ledger: what was done, line by line, so that no line can be changed or lost unnoticed.

Each line is one JSON object. It holds the SHA-256 of the line before it and an Ed25519 signature,
so a changed, inserted or missing line is found; ``LEDGER.head`` beside it holds the newest line's
number and hash, so a shortened ledger is found too. Whoever holds the key can write another ledger
from the start: only the other side's ledger shows that. No case, slide or date of a patient is in
a line, only counts, digests and names of what is in the study.
"""

import base64
import binascii
import datetime as dt
import fcntl
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import LedgerError
from .files import canonical_json, sync_folder, write_atomic
from .keys import is_signed, make_release_key, sign
from .record import Scalar
from .signed import Signed

LEDGER_FILE = "ledger.jsonl"
GENESIS = "0" * 64  # what the first line names as the one before it
SENT, REFUSED, APPROVED, WITHDRAWN, LEFT, RETURNED, CHARGED, RECALLED = (
    "sent",
    "refused",
    "approved",
    "withdrawn",
    "left",
    "returned",
    "charged",
    "recalled",
)  # a hospital's; LEFT and RECALLED are the coordinator's too
RECEIVED, QUARANTINED, ENROLLED, RENEWED, REVOKED = (
    "received",
    "quarantined",
    "enrolled",
    "renewed",
    "revoked",
)  # the coordinator's
MENDED = "mended"  # a line was cut off while it was written; nothing had been sent for it


@dataclass(frozen=True, slots=True)
class Line(Signed):
    """One line of a ledger."""

    number: int  # from 1
    time: str  # UTC, ISO 8601
    what: str  # one of the words above
    facts: Mapping[str, Scalar]
    previous: str  # SHA-256 of the line before, as it stands in the file
    signature: str  # base64 of Ed25519 over the line without this field


class Ledger:
    """One side's ledger and the key that signs it; several processes may append."""

    def __init__(self, path: Path, key_file: Path) -> None:
        self.path = path
        self.key_file = key_file

    def append(self, what: str, **facts: Scalar) -> Line:
        """Write one line; it is on disk when this returns.

        Raises:
            LedgerError: the newest line is damaged, or the ledger cannot be written.
            KeysError: the key cannot be read.
        """
        return self.append_if(lambda _: None, what, **facts)

    def append_if(
        self, require: Callable[[Callable[[], list[Line]]], None], what: str, **facts: Scalar
    ) -> Line:
        """Write one line where ``require`` raises nothing; nobody else writes in between.

        Args:
            require: gets a function that reads all lines and proves them whole.
            what: of the line.
            facts: of the line.

        Raises:
            LedgerError: a line is damaged, or the ledger cannot be written.
            KeysError: the key cannot be read.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with _locked(self.path) as handle:
            torn = _cut_torn_line(handle)
            if torn:
                self._append(handle, MENDED, {"bytes": torn})
            require(self.verified)
            return self._append(handle, what, facts)

    def verified(self) -> list[Line]:
        """All lines, proven whole.

        Raises:
            LedgerError: the first line that was changed, inserted or lost, or a lost end.
        """
        try:
            public = self.key_file.with_name(f"{self.key_file.name}.pub").read_bytes()
        except OSError:
            raise LedgerError(
                f"{self.key_file.name}.pub cannot be read", hint="restore it from a backup"
            ) from None
        return verify_ledger(self.path, public_pem=public)

    def _append(self, handle: int, what: str, facts: Mapping[str, Scalar]) -> Line:
        before = _newest(handle)
        _catch_up(self.path, before)
        bare = Line(
            number=before.number + 1 if before else 1,
            time=dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
            what=what,
            facts=facts,
            previous=before.digest if before else GENESIS,
            signature="",
        )
        signature = base64.b64encode(sign(self.key_file, bare.unsigned)).decode()
        line = Line(bare.number, bare.time, what, facts, bare.previous, signature)
        _write_all(handle, line.content + b"\n")
        if line.number == 1:
            sync_folder(self.path.parent)
        _write_head(self.path, line)
        return line


def make_ledger_key(path: Path) -> None:
    """Write a new key for a ledger and its public half, unless there is one.

    Of several processes that find none, one makes it.
    """
    if path.exists() and path.with_name(f"{path.name}.pub").exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        if not path.exists():
            make_release_key(path)
    finally:
        os.close(folder)


def read_ledger(path: Path) -> list[Line]:
    """The whole lines of a ledger, oldest first; no file is an empty ledger. Nothing is verified.

    Raises:
        LedgerError: a line is none of ours.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return []
    whole = content[: content.rfind(b"\n") + 1]
    return [parse_line(raw, number) for number, raw in enumerate(whole.splitlines(), start=1)]


def parse_line(raw: bytes, number: int) -> Line:
    """One line of a ledger, exactly as this module writes it.

    Raises:
        LedgerError: it is none of ours.
    """
    try:
        values: dict[str, Any] = json.loads(raw)
        line = Line(**values)
        if _is_ours(line) and line.content == raw:
            return line
    except (ValueError, TypeError, RecursionError):
        pass
    raise LedgerError(
        f"ledger line {number} is damaged", hint="compare with a backup of the ledger"
    )


def _is_ours(line: Line) -> bool:
    texts = (line.time, line.what, line.previous, line.signature)
    whole = type(line.number) is int and isinstance(line.facts, dict)
    return whole and all(isinstance(text, str) for text in texts)


def verify_ledger(path: Path, *, public_pem: bytes) -> list[Line]:
    """Read a ledger and prove it whole.

    Raises:
        LedgerError: the first line that was changed, inserted or lost, or a lost end.
    """
    lines, previous = read_ledger(path), GENESIS
    for number, line in enumerate(lines, start=1):
        if line.number != number or line.previous != previous:
            raise LedgerError(f"ledger line {number} does not follow the line before it")
        require_signed(line, public_pem=public_pem)
        previous = line.digest
    _require_whole_end(path, lines)
    return lines


def require_signed(line: Line, *, public_pem: bytes) -> None:
    """Refuse a line that the key did not sign.

    Raises:
        LedgerError: which line.
    """
    try:
        signature = base64.b64decode(line.signature, validate=True)
    except binascii.Error:
        signature = b""
    if not is_signed(public_pem, signature, line.unsigned, where="the ledger's public key"):
        raise LedgerError(f"ledger line {line.number} is not signed by this ledger's key")


def _require_whole_end(path: Path, lines: list[Line]) -> None:
    """The head may be one line behind, after a power cut; never one of lines that are not there."""
    number, digest = _read_head(path)
    if number not in (len(lines), len(lines) - 1):
        raise LedgerError(f"the ledger has {len(lines)} lines, but line {number} was written")
    if number and lines[number - 1].digest != digest:
        raise LedgerError(f"ledger line {number} is another than was written")


def _catch_up(path: Path, newest: Line | None) -> None:
    """Bring a head that is one line behind up to date; refuse to go on from a shortened ledger."""
    number, digest = _read_head(path)
    here = newest.number if newest else 0
    if newest and number == here - 1:
        _write_head(path, newest)
    elif number != here or (newest and digest != newest.digest):
        raise LedgerError(
            f"the ledger ends with line {here}, but line {number} was written",
            hint="restore the ledger and its .head from the same backup",
        )


def _read_head(path: Path) -> tuple[int, str]:
    """Number and digest of the newest line that was written; 0 if none ever was."""
    try:
        head = json.loads(_head_of(path).read_bytes())
        return int(head["number"]), str(head["digest"])
    except FileNotFoundError:
        return 0, ""
    except (OSError, ValueError, KeyError, TypeError):
        raise LedgerError(f"{_head_of(path).name} is damaged") from None


def _write_head(path: Path, line: Line) -> None:
    try:
        write_atomic(_head_of(path), canonical_json({"number": line.number, "digest": line.digest}))
    except OSError as error:
        raise LedgerError(f"the ledger cannot be written ({error.strerror})") from None


def _head_of(path: Path) -> Path:
    return path.with_suffix(".head")


@contextmanager
def _locked(path: Path) -> Iterator[int]:
    """The ledger's file, open for reading and appending, for one process at a time."""
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
    except OSError as error:
        raise LedgerError(f"{path.name} cannot be written ({error.strerror})") from None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield handle
    finally:
        os.close(handle)


def _write_all(handle: int, content: bytes) -> None:
    try:
        left = content
        while left:
            left = left[os.write(handle, left) :]
        os.fsync(handle)
    except OSError as error:
        raise LedgerError(f"the ledger cannot be written ({error.strerror})") from None


def _cut_torn_line(handle: int) -> int:
    """Cut off a last line without an end: bytes cut, 0 if there was none."""
    size = os.fstat(handle).st_size
    tail = _tail(handle, size)
    torn = len(tail) - (tail.rfind(b"\n") + 1)
    if torn:
        os.ftruncate(handle, size - torn)
        os.fsync(handle)
    return torn


def _newest(handle: int) -> Line | None:
    tail = _tail(handle, os.fstat(handle).st_size).rstrip(b"\n")
    if not tail:
        return None
    return parse_line(tail[tail.rfind(b"\n") + 1 :], number=0)


def _tail(handle: int, size: int, most: int = 65_536) -> bytes:
    """The last bytes of the file, the whole newest line in them."""
    return os.pread(handle, min(size, most), max(0, size - most))
