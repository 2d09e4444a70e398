"""Feature files of CLAM and TRIDENT, read as they are. Never pickle, never a slide's name in words.

CLAM      DIR/h5_files/SLIDE.h5
TRIDENT   DIR/20x_256px_0px_overlap/features_ENCODER/SLIDE.h5

Both hold ``features`` (N, D) and ``coords`` (N, 2). ``where`` says in which row a file is listed.
A folder or file may be a symbolic link; what a file itself links to is not read, see ``h5``.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch

from ghanet_model.errors import FeaturesError

from .h5 import opened, own_object, require_stored, unfinished

MOST_PATCHES, MOST_WIDTH = 2_000_000, 2**16
_BLOCK = 16_384  # patches looked at in one go
_TRIDENT = re.compile(r"features_.+")
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
class FeatureFolder:
    """A folder with one feature file per slide."""

    kind: str  # clam or trident
    path: Path
    stems: frozenset[str] = field(repr=False)  # slides that have a file
    unfinished: frozenset[str] = field(default=frozenset(), repr=False)  # of these, half written

    def file_of(self, slide_id: str, *, where: str) -> Path:
        """The file of a slide.

        Raises:
            FeaturesError: there is none, or its writer has not finished.
        """
        if slide_id in self.unfinished:
            raise unfinished(where)
        if slide_id not in self.stems:  # also keeps '../' out of paths
            raise FeaturesError(
                f"{where}: no feature file", hint="extract its features, or drop the row"
            )
        return self.path_of(slide_id)

    def path_of(self, slide_id: str) -> Path:
        """Where a slide's file would be."""
        return self.path / f"{slide_id}.h5"


@dataclass(frozen=True, slots=True)
class FeatureFacts:
    """What one feature file holds."""

    patches: int  # N
    width: int  # D
    encoder: str | None  # as the file says; CLAM files say nothing
    bad_patches: int  # patches with NaN or infinity

    @property
    def finite(self) -> bool:
        """Whether every number is one."""
        return self.bad_patches == 0


def find_features(folder: Path) -> FeatureFolder:
    """The one feature folder at or below ``folder``.

    Raises:
        FeaturesError: none, several, or a kind that cannot be used.
    """
    if not folder.is_dir():
        raise FeaturesError("features: folder not found", hint="see 'features' in site.yaml")
    found = [candidate for candidate in _candidates(folder) if candidate.stems]
    if len(found) > 1:
        names = ", ".join(str(one.path.relative_to(folder)) for one in found)
        raise FeaturesError(
            f"features: {len(found)} feature folders: {names}",
            hint="name one of them as 'features' in site.yaml",
        )
    if not found:
        raise FeaturesError("features: no feature files", hint=_hint_for_none(folder))
    return found[0]


def _candidates(folder: Path) -> Iterator[FeatureFolder]:
    for path in (folder, folder / "h5_files"):
        if path.name == "h5_files" and path.is_dir():
            done = _stems(path.parent / "pt_files", "pt")  # CLAM writes the .pt last
            stems = _stems(path, "h5")
            short = stems - done if done else frozenset()
            yield FeatureFolder("clam", path, stems, _marked(path) | short)
    below = (*folder.glob("features_*"), *folder.glob("*x_*px_*px_overlap/features_*"))
    here = (folder,) if _TRIDENT.fullmatch(folder.name) else ()
    for path in (*here, *sorted(below)):
        yield FeatureFolder("trident", path, _stems(path, "h5"), _marked(path))


def _stems(folder: Path, suffix: str) -> frozenset[str]:
    return frozenset(p.stem for p in folder.glob(f"*.{suffix}") if not p.name.startswith("."))


def _marked(folder: Path) -> frozenset[str]:
    """Slides with SLIDE.h5.lock, SLIDE.lock, SLIDE.h5.part or SLIDE.part: still being written."""
    marks = _stems(folder, "lock") | _stems(folder, "part")
    return frozenset(mark.removesuffix(".h5") for mark in marks)


def _hint_for_none(folder: Path) -> str:
    if any(folder.glob("**/slide_features_*")):
        return "slide-level features cannot be used: extract patch features"
    if any(folder.glob("**/*_patches.h5")) or any(folder.glob("patches/*.h5")):
        return "there are coordinates only: run feature extraction first"
    if any(folder.glob("**/pt_files")):
        return "there are .pt files only, which are not read: keep CLAM's h5_files"
    return "point 'features' in site.yaml to a CLAM folder (h5_files) or a TRIDENT job folder"


