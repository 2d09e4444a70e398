"""Patch coordinates: equally large on every slide, of tissue, and where they say they are."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mirax_file import write_mirax
from slide_files import MARKER, marker_image, tissue_image, tissue_mask, write_scn, write_tiff

from client.coords import find_coords
from client.slides import Box, SlideFacts, open_slide
from client.tissue import Tissue, find_tissue
from ghanet_model.errors import SlideError
from ghanet_model.extraction import Extraction

SIDE, AT = 1024, (512, 384)  # the marker is in the middle of the tissue
CUT = Extraction(pixels=64, mpp=0.5)


def facts_of(width=10_000, height=8_000, *, mpp=0.5, downsamples=(1.0, 4.0, 16.0), x=0, y=0):
    """A slide's facts."""
    box = Box(x, y, width, height)
    return SlideFacts("test", x + width, y + height, mpp, "file", None, downsamples, box, (), "")


def all_tissue(facts, cell=16.0):
    """A slide full of tissue."""
    area = facts.scanned
    mask = np.ones((int(area.height / cell) or 1, int(area.width / cell) or 1), bool)
    return Tissue(mask, cell, area, facts.mpp)


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("a.tiff", lambda p, i: write_tiff(p, i, mpp=0.5)),
        (
            "a.scn",
            lambda p, i: write_scn(p, i, mpp=0.5, offset=(302, 410), collection=(1600, 1700)),
        ),
        ("a.mrxs", lambda p, i: write_mirax(p, i, mpp=0.5)),
    ],
)
@pytest.mark.parametrize("mpp", [0.5, 1.0])
def test_a_marker_lands_on_the_right_patch(tmp_path, name, write, mpp):
    """The one violet patch is the one whose square holds the marker; offsets are honoured."""
    write(tmp_path / name, marker_image(np.random.default_rng(5), SIDE, at=AT, marker=64))
    with open_slide(tmp_path / name) as slide:
        cut = Extraction(pixels=int(32 / mpp), mpp=mpp)  # of 32 microns: 64 level-0 pixels
        coords = find_coords(slide.facts, find_tissue(slide), cut)
        pixels = coords.read(slide, first=0, last=len(coords))
        box = slide.facts.scanned
    found = np.flatnonzero((pixels == MARKER).all(axis=(1, 2, 3)))
    assert len(found) == 1
    np.testing.assert_array_equal(coords.corners[found[0]], (box.x + AT[0], box.y + AT[1]))


def test_patches_are_those_of_tissue(tmp_path):
    """Each patch holds enough tissue, and none that does is missing but near the edge."""
    image = tissue_image(np.random.default_rng(5), SIDE)
    write_tiff(tmp_path / "a.tiff", image, mpp=0.5)
    with open_slide(tmp_path / "a.tiff") as slide:
        corners = find_coords(slide.facts, find_tissue(slide), CUT).corners
    drawn = tissue_mask(SIDE)
    shares = drawn.reshape(SIDE // 64, 64, SIDE // 64, 64).mean(axis=(1, 3))  # (rows, columns)
    taken = np.zeros_like(shares, bool)
    taken[corners[:, 1] // 64, corners[:, 0] // 64] = True
    assert (shares[taken] > 0.05).all()
    assert taken[shares > 0.5].all()


@given(
    mpp=st.floats(0.2, 0.62),
    width=st.integers(300, 30_000),
    height=st.integers(300, 30_000),
    x=st.integers(0, 5000),
)
def test_patches_lie_inside_and_beside_each_other(mpp, width, height, x):
    """Whole patches inside what was scanned, 128 microns apart, as many as fit."""
    facts = facts_of(width, height, mpp=mpp, x=x, y=7)
    side0 = 128 / mpp
    if min(width, height) < side0:
        with pytest.raises(SlideError, match="smaller than one patch"):
            find_coords(facts, all_tissue(facts), Extraction())
        return
    coords = find_coords(facts, all_tissue(facts), Extraction())
    low, high = coords.corners.min(axis=0), coords.corners.max(axis=0) + side0
    assert (low >= (x, 7)).all()
    assert (high <= (x + width + 1, 7 + height + 1)).all()
    assert len(coords) == int(width / side0) * int(height / side0)
    columns = np.unique(coords.corners[:, 0])
    assert np.abs(np.diff(columns) - side0).max(initial=0) <= 1


@pytest.mark.parametrize(
    ("mpp", "level", "read_side"),
    [(0.5, 0, 256), (0.25, 0, 512), (0.125, 1, 256), (0.13, 0, 985), (0.6, 0, 213)],
)
def test_pixels_come_from_the_nearest_finer_level(mpp, level, read_side):
    """Never from a coarser level than the study's resolution, but for a slide that is."""
    facts = facts_of(mpp=mpp)
    coords = find_coords(facts, all_tissue(facts), Extraction())
    assert (coords.level, coords.read_side, coords.side) == (level, read_side, 256)


@pytest.mark.parametrize(("mpp", "fits"), [(0.62, True), (0.63, False), (1.0, False)])
def test_coarse_slides_are_refused(mpp, fits):
    """More than a quarter coarser than the study: nothing is enlarged."""
    facts = facts_of(mpp=mpp)
    if fits:
        assert len(find_coords(facts, all_tissue(facts), Extraction()))
        return
    with pytest.raises(SlideError, match=r"the study needs 0\.5 or finer"):
        find_coords(facts, all_tissue(facts), Extraction())


def test_patches_are_resized_to_what_the_encoder_takes(tmp_path):
    """Cut at 64 pixels, given at 48."""
    write_tiff(tmp_path / "a.tiff", tissue_image(np.random.default_rng(5), SIDE), mpp=0.5)
    with open_slide(tmp_path / "a.tiff") as slide:
        cut = Extraction(pixels=64, mpp=0.5, input_pixels=48)
        coords = find_coords(slide.facts, find_tissue(slide), cut)
        assert coords.read(slide, first=0, last=2).shape == (2, 48, 48, 3)
