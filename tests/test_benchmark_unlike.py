"""The benchmark of the gate makes the slides it says, predicts from files, and can miss targets."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from demo.slides import Stain, draw_slide
from demo.tiff import write_slide
from slide_site import WIDTH, write_release, write_slide_site

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))  # it is no package

import unlike_slides as bench

from client.config import read_site
from client.predict import find_release
from ghanet_model.errors import ReleaseError
from ghanet_model.slide_reference import Moments, Shape, SlideReference

USUAL = bench.Count("usual", 200, like=195, unlike=5, refused=0, why="")
KIND = {kind.name: kind for kind in bench.KINDS}


@pytest.fixture(scope="module")
def drawn() -> np.ndarray:
    """A slide of the demo."""
    return draw_slide(np.zeros(6), Stain(), np.random.default_rng(1), side=576)


def test_densities_and_pixels_are_the_same_picture(drawn):
    """But for rounding, and glass that is brighter than white."""
    again = bench.pixels_of(bench.density_of(drawn)).astype(int)
    assert np.abs(again - np.minimum(drawn, 245)).max() <= 1


def test_each_kind_is_what_it_says(drawn):
    """Brown has more red than blue, a faded slide less density, a blurred one less contrast."""
    rng = np.random.default_rng(0)

    def mean(name: str) -> np.ndarray:
        return KIND[name].change(drawn, rng).reshape(-1, 3).mean(axis=0)

    usual, brown = mean("as drawn"), mean("brown and blue")
    assert brown[0] - brown[2] > 10
    assert usual[0] < usual[2]
    faded = bench.density_of(KIND["stain, .6"].change(drawn, rng))
    assert faded.mean() == pytest.approx(0.6 * bench.density_of(drawn).mean(), rel=0.02)
    edges = [np.abs(np.diff(KIND[name].change(drawn, rng).astype(int), axis=0)).mean() for name in (
        "as drawn", "blurred by 1 pixel", "blurred by 4 pixels",
    )]  # fmt: skip
    assert edges[0] > edges[1] > edges[2]
    assert KIND["a photograph"].change(drawn, rng).shape[2] == 3
    assert KIND["blank glass"].change(drawn, rng).std() < 5


def reference() -> SlideReference:
    """Training slides that are nothing like a drawn one."""
    rng = np.random.default_rng(3)
    count = np.array([60.0])
    numbers = rng.random((60, 2 * WIDTH)) / 100
    moments = Moments.of({"count": count, "total": numbers.sum(0), "squares": (numbers**2).sum(0)})
    places = moments.places(numbers)
    shape = Shape.of(
        moments, {"count": count, "total": places.sum(0), "products": places.T @ places}
    )
    logs = np.array([shape.log_distances(one, 90) for one in numbers])
    return SlideReference.of(
        shape, {"count": count, "total": logs.sum(0), "squares": (logs**2).sum(0)}
    )


@pytest.fixture
def site(tmp_path, drawn):
    """A hospital with one drawn slide in its archive."""
    home = write_slide_site(tmp_path / "hospital", mpp=1.0)
    write_slide(home / bench.ARCHIVE / "one.tiff", drawn, mpp=bench.MPP)
    return home


def test_slides_go_through_prediction(site):
    """From a file: tissue is held against the training slides, glass is refused."""
    write_release(site, reference={"features": reference().to_json()})
    config = read_site(site)
    release = find_release(config, None)
    strange = bench.count_kind(KIND["as drawn"], config, release, 3)
    assert (strange.slides, strange.unlike, strange.like) == (1, 1, 0)
    blank = bench.count_kind(KIND["blank glass"], config, release, 3)
    assert (blank.slides, blank.refused) == (1, 1)
    assert "tissue" in blank.why


def test_a_release_that_does_not_say_is_no_result(site):
    """Nothing would be counted."""
    write_release(site)
    config = read_site(site)
    with pytest.raises(ReleaseError, match="does not say"):
        bench.count_kind(KIND["as drawn"], config, find_release(config, None), 1)


def test_targets_can_be_missed():
    """Too few usual slides, too many called unlike, one that must not pass."""
    good = [bench.Count(kind.name, 5, 0, 5, 0, "") for kind in bench.KINDS]
    assert bench.missed_targets(USUAL, good) == []
    assert bench.missed_targets(replace(USUAL, slides=199), good)
    assert bench.missed_targets(replace(USUAL, unlike=11), good)
    passed = [replace(one, like=1) if one.kind == "a photograph" else one for one in good]
    assert bench.missed_targets(USUAL, passed) == ["1 passed: a photograph"]
    assert bench.interval_of(USUAL).startswith("2.5% (1.1% to ")
