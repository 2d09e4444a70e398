"""The encoder without weights: 82 numbers on colour, texture, nuclei and lumens of a patch.

For demonstrations only: no study has shown that these numbers say anything about survival. Each
patch is read by itself, in its own pixels; nothing is learnt, no cohort enters, nothing is stored.
"""

import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ghanet_model.extraction import HANDCRAFTED

from .encoders import Features, Pixels, digest_of

LIMIT = 5.0  # of a feature, in its own scale
Layer = NDArray[np.integer[Any] | np.floating[Any]]  # (P, P), as OpenCV has it
Values = NDArray[np.float64]
Numbers = list[float]

_DYES = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.27, 0.57, 0.78]])  # HED, by row
_TO_DYES = np.linalg.inv(_DYES / np.linalg.norm(_DYES, axis=1, keepdims=True)).T[:2]  # (2, 3)
_DENSITY = -np.log((np.arange(256) + 1.0) / 256)  # of a level of light
_LEVELS = 85.0  # of a layer's 255, one unit of a dye
_TABLES = (_LEVELS * _TO_DYES[:, :, None] * _DENSITY).astype(np.float32)  # (2, 3, 256)
_RANGE = np.arange(256.0)
_SHARES = np.array([0.05, 0.25, 0.5, 0.75, 0.95])
_LEAST, _MOST = 55, 150  # levels of hematoxylin between which a nucleus begins
_SPECK = 6  # pixels; smaller pieces are no nuclei
_SMALL, _DARK = 40, 120  # pixels and levels: a lymphocyte has fewer, and more
_WHITE = 215  # darkest level of a lumen in its darkest colour
_EVEN = 1  # levels; a smaller step is noise
_NEIGHBOURS = ((1, 2), (2, 2), (2, 1), (2, 0), (1, 0), (0, 0), (0, 1), (0, 2))  # top, left


@dataclass(frozen=True, slots=True)
class HandcraftedEncoder:
    """Satisfies ``Encoder``: equal digests mean equal code."""

    @property
    def name(self) -> str:
        """As studies name it."""
        return HANDCRAFTED

    @property
    def sha256(self) -> str:
        """Of this module's source."""
        return _own_digest()

    @property
    def width(self) -> int:
        """D: numbers per patch."""
        return len(CENTRE)

    def encode(self, patches: Pixels) -> Features:
        """Features (B, D), from -5 to 5, of patches (B, P, P, 3)."""
        raw = np.array([measure(patch) for patch in patches]).reshape(len(patches), self.width)
        scaled: Features = np.clip((raw - CENTRE) / SCALE, -LIMIT, LIMIT).astype(np.float32)
        return scaled


@cache
def _own_digest() -> str:
    return digest_of(Path(__file__))


