"""Launcher of Flower's SuperNode: the real one, guarded at both ends, never left idle.

What comes in: only the app bundle that this hospital approved is run. What goes out: only answers
that the ledger lists, in a message made here, and error codes. Never reads a table.
"""

import os
import ssl
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import flwr.supernode.fleet_http_connection as fleet
import flwr.supernode.start_client_internal as loop
import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Error, Message, RecordDict
from flwr.supercore.fab import Fab
from flwr.supercore.inflatable.inflatable_object import iterate_object_tree
from flwr.supercore.inflatable.inflatable_utils import inflate_object_from_contents
from flwr.supernode.cli import flower_supernode
from flwr.supernode.fleet_http_client import FleetHttpClient
from numpy.typing import NDArray

from ghanet_model.commands import say_error
from ghanet_model.errors import GateError, GHANetError
from ghanet_model.files import sha256
from ghanet_model.ledger import REFUSED
from ghanet_model.processes import end_with_parent
from ghanet_model.record import Scalar
from ghanet_model.wire import ARRAYS, ARRIVAL_SECONDS, BLOB, ERROR, VALUES

from .approval import require_bundle
from .config import FOLDER_VARIABLE, read_site
from .door import tls_context
from .frames import no_arrays, scalars_of
from .ledger import ledger_path, site_ledger
from .seal import require_flower, require_let_out
from .sitelog import log, log_refusal, log_to

IDLE_SECONDS = 3.0  # Flower's sleep after a look at the server that found nothing
LEAST_SECONDS, SHARE = 0.25, 0.05
WORK_SECONDS = 0.1  # between looks at the own app's answer, inside this machine
UPLOAD_SECONDS = 600.0  # that the own app may take to hand over an answer
ERRORS, REASON = range(9), "see the hospital's logs"  # Flower's codes; its texts can hold paths
APPROVED_HERE = {"valid_license": "approved by this hospital"}  # where Flower looks for a judgement


class Patience:
    """How long SuperNode sleeps: the sooner after work, the shorter.

    Rounds follow each other, and a look costs the server about 6 ms of one core. So SuperNode looks
    again after a twentieth of the time since its last work: a wait grows by 5 % at most. By that,
    fifty hospitals cost 1.2 cores for five seconds after a round; idle, as little as Flower's own.
    """

    def __init__(self) -> None:
        self._worked = time.monotonic()

    def sleep(self, seconds: float) -> None:
        """In place of ``time.sleep`` in the loop; shorter sleeps than the idle one are in work."""
        if seconds < IDLE_SECONDS:
            self._worked = time.monotonic()
            time.sleep(min(seconds, WORK_SECONDS))
        else:
            since = time.monotonic() - self._worked
            time.sleep(min(seconds, max(LEAST_SECONDS, SHARE * since)))


def guard(folder: Path) -> None:
    """Put our guards into Flower's loop, in this process only.

    Raises:
        DeploymentError: it is another Flower than the one whose loop is known.
        KeysError: a key or certificate cannot be used.
    """
    require_flower()
    push = loop._push_messages  # noqa: SLF001 - what is wrapped is pinned by a test
    question = Question()

    def push_sealed(state: Any, object_store: Any, send: Any, push_object: Any) -> None:
        sealed: Any = Sealed(state, object_store, folder, question)
        push(sealed, object_store, send, push_object)

    guards = {
        "time": SimpleNamespace(**{**vars(time), "sleep": Patience().sleep}),
        "http_request_response": guarded(vars(loop)["http_request_response"], folder, question),
        "_verify_fab": lambda fab, _: is_approved(fab, folder),
        "_push_messages": push_sealed,
        "pull_objects": partial(vars(loop)["pull_objects"], initial_backoff=ARRIVAL_SECONDS),
    }
    for name, ours in guards.items():
        setattr(loop, name, ours)
    fleet.__dict__["FleetHttpClient"] = calls_with(tls_context(read_site(folder)))


def calls_with(context: ssl.SSLContext) -> type[FleetHttpClient]:
    """Flower's calls to the coordinator, over TLS as this hospital has it, certificate and all."""

    class Calls(FleetHttpClient):
        """Flower's own takes an authority and no certificate."""

        def __init__(self, base_url: str, **options: Any) -> None:
            super().__init__(base_url, **{**options, "verify": context})

    return Calls


@dataclass(slots=True)
class Question:
    """The message that this hospital was asked last; there is one at a time."""

    message: Message | None = None


Connect = Callable[..., AbstractContextManager[tuple[Any, ...]]]


