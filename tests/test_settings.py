"""Settings files and the study: what is misspelt is refused, what is agreed has one digest."""

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from ghanet_model.errors import SettingsError
from ghanet_model.extraction import Extraction
from ghanet_model.settings import read_settings
from ghanet_model.study import FILES, STUDY_FILE, StudyConfig, read_study

STUDY = """\
format: 1
name: demo
encoder: enc-v1
feature_width: 8
time_bin_edges: [12, 36, 60]
gene_groups: groups.csv
"""
GROUPS = "first,second\nA,B\nC,\n"


@dataclass(frozen=True)
class Inner:
    """A nested part of a settings file."""

    word: str = "a"


@dataclass(frozen=True)
class Demo:
    """One field of each kind."""

    count: int
    rate: float = 1.0
    folder: Path | None = None
    numbers: tuple[float, ...] = ()
    flag: bool = False
    inner: Inner = field(default_factory=Inner)
    derived: str = ""


def read(tmp_path: Path, text: str) -> Demo:
    """Demo settings from a file of this text."""
    path = tmp_path / "demo.yaml"
    path.write_text(text)
    return read_settings(path, Demo, derived="x")


def write_study(folder: Path, text: str = STUDY, groups: str = GROUPS) -> Path:
    """A folder with study.yaml and its gene groups."""
    folder.mkdir(exist_ok=True)
    (folder / STUDY_FILE).write_text(text)
    (folder / "groups.csv").write_text(groups)
    return folder


def test_every_kind_is_read(tmp_path):
    """YAML values become the types that the dataclass names."""
    text = "format: 1\ncount: 2\nrate: 1e-5\nfolder: a/b\nnumbers: [1, 2.5]\nflag: true\n"
    demo = read(tmp_path, text + "inner:\n  word: b\n")
    assert demo == Demo(2, 1e-5, Path("a/b"), (1.0, 2.5), flag=True, inner=Inner("b"), derived="x")


def test_nothing_is_allowed_where_the_type_says_so(tmp_path):
    """An optional setting may be empty."""
    assert read(tmp_path, "format: 1\ncount: 2\nfolder:\n").folder is None


def test_unknown_setting_has_a_hint(tmp_path):
    """A misspelt setting is refused and its near name is told."""
    with pytest.raises(SettingsError, match="unknown setting 'cuont'") as caught:
        read(tmp_path, "format: 1\ncount: 1\ncuont: 2\n")
    assert caught.value.hint == "did you mean 'count'?"


def test_unknown_setting_without_a_near_name_lists_all(tmp_path):
    """If nothing is near, all settings are told; derived ones are not among them."""
    with pytest.raises(SettingsError) as caught:
        read(tmp_path, "format: 1\ncount: 1\nzzz: 2\n")
    assert "rate" in caught.value.hint
    assert "derived" not in caught.value.hint


def test_derived_settings_cannot_be_set(tmp_path):
    """What the program sets, a file may not."""
    with pytest.raises(SettingsError, match="unknown setting 'derived'"):
        read(tmp_path, "format: 1\ncount: 1\nderived: y\n")


def test_missing_setting_is_named(tmp_path):
    """A setting without default must be there."""
    with pytest.raises(SettingsError, match="'count' is missing"):
        read(tmp_path, "format: 1\n")


@pytest.mark.parametrize(
    "line",
    [
        "count: two",
        "count: 2.5",
        "count: true",
        "count:",
        "rate: fast",
        "rate: true",
        "rate: 1" + "0" * 400,
        "folder: 3",
        "numbers: 3",
        "numbers: [a]",
        "flag: 1",
        "inner: 3",
        "inner: {word: 3}",
        "inner: {wrod: a}",
    ],
)
def test_wrong_type_is_refused(tmp_path, line):
    """A value of another type is refused with the name of its setting."""
    rest = "" if line.startswith("count") else "count: 1\n"
    with pytest.raises(SettingsError, match=line.split(":")[0]):
        read(tmp_path, f"format: 1\n{rest}{line}\n")


@pytest.mark.parametrize("text", ["count: 1\n", "format: 2\ncount: 1\n", "format: x\ncount: 1\n"])
def test_other_formats_are_refused(tmp_path, text):
    """A file of another format is refused by name."""
    with pytest.raises(SettingsError, match="format"):
        read(tmp_path, text)


