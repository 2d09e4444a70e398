"""Feature files in HDF5: read as they are, refused where they do not fit, no slide named."""

import os
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from client import feature_h5
from client.features import (
    FeatureFacts,
    find_features,
    inspect_features,
    read_features,
    slide_stem,
)
from ghanet_model.errors import FeaturesError

SLIDE = "CANARY-SLIDE.0AB1"
WHERE = "features of slides.csv row 3"


def values_of(patches: int = 5, width: int = 4, kind: type = np.float32) -> np.ndarray:
    """Some features."""
    return np.arange(patches * width).reshape(patches, width).astype(kind)


def write(path: Path, values: np.ndarray | None = None, **attributes: str) -> Path:
    """A feature file; attributes go to the features."""
    path.parent.mkdir(parents=True, exist_ok=True)
    values = values_of() if values is None else values
    with h5py.File(path, "w") as file:
        file["features"] = values
        file["coords"] = np.zeros((values.shape[-2] if values.ndim > 1 else 1, 2), np.int64)
        file["features"].attrs.update(attributes)
    return path


def refused(path: Path, *, width: int = 4, encoder: str = "enc-v1") -> str:
    """What is said when a file is refused; it names the row and never the slide."""
    with pytest.raises(FeaturesError) as caught:
        read_features(path, width=width, encoder=encoder, where=WHERE)
    text = f"{caught.value} | {caught.value.hint}"
    assert text.startswith(WHERE)
    assert "CANARY" not in text
    return text


@pytest.mark.parametrize(
    ("slide_id", "stem"),
    [
        ("TCGA-2F-A9KO-01Z-00-DX1.195576CF.svs", "TCGA-2F-A9KO-01Z-00-DX1.195576CF"),
        ("TCGA-2F-A9KO-01Z-00-DX1.195576CF", "TCGA-2F-A9KO-01Z-00-DX1.195576CF"),
        ("a.NDPI", "a"),
        ("a.ome.tiff", "a"),
        ("a.tif", "a"),
    ],
)
def test_stem_keeps_dots_that_are_no_suffix(slide_id, stem):
    """Only known slide suffixes are removed."""
    assert slide_stem(slide_id) == stem


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64, ">f4"])
def test_features_are_read_exactly(tmp_path, kind):
    """All float types are read, float16 stays float16."""
    values = values_of(kind=kind)
    tensor = read_features(write(tmp_path / "a.h5", values), width=4, encoder="e", where=WHERE)
    assert tensor.dtype == {2: torch.float16, 4: torch.float32, 8: torch.float64}[values.itemsize]
    np.testing.assert_array_equal(tensor.numpy(), values)


@pytest.mark.parametrize("patches", [1, 5])
def test_leading_axis_is_dropped(tmp_path, patches):
    """Features (1, N, D) are N patches."""
    path = write(tmp_path / "a.h5", values_of(patches)[None])
    assert read_features(path, width=4, encoder="e", where=WHERE).shape == (patches, 4)
    assert inspect_features(path, where=WHERE) == FeatureFacts(patches, 4, None, 0)


def test_facts_of_a_file(tmp_path):
    """A file's facts are its patches, width, encoder and patches that are no numbers."""
    values = values_of(5)
    values[[1, 3], 2] = np.nan, np.inf
    path = write(tmp_path / "a.h5", values, encoder="uni")
    facts = inspect_features(path, where=WHERE)
    assert (facts, facts.finite) == (FeatureFacts(5, 4, "uni", 2), False)


def test_facts_are_counted_over_blocks(tmp_path, monkeypatch):
    """Reading in blocks misses no patch."""
    monkeypatch.setattr(feature_h5, "BLOCK", 2)
    values = values_of(5)
    values[[0, 4]] = np.nan
    assert inspect_features(write(tmp_path / "a.h5", values), where=WHERE).bad_patches == 2


def test_missing_file(tmp_path):
    """A file that is gone is told by row."""
    assert "no feature file" in refused(tmp_path / f"{SLIDE}.h5")


@pytest.mark.parametrize("content", [b"", b"CANARY is no HDF5 file", b"\x89HDF\r\n\x1a\n"])
def test_file_that_is_not_hdf5(tmp_path, content):
    """Other bytes are refused."""
    path = tmp_path / f"{SLIDE}.h5"
    path.write_bytes(content)
    assert "damaged, cut short or not HDF5" in refused(path)


