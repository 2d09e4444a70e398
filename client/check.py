"""Check a site before any round: what was found, every problem with its row. Changes nothing."""

from collections import Counter
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.progress import track

from ghanet_model.errors import FeaturesError
from ghanet_model.genes import candidate_columns, candidate_groups
from ghanet_model.study import StudyConfig, read_study
from ghanet_model.training import autocast

from .cohort import Cohort, Slide, read_cohort
from .config import SITE_FILE, SiteConfig, read_site
from .features import FeatureFacts, FeatureFolder, find_features, inspect_features, require_fit
from .tables import Problem

_MANY = 20  # slides from which on a progress bar is shown


@dataclass(frozen=True, slots=True)
class GroupCoverage:
    """How much of a gene group this site measured."""

    group: str
    measured: int  # columns measured in at least the study's minimum of cases
    candidates: int


@dataclass(frozen=True, slots=True)
class SiteReport:
    """What a site has, in numbers, and what is wrong with it."""

    site: str
    study: str
    digest: str  # of the study
    cases: int
    with_outcome: int
    events: int
    held_out: int
    slides: int
    features: str | None  # clam, trident or None
    width: int | None  # the most frequent one
    patches: int  # of all slides together
    encoder: str  # as site.yaml and the files say
    genes: tuple[GroupCoverage, ...]  # empty: no genes
    training: tuple[str, ...]  # why it could not train; empty: it could
    problems: tuple[Problem, ...]


def check_site(folder: Path, *, console: Console | None = None) -> SiteReport:
    """Read all that a site has, every feature file included.

    Args:
        folder: where site.yaml and study.yaml are.
        console: where a progress bar is drawn if there are many slides; None: no bar.

    Raises:
        SettingsError: site.yaml, study.yaml or the gene groups cannot be used.
    """
    config, study = read_site(folder), read_study(folder)
    cohort, found = read_cohort(config, study)
    features, facts, bad = _check_features(config, study, cohort.slides, console)
    outcomes = [case.outcome for case in cohort.cases if case.outcome is not None]
    reasons = _training_notes(study, cohort) or _gene_notes(study, cohort)
    unfit = [Problem(SITE_FILE, None, why, "held-out cases do not count") for why in reasons]
    if config.genes is None:
        unfit = []  # such a site may be there to evaluate and predict only
    widths = Counter(fact.width for fact in facts)
    return SiteReport(
        site=config.name,
        study=study.name,
        digest=study.digest,
        cases=len(cohort.cases),
        with_outcome=len(outcomes),
        events=sum(outcome.event for outcome in outcomes),
        held_out=sum(case.held_out for case in cohort.cases),
        slides=len(cohort.slides),
        features=features.kind if features else None,
        width=widths.most_common(1)[0][0] if widths else None,
        patches=sum(fact.patches for fact in facts),
        encoder=", ".join(sorted({config.encoder, *(f.encoder for f in facts if f.encoder)})),
        genes=_coverage(cohort, study),
        training=tuple(reasons),
        problems=(*found, *unfit, *bad, *_device_problems(config, study)),
    )


def _training_notes(study: StudyConfig, cohort: Cohort) -> list[str]:
    """Why this site could not train, if it could not; enough to evaluate and predict."""
    training = [case.outcome for case in cohort.cases if case.can_train and case.outcome]
    if len(training) < study.minimum_cases:
        least = study.minimum_cases
        return [f"{len(training)} usable cases to train on, the study needs {least}"]
    if not any(outcome.event for outcome in training):
        return ["no event among the cases to train on"]
    return []


def _gene_notes(study: StudyConfig, cohort: Cohort) -> list[str]:
    """Why the genes could not be used, if they could not."""
    genes = cohort.training_genes
    if genes is None:
        return []
    enough = (~np.isnan(genes)).sum(axis=0) >= study.minimum_cases
    if enough.any():
        return []
    return [f"no gene is measured in {study.minimum_cases} cases to train on"]


def _device_problems(config: SiteConfig, study: StudyConfig) -> list[Problem]:
    try:
        torch.zeros(1, device=config.device)
        autocast(torch.device(config.device), study.training_precision)
    except (RuntimeError, AssertionError, NotImplementedError):
        precision = study.training_precision
        what = f"device '{config.device}' cannot compute in {precision} on this machine"
        return [Problem(SITE_FILE, None, what, "use cpu, or install the driver and its torch")]
    return []


def _coverage(cohort: Cohort, study: StudyConfig) -> tuple[GroupCoverage, ...]:
    if cohort.genes is None:
        return ()
    enough = (~np.isnan(cohort.genes)).sum(axis=0) >= study.minimum_cases
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
    shown = console is not None and len(slides) >= _MANY
    facts, problems = [], []
    for slide in track(slides, "reading features", console=console, disable=not shown):
        try:
            path = features.file_of(slide.slide_id, where=slide.where)
            fact = inspect_features(path, where=slide.where)
            facts.append(fact)
            width, encoder = study.feature_width, study.encoder
            require_fit(fact, width=width, encoder=encoder, where=slide.where)
        except FeaturesError as error:
            what = str(error).removeprefix(f"{slide.where}: ")
            table = f"features of {slide.table}"
            problems.append(Problem(table, slide.row, what, error.hint, FeaturesError))
    return features, facts, problems


def render(report: SiteReport) -> str:
    """The report for a person: facts, then problems, the same problem of many rows said once."""
    lines = [
        f"site      {report.site}",
        f"study     {report.study}, digest {report.digest}",
        f"cases     {report.cases}, with outcome {report.with_outcome}",
        f"          events {report.events}, held out {report.held_out}",
        f"slides    {report.slides}, patches {report.patches}",
        f"features  {report.features or 'none found'}, width {report.width or '-'}",
        f"encoder   {report.encoder}",
    ]
    lines += [
        f"genes     {one.group}: {one.measured} of {one.candidates} columns" for one in report.genes
    ] or ["genes     none"]
    lines += [f"training  no: {why}; enough for the role 'infers'" for why in report.training]
    if not report.problems:
        return "\n".join([*lines, "problems  none"])
    return "\n".join(
        [*lines, f"problems  {len(report.problems)}", *_problem_lines(report.problems)]
    )


def _problem_lines(problems: tuple[Problem, ...]) -> list[str]:
    lines = []
    key = {p: (p.table, p.what, p.hint) for p in problems}
    first = {k: i for i, k in reversed(list(enumerate(key[p] for p in problems)))}
    ordered = sorted(problems, key=lambda p: first[key[p]])
    for (table, what, hint), same in groupby(ordered, key=lambda p: key[p]):
        rows = sorted({p.row for p in same if p.row is not None})
        place = f"{table} row{'s' * (len(rows) > 1)} {_ranges(rows)}" if rows else table
        lines.append(f"  {place}: {what}")
        lines += [f"    hint: {hint}"] if hint else []
    return lines


def _ranges(rows: list[int]) -> str:
    """[2, 3, 4, 9] as '2-4, 9'."""
    parts: list[list[int]] = []
    for row in rows:
        if parts and row == parts[-1][-1] + 1:
            parts[-1] = [parts[-1][0], row]
        else:
            parts.append([row])
    return ", ".join("-".join(map(str, part)) for part in parts)
