"""The weight of every patch of an answered slide, kept beside the answer. Stays in the hospital.

NAME.weights.safetensors holds no name: coords (N, 2), weights (N,), and as attributes the side of a
patch, microns per pixel of level 0 and which answer it belongs to.
"""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from ghanet_model.errors import FeaturesError, WeightsError
from ghanet_model.files import read_file, write_atomic
from ghanet_model.weights import metadata_of

from .feature_file import MOST_PATCHES
from .places import PIXELS, Places, read_places

SUFFIX = ".weights.safetensors"
_BYTES = MOST_PATCHES * 3 * 8 + 65_536
_AGAIN = "run 'ghanet-client predict' on this slide again; features without places have none"


@dataclass(frozen=True, slots=True, eq=False)
class PatchWeights:
    """Where the patches of a slide lie, and what each weighs."""

    coords: NDArray[np.float64] = field(repr=False)  # (N, 2) x, y of corners, level-0 pixels
    weights: NDArray[np.float64] = field(repr=False)  # (N,) add up to 1
    side: float  # of a patch, level-0 pixels
    mpp: float | None  # microns per pixel of level 0; None: not known
    made_of: str  # the answer's

    def ranks(self) -> NDArray[np.int64]:
        """Place of each patch (N,) by weight; 1 is the highest."""
        order = np.argsort(-self.weights, kind="stable")
        ranks = np.empty(len(order), np.int64)
        ranks[order] = np.arange(1, len(order) + 1)
        return ranks

    def at(self, x: float, y: float) -> int | None:
        """Which patch covers a place in level-0 pixels; of several the one nearest to its centre.

        >>> corners, weights = np.array([[0.0, 0.0], [8.0, 0.0]]), np.array([0.4, 0.6])
        >>> two = PatchWeights(corners, weights, 8, None, "")
        >>> two.at(9, 1), two.at(9, 8)
        (1, None)
        """
        apart = np.array([x, y]) - self.coords  # (N, 2)
        inside = np.flatnonzero(((apart >= 0) & (apart < self.side)).all(axis=1))
        if not inside.size:
            return None
        far = np.abs(apart[inside] - self.side / 2).max(axis=1)
        return int(inside[far.argmin()])


def keep_patch_weights(
    path: Path, features: Path, weights: NDArray[np.float64], *, made_of: str
) -> None:
    """Write weights (N,) beside an answer; no file where the features know no places in pixels."""
    places = pixel_places(features)
    if places is None or places.side is None:
        path.unlink(missing_ok=True)
        return
    kept = PatchWeights(places.coords, weights, places.side, places.level0_mpp, made_of)
    write_patch_weights(path, kept)


def pixel_places(features: Path) -> Places | None:
    """Where patches lie in pixels of level 0, and their side; None: the file does not say."""
    try:
        places = read_places(features, where="features")
    except FeaturesError:
        return None
    return places if places.unit == PIXELS and places.side else None


def write_patch_weights(path: Path, kept: PatchWeights) -> None:
    """Write atomically, for the owner only."""
    mpp = {} if kept.mpp is None else {"mpp": repr(float(kept.mpp))}
    said = {"format": "1", "side": repr(float(kept.side)), **mpp, "made_of": kept.made_of}
    arrays = {"coords": np.ascontiguousarray(kept.coords), "weights": kept.weights}
    write_atomic(path, save(arrays, metadata=said), private=True)


def read_patch_weights(path: Path, *, made_of: str) -> PatchWeights:
    """Read the weights that belong to an answer.

    Raises:
        WeightsError: none were kept, they are damaged, or another answer's.
    """
    try:
        content = read_file(path, most=_BYTES)
        arrays, said = load(content), metadata_of(content)
        mpp = float(said["mpp"]) if "mpp" in said else None
        kept = PatchWeights(
            arrays["coords"], arrays["weights"], float(said["side"]), mpp, said["made_of"]
        )
    except OSError:
        raise WeightsError("no weights of patches were kept", hint=_AGAIN) from None
    except (SafetensorError, KeyError, ValueError):
        raise WeightsError("the weights of its patches are damaged", hint=_AGAIN) from None
    if not _is_whole(kept):
        raise WeightsError("the weights of its patches are damaged", hint=_AGAIN)
    if kept.made_of != made_of:
        raise WeightsError("the weights of its patches are another answer's", hint=_AGAIN)
    return kept


def _is_whole(kept: PatchWeights) -> bool:
    count = len(kept.weights) if kept.weights.ndim == 1 else 0
    arrays = (kept.coords, kept.weights, np.array(kept.side))
    numbers = all(one.dtype == np.float64 and np.isfinite(one).all() for one in arrays)
    return count > 0 and kept.coords.shape == (count, 2) and numbers and kept.side > 0
