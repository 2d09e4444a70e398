"""``ghanet-client predict SLIDE``: one slide, one answer, where it looked, and every refusal."""

import csv
import json
import re
from pathlib import Path

import h5py
import jsonschema
import numpy as np
import pytest
from local import edit
from mirax_file import write_mirax
from slide_files import broken_slides, tissue_image, write_tiff
from slide_site import WIDTH, write_release, write_slide_site

import client.cli
from client import slide_words as words
from client.coords import Coords
from client.features import read_features
from client.slide_pictures import heat_map
from client.slides import Box, SlideFacts
from ghanet_model.invitation import RELEASE_KEY_FILE
from ghanet_model.keys import make_release_key
from ghanet_model.release import NOTICE, read_release

SQUARE = {
    "type": "object",
    "required": ["type", "geometry", "properties"],
    "properties": {
        "type": {"const": "Feature"},
        "geometry": {
            "type": "object",
            "required": ["type", "coordinates"],
            "properties": {
                "type": {"const": "Polygon"},
                "coordinates": {
                    "type": "array",
                    "minItems": 1,
                    "maxItems": 1,
                    "items": {
                        "type": "array",
                        "minItems": 5,
                        "maxItems": 5,
                        "items": {
                            "type": "array",
                            "minItems": 2,
                            "maxItems": 2,
                            "items": {"type": "number", "minimum": 0},
                        },
                    },
                },
            },
        },
        "properties": {
            "type": "object",
            "required": ["objectType", "classification", "measurements"],
            "additionalProperties": False,
            "properties": {
                "objectType": {"enum": ["annotation", "detection", "tile", "cell"]},
                "isLocked": {"type": "boolean"},
                "classification": {
                    "type": "object",
                    "required": ["name", "color"],
                    "properties": {
                        "name": {"type": "string", "minLength": 1},
                        "color": {
                            "type": "array",
                            "minItems": 3,
                            "maxItems": 3,
                            "items": {"type": "integer", "minimum": 0, "maximum": 255},
                        },
                    },
                },
                "measurements": {"type": "object", "additionalProperties": {"type": "number"}},
            },
        },
    },
}
QUPATH = {  # what QuPath 0.4 and newer imports: objects of its kinds, RGB colours, named numbers
    "type": "object",
    "required": ["type", "features"],
    "properties": {
        "type": {"const": "FeatureCollection"},
        "features": {"type": "array", "items": SQUARE},
    },
}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A hospital with an encoder, a release in its inbox and slides of two vendors."""
    found = write_slide_site(tmp_path / "hospital")
    write_release(found)
    image = tissue_image(np.random.default_rng(2), 1024)
    write_tiff(found / "archive" / "one.tiff", image, mpp=0.5)
    write_mirax(found / "archive" / "two.mrxs", image, mpp=0.5)
    return found


def predict(home: Path, *paths: Path, capsys) -> tuple[int, str, str]:
    """Exit code and what was said."""
    code = client.cli.main(["predict", *map(str, paths), "--folder", str(home)])
    said = capsys.readouterr()
    return code, said.out, said.err


def answer(home: Path, name: str) -> dict:
    """What is said of a slide."""
    return json.loads((home / "predictions" / f"{name}.json").read_text())


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-200] ^= 1
    path.write_bytes(content)


def make_key(home: Path) -> None:
    """Another consortium's key in the place of this one's."""
    make_release_key(home / "other.key")
    (home / "keys" / RELEASE_KEY_FILE).write_bytes((home / "other.key.pub").read_bytes())


def test_a_folder_of_slides(home, capsys):
    """A report, JSON and GeoJSON for each, a table of all; readable by their owner only."""
    code, out, err = predict(home, home / "archive", capsys=capsys)
    assert (code, err) == (0, "")
    assert NOTICE in out.splitlines()
    assert "\n2 slides predicted: " in out
    lines = (home / "predictions" / "slides.csv").read_text().splitlines()
    rows = list(csv.DictReader(line for line in lines if not line.startswith("#")))
    assert lines[0] == f"# {NOTICE}"
    assert [row["slide"] for row in rows] == ["one", "two"]
    assert answer(home, "one")["notice"] == NOTICE
    kinds = {path.suffix for path in (home / "predictions").glob("*.*")}
    assert kinds == {".html", ".json", ".geojson", ".csv", ".safetensors"}
    for path in (home / "predictions").glob("*.*"):
        assert oct(path.stat().st_mode)[-3:] == "600"


def test_the_answer_is_the_releases(home, capsys):
    """Risk, group and survival are what the model says of the slide's features."""
    predict(home, home / "archive" / "one.tiff", capsys=capsys)
    found = answer(home, "one")
    public = (home / "keys" / RELEASE_KEY_FILE).read_bytes()
    release = read_release(home / "inbox" / "small.ghanet", public_pem=public)
    (path,) = (home / "predictions" / "features").glob("*.h5")
    features = read_features(path, width=WIDTH, encoder="mean-v1", where="here")
    prediction = release.model().predict([features])
    risk = float(prediction.risk[0])
    assert found["risk"] == pytest.approx(risk, abs=1e-6)
    assert found["risk_group"] == release.risk_group(risk)
    assert [one["months"] for one in found["survival"]] == [12, 36, 60]
    chances = [one["probability"] for one in found["survival"]]
    assert chances == pytest.approx(prediction.survival[0, :3].tolist(), abs=1e-6)
    assert found["release"]["sha256"] == release.sha256
    assert found["patches"] == len(features)


