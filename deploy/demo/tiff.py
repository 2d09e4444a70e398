"""Slides as files: a pyramid of JPEG tiles in a TIFF 6.0, which OpenSlide opens."""

import struct
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from .slides import Image

TILE = 256  # pixels
REDUCED = 4  # the second level's downsample
QUALITY = 85  # of JPEG


def write_slide(path: Path, image: Image, *, mpp: float) -> None:
    """Write a pyramid of two levels that OpenSlide opens: a TIFF of JPEG tiles."""
    small = cv2.resize(image, None, fx=1 / REDUCED, fy=1 / REDUCED, interpolation=cv2.INTER_AREA)
    content = bytearray(b"II*\0") + bytes(4)
    link = 4  # where the place of the next directory is to stand
    for level, pixels in enumerate((image, small)):
        tiles = list(_tiles(pixels))
        offsets = np.cumsum([len(content), *map(len, tiles)])[:-1].tolist()
        content += b"".join(tiles)
        content += bytes(len(content) % 2)
        directory = len(content)
        struct.pack_into("<I", content, link, directory)
        fields = _fields(pixels, level, offsets, [len(tile) for tile in tiles], mpp)
        content += _directory(fields, directory)
        link = directory + 2 + 12 * len(fields)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def _tiles(pixels: Image) -> Iterator[bytes]:
    """JPEG streams of whole tiles, row by row."""
    height, width = pixels.shape[:2]
    padded = cv2.copyMakeBorder(
        pixels, 0, -height % TILE, 0, -width % TILE, cv2.BORDER_CONSTANT, value=(255,) * 3
    )
    for top in range(0, height, TILE):
        for left in range(0, width, TILE):
            tile = cv2.cvtColor(padded[top : top + TILE, left : left + TILE], cv2.COLOR_RGB2BGR)
            yield cv2.imencode(".jpg", tile, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes()


def _fields(
    pixels: Image, level: int, offsets: list[int], sizes: list[int], mpp: float
) -> list[tuple[int, str, list[int]]]:
    """Tag, type (H: 16 bits, I: 32 bits, R: fraction) and values of a level, by TIFF 6.0."""
    height, width = pixels.shape[:2]
    per_centimetre = [round(1e8 / (mpp * REDUCED**level)), 10_000]
    return [
        (254, "I", [min(level, 1)]),  # 1: a reduced image
        (256, "I", [width]),
        (257, "I", [height]),
        (258, "H", [8, 8, 8]),
        (259, "H", [7]),  # JPEG
        (262, "H", [6]),  # YCbCr
        (277, "H", [3]),
        (282, "R", per_centimetre),
        (283, "R", per_centimetre),
        (284, "H", [1]),
        (296, "H", [3]),  # centimetres
        (322, "I", [TILE]),
        (323, "I", [TILE]),
        (324, "I", offsets),
        (325, "I", sizes),
        (530, "H", [2, 2]),  # OpenCV halves colour both ways
    ]


def _directory(fields: list[tuple[int, str, list[int]]], at: int) -> bytes:
    """The directory as it is at this offset, without a next one; long values follow it."""
    after = at + 2 + 12 * len(fields) + 4
    entries, rest = struct.pack("<H", len(fields)), b""
    for tag, kind, values in fields:
        count = len(values) // 2 if kind == "R" else len(values)
        packed = struct.pack(f"<{len(values)}{kind.replace('R', 'I')}", *values)
        if len(packed) > 4:
            packed, rest = struct.pack("<I", after + len(rest)), rest + packed
        entries += struct.pack("<HHI4s", tag, {"H": 3, "I": 4, "R": 5}[kind], count, packed)
    return entries + bytes(4) + rest
