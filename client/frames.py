"""Frames between the hospital's Flower app and its trainer, over a socket of this user only.

    4 bytes    length of the header, big-endian
    8 bytes    length of the arrays, big-endian
    header     JSON: {"kind": word, "values": {name: number, text or truth}}
    arrays     one safetensors file, or nothing

No torch, no Flower, no pickle: the app, which is started for every message, stays small.
"""

import contextlib
import json
import os
import socket
import struct
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ghanet_model.errors import DeploymentError, ProtocolError

PLACE, SOCKET = Path("state") / "trainer", "socket"
GROUP_VARIABLE = "GHANET_APP_GROUP"  # number of the group that may reach the trainer, if any
LENGTHS = struct.Struct("!IQ")
MOST_HEADER, MOST_ARRAYS = 2**24, 2**31  # bytes; Flower's own messages are shorter
START_SECONDS, RETRY_SECONDS = 120.0, 0.1  # how long an app waits for a trainer that is starting
Scalar: TypeAlias = int | float | str | bool


def no_arrays() -> NDArray[np.uint8]:
    """The arrays of a frame that has none."""
    return np.zeros(0, np.uint8)


@dataclass(frozen=True, slots=True)
class Frame:
    """One request or answer."""

    kind: str
    values: Mapping[str, Scalar]
    arrays: NDArray[np.uint8] = field(default_factory=no_arrays)  # bytes of a safetensors file


def scalars_of(values: Mapping[str, Any]) -> dict[str, Scalar]:
    """The values that a frame can carry; no message of ours has others."""
    return {k: v for k, v in values.items() if isinstance(v, bool | int | float | str)}


def listen(folder: Path) -> socket.socket:
    """A socket in the hospital's folder that only this user can reach; one left over is replaced.

    Where the app runs as another user, the group that ``GROUP_VARIABLE`` names can reach it too.

    Raises:
        DeploymentError: the file system of the folder has no sockets.
    """
    place = folder / PLACE
    place.mkdir(parents=True, exist_ok=True)
    (place / SOCKET).unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with contextlib.chdir(place):  # a socket's path has 103 bytes at most, folders are deeper
            listener.bind(SOCKET)
            _admit(os.environ.get(GROUP_VARIABLE, ""))
    except OSError as error:
        listener.close()
        raise DeploymentError(
            f"no socket can be made in {PLACE} ({error.strerror})",
            hint="keep this hospital's folder on a local disk, not on a share",
        ) from None
    listener.listen()
    return listener


def _admit(group: str) -> None:
    """Set who can reach the socket in this folder: its owner, and this group if there is one."""
    place, found = Path(), Path(SOCKET)
    if not group:
        found.chmod(0o600)
        place.chmod(0o700)
        return
    for path, mode in ((found, 0o660), (place, 0o710)):
        os.chown(path, -1, int(group))
        path.chmod(mode)


def ask(folder: Path, asked: Frame, *, seconds: float = START_SECONDS) -> Frame:
    """Ask the trainer of ``folder`` and wait for its answer, however long it works.

    Args:
        folder: the hospital's.
        asked: the request.
        seconds: how long to wait for a trainer that is not there yet.

    Raises:
        DeploymentError: no trainer came, or it went away before it answered.
    """
    with _dial(folder, seconds) as connection:
        try:
            send_frame(connection, asked)
            return receive_frame(connection)
        except OSError:
            raise DeploymentError(
                "the trainer ended while it worked",
                hint="if this repeats, look for a lack of memory",
            ) from None


def _dial(folder: Path, seconds: float) -> socket.socket:
    """A connection to the trainer, as soon as it listens."""
    end = time.monotonic() + seconds
    while True:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            with contextlib.chdir(folder / PLACE):
                connection.connect(SOCKET)
        except (FileNotFoundError, ConnectionRefusedError):
            connection.close()
            if time.monotonic() > end:
                raise DeploymentError(
                    "the trainer does not run", hint="logs/trainer.log says why"
                ) from None
            time.sleep(RETRY_SECONDS)
        else:
            return connection


def send_frame(connection: socket.socket, frame: Frame) -> None:
    """Send a whole frame."""
    header = json.dumps({"kind": frame.kind, "values": dict(frame.values)}).encode()
    connection.sendall(LENGTHS.pack(len(header), frame.arrays.nbytes) + header)
    if frame.arrays.nbytes:  # else the other side may have answered and gone by now
        connection.sendall(frame.arrays.data)


def receive_frame(connection: socket.socket) -> Frame:
    """Receive a whole frame.

    Raises:
        ProtocolError: it is none of ours.
        OSError: the other side went away, or is silent for too long.
    """
    header_size, size = LENGTHS.unpack(_receive(connection, LENGTHS.size))
    if header_size > MOST_HEADER or size > MOST_ARRAYS:
        raise ProtocolError("frame is longer than any of ours")
    try:
        header = json.loads(_receive(connection, header_size))
        kind, values = header["kind"], scalars_of(header["values"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise ProtocolError("frame has a header that is none of ours") from None
    if not isinstance(kind, str):
        raise ProtocolError("frame has a header that is none of ours")
    return Frame(kind, values, np.frombuffer(_receive(connection, size), np.uint8))


def _receive(connection: socket.socket, size: int) -> bytearray:
    """Exactly ``size`` bytes."""
    content = bytearray(size)
    place, left = memoryview(content), size
    while left:
        got = connection.recv_into(place[-left:])
        if not got:
            raise ConnectionResetError("the other side went away")
        left -= got
    return content
