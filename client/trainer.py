"""The trainer: torch and this hospital's data stay in memory while Flower's apps come and go.

Serves one request at a time over a socket of this user only; opens no other connection. Started
beside SuperNode by ``ghanet-client start``, and ends with it.
"""

import logging
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

from ghanet_model.commands import say_error
from ghanet_model.errors import GHANetError, ProtocolError
from ghanet_model.processes import end_with_parent
from ghanet_model.record import Record
from ghanet_model.wire import ERROR

from .answers import answer, open_site
from .config import FOLDER_VARIABLE
from .frames import Frame, listen, receive_frame, send_frame
from .gate import let_out, refuse, require_room
from .memory import Memory
from .sitelog import describe, log_to

SILENT_SECONDS = 60.0  # how long an app may take to go on with a frame
log = logging.getLogger("ghanet")


def serve(listener: socket.socket, folder: Path) -> None:
    """Answer requests one after the other, for ever; what one of them spoils ends with it."""
    memory = Memory()
    while True:
        connection, _ = listener.accept()
        with connection:
            try:
                serve_one(connection, folder, memory)
            except (ProtocolError, OSError) as error:
                log.warning("a request was dropped: %s", error)


def serve_one(connection: socket.socket, folder: Path, memory: Memory) -> None:
    """Receive a request, do the work, send the answer.

    Raises:
        ProtocolError: the request is none of ours.
        OSError: the app went away.
    """
    began = time.monotonic()
    connection.settimeout(SILENT_SECONDS)
    asked = receive_frame(connection)
    notes: list[str] = []
    answered = answer_frame(
        asked, folder, memory, require_wanted=lambda: require_open(connection), notes=notes
    )
    send_frame(connection, answered)
    if ERROR not in answered.values:
        seconds, size = time.monotonic() - began, answered.arrays.nbytes
        values = {**asked.values, **answered.values}
        log.info("%s", describe(asked.kind, values, size=size, seconds=seconds, notes=notes))


def answer_frame(
    asked: Frame,
    folder: Path,
    memory: Memory,
    *,
    require_wanted: Callable[[], None] = lambda: None,
    notes: list[str] | None = None,
) -> Frame:
    """What the gate lets out: the answer, or the code of what went wrong.

    Raises:
        ConnectionAbortedError: from ``require_wanted``, when nobody waits any more.
    """
    try:
        site = open_site(folder, memory, require_wanted=require_wanted, notes=notes)
        require_room(site, asked.kind)
        question = Record.unpack(asked.values, asked.arrays)
        return let_out(site, asked.kind, question, answer(site, asked.kind, question))
    except ConnectionAbortedError:
        raise
    except GHANetError as error:
        return refuse(folder, asked.kind, error)
    except Exception as error:  # noqa: BLE001 - one message must not end the trainer
        memory.forget()  # whatever is in it
        return refuse(folder, asked.kind, error)
    finally:
        if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
            torch.cuda.empty_cache()  # between rounds a GPU belongs to others


def require_open(connection: socket.socket) -> None:
    """Go on only while the app waits; it sends nothing after its request.

    Raises:
        ConnectionAbortedError: it went away.
    """
    if select.select([connection], [], [], 0)[0]:
        raise ConnectionAbortedError("nobody waits for the answer any more")


def main() -> int:
    """Serve the hospital's folder that the environment names, until told to stop."""
    end_with_parent()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        folder = Path(os.environ[FOLDER_VARIABLE])
        log_to(folder, rotates=True)
        with listen(folder) as listener:
            serve(listener, folder)
    except GHANetError as error:
        say_error("trainer", str(error), error.hint)
    except OSError as error:
        say_error("trainer", f"{error.strerror}: {error.filename}")
    return 1


if __name__ == "__main__":
    sys.exit(main())
