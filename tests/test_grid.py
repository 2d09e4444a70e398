"""The exchange on Flower's grid, with a SuperLink of thirty lines that answers as it is told."""

import inspect
import re
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Error, Message, RecordDict
from flwr.supercore.inflatable.inflatable_utils import pull_objects
from flwr.supercore.task_identity import TaskIdentity
from flwr.superlink.grid import http_grid

import server.grid
from ghanet_model.record import Record
from ghanet_model.wire import ARRAYS, BLOB, ERROR, ROUND, VALUES
from server.grid import FlowerExchange, look_again_soon
from server.run import Traffic

ASK = Record({"number": 1}, {"a": np.zeros(100, np.uint16)})
WHOLE = Record({"number": 1}, {"a": np.zeros(100, np.float32)})
REPLY = Record({"cases": 3}, {"a": np.ones(100, np.uint16)})
BEHIND = Record({ERROR: "behind"})
LOST = None  # Flower's own error instead of an answer
REFUSED_BUNDLE = Record({"flower": 7})  # the hospital's launcher does not run the app


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Messages can be made outside of Flower's processes, and nobody sleeps long."""
    TaskIdentity.task_id = TaskIdentity.run_id = TaskIdentity.node_id = 1
    monkeypatch.setattr(server.grid, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(server.grid, "LOOK_SECONDS", 0.03)


def test_parts_of_an_answer_are_looked_for_again_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Flower's grid waits as long as its constant says, a second; ours does not."""
    monkeypatch.setattr(http_grid, "pull_objects", pull_objects)
    assert inspect.signature(pull_objects).parameters["initial_backoff"].default == 1
    assert len(re.findall(r"\bpull_objects\(", inspect.getsource(http_grid))) == 1
    assert "initial_backoff" not in inspect.getsource(http_grid)
    look_again_soon()
    assert vars(http_grid)["pull_objects"].keywords["initial_backoff"] < 0.1


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
        if record is LOST or record is REFUSED_BUNDLE:
            return Message(Error(code=5 if record is LOST else 7), reply_to=ask)
        blob = ArrayRecord({BLOB: Array(record.packed())})
        values = ConfigRecord(dict(record.values))
        return Message(RecordDict({VALUES: values, ARRAYS: blob}), reply_to=ask)


def ask(
    link: Link,
    *,
    seconds: float = 5.0,
    most: int = 10_000,
    standing: Callable[[], bool] = lambda: True,
    again: Callable[[str, Record | str], Record | None] = lambda *_: None,
) -> tuple[dict[str, Traffic], list[tuple[str, Any]]]:
    """Ask every hospital of the link; bytes, and what was handed over.

    ``standing`` says whether site-1 is in good standing, each time that it is looked up.
    """

    def names() -> dict[bytes, str]:
        return {str(n).encode(): f"site-{n}" for n in link.answers if n != 1 or standing()}

    exchange = FlowerExchange(link, names)
    handed: list[tuple[str, Any]] = []

    def on_answer(name: str, answer: Record | str) -> Record | None:
        handed.append((name, answer if isinstance(answer, str) else answer.values["cases"]))
        return again(name, answer)

    asks = {f"site-{number}": ASK for number in link.answers}
    moved = exchange.ask(ROUND, asks, most=most, seconds=seconds, on_answer=on_answer)
    return moved, handed


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
    ("answers", "word"),
    [
        ([LOST] * 3, "flower"),
        ([], "missing"),
        ([BEHIND], "behind"),
        ([REFUSED_BUNDLE], "unapproved"),
        ([Record({ERROR: "revoked"})], "unreadable"),  # only the server knows that
    ],
)
def test_who_does_not_answer_is_handed_over_as_a_word(
    answers: list[Record | None], word: str
) -> None:
    """Given up after three losses, out of time, refused, or a lie: one word each, once."""
    traffic, handed = ask(Link({1: answers}), seconds=0.5)
    assert handed == [("site-1", word)]
    assert traffic["site-1"].received == 0


def test_who_is_not_connected_is_told_at_once() -> None:
    """No message is made for a hospital that is not there."""
    link = Link({1: [REPLY]})
    handed: list[tuple[str, Any]] = []
    exchange = FlowerExchange(link, lambda: {b"1": "site-1"})
    asks = {"site-1": ASK, "site-9": ASK}
    exchange.ask(ROUND, asks, most=10_000, seconds=5, on_answer=lambda *a: handed.append(a[0]))
    assert sorted(handed) == ["site-1", "site-9"]
    assert len(link.asked) == 1


def test_who_is_revoked_is_given_up_at_once() -> None:
    """The server waits for the others only; the word comes long before the time is up."""
    looks = iter([True])
    began = time.monotonic()
    link = Link({1: [], 2: [REPLY]})
    _, handed = ask(link, seconds=60, standing=lambda: next(looks, False))
    assert sorted(handed) == [("site-1", "revoked"), ("site-2", 3)]
    assert time.monotonic() - began < 5


def test_a_message_to_a_node_that_is_gone_is_no_message() -> None:
    """Flower takes none for a node that was unregistered since it was looked up."""
    link = Link({1: [REPLY]})
    link.push_messages = lambda _: [""]  # type: ignore[method-assign]
    looks = iter([True, True])
    _, handed = ask(link, seconds=60, standing=lambda: next(looks, False))
    assert handed == [("site-1", "revoked")]


def test_too_many_bytes_are_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The size of what arrived is looked at first; the others' answers are taken."""
    large = Record({"cases": 3}, {"a": np.zeros(50_000, np.uint8)})
    decoded: list[int] = []
    monkeypatch.setattr(server.grid, "_blob", lambda a: decoded.append(len(a.data)) or a.numpy())
    _, handed = ask(Link({1: [large], 2: [REPLY]}))
    assert sorted(handed) == [("site-1", "large"), ("site-2", 3)]
    assert len(decoded) == 1


def test_a_long_wait_is_looked_at_rarely() -> None:
    """At a tenth of the wait so far, every two seconds at last."""
    assert [server.grid.pause(waited) for waited in (0.0, 6.0, 3600.0)] == [0.01, 0.6, 2.0]
