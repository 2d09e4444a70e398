"""Slides: opened by the real OpenSlide, resolution believed or refused, pixels on white."""

from pathlib import Path

import numpy as np
import pytest
from mirax_file import write_mirax
from slide_files import (
    broken_slides,
    destroy_tiles,
    tissue_image,
    write_aperio,
    write_scn,
    write_tiff,
)

from client.coords import find_coords
from client.slides import Box, on_white, open_slide
from client.tissue import find_tissue
from ghanet_model.errors import SlideError
from ghanet_model.extraction import Extraction

SHARED = Path(__file__).resolve().parents[2] / "shared" / "slides"
SIDE = 1024
CUT = Extraction(pixels=64, mpp=0.5)
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="no sample slides here")


@pytest.fixture(scope="module")
def image():
    """Tissue on glass."""
    return tissue_image(np.random.default_rng(5), SIDE)


def refusal(path: Path, mpp: float | None = None) -> tuple[str, str]:
    """Why a slide is refused, on the whole way to its patches, and what to do."""
    with pytest.raises(SlideError) as caught, open_slide(path, mpp=mpp) as slide:
        find_coords(slide.facts, find_tissue(slide), CUT)
    assert caught.value.hint
    assert path.name not in str(caught.value)  # callers say where it is listed
    return str(caught.value), caught.value.hint


@pytest.mark.parametrize(
    ("vendor", "name", "write"),
    [
        ("generic-tiff", "a.tiff", lambda p, i: write_tiff(p, i, mpp=0.5)),
        ("aperio", "a.svs", lambda p, i: write_aperio(p, i, mpp=0.5)),
        (
            "leica",
            "a.scn",
            lambda p, i: write_scn(p, i, mpp=0.5, offset=(302, 410), collection=(1500, 1600)),
        ),
        ("mirax", "a.mrxs", lambda p, i: write_mirax(p, i, mpp=0.5)),
    ],
)
def test_vendors(tmp_path, image, vendor, name, write):
    """Every driver says resolution and size; pixels are those that were written."""
    write(tmp_path / name, image)
    with open_slide(tmp_path / name) as slide:
        facts = slide.facts
        assert (facts.vendor, facts.mpp_from) == (vendor, "file")
        assert facts.mpp == pytest.approx(0.5, rel=1e-3)
        box = facts.scanned
        assert (box.width, box.height) == (SIDE, SIDE)
        read = slide.read(box.x + 300, box.y + 400, level=0, width=80, height=60)
    np.testing.assert_array_equal(read, image[400:460, 300:380])


def test_outside_of_what_was_scanned_it_is_white(tmp_path, image):
    """Transparent gaps of MRXS are glass, not black."""
    write_mirax(tmp_path / "a.mrxs", image, mpp=0.5)
    with open_slide(tmp_path / "a.mrxs") as slide:
        assert slide.facts.scanned.x > 0
        assert (slide.read(0, 0, level=0, width=50, height=50) == 255).all()


def test_half_transparent_pixels_are_mixed_with_white():
    """Alpha 0 is white, alpha 255 the colour."""
    rgba = np.array([[[100, 0, 200, 0], [100, 0, 200, 255], [100, 0, 200, 51]]], np.uint8)
    np.testing.assert_array_equal(on_white(rgba)[0], [[255] * 3, [100, 0, 200], [224, 204, 244]])


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("picture.tiff", "no slide"),
        ("empty.svs", "no slide"),
        ("alone.mrxs", "no slide"),
        ("cut.tiff", "no slide"),
        ("destroyed.tiff", "damaged"),
        ("unscaled.tiff", "does not say its microns per pixel"),
        ("screen.tiff", "says 352.8 microns per pixel"),
        ("fine.tiff", "says 0.01 microns per pixel"),
        ("coarse.tiff", "has 4 microns per pixel, the study needs 0.5"),
        ("blank.tiff", "no tissue"),
    ],
)
def test_broken_slides(tmp_path, image, name, what):
    """Ten bad slides, each refused for its own reason."""
    broken_slides(tmp_path, image)
    assert what in refusal(tmp_path / name)[0]


@pytest.mark.parametrize("name", ["a.vsi", "a.isyntax", "a.png", "a.JPG"])
def test_formats_of_others_are_named(tmp_path, name):
    """What OpenSlide does not read says so, and what to do."""
    (tmp_path / name).touch()
    what, hint = refusal(tmp_path / name)
    assert "not read" in what
    assert "pyramidal TIFF" in hint


def test_no_file(tmp_path):
    """A file that is gone."""
    assert "cannot be opened (no such file" in refusal(tmp_path / "a.svs")[0]


def test_a_given_resolution_goes_first(tmp_path, image):
    """What the slides table says counts for a silent file and for one that is wrong."""
    for name, mpp in (("silent.tiff", None), ("wrong.tiff", 4.0)):
        write_tiff(tmp_path / name, image, mpp=mpp)
        with open_slide(tmp_path / name, mpp=0.25) as slide:
            assert (slide.facts.mpp, slide.facts.mpp_from) == (0.25, "slides table")


def test_an_odd_objective_is_said(tmp_path, image):
    """0.5 microns per pixel are those of 20x; 40x are told, not believed."""
    write_aperio(tmp_path / "a.svs", image, mpp=0.5, objective=20)
    write_aperio(tmp_path / "b.svs", image, mpp=0.5, objective=40)
    with open_slide(tmp_path / "a.svs") as slide:
        assert slide.facts.warnings == ()
    with open_slide(tmp_path / "b.svs") as slide:
        assert "unusual for an objective 40x" in slide.facts.warnings[0]


def test_damage_at_the_end_is_found_when_it_is_read(tmp_path, image):
    """A slide can be good but for its last tile."""
    write_tiff(tmp_path / "a.tiff", image, mpp=0.5)
    destroy_tiles(tmp_path / "a.tiff", only=-1)
    with open_slide(tmp_path / "a.tiff") as slide:
        slide.read(0, 0, level=0, width=64, height=64)
        with pytest.raises(SlideError, match="damaged"):
            slide.read(SIDE - 64, SIDE - 64, level=0, width=64, height=64)


@needs_shared
@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("broken.svs", "no slide"),
        ("openslide-py-unopenable.tiff", "damaged"),
        ("openslide-py-unreadable.svs", "damaged"),
        ("openslide-py-boxes.tiff", "says 352.8 microns per pixel"),
        ("openslide-py-small.svs", "smaller than one patch"),
        ("openslide-py-boxes_0.dcm", "smaller than one patch"),
        ("highdicom-sm_image.dcm", "smaller than one patch"),
    ],
)
def test_sample_slides_are_refused(name, what):
    """Real files, each for the right reason."""
    assert what in refusal(SHARED / name)[0]


@needs_shared
def test_a_real_slide():
    """CMU-1-Small-Region: 36 patches of 128 microns with a quarter of tissue, 27 with half."""
    with open_slide(SHARED / "cmu-1-small-region.svs") as slide:
        facts, tissue = slide.facts, find_tissue(slide)
    assert (facts.vendor, facts.mpp, facts.objective) == ("aperio", 0.499, 20.0)
    assert facts.scanned == Box(0, 0, 2220, 2967)
    assert tissue.share == pytest.approx(0.33, abs=0.03)
    for least, patches in ((0.25, 36), (0.5, 27)):
        coords = find_coords(facts, tissue, Extraction(least_tissue=least))
        assert len(coords) == patches
        assert coords.side0 == pytest.approx(128 / 0.499)
