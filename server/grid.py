"""Our exchange on Flower's grid: pushes a message to each hospital, pulls answers as they come.

One message is in memory at a time, in either direction, however many hospitals there are.

A hospital that restarts loses the message it was working on. It is asked again as soon as it is
back: its answer depends on study, round and hospital only, so asking twice does no harm.
"""

import logging
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, RecordDict
from flwr.serverapp import Grid
from flwr.supercore.inflatable.inflatable_utils import pull_objects
from flwr.superlink.grid import http_grid
from numpy.typing import NDArray

from ghanet_model.errors import ApprovalError, DeploymentError
from ghanet_model.record import Record
from ghanet_model.wire import ARRAYS, ARRIVAL_SECONDS, BLOB, MESSAGE_TYPES, VALUES

from .gate import TOO_LARGE, UNREADABLE, opened
from .run import OnAnswer, Traffic

POLL_SECONDS, LONGEST_POLL = 0.2, 2.0  # between looks at what arrived
LOOK_SECONDS = 3.0  # between looks at who restarted and who was revoked
INVALID_FAB = 7  # Flower's code: the hospital's launcher refused the app bundle
NUMPY_HEADER = 1024  # bytes that Flower's form of an array has around it, at most
TRIES = 3  # times a hospital is asked the same when Flower itself answers with an error
UNREADABLE_ERRORS = (
    KeyError,
    ValueError,
    TypeError,
    EOFError,
    AttributeError,
    OSError,
)  # numpy's, on hostile bytes
Blob = NDArray[np.uint8]
log = logging.getLogger("ghanet")


@dataclass(frozen=True, slots=True)
class Node:
    """A connected hospital as Flower knows it."""

    node_id: int
    activated: str  # when it last connected


@dataclass(frozen=True, slots=True)
class Asked:
    """A message on its way to a hospital."""

    name: str
    node: Node
    tries: int


def look_again_soon() -> None:
    """Let Flower's grid of this process look again soon for parts of an answer."""
    vars(http_grid)["pull_objects"] = partial(pull_objects, initial_backoff=ARRIVAL_SECONDS)


class FlowerExchange:
    """Messages over a real grid; hospitals are known by the key they registered."""

    def __init__(self, grid: Grid, names: Callable[[], Mapping[bytes, str]]) -> None:
        self.grid = grid
        self.names = names  # hospitals in good standing by public key, PEM, as of now

    def nodes(self) -> dict[str, Node]:
        """Connected hospitals in good standing; other nodes are not seen."""
        names = self.names()
        return {
            names[node.public_key]: Node(node.node_id, node.last_activated_at)
            for node in self.grid.get_nodes()
            if node.status == "online" and node.public_key in names
        }

    def online(self) -> set[str]:
        """Names of hospitals that can be asked now."""
        return set(self.nodes())

    def ask(
        self,
        kind: str,
        asks: Mapping[str, Record],
        *,
        most: int,
        seconds: float,
        on_answer: OnAnswer,
    ) -> dict[str, Traffic]:
        """Ask each hospital and wait; see ``run.Exchange``."""
        nodes, end = self.nodes(), time.monotonic() + seconds
        post = Post(self.grid, kind, asks, on_answer, most=most, end=end)
        for name in asks:
            if name in nodes:
                post.push(name, nodes[name], tries=1)
            else:
                on_answer(name, "offline")
        began = looked = time.monotonic()
        while post.open and time.monotonic() < post.end:
            post.pull()
            if time.monotonic() - looked > LOOK_SECONDS:
                looked = time.monotonic()
                post.give_up(set(self.names().values()))
                post.ask_again(self.nodes())
            time.sleep(pause(time.monotonic() - began))
        for name in post.open:
            on_answer(name, "missing")
        return dict(post.traffic)


def pause(waited: float) -> float:
    """Seconds until the next look: a tenth of the wait so far.

    Every look is a request per hospital; a round of hours would keep the SuperLink busy.
    """
    return min(LONGEST_POLL, max(POLL_SECONDS, waited / 10))


