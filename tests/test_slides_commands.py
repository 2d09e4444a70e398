"""``ghanet-client slides check`` and ``extract`` as a person runs them: every bad slide named."""

import csv
import os
import shutil
from pathlib import Path

import cv2
import h5py
import numpy as np
import pytest
from local import edit
from mirax_file import write_mirax
from slide_files import BROKEN, broken_slides, tissue_image, write_aperio, write_scn, write_tiff
from slide_site import write_slide_site, write_slides, write_table

import client.cli
from client.features import find_features
from client.handcrafted import HandcraftedEncoder
from ghanet_model.extraction import DEMONSTRATION, HANDCRAFTED

SHARED = Path(__file__).resolve().parents[2] / "shared" / "slides"
GOOD = 190
HINTS = {  # a word of what each bad slide is refused for
    "picture": "no slide",
    "empty": "no slide",
    "alone": "no slide",
    "cut": "no slide",
    "destroyed": "damaged",
    "unscaled": "does not say its microns per pixel",
    "screen": "352.8 microns per pixel",
    "fine": "0.01 microns per pixel",
    "coarse": "the study needs 0.5 or finer",
    "blank": "no tissue",
}


def run(home: Path, *arguments: str, capsys) -> tuple[int, str, str]:
    """Exit code, what was printed, and what went to standard error."""
    code = client.cli.main([*arguments, "--folder", str(home)])
    said = capsys.readouterr()
    return code, said.out, said.err


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two hundred slides of four vendors in subfolders, ten of them bad in different ways."""
    home = write_slide_site(tmp_path_factory.mktemp("archive") / "hospital")
    image = tissue_image(np.random.default_rng(1), 1024)
    writers = (
        (".tiff", lambda p: write_tiff(p, image, mpp=0.5)),
        (".svs", lambda p: write_aperio(p, image, mpp=0.5)),
        (".scn", lambda p: write_scn(p, image, mpp=0.5, offset=(64, 64), collection=(1200, 1200))),
        (".mrxs", lambda p: write_mirax(p, image, mpp=0.5)),
    )
    first = {}
    for suffix, write in writers:
        write(home / "archive" / f"good-000{suffix}")
        first[suffix] = home / "archive" / f"good-000{suffix}"
    names = []
    for number in range(1, GOOD + 1):
        suffix = writers[number % 4][0]
        path = home / "archive" / f"year-{number % 3}" / f"good-{number:03d}{suffix}"
        path.parent.mkdir(exist_ok=True)
        shutil.copy(first[suffix], path)
        if suffix == ".mrxs":
            shutil.copytree(first[suffix].with_suffix(""), path.with_suffix(""))
        names.append(path.name)
    for suffix, path in first.items():
        path.unlink()
        if suffix == ".mrxs":
            shutil.rmtree(path.with_suffix(""))
    broken_slides(home / "archive" / "bad", image)
    write_table(home, [*names, *BROKEN])
    return home


def test_ten_bad_slides_of_two_hundred_are_named(archive, capsys):
    """Check says each with its reason and exits 1; its table has all."""
    code, out, err = run(archive, "slides", "check", capsys=capsys)
    assert code == 1
    assert "10 of 200 slides cannot be used, see above" in err
    for stem, why in HINTS.items():
        line = next(line for line in out.splitlines() if line.startswith(f"refused: {stem} (row"))
        assert why in line
    assert "190 of 200 slides can be used" in out
    assert "patches per second and worker" in out
    with (archive / "slides_check.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 200
    assert sum(row["state"] == "usable" for row in rows) == GOOD
    assert {row["vendor"] for row in rows if row["state"] == "usable"} == {
        "generic-tiff",
        "aperio",
        "leica",
        "mirax",
    }
    assert oct((archive / "slides_check.csv").stat().st_mode)[-3:] == "600"


def test_the_others_get_features(archive, capsys):
    """190 files, the ten named again, contact sheets; a second run has nothing to do."""
    code, out, err = run(archive, "slides", "extract", "--workers", "2", capsys=capsys)
    assert code == 1
    assert "10 slides have no features" in err
    assert sum(line.startswith("refused: ") for line in out.splitlines()) == 10
    assert len(find_features(archive / "features").stems) == GOOD
    sheets = sorted(archive.glob("contact_sheet_*.png"))
    assert len(sheets) == 4
    page = cv2.imread(str(sheets[0]))
    assert (page < 128).any(axis=2).mean() > 0.02  # it shows something
    code, out, _ = run(archive, "slides", "extract", capsys=capsys)
    assert "0 slides made (0 patches), 190 were done before, 10 refused" in out


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A hospital with two good slides."""
    found = write_slide_site(tmp_path / "hospital")
    write_slides(found, ["one.tiff", "two.tiff"])
    write_table(found, ["one.tiff", "two.tiff"])
    return found


