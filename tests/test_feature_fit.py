"""Features of another study are refused: another width, encoder file, or size of patches."""

import re
from pathlib import Path

import h5py
import numpy as np
import pytest
from test_cache import STUDY
from test_cache import site as cohort_of
from test_check import name
from test_check import site as site  # noqa: PLC0414 - a fixture
from test_feature_layouts import write_stamp
from test_features import WHERE, write

from client.bags import prediction_bags, training_bags
from client.check import check_site
from client.features import FeatureFacts, inspect_features, read_features, require_fit
from ghanet_model.errors import FeaturesError
from ghanet_model.extraction import Extraction

SHA = "a" * 64


def test_fit_names_both_widths():
    """Who mends a width needs both numbers."""
    expected = re.escape(f"{WHERE}: 8 numbers per patch, the study has 4")
    with pytest.raises(FeaturesError, match=expected):
        require_fit(FeatureFacts(1, 8, None, 0), width=4, encoder="e", where=WHERE)


def own(path: Path, **attributes: object) -> Path:
    """A file of ours; attributes go to the coordinates, where TRIDENT has them."""
    write(path)
    with h5py.File(path, "a") as file:
        file["coords"].attrs.update(attributes)
    return path


@pytest.mark.parametrize(
    ("attributes", "microns"),
    [
        ({"patch_size_level0": 512.0, "level0_mpp": 0.25}, 128.0),
        ({"patch_size": 256, "target_mpp": 0.5}, 128.0),
        (
            {"patch_size_level0": 512, "level0_mpp": 0.251, "patch_size": 1, "target_mpp": 1},
            128.512,
        ),
        ({"patch_size_level0": np.array([512]), "level0_mpp": 0.25}, 128.0),
        ({"patch_size_level0": 512, "target_magnification": 20}, None),
        ({"patch_size_level0": 512, "level0_mpp": "None"}, None),
        ({"patch_size_level0": 512, "level0_mpp": -0.25}, None),
        ({"patch_size_level0": 512, "level0_mpp": np.nan}, None),
        ({"patch_size_level0": [1, 2], "level0_mpp": 0.25}, None),
        ({"patch_size_level0": h5py.Empty("f4"), "level0_mpp": 0.25}, None),
    ],
)
def test_width_of_patches(tmp_path, attributes, microns):
    """Microns come from pixels and microns per pixel alone; whatever else is not known."""
    path = own(tmp_path / "a.h5", **attributes)
    assert inspect_features(path, where=WHERE).patch_microns == microns


@pytest.mark.parametrize("holder", ["features", "coords", "/"])
def test_encoder_file_is_told(tmp_path, holder):
    """Our own files say which file encoded them."""
    path = write(tmp_path / "a.h5")
    with h5py.File(path, "a") as file:
        file[holder].attrs["encoder_sha256"] = SHA
    assert inspect_features(path, where=WHERE).encoder_sha256 == SHA


def fit(extraction: Extraction | None, **facts: object) -> None:
    """Ask whether a file with these facts fits."""
    found = FeatureFacts(5, 4, None, 0, **facts)
    require_fit(found, width=4, encoder="e", where=WHERE, extraction=extraction)


def test_another_encoder_file_is_refused():
    """Same name, other weights: a file that says so is refused, where the study knows."""
    with pytest.raises(FeaturesError, match=f"{WHERE}: made by an encoder file aaaa") as caught:
        fit(Extraction(sha256="b" * 64), encoder_sha256=SHA)
    assert "the study's is bbbbbbbbbbbbbbbb" in str(caught.value)
    for extraction in (Extraction(sha256=SHA), Extraction(), None):
        fit(extraction, encoder_sha256=SHA)
    fit(Extraction(sha256=SHA))


def test_patches_of_another_width_are_refused():
    """A quarter more or less is another study's; the message has both numbers."""
    expected = f"^{WHERE}: patches are 256 microns wide, the study's are 128$"
    with pytest.raises(FeaturesError, match=expected) as caught:
        fit(Extraction(), patch_microns=256.0)
    assert "ask the coordinator" in caught.value.hint
    with pytest.raises(FeaturesError):
        fit(Extraction(), patch_microns=95.9)
    for microns in (96.0, 128.0, 160.0, None):
        fit(Extraction(), patch_microns=microns)
    fit(None, patch_microns=256.0)


def test_patches_of_another_width_are_not_read(tmp_path):
    """Training and prediction refuse them as check does."""
    path = own(tmp_path / "a.h5", patch_size=256, target_mpp=1.0)
    read_features(path, width=4, encoder="e", where=WHERE)
    with pytest.raises(FeaturesError, match="patches are 256 microns wide"):
        read_features(path, width=4, encoder="e", where=WHERE, extraction=Extraction())


@pytest.mark.parametrize(
    ("said", "step", "microns"),
    [
        ({}, 128.0, 128.0),
        ({"tile_size_um": None, "tile_size": 256}, 256.0, 256.0),
        ({"tile_size_um": None}, 128.0, None),
        ({"tile_size_um": None, "unit": None}, 224, 256.0),
        ({"tile_size_um": None, "unit": None}, 512, None),
    ],
    ids=["2.1", "2.0", "unknown", "1", "other"],
)
def test_width_of_patches_of_stamp(tmp_path, said, step, microns):
    """Each version of STAMP says it in its own way, the first by the spacing of patches alone."""
    path = write_stamp(tmp_path / "a.h5", **said)
    with h5py.File(path, "a") as file:
        file["coords"][...] = step * np.stack([np.arange(5)] * 2, 1)
    facts = inspect_features(path, where=WHERE)
    assert facts == FeatureFacts(5, 4, "uni", 0, None, microns)


def test_default_patches_of_stamp_do_not_fit_the_usual_study(tmp_path):
    """STAMP cuts 256 microns where nobody said otherwise, a study 128."""
    path = write_stamp(tmp_path / "a.h5", tile_size_um=256.0)
    with pytest.raises(FeaturesError, match="patches are 256 microns wide, the study's are 128"):
        read_features(path, width=4, encoder="uni", where=WHERE, extraction=Extraction())
    wide = Extraction(pixels=512)
    assert read_features(path, width=4, encoder="uni", where=WHERE, extraction=wide).shape == (5, 4)


def widen(path: Path) -> None:
    """Say that the patches of a file are 256 microns wide."""
    with h5py.File(path, "a") as file:
        file["features"].attrs.update({"patch_size_level0": 1024, "level0_mpp": 0.25})


def test_training_and_prediction_refuse_patches_of_another_width(tmp_path):
    """Not only check: a file may change after it."""
    cohort, features = cohort_of(tmp_path)
    for bags in (
        training_bags(cohort, features, study=STUDY),
        prediction_bags(cohort, features, study=STUDY),
    ):
        assert bags[1].features.shape == (3, 4)
    widen(features.path_of("S2"))
    for bags in (
        training_bags(cohort, features, study=STUDY),
        prediction_bags(cohort, features, study=STUDY),
    ):
        with pytest.raises(FeaturesError, match=r"slides\.csv row 4: patches are 256 microns wide"):
            bags[1]


def test_check_lists_patches_of_another_width(site):
    """By row, without the slide's name."""
    widen(site / "features" / "h5_files" / f"{name(3)}.h5")
    problems = [str(problem) for problem in check_site(site).problems]
    what = "patches are 256 microns wide, the study's are 128"
    assert problems == [f"features of slides.csv row 5: {what}"]
