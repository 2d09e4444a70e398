"""Asking hospitals and taking in what they answer, one answer at a time. No Flower here.

Every answer is in the ledger before it is used. What is wrong with an answer quarantines its
hospital for this question; what goes wrong at the server ends the run.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from ghanet_model.errors import (
    BehindError,
    LeftError,
    ProtocolError,
    ReleaseError,
    TrainingError,
    WeightsError,
)
from ghanet_model.ledger import QUARANTINED, RECEIVED
from ghanet_model.record import Record

from .gate import QUARANTINES
from .membership import note_left
from .roster import Member
from .run import Run, Traffic

REASONS = {
    "study": "it holds another study.yaml",
    "cohort": "its tables cannot be used",
    "genes": "its genes cannot be used",
    "features": "its features cannot be used",
    "training": "it could not train",
    "release": "it refused the release",
    "settings": "its site.yaml cannot be used",
    "missing": "no answer in time",
    "offline": "not connected",
    "protocol": "its answer was not as agreed",
    "weights": "its weights did not fit",
    "behind": "it could not take the weights",
    "flower": "its Flower app could not answer",
    "deployment": "its trainer did not answer",
    "unapproved": "its IT did not approve this study or software",
    "gate": "its answer may not leave the hospital",
    "budget": "its privacy budget does not allow more",
    "ledger": "its ledger cannot be written",
    "left": "it has left the study",
    "revoked": "revoked by the coordinator",
    "large": "its answer is larger than what was asked for",
    "unreadable": "its answer cannot be read",
}
QUARANTINE = "quarantined: "  # before the reason, wherever people read it
REASON_LENGTH = 200
Reply = TypeVar("Reply")
Value = TypeVar("Value")


def word_of(member: Member) -> str:
    """Why a hospital is not asked, as a word of ``REASONS``; empty in good standing."""
    return "revoked" if member.revoked else "left" if member.left else ""


@dataclass(frozen=True, slots=True)
class Question:
    """What several hospitals are asked."""

    kind: str
    asks: Mapping[str, Record]  # by hospital
    most: int  # bytes that the arrays of an answer can have
    number: int = 0  # of the round; 0 outside of rounds
    whole: Callable[[str], Record] | None = None  # with whole weights, for who turns out to need it


@dataclass(frozen=True, slots=True)
class Answers(Generic[Reply]):
    """What a question brought, each in roster order whatever order it arrived in."""

    good: dict[str, Reply]
    left_out: dict[str, str]  # why a hospital gave nothing, or nothing usable
    quarantined: frozenset[str]  # these of them whose answer was not usable
    traffic: dict[str, Traffic]


class Intake(Generic[Reply]):
    """Takes answers one by one; what ``read`` does not keep is gone."""

    def __init__(self, run: Run, question: Question, read: Callable[[str, Record], Reply]) -> None:
        self.run, self.question, self.read = run, question, read
        self.good: dict[str, Reply] = {}
        self.left_out: dict[str, str] = {}
        self.quarantined: set[str] = set()
        self.behind: set[str] = set()

    def take(self, name: str, answer: Record | str) -> Record | None:
        """Take an answer or the word for why there is none; a record to ask at once, or None."""
        whole = self.question.whole
        answer = word_of(self.run.roster_now().named(name)) or answer
        if answer == BehindError.code and whole and name not in self.behind:
            self.behind.add(name)
            return whole(name)
        if isinstance(answer, Record):
            self._use(name, answer)
        else:
            self._leave_out(name, answer)
        why = self.left_out.get(name)
        self.run.reporter.site(name, f"left out: {why}" if why else "answered")
        return None

    def _use(self, name: str, answer: Record) -> None:
        """Write down that it arrived, then look at it; what is wrong with it is the hospital's.

        Any other error is the server's own and ends the run.
        """
        question = self.question
        self.run.ledger.append(
            RECEIVED,
            site=name,
            kind=question.kind,
            round=question.number,
            digest=answer.digest,
            bytes=answer.size,
        )
        try:
            self.good[name] = self.read(name, answer)
        except (ProtocolError, WeightsError, ReleaseError) as error:
            self._quarantine(name, str(error))

    def _leave_out(self, name: str, word: str) -> None:
        if word in QUARANTINES:
            self._quarantine(name, REASONS[word])
            return
        if word == LeftError.code:
            note_left(self.run.config, name)
        self.left_out[name] = REASONS.get(word, "it failed; its site.log says why")

    def _quarantine(self, name: str, error: str) -> None:
        """Leave a hospital out of this round; it is asked again in the next."""
        plain = "".join(c if c.isprintable() else "?" for c in error)[:REASON_LENGTH]
        kind, number = self.question.kind, self.question.number
        self.run.ledger.append(QUARANTINED, site=name, kind=kind, round=number, reason=plain)
        self.quarantined.add(name)
        self.left_out[name] = QUARANTINE + plain


def ask_all(run: Run, question: Question, read: Callable[[str, Record], Reply]) -> Answers[Reply]:
    """Ask hospitals and read each answer as it arrives.

    Args:
        run: the run.
        question: what to ask of whom.
        read: turns a hospital's answer into a reply; what it refuses quarantines the hospital.
    """
    intake, asks = Intake(run, question, read), question.asks
    run.reporter.say(sites=dict.fromkeys(asks, "working"))
    traffic = run.exchange.ask(
        question.kind,
        asks,
        most=question.most,
        seconds=60 * run.study.round_minutes,
        on_answer=intake.take,
    )
    return Answers(
        _in_order(intake.good, asks),
        _in_order(intake.left_out, asks),
        frozenset(intake.quarantined),
        _in_order(traffic, asks),
    )


def _in_order(found: Mapping[str, Value], names: Iterable[str]) -> dict[str, Value]:
    return {name: found[name] for name in names if name in found}


def require(number: int, good: int, needed: int, left_out: Mapping[str, str], what: str) -> None:
    """End a run that lacks answers, saying whose and why."""
    if good >= needed:
        return
    why = "; ".join(f"{name}: {reason}" for name, reason in left_out.items())
    raise TrainingError(
        f"{what}: {good} of {needed} hospitals answered ({why})",
        hint=f"mend it, then run 'ghanet-server train': it goes on from round {number}",
    )
