"""Synthetic slides of the demo: what a case's six gene groups do shows under the microscope.

Stylised hematoxylin and eosin, drawn from random numbers; no image of a patient is in it. Lengths
are in microns until the moment they are drawn.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]  # (H, W, 3) red, green, blue
Layer = NDArray[np.uint8]  # (H, W) how much of a stain is where
Values = NDArray[np.float64]

SUPPRESSED, DENSE, DARK, GLAND, LYMPHOID, STROMA, LOOSE, NECROTIC = range(8)  # kinds of region
REGION = 100.0  # microns across, about
SHARE = 0.9  # of log share of a kind of region, by its group's activity
FULL = 90.0  # of a layer's 255 levels, one unit of optical density


@dataclass(frozen=True, slots=True)
class Stain:
    """A hospital's: what each dye takes of red, green and blue, and how long it was applied."""

    hematoxylin: tuple[float, float, float] = (0.65, 0.70, 0.29)
    eosin: tuple[float, float, float] = (0.09, 0.95, 0.28)
    strengths: tuple[float, float] = (1.0, 1.0)
    glass: tuple[int, int, int] = (245, 244, 246)

    @classmethod
    def drawn(cls, rng: np.random.Generator) -> "Stain":
        """One that differs a little from the usual."""
        usual = cls()
        dyes = [
            tuple(float(v) for v in np.clip(dye + 0.03 * rng.standard_normal(3), 0.03, 1.1))
            for dye in (usual.hematoxylin, usual.eosin)
        ]
        strengths = np.exp(0.1 * rng.standard_normal(2))
        red, green, blue = (int(v) for v in rng.integers(238, 249, 3))
        return cls(*dyes, (float(strengths[0]), float(strengths[1])), (red, green, blue))


@dataclass(frozen=True, slots=True)
class Kind:
    """How a kind of region looks."""

    spacing: float  # of nuclei
    radius: float  # of a nucleus
    spread: float  # of log radius
    darkness: float  # of nuclei, levels of the hematoxylin layer
    length: float  # of a nucleus over its width
    basophilia: float  # levels of hematoxylin between nuclei
    eosin: float  # levels of eosin


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """Where what lies."""

    kinds: NDArray[np.uint8]  # (H, W)
    septa: NDArray[np.bool_]  # (H, W) between regions
    tissue: NDArray[np.bool_]  # (H, W)
    flow: NDArray[np.float32]  # (H, W) radians, of fibres
    looks: tuple[Kind, ...]
    activity: Values  # (6,) as far as it shows
    mpp: float


@dataclass(frozen=True, slots=True, eq=False)
class Nuclei:
    """Ellipses, in pixels and radians."""

    centres: Values  # (N, 2) x, y
    radius: Values  # (N,)
    length: Values  # (N,) of the long axis over the short one
    angle: Values  # (N,)
    darkness: Values  # (N,)


def draw_slide(
    activity: Values, stain: Stain, rng: np.random.Generator, *, side: int = 704, mpp: float = 1.0
) -> Image:
    """One slide (side, side, 3).

    Every group has a kind of region, whose share follows its activity; inside of it a trait does:
    size of nuclei, their density, darkness, width of glands, number of lymphocytes, fibres.

    Args:
        activity: (6,) of the gene groups, about standard normal.
        stain: of the hospital.
        rng: draws all the rest.
        side: in pixels.
        mpp: microns per pixel.
    """
    plan = _plan(np.clip(activity, -2.5, 2.5), rng, side=side, mpp=mpp)
    hematoxylin, eosin = _ground(plan, rng)
    _draw_fibres(eosin, plan, rng)
    lumens, ring = _draw_glands(plan, rng)
    for layer in (hematoxylin, eosin):
        layer[lumens] = 2
    for nuclei in (*_sheets(plan, lumens, rng), ring):
        _draw_nuclei(hematoxylin, nuclei, rng)
    for layer in (hematoxylin, eosin):
        layer[~plan.tissue] = 0
    return _coloured(hematoxylin, eosin, stain, rng)