@pytest.mark.parametrize("share", [0.2, 0.6, 0.99])
def test_truncated_file(tmp_path, share):
    """A file cut short anywhere is refused."""
    path = write(tmp_path / f"{SLIDE}.h5", values_of(3000))
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    assert "damaged, cut short" in refused(path)


@pytest.mark.parametrize(
    ("names", "what"),
    [
        (["imgs", "coords"], "holds imgs but no features | run feature extraction first"),
        (["coords"], "holds coords but no features | run feature extraction first"),
        (["marker_embeddings"], "has no dataset 'features'"),
    ],
)
def test_file_of_another_kind(tmp_path, names, what):
    """Patches and coordinates are not features."""
    path = tmp_path / f"{SLIDE}.h5"
    with h5py.File(path, "w") as file:
        file.update({name: values_of() for name in names})
    assert what in refused(path)


def test_group_in_the_place_of_features(tmp_path):
    """A group named 'features' is no dataset."""
    path = tmp_path / f"{SLIDE}.h5"
    with h5py.File(path, "w") as file:
        file.create_group("features")
    assert "no dataset" in refused(path)


@pytest.mark.parametrize(
    ("values", "what"),
    [
        (np.zeros((0, 4), np.float32), "no patches"),
        (np.zeros((0,), np.float32), "no patches"),
        (np.zeros((4,), np.float32), "1 axes, expected patches and width | slide-level"),
        (np.zeros((2, 3, 4), np.float32), "3 axes"),
        (np.zeros((3, 4), np.int32), "int32, expected float"),
        (np.zeros((3, 4), bool), "bool, expected float"),
        (np.zeros((3, 6), np.float32), "6 numbers per patch, the study has 4"),
        (np.full((3, 4), np.nan, np.float16), "NaN or infinity in 3 of 3 patches"),
    ],
)
def test_features_that_cannot_be_used(tmp_path, values, what):
    """Shape, type, width and numbers must be those of patch features of the study."""
    assert what in refused(write(tmp_path / f"{SLIDE}.h5", values))


def test_too_many_patches(tmp_path):
    """A file with millions of patches is refused before it is read."""
    path = tmp_path / f"{SLIDE}.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("features", shape=(2_000_001, 4), dtype="f2", chunks=(1000, 4))
    assert "2000001 patches, more than 2000000" in refused(path)


def test_features_and_coords_must_agree(tmp_path):
    """As many places as patches, or one of both is of another slide."""
    path = write(tmp_path / f"{SLIDE}.h5")
    with h5py.File(path, "a") as file:
        del file["coords"]
        file["coords"] = np.zeros((3, 2))
    assert "not equally many" in refused(path)


@pytest.mark.parametrize("holder", ["features", "coords", "/"])
@pytest.mark.parametrize("name", ["uni", np.bytes_(b"uni")])
def test_another_encoder_is_refused(tmp_path, holder, name):
    """Equal width is not enough: a file that names another encoder is refused."""
    path = write(tmp_path / f"{SLIDE}.h5")
    with h5py.File(path, "a") as file:
        file[holder].attrs["encoder"] = name
    assert "made by encoder 'uni', the study uses 'enc-v1'" in refused(path)
    assert read_features(path, width=4, encoder="uni", where=WHERE).shape == (5, 4)


@pytest.mark.parametrize("name", ["None", ""])
def test_file_that_names_no_encoder(tmp_path, name):
    """CLAM names none and TRIDENT may write 'None': then site.yaml's word counts."""
    path = write(tmp_path / "a.h5", encoder=name)
    assert read_features(path, width=4, encoder="enc-v1", where=WHERE).shape == (5, 4)


def test_no_pickle_is_read(tmp_path):
    """A .pt among .h5 files is no file of that folder; one that would run code runs none."""
    (tmp_path / "h5_files").mkdir()
    torch.save(torch.ones(3, 4), tmp_path / "h5_files" / "a.pt")
    with pytest.raises(FeaturesError, match="no feature files"):
        find_features(tmp_path)
    torch.save(Malicious(tmp_path / "ran"), tmp_path / "a.pt")
    with pytest.raises(FeaturesError, match="more than a tensor: never loaded"):
        read_features(tmp_path / "a.pt", width=4, encoder="e", where=WHERE)
    assert not (tmp_path / "ran").exists()
    torch.load(tmp_path / "a.pt", weights_only=False)  # it would have
    assert (tmp_path / "ran").exists()


class Malicious:
    """What runs a command when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return os.system, (f"touch {self.path}",)
