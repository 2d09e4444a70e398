"""The ledger: lines that can be appended, and neither changed nor lost unnoticed."""

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ghanet_model.errors import LedgerError
from ghanet_model.ledger import (
    MENDED,
    REFUSED,
    SENT,
    Ledger,
    make_ledger_key,
    verify_ledger,
)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    """A ledger of five lines."""
    found = empty(tmp_path)
    for number in range(5):
        found.append(SENT, kind="round", round=number, digest="ab" * 32, norm=0.25)
    return found


def empty(folder: Path) -> Ledger:
    """A ledger without lines."""
    make_ledger_key(folder / "ledger.key")
    return Ledger(folder / "ledger.jsonl", folder / "ledger.key")


def verify(ledger: Ledger) -> list:
    """Prove it whole."""
    public = ledger.key_file.with_name("ledger.key.pub").read_bytes()
    return verify_ledger(ledger.path, public_pem=public)


def test_what_was_appended_is_read_in_order(ledger: Ledger) -> None:
    """Lines are numbered from 1 and say what they were told."""
    lines = verify(ledger)
    assert [line.number for line in lines] == [1, 2, 3, 4, 5]
    assert lines[2].facts == {"kind": "round", "round": 2, "digest": "ab" * 32, "norm": 0.25}


def test_no_ledger_yet_is_whole(tmp_path: Path) -> None:
    """A hospital that did nothing has nothing to prove."""
    assert verify(empty(tmp_path)) == []


@settings(max_examples=60, deadline=None)
@given(place=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_one_flipped_bit_is_found(tmp_path_factory, place: int, bit: int) -> None:
    """Wherever it is in the file."""
    ledger = empty(tmp_path_factory.mktemp("ledger"))
    for number in range(3):
        ledger.append(SENT, round=number)
    content = bytearray(ledger.path.read_bytes())
    content[place % len(content)] ^= 1 << bit
    ledger.path.write_bytes(content)
    with pytest.raises(LedgerError):
        verify(ledger)


@pytest.mark.parametrize("lost", range(5))
def test_a_lost_line_is_found(ledger: Ledger, lost: int) -> None:
    """The first, one in the middle, and the last."""
    lines = ledger.path.read_bytes().splitlines(keepends=True)
    del lines[lost]
    ledger.path.write_bytes(b"".join(lines))
    with pytest.raises(LedgerError):
        verify(ledger)


def test_lines_of_another_order_are_found(ledger: Ledger) -> None:
    """Each line names the one before it."""
    lines = ledger.path.read_bytes().splitlines(keepends=True)
    ledger.path.write_bytes(b"".join([lines[1], lines[0], *lines[2:]]))
    with pytest.raises(LedgerError, match="line 1 does not follow"):
        verify(ledger)


def test_another_key_is_found(ledger: Ledger, tmp_path: Path) -> None:
    """A ledger written anew with another key is not this hospital's."""
    make_ledger_key(tmp_path / "other.key")
    with pytest.raises(LedgerError, match="line 1 is not signed"):
        verify_ledger(ledger.path, public_pem=(tmp_path / "other.key.pub").read_bytes())


def test_a_removed_ledger_is_found(ledger: Ledger) -> None:
    """Its head remembers that there were lines."""
    ledger.path.unlink()
    with pytest.raises(LedgerError, match="0 lines, but line 5"):
        verify(ledger)


def test_a_line_cut_off_by_a_power_cut_is_mended_and_said(ledger: Ledger) -> None:
    """Nothing was sent for it; the next line says how many bytes were cut."""
    with ledger.path.open("ab") as file:
        file.write(b'{"number":6,"ti')
    ledger.append(REFUSED, code="gate")
    lines = verify(ledger)
    assert [(line.what, dict(line.facts)) for line in lines[5:]] == [
        (MENDED, {"bytes": 15}),
        (REFUSED, {"code": "gate"}),
    ]


def test_a_head_that_a_power_cut_left_behind_is_no_fault(ledger: Ledger) -> None:
    """The line was written, its head not yet."""
    head = ledger.path.with_suffix(".head")
    before = head.read_bytes()
    ledger.append(SENT, round=5)
    head.write_bytes(before)
    assert len(verify(ledger)) == 6


APPEND = """
import sys
from pathlib import Path
from ghanet_model.ledger import SENT, Ledger
folder = Path(sys.argv[1])
for number in range(20):
    Ledger(folder / "ledger.jsonl", folder / "ledger.key").append(SENT, round=number)
"""


def test_several_processes_append_to_one_ledger(tmp_path: Path) -> None:
    """Trainer, launcher and a person's command write at once; no line is lost."""
    empty(tmp_path)
    command = [sys.executable, "-c", APPEND, str(tmp_path)]
    processes = [subprocess.Popen(command) for _ in range(3)]
    assert [process.wait() for process in processes] == [0, 0, 0]
    assert len(verify(empty(tmp_path))) == 60


def test_a_newest_line_that_is_damaged_stops_the_next(ledger: Ledger) -> None:
    """Nothing may be sent on top of a ledger that was changed."""
    content = ledger.path.read_bytes()
    ledger.path.write_bytes(content[:-3] + b"x}\n")
    with pytest.raises(LedgerError, match="damaged"):
        ledger.append(SENT, round=6)


@pytest.mark.parametrize("left", [0, 4])
def test_a_shortened_ledger_is_not_gone_on_with(ledger: Ledger, left: int) -> None:
    """A next line would hide that the end, or all of it, was taken away."""
    lines = ledger.path.read_bytes().splitlines(keepends=True)
    ledger.path.write_bytes(b"".join(lines[:left]))
    with pytest.raises(LedgerError, match=f"ends with line {left}, but line 5 was written"):
        ledger.append(SENT, round=6)


def test_a_head_that_cannot_be_written_stops_after_one_line(ledger: Ledger) -> None:
    """However often it is tried, the ledger stays one that can be proven."""
    head = ledger.path.with_suffix(".head")
    before = head.read_bytes()
    ledger.append(SENT, round=5)
    head.write_bytes(before)  # as if the disk had been full after the line
    ledger.append(SENT, round=6)
    assert len(verify(ledger)) == 7
