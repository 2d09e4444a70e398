"""Patch coordinates: a grid over the scanned area, the patches of it that are tissue, their pixels.

The grid is in microns, so that a patch is equally large on every slide; a slide that is coarser
than the study's resolution is refused, never enlarged.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from ghanet_model.errors import SlideError
from ghanet_model.extraction import Extraction

from .slides import Rgb, SlideFacts, SlideImage
from .tissue import Tissue

COARSER = 1.25  # a slide may be this much coarser than the study


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
    corners = np.array(list(_grid(tissue, side0, extraction.least_tissue)), np.int64).reshape(-1, 2)
    if not len(corners):
        raise SlideError(
            f"no tissue: {tissue.square_millimetres:.2f} mm2 found, not enough for one patch",
            hint="look at it: is it blank, very pale, or not stained with H&E?",
        )
    level = facts.level_for(extraction.mpp)
    read_side = max(1, round(side0 / facts.downsamples[level]))
    return Coords(corners, side0, level, read_side, extraction.side)


def _grid(tissue: Tissue, side0: float, least: float) -> Iterator[tuple[int, int]]:
    """Corners of whole patches inside the scanned area of which enough is tissue."""
    area = tissue.area
    sums = np.asarray(cv2.integral(tissue.mask.astype(np.uint8)), np.int32)  # (H + 1, W + 1)
    columns, rows = math.floor(area.width / side0), math.floor(area.height / side0)
    for row in range(rows):
        for column in range(columns):
            x, y = column * side0, row * side0
            if _share(sums, x / tissue.cell, y / tissue.cell, side0 / tissue.cell) >= least:
                yield area.x + round(x), area.y + round(y)


def _share(sums: NDArray[np.int32], left: float, top: float, side: float) -> float:
    """Share of tissue in a square of the mask, at least one cell wide; outside there is none."""
    height, width = sums.shape[0] - 1, sums.shape[1] - 1
    x0, y0 = min(round(left), width - 1), min(round(top), height - 1)
    x1, y1 = max(x0 + 1, round(left + side)), max(y0 + 1, round(top + side))
    a, b = min(x1, width), min(y1, height)
    inside = int(sums[b, a]) - int(sums[y0, a]) - int(sums[b, x0]) + int(sums[y0, x0])
    return float(inside / ((x1 - x0) * (y1 - y0)))
