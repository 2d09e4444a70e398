"""Pictures of slides for the viewer: tiles of deep zoom, the heat map, its colours.

A few slides are open at a time, shared by threads. Only what was scanned is ever read: label and
macro images, on which names are printed, have no way through here.
"""

import math
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import openslide
from numpy.typing import NDArray
from openslide import OpenSlideError
from openslide.deepzoom import DeepZoomGenerator

from ghanet_model.errors import SlideError, WeightsError

from .patch_weights import PatchWeights
from .slides import Box, Rgb, open_slide

TILE, OVERLAP = 254, 1  # pixels
MOST_OPEN = 4  # slides
LONGEST = 4096  # pixels of a heat map
ACROSS = 8  # pixels of a heat map in a patch, where they fit
_QUALITY = [cv2.IMWRITE_JPEG_QUALITY, 85]
Address = tuple[int, int, int]  # level, column, row


@dataclass(slots=True, eq=False)
class OpenedSlide:
    """An open slide, cut into tiles of deep zoom."""

    handle: openslide.OpenSlide
    zoom: DeepZoomGenerator
    area: Box  # what was scanned; pixels of the viewer start at its corner
    mpp: float | None  # microns per pixel; None: not known
    users: int = field(default=0)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels of the viewer."""
        width, height = self.zoom.level_dimensions[-1]
        return int(width), int(height)

    def tile(self, address: Address) -> bytes | None:
        """A tile as JPEG; None: there is none at this address.

        Raises:
            SlideError: these pixels are damaged. The slide cannot be read on.
        """
        level, column, row = address
        try:
            image = self.zoom.get_tile(level, (column, row))
        except ValueError:
            return None
        except OpenSlideError:
            raise _damaged() from None
        return _encoded(".jpg", np.asarray(image, np.uint8)[..., ::-1])


class Shelf:
    """Open slides, at most so many; one that is not used is closed when another is wanted."""

    def __init__(self, most: int = MOST_OPEN) -> None:
        self._most = most
        self._open: OrderedDict[Path, OpenedSlide] = OrderedDict()  # the last used at the end
        self._free = threading.Condition()

    def __len__(self) -> int:
        return len(self._open)

    @contextmanager
    def taken(self, path: Path, *, mpp: float | None) -> Iterator[OpenedSlide]:
        """A slide to read from; it is not closed before it is given back.

        Raises:
            SlideError: no slide, or it is damaged.
        """
        opened = self._take(path, mpp)
        try:
            yield opened
        except SlideError:
            with self._free:  # its handle is dead; the next one gets another
                if self._open.get(path) is opened:
                    del self._open[path]
            raise
        finally:
            self._give_back(path, opened)

    def _take(self, path: Path, mpp: float | None) -> OpenedSlide:
        with self._free:
            if path not in self._open:
                self._free.wait_for(self._make_room)
            if path not in self._open:
                self._open[path] = opened_slide(path, mpp=mpp)
            self._open.move_to_end(path)
            self._open[path].users += 1
            return self._open[path]

    def _make_room(self) -> bool:
        """Whether another slide may be opened, one that nobody uses closed for it."""
        if len(self._open) < self._most:
            return True
        idle = next((path for path, one in self._open.items() if not one.users), None)
        if idle is not None:
            self._open.pop(idle).handle.close()
        return idle is not None

    def _give_back(self, path: Path, opened: OpenedSlide) -> None:
        with self._free:
            opened.users -= 1
            if not opened.users and self._open.get(path) is not opened:
                opened.handle.close()
            self._free.notify_all()

    def close(self) -> None:
        """Close those that nobody uses."""
        with self._free:
            for path in [path for path, one in self._open.items() if not one.users]:
                self._open.pop(path).handle.close()


def opened_slide(path: Path, *, mpp: float | None) -> OpenedSlide:
    """Open a slide to look at; a resolution is not needed for that.

    Raises:
        SlideError: no slide that OpenSlide reads, or it is damaged.
    """
    area, mpp = _look(path, mpp)
    try:
        handle = openslide.OpenSlide(path)
    except OpenSlideError:
        raise _damaged() from None
    zoom = DeepZoomGenerator(handle, tile_size=TILE, overlap=OVERLAP, limit_bounds=True)
    return OpenedSlide(handle, zoom, area, mpp)


def _look(path: Path, mpp: float | None) -> tuple[Box, float | None]:
    """What was scanned, and microns per pixel where they are known."""
    try:
        with open_slide(path, mpp=mpp) as slide:
            return slide.facts.scanned, slide.facts.mpp
    except SlideError:
        with open_slide(path, mpp=1.0) as slide:
            return slide.facts.scanned, None


@dataclass(frozen=True, slots=True)
class MapGrid:
    """A heat map over the scanned area; it starts at its corner."""

    cell: float  # level-0 pixels of one of its pixels
    columns: int
    rows: int

    @property
    def width(self) -> float:
        """In level-0 pixels: a little more than the area's, as its own pixels are whole."""
        return self.columns * self.cell


def map_grid(kept: PatchWeights, area: Box) -> MapGrid:
    """How fine a heat map of these patches is.

    Raises:
        WeightsError: patches lie outside of the slide.
    """
    corners = kept.coords - (area.x, area.y)  # (N, 2)
    if (corners < -kept.side).any() or (corners > (area.width, area.height)).any():
        raise WeightsError(
            "the answer's patches lie outside of this slide",
            hint="it was made of another file of this name",
        )
    cell = max(kept.side / ACROSS, max(area.width, area.height) / LONGEST)
    return MapGrid(cell, math.ceil(area.width / cell), math.ceil(area.height / cell))


def heat_map(kept: PatchWeights, area: Box) -> bytes:
    """Ranks of weights in colour as PNG, clear where no patch is.

    Raises:
        WeightsError: patches lie outside of the slide.
    """
    grid = map_grid(kept, area)
    image = np.zeros((grid.rows, grid.columns, 4), np.uint8)  # BGRA
    order = np.argsort(kept.weights, kind="stable")  # the highest last, on top
    low = (kept.coords[order] - (area.x, area.y)) / grid.cell
    for (x, y), colour in zip(low.tolist(), _colours(len(order)), strict=True):
        left, top = max(0, round(x)), max(0, round(y))
        right, bottom = (round(start + kept.side / grid.cell) for start in (x, y))
        image[top : max(top + 1, bottom), left : max(left + 1, right)] = (*colour, 255)
    return _encoded(".png", image)


def legend() -> bytes:
    """All colours as PNG, the lowest at the left."""
    return _encoded(".png", np.tile(_colours(256)[None], (12, 1, 1)))


def _colours(count: int) -> NDArray[np.uint8]:
    """From the lowest to the highest (N, 3), BGR; told apart by colour-blind eyes too."""
    levels = np.round(np.linspace(0, 255, count)).astype(np.uint8)
    return np.asarray(cv2.applyColorMap(levels[:, None], cv2.COLORMAP_CIVIDIS)[:, 0], np.uint8)


def _damaged() -> SlideError:
    return SlideError(
        "the file is damaged: not every part of it can be read",
        hint="copy it again from the scanner or archive",
    )


def _encoded(kind: str, image: Rgb) -> bytes:
    _, content = cv2.imencode(kind, image, _QUALITY if kind == ".jpg" else [])
    return bytes(content.tobytes())
