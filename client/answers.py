"""What a hospital answers: statistics, a round, a delivery. No Flower, no network here."""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from ghanet_model.bag import Bags, Outcome
from ghanet_model.errors import CohortError, GenesError, ReleaseError, SettingsError, StudyError
from ghanet_model.files import write_atomic
from ghanet_model.metrics import EvaluationSums, told
from ghanet_model.network import Network, new_model
from ghanet_model.protocol import (
    DeliveryAsk,
    DeliveryReply,
    RoundAsk,
    RoundReply,
    StatisticsAsk,
    StatisticsReply,
)
from ghanet_model.recall import verify_recall
from ghanet_model.record import Record
from ghanet_model.release import model_config, verify_release
from ghanet_model.study import RELEASE_SUFFIX, read_study
from ghanet_model.training import (
    TrainingReport,
    TrainingSettings,
    evaluate,
    round_seed,
    train,
)
from ghanet_model.weights import load_weights, weights_of
from ghanet_model.wire import DELIVERY, FEW_CASES, RECALL, ROUND, STATISTICS

from .alone import train_alone
from .approval import require_approved
from .bags import SiteBags, evaluation_bags, training_bags, validation_bags
from .cohort import Cohort
from .config import read_site
from .consent import require_member
from .features import FeatureFolder
from .held import incoming_weights
from .memory import Memory
from .predictions import panel_of
from .private_answers import answer_private_round, answer_private_statistics, require_private
from .recalls import put_recall, release_key, require_not_recalled
from .site import Site
from .statistics import sums_for
from .update import update_of
from .watched import Watched

INBOX = "inbox"


def open_site(
    folder: Path,
    memory: Memory | None = None,
    *,
    require_wanted: Callable[[], None] = lambda: None,
    notes: list[str] | None = None,
) -> Site:
    """Read site.yaml and study.yaml of a hospital's folder; the rest when it is needed.

    Raises:
        ApprovalError: this hospital's IT did not approve the study or the installed software.
        LeftError: this hospital has left the study.
    """
    memory, notes = memory or Memory(), [] if notes is None else notes
    config, study = read_site(folder), read_study(folder)
    require_member(folder)
    require_approved(folder, study)
    return Site(config, study, memory, require_wanted, notes)


def answer(site: Site, kind: str, record: Record) -> Record:
    """The answer to one message; errors are raised, the caller turns them into codes."""
    if kind == STATISTICS:
        return _answer_statistics(site, StatisticsAsk.from_record(record))
    if kind == ROUND:
        return _answer_round(site, RoundAsk.from_record(record))
    if kind == DELIVERY:
        return answer_delivery(site, DeliveryAsk.from_record(record)).to_record()
    raise SettingsError(f"unknown message '{kind[:40]}'")


def _answer_statistics(site: Site, ask: StatisticsAsk) -> Record:
    """Sums, with noise where the study is private."""
    require_study(site, ask.study)
    require_private(site)
    if site.study.is_private:
        return answer_private_statistics(site, ask)
    return answer_statistics(site, ask).to_record()


def _answer_round(site: Site, ask: RoundAsk) -> Record:
    """A round, with noise where the study is private."""
    require_study(site, ask.study)
    require_private(site)
    if site.study.is_private:
        return answer_private_round(site, ask)
    return answer_round(site, ask).to_record()


def require_study(site: Site, digest: str) -> None:
    """Answer only for the study that this hospital holds.

    Raises:
        StudyError: the coordinator's study.yaml differs.
    """
    if digest != site.study.digest:
        raise StudyError(
            "the coordinator runs another study.yaml than this hospital holds",
            hint="ask for the new invitation.json and run 'ghanet-client init --invitation' again",
        )


def answer_statistics(site: Site, ask: StatisticsAsk) -> StatisticsReply:
    """Sums over this hospital's cases."""
    require_study(site, ask.study)
    return StatisticsReply(ask.topic, sums_for(site, ask))


