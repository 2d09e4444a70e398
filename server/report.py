"""The report for people, report.html, and its twin for programs, report.json. Sums and counts only.

The page is made of the twin alone: every number on it is in report.json.
"""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ghanet_model.extraction import encoder_terms
from ghanet_model.files import write_atomic, write_json
from ghanet_model.genes import candidate_groups
from ghanet_model.metrics import EvaluationSums
from ghanet_model.page_numbers import part
from ghanet_model.privacy import privacy_json
from ghanet_model.release import NOTICE
from ghanet_model.settings import FORMAT
from ghanet_model.study import StudyConfig
from ghanet_model.wire import FEW_CASES

from .checkpoint import Checkpoint, RoundRecord, SiteRound
from .config import ServerConfig
from .finish import FinalEvaluation
from .intake import QUARANTINE
from .report_rounds import participation, validated
from .report_run import RunReport, of_release, read_run
from .report_withheld import withheld_of
from .roster import Member, Roster
from .rounds import total_c_index, total_traffic

WITHHELD = {FEW_CASES: "too few cases to evaluate"}
REPORT_FILE, PAGE_FILE, CURVE_FILE = "report.json", "report.html", "learning_curve.png"
SETTINGS = (  # of the study, which a reader of the numbers needs
    "encoder",
    "feature_width",
    "preset",
    "time_bin_edges",
    "rounds",
    "local_epochs",
    "held_out",
    "validation",
    "selected_round",
    "minimum_cases",
    "minimum_sites",
    "replicates",
    "train_alone",
    "gene_types",
    "gene_selection",
    "gene_selection_level",
    "gene_selection_top",
    "exchange_precision",
)


def write_report(
    config: ServerConfig,
    study: StudyConfig,
    roster: Roster,
    checkpoint: Checkpoint,
    final: FinalEvaluation | None,
) -> None:
    """Write report.html, report.json and learning_curve.png of a run that is in memory."""
    write_files(config, of_release(config, study, roster, checkpoint, final))


def report_now(config: ServerConfig, output: Path | None = None) -> Path:
    """Write the report of what lies on disk, at any time; where the page is.

    Raises:
        TrainingError: nothing was done yet.
    """
    return write_files(config, read_run(config), output)


def write_files(config: ServerConfig, found: RunReport, output: Path | None = None) -> Path:
    """Write the three files; the page elsewhere where ``output`` says so."""
    from .report_curves import write_curve  # noqa: PLC0415 - matplotlib takes a second
    from .report_page import report_page  # noqa: PLC0415 - the same

    path, twin = output or config.report / PAGE_FILE, twin_of(found)
    write_json(config.report / REPORT_FILE, twin)
    write_atomic(path, report_page(twin).encode())
    history = found.checkpoint.history if found.checkpoint else ()
    stages = [*(record.sites for record in history), *([_last(found)] if _last(found) else [])]
    write_curve(config.report / CURVE_FILE, found.roster.names(), stages)
    return path


def _last(found: RunReport) -> tuple[SiteRound, ...]:
    """What hospitals said of the last round's model."""
    evaluated = found.last or found.final
    return evaluated.sites if evaluated else ()


def twin_of(found: RunReport) -> dict[str, Any]:
    """Everything that the page says, as JSON."""
    last, final = _last(found), found.final.sites if found.final else ()
    stages = participation(found.checkpoint, last, final if final != last else ())
    return {
        "format": FORMAT,
        "notice": NOTICE,
        "state": found.state,
        "as_of": found.now.updated if found.now else "",
        "running": found.running,
        "stopped": found.stopped,
        "undelivered": found.undelivered,
        **report_of(found.study, found.roster, found.checkpoint, found.final, last),
        "settings": {key: getattr(found.study, key) for key in SETTINGS} | encoding(found.study),
        "participation": stages,
        "selection": {
            "by": found.study.selected_round,
            "round": found.released,
            "validation": validated(found.checkpoint, last) if found.checkpoint else {},
        },
        "cohort": found.cohort,
        "signature": found.signature,
        "genes": genes_of(found),
        "evaluation": found.evaluation,
        "privacy": privacy_json(found.study),
        "withheld": withheld_of(found, stages),
        "digests": found.digests or {"study": found.study.digest},
    }


