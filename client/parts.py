"""Which part of a private study each case has: once trained on, it is not evaluated, and back.

Epsilon of a study is that of its costlier part, which is true only while no case is in both. The
list is beside the ledger and calls cases by pseudonyms.
"""

import json
from collections.abc import Iterable

from ghanet_model.errors import LedgerError
from ghanet_model.files import write_json

from .budget import PARTS, budget_ledger, entries
from .cohort import Case
from .consent import pseudonym_key, pseudonym_of
from .ledger import LEDGER_FOLDER
from .site import Site

PARTS_FILE = "parts.json"


def settle(site: Site, part: str, cases: Iterable[Case]) -> list[bool]:
    """Note the part of these cases; whether each may be used, that is: had no other one before.

    To be called before anything is charged for them.

    Raises:
        LedgerError: the list is damaged or was lost.
    """
    path = site.config.folder / LEDGER_FOLDER / PARTS_FILE
    try:
        found = json.loads(path.read_bytes())
        known = {study: {name: set(found[study][name]) for name in PARTS} for study in found}
    except FileNotFoundError:
        _require_no_charge(site)
        known = {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise LedgerError(
            f"{LEDGER_FOLDER}/{PARTS_FILE} is damaged", hint="restore it from a backup"
        ) from None
    own = known.setdefault(site.study.digest[:16], {name: set() for name in PARTS})
    (other,) = (name for name in PARTS if name != part)
    key = pseudonym_key(site.config.folder)
    names = [pseudonym_of(case.case_id, key) for case in cases]
    usable = [name not in own[other] for name in names]
    new = {name for name, good in zip(names, usable, strict=True) if good} - own[part]
    if new and site.memory.durable:
        own[part] |= new
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, {s: {n: sorted(own[n]) for n in PARTS} for s, own in known.items()})
    if not all(usable):
        site.notes.append(f"{usable.count(False)} cases left out: they had another part before")
    return usable


def _require_no_charge(site: Site) -> None:
    """A list that is not there is one that was never written, or one that was lost."""
    budget = site.config.privacy
    lines = budget_ledger(site.config.folder, budget).verified()
    study = site.study.digest[:16]
    if any(entry.release.study == study for entry in entries(lines, budget.cohort)):
        raise LedgerError(
            f"{LEDGER_FOLDER}/{PARTS_FILE} is missing: cases trained on could be evaluated",
            hint="restore it from a backup",
        )
