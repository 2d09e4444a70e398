"""The trainer: it remembers what is true, forgets the rest, and its end is nobody else's."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from support import trainers_of, write_site

import client.trainer
from client.answers import open_site
from client.config import FOLDER_VARIABLE
from client.frames import LENGTHS, Frame, _dial, ask, receive_frame, send_frame
from client.keeper import trainer_beside
from client.memory import Memory
from client.sitelog import describe
from client.trainer import answer_frame
from ghanet_model.errors import CohortError, DeploymentError
from ghanet_model.gene_values import GeneValues
from ghanet_model.network import new_model
from ghanet_model.panel import panel_of_tables
from ghanet_model.processes import Child, start_child, stop_children
from ghanet_model.protocol import RoundAsk, RoundReply, StatisticsAsk, StatisticsReply
from ghanet_model.question import text_of
from ghanet_model.record import Record
from ghanet_model.release import model_config
from ghanet_model.weights import fingerprint_of, weights_of
from ghanet_model.wire import ERROR, ROUND, STATISTICS

CANARY = "CANARY7Q2XK9"
ENDLESS = 3000  # epochs: minutes of work


def frame_of(kind: str, record: Record) -> Frame:
    """A request as it travels."""
    return Frame(kind, record.values, record.packed())


def ask_of(home: Path) -> StatisticsAsk:
    """A question about genes."""
    digest = open_site(home).study.digest
    return StatisticsAsk(digest, GeneValues.topic, text_of(GeneValues()))


def asked_for_sums(home: Path) -> Frame:
    """A request that takes no time."""
    return frame_of(STATISTICS, ask_of(home).to_record())


def asked_to_train(home: Path) -> Frame:
    """A request for round 1, as long as the study says."""
    site = open_site(home)
    study = site.study
    panel = panel_of_tables(study, {"a": site.cohort().training_genes}, least=10)
    weights = weights_of(new_model(model_config(study, panel), seed=study.seed))
    asked = RoundAsk(
        study=study.digest,
        number=1,
        train=True,
        genes=True,
        training_risk=False,
        panel=json.dumps(panel.to_json()),
        base=fingerprint_of(weights),
        weights=weights,
    )
    return frame_of(ROUND, asked.to_record())


def gene_cases(home: Path, answered: Frame) -> int:
    """How many training cases the sums of an answer are over."""
    record = Record.unpack(answered.values, answered.arrays)
    study = open_site(home).study
    return GeneValues().cases(StatisticsReply.from_record(record, GeneValues(), study).sums)


def start_trainer(home: Path) -> Child:
    """The real process."""
    return start_child(
        "Trainer",
        [sys.executable, "-m", "client.trainer"],
        environment={**os.environ, FOLDER_VARIABLE: str(home)},
        log=home / "logs" / "trainer.log",
    )


def log_of(home: Path) -> str:
    """What the hospital's log says."""
    return (home / "logs" / "site.log").read_text()


def wait_until(fact: Callable[[], bool], seconds: float = 30.0) -> bool:
    """Whether it came true in time."""
    end = time.monotonic() + seconds
    while not fact() and time.monotonic() < end:
        time.sleep(0.05)
    return fact()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A hospital in a folder deeper than a socket's name is long; its study trains for minutes."""
    deep = tmp_path_factory.mktemp("site") / ("deep" * 40)
    return write_site(deep, local_epochs=ENDLESS)


@pytest.fixture(scope="module")
def trainer(home: Path) -> Iterator[Child]:
    """Its trainer."""
    child = start_trainer(home)
    yield child
    stop_children([child])


def test_two_requests_are_answered_by_one_process(home: Path, trainer: Child) -> None:
    """The second answer is the first again, from the same process, and each has its line."""
    asked = asked_for_sums(home)
    first, second = ask(home, asked), ask(home, asked)
    assert np.array_equal(first.arrays, second.arrays)
    assert gene_cases(home, first) > 0
    assert trainer.running
    assert wait_until(lambda: log_of(home).count("sent sums: gene values") == 2)


@pytest.mark.parametrize(
    "content", [b"\xff" * 12, LENGTHS.pack(2, 0) + b"{}", LENGTHS.pack(2, 9) + b"{", b""]
)
def test_a_bad_frame_ends_its_own_connection_only(
    home: Path, trainer: Child, content: bytes
) -> None:
    """Whoever sends nonsense gets no answer; the next request gets one."""
    with _dial(home, 60) as connection:
        connection.settimeout(10)
        connection.sendall(content)
        connection.shutdown(1)
        assert connection.recv(1) == b""
    assert ERROR not in ask(home, asked_for_sums(home)).values
    assert trainer.running


def test_an_edited_table_counts_in_the_next_message(home: Path, trainer: Child) -> None:
    """A withdrawn case is gone, a broken table is a code, and a repaired one works again."""
    asked, genes = asked_for_sums(home), home / "genes.csv"
    before, text = gene_cases(home, ask(home, asked)), (home / "genes.csv").read_text()
    train = open_site(home).cohort().cases
    row = next(i for i, case in enumerate(train) if case.can_train)
    lines = text.splitlines()
    name = train[row].case_id
    genes.write_text("\n".join(line for line in lines if not line.startswith(f"{name},")))
    assert gene_cases(home, ask(home, asked)) == before - 1
    genes.write_text("nonsense")
    assert ask(home, asked).values == {ERROR: "genes"}
    genes.write_text(text)
    assert gene_cases(home, ask(home, asked)) == before


