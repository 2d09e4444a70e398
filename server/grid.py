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
from ghanet_model.protocol import Record
from ghanet_model.wire import ARRAYS, BLOB, MESSAGE_TYPES, VALUES

POLL_SECONDS = 0.2
LOOK_SECONDS = 3.0  # between looks at who restarted
TRIES = 3  # times a hospital is asked the same when Flower itself answers with an error
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
        """Ask each hospital and wait; see ``rounds.Exchange``."""
        nodes, end = self.nodes(), time.monotonic() + seconds
        answers: dict[str, Record | str] = {n: "offline" for n in asks if n not in nodes}

        def push(name: str, node: Node, tries: int) -> None:
            message = _message(kind, asks[name], node.node_id, end - time.monotonic())
            waiting[self._push(message)] = Asked(name, node, tries)

        waiting: dict[str, Asked] = {}
        for name in asks:
            if name in nodes:
                push(name, nodes[name], 1)
        looked = time.monotonic()
        while waiting and time.monotonic() < end:
            for reply in list(self.grid.pull_messages(list(waiting))):
                asked = waiting.pop(reply.metadata.reply_to_message_id)
                if reply.has_error() and asked.tries < TRIES:
                    log.info("%s: %s could not answer; asking again", kind, asked.name)
                    push(asked.name, asked.node, asked.tries + 1)
                    continue
                answers[asked.name] = _record_of(reply)
                log.info("%s: %s answered", kind, asked.name)
                on_answer(asked.name)
            if time.monotonic() - looked > LOOK_SECONDS:
                looked = time.monotonic()
                for identity, node in self._restarted(waiting).items():
                    asked = waiting.pop(identity)
                    log.info("%s: %s restarted; asking again", kind, asked.name)
                    push(asked.name, node, asked.tries)
            time.sleep(POLL_SECONDS)
        return answers | {asked.name: "missing" for asked in waiting.values()}

    def _push(self, message: Message) -> str:
        identities = list(self.grid.push_messages([message]))
        if len(identities) != 1:
            raise DeploymentError("the SuperLink refused a message", hint="see logs/superlink.log")
        return identities[0]

    def _restarted(self, waiting: Mapping[str, Asked]) -> dict[str, Node]:
        """Messages whose hospital connected anew since they were sent, with its node now."""
        nodes = self.nodes()
        return {
            identity: nodes[asked.name]
            for identity, asked in waiting.items()
            if asked.name in nodes and nodes[asked.name] != asked.node
        }


def _message(kind: str, record: Record, node: int, seconds: float) -> Message:
    content = RecordDict(
        {
            VALUES: ConfigRecord(dict(record.values)),
            ARRAYS: ArrayRecord({BLOB: Array(record.packed())}),
        }
    )
    return Message(content, dst_node_id=node, message_type=MESSAGE_TYPES[kind], ttl=seconds + 60)


def _record_of(reply: Message) -> Record | str:
    """A reply as a record, or the code of its error. Texts of errors are not read."""
    if reply.has_error():
        return "flower"
    try:
        blob = reply.content.array_records[ARRAYS][BLOB].numpy()
        return Record.unpack(dict(reply.content.config_records[VALUES]), blob)
    except RefusedError as refused:
        return str(refused)
    except (ProtocolError, KeyError, ValueError, TypeError):
        return "protocol"
