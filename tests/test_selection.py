"""Choosing the released round: by validation cases alone, the same after any stop."""

from pathlib import Path

import numpy as np
import pytest
from support import LocalExchange, make_consortium, make_run

from client.answers import open_site
from ghanet_model.metrics import EvaluationSums
from server.checkpoint import RoundRecord, SiteRound
from server.finish import choose_model
from server.panel import fix_panel
from server.rounds import one_round, start_or_resume, train_rounds
from server.selection import best_round, validation_by_round


def record(number, *nlls, cases=10):
    """A round with what hospitals said of the model that came in."""
    sites = [
        SiteRound(f"h-{place}", trained=True, validation=EvaluationSums(cases=cases, nll=nll))
        for place, nll in enumerate(nlls)
    ]
    return RoundRecord(number, 1.0, tuple(sites))


def test_the_best_round_has_the_smallest_mean_loss_over_all_hospitals() -> None:
    """The model of round r comes into round r + 1; the untrained one cannot be chosen."""
    history = [
        record(1, 1.0, 1.0),
        record(2, 30.0, 30.0),
        record(3, 10.0, 20.0),
        record(4, 20.0, 30.0),
    ]
    found = validation_by_round(history)
    assert found == {1: 3.0, 2: 1.5, 3: 2.5}
    assert best_round(found) == 2
    assert best_round({}) is None


def test_of_equal_rounds_the_earliest_is_chosen() -> None:
    """Nobody else may decide."""
    assert best_round({3: 1.0, 2: 1.0, 4: 1.5}) == 2


@pytest.fixture
def consortium(tmp_path: Path) -> Path:
    """Hospitals that keep a quarter of their training cases to choose by."""
    make_consortium(tmp_path, validation=0.4, selected_round="validation", rounds=3)
    return tmp_path


def test_validation_cases_neither_train_nor_evaluate(consortium: Path) -> None:
    """Every case is trained on, validated or evaluated."""
    cases = open_site(consortium / "hospital-b").cohort().cases
    parts = [(case.can_train, case.validation, case.held_out) for case in cases]
    assert all(sum(part) == 1 for part in parts)
    assert 3 < sum(case.validation for case in cases) < 20


class Prefers(LocalExchange):
    """Hospitals whose validation loss is smallest for the model of one round."""

    best = 2

    def tamper(self, kind, name, reply):  # noqa: ARG002 - overrides
        """Another loss on the way."""
        if kind != "round" or "validation.nll" not in reply.values:
            return reply
        number = int(reply.values["number"]) - 1
        loss = 1.0 + abs(number - self.best)
        values = dict(reply.values) | {"validation.nll": loss * reply.values["validation.cases"]}
        return type(reply)(values, reply.arrays)


def test_the_released_model_is_that_of_the_best_round(consortium: Path) -> None:
    """Bit by bit, also where the run was stopped after every round."""
    names = ["hospital-a", "hospital-b", "hospital-d"]
    one = make_run(consortium, Prefers(consortium, names))
    panel = fix_panel(one)
    second = one_round(one, one_round(one, start_or_resume(one, panel), panel), panel)
    last = train_rounds(make_run(consortium, Prefers(consortium, names)), panel)
    best, final = choose_model(make_run(consortium, Prefers(consortium, names)), last, panel)
    assert (best.selected, best.number) == (2, 3)
    assert all(np.array_equal(best.weights[name], a) for name, a in second.weights.items())
    assert not all(np.array_equal(last.weights[name], a) for name, a in second.weights.items())
    assert final.training_risk.cases > 0


def test_a_study_of_the_last_round_keeps_no_other(consortium: Path, tmp_path: Path) -> None:
    """Nothing is chosen, nothing is evaluated twice."""
    root = tmp_path / "other"
    make_consortium(root, rounds=1)
    one = make_run(root)
    panel = fix_panel(one)
    last = train_rounds(one, panel)
    best, _ = choose_model(one, last, panel)
    assert best is last
    assert not (one.config.state / "selected").exists()