class Post:
    """One question to several hospitals: what is on its way and what was lost."""

    def __init__(  # noqa: PLR0913 - all of one question
        self,
        grid: Grid,
        kind: str,
        asks: Mapping[str, Record],
        on_answer: OnAnswer,
        *,
        most: int,
        end: float,
    ) -> None:
        self.grid, self.kind, self.asks = grid, kind, dict(asks)
        self.most, self.end = most, end  # bytes of an answer; time
        self.on_answer = on_answer
        self.waiting: dict[str, Asked] = {}  # by message id
        self.lost: dict[str, Asked] = {}  # by hospital: Flower says it got no answer
        self.traffic: defaultdict[str, Traffic] = defaultdict(Traffic)

    @property
    def open(self) -> list[str]:
        """Hospitals that may still answer."""
        return [*(asked.name for asked in self.waiting.values()), *self.lost]

    def push(self, name: str, node: Node, *, tries: int) -> None:
        """Send the question to one hospital."""
        record, left = self.asks[name], self.end - time.monotonic()
        blob = record.packed()
        message = _message(self.kind, record, blob, node=node.node_id, seconds=left)
        identities = list(self.grid.push_messages([message]))
        if len(identities) != 1:
            raise DeploymentError("the SuperLink refused a message", hint="see logs/superlink.log")
        asked = Asked(name, node, tries)
        if not identities[0]:  # its node is gone since it was looked up
            self.lost[name] = asked
            return
        self.waiting[identities[0]] = asked
        self.traffic[name] += Traffic(sent=blob.size)

    def pull(self) -> None:
        """Take in and hand over what arrived, one message after the other."""
        for identity in list(self.waiting):
            self._take(identity)

    def _take(self, identity: str) -> None:
        for reply in self.grid.pull_messages([identity]):
            asked = self.waiting.pop(identity)
            if not reply.has_error():
                self._hand_over(asked, _record_of(reply, most=self.most))
            elif reply.error.code == INVALID_FAB:
                self.on_answer(asked.name, ApprovalError.code)
            else:
                self.lost[asked.name] = asked

    def _hand_over(self, asked: Asked, answer: Record | str) -> None:
        log.info("%s: %s answered", self.kind, asked.name)
        if isinstance(answer, Record):
            self.traffic[asked.name] += Traffic(received=answer.size)
        again = self.on_answer(asked.name, answer)
        if again is not None:
            self.asks[asked.name] = again
            self.push(asked.name, asked.node, tries=asked.tries)

    def give_up(self, standing: set[str]) -> None:
        """Wait no more for hospitals that are no longer in good standing."""
        for identity, asked in list(self.waiting.items()):
            if asked.name not in standing:
                del self.waiting[identity]
                self.on_answer(asked.name, "revoked")
        for name in [name for name in self.lost if name not in standing]:
            del self.lost[name]
            self.on_answer(name, "revoked")

    def ask_again(self, nodes: Mapping[str, Node]) -> None:
        """Ask hospitals anew that restarted, or whose message was lost and that are connected.

        A hospital that fails without restarting is asked ``TRIES`` times, then given up.
        """
        for identity, asked in list(self.waiting.items()):
            if asked.name in nodes and nodes[asked.name] != asked.node:
                self.lost[asked.name] = self.waiting.pop(identity)
        for name, asked in list(self.lost.items()):
            node = nodes.get(name)
            if node is None:
                continue
            del self.lost[name]
            tries = 1 if node != asked.node else asked.tries + 1
            if tries > TRIES:
                self.on_answer(name, "flower")
                continue
            log.info("%s: the message to %s was lost; asking again", self.kind, name)
            self.push(name, node, tries=tries)


def _message(kind: str, record: Record, blob: Blob, *, node: int, seconds: float) -> Message:
    content = RecordDict(
        {
            VALUES: ConfigRecord(dict(record.values)),
            ARRAYS: ArrayRecord({BLOB: Array(blob)}),
        }
    )
    return Message(content, dst_node_id=node, message_type=MESSAGE_TYPES[kind], ttl=seconds + 60)


def _record_of(reply: Message, *, most: int) -> Record | str:
    """A reply as a record, or the word for why it is none; size before anything is decoded."""
    try:
        array = reply.content.array_records[ARRAYS][BLOB]
        if len(array.data) > most + NUMPY_HEADER:
            return TOO_LARGE
        if len(array.data) == 0:
            return UNREADABLE
        return opened(dict(reply.content.config_records[VALUES]), _blob(array), most=most)
    except UNREADABLE_ERRORS:
        return UNREADABLE


def _blob(array: Array) -> Blob:
    blob = array.numpy()
    if blob.dtype != np.uint8 or blob.ndim != 1:
        raise ValueError
    return blob
