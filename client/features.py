"""Features of slides as CLAM, TRIDENT, STAMP and slideflow write them, and what a study needs.

``feature_folders`` finds the files, ``feature_h5`` and ``pt`` open them. ``where`` says in which
row a file is listed; no message names a slide. Nothing in a file is ever run, and what a file
links to is not read; the file itself may be a symbolic link.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from ghanet_model.errors import FeaturesError
from ghanet_model.extraction import Extraction

from .feature_file import BLOCK, Numbers, Stored
from .feature_folders import FeatureFolder, find_features
from .feature_h5 import opened_h5
from .pt import opened_pt

__all__ = (
    "FeatureFacts",
    "FeatureFolder",
    "describe_features",
    "find_features",
    "inspect_features",
    "read_features",
    "require_fit",
    "slide_stem",
)

MOST_DEVIATION = 0.25  # of the patches' side from the study's
_AGAIN = "extract the features again with the study's encoder"
_SLIDE_SUFFIXES = (
    ".ome.tiff", ".ome.tif", ".tiff", ".tif", ".svs", ".ndpi", ".mrxs", ".scn", ".vms", ".vmu",
    ".bif", ".svslide", ".dcm", ".czi", ".isyntax", ".qptiff", ".h5",
)  # fmt: skip


def slide_stem(slide_id: str) -> str:
    """A slide's name as feature files have it; names hold dots, so only known suffixes go.

    >>> slide_stem("TCGA-00-0000-01Z-00-DX1.0A1B2C3D.svs")
    'TCGA-00-0000-01Z-00-DX1.0A1B2C3D'
    """
    lower = slide_id.lower()
    suffix = next((s for s in _SLIDE_SUFFIXES if lower.endswith(s)), "")
    return slide_id[: len(slide_id) - len(suffix)]


@dataclass(frozen=True, slots=True)
class FeatureFacts:
    """What one feature file holds."""

    patches: int  # N
    width: int  # D
    encoder: str | None  # as the file says; CLAM and slideflow say nothing
    bad_patches: int  # patches with NaN or infinity
    encoder_sha256: str | None = None  # of the encoder's file; only our own files say it
    patch_microns: float | None = None  # side of a patch on the slide, where the file tells
    cut: str | None = None  # digest of cutting and normalisation; only our own files say it

    @property
    def finite(self) -> bool:
        """Whether every number is one."""
        return self.bad_patches == 0


def describe_features(path: Path, *, where: str) -> FeatureFacts:
    """What a file says of itself; none of its numbers is read, so NaN are not found.

    Raises:
        FeaturesError: the file cannot be used whatever the study.
    """
    with _opened(path, where) as stored:
        return _facts(stored, bad_patches=0)


def inspect_features(path: Path, *, where: str) -> FeatureFacts:
    """What a file holds, reading all of it block by block.

    Raises:
        FeaturesError: the file cannot be used whatever the study.
    """
    with _opened(path, where) as stored:
        return _facts(stored, bad_patches=sum(map(_bad_patches, stored.blocks())))


def require_fit(
    facts: FeatureFacts,
    *,
    width: int,
    encoder: str,
    where: str,
    extraction: Extraction | None = None,
) -> None:
    """Refuse features that are not those of the study.

    Args:
        facts: of the file.
        width: of the study, D.
        encoder: of the study.
        where: the row that lists the file.
        extraction: how the study cuts and encodes; None: of no interest.

    Raises:
        FeaturesError: another encoder, width or size of patches, or numbers that are none.
    """
    if facts.encoder not in (None, encoder):
        raise FeaturesError(
            f"{where}: made by encoder '{facts.encoder}', the study uses '{encoder}'", hint=_AGAIN
        )
    if facts.width != width:
        raise FeaturesError(
            f"{where}: {facts.width} numbers per patch, the study has {width}", hint=_AGAIN
        )
    if extraction is not None:
        _require_extraction(facts, extraction, where)
    if facts.bad_patches:
        raise FeaturesError(
            f"{where}: NaN or infinity in {facts.bad_patches} of {facts.patches} patches",
            hint="extract the features of this slide again",
        )


def _require_extraction(facts: FeatureFacts, extraction: Extraction, where: str) -> None:
    found, wanted = facts.encoder_sha256, extraction.sha256
    if found and wanted and found != wanted:
        raise FeaturesError(
            f"{where}: made by an encoder file {found[:16]}, the study's is {wanted[:16]}",
            hint=_AGAIN,
        )
    side, microns = facts.patch_microns, extraction.microns
    if side is not None and abs(side - microns) > MOST_DEVIATION * microns:
        raise FeaturesError(
            f"{where}: patches are {side:.4g} microns wide, the study's are {microns:.4g}",
            hint="extract again with the study's patch size, or ask the coordinator",
        )
    if facts.cut is not None and facts.cut != extraction.cut:
        raise FeaturesError(
            f"{where}: cut or normalised otherwise than the study says now",
            hint="run 'ghanet-client slides extract' again: it makes these anew",
        )


def read_features(
    path: Path, *, width: int, encoder: str, where: str, extraction: Extraction | None = None
) -> torch.Tensor:
    """Features of one slide (N, D), in the float type of the file.

    Raises:
        FeaturesError: the file is missing, damaged, or not what the study needs.
    """
    with _opened(path, where) as stored:
        facts = _facts(stored, bad_patches=0)
        require_fit(facts, width=width, encoder=encoder, where=where, extraction=extraction)
        values = stored.whole()  # only now: they may fill memory
    facts = replace(facts, bad_patches=_bad_patches(values))
    require_fit(facts, width=width, encoder=encoder, where=where, extraction=extraction)
    return torch.from_numpy(values.astype(values.dtype.newbyteorder("="), copy=False))


@contextmanager
def _opened(path: Path, where: str) -> Iterator[Stored]:
    reader = opened_pt if path.suffix == ".pt" else opened_h5
    with reader(path, where) as stored:
        yield stored


def _facts(stored: Stored, *, bad_patches: int) -> FeatureFacts:
    origin = stored.origin
    return FeatureFacts(
        stored.patches,
        stored.width,
        origin.encoder,
        bad_patches,
        origin.encoder_sha256,
        origin.patch_microns,
        origin.cut,
    )


def _bad_patches(values: Numbers) -> int:
    """Block by block: a byte for each number of a large slide would be a quarter of it again."""
    blocks = (values[first : first + BLOCK] for first in range(0, len(values), BLOCK))
    return sum(int((~np.isfinite(block).all(axis=-1)).sum()) for block in blocks)
