"""The ensemble: models of other rounds in a release, from checkpoints to the band of a slide."""

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import engine
import h5py
import numpy as np
import pytest
import torch
from demo.cohorts import ENCODER
from hypothesis import given
from hypothesis import strategies as st
from local import COORDINATOR
from slide_site import WIDTH, write_slide_site
from support import write_cohort, write_study
from test_release import MODEL, PANEL, STATED, STUDY, Maker, parts_of
from test_settings import private_study

import client.cli
from client import slide_words as words
from client.slide_curve import inside
from ghanet_model.errors import ReleaseError, SettingsError
from ghanet_model.files import canonical_json, sha256
from ghanet_model.genes import GenePanel, candidate_columns, candidate_groups
from ghanet_model.invitation import RELEASE_KEY_FILE
from ghanet_model.network import new_model
from ghanet_model.release import (
    ENSEMBLE,
    MANIFEST,
    WEIGHTS,
    make_release,
    model_config,
    read_release,
)
from ghanet_model.study import MOST_ENSEMBLE, read_study
from ghanet_model.weights import Arrays, from_safetensors, to_safetensors, weights_of
from server.checkpoint import KEEP, Checkpoint, write_checkpoint
from server.ensemble import TOO_LARGE, UNREADABLE, kept, read_ensemble, wanted

OTHERS = {n: weights_of(new_model(model_config(STUDY, PANEL), seed=n)) for n in (2, 10)}
SAID = {"ensemble": {"rounds": [2, 10], "missing": []}}
DIGEST = "5" * 64


def same(one: Arrays, two: Arrays) -> bool:
    """To the bit."""
    return one.keys() == two.keys() and all(one[n].tobytes() == two[n].tobytes() for n in one)


class EnsembleMaker(Maker):
    """Makes releases with an ensemble."""

    def make(self, **changes: object) -> bytes:
        """Signed, as the coordinator does."""
        return make_release(
            STATED | SAID | changes, weights_of(MODEL), "# c\n", key_file=self.key, ensemble=OTHERS
        )


@pytest.fixture(scope="module")
def maker(tmp_path_factory):
    """One coordinator for all tests."""
    return EnsembleMaker(tmp_path_factory.mktemp("keys"))


def test_a_release_holds_the_models_of_other_rounds(maker):
    """Each to the bit; its model says what the model of that round said."""
    release = maker.verify(maker.content)
    assert list(release.ensemble) == [2, 10]
    assert all(same(release.ensemble[n], OTHERS[n]) for n in OTHERS)
    assert same(weights_of(release.model()), weights_of(MODEL))
    assert same(weights_of(release.model(10)), OTHERS[10])
    assert list(parts_of(maker.content))[-2:] == [WEIGHTS, ENSEMBLE]


def test_a_release_of_before_has_none(tmp_path):
    """Four parts, no word of it in the manifest: read as ever."""
    one = Maker(tmp_path)
    assert "ensemble" not in json.loads(parts_of(one.content)[MANIFEST])
    assert one.verify(one.content).ensemble == {}
    assert one.verify(one.make(ensemble=None)).ensemble == {}
    assert one.verify(one.make(ensemble={"rounds": [], "missing": []})).ensemble == {}
    assert ENSEMBLE not in parts_of(one.content)


def test_a_changed_ensemble_is_refused(maker):
    """No byte of it can change, and it cannot be taken out or exchanged."""
    part = parts_of(maker.content)[ENSEMBLE]
    start = maker.content.index(part)
    for place in np.linspace(start - 40, start + len(part) - 1, 60, dtype=int):
        changed = bytearray(maker.content)
        changed[place] ^= 1
        assert maker.refuses(bytes(changed)), place
    other = parts_of(maker.content) | {ENSEMBLE: to_safetensors({"2/a": np.zeros(1, np.float32)})}
    with pytest.raises(ReleaseError, match=r"ensemble\.safetensors was changed after signing"):
        maker.verify(maker.pack(other, signed=False))
    without = {name: part for name, part in parts_of(maker.content).items() if name != ENSEMBLE}
    assert maker.refuses(maker.pack(without, signed=False))


