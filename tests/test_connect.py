"""What a hospital hears of its connection; the processes are real, what they say is scripted."""

import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import write_site

from client import connect
from client.config import read_site
from ghanet_model.processes import Child, start_child

FIRST = (connect.CONNECTED, connect.LOST)  # the server goes away, and the connection ends with it
SECOND = (connect.CONNECTED,)  # it is back, in a connection that began anew


def test_a_server_that_is_back_is_said_to_be_back_in_a_new_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the old connection had ended before the server came back."""
    config, stopping = read_site(write_site(tmp_path / "hospital")), threading.Event()
    connections: Iterator[tuple[str, ...]] = iter([FIRST, SECOND])
    said: list[str] = []

    def say(text: str) -> None:
        said.append(text)

    def speaking(_config: object, on_line: connect.Say, _account: object) -> list[Child]:
        """A process that says the next connection's lines and ends; after the last, all ends."""
        lines, heard = next(connections), threading.Semaphore(0)

        def on_one(line: str) -> None:
            on_line(line)
            heard.release()

        command = [sys.executable, "-c", "import sys; print(*sys.argv[1:], sep='\\n')", *lines]
        log = tmp_path / "supernode.log"
        child = start_child(
            "SuperNode", command, environment=dict(os.environ), log=log, on_line=on_one
        )
        assert all(heard.acquire(timeout=30) for _ in lines)
        child.process.wait(30)
        if lines == SECOND:
            stopping.set()
        return [child]

    monkeypatch.setattr(connect, "start_flower", speaking)
    monkeypatch.setattr(connect, "FIRST_DELAY", 0.01)
    connect._stay_connected(config, say, stopping, None)
    where = config.server
    assert [line for line in said if not line.startswith("connection ended")] == [
        f"connected to {where} as hospital-a",
        f"{where} does not answer; trying again until it does",
        f"{where} answers again",
        f"connected to {where} as hospital-a",
    ]