def test_all_good_is_exit_0(home, capsys):
    """Both commands, and then the hospital's own check finds the features."""
    assert run(home, "slides", "check", capsys=capsys)[0] == 0
    code, out, err = run(home, "slides", "extract", capsys=capsys)
    assert (code, err) == (0, "")
    assert "2 slides made" in out
    code, out, _ = run(home, "check", capsys=capsys)
    assert "features                trident" in out
    assert "problems: none" in out


def test_the_table_decides(home, capsys):
    """A file in no row is told and not used; a row without file is refused; so are two files."""
    write_slides(home, ["three.tiff"])
    shutil.copy(home / "archive" / "one.tiff", home / "archive" / "one.tif")
    write_table(home, ["one", "two.svs", "gone.svs"])
    code, out, _ = run(home, "slides", "check", capsys=capsys)
    assert code == 1
    assert "in no row of the slides table: 1 files, not used: three" in out
    assert "refused: one (row 2): 2 files have this name" in out
    assert "refused: gone (row 4): no file of this name" in out
    assert "1 of 3 slides can be used" in out


def test_without_a_table_every_file_is_taken(home, capsys):
    """A first look, before cases are known."""
    (home / "slides.csv").unlink()
    code, out, _ = run(home, "slides", "check", capsys=capsys)
    assert code == 0
    assert "slides.csv is not there yet: every slide file is taken" in out
    assert "2 of 2 slides can be used" in out


def test_a_resolution_from_the_table(home, capsys):
    """A silent slide is used with the column mpp, and the check says where it is from."""
    write_tiff(
        home / "archive" / "two.tiff", tissue_image(np.random.default_rng(3), 1024), mpp=None
    )
    assert run(home, "slides", "check", capsys=capsys)[0] == 1
    write_table(home, ["one.tiff", "two.tiff"], two=0.5)
    code, out, _ = run(home, "slides", "check", capsys=capsys)
    assert code == 0
    assert "slides table" in out


@pytest.mark.parametrize("mpp", ["-1", "half", "0", "40"])
def test_a_resolution_that_is_none(home, capsys, mpp):
    """The row is named, not what stands in it."""
    write_table(home, ["one.tiff", "two.tiff"], two=mpp)
    code, _, err = run(home, "slides", "check", capsys=capsys)
    assert code == 1
    assert "slides.csv row 3: mpp is not a number of microns per pixel" in err


@pytest.mark.parametrize(
    ("settings", "what"),
    [
        ({"slide_files": None}, "'slide_files' is missing"),
        ({"slide_files": "nowhere"}, "slide_files: folder not found"),
        ({"encoder_file": None}, "no file of the encoder 'mean-v1'"),
        ({"encoder": "uni"}, "encoder is 'uni', the study uses 'mean-v1'"),
    ],
)
def test_settings_that_cannot_work(home, capsys, settings, what):
    """One line and a hint."""
    edit(home / "site.yaml", settings)
    code, _, err = run(home, "slides", "extract", capsys=capsys)
    assert code == 1
    assert what in err
    assert "hint:" in err


def test_a_study_of_other_patches_refuses_features(home, capsys):
    """Features cut at one size are no features of a study that wants another."""
    run(home, "slides", "extract", capsys=capsys)
    edit(home / "study.yaml", {"extraction": {"pixels": 128, "mpp": 0.5}})
    code, out, _ = run(home, "check", capsys=capsys)
    assert code == 1
    assert "patches are 32 microns wide, the study's are 64" in " ".join(out.split())