@pytest.mark.parametrize("text", ["", "- 1\n", "a: [1\n", "1: 2\n", "a: 2024-13-45\n", "\x00"])
def test_what_is_no_mapping_is_refused(tmp_path, text):
    """A file that is not 'key: value' lines is refused."""
    with pytest.raises(SettingsError, match=r"demo\.yaml"):
        read(tmp_path, text)


def test_missing_file_has_a_hint(tmp_path):
    """A missing file says what to run."""
    with pytest.raises(SettingsError, match=r"demo\.yaml: not found") as caught:
        read_settings(tmp_path / "demo.yaml", Demo)
    assert "init" in caught.value.hint


def test_unreadable_files_are_refused(tmp_path):
    """A folder or other bytes in the place of a file are refused."""
    (tmp_path / "demo.yaml").mkdir()
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\xff")
    for name in ("demo.yaml", "bytes.yaml"):
        with pytest.raises(SettingsError, match="cannot be read"):
            read_settings(tmp_path / name, Demo)


def test_study_is_read_with_its_groups(tmp_path):
    """study.yaml and the gene groups beside it are one study."""
    study = read_study(write_study(tmp_path))
    assert study.groups == (("first", ("A", "C")), ("second", ("B",)))
    assert study.time_bins == 4


def test_digest_is_stable(tmp_path):
    """Comments, order and blanks do not change a study."""
    lines = STUDY.splitlines()
    other = "\n".join([lines[0], "# a comment", *reversed(lines[1:])])
    one = read_study(write_study(tmp_path / "a"))
    two = read_study(write_study(tmp_path / "b", other, "first,second\nA, B\nC,\n,\n"))
    assert one.digest == two.digest


OTHER = {
    "name": "other",
    "encoder": "enc-v2",
    "feature_width": 16,
    "extraction": Extraction(pixels=128),
    "time_bin_edges": (12.0, 36.0),
    "groups": (("first", ("A",)),),
    "gene_types": ("rnaseq",),
    "gene_clip": 4.0,
    "gene_selection": "fdr",
    "gene_selection_level": 0.1,
    "gene_selection_top": 7,
    "feature_similarity": 0.25,
    "validation": 0.2,
    "selected_round": "validation",
    "ensemble": 2,
    "train_alone": True,
    "replicates": 99,
    "preset": "compact",
    "width": 64,
    "rounds": 3,
    "local_epochs": 2,
    "batch_cases": 8,
    "learning_rate": 1e-3,
    "weight_decay": 0.0,
    "dropout": 0.1,
    "gene_loss_weight": 1.0,
    "held_out": 0.3,
    "minimum_cases": 20,
    "minimum_sites": 2,
    "training_precision": "bfloat16",
    "exchange_precision": "bfloat16",
    "round_minutes": 5.0,
    "seed": 7,
    "privacy": "local",
    "epsilon": 1.0,
    "delta": 1e-6,
    "accountant": "rdp",
    "clipping_norm": 0.5,
    "sampling_rate": 0.1,
    "private_steps": 2,
    "nominal_cases": 300,
    "class_weights": (0.5,) * 8,
    "scaling": (("A_rnaseq", 0.0, 2.0),),
}


SETTINGS = [field.name for field in dataclasses.fields(StudyConfig) if field.name not in FILES]
PRIVATE = {"validation": 0.0, "scaling": (("A_rnaseq", 0.0, 1.0),)}


@pytest.mark.parametrize("name", SETTINGS)
def test_digest_knows_every_setting(tmp_path, name):
    """No setting can change without changing the digest; a file's name is none."""
    study = dataclasses.replace(read_study(write_study(tmp_path)), validation=0.1)
    study = dataclasses.replace(study, **(PRIVATE if name == "privacy" else {}))
    assert dataclasses.replace(study, **{name: OTHER[name]}).digest != study.digest


