"""The gene panel from hospitals' sums: which columns, how scaled, and who lacks which."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import GenesError
from .gene_classes import select, welch
from .gene_values import Scaling, gene_value_sums, own_grid, scaling_of
from .genes import GenePanel, candidate_columns, candidate_groups
from .question import Sums, add_sums
from .study import StudyConfig

SHOWN = 3  # columns that a message names


def make_panel(
    study: StudyConfig,
    values: Mapping[str, Sums],
    scaling: Scaling,
    classes: Mapping[str, Sums] | None = None,
) -> GenePanel:
    """The panel of columns that every hospital with genes measured and that vary.

    Args:
        study: names the candidate columns, and how to choose among them.
        values: sums about gene values, by hospital.
        scaling: of their sum.
        classes: sums about gene classes, where the study chooses by them.

    Raises:
        GenesError: a group has no usable column; says who lacks which.
    """
    total = add_sums(values.values())
    everywhere = total["sites"] == len(values)
    usable = everywhere & (scaling.scale > 0)
    _require_groups(study, values, usable)
    p = welch(add_sums(classes.values())) if classes else None
    groups = select(study, usable, p)
    learnt = {column for _, columns in groups for column in columns}
    kept = {column: i for i, column in enumerate(candidate_columns(study)) if column in learnt}
    return GenePanel(
        groups=groups,
        columns=tuple(kept),
        centre=tuple(float(scaling.centre[i]) for i in kept.values()),
        scale=tuple(float(scaling.scale[i]) for i in kept.values()),
        clip=study.gene_clip,
    )


def panel_of_tables(
    study: StudyConfig, tables: Mapping[str, NDArray[np.floating[Any]]], *, least: int
) -> GenePanel:
    """The panel of gene tables that lie in one place, chosen without classes."""
    coarse = [gene_value_sums(table, least=least) for table in tables.values()]
    grid = own_grid(add_sums(coarse))
    values = {
        name: gene_value_sums(table, least=least, grid=grid) for name, table in tables.items()
    }
    return make_panel(study, values, scaling_of(add_sums(values.values()), grid))


def _require_groups(
    study: StudyConfig, values: Mapping[str, Sums], usable: NDArray[np.bool_]
) -> None:
    columns = candidate_columns(study)
    good = {columns[i] for i in np.flatnonzero(usable)}
    for group, candidates in candidate_groups(study):
        if good.intersection(candidates):
            continue
        lacking = [
            f"{name} lacks {_shown(missing)}"
            for name, found in missing_columns(study, values).items()
            if (missing := [column for column in candidates if column in found])
        ]
        why = "; ".join(lacking) or "every column is constant"
        raise GenesError(
            f"gene group '{group}' has no usable column: {why}",
            hint=f"a column counts where at least {study.minimum_cases} training cases of every "
            "hospital with genes have it",
        )


def _shown(columns: list[str]) -> str:
    more = len(columns) - SHOWN
    return ", ".join(columns[:SHOWN]) + (f" and {more} more" if more > 0 else "")


def missing_columns(study: StudyConfig, values: Mapping[str, Sums]) -> dict[str, list[str]]:
    """Candidate columns that each hospital did not measure in enough cases."""
    columns = candidate_columns(study)
    return {
        name: [columns[i] for i in np.flatnonzero(sums["sites"] == 0)]
        for name, sums in values.items()
    }


def coverage(study: StudyConfig, values: Mapping[str, Sums]) -> dict[str, dict[str, list[int]]]:
    """Measured columns and candidates of each group, by hospital."""
    missing = {name: set(columns) for name, columns in missing_columns(study, values).items()}
    return {
        name: {
            group: [len(set(columns) - lacking), len(columns)]
            for group, columns in candidate_groups(study)
        }
        for name, lacking in missing.items()
    }
