"""This hospital's ledger: where it is, what it counts, and whether the coordinator's receipts fit.

What the coordinator says that it received must have left here, in this order. What left and was
never received is counted, and is no error: connections end.
"""

import datetime as dt
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

from ghanet_model.errors import LedgerError
from ghanet_model.files import read_file
from ghanet_model.invitation import RELEASE_KEY_FILE
from ghanet_model.ledger import (
    LEDGER_FILE,
    RECEIVED,
    SENT,
    Ledger,
    Line,
    make_ledger_key,
    parse_line,
    require_signed,
    verify_ledger,
)

LEDGER_FOLDER, KEY_FILE = "ledger", "ledger.key"
DAY = dt.timedelta(hours=24)
MOST_RECEIPTS = 500_000_000  # bytes of a file of receipts
SAME = ("kind", "round", "digest", "bytes")  # facts that both sides must have written alike


def site_ledger(folder: Path) -> Ledger:
    """The ledger of a hospital's folder; its key is made where there is none.

    Raises:
        LedgerError: the key cannot be written.
    """
    key_file = folder / "keys" / KEY_FILE
    try:
        make_ledger_key(key_file)
    except OSError as error:
        raise LedgerError(f"keys/{KEY_FILE} cannot be written ({error.strerror})") from None
    return Ledger(ledger_path(folder), key_file)


def require_writable(folder: Path) -> None:
    """Look whether a line could be written, before any work is done for it.

    Raises:
        LedgerError: it could not.
    """
    path = ledger_path(folder)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab"):
            pass
    except OSError as error:
        raise LedgerError(f"the ledger cannot be written ({error.strerror})") from None


def ledger_path(folder: Path) -> Path:
    """Where the ledger of a hospital's folder is."""
    return folder / LEDGER_FOLDER / LEDGER_FILE


def verify_site_ledger(folder: Path) -> list[Line]:
    """Read this hospital's ledger and prove it whole.

    Raises:
        LedgerError: the line that is wrong, or a key that is missing.
    """
    public = _public_key(folder, f"{KEY_FILE}.pub")
    return verify_ledger(ledger_path(folder), public_pem=public)


def _public_key(folder: Path, name: str) -> bytes:
    try:
        return (folder / "keys" / name).read_bytes()
    except OSError:
        raise LedgerError(
            f"keys/{name} cannot be read", hint="restore it from a backup of the folder"
        ) from None


@dataclass(frozen=True, slots=True)
class Sent:
    """What left in some span of time."""

    answers: Counter[str]  # by kind
    size: int  # bytes


def sent_in_a_day(path: Path) -> Sent:
    """What left in the 24 hours before now; older lines are not looked at.

    Raises:
        LedgerError: one of these lines is damaged.
    """
    since = (dt.datetime.now(dt.UTC) - DAY).isoformat(timespec="seconds")
    newest = takewhile(lambda line: line.time >= since, _newest_first(path))
    sent = [line.facts for line in newest if line.what == SENT]
    return Sent(Counter(str(facts["kind"]) for facts in sent), sum(int(f["bytes"]) for f in sent))


def _newest_first(path: Path) -> Iterator[Line]:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return
    except OSError as error:
        raise LedgerError(f"the ledger cannot be read ({error.strerror})") from None
    whole = content[: content.rfind(b"\n") + 1].splitlines()
    for number in range(len(whole), 0, -1):
        yield parse_line(whole[number - 1], number)


@dataclass(frozen=True, slots=True)
class Compared:
    """A ledger beside the coordinator's receipts."""

    matched: tuple[Line, ...]  # sent, and received by the coordinator
    unreceived: tuple[Line, ...]  # sent, and in no receipt


def read_receipts(folder: Path, path: Path, *, site: str) -> list[Line]:
    """The coordinator's receipts for this hospital, each proven to be the coordinator's.

    Raises:
        LedgerError: a receipt that is damaged, not signed, out of order, or of another hospital.
    """
    public = _public_key(folder, RELEASE_KEY_FILE)
    try:
        content = read_file(path, most=MOST_RECEIPTS)
    except OSError as error:
        raise LedgerError(f"{path.name}: cannot be read ({error.strerror})") from None
    receipts: list[Line] = []
    for place, raw in enumerate(content.splitlines(), start=1):
        receipt = _read_receipt(raw, place, public)
        _require_ours(receipt, place, site)
        if receipts and receipt.number <= receipts[-1].number:
            raise LedgerError(f"receipt {place} does not come after the receipt before it")
        receipts.append(receipt)
    return receipts


def _read_receipt(raw: bytes, place: int, public: bytes) -> Line:
    hint = "ask the coordinator for the receipts again"
    try:
        receipt = parse_line(raw, place)
    except LedgerError:
        raise LedgerError(f"receipt {place} is damaged", hint=hint) from None
    try:
        require_signed(receipt, public_pem=public)
    except LedgerError:
        raise LedgerError(
            f"receipt {place} is not signed by the coordinator's release key", hint=hint
        ) from None
    return receipt


def _require_ours(receipt: Line, place: int, site: str) -> None:
    if receipt.what != RECEIVED:
        raise LedgerError(f"receipt {place} is a line about something else than an answer")
    if receipt.facts.get("site") != site:
        raise LedgerError(f"receipt {place} is of another hospital")


def compare_receipts(lines: Sequence[Line], receipts: Sequence[Line]) -> Compared:
    """Find each receipt's line in the ledger, in the order of both.

    Raises:
        LedgerError: the coordinator received what this ledger does not list.
    """
    sent = [line for line in lines if line.what == SENT]
    matched: list[Line] = []
    after = 0  # the first line that the next receipt can be of
    for place, receipt in enumerate(receipts, start=1):
        while after < len(sent) and not _same(sent[after], receipt):
            after += 1
        if after == len(sent):
            raise LedgerError(
                f"receipt {place} ({receipt.time}) is of an answer that is not in this ledger, or "
                "not at this place",
                hint="something left this hospital past its gate, or the ledger is not this one's",
            )
        matched.append(sent[after])
        after += 1
    numbers = {line.number for line in matched}
    return Compared(tuple(matched), tuple(line for line in sent if line.number not in numbers))


def _same(sent: Line, receipt: Line) -> bool:
    return all(sent.facts.get(key) == receipt.facts.get(key) for key in SAME)
