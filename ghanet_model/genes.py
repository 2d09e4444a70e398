"""Genes: candidate columns, federated sums, the panel that all sites share. Never sees a case id.

A hospital's table has columns SYMBOL_TYPE (TP53_rnaseq). Sites send sums of clipped values, the
server makes one panel of them, each site scales its own values by it. The panel's mean and sd equal
those of the pooled table.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .errors import GateError, GenesError, ProtocolError
from .question import Shapes, require_keys
from .question import Sums as Arrays
from .study import StudyConfig
from .sums import can_be

SMALLEST_SD = 1e-6  # below this a column is constant

Sums: TypeAlias = NDArray[np.float64]  # (candidate columns,)


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


@dataclass(frozen=True, slots=True, eq=False)
class GeneSums:
    """Sums over a site's cases, one number per candidate column; sums of sites add."""

    count: Sums  # measured cases
    total: Sums  # of clipped values
    squares: Sums  # of clipped values
    sites: Sums  # 1 where this site measured the column

    def __add__(self, other: "GeneSums") -> "GeneSums":
        if self.count.shape != other.count.shape:
            raise GenesError("gene sums of different studies cannot be added")
        return GeneSums(
            count=self.count + other.count,
            total=self.total + other.total,
            squares=self.squares + other.squares,
            sites=self.sites + other.sites,
        )


@dataclass(frozen=True, slots=True)
class GeneMoments:
    """The question for sums over the genes of training cases."""

    topic: ClassVar[str] = "gene moments"

    @classmethod
    def from_json(cls, value: Mapping[str, Any], study: StudyConfig) -> Self:  # noqa: ARG003
        """It has no parts."""
        require_keys(value, (), cls.topic)
        return cls()

    def to_json(self) -> dict[str, Any]:
        """It has no parts."""
        return {}

    def shapes(self, study: StudyConfig) -> Shapes:
        """One number per candidate column."""
        return dict.fromkeys(GeneSums.__slots__, (len(candidate_columns(study)),))

    def require_possible(self, sums: Arrays, study: StudyConfig) -> None:  # noqa: ARG002
        """See ``sums.can_be``."""
        if not can_be(GeneSums(**sums)):
            raise ProtocolError("message has gene sums that no cohort can have")

    def require_enough(self, sums: Arrays, least: int) -> None:
        """Each column's sums are over none, or over enough."""
        if ((sums["count"] > 0) & (sums["count"] < least)).any():
            raise GateError(f"class sums: a gene column over fewer than {least} cases")

    def cases(self, sums: Arrays) -> int:
        """Of the column that most cases have."""
        return int(sums["count"].max(initial=0))


def gene_sums(values: NDArray[np.floating[Any]], *, clip: float, minimum_cases: int) -> GeneSums:
    """Sum one site's values (cases, candidate columns) for the panel; NaN = not measured.

    A column with fewer than ``minimum_cases`` measured cases says nothing, not even its count.
    """
    clipped = np.clip(values.astype(np.float64), -clip, clip)
    measured = ~np.isnan(clipped)
    enough = measured.sum(axis=0) >= max(1, minimum_cases)
    told = measured & enough
    clipped = np.where(told, clipped, 0.0)
    return GeneSums(
        count=told.sum(axis=0, dtype=np.float64),
        total=clipped.sum(axis=0),
        squares=(clipped**2).sum(axis=0),
        sites=enough.astype(np.float64),
    )


@dataclass(frozen=True, slots=True)
class GenePanel:
    """The genes that are learnt: columns per group, and how each column is scaled."""

    groups: tuple[tuple[str, tuple[str, ...]], ...]  # (group, columns); a column may be in several
    columns: tuple[str, ...]  # all of them, sorted, each once
    mean: tuple[float, ...]  # of clipped values, one per column
    sd: tuple[float, ...]  # the same
    clip: float

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
        if not len(self.columns) == len(self.mean) == len(self.sd):
            raise GenesError("gene panel: not one mean and one sd per column")
        if not all(map(math.isfinite, (*self.mean, *self.sd, self.clip))):
            raise GenesError("gene panel: a mean, sd or clip is not finite")
        if min((*self.sd, self.clip)) <= 0:
            raise GenesError("gene panel: an sd or the clip is not above 0")

    @property
    def group_sizes(self) -> tuple[int, ...]:
        """n_g of each group: the widths of the gene decoders."""
        return tuple(len(columns) for _, columns in self.groups)

    def scale(
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
        scaled = (np.clip(picked, -self.clip, self.clip) - self.mean) / self.sd
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
            "mean": list(self.mean),
            "sd": list(self.sd),
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
            raise GenesError("gene panel: expected groups, columns, mean, sd and clip")
        panel = cls(
            groups=tuple(_group(pair) for pair in _items(value["groups"], "groups")),
            columns=_texts(value["columns"], "columns"),
            mean=_numbers(value["mean"], "mean"),
            sd=_numbers(value["sd"], "sd"),
            clip=_numbers([value["clip"]], "clip")[0],
        )
        if study is not None:
            _require_study(panel, study)
        return panel


def make_panel(study: StudyConfig, sums: GeneSums, *, sites: int) -> GenePanel:
    """The panel of all sites' sums: columns that every gene site measured and that vary.

    Args:
        study: names the candidate columns.
        sums: added over the sites.
        sites: how many sites were added.

    Raises:
        GenesError: no column is shared, a group is left empty, or sums do not fit the study.
    """
    columns = candidate_columns(study)
    parts = (sums.count, sums.total, sums.squares, sums.sites)
    if any(part.shape != (len(columns),) or not np.isfinite(part).all() for part in parts):
        raise GenesError(f"gene sums do not fit the study's {len(columns)} candidate columns")
    everywhere = (sums.sites == sites) & (sums.count > 0)
    if not everywhere.any():
        raise GenesError(
            "no gene that every site with genes measured in enough cases",
            hint=f"a column counts where at least {study.minimum_cases} cases have it",
        )
    count = np.where(everywhere, sums.count, 1.0)
    mean = sums.total / count
    sd = np.sqrt(np.maximum(sums.squares / count - mean**2, 0.0))
    kept = {columns[i]: i for i in np.flatnonzero(everywhere & (sd > SMALLEST_SD))}
    return GenePanel(
        groups=tuple((n, tuple(c for c in cs if c in kept)) for n, cs in candidate_groups(study)),
        columns=tuple(kept),
        mean=tuple(float(mean[i]) for i in kept.values()),
        sd=tuple(float(sd[i]) for i in kept.values()),
        clip=study.gene_clip,
    )


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
