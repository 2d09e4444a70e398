"""Consent: cases that were withdrawn, and leaving the study. Names of cases stay in memory.

A withdrawn case is known by a keyed pseudonym: HMAC-SHA256 of its id with a key that never leaves
the hospital. Neither ``withdrawn.json`` nor the ledger can be turned back into ids without it.
"""

import datetime as dt
import hashlib
import hmac
import json
import secrets
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ghanet_model.errors import CohortError, LedgerError, LeftError
from ghanet_model.files import write_atomic, write_json
from ghanet_model.ledger import LEFT, RETURNED, SENT, WITHDRAWN, read_ledger
from ghanet_model.settings import FORMAT
from ghanet_model.study import RELEASE_SUFFIX
from ghanet_model.wire import ROUND

from .ledger import ledger_path, site_ledger

INBOX = "inbox"
WITHDRAWN_FILE, LEFT_FILE = "withdrawn.json", "left.json"
PSEUDONYM_KEY_FILE = "pseudonym.key"
KEY_BYTES = 32
REMAINS = """\
What was done before now stays:
- answers to rounds that were sent: {answers}. They hold sums and weights that the case may have had
  a part in, never the case itself. The coordinator has used them; they cannot be taken back.
- releases in {inbox}/: {releases}. What a model learnt from a case stays in it. If your rules
  demand a training without the case, ask the coordinator for one.
- the ledger and {list}: the case by a keyed pseudonym. The key is keys/{key}: whoever
  holds it can find out whether a given id is meant.
- your own tables, feature files and predictions: not touched. Delete there what your rules say."""
_CHECK = "which key this is"  # what its HMAC says, beside the pseudonyms


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """The cases that were withdrawn from this folder's studies."""

    key: bytes
    since: dict[str, str]  # pseudonym -> when, UTC, ISO 8601

    def __contains__(self, case_id: object) -> bool:
        return bool(self.since) and pseudonym_of(str(case_id), self.key) in self.since

    def __len__(self) -> int:
        return len(self.since)


def pseudonym_of(case_id: str, key: bytes) -> str:
    """What the hospital's own records call a case."""
    name = unicodedata.normalize("NFC", case_id.strip())  # as tables are read
    return hmac.new(key, name.encode(), hashlib.sha256).hexdigest()


def read_withdrawn(folder: Path) -> Withdrawn:
    """The withdrawn cases of a hospital's folder.

    Raises:
        CohortError: the list is damaged, or its key is not there: cases that were withdrawn could
            no longer be told from others.
    """
    path, key_file = folder / WITHDRAWN_FILE, folder / "keys" / PSEUDONYM_KEY_FILE
    hint = "restore both from the same backup; until then no case of this hospital is used"
    if not path.exists():
        if _ledger_knows_some(folder):
            raise CohortError(
                f"{WITHDRAWN_FILE} is missing, but the ledger says that cases were withdrawn",
                hint=hint,
            )
        return Withdrawn(b"", {})
    try:
        values, key = json.loads(path.read_bytes()), key_file.read_bytes()
        since = {str(one["pseudonym"]): str(one["since"]) for one in values["cases"]}
        whole = values["format"] == FORMAT and values["key"] == pseudonym_of(_CHECK, key)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        raise CohortError(
            f"{WITHDRAWN_FILE} or keys/{PSEUDONYM_KEY_FILE} cannot be read", hint=hint
        ) from None
    if not whole:
        raise CohortError(
            f"{WITHDRAWN_FILE} was written with another keys/{PSEUDONYM_KEY_FILE}", hint=hint
        )
    return Withdrawn(key, since)


def _ledger_knows_some(folder: Path) -> bool:
    """Whether a line says so; a search, because it is asked before every message."""
    try:
        return f'"what":"{WITHDRAWN}"'.encode() in ledger_path(folder).read_bytes()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise LedgerError(f"the ledger cannot be read ({error.strerror})") from None


