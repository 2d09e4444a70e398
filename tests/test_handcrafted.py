"""The hand-crafted encoder: finite and repeatable whatever is seen, and it sees what it names."""

import hashlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from client import handcrafted
from client.handcrafted import CENTRE, LIMIT, SCALE, HandcraftedEncoder, dyes_of, measure
from ghanet_model.extraction import HANDCRAFTED

PINK, PURPLE, WHITE = (235, 160, 205), (90, 60, 140), (250, 250, 250)
ENCODER = HandcraftedEncoder()


def noise(seed, *, patches=4, side=64):
    """Patches of any colours."""
    return np.random.default_rng(seed).integers(0, 256, (patches, side, side, 3), np.uint8)


def discs(radius, *, apart=24, side=144, colour=PURPLE, ground=PINK):
    """A patch of discs in rows."""
    patch = np.full((side, side, 3), ground, np.uint8)
    for x in range(apart // 2, side, apart):
        for y in range(apart // 2, side, apart):
            cv2.circle(patch, (x, y), radius, colour, -1)
    return patch


def pieces(patch):
    """What is measured of the pieces of a patch."""
    hematoxylin, _ = dyes_of(patch)
    mask = (hematoxylin > 60).astype(np.uint8)
    return handcrafted._pieces(mask, hematoxylin)


def test_it_says_what_it_is():
    """Its name is the study's word for it, its digest that of its code."""
    code = Path(handcrafted.__file__).read_bytes()
    assert (ENCODER.name, ENCODER.sha256) == (HANDCRAFTED, hashlib.sha256(code).hexdigest())
    assert ENCODER.width == len(CENTRE) == len(SCALE) == len(measure(noise(0)[0]))


def test_its_scales_can_be_divided_by():
    """No deviation is zero."""
    assert (SCALE > 0).all()


@given(st.integers(0, 2**32 - 1), st.sampled_from([16, 17, 31, 64, 100]), st.floats(0, 40))
@settings(max_examples=40, deadline=None)
def test_any_image_has_finite_features(seed, side, blur):
    """Noise, sharp or blurred, of even and odd sides."""
    patches = noise(seed, patches=2, side=side)
    if blur > 0.1:
        patches = np.stack([cv2.GaussianBlur(patch, (0, 0), blur) for patch in patches])
    found = ENCODER.encode(patches)
    assert found.shape == (2, ENCODER.width)
    assert np.isfinite(found).all()
    assert np.abs(found).max() <= LIMIT


@given(st.tuples(*[st.integers(0, 255)] * 3), st.sampled_from([16, 33, 64]))
@settings(max_examples=60, deadline=None)
def test_an_even_image_has_finite_features(colour, side):
    """All white, all black, any colour."""
    found = ENCODER.encode(np.full((1, side, side, 3), colour, np.uint8))
    assert np.isfinite(found).all()


@pytest.mark.parametrize("colour", [(255, 255, 255), PURPLE])
@pytest.mark.parametrize("side", [16, 2048])
def test_the_smallest_and_largest_patches_are_read(colour, side):
    """As a study may ask for."""
    found = ENCODER.encode(np.full((1, side, side, 3), colour, np.uint8))
    assert np.isfinite(found).all()


def test_features_are_float32_and_none_of_nothing():
    """An empty batch has no rows."""
    found = ENCODER.encode(noise(0)[:0])
    assert (found.shape, found.dtype) == ((0, ENCODER.width), np.float32)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=10, deadline=None)
def test_a_patch_is_read_by_itself(seed):
    """Its features are the same in any company, bit by bit, and again."""
    patches = noise(seed)
    together = ENCODER.encode(patches)
    alone = np.concatenate([ENCODER.encode(patch[None]) for patch in patches])
    np.testing.assert_array_equal(together, alone)
    np.testing.assert_array_equal(together[::-1], ENCODER.encode(patches[::-1]))


def test_patches_are_left_as_they_are():
    """Nor must they lie in one piece."""
    patches = noise(1, side=128)
    before = patches.copy()
    view = patches[:, ::2, ::2]
    np.testing.assert_array_equal(ENCODER.encode(view), ENCODER.encode(view.copy()))
    np.testing.assert_array_equal(patches, before)


def test_dyes_are_told_apart():
    """Purple holds hematoxylin, pink more eosin than that, white neither."""
    (purple, _), (pink, eosin), (none, nothing) = (
        [int(layer[8, 8]) for layer in dyes_of(np.full((16, 16, 3), colour, np.uint8))]
        for colour in (PURPLE, PINK, WHITE)
    )
    assert purple > 60 > pink
    assert eosin > pink
    assert max(none, nothing) < 8


def test_nuclei_are_counted():
    """36 discs in 144 pixels squared."""
    assert pieces(discs(6))[0] == pytest.approx(np.log1p(1000 * 36 / 144**2))


def test_nuclei_are_measured():
    """Area and roundness of discs."""
    _, by_pixel, *_, log_area, roundness, filling, _, long = pieces(discs(7))
    assert log_area == pytest.approx(by_pixel) == pytest.approx(np.log(np.pi * 7**2), abs=0.1)
    assert roundness > 0.95
    assert filling == pytest.approx(1, abs=0.05)
    assert long == 0


def test_long_nuclei_are_not_round():
    """Discs made three times as high; the patch stays square."""
    patch = discs(4, apart=16)
    tall = cv2.resize(patch, (144, 432), interpolation=cv2.INTER_NEAREST)[:144]
    *_, roundness, _, _, long = pieces(tall)
    assert roundness < 0.45
    assert long > 0.5


def test_nuclei_that_touch_are_counted_apart():
    """Tops of the distance to the edge: 144 discs of which neighbours touch."""
    hematoxylin, _ = dyes_of(discs(6, apart=12))
    depth = handcrafted._distance((hematoxylin > 60).astype(np.uint8))
    assert len(handcrafted._tops(depth)) == pytest.approx(144, rel=0.2)


def test_lumens_are_seen():
    """White discs: their share, and none in tissue without them."""
    half = cv2.resize(discs(9, colour=WHITE), (72, 72), interpolation=cv2.INTER_AREA)
    share, *_ = handcrafted._lumens(half)
    assert share == pytest.approx(np.pi * 9**2 / 24**2, abs=0.08)
    assert handcrafted._lumens(np.full((32, 32, 3), PINK, np.uint8)) == [0.0] * 5


def test_stripes_have_a_direction():
    """Coherence of stripes is near 1, of noise near 0."""
    stripes = np.repeat((np.arange(64) // 4 % 2 * 200).astype(np.uint8)[None], 64, axis=0)
    grain = cv2.GaussianBlur(noise(3, patches=1)[0, ..., 0], (0, 0), 2)
    assert handcrafted._directions(stripes)[1] > 0.95
    assert handcrafted._directions(grain)[1] < 0.3


def test_blur_is_seen():
    """The last number falls."""
    sharp = discs(6)
    assert measure(cv2.GaussianBlur(sharp, (0, 0), 3))[-1] < measure(sharp)[-1] - 0.5


def test_patterns_are_shares():
    """Ten that add up to one; a smooth area is one pattern, as is a turned patch."""
    layer = cv2.GaussianBlur(noise(5, patches=1)[0, ..., 0], (5, 5), 1)
    found = handcrafted._patterns(layer)
    assert len(found) == 10
    assert sum(found) == pytest.approx(1)
    assert handcrafted._patterns(np.rot90(layer).copy()) == pytest.approx(found)
