"""Genes: candidate columns, and the panel that all sites share. Never sees a case id.

A hospital's table has columns SYMBOL_TYPE (TP53_rnaseq). Sites send sums of them, the server makes
one panel (see ``panel``), each site scales its own values by it.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import GenesError
from .study import StudyConfig


def candidate_columns(study: StudyConfig) -> tuple[str, ...]:
    """All columns a gene table may hold for this study, sorted, each once."""
    return tuple(sorted({column for _, names in candidate_groups(study) for column in names}))


def candidate_groups(study: StudyConfig) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """The study's groups as (name, sorted candidate columns)."""
    return tuple(
        (
            name,
            tuple(sorted({f"{symbol}_{kind}" for symbol in symbols for kind in study.gene_types})),
        )
        for name, symbols in study.groups
    )


@dataclass(frozen=True, slots=True)
class GenePanel:
    """The genes that are learnt: columns per group, and how each column is scaled."""

    groups: tuple[tuple[str, tuple[str, ...]], ...]  # (group, columns); a column may be in several
    columns: tuple[str, ...]  # all of them, sorted, each once
    centre: tuple[float, ...]  # median, one per column; see gene_values
    scale: tuple[float, ...]  # robust standard deviation, the same
    clip: float  # in these

    def __post_init__(self) -> None:
        """Refuse a panel that cannot scale, wherever it came from."""
        for name, columns in self.groups:
            if not columns:
                raise GenesError(
                    f"gene group '{name}' has no usable column",
                    hint="every site with genes must measure at least one of its genes",
                )
        if set(self.columns) != {column for _, columns in self.groups for column in columns}:
            raise GenesError("gene panel: columns do not match the groups")
        if list(self.columns) != sorted(set(self.columns)):
            raise GenesError("gene panel: columns are not sorted or not unique")
        if not len(self.columns) == len(self.centre) == len(self.scale):
            raise GenesError("gene panel: not one centre and one scale per column")
        if not all(map(math.isfinite, (*self.centre, *self.scale, self.clip))):
            raise GenesError("gene panel: a centre, scale or clip is not finite")
        if min((*self.scale, self.clip)) <= 0:
            raise GenesError("gene panel: a scale or the clip is not above 0")

    @property
    def group_sizes(self) -> tuple[int, ...]:
        """n_g of each group: the widths of the gene decoders."""
        return tuple(len(columns) for _, columns in self.groups)

    def scaled(
        self, values: NDArray[np.floating[Any]], columns: Sequence[str]
    ) -> tuple[NDArray[np.float32], ...]:
        """Scale values (cases, len(columns)) to one (cases, n_g) per group; NaN stays NaN."""
        place = {column: index for index, column in enumerate(columns)}
        missing = [column for column in self.columns if column not in place]
        if missing:
            raise GenesError(
                f"{len(missing)} columns of the panel, first {missing[0]}, are missing"
            )
        picked = values[:, [place[column] for column in self.columns]].astype(np.float64)
        scaled = np.clip((picked - self.centre) / self.scale, -self.clip, self.clip)
        place = {column: index for index, column in enumerate(self.columns)}
        return tuple(
            scaled[:, [place[column] for column in names]].astype(np.float32)
            for _, names in self.groups
        )

    def to_json(self) -> dict[str, Any]:
        """The panel for messages and manifests."""
        return {
            "groups": [[name, list(columns)] for name, columns in self.groups],
            "columns": list(self.columns),
            "centre": list(self.centre),
            "scale": list(self.scale),
            "clip": self.clip,
        }

    @classmethod
    def from_json(cls, value: object, *, study: StudyConfig | None = None) -> "GenePanel":
        """Read what ``to_json`` wrote. It came from elsewhere: nothing is taken on trust.

        Args:
            value: parsed JSON.
            study: if given, the panel must hold its groups, its genes and its clip.

        Raises:
            GenesError: wrong types, a panel that cannot scale, or one of another study.
        """
        if not isinstance(value, Mapping) or set(value) != set(cls.__dataclass_fields__):
            raise GenesError("gene panel: expected groups, columns, centre, scale and clip")
        panel = cls(
            groups=tuple(_group(pair) for pair in _items(value["groups"], "groups")),
            columns=_texts(value["columns"], "columns"),
            centre=_numbers(value["centre"], "centre"),
            scale=_numbers(value["scale"], "scale"),
            clip=_numbers([value["clip"]], "clip")[0],
        )
        if study is not None:
            _require_study(panel, study)
        return panel


def _require_study(panel: GenePanel, study: StudyConfig) -> None:
    """The panel must hold the study's groups, and in each only genes of that group."""
    if panel.clip != study.gene_clip:
        raise GenesError(f"gene panel: clip is {panel.clip:g}, the study says {study.gene_clip:g}")
    known = candidate_groups(study)
    if [name for name, _ in panel.groups] != [name for name, _ in known]:
        raise GenesError("gene panel: its groups are not those of the study")
    for (name, columns), (_, candidates) in zip(panel.groups, known, strict=True):
        if not set(columns) <= set(candidates) or len(set(columns)) != len(columns):
            raise GenesError(f"gene panel: group '{name}' has unknown or repeated columns")


def _items(value: object, key: str) -> list[Any]:
    if not isinstance(value, list | tuple):
        raise GenesError(f"gene panel: '{key}' is not a list")
    return list(value)


def _texts(value: object, key: str) -> tuple[str, ...]:
    items = _items(value, key)
    if not all(isinstance(item, str) for item in items):
        raise GenesError(f"gene panel: '{key}' holds something that is not text")
    return tuple(items)


def _numbers(value: object, key: str) -> tuple[float, ...]:
    items = _items(value, key)
    if not all(isinstance(item, int | float) and not isinstance(item, bool) for item in items):
        raise GenesError(f"gene panel: '{key}' holds something that is not a number")
    try:
        return tuple(float(item) for item in items)
    except OverflowError:
        raise GenesError(f"gene panel: '{key}' holds a number that is too large") from None


def _group(pair: object) -> tuple[str, tuple[str, ...]]:
    items = _items(pair, "groups")
    if len(items) != 2 or not isinstance(items[0], str):
        raise GenesError("gene panel: a group is not a name and its columns")
    return items[0], _texts(items[1], "groups")