def guarded(connect: Connect, folder: Path, question: Question) -> Connect:
    """Flower's connection, whose questions are noted and whose bundles pass through our hands."""

    @contextmanager
    def connection(*arguments: Any) -> Iterator[tuple[Any, ...]]:
        with connect(*arguments) as found:
            node_id, receive, send, get_run, get_fab, pull, push, confirm = found

            def receive_noted() -> Any:
                got = receive()
                question.message = got[0] if got else question.message
                return got

            def get_approved(fab_hash: str, run_id: int) -> Fab:
                fab = Fab(fab_hash, get_fab(fab_hash, run_id).content, APPROVED_HERE)
                return fab if is_approved(fab, folder) else Fab(fab_hash, b"", {})

            yield node_id, receive_noted, send, get_run, get_approved, pull, push, confirm

    return connection


def is_approved(fab: Fab, folder: Path) -> bool:
    """Whether this hospital approved the bundle; one that it did not is said and written down."""
    try:
        require_bundle(folder, fab.content, fab.hash_str)
    except GHANetError as error:
        _refuse(folder, "app bundle", error, digest=sha256(fab.content))
        return False
    return True


class Sealed:
    """SuperNode's state, where each answer of the app is replaced by our own copy of it.

    Nothing that the app made leaves as it is: what the gate let out is packed anew, so that no
    name, text or object beside it can travel along.
    """

    def __init__(self, state: Any, store: Any, folder: Path, question: Question) -> None:
        self._state, self._store = state, store
        self._folder, self._question = folder, question

    def __getattr__(self, name: str) -> Any:
        return getattr(self._state, name)

    def get_messages_legacy(self, **chosen: Any) -> Sequence[Message]:
        """Our copy of the answer, where there is one; of several the first."""
        replies, asked = self._state.get_messages_legacy(**chosen), self._question.message
        if not replies or asked is None:
            return []
        ours = self._copy(replies[0], asked)
        for reply in replies:
            self._state.delete_messages(message_ids=[reply.metadata.message_id])
            self._store.delete(reply.metadata.message_id)
        loop._insert_message(ours, self._state, self._store)  # noqa: SLF001
        return [ours]

    def _copy(self, reply: Message, asked: Message) -> Message:
        if reply.has_error():
            code = reply.error.code if reply.error.code in ERRORS else 0
            return Message(Error(code, REASON), reply_to=asked)
        try:
            values, blob = answer_in(self._store, reply.metadata.message_id)
            require_let_out(ledger_path(self._folder), values, blob)
        except GHANetError as error:
            _refuse(self._folder, asked.metadata.message_type, error)
            values, blob = {ERROR: GateError.code}, no_arrays()
        arrays = ArrayRecord({BLOB: Array(blob)})
        content = RecordDict({VALUES: ConfigRecord(dict(values)), ARRAYS: arrays})
        return Message(content, reply_to=asked)


def answer_in(store: Any, identity: str) -> tuple[dict[str, Scalar], NDArray[np.uint8]]:
    """Scalars and arrays' bytes of an answer that the app handed over.

    Raises:
        GateError: it is not one, or holds more.
    """
    try:
        tree = iterate_object_tree(store.get_object_tree(identity))
        contents = {node.object_id: _content(store, node.object_id) for node in tree}
        message: Any = inflate_object_from_contents(identity, contents)
        records, arrays = message.content, message.content.array_records[ARRAYS]
        found = dict(records.config_records[VALUES])
        values, blob = scalars_of(found), arrays[BLOB].numpy()
        ours = set(records) == {VALUES, ARRAYS} and set(arrays) == {BLOB} and values == found
    except Exception as error:  # noqa: BLE001 - whatever the app made of it, it does not leave
        raise GateError(f"an answer cannot be read ({type(error).__name__})") from None
    if not ours or blob.dtype != np.uint8 or blob.ndim != 1:
        raise GateError("an answer holds more than the gate let out")
    return values, blob


def _content(store: Any, identity: str) -> bytes:
    """An object of an answer; the app may still be handing it over."""
    end = time.monotonic() + UPLOAD_SECONDS
    while (content := store.get(identity)) == b"" and time.monotonic() < end:
        time.sleep(WORK_SECONDS)
    return bytes(content)


def _refuse(folder: Path, what: str, error: GHANetError, **facts: Scalar) -> None:
    """One line in the hospital's log, which its console shows, and one in the ledger."""
    log_to(folder, rotates=False)
    log_refusal(what, error)
    try:
        site_ledger(folder).append(REFUSED, kind=what, code=error.code, reason=str(error), **facts)
    except GHANetError as unwritten:
        log_refusal("ledger line", unwritten)
    for handler in log.handlers[:]:  # the log is set aside by others: never hold it open
        log.removeHandler(handler)
        handler.close()


def main() -> int:
    """Run SuperNode until it ends; returns its exit code, 75 where it has none."""
    end_with_parent()
    try:
        guard(Path(os.environ[FOLDER_VARIABLE]))
    except GHANetError as error:
        say_error("supernode", str(error), error.hint)
        return 1
    sys.argv[0] = "flower-supernode"
    try:
        flower_supernode()
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else 75
    return 75


if __name__ == "__main__":
    code = 75  # a SuperNode whose loop ended can stay alive and idle; end it so it is restarted
    try:
        code = main()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
