"""One run of a study: statistics, rounds, final evaluation, release, delivery. No Flower here.

Every stage looks for its result first and goes on from there, so a run after any stop continues.
"""

import json
import time
from collections.abc import Mapping, Sequence
from functools import reduce
from operator import add

from ghanet_model.errors import ProtocolError, StudyError
from ghanet_model.files import write_json
from ghanet_model.genes import GenePanel, candidate_columns, make_panel
from ghanet_model.metrics import EvaluationSums
from ghanet_model.network import new_model
from ghanet_model.protocol import (
    RoundAsk,
    RoundReply,
    StatisticsAsk,
    StatisticsReply,
)
from ghanet_model.record import Record
from ghanet_model.release import model_config
from ghanet_model.weights import fingerprint_of, weights_of
from ghanet_model.wire import ROUND, STATISTICS

from . import progress
from .aggregate import Expected, apply_updates, check_round, check_update
from .checkpoint import Checkpoint, RoundRecord, SiteRound, read_checkpoint, write_checkpoint
from .roster import Member, Roster
from .run import REASONS, Run, ask_all, gather, grace_for, require

PANEL_FILE, FINAL_FILE = "panel.json", "final.json"


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


def read_reply(record: Record, expected: Expected, *, train: bool, genes: bool) -> RoundReply:
    """An answer to what was asked, and to nothing else.

    Raises:
        ProtocolError: not a reply, or an update that was not asked for.
        WeightsError: another round, or an update that cannot be averaged.
    """
    reply = RoundReply.from_record(record)
    check_round(reply, expected.number, expected.base)
    if train:
        check_update(reply, expected, asked_genes=genes)
    elif reply.trained:
        raise ProtocolError("it trained without being asked to")
    return reply


def one_round(run: Run, checkpoint: Checkpoint, panel: GenePanel) -> Checkpoint:
    """Evaluate the incoming model everywhere, train it where the role says so, aggregate.

    Raises:
        TrainingError: fewer acceptable updates than the study's minimum.
    """
    number, began = checkpoint.number + 1, time.monotonic()
    online = gather(run, needed=run.quorum, grace=grace_for(run, checkpoint))
    run.reporter.say(phase=progress.ROUND, round_number=number)
    members = [member for member in run.roster.members if member.name in online]
    expected = Expected(number, fingerprint_of(checkpoint.weights), checkpoint.weights)
    roles = {member.name: member for member in members}

    def read(name: str, record: Record) -> RoundReply:
        member = roles[name]
        return read_reply(record, expected, train=member.trains, genes=member.has_genes)

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
