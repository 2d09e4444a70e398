"""The cohort: tables of one hospital in, validated cases out. Names of cases stay inside."""

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ghanet_model.bag import Outcome
from ghanet_model.errors import FeaturesError, GenesError
from ghanet_model.files import sha256
from ghanet_model.genes import candidate_columns
from ghanet_model.study import StudyConfig
from ghanet_model.survival import time_bin_of

from .config import SITE_FILE, Columns, SiteConfig
from .features import slide_stem
from .tables import Problem, read_table

_SPLITS = {"train": False, "val": True, "test": True}  # held out?


@dataclass(frozen=True, slots=True)
class Slide:
    """One row of the slides table."""

    slide_id: str = field(repr=False)  # as feature files name it: without slide suffix
    table: str
    row: int

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

    @property
    def slide_ids(self) -> tuple[str, ...]:
        """Names of this case's slides, without suffix."""
        return tuple(slide.slide_id for slide in self.slides)

    @property
    def can_train(self) -> bool:
        """Whether training may see this case."""
        return self.outcome is not None and not self.held_out


@dataclass(frozen=True, slots=True, eq=False)
class Cohort:
    """The cases that can be used, in the order of the table that lists them."""

    cases: tuple[Case, ...]
    slides: tuple[Slide, ...] = field(repr=False)  # all of the slides table, also of unusable cases
    genes: NDArray[np.float32] | None = field(repr=False)  # (cases, gene columns); NaN: unknown
    gene_columns: tuple[str, ...] = field(repr=False)  # the study's candidate columns

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
    cases, rows = None, None
    if config.clinical is not None:
        cases, rows, found = _read_clinical(config.clinical, config.columns, study)
        problems += found
    slides, found = _read_slides(config.slides, config.columns, rows)
    problems += found
    if config.clinical is None:
        cases = tuple(Case(case_id, None) for case_id in slides or {})
    elif rows is not None and slides is not None:
        missing = sorted(row for case_id, row in rows.items() if case_id not in slides)
        hint = f"add its slides to {config.slides.name}, or drop the row"
        problems += [Problem(config.clinical.name, r, "case without slide", hint) for r in missing]
    slides = slides or {}
    usable = tuple(
        dataclasses.replace(case, slides=tuple(slides[case.case_id]))
        for case in cases or ()
        if case.case_id in slides
    )
    genes = None
    if config.genes is not None:
        known = frozenset(slides if rows is None else rows)
        case_column = config.columns.case_id
        genes, found = _read_genes(config.genes, case_column, study, cases=usable, known=known)
        problems += found
    listed = tuple(sorted((s for of_case in slides.values() for s in of_case), key=_row))
    return Cohort(usable, listed, genes, candidate_columns(study)), tuple(problems)


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


def _read_clinical(
    path: Path, columns: Columns, study: StudyConfig
) -> tuple[tuple[Case, ...] | None, dict[str, int] | None, list[Problem]]:
    """Cases without fault, the row of every case, and the problems; None: not readable."""
    flag = columns.censorship or columns.event
    optional = [columns.split] if columns.split == Columns().split else []
    needed = [columns.case_id, columns.time, flag, *([] if optional else [columns.split])]
    table, problems = read_table(path, needed, optional=optional)
    if table is None:
        return None, None, problems
    ids, months, flags = table.text(columns.case_id), table.numbers(columns.time), table.flags(flag)
    known = table.is_known(columns.time)
    rules = [
        *_id_rules(ids, columns.case_id),
        (~known, f"{columns.time} is missing", "months of follow-up"),
        (known & months.isna(), f"{columns.time} is not a number", "use months, with a '.'"),
        (np.isinf(months), f"{columns.time} is not finite", "use months"),
        (
            np.isfinite(months) & (months < 0),
            f"{columns.time} is negative",
            "use months, 0 or more",
        ),
        (flags.isna(), f"{flag} is not 0 or 1", _flag_hint(columns)),
    ]
    held_out = ids.map(lambda case_id: _is_held_out(case_id, study))
    if columns.split in table.header:
        held_out = table.text(columns.split).str.lower().map(_SPLITS)
        hint = "val and test are both kept for evaluation"
        rules.append((held_out.isna(), f"{columns.split} is not train, val or test", hint))
    events = flags == (0.0 if columns.censorship else 1.0)
    good = ids.index[~np.logical_or.reduce([mask.to_numpy(bool) for mask, _, _ in rules])]
    cases = tuple(
        Case(ids[i], _outcome(months[i], events[i], study), held_out=bool(held_out[i]))
        for i in good
    )
    rows = {case_id: int(row) for row, case_id in reversed(list(ids.items())) if case_id}
    return cases, rows, problems + table.problems(rules)