@pytest.mark.parametrize(
    "rounds",
    [
        *([2], [2, 10, 11], [10, 2], [2, 2, 10], [0, 2, 10], ["2", "10"], [True, 2]),
        *([], "ab", None, list(range(1, MOST_ENSEMBLE + 2))),
    ],
)
def test_other_rounds_than_the_manifest_names_are_refused(maker, rounds):
    """Whoever signed it."""
    with pytest.raises(ReleaseError, match=r"its manifest cannot be used"):
        maker.verify(maker.make(ensemble={"rounds": rounds}))


@pytest.mark.parametrize("said", [None, [], "rounds", {}, 3])
def test_an_ensemble_that_the_manifest_does_not_name_is_refused(maker, said):
    """Nothing rides along."""
    with pytest.raises(ReleaseError, match=r"its manifest cannot be used"):
        maker.verify(maker.make(ensemble=said))


def test_an_ensemble_whose_digest_the_manifest_lacks_is_refused(maker):
    """Its bytes would be nobody's word, though the signature is right."""
    parts = parts_of(maker.content)
    manifest = json.loads(parts[MANIFEST])
    parts[MANIFEST] = canonical_json(manifest)
    assert maker.verify(maker.pack(parts)).ensemble  # it is not for the way this test packs
    del manifest["files"][ENSEMBLE]
    with pytest.raises(ReleaseError, match="lists other files than it holds"):
        maker.verify(maker.pack(parts | {MANIFEST: canonical_json(manifest)}))


@pytest.mark.parametrize("part", [b"", to_safetensors({})])
def test_an_empty_ensemble_is_refused(tmp_path, part):
    """Where there is none there is no part of it."""
    one = Maker(tmp_path)
    parts = parts_of(one.content)
    manifest = json.loads(parts[MANIFEST])
    manifest["files"][ENSEMBLE] = sha256(part)
    changed = parts | {ENSEMBLE: part, MANIFEST: canonical_json(manifest)}
    with pytest.raises(ReleaseError, match="not what its manifest says"):
        one.verify(one.pack(changed))


FIRST = next(iter(OTHERS[2]))
SHAPE = OTHERS[2][FIRST].shape


@pytest.mark.parametrize(
    ("name", "array", "why"),
    [
        (f"10/{FIRST}", np.zeros((3, 3), np.float32), "expected float32"),
        (f"10/{FIRST}", np.zeros(SHAPE, np.float64), "expected float32"),
        (f"10/{FIRST}", np.full(SHAPE, np.nan, np.float32), "not finite"),
        (f"2/{FIRST}", None, "weights lack"),
        ("2/more", np.zeros(1, np.float32), "which the model does not have"),
        ("3/more", np.zeros(1, np.float32), "of no round that it names"),
        ("more", np.zeros(1, np.float32), "of no round that it names"),
        ("02/more", np.zeros(1, np.float32), "of no round that it names"),
    ],
)
def test_weights_that_do_not_fit_the_model_are_refused(maker, monkeypatch, name, array, why):
    """Every member is looked at as the released weights are, whoever signed it."""
    arrays = {f"{n}/{key}": a for n, one in OTHERS.items() for key, a in one.items()}
    wrong = {key: a for key, a in (arrays | {name: array}).items() if a is not None}
    monkeypatch.setattr("ghanet_model.release._named", lambda _: wrong)
    with pytest.raises(ReleaseError, match=why):
        maker.verify(maker.make())


def test_what_a_study_can_ask_for(tmp_path):
    """As many as there are rounds before the last, ten at most; with privacy too."""
    write_study(tmp_path / "a", rounds=3)
    study = read_study(tmp_path / "a")
    assert (study.ensemble, replace(study, ensemble=2).ensemble) == (0, 2)
    for wrong in (-1, 3):
        with pytest.raises(SettingsError, match="'ensemble' is") as caught:
            replace(study, ensemble=wrong)
        assert caught.value.hint
    with pytest.raises(SettingsError, match="'ensemble' is 11"):
        replace(study, rounds=30, ensemble=MOST_ENSEMBLE + 1)
    assert read_study(private_study(tmp_path / "b", "ensemble: 3")).ensemble == 3


