"""Slides of any vendor through OpenSlide: resolution in microns per pixel, pixels on white.

A slide is opened late and closed early. Its label and macro images, on which names are printed, are
never read. What is wrong is said without the slide's name; callers add where it is listed.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import openslide
from numpy.typing import NDArray
from openslide import OpenSlideError, OpenSlideUnsupportedFormatError

from ghanet_model.errors import SlideError
from ghanet_model.extraction import LEAST_MPP, MOST_MPP

SAME_MPP = 0.02  # x and y may differ by this share
OBJECTIVE = (0.7, 1.4)  # of mpp times objective over 10, where nothing is said
SUFFIXES = (
    ".svs", ".ndpi", ".mrxs", ".scn", ".bif", ".vms", ".vmu", ".svslide", ".tiff", ".tif", ".dcm",
    ".czi",
)  # fmt: skip
FOREIGN = {  # slides, of formats that OpenSlide does not read
    ".vsi": "Olympus VSI",
    ".isyntax": "Philips iSyntax",
    ".qptiff": "PerkinElmer QPTIFF",
    ".jp2": "JPEG 2000",
    ".kfb": "KFBio",
    ".sdpc": "SQRAY",
    ".png": "a picture",
    ".jpg": "a picture",
    ".jpeg": "a picture",
}
_CONVERT = "export it as pyramidal TIFF or DICOM that says its microns per pixel"
_ASK_MPP = "say it in a column 'mpp' of the slides table, in microns per pixel, if you know it"
_OPAQUE = 255 << 24  # of a pixel read as one number, whose highest byte is alpha

Rgb = NDArray[np.uint8]  # (H, W, 3)


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle in level-0 pixels."""

    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class SlideFacts:
    """What a slide says of itself."""

    vendor: str
    width: int  # level-0 pixels
    height: int
    mpp: float  # microns per level-0 pixel
    mpp_from: str  # where that stands
    objective: float | None
    downsamples: tuple[float, ...]  # of each level
    scanned: Box  # MRXS and SCN: outside of it nothing was scanned
    warnings: tuple[str, ...]
    fingerprint: str  # OpenSlide's, of the coarsest level and all that is said; '': none

    def level_for(self, mpp: float) -> int:
        """The coarsest level that is not coarser than ``mpp``; level 0 if none is."""
        wanted = mpp / self.mpp * 1.01  # 4.0001 is a level of 4
        fine = [i for i, downsample in enumerate(self.downsamples) if downsample <= wanted]
        return max(fine, key=lambda i: self.downsamples[i], default=0)


class SlideImage:
    """An open slide."""

    def __init__(self, handle: openslide.OpenSlide, facts: SlideFacts) -> None:
        self._handle = handle
        self.facts = facts

    def read(self, x: int, y: int, *, level: int, width: int, height: int) -> Rgb:
        """Pixels (height, width, 3) of a level; ``x`` and ``y`` are level-0 pixels.

        Raises:
            SlideError: these pixels are damaged. The slide cannot be read on.
        """
        try:
            image = self._handle.read_region((x, y), level, (width, height))
        except OpenSlideError:
            raise SlideError(
                "the file is damaged: not every part of it can be read",
                hint="copy it again from the scanner or archive",
            ) from None
        return on_white(np.asarray(image))


def on_white(rgba: NDArray[np.uint8]) -> Rgb:
    """Colours (H, W, 3) of pixels (H, W, 4); where nothing was scanned the glass is white."""
    rgb = np.asarray(cv2.cvtColor(rgba, cv2.COLOR_RGBA2RGB), np.uint8)
    if rgba.view("<u4").min() >= _OPAQUE:
        return rgb
    share = rgba[..., 3:].astype(np.float32) / 255
    return (rgb * share + 255 * (1 - share)).round().astype(np.uint8)