def looks_of(activity: Values) -> tuple[Kind, ...]:
    """Each kind of region at these activities (6,)."""
    size, number, dark, _, immune, fibres = np.exp(activity)
    return (
        Kind(9.5 * size**0.22, 3.5 * size**0.25, 0.22, 105, 1.3, 42, 62),  # SUPPRESSED
        Kind(9.4 / number**0.2, 2.8, 0.12, 120, 1.15, 46, 40),  # DENSE
        Kind(10.5, 3.3, 0.15, float(np.clip(118 * dark**0.28, 55, 235)), 1.7, 30, 75),  # DARK
        Kind(13.0, 2.4, 0.15, 110, 1.5, 10, 60),  # GLAND
        Kind(7.4 / immune**0.2, 2.0, 0.06, 200, 1.0, 16, 34),  # LYMPHOID
        Kind(19.0, 1.7, 0.2, 150, 4.0, 4, 52 * fibres**0.16),  # STROMA
        Kind(26.0, 1.8, 0.2, 120, 2.2, 3, 24),  # LOOSE
        Kind(15.0, 1.1, 0.4, 140, 1.2, 14, 88),  # NECROTIC
    )


def _plan(activity: Values, rng: np.random.Generator, *, side: int, mpp: float) -> Plan:
    """Regions: a Voronoi diagram, its lines bent."""
    count = max(8, round((side * mpp / REGION) ** 2))
    spots = np.full((side, side), 255, np.uint8)
    x, y = (rng.random((2, count)) * side).astype(int)
    spots[y, x] = 0
    _, nearest = cv2.distanceTransformWithLabels(
        spots, cv2.DIST_L2, 3, labelType=cv2.DIST_LABEL_PIXEL
    )
    kinds = _deal(activity, int(nearest.max()) + 1, rng)
    bend = [18 / mpp * _cloud(rng, side, cells=14) for _ in range(2)]
    rows, columns = np.indices((side, side), np.float32)
    bent = cv2.remap(
        nearest.astype(np.uint16), columns + bend[0], rows + bend[1], cv2.INTER_NEAREST,
        borderMode=cv2.BORDER_REFLECT,
    )  # fmt: skip
    septum = max(3, round(5 / mpp)) | 1
    septa = cv2.morphologyEx(bent, cv2.MORPH_GRADIENT, np.ones((septum, septum), np.uint8)) > 0
    return Plan(
        kinds=kinds[bent],
        septa=septa,
        tissue=_outline(rng, side),
        flow=2.5 * _cloud(rng, side, cells=5),
        looks=looks_of(activity),
        activity=activity,
        mpp=mpp,
    )


