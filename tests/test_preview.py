"""A preview is the answer that would leave, to the bit, and leaves nothing behind."""

from pathlib import Path

import numpy as np
import pytest
import torch
from local import edit
from support import write_site

import client.cli
from client.answers import open_site
from client.frames import Frame
from client.held import ASKED_FILE
from client.ledger import ledger_path
from client.memory import Memory
from client.preview import (
    ASSOCIATION,
    GENES,
    SURVIVAL,
    branch_of,
    next_questions,
    preview_answers,
)
from client.preview_report import render
from client.trainer import answer_frame
from ghanet_model.protocol import RoundAsk
from ghanet_model.record import digest_of
from ghanet_model.wire import ERROR, ROUND, STATISTICS


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A hospital that was asked nothing yet."""
    return write_site(tmp_path / "home")


def asked_and_sent(home: Path, **changes: object) -> Frame:
    """What the hospital sends when round 1 is asked for real."""
    asked = next_questions(open_site(home, Memory(durable=False)))[-1].asked
    values = {**asked.values, **changes}
    return answer_frame(Frame(ROUND, values, asked.packed()), home, Memory())


def digest_without_seconds(values: dict, blob: np.ndarray) -> str:
    """Of an answer, but for how long it took."""
    return digest_of({k: v for k, v in values.items() if k != "seconds"}, blob)


def files_of(home: Path) -> dict[str, bytes]:
    """Every file of a folder, with its content."""
    return {str(p): p.read_bytes() for p in sorted(home.rglob("*")) if p.is_file()}


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_it_is_what_is_then_sent(tmp_path: Path, precision: str) -> None:
    """Before the first round, and again when it was asked: same values, same bytes."""
    home = write_site(tmp_path / "home", exchange_precision=precision)
    before = preview_answers(home)[-1]
    sent = asked_and_sent(home)
    (after,) = preview_answers(home)
    digests = {digest_without_seconds(p.record.values, p.record.packed()) for p in (before, after)}
    assert digests == {digest_without_seconds(sent.values, sent.arrays)}
    assert after.question.why == "round 1, as it was last asked"
    assert after.size == sent.arrays.nbytes


def test_it_leaves_no_trace(home: Path) -> None:
    """No file is new or changed, and random numbers are where they were."""
    asked_and_sent(home)
    edit(home / "site.yaml", {"policy": {"answers_per_day": 900}})  # another round could leave
    before, random = files_of(home), torch.get_rng_state()
    preview_answers(home)
    assert files_of(home) == before
    assert torch.equal(torch.get_rng_state(), random)


def test_it_leaves_no_trace_before_anything_was_asked(home: Path) -> None:
    """Neither weights, nor a question, nor a line."""
    before = files_of(home)
    assert [one.question.kind for one in preview_answers(home)] == [STATISTICS, ROUND]
    assert files_of(home) == before


def test_another_study_begins_anew(home: Path) -> None:
    """A question of the study before is not the next one."""
    asked_and_sent(home)
    edit(home / "study.yaml", {"learning_rate": 0.002})
    assert [one.question.kind for one in preview_answers(home)] == [STATISTICS, ROUND]


def test_a_damaged_memory_begins_anew(home: Path) -> None:
    """What was asked last cannot be read: what a study begins with is shown."""
    asked_and_sent(home)
    (home / "state" / ASKED_FILE).write_text("[]")
    assert len(preview_answers(home)) == 2


def test_a_hospital_without_genes_sees_its_round(home: Path) -> None:
    """Slides only: no sums, no gene decoders."""
    edit(home / "site.yaml", {"genes": None})
    (only,) = preview_answers(home)
    branches = {branch_of(name) for name in only.record.arrays}
    assert branches == {ASSOCIATION, SURVIVAL}
    assert only.refusal == ""


def shown(home: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    """What the command says: exit code, standard output, standard error."""
    capsys.readouterr()
    code = client.cli.main(["preview", "--folder", str(home)])
    said = capsys.readouterr()
    return code, said.out, said.err


def test_people_see_every_name_and_number(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each value and array by name, norms, the gate's word, and a picture for this user only."""
    asked_and_sent(home)
    code, out, err = shown(home, capsys)
    assert (code, err) == (0, "")
    (one,) = preview_answers(home)
    assert all(f"  {name} " in out for name in (*one.record.values, *one.record.arrays))
    assert "events                      not told: a small cell" in out
    assert "the gate would let it out" in out
    assert out.endswith("nothing was sent\n")
    picture = home / "preview.png"
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert picture.stat().st_mode & 0o777 == 0o600
    assert max(map(len, render(one).splitlines())) <= 100


def test_what_the_gate_would_keep_is_said(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With the rule; the exit code is 1, and the ledger has no line of it."""
    asked_and_sent(home)
    edit(home / "site.yaml", {"policy": {"answers_per_day": 1}})
    lines = ledger_path(home).read_bytes()
    code, out, err = shown(home, capsys)
    assert code == 1
    assert "the gate would keep it: rate: 1 answers of this kind in 24 hours" in out
    assert err.startswith("ghanet-client: error: the next answer would not leave: rate: ")
    assert ledger_path(home).read_bytes() == lines


def test_a_hospital_whose_tables_are_wrong_is_told_so(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As the coordinator would be by a code: one line, no preview."""
    (home / "clinical.csv").write_text("nonsense\n1\n")
    code, _, err = shown(home, capsys)
    assert code == 1
    assert "Traceback" not in err
    assert "clinical.csv" in err.splitlines()[0]


def test_an_evaluation_has_no_picture(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No weights leave, so nothing is drawn."""
    asked_and_sent(home, train=False, genes=False)
    code, out, _ = shown(home, capsys)
    assert code == 0
    assert "values and 0 arrays" in out
    assert not (home / "preview.png").exists()


def test_norms_are_those_of_the_ledger(home: Path) -> None:
    """Summed over arrays, what is shown is what the gate writes down."""
    asked_and_sent(home)
    (one,) = preview_answers(home)
    squares = sum(float(np.square(change, dtype=np.float64).sum()) for _, change in one.changes())
    last = ledger_path(home).read_bytes().splitlines()[-1]
    assert f'"norm":{np.sqrt(squares):.6f}'[:14] in last.decode()


def test_every_array_has_a_branch() -> None:
    """Also those of the network that has no association branch."""
    names = {"decoders.0.output.bias": GENES, "association.queries": ASSOCIATION}
    names |= {"survival.head.bias": SURVIVAL, "head.bias": SURVIVAL}
    assert {name: branch_of(name) for name in names} == names


def test_the_last_question_is_kept_without_weights(home: Path) -> None:
    """State holds what was asked, readable by this user only; weights are beside it once."""
    asked_and_sent(home)
    kept = home / "state" / ASKED_FILE
    assert kept.stat().st_mode & 0o777 == 0o600
    ask = Memory().held(open_site(home).config).last_ask()
    assert isinstance(ask, RoundAsk)
    assert (ask.number, ask.weights, ask.change) == (1, {}, {})
    assert ERROR not in asked_and_sent(home).values
