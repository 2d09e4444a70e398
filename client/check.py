"""Check a site before any round: what was found, every problem with its row. Changes nothing."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.progress import track

from ghanet_model.bag import Outcome
from ghanet_model.errors import CohortError, FeaturesError
from ghanet_model.extraction import encoder_terms
from ghanet_model.genes import candidate_columns, candidate_groups
from ghanet_model.study import StudyConfig, read_study
from ghanet_model.training import autocast

from .cohort import Cohort, Slide, read_cohort
from .config import SITE_FILE, SiteConfig, read_site
from .features import FeatureFacts, FeatureFolder, find_features, inspect_features, require_fit
from .policy import policy_notes
from .table import Problem

_MANY = 20  # slides from which on a progress bar is shown


@dataclass(frozen=True, slots=True)
class GroupCoverage:
    """How much of a gene group this site measured."""

    group: str
    measured: int  # columns measured in at least the study's minimum of cases
    candidates: int


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Rows of a table that were not used, all for the same reason."""

    table: str
    what: str
    rows: int


@dataclass(frozen=True, slots=True)
class SiteReport:
    """What a site has, in numbers, and what is wrong with it. Stays at the site."""

    site: str
    study: str
    digest: str  # of the study
    edges: tuple[float, ...]  # months, between the study's time bins
    minimum_cases: int  # that a sum may be over, by the study and this site's policy
    understood: tuple[str, ...]  # how the tables were read, in words
    outcomes: tuple[Outcome, ...] = field(repr=False)
    cases: int
    held_out: int
    withdrawn: int
    left_out: tuple[LeftOut, ...]
    slides: int  # of the slides table, also of cases that are not used
    slides_per_case: tuple[int, int, int]  # cases with one, two, three or more
    features: str | None  # clam, clam pt, trident, stamp, slideflow or None
    width: int | None  # the most frequent one
    patches: int  # of all slides together
    encoder: str  # as site.yaml and the files say
    terms: str  # of the study's encoder
    with_genes: int  # cases with any measured gene
    genes: tuple[GroupCoverage, ...]  # empty: no genes
    training: tuple[str, ...]  # why it could not train; empty: it could
    problems: tuple[Problem, ...]

    @property
    def with_outcome(self) -> int:
        """Cases with follow-up and event."""
        return len(self.outcomes)

    @property
    def events(self) -> int:
        """Cases that died."""
        return sum(outcome.event for outcome in self.outcomes)


def check_site(folder: Path, *, console: Console | None = None) -> SiteReport:
    """Read all that a site has, every feature file included.

    Args:
        folder: where site.yaml and study.yaml are.
        console: where a progress bar is drawn if it is a terminal and slides are many.

    Raises:
        SettingsError: site.yaml, study.yaml or the gene groups cannot be used.
    """
    config, study = read_site(folder), read_study(folder)
    cohort, found = read_cohort(config, study)
    features, facts, bad = _check_features(config, study, cohort.slides, console)
    least = config.policy.least(study)
    reasons = _training_notes(least, cohort) or _gene_notes(least, cohort)
    widths = Counter(fact.width for fact in facts)
    return SiteReport(
        site=config.name,
        study=study.name,
        digest=study.digest,
        edges=study.time_bin_edges,
        minimum_cases=least,
        understood=(*cohort.understood, *policy_notes(config.policy)),
        outcomes=tuple(case.outcome for case in cohort.cases if case.outcome is not None),
        cases=len(cohort.cases),
        held_out=sum(case.held_out for case in cohort.cases),
        withdrawn=cohort.withdrawn,
        left_out=_left_out(found),
        slides=len(cohort.slides),
        slides_per_case=_slides_per_case(cohort),
        features=features.kind if features else None,
        width=widths.most_common(1)[0][0] if widths else None,
        patches=sum(fact.patches for fact in facts),
        encoder=", ".join(sorted({config.encoder, *(f.encoder for f in facts if f.encoder)})),
        terms=encoder_terms(study.encoder, study.extraction),
        with_genes=_with_genes(cohort),
        genes=_coverage(cohort, study, least),
        training=tuple(reasons),
        problems=(*found, *_unfit(config, reasons), *bad, *_device_problems(config, study)),
    )


