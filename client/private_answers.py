"""What a hospital answers in a private study: everything with noise, charged before it is made.

An answer is made once. Asked again for the same, the hospital sends what it sent before; after a
stop in between it makes the answer anew on the old charge if nothing had left, which the ledger
knows, and on a new one otherwise.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ghanet_model.accounting import Charge
from ghanet_model.errors import BudgetError, GateError, ProtocolError, StudyError, WeightsError
from ghanet_model.files import canonical_json, sha256, write_atomic
from ghanet_model.ledger import SENT, read_ledger
from ghanet_model.network import Network, new_model
from ghanet_model.noisy_histogram import joint_counts, risk_counts, with_noise
from ghanet_model.noisy_questions import NoisyOutcomes, NoisyRisks, risk_range
from ghanet_model.privacy import histogram_charge, mechanism_of, public_panel
from ghanet_model.private_training import train_privately
from ghanet_model.protocol import (
    RoundAsk,
    RoundReply,
    StatisticsAsk,
    StatisticsReply,
)
from ghanet_model.record import Record
from ghanet_model.release import model_config
from ghanet_model.study import StudyConfig
from ghanet_model.topics import PRIVATE, question_of
from ghanet_model.training import TrainingSettings
from ghanet_model.weights import (
    Arrays,
    from_safetensors,
    load_weights,
    metadata_of,
    to_safetensors,
    weights_of,
)
from ghanet_model.wire import PRIVATE_CASES, ROUND

from .bags import training_bags
from .budget import EVALUATION, TRAINING, Entry, Release, budget_ledger, charge, entries
from .evaluation import risk_of
from .held import incoming_weights
from .ledger import ledger_path
from .parts import settle
from .predictions import EVERYBODY, chosen, hazards_of, is_chosen
from .site import Site
from .update import update_of
from .watched import Watched

KEPT = Path("state") / "private"  # below the hospital's folder: answers that left, or may have


def answer_private_round(site: Site, ask: RoundAsk) -> Record:
    """Train from the weights that came, with noise.

    Raises:
        GateError: asked to evaluate: every number about cases costs, so that is done once.
        StudyError: asked with other constants than the study's.
        BudgetError: the round would cost more than this hospital allows.
    """
    if not ask.train or ask.training_risk:
        raise GateError("privacy: no evaluation of single rounds")
    if json.loads(ask.panel) != public_panel(site.study).to_json():
        raise StudyError("asked with another gene panel than the study's public one")
    what = round_release(site.study, ask.number)
    model, weights = _model_of(site, ask)
    cases = site.cohort().cases
    usable = iter(settle(site, TRAINING, [case for case in cases if case.can_train]))
    keep = [case.can_train and next(usable) for case in cases]
    key = {"base": ask.base, "number": ask.number, "genes": ask.genes}
    return _once(site, what, key, lambda: _trained(site, ask, model, weights, keep))


def round_release(study: StudyConfig, number: int) -> Release:
    """What a round is in the ledger."""
    return _release(study, TRAINING, f"round {number}", mechanism_of(study).charge)


def _release(study: StudyConfig, part: str, what: str, cost: Charge) -> Release:
    return Release(study.digest[:16], study.name, part, what, cost, study.delta)


def _model_of(site: Site, ask: RoundAsk) -> tuple[Network, Arrays]:
    torch.set_num_threads(site.config.threads)
    panel, held = public_panel(site.study), site.held
    model = new_model(model_config(site.study, panel), seed=site.study.seed)
    weights = incoming_weights(ask, held, lambda: weights_of(model))
    load_weights(model, weights)
    held.keep(weights, ask.base)
    held.keep_ask(ask)
    return model, weights


def _trained(
    site: Site, ask: RoundAsk, model: Network, weights: Arrays, keep: Sequence[bool]
) -> Record:
    cohort, study = site.cohort(), site.study
    panel = public_panel(study) if ask.genes else None
    bags = training_bags(
        cohort.only(keep), site.features(), study=study, panel=panel, cache=site.cache
    )
    report = train_privately(
        model,
        Watched(bags, site.require_wanted),
        TrainingSettings.from_study(study),
        mechanism_of(study),
        outcomes=[outcome for outcome in bags.outcomes if outcome is not None],
        use_genes=ask.genes,
        device=torch.device(site.config.device),
        progress=site.progress,
    )
    site.notes.append(str(report.times))
    return RoundReply(
        number=ask.number,
        base=ask.base,
        cases=PRIVATE_CASES,
        events=None,
        gene_cases=PRIVATE_CASES if ask.genes else 0,
        loss=0.0,
        seconds=0.0,
        evaluation=None,
        training_risk=None,
        update=update_of(study, model, weights, decoders=ask.genes),
    ).to_record()


def answer_private_statistics(site: Site, ask: StatisticsAsk) -> Record:
    """One of the two histograms of evaluated cases, with noise.

    Raises:
        GateError: any other sum: it would be exact.
        BudgetError: it would cost more than this hospital allows.
    """
    if ask.topic not in PRIVATE:
        raise GateError(f"privacy: no sums about {ask.topic}, they would be exact")
    question = question_of(ask.topic, ask.question, site.study)
    what = histogram_release(site.study, ask.topic)
    found = [case for case in site.cohort().cases if is_chosen(case, EVERYBODY)]
    usable = np.array(settle(site, EVALUATION, found), bool)  # all that no round has trained on
    key = {"base": ask.base, "question": ask.question}
    return _once(site, what, key, lambda: _counted(site, ask, question, usable))


def require_private(site: Site) -> None:
    """Refuse a study without noise where this hospital set a limit to what its cases may lose.

    Raises:
        BudgetError: this study's answers have no noise at all.
    """
    cap = site.config.privacy.epsilon
    if cap is not None and not site.study.is_private:
        raise BudgetError(
            f"site.yaml allows an epsilon of {cap:g}, and this study adds no noise",
            hint="take 'epsilon' out of site.yaml, or leave the study",
        )


def release_of(study: StudyConfig, kind: str, asked: Record) -> Release:
    """What an answer is in the ledger."""
    if kind == ROUND:
        return round_release(study, RoundAsk.from_record(asked).number)
    return histogram_release(study, StatisticsAsk.from_record(asked).topic)


def histogram_release(study: StudyConfig, topic: str) -> Release:
    """What a histogram is in the ledger."""
    return _release(study, EVALUATION, topic, histogram_charge(study))


def _counted(site: Site, ask: StatisticsAsk, question: object, usable: NDArray[np.bool_]) -> Record:
    cohort, noise = site.cohort(), histogram_charge(site.study).noise
    cases, risk = chosen(cohort, EVERYBODY), risk_of(hazards_of(site, ask, EVERYBODY))[usable]
    if isinstance(question, NoisyRisks):
        low, high = risk_range(site.study)
        sums = {"risks": with_noise(risk_counts(risk, low=low, high=high), noise)}
    elif isinstance(question, NoisyOutcomes):
        time, event = cases.time[usable], cases.event[usable]
        sums = {"counts": with_noise(joint_counts(risk, time, event, question.edges), noise)}
    else:
        raise ProtocolError(f"no noisy answer about {ask.topic}")
    return StatisticsReply(ask.topic, sums).to_record()


def charges_of(site: Site) -> list[Entry]:
    """What was charged for this study, oldest first."""
    budget = site.config.privacy
    lines = budget_ledger(site.config.folder, budget).verified()
    study = site.study.digest[:16]
    return [e for e in entries(lines, budget.cohort) if e.release.study == study]


def _once(
    site: Site, what: Release, key: Mapping[str, object], make: Callable[[], Record]
) -> Record:
    """The answer that was kept, or one made on an open charge or a new one.

    Nothing is charged and kept in a preview, whose answer stays here.
    """
    if not site.memory.durable:
        return make()
    kind = "round" if what.part == TRAINING else what.what.replace(" ", "-")
    path = site.config.folder / KEPT / f"{kind}.safetensors"
    name = sha256(canonical_json({"study": what.study, "what": what.what, **key}))
    kept = _read(path, name)
    if kept is not None:
        return kept
    if open_charge(site, what) is None:
        cap = site.config.privacy.epsilon or site.study.epsilon
        ledger = budget_ledger(site.config.folder, site.config.privacy)
        charge(ledger, site.config.privacy, what, cap=cap, by=site.study.accountant)
    made = make()
    metadata = {"name": name, "values": json.dumps(dict(made.values))}
    write_atomic(path, to_safetensors(made.arrays, metadata), private=True)
    return made


def _read(path: Path, name: str) -> Record | None:
    """An answer that was kept under this name."""
    try:
        content = path.read_bytes()
        metadata = metadata_of(content)
        if metadata["name"] != name:
            return None
        return Record(json.loads(metadata["values"]), from_safetensors(content, where=path.name))
    except (OSError, ValueError, KeyError, WeightsError):
        return None


def open_charge(site: Site, what: Release) -> Entry | None:
    """The newest charge for a release, if nothing left this hospital on it."""
    newest = newest_charge(site, what)
    if newest is None:
        return None
    lines = read_ledger(ledger_path(site.config.folder))
    left = any(line.what == SENT and line.facts.get("charge") == newest.digest for line in lines)
    return None if left else newest


def newest_charge(site: Site, what: Release) -> Entry | None:
    """The newest charge for a release; None where there is none."""
    same = [entry for entry in charges_of(site) if entry.release == what]
    return same[-1] if same else None
