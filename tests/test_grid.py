"""The exchange on Flower's grid, with a SuperLink of thirty lines that answers as it is told."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Error, Message, RecordDict
from flwr.supercore.task_identity import TaskIdentity

import server.grid
from ghanet_model.record import Record
from ghanet_model.wire import ARRAYS, BLOB, ERROR, ROUND, VALUES
from server.grid import FlowerExchange
from server.run import Traffic

ASK = Record({"number": 1}, {"a": np.zeros(100, np.uint16)})
WHOLE = Record({"number": 1}, {"a": np.zeros(100, np.float32)})
REPLY = Record({"cases": 3}, {"a": np.ones(100, np.uint16)})
BEHIND = Record({ERROR: "behind"})
LOST = None  # Flower's own error instead of an answer


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Messages can be made outside of Flower's processes, and nobody sleeps long."""
    TaskIdentity.task_id = TaskIdentity.run_id = TaskIdentity.node_id = 1
    monkeypatch.setattr(server.grid, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(server.grid, "LOOK_SECONDS", 0.03)


@dataclass
class Node:
    """A connected hospital."""

    node_id: int
    public_key: bytes
    status: str = "online"
    last_activated_at: str = "today"


class Link:
    """Keeps messages until they are pulled; ``answers`` says what comes back, by node, in turn."""

    def __init__(self, answers: dict[int, list[Record | None]]) -> None:
        self.answers = answers
        self.asked: list[Message] = []
        self.pulled: list[int] = []  # how many messages each pull asked for

    def get_nodes(self) -> list[Node]:
        """Everybody."""
        return [Node(number, str(number).encode()) for number in self.answers]

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        """Take messages, as the SuperLink does."""
        first = len(self.asked)
        self.asked += messages
        return [str(place) for place in range(first, len(self.asked))]

    def pull_messages(self, identities: list[str]) -> list[Message]:
        """The answers to these messages."""
        self.pulled.append(len(identities))
        return [
            self._answer(self.asked[int(i)])
            for i in identities
            if self.answers[self.asked[int(i)].metadata.dst_node_id]
        ]

    def _answer(self, ask: Message) -> Message:
        record = self.answers[ask.metadata.dst_node_id].pop(0)
        if record is LOST:
            return Message(Error(code=5), reply_to=ask)
        blob = ArrayRecord({BLOB: Array(record.packed())})
        values = ConfigRecord(dict(record.values))
        return Message(RecordDict({VALUES: values, ARRAYS: blob}), reply_to=ask)


def ask(
    link: Link,
    *,
    seconds: float = 5.0,
    again: Callable[[str, Record | str], Record | None] = lambda *_: None,
) -> tuple[dict[str, Traffic], list[tuple[str, Any]]]:
    """Ask every hospital of the link; bytes, and what was handed over."""
    exchange = FlowerExchange(link, {str(n).encode(): f"site-{n}" for n in link.answers})
    handed: list[tuple[str, Any]] = []

    def on_answer(name: str, answer: Record | str) -> Record | None:
        handed.append((name, answer if isinstance(answer, str) else answer.values["cases"]))
        return again(name, answer)

    asks = {f"site-{number}": ASK for number in link.answers}
    return exchange.ask(ROUND, asks, seconds=seconds, on_answer=on_answer), handed


def test_one_message_is_pulled_at_a_time() -> None:
    """However many hospitals have answered, one answer is in memory."""
    link = Link({number: [REPLY] for number in range(1, 6)})
    traffic, handed = ask(link)
    assert handed == [(f"site-{number}", 3) for number in range(1, 6)]
    assert set(link.pulled) == {1}
    moved = Traffic(sent=ASK.packed().size, received=REPLY.packed().size)
    assert traffic == dict.fromkeys((f"site-{n}" for n in range(1, 6)), moved)


def test_who_is_behind_is_asked_again_at_once_with_what_is_handed_back() -> None:
    """The second message goes to that hospital only, and its bytes are counted too."""
    link = Link({1: [REPLY], 2: [BEHIND, REPLY]})
    traffic, handed = ask(link, again=lambda _, answer: WHOLE if answer == "behind" else None)
    assert handed == [("site-1", 3), ("site-2", "behind"), ("site-2", 3)]
    assert [m.metadata.dst_node_id for m in link.asked] == [1, 2, 2]
    assert traffic["site-2"].sent == ASK.packed().size + WHOLE.packed().size


def test_catching_up_costs_no_try() -> None:
    """A message lost before and two after a catching up are still within the three tries."""
    link = Link({1: [LOST, BEHIND, LOST, REPLY]})
    _, handed = ask(link, again=lambda _, answer: WHOLE if answer == "behind" else None)
    assert handed == [("site-1", "behind"), ("site-1", 3)]
    sent = [m.content.array_records[ARRAYS][BLOB].numpy().size for m in link.asked]
    assert sent == [ASK.packed().size] * 2 + [WHOLE.packed().size] * 2


@pytest.mark.parametrize(
    ("answers", "word"), [([LOST] * 3, "flower"), ([], "missing"), ([BEHIND], "behind")]
)
def test_who_does_not_answer_is_handed_over_as_a_word(
    answers: list[Record | None], word: str
) -> None:
    """Given up after three losses, out of time, or refused: one word each, once."""
    traffic, handed = ask(Link({1: answers}), seconds=0.5)
    assert handed == [("site-1", word)]
    assert traffic["site-1"].received == 0


def test_who_is_not_connected_is_told_at_once() -> None:
    """No message is made for a hospital that is not there."""
    link = Link({1: [REPLY]})
    handed: list[tuple[str, Any]] = []
    exchange = FlowerExchange(link, {b"1": "site-1"})
    asks = {"site-1": ASK, "site-9": ASK}
    exchange.ask(ROUND, asks, seconds=5, on_answer=lambda *a: handed.append(a[0]))
    assert sorted(handed) == ["site-1", "site-9"]
    assert len(link.asked) == 1
