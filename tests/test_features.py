"""Feature files: CLAM and TRIDENT as they are, other or damaged files refused, no slide named."""

import re
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from client import features
from client.features import (
    FeatureFacts,
    FeatureFolder,
    find_features,
    inspect_features,
    read_features,
    require_fit,
    slide_stem,
)
from ghanet_model.errors import FeaturesError

SLIDE = "CANARY-SLIDE.0AB1"
WHERE = "features of slides.csv row 3"
JOB = "20x_256px_0px_overlap"


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


@pytest.mark.parametrize("below", ["", "h5_files"])
def test_clam_folder_is_found(tmp_path, below):
    """A CLAM folder, or its h5_files, is found."""
    write(tmp_path / "h5_files" / f"{SLIDE}.h5")
    found = find_features(tmp_path / below)
    assert (found.kind, found.path, found.stems) == ("clam", tmp_path / "h5_files", {SLIDE})


@pytest.mark.parametrize("below", ["", JOB, f"{JOB}/features_enc-v1"])
def test_trident_folder_is_found(tmp_path, below):
    """A TRIDENT job, its overlap folder, or its features folder is found."""
    place = tmp_path / JOB / "features_enc-v1"
    write(place / f"{SLIDE}.h5")
    write(tmp_path / JOB / "patches" / f"{SLIDE}_patches.h5")
    found = find_features(tmp_path / below)
    assert (found.kind, found.path, found.stems) == ("trident", place, {SLIDE})


def test_several_folders_are_listed(tmp_path):
    """Which features to use is never guessed."""
    for encoder in ("uni", "conch"):
        write(tmp_path / JOB / f"features_{encoder}" / "a.h5")
    with pytest.raises(FeaturesError, match="2 feature folders") as caught:
        find_features(tmp_path)
    assert f"{JOB}/features_conch, {JOB}/features_uni" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        (f"{JOB}/slide_features_titan/a.h5", "slide-level"),
        (f"{JOB}/patches/a_patches.h5", "run feature extraction first"),
        ("patches/a.h5", "run feature extraction first"),
        ("pt_files/a.pt", "not read"),
        ("other.txt", "CLAM folder"),
    ],
)
def test_folder_without_features_says_what_it_is(tmp_path, name, hint):
    """A folder of another kind is refused with what to do about it."""
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    with pytest.raises(FeaturesError, match="no feature files") as caught:
        find_features(tmp_path)
    assert hint in caught.value.hint


def test_folder_that_is_not_there(tmp_path):
    """A missing folder is told as such."""
    with pytest.raises(FeaturesError, match="folder not found"):
        find_features(tmp_path / "absent")


def test_file_of_a_slide(tmp_path):
    """A slide's file is found by its name."""
    path = write(tmp_path / "h5_files" / f"{SLIDE}.h5")
    assert find_features(tmp_path).file_of(SLIDE, where=WHERE) == path


@pytest.mark.parametrize("slide", ["CANARY-OTHER", "../CANARY", "CANARY" * 99, "CANARY\0"])
def test_slide_without_file(tmp_path, slide):
    """A slide that has no file in the folder, or tries to leave it, is refused by row."""
    folder = FeatureFolder("clam", tmp_path, frozenset({"a"}))
    with pytest.raises(FeaturesError, match=f"^{WHERE}: no feature file$"):
        folder.file_of(slide, where=WHERE)


@pytest.mark.parametrize("mark", [".h5.lock", ".lock", ".h5.part", ".part"])
def test_file_being_written_is_refused(tmp_path, mark):
    """A lock or part beside a file says that it is not finished, when listed and when read."""
    path = write(tmp_path / "h5_files" / f"{SLIDE}.h5")
    (path.parent / f"{SLIDE}{mark}").touch()
    with pytest.raises(FeaturesError, match="not finished"):
        find_features(tmp_path).file_of(SLIDE, where=WHERE)
    assert "not finished" in refused(path)


def test_clam_file_without_pt_is_unfinished(tmp_path):
    """CLAM writes the .pt last: a slide without one, where others have it, was interrupted."""
    for stem in ("a", "b"):
        write(tmp_path / "h5_files" / f"{stem}.h5")
    (tmp_path / "pt_files").mkdir()
    (tmp_path / "pt_files" / "a.pt").touch()
    found = find_features(tmp_path)
    assert found.file_of("a", where=WHERE).exists()
    with pytest.raises(FeaturesError, match="not finished"):
        found.file_of("b", where=WHERE)


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
    monkeypatch.setattr(features, "_BLOCK", 2)
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
        (["feats"], "has no dataset 'features'"),
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


def test_fit_names_both_widths():
    """Who mends a width needs both numbers."""
    expected = re.escape(f"{WHERE}: 8 numbers per patch, the study has 4")
    with pytest.raises(FeaturesError, match=expected):
        require_fit(FeatureFacts(1, 8, None, 0), width=4, encoder="e", where=WHERE)


def test_no_pickle_is_read(tmp_path):
    """A .pt beside the .h5 is never opened: a folder of them alone has no features."""
    (tmp_path / "h5_files").mkdir()
    torch.save(torch.ones(3, 4), tmp_path / "h5_files" / "a.pt")
    with pytest.raises(FeaturesError, match="no feature files"):
        find_features(tmp_path)
