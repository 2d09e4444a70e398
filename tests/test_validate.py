"""``ghanet-client validate``: which cases, what is kept, what is refused; nothing half-written."""

import csv
import json
import math
import os
import re
import resource
import shutil
import signal
from pathlib import Path

import pandas as pd
import pytest
from lifelines.utils import concordance_index
from local import edit
from validation_site import make_site, release_of

import client.cli
from client.validate import write_validation
from client.validation_cases import MIXED


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A hospital that trained the release; tests work on copies."""
    return make_site(tmp_path_factory.mktemp("made") / "hospital-a")


@pytest.fixture
def home(made: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(made, tmp_path / "hospital-a"))


def run(home: Path, capsys, *options: object, command: str = "validate") -> tuple[int, str, str]:
    """Exit code and what was said, in one line each."""
    code = client.cli.main([command, "--folder", str(home), *map(str, options)])
    said = capsys.readouterr()
    return code, " ".join(said.out.split()), said.err


def kept(home: Path, pattern: str) -> dict:
    """What the one file says."""
    (path,) = (home / "validation").glob(pattern)
    return json.loads(path.read_text())


def test_the_held_out_cases_where_it_trained(home, capsys):
    """Ten of thirty; C-index beside the release's own; files that only their owner reads."""
    code, out, err = run(home, capsys)
    assert (code, err) == (0, "")
    assert "10 held-out cases of this hospital" in out
    assert "0.710 (0.660 to 0.750)" in out
    assert "With fewer than 10 deaths nothing here can show" in out
    assert "no recalibration: fewer than 10 deaths" in out
    sha8 = release_of(home).sha256[:8]
    files = {path.name: path.stat().st_mode & 0o777 for path in (home / "validation").iterdir()}
    assert files == {f"small-{sha8}.json": 0o600, f"small-{sha8}.html": 0o600}
    found = kept(home, "*.json")
    assert (found["cases"], found["training_cases"]) == (10, 0)
    assert run(home, capsys)[1] == out  # the same draws


def test_its_c_index_is_that_of_its_predictions(home, capsys):
    """The risks are those of 'predict', the pairs those of lifelines."""
    run(home, capsys)
    run(home, capsys, command="predict")
    said = pd.read_csv(home / "predictions.csv", comment="#").set_index("case_id")
    table = pd.read_csv(home / "clinical.csv").set_index("case_id")
    kept_out = table[table["split"] == "val"]
    risk = said.loc[kept_out.index, "risk"]
    c_index = concordance_index(kept_out["time"], -risk, kept_out["event"])
    assert kept(home, "*.json")["c_index"]["value"] == pytest.approx(c_index, abs=1e-9)