def _left_out(problems: Iterable[Problem]) -> tuple[LeftOut, ...]:
    """Rows that list a case or slide and could not be used; a row counts once, by its first."""
    first = {(p.table, p.row): p.what for p in reversed(list(problems)) if _is_of_a_case(p)}
    rows = Counter((table, what) for (table, _), what in reversed(first.items()))
    return tuple(LeftOut(table, what, count) for (table, what), count in rows.items())


def _is_of_a_case(problem: Problem) -> bool:
    return problem.row is not None and issubclass(problem.kind, CohortError)


def _slides_per_case(cohort: Cohort) -> tuple[int, int, int]:
    counts = Counter(min(len(case.slides), 3) for case in cohort.cases)
    return counts[1], counts[2], counts[3]


def _unfit(config: SiteConfig, reasons: Iterable[str]) -> list[Problem]:
    """Why a site that brings genes could not train; others may only evaluate and predict."""
    if config.genes is None and config.cbioportal is None:
        return []
    return [Problem(SITE_FILE, None, why, "held-out cases do not count") for why in reasons]


def _training_notes(least: int, cohort: Cohort) -> list[str]:
    """Why this site could not train, if it could not; enough to evaluate and predict."""
    training = [case.outcome for case in cohort.cases if case.can_train and case.outcome]
    if len(training) < least:
        return [f"{len(training)} usable cases to train on, {least} are needed"]
    if not any(outcome.event for outcome in training):
        return ["no event among the cases to train on"]
    return []


def _gene_notes(least: int, cohort: Cohort) -> list[str]:
    """Why the genes could not be used, if they could not."""
    genes = cohort.training_genes
    if genes is None:
        return []
    enough = (~np.isnan(genes)).sum(axis=0) >= least
    if enough.any():
        return []
    return [f"no gene is measured in {least} cases to train on"]


def _device_problems(config: SiteConfig, study: StudyConfig) -> list[Problem]:
    try:
        torch.zeros(1, device=config.device)
        autocast(torch.device(config.device), study.training_precision)
    except (RuntimeError, AssertionError, NotImplementedError):
        precision = study.training_precision
        what = f"device '{config.device}' cannot compute in {precision} on this machine"
        return [Problem(SITE_FILE, None, what, "use cpu, or install the driver and its torch")]
    return []


def _with_genes(cohort: Cohort) -> int:
    return 0 if cohort.genes is None else int((~np.isnan(cohort.genes)).any(axis=1).sum())


def _coverage(cohort: Cohort, study: StudyConfig, least: int) -> tuple[GroupCoverage, ...]:
    if cohort.genes is None:
        return ()
    enough = (~np.isnan(cohort.genes)).sum(axis=0) >= least
    columns = candidate_columns(study)
    measured = {columns[i] for i in np.flatnonzero(enough)}
    return tuple(
        GroupCoverage(name, len(measured.intersection(names)), len(names))
        for name, names in candidate_groups(study)
    )


def _check_features(
    config: SiteConfig, study: StudyConfig, slides: tuple[Slide, ...], console: Console | None
) -> tuple[FeatureFolder | None, list[FeatureFacts], list[Problem]]:
    """Open the file of every slide; what can be read is counted even if it does not fit."""
    try:
        features = find_features(config.features)
    except FeaturesError as error:
        what = str(error).removeprefix("features: ")
        return None, [], [Problem("features", None, what, error.hint, FeaturesError)]
    shown = console is not None and console.is_terminal and len(slides) >= _MANY
    facts, problems = [], []
    for slide in track(slides, "reading features", console=console, disable=not shown):
        try:
            path = features.file_of(slide.slide_id, where=slide.where)
            fact = inspect_features(path, where=slide.where)
            facts.append(fact)
            width, encoder, cut = study.feature_width, study.encoder, study.extraction
            require_fit(fact, width=width, encoder=encoder, where=slide.where, extraction=cut)
        except FeaturesError as error:
            what = str(error).removeprefix(f"{slide.where}: ")
            table = f"features of {slide.table}"
            problems.append(Problem(table, slide.row, what, error.hint, FeaturesError))
    return features, facts, problems
