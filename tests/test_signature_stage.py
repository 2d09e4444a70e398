"""Comparing features: who used another encoder is named before round 1, and the run ends there."""

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from local import edit
from support import LocalExchange, approve_as_it_is, join, make_consortium, make_run, run

import server.cli
from client.answers import open_site
from client.bags import SiteBags
from client.memory import Memory
from client.signature import feature_signature, mean_of
from ghanet_model.errors import TrainingError
from ghanet_model.protocol import StatisticsAsk
from ghanet_model.signature import FeatureSignature
from server.run import Run
from server.signature import TOO_FEW, compare_features

QUESTION = FeatureSignature()
ASK = StatisticsAsk("", QUESTION.topic, "{}")


@pytest.fixture
def consortium(tmp_path: Path) -> Path:
    """Three hospitals."""
    make_consortium(tmp_path)
    return tmp_path


def change_features(home: Path, change: Callable[[np.ndarray], np.ndarray]) -> None:
    """Write other features into every file of a hospital."""
    for path in home.rglob("*.h5"):
        with h5py.File(path, "r+") as file:
            features = file["features"]
            features[...] = change(features[...]).astype(features.dtype)


def rotated(features: np.ndarray) -> np.ndarray:
    """As another encoder of the same width would give them."""
    width = features.shape[-1]
    rotation = np.linalg.qr(np.random.default_rng(3).standard_normal((width, width)))[0]
    return np.maximum(features @ rotation, 0)


def written(one: Run) -> dict[str, Any]:
    """What the stage wrote."""
    found: dict[str, Any] = json.loads((one.config.state / "signature.json").read_text())
    return found


def test_hospitals_with_the_same_encoder_go_on(consortium: Path) -> None:
    """Each is alike enough, and nobody is named."""
    one = make_run(consortium)
    compare_features(one)
    found = written(one)
    assert set(found["similarity"]) == {"hospital-a", "hospital-b", "hospital-d"}
    assert min(found["similarity"].values()) > found["least"] == 0.5
    assert (found["foreign"], found["left_out"]) == ([], {})
    assert 60 < found["patches"]["hospital-a"] < 200


def test_a_hospital_with_another_encoder_is_named_and_the_others_are_not(
    consortium: Path,
) -> None:
    """The run ends before anything is trained, with what to check."""
    change_features(consortium / "hospital-b", rotated)
    one = make_run(consortium)
    with pytest.raises(TrainingError, match=r"unlike most hospitals'.* hospital-b -?0\.\d\d") as e:
        compare_features(one)
    assert "hospital-a" not in str(e.value)
    assert "encoder, magnification and normalisation" in e.value.hint
    assert written(one)["foreign"] == ["hospital-b"]


def test_a_hospital_that_mended_its_features_is_asked_again_alone(consortium: Path) -> None:
    """The others' sums are kept."""
    home = consortium / "hospital-b"
    right = {path: path.read_bytes() for path in home.rglob("*.h5")}
    change_features(home, rotated)
    with pytest.raises(TrainingError):
        compare_features(make_run(consortium))
    for path, content in right.items():
        path.write_bytes(content)
    exchange = LocalExchange(consortium, make_run(consortium).roster.names())
    one = make_run(consortium, exchange)
    compare_features(one)
    assert [name for _, name in exchange.asked] == ["hospital-b"]
    assert written(one)["foreign"] == []


def test_a_hospital_that_is_revoked_holds_the_others_up_no_more(tmp_path: Path) -> None:
    """The coordinator may go on without it."""
    make_consortium(tmp_path)
    join(tmp_path, "hospital-e", role="trains", genes=True)
    change_features(tmp_path / "hospital-b", rotated)
    with pytest.raises(TrainingError):
        compare_features(make_run(tmp_path))
    folder = tmp_path / "coordinator"
    run(server.cli.main, "revoke", "hospital-b", "--folder", folder, "--reason", "encoder")
    compare_features(make_run(tmp_path))
    assert "hospital-b" not in written(make_run(tmp_path))["similarity"]


def test_of_two_hospitals_both_are_named(consortium: Path) -> None:
    """Nobody can say who is right."""
    folder = consortium / "coordinator"
    run(server.cli.main, "revoke", "hospital-d", "--folder", folder, "--reason", "test")
    change_features(consortium / "hospital-b", rotated)
    with pytest.raises(TrainingError, match=r"nobody can say whose are right.*-a.*-b"):
        compare_features(make_run(consortium))


def test_a_hospital_with_few_cases_is_not_compared(consortium: Path) -> None:
    """It is named as such; a policy that asks for more cases ends nothing."""
    edit(consortium / "hospital-d" / "site.yaml", {"policy": {"minimum_cases": 31}})
    approve_as_it_is(consortium / "hospital-d")
    one = make_run(consortium)
    compare_features(one)
    found = written(one)
    assert found["left_out"] == {"hospital-d": TOO_FEW}
    assert set(found["similarity"]) == {"hospital-a", "hospital-b"}


def test_a_threshold_of_zero_switches_it_off(tmp_path: Path) -> None:
    """Nobody is asked, and the file says so."""
    make_consortium(tmp_path, feature_similarity=0)
    exchange = LocalExchange(tmp_path, make_run(tmp_path).roster.names())
    one = make_run(tmp_path, exchange)
    compare_features(one)
    assert exchange.asked == []
    assert (written(one)["least"], written(one)["similarity"]) == (0, {})


def test_many_more_patches_are_said_in_the_log(
    consortium: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Another magnification may keep its means; it does not keep its number of patches."""
    for path in (consortium / "hospital-d").rglob("*.h5"):
        with h5py.File(path, "r+") as file:
            features, coords = file["features"][...], file["coords"][...]
            del file["features"], file["coords"]
            file["features"], file["coords"] = np.tile(features, (4, 1)), np.tile(coords, (4, 1))
    logging.getLogger("ghanet").propagate = True
    with caplog.at_level(logging.WARNING, logger="ghanet"):
        compare_features(make_run(consortium))
    assert "hospital-d has " in caplog.text
    assert "times the patches per case of the others" in caplog.text


def test_sums_are_over_the_means_of_cases(consortium: Path) -> None:
    """Of all cases, trained on or held out, several slides of one together."""
    site = open_site(consortium / "hospital-d")
    sums = feature_signature(site, ASK, QUESTION)
    bags = SiteBags(site.cohort().cases, site.features(), study=site.study)
    means = np.array([bag.features.double().mean(dim=0).numpy() for bag in bags])
    assert sums["count"] == len(means) == 30
    assert sums["patches"] == sum(len(bag.features) for bag in bags)
    np.testing.assert_allclose(sums["total"], means.sum(axis=0), rtol=1e-12)
    np.testing.assert_allclose(sums["squares"], (means**2).sum(axis=0), rtol=1e-12)


def test_round_one_finds_the_features_in_memory(consortium: Path) -> None:
    """What was read to be compared is not read again."""
    memory = Memory()
    site = open_site(consortium / "hospital-a", memory)
    feature_signature(site, ASK, QUESTION)
    slides = sum(len(case.slides) for case in site.cohort().cases)
    assert slides >= 30
    bags = SiteBags(site.cohort().cases, site.features(), study=site.study)
    assert site.cache.used == sum(bag.features.nbytes for bag in bags)
    assert site.notes[0].startswith("features of 30 cases read")


def test_the_mean_of_half_precision_is_that_of_its_numbers() -> None:
    """Many patches of float16 neither overflow nor lose digits."""
    features = torch.full((40_000, 3), 3.0, dtype=torch.float16)
    assert mean_of(features).tolist() == [3.0, 3.0, 3.0]
