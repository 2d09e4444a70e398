"""What slides.py measures: a drawn slide of any size, and an encoder with random weights."""

import math
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import onnx
import tifffile
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from slide_files import GLASS, tissue_image

from client.encoders import Pixels

MPP, TILE, FACTOR, LEVELS = 0.5, 256, 4, 3
QUALITY = 80
HALVED = cv2.IMWRITE_JPEG_SAMPLING_FACTOR_422  # colours, across; as Aperio's
YCBCR_JPEG, HALVED_TAG = 7, (2, 1)
INPUT, WIDTH = 224, 512  # of a ResNet-34: pixels in, numbers out


def make_slide(path: Path, side: int) -> Path:
    """The slide file; made unless it is there. Level 1 is held in memory, level 0 never."""
    if path.is_file():
        return path
    say(f"makes {path.name}")
    unfinished = path.with_suffix(".unfinished")
    tiles = math.ceil(side / TILE)
    first = np.empty((tiles * TILE // FACTOR, tiles * TILE // FACTOR, 3), np.uint8)
    with tifffile.TiffWriter(unfinished, bigtiff=True) as file:
        write_level(file, draw_tiles(side, first), side, level=0)
        image = first[: side // FACTOR, : side // FACTOR]
        for level in range(1, LEVELS):
            write_level(file, tiles_of(image), len(image), level=level)
            smaller = len(image) // FACTOR
            image = cv2.resize(image, (smaller, smaller), interpolation=cv2.INTER_AREA)
    say_jpeg(unfinished)
    return unfinished.rename(path)


def draw_tiles(side: int, smaller: Pixels) -> Iterator[Pixels]:
    """Tiles of level 0, row by row; what they are at level 1 is written to ``smaller``."""
    rng = np.random.default_rng(0)
    textures = tissue_textures(rng)
    count, low = math.ceil(side / TILE), TILE // FACTOR
    for row, column in np.ndindex(count, count):
        turned = np.rot90(textures[rng.integers(len(textures))], rng.integers(4))
        stained = cv2.convertScaleAbs(np.ascontiguousarray(turned), alpha=rng.uniform(0.9, 1.05))
        glass = np.full_like(stained, GLASS)
        glass += rng.integers(0, 4, glass.shape[:2], np.uint8)[..., None]
        tile = np.where(inside(side, row, column)[..., None], stained, glass)
        at = np.s_[row * low : (row + 1) * low, column * low : (column + 1) * low]
        smaller[at] = cv2.resize(tile, (low, low), interpolation=cv2.INTER_AREA)
        yield tile


def tissue_textures(rng: np.random.Generator) -> list[Pixels]:
    """Tiles of nothing but tissue: the middle of ``tissue_image``."""
    image = tissue_image(rng, 4096)[1280:2816, 1024:3072]
    return list(tiles_of(image))


def inside(side: int, row: int, column: int) -> NDArray[np.bool_]:
    """Where a tile (TILE, TILE) is tissue: one ellipse, 61 % of the slide."""
    y, x = np.ogrid[:TILE, :TILE]
    down, right = (row * TILE + y) / side - 0.5, (column * TILE + x) / side - 0.5
    return (right / 0.46) ** 2 + (down / 0.42) ** 2 < 1


def tiles_of(image: Pixels) -> Iterator[Pixels]:
    """Tiles of an image in memory, row by row; those at its end are filled."""
    for top in range(0, image.shape[0], TILE):
        for left in range(0, image.shape[1], TILE):
            tile = image[top : top + TILE, left : left + TILE]
            below, beside = TILE - tile.shape[0], TILE - tile.shape[1]
            yield cv2.copyMakeBorder(tile, 0, below, 0, beside, cv2.BORDER_REPLICATE)


def write_level(
    file: tifffile.TiffWriter, tiles: Iterator[Pixels], side: int, *, level: int
) -> None:
    """A level of JPEG tiles. tifffile has no JPEG without another package: ``say_jpeg`` is next."""
    per_cm = 1e4 / MPP / FACTOR**level
    file.write(
        map(jpeg_of, tiles),
        shape=(side, side, 3),
        dtype=np.uint8,
        tile=(TILE, TILE),
        compression="adobe_deflate",  # bytes are written as they come
        photometric="ycbcr",
        subfiletype=int(level > 0),
        resolution=(per_cm, per_cm),
        resolutionunit="CENTIMETER",
        metadata=None,
        software=False,
    )


def jpeg_of(tile: Pixels) -> bytes:
    """A tile as JPEG."""
    how = [cv2.IMWRITE_JPEG_QUALITY, QUALITY, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, HALVED]
    return cv2.imencode(".jpg", cv2.cvtColor(tile, cv2.COLOR_RGB2BGR), how)[1].tobytes()


def say_jpeg(path: Path) -> None:
    """Have every level say what its tiles are."""
    with tifffile.TiffFile(path, mode="r+") as file:
        for page in file.pages:
            page.tags["Compression"].overwrite(YCBCR_JPEG)
            page.tags["YCbCrSubSampling"].overwrite(HALVED_TAG)


def write_resnet(path: Path) -> Path:
    """ResNet-34, 21 million random weights, norms folded away as exporters do; (B, WIDTH)."""
    rng = np.random.default_rng(0)
    nodes, weights = [], []

    def add(kind: str, *inputs: str, **how: object) -> str:
        nodes.append(helper.make_node(kind, inputs, [f"made{len(nodes)}"], **how))
        return nodes[-1].output[0]

    def conv(x: str, wide: int, to: int, *, side: int = 3, stride: int = 1) -> str:
        drawn = rng.normal(0, (side**2 * wide) ** -0.5, (to, wide, side, side))
        name = f"weight{len(weights)}"
        weights.append(numpy_helper.from_array(drawn.astype(np.float32), name))
        return add("Conv", x, name, strides=[stride] * 2, pads=[side // 2] * 4)

    x = add("Relu", conv("patches", 3, 64, side=7, stride=2))
    x, wide = add("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4), 64
    for to in [64] * 3 + [128] * 4 + [256] * 6 + [512] * 3:
        stride = 1 if to == wide else 2
        y = conv(add("Relu", conv(x, wide, to, stride=stride)), to, to)
        past = x if to == wide else conv(x, wide, to, side=1, stride=stride)
        x, wide = add("Relu", add("Add", y, past)), to
    pooled = add("Flatten", add("GlobalAveragePool", x))
    ends = [("patches", ["batch", 3, INPUT, INPUT]), (pooled, ["batch", WIDTH])]
    taken, given = (helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in ends)
    graph = helper.make_graph(nodes, "resnet", [taken], [given], weights)
    opset = helper.make_opsetid("", 17)
    onnx.save(helper.make_model(graph, opset_imports=[opset], ir_version=9), path)
    return path


def say(text: str) -> None:
    """A line of progress, on the error stream: the table stays alone."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)
