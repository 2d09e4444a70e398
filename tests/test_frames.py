"""Frames: whole or refused, over a socket that only its owner reaches, however deep the folder."""

import json
import socket
import stat
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from client.frames import (
    LENGTHS,
    MOST_ARRAYS,
    MOST_HEADER,
    PLACE,
    SOCKET,
    Frame,
    ask,
    listen,
    receive_frame,
    send_frame,
)
from ghanet_model.errors import DeploymentError, ProtocolError

VALUES = {"whole": 2**60, "number": 0.1, "text": "ü\n", "truth": True}


@pytest.fixture
def pair():
    """Both ends of a connection."""
    both = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    for end in both:
        end.settimeout(5)
    yield both
    for end in both:
        end.close()


@pytest.fixture
def deep(tmp_path) -> Path:
    """A hospital's folder whose name alone is longer than a socket's may be."""
    folder = tmp_path / ("deep" * 30) / ("er" * 60)
    folder.mkdir(parents=True)
    return folder


def answer_once(listener: socket.socket, *, frame: Frame | None) -> threading.Thread:
    """A trainer for one request; without a frame it goes away in the middle of the work."""

    def work() -> None:
        connection, _ = listener.accept()
        with connection:
            receive_frame(connection)
            if frame:
                send_frame(connection, frame)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


@pytest.mark.parametrize("size", [0, 1, 3_000_000])
def test_a_frame_arrives_as_it_was_sent(pair, size):
    """Values keep their types, arrays their bytes, whether they fit a buffer or not."""
    sent = Frame("round", VALUES, np.arange(size).astype(np.uint8))
    thread = threading.Thread(target=send_frame, args=(pair[0], sent))
    thread.start()
    found = receive_frame(pair[1])
    thread.join()
    assert (found.kind, found.values) == ("round", VALUES)
    assert [type(v) for v in found.values.values()] == [int, float, str, bool]
    assert np.array_equal(found.arrays, sent.arrays)


def header(value: object) -> bytes:
    """A frame of this header and no arrays."""
    text = value if isinstance(value, bytes) else json.dumps(value).encode()
    return LENGTHS.pack(len(text), 0) + text


@pytest.mark.parametrize(
    "content",
    [
        LENGTHS.pack(MOST_HEADER + 1, 0),
        LENGTHS.pack(2, MOST_ARRAYS + 1),
        header(b"\x80\x04K\x01."),
        header(b"[" * 100_000),
        header([]),
        header({"kind": "round"}),
        header({"kind": 1, "values": {}}),
        header({"kind": "round", "values": []}),
    ],
)
def test_what_is_no_frame_is_refused(pair, content):
    """Wrong lengths are refused before anything is read, wrong headers after."""
    pair[0].sendall(content)
    with pytest.raises(ProtocolError):
        receive_frame(pair[1])


def test_half_a_frame_is_an_end(pair):
    """A sender that goes away in the middle is no frame and no endless wait."""
    pair[0].sendall(LENGTHS.pack(2, 100) + b"{}")
    pair[0].close()
    with pytest.raises((ConnectionError, ProtocolError)):
        receive_frame(pair[1])


def test_only_the_owner_reaches_the_socket(deep):
    """The socket has mode 0600 and lies in a folder of mode 0700, as deep as one likes."""
    assert len(str(deep)) > 200
    where = Path.cwd()
    with listen(deep):
        place = deep / PLACE
        assert stat.S_IMODE((place / SOCKET).stat().st_mode) == 0o600
        assert stat.S_IMODE(place.stat().st_mode) == 0o700
    assert Path.cwd() == where


def test_a_socket_that_was_left_over_is_replaced(deep):
    """A trainer that was killed leaves its socket behind; the next one listens all the same."""
    listen(deep).close()
    with listen(deep) as listener:
        answer_once(listener, frame=Frame("round", VALUES))
        assert ask(deep, Frame("round", {}), seconds=5).values == VALUES


def test_an_app_waits_for_a_trainer_that_is_starting(deep):
    """Being first is no error: neither without a socket nor with a dead one."""
    listen(deep).close()
    started = []

    def start_late() -> None:
        time.sleep(0.5)
        started.append(listen(deep))
        answer_once(started[0], frame=Frame("round", VALUES))

    threading.Thread(target=start_late).start()
    assert ask(deep, Frame("round", {}), seconds=10).values == VALUES
    started[0].close()


def test_an_app_does_not_wait_for_ever(deep):
    """Where no trainer comes, that is said."""
    with pytest.raises(DeploymentError, match="the trainer does not run"):
        ask(deep, Frame("round", {}), seconds=0.3)


def test_a_trainer_that_goes_away_is_an_error(deep):
    """A connection that ends before the answer says so, with what to look for."""
    with listen(deep) as listener:
        answer_once(listener, frame=None)
        with pytest.raises(DeploymentError, match="ended while it worked") as error:
            ask(deep, Frame("round", {}), seconds=5)
    assert "memory" in error.value.hint
