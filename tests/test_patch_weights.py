"""Weights of patches beside an answer: written whole, read only if they are that answer's."""

import os
import threading

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from slide_files import tissue_image, write_tiff

from client.patch_weights import (
    PatchWeights,
    keep_patch_weights,
    read_patch_weights,
    write_patch_weights,
)
from client.slides import Box
from client.viewer_images import Shelf, heat_map
from ghanet_model.errors import SlideError, WeightsError

KEPT = PatchWeights(
    np.array([[0.0, 0.0], [64.0, 0.0], [64.0, 64.0]]), np.array([0.2, 0.5, 0.3]), 64.0, 0.5, "a"
)


def test_what_was_written_is_read(tmp_path):
    """Every number, and for the owner only."""
    path = tmp_path / "x.weights.safetensors"
    write_patch_weights(path, KEPT)
    found = read_patch_weights(path, made_of="a")
    assert (found.coords == KEPT.coords).all()
    assert (found.weights == KEPT.weights).all()
    assert (found.side, found.mpp, found.made_of) == (64.0, 0.5, "a")
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda path: path.unlink(), "no weights of patches were kept"),
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), "are damaged"),
        (lambda path: path.write_bytes(b""), "are damaged"),
        (lambda path: path.write_bytes(os.urandom(200)), "are damaged"),
        (lambda path: path.write_bytes(b"\xff" * 8 + b"{}"), "are damaged"),
        (lambda path: write_patch_weights(path, _with(weights=np.array([0.1]))), "are damaged"),
        (lambda path: write_patch_weights(path, _with(coords=KEPT.coords * np.nan)), "are damaged"),
        (lambda path: write_patch_weights(path, _with(side=0.0)), "are damaged"),
        (lambda path: write_patch_weights(path, _with(made_of="b")), "are another answer's"),
    ],
)
def test_what_is_refused(tmp_path, change, said):
    """In one line, with what to do."""
    path = tmp_path / "x.weights.safetensors"
    write_patch_weights(path, KEPT)
    change(path)
    with pytest.raises(WeightsError, match=said) as error:
        read_patch_weights(path, made_of="a")
    assert "predict" in error.value.hint


def _with(**changed) -> PatchWeights:
    facts = {name: getattr(KEPT, name) for name in PatchWeights.__slots__}
    return PatchWeights(**facts | changed)


def test_features_without_places(tmp_path):
    """No file, and no error: such an answer has no heat map."""
    with h5py.File(tmp_path / "f.h5", "w") as file:
        file["features"] = np.zeros((3, 2), np.float32)
    path = tmp_path / "x.weights.safetensors"
    keep_patch_weights(path, tmp_path / "f.h5", KEPT.weights, made_of="a")
    assert not path.exists()


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_ranks_are_places_by_weight(weights):
    """1 to N, each once, and no higher rank has a lower weight."""
    kept = PatchWeights(np.zeros((len(weights), 2)), np.array(weights), 1.0, None, "")
    by_rank = kept.weights[np.argsort(kept.ranks())]
    assert sorted(kept.ranks()) == list(range(1, len(weights) + 1))
    assert (np.diff(by_rank) <= 0).all()


def test_of_patches_that_overlap_the_nearest(tmp_path):
    """Measured to their centres; right and lower edges belong to the next."""
    kept = PatchWeights(np.array([[0.0, 0.0], [5.0, 0.0]]), np.array([0.5, 0.5]), 10.0, None, "")
    assert [kept.at(x, 5) for x in (6, 8, 14.9, 15)] == [0, 1, 1, None]


def test_patches_of_another_slide():
    """Those that lie outside of it are not drawn anywhere else."""
    with pytest.raises(WeightsError, match="outside of this slide"):
        heat_map(KEPT, Box(0, 0, 30, 30))


def test_few_slides_are_open_whoever_asks(tmp_path):
    """Six threads over four slides on a shelf of two: every tile right, never more open."""
    paths = [tmp_path / f"{i}.tiff" for i in range(4)]
    for seed, path in enumerate(paths):
        write_tiff(path, tissue_image(np.random.default_rng(seed), 512), mpp=0.5)
    shelf, tiles, most = Shelf(most=2), {}, []

    def read(first: int) -> None:
        for turn in range(12):
            number = (first + turn) % 4
            with shelf.taken(paths[number], mpp=None) as opened:
                most.append(len(shelf))
                tiles.setdefault(number, set()).add(opened.tile((9, 1, 1)))

    threads = [threading.Thread(target=read, args=(i,)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(most) == 72
    assert max(most) == 2
    assert {number: len(found) for number, found in tiles.items()} == dict.fromkeys(range(4), 1)
    assert len(set.union(*tiles.values())) == 4
    shelf.close()
    assert len(shelf) == 0


def test_a_slide_that_cannot_be_opened_blocks_no_other(tmp_path):
    """Its place on the shelf stays free."""
    good, bad = tmp_path / "good.tiff", tmp_path / "bad.svs"
    write_tiff(good, tissue_image(np.random.default_rng(1), 512), mpp=None)
    bad.touch()
    shelf = Shelf(most=1)
    for _ in range(3):
        with pytest.raises(SlideError), shelf.taken(bad, mpp=None):
            pass
        with shelf.taken(good, mpp=None) as opened:
            assert (opened.size, opened.mpp) == ((512, 512), None)
