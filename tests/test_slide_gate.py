"""The gate of a slide, percentiles, clinical variables, reliability: all from the release."""

import csv
import json
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from slide_files import tissue_image, write_tiff
from slide_site import WIDTH, write_release, write_slide_site

import client.cli
from client import slide_words as words
from client.clinical_answer import patient_of
from client.slide_curve import survival_of
from ghanet_model.errors import SettingsError
from ghanet_model.slide_reference import (
    PLACES,
    Moments,
    Shape,
    SlideReference,
    described,
)

CLINICAL = {
    "covariates": ["age", "female", "grade", "stage"],
    "mean": [60.0, 0.5, 2.0, 2.0],
    "sd": [10.0, 0.5, 0.8, 1.0],
    "beta": [0.4, 0.0, 0.2, 0.6],
    "risk_boxes": [[-1e30, 0.0, 20], [0.0, 1.0, 20], [-1e30, 1e30, 10]],
}
STACKED = {
    "covariates": [*CLINICAL["covariates"], "model risk"],
    "mean": [*CLINICAL["mean"], -2.0],
    "sd": [*CLINICAL["sd"], 0.5],
    "beta": [0.3, 0.0, 0.1, 0.5, 0.7],
    "risk_boxes": [[-1e30, 1e30, 50]],
}


def reference_of(slides: list[torch.Tensor]) -> SlideReference:
    """Of these slides, in one place."""
    numbers = np.array([described(one) for one in slides])
    count = np.array([float(len(slides))])
    moments = Moments.of({"count": count, "total": numbers.sum(0), "squares": (numbers**2).sum(0)})
    places = moments.places(numbers)
    shape = Shape.of(
        moments, {"count": count, "total": places.sum(0), "products": places.T @ places}
    )
    logs = np.array(
        [shape.log_distances(n, len(one)) for n, one in zip(numbers, slides, strict=True)]
    )
    return SlideReference.of(
        shape, {"count": count, "total": logs.sum(0), "squares": (logs**2).sum(0)}
    )


def training_slides() -> list[torch.Tensor]:
    """Features as the mean encoder has them of the tissue of tests: what 'features' below holds."""
    rng = np.random.default_rng(0)
    return [usual_features(rng) for _ in range(60)]


def usual_features(rng: np.random.Generator) -> torch.Tensor:
    """A slide of the training kind."""
    level = 0.5 + 0.05 * rng.standard_normal(WIDTH)
    patches = int(np.exp(rng.normal(4.5, 0.3)))
    return torch.from_numpy((level + 0.1 * rng.standard_normal((patches, WIDTH))).astype("f4"))


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A hospital whose release says what training slides are like."""
    found = write_slide_site(tmp_path / "hospital")
    groups = [
        {"name": "tumour suppressors", "r": 0.6, "low": 0.4, "high": 0.75, "cases": 80},
        {"name": "oncogenes", "r": 0.1, "low": -0.1, "high": 0.3, "cases": 80},
    ]
    said = {
        "features": reference_of(training_slides()).to_json(),
        "gene_groups": groups,
        "cox": {"clinical": CLINICAL, "stacked": STACKED},
        "risk_boxes": [[-1e30, -2.5, 30], [-2.5, 1e30, 20]],
    }
    arms = {"clinical": {"c_within": {"value": 0.61, "low": 0.5, "high": 0.7}, "cases": 50}}
    write_release(found, reference=said, arms=arms)
    return found


def write_features(home: Path, name: str, features: torch.Tensor) -> Path:
    """A feature file of another tool's making."""
    path = home / f"{name}.h5"
    with h5py.File(path, "w") as file:
        file["features"] = features.numpy()
        file["coords"] = np.stack([np.arange(len(features)) * 128] * 2, axis=1)
        file.attrs["encoder"] = "mean-v1"
    return path


def predict(home: Path, *arguments: object, capsys) -> tuple[int, str, str]:
    """Exit code and what was said."""
    code = client.cli.main(["predict", *map(str, arguments), "--folder", str(home)])
    said = capsys.readouterr()
    return code, said.out, said.err


def answer(home: Path, name: str) -> dict:
    """What is said of a slide."""
    return json.loads((home / "predictions" / f"{name}.json").read_text())


def page(home: Path, name: str) -> str:
    """Its report."""
    return (home / "predictions" / f"{name}.html").read_text()


