"""Hostile .pt files and files of STAMP: read or refused, in little memory, and nothing runs."""

import io
import math
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from hostile import FUZZ, damaged, is_read, memory_of
from hypothesis import given
from hypothesis import strategies as st
from test_feature_pt import saved, zipped
from test_features import WHERE

from client.feature_folders import find_features
from client.features import inspect_features, read_features
from client.places import read_places
from ghanet_model.errors import FeaturesError

VALUES = np.arange(24, dtype=np.float32).reshape(6, 4)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder for all examples."""
    return tmp_path_factory.mktemp("fuzz")


def all_of(path: Path) -> None:
    """Read all that is ever read of a file."""
    is_read(inspect_features, path, where=WHERE)
    is_read(read_places, path, where=WHERE)
    read_features(path, width=4, encoder="enc-v1", where=WHERE)


def stamp(**said: object) -> bytes:
    """A file of STAMP."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file["feats"], file["coords"] = VALUES.astype(np.float16), 224 * np.arange(12).reshape(6, 2)
        words = {"extractor": "enc-v1", "feat_type": "tile"}  # fixed length; see SECURITY.md
        file.attrs.update({key: np.bytes_(word) for key, word in words.items()} | said)
    return buffer.getvalue()


TENSOR, ARRAY = saved(torch.from_numpy(VALUES)), saved(VALUES)


def parts_of(content: bytes) -> dict[str, bytes]:
    """The entries of a .pt file."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def inside(content: bytes) -> st.SearchStrategy[bytes]:
    """The file with a damaged description, in a zip that is whole."""
    parts = parts_of(content)
    name = next(name for name in parts if name.endswith("data.pkl"))
    return damaged(parts[name]).map(lambda term: zipped(parts | {name: term}))


@FUZZ
@given(st.binary(max_size=64) | damaged(TENSOR, ARRAY) | inside(TENSOR) | inside(ARRAY))
def test_damaged_pt_files(folder, content):
    """Whatever a .pt file holds, it is read or refused."""
    (folder / "a.pt").write_bytes(content)
    is_read(all_of, folder / "a.pt")


@FUZZ
@given(damaged(stamp(), stamp(tile_size=224.0, unit=np.bytes_(b"um"))))
def test_damaged_files_of_stamp(folder, content):
    """Whatever a file of STAMP holds, it is read or refused, also when its folder is looked at."""
    place = folder / "stamp"
    place.mkdir(exist_ok=True)
    (place / "a.h5").write_bytes(content)
    is_read(all_of, place / "a.h5")
    is_read(find_features, place)


def claiming(content: bytes, old: bytes, new: bytes) -> bytes:
    """The same file with other words in its description."""
    parts = parts_of(content)
    name = next(name for name in parts if name.endswith("data.pkl"))
    assert old in parts[name]
    return zipped(parts | {name: parts[name].replace(old, new)})


MANY = b"J\x80\x84\x1e\x00"  # 2 000 000
HOSTILE = {
    "claims": claiming(TENSOR, b"K\x06K\x04", MANY + b"M\xff\xff"),
    "repeats": claiming(
        TENSOR, b"K\x06K\x04\x86q\x06K\x04K\x01", MANY + b"K\x04\x86q\x06K\x00K\x01"
    ),
    "array claims": claiming(ARRAY, b"K\x06K\x04", MANY + b"M\xff\xff"),
    "many entries": zipped({f"a/{i}": b"" for i in range(20_000)}),
    "packed": zipped({"a/data.pkl": bytes(10**9)}, zipfile.ZIP_DEFLATED),
    "nested": zipped({"a/data.pkl": b"\x80\x02" + b"(" * 10**6}),
    "long word": zipped({"a/data.pkl": b"\x80\x02X\xff\xff\xff\x7f"}),
    "long number": zipped({"a/data.pkl": b"\x80\x02I" + b"9" * 10**6 + b"\n."}),
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE)
def test_a_pt_file_cannot_fill_memory(folder, content):
    """What claims or unpacks to more than the file holds is refused in little memory."""
    path = folder / "a.pt"
    path.write_bytes(content)
    assert len(content) < 3_000_000
    assert memory_of(lambda: all_of(path)) < 100
    with pytest.raises(FeaturesError):
        all_of(path)


@pytest.mark.parametrize("kind", ["tensor", "array"])
def test_reading_takes_no_more_than_the_file_suggests(folder, kind):
    """A tensor is read once, an array a few times its size: it lies in the description as text."""
    values = np.ones((20_000, 1024), np.float32)
    path = folder / "large.pt"
    torch.save(torch.from_numpy(values) if kind == "tensor" else values, path)
    size = math.ceil(values.nbytes / 2**20)

    def read() -> None:
        read_features(path, width=1024, encoder="e", where=WHERE)

    assert memory_of(read) < {"tensor": 3, "array": 6}[kind] * size