def measure(patch: Pixels) -> Numbers:
    """The D numbers of a patch (P, P, 3) in their own units; lengths are in pixels."""
    patch = np.ascontiguousarray(patch)
    hematoxylin, eosin = dyes_of(patch)
    smooth = cv2.GaussianBlur(hematoxylin, (5, 5), 1.0)
    half = cv2.resize(patch, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    return [
        *_colours(half),
        *_amounts(hematoxylin),
        *_amounts(eosin),
        *_bands(hematoxylin),
        *_bands(eosin),
        *_directions(hematoxylin),
        *_directions(eosin),
        *_patterns(smooth),
        *_patterns(cv2.pyrDown(smooth)),
        *_nuclei(smooth, hematoxylin),
        *_lumens(half),
        _focus(patch),
    ]


def dyes_of(patch: Pixels) -> tuple[Layer, Layer]:
    """Hematoxylin and eosin (P, P), 85 levels a unit of optical density (natural logarithm)."""
    light = cv2.split(patch)
    hematoxylin, eosin = (
        [cv2.LUT(channel, table) for channel, table in zip(light, tables, strict=True)]
        for tables in _TABLES
    )
    return _sum(*hematoxylin), _sum(*eosin)


def _sum(red: Layer, green: Layer, blue: Layer) -> Layer:
    """Rounded, from 0 to 255."""
    return cv2.add(cv2.add(red, green), blue, dtype=cv2.CV_8U)


def _colours(half: Layer) -> Numbers:
    """Means and deviations of L, a, b: 6 numbers."""
    means, deviations = cv2.meanStdDev(cv2.cvtColor(half, cv2.COLOR_RGB2LAB))
    return [*means.ravel().tolist(), *deviations.ravel().tolist()]


def _amounts(layer: Layer) -> Numbers:
    """Mean, deviation, cube root of the third moment, five percentiles: 8 numbers."""
    shares = _counts(layer) / layer.size
    mean, deviation = _moments(shares)
    third = float(np.cbrt(shares @ (_RANGE - mean) ** 3))
    reached = np.searchsorted(shares.cumsum(), _SHARES).astype(float)
    return [mean, deviation, third, *reached.tolist()]


def _counts(layer: Layer, mask: Layer | None = None) -> Values:
    """Pixels of each level (256,)."""
    return cv2.calcHist([layer], [0], mask, [256], [0, 256]).ravel().astype(np.float64)


def _moments(counts: Values) -> Numbers:
    """Mean and deviation of levels that are counted (256,); zeros of none."""
    count = max(counts.sum(), 1e-9)
    mean = float(counts @ _RANGE / count)
    return [mean, float(counts @ (_RANGE - mean) ** 2 / count) ** 0.5]


def _bands(layer: Layer) -> Numbers:
    """Log deviation of details about 1, 2, 4 and 8 pixels wide: 4 numbers."""
    found = []
    for _ in range(4):
        detail = cv2.subtract(layer, cv2.GaussianBlur(layer, (5, 5), 0), dtype=cv2.CV_16S)
        found.append(_log(float(cv2.meanStdDev(detail)[1].item())))
        layer = cv2.pyrDown(layer)
    return found


def _directions(layer: Layer) -> Numbers:
    """Of the structure tensor: log energy, coherence over the patch and nearby: 3 numbers."""
    half = cv2.pyrDown(layer).astype(np.float32)
    across, down = cv2.Sobel(half, -1, 1, 0, scale=0.25), cv2.Sobel(half, -1, 0, 1, scale=0.25)
    products = cv2.merge([across * across, down * down, across * down])
    whole = cv2.mean(products)
    near = cv2.split(cv2.blur(products, (9, 9)))
    coherent = float(cv2.sqrt((near[0] - near[1]) ** 2 + 4 * near[2] ** 2).mean())
    energy = whole[0] + whole[1]
    along = ((whole[0] - whole[1]) ** 2 + 4 * whole[2] ** 2) ** 0.5
    return [_log(energy), along / (energy + 1), coherent / (energy + 1)]


def _patterns(layer: Layer) -> Numbers:
    """Shares of the ten rotation-invariant local binary patterns: 10 numbers."""
    side = len(layer) - 2
    threshold = np.minimum(layer[1:-1, 1:-1], 255 - _EVEN) + _EVEN
    codes = np.zeros(threshold.shape, np.uint8)
    for bit, (top, left) in enumerate(_NEIGHBOURS):
        there = layer[top : top + side, left : left + side]
        codes |= (there > threshold).view(np.uint8) << np.uint8(bit)
    found = np.bincount(_CLASSES, _counts(codes), minlength=10) / codes.size
    return [float(share) for share in found]


def _pattern_classes() -> NDArray[np.int64]:
    """Of each code (256,): neighbours set where they are one run, else 9."""
    bits = (np.arange(256)[:, None] >> np.arange(8)) & 1
    changes = (bits != np.roll(bits, 1, axis=1)).sum(axis=1)
    return np.where(changes <= 2, bits.sum(axis=1), 9)


_CLASSES = _pattern_classes()


def _nuclei(smooth: Layer, hematoxylin: Layer) -> Numbers:
    """Share, darkness, size, number, spacing and shape of nuclei: 20 numbers."""
    otsu = cv2.threshold(smooth, 0, 255, cv2.THRESH_OTSU)[0]
    mask = cv2.threshold(smooth, min(max(otsu, _LEAST), _MOST), 1, cv2.THRESH_BINARY)[1]
    depth = _distance(mask)
    tops = _tops(depth)
    between = 1 - mask
    dark = _counts(hematoxylin, mask)
    return [
        cv2.countNonZero(mask) / mask.size,
        *_moments(dark),
        *_moments(_counts(hematoxylin) - dark),
        _log(1000 * len(tops) / mask.size),
        *_spread(tops.reshape(-1, 1)),
        *_spread(np.minimum(_distance(between), 50)),
        *_pieces(mask, hematoxylin),
    ]


def _distance(mask: Layer) -> Layer:
    """Of pixels that are set, how far one that is not: half the side where there is none."""
    if cv2.countNonZero(mask) == mask.size:
        return np.full(mask.shape, len(mask) / 2, np.float32)
    return cv2.distanceTransform(mask, cv2.DIST_L2, 3)


def _tops(depth: Layer) -> Layer:
    """Radii of nuclei (N,): local maxima of depth, so that those which touch are counted apart."""
    even = cv2.GaussianBlur(depth, (3, 3), 0)
    highest = cv2.dilate(even, np.ones((5, 5), np.uint8))
    return depth[(even >= highest) & (depth > 1)]


def _spread(values: Layer) -> Numbers:
    """Mean and deviation; zeros of nothing."""
    if not values.size:
        return [0.0, 0.0]
    mean, deviation = cv2.meanStdDev(values)
    return [float(mean.item()), float(deviation.item())]


def _pieces(mask: Layer, hematoxylin: Layer) -> Numbers:
    """Of connected pieces, which are nuclei or clumps of them: 10 numbers.

    Log number in 1000 pixels; log area, a mean over pixels; deviations of log area, of width over
    length and of darkness; means of log area, of width over length and of the share filled of an
    ellipse; shares that are small, dark and round, and that are much longer than wide.
    """
    labels = cv2.connectedComponents(mask, connectivity=4)[1]
    at = np.flatnonzero(labels)
    label, darkness = labels.ravel()[at], hematoxylin.ravel()[at]
    rows, columns = np.divmod(at, len(mask))
    area = np.bincount(label, minlength=1).astype(float)
    kept = area >= _SPECK
    if not kept.any():
        return [0.0] * 10
    size = np.maximum(area, 1)
    x, y, dark = (np.bincount(label, values) / size for values in (columns, rows, darkness))
    right, down = columns - x[label], rows - y[label]
    xx, yy, xy = (
        (np.bincount(label, product) / size)[kept]
        for product in (right * right, down * down, right * down)
    )
    area, dark = area[kept], dark[kept]
    roundness, filling = _shapes(area, xx + 1 / 12, yy + 1 / 12, xy)  # a pixel has an extent
    log_area = np.log(area)
    lymphocytes = (area < _SMALL) & (dark > _DARK) & (roundness > 0.65)
    values = np.stack([log_area, roundness, dark, filling, lymphocytes, roundness < 0.45])
    means, deviations = values.mean(axis=1), values.std(axis=1)
    return [
        _log(1000 * len(area) / mask.size),
        float(area @ log_area / area.sum()),
        *deviations[:3].tolist(),
        *means[[0, 1, 3, 4, 5]].tolist(),
    ]


def _shapes(area: Values, xx: Values, yy: Values, xy: Values) -> tuple[Values, Values]:
    """Width over length, and the share filled of the ellipse of equal moments, of pieces (N,)."""
    root = np.sqrt((xx - yy) ** 2 + 4 * xy**2)
    roundness = np.sqrt(np.maximum(xx + yy - root, 0) / (xx + yy + root))
    filling = area / (4 * np.pi * np.sqrt(np.maximum(xx * yy - xy**2, 1e-6)))
    return roundness, filling


def _lumens(half: Layer) -> Numbers:
    """White: share, log area and number of pieces, shares far from an edge: 5 numbers."""
    mask = cv2.inRange(half, (_WHITE,) * 3, (255,) * 3)
    share = cv2.countNonZero(mask) / mask.size
    if not share:
        return [0.0] * 5
    facts = cv2.connectedComponentsWithStats(mask, connectivity=4)[2]
    area = facts[1:, cv2.CC_STAT_AREA].astype(float)
    far = [cv2.erode(mask, np.ones((side, side), np.uint8)) for side in (3, 7)]
    return [
        share,
        _log(float((area @ area) / area.sum())),
        _log(1000 * int((area >= _SPECK).sum()) / mask.size),
        *(cv2.countNonZero(left) / mask.size for left in far),
    ]


def _focus(patch: Pixels) -> float:
    """Log deviation of the Laplacian: 1 number."""
    grey = cv2.cvtColor(patch, cv2.COLOR_RGB2GRAY)
    return _log(float(cv2.meanStdDev(cv2.Laplacian(grey, cv2.CV_16S))[1].item()))


def _log(value: float) -> float:
    return math.log1p(max(value, 0.0))


# Measured once, public: mean and deviation of 6094 patches of 64 pixels of 60 slides that
# deploy/demo/slides.py drew, and of 204 of 128 and 256 pixels of OpenSlide's CMU-1-Small-Region at
# 0.5 microns per pixel, white ones left out; both sources weigh alike.
CENTRE = np.array([
    150, 156, 110, 47.6, 11.3, 7.96, 45, 43.3, 48.2, 4.97, 15.1, 31, 61.9, 134, 29.8, 20.1, 21.9,
    7.36, 16.1, 26.1, 39.6, 62, 2.52, 2.54, 2.53, 2.34, 2.15, 1.75, 1.62, 1.58, 7.28, 0.249,
    0.458, 5.28, 0.288, 0.485, 0.187, 0.0692, 0.102, 0.253, 0.232, 0.0597, 0.0189, 0.00897,
    0.00214, 0.0663, 0.17, 0.0815, 0.102, 0.195, 0.182, 0.0701, 0.0364, 0.0249, 0.00811, 0.13,
    0.229, 124, 42.2, 24.2, 18.2, 1.54, 3.55, 1.46, 9.05, 7.89, 0.935, 5.43, 1.14, 0.161, 14.2,
    3.97, 0.557, 0.868, 0.0577, 0.317, 0.169, 3.59, 0.721, 0.121, 0.0859, 3.58,
])  # fmt: skip
SCALE = np.array([
    31.1, 10.5, 10.2, 15.3, 4.87, 2.92, 25.2, 15.2, 20.8, 8.56, 17.6, 27, 38.9, 55.7, 12.5, 6.92,
    16.7, 11.4, 14.4, 15.9, 14.5, 13.9, 0.469, 0.362, 0.334, 0.36, 0.643, 0.315, 0.28, 0.311,
    0.757, 0.17, 0.134, 0.674, 0.173, 0.13, 0.169, 0.0315, 0.0322, 0.0742, 0.079, 0.0287, 0.013,
    0.0076, 0.00227, 0.0308, 0.155, 0.028, 0.0275, 0.0575, 0.06, 0.0286, 0.019, 0.0146, 0.00632,
    0.0429, 0.158, 31.3, 17.8, 15.3, 6.21, 0.594, 1.09, 0.919, 7.55, 5.21, 0.436, 1.3, 0.438,
    0.0445, 7.22, 0.696, 0.0923, 0.0696, 0.0979, 0.203, 0.206, 2.73, 0.577, 0.186, 0.158, 0.316,
])  # fmt: skip
