"""The launcher of SuperNode: what it changes in Flower is there, and does what it says."""

import inspect
import re
import subprocess
import sys
import time
from importlib.metadata import version

import flwr.supernode.start_client_internal as loop
import pytest

from client import supernode
from client.supernode import FLOWER, LEAST_SECONDS, Patience, shorten_idle_sleep

PATCHED = """\
import time
import flwr.supernode.start_client_internal as loop
from client.supernode import shorten_idle_sleep
assert shorten_idle_sleep()
began = time.monotonic()
loop.time.sleep(3)
assert 0.15 < time.monotonic() - began < 1
loop.time.sleep(0.5)
assert time.monotonic() - began < 1.5
assert time.sleep is not loop.time.sleep
assert loop.time.time() > 0
"""


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Sleeps that took no time; the clock goes on by what was slept."""
    found, began = [], time.monotonic()
    monkeypatch.setattr(supernode.time, "sleep", found.append)
    monkeypatch.setattr(supernode.time, "monotonic", lambda: began + sum(found))
    return found


def test_the_loop_of_this_flower_is_the_one_we_know() -> None:
    """The pinned version sleeps where we think, by the name that we replace."""
    assert version("flwr") == FLOWER
    assert loop.time is time
    sleeps = re.findall(r"\btime\.\w+\([^)]*\)", inspect.getsource(loop))
    assert sleeps == ["time.sleep(3)", "time.sleep(0.5)", "time.sleep(0.5)"]
    assert "time.sleep(3)" in inspect.getsource(loop.start_client_internal)


def test_the_loop_sleeps_less_and_nothing_else_does() -> None:
    """In the launcher's process Flower's loop wakes early; other modules keep their clock."""
    subprocess.run([sys.executable, "-c", PATCHED], check=True, timeout=60)


def test_another_flower_keeps_its_own_sleep(monkeypatch: pytest.MonkeyPatch) -> None:
    """A version that nobody looked at is not touched."""
    monkeypatch.setattr(supernode, "version", lambda _: "1.42.0")
    assert not shorten_idle_sleep()
    assert loop.time is time


def test_an_idle_hospital_asks_ever_less_often(slept: list[float]) -> None:
    """Soon after work it asks every 0.2 s, after a minute as rarely as Flower would."""
    patience = Patience()
    while sum(slept) < 120:
        patience.sleep(3)
    assert slept[0] == LEAST_SECONDS
    assert slept == sorted(slept)
    assert slept[-1] == 3
    assert len(slept) < 120


def test_work_makes_it_ask_often_again(slept: list[float]) -> None:
    """A wait for its own app is work; the look at the server after it comes soon."""
    patience = Patience()
    while sum(slept) < 120:
        patience.sleep(3)
    patience.sleep(0.5)
    patience.sleep(3)
    assert slept[-2:] == [supernode.WORK_SECONDS, LEAST_SECONDS]