def test_digest_knows_the_groups_file(tmp_path):
    """One gene more in the CSV is another study."""
    one = read_study(write_study(tmp_path / "a"))
    two = read_study(write_study(tmp_path / "b", groups="first,second\nA,B\nC,D\n"))
    assert one.digest != two.digest


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("name: demo", "name: ../up"),
        ("name: demo", "name: Demo"),
        ("[12, 36, 60]", "[]"),
        ("[12, 36, 60]", "[36, 12]"),
        ("[12, 36, 60]", "[0, 12]"),
        ("[12, 36, 60]", "[12, .inf]"),
        ("[12, 36, 60]", "[12, .nan]"),
        ("feature_width: 8", "feature_width: 0"),
        ("format: 1", "format: 1\npreset: huge"),
        ("format: 1", "format: 1\ntraining_precision: float16"),
        ("format: 1", "format: 1\nexchange_precision: float16"),
        ("format: 1", "format: 1\nlearning_rate: 0"),
        ("format: 1", "format: 1\ngene_clip: .inf"),
        ("format: 1", "format: 1\nseed: -1"),
        ("format: 1", "format: 1\nprivacy: central"),
        ("format: 1", "format: 1\nprivacy: local"),  # without gene_scaling
        ("format: 1", "format: 1\nepsilon: 0"),
        ("format: 1", "format: 1\ndelta: 1"),
        ("format: 1", "format: 1\nsampling_rate: 1.1"),
        ("format: 1", "format: 1\nclipping_norm: 0"),
        ("format: 1", "format: 1\naccountant: gdp"),
        ("format: 1", "format: 1\ngene_scaling: ../scaling.csv"),
        ("format: 1", "format: 1\ngene_scaling: absent.csv"),
        ("format: 1", "format: 1\nweight_decay: .nan"),
        ("format: 1", "format: 1\ndropout: 1.0"),
        ("format: 1", "format: 1\nheld_out: -0.1"),
        ("gene_groups: groups.csv", "gene_groups: ../groups.csv"),
        ("gene_groups: groups.csv", "gene_groups: 3"),
        ("gene_groups: groups.csv", "gene_groups: absent.csv"),
    ],
)
def test_impossible_study_is_refused(tmp_path, old, new):
    """What cannot work is refused before any site sees it, with a hint."""
    with pytest.raises(SettingsError) as caught:
        read_study(write_study(tmp_path, STUDY.replace(old, new)))
    assert caught.value.hint


@pytest.mark.parametrize("groups", ["", "\n", "first,second\nA,\n", 'first\n"A\n', "first\n"])
def test_bad_groups_are_refused(tmp_path, groups):
    """A groups file without genes, or none at all, is refused."""
    with pytest.raises(SettingsError, match=r"groups\.csv"):
        read_study(write_study(tmp_path, groups=groups))


SCALING = "column,centre,scale\nA_rnaseq,1.5,2\nB_rnaseq,-1,0.5\n"


def private_study(folder, more="", scaling=SCALING):
    """A private study's folder."""
    text = STUDY.replace("format: 1", f"format: 1\nprivacy: local\ngene_scaling: s.csv\n{more}")
    write_study(folder, text)
    (folder / "s.csv").write_text(scaling)
    return folder


def test_a_private_study_is_read(tmp_path):
    """Its public constants are part of it; off is a word, not false."""
    study = read_study(private_study(tmp_path / "a"))
    assert study.is_private
    assert study.scaling == (("A_rnaseq", 1.5, 2.0), ("B_rnaseq", -1.0, 0.5))
    other = read_study(private_study(tmp_path / "b", scaling=SCALING.replace("1.5", "1.6")))
    assert other.digest != study.digest
    off = read_study(
        write_study(tmp_path / "c", STUDY.replace("format: 1", "format: 1\nprivacy: off"))
    )
    assert not off.is_private


@pytest.mark.parametrize(
    ("more", "named"),
    [
        ("validation: 0.1", "validation"),
        ("gene_selection: fdr", "gene_selection"),
        ("train_alone: true", "train_alone"),
        ("delta: 1e-3", "delta"),
        ("class_weights: [1, 1]", "class_weights"),
        ("class_weights: [2, 1, 1, 1, 1, 1, 1, 1]", "class_weights"),
    ],
)
def test_what_noise_would_not_cover_is_refused(tmp_path, more, named):
    """By the name of the setting, with what to write."""
    with pytest.raises(SettingsError, match=named) as caught:
        read_study(private_study(tmp_path, more))
    assert caught.value.hint


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("", "first line"),
        ("column;centre;scale\n", "first line"),
        ("column,centre,scale\nA_rnaseq,1\n", "line 2"),
        ("column,centre,scale\nA_rnaseq,1,0\n", "line 2"),
        ("column,centre,scale\nA_rnaseq,1,1\nA_rnaseq,1,1\n", "line 3"),
        ("column,centre,scale\nA_rnaseq,nan,1\n", "line 2"),
    ],
)
def test_bad_scaling_is_refused(tmp_path, text, where):
    """A file that is none, or a line that scales nothing."""
    with pytest.raises(SettingsError, match=where):
        read_study(private_study(tmp_path, scaling=text))
