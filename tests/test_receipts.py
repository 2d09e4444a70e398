"""The coordinator's ledger and receipts: every answer is in them, and the hospital can compare."""

import json
import shutil
from pathlib import Path

import pytest
from support import make_consortium, make_run, run

import client.cli
import server.cli
from client.ledger import site_ledger
from ghanet_model.ledger import RECEIVED, SENT, read_ledger
from server.ledger import last_received, verified
from server.panel import fix_panel
from server.rounds import train_rounds
from server.setup import read_server


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A consortium that trained three rounds."""
    root = tmp_path_factory.mktemp("consortium")
    make_consortium(root)
    one = make_run(root)
    train_rounds(one, fix_panel(one))
    return root


@pytest.fixture
def consortium(made: Path, tmp_path: Path) -> Path:
    """A copy."""
    return Path(shutil.copytree(made, tmp_path / "copy", symlinks=True))


def receipts_of(root: Path, name: str) -> Path:
    """The receipts that the coordinator writes for a hospital."""
    output = root / f"{name}.jsonl"
    options = ("--folder", root / "coordinator", "--output", output)
    run(server.cli.main, "receipts", name, *options)
    return output


def verify(root: Path, name: str, receipts: Path) -> int:
    """The hospital compares them with its own ledger; its exit code."""
    options = ["--folder", str(root / name), "--receipts", str(receipts)]
    return client.cli.main(["ledger", "verify", *options])


def test_receipts_are_the_ledgers_lines_byte_for_byte(consortium: Path) -> None:
    """Two questions about genes and three rounds of one hospital, and nothing of another."""
    content = receipts_of(consortium, "hospital-a").read_bytes()
    whole = (consortium / "coordinator" / "ledger" / "ledger.jsonl").read_bytes()
    facts = [json.loads(line)["facts"] for line in content.splitlines()]
    assert all(line in whole for line in content.splitlines(keepends=True))
    assert [(f["kind"], f["round"]) for f in facts] == [
        ("statistics", 0),
        ("statistics", 0),
        ("round", 1),
        ("round", 2),
        ("round", 3),
    ]
    assert {f["site"] for f in facts} == {"hospital-a"}


@pytest.mark.parametrize("name", ["hospital-a", "hospital-b", "hospital-d"])
def test_receipts_match_the_hospitals_ledger_line_for_line(consortium: Path, name: str) -> None:
    """Every answer that left has one, with the same digest, in the same order."""
    assert verify(consortium, name, receipts_of(consortium, name)) == 0
    lines = read_ledger(site_ledger(consortium / name).path)
    sent = [line.facts["digest"] for line in lines if line.what == SENT]
    content = receipts_of(consortium, name).read_bytes()
    assert [json.loads(line)["facts"]["digest"] for line in content.splitlines()] == sent


def test_a_changed_receipt_is_found_at_the_hospital(
    consortium: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Another digest, or another hospital's receipts."""
    receipts = receipts_of(consortium, "hospital-a")
    other = receipts_of(consortium, "hospital-b")
    assert verify(consortium, "hospital-a", other) == 1
    receipts.write_text(receipts.read_text().replace('"round":2', '"round":3'))
    assert verify(consortium, "hospital-a", receipts) == 1
    assert "not signed" in capsys.readouterr().err


def test_an_answer_that_passed_no_ledger_is_found(consortium: Path) -> None:
    """A coordinator that received more than the hospital wrote down."""
    receipts = receipts_of(consortium, "hospital-a")
    shutil.rmtree(consortium / "hospital-a" / "ledger")
    assert verify(consortium, "hospital-a", receipts) == 1


def test_the_ledger_is_for_people_too(consortium: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A line each: number, time, hospital, what."""
    capsys.readouterr()
    run(server.cli.main, "ledger", "--folder", consortium / "coordinator", "--last", 3)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert all("round 3: received" in line for line in lines)
    run(server.cli.main, "ledger", "verify", "--folder", consortium / "coordinator")
    assert "the ledger is whole" in capsys.readouterr().out


def test_a_flipped_bit_of_the_ledger_is_found(
    consortium: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the line; and no receipts are written from it."""
    path = consortium / "coordinator" / "ledger" / "ledger.jsonl"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    for command in (["ledger", "verify"], ["receipts", "hospital-a"]):
        assert server.cli.main([*command, "--folder", str(consortium / "coordinator")]) == 1
        assert "ledger line" in capsys.readouterr().err


def test_receipts_of_nobody_are_refused(
    consortium: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A misspelt name does not look like a hospital that sent nothing."""
    options = ["--folder", str(consortium / "coordinator")]
    assert server.cli.main(["receipts", "hospital-x", *options]) == 1
    assert "'hospital-x' is not enrolled" in capsys.readouterr().err


def test_last_seen_is_known_from_the_ledger(consortium: Path) -> None:
    """Also when nothing serves."""
    config = read_server(consortium / "coordinator")
    newest = {x.facts["site"]: x.time for x in verified(config) if x.what == RECEIVED}
    assert last_received(config) == newest
    assert set(newest) == {"hospital-a", "hospital-b", "hospital-d"}