def test_a_usual_slide_has_its_number_and_percentile(home, capsys) -> None:
    """And says against how many cases it was held."""
    path = write_features(home, "usual", usual_features(np.random.default_rng(9)))
    code, out, err = predict(home, path, capsys=capsys)
    assert (code, err) == (0, "")
    assert "no number" not in out
    found = answer(home, "usual")
    assert found["gate"]["verdict"] == "like"
    assert found["gate"]["training_cases"] == 60
    assert (found["hidden"], found["not_checked"]) == (False, [])
    assert found["shares_below"] in ([0.0, 0.6], [0.6, 1.0])
    assert "held against" in page(home, "usual") or "60 training cases" in page(home, "usual")


def test_an_unusual_slide_has_no_number_anywhere(home, capsys) -> None:
    """Neither in the report nor in the table nor in JSON, unless that is asked for."""
    strange = usual_features(np.random.default_rng(9)) * 3 - 2
    path = write_features(home, "strange", strange)
    code, out, _ = predict(home, path, capsys=capsys)
    assert code == 0
    assert "no number: strange: unlike the training slides in numbers one by one" in out
    assert "--show-hidden" in out
    found = answer(home, "strange")
    assert (found["risk"], found["risk_group"], found["survival"]) == (None, "", [])
    assert (found["gene_groups"], found["hidden"]) == ([], True)
    text = page(home, "strange")
    assert text.count(words.NOT_SHOWN) == 3
    assert "group: ." not in text
    assert words.UNUSUAL.format(far="numbers one by one, numbers together") in text
    lines = (home / "predictions" / "slides.csv").read_text().splitlines()
    (row,) = csv.DictReader(line for line in lines if not line.startswith("#"))
    assert (row["risk"], row["risk_group"], row["gate"]) == ("", "", "unlike")
    code, out, _ = predict(home, path, "--show-hidden", capsys=capsys)
    assert code == 0
    assert "no number" not in out
    assert answer(home, "strange")["risk"] is not None
    assert words.SHOWN_ANYWAY in page(home, "strange")


def test_of_an_unusual_slide_only_the_clinical_model_speaks(home, capsys) -> None:
    """It knows nothing of the slide; the stacked one and the percentile do, and say nothing."""
    path = write_features(home, "strange", usual_features(np.random.default_rng(9)) * 3 - 2)
    predict(home, path, "--clinical", "age=70,sex=female", capsys=capsys)
    found = answer(home, "strange")
    assert (found["hidden"], found["shares_below"]) == (True, None)
    assert [one["arm"] for one in found["clinical"]] == ["clinical"]
    text = page(home, "strange")
    assert words.ARMS["clinical"] in text
    assert words.ARMS["stacked"] not in text.replace(words.SIDE_BY_SIDE, "")


def test_a_slide_file_is_gated_too(home, capsys) -> None:
    """Tissue of the tests is nothing like what this release was trained on."""
    image = tissue_image(np.random.default_rng(2), 1024)
    write_tiff(home / "archive" / "one.tiff", image, mpp=0.5)
    code, out, _ = predict(home, home / "archive", capsys=capsys)
    assert code == 0
    assert "no number: one" in out
    assert "data:image/jpeg" in page(home, "one")  # where the model looked is still shown


def test_clinical_slide_and_both_side_by_side(home, capsys) -> None:
    """Hazard ratios are those of the fit; what is not known is named."""
    path = write_features(home, "usual", usual_features(np.random.default_rng(9)))
    code, _, err = predict(home, path, "--clinical", "age=70,sex=female,stage=III", capsys=capsys)
    assert (code, err) == (0, "")
    slide, clinical, stacked = answer(home, "usual")["clinical"]
    assert [one["arm"] for one in (slide, clinical, stacked)] == [
        "federated",
        "clinical",
        "stacked",
    ]
    assert clinical["risk"] == pytest.approx(0.4 + 0.6)
    assert clinical["hazard_ratio"] == pytest.approx(np.exp(1.0))
    assert clinical["shares_below"] == [0.8, 1.0]
    assert clinical["c_index"] == 0.61
    assert clinical["not_known"] == ["grade"]
    risk = answer(home, "usual")["risk"]
    assert stacked["risk"] == pytest.approx(0.3 + 0.5 + 0.7 * (risk + 2.0) / 0.5)
    assert "age, sex, grade and stage" in page(home, "usual")


