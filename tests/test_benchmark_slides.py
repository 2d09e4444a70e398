"""The slides benchmark makes a real JPEG pyramid, and its two ways read the same patches."""

import sys
from pathlib import Path

import numpy as np
import pytest
from slide_files import GLASS

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))  # it is no package

from slides import CUT, Pass, missed_targets, open_masked, read_pass, read_plain
from slides_made import FACTOR, MPP, TILE, draw_tiles, make_slide

SIDE = 1536


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """A small slide of the benchmark."""
    return make_slide(tmp_path_factory.mktemp("made") / "a.tiff", SIDE)


def test_the_slide_is_what_was_drawn(path):
    """Its resolution, its levels, and its colours but for the loss of JPEG."""
    tiles = SIDE // TILE
    smaller = np.empty((SIDE // FACTOR, SIDE // FACTOR, 3), np.uint8)
    drawn = list(draw_tiles(SIDE, smaller))
    with open_masked(path, CUT) as (slide, _, _):
        assert slide.facts.mpp == pytest.approx(MPP)
        assert slide.facts.downsamples == (1, 4, 16)
        tile = slide.read(2 * TILE, 3 * TILE, level=0, width=TILE, height=TILE)
        first = slide.read(0, 0, level=1, width=SIDE // FACTOR, height=SIDE // FACTOR)
    for read, image in ((tile, drawn[3 * tiles + 2]), (first, smaller)):
        off = read.astype(int) - image
        assert np.abs(off).mean() < 6
        assert np.abs(off.mean(axis=(0, 1))).max() < 1
    assert np.abs(first[:8, :8].mean(axis=(0, 1)) - GLASS).max() < 4


def test_both_ways_read_the_same_patches(path):
    """Plain reading gives the pixels that an encoder gets."""
    with open_masked(path, CUT) as (slide, coords, _):
        ours = coords.read(slide, first=3, last=9)
        plain = read_plain(slide._handle, coords, 3, 9)
    np.testing.assert_array_equal(ours, plain)


def test_a_pass_reads_every_patch_in_both_ways(path):
    """All times are there; a small slide says nothing of their ratio."""
    found = read_pass(path)
    assert 20 < found.patches < (SIDE // TILE) ** 2
    assert min(found.plain, found.masking, found.reading) > 0


@pytest.mark.parametrize(
    ("reading", "peaks", "missed"),
    [
        (1.05, (70.0, 129.0), 0),
        (1.06, (70.0, None), 1),
        (1.05, (70.0, 131.0), 1),
        (1.06, (70.0, 131.0), 2),
    ],
)
def test_targets(reading, peaks, missed):
    """A tenth over plain with masking; 60 MB more for the large slide."""
    assert (
        len(missed_targets([Pass(9, plain=1.0, masking=0.045, reading=reading)], peaks)) == missed
    )
