"""Recalibration: a release's survival bent to fit one hospital. The release itself stays as it is.

    log(-log S') = a + b log(-log S), which is H' = e^a H^b of cumulative hazards H = -log S

(van Houwelingen, Statistics in Medicine 2000;19:3401). ``validation_fit`` finds a and b,
'ghanet-client validate' writes them, 'ghanet-client predict --recalibration' shows S' beside S.
b is above 0, so patients keep their order and curves never rise.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ghanet_model.errors import ReleaseError
from ghanet_model.files import canonical_json, read_file, sha256
from ghanet_model.release import Release

FORMAT = 1
FORMULA = "log(-log S') = a + b log(-log S)"
MOST_BYTES = 100_000
_MAKE = "make it with 'ghanet-client validate'"


@dataclass(frozen=True, slots=True)
class Recalibration:
    """What bends a release's survival, and what it was fitted to."""

    release: str  # sha256 of the release's file
    a: float
    b: float  # 1 where deaths were few: a shift alone
    cases: int
    deaths: int  # before the last edge of the study
    date: str  # when it was fitted, YYYY-MM-DD

    def __post_init__(self) -> None:
        """Refuse what would turn curves round.

        Raises:
            ReleaseError: a or b is no number, or b is not above 0.
        """
        if not (math.isfinite(self.a) and 0 < self.b < math.inf):
            raise ReleaseError(f"recalibration: a = {self.a}, b = {self.b}", hint=_MAKE)

    @property
    def content(self) -> bytes:
        """The file: readable, with a digest of itself."""
        values = {"format": FORMAT, "formula": FORMULA, **asdict(self)}
        whole = {**values, "sha256": sha256(canonical_json(values))}
        return (json.dumps(whole, indent=1, allow_nan=False) + "\n").encode()

    @property
    def digest(self) -> str:
        """SHA-256 of the file."""
        return sha256(self.content)

    @property
    def said(self) -> str:
        """What it is, in one line."""
        return (
            f"{FORMULA} with a = {self.a:.3f}, b = {self.b:.3f}, fitted to {self.cases} cases and "
            f"{self.deaths} deaths of this hospital, {self.date}"
        )

    def survival(self, survival: ArrayLike) -> NDArray[np.float64]:
        """Recalibrated survival at the same edges, S' = exp(-e^a (-log S)^b), any shape.

        >>> Recalibration("", math.log(2), 1.0, 50, 20, "").survival([1.0, 0.5, 0.0]).tolist()
        [1.0, 0.25, 0.0]
        """
        with np.errstate(divide="ignore", over="ignore"):
            hazard = -np.log(np.clip(np.asarray(survival, np.float64), 0.0, 1.0))
            found: NDArray[np.float64] = np.exp(-np.exp(self.a) * hazard**self.b)
        return found


def with_recalibration(answer: dict[str, Any], found: Recalibration | None) -> dict[str, Any]:
    """A slide's answer with 'recalibrated' beside each 'probability', and what it is."""
    if found is None:
        return answer
    rows = answer["survival"]
    bent = found.survival([row["probability"] for row in rows]).tolist()
    survival = [{**row, "recalibrated": one} for row, one in zip(rows, bent, strict=True)]
    about = {**asdict(found), "formula": FORMULA, "sha256": found.digest, "what": found.said}
    return {**answer, "survival": survival, "recalibration": about}


def read_recalibration(path: Path, release: Release) -> Recalibration:
    """Read the file of 'validate', for the release that it was fitted to.

    Raises:
        ReleaseError: not there, damaged, changed by hand, or of another release.
    """
    try:
        content = read_file(path, most=MOST_BYTES)
    except OSError:
        raise ReleaseError(f"{path.name}: no such recalibration", hint=_MAKE) from None
    found = _parsed(content, path.name)
    if found.release != release.sha256:
        raise ReleaseError(
            f"{path.name}: fitted to another release, {found.release[:8]}, this one is "
            f"{release.sha256[:8]}",
            hint="run 'ghanet-client validate' with this release",
        )
    return found


def _parsed(content: bytes, where: str) -> Recalibration:
    """What the file says, if it is byte for byte what this module writes of it."""
    damaged = ReleaseError(f"{where}: no recalibration, or damaged", hint=_MAKE)
    try:
        values: Any = json.loads(content)
        facts = {key: values[key] for key in Recalibration.__slots__}
        found = Recalibration(**_typed(facts))
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError, ReleaseError):
        raise damaged from None
    if found.content != content:
        raise damaged
    return found


def _typed(facts: Mapping[str, Any]) -> dict[str, Any]:
    kinds = {"a": float, "b": float, "cases": int, "deaths": int}
    return {key: kinds.get(key, str)(value) for key, value in facts.items()}