def test_all_cases_flatter_and_it_says_so(home, capsys):
    """Loudly, in files of another name, and without a recalibration."""
    code, out, _ = run(home, capsys, "--all")
    assert code == 0
    assert "MIND: 20 of 30 cases were seen in training" in out
    assert "every number here flatters" in out
    assert {path.name.partition("-all.")[2] for path in (home / "validation").iterdir()} == {
        "html",
        "json",
    }
    assert kept(home, "*.json")["which"] == MIXED
    assert "every number here flatters" in next((home / "validation").glob("*.html")).read_text()


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A hospital that did not train the release and has validated it: a shift was fitted."""
    home = make_site(tmp_path_factory.mktemp("elsewhere") / "hospital-a", trained=0)
    assert client.cli.main(["validate", "--folder", str(home)]) == 0
    return home


def test_all_cases_elsewhere_and_a_shift(elsewhere):
    """None trained, so all are taken; the recalibration says of which release, cases, deaths."""
    (path,) = (elsewhere / "validation").glob("*.recalibration.json")
    values, found = json.loads(path.read_text()), kept(elsewhere, "small-????????.json")
    assert (found["cases"], found["which"]) == (30, "none trained")
    assert values["release"] == release_of(elsewhere).sha256
    assert (values["cases"], values["deaths"]) == (30, found["deaths_before_last_edge"])
    assert (values["a"], values["b"]) == (found["intercept"]["value"], 1.0)
    assert path.stat().st_mode & 0o777 == 0o600


def test_predict_shows_recalibrated_survival_beside_its_own(elsewhere, tmp_path, capsys):
    """The release's columns are as without it; S' = S^(e^a) where b is 1."""
    (path,) = (elsewhere / "validation").glob("*.recalibration.json")
    tables = []
    for name, options in (("plain", []), ("bent", ["--recalibration", path])):
        output = tmp_path / f"{name}.csv"
        assert run(elsewhere, capsys, "--output", output, *options, command="predict")[0] == 0
        lines = output.read_text().splitlines()
        tables.append(list(csv.DictReader(line for line in lines if line[0] != "#")))
    factor = math.exp(json.loads(path.read_text())["a"])
    for plain, bent in zip(*tables, strict=True):
        assert plain.items() <= bent.items()
        for edge in ("12", "36", "60"):
            own = float(bent[f"survival_{edge}_months"])
            assert float(bent[f"survival_{edge}_months_recalibrated"]) == pytest.approx(
                own**factor, abs=3e-6
            )


def test_a_slides_answer_has_both(elsewhere, tmp_path, capsys):
    """JSON, report and table; made anew where another recalibration is named."""
    (path,) = (elsewhere / "validation").glob("*.recalibration.json")
    slide = next(elsewhere.glob("features/**/*.h5"))
    options = [slide, "--output", tmp_path, "--recalibration", path]
    assert run(elsewhere, capsys, slide, "--output", tmp_path, command="predict")[0] == 0
    plain = json.loads((tmp_path / f"{slide.stem}.json").read_text())
    assert "recalibrat" not in json.dumps(plain)
    assert "Predictions are not recalibrated" in (tmp_path / f"{slide.stem}.html").read_text()
    assert "of them before" not in run(elsewhere, capsys, *options, command="predict")[1]
    bent = json.loads((tmp_path / f"{slide.stem}.json").read_text())
    for one, other in zip(plain["survival"], bent["survival"], strict=True):
        assert one.items() < other.items()
    assert bent["recalibration"]["release"] == release_of(elsewhere).sha256
    page = (tmp_path / f"{slide.stem}.html").read_text()
    for row in bent["survival"]:
        assert f"<td>{100 * row['recalibrated']:.0f}%</td>" in page
    assert "1 of them before" in run(elsewhere, capsys, *options, command="predict")[1]
    lines = (tmp_path / "slides.csv").read_text().splitlines()
    (row,) = csv.DictReader(line for line in lines if line[0] != "#")
    last = bent["survival"][-1]["recalibrated"]
    assert float(row["survival_60_months_recalibrated"]) == pytest.approx(last, abs=1e-6)


def flip(home: Path) -> None:
    """One bit of the release."""
    path = home / "inbox" / "small.ghanet"
    content = bytearray(path.read_bytes())
    content[-200] ^= 1
    path.write_bytes(content)


def change_clinical(change):
    """A hospital whose outcomes are others."""

    def changed(home: Path) -> None:
        table = pd.read_csv(home / "clinical.csv")
        change(table).to_csv(home / "clinical.csv", index=False)

    return changed


FAULTS = {
    "no outcomes": (
        lambda home: edit(home / "site.yaml", {"clinical": None}),
        "no case has an outcome, so there is nothing to compare predictions with",
    ),
    "none held out": (
        change_clinical(lambda table: table.assign(split="train")),
        "no case was held out: all of this hospital's cases could train the release",
    ),
    "other encoder": (
        lambda home: edit(home / "site.yaml", {"encoder": "uni"}),
        "features are from encoder 'uni', the release needs 'demo-v1'",
    ),
    "changed release": (flip, "small.ghanet: was changed after signing"),
    "no release": (lambda home: (home / "inbox" / "small.ghanet").unlink(), "no release in inbox/"),
    "no features": (
        lambda home: next(home.glob("features/**/*.h5")).unlink(),
        "features of slides.csv row",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_it_refuses(home, capsys, fault):
    """One line and a hint, exit code 1, nothing written."""
    change, said = FAULTS[fault]
    change(home)
    code, _, err = run(home, capsys, "--all") if fault == "no features" else run(home, capsys)
    first, *rest = err.splitlines()
    assert code == 1
    assert first.startswith(f"ghanet-client: error: {said}")
    assert len(rest) <= 1
    assert not (home / "validation").exists()


def test_no_death_and_no_survivor(home, capsys):
    """What can be given is given: counts, curves, no C-index where no pair is known."""
    change_clinical(lambda table: table.assign(event=0))(home)
    code, out, err = run(home, capsys)
    assert (code, err) == (0, "")
    assert "0 of 10 cases died before 60 months" in out
    assert re.search(r"C-index - 0.710", out)
    assert kept(home, "*.json")["ratio"] is None
    assert "of no two cases is it known" in next((home / "validation").glob("*.html")).read_text()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda text: text.replace('"a": ', '"a": 1'), "no recalibration, or damaged"),
        (lambda text: text[:-30], "no recalibration, or damaged"),
        (lambda _: "[]", "no recalibration, or damaged"),
        (lambda _: None, "no such recalibration"),
    ],
)
def test_a_recalibration_that_is_none(elsewhere, tmp_path, capsys, change, said):
    """One line, and no table."""
    (path,) = (elsewhere / "validation").glob("*.recalibration.json")
    text, copy = change(path.read_text()), tmp_path / "r.json"
    if text is not None:
        copy.write_text(text)
    output = tmp_path / "t.csv"
    options = ["--output", output, "--recalibration", copy]
    code, _, err = run(elsewhere, capsys, *options, command="predict")
    assert code == 1
    assert err.splitlines()[0] == f"ghanet-client: error: r.json: {said}"
    assert not output.exists()


def test_a_recalibration_of_another_release(elsewhere, home, capsys):
    """Both are named by their digests."""
    (path,) = (elsewhere / "validation").glob("*.recalibration.json")
    code, _, err = run(home, capsys, "--recalibration", path, command="predict")
    assert code == 1
    other, own = release_of(elsewhere).sha256[:8], release_of(home).sha256[:8]
    assert f"{path.name}: fitted to another release, {other}, this one is {own}" in err


def test_killed_while_it_writes(elsewhere):
    """What was there before is there still, whole; of what is new nothing stands in its place."""
    folder = elsewhere / "validation"
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    values = {**kept(elsewhere, "small-????????.json"), "date": "2030-01-01"}
    child = os.fork()
    if not child:
        try:
            signal.signal(signal.SIGXFSZ, signal.SIG_DFL)  # a file that grows too large kills
            resource.setrlimit(resource.RLIMIT_FSIZE, (9000, 9000))
            write_validation(folder, values, None)
        finally:
            os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGXFSZ
    after = {path.name: path.read_bytes() for path in folder.iterdir()}
    left = after.keys() - before.keys()
    assert {name: after[name] for name in before} == before
    assert len(left) == 1
    assert left.pop().endswith(".part")  # half a page, under a name that nobody reads


def test_nothing_tells_of_a_case(elsewhere, capsys):
    """No name of a case or slide on the screen or in a file; the page asks nobody for anything."""
    told = run(elsewhere, capsys)[1]
    for path in (elsewhere / "validation").iterdir():
        told += path.read_text()
    assert not re.search(r"A00\d\d", told)
    page = next((elsewhere / "validation").glob("*.html")).read_text()
    assert not re.search(r"https?://|<script|<link|@import", re.sub(r'xmlns="[^"]*"', "", page))
    assert page.index("Research use only") < page.index("<h2>")