@pytest.mark.parametrize("name", ["one.tiff", "two.mrxs"])
def test_geojson_is_what_qupath_imports(home, capsys, name):
    """By a written schema; squares lie inside what was scanned, high weights above low ones."""
    predict(home, home / "archive" / name, capsys=capsys)
    stem = name.partition(".")[0]
    content = json.loads((home / "predictions" / f"{stem}.geojson").read_text())
    jsonschema.validate(content, QUPATH)
    corners = np.array(
        [square["geometry"]["coordinates"][0] for square in content["features"]]
    )  # (squares, 5, 2)
    assert corners.max() <= 1024  # from the corner of the scanned area, not of MIRAX's plane
    assert (corners[:, 2] - corners[:, 0] == 64).all()
    kinds = [square["properties"]["classification"]["name"] for square in content["features"]]
    weights = np.array(
        [square["properties"]["measurements"]["weight"] for square in content["features"]]
    )
    high = np.array([kind == "high weight" for kind in kinds])
    assert weights[high].min() >= weights[~high].max()


def test_both_vendors_show_the_same_places(home, capsys):
    """The same image in a larger plane: the same squares, once its origin is taken off."""
    predict(home, home / "archive", capsys=capsys)
    one, two = (
        json.loads((home / "predictions" / f"{name}.geojson").read_text())["features"]
        for name in ("one", "two")
    )
    assert [s["geometry"] for s in one] == [s["geometry"] for s in two]


def test_it_goes_on_where_it_was(home, capsys):
    """What is there is not computed again; another release is another answer."""
    predict(home, home / "archive" / "one.tiff", capsys=capsys)
    assert (
        "2 slides predicted, 1 of them before" in predict(home, home / "archive", capsys=capsys)[1]
    )
    path = home / "predictions" / "one.json"
    path.write_text("{")
    assert (
        "2 slides predicted, 1 of them before" in predict(home, home / "archive", capsys=capsys)[1]
    )
    assert answer(home, "one")["risk_group"]


def test_what_is_lost_beside_an_answer_is_made_again(home, capsys):
    """Its report, its places, its weights; the answer alone is not enough."""
    slide, folder = home / "archive" / "one.tiff", home / "predictions"
    predict(home, slide, capsys=capsys)
    before = {path: path.stat().st_size for path in folder.glob("one.*")}
    assert {path.suffix for path in before} == {".json", ".geojson", ".html", ".safetensors"}
    for path, size in before.items():
        path.write_bytes(b"x") if path.suffix == ".safetensors" else path.unlink()
        assert "1 slide predicted: " in predict(home, slide, capsys=capsys)[1]
        assert path.stat().st_size == size
    assert "1 slide predicted, 1 of them before" in predict(home, slide, capsys=capsys)[1]


def test_a_refused_slide_keeps_no_answer(home, capsys):
    """One of before was of another file of this name."""
    slide, folder = home / "archive" / "one.tiff", home / "predictions"
    predict(home, slide, capsys=capsys)
    slide.write_bytes(slide.read_bytes()[:5000])
    assert predict(home, slide, capsys=capsys)[0] == 1
    assert list(folder.glob("one.*")) == []


def test_feature_files_are_enough(home, capsys):
    """Features that were made before give the same answer without the slide."""
    predict(home, home / "archive" / "one.tiff", capsys=capsys)
    (path,) = (home / "predictions" / "features").glob("one.h5")
    moved = home / "elsewhere" / "moved.h5"
    moved.parent.mkdir()
    path.rename(moved)
    assert predict(home, moved, capsys=capsys)[0] == 0
    assert answer(home, "moved")["risk"] == answer(home, "one")["risk"]


def test_bad_slides_are_named_and_the_others_answered(home, capsys):
    """Ten of them, each with reason and remedy; exit code 1."""
    broken_slides(home / "archive" / "bad", tissue_image(np.random.default_rng(1), 1024))
    code, out, err = predict(home, home / "archive", capsys=capsys)
    assert code == 1
    assert "no answer for 10 of 12 slides" in err
    assert out.count("refused: ") == 10
    assert "refused: blank: no tissue" in out
    assert "refused: unscaled: does not say its microns per pixel" in out
    assert not (home / "predictions" / "blank.json").exists()


def page_of(home: Path, name: str) -> str:
    """The report of a slide."""
    return (home / "predictions" / f"{name}.html").read_text()


