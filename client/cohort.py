"""The cohort: tables of one hospital in, validated cases out. Names of cases stay inside."""

import dataclasses
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ghanet_model.bag import Outcome
from ghanet_model.errors import CohortError, FeaturesError
from ghanet_model.extraction import LEAST_MPP, MOST_MPP
from ghanet_model.genes import candidate_columns
from ghanet_model.study import StudyConfig

from .cbioportal import PATIENT, StudyFolder, find_study_folder
from .cbioportal_genes import read_study_genes
from .clinical import Clinical, is_drawn, read_clinical
from .config import SITE_FILE, Columns, SiteConfig
from .consent import Withdrawn, read_withdrawn
from .features import slide_stem
from .gene_table import Genes, align_genes, read_gene_table
from .table import Problem, Rule, Table, is_broken
from .tables import read_table


@dataclass(frozen=True, slots=True)
class Slide:
    """One row of the slides table."""

    slide_id: str = field(repr=False)  # as feature files name it: without slide suffix
    table: str
    row: int
    mpp: float | None = field(default=None, repr=False)  # microns per pixel, by the table

    @property
    def where(self) -> str:
        """How to speak of this slide's features."""
        return f"features of {self.table} row {self.row}"


@dataclass(frozen=True, slots=True)
class Case:
    """One patient of this hospital."""

    case_id: str = field(repr=False)
    outcome: Outcome | None = field(repr=False)  # None: this site has no clinical table
    slides: tuple[Slide, ...] = ()
    held_out: bool = False  # kept for evaluation, never trained on
    validation: bool = False  # of the others: kept to choose a round and to fit the stack
    covariates: tuple[float, ...] = field(default=(math.nan,) * 4, repr=False)  # see covariates.py

    @property
    def slide_ids(self) -> tuple[str, ...]:
        """Names of this case's slides, without suffix."""
        return tuple(slide.slide_id for slide in self.slides)

    @property
    def can_train(self) -> bool:
        """Whether training may see this case."""
        return self.outcome is not None and not self.held_out and not self.validation


@dataclass(frozen=True, slots=True, eq=False)
class Cohort:
    """The cases that can be used, in the order of the table that lists them."""

    cases: tuple[Case, ...]
    slides: tuple[Slide, ...] = field(repr=False)  # all of the slides table, also of unusable cases
    genes: NDArray[np.float32] | None = field(repr=False)  # (cases, gene columns); NaN: unknown
    gene_columns: tuple[str, ...] = field(repr=False)  # the study's candidate columns
    understood: tuple[str, ...] = field(default=(), repr=False)  # how it was read, in words
    known: frozenset[str] = field(default=frozenset(), repr=False)  # every case that is listed
    withdrawn: int = 0  # listed, and left out because consent was withdrawn

    def only(self, keep: Sequence[bool]) -> "Cohort":
        """The same cohort with some of its cases."""
        genes = None if self.genes is None else self.genes[np.asarray(keep, bool)]
        cases = tuple(itertools.compress(self.cases, keep))
        return dataclasses.replace(self, cases=cases, genes=genes)

    @property
    def training_genes(self) -> NDArray[np.float32] | None:
        """Genes of the cases that training may see, for this site's sums."""
        if self.genes is None:
            return None
        return self.genes[[case.can_train for case in self.cases]]


def read_cohort(config: SiteConfig, study: StudyConfig) -> tuple[Cohort, tuple[Problem, ...]]:
    """Read all tables of a site.

    Returns:
        The cases without fault, and every problem of the tables.
    """
    problems = _encoder_problems(config, study)
    folder, found = _find_study_folder(config)
    clinical = _read_clinical(config, folder, study)
    rows = clinical.rows if clinical else None
    slides, said, more = _read_slides(config.slides, config.columns, rows)
    problems += [*found, *(clinical.problems if clinical else ()), *more]
    if clinical is not None and rows is not None and slides is not None:
        missing = sorted(row for case_id, row in rows.items() if case_id not in slides)
        if config.cbioportal is None:
            problems += _without_slide(clinical.name, missing, config.slides.name)
        else:  # a whole study's folder; the slides are this hospital's part of it
            said += [f"{clinical.name}: {len(missing)} patients without a slide left out"]
    slides = slides or {}
    is_listed = config.clinical is not None or config.cbioportal is not None
    cases = _usable_cases(clinical, slides, study, is_listed=is_listed)
    known = frozenset(slides if rows is None else rows)
    genes = _read_genes(config, folder, study, cases=cases, known=known)
    understood = (*_folder_said(folder), *(clinical.understood if clinical else ()), *said)
    listed = tuple(sorted((s for of_case in slides.values() for s in of_case), key=_row))
    columns = candidate_columns(study)
    understood = (*understood, *genes.understood)
    cohort = Cohort(cases, listed, genes.values, columns, understood, known)
    return _without(read_withdrawn(config.folder), cohort), (*problems, *genes.problems)


def _without(withdrawn: Withdrawn, cohort: Cohort) -> Cohort:
    """The cohort without cases whose consent was withdrawn, as if they were not in its tables."""
    if not withdrawn:
        return cohort
    stays = [case.case_id not in withdrawn for case in cohort.cases]
    gone = {s for case in cohort.cases if case.case_id in withdrawn for s in case.slides}
    return dataclasses.replace(
        cohort.only(stays),
        slides=tuple(slide for slide in cohort.slides if slide not in gone),
        withdrawn=sum(case_id in withdrawn for case_id in cohort.known),
    )


