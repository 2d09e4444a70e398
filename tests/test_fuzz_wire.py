"""Hostile messages, arrays and frames: read, or refused by an error of ours, in little memory."""

import json
import math
import socket
import struct
from dataclasses import replace

import numpy as np
import pytest
from hostile import ANY, FUZZ, damaged, is_read, memory_of
from hypothesis import given
from hypothesis import strategies as st
from test_protocol import MESSAGES, read

from client.frames import LENGTHS, Frame, receive_frame, send_frame
from ghanet_model.errors import GHANetError
from ghanet_model.genes import GenePanel
from ghanet_model.protocol import RoundReply
from ghanet_model.record import Record
from ghanet_model.weights import from_safetensors, to_safetensors

TENSORS = to_safetensors({"a": np.ones((2, 3), np.float32), "b": np.ones(2, np.uint16)}, {"x": "y"})


def safetensors(header: object) -> bytes:
    """A file with this header and 8 bytes of data."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes(8)


def tensor(shape: list[int], offsets: list[int], kind: str = "F32") -> dict[str, object]:
    """A header's entry."""
    return {"a": {"dtype": kind, "shape": shape, "data_offsets": offsets}}


@FUZZ
@given(st.binary(max_size=64) | damaged(TENSORS))
def test_damaged_safetensors(content):
    """Whatever the bytes are, they are arrays or refused."""
    is_read(from_safetensors, content, where="x")


@pytest.mark.parametrize(
    "content",
    [
        struct.pack("<Q", 2**63) + b"{}",
        safetensors(tensor([2**40], [0, 2**42])),
        safetensors(tensor([0, 2**62], [0, 0])),
        safetensors(tensor([-1], [0, 8])),
        safetensors(tensor([2], [0, 8], "F8_E4M3")),
        safetensors(tensor([1], [0, 4]) | {"b": tensor([1], [0, 4])["a"]}),
        safetensors(b'{"__metadata__":' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
    ],
    ids=["header", "huge", "empty", "negative", "type", "overlap", "deep"],
)
def test_lying_safetensors_are_refused_in_little_memory(content):
    """A header that claims what is not there takes no memory for it."""
    assert not is_read(from_safetensors, content, where="x")
    assert memory_of(lambda: from_safetensors(content, where="x")) < 50


@FUZZ
@given(st.sampled_from(MESSAGES), st.data())
def test_hostile_messages(message, data):
    """Any value or array in the place of any other makes a message, or a refusal."""
    record = message.to_record()
    values, blob = dict(record.values), record.packed().tobytes()
    if values:
        values[data.draw(st.sampled_from(sorted(values)))] = data.draw(ANY)
    blob = np.frombuffer(data.draw(st.just(blob) | damaged(blob)), np.uint8)
    is_read(lambda: read(type(message), Record.unpack(values, blob)))


@FUZZ
@given(st.dictionaries(st.text(), ANY), st.binary(max_size=100))
def test_records_of_anything(values, content):
    """Whatever arrives, it is a record or refused."""
    is_read(Record.unpack, values, np.frombuffer(content, np.uint8))


NUMBERS = st.floats(allow_nan=False) | st.integers(0, 2**63).map(float)


@FUZZ
@given(st.data())
def test_sums_that_were_taken_can_be_added_and_divided(data):
    """No hospital's numbers make the sum of all hospitals overflow."""
    reply = next(m for m in MESSAGES if isinstance(m, RoundReply) and m.evaluation)
    record = reply.to_record()
    keys = [key for key in record.values if key.startswith("evaluation.")]
    drawn = {key: data.draw(NUMBERS) for key in data.draw(st.sets(st.sampled_from(keys)))}
    try:
        sums = RoundReply.from_record(replace(record, values={**record.values, **drawn})).evaluation
    except GHANetError:
        return
    both = sums + sums
    if both.cases:
        assert all(map(math.isfinite, (both.mean_nll, both.mean_risk, both.sd_risk)))
    assert both.concordance.c_index is None or 0 <= both.concordance.c_index <= 1


PANEL = {
    "groups": [["g", ["A_x"]]],
    "columns": ["A_x"],
    "centre": [0.0],
    "scale": [1.0],
    "clip": 5.0,
}


@FUZZ
@given(st.sampled_from(sorted(PANEL)), ANY)
def test_hostile_panels(key, value):
    """Any value in the place of a panel's is a panel or refused."""
    is_read(GenePanel.from_json, {**PANEL, key: value})
    is_read(GenePanel.from_json, value)


HEADER = b'{"kind": "round", "values": {"a": 1}}'


@FUZZ
@given(damaged(HEADER) | ANY.map(lambda value: json.dumps(value).encode()))
def test_hostile_frames(header):
    """Whatever header comes, the frame is read or refused."""
    here, there = socket.socketpair()
    with here, there:
        here.sendall(LENGTHS.pack(len(header), 0) + header)
        is_read(receive_frame, there)


def test_a_frame_cut_anywhere_is_an_error_of_the_connection():
    """A frame that ends early is never taken for a whole one."""
    here, there = socket.socketpair()
    with here, there:
        send_frame(here, Frame("round", {"a": 1}, np.ones(9, np.uint8)))
        whole = there.recv(1000)
    for length in range(len(whole)):
        here, there = socket.socketpair()
        with here, there:
            here.sendall(whole[:length])
            here.close()
            with pytest.raises(ConnectionResetError):
                receive_frame(there)