@contextmanager
def open_slide(path: Path, *, mpp: float | None = None) -> Iterator[SlideImage]:
    """Open a slide and close it again.

    Args:
        path: the file; of MRXS and DICOM the others are found beside it.
        mpp: microns per pixel by the slides table; it goes before what the file says.

    Raises:
        SlideError: no slide, or one without a resolution that can be believed.
    """
    suffix = path.suffix.lower()
    if suffix in FOREIGN:
        raise SlideError(f"{FOREIGN[suffix]} is not read by OpenSlide", hint=_CONVERT)
    try:
        with path.open("rb"):
            pass
    except OSError as error:
        why = str(error.strerror).lower()
        raise SlideError(
            f"cannot be opened ({why})", hint="see 'slide_files' and who may read it"
        ) from None
    with _handle_of(path) as handle:
        yield SlideImage(handle, facts_of(handle, mpp=mpp))


@contextmanager
def _handle_of(path: Path) -> Iterator[openslide.OpenSlide]:
    if openslide.OpenSlide.detect_format(path) is None:
        raise SlideError(
            "no slide: OpenSlide knows no such format, or the file is damaged", hint=_CONVERT
        )
    try:
        handle = openslide.OpenSlide(path)
    except OpenSlideUnsupportedFormatError:
        raise SlideError("no slide that OpenSlide reads", hint=_CONVERT) from None
    except OpenSlideError:
        raise SlideError(
            "the file is damaged or files that belong to it are missing",
            hint="copy it again, MRXS with its folder, DICOM with all files of the slide",
        ) from None
    try:
        yield handle
    finally:
        handle.close()


def facts_of(handle: openslide.OpenSlide, *, mpp: float | None = None) -> SlideFacts:
    """What an open slide says of itself.

    Raises:
        SlideError: no resolution, or one that no scanner has.
    """
    said = handle.properties
    width, height = handle.dimensions
    warnings: list[str] = []
    across, source = _mpp_of(said, mpp, warnings)
    objective = _number(said.get(openslide.PROPERTY_NAME_OBJECTIVE_POWER))
    if objective and not OBJECTIVE[0] <= across * objective / 10 <= OBJECTIVE[1]:
        warnings.append(
            f"{across:.3g} microns per pixel are unusual for an objective {objective:g}x"
        )
    bounds = [
        _number(said.get(f"openslide.bounds-{side}")) for side in ("x", "y", "width", "height")
    ]
    known = [int(one) for one in bounds if one is not None]
    return SlideFacts(
        vendor=said.get(openslide.PROPERTY_NAME_VENDOR, "unknown"),
        width=width,
        height=height,
        mpp=across,
        mpp_from=source,
        objective=objective,
        downsamples=tuple(handle.level_downsamples),
        scanned=Box(*known) if len(known) == 4 else Box(0, 0, width, height),
        warnings=tuple(warnings),
        fingerprint=said.get(openslide.PROPERTY_NAME_QUICKHASH1, ""),
    )


def _mpp_of(said: Mapping[str, str], given: float | None, warnings: list[str]) -> tuple[float, str]:
    """Microns per pixel across, and where they are from; down may differ a little."""
    if given is not None:
        return given, "slides table"
    across, down = (_number(said.get(f"openslide.mpp-{axis}")) for axis in "xy")
    if across is None or down is None:
        raise SlideError("does not say its microns per pixel", hint=_ASK_MPP)
    if not (LEAST_MPP < across < MOST_MPP and LEAST_MPP < down < MOST_MPP):
        raise SlideError(
            f"says {across:.4g} microns per pixel, which no scanner has", hint=_ASK_MPP
        )
    if abs(across - down) > SAME_MPP * across:
        warnings.append(f"{across:.4g} microns per pixel across, {down:.4g} down")
    return across, "file"


def _number(text: str | None) -> float | None:
    try:
        found = float(text) if text is not None else None
    except ValueError:
        return None
    return found if found is not None and np.isfinite(found) else None
