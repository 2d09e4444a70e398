"""The gate: the one place where answers leave the hospital. What it does not know stays here.

Every answer is held against what this very question may be answered with, against the hospital's
limits, and has its line in the ledger before a byte of it goes out. Reasons name the rule that was
broken, never a value: they stay in the hospital's log and ledger; a code is all that leaves.
"""

import logging
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ghanet_model.bounds import require_possible_move
from ghanet_model.errors import GateError, GHANetError, LedgerError, ProtocolError, WeightsError
from ghanet_model.ledger import REFUSED, SENT
from ghanet_model.metrics import EvaluationSums, told
from ghanet_model.protocol import (
    SUMS,
    DeliveryAsk,
    RoundAsk,
    RoundReply,
    StatisticsAsk,
    StatisticsReply,
)
from ghanet_model.record import Record, digest_of
from ghanet_model.topics import question_of
from ghanet_model.wire import DELIVERY, ERROR, MESSAGE_TYPES, PRIVATE_CASES, ROUND, STATISTICS

from .frames import Frame
from .ledger import ledger_path, require_writable, sent_in_a_day, site_ledger
from .private_answers import newest_charge, release_of
from .schema import schema_of
from .site import Site
from .sitelog import log_refusal

log = logging.getLogger("ghanet")


@dataclass(frozen=True, slots=True)
class Passed:
    """An answer that may leave."""

    blob: NDArray[np.uint8]  # the bytes of its arrays
    number: int = 0  # of its round
    cases: int = 0  # the most that any sum in it is over
    norm: float = 0.0  # L2, of what training changed


def require_room(site: Site, kind: str) -> None:
    """Refuse a question before any work is done for an answer that could not leave.

    Raises:
        GateError: no more answers may leave today.
        LedgerError: the ledger cannot be written.
    """
    require_writable(site.config.folder)
    _require_rate(site, kind, 0)


def let_out(site: Site, kind: str, asked: Record, record: Record) -> Frame:
    """The answer as it leaves; its line is in the ledger before this returns.

    Raises:
        GateError: it may not leave; the message is the rule.
        LedgerError: the ledger cannot be written, so nothing leaves.
    """
    passed = examine(site, kind, asked, record)
    site.require_wanted()
    facts: dict[str, int | float | str] = {
        "kind": kind,
        "round": passed.number,
        "study": site.study.digest[:16],
        "digest": digest_of(record.values, passed.blob),
        "bytes": passed.blob.nbytes,
        "arrays": len(record.arrays),
        "cases": passed.cases,
        "norm": passed.norm,
    }
    if kind == STATISTICS:
        facts["topic"] = str(record.values["topic"])
    if kind == DELIVERY:
        facts["topic"] = DeliveryAsk.from_record(asked).what
    if site.study.is_private and kind in (ROUND, STATISTICS):
        facts["charge"] = _charge_of(site, kind, asked)
    _write(site.config.folder, SENT, facts)
    return Frame(kind, record.values, passed.blob)


def refuse(folder: Path, kind: str, error: Exception) -> Frame:
    """The code of what went wrong, all that leaves; the reason goes to the log and the ledger."""
    code = log_refusal(kind, error)
    reason = str(error) if isinstance(error, GateError) else ""
    known = kind if kind in MESSAGE_TYPES else "unknown"
    try:
        _write(folder, REFUSED, {"kind": known, "code": code, "reason": reason})
    except GHANetError as lost:
        log.error("the ledger has no line about it: %s", lost)  # noqa: TRY400 - no traceback
    return Frame(kind, {ERROR: code})


def _write(folder: Path, what: str, facts: dict[str, int | float | str]) -> None:
    try:
        site_ledger(folder).append(what, **facts)
    except OSError as error:
        raise LedgerError(f"the ledger cannot be written ({error.strerror})") from None