def test_as_many_checkpoints_stay_as_an_ensemble_needs(tmp_path):
    """And never fewer than without one."""
    write_study(tmp_path, rounds=20)
    study = read_study(tmp_path)
    assert [kept(replace(study, ensemble=n)) for n in (0, 2, 3, 10)] == [KEEP, 3, 4, 11]
    folder = write_checkpoints(tmp_path / "checkpoints", range(8), keep=5)
    assert [path.name[8:10] for path in sorted(folder.iterdir())] == ["03", "04", "05", "06", "07"]


def write_checkpoints(folder: Path, numbers, *, keep: int = 9) -> Path:
    """Checkpoints of these rounds, each with other weights."""
    for number in numbers:
        weights = {"a": np.full(4, number, np.float32)}
        write_checkpoint(folder, Checkpoint(number, DIGEST, weights), keep=keep)
    return folder


@pytest.mark.parametrize(
    ("number", "selected", "most", "rounds"),
    [
        (5, None, 3, [4, 3, 2]),
        (5, 4, 3, [5, 3, 2]),
        (5, 1, 3, [5, 4, 3]),
        (3, None, 3, [2, 1]),  # never the untrained model
        (5, None, 0, []),
    ],
)
def test_the_newest_rounds_beside_the_released_one(number, selected, most, rounds):
    """All of them within the newest that stay on disk."""
    found = wanted(Checkpoint(number, DIGEST, {}, selected=selected), most)
    assert found == rounds
    assert all(number - most <= one <= number for one in found)


def test_a_checkpoint_that_is_no_good_is_named_and_left_out(tmp_path):
    """Missing, damaged, of another study, or of another round than its name says."""
    folder = write_checkpoints(tmp_path, range(1, 8))
    last = Checkpoint(7, DIGEST, {"a": np.full(4, 7, np.float32)})
    path = {n: folder / f"round-{n:04d}.safetensors" for n in range(1, 8)}
    path[6].unlink()
    path[5].write_bytes(path[5].read_bytes()[:-1] + b"x")
    write_checkpoint(folder, replace(last, number=4, study="6" * 64), keep=9)
    path[3].write_bytes(path[2].read_bytes())
    found = read_ensemble(folder, last, 6)
    assert {n: one["a"][0] for n, one in found.weights.items()} == {2: 2, 1: 1}
    assert found.missing == dict.fromkeys((6, 5, 4, 3), UNREADABLE)
    assert found.as_json()["missing"][0] == {"round": 6, "why": UNREADABLE}


def test_a_release_stays_below_its_limit(tmp_path):
    """The oldest models are left out, and that is said."""
    folder = write_checkpoints(tmp_path, range(1, 6))
    last = Checkpoint(5, DIGEST, {"a": np.full(4, 5, np.float32)})
    found = read_ensemble(folder, last, 4, most_bytes=3 * 16)
    assert sorted(found.weights) == [3, 4]
    assert found.missing == {2: TOO_LARGE, 1: TOO_LARGE}


class Killed(engine.LocalExchange):
    """A run that ends in its fourth round."""

    def _ask(self, kind, name, ask, on_answer):
        if kind == "round" and ask.values["number"] == 4:
            raise KeyboardInterrupt
        return super()._ask(kind, name, ask, on_answer)


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> tuple[Path, dict[int, Arrays]]:
    """A study of four rounds, killed in the last and gone on with; weights at that moment."""
    root = tmp_path_factory.mktemp("ensemble")
    write_study(root / COORDINATOR, rounds=4, ensemble=3, replicates=5)
    engine.init_coordinator(root)
    write_cohort(root / "hospital-a", "hospital-a")
    settings = {"encoder": ENCODER, "threads": 1, "genes": "genes.csv"}
    engine.join(root, "hospital-a", role="trains", genes=True, settings=settings)
    with pytest.raises(KeyboardInterrupt):
        engine.run_study(engine.make_run(root, Killed(root, ["hospital-a"])))
    folder = root / COORDINATOR / "state" / "checkpoints"
    before = {
        n: from_safetensors((folder / f"round-{n:04d}.safetensors").read_bytes(), where="here")
        for n in (1, 2, 3)
    }
    engine.run_here(root)
    return root, before


