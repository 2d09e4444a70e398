"""The budget of a hospital in a study: it stops it, over restarts, and a stop wastes nothing."""

from pathlib import Path

import engine
import numpy as np
import pytest
from local import edit
from support import LocalExchange, make_consortium, make_run
from test_private_study import PRIVATE, charges, write_scaling

from client.frames import Frame
from client.memory import Memory
from client.trainer import answer_frame
from ghanet_model.errors import TrainingError
from ghanet_model.record import Record
from ghanet_model.wire import ERROR, ROUND
from server.asks import expected_of, round_asks
from server.panel import fix_panel
from server.rounds import start_or_resume, train_rounds


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A private consortium that has not begun; one hospital may be missing in a round."""
    write_scaling(tmp_path / "coordinator")
    make_consortium(tmp_path, **PRIVATE, minimum_sites=1)
    return tmp_path


def first_ask(root: Path, name: str) -> Record:
    """What a hospital is asked in round 1."""
    run = make_run(root)
    panel = fix_panel(run)
    expected = expected_of(run, start_or_resume(run, panel))
    members = [member for member in run.roster.members if member.name == name]
    return round_asks(run, expected, members, panel, final=False)[name].to_record()


def answered(root: Path, name: str, ask: Record, **options: object) -> Frame:
    """What a hospital answers, in a trainer that was just started."""
    frame = Frame(ROUND, dict(ask.values), ask.packed())
    return answer_frame(frame, root / name, Memory(), **options)  # type: ignore[arg-type]


def test_a_cap_below_the_studys_stops_a_hospital_and_not_the_study(root: Path) -> None:
    """Round 2 would be too much for one: it is left out with the reason, the other goes on."""
    edit(root / "hospital-b" / "site.yaml", {"privacy": {"epsilon": 2.5}})
    run = make_run(root)
    last = train_rounds(run, fix_panel(run))
    assert last.number == 2
    second = {site.name: site for site in last.history[1].sites}
    assert second["hospital-b"].left_out == "its privacy budget does not allow more"
    assert second["hospital-a"].trained
    assert [release.what for release in charges(root / "hospital-b")] == ["round 1"]


def test_a_budget_that_is_spent_stays_spent(root: Path) -> None:
    """After restarts of everything the round is refused again, and no line is added."""
    edit(root / "hospital-b" / "site.yaml", {"privacy": {"epsilon": 0.1}})
    ask = first_ask(root, "hospital-b")
    for _ in range(3):
        assert answered(root, "hospital-b", ask).values == {ERROR: "budget"}
    assert charges(root / "hospital-b") == []


def test_too_few_that_may_spend_end_the_study(tmp_path: Path) -> None:
    """Where every hospital is needed, its budget is named as what is missing."""
    write_scaling(tmp_path / "coordinator")
    make_consortium(tmp_path, **PRIVATE, minimum_sites=2)
    edit(tmp_path / "hospital-b" / "site.yaml", {"privacy": {"epsilon": 0.1}})
    run = make_run(tmp_path)
    with pytest.raises(TrainingError, match=r"hospital-b.*privacy budget does not allow more"):
        engine.run_study(run)


def test_what_was_charged_and_never_left_is_made_on_the_same_charge(root: Path) -> None:
    """Stopped in the middle of a round: the next attempt is charged nothing."""
    ask, calls = first_ask(root, "hospital-a"), []

    def give_up() -> None:
        calls.append(1)
        if len(calls) > 3:
            raise ConnectionAbortedError("nobody waits")

    with pytest.raises(ConnectionAbortedError):
        answered(root, "hospital-a", ask, require_wanted=give_up)
    assert [release.what for release in charges(root / "hospital-a")] == ["round 1"]
    assert ERROR not in answered(root, "hospital-a", ask).values
    assert [release.what for release in charges(root / "hospital-a")] == ["round 1"]


def test_what_left_is_sent_again_and_never_made_again_for_free(root: Path) -> None:
    """The kept answer goes out as it was; where it was lost, a new one costs again."""
    ask, home = first_ask(root, "hospital-a"), root / "hospital-a"
    first, again = (answered(root, "hospital-a", ask) for _ in range(2))
    assert np.array_equal(first.arrays, again.arrays)
    assert len(charges(home)) == 1
    (home / "state" / "private" / "round.safetensors").unlink()
    other = answered(root, "hospital-a", ask)
    assert len(charges(home)) == 2
    assert not np.array_equal(first.arrays, other.arrays)


def test_two_hospitals_draw_different_noise(root: Path) -> None:
    """The same folder twice, the same seed, the same question: other noise."""
    ask, home = first_ask(root, "hospital-a"), root / "hospital-a"
    first = answered(root, "hospital-a", ask)
    for file in [*(home / "ledger").iterdir(), *(home / "state" / "private").iterdir()]:
        file.unlink()
    assert not np.array_equal(first.arrays, answered(root, "hospital-a", ask).arrays)


def test_other_questions_are_refused_in_a_private_study(root: Path) -> None:
    """Exact sums and the evaluation of a round stay here, whoever asks."""
    ask = first_ask(root, "hospital-a")
    evaluation = Record({**ask.values, "train": False, "training_risk": True}, ask.arrays)
    assert answered(root, "hospital-a", evaluation).values == {ERROR: "gate"}
    other = Record({**ask.values, "panel": str(ask.values["panel"]).replace("0.0", "0.5", 1)})
    other = Record(other.values, ask.arrays)
    assert answered(root, "hospital-a", other).values == {ERROR: "study"}
    assert charges(root / "hospital-a") == []


def test_a_cap_refuses_studies_without_noise(tmp_path: Path) -> None:
    """A hospital that limits what its cases may lose takes part in no exact study."""
    make_consortium(tmp_path)
    edit(tmp_path / "hospital-a" / "site.yaml", {"privacy": {"epsilon": 3.0}})
    exchange = LocalExchange(tmp_path, ["hospital-a", "hospital-b", "hospital-d"])
    run = make_run(tmp_path, exchange)
    with pytest.raises(TrainingError, match=r"hospital-a.*privacy budget does not allow more"):
        fix_panel(run)


def test_a_preview_costs_nothing(root: Path) -> None:
    """It stays in the hospital, so nothing is charged and nothing kept."""
    from client.preview import preview_answers  # noqa: PLC0415

    (found,) = preview_answers(root / "hospital-a")
    assert found.refusal == ""
    assert charges(root / "hospital-a") == []
    assert not (root / "hospital-a" / "state" / "private").exists()


def test_a_case_that_changed_its_part_is_left_out(root: Path) -> None:
    """Once trained on, a case is not evaluated: epsilon of a study is that of one part."""
    from client.answers import open_site  # noqa: PLC0415
    from client.budget import EVALUATION, TRAINING  # noqa: PLC0415
    from client.parts import settle  # noqa: PLC0415

    site = open_site(root / "hospital-a")
    cases = site.cohort().cases
    assert all(settle(site, TRAINING, cases[:5]))
    assert settle(site, EVALUATION, cases[3:8]) == [False, False, True, True, True]
    assert settle(site, TRAINING, cases[:8]) == [True] * 5 + [False] * 3
    assert any("left out" in note for note in site.notes)


def test_a_lost_list_of_parts_stops_the_hospital(root: Path) -> None:
    """Without it, a case that was trained on could be evaluated too."""
    ask, home = first_ask(root, "hospital-a"), root / "hospital-a"
    assert ERROR not in answered(root, "hospital-a", ask).values
    (home / "ledger" / "parts.json").unlink()
    assert answered(root, "hospital-a", ask).values == {ERROR: "ledger"}
