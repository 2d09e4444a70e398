"""A run: what it works with, how many hospitals it needs, waiting for them. No Flower here."""

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Protocol, TypeAlias

from ghanet_model.errors import TrainingError
from ghanet_model.ledger import Ledger
from ghanet_model.record import Record
from ghanet_model.study import StudyConfig

from . import progress
from .checkpoint import Checkpoint
from .config import ServerConfig
from .ledger import server_ledger
from .roster import Roster, read_roster

GRACE_SECONDS = 120.0  # a hospital that restarts is back after a minute
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
        self,
        kind: str,
        asks: Mapping[str, Record],
        *,
        most: int,
        seconds: float,
        on_answer: OnAnswer,
    ) -> dict[str, Traffic]:
        """Ask hospitals by name; hand each answer over as it arrives and keep none.

        ``on_answer`` gets a hospital's answer or error code, 'missing' after ``seconds``, 'large'
        for one of more than ``most`` bytes, and at once 'revoked' where the roster says so. A
        record that it returns is asked of this hospital at once; its answer is handed over too.
        """


@dataclass(frozen=True, slots=True)
class Run:
    """All that a run works with."""

    config: ServerConfig
    study: StudyConfig
    roster: Roster  # as it was when the round began
    exchange: Exchange
    reporter: progress.Reporter

    @property
    def ledger(self) -> Ledger:
        """The coordinator's."""
        return server_ledger(self.config)

    def roster_now(self) -> Roster:
        """The roster as it stands on disk: commands change it while a run goes on."""
        return read_roster(self.config.folder)


def refreshed(run: Run) -> Run:
    """The run with the roster as it is now: who was enrolled takes part from here on."""
    return replace(run, roster=run.roster_now())


def quorum(run: Run, *, quarantined: Collection[str] = ()) -> int:
    """Training hospitals that a round needs.

    What the study says; else every one of this round's that is still in good standing and was not
    quarantined. But never one alone where two were ever enrolled: the mean of one is its own
    weights, and every other hospital would get them.
    """
    if run.study.minimum_sites:
        return run.study.minimum_sites
    now = run.roster_now()
    active = {member.name for member in now.training()} - set(quarantined)
    enrolled = sum(member.trains for member in now.members)
    asked = {member.name for member in run.roster.training()}
    return max(len(active & asked), min(2, enrolled), 1)


def gather(run: Run, *, everybody: bool = False, grace: float = GRACE_SECONDS) -> set[str]:
    """Wait until all hospitals are online, or enough that train are and the grace is over.

    Args:
        run: the run; its roster is looked at anew while waiting.
        everybody: every training hospital is needed, whatever the study says.
        grace: seconds to wait for hospitals that are not needed.

    Raises:
        TrainingError: too few that train within the round's time.
    """
    began = time.monotonic()
    while True:
        run = refreshed(run)
        names = {member.name for member in run.roster.active()}
        training = {member.name for member in run.roster.training()}
        needed = len(training) if everybody else quorum(run)
        _require_possible(training, needed)
        online = run.exchange.online()
        if names <= online:
            return names
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


def _require_possible(training: set[str], needed: int) -> None:
    """Do not wait for hospitals that are not there to come."""
    if len(training) < needed:
        raise TrainingError(
            f"{len(training)} training hospitals are in good standing, a round needs {needed}",
            hint="enrol another or take one back with 'ghanet-server renew', then 'train' goes on",
        )


def grace_for(run: Run, checkpoint: Checkpoint) -> float:
    """Seconds to wait for hospitals that a round can do without: none that missed the last."""
    if not checkpoint.history:
        return GRACE_SECONDS
    online = run.exchange.online()
    away = [site.name for site in checkpoint.history[-1].sites if site.left_out]
    active = {member.name for member in run.roster.active()}
    return 0.0 if active - online <= set(away) else GRACE_SECONDS