def released(root: Path):
    """The release of a study, verified."""
    key = (root / COORDINATOR / "keys" / "release.key.pub").read_bytes()
    return read_release(root / COORDINATOR / "releases" / "small.ghanet", public_pem=key)


def test_members_are_the_models_of_their_rounds(trained):
    """Bit by bit, also where the run was killed in between; the delivered file has them too."""
    root, before = trained
    release = released(root)
    assert release.manifest["ensemble"] == {"rounds": [1, 2, 3], "missing": []}
    assert all(same(release.ensemble[n], before[n]) for n in (1, 2, 3))
    assert not same(release.ensemble[3], release.weights)
    inbox = root / "hospital-a" / "inbox" / "small.ghanet"
    assert sha256(inbox.read_bytes()) == release.sha256
    card = parts_of(inbox.read_bytes())["model_card.md"].decode()
    assert "Models of other rounds of this training are in the release: 1, 2, 3." in card


def test_a_release_without_a_round_says_so(trained, tmp_path):
    """A checkpoint that is damaged at the end: in manifest and model card, never silent."""
    root = shutil.copytree(trained[0], tmp_path / "copy")
    coordinator = root / COORDINATOR
    shutil.rmtree(coordinator / "releases")
    path = coordinator / "state" / "checkpoints" / "round-0002.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    engine.run_here(root)
    release = released(root)
    assert release.manifest["ensemble"]["rounds"] == [1, 3] == list(release.ensemble)
    assert release.manifest["ensemble"]["missing"] == [{"round": 2, "why": UNREADABLE}]
    content = (coordinator / "releases" / "small.ghanet").read_bytes()
    assert f"* Not in it: round 2, {UNREADABLE}." in parts_of(content)["model_card.md"].decode()


