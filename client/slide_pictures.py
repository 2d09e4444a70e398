"""Pictures of a slide's answer: where the weight lies, and the patches at both ends. Stay here."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from .coords import Coords
from .slides import Rgb, SlideImage
from .tissue import overview

LONGER = 900  # pixels of the map's longer side
SHARE = 0.45  # of colour over tissue
ENDS = 8  # patches shown of each end
SIDE = 112  # pixels of a shown patch
_QUALITY = [cv2.IMWRITE_JPEG_QUALITY, 82]


@dataclass(frozen=True, slots=True)
class Pictures:
    """As addresses that hold their data."""

    heat_map: str
    high: tuple[str, ...]
    low: tuple[str, ...]


def pictures_of(slide: SlideImage, coords: Coords, weights: NDArray[np.float64]) -> Pictures:
    """Of an open slide with its patches and their weights (N,).

    Raises:
        SlideError: the slide is damaged.
    """
    order = np.argsort(weights, kind="stable")
    count = min(ENDS, len(order) // 2)
    return Pictures(
        heat_map=_packed(heat_map(slide, coords, weights)),
        high=_shown(slide, coords, order[::-1][:count].tolist()),
        low=_shown(slide, coords, order[:count].tolist()),
    )


def heat_map(slide: SlideImage, coords: Coords, weights: NDArray[np.float64]) -> Rgb:
    """The scanned area (h, w, 3) with the rank of each patch's weight in colour over it."""
    area = slide.facts.scanned
    image, cell = overview(slide, slide.facts.mpp * max(area.width, area.height) / LONGER)
    ranks = np.argsort(np.argsort(weights, kind="stable"), kind="stable")
    levels = (255 * ranks / max(1, len(ranks) - 1)).astype(np.uint8)
    over = image.copy()
    colours = cv2.cvtColor(
        cv2.applyColorMap(levels[:, None], cv2.COLORMAP_CIVIDIS), cv2.COLOR_BGR2RGB
    )
    corners = (coords.corners - (area.x, area.y)) / cell
    for corner, colour in zip(corners, colours[:, 0].tolist(), strict=True):
        low, high = (
            np.round(end).astype(int).tolist() for end in (corner, corner + coords.side0 / cell)
        )
        cv2.rectangle(over, low, high, colour, cv2.FILLED)
    return np.asarray(cv2.addWeighted(over, SHARE, image, 1 - SHARE, 0), np.uint8)


def _shown(slide: SlideImage, coords: Coords, places: Sequence[int]) -> tuple[str, ...]:
    pixels = [coords.read(slide, first=i, last=i + 1)[0] for i in places]
    return tuple(
        _packed(np.asarray(cv2.resize(one, (SIDE, SIDE), interpolation=cv2.INTER_AREA), np.uint8))
        for one in pixels
    )


def _packed(image: Rgb) -> str:
    _, content = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), _QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(content.tobytes()).decode()}"
