"""Small slides for tests, lossless; OpenSlide opens them through its real drivers.

Written from descriptions of the formats; nothing here is a picture of a person. MIRAX is written by
``mirax_file``.
"""

import math
from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from xml.sax.saxutils import quoteattr

import cv2
import numpy as np
import tifffile
from numpy.typing import NDArray

Rgb = NDArray[np.uint8]  # (H, W, 3)
Mask = NDArray[np.bool_]  # (H, W)

MARKER = (120, 20, 160)  # a violet that no pixel of tissue_image has
SCN = "http://www.leica-microsystems.com/scn/2010/10/01"
GLASS, PINK, PURPLE = (244, 243, 245), (226, 150, 190), (120, 62, 150)


def tissue_mask(side: int) -> Mask:
    """Where ``tissue_image`` has tissue: an ellipse over 31 % of it, away from its edges.

    At 0.5 microns per pixel it is 0.08 mm2 of side 1024, 0.02 mm2 of side 512.
    """
    y, x = ((axis + 0.5) / side - 0.5 for axis in np.ogrid[:side, :side])
    return (x / 0.36) ** 2 + (y / 0.27) ** 2 < 1


def tissue_image(rng: np.random.Generator, side: int) -> Rgb:
    """Pink and purple tissue with nuclei on nearly white glass; ``tissue_mask`` says where."""
    coarse = rng.random((max(2, side // 64), max(2, side // 64)), np.float32)
    stroma = cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC)
    cells = cv2.GaussianBlur(rng.random((side, side), np.float32), (0, 0), 2)
    nuclei = cells > np.quantile(cells[: min(side, 512), : min(side, 512)], 0.9)
    purple = np.where(nuclei, np.float32(1), 0.6 * stroma.clip(0, 1))
    noise = rng.integers(-3, 4, (side, side), np.int8)
    mask = tissue_mask(side)
    image = np.empty((side, side, 3), np.uint8)
    for channel, (glass, pink, dark) in enumerate(zip(GLASS, PINK, PURPLE, strict=True)):
        image[..., channel] = np.where(mask, pink + (dark - pink) * purple, glass) + noise
    return image


def marker_image(
    rng: np.random.Generator, side: int, *, at: tuple[int, int], marker: int = 16
) -> Rgb:
    """``tissue_image`` with one square of colour MARKER, its corner at ``at`` = (x, y)."""
    image = tissue_image(rng, side)
    x, y = at
    image[y : y + marker, x : x + marker] = MARKER
    return image


def pyramid(image: Rgb, levels: int) -> list[Rgb]:
    """The image and its halves, each pixel the mean of four; an odd last row or column is cut."""
    halves = [image]
    for _ in range(levels - 1):
        height, width = (size // 2 for size in halves[-1].shape[:2])
        even = halves[-1][: 2 * height, : 2 * width]
        halves.append(cv2.resize(even, (width, height), interpolation=cv2.INTER_AREA))
    return halves


def write_tiff(
    path: Path, image: Rgb, *, mpp: float | None, levels: int = 2, tile: int = 256
) -> None:
    """A tiled pyramid, vendor 'generic-tiff'.

    Args:
        path: the file.
        image: level 0.
        mpp: microns per pixel; None: a resolution without a unit, as OpenSlide does not use it.
        levels: each half of the one before.
        tile: pixels across a tile, a multiple of 16.
    """
    resolution = (1e4 / mpp, "CENTIMETER") if mpp else (1.0, "NONE")
    _write_levels(path, image, resolution, levels=levels, tile=tile)


def write_aperio(path: Path, image: Rgb, *, mpp: float | None, objective: int = 20) -> None:
    """Vendor 'aperio': a level, a thumbnail, a second level, and the label and macro images.

    Without ``mpp`` its description says the objective only.
    """
    height, width = image.shape[:2]
    title = f"Aperio Image Library v11.2.1\r\n{width}x{height}"
    fields = f"|AppMag = {objective}" + (f"|MPP = {mpp}" if mpp else "")
    full, half = pyramid(image, 2)
    small = pyramid(image, 4)[-1]
    with tifffile.TiffWriter(path) as file:
        _add(file, full, tile=240, description=f"{title} [0,0 {width}x{height}] (240x240){fields}")
        _add(file, small, description=f"{title} -> {small.shape[1]}x{small.shape[0]} -{fields}")
        _add(file, half, tile=240, description=f"{title} (240x240) -> half{fields}")
        for kind, subfile in (("label", 1), ("macro", 9)):
            text = f"Aperio Image Library v11.2.1\r\n{kind} {small.shape[1]}x{small.shape[0]}"
            _add(file, np.full_like(small, 90), subfile=subfile, description=text)


def write_scn(
    path: Path, image: Rgb, *, mpp: float, offset: tuple[int, int], collection: tuple[int, int]
) -> None:
    """Vendor 'leica': the image lies in a larger plane, transparent elsewhere.

    Args:
        path: the file.
        image: what was scanned.
        mpp: microns per pixel.
        offset: (x, y) of the image's corner in level-0 pixels; even, or level 1 is shifted.
        collection: (width, height) of the plane in level-0 pixels; the macro image shows all of it.
    """
    main = pyramid(image, 2)
    nm = 1000 * mpp
    plane = tuple(round(size * nm) for size in collection)
    macro = np.full((collection[1] // 16, collection[0] // 16, 3), 200, np.uint8)
    corner = tuple(math.ceil(place * nm) for place in offset)  # the driver rounds down
    size = tuple(round(pixels * nm) for pixels in (image.shape[1], image.shape[0]))
    images = _scn_image([macro], 0, plane, (0, 0)) + _scn_image(main, 1, size, corner)
    description = (
        f'<?xml version="1.0"?><scn xmlns={quoteattr(SCN)}>'
        f'<collection name="test" sizeX="{plane[0]}" sizeY="{plane[1]}">'
        f"<barcode>dGVzdA==</barcode>{images}</collection></scn>"
    )
    with tifffile.TiffWriter(path, bigtiff=True) as file:
        _add(file, macro, tile=256, description=description)
        for number, level in enumerate(main):
            per_cm = 1e4 / mpp / 2**number
            _add(file, level, tile=256, resolution=(per_cm, "CENTIMETER"))


def _scn_image(
    levels: Iterable[Rgb], first: int, size: tuple[int, ...], corner: tuple[int, ...]
) -> str:
    """XML of an image whose levels are in directories ``first`` and following; nanometres."""
    dimensions = "".join(
        f'<dimension sizeX="{level.shape[1]}" sizeY="{level.shape[0]}" r="{i}" ifd="{first + i}"/>'
        for i, level in enumerate(levels)
    )
    return (
        f"<image><pixels>{dimensions}</pixels>"
        f'<view sizeX="{size[0]}" sizeY="{size[1]}" offsetX="{corner[0]}" offsetY="{corner[1]}"/>'
        "<scanSettings><objectiveSettings><objective>20</objective></objectiveSettings>"
        "<illuminationSettings><illuminationSource>brightfield</illuminationSource>"
        "</illuminationSettings></scanSettings></image>"
    )


def broken_slides(folder: Path, image: Rgb) -> dict[str, str]:
    """Write ten slides, each bad in another way: what is wrong, by file name.

    Args:
        folder: where they are written, flat.
        image: a good slide's, at least 512 pixels on each side.
    """
    folder.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(folder / "picture.png"), image[..., ::-1])
    (folder / "picture.png").rename(folder / "picture.tiff")
    (folder / "empty.svs").touch()
    (folder / "alone.mrxs").write_bytes(b"\xff\xd8\xff\xe0")
    _write_levels(folder / "screen.tiff", image, (72, "INCH"))
    write_tiff(folder / "unscaled.tiff", image, mpp=None)
    write_tiff(folder / "fine.tiff", image, mpp=0.01)
    write_tiff(folder / "coarse.tiff", image, mpp=4.0)
    write_tiff(folder / "blank.tiff", np.full_like(image, 255), mpp=0.5)
    write_tiff(folder / "cut.tiff", image, mpp=0.5)
    write_tiff(folder / "destroyed.tiff", image, mpp=0.5)
    _cut_first_directory(folder / "cut.tiff")
    destroy_tiles(folder / "destroyed.tiff")
    return {name: name.partition(".")[0] for name in BROKEN}


BROKEN = {  # what OpenSlide does with each; ``OpenSlide`` is the class, ``open_slide`` tries Pillow
    "picture.tiff": "a PNG: OpenSlideUnsupportedFormatError; open_slide gives an ImageSlide",
    "empty.svs": "OpenSlideUnsupportedFormatError; open_slide: PIL.UnidentifiedImageError",
    "alone.mrxs": "its folder is missing: as empty.svs",
    "cut.tiff": "the file ends in its first directory: as empty.svs",
    "destroyed.tiff": "opens; each read_region of a tile raises OpenSlideError, the handle is dead",
    "unscaled.tiff": "reads; no openslide.mpp-x",
    "screen.tiff": "reads; 72 dpi, openslide.mpp-x is 352.78",
    "fine.tiff": "reads; openslide.mpp-x is 0.01",
    "coarse.tiff": "reads; openslide.mpp-x is 4",
    "blank.tiff": "reads; every pixel is white",
}


def _cut_first_directory(path: Path) -> None:
    """End the file in the middle of its first directory."""
    with tifffile.TiffFile(path) as file:
        end = file.pages[0].offset + 30
    path.write_bytes(path.read_bytes()[:end])


def destroy_tiles(path: Path, *, only: int | None = None) -> None:
    """Overwrite every tile of every level, or one of level 0; nothing else."""
    with tifffile.TiffFile(path) as file:
        places = [
            list(zip(page.dataoffsets, page.databytecounts, strict=True)) for page in file.pages
        ]
    content = bytearray(path.read_bytes())
    for offset, count in chain(*places) if only is None else [places[0][only]]:
        content[offset : offset + count] = b"\xa5" * count
    path.write_bytes(content)


def _write_levels(
    path: Path, image: Rgb, resolution: tuple[float, str], *, levels: int = 2, tile: int = 256
) -> None:
    """A tiled pyramid whose level 0 has ``resolution``, pixels per unit and the unit."""
    with tifffile.TiffWriter(path) as file:
        for number, level in enumerate(pyramid(image, levels)):
            scaled = (resolution[0] / 2**number, resolution[1])
            _add(file, level, tile=tile, subfile=int(number > 0), resolution=scaled)


def _add(
    file: tifffile.TiffWriter,
    image: Rgb,
    *,
    tile: int | None = None,
    subfile: int = 0,
    description: str | None = None,
    resolution: tuple[float, str] = (1.0, "NONE"),
) -> None:
    """One directory: tiles, or strips where ``tile`` is None."""
    per_unit, unit = resolution
    file.write(
        image,
        photometric="rgb",
        compression="adobe_deflate",
        tile=(tile, tile) if tile else None,
        rowsperstrip=None if tile else 16,
        subfiletype=subfile,
        description=description,
        resolution=(per_unit, per_unit),
        resolutionunit=unit,
        metadata=None,
        software=False,
    )