def _deal(activity: Values, regions: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Kinds (regions,): quotas, dealt at random, so that shares are near what is wanted."""
    logits = np.concatenate([SHARE * activity, [0.0, -0.7]])
    shares = np.exp(logits) / np.exp(logits).sum()
    places = (np.arange(regions) + rng.random()) / regions
    quotas = np.searchsorted(shares.cumsum()[:-1], places)
    return rng.permutation(quotas).astype(np.uint8)


def _cloud(rng: np.random.Generator, side: int, *, cells: int) -> NDArray[np.float32]:
    """Smooth noise (side, side), of a deviation just below 1."""
    coarse = rng.standard_normal((cells, cells), np.float32)
    return cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC)


def _outline(rng: np.random.Generator, side: int) -> NDArray[np.bool_]:
    """The piece of tissue: a square with round corners, bays and a fringe."""
    across = np.linspace(-1, 1, side, dtype=np.float32)
    round_ = np.maximum(np.abs(across)[:, None], np.abs(across)) ** 3 + across[:, None] ** 2 * 0.2
    ragged = 0.17 * _cloud(rng, side, cells=6) + 0.03 * _cloud(rng, side, cells=50)
    return round_ + ragged < 0.80


def _ground(plan: Plan, rng: np.random.Generator) -> tuple[Layer, Layer]:
    """Layers of hematoxylin and eosin without nuclei."""
    side = len(plan.kinds)
    basophilia = np.array([look.basophilia for look in plan.looks], np.float32)[plan.kinds]
    eosin = np.array([look.eosin for look in plan.looks], np.float32)[plan.kinds]
    basophilia[plan.septa], eosin[plan.septa] = 5, 42
    grain = rng.integers(0, 256, (side, side), np.uint8)
    coarse = cv2.GaussianBlur(grain, (0, 0), 1.5).astype(np.float32) / 128
    blotches = 1 + 0.12 * _cloud(rng, side, cells=25)
    return (
        np.clip(cv2.blur(basophilia, (5, 5)) * coarse, 0, 255).astype(np.uint8),
        np.clip(cv2.blur(eosin, (5, 5)) * coarse * blotches, 0, 255).astype(np.uint8),
    )


def _scattered(
    spacing: float, side: int, rng: np.random.Generator, *, jitter: float = 0.3
) -> Values:
    """Points (N, 2) about ``spacing`` pixels from one another."""
    steps = np.arange(0.5, side / spacing)
    x, y = np.meshgrid(steps, steps)
    x[::2] += 0.5
    points = np.stack([x.ravel(), y.ravel()], axis=1)
    points += jitter * rng.standard_normal(points.shape)
    return np.clip(points * spacing, 0, side - 1)


def _at(layer: NDArray[Any], points: Values) -> NDArray[Any]:
    x, y = points.astype(int).T
    return layer[y, x]


def _draw_fibres(eosin: Layer, plan: Plan, rng: np.random.Generator) -> None:
    """Wavy collagen in stroma, more of it the more active its group is; a little elsewhere."""
    side, mpp = len(eosin), plan.mpp
    spacing = 9.0 * np.exp(-0.3 * plan.activity[STROMA])
    for kind, gap in ((STROMA, spacing), (LOOSE, 16.0)):
        starts = _scattered(gap / mpp, side, rng)
        starts = starts[_at(plan.kinds == kind, starts)]
        angle = _at(plan.flow, starts)
        along = np.linspace(-14, 14, 6) / mpp
        across = 1.6 / mpp * np.sin(along * mpp / 4 + 6 * rng.random((len(starts), 1)))
        x = starts[:, :1] + along * np.cos(angle)[:, None] - across * np.sin(angle)[:, None]
        y = starts[:, 1:] + along * np.sin(angle)[:, None] + across * np.cos(angle)[:, None]
        curves = np.stack([x, y], axis=2).round().astype(np.int32)
        for first, level in enumerate((135, 105, 20)):
            cv2.polylines(eosin, list(curves[first::3]), isClosed=False, color=level, thickness=1)


def _draw_glands(plan: Plan, rng: np.random.Generator) -> tuple[NDArray[np.bool_], Nuclei]:
    """Lumens (H, W) and the nuclei around them; wider the more active their group is."""
    side, mpp = len(plan.kinds), plan.mpp
    look = plan.looks[GLAND]
    usual = 8.0 * np.exp(0.3 * plan.activity[GLAND]) / mpp
    wall = 6.5 / mpp
    centres = _scattered(2 * usual + 2.6 * wall, side, rng, jitter=0.06)
    centres = centres[_at((plan.kinds == GLAND) & ~plan.septa, centres)]
    radius = usual * np.exp(0.2 * rng.standard_normal(len(centres)))
    lumens = np.zeros((side, side), np.uint8)
    nuclei = []
    for centre, own in zip(centres, radius, strict=True):
        axes = own * np.array([1.0, rng.uniform(0.7, 1.0)])
        tilt = rng.uniform(0, np.pi)
        around = np.arange(0, 2 * np.pi, 2.3 * look.radius / mpp / (own + wall / 2))
        turn = np.array([[np.cos(tilt), np.sin(tilt)], [-np.sin(tilt), np.cos(tilt)]])
        circle = np.stack([np.cos(around), np.sin(around)], axis=1)
        points = circle * (axes + wall * 0.6) @ turn + centre
        nuclei.append(np.column_stack([points, around + tilt]))
        edge = (circle * axes @ turn + centre).round().astype(np.int32)
        cv2.fillPoly(lumens, [edge], 1)
    found = np.concatenate([np.empty((0, 3)), *nuclei])
    found = found[(found[:, :2].min(axis=1) >= 0) & (found[:, :2].max(axis=1) < side)]
    return lumens.astype(bool), _nuclei(look, found[:, :2], mpp, rng, angle=found[:, 2])


def _sheets(plan: Plan, lumens: NDArray[np.bool_], rng: np.random.Generator) -> Iterator[Nuclei]:
    """Nuclei of every kind of region but glands; of those in stroma also on its borders."""
    side, mpp = len(plan.kinds), plan.mpp
    for kind, look in enumerate(plan.looks):
        if kind == GLAND:
            continue
        here = (plan.kinds == kind) & plan.tissue
        if kind != STROMA:
            here &= ~plan.septa
        points = _scattered(look.spacing / mpp, side, rng, jitter=0.2)
        points = points[_at(here & ~lumens, points)]
        angle = _at(plan.flow, points) if kind in (STROMA, LOOSE) else None
        yield _nuclei(look, points, mpp, rng, angle=angle)


def _nuclei(
    look: Kind,
    centres: Values,
    mpp: float,
    rng: np.random.Generator,
    *,
    angle: Values | None = None,
) -> Nuclei:
    count = len(centres)
    return Nuclei(
        centres=centres,
        radius=look.radius / mpp * np.exp(look.spread * rng.standard_normal(count)),
        length=look.length * np.exp(0.12 * rng.standard_normal(count)),
        angle=rng.uniform(0, np.pi, count) if angle is None else angle,
        darkness=np.clip(look.darkness * np.exp(0.13 * rng.standard_normal(count)), 30, 255),
    )


def _draw_nuclei(layer: Layer, nuclei: Nuclei, rng: np.random.Generator) -> None:
    """Fill each, in place."""
    around = np.linspace(0, 2 * np.pi, 10, endpoint=False)
    bumps = 1 + 0.07 * rng.standard_normal((len(nuclei.radius), 10))
    stretch = np.sqrt(nuclei.length)[:, None]
    x = nuclei.radius[:, None] * stretch * bumps * np.cos(around)
    y = nuclei.radius[:, None] / stretch * bumps * np.sin(around)
    cos, sin = np.cos(nuclei.angle)[:, None], np.sin(nuclei.angle)[:, None]
    outlines = np.stack([x * cos - y * sin, x * sin + y * cos], axis=2) + nuclei.centres[:, None]
    corners = (outlines * 16).round().astype(np.int32)  # sixteenths of a pixel
    for polygon, level in zip(corners, nuclei.darkness.tolist(), strict=True):
        cv2.fillConvexPoly(layer, polygon, level, cv2.LINE_8, 4)


def _coloured(hematoxylin: Layer, eosin: Layer, stain: Stain, rng: np.random.Generator) -> Image:
    """What light is left of each colour: Beer and Lambert."""
    side = len(eosin)
    chromatin = cv2.blur(rng.integers(0, 256, (side, side), np.uint8), (2, 2))
    mottled = cv2.multiply(hematoxylin, cv2.add(chromatin // 2, 64), scale=1 / 128)
    layers = [cv2.GaussianBlur(layer, (3, 3), 0.6) for layer in (mottled, eosin)]
    levels = np.arange(256) / FULL
    channels = []
    for colour in range(3):
        light = [
            np.exp(-levels * strength * dye[colour]).astype(np.float32)
            for strength, dye in zip(stain.strengths, (stain.hematoxylin, stain.eosin), strict=True)
        ]
        passed = cv2.LUT(layers[0], light[0]) * cv2.LUT(layers[1], light[1])
        channels.append(cv2.convertScaleAbs(passed, alpha=stain.glass[colour]))
    return cv2.merge(channels)
