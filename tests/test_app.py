"""Where Flower begins: what a failing hospital sends, and how strange replies are read."""

from pathlib import Path

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, RecordDict
from flwr.supercore.task_identity import TaskIdentity

import client.app
from ghanet_model.errors import CohortError
from ghanet_model.record import Record
from ghanet_model.wire import ARRAYS, BLOB, ERROR, VALUES
from server.grid import _record_of

CANARY = "CANARY7Q2XK9"


@pytest.fixture(autouse=True)
def identity() -> None:
    """What Flower's processes know of themselves; messages cannot be made without."""
    TaskIdentity.task_id = TaskIdentity.run_id = TaskIdentity.node_id = 1


def message(values: dict[str, object], blob: Array) -> Message:
    """A message as it travels."""
    content = RecordDict({VALUES: ConfigRecord(values), ARRAYS: ArrayRecord({BLOB: blob})})
    return Message(content, dst_node_id=1, message_type="train.round")


def asked() -> Message:
    """A message that a hospital can read."""
    return message({"study": "0" * 64}, Array(Record({}).packed()))


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ValueError(f"case {CANARY}"), "failed"),
        (OSError(28, "No space left", f"/data/{CANARY}"), "failed"),
        (CohortError(f"{CANARY}", hint=CANARY), "cohort"),
    ],
)
def test_an_error_leaves_as_a_code(
    error: Exception, code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is raised, the reply holds one word of ours and no text."""

    def raises(*_: object) -> None:
        raise error

    monkeypatch.setenv("GHANET_SITE_FOLDER", str(tmp_path))
    monkeypatch.setattr(client.app, "_answer", raises)
    reply = client.app.reply_to(asked(), "round")
    assert not reply.has_error()
    assert dict(reply.content.config_records[VALUES]) == {ERROR: code}
    assert CANARY not in repr(reply.content)
    assert _record_of(reply) == code


def test_an_error_of_the_log_itself_leaves_as_a_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder that cannot be written to is no reason to send its path."""
    (tmp_path / CANARY).write_text("a file where a folder should be")
    monkeypatch.setenv("GHANET_SITE_FOLDER", str(tmp_path / CANARY))
    monkeypatch.setattr(client.app.log, "handlers", [])
    reply = client.app.reply_to(asked(), "round")
    assert _record_of(reply) == "failed"
    assert CANARY not in repr(reply.content)


@pytest.mark.parametrize("data", [b"", b"\x93NUMPY", b"PK\x05\x06" + bytes(18), b"x" * 40])
def test_arrays_that_are_none_are_a_code(data: bytes) -> None:
    """Damaged or hostile bytes of one hospital do not end the run of all."""
    blob = Array(dtype="uint8", shape=(3,), stype="numpy.ndarray", data=data)
    assert _record_of(message({"number": 1}, blob)) == "protocol"


def test_a_record_that_is_missing_is_a_code() -> None:
    """A reply without our records is not as agreed."""
    reply = Message(RecordDict({}), dst_node_id=1, message_type="train.round")
    assert _record_of(reply) == "protocol"


def test_a_good_reply_is_a_record() -> None:
    """Scalars and arrays arrive as they were sent."""
    sent = Record({"number": 3}, {"a": np.arange(3, dtype=np.float32)})
    found = _record_of(message(dict(sent.values), Array(sent.packed())))
    assert isinstance(found, Record)
    assert found.values == {"number": 3}
    assert np.array_equal(found.arrays["a"], sent.arrays["a"])
