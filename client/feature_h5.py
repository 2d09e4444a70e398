"""Features in HDF5: CLAM, TRIDENT, STAMP and our own. Nothing outside the file is read, see h5."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py

from ghanet_model.errors import FeaturesError

from .feature_file import BLOCK, Numbers, Origin, Stored, require_patches
from .h5 import holders, opened, own_object, require_stored, text
from .places import FEATURES, HOLDERS, first_of, patch_microns, require_as_many

_TILE = "tile"  # feat_type of STAMP; others are slide and patient


@contextmanager
def opened_h5(path: Path, where: str) -> Iterator[Stored]:
    """The features of a file while it is open.

    Raises:
        FeaturesError: the file is missing, damaged, or holds no patch features.
    """
    with opened(path, where) as file:
        features = _dataset(file, where)
        patches, width = require_patches(features.shape or (), features.dtype.name, where)
        coords = own_object(file, "coords", where)
        if isinstance(coords, h5py.Dataset):
            require_as_many(features.shape, coords.shape or (), where)
        require_stored(features, path, where)

        def whole() -> Numbers:
            values: Numbers = features[...].reshape(patches, width)
            return values

        def blocks() -> Iterator[Numbers]:
            for start in range(0, patches, BLOCK):
                rows = slice(start, start + BLOCK)
                yield features[(0, rows) if features.ndim == 3 else rows]

        yield Stored(patches, width, _origin(file, path, where), whole, blocks)


def _dataset(file: h5py.File, where: str) -> Any:
    """The dataset of patch features, whatever its maker calls it."""
    level = text((file,), "feat_type") or _TILE
    if level != _TILE:
        raise FeaturesError(
            f"{where}: features of a {level[:20]}, not of patches",
            hint="slide-level features cannot be used: extract patch features",
        )
    found = first_of(file, where)
    if not isinstance(found, h5py.Dataset):
        names = set(file)
        only = "imgs" if "imgs" in names else "coords" if "coords" in names else ""
        what = f"holds {only} but no features" if only else "has no dataset 'features'"
        hint = "run feature extraction first" if only else "CLAM and TRIDENT write one"
        raise FeaturesError(f"{where}: {what}", hint=hint)
    return found


def _origin(file: h5py.File, path: Path, where: str) -> Origin:
    """What the attributes say; CLAM writes none, and STAMP calls the encoder extractor."""
    said = holders(file, HOLDERS, where)
    encoder = text(said, "encoder") or text(said, "extractor")
    digest, microns = text(said, "encoder_sha256"), patch_microns(file, path, where)
    return Origin(encoder, digest, microns, text(said, "cut"))


def stamp_says(path: Path) -> tuple[str, bool] | None:
    """The extractor that STAMP names in a file ('': none), and whether it is of patches.

    Returns:
        None: not a file of STAMP.

    Raises:
        FeaturesError: the file cannot be opened now.
    """
    with opened(path, "features") as file:
        if all(file.get(name, getlink=True) is None for name in FEATURES[1:]):
            return None
        level = text((file,), "feat_type") or _TILE
        return text((file,), "extractor") or "", level == _TILE
