"""The end of a run: final evaluation, release, delivery. Each looks for its result first."""

import datetime as dt
import json
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import reduce
from importlib.metadata import version
from operator import add
from pathlib import Path
from typing import Any

import torch

from ghanet_model.errors import ReleaseError, StudyError
from ghanet_model.files import sha256, write_atomic, write_json
from ghanet_model.genes import GenePanel
from ghanet_model.metrics import EvaluationSums
from ghanet_model.privacy import privacy_json
from ghanet_model.protocol import DeliveryAsk
from ghanet_model.release import NOTICE, make_release, read_release
from ghanet_model.study import RELEASE_SUFFIX
from ghanet_model.weights import fingerprint_of

from . import progress
from .asks import ask_round, expected_of, round_asks
from .card import model_card
from .card_file import read_card_file
from .checkpoint import Checkpoint, SiteRound, round_from_json, sums_from_json
from .delivery import hand_over
from .ensemble import card_section, ensemble_of
from .gate import read_reply
from .intake import require
from .recall import find_recall
from .rounds import FINAL_FILE, site_rounds
from .run import Run, gather, quorum, refreshed
from .selection import selected
from .tripod import tripod_items, tripod_json

DELIVERIES_FILE = "deliveries.json"
SELECTED_FILE = "selected.json"  # the final evaluation of a model that is not the last
TERTILE = 0.4307  # standard deviations from the mean to a normal distribution's tertiles


@dataclass(frozen=True, slots=True)
class FinalEvaluation:
    """The last model at every hospital, and the cut-offs of its risk groups."""

    sites: tuple[SiteRound, ...]
    training_risk: EvaluationSums

    @property
    def risk_cutoffs(self) -> tuple[float, float]:
        """Mean -+ 0.43 standard deviations of the training cases' risk: tertiles if normal."""
        middle, spread = self.training_risk.mean_risk, self.training_risk.sd_risk
        return middle - TERTILE * spread, middle + TERTILE * spread


def choose_model(
    run: Run, last: Checkpoint, panel: GenePanel
) -> tuple[Checkpoint, FinalEvaluation]:
    """The model that is released, and its evaluation: the last one, or the best by validation.

    The last model is evaluated first, because its validation is known only then.
    """
    final = evaluate_final(run, last, panel)
    best = selected(run, last, final.sites)
    if best.selected is None:
        return last, final
    return best, evaluate_final(run, best, panel, file=SELECTED_FILE)


def evaluate_final(
    run: Run, checkpoint: Checkpoint, panel: GenePanel, *, file: str = FINAL_FILE
) -> FinalEvaluation:
    """Evaluate a model everywhere, once; ``file`` below state/ holds the result.

    Raises:
        TrainingError: fewer training sites than a round needs summed the risk of their cases.
    """
    path = run.config.state / file
    if path.exists():
        return read_final(json.loads(path.read_text()), study=run.study.digest)
    online = gather(run)
    run = refreshed(run)
    run.reporter.say(phase=progress.FINAL)
    members = {member.name: member for member in run.roster.active() if member.name in online}
    expected = expected_of(run, checkpoint)
    asks = round_asks(run, expected, members.values(), panel, final=True)
    answers = ask_round(
        run,
        checkpoint,
        asks,
        expected,
        lambda name, record: read_reply(record, expected, members[name], final=True),
    )
    risks = [reply.training_risk for reply in answers.good.values() if reply.training_risk]
    needed = quorum(run, quarantined=answers.quarantined)
    require(expected.number, len(risks), needed, answers.left_out, "final evaluation")
    final = FinalEvaluation(site_rounds(run.roster, answers), reduce(add, risks))
    write_json(path, {"study": run.study.digest, **asdict(final)})
    return final


def read_final(values: dict[str, Any], *, study: str) -> FinalEvaluation:
    """The final evaluation as its file holds it."""
    if values["study"] != study:
        raise StudyError(f"state/{FINAL_FILE} belongs to another study than study.yaml")
    sites = round_from_json({"number": 0, "seconds": 0.0, "sites": values["sites"]}).sites
    risk = sums_from_json(values["training_risk"])
    if risk is None:
        raise StudyError(f"state/{FINAL_FILE} is damaged", hint="delete it and run 'train' again")
    return FinalEvaluation(sites, risk)


def participation(run: Run, checkpoint: Checkpoint) -> list[dict[str, Any]]:
    """Who took part: role, rounds trained, cases of the last round trained."""
    found = []
    for member in run.roster_now().members:
        mine = [s for record in checkpoint.history for s in record.sites if s.name == member.name]
        trained = [site for site in mine if site.trained]
        found.append(
            {
                "name": member.name,
                "role": member.role,
                "has_genes": member.has_genes,
                "rounds_trained": len(trained),
                "cases": trained[-1].cases if trained else 0,
                "standing": member.standing,
            }
        )
    return found


