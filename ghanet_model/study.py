"""The study: all that hospitals must agree on. Read from study.yaml, known by one digest."""

import dataclasses
import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .errors import SettingsError
from .extraction import Extraction
from .files import canonical_json, sha256
from .groups import NAME_HINT, Groups, is_groups_name, read_groups
from .scaling_file import GeneScaling, read_scaling
from .settings import FORMAT, read_settings, read_yaml
from .sizes import PRESETS

STUDY_FILE = "study.yaml"
RELEASE_SUFFIX = ".ghanet"  # a study's release is NAME.ghanet
NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")  # names that become file names
FLOAT32, BFLOAT16 = PRECISIONS = ("float32", "bfloat16")
ALL, FDR, TOP = SELECTIONS = ("all", "fdr", "top")  # of genes
LAST, VALIDATION = ROUND_CHOICES = ("last", "validation")
OFF, LOCAL = PRIVACIES = ("off", "local")
RDP, PRV = ACCOUNTANTS = ("rdp", "prv")
MOST_DELTA_BY_CASES = 0.01  # delta times cases: above it privacy could be the loss of a case
_WORDS = {
    "preset": tuple(PRESETS),
    "training_precision": PRECISIONS,
    "exchange_precision": PRECISIONS,
    "gene_selection": SELECTIONS,
    "selected_round": ROUND_CHOICES,
    "privacy": PRIVACIES,
    "accountant": ACCOUNTANTS,
}
FILES = ("gene_groups", "gene_scaling")  # names of files; what they say is in groups, scaling
MOST_ENSEMBLE = 10  # models beside the released one: a release grows by as many
MOST_GROUPS, MOST_EDGES = 500, 120  # a study that asks for more asks for a giant model
_LIMITS: tuple[tuple[tuple[str, ...], Callable[[float], bool], str], ...] = (
    (
        ("feature_width", "rounds", "local_epochs", "batch_cases", "minimum_cases"),
        lambda value: 1 <= value <= 65_536,
        "1 to 65536",
    ),
    (("width",), lambda value: value == 0 or 8 <= value <= 1_024, "8 to 1024, or 0"),
    (("gene_selection_top",), lambda value: 1 <= value <= 65_536, "1 to 65536"),
    (("replicates",), lambda value: 1 <= value <= 5_000, "1 to 5000"),
    (("ensemble",), lambda value: 0 <= value <= MOST_ENSEMBLE, f"0 to {MOST_ENSEMBLE}"),
    (("private_steps", "nominal_cases"), lambda value: 1 <= value <= 65_536, "1 to 65536"),
    (("sampling_rate",), lambda value: 0 < value <= 1, "above 0, 1 at most"),
    (("epsilon", "clipping_norm"), lambda value: 0 < value < math.inf, "a number above 0"),
    (("delta",), lambda value: 0 < value < 1, "above 0, far below 1: 1e-5"),
    (
        ("gene_clip", "learning_rate", "round_minutes"),
        lambda value: 0 < value < math.inf,
        "a number above 0",
    ),
    (
        ("weight_decay", "gene_loss_weight", "minimum_sites", "seed"),
        lambda value: 0 <= value < math.inf,
        "0 or more",
    ),
    (
        ("dropout", "held_out", "validation", "feature_similarity", "gene_selection_level"),
        lambda value: 0 <= value < 1,
        "from 0 up to, not including, 1",
    ),
)


