"""What training slides are like: sums equal pooled numbers, unusual slides are told from usual."""

import json
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ghanet_model.errors import GateError, ProtocolError, ReleaseError
from ghanet_model.question import Sums, add_sums
from ghanet_model.slide_questions import SlideDistances, SlideMoments, SlideShape
from ghanet_model.slide_reference import (
    PLACES,
    Moments,
    Shape,
    SlideReference,
    described,
    projection,
    unusual,
)
from ghanet_model.study import StudyConfig
from ghanet_model.topics import question_of

WIDTH = 24
STUDY = StudyConfig(
    name="s",
    encoder="e",
    feature_width=WIDTH,
    time_bin_edges=(12.0, 36.0),
    gene_groups="g.csv",
    groups=(("group", ("TP53",)),),
)
WORLD = np.random.default_rng(0)
MIX = WORLD.standard_normal((WIDTH, WIDTH)) / np.sqrt(WIDTH)


def slide(rng: np.random.Generator, *, shift: float = 0.0) -> torch.Tensor:
    """A slide (N, WIDTH): correlated numbers, a level of its own; ``shift`` is another stain."""
    own = rng.standard_normal(WIDTH) @ MIX
    patches = int(np.exp(rng.normal(5.0, 0.4)))
    noise = rng.standard_normal((patches, WIDTH)) @ MIX
    return torch.from_numpy((own + noise + shift * np.sign(MIX[0])).astype(np.float32))


def numbers_of(slides: list[torch.Tensor]) -> tuple[np.ndarray, np.ndarray]:
    """What describes slides (n, 2 WIDTH), and their patches (n,)."""
    return np.array([described(one) for one in slides]), np.array([len(one) for one in slides])


def moments_of(numbers: np.ndarray) -> Sums:
    """As a hospital tells them."""
    count = np.array([float(len(numbers))])
    return {"count": count, "total": numbers.sum(axis=0), "squares": (numbers**2).sum(axis=0)}


def reference_of(hospitals: list[list[torch.Tensor]]) -> SlideReference:
    """The reference of several hospitals, from sums alone."""
    told = [numbers_of(slides) for slides in hospitals]
    moments = Moments.of(add_sums(moments_of(numbers) for numbers, _ in told))
    shapes = []
    for numbers, _ in told:
        places = moments.places(numbers)
        own = {"total": places.sum(axis=0), "products": places.T @ places}
        shapes.append({"count": np.array([float(len(places))]), **own})
    shape = Shape.of(moments, add_sums(shapes))
    logs = [
        np.array([shape.log_distances(row, int(n)) for row, n in zip(numbers, many, strict=True)])
        for numbers, many in told
    ]
    return SlideReference.of(shape, add_sums(moments_of(own) for own in logs))


@pytest.fixture(scope="module")
def reference() -> SlideReference:
    """Of three hospitals, 150 slides."""
    rng = np.random.default_rng(1)
    return reference_of([[slide(rng) for _ in range(50)] for _ in range(3)])


@given(st.lists(st.integers(20, 40), min_size=2, max_size=4), st.integers(0, 99))
@settings(max_examples=10, deadline=None)
def test_sums_of_hospitals_equal_pooled_slides(sizes: list[int], seed: int) -> None:
    """However the slides are split."""
    rng = np.random.default_rng(seed)
    slides = [slide(rng) for _ in range(sum(sizes))]
    starts = np.cumsum([0, *sizes])
    parts = [slides[a:b] for a, b in pairwise(starts)]
    split, pooled = reference_of(parts), reference_of([slides])
    for name in ("log_mean", "log_sd"):
        assert np.allclose(getattr(split, name), getattr(pooled, name))
    assert np.allclose(split.shape.covariance, pooled.shape.covariance)
    numbers, _ = numbers_of(slides)
    assert np.allclose(pooled.shape.moments.mean, numbers.mean(axis=0))


def test_usual_slides_are_not_flagged_and_others_are(reference: SlideReference) -> None:
    """At most 5 % of 200 new slides of the same kind; another stain, a blank, few patches all."""
    rng = np.random.default_rng(2)
    flagged = [any(unusual(reference.deviations(slide(rng)))) for _ in range(200)]
    assert sum(flagged) <= 10
    assert all(any(unusual(reference.deviations(slide(rng, shift=3.0)))) for _ in range(20))
    assert any(unusual(reference.deviations(torch.zeros(150, WIDTH))))
    assert unusual(reference.deviations(slide(rng)[:3]))[2]


