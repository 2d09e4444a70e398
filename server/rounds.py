"""One run of a study: statistics, rounds, final evaluation, release, delivery. No Flower here.

Every stage looks for its result first and goes on from there, so a run after any stop continues.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import Protocol, TypeVar

from ghanet_model.errors import GHANetError, ProtocolError, StudyError, TrainingError
from ghanet_model.files import write_json
from ghanet_model.genes import GenePanel, candidate_columns, make_panel
from ghanet_model.metrics import EvaluationSums
from ghanet_model.network import new_model
from ghanet_model.protocol import (
    Record,
    RoundAsk,
    RoundReply,
    StatisticsAsk,
    StatisticsReply,
)
from ghanet_model.release import model_config
from ghanet_model.study import StudyConfig
from ghanet_model.weights import fingerprint_of, weights_of
from ghanet_model.wire import ROUND, STATISTICS

from . import progress
from .aggregate import Expected, apply_updates, check_update
from .checkpoint import Checkpoint, RoundRecord, SiteRound, read_checkpoint, write_checkpoint
from .config import ServerConfig
from .roster import Member, Roster

GRACE_SECONDS = 120.0  # a hospital that restarts is back after a minute
PANEL_FILE, FINAL_FILE = "panel.json", "final.json"
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
    "flower": "its Flower app could not answer",
}
Reply = TypeVar("Reply")


class Exchange(Protocol):
    """How messages travel; Flower in a deployment, a plain call in tests."""

    def online(self) -> set[str]:
        """Names of hospitals that can be asked now."""

    def ask(
        self,
        kind: str,
        asks: Mapping[str, Record],
        *,
        seconds: float,
        on_answer: Callable[[str], None],
    ) -> dict[str, Record | str]:
        """Ask hospitals by name; answer or error code of each ('missing' after ``seconds``)."""


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


def _grace(run: Run, checkpoint: Checkpoint) -> float:
    """Seconds to wait for hospitals that a round can do without: none that missed the last."""
    if not checkpoint.history:
        return GRACE_SECONDS
    online = run.exchange.online()
    away = [site.name for site in checkpoint.history[-1].sites if site.left_out]
    return 0.0 if set(run.roster.names()) - online <= set(away) else GRACE_SECONDS


def ask_all(
    run: Run,
    kind: str,
    asks: Mapping[str, Record],
    read: Callable[[str, Record], Reply],
) -> tuple[dict[str, Reply], dict[str, str]]:
    """Ask hospitals; good answers by name, and why the others gave none."""
    run.reporter.say(sites=dict.fromkeys(asks, "working"))
    found = run.exchange.ask(
        kind,
        asks,
        seconds=60 * run.study.round_minutes,
        on_answer=lambda name: run.reporter.site(name, "answered"),
    )
    good: dict[str, Reply] = {}
    left_out: dict[str, str] = {}
    for name in asks:  # roster order, whatever order they arrived in
        answer = found.get(name, "missing")
        try:
            if isinstance(answer, str):
                left_out[name] = REASONS.get(answer, "it failed; its site.log says why")
            else:
                good[name] = read(name, answer)
        except GHANetError as error:
            left_out[name] = str(error)
    for name, why in left_out.items():
        run.reporter.site(name, f"left out: {why}")
    return good, left_out


def require(number: int, good: int, needed: int, left_out: Mapping[str, str], what: str) -> None:
    """End a run that lacks answers, saying whose and why."""
    if good >= needed:
        return
    why = "; ".join(f"{name}: {reason}" for name, reason in left_out.items())
    raise TrainingError(
        f"{what}: {good} of {needed} hospitals answered ({why})",
        hint=f"mend it, then run 'ghanet-server train': it goes on from round {number}",
    )


def fix_panel(run: Run) -> GenePanel:
    """The gene panel: from its file, or from one exchange of sums over all sites with genes."""
    path = run.config.state / PANEL_FILE
    if path.exists():
        stored = json.loads(path.read_text())
        if stored["study"] != run.study.digest:
            raise StudyError(
                f"state/{PANEL_FILE} belongs to another study than study.yaml",
                hint="restore study.yaml, or start the new study in a folder of its own",
            )
        return GenePanel.from_json(stored["panel"])
    names = [member.name for member in run.roster.with_genes()]
    gather(run, needed=len(run.roster.training()))
    run.reporter.say(phase=progress.STATISTICS)
    columns = len(candidate_columns(run.study))
    good, left_out = ask_all(
        run,
        STATISTICS,
        dict.fromkeys(names, StatisticsAsk(run.study.digest).to_record()),
        lambda _, record: StatisticsReply.from_record(record, columns=columns),
    )
    require(1, len(good), len(names), left_out, "statistics")
    panel = make_panel(
        run.study, reduce(add, (reply.sums for reply in good.values())), sites=len(good)
    )
    write_json(path, {"study": run.study.digest, "panel": panel.to_json()})
    return panel


def start_or_resume(run: Run, panel: GenePanel) -> Checkpoint:
    """The newest checkpoint, or the study's initial model as round 0."""
    folder = run.config.state / "checkpoints"
    found = read_checkpoint(folder, study=run.study.digest)
    if found is None:
        model = new_model(model_config(run.study, panel), seed=run.study.seed)
        found = Checkpoint(0, run.study.digest, weights_of(model))
        write_checkpoint(folder, found)
    return found


