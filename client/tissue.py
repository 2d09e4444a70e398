"""Where tissue is: a mask of a slide at about 8 microns, read tile by tile from a coarse level.

Saturation above Otsu's threshold; neither pen nor black. Memory goes with the mask, a thousandth of
the slide.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from .slides import Box, Rgb, SlideImage

MASK_MPP = 8.0  # microns of a cell of the mask, about
TILE = 2048  # pixels read at once
LEAST_THRESHOLD, MOST_THRESHOLD = 12, 60  # of saturation (0 to 255)
BLACK = 40  # darker in every colour: a fold's shadow, the slide's edge
SMALLEST = 0.05  # mm2; smaller pieces are dust
_MEDIAN, _CLOSING = 7, 5  # cells

Mask = NDArray[np.bool_]  # (H, W)


@dataclass(frozen=True, slots=True, eq=False)
class Tissue:
    """Which cells of a grid over the scanned area are tissue."""

    mask: Mask
    cell: float  # side of a cell, in level-0 pixels
    area: Box  # what the mask covers
    mpp: float  # of level 0

    @property
    def share(self) -> float:
        """Of the scanned area."""
        return float(self.mask.mean()) if self.mask.size else 0.0

    @property
    def square_millimetres(self) -> float:
        """How much tissue there is."""
        return float(self.mask.sum()) * (self.cell * self.mpp / 1000) ** 2


def find_tissue(slide: SlideImage) -> Tissue:
    """The tissue of a slide.

    Raises:
        SlideError: the slide is damaged.
    """
    image, cell = overview(slide, MASK_MPP)
    facts = slide.facts
    mask = tissue_mask(image, mpp=cell * facts.mpp)
    return Tissue(mask, cell, facts.scanned, facts.mpp)


def overview(slide: SlideImage, mpp: float) -> tuple[Rgb, float]:
    """The scanned area at about ``mpp``, and how many level-0 pixels a pixel of it is wide.

    Each pixel is the mean of a whole number of pixels of a level, so that tiles fit together.

    Raises:
        SlideError: the slide is damaged.
    """
    facts = slide.facts
    level = facts.level_for(mpp)
    downsample = facts.downsamples[level]
    step = max(1, round(mpp / (facts.mpp * downsample)))  # pixels of the level in one of ours
    cell = step * downsample
    width = max(1, math.floor(facts.scanned.width / cell))
    height = max(1, math.floor(facts.scanned.height / cell))
    image = np.empty((height, width, 3), np.uint8)
    for top, left, rows, columns in _tiles(height, width, max(1, TILE // step)):
        read = slide.read(
            facts.scanned.x + round(left * cell),
            facts.scanned.y + round(top * cell),
            level=level,
            width=columns * step,
            height=rows * step,
        )
        small = cv2.resize(read, (columns, rows), interpolation=cv2.INTER_AREA)
        image[top : top + rows, left : left + columns] = small
    return image, cell


def _tiles(height: int, width: int, side: int) -> Iterator[tuple[int, int, int, int]]:
    """Top, left, rows and columns of tiles that cover an image."""
    for top in range(0, height, side):
        for left in range(0, width, side):
            yield top, left, min(side, height - top), min(side, width - left)


def tissue_mask(image: Rgb, *, mpp: float) -> Mask:
    """Which pixels (H, W) of an overview (H, W, 3) are tissue.

    Args:
        image: of about 8 microns per pixel.
        mpp: exactly.
    """
    hue, saturation, _ = cv2.split(cv2.cvtColor(image, cv2.COLOR_RGB2HSV))
    saturation = cv2.medianBlur(saturation, _MEDIAN)
    pen = (hue > 35) & (hue < 118) & (saturation > LEAST_THRESHOLD)  # green and blue, of 180 hues
    usable = ~pen & (image.max(axis=2) > BLACK)
    shown = saturation[usable]
    otsu = cv2.threshold(shown, 0, 255, cv2.THRESH_OTSU)[0] if shown.size else 0
    threshold = min(max(otsu, LEAST_THRESHOLD), MOST_THRESHOLD)
    found = ((saturation > threshold) & usable).astype(np.uint8)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (_CLOSING, _CLOSING))
    closed = np.asarray(cv2.morphologyEx(found, cv2.MORPH_CLOSE, kernel), np.uint8)
    return _without_dust(closed, least=SMALLEST * 1e6 / mpp**2)


def _without_dust(found: NDArray[np.uint8], *, least: float) -> Mask:
    """Without pieces of fewer cells."""
    _, labels, facts, _ = cv2.connectedComponentsWithStats(found, connectivity=8)
    large = facts[:, cv2.CC_STAT_AREA] >= least
    large[0] = False  # the background
    kept: Mask = large[labels]
    return kept
