"""The demo's slides: OpenSlide opens them, and what genes do shows in them."""

import numpy as np
import openslide
import pytest
from demo.slides import (
    DARK,
    DENSE,
    GLAND,
    LYMPHOID,
    STROMA,
    SUPPRESSED,
    Stain,
    _plan,
    draw_slide,
    looks_of,
)
from demo.tiff import write_slide

NOBODY = np.zeros(6)
TRAITS = {  # of each group: what grows, or shrinks where the sign is -1, with its activity
    SUPPRESSED: ("radius", 1),
    DENSE: ("spacing", -1),
    DARK: ("darkness", 1),
    LYMPHOID: ("spacing", -1),
    STROMA: ("eosin", 1),
}


def active(group, value=2.0):
    """One group's activity, the others' none."""
    found = np.zeros(6)
    found[group] = value
    return found


def drawn(seed=0, activity=NOBODY, *, stain=None, side=384):
    """A slide."""
    return draw_slide(activity, stain or Stain(), np.random.default_rng(seed), side=side)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A slide as drawn, and open."""
    path = tmp_path_factory.mktemp("slides") / "deep" / "one.tiff"
    image = drawn(side=704)
    write_slide(path, image, mpp=0.75)
    with openslide.OpenSlide(path) as slide:
        yield image, slide


def test_openslide_reads_its_resolution(written):
    """As a pyramid without a vendor, microns per pixel both ways."""
    _, slide = written
    assert slide.properties["openslide.vendor"] == "generic-tiff"
    assert [float(slide.properties[f"openslide.mpp-{a}"]) for a in "xy"] == pytest.approx(
        [0.75] * 2
    )


def test_it_has_two_levels(written):
    """The second is a quarter as wide."""
    assert written[1].level_dimensions == ((704, 704), (176, 176))


def test_pixels_come_back(written):
    """But for what JPEG loses; the coarse level is the mean of the fine one."""
    image, slide = written
    read = np.asarray(slide.read_region((0, 0), 0, (704, 704)).convert("RGB"), float)
    small = np.asarray(slide.read_region((0, 0), 1, (176, 176)).convert("RGB"), float)
    assert np.abs(read - image).mean() < 8
    means = image.reshape(176, 4, 176, 4, 3).mean(axis=(1, 3))
    assert np.abs(small - means).mean() < 8


@pytest.mark.parametrize("side", [90, 256, 300])
def test_any_size_is_written(tmp_path, side):
    """Smaller than a tile, a tile, more."""
    write_slide(tmp_path / "a.tiff", drawn(side=side), mpp=1.0)
    with openslide.OpenSlide(tmp_path / "a.tiff") as slide:
        assert slide.dimensions == (side, side)
        slide.read_region((0, 0), 0, (side, side))


def test_a_seed_is_a_slide():
    """The same again, another with another seed."""
    np.testing.assert_array_equal(drawn(4), drawn(4))
    assert (drawn(4) != drawn(5)).any()


def test_there_is_glass_around_tissue():
    """Corners are as bright as the stain's glass; most of the middle is not."""
    image = drawn(2, side=704)
    assert image[:4, :4].min() > 225
    assert (image[200:500, 200:500].min(axis=2) < 225).mean() > 0.7


def test_stains_differ_a_little():
    """Two hospitals' slides of one case have other colours, and the same tissue."""
    one, other = (Stain.drawn(np.random.default_rng(seed)) for seed in (1, 2))
    a, b = (drawn(3, stain=stain).astype(float) for stain in (one, other))
    assert 1 < np.abs(a - b).mean() < 60
    assert np.corrcoef(a.ravel(), b.ravel())[0, 1] > 0.8


@pytest.mark.parametrize("group", range(6))
def test_each_group_shows_in_the_share_of_its_regions(group):
    """More of them the more active it is."""
    low, high = (
        np.mean(
            [
                (_plan(active(group, value), np.random.default_rng(s), side=256, mpp=2.0).kinds
                 == group).mean()
                for s in range(3)
            ]
        )
        for value in (-2.0, 2.0)
    )  # fmt: skip
    assert high > low + 0.15


@pytest.mark.parametrize("group", TRAITS)
def test_each_group_shows_in_a_trait_of_its_regions(group):
    """And in no other group's."""
    trait, sign = TRAITS[group]
    low, usual, high = (looks_of(active(group, value)) for value in (-2.0, 0.0, 2.0))
    sizes = [sign * getattr(looks[group], trait) for looks in (low, usual, high)]
    assert sizes == sorted(set(sizes))
    assert [look for kind, look in enumerate(high) if kind != group] == [
        look for kind, look in enumerate(usual) if kind != group
    ]


def test_glands_widen():
    """Their lumens are white, and there is more white inside tissue."""
    white = [
        np.mean([(drawn(seed, active(GLAND, value))[100:280, 100:280].min(axis=2) > 225).mean()
                 for seed in range(4)])
        for value in (-2.0, 2.0)
    ]  # fmt: skip
    assert white[1] > white[0] + 0.05


def test_activities_beyond_belief_are_drawn():
    """They show as far as 2.5 does."""
    rng = np.random.default_rng
    far, near = (draw_slide(np.full(6, v), Stain(), rng(1), side=256) for v in (9.0, 2.5))
    np.testing.assert_array_equal(far, near)


def test_a_finer_slide_has_larger_nuclei():
    """Lengths are in microns: at half of the microns per pixel, regions are twice as wide."""
    coarse, fine = (
        _plan(NOBODY, np.random.default_rng(1), side=side, mpp=mpp)
        for side, mpp in ((256, 2.0), (512, 1.0))
    )
    borders = [(np.diff(plan.kinds.astype(int), axis=1) != 0).mean() for plan in (coarse, fine)]
    assert borders[1] == pytest.approx(borders[0] / 2, rel=0.25)