@dataclass(frozen=True, slots=True)
class StudyConfig:
    """One study. Every hospital holds the same; the digest proves it.

    ``gene_groups`` names a CSV or GMT file beside study.yaml; ``groups`` is what it says. A
    gene table's columns are SYMBOL_TYPE, TYPE from ``gene_types``.
    """

    name: str
    encoder: str  # name of the patch encoder; other names are refused
    feature_width: int  # D
    time_bin_edges: tuple[float, ...]  # months; K = edges + 1 bins, the last one open
    gene_groups: str  # CSV or GMT file beside study.yaml; a name only, not part of the digest
    groups: Groups  # (group, symbols), from gene_groups
    extraction: Extraction = field(default_factory=Extraction)  # how slides become features
    gene_types: tuple[str, ...] = ("rnaseq", "cnv", "mut")
    gene_clip: float = 3.0  # values are clipped to +-this, in robust standard deviations
    gene_selection: str = ALL  # genes to learn: all; fdr: by Benjamini-Hochberg; top: per group
    gene_selection_level: float = 0.05  # of fdr: share of false discoveries
    gene_selection_top: int = 50  # of top: genes per group, those with the smallest p
    feature_similarity: float = 0.5  # hospitals whose features are less like the others' are named
    preset: str = "published"
    width: int = 0  # W; 0: the preset's. Other widths of the network follow in proportion
    rounds: int = 20
    local_epochs: int = 1
    batch_cases: int = 32  # cases per optimiser step
    learning_rate: float = 2e-4  # Adam
    weight_decay: float = 1e-5
    dropout: float = 0.25
    gene_loss_weight: float = 0.3
    held_out: float = 0.2  # share of cases kept for evaluation where tables have no 'split'
    validation: float = 0.0  # share of training cases kept to choose the round and fit the stack
    selected_round: str = LAST  # which model is released: of the last round, or by validation
    ensemble: int = 0  # models of so many other rounds, the last ones, go into the release
    train_alone: bool = False  # hospitals also train a model of their own, to be compared
    replicates: int = 500  # of the bootstrap behind intervals
    minimum_cases: int = 10  # no sum over fewer cases leaves a site
    minimum_sites: int = 0  # training sites a round needs; 0: every one of the roster
    training_precision: str = FLOAT32  # of forward passes; bfloat16: faster on newer machines
    exchange_precision: str = FLOAT32  # of updates on the wire; bfloat16: changes, half the bytes
    round_minutes: float = 60.0  # a site that takes longer is missing in this round
    seed: int = 0
    privacy: str = OFF  # or local: every hospital adds noise; see docs/privacy.md
    epsilon: float = 3.0  # of a case, over all rounds and releases
    delta: float = 1e-5
    accountant: str = PRV  # that epsilon is counted by
    clipping_norm: float = 1.0  # the most that a case adds to a step, as L2 norm
    sampling_rate: float = 0.2  # chance of a case to be in a step
    private_steps: int = 5  # of a round, in place of epochs
    nominal_cases: int = 400  # what a step's sum is divided by, times the rate
    class_weights: tuple[float, ...] = ()  # 2 K: deaths by bin, censored by bin; at most 1 each
    gene_scaling: str = ""  # CSV beside study.yaml: column, centre, scale; public, for privacy
    scaling: GeneScaling = ()  # from gene_scaling

    def __post_init__(self) -> None:
        """Refuse what cannot work, before any site sees it."""
        if not NAME.fullmatch(self.name):
            raise _wrong("name", self.name, "small letters, digits and '-', 63 at most")
        for key, words in _WORDS.items():
            if getattr(self, key) not in words:
                raise _wrong(key, getattr(self, key), f"one of {', '.join(words)}")
        if self.selected_round == VALIDATION and not self.validation:
            raise _wrong("validation", self.validation, "a share above 0, or selected_round: last")
        if len(self.groups) > MOST_GROUPS or len(self.time_bin_edges) > MOST_EDGES:
            raise SettingsError(
                f"{STUDY_FILE}: {len(self.groups)} gene groups, {len(self.time_bin_edges)} edges",
                hint=f"use {MOST_GROUPS} gene groups and {MOST_EDGES} edges at most",
            )
        if self.ensemble >= self.rounds:
            raise _wrong("ensemble", self.ensemble, f"{self.rounds - 1} at most, fewer than rounds")
        edges = self.time_bin_edges
        rising = all(a < b for a, b in zip((0.0, *edges), edges, strict=False))
        if not edges or not rising or not all(map(math.isfinite, edges)):
            raise _wrong("time_bin_edges", list(edges), "rising months, for example [12, 36, 60]")
        _require_limits(self)
        if self.is_private:
            _require_private(self)

    @property
    def is_private(self) -> bool:
        """Whether what leaves a hospital is differentially private."""
        return self.privacy != OFF

    @property
    def time_bins(self) -> int:
        """K: one bin before each edge and one after the last."""
        return len(self.time_bin_edges) + 1

    @property
    def digest(self) -> str:
        """SHA-256 of what is agreed, as canonical JSON."""
        return sha256(canonical_json(self.agreed()))

    def agreed(self) -> dict[str, Any]:
        """The study without names of files beside it, which mean nothing."""
        return {key: value for key, value in self.as_json().items() if key not in FILES}

    def as_json(self) -> dict[str, Any]:
        """The study as it stands in digests, manifests and logs."""
        return {"format": FORMAT, **dataclasses.asdict(self)}


def _require_limits(study: StudyConfig) -> None:
    for keys, fits, wanted in _LIMITS:
        for key in keys:
            if not fits(getattr(study, key)):
                raise _wrong(key, getattr(study, key), wanted)


def _require_private(study: StudyConfig) -> None:
    """Refuse what would let something out that noise does not cover."""
    for key, only in (("selected_round", LAST), ("gene_selection", ALL), ("validation", 0.0)):
        if getattr(study, key) != only:
            raise _wrong(key, getattr(study, key), f"{only} where privacy is local")
    if study.train_alone:
        raise _wrong("train_alone", True, "false where privacy is local")
    if not study.scaling:
        raise SettingsError(
            f"{STUDY_FILE}: privacy is local, but gene_scaling names no file",
            hint="a public CSV of column, centre and scale: hospitals' own values stay untold",
        )
    if study.delta * study.nominal_cases > MOST_DELTA_BY_CASES:
        most = MOST_DELTA_BY_CASES / study.nominal_cases
        raise _wrong("delta", study.delta, f"at most {most:.1e}: 0.01 over the cases of a hospital")
    weights, wanted = study.class_weights, 2 * study.time_bins
    if weights and (len(weights) != wanted or not all(0 < weight <= 1 for weight in weights)):
        raise _wrong(
            "class_weights", list(weights), f"{wanted} numbers above 0, 1 at most, or none"
        )


def _wrong(key: str, value: object, wanted: str) -> SettingsError:
    return SettingsError(f"{STUDY_FILE}: '{key}' is {value!r}", hint=f"use {wanted}")


def read_study(folder: Path) -> StudyConfig:
    """Read study.yaml and its gene groups from ``folder``.

    Raises:
        SettingsError: anything missing, misspelt or impossible in either file.
    """
    path = folder / STUDY_FILE
    named, scaled = _name_of_groups_file(path), read_yaml(path).get("gene_scaling") or ""
    scaling = read_scaling(folder, scaled) if scaled else ()
    return read_settings(path, StudyConfig, groups=read_groups(folder / named), scaling=scaling)


def _name_of_groups_file(path: Path) -> str:
    named = read_yaml(path).get("gene_groups")
    if not isinstance(named, str) or not is_groups_name(named):
        raise SettingsError(
            f"{STUDY_FILE}: 'gene_groups' is {str(named)[:80]!r}, not a file beside it",
            hint=NAME_HINT,
        )
    return named
