"""Hostile feature files, releases, tables, checkpoints: nothing else is read, nothing grows."""

import io
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from hostile import FUZZ, damaged, is_read, memory_of
from hypothesis import given
from hypothesis import strategies as st
from test_checkpoint import STUDY as RUN_STUDY
from test_checkpoint import write as write_run
from test_release import Maker

from client.features import inspect_features, read_features
from client.places import read_places
from client.tables import read_table
from ghanet_model.errors import FeaturesError, ReleaseError
from ghanet_model.release import MAX_BYTES, read_release
from server.checkpoint import read_checkpoint

WHERE = "features of slides.csv row 2"
VALUES = np.arange(24, dtype=np.float32).reshape(6, 4)
PACKED = {"compression": "gzip", "shuffle": True, "fletcher32": True}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder for all examples, with one good feature file."""
    folder = tmp_path_factory.mktemp("fuzz")
    write(folder / "good.h5", lambda file: file.create_dataset("features", data=VALUES))
    return folder


@pytest.fixture(scope="module")
def maker(tmp_path_factory):
    """A coordinator with a release."""
    return Maker(tmp_path_factory.mktemp("keys"))


def write(path: Path, fill: Callable[[h5py.File], object]) -> Path:
    """A feature file that ``fill`` made."""
    with h5py.File(path, "w") as file:
        fill(file)
    return path


def features_of(path: Path) -> None:
    """Read the features and their places, and inspect them."""
    is_read(inspect_features, path, where=WHERE)
    is_read(read_places, path, where=WHERE)
    read_features(path, width=4, encoder="enc-v1", where=WHERE)


def whole(**options: object) -> bytes:
    """A good feature file, packed as the options say."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file.create_dataset("features", data=VALUES, **options)
        file.create_dataset("coords", data=np.zeros((6, 2), np.int64))
        file["features"].attrs["encoder"] = np.bytes_(b"enc-v1")  # fixed length; see SECURITY.md
    return buffer.getvalue()


@FUZZ
@given(st.binary(max_size=64) | damaged(whole(), whole(chunks=(2, 4)), whole(**PACKED)))
def test_damaged_features(place, content):
    """Whatever a feature file holds, it is read or refused."""
    (place / "a.h5").write_bytes(content)
    is_read(features_of, place / "a.h5")


def linked(file: h5py.File) -> None:
    """Features in another file."""
    file["features"] = h5py.ExternalLink("good.h5", "features")


def linked_twice(file: h5py.File) -> None:
    """Features in another file, behind a link within this one."""
    file["other"] = h5py.ExternalLink("good.h5", "/")
    file["features"] = h5py.SoftLink("/other/features")


def stored_elsewhere(file: h5py.File) -> None:
    """Features whose bytes are those of any other file."""
    file.create_dataset("features", (6, 4), "f4", external=[("/etc/passwd", 0, 96)])


def virtual(file: h5py.File) -> None:
    """Features put together from other files."""
    layout = h5py.VirtualLayout((6, 4), "f4")
    layout[:] = h5py.VirtualSource("good.h5", "features", (6, 4))
    file.create_virtual_dataset("features", layout)


def coordinates_elsewhere(file: h5py.File) -> None:
    """Only the coordinates are in another file."""
    file["features"], file["coords"] = VALUES, h5py.ExternalLink("good.h5", "features")


@pytest.mark.parametrize(
    "fill", [linked, linked_twice, stored_elsewhere, virtual, coordinates_elsewhere]
)
def test_no_other_file_is_read_through_a_feature_file(place, fill):
    """A feature file that names another file is refused."""
    with pytest.raises(FeaturesError, match="is not in the file but linked from it"):
        features_of(write(place / "a.h5", fill))


def test_features_may_be_a_symbolic_link(place):
    """Hospitals keep features on other disks: a link to a file is the file."""
    (place / "link.h5").symlink_to(place / "good.h5")
    features_of(place / "link.h5")


def never_written(file: h5py.File) -> None:
    """Two million patches in a thousand bytes: HDF5 reads zeros."""
    file.create_dataset("features", (2_000_000, 1024), "f8", chunks=(1000, 1024))


def wide(file: h5py.File) -> None:
    """More numbers per patch than any encoder gives."""
    file.create_dataset("features", (10, 10**9), "f4", chunks=(1, 1000))


def bomb(file: h5py.File) -> None:
    """A gigabyte of zeros, packed a thousandfold."""
    made = file.create_dataset("features", (2_000_000, 128), "f4", chunks=(500, 128), **PACKED)
    made[:200_000] = 0


def large_chunk(file: h5py.File) -> None:
    """Six patches in a chunk for sixteen million."""
    sizes = {"maxshape": (None, 4), "chunks": (2**24, 4)}
    file.create_dataset("features", data=VALUES, compression="gzip", **sizes)


def long_chunk(file: h5py.File) -> None:
    """A chunk that inflates far beyond what it should hold."""
    made = file.create_dataset("features", (6, 4), "f4", chunks=(6, 4), compression="gzip")
    made.id.write_direct_chunk((0, 0), zlib.compress(bytes(600 * 2**20), 9))


def full_chunk(file: h5py.File) -> None:
    """The same, of a chunk that is not longer than what it should hold."""
    sizes = {"chunks": (2**16, 4), "compression": "gzip"}
    made = file.create_dataset("features", (2**16, 4), "f4", **sizes)
    made.id.write_direct_chunk((0, 0), zlib.compress(bytes(600 * 2**20), 9))


