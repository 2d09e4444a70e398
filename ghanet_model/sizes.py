"""Sizes of a network, and the presets that a study names."""

from dataclasses import dataclass, fields, replace
from typing import Any, Self

from .errors import SettingsError

GHANET, ABMIL = "ghanet", "abmil"  # kinds of network
_COMPACT = {"width": 64, "gate_width": 32, "head_width": 16, "expansion": 1, "bottleneck": 32}
PRESETS: dict[str, dict[str, Any]] = {
    "published": {},
    "compact": _COMPACT,  # for CPUs, and for privacy noise
    "abmil": {"kind": ABMIL},
}
_SCALED = ("width", "gate_width", "head_width", "bottleneck")  # with W, where a study gives it


@dataclass(frozen=True, slots=True, kw_only=True)
class GHANetConfig:
    """Sizes of a network; the defaults are the published G-HANet's.

    Raises:
        SettingsError: a size below 1, no gene group or an empty one, a share out of range.
    """

    group_sizes: tuple[int, ...]  # genes in each of the G groups
    feature_width: int = 1024  # D
    width: int = 512  # W
    gate_width: int = 256
    heads: int = 4
    head_width: int = 128
    expansion: int = 4  # feed-forward layers are 2 * expansion * W wide inside, halved by GEGLU
    bottleneck: int = 256  # each gene group's share of what the hazards are read from
    time_bins: int = 4  # K
    dropout: float = 0.25  # over patches it is taken in steps of 1/256
    top_ratio: float = 0.2  # share of patches that a gene group's hyperedge holds
    kind: str = GHANET  # or ABMIL, which has no use for heads, expansion and top_ratio

    def __post_init__(self) -> None:
        for field in fields(self):
            if field.type is int and getattr(self, field.name) < 1:
                raise SettingsError(f"model: {field.name} is {getattr(self, field.name)}, below 1")
        if not self.group_sizes or min(self.group_sizes) < 1:
            raise SettingsError(
                "model: a gene group is empty", hint="every group needs at least one gene"
            )
        if not 0 <= self.dropout < 1:
            raise SettingsError(f"model: dropout is {self.dropout}, not from 0 up to 1")
        if self.kind not in (GHANET, ABMIL):
            raise SettingsError(f"model: no network '{self.kind}'")
        if not 0 < self.top_ratio <= 1:
            raise SettingsError(f"model: top_ratio is {self.top_ratio}, not above 0 and at most 1")

    @classmethod
    def preset(
        cls,
        name: str,
        *,
        group_sizes: tuple[int, ...],
        feature_width: int,
        time_bins: int,
        dropout: float,
    ) -> Self:
        """Sizes by name, one of PRESETS.

        Raises:
            SettingsError: another name, or sizes that cannot be.
        """
        if name not in PRESETS:
            raise SettingsError(f"model: no preset '{name}'", hint=f"use {', '.join(PRESETS)}")
        given: dict[str, Any] = {"feature_width": feature_width, "time_bins": time_bins}
        return cls(group_sizes=group_sizes, dropout=dropout, **given, **PRESETS[name])

    def scaled(self, width: int) -> Self:
        """The same with another W, which other widths follow in proportion; 0: as it is."""
        if not width:
            return self
        sizes = {key: max(1, getattr(self, key) * width // self.width) for key in _SCALED}
        return replace(self, **sizes)
