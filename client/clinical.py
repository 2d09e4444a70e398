"""The clinical table: what is known of each case, by its rules. Names of cases stay inside."""

from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from ghanet_model.bag import Outcome
from ghanet_model.files import sha256
from ghanet_model.study import StudyConfig
from ghanet_model.survival import time_bin_of

from .config import Columns, SiteConfig
from .covariates import USUAL, covariate_columns, read_covariates
from .outcomes import event_column, read_events, read_follow_up, time_columns
from .table import Problem, Rule, Table, id_rules, is_broken
from .tables import read_table

_SPLITS = {"train": False, "val": True, "test": True}  # held out?


@dataclass(frozen=True, slots=True)
class Known:
    """What a good row says of its case."""

    outcome: Outcome = field(repr=False)
    held_out: bool
    covariates: tuple[float, ...] = field(repr=False)  # age, female, grade, stage; NaN: unknown


@dataclass(frozen=True, slots=True)
class Clinical:
    """A clinical table, read."""

    name: str  # of the file
    cases: dict[str, Known] | None = field(repr=False)  # without fault; None: not readable
    rows: dict[str, int] | None = field(repr=False)  # of every case that is named
    problems: tuple[Problem, ...]
    understood: tuple[str, ...] = ()


def read_clinical(path: Path, columns: Columns, config: SiteConfig, study: StudyConfig) -> Clinical:
    """Read outcomes; a row that breaks a rule is a problem, and the others stay usable.

    Args:
        path: the table.
        columns: its names of columns, which are those of ``config`` or of a cBioPortal study.
        config: units, date order and words of this site.
        study: time bins, and which share is held out where the table has no split.
    """
    usual = {Columns().split, *USUAL}
    wanted = [columns.split, *covariate_columns(columns).values()]
    optional = [column for column in wanted if column in usual]
    needed = [columns.case_id, *time_columns(columns), event_column(columns)]
    needed += [column for column in wanted if column not in usual]
    numbers = () if columns.start else (columns.time,)
    table, problems = read_table(path, needed, optional=optional, numbers=numbers)
    if table is None:
        return Clinical(path.name, None, None, tuple(problems))
    ids = table.ids(columns.case_id)
    follow_up = read_follow_up(table, config, columns)
    events = read_events(table, columns, config.event_words)
    held_out, split_rules = _held_out(table, columns, study)
    covariates = read_covariates(table, columns)
    own_rules = (*follow_up.rules, *events.rules, *split_rules, *covariates.rules)
    rules = [*id_rules(ids, columns.case_id), *own_rules]
    cases = {}
    usable = ~is_broken(rules) & follow_up.cells.notna().to_numpy(bool)
    for row, known in zip(ids.index[usable], covariates.numbers[usable].tolist(), strict=True):
        outcome = _outcome(follow_up.cells[row], events.cells[row], study)
        cases[ids[row]] = Known(outcome, bool(held_out[row]), tuple(known))
    rows = {case_id: int(row) for row, case_id in reversed(list(ids.items())) if case_id}
    found = (*problems, *follow_up.problems, *covariates.problems, *table.problems(rules))
    understood = (
        table.understood,
        follow_up.understood,
        events.understood,
        *covariates.understood,
        *_split_said(table, columns, study),
        *table.unused({*needed, *optional}),
    )
    return Clinical(path.name, cases, rows, found, understood)


def _held_out(table: Table, columns: Columns, study: StudyConfig) -> tuple["pd.Series", list[Rule]]:
    if columns.split not in table.header:
        ids = table.ids(columns.case_id)
        return ids.map(lambda case: is_drawn(case, study, study.held_out)), []
    held_out = table.text(columns.split).str.lower().map(_SPLITS)
    hint = "val and test are both kept for evaluation"
    return held_out, [(held_out.isna(), f"{columns.split} is not train, val or test", hint)]


def _split_said(table: Table, columns: Columns, study: StudyConfig) -> list[str]:
    if columns.split in table.header:
        return [f"held out: cases that column '{columns.split}' names val or test"]
    return [f"held out: the study's share of {study.held_out:.0%}, always the same cases"]


def is_drawn(case_id: str, study: StudyConfig, share: float, salt: str = "") -> bool:
    """The same answer in every round, at every start, whatever else the table holds."""
    mark = f"{study.seed}|{salt}|{case_id}" if salt else f"{study.seed}|{case_id}"
    return int(sha256(mark.encode())[:16], 16) < share * 16**16


def _outcome(months: float, event: object, study: StudyConfig) -> Outcome:
    months = float(months)
    return Outcome(months, bool(event), time_bin_of(months, study.time_bin_edges))
