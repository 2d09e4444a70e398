"""Features in .pt files: the numbers as saved, nothing run, nothing grown, refused by the row."""

import io
import os
import pickle
import subprocess
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from test_features import SLIDE, WHERE, refused, values_of

from client import pt
from client.features import FeatureFacts, inspect_features, read_features
from ghanet_model.errors import FeaturesError

FLOATS = ("float16", "float32", "float64", ">f4")


def save(path: Path, content: object, **options: object) -> Path:
    """What torch saves."""
    torch.save(content, path, **options)
    return path


def saved(content: object) -> bytes:
    """What torch saves, as bytes."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def read(path: Path) -> torch.Tensor:
    """Of whatever width it is."""
    width = inspect_features(path, where=WHERE).width
    return read_features(path, width=width, encoder="e", where=WHERE)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """A file for all examples."""
    return tmp_path_factory.mktemp("pt") / "a.pt"


@given(
    st.sampled_from(FLOATS).flatmap(
        lambda kind: arrays.arrays(
            kind,
            arrays.array_shapes(min_dims=2, max_dims=2, max_side=40),
            elements={"allow_nan": False, "allow_infinity": False},
        )
    ),
    st.sampled_from(("C", "F")),
    st.booleans(),
)
def test_arrays_are_read_as_they_were_saved(path, values, order, leading):
    """What TRIDENT saves: any float type, by row or by column, with a leading axis or without."""
    shaped = np.array(values[None] if leading else values, order=order)
    found = read(save(path, shaped)).numpy()
    assert found.tobytes() == values.astype(values.dtype.newbyteorder("=")).tobytes()
    assert found.shape == values.shape


@given(
    st.sampled_from((torch.float16, torch.float32, torch.float64)),
    st.integers(1, 40),
    st.integers(1, 40),
    st.booleans(),
)
def test_tensors_are_read_as_they_were_saved(path, kind, patches, width, leading):
    """What CLAM and slideflow save."""
    values = torch.arange(patches * width).reshape(patches, width).to(kind) / 3
    found = read(save(path, values[None] if leading else values))
    assert found.dtype == kind
    assert torch.equal(found, values)


def test_tensor_of_a_model_is_read(path):
    """Whether it wanted a gradient is of no interest."""
    assert torch.equal(read(save(path, torch.ones(2, 3, requires_grad=True))), torch.ones(2, 3))


def test_facts_are_counted_over_blocks(path, monkeypatch):
    """Reading in blocks misses no patch, of a tensor or an array."""
    monkeypatch.setattr(pt, "BLOCK", 2)
    values = values_of(5)
    values[[0, 4]] = np.nan
    for content in (values, torch.from_numpy(values)):
        assert inspect_features(save(path, content), where=WHERE) == FeatureFacts(5, 4, None, 2)


def test_tensor_of_another_machine(path):
    """Bytes in another order are put in ours."""
    values = torch.arange(6.0).reshape(2, 3)
    with zipfile.ZipFile(save(path, values)) as archive:
        parts = {entry: archive.read(entry) for entry in archive.namelist()}
    root = next(iter(parts)).split("/")[0]
    swapped = values.numpy().astype(">f4").tobytes()
    path.write_bytes(zipped(parts | {f"{root}/byteorder": b"big", f"{root}/data/0": swapped}))
    assert torch.equal(read(path), values)


def zipped(parts: dict[str, bytes], packed: int = zipfile.ZIP_STORED) -> bytes:
    """A zip of these entries."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", packed) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (torch.zeros(0, 4), "no patches"),
        (np.zeros((0, 4), np.float32), "no patches"),
        (np.zeros((0,), np.float32), "no patches"),
        (torch.zeros(4), "1 axes, expected patches and width | slide-level"),
        (np.zeros(4, np.float32), "1 axes"),
        (torch.zeros(2, 3, 4), "3 axes"),
        (torch.zeros(3, 4, dtype=torch.int64), "long, expected float"),
        (torch.zeros(3, 4, dtype=torch.bfloat16), "bfloat16, expected float"),
        (np.zeros((3, 4), np.int32), "int32, expected float"),
        (torch.zeros(3, 6), "6 numbers per patch, the study has 4"),
        (torch.full((3, 4), torch.nan), "NaN or infinity in 3 of 3 patches"),
        (np.full((3, 4), np.inf), "NaN or infinity in 3 of 3 patches"),
        (torch.zeros(1, 2**16 + 1), "65537 numbers per patch, more than 65536"),
        (torch.zeros(2_000_001, 1, dtype=torch.float16), "2000001 patches, more than 2000000"),
        (torch.zeros(1).expand(2**40, 4), "a view of other numbers | save it again"),
        (torch.zeros(4, 3).T, "a view of other numbers"),
        (torch.zeros(9, 4)[2:5], "a view of other numbers"),
    ],
)
def test_tensors_that_cannot_be_used(tmp_path, content, what):
    """The same as of HDF5, and no view, which may claim any number of patches."""
    assert what in refused(save(tmp_path / f"{SLIDE}.pt", content))


class Touches:
    """What would make a file if it were unpickled."""

    def __init__(self, path: Path, how: str) -> None:
        self.path, self.how = str(path), how

    def __reduce__(self) -> tuple[object, ...]:
        if self.how == "exec":
            return exec, (f"open({self.path!r}, 'w')",)
        return {
            "system": (os.system, (f"touch {self.path}",)),
            "popen": (subprocess.Popen, (["touch", self.path],)),
            "open": (open, (self.path, "w")),
        }[self.how]


