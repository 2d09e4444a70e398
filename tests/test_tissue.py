"""Tissue masks: found where it was drawn, glass, ink and dust are none, tiles fit together."""

import cv2
import numpy as np
import pytest
from slide_files import tissue_image, tissue_mask, write_tiff

from client import tissue
from client.slides import open_slide
from client.tissue import find_tissue, overview

SIDE = 2048  # at 0.5 microns: 0.33 mm2 of tissue


@pytest.fixture(scope="module")
def image():
    """Tissue on glass."""
    return tissue_image(np.random.default_rng(5), SIDE)


def mask_of(path, image, **how):
    """The mask that is found of a slide with this image."""
    write_tiff(path, image, mpp=0.5, **how)
    with open_slide(path) as slide:
        return find_tissue(slide)


@pytest.mark.parametrize("levels", [1, 2, 4])
def test_tissue_is_found_where_it_is(tmp_path, image, levels):
    """Of any pyramid, also of one level: nine tenths agree with what was drawn."""
    found = mask_of(tmp_path / "a.tiff", image, levels=levels)
    height, width = found.mask.shape
    drawn = cv2.resize(tissue_mask(SIDE).astype(np.uint8), (width, height)) > 0
    both, either = (found.mask & drawn).sum(), (found.mask | drawn).sum()
    assert both / either > 0.9
    assert found.share == pytest.approx(tissue_mask(SIDE).mean(), abs=0.03)
    assert found.square_millimetres == pytest.approx(0.32, abs=0.03)


@pytest.mark.parametrize("colour", [(0, 0, 0), (30, 110, 60), (20, 60, 200), (255, 255, 255)])
def test_black_ink_and_glass_are_no_tissue(tmp_path, image, colour):
    """A broad stroke of pen, the slide's black edge, a white gap."""
    inked = image.copy()
    inked[:120] = colour
    found, plain = mask_of(tmp_path / "a.tiff", inked), mask_of(tmp_path / "b.tiff", image)
    assert not found.mask[:6].any()
    assert found.share == pytest.approx(plain.share, abs=0.01)


def test_dust_is_no_tissue(tmp_path):
    """A speck of 0.01 mm2 alone leaves nothing."""
    white = np.full((SIDE, SIDE, 3), 245, np.uint8)
    white[300:500, 300:500] = (200, 120, 170)
    assert mask_of(tmp_path / "a.tiff", white).share == 0


def test_tiles_fit_together(tmp_path, image, monkeypatch):
    """Read in small tiles, the overview is the same."""
    write_tiff(tmp_path / "a.tiff", image, mpp=0.5, levels=1)
    with open_slide(tmp_path / "a.tiff") as slide:
        whole, cell = overview(slide, 8.0)
        monkeypatch.setattr(tissue, "TILE", 100)
        tiled, _ = overview(slide, 8.0)
    np.testing.assert_array_equal(whole, tiled)
    assert cell == 16