def test_work_that_nobody_waits_for_is_given_up(home: Path, trainer: Child) -> None:
    """After the app that asked is gone, the next request does not wait for its work."""
    with _dial(home, 60) as connection:
        send_frame(connection, asked_to_train(home))
        time.sleep(1)
    began = time.monotonic()
    assert ERROR not in ask(home, asked_for_sums(home)).values
    assert time.monotonic() - began < 20
    assert "a request was dropped: nobody waits" in log_of(home)


def test_a_second_request_waits_for_its_turn(home: Path, trainer: Child) -> None:
    """One piece of work at a time; a request meanwhile is neither refused nor lost."""
    with _dial(home, 60) as first, _dial(home, 60) as second:
        send_frame(first, asked_to_train(home))
        send_frame(second, asked_for_sums(home))
        second.settimeout(1)
        with pytest.raises(TimeoutError):
            receive_frame(second)
        first.close()
        second.settimeout(20)
        assert ERROR not in receive_frame(second).values


@pytest.fixture
def short(tmp_path: Path) -> Path:
    """A hospital whose round takes a second."""
    return write_site(tmp_path / "home")


@pytest.fixture
def long(tmp_path: Path) -> Path:
    """A hospital whose round takes minutes."""
    return write_site(tmp_path / "home", local_epochs=ENDLESS)


def test_asked_to_stop_it_stops_at_work(long: Path) -> None:
    """SIGTERM ends it in order between two steps, long before it would be killed."""
    own = start_trainer(long)
    with _dial(long, 60) as connection:
        send_frame(connection, asked_to_train(long))
        time.sleep(1)
        own.process.terminate()
        assert own.process.wait(timeout=7) == 0
    assert "Traceback" not in (long / "logs" / "trainer.log").read_text()


def test_a_round_leaves_one_line_with_where_the_time_went(
    short: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The line counts cases, megabytes and seconds and names no case."""
    answered = answer_frame(asked_to_train(short), short, Memory(), notes=(notes := []))
    reply = RoundReply.from_record(Record.unpack(answered.values, answered.arrays))
    line = describe(ROUND, answered.values, size=2_000_000, seconds=3.0, notes=notes)
    assert line.startswith(f"round 1: trained on {reply.cases} cases; 2.00 MB left this site; 3.0")
    assert "forward" in line
    assert not any(case.case_id in line for case in open_site(short).cohort().cases)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ValueError(f"case {CANARY}"), "failed"),
        (OSError(28, "No space left", f"/data/{CANARY}"), "failed"),
        (CohortError(f"{CANARY}", hint=CANARY), "cohort"),
    ],
)
def test_an_error_is_a_code(
    error: Exception, code: str, short: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is raised, the answer holds one word of ours and no text."""

    def raises(*_: object) -> None:
        raise error

    monkeypatch.setattr(client.trainer, "answer", raises)
    answered = answer_frame(asked_for_sums(short), short, Memory())
    assert answered.values == {ERROR: code}
    assert CANARY not in repr(answered)


def test_a_killed_trainer_is_started_again(long: Path) -> None:
    """Killed at work: the app that asked hears of it, one line is said, the next is answered."""
    said: list[str] = []
    heard: list[Exception] = []

    def work() -> None:
        try:
            ask(long, asked_to_train(long))
        except DeploymentError as error:
            heard.append(error)

    with trainer_beside(long, said.append):
        ask(long, asked_for_sums(long))
        worker = threading.Thread(target=work)
        worker.start()
        time.sleep(1.5)
        victim = trainer_of(long)
        os.kill(victim, signal.SIGKILL)
        worker.join(20)
        assert [str(error) for error in heard] == ["the trainer ended while it worked"]
        assert wait_until(lambda: victim not in trainers_of(long))
        assert ERROR not in ask(long, asked_for_sums(long)).values
        assert trainer_of(long) != victim
    assert len(said) == 1
    assert said[0].startswith("the trainer was killed (out of memory?); starting it again in 1 s")
    assert trainers_of(long) == []


def trainer_of(home: Path) -> int:
    """The one there is."""
    (found,) = trainers_of(home)
    return found


def test_one_that_dies_at_once_is_started_ever_later(tmp_path: Path) -> None:
    """A folder that cannot have a socket is no reason to be busy."""
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "trainer").write_text("a file where a folder should be")
    said: list[str] = []
    with trainer_beside(tmp_path, said.append):
        assert wait_until(lambda: len(said) == 2, seconds=60)
    assert [line.split("again in ")[1] for line in said] == [
        "1 s, see logs/trainer.log",
        "2 s, see logs/trainer.log",
    ]
    lines = (tmp_path / "logs" / "trainer.log").read_text().splitlines()
    assert lines[0].startswith("trainer: error: ")
    assert "Traceback" not in lines


PARENT = """\
import sys, time
from pathlib import Path
from client.keeper import trainer_beside
with trainer_beside(Path(sys.argv[1]), print):
    time.sleep(60)
"""


def test_it_ends_with_its_parent(short: Path) -> None:
    """After kill -9 of ``start`` no trainer is left."""
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(short)])
    try:
        ask(short, asked_for_sums(short))
        assert len(trainers_of(short)) == 1
    finally:
        parent.kill()
        parent.wait()
    assert wait_until(lambda: not trainers_of(short), seconds=5)
