"""Our exchange on Flower's grid: pushes a message to each hospital, pulls answers as they come.

A hospital that restarts loses the message it was working on. It is asked again as soon as it is
back: its answer depends on study, round and hospital only, so asking twice does no harm.
"""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from flwr.app import Array, ArrayRecord, ConfigRecord, Message, RecordDict
from flwr.serverapp import Grid

from ghanet_model.errors import DeploymentError, ProtocolError, RefusedError
from ghanet_model.record import Record
from ghanet_model.wire import ARRAYS, BLOB, MESSAGE_TYPES, VALUES

POLL_SECONDS = 0.2
LOOK_SECONDS = 3.0  # between looks at who restarted
TRIES = 3  # times a hospital is asked the same when Flower itself answers with an error
UNREADABLE = (
    KeyError,
    ValueError,
    TypeError,
    EOFError,
    AttributeError,
    OSError,
)  # numpy's, on hostile bytes
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


class FlowerExchange:
    """Messages over a real grid; hospitals are known by the key they registered."""

    def __init__(self, grid: Grid, names: Mapping[bytes, str]) -> None:
        self.grid = grid
        self.names = names  # hospital by public key, PEM

    def nodes(self) -> dict[str, Node]:
        """Connected hospitals of the roster; other nodes are not seen."""
        return {
            self.names[node.public_key]: Node(node.node_id, node.last_activated_at)
            for node in self.grid.get_nodes()
            if node.status == "online" and node.public_key in self.names
        }

    def online(self) -> set[str]:
        """Names of hospitals that can be asked now."""
        return set(self.nodes())

    def ask(
        self,
        kind: str,
        asks: Mapping[str, Record],
        *,
        seconds: float,
        on_answer: Callable[[str], None],
    ) -> dict[str, Record | str]:
        """Ask each hospital and wait; see ``run.Exchange``."""
        nodes = self.nodes()
        post = Post(self, kind, asks, end=time.monotonic() + seconds)
        for name in asks:
            if name in nodes:
                post.push(name, nodes[name], tries=1)
            else:
                post.answers[name] = "offline"
        looked = time.monotonic()
        while post.open and time.monotonic() < post.end:
            for name in post.pull():
                on_answer(name)
            if time.monotonic() - looked > LOOK_SECONDS:
                looked = time.monotonic()
                post.ask_again(self.nodes())
            time.sleep(POLL_SECONDS)
        return post.answers | dict.fromkeys(post.open, "missing")


class Post:
    """One question to several hospitals: what is on its way, lost, and answered."""

    def __init__(
        self, exchange: FlowerExchange, kind: str, asks: Mapping[str, Record], *, end: float
    ) -> None:
        self.grid, self.kind, self.asks, self.end = exchange.grid, kind, asks, end
        self.waiting: dict[str, Asked] = {}  # by message id
        self.lost: dict[str, Asked] = {}  # by hospital: Flower says it got no answer
        self.answers: dict[str, Record | str] = {}

    @property
    def open(self) -> list[str]:
        """Hospitals that may still answer."""
        return [*(asked.name for asked in self.waiting.values()), *self.lost]

    def push(self, name: str, node: Node, *, tries: int) -> None:
        """Send the question to one hospital."""
        left = self.end - time.monotonic()
        message = _message(self.kind, self.asks[name], node.node_id, left)
        identities = list(self.grid.push_messages([message]))
        if len(identities) != 1:
            raise DeploymentError("the SuperLink refused a message", hint="see logs/superlink.log")
        self.waiting[identities[0]] = Asked(name, node, tries)

    def pull(self) -> list[str]:
        """Take in what arrived; names of hospitals that answered."""
        answered = []
        for reply in list(self.grid.pull_messages(list(self.waiting))):
            asked = self.waiting.pop(reply.metadata.reply_to_message_id)
            if reply.has_error():
                self.lost[asked.name] = asked
                continue
            self.answers[asked.name] = _record_of(reply)
            log.info("%s: %s answered", self.kind, asked.name)
            answered.append(asked.name)
        return answered

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
                self.answers[name] = "flower"
                continue
            log.info("%s: the message to %s was lost; asking again", self.kind, name)
            self.push(name, node, tries=tries)


def _message(kind: str, record: Record, node: int, seconds: float) -> Message:
    content = RecordDict(
        {
            VALUES: ConfigRecord(dict(record.values)),
            ARRAYS: ArrayRecord({BLOB: Array(record.packed())}),
        }
    )
    return Message(content, dst_node_id=node, message_type=MESSAGE_TYPES[kind], ttl=seconds + 60)


def _record_of(reply: Message) -> Record | str:
    """A reply as a record, or the code that it holds."""
    try:
        array = reply.content.array_records[ARRAYS][BLOB]
        if len(array.data) == 0:
            return "protocol"
        return Record.unpack(dict(reply.content.config_records[VALUES]), array.numpy())
    except RefusedError as refused:
        return str(refused)
    except (ProtocolError, *UNREADABLE):
        return "protocol"