def test_predictions_of_cases_have_their_band(trained, capsys):
    """Low and high of every edge around the released model's, and what they are."""
    home = trained[0] / "hospital-a"
    assert client.cli.main(["predict", "--folder", str(home)]) == 0
    lines = (home / "predictions.csv").read_text().splitlines()
    assert lines[3].startswith("# low, high: range over the released model and those of 3 ")
    rows = list(csv.DictReader(line for line in lines if not line.startswith("#")))
    assert len(rows) == 30
    widths = []
    for row in rows:
        for months in (12, 36, 60):
            middle, low, high = (
                float(row[f"survival_{months}_months{end}"]) for end in ("", "_low", "_high")
            )
            assert low <= middle <= high
            widths.append(high - low)
    assert max(widths) > 0.001


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A hospital with a feature file; ``give`` puts a release into its inbox."""
    found = write_slide_site(tmp_path / "hospital")
    for folder in ("keys", "inbox"):
        (found / folder).mkdir()
    with h5py.File(found / "slide.h5", "w") as file:
        file["features"] = np.random.default_rng(1).random((9, WIDTH)).astype(np.float32)
    return found


def give(home: Path, rounds=(), missing=()) -> list:
    """A release with an ensemble of these rounds; its models, the released one first."""
    study = read_study(home)
    columns = candidate_columns(study)
    ones, zeros = (1.0,) * len(columns), (0.0,) * len(columns)
    panel = GenePanel(tuple(candidate_groups(study)), columns, zeros, ones, clip=3.0)
    models = {n: new_model(model_config(study, panel), seed=n) for n in (1, *rounds)}
    told = {"rounds": list(rounds), "missing": [{"round": n, "why": "x"} for n in missing]}
    stated = {"study": study.as_json(), "panel": panel.to_json(), "ensemble": told}
    maker = Maker(home)
    content = make_release(
        STATED | {"name": "small"} | stated,
        weights_of(models[1]),
        "# card\n",
        key_file=maker.key,
        ensemble={n: weights_of(models[n]) for n in rounds},
    )
    (home / "keys" / RELEASE_KEY_FILE).write_bytes(maker.public)
    (home / "inbox" / "small.ghanet").write_bytes(content)
    return list(models.values())


def predicted(home: Path) -> tuple[dict, str]:
    """Answer and page of the feature file."""
    arguments = ["predict", str(home / "slide.h5"), "--folder", str(home)]
    assert client.cli.main(arguments) == 0
    folder = home / "predictions"
    return json.loads((folder / "slide.json").read_text()), (folder / "slide.html").read_text()


def test_the_band_of_a_slide_is_the_range_over_all_models(home, capsys):
    """Of the released one and every other, at each edge; the page draws it and says what it is."""
    models = give(home, rounds=(2, 3, 4))
    found, page = predicted(home)
    with h5py.File(home / "slide.h5") as file:
        features = torch.from_numpy(file["features"][:])
    said = np.array([model.predict([features]).survival[0, :3].tolist() for model in models])
    assert [row["probability"] for row in found["survival"]] == pytest.approx(said[0], abs=1e-6)
    assert [row["low"] for row in found["survival"]] == pytest.approx(said.min(axis=0), abs=1e-6)
    assert [row["high"] for row in found["survival"]] == pytest.approx(said.max(axis=0), abs=1e-6)
    assert all(row["low"] <= row["probability"] <= row["high"] for row in found["survival"])
    assert found["band"]["rounds"] == [2, 3, 4]
    assert "not a confidence interval" in found["band"]["what"]
    assert words.BAND.format(rounds="rounds 2, 3, 4") in page
    assert words.NO_BAND not in page
    assert "range of the last 3 rounds&#x27; models" in page
    low, high = (found["survival"][0][end] for end in ("low", "high"))
    assert f"{100 * low:.0f}% to {100 * high:.0f}%" in page
    assert "predicted survival over 60 months with its band" in page
    assert "fill-opacity: 0.22" in page
    lines = (home / "predictions" / "slides.csv").read_text().splitlines()
    assert lines[3].startswith("# low, high: range over the released model and those of 3 ")
    (row,) = csv.DictReader(line for line in lines if not line.startswith("#"))
    in_table = [float(row[f"survival_12_months_{end}"]) for end in ("low", "high")]
    assert in_table == pytest.approx([low, high], abs=1e-6)


def test_without_an_ensemble_there_is_no_band(home, capsys):
    """Neither numbers nor words nor a drawing of one."""
    give(home)
    found, page = predicted(home)
    assert "band" not in found
    assert {key for row in found["survival"] for key in row} == {"months", "probability"}
    assert words.NO_BAND in page
    assert "fill-opacity: 0.22" not in page


@pytest.mark.parametrize("rounds", [(), (3, 4)])
def test_a_slide_s_page_says_which_models_are_missing(home, capsys, rounds):
    """Also where none is left."""
    give(home, rounds, missing=(2,))
    _, page = predicted(home)
    assert words.BAND_LACKS.format(rounds="round 2") in page
    assert (words.NO_BAND in page) == (not rounds)


shares = st.lists(st.floats(0, 1), min_size=3, max_size=3)


@given(curves=st.lists(shares, min_size=1, max_size=4))
def test_every_model_s_curve_lies_in_the_band(curves):
    """Between the edges too, where curves may cross."""
    falling = [sorted(one, reverse=True) for one in curves]

    def drawn(shares) -> np.ndarray:
        return np.array(inside([(0.0, 1.0), *zip((12.0, 36.0, 60.0), shares, strict=True)])[1])

    low, high = drawn(np.min(falling, axis=0)), drawn(np.max(falling, axis=0))
    for one in falling:
        assert (low <= drawn(one) + 1e-8).all()
        assert (drawn(one) <= high + 1e-8).all()
