"""One run of a study: statistics, rounds, final evaluation, release, delivery. No Flower here.

Every stage looks for its result first and goes on from there, so a run after any stop continues.
"""

import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import reduce
from operator import add

from ghanet_model.genes import GenePanel
from ghanet_model.metrics import EvaluationSums
from ghanet_model.network import new_model
from ghanet_model.protocol import RoundReply
from ghanet_model.record import Record
from ghanet_model.release import model_config
from ghanet_model.weights import weights_of

from . import progress
from .aggregate import Contribution, apply_updates
from .asks import ask_round, expected_of, round_asks
from .checkpoint import Checkpoint, RoundRecord, SiteRound, read_checkpoint, write_checkpoint
from .ensemble import kept
from .gate import read_reply
from .intake import Answers, require
from .roster import Member, Roster
from .run import Run, Traffic, gather, grace_for, quorum, refreshed
from .selection import keep_best
from .spool import clear_spool, read_update, write_update

PANEL_FILE, FINAL_FILE = "panel.json", "final.json"


def start_or_resume(run: Run, panel: GenePanel) -> Checkpoint:
    """The newest checkpoint, or the study's initial model as round 0."""
    folder = run.config.state / "checkpoints"
    found = read_checkpoint(folder, study=run.study.digest)
    if found is None:
        model = new_model(model_config(run.study, panel), seed=run.study.seed)
        found = Checkpoint(0, run.study.digest, weights_of(model))
        write_checkpoint(folder, found)
    return found


def one_round(run: Run, checkpoint: Checkpoint, panel: GenePanel) -> Checkpoint:
    """Evaluate the incoming model everywhere, train it where the role says so, aggregate.

    Raises:
        TrainingError: fewer acceptable updates than the study's minimum.
    """
    number, began = checkpoint.number + 1, time.monotonic()
    online = gather(run, grace=grace_for(run, checkpoint))
    run = refreshed(run)
    run.reporter.say(phase=progress.ROUND, round_number=number)
    roles = {member.name: member for member in run.roster.active() if member.name in online}
    expected, state = expected_of(run, checkpoint), run.config.state
    asked = [m for m in roles.values() if m.trains or not run.study.is_private]
    asks = round_asks(run, expected, asked, panel, final=False)
    clear_spool(state)

    def read(name: str, record: Record) -> RoundReply:
        reply = read_reply(record, expected, roles[name], final=False)
        if reply.update:
            write_update(state, number, name, reply.update)
        reply = replace(reply, update={})
        return declared(reply, roles[name]) if run.study.is_private else reply

    answers = ask_round(run, checkpoint, asks, expected, read)
    trained = {name: reply for name, reply in answers.good.items() if reply.cases}
    training = {member.name for member in run.roster.training()}
    missing = {name: why for name, why in answers.left_out.items() if name in training}
    needed = quorum(run, quarantined=answers.quarantined)
    require(number, len(trained), needed, missing, f"round {number}")
    weights = apply_updates(
        checkpoint.weights,
        (
            Contribution(reply.cases, reply.gene_cases, read_update(state, number, name))
            for name, reply in trained.items()
        ),
    )
    record = RoundRecord(number, time.monotonic() - began, site_rounds(run.roster, answers))
    return Checkpoint(number, checkpoint.study, weights, (*checkpoint.history, record))


def declared(reply: RoundReply, member: Member) -> RoundReply:
    """A private answer, weighed by the number of cases that its hospital was enrolled with."""
    genes = member.cases if reply.gene_cases else 0
    return replace(reply, cases=member.cases, gene_cases=genes)


def site_rounds(roster: Roster, answers: Answers[RoundReply]) -> tuple[SiteRound, ...]:
    """What every hospital of the roster did, for history."""
    return tuple(
        _site_round(
            name,
            answers.good.get(name),
            answers.traffic.get(name, Traffic()),
            left_out=answers.left_out.get(name, ""),
        )
        for name in roster.names()
    )


def _site_round(
    name: str, reply: RoundReply | None, traffic: Traffic, *, left_out: str
) -> SiteRound:
    nothing = SiteRound(
        name, trained=False, left_out=left_out, sent=traffic.sent, received=traffic.received
    )
    if reply is None:
        return nothing
    return replace(
        nothing,
        trained=bool(reply.cases),
        cases=reply.cases,
        events=reply.events,
        gene_cases=reply.gene_cases,
        loss=reply.loss,
        seconds=reply.seconds,
        evaluation=reply.evaluation,
        validation=reply.validation,
        withheld=reply.withheld,
    )


def total_traffic(sites: Iterable[SiteRound]) -> Traffic:
    """Bytes of all hospitals together."""
    return sum((Traffic(site.sent, site.received) for site in sites), Traffic())


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
        before, checkpoint = checkpoint, one_round(run, checkpoint, panel)
        keep_best(run, before, checkpoint)
        write_checkpoint(run.config.state / "checkpoints", checkpoint, keep=kept(run.study))
        clear_spool(run.config.state)
        report_history(run, checkpoint)
    return checkpoint


def report_history(run: Run, checkpoint: Checkpoint) -> None:
    """Tell followers what is known so far."""
    run.reporter.say(
        round_number=checkpoint.number,
        rounds=run.study.rounds,
        round_seconds=tuple(record.seconds for record in checkpoint.history),
        round_bytes=tuple(total_traffic(r.sites).total for r in checkpoint.history),
        c_index=tuple(total_c_index(record.sites) for record in checkpoint.history),
    )