def test_names_that_are_no_text_are_told(home, capsys):
    """Bytes of another alphabet: refused by a printable name without a table, told with one."""
    shutil.copy(home / "archive" / "one.tiff", os.fsencode(home / "archive") + b"/M\xfcller.tiff")
    code, out, _ = run(home, "slides", "check", capsys=capsys)
    assert code == 0
    assert "in no row of the slides table: 1 files, not used: M\\udcfcller.tiff" in out
    (home / "slides.csv").unlink()
    code, out, _ = run(home, "slides", "check", capsys=capsys)
    assert code == 1
    assert "refused: M\\udcfcller.tiff: its file name is not UTF-8 text" in out


def test_composed_and_decomposed_letters_are_one_name(home, capsys):
    """A table from one system, files from another."""
    composed, decomposed = "J\u00fcrgen.tiff", "Ju\u0308rgen.tiff"
    (home / "archive" / "one.tiff").rename(home / "archive" / decomposed)
    write_table(home, [composed, "two.tiff"])
    assert run(home, "slides", "extract", capsys=capsys)[0] == 0
    assert "problems: none" in run(home, "check", capsys=capsys)[1]


def test_linked_folders_are_followed(home, capsys, tmp_path):
    """A batch on another disk counts; a link back to where it came from does no harm."""
    batch = tmp_path / "disk" / "batch"
    batch.mkdir(parents=True)
    (home / "archive" / "two.tiff").rename(batch / "two.tiff")
    (home / "archive" / "linked").symlink_to(batch)
    (batch / "back").symlink_to(home / "archive")
    code, out, _ = run(home, "slides", "check", capsys=capsys)
    assert code == 0
    assert "2 of 2 slides can be used" in out


def test_a_coarser_slide_is_told(home, capsys):
    """A tenth coarser than the study: used, and said in words."""
    write_table(home, ["one.tiff", "two.tiff"], two=0.55)
    code, out, _ = run(home, "slides", "check", capsys=capsys)
    assert code == 0
    assert "note: two (row 3): 0.55 microns per pixel, coarser than the study's" in out


def test_the_demonstration_encoder_says_so(home, capsys):
    """In its files and in both checks."""
    settings = {"encoder": HANDCRAFTED}
    edit(home / "study.yaml", settings | {"feature_width": HandcraftedEncoder().width})
    edit(home / "site.yaml", settings | {"encoder_file": None})
    assert DEMONSTRATION in run(home, "slides", "check", capsys=capsys)[1]
    assert run(home, "slides", "extract", capsys=capsys)[0] == 0
    said = run(home, "check", capsys=capsys)[1]
    assert DEMONSTRATION in " ".join(said.split())
    (path, _) = sorted((home / "features").rglob("*.h5"))
    with h5py.File(path) as file:
        assert file.attrs["demonstration"]


@pytest.mark.skipif(not SHARED.is_dir(), reason="no sample slides here")
def test_dicom_levels_are_one_slide(tmp_path, capsys):
    """Two files of one series are one slide; a folder with one series names it."""
    home = write_slide_site(tmp_path / "hospital")
    for folder, name in (("case-7", "boxes_0"), ("case-7", "boxes_1"), (".", "sm_image")):
        (home / "archive" / folder).mkdir(exist_ok=True)
        source = next(SHARED.glob(f"*{name}.dcm"))
        shutil.copy(source, home / "archive" / folder / source.name)
    _, out, _ = run(home, "slides", "check", capsys=capsys)
    assert "1 DICOM files are further levels of slides that are listed" in out
    assert "refused: openslide-py-boxes_0: 16 x 16 pixels, smaller than one patch" in out
    assert "0 of 2 slides can be used" in out
    write_table(home, ["case-7", "highdicom-sm_image"])
    _, out, _ = run(home, "slides", "check", capsys=capsys)
    assert "refused: case-7 (row 2): 16 x 16 pixels, smaller than one patch" in out
    assert "in no row" not in out