def withdraw(folder: Path, case_ids: Iterable[str], *, known: frozenset[str]) -> list[str]:
    """Take cases out of the next round and of every later one.

    Args:
        folder: the hospital's.
        case_ids: as its tables name them.
        known: all ids of its tables; a misspelt id must not look withdrawn.

    Returns:
        The pseudonyms of those that were not withdrawn before.

    Raises:
        CohortError: an id is none of ``known``; then nothing is withdrawn.
    """
    asked = list(dict.fromkeys(unicodedata.normalize("NFC", one.strip()) for one in case_ids))
    strange = [case_id for case_id in asked if case_id not in known]
    if strange:
        raise CohortError(
            f"{len(strange)} of {len(asked)} cases are not in this hospital's tables; "
            "nothing was withdrawn",
            hint="compare the spelling; for a case that is in no table yet, add --not-listed",
        )
    before, key = read_withdrawn(folder), pseudonym_key(folder)
    now = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
    new = [p for p in (pseudonym_of(one, key) for one in asked) if p not in before.since]
    if new:
        _write_withdrawn(folder, key, before.since | dict.fromkeys(new, now))
    _write_lines(folder, [*before.since, *new])
    return new


def _write_lines(folder: Path, pseudonyms: list[str]) -> None:
    """A line in the ledger for each that has none: an earlier command may have been cut off."""
    lines = read_ledger(ledger_path(folder))
    told = {line.facts.get("pseudonym") for line in lines if line.what == WITHDRAWN}
    for pseudonym in pseudonyms:
        if pseudonym not in told:
            site_ledger(folder).append(WITHDRAWN, pseudonym=pseudonym)


def pseudonym_key(folder: Path) -> bytes:
    """The key of this hospital's pseudonyms; made where there is none."""
    path = folder / "keys" / PSEUDONYM_KEY_FILE
    if not path.exists():
        write_atomic(path, secrets.token_bytes(KEY_BYTES), private=True)
    return path.read_bytes()


def _write_withdrawn(folder: Path, key: bytes, since: dict[str, str]) -> None:
    cases = [{"pseudonym": p, "since": when} for p, when in since.items()]
    values = {"format": FORMAT, "key": pseudonym_of(_CHECK, key), "cases": cases}
    write_atomic(folder / WITHDRAWN_FILE, json.dumps(values, indent=1).encode(), private=True)


def what_remains(folder: Path) -> list[str]:
    """What was done with this hospital's cases before now and cannot be taken back, in words."""
    lines = read_ledger(ledger_path(folder))
    rounds = [line for line in lines if line.what == SENT and line.facts.get("kind") == ROUND]
    releases = sorted(path.name for path in (folder / INBOX).glob(f"*{RELEASE_SUFFIX}"))
    since = f", {rounds[0].time[:10]} to {rounds[-1].time[:10]}" if rounds else ""
    text = REMAINS.format(
        answers=f"{len(rounds)}{since}",
        releases=", ".join(releases) or "none",
        inbox=INBOX,
        list=WITHDRAWN_FILE,
        key=PSEUDONYM_KEY_FILE,
    )
    return text.splitlines()


def left_since(folder: Path) -> str:
    """When this hospital left the study; '' if it takes part."""
    try:
        return str(json.loads((folder / LEFT_FILE).read_bytes())["since"])
    except FileNotFoundError:
        return ""
    except (OSError, ValueError, KeyError, TypeError):
        return "an unknown day"  # a damaged file is no consent


def leave(folder: Path) -> str:
    """Answer nothing more from the next message on; returns since when."""
    if not left_since(folder):
        now = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
        write_json(folder / LEFT_FILE, {"format": FORMAT, "since": now})
        site_ledger(folder).append(LEFT)
    return left_since(folder)


def come_back(folder: Path) -> None:
    """Take part again, as far as this hospital is concerned."""
    if left_since(folder):
        (folder / LEFT_FILE).unlink()
        site_ledger(folder).append(RETURNED)


def require_member(folder: Path) -> None:
    """Refuse every message once this hospital has left.

    Raises:
        LeftError: since when.
    """
    since = left_since(folder)
    if since:
        raise LeftError(
            f"this hospital left the study, {since}",
            hint="'ghanet-client leave --return' takes part again",
        )