def test_description_is_that_of_all_patches_at_once() -> None:
    """Blocks add up."""
    features = torch.from_numpy(WORLD.standard_normal((40_000, 3)).astype(np.float32))
    whole = features.double().numpy()
    expected = np.concatenate([whole.mean(axis=0), whole.std(axis=0)])
    assert np.allclose(described(features), expected)


def test_the_projection_is_the_same_everywhere() -> None:
    """Its size and a count of its signs: nobody may change it between versions."""
    assert projection(48).shape == (PLACES, 48)
    assert np.allclose(np.abs(projection(48)), 1 / np.sqrt(48))
    assert (projection(48) > 0).sum() == 397


def test_json_brings_it_back(reference: SlideReference) -> None:
    """To six digits."""
    there = json.loads(json.dumps(reference.to_json()))
    back = SlideReference.from_json(there, width=WIDTH)
    one = slide(np.random.default_rng(5))
    assert np.allclose(back.deviations(one), reference.deviations(one), atol=1e-3)
    assert back.cases == 150


@pytest.mark.parametrize(
    "change",
    [
        {"mean": [0.0]},
        {"sd": [0.0] * (2 * WIDTH)},
        {"covariance": [[0.0] * PLACES] * PLACES},
        {"log_sd": ["x"] * 3},
        {"log_mean": [float("nan")] * 3},
        {"cases": None},
    ],
)
def test_a_reference_that_cannot_be_used_is_refused(
    reference: SlideReference, change: dict[str, object]
) -> None:
    """It came in a release; a wrong one must not pass for 'usual'."""
    with pytest.raises(ReleaseError, match="cannot be used"):
        SlideReference.from_json(reference.to_json() | change, width=WIDTH)


def test_questions_travel(reference: SlideReference) -> None:
    """What is asked arrives as it was asked."""
    shape = reference.shape
    for question in (SlideMoments(), SlideShape(shape.moments), SlideDistances(shape)):
        back = question_of(question.topic, json.dumps(question.to_json()), STUDY)
        assert back.to_json() == question.to_json()


@pytest.mark.parametrize(
    "value",
    [
        {"mean": [0.0], "sd": [1.0]},
        {"mean": [0.0] * 48, "sd": [0.0] * 48},
        {"mean": [0.0] * 48},
        {"mean": [0.0] * 48, "sd": [1.0] * 48, "more": 1},
    ],
)
def test_wrong_questions_are_refused(value: dict[str, object]) -> None:
    """Of another width, or with a deviation of 0."""
    with pytest.raises(ProtocolError):
        question_of(SlideShape.topic, json.dumps(value), STUDY)


def test_impossible_sums_are_refused(reference: SlideReference) -> None:
    """No cohort has them."""
    question = SlideShape(reference.shape.moments)
    count, eye = np.array([20.0]), np.eye(PLACES)
    fine = {"count": count, "total": np.zeros(PLACES), "products": eye}
    question.require_possible(fine, STUDY)
    for wrong in (
        {"products": -eye},
        {"products": np.triu(np.ones((PLACES, PLACES)))},
        {"products": 1e9 * eye},
        {"total": np.full(PLACES, 50.0)},
        {"count": np.array([0.5])},
    ):
        with pytest.raises(ProtocolError):
            question.require_possible({**fine, **wrong}, STUDY)
    distances = SlideDistances(reference.shape)
    far = {"count": count, "total": np.zeros(3), "squares": np.full(3, 1e6)}
    with pytest.raises(ProtocolError):
        distances.require_possible(far, STUDY)


def test_products_of_few_cases_stay(reference: SlideReference) -> None:
    """Of no more cases than projections they would tell in which plane these lie."""
    question = SlideShape(reference.shape.moments)
    sums = {"count": np.array([16.0])}
    with pytest.raises(GateError):
        question.require_enough(sums, 10)
    question.require_enough({"count": np.array([17.0])}, 10)
    with pytest.raises(GateError):
        SlideMoments().require_enough({"count": np.array([9.0])}, 10)