def test_the_report_of_a_slide(home, capsys):
    """First whether to believe it, then what it says; one file that asks nobody for anything."""
    predict(home, home / "archive" / "one.tiff", capsys=capsys)
    page, found = page_of(home, "one"), answer(home, "one")
    titles = re.findall(r"<h2><span[^>]*>\d</span> (.*?)</h2>", page)
    assert titles == [
        "Can this answer be used?",
        "Group of risk",
        "Survival",
        "Evaluated cases of each group",
        "Where the model looked",
        "Gene groups",
        "How good the release is",
        "Limits",
        "Where this comes from",
    ]
    assert page.index(words.BANNER) < page.index("<h2>")
    assert words.UNCHECKED in page
    assert f'<span class="value">{found["risk_group"]}</span>' in page
    for one in found["survival"]:
        assert f"{100 * one['probability']:.0f}%" in page
    assert "not estimable" in page
    assert found["release"]["sha256"] in page
    assert len(re.findall(r'<img src="data:image/jpeg;base64,[A-Za-z0-9+/=]+"', page)) == 17
    assert not re.search(r"https?://|<script|<link|@import", re.sub(r'xmlns="[^"]*"', "", page))


def test_what_a_release_does_not_say_is_said(home, capsys):
    """No curves, no comparison, no percentile, no band: each in words, never a number."""
    predict(home, home / "archive" / "one.tiff", capsys=capsys)
    page = page_of(home, "one")
    for said in (words.NO_REFERENCE, words.NO_PERFORMANCE, words.NO_PERCENTILE, words.NO_BAND):
        assert said in page


def test_curves_that_are_withheld_say_why(home, capsys):
    """Small numbers are the reason, and that is another one than none at all."""
    withheld = {"hospital-a": ["low", "intermediate", "high"]}
    write_release(home, groups={"survival": None, "withheld": withheld})
    predict(home, home / "archive" / "one.tiff", capsys=capsys)
    assert words.WITHHELD in page_of(home, "one")


def test_the_report_of_a_feature_file(home, capsys):
    """Without the slide there is no picture, and that is said; a name is text, never markup."""
    path = home / "<b>few.h5"
    with h5py.File(path, "w") as file:
        file["features"] = np.random.default_rng(1).random((9, WIDTH)).astype(np.float32)
    assert predict(home, path, capsys=capsys)[0] == 0
    page = page_of(home, "<b>few")
    assert words.NO_HEAT_MAP in page
    assert "<h1>Slide &lt;b&gt;few</h1>" in page


def test_the_heat_map_shows_where_the_weight_is():
    """Coloured where patches are, yellow at the highest weight, untouched elsewhere."""
    box = Box(10, 20, 640, 640)
    facts = SlideFacts("test", 700, 700, 0.5, "file", None, (1.0,), box, (), "")
    corners = np.array([[10, 20], [10 + 128, 20], [10 + 256, 20 + 256]])
    coords = Coords(corners, 128.0, 0, 128, 128)
    shown = heat_map(_White(facts), coords, np.array([0.2, 0.7, 0.1]))
    assert shown.shape == (640, 640, 3)
    low, high = shown[300, 300].astype(int), shown[60, 200].astype(int)
    assert high[0] > high[2] + 40  # yellow
    assert low[2] > low[0] + 20  # blue
    assert (shown[600, 600] == 255).all()


class _White:
    """A slide of glass."""

    def __init__(self, facts: SlideFacts) -> None:
        self.facts = facts

    def read(self, *_: int, width: int, height: int, **__: int):
        """Nothing but white."""
        return np.full((height, width, 3), 255, np.uint8)


def test_too_little_tissue(home, capsys):
    """Four patches say nothing."""
    path = home / "few.h5"
    with h5py.File(path, "w") as file:
        file["features"] = np.zeros((4, WIDTH), np.float32)
    code, out, _ = predict(home, path, capsys=capsys)
    assert code == 1
    assert "refused: few: 4 patches, too little tissue" in out


def test_features_of_another_encoder(home, capsys):
    """By name, as a feature file says it."""
    path = home / "other.h5"
    with h5py.File(path, "w") as file:
        file["features"] = np.zeros((9, WIDTH), np.float32)
        file["features"].attrs["encoder"] = "uni"
    code, out, _ = predict(home, path, capsys=capsys)
    assert code == 1
    assert "made by encoder 'uni', the study uses 'mean-v1'" in out


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda home: edit(home / "site.yaml", {"encoder": "uni"}), "the release needs 'mean-v1'"),
        (lambda home: (home / "mean.onnx").unlink(), "encoder file mean.onnx: not found"),
        (lambda home: (home / "inbox" / "small.ghanet").unlink(), "no release in inbox/"),
        (lambda home: _flip(home / "inbox" / "small.ghanet"), "changed after signing"),
        (make_key, "not signed by this consortium's release key"),
    ],
)
def test_what_ends_it_before_any_slide(home, capsys, change, what):
    """One line; nothing is written."""
    change(home)
    code, _, err = predict(home, home / "archive", capsys=capsys)
    assert code == 1
    assert what in err
    assert not list((home / "predictions").glob("*.json"))


@pytest.mark.parametrize("path", ["nowhere.svs", "empty"])
def test_paths_that_are_nothing(home, capsys, path):
    """Said by the path that was given."""
    (home / "empty").mkdir()
    code, _, err = predict(home, home / path, capsys=capsys)
    assert code == 1
    assert path in err
