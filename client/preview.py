"""The next answer, made but not sent: the same work, the same gate, no trace of it in any file."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ghanet_model.bounds import change_in
from ghanet_model.errors import GateError, GHANetError
from ghanet_model.gene_values import GeneValues
from ghanet_model.genes import GenePanel, candidate_columns, candidate_groups
from ghanet_model.network import DECODERS, new_model
from ghanet_model.panel import panel_of_tables
from ghanet_model.privacy import public_panel
from ghanet_model.protocol import RoundAsk, StatisticsAsk
from ghanet_model.question import text_of
from ghanet_model.record import Record, Vector
from ghanet_model.release import model_config
from ghanet_model.study import StudyConfig, read_study
from ghanet_model.weights import Arrays, fingerprint_of, weights_of
from ghanet_model.wire import ROUND, STATISTICS

from .answers import answer, open_site
from .config import read_site
from .gate import examine
from .memory import Memory
from .site import Site

GENES, ASSOCIATION, SURVIVAL = "gene decoders", "association", "survival"  # branches


@dataclass(frozen=True, slots=True)
class Question:
    """What the coordinator would ask."""

    kind: str
    asked: Record
    why: str  # in words, why this is the next one


@dataclass(frozen=True, slots=True)
class Preview:
    """An answer that stays here."""

    question: Question
    record: Record
    size: int  # bytes of its arrays, as they would travel
    base: Arrays  # what its weights are compared with; empty where it has none
    refusal: str  # why the gate would keep it; '' if it would leave

    def changes(self) -> Iterator[tuple[str, Vector]]:
        """What training changed, array by array; of gene sums the sums themselves."""
        for name, array in self.record.arrays.items():
            base = self.base.get(name)
            yield name, array if base is None else change_in(array, base)


def preview_answers(
    folder: Path, *, progress: Callable[[int, int], None] | None = None
) -> list[Preview]:
    """Make the next answer of a hospital; before the first round its gene sums too.

    Args:
        folder: the hospital's.
        progress: called after each training step with steps done and steps in all.

    Raises:
        GHANetError: the answer cannot be made; what the coordinator would get as a code.
    """
    memory = Memory(durable=False)
    config, study = read_site(folder), read_study(folder)
    site = Site(config, study, memory, lambda: None, [], progress)
    closed = _why_closed(folder)
    return [_preview(site, question, closed) for question in next_questions(site)]


def _preview(site: Site, question: Question, closed: str) -> Preview:
    record, refusal = answer(site, question.kind, question.asked), closed
    try:
        examine(site, question.kind, question.asked, record)
    except GateError as error:
        refusal = refusal or str(error)
    base = site.held.find(record.text("base")) if record.arrays and "base" in record.values else {}
    return Preview(question, record, record.packed().nbytes, base or {}, refusal)


def _why_closed(folder: Path) -> str:
    """Why no message would be answered at all; '' if messages are."""
    try:
        open_site(folder, Memory(durable=False))
    except GHANetError as error:
        return str(error)
    return ""


def next_questions(site: Site) -> list[Question]:
    """The last round as it was asked; before the first one, what it would begin with."""
    last = site.held.last_ask()
    if last is not None and last.study == site.study.digest:
        return [Question(ROUND, last.to_record(), f"round {last.number}, as it was last asked")]
    return list(_first_questions(site))


def _first_questions(site: Site) -> Iterator[Question]:
    study, genes = site.study, site.cohort().training_genes
    why = "nothing was asked yet; the gene panel is a stand-in: all genes of the study"
    panel = public_panel(study) if study.is_private else _stand_in_panel(study)
    if study.is_private:
        why = "nothing was asked yet; noise is drawn anew each time, and nothing is charged"
    elif genes is not None:
        asked = StatisticsAsk(study.digest, GeneValues.topic, text_of(GeneValues())).to_record()
        yield Question(STATISTICS, asked, "gene sums, which are asked for once, before round 1")
        panel = panel_of_tables(study, {site.config.name: genes}, least=site.least)
        why = "nothing was asked yet; the gene panel is made of this hospital's sums alone"
    first = weights_of(new_model(model_config(study, panel), seed=study.seed))
    ask = RoundAsk(
        study=study.digest,
        number=1,
        train=_can_train(site),
        genes=genes is not None,
        training_risk=False,
        panel=json.dumps(panel.to_json()),
        base=fingerprint_of(first),
    )
    yield Question(ROUND, ask.to_record(), f"round 1 ({why})")


def _can_train(site: Site) -> bool:
    outcomes = [case.outcome for case in site.cohort().cases if case.can_train]
    enough = len(outcomes) >= site.least
    return enough and any(outcome is not None and outcome.event for outcome in outcomes)


def _stand_in_panel(study: StudyConfig) -> GenePanel:
    columns = candidate_columns(study)
    zeros, ones = (0.0,) * len(columns), (1.0,) * len(columns)
    return GenePanel(candidate_groups(study), columns, zeros, ones, study.gene_clip)


def branch_of(name: str) -> str:
    """The branch of the network that an array belongs to."""
    if name.startswith(DECODERS):
        return GENES
    return ASSOCIATION if name.startswith(f"{ASSOCIATION}.") else SURVIVAL
