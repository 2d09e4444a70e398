"""The gene table: values of the study's columns, aligned with the cases. Names stay inside."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ghanet_model.errors import GenesError
from ghanet_model.genes import candidate_columns
from ghanet_model.page_numbers import plural
from ghanet_model.study import StudyConfig

from .table import Problem, Table, id_rules
from .tables import read_table


@dataclass(frozen=True, slots=True, eq=False)
class Genes:
    """Genes of a site, read."""

    values: NDArray[np.float32] | None = field(repr=False)  # (cases, candidate columns)
    problems: tuple[Problem, ...]
    understood: tuple[str, ...] = ()


def read_gene_table(path: Path, case_column: str, study: StudyConfig) -> tuple[Table | None, Genes]:
    """Read the study's candidate columns of a table with one row per case."""
    candidates = candidate_columns(study)
    table, problems = read_table(path, [case_column], optional=candidates, numbers=candidates)
    if table is None:
        return None, Genes(None, _of_genes(problems))
    said = (table.understood, *table.unused({case_column, *candidates}))
    return table, Genes(None, _of_genes(problems), said)


def align_genes(
    table: Table,
    case_column: str,
    study: StudyConfig,
    *,
    cases: Sequence[str],
    known: Collection[str],
) -> Genes:
    """Values (cases, candidate columns) of the usable cases; rows of other cases are left out.

    Args:
        table: one row per case.
        case_column: where it names the case.
        study: names the candidate columns.
        cases: ids of the usable cases.
        known: ids of all cases that the other tables name.
    """
    candidates = candidate_columns(study)
    header = set(table.header)
    present = [column for column in candidates if column in header]
    if not present:
        what = f"none of the study's {len(candidates)} gene columns is there"
        hint = f"columns are named SYMBOL_TYPE, for example {candidates[0] if candidates else '-'}"
        return Genes(None, (Problem(table.name, None, what, hint, GenesError),))
    ids = table.ids(case_column)
    values, bad = table.matrix(present)
    problems = table.problems(id_rules(ids, case_column)) + bad
    if known and not ids.isin(known).any():
        what, hint = "none of its cases is in the other tables", "do the case ids look alike?"
        problems.append(Problem(table.name, None, what, hint))
    rows = pd.Series(range(len(ids)), index=ids)
    rows = rows[~rows.index.duplicated()].reindex(list(cases))
    genes = np.full((len(cases), len(candidates)), np.nan, dtype=np.float32)
    here = rows.notna().to_numpy()
    genes[np.ix_(here, np.isin(candidates, present))] = values[rows.dropna().to_numpy(int)]
    said = [f"genes: {len(present)} of the study's {len(candidates)} columns are in {table.name}"]
    others, without = int((~ids.isin(set(known))).sum()), int((~here).sum())
    if others:
        said.append(f"genes: {plural(others, 'row')} of cases in no other table were left out")
    if without:
        said.append(f"genes: {plural(without, 'case')} without a row have none")
    return Genes(genes, _of_genes(problems), tuple(said))


def _of_genes(problems: Sequence[Problem]) -> tuple[Problem, ...]:
    return tuple(replace(problem, kind=GenesError) for problem in problems)