def _flag_hint(columns: Columns) -> str:
    if columns.censorship:
        return f"{columns.censorship} is 1 for censored, 0 for died"
    return f"{columns.event} is 1 for died, 0 for alive when last seen"


def _id_rules(ids: "pd.Series", column: str) -> list[tuple["pd.Series", str, str]]:
    named = ids != ""
    twice = named & ids.duplicated()
    return [
        (~named, f"{column} is empty", "every row names its case"),
        (twice, f"{column} is that of an earlier row", "one row per case"),
    ]


def _outcome(months: float, event: object, study: StudyConfig) -> Outcome:
    months = float(months)
    return Outcome(months, bool(event), time_bin_of(months, study.time_bin_edges))


def _is_held_out(case_id: str, study: StudyConfig) -> bool:
    """The same answer in every round, at every start, whatever else the table holds."""
    digest = sha256(f"{study.seed}|{case_id}".encode())
    return int(digest[:16], 16) < study.held_out * 16**16


def _read_slides(
    path: Path, columns: Columns, cases: dict[str, int] | None
) -> tuple[dict[str, list[Slide]] | None, list[Problem]]:
    """Slides of each case; ``cases`` are those that clinical knows, if there is one."""
    table, problems = read_table(path, [columns.case_id, columns.slide_id])
    if table is None:
        return None, problems
    ids = table.text(columns.case_id)
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
        (unknown, "its case is not in the clinical table", "add the case there, or drop the row"),
    ]
    slides: dict[str, list[Slide]] = {}
    bad = np.logical_or.reduce([mask.to_numpy(bool) for mask, _, _ in rules])
    for row in ids.index[~bad]:
        slides.setdefault(ids[row], []).append(Slide(stems[row], table.name, int(row)))
    return slides, problems + table.problems(rules)


def _read_genes(
    path: Path,
    case_column: str,
    study: StudyConfig,
    *,
    cases: tuple[Case, ...],
    known: frozenset[str],
) -> tuple[NDArray[np.float32] | None, list[Problem]]:
    """Values (cases, candidate columns) of the usable cases; rows of other cases are left out."""
    candidates = candidate_columns(study)
    table, found = read_table(path, [case_column], optional=candidates)
    problems = [dataclasses.replace(problem, kind=GenesError) for problem in found]
    if table is None:
        return None, problems
    present = [column for column in candidates if column in table.header]
    if not present:
        what = f"none of the study's {len(candidates)} gene columns is there"
        hint = f"columns are named SYMBOL_TYPE, for example {candidates[0] if candidates else '-'}"
        return None, [*problems, Problem(path.name, None, what, hint, GenesError)]
    ids = table.text(case_column)
    values, bad = table.matrix(present)
    found = table.problems(_id_rules(ids, case_column)) + bad
    problems += [dataclasses.replace(problem, kind=GenesError) for problem in found]
    rows = pd.Series(range(len(ids)), index=ids)
    rows = rows[~rows.index.duplicated()].reindex([case.case_id for case in cases])
    if known and not ids.isin(known).any():
        what, hint = "none of its cases is in the other tables", "do the case ids look alike?"
        problems.append(Problem(path.name, None, what, hint, GenesError))
    genes = np.full((len(cases), len(candidates)), np.nan, dtype=np.float32)
    here = rows.notna().to_numpy()
    genes[np.ix_(here, np.isin(candidates, present))] = values[rows.dropna().to_numpy(int)]
    return genes, problems
