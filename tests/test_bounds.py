"""How far training can move a weight: never further, and the bound is reached."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support import write_site

from client.answers import answer_round, open_site
from client.preview import next_questions
from ghanet_model.bounds import (
    BETA1,
    BETA2,
    largest_move,
    require_possible_move,
    step_bound,
    steps_of,
)
from ghanet_model.errors import WeightsError
from ghanet_model.protocol import RoundAsk, RoundReply
from ghanet_model.study import StudyConfig
from ghanet_model.training import adam
from ghanet_model.weights import Arrays

STUDY = StudyConfig(
    name="first",
    encoder="e",
    feature_width=4,
    time_bin_edges=(12.0,),
    gene_groups="g.csv",
    groups=(("a", ("TP53",)),),
    batch_cases=8,
    learning_rate=0.001,
)
RATE = 0.01


def path_of(gradients: np.ndarray) -> list[float]:
    """Where Adam takes a weight that starts at 0 and sees these gradients, step by step."""
    weight = torch.nn.Linear(1, 1, bias=False).double()
    torch.nn.init.zeros_(weight.weight)
    optimizer = adam(weight.parameters(), learning_rate=RATE, weight_decay=0.0)
    path = [0.0]
    for gradient in gradients:
        weight.weight.grad = torch.full((1, 1), float(gradient), dtype=torch.float64)
        optimizer.step()
        path.append(weight.weight.item())
    return path


@pytest.mark.parametrize("steps", [1, 2, 10, 100, 1000])
def test_growing_gradients_reach_the_bound(steps: int) -> None:
    """The worst gradients there are move the last step by the bound, and 3.16 is no bound."""
    ratio = BETA1 / BETA2
    path = path_of(1e3 * ratio ** np.arange(steps)[::-1])
    assert abs(path[-1] - path[-2]) / RATE == pytest.approx(step_bound(steps), rel=1e-6)
    assert (step_bound(steps) > 3.1623) == (steps == 1000)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=40))
@settings(max_examples=100, deadline=None)
def test_no_gradients_exceed_the_bound(gradients: list[float]) -> None:
    """Whatever the gradients, no step is longer than its bound."""
    path = path_of(np.array(gradients))
    for step, (before, after) in enumerate(pairwise(path), start=1):
        assert abs(after - before) <= RATE * step_bound(step) * (1 + 1e-9)


def test_steps_are_those_of_training() -> None:
    """Epochs times cases over cases per step, rounded up."""
    assert [steps_of(STUDY, cases) for cases in (1, 8, 9, 20)] == [1, 1, 2, 3]
    assert steps_of(replace(STUDY, local_epochs=4), 20) == 12
    assert largest_move(STUDY, 8) == pytest.approx(0.001)
    assert largest_move(STUDY, 10**15) < np.inf


@pytest.fixture(scope="module", params=["float32", "bfloat16"])
def trained(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[StudyConfig, RoundReply, Arrays]:
    """A real round of a real hospital, in two precisions: study, answer, what it started from."""
    home: Path = write_site(
        tmp_path_factory.mktemp("site") / "home", exchange_precision=request.param
    )
    site = open_site(home)
    reply = answer_round(site, RoundAsk.from_record(next_questions(site)[-1].asked))
    return site.study, reply, site.held.find(reply.base)


def test_a_real_training_stays_below_it(trained: tuple[StudyConfig, RoundReply, Arrays]) -> None:
    """It passes, with the norm of all that it changed."""
    study, reply, base = trained
    norm = require_possible_move(reply.update, base, study=study, cases=reply.cases)
    assert 0 < norm < np.sqrt(sum(a.size for a in base.values())) * largest_move(study, reply.cases)


def test_a_doubled_learning_rate_does_not_pass(
    trained: tuple[StudyConfig, RoundReply, Arrays],
) -> None:
    """The bound is close: training with twice the study's rate is found."""
    study, reply, base = trained
    halved = replace(study, learning_rate=study.learning_rate / 2)
    with pytest.raises(WeightsError, match="moved further than training can move them"):
        require_possible_move(reply.update, base, study=halved, cases=reply.cases)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_is_refused(value: float) -> None:
    """One is enough."""
    base = {"a": np.zeros(3, np.float32)}
    with pytest.raises(WeightsError, match="not finite"):
        require_possible_move({"a": np.float32([0, value, 0])}, base, study=STUDY, cases=8)


@pytest.mark.parametrize("size", [1e4, 1.0, 1e-3, 0.0])
def test_rounding_of_large_weights_is_no_fault(size: float) -> None:
    """A weight whose neighbours in float32 are far apart may end on the next one."""
    base = {"a": np.float32([size])}
    after = np.float32([np.float32(size) + np.float32(0.001)])
    assert require_possible_move({"a": after}, base, study=STUDY, cases=8) <= 0.0015
