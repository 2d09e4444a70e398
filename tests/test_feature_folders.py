"""Folders of features: which file is of which slide, and which folders are refused."""

import pytest
from test_feature_layouts import (
    JOB,
    write_array,
    write_pt,
    write_slideflow,
    write_stamp,
)
from test_features import SLIDE, WHERE, refused, values_of, write

from client.features import FeatureFolder, find_features
from ghanet_model.errors import FeaturesError


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
        ("h5_files/a.pt", "h5_files or pt_files"),
        ("a.pt", "h5_files or pt_files"),
        ("a.pkl", ".pkl files, which are never opened"),
        ("features/a.pickle", ".pickle files, which are never opened"),
        ("features/a.npy", ".npy files, which are never opened"),
        ("features/a.joblib", ".joblib files, which are never opened"),
        ("uni/a.h5", "STAMP"),
        ("other.txt", "h5_files or pt_files"),
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


@pytest.mark.parametrize("slide", ["CANARY-OTHER", "../CANARY", "CANARY" * 99, "CANARY\0"])
def test_slide_without_file(tmp_path, slide):
    """A slide that has no file in the folder, or tries to leave it, is refused by row."""
    folder = FeatureFolder("clam", tmp_path, {"a": tmp_path / "a.h5"})
    with pytest.raises(FeaturesError, match=f"^{WHERE}: no feature file$"):
        folder.file_of(slide, where=WHERE)


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


def test_clam_h5_wins_over_pt(tmp_path):
    """Both hold the same numbers, the .h5 also places; named itself, the .pt folder is used."""
    write(tmp_path / "h5_files" / "a.h5")
    write_pt(tmp_path / "pt_files" / "a.pt")
    assert find_features(tmp_path).kind == "clam"
    assert find_features(tmp_path / "pt_files").kind == "clam pt"


def test_trident_h5_wins_over_pt(tmp_path):
    """A slide that was saved twice is read from HDF5, one that was not from what there is."""
    folder = tmp_path / "features_uni"
    for path in (folder / "a.pt", folder / "b.pt"):
        write_array(path)
    write(folder / "a.h5")
    found = find_features(tmp_path)
    assert [found.path_of(slide).suffix for slide in "ab"] == [".h5", ".pt"]


def test_slideflow_file_without_index_is_unfinished(tmp_path):
    """The index is what slideflow writes last."""
    write_slideflow(tmp_path / "a.pt")
    write_pt(tmp_path / "b.pt")
    found = find_features(tmp_path)
    assert found.file_of("a", where=WHERE)
    with pytest.raises(FeaturesError, match="not finished"):
        found.file_of("b", where=WHERE)


@pytest.mark.parametrize("below", ["", "uni-0123abcd", "uni-0123abcd/centre", "uni-0123abcd/other"])
def test_stamp_folder_is_found(tmp_path, below):
    """The output, the extractor's folder or one of its subfolders; files below mirror slides."""
    root = tmp_path / "uni-0123abcd"
    write_stamp(root / "centre" / "2024" / "a.h5")
    write_stamp(root / "other" / "b.h5")
    (root / "other" / "b.jpg").touch()
    found = find_features(tmp_path / below)
    stems = {"centre": {"a"}, "other": {"b"}}.get(below.rpartition("/")[2], {"a", "b"})
    assert (found.kind, found.stems) == ("stamp", stems)
    assert found.path == (tmp_path / below if below else root)


def test_stamp_folder_may_have_been_renamed(tmp_path):
    """Then it is the folder that site.yaml names."""
    for slide in ("x/a", "y/b"):
        write_stamp(tmp_path / "mine" / f"{slide}.h5")
    found = find_features(tmp_path / "mine")
    assert (found.path, found.stems) == (tmp_path / "mine", {"a", "b"})


def test_several_extractors_are_listed(tmp_path):
    """Which of them to use is never guessed."""
    for extractor in ("uni", "virchow2"):
        write_stamp(tmp_path / extractor / "x" / "a.h5", extractor=extractor)
    write(tmp_path / "h5_files" / "a.h5")
    with pytest.raises(FeaturesError, match="3 feature folders: h5_files, uni, virchow2"):
        find_features(tmp_path)


def test_same_name_in_two_subfolders_is_refused(tmp_path):
    """Which of two files is of a slide cannot be told from its name."""
    for slide in (f"x/{SLIDE}", f"y/{SLIDE}", "x/other"):
        write_stamp(tmp_path / "uni" / f"{slide}.h5")
    found = find_features(tmp_path)
    assert found.file_of("other", where=WHERE)
    with pytest.raises(FeaturesError, match=f"^{WHERE}: feature files of this name in several"):
        found.file_of(SLIDE, where=WHERE)


@pytest.mark.parametrize("level", ["slide", "patient"])
def test_slide_level_features_of_stamp_are_refused(tmp_path, level):
    """By folder and by row: one vector of a slide looks like one patch."""
    path = write_stamp(tmp_path / "uni-slide" / f"{SLIDE}.h5", values_of(1), feat_type=level)
    assert f"features of a {level}, not of patches | slide-level" in refused(path, encoder="uni")
    with pytest.raises(FeaturesError, match="no feature files") as caught:
        find_features(tmp_path)
    assert "slide-level" in caught.value.hint
    write_stamp(tmp_path / "uni" / f"{SLIDE}.h5")
    assert find_features(tmp_path).path == tmp_path / "uni"


def test_damaged_files_do_not_hide_a_folder_of_stamp(tmp_path):
    """The first files may be damaged; their own rows are told, the others are read."""
    for slide in ("a", "b", "c"):
        write_stamp(tmp_path / "uni" / f"{slide}.h5")
    for slide in ("a", "b"):
        (tmp_path / "uni" / f"{slide}.h5").write_bytes(b"")
    assert find_features(tmp_path).stems == {"a", "b", "c"}


def test_no_folder_is_looked_at_without_end(tmp_path):
    """A folder that leads back to itself is no further folder."""
    write_stamp(tmp_path / "uni" / "x" / "a.h5")
    (tmp_path / "uni" / "x" / "again").symlink_to(tmp_path)
    assert find_features(tmp_path).stems == {"a"}


def test_folder_says_no_slide(tmp_path):
    """Neither folder nor error shows what slides are called."""
    write_slideflow(tmp_path / f"{SLIDE}.pt")
    assert "CANARY" not in repr(find_features(tmp_path))
