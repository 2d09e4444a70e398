"""The update gate: what an answer must be before any of it is used. No Flower, no file.

Size is looked at before anything is decoded, then names, shapes, types and values, then whether a
hospital with its number of cases can have come to it. What does not pass is refused with a reason.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ghanet_model.bounds import require_possible_move
from ghanet_model.errors import ProtocolError, RefusedError, WeightsError
from ghanet_model.network import DECODERS
from ghanet_model.protocol import RoundReply, StatisticsReply
from ghanet_model.question import Question, Sums
from ghanet_model.record import Record
from ghanet_model.study import BFLOAT16, StudyConfig
from ghanet_model.weights import Arrays, check_same_shape
from ghanet_model.wire import PRIVATE_CASES

from .roster import Member

MOST_VALUES, MOST_TEXT = 64, 4096  # scalars in an answer, bytes of the longest
HEADER, PER_ARRAY = 4096, 256  # bytes around arrays: names, shapes, offsets
TOO_LARGE, UNREADABLE = "large", "unreadable"  # what is wrong with an answer, found here
OURS = {TOO_LARGE, UNREADABLE, "missing", "offline", "flower", "revoked"}  # words of the server's
QUARANTINES = {TOO_LARGE, UNREADABLE}


@dataclass(frozen=True, slots=True)
class Expected:
    """What an acceptable answer to this round looks like."""

    number: int
    base: str  # fingerprint of the weights that were sent
    like: Arrays  # these weights
    study: StudyConfig

    @property
    def dtype(self) -> type[np.generic]:
        """Of an update's arrays: float32 weights, or uint16 for bfloat16 changes."""
        return np.uint16 if self.study.exchange_precision == BFLOAT16 else np.float32

    @property
    def most_bytes(self) -> int:
        """An update's arrays with their names."""
        width = np.dtype(self.dtype).itemsize
        names = sum(len(name.encode()) + PER_ARRAY for name in self.like)
        return HEADER + names + width * sum(array.size for array in self.like.values())


def most_bytes_of(question: Question, study: StudyConfig) -> int:
    """The arrays of an answer about sums, with their names."""
    shapes = question.shapes(study).values()
    return HEADER + sum(PER_ARRAY + 8 * math.prod(shape) for shape in shapes)


def opened(values: Mapping[str, object], blob: NDArray[np.uint8], *, most: int) -> Record | str:
    """An answer as it arrived: a record, or one word that says why there is none.

    A hospital's own word is handed on, unless it is one that only the server can know.
    """
    if blob.nbytes > most or not _is_small(values):
        return TOO_LARGE
    try:
        return Record.unpack(values, blob)
    except RefusedError as refused:
        code = str(refused)
        return UNREADABLE if code in OURS else code
    except ProtocolError:
        return UNREADABLE


def _is_small(values: Mapping[str, object]) -> bool:
    texts = (value for value in values.values() if isinstance(value, (str, bytes, list)))
    return len(values) <= MOST_VALUES and all(len(text) <= MOST_TEXT for text in texts)


def read_sums(record: Record, member: Member, question: Question, study: StudyConfig) -> Sums:
    """Sums that this hospital can have.

    Raises:
        ProtocolError: not such sums, or more cases than were approved.
    """
    sums = StatisticsReply.from_record(record, question, study).sums
    _require_approved(question.cases(sums), member)
    return sums


def read_reply(record: Record, expected: Expected, member: Member, *, final: bool) -> RoundReply:
    """An answer to what this hospital was asked, and to nothing else.

    Raises:
        ProtocolError: not a reply, more than was asked for, or more cases than were approved.
        WeightsError: another round, or an update that cannot be averaged or trained.
    """
    reply = RoundReply.from_record(record)
    if expected.study.is_private:
        _require_private(reply)
    if reply.number != expected.number or reply.base != expected.base:
        raise WeightsError("its answer belongs to another round")
    if reply.seconds < 0 or reply.loss < 0:
        raise ProtocolError("message has a negative time or loss")
    trains = member.trains and not final
    if reply.cases and not trains:
        raise ProtocolError("it trained without being asked to")
    if reply.training_risk and not (member.trains and final):
        raise ProtocolError("it summed the risk of training cases without being asked to")
    if reply.validation and not (member.trains and expected.study.validation):
        raise ProtocolError("it validated without being asked to")
    _require_approved(_claimed(reply), member)
    if trains:
        check_update(reply, expected, asked_genes=member.has_genes)
        require_possible_move(reply.update, expected.like, study=expected.study, cases=reply.cases)
    return reply


def _require_private(reply: RoundReply) -> None:
    """Weights with noise and constants; a hospital that says more tells of its cases."""
    sums = (reply.evaluation, reply.training_risk, reply.validation)
    said = reply.events is not None or reply.loss or reply.seconds or reply.withheld
    if reply.cases != PRIVATE_CASES or said or any(sums):
        raise ProtocolError("its answer holds numbers that a private study does not send")


def _claimed(reply: RoundReply) -> int:
    """Cases of an answer: a case is trained on, or held out."""
    sums = (reply.evaluation, reply.training_risk, reply.validation)
    return reply.cases + sum(one.cases for one in sums if one)


def _require_approved(claimed: int, member: Member) -> None:
    if claimed > member.cases:
        raise ProtocolError(f"it claims {claimed} cases; {member.cases} were approved")


def check_update(reply: RoundReply, expected: Expected, *, asked_genes: bool) -> None:
    """Refuse an update that cannot be averaged.

    Raises:
        WeightsError: no cases, other arrays than the branches that were trained, a wrong shape or
            type, or a value that is not finite.
    """
    if reply.cases < 1 or max(reply.gene_cases, reply.events or 0) > reply.cases:
        raise WeightsError(f"update claims {reply.cases} cases, {reply.gene_cases} with genes")
    if reply.gene_cases and not asked_genes:
        raise WeightsError("update trained gene decoders without being asked to")
    branches = {
        name: array
        for name, array in expected.like.items()
        if reply.gene_cases or not name.startswith(DECODERS)
    }
    check_same_shape(reply.update, branches, dtype=expected.dtype)
