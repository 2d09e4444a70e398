"""Public constants that genes are scaled by, from a CSV beside study.yaml: column, centre, scale.

A private study takes them from a public cohort: medians and spreads of hospitals' own values would
tell of their cases.
"""

import csv
import io
import math
from pathlib import Path
from typing import TypeAlias

from .errors import SettingsError
from .groups import is_groups_name, read_groups_text

GeneScaling: TypeAlias = tuple[tuple[str, float, float], ...]  # (column, centre, scale), sorted
HEADER = ["column", "centre", "scale"]


def read_scaling(folder: Path, name: object) -> GeneScaling:
    """Read the file, in any order of lines.

    Raises:
        SettingsError: no such file, or a line that is no column with two numbers.
    """
    if not isinstance(name, str) or not is_groups_name(name) or not name.lower().endswith(".csv"):
        raise SettingsError(
            f"study.yaml: 'gene_scaling' is {str(name)[:80]!r}, not a CSV file beside it",
            hint="use letters, digits, '-', '_' and the ending .csv",
        )
    rows = list(csv.reader(io.StringIO(read_groups_text(folder / name))))
    if not rows or [cell.strip() for cell in rows[0]] != HEADER:
        raise SettingsError(f"{name}: the first line is not '{','.join(HEADER)}'")
    found: dict[str, tuple[float, float]] = {}
    for line, row in enumerate(rows[1:], start=2):
        if not row:
            continue
        column, numbers = _parsed(row)
        if numbers is None or column in found:
            raise SettingsError(
                f"{name} line {line}: not a new column with centre and a scale above 0",
                hint="for example TP53_rnaseq,9.8,1.2",
            )
        found[column] = numbers
    return tuple((column, *numbers) for column, numbers in sorted(found.items()))


def _parsed(row: list[str]) -> tuple[str, tuple[float, float] | None]:
    try:
        column, centre, scale = row[0].strip(), float(row[1]), float(row[2])
    except (IndexError, ValueError):
        return "", None
    fits = column and len(row) == len(HEADER) and math.isfinite(centre) and 0 < scale < math.inf
    return column, (centre, scale) if fits else None