def _usable_cases(
    clinical: Clinical | None,
    slides: dict[str, list["Slide"]],
    study: StudyConfig,
    *,
    is_listed: bool,
) -> tuple[Case, ...]:
    """Cases without fault in any table; without a clinical table, all that have slides."""
    if not is_listed:
        return tuple(Case(case_id, None, tuple(found)) for case_id, found in slides.items())
    known = (clinical.cases if clinical else None) or {}
    return tuple(
        Case(
            case_id,
            facts.outcome,
            tuple(slides[case_id]),
            facts.held_out,
            not facts.held_out and is_drawn(case_id, study, study.validation, "validation"),
            facts.covariates,
        )
        for case_id, facts in known.items()
        if case_id in slides
    )


def require_cohort(config: SiteConfig, study: StudyConfig) -> Cohort:
    """The cohort of a site whose tables have no problem.

    Raises:
        CohortError, GenesError, FeaturesError: the first problem, and how many more there are.
    """
    cohort, problems = read_cohort(config, study)
    if problems:
        first, more = problems[0], len(problems) - 1
        rest = f" (and {more} more; run ghanet-client check)" if more else ""
        raise first.kind(f"{first}{rest}", hint=first.hint)
    return cohort


def _row(slide: Slide) -> int:
    return slide.row


def _encoder_problems(config: SiteConfig, study: StudyConfig) -> list[Problem]:
    if config.encoder == study.encoder:
        return []
    what = f"encoder is '{config.encoder}', the study uses '{study.encoder}'"
    hint = "features of another encoder cannot be mixed: extract them again with the study's"
    return [Problem(SITE_FILE, None, what, hint, FeaturesError)]


def _find_study_folder(config: SiteConfig) -> tuple[StudyFolder | None, list[Problem]]:
    if config.cbioportal is None:
        return None, []
    try:
        chosen = config.cbioportal_expression
        return find_study_folder(config.cbioportal, config.columns, chosen), []
    except CohortError as error:
        return None, [Problem(config.cbioportal.name, None, str(error), error.hint)]
    except (OSError, UnicodeDecodeError):
        what, hint = "cannot be read", "is it a whole study folder?"
        return None, [Problem(config.cbioportal.name, None, what, hint)]


def _folder_said(folder: StudyFolder | None) -> tuple[str, ...]:
    return folder.understood if folder else ()


def _read_clinical(
    config: SiteConfig, folder: StudyFolder | None, study: StudyConfig
) -> Clinical | None:
    """What is known of each case; None: this site has no outcomes, or they are not found."""
    if folder is not None:
        return read_clinical(folder.patients, folder.columns, config, study)
    if config.clinical is not None:
        return read_clinical(config.clinical, config.columns, config, study)
    return None


def _without_slide(clinical: str, rows: list[int], slides: str) -> list[Problem]:
    hint = f"add its slides to {slides}, or drop the row"
    return [Problem(clinical, row, "case without slide", hint) for row in rows]


def _read_genes(
    config: SiteConfig,
    folder: StudyFolder | None,
    study: StudyConfig,
    *,
    cases: tuple[Case, ...],
    known: frozenset[str],
) -> Genes:
    """Genes of the usable cases, of a table or of a study folder."""
    if folder is not None:
        table, problems, said = read_study_genes(folder, study)
        column, read = PATIENT, Genes(None, tuple(problems), tuple(said))
    elif config.genes is not None:
        column = config.columns.case_id
        table, read = read_gene_table(config.genes, column, study)
    else:
        return Genes(None, ())
    if table is None:
        return read
    names = [case.case_id for case in cases]
    genes = align_genes(table, column, study, cases=names, known=known)
    problems_of_both = (*read.problems, *genes.problems)
    return Genes(genes.values, problems_of_both, (*read.understood, *genes.understood))


def _read_slides(
    path: Path, columns: Columns, cases: dict[str, int] | None
) -> tuple[dict[str, list[Slide]] | None, list[str], list[Problem]]:
    """Slides of each case; ``cases`` are those that clinical knows, if there is one."""
    needed, optional = [columns.case_id, columns.slide_id], [columns.mpp]
    table, problems = read_table(path, needed, optional=optional, numbers=optional)
    if table is None:
        return None, [], problems
    ids = table.ids(columns.case_id)
    stems = table.text(columns.slide_id).map(slide_stem)
    unknown = (ids != "") & ~ids.isin(cases if cases is not None else set(ids))
    rules = [
        (ids == "", f"{columns.case_id} is empty", "every row names its case"),
        (stems == "", f"{columns.slide_id} is empty", "every row names its slide"),
        (
            (stems != "") & stems.duplicated(),
            "slide is that of an earlier row",
            "one row per slide",
        ),
        *_mpp_rules(table, columns.mpp),
        (unknown, "its case is not in the clinical table", "add the case there, or drop the row"),
    ]
    slides: dict[str, list[Slide]] = {}
    mpp = table.numbers(columns.mpp) if columns.mpp in table.frame else ids.map(lambda _: math.nan)
    for row in ids.index[~is_broken(rules)]:
        known = None if math.isnan(mpp[row]) else float(mpp[row])
        slides.setdefault(ids[row], []).append(Slide(stems[row], table.name, int(row), known))
    said = [table.understood, *table.unused([*needed, *optional])]
    return slides, said, problems + table.problems(rules)


def _mpp_rules(table: Table, column: str) -> list[Rule]:
    """What holds of a column of microns per pixel; a table without one has no such rules."""
    if column not in table.frame:
        return []
    numbers = table.numbers(column)
    wrong = table.is_known(column) & ~((numbers > LEAST_MPP) & (numbers < MOST_MPP))
    what = f"{column} is not a number of microns per pixel"
    return [(wrong, what, "use 0.25 or 0.5, say, or leave it empty where the file says it")]
