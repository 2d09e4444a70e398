"""Patch coordinates: a grid over the scanned area, the patches of it that are tissue, their pixels.

The grid is in microns, so that a patch is equally large on every slide. A slide that is more than
a quarter coarser than the study's resolution is refused; one that is a little coarser is enlarged,
and that is said.
"""

import math
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from ghanet_model.errors import SlideError
from ghanet_model.extraction import Extraction

from .feature_file import MOST_PATCHES
from .slides import Rgb, SlideFacts, SlideImage
from .tissue import Tissue

Places = NDArray[np.floating]  # of patches along an axis, from the area's corner
COARSER = 1.25  # a slide may be this much coarser than the study
TOLD = 1.02  # from here on it is said


@dataclass(frozen=True, slots=True, eq=False)
class Coords:
    """The patches of a slide."""

    corners: NDArray[np.int64] = field(repr=False)  # (N, 2) x, y of level-0 pixels
    side0: float  # level-0 pixels
    level: int  # that pixels are read from
    read_side: int  # pixels of that level
    side: int  # pixels of a patch as the encoder gets it

    def __len__(self) -> int:
        return len(self.corners)

    def read(self, slide: SlideImage, *, first: int, last: int) -> NDArray[np.uint8]:
        """Pixels (B, P, P, 3) of some patches.

        Raises:
            SlideError: the slide is damaged.
        """
        corners = self.corners[first:last].tolist()
        pixels = np.empty((len(corners), self.side, self.side, 3), np.uint8)
        for patch, (x, y) in zip(pixels, corners, strict=True):
            patch[:] = self._patch(slide, x, y)
        return pixels

    def _patch(self, slide: SlideImage, x: int, y: int) -> Rgb:
        side = self.read_side
        read = slide.read(x, y, level=self.level, width=side, height=side)
        if side == self.side:
            return read
        smaller = side > self.side
        how = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
        return np.asarray(cv2.resize(read, (self.side, self.side), interpolation=how), np.uint8)


def require_resolution(facts: SlideFacts, extraction: Extraction) -> None:
    """Refuse a slide whose pixels are too coarse.

    Raises:
        SlideError: it would have to be enlarged.
    """
    if facts.mpp > COARSER * extraction.mpp:
        raise SlideError(
            f"has {facts.mpp:.3g} microns per pixel, the study needs {extraction.mpp:g} or finer",
            hint="scan it again with a stronger objective; enlarging would make up detail",
        )


def notes_of(facts: SlideFacts, extraction: Extraction) -> tuple[str, ...]:
    """What is unusual about a slide that can be used."""
    if facts.mpp <= TOLD * extraction.mpp:
        return facts.warnings
    said = f"{facts.mpp:.3g} microns per pixel, coarser than the study's: patches are enlarged"
    return (*facts.warnings, said)


def find_coords(facts: SlideFacts, tissue: Tissue, extraction: Extraction) -> Coords:
    """The patches of a slide, row by row from the top left of the scanned area.

    Raises:
        SlideError: too coarse, or not enough tissue for a single patch.
    """
    require_resolution(facts, extraction)
    side0 = extraction.pixels * extraction.mpp / facts.mpp
    if min(facts.scanned.width, facts.scanned.height) < side0:
        raise SlideError(
            f"{facts.scanned.width} x {facts.scanned.height} pixels, smaller than one patch",
            hint="is it a thumbnail, or a level of a slide without the others?",
        )
    corners = _grid(tissue, side0, extraction.least_tissue)
    if len(corners) > MOST_PATCHES:
        raise SlideError(
            f"{len(corners)} patches, more than {MOST_PATCHES}", hint="the study's are too small"
        )
    if not len(corners):
        raise SlideError(
            f"no tissue: {tissue.square_millimetres:.2f} mm2 found, not enough for one patch",
            hint="look at it: is it blank, very pale, or not stained with H&E?",
        )
    level = facts.level_for(extraction.mpp)
    read_side = max(1, round(side0 / facts.downsamples[level]))
    return Coords(corners, side0, level, read_side, extraction.side)


def _grid(tissue: Tissue, side0: float, least: float) -> NDArray[np.int64]:
    """Corners (N, 2) of whole patches inside the scanned area of which enough is tissue."""
    area = tissue.area
    right = side0 * np.arange(math.floor(area.width / side0), dtype=np.float64)
    down = side0 * np.arange(math.floor(area.height / side0), dtype=np.float64)
    row, column = np.nonzero(_shares(tissue, right, down, side0) >= least)
    return np.stack([area.x + right[column].round(), area.y + down[row].round()], 1).astype(
        np.int64
    )


def _shares(tissue: Tissue, right: Places, down: Places, side0: float) -> Places:
    """Share of tissue (rows, columns) of patches at these places; outside of the mask is none."""
    sums = np.asarray(cv2.integral(tissue.mask.astype(np.uint8)), np.int64)  # (H + 1, W + 1)
    (top, bottom), (left, far) = (
        _cells(places, side0, tissue.cell, cells - 1)
        for places, cells in zip((down, right), sums.shape, strict=True)
    )
    height, width = sums.shape[0] - 1, sums.shape[1] - 1
    high, wide = np.minimum(bottom, height)[:, None], np.minimum(far, width)[None]
    low, near = top[:, None], left[None]
    inside = sums[high, wide] - sums[low, wide] - sums[high, near] + sums[low, near]
    return np.asarray(inside / ((bottom - top)[:, None] * (far - left)[None]), np.float64)


def _cells(
    places: Places, side0: float, cell: float, cells: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First and last cell of patches along an axis: at least one, the last may lie outside."""
    first = np.minimum((places / cell).round(), cells - 1).astype(np.int64)
    last = ((places + side0) / cell).round().astype(np.int64)
    return first, np.maximum(last, first + 1)