def round_asks(
    run: Run, members: Sequence[Member], checkpoint: Checkpoint, panel: GenePanel, *, final: bool
) -> dict[str, Record]:
    """The message of a round for each hospital, as its role says."""
    return {
        member.name: RoundAsk(
            study=run.study.digest,
            number=checkpoint.number + 1,
            train=member.trains and not final,
            genes=member.has_genes and not final,
            training_risk=member.trains and final,
            panel=json.dumps(panel.to_json()),
            weights=checkpoint.weights,
        ).to_record()
        for member in members
    }


def one_round(run: Run, checkpoint: Checkpoint, panel: GenePanel) -> Checkpoint:
    """Evaluate the incoming model everywhere, train it where the role says so, aggregate.

    Raises:
        TrainingError: fewer acceptable updates than the study's minimum.
    """
    number, began = checkpoint.number + 1, time.monotonic()
    online = gather(run, needed=run.quorum, grace=_grace(run, checkpoint))
    run.reporter.say(phase=progress.ROUND, round_number=number)
    members = [member for member in run.roster.members if member.name in online]
    expected = Expected(number, fingerprint_of(checkpoint.weights), checkpoint.weights)
    roles = {member.name: member for member in members}

    def read(name: str, record: Record) -> RoundReply:
        reply = RoundReply.from_record(record)
        if roles[name].trains:
            check_update(reply, expected, asked_genes=roles[name].has_genes)
        elif reply.trained:
            raise ProtocolError("it trained without being asked to")
        return reply

    asks = round_asks(run, members, checkpoint, panel, final=False)
    good, left_out = ask_all(run, ROUND, asks, read)
    left_out |= {n: REASONS["offline"] for n in run.roster.names() if n not in roles}
    updates = [reply for reply in good.values() if reply.cases]
    training = {m.name for m in run.roster.training()}
    missing = {name: why for name, why in left_out.items() if name in training}
    require(number, len(updates), run.quorum, missing, f"round {number}")
    weights = apply_updates(checkpoint.weights, updates)
    record = RoundRecord(number, time.monotonic() - began, site_rounds(run.roster, good, left_out))
    return Checkpoint(number, checkpoint.study, weights, (*checkpoint.history, record))


def site_rounds(
    roster: Roster, good: Mapping[str, RoundReply], left_out: Mapping[str, str]
) -> tuple[SiteRound, ...]:
    """What every hospital of the roster did, for history."""
    found = []
    for member in roster.members:
        reply = good.get(member.name)
        if reply is None:
            found.append(SiteRound(member.name, trained=False, left_out=left_out[member.name]))
            continue
        found.append(
            SiteRound(
                name=member.name,
                trained=bool(reply.trained),
                cases=reply.cases,
                events=reply.events,
                gene_cases=reply.gene_cases,
                loss=reply.loss,
                seconds=reply.seconds,
                evaluation=reply.evaluation,
                withheld=reply.withheld,
            )
        )
    return tuple(found)


def total_evaluation(sites: Sequence[SiteRound]) -> EvaluationSums | None:
    """Sum of what the sites gave; None where none gave anything."""
    sums = [site.evaluation for site in sites if site.evaluation]
    return reduce(add, sums) if sums else None


def total_c_index(sites: Sequence[SiteRound]) -> float | None:
    """C-index over pairs inside sites, weighted by pairs."""
    total = total_evaluation(sites)
    return total.concordance.c_index if total else None


def train_rounds(run: Run, panel: GenePanel) -> Checkpoint:
    """All rounds that are still to do, a checkpoint after each."""
    checkpoint = start_or_resume(run, panel)
    report_history(run, checkpoint)
    while checkpoint.number < run.study.rounds:
        checkpoint = one_round(run, checkpoint, panel)
        write_checkpoint(run.config.state / "checkpoints", checkpoint)
        report_history(run, checkpoint)
    return checkpoint


def report_history(run: Run, checkpoint: Checkpoint) -> None:
    """Tell followers what is known so far."""
    run.reporter.say(
        round_number=checkpoint.number,
        rounds=run.study.rounds,
        round_seconds=tuple(record.seconds for record in checkpoint.history),
        c_index=tuple(total_c_index(record.sites) for record in checkpoint.history),
    )
