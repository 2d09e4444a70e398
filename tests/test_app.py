"""Where Flower begins: what a failing hospital sends, and how strange replies are read."""

import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, RecordDict
from flwr.supercore.task_identity import TaskIdentity

import client.app
import client.sitelog
from client.frames import Frame, listen, receive_frame, send_frame
from ghanet_model.record import Record
from ghanet_model.wire import ARRAYS, BLOB, ERROR, VALUES
from server.grid import _record_of

CANARY = "CANARY7Q2XK9"
ONE_MESSAGE = """\
import sys
import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, RecordDict
from flwr.supercore.task_identity import TaskIdentity
import client.app
from ghanet_model.wire import ARRAYS, BLOB, VALUES

TaskIdentity.task_id = TaskIdentity.run_id = TaskIdentity.node_id = 1
arrays = ArrayRecord({BLOB: Array(np.arange(9, dtype=np.uint8))})
values = ConfigRecord({"study": "x", "number": 3, "strange": [1]})
content = RecordDict({VALUES: values, ARRAYS: arrays})
reply = client.app.reply_to(Message(content, dst_node_id=1, message_type="train.round"), "round")
print(dict(reply.content.config_records[VALUES]))
print(reply.content.array_records[ARRAYS][BLOB].numpy().size)
print(sorted({"torch", "pandas", "safetensors", "h5py"} & set(sys.modules)))
"""


@pytest.fixture(autouse=True)
def identity() -> None:
    """What Flower's processes know of themselves; messages cannot be made without."""
    TaskIdentity.task_id = TaskIdentity.run_id = TaskIdentity.node_id = 1


def message(values: dict[str, object], blob: Array) -> Message:
    """A message as it travels."""
    content = RecordDict({VALUES: ConfigRecord(values), ARRAYS: ArrayRecord({BLOB: blob})})
    return Message(content, dst_node_id=1, message_type="train.round")


def echo(listener: socket.socket, sent: list[Frame]) -> None:
    """A trainer for one message that sends back what it got."""
    connection, _ = listener.accept()
    with connection:
        sent.append(receive_frame(connection))
        send_frame(connection, sent[0])


def hang_up(listener: socket.socket) -> None:
    """A trainer that ends before it answers."""
    listener.accept()[0].close()


def asked() -> Message:
    """A message that a hospital can read."""
    return message({"study": "0" * 64}, Array(Record({}).packed()))


def test_an_app_asks_the_trainer_and_holds_no_torch(tmp_path: Path) -> None:
    """A message becomes a frame, the frame a reply, in a process without torch and tables."""
    sent: list[Frame] = []
    with listen(tmp_path) as listener:
        trainer = threading.Thread(target=echo, args=(listener, sent))
        trainer.start()
        done = subprocess.run(
            [sys.executable, "-c", ONE_MESSAGE],
            env={**os.environ, "GHANET_SITE_FOLDER": str(tmp_path)},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        trainer.join()
    assert (sent[0].kind, dict(sent[0].values)) == ("round", {"study": "x", "number": 3})
    assert bytes(sent[0].arrays) == bytes(range(9))
    assert done.stdout.splitlines() == ["{'study': 'x', 'number': 3}", "9", "[]"]


def test_a_trainer_that_ends_at_work_leaves_as_a_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The coordinator hears one word; the hospital's log says what to look for."""
    monkeypatch.setenv("GHANET_SITE_FOLDER", str(tmp_path))
    monkeypatch.setattr(client.sitelog.log, "handlers", [])
    with listen(tmp_path) as listener:
        trainer = threading.Thread(target=hang_up, args=(listener,))
        trainer.start()
        reply = client.app.reply_to(asked(), "round")
        trainer.join()
    assert not reply.has_error()
    assert dict(reply.content.config_records[VALUES]) == {ERROR: "deployment"}
    assert _record_of(reply, most=10_000) == "deployment"
    log = (tmp_path / "logs" / "site.log").read_text()
    assert "round refused: the trainer ended while it worked (if this repeats" in log


def test_an_error_of_the_app_itself_leaves_as_a_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder that cannot be written to is no reason to send its path."""
    (tmp_path / CANARY).write_text("a file where a folder should be")
    monkeypatch.setenv("GHANET_SITE_FOLDER", str(tmp_path / CANARY))
    monkeypatch.setattr(client.sitelog.log, "handlers", [])
    reply = client.app.reply_to(asked(), "round")
    assert _record_of(reply, most=10_000) == "failed"
    assert CANARY not in repr(reply.content)


@pytest.mark.parametrize("data", [b"", b"\x93NUMPY", b"PK\x05\x06" + bytes(18), b"x" * 40])
def test_arrays_that_are_none_are_a_code(data: bytes) -> None:
    """Damaged or hostile bytes of one hospital do not end the run of all."""
    blob = Array(dtype="uint8", shape=(3,), stype="numpy.ndarray", data=data)
    assert _record_of(message({"number": 1}, blob), most=10_000) == "unreadable"


def test_a_record_that_is_missing_is_a_code() -> None:
    """A reply without our records is not as agreed."""
    reply = Message(RecordDict({}), dst_node_id=1, message_type="train.round")
    assert _record_of(reply, most=10_000) == "unreadable"


def test_a_good_reply_is_a_record() -> None:
    """Scalars and arrays arrive as they were sent."""
    sent = Record({"number": 3}, {"a": np.arange(3, dtype=np.float32)})
    found = _record_of(message(dict(sent.values), Array(sent.packed())), most=10_000)
    assert isinstance(found, Record)
    assert found.values == {"number": 3}
    assert np.array_equal(found.arrays["a"], sent.arrays["a"])