def packed_twice(file: h5py.File) -> None:
    """Two filters that both inflate."""
    kept = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    kept.set_chunk((6, 4))
    kept.set_deflate(9)
    kept.set_deflate(9)
    space = h5py.h5s.create_simple((6, 4))
    h5py.h5d.create(file.id, b"features", h5py.h5t.IEEE_F32LE, space, kept)
    file["features"][:] = VALUES


@pytest.mark.parametrize(
    "fill", [never_written, wide, bomb, large_chunk, long_chunk, full_chunk, packed_twice]
)
def test_a_feature_file_cannot_fill_memory(place, fill):
    """What claims or unpacks to more than the file holds is refused in little memory."""
    path = write(place / "a.h5", fill)
    assert path.stat().st_size < 2_000_000
    assert memory_of(lambda: features_of(path)) < 100
    with pytest.raises(FeaturesError):
        features_of(path)


def test_features_that_were_written_in_part_are_refused(place):
    """HDF5 reads zeros where nothing was written; zeros are no features."""
    path = write(
        place / "a.h5", lambda f: f.create_dataset("features", (6, 4), "f4", chunks=(1, 4))
    )
    with h5py.File(path, "r+") as file:
        file["features"][:3] = 1
    with pytest.raises(FeaturesError, match="not all features were written"):
        features_of(path)


@pytest.mark.parametrize("options", [{}, {"chunks": (1, 4)}, PACKED, {"compression": "lzf"}])
def test_features_packed_in_the_usual_ways_are_read(place, options):
    """gzip, lzf, shuffled, check-summed or plain: the same numbers."""
    (place / "a.h5").write_bytes(whole(**options))
    found = read_features(place / "a.h5", width=4, encoder="enc-v1", where=WHERE)
    assert (found.numpy() == VALUES).all()


@FUZZ
@given(st.data())
def test_damaged_releases(maker, data):
    """A damaged release is refused; the one that was signed is the only one that is read."""
    content = data.draw(st.binary(max_size=64) | damaged(maker.content))
    assert is_read(maker.verify, content) == (content == maker.content)


def archive_of(entries: list[tuple[str, bytes, int, int]]) -> bytes:
    """A zip of (name, content, compression, mode)."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content, packed, mode in entries:
            entry = zipfile.ZipInfo(name)
            entry.compress_type, entry.external_attr, entry.create_system = packed, mode << 16, 3
            archive.writestr(entry, content)
    return buffer.getvalue()


NAMES = ("manifest.json", "manifest.sig", "model_card.md", "weights.safetensors")
STORED, DEFLATED, FILE, LINK = zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, 0o100644, 0o120777


@pytest.mark.parametrize(
    "entries",
    [
        [(name, bytes(10**8), DEFLATED, FILE) for name in NAMES],
        [(name, b"/etc/passwd", STORED, LINK) for name in NAMES],
        [(f"../{name}", b"{}", STORED, FILE) for name in NAMES],
        [(name, b"{}", STORED, FILE) for name in (*NAMES, "/etc/passwd")],
        [(name, b"{}", STORED, FILE) for name in (*NAMES[:3], NAMES[0])],
        [(name, b"{}", STORED, FILE) for name in NAMES * 5000],
    ],
    ids=["bomb", "links", "paths", "more", "twice", "many"],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_hostile_archives_are_refused_in_little_memory(maker, tmp_path, entries):
    """A release is never unpacked to disk, and nothing in it is inflated."""
    content = archive_of(entries)
    assert memory_of(lambda: maker.verify(content)) < 100
    assert maker.refuses(content)
    assert not list(tmp_path.iterdir())


def test_a_release_for_a_giant_model_takes_no_memory(maker):
    """Signed or not, a manifest cannot ask for a model that its weights do not fill."""
    study = maker.verify(maker.content).study.as_json() | {"feature_width": 2**36}
    content = maker.make(study=study)
    assert memory_of(lambda: maker.verify(content)) < 100
    assert maker.refuses(content)


def test_a_release_larger_than_any_is_not_read(maker, tmp_path):
    """Its size is looked at first."""
    with (tmp_path / "a.ghanet").open("wb") as file:
        file.truncate(MAX_BYTES + 1)  # a hole: no disk is used
    with pytest.raises(ReleaseError, match="larger than"):
        read_release(tmp_path / "a.ghanet", public_pem=maker.public)


@FUZZ
@given(st.data())
def test_damaged_checkpoints(tmp_path_factory, data):
    """A damaged checkpoint is read or refused."""
    folder = tmp_path_factory.mktemp("run")
    write_run(folder, 1)
    path = next(folder.iterdir())
    path.write_bytes(data.draw(damaged(path.read_bytes())))
    is_read(read_checkpoint, folder, study=RUN_STUDY)


CSV = b"case_id,time,event\n1,12.5,1\n2,3,0\n"


@FUZZ
@given(st.binary(max_size=200) | damaged(CSV))
def test_damaged_csv_tables(place, content):
    """Whatever a CSV table holds, it is read, or its problems are listed."""
    (place / "a.csv").write_bytes(content)
    table, problems = read_table(place / "a.csv", ["case_id", "time", "event"])
    assert table is not None or problems
