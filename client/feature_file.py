"""What a feature file must be, whoever wrote it: settled, of patches, of float numbers.

No format is known here: ``feature_h5`` reads HDF5 and ``pt`` reads .pt files.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from numpy.typing import NDArray

from ghanet_model.errors import FeaturesError

MOST_PATCHES, MOST_WIDTH = 2_000_000, 2**16
BLOCK = 16_384  # patches looked at in one go
AGAIN = "extract the features of this slide again"
Numbers: TypeAlias = NDArray[Any]  # (N, D) in the float type of the file


@dataclass(frozen=True, slots=True)
class Origin:
    """What a file says of how its features were made; None: nothing."""

    encoder: str | None = None
    encoder_sha256: str | None = None
    patch_microns: float | None = None  # side of a patch on the slide
    cut: str | None = None  # digest of how patches were cut and normalised; our own files say it


@dataclass(frozen=True, slots=True, eq=False)
class Stored:
    """The features of one open file, of which no number was read yet."""

    patches: int  # N
    width: int  # D
    origin: Origin
    whole: Callable[[], Numbers]  # all (N, D)
    blocks: Callable[[], Iterator[Numbers]]  # all in turn, BLOCK patches at most in each


def require_settled(path: Path, kind: str, where: str) -> None:
    """Refuse a file that is being written, or what is no file at all.

    Raises:
        FeaturesError: a .lock or .part beside it, or a pipe, which would keep us waiting.
    """
    names = (f"{base}.{mark}" for base in (path.name, path.stem) for mark in ("lock", "part"))
    if any((path.parent / name).exists() for name in names):
        raise unfinished(where)
    if path.exists() and not path.is_file():
        raise damaged(kind, where)


def require_patches(shape: tuple[int, ...], kind: str, where: str) -> tuple[int, int]:
    """Patches and width (N, D) of features of this shape and type of number.

    Args:
        shape: (N, D) or (1, N, D).
        kind: as numpy names it: float16, float32, float64.
        where: the row that lists the file.

    Raises:
        FeaturesError: these are no patch features, or more than any slide has.
    """
    if 0 in shape:
        raise FeaturesError(f"{where}: no patches", hint="was tissue found on this slide?")
    flat = shape[1:] if len(shape) == 3 and shape[0] == 1 else shape
    if len(flat) != 2:
        raise FeaturesError(
            f"{where}: features have {len(shape)} axes, expected patches and width",
            hint="slide-level features cannot be used: extract patch features",
        )
    if kind not in ("float16", "float32", "float64"):
        raise FeaturesError(
            f"{where}: features are {kind}, expected float numbers",
            hint="save them as float16 or float32",
        )
    if flat[0] > MOST_PATCHES:
        raise FeaturesError(
            f"{where}: {flat[0]} patches, more than {MOST_PATCHES}", hint="use larger patches"
        )
    if flat[1] > MOST_WIDTH:
        raise FeaturesError(f"{where}: {flat[1]} numbers per patch, more than {MOST_WIDTH}")
    return int(flat[0]), int(flat[1])


def absent(where: str) -> FeaturesError:
    """The error of a slide that has no file."""
    return FeaturesError(f"{where}: no feature file", hint="extract its features, or drop the row")


def damaged(kind: str, where: str) -> FeaturesError:
    """The error of a file that cannot be read as what its name says."""
    return FeaturesError(f"{where}: the file is damaged, cut short or not {kind}", hint=AGAIN)


def unfinished(where: str) -> FeaturesError:
    """The error of a file that is still being written."""
    return FeaturesError(
        f"{where}: the feature file is not finished",
        hint="wait for feature extraction; if it stopped, delete .lock and .part, run it again",
    )