def inspect_features(path: Path, *, where: str) -> FeatureFacts:
    """What a file holds, reading all of it block by block.

    Raises:
        FeaturesError: the file cannot be used whatever the study.
    """
    with opened(path, where) as file:
        features = _dataset(file, path, where)
        patches, width = features.shape[-2:]
        bad = 0
        for start in range(0, patches, _BLOCK):
            rows = slice(start, start + _BLOCK)
            bad += _bad_patches(features[(0, rows) if features.ndim == 3 else rows])
        return FeatureFacts(int(patches), int(width), _encoder(file, where), bad)


def require_fit(facts: FeatureFacts, *, width: int, encoder: str, where: str) -> None:
    """Refuse features that are not those of the study.

    Raises:
        FeaturesError: another encoder, another width, or numbers that are none.
    """
    if facts.encoder not in (None, encoder):
        raise FeaturesError(
            f"{where}: made by encoder '{facts.encoder}', the study uses '{encoder}'",
            hint="extract the features again with the study's encoder",
        )
    if facts.width != width:
        raise FeaturesError(
            f"{where}: {facts.width} numbers per patch, the study has {width}",
            hint="extract the features again with the study's encoder",
        )
    if facts.bad_patches:
        raise FeaturesError(
            f"{where}: NaN or infinity in {facts.bad_patches} of {facts.patches} patches",
            hint="extract the features of this slide again",
        )


def read_features(path: Path, *, width: int, encoder: str, where: str) -> torch.Tensor:
    """Features of one slide (N, D), in the float type of the file.

    Raises:
        FeaturesError: the file is missing, damaged, or not what the study needs.
    """
    with opened(path, where) as file:
        features = _dataset(file, path, where)
        patches, found = features.shape[-2:]
        facts = FeatureFacts(int(patches), int(found), _encoder(file, where), 0)
        require_fit(facts, width=width, encoder=encoder, where=where)  # before they fill memory
        values = features[...].reshape(patches, found)
    facts = replace(facts, bad_patches=_bad_patches(values))
    require_fit(facts, width=width, encoder=encoder, where=where)
    return torch.from_numpy(values.astype(values.dtype.newbyteorder("="), copy=False))


def _dataset(file: h5py.File, path: Path, where: str) -> Any:
    """The patch features of a file, of a shape and type that can be used, all of them there."""
    features, coords = (own_object(file, name, where) for name in ("features", "coords"))
    if not isinstance(features, h5py.Dataset):
        names = set(file)
        only = "imgs" if "imgs" in names else "coords" if "coords" in names else ""
        what = f"holds {only} but no features" if only else "has no dataset 'features'"
        hint = "run feature extraction first" if only else "CLAM and TRIDENT write one"
        raise FeaturesError(f"{where}: {what}", hint=hint)
    shape: tuple[int, ...] = features.shape or ()
    if 0 in shape:
        raise FeaturesError(f"{where}: no patches", hint="was tissue found on this slide?")
    flat = shape[1:] if len(shape) == 3 and shape[0] == 1 else shape
    if len(flat) != 2:
        raise FeaturesError(
            f"{where}: features have {len(shape)} axes, expected patches and width",
            hint="slide-level features cannot be used: extract patch features",
        )
    if features.dtype.kind != "f" or features.dtype.itemsize > 8:
        raise FeaturesError(f"{where}: features are {features.dtype}, expected float numbers")
    if flat[0] > MOST_PATCHES:
        raise FeaturesError(
            f"{where}: {flat[0]} patches, more than {MOST_PATCHES}", hint="use larger patches"
        )
    if flat[1] > MOST_WIDTH:
        raise FeaturesError(f"{where}: {flat[1]} numbers per patch, more than {MOST_WIDTH}")
    if isinstance(coords, h5py.Dataset) and (coords.shape or ())[-2:-1] != flat[:1]:
        raise FeaturesError(f"{where}: features and coords are not equally many")
    require_stored(features, path, where)
    return features


def _encoder(file: h5py.File, where: str) -> str | None:
    """The encoder that the file names, if it does."""
    holders = (own_object(file, name, where) for name in ("features", "coords"))
    for holder in (*holders, file):
        named = holder.attrs.get("encoder") if holder is not None else None
        named = named.decode(errors="replace") if isinstance(named, bytes) else named
        if isinstance(named, str) and named not in ("", "None"):
            return named[:100]
    return None


def _bad_patches(values: Any) -> int:
    return int((~np.isfinite(values).all(axis=-1)).sum())
