"""The prediction benchmarks run what they claim to measure, and their targets can be missed."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))  # it is no package

import heat_maps
import predict
from predict_made import Preset, make_home, write_drawn
from support import write_cohort

from client.cohort import require_cohort
from client.config import read_site
from client.predict import find_release
from ghanet_model.errors import FeaturesError
from ghanet_model.network import new_model
from ghanet_model.sizes import GHANetConfig

PRESET = Preset("compact", 64)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A hospital of the benchmark, with the slide that comes first."""
    found = tmp_path_factory.mktemp("made") / "home"
    make_home(found, PRESET, threads=1)
    write_drawn(found / f"slide-{predict.WARM}.h5", predict.WARM, PRESET.width)
    return found


@pytest.fixture(scope="module")
def model():
    """A network of the smallest sizes, its weights from a seed."""
    return new_model(GHANetConfig.preset(
        "compact", group_sizes=(3, 3), feature_width=8, time_bins=4, dropout=0.0
    ), seed=0)  # fmt: skip


def test_all_three_ways_are_measured(home):
    """A whole slide is done anew in each turn, so its answer is gone after each."""
    job = predict.Job(home, PRESET, patches=300, repeats=2)
    write_drawn(job.features, job.patches, PRESET.width)
    slide, reading, only_model = predict.steps_of(job)
    assert not list((home / "predictions-300").glob("slide-300*"))
    assert slide.seconds > 0
    assert min(reading.seconds, only_model.seconds) > 0
    assert predict.read(job).shape == (300, 64)


def test_a_slide_that_was_done_is_no_measurement(home):
    """An answer that lay there already took no time, and is refused; it is a whole answer."""
    predictor = predict.predictor_of(home, home / "again")
    path = home / f"slide-{predict.WARM}.h5"
    predict.predict(predictor, path)
    found = json.loads((home / "again" / f"{path.stem}.json").read_text())
    assert (found["gate"]["verdict"], found["hidden"]) == ("like", False)
    with pytest.raises(FeaturesError, match="predicted before"):
        predict.predict(predictor, path)


@pytest.mark.parametrize(
    ("seconds", "peak", "missed"),
    [(1.9, 160.0, 0), (2.1, 160.0, 1), (1.9, 180.0, 1), (2.1, 180.0, 2), (1.9, None, 0)],
)
def test_targets_of_prediction(seconds, peak, missed):
    """100 MB and 1.75 times the features; half a second and 1.5 times reading and model."""
    part, command = predict.Step(0.5, None), predict.Command(5.0, 900.0)
    slide = predict.Step(seconds, peak)
    one = predict.Measured("published", 1000, 10_000, slide, part, part, command)
    assert one.features == 40.0
    assert len(list(predict.missed_targets(one))) == missed


def test_what_is_deleted(model):
    """A tenth, the highest weights and the lowest; the risk moves as predicted without them."""
    features = torch.from_numpy(np.random.default_rng(0).standard_normal((30, 8), np.float32))
    rng = np.random.default_rng(1)
    found = heat_maps.changes_of(model, features, rng, times=2, hospital="a")
    whole = model.predict([features])
    order = heat_maps.patch_weights(whole).argsort()
    left = [model.predict([features[sorted(order[cut])]]).risk for cut in (slice(27), slice(3, 30))]
    moved = [float(abs(risk - whole.risk)) for risk in left]
    assert (found.patches, found.hospital) == (30, "a")
    assert [found.highest, found.lowest] == pytest.approx(moved, abs=1e-6)
    assert found.random > 0


def test_only_slides_of_held_out_cases(home):
    """Those that trained are others, and together they are all."""
    write_cohort(home, "hospital-a", cases=12, genes=False)
    config = replace(read_site(home), clinical=home / "clinical.csv", encoder="demo-v1")
    release = find_release(read_site(home), None)
    release = replace(release, study=replace(release.study, encoder="demo-v1"))
    held, trained = (
        list(heat_maps.slides_of(config, release, training=training)) for training in (False, True)
    )
    cases = require_cohort(config, release.study).cases
    assert len(held) == sum(len(case.slides) for case in cases if case.held_out) > 0
    assert len(trained) == sum(len(case.slides) for case in cases if not case.held_out) > 0


@pytest.mark.parametrize(
    ("highest", "slides", "missed"), [(0.3, 30, 0), (0.3, 29, 1), (0.15, 30, 1), (0.09, 30, 2)]
)
def test_targets_of_heat_maps(highest, slides, missed):
    """Thirty slides, a ratio of 2, a lower bound above 1."""
    found = [heat_maps.Changes("a", 80, highest, 0.1, 0.05)] * slides
    ratio = heat_maps.ratio_of(found)
    assert ratio.value == pytest.approx(10 * highest)
    assert len(heat_maps.missed_targets(slides, ratio)) == missed