def encoding(study: StudyConfig) -> dict[str, Any]:
    """How slides became features, and under which terms."""
    terms = encoder_terms(study.encoder, study.extraction)
    return {"extraction": asdict(study.extraction), "encoder_terms": terms}


def genes_of(found: RunReport) -> dict[str, Any] | None:
    """How many genes are learnt, and what each hospital measured of them."""
    groups = part(found.panel, "panel", "groups")
    if groups is None:
        return None
    kept = {name: len(columns) for name, columns in groups}
    return {
        "columns": len(part(found.panel, "panel", "columns") or ()),
        "groups": [
            {"name": name, "candidates": len(columns), "kept": kept.get(name, 0)}
            for name, columns in candidate_groups(found.study)
        ],
        "coverage": part(found.panel, "coverage") or {},
        "missing": {n: len(cs) for n, cs in (part(found.panel, "missing") or {}).items()},
    }


def report_of(
    study: StudyConfig,
    roster: Roster,
    checkpoint: Checkpoint | None,
    final: FinalEvaluation | None,
    last: tuple[SiteRound, ...] = (),
) -> dict[str, Any]:
    """The rounds in numbers: C-index before and after, by site and over all.

    Args:
        study: names it.
        roster: every hospital.
        checkpoint: the last one.
        final: the evaluation of the released model.
        last: that of the last round's model, where it is another.
    """
    history = checkpoint.history if checkpoint else ()
    end = final.sites if final else ()
    ends = [sites for sites in dict.fromkeys((last, end)) if sites]
    stages = [*(record.sites for record in history), *ends]
    first = history[0].sites if history else ()
    return {
        "study": study.name,
        "rounds": checkpoint.number if checkpoint else 0,
        "round_seconds": [record.seconds for record in history],
        "traffic": traffic_of(stages),
        "sites": [_site(member, history, end) for member in roster.members],
        "c_index_before": total_c_index(first),
        "c_index": total_c_index(end),
    }


def _site(
    member: Member, history: Sequence[RoundRecord], last: Sequence[SiteRound]
) -> dict[str, Any]:
    """One hospital over all rounds."""
    stages = [*(record.sites for record in history), last]
    mine = [site for stage in stages for site in stage if site.name == member.name]
    nothing = SiteRound(member.name, trained=False, left_out="enrolled later" if history else "")
    start = _of(member.name, stages[0]) or nothing
    end = _of(member.name, last) or (nothing if last or not mine else mine[-1])
    trained = next((site for site in reversed(mine) if site.trained), nothing)
    evaluated = (end.evaluation if last else None) or EvaluationSums()
    traffic, quarantined = total_traffic(mine), _quarantines(member.name, history)
    return {
        "name": member.name,
        "role": member.role,
        "has_genes": member.has_genes,
        "cases": trained.cases + evaluated.cases,
        "events": (trained.events or 0) + evaluated.events,
        "untold_events": int(trained.trained and trained.events is None) + evaluated.untold_events,
        "evaluated": evaluated.cases,
        "c_index_before": start.evaluation.concordance.c_index if start.evaluation else None,
        "c_index": evaluated.concordance.c_index,
        "sent_bytes": traffic.sent,
        "received_bytes": traffic.received,
        "standing": member.standing,
        "quarantined": quarantined,
        "note": _note(member, end, quarantined),
    }


def _of(name: str, sites: Sequence[SiteRound]) -> SiteRound | None:
    return next((site for site in sites if site.name == name), None)


def _quarantines(name: str, history: Sequence[RoundRecord]) -> dict[str, str]:
    """Why a hospital's answers were not used, by round."""
    return {
        str(record.number): site.left_out.removeprefix(QUARANTINE)
        for record in history
        for site in record.sites
        if site.name == name and site.left_out.startswith(QUARANTINE)
    }


def _note(member: Member, end: SiteRound, quarantined: dict[str, str]) -> str:
    """What to know of a hospital beside its numbers."""
    notes = (
        member.standing or WITHHELD.get(end.withheld, "") or end.left_out,
        f"quarantined in round {', '.join(quarantined)}" if quarantined else "",
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
