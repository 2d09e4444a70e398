"""Where the patches of a slide lie, as its feature file says: for heat maps, never for training.

CLAM      ``coords`` in level-0 pixels, nothing said: the side is inferred from their spacing
TRIDENT   ``coords`` in level-0 pixels, attribute patch_size_level0; ours add level0_mpp, target_mpp
STAMP     ``coords`` in microns, unit 'um', tile_size_um (2.0: tile_size)
STAMP v1  ``coords`` in pixels of which 224 are 256 microns; nothing said, the spacing tells
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from ghanet_model.errors import FeaturesError

from .feature_file import AGAIN, MOST_PATCHES
from .h5 import holders, number, opened, own_object, require_stored, text

FEATURES = ("features", "feats", "patch_embeddings")  # CLAM, TRIDENT, ours; STAMP; its multiplex
HOLDERS = (*FEATURES, "coords")  # of attributes, before the file itself
PIXELS, MICRONS = "pixels", "microns"
_V1_PIXELS, _V1_MICRONS = 224, 256.0
Corners = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Places:
    """Places of the patches of one slide, in the order of its features."""

    coords: Corners = field(repr=False)  # (N, 2) x, y of top-left corners
    unit: str  # pixels of level 0, or microns
    side: float | None  # of a patch, in this unit; None: not known
    side_inferred: bool  # the smallest distance of two patches; less than the side if they overlap
    level0_mpp: float | None  # microns per pixel of level 0
    patch_microns: float | None  # side of a patch


def read_places(path: Path, *, where: str) -> Places:
    """Where the patches of a slide lie.

    Raises:
        FeaturesError: the file holds no coordinates, not one per patch, or in no known unit.
    """
    if path.suffix == ".pt":  # of slideflow's index it is not known whether it holds corners
        raise _no_coords(where)
    with opened(path, where) as file:
        coords, said = read_coords(file, path, where), holders(file, HOLDERS, where)
        features = first_of(file, where)
        if isinstance(features, h5py.Dataset):
            require_as_many(features.shape or (), coords.shape, where)
        microns = patch_microns(file, path, where)
        if own_object(file, "features", where) is None:
            return _places_of_stamp(coords, microns, said, where)
        side = number(said, "patch_size_level0")
        inferred = spacing(coords) if side is None else None
        mpp = number(said, "level0_mpp")
        return Places(coords, PIXELS, side or inferred, inferred is not None, mpp, microns)


def _places_of_stamp(
    coords: Corners, side: float | None, said: Sequence[Any], where: str
) -> Places:
    scale = 1.0 if _is_in_microns(said) else _V1_MICRONS / _V1_PIXELS
    if side is None and not _is_in_microns(said):
        raise FeaturesError(
            f"{where}: the file does not say the unit of its coordinates",
            hint="extract the features again with STAMP 2.1 or newer",
        )
    return Places(coords * scale, MICRONS, side, False, None, side)


def first_of(file: h5py.File, where: str) -> Any:
    """The object that holds the features, whatever its maker calls it; None: there is none."""
    found = (own_object(file, name, where) for name in FEATURES)
    return next((one for one in found if one is not None), None)


def patch_microns(file: h5py.File, path: Path, where: str) -> float | None:
    """Side of a patch on the slide in microns, where the file tells; never from magnification.

    Raises:
        FeaturesError: attributes or coordinates are not in the file itself.
    """
    said = holders(file, HOLDERS, where)
    for side, mpp in (("patch_size_level0", "level0_mpp"), ("patch_size", "target_mpp")):
        pixels, scale = number(said, side), number(said, mpp)
        if pixels is not None and scale is not None:
            return pixels * scale
    if own_object(file, "features", where) is not None:
        return None
    if _is_in_microns(said):
        return number(said, "tile_size_um") or number(said, "tile_size")
    return _V1_MICRONS if _is_v1(file, path, where) else None


def _is_in_microns(said: Sequence[Any]) -> bool:
    return text(said, "unit") == "um" or number(said, "tile_size_um") is not None


def _is_v1(file: h5py.File, path: Path, where: str) -> bool:
    """Whether patches are 224 pixels apart, as only the first STAMP wrote them."""
    if any(own_object(file, name, where) is None for name in ("feats", "coords")):
        return False
    apart = spacing(read_coords(file, path, where))
    return apart is not None and round(apart) == _V1_PIXELS


def read_coords(file: h5py.File, path: Path, where: str) -> Corners:
    """The coordinates (N, 2) of an open file, in its unit.

    Raises:
        FeaturesError: there are none, or none that are places.
    """
    found = own_object(file, "coords", where)
    if not isinstance(found, h5py.Dataset):
        raise _no_coords(where)
    shape: tuple[int, ...] = found.shape or ()
    flat = shape[1:] if len(shape) == 3 and shape[0] == 1 else shape
    if len(flat) != 2 or flat[1] != 2 or not 0 < flat[0] <= MOST_PATCHES:
        raise _no_places(where)
    if found.dtype.kind not in "iuf" or found.dtype.itemsize > 8:
        raise _no_places(where)
    require_stored(found, path, where)
    coords: Corners = found[...].astype(np.float64).reshape(flat)
    if not np.isfinite(coords).all():
        raise _no_places(where)
    return coords


def require_as_many(features: tuple[int, ...], coords: tuple[int, ...], where: str) -> None:
    """Refuse features (..., N, D) and coords (..., N, 2) of different N: of two slides.

    Raises:
        FeaturesError: they are.
    """
    if features[-2:-1] != coords[-2:-1]:
        raise FeaturesError(f"{where}: features and coords are not equally many", hint=AGAIN)


def spacing(coords: Corners) -> float | None:
    """The smallest distance of two rows or columns of patches (N, 2); None: all in one place.

    >>> spacing(np.array([[0.0, 0.0], [512.0, 0.0], [512.0, 256.0]]))
    256.0
    """
    apart = np.concatenate([np.diff(np.unique(axis)) for axis in coords.T])
    return float(apart.min()) if apart.size else None


def _no_coords(where: str) -> FeaturesError:
    return FeaturesError(
        f"{where}: the file holds no coordinates of patches",
        hint="training and prediction need none; for maps keep CLAM's, TRIDENT's or STAMP's h5",
    )


def _no_places(where: str) -> FeaturesError:
    return FeaturesError(f"{where}: coords are not one x and y per patch", hint=AGAIN)
