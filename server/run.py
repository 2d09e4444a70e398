"""A run's tools: what it works with, waiting for hospitals, asking them. No Flower here."""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Generic, Protocol, TypeAlias, TypeVar

from ghanet_model.errors import BehindError, GHANetError, TrainingError
from ghanet_model.record import Record
from ghanet_model.study import StudyConfig

from . import progress
from .checkpoint import Checkpoint
from .config import ServerConfig
from .roster import Roster

GRACE_SECONDS = 120.0  # a hospital that restarts is back after a minute
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
    "ledger": "its ledger cannot be written",
    "left": "it has left the study",
    "revoked": "revoked by the coordinator",
}
Reply = TypeVar("Reply")
Value = TypeVar("Value")
OnAnswer: TypeAlias = Callable[[str, Record | str], Record | None]


@dataclass(frozen=True, slots=True)
class Traffic:
    """Bytes of arrays that went to and came from one hospital, as packed for the wire."""

    sent: int = 0
    received: int = 0

    @property
    def total(self) -> int:
        """Both ways."""
        return self.sent + self.received

    def __add__(self, other: "Traffic") -> "Traffic":
        """Both together."""
        return Traffic(self.sent + other.sent, self.received + other.received)


class Exchange(Protocol):
    """How messages travel; Flower in a deployment, a plain call in tests."""

    def online(self) -> set[str]:
        """Names of hospitals that can be asked now."""

    def ask(
        self, kind: str, asks: Mapping[str, Record], *, seconds: float, on_answer: OnAnswer
    ) -> dict[str, Traffic]:
        """Ask hospitals by name; hand each answer over as it arrives and keep none.

        ``on_answer`` gets a hospital's answer or error code, 'missing' after ``seconds``. A record
        that it returns is asked of this hospital at once; its answer is handed over as well.
        """


@dataclass(frozen=True, slots=True)
class Run:
    """All that a run works with."""

    config: ServerConfig
    study: StudyConfig
    roster: Roster
    exchange: Exchange
    reporter: progress.Reporter

    @property
    def quorum(self) -> int:
        """Training sites that a round needs."""
        return self.study.minimum_sites or len(self.roster.training())


def gather(run: Run, *, needed: int, grace: float = GRACE_SECONDS) -> set[str]:
    """Wait until all hospitals are online, or ``needed`` that train are and the grace is over.

    Raises:
        TrainingError: too few that train within the round's time.
    """
    began, training = time.monotonic(), {member.name for member in run.roster.training()}
    names = set(run.roster.names())
    while not names <= (online := run.exchange.online()):
        waited, absent = time.monotonic() - began, names - online
        run.reporter.say(
            phase=progress.WAITING,
            sites={n: "not connected" if n in absent else "online" for n in sorted(names)},
        )
        enough = len(online & training) >= needed
        if (enough and waited > grace) or waited > 60 * run.study.round_minutes:
            break
        time.sleep(0.5)
    present = online & names
    if len(present & training) < needed:
        raise TrainingError(
            f"{len(present & training)} of {needed} training hospitals are connected; "
            f"absent: {', '.join(sorted(training - present))}",
            hint="ask them to run 'ghanet-client start', then run 'ghanet-server train' again",
        )
    return present


def grace_for(run: Run, checkpoint: Checkpoint) -> float:
    """Seconds to wait for hospitals that a round can do without: none that missed the last."""
    if not checkpoint.history:
        return GRACE_SECONDS
    online = run.exchange.online()
    away = [site.name for site in checkpoint.history[-1].sites if site.left_out]
    return 0.0 if set(run.roster.names()) - online <= set(away) else GRACE_SECONDS


@dataclass(frozen=True, slots=True)
class Answers(Generic[Reply]):
    """What a question brought, each in roster order whatever order it arrived in."""

    good: dict[str, Reply]
    left_out: dict[str, str]  # why a hospital gave nothing
    traffic: dict[str, Traffic]


def ask_all(
    run: Run,
    kind: str,
    asks: Mapping[str, Record],
    read: Callable[[str, Record], Reply],
    *,
    whole: Callable[[str], Record] | None = None,
) -> Answers[Reply]:
    """Ask hospitals and read each answer as it arrives; what ``read`` does not keep is gone.

    Args:
        run: the run.
        kind: of message.
        asks: what to ask, by hospital.
        read: turns an answer into a reply, or refuses it with an error of ours.
        whole: the question with whole weights, for a hospital that turns out to need them.
    """
    good: dict[str, Reply] = {}
    left_out: dict[str, str] = {}
    behind: set[str] = set()

    def on_answer(name: str, answer: Record | str) -> Record | None:
        if answer == BehindError.code and whole and name not in behind:
            behind.add(name)
            return whole(name)
        try:
            if isinstance(answer, str):
                left_out[name] = REASONS.get(answer, "it failed; its site.log says why")
            else:
                good[name] = read(name, answer)
        except GHANetError as error:
            left_out[name] = str(error)
        why = left_out.get(name)
        run.reporter.site(name, f"left out: {why}" if why else "answered")
        return None

    run.reporter.say(sites=dict.fromkeys(asks, "working"))
    traffic = run.exchange.ask(
        kind, asks, seconds=60 * run.study.round_minutes, on_answer=on_answer
    )
    return Answers(_in_order(good, asks), _in_order(left_out, asks), _in_order(traffic, asks))


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