def evaluation_of(sites: Mapping[str, EvaluationSums | None]) -> dict[str, Any]:
    """C-index and its parts, by site and over all, as a manifest holds them."""
    known = {name: sums for name, sums in sites.items() if sums}
    total = reduce(add, known.values()) if known else None
    return {
        "c_index": total.concordance.c_index if total else None,
        "cases": total.cases if total else 0,
        "events": total.events if total else 0,
        "untold_events": total.untold_events if total else 0,
        "comparable_pairs": total.concordance.comparable if total else 0,
        "sites": {
            name: {
                "c_index": sums.concordance.c_index,
                "cases": sums.cases,
                "events": sums.events,
                "untold_events": sums.untold_events,
                "comparable_pairs": sums.concordance.comparable,
            }
            for name, sums in known.items()
        },
    }


def manifest_of(
    run: Run,
    checkpoint: Checkpoint,
    panel: GenePanel,
    final: FinalEvaluation,
    evaluation: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """All that a release says of itself."""
    groups = evaluation["groups"] if evaluation else {}
    first = checkpoint.history[0].sites if checkpoint.history else ()
    return {
        "name": run.study.name,
        "notice": NOTICE,
        "created": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "study": run.study.as_json(),
        "study_digest": run.study.digest,
        "panel": panel.to_json(),
        "rounds": checkpoint.number,
        "participation": participation(run, checkpoint),
        "evaluation": {
            "before": evaluation_of({site.name: site.evaluation for site in first}),
            "after": evaluation_of({site.name: site.evaluation for site in final.sites}),
        },
        "selected_round": checkpoint.selected or checkpoint.number,
        "arms": evaluation["arms"] if evaluation else None,
        "differences": evaluation["differences"] if evaluation else [],
        "brier": evaluation["brier"] if evaluation else [],
        "calibration": evaluation["calibration"] if evaluation else [],
        "noisy": evaluation.get("noisy") if evaluation else None,
        "groups": groups or None,
        "reference": _reference(evaluation or {}),
        "risk_cutoffs": list(groups.get("cutoffs") or final.risk_cutoffs),
        "privacy": privacy_json(run.study),
        "software": {
            "federated-ghanet": version("federated-ghanet"),
            "torch": torch.__version__,
            "threads": torch.get_num_threads(),
            "machine": platform.machine(),
        },
    }


def _reference(evaluation: Mapping[str, Any]) -> dict[str, Any] | None:
    """What one slide's answer is held against; None where nothing was asked about it."""
    if not evaluation.get("reference"):
        return None
    return {**evaluation["reference"], "risk_boxes": evaluation.get("risk_boxes")}


def release(
    run: Run,
    checkpoint: Checkpoint,
    panel: GenePanel,
    final: FinalEvaluation,
    evaluation: Mapping[str, Any] | None = None,
) -> bytes:
    """The study's release: the one on disk, or a new one."""
    path = run.config.releases / f"{run.study.name}{RELEASE_SUFFIX}"
    if path.exists():
        _require_release_of(checkpoint, path, run.config.keys / "release.key.pub")
        return path.read_bytes()
    ensemble = ensemble_of(run, checkpoint)
    manifest = manifest_of(run, checkpoint, panel, final, evaluation)
    manifest["ensemble"] = ensemble.as_json() if run.study.ensemble else None
    manifest["stated"] = read_card_file(run.config.folder)
    manifest["tripod"] = tripod_json(tripod_items(run.study, manifest))
    content = make_release(
        manifest,
        checkpoint.weights,
        model_card(run.study, manifest) + card_section(ensemble),
        key_file=run.config.keys / "release.key",
        ensemble=ensemble.weights,
    )
    write_atomic(path, content)
    return content


def _require_release_of(checkpoint: Checkpoint, path: Path, public_file: Path) -> None:
    """Refuse to deliver a release that was not made from this checkpoint."""
    found = read_release(path, public_pem=public_file.read_bytes())
    same = fingerprint_of(found.weights) == fingerprint_of(checkpoint.weights)
    if found.study.digest != checkpoint.study or not same:
        raise ReleaseError(
            f"releases/{path.name} is of another training than the last checkpoint",
            hint="move it away, then run 'ghanet-server release'",
        )


def deliver(run: Run, content: bytes) -> dict[str, str]:
    """Hand the release to every hospital that has not confirmed it; what is left undone, by name.

    A release that was recalled is handed to nobody.
    """
    path = run.config.state / DELIVERIES_FILE
    digest = sha256(content)
    if find_recall(run.config, digest):
        return {}
    done: dict[str, str] = json.loads(path.read_text()) if path.exists() else {}
    ask = DeliveryAsk(run.study.digest, run.study.name, content)
    good, left_out = hand_over(run, ask, [name for name, had in done.items() if had == digest])
    write_json(path, done | dict.fromkeys(good, digest))
    return left_out