def test_other_facts_are_another_answer(home, capsys) -> None:
    """A run that goes on does not keep an answer that was about other facts."""
    path = write_features(home, "usual", usual_features(np.random.default_rng(9)))
    predict(home, path, "--clinical", "age=70", capsys=capsys)
    first = answer(home, "usual")["clinical"][1]["risk"]
    _, out, _ = predict(home, path, "--clinical", "age=50", capsys=capsys)
    assert "of them before" not in out
    assert answer(home, "usual")["clinical"][1]["risk"] == pytest.approx(first - 0.8)
    predict(home, path, capsys=capsys)
    assert "clinical" not in answer(home, "usual")


@pytest.mark.parametrize(
    ("said", "wrong"),
    [
        ("age", "'age' is not understood"),
        ("age=old", "age 'old' is not understood"),
        ("age=400", "age '400' is not understood"),
        ("weight=80", "'weight=80' is not understood"),
        ("age=60,age=61", "age is there twice"),
        ("grade=", "'grade=' is not understood"),
        ("stage=V", "stage 'V' is not understood"),
    ],
)
def test_facts_that_are_not_understood_are_refused(said: str, wrong: str) -> None:
    """One line, and how to write it."""
    with pytest.raises(SettingsError, match=wrong) as caught:
        patient_of(said)
    assert "age=63" in caught.value.hint


def test_facts_are_about_one_slide(home, capsys) -> None:
    """Several slides are several patients."""
    one, two = (write_features(home, n, usual_features(np.random.default_rng(9))) for n in "ab")
    code, _, err = predict(home, one, two, "--clinical", "age=70", capsys=capsys)
    assert code == 1
    assert "--clinical is about one patient, here are 2 slides" in err
    code, _, err = predict(home, "--clinical", "age=70", capsys=capsys)
    assert code == 1
    assert "about a slide" in err


def test_without_a_clinical_model_facts_are_refused(home, capsys) -> None:
    """In one line; nothing is written."""
    write_release(home)
    path = write_features(home, "usual", usual_features(np.random.default_rng(9)))
    code, _, err = predict(home, path, "--clinical", "age=70", capsys=capsys)
    assert code == 1
    assert "the release holds no clinical model" in err
    assert not (home / "predictions" / "usual.json").exists()


def test_gene_groups_are_grey_where_not_reliable(home, capsys) -> None:
    """A group with a good interval may be read, one with a bad one and one without may not."""
    path = write_features(home, "usual", usual_features(np.random.default_rng(9)))
    predict(home, path, capsys=capsys)
    groups = {group["name"]: group for group in answer(home, "usual")["gene_groups"]}
    assert groups["tumour suppressors"]["readable"]
    assert not groups["oncogenes"]["readable"]
    unknown = set(groups) - {"tumour suppressors", "oncogenes"}
    assert unknown
    assert all(groups[name]["reliability"] is None for name in unknown)
    text = page(home, "usual")
    assert '<span class="untold">oncogenes</span>' in text
    assert '<span class="untold">tumour suppressors</span>' not in text


def test_a_release_with_a_broken_reference_is_refused(home, capsys) -> None:
    """It must not pass for one that says nothing."""
    write_release(home, reference={"features": {"mean": [0.0] * PLACES}})
    path = write_features(home, "usual", usual_features(np.random.default_rng(9)))
    code, _, err = predict(home, path, capsys=capsys)
    assert code == 1
    assert "reference of training slides cannot be used" in err


def test_months_between_edges_and_beyond() -> None:
    """Between edges the hazard is constant; beyond the last nothing is said."""
    survival = [{"months": 24.0, "probability": 0.81}, {"months": 48.0, "probability": 0.36}]
    said = {"hidden": False, "survival": survival, "risk_group": "low"}
    text = "".join(map(str, survival_of(said, {})))
    table = text[text.index("<tbody") :]
    cells = [row.split("</th>") for row in table.split("<tr>")[1:]]
    found = {a.split(">")[-1]: b.split(">")[1].split("<")[0] for a, b in cells}
    assert found == {
        "12 months": "90%",
        "24 months": "81%",
        "36 months": "54%",
        "48 months": "36%",
        "60 months": "not estimable",
        "beyond 48 months": "not estimable",
    }