def examine(site: Site, kind: str, asked: Record, record: Record) -> Passed:
    """Look at all of an answer; writes nothing.

    Raises:
        GateError: the rule that it breaks.
        LedgerError: the ledger cannot be read.
    """
    ask = RoundAsk.from_record(asked) if kind == ROUND else None
    base = site.held.find(ask.base) if ask else None
    schema = schema_of(kind, asked, record, study=site.study, base=base)
    schema.require(record)
    blob = record.packed()
    schema.require_size(record, blob.nbytes)
    try:
        passed = Passed(blob)
        if kind == STATISTICS:
            passed = replace(passed, cases=_cases_of_sums(site, asked, record))
        elif ask and base is not None:
            reply = RoundReply.from_record(record)
            _require_round(site, ask, reply)
            norm = require_possible_move(reply.update, base, study=site.study, cases=reply.cases)
            sums = (getattr(reply, name) for name in SUMS)
            cases = max(reply.cases, *(one.cases for one in sums if one), 0)
            passed = replace(passed, number=reply.number, cases=cases, norm=norm)
    except ProtocolError:
        raise GateError("numbers: not finite, or such as no cohort can have") from None
    except WeightsError as error:
        raise GateError(f"weights: {error}") from None
    _require_rate(site, kind, blob.nbytes)
    return passed


def _charge_of(site: Site, kind: str, asked: Record) -> str:
    """The line of the ledger in which the privacy of this answer was charged."""
    found = newest_charge(site, release_of(site.study, kind, asked))
    if found is None:
        raise GateError("privacy: an answer that was not charged to the budget of its cases")
    return found.digest


def _require_private_round(ask: RoundAsk, reply: RoundReply) -> None:
    """Weights with noise, and nothing else that follows from a case."""
    constant = reply.cases == PRIVATE_CASES and reply.gene_cases in (0, PRIVATE_CASES)
    if not constant or bool(reply.gene_cases) != ask.genes:
        raise GateError("privacy: a number of cases that is not the constant of every answer")
    if reply.events is not None or reply.loss or reply.seconds or reply.withheld:
        raise GateError("privacy: a number about cases or about how long they took")
    if any(getattr(reply, name) for name in SUMS):
        raise GateError("privacy: exact sums")


def _cases_of_sums(site: Site, asked: Record, record: Record) -> int:
    """The most cases that a sum is over; each is over none, or over enough."""
    ask = StatisticsAsk.from_record(asked)
    question = question_of(ask.topic, ask.question, site.study)
    sums = StatisticsReply.from_record(record, question, site.study).sums
    question.require_enough(sums, site.least)
    return question.cases(sums)


def _require_round(site: Site, ask: RoundAsk, reply: RoundReply) -> None:
    """The round that was asked for, over enough cases, without a small cell."""
    if reply.number != ask.number:
        raise GateError("round: another than was asked for")
    if site.study.is_private:
        _require_private_round(ask, reply)
        return
    classes = {"training cases": reply.cases, "training cases with genes": reply.gene_cases}
    for name, cases in classes.items():
        if 0 < cases < site.least:
            raise GateError(f"class sums: fewer than {site.least} {name}")
    if max(reply.gene_cases, reply.events or 0) > reply.cases:
        raise GateError("numbers: such as no cohort can have")
    _require_no_small_cell(site, "training", reply.events, reply.cases)
    for name in SUMS:
        if sums := getattr(reply, name):
            _require_sums(site, name, sums)


def _require_sums(site: Site, name: str, sums: EvaluationSums) -> None:
    if sums.cases < site.least:
        raise GateError(f"minimum cohort: sums of '{name}' over fewer than {site.least} cases")
    _require_no_small_cell(site, name, None if sums.untold_events else sums.events, sums.cases)


def _require_no_small_cell(site: Site, name: str, events: int | None, cases: int) -> None:
    least = site.config.policy.minimum_cases
    if events is not None and told(events, cases, least=least) is None:
        raise GateError(f"small cells: deaths or survivors of '{name}' are fewer than {least}")


def _require_rate(site: Site, kind: str, size: int) -> None:
    """No more answers of a kind, and no more bytes, than the hospital allows in 24 hours."""
    path, policy = ledger_path(site.config.folder), site.config.policy
    sent = sent_in_a_day(path)
    if sent.answers[kind] >= policy.answers_per_day:
        raise GateError(f"rate: {policy.answers_per_day} answers of this kind in 24 hours")
    if sent.size + size > policy.megabytes_per_day * 1e6:
        raise GateError(f"rate: {policy.megabytes_per_day} megabytes in 24 hours")
