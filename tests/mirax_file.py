"""A small MIRAX slide that OpenSlide opens, lossless: tiles as PNG, a gap where none were scanned.

Without camera positions and overlaps, as the oldest scanners wrote it: tiles lie on a plain grid.
"""

import math
import struct
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from slide_files import Rgb, pyramid

SLIDE_ID = "0123456789ABCDEF0123456789ABCDEF"
VERSION = "01.02"  # of Index.dat

Cell = tuple[int, int]  # column, row
Item = tuple[int, int, int, int]  # a tile's number; offset, length and number of its data file


@dataclass(frozen=True, slots=True, eq=False)
class _Grid:
    """A plane of ``columns`` by ``rows`` tiles, some of them scanned."""

    columns: int
    rows: int
    tile: int  # pixels across
    plane: Rgb
    scanned: frozenset[Cell]

    def cut(self, plane: Rgb, cell: Cell) -> Rgb:
        """The pixels of a tile, of this plane or a coarser one."""
        column, row = cell
        size = self.tile
        return plane[row * size : (row + 1) * size, column * size : (column + 1) * size]


def write_mirax(
    path: Path,
    image: Rgb,
    *,
    mpp: float,
    offset: Cell = (6, 10),
    gaps: Collection[Cell] = (),
    levels: int = 2,
    tile: int = 64,
) -> None:
    """``name.mrxs`` and its folder ``name``; the image lies in a larger, transparent plane.

    Args:
        path: the .mrxs file.
        image: level 0, its sides multiples of ``tile``.
        mpp: microns per pixel.
        offset: column and row of the image's first tile; as many empty ones follow the image. Its
            bounds-x and -y are ``offset`` times ``tile``. Best even: see ``gaps``.
        gaps: tiles (column, row), counted from the image's first, that were not scanned. A tile of
            a coarser level is missing if all below it are, and white where some are.
        levels: each half of the one before.
        tile: pixels across a tile.
    """
    grid = _lay_out(image, offset, gaps, multiple=2 ** (levels - 1), tile=tile)
    data, pages = _pack(grid, levels)
    folder = path.with_suffix("")
    folder.mkdir()
    path.write_bytes(b"\xff\xd8\xff\xe0")  # a picture in real slides; never read
    (folder / "Slidedat.ini").write_text(_slidedat(grid, mpp=mpp, levels=levels))
    (folder / "Data0000.dat").write_bytes(data)
    (folder / "Index.dat").write_bytes(_index(pages))


def _lay_out(
    image: Rgb, offset: Cell, gaps: Collection[Cell], *, multiple: int, tile: int
) -> _Grid:
    """The image amid empty tiles; columns and rows are rounded up to a ``multiple``."""
    high, wide = (size // tile for size in image.shape[:2])
    columns = math.ceil((wide + 2 * offset[0]) / multiple) * multiple
    rows = math.ceil((high + 2 * offset[1]) / multiple) * multiple
    plane = np.full((rows * tile, columns * tile, 3), 255, np.uint8)
    cells = set(np.ndindex(wide, high)) - set(gaps)
    scanned = frozenset((offset[0] + column, offset[1] + row) for column, row in cells)
    grid = _Grid(columns, rows, tile, plane, scanned)
    for column, row in cells:
        place = (offset[0] + column, offset[1] + row)
        grid.cut(plane, place)[:] = grid.cut(image, (column, row))
    return grid


def _pack(grid: _Grid, levels: int) -> tuple[bytes, list[list[Item]]]:
    """Data0000.dat, and of each level what lies where in it."""
    data = bytearray(b"MIRAX test data\0")
    pages = []
    for level, plane in enumerate(pyramid(grid.plane, levels)):
        step = 2**level
        pages.append([])
        for column, row in sorted({(x // step, y // step) for x, y in grid.scanned}):
            number = row * step * grid.columns + column * step  # of its first tile of level 0
            content = cv2.imencode(".png", grid.cut(plane, (column, row))[..., ::-1])[1].tobytes()
            pages[-1].append((number, len(data), len(content), 0))
            data += content
    return bytes(data), pages


def _index(pages: list[list[Item]]) -> bytes:
    """Index.dat: version and slide, two roots, a table of levels, an empty and a full page each."""
    table = len(VERSION) + len(SLIDE_ID) + 8
    first = table + 4 * len(pages)
    heads, body = [], b""
    for items in pages:
        heads.append(first + len(body))
        body += struct.pack("<4i", 0, heads[-1] + 8, len(items), 0)
        body += b"".join(struct.pack("<4i", *item) for item in items)
    roots = struct.pack(f"<{2 + len(heads)}i", table, table, *heads)
    return (VERSION + SLIDE_ID).encode() + roots + body


def _slidedat(grid: _Grid, *, mpp: float, levels: int) -> str:
    """Slidedat.ini: the grid, and of each level its scale and kind of tiles."""
    sections = "".join(
        f"""\
[LEVEL_{level}]
OVERLAP_X = 0
OVERLAP_Y = 0
MICROMETER_PER_PIXEL_X = {mpp * 2**level}
MICROMETER_PER_PIXEL_Y = {mpp * 2**level}
IMAGE_FORMAT = PNG
IMAGE_FILL_COLOR_BGR = 16777215
DIGITIZER_WIDTH = {grid.tile}
DIGITIZER_HEIGHT = {grid.tile}
IMAGE_CONCAT_FACTOR = {int(level > 0)}
"""
        for level in range(levels)
    )
    names = "".join(f"HIER_0_VAL_{level}_SECTION = LEVEL_{level}\n" for level in range(levels))
    return f"""\
[GENERAL]
SLIDE_VERSION = 01.02
SLIDE_ID = {SLIDE_ID}
IMAGENUMBER_X = {grid.columns}
IMAGENUMBER_Y = {grid.rows}
OBJECTIVE_MAGNIFICATION = 20
[HIERARCHICAL]
INDEXFILE = Index.dat
HIER_COUNT = 1
NONHIER_COUNT = 0
HIER_0_NAME = Slide zoom level
HIER_0_COUNT = {levels}
{names}\
[DATAFILE]
FILE_COUNT = 1
FILE_0 = Data0000.dat
{sections}"""