def answer_round(site: Site, ask: RoundAsk) -> RoundReply:
    """Evaluate the weights that came; train from them if asked to."""
    began = time.monotonic()
    require_study(site, ask.study)
    torch.set_num_threads(site.config.threads)
    panel = panel_of(ask.panel, site.study)
    model, held = new_model(model_config(site.study, panel), seed=site.study.seed), site.held
    weights = incoming_weights(ask, held, lambda: weights_of(model))
    load_weights(model, weights)
    held.keep(weights, ask.base)
    held.keep_ask(ask)
    cohort, features = site.cohort(), site.features()
    genes = panel if ask.genes else None
    bags = training_bags(cohort, features, study=site.study, panel=genes, cache=site.cache)
    evaluation, why = _evaluate(
        site, model, cohort, features, trains=ask.train or ask.training_risk
    )
    risk = _sums_if_enough(site, model, bags)[0] if ask.training_risk else None
    validation = _validate(site, model, cohort, features, ask)
    reply = RoundReply(
        number=ask.number,
        base=ask.base,
        cases=0,
        events=0,
        gene_cases=0,
        loss=0.0,
        seconds=time.monotonic() - began,
        evaluation=evaluation,
        training_risk=risk,
        validation=validation,
        withheld=why,
    )
    if not ask.train:
        return reply
    report = train_round(site, model, bags, ask)
    if site.study.train_alone and site.memory.durable:
        train_alone(site, panel, bags, number=ask.number, use_genes=ask.genes)
    site.notes.append(str(report.times))
    events, gene_cases = sum(outcome.event for outcome in _known(bags)), sum(bags.has_genes)
    return replace(
        reply,
        cases=len(bags),
        events=told(events, len(bags), least=site.config.policy.minimum_cases),
        gene_cases=gene_cases,
        loss=report.loss,
        seconds=time.monotonic() - began,
        update=update_of(site.study, model, weights, decoders=bool(gene_cases)),
    )


def train_round(site: Site, model: Network, bags: SiteBags, ask: RoundAsk) -> TrainingReport:
    """Train ``model`` in place for one round.

    Raises:
        CohortError: fewer training cases than the study's minimum.
        GenesError: asked to train with genes, and fewer cases than that have any.
    """
    needs = f"{site.least} at least are needed"
    if len(bags) < site.least:
        raise CohortError(f"{len(bags)} training cases, {needs}")
    if ask.genes and sum(bags.has_genes) < site.least:
        raise GenesError(f"{sum(bags.has_genes)} training cases with genes, {needs}")
    return train(
        model,
        Watched(bags, site.require_wanted),
        TrainingSettings.from_study(site.study),
        outcomes=_known(bags),
        use_genes=ask.genes,
        seed=round_seed(site.study, ask.number, site.config.name),
        device=torch.device(site.config.device),
        progress=site.progress,
    )


def answer_delivery(site: Site, ask: DeliveryAsk) -> DeliveryReply:
    """Put a release or a recall into the inbox if it is signed by the key of the invitation.

    A recall is taken whatever study the coordinator runs now: it is about a release of any of them.

    Raises:
        StudyError: the release is of another study than this hospital holds.
        ReleaseError: it cannot be trusted, or was recalled before.
    """
    folder = site.config.folder
    public = release_key(folder)
    if ask.what == RECALL:
        notice = verify_recall(ask.content, public_pem=public, where="delivered recall notice")
        put_recall(folder, notice)
        site.notes.append(str(notice))
        return DeliveryReply(notice.digest)
    require_study(site, ask.study)
    release = verify_release(ask.content, public_pem=public, where="delivered release")
    if release.name != ask.name or release.study.digest != site.study.digest:
        raise ReleaseError("delivered release belongs to another study")
    require_not_recalled(folder, release)
    write_atomic(folder / INBOX / f"{release.name}{RELEASE_SUFFIX}", ask.content)
    return DeliveryReply(release.sha256)


def _known(bags: SiteBags) -> list[Outcome]:
    return [outcome for outcome in bags.outcomes if outcome is not None]


def _evaluate(
    site: Site, model: Network, cohort: Cohort, features: FeatureFolder, *, trains: bool
) -> tuple[EvaluationSums | None, str]:
    """Sums over cases that training never sees."""
    bags = evaluation_bags(cohort, features, study=site.study, trains=trains, cache=site.cache)
    return _sums_if_enough(site, model, bags)


def _validate(
    site: Site, model: Network, cohort: Cohort, features: FeatureFolder, ask: RoundAsk
) -> EvaluationSums | None:
    """Sums over the cases by which a round is chosen, where this hospital trains."""
    if not (ask.train or ask.training_risk) or not site.study.validation:
        return None
    bags = validation_bags(cohort, features, study=site.study, cache=site.cache)
    return _sums_if_enough(site, model, bags)[0]


def _sums_if_enough(site: Site, model: Network, bags: Bags) -> tuple[EvaluationSums | None, str]:
    """Evaluation sums, or why there are none. A sum over a few cases would describe them."""
    if len(bags) < site.least:
        return None, FEW_CASES
    watched = Watched(bags, site.require_wanted)
    sums = evaluate(model, watched, device=torch.device(site.config.device))
    return sums.without_small_cells(least=site.config.policy.minimum_cases), ""
