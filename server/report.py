"""The report for people: a table of sites and a learning curve, from sums and counts only."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ghanet_model.files import write_atomic, write_json
from ghanet_model.metrics import EvaluationSums
from ghanet_model.study import StudyConfig
from ghanet_model.wire import FEW_CASES

from .checkpoint import Checkpoint, SiteRound
from .config import ServerConfig
from .finish import FinalEvaluation
from .intake import QUARANTINE
from .roster import Member, Roster
from .rounds import total_c_index, total_traffic

WITHHELD = {FEW_CASES: "too few cases to evaluate"}
REPORT_FILE, CURVE_FILE = "report.json", "learning_curve.png"


def write_report(
    config: ServerConfig,
    study: StudyConfig,
    roster: Roster,
    checkpoint: Checkpoint,
    final: FinalEvaluation,
) -> None:
    """Write report.json and learning_curve.png."""
    write_json(config.report / REPORT_FILE, report_of(study, roster, checkpoint, final))
    stages = [*(record.sites for record in checkpoint.history), final.sites]
    write_curve(config.report / CURVE_FILE, roster.names(), stages)


def report_of(
    study: StudyConfig, roster: Roster, checkpoint: Checkpoint, final: FinalEvaluation
) -> dict[str, Any]:
    """The report as JSON: C-index before and after, by site and over all."""
    first = {site.name: site for site in checkpoint.history[0].sites} if checkpoint.history else {}
    stages = [*(record.sites for record in checkpoint.history), final.sites]
    trained = {s.name: s for stage in stages for s in stage if s.trained}
    after = {site.name: site for site in final.sites}
    sites = []
    for member in roster.members:
        nothing = SiteRound(member.name, trained=False, left_out="enrolled later")
        start, last = (found.get(member.name, nothing) for found in (first, trained))
        end = after.get(member.name, nothing)
        evaluated = end.evaluation or EvaluationSums()
        traffic = total_traffic(s for stage in stages for s in stage if s.name == member.name)
        sites.append(
            {
                "name": member.name,
                "role": member.role,
                "has_genes": member.has_genes,
                "cases": last.cases + evaluated.cases,
                "events": (last.events or 0) + evaluated.events,
                "untold_events": int(last.events is None) + evaluated.untold_events,
                "evaluated": evaluated.cases,
                "c_index_before": start.evaluation.concordance.c_index
                if start.evaluation
                else None,
                "c_index": evaluated.concordance.c_index,
                "sent_bytes": traffic.sent,
                "received_bytes": traffic.received,
                "standing": member.standing,
                "quarantined": quarantines_of(member.name, checkpoint),
                "note": _note(member, end, checkpoint),
            }
        )
    return {
        "study": study.name,
        "rounds": checkpoint.number,
        "round_seconds": [record.seconds for record in checkpoint.history],
        "traffic": traffic_of(stages),
        "sites": sites,
        "c_index_before": total_c_index(tuple(first.values())),
        "c_index": total_c_index(final.sites),
    }


def quarantines_of(name: str, checkpoint: Checkpoint) -> dict[str, str]:
    """Why a hospital's answers were not used, by round."""
    return {
        str(record.number): site.left_out.removeprefix(QUARANTINE)
        for record in checkpoint.history
        for site in record.sites
        if site.name == name and site.left_out.startswith(QUARANTINE)
    }


def _note(member: Member, end: SiteRound, checkpoint: Checkpoint) -> str:
    """What to know of a hospital beside its numbers."""
    rounds = ", ".join(quarantines_of(member.name, checkpoint))
    notes = (
        member.standing or WITHHELD.get(end.withheld, "") or end.left_out,
        f"quarantined in round {rounds}" if rounds else "",
    )
    return "; ".join(note for note in notes if note)


def traffic_of(stages: Sequence[tuple[SiteRound, ...]]) -> dict[str, Any]:
    """Bytes of arrays that the server sent and received: in all, and per stage and hospital."""
    total = total_traffic(site for stage in stages for site in stage)
    return {
        "sent_bytes": total.sent,
        "received_bytes": total.received,
        "rounds": [  # the last one is the final evaluation
            {s.name: {"sent_bytes": s.sent, "received_bytes": s.received} for s in stage}
            for stage in stages
        ],
    }


def write_curve(path: Path, names: tuple[str, ...], stages: list[tuple[SiteRound, ...]]) -> None:
    """Plot the C-index of every site and over all against the rounds behind the model."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - half a second that others save
    from matplotlib.ticker import MaxNLocator  # noqa: PLC0415

    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.subplots()
    rounds = range(len(stages))
    for name in names:
        sums = [next((s.evaluation for s in stage if s.name == name), None) for stage in stages]
        values = [s.concordance.c_index if s else None for s in sums]
        axes.plot(rounds, [_or_nan(v) for v in values], marker=".", alpha=0.6, label=name)
    overall = [_or_nan(total_c_index(stage)) for stage in stages]
    axes.plot(rounds, overall, color="black", linewidth=2.2, marker="o", label="all, by pairs")
    axes.axhline(0.5, color="grey", linewidth=0.8, linestyle=":")
    axes.set_xlabel("rounds behind the model")
    axes.set_ylabel("C-index, pairs inside each hospital")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(loc="best", fontsize="small", frameon=False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=150)
    write_atomic(path, buffer.getvalue())


def _or_nan(value: float | None) -> float:
    return float("nan") if value is None else value