@pytest.mark.parametrize("how", ["system", "popen", "open", "exec"])
@pytest.mark.parametrize(
    "around",
    [
        lambda bad: bad,
        lambda bad: [torch.ones(3, 4), bad],
        lambda bad: {"features": torch.ones(3, 4), "more": bad},
        lambda bad: np.array([[bad]], object),
    ],
    ids=["alone", "list", "dict", "array"],
)
def test_code_in_a_file_never_runs(tmp_path, how, around):
    """Whatever a pickle would call: the file is refused and nothing happened."""
    bad = Touches(tmp_path / "ran", how)
    path = save(tmp_path / f"{SLIDE}.pt", around(bad))
    assert "holds more than a tensor: never loaded" in refused(path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "content",
    [
        {"features": torch.ones(3, 4)},
        [torch.ones(3, 4)],
        OrderedDict(a=torch.ones(3, 4)),
        torch.nn.Parameter(torch.ones(3, 4)),
        torch.ones(3, 4).to_sparse(),
        np.ones((3, 4), "f4,f4"),
        "CANARY",
        5,
        None,
    ],
    ids=lambda content: type(content).__name__,
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_anything_but_one_tensor_is_refused(tmp_path, content):
    """A table of tensors, a model, a word."""
    path = save(tmp_path / f"{SLIDE}.pt", content)
    assert "more than a tensor: never loaded" in refused(path)


@pytest.mark.parametrize(
    "content",
    [
        pickle.dumps(np.ones((3, 4))),
        pickle.dumps(Touches(Path("ran"), "system"), protocol=4),
        b"\x80\x02.",
    ],
)
def test_bare_pickle_is_refused(tmp_path, content):
    """As torch wrote before 1.6, and others still do."""
    (tmp_path / f"{SLIDE}.pt").write_bytes(content)
    assert "bare pickle: never loaded | save it again with" in refused(tmp_path / f"{SLIDE}.pt")


def test_old_tensor_is_refused(tmp_path):
    """A tensor in the format before torch 1.6."""
    path = tmp_path / f"{SLIDE}.pt"
    save(path, torch.ones(3, 4), _use_new_zipfile_serialization=False)
    assert "save it again with torch 1.6 or newer" in refused(path)


def test_packed_file_is_refused(tmp_path):
    """Torch packs nothing: what is packed may grow."""
    with zipfile.ZipFile(io.BytesIO(saved(torch.zeros(3, 4)))) as archive:
        parts = {entry: archive.read(entry) for entry in archive.namelist()}
    (tmp_path / f"{SLIDE}.pt").write_bytes(zipped(parts, zipfile.ZIP_DEFLATED))
    assert "the .pt file is packed | save it again" in refused(tmp_path / f"{SLIDE}.pt")


@pytest.mark.parametrize("content", [torch.ones(3, 4), np.ones((3, 4))], ids=["tensor", "array"])
def test_numbers_that_are_not_there(tmp_path, content):
    """Fewer or more numbers than claimed are refused before any memory is taken."""
    with zipfile.ZipFile(io.BytesIO(saved(content))) as archive:
        parts = {entry: archive.read(entry) for entry in archive.namelist()}
    root = next(iter(parts)).split("/")[0]
    path = tmp_path / f"{SLIDE}.pt"
    if isinstance(content, torch.Tensor):
        path.write_bytes(zipped(parts | {f"{root}/data/0": bytes(44)}))
    else:
        term = parts[f"{root}/data.pkl"].replace(b"K\x03K\x04", b"K\x03K\x05")
        path.write_bytes(zipped(parts | {f"{root}/data.pkl": term}))
    assert "not all features were written" in refused(path)


@pytest.mark.parametrize("content", [b"", b"CANARY", b"PK", b"PK\x05\x06" + bytes(18)])
def test_file_that_is_no_tensor(tmp_path, content):
    """Other bytes are refused."""
    (tmp_path / f"{SLIDE}.pt").write_bytes(content)
    text = refused(tmp_path / f"{SLIDE}.pt")
    assert "damaged, cut short or not a .pt file" in text or "more than a tensor" in text


@pytest.mark.parametrize("content", [torch.ones(9, 4), np.ones((9, 4))], ids=["tensor", "array"])
def test_file_cut_short_anywhere(tmp_path, content):
    """At every byte."""
    whole, path = saved(content), tmp_path / f"{SLIDE}.pt"
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        assert "damaged, cut short" in refused(path)


def test_pipe_and_missing_file(tmp_path):
    """Neither keeps anyone waiting."""
    assert "no feature file" in refused(tmp_path / f"{SLIDE}.pt")
    os.mkfifo(tmp_path / f"{SLIDE}.pt")
    assert "damaged" in refused(tmp_path / f"{SLIDE}.pt")


def test_flipped_number_is_told(path):
    """By the checksum of the zip."""
    whole = bytearray(saved(torch.ones(64, 64)))
    whole[len(whole) // 2] ^= 1
    path.write_bytes(whole)
    with pytest.raises(FeaturesError, match="damaged"):
        inspect_features(path, where=WHERE)
