"""Places of patches: as files tell them, in pixels or microns; nothing is guessed in silence."""

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_feature_layouts import write_pt, write_slideflow, write_stamp
from test_features import SLIDE, WHERE, values_of, write

from client.places import MICRONS, PIXELS, Places, read_places, spacing
from ghanet_model.errors import FeaturesError

GRID = np.array([[512, 1024], [1024, 1024], [512, 1536], [2048, 3072], [512, 2048]])


def placed(path, coords: np.ndarray = GRID, **said: object):
    """The same file with other coordinates, and attributes of them."""
    with h5py.File(path, "a") as file:
        del file["coords"]
        file["coords"] = coords
        file["coords"].attrs.update(said)
    return path


def facts_of(places: Places) -> tuple[object, ...]:
    """All but the coordinates."""
    side = places.side, places.side_inferred
    return places.unit, *side, places.level0_mpp, places.patch_microns


@pytest.mark.parametrize("kind", [np.int32, np.int64, np.float32])
def test_places_of_clam(tmp_path, kind):
    """Pixels of level 0; of the side only the spacing tells, and it is said so."""
    path = placed(write(tmp_path / "a.h5"), GRID.astype(kind))
    found = read_places(path, where=WHERE)
    assert found.coords.dtype == np.float64
    np.testing.assert_array_equal(found.coords, GRID)
    assert facts_of(found) == (PIXELS, 512.0, True, None, None)


def test_places_of_trident(tmp_path):
    """Pixels of level 0 with their side; no microns, for magnification is none."""
    said = {"patch_size": 256, "patch_size_level0": 600, "target_magnification": 20}
    found = read_places(placed(write(tmp_path / "a.h5"), **said), where=WHERE)
    np.testing.assert_array_equal(found.coords, GRID)
    assert facts_of(found) == (PIXELS, 600.0, False, None, None)


def test_places_of_ours(tmp_path):
    """Pixels of level 0, their side, and microns."""
    said = {"patch_size_level0": 507.5, "level0_mpp": 0.252, "target_mpp": 0.5, "patch_size": 256}
    found = read_places(placed(write(tmp_path / "a.h5"), **said), where=WHERE)
    np.testing.assert_array_equal(found.coords, GRID)
    assert facts_of(found) == (PIXELS, 507.5, False, 0.252, 507.5 * 0.252)


@pytest.mark.parametrize(
    ("said", "side"),
    [
        ({"tile_size_um": 224.0}, 224.0),
        ({"tile_size_um": None, "tile_size": 256}, 256.0),
        ({"tile_size_um": None}, None),
    ],
    ids=["2.1", "2.0", "unknown"],
)
def test_places_of_stamp(tmp_path, said, side):
    """Microns, and the side in microns."""
    coords = GRID.astype(np.float32) / 3
    path = placed(write_stamp(tmp_path / "a.h5", **said), coords)
    found = read_places(path, where=WHERE)
    np.testing.assert_array_equal(found.coords, coords)
    assert facts_of(found) == (MICRONS, side, False, None, side)


def test_places_of_the_first_stamp(tmp_path):
    """224 pixels are 256 microns."""
    path = write_stamp(tmp_path / "a.h5", unit=None, tile_size_um=None)
    found = read_places(placed(path, GRID // 512 * 224), where=WHERE)
    np.testing.assert_allclose(found.coords, GRID // 512 * 256)
    assert facts_of(found) == (MICRONS, 256.0, False, None, 256.0)


def test_leading_axis_of_coordinates_is_dropped(tmp_path):
    """Coordinates (1, N, 2) are N places."""
    path = placed(write(tmp_path / "a.h5", values_of()[None]), GRID[None])
    np.testing.assert_array_equal(read_places(path, where=WHERE).coords, GRID)


def test_one_patch_has_no_side(tmp_path):
    """Of a single patch nothing can be inferred."""
    path = placed(write(tmp_path / "a.h5", values_of(1)), GRID[:1])
    assert facts_of(read_places(path, where=WHERE)) == (PIXELS, None, False, None, None)


def refused(path) -> str:
    """What is said of a file without usable places."""
    with pytest.raises(FeaturesError) as caught:
        read_places(path, where=WHERE)
    text = f"{caught.value} | {caught.value.hint}"
    assert text.startswith(WHERE)
    assert "CANARY" not in text
    return text


def test_files_without_coordinates(tmp_path):
    """A .pt holds none that can be trusted, and STAMP's multiplex none at all."""
    for path in (
        write_pt(tmp_path / f"{SLIDE}.pt"),
        write_slideflow(tmp_path / f"{SLIDE}-2.pt"),
        write_stamp(tmp_path / f"{SLIDE}.h5", key="patch_embeddings"),
    ):
        if path.suffix == ".h5":
            with h5py.File(path, "a") as file:
                del file["coords"]
        assert "holds no coordinates of patches | training and prediction need none" in refused(
            path
        )


@pytest.mark.parametrize(
    ("coords", "what"),
    [
        (GRID[:3], "not equally many"),
        (GRID[:, :1], "not one x and y per patch"),
        (GRID[:, 0], "not one x and y per patch"),
        (GRID[:0], "not one x and y per patch"),
        (GRID * np.nan, "not one x and y per patch"),
        (GRID.astype(bool), "not one x and y per patch"),
        (GRID.astype("S4"), "not one x and y per patch"),
    ],
)
def test_coordinates_that_are_no_places(tmp_path, coords, what):
    """As many as patches, two finite numbers each."""
    assert what in refused(placed(write(tmp_path / f"{SLIDE}.h5"), coords))


def test_coordinates_in_no_known_unit(tmp_path):
    """What STAMP's first version did not write, and no later one says, is not guessed."""
    path = write_stamp(tmp_path / f"{SLIDE}.h5", unit=None, tile_size_um=None)
    assert "does not say the unit" in refused(placed(path))


def test_coordinates_elsewhere(tmp_path):
    """No other file is read."""
    write(tmp_path / "good.h5")
    path = write(tmp_path / f"{SLIDE}.h5")
    with h5py.File(path, "a") as file:
        del file["coords"]
        file["coords"] = h5py.ExternalLink("good.h5", "coords")
    assert "is not in the file but linked" in refused(path)


def test_damaged_file_has_no_places(tmp_path):
    """As everywhere: one line."""
    (tmp_path / f"{SLIDE}.h5").write_bytes(b"CANARY")
    assert "damaged, cut short" in refused(tmp_path / f"{SLIDE}.h5")


@given(st.integers(1, 4096), st.lists(st.tuples(*[st.integers(0, 60)] * 2), min_size=1))
def test_spacing_of_a_grid(side, cells):
    """On a grid it is a multiple of the side, and the side itself where two patches touch."""
    found = spacing(side * np.array(cells, np.float64))
    if found is None:
        assert len(set(cells)) == 1
    else:
        assert found % side == 0
        touching = {(x + 1, y) for x, y in cells} & set(cells)
        assert not touching or found == side
