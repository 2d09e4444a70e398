"""A hospital's ledger: read by people, proven whole, held against the coordinator's receipts."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from support import make_consortium, make_run

import client.cli
from client.ledger import KEY_FILE, ledger_path, site_ledger
from ghanet_model.keys import make_release_key
from ghanet_model.ledger import RECEIVED, REFUSED, SENT, WITHDRAWN, Ledger
from server.ledger import receipts
from server.panel import fix_panel
from server.rounds import train_rounds

Ran = tuple[int, list[str], list[str]]  # exit code, lines of standard output and of standard error


@pytest.fixture(scope="module")
def consortium(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of two rounds that was trained; the first hospital has the receipts."""
    root = tmp_path_factory.mktemp("consortium")
    make_consortium(root, rounds=2)
    run = make_run(root)
    train_rounds(run, fix_panel(run))
    (root / "hospital-a" / "receipts").write_bytes(receipts(run.config, "hospital-a"))
    (root / "hospital-b" / "receipts").write_bytes(receipts(run.config, "hospital-b"))
    return root


@pytest.fixture
def home(consortium: Path, tmp_path: Path) -> Path:
    """A copy of the first hospital, to spoil."""
    return Path(shutil.copytree(consortium / "hospital-a", tmp_path / "home"))


@pytest.fixture
def ran(home: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    """What ``ghanet-client ledger`` does there."""

    def run(*arguments: object) -> Ran:
        capsys.readouterr()
        code = client.cli.main(["ledger", *map(str, arguments), "--folder", str(home)])
        said = capsys.readouterr()
        return code, said.out.splitlines(), said.err.splitlines()

    return run


def test_its_key_is_made_once_and_private(tmp_path: Path) -> None:
    """Only its owner can read it."""
    key_file = site_ledger(tmp_path).key_file
    first = key_file.read_bytes()
    assert site_ledger(tmp_path).key_file.read_bytes() == first
    assert key_file.stat().st_mode & 0o777 == 0o600


def test_people_read_it(home: Path, ran: Callable[..., Ran]) -> None:
    """One line for each, the newest last, then sums of days; 100 columns are enough."""
    site_ledger(home).append(REFUSED, kind="round", code="gate", reason="rate: 500 answers")
    site_ledger(home).append(WITHDRAWN, pseudonym="ab" * 32)
    code, lines, _ = ran()
    assert code == 0
    assert max(map(len, lines)) <= 100
    rows, sums = lines[1 : lines.index("")], lines[lines.index("") + 2 :]
    words = ["approved", *["sent"] * 4, "refused", "withdrawn"]
    assert [row.split()[3] for row in rows if row[:6].strip()] == words
    assert sum("statistics (gene values): 20 cases at most, 0.10 MB" in row for row in rows) == 2
    assert "round 2: 20 cases at most, 0.51 MB" in rows[-3]
    assert rows[-2].endswith("round: gate (rate: 500 answers)")
    assert [row.split()[1:] for row in sums] == [
        ["refused", "round", "1", "0.00"],
        ["sent", "round", "2", "1.01"],
        ["sent", "statistics", "2", "0.20"],
    ]


def test_a_long_ledger_is_shown_from_its_end(ran: Callable[..., Ran]) -> None:
    """What is not shown is counted."""
    _, lines, _ = ran("--last", 1)
    assert lines[0] == "4 older lines are not shown; --last 5 shows all"
    assert "round 2" in lines[2]
    assert lines[3] == ""


def test_a_hospital_that_did_nothing_has_an_empty_one(ran: Callable[..., Ran], home: Path) -> None:
    """And that is said."""
    shutil.rmtree(ledger_path(home).parent)
    assert ran()[:2] == (0, ["the ledger has no line yet"])
    assert ran("verify")[0] == 0


def test_it_is_proven_whole(ran: Callable[..., Ran]) -> None:
    """Nothing was changed."""
    wanted = "5 lines, each signed and in its place: none was changed or lost"
    assert ran("verify") == (0, [wanted], [])


def test_one_flipped_byte_is_found(ran: Callable[..., Ran], home: Path) -> None:
    """The line is named, and the exit code is 1."""
    lines = ledger_path(home).read_bytes().splitlines(keepends=True)
    lines[2] = lines[2].replace(b'"cases":20', b'"cases":21')
    ledger_path(home).write_bytes(b"".join(lines))
    code, _, errors = ran("verify")
    assert code == 1
    assert errors[0] == "ghanet-client: error: ledger line 3 is not signed by this ledger's key"


def test_without_its_key_nothing_is_proven(ran: Callable[..., Ran], home: Path) -> None:
    """That is an error with a hint, not a new key."""
    (home / "keys" / f"{KEY_FILE}.pub").unlink()
    code, _, errors = ran("verify")
    assert (code, len(errors)) == (1, 2)
    assert errors[0].endswith(f"keys/{KEY_FILE}.pub cannot be read")


def test_the_coordinators_receipts_match_line_for_line(ran: Callable[..., Ran], home: Path) -> None:
    """A real study: all that left arrived, with the same digests in the same order."""
    code, lines, _ = ran("verify", "--receipts", home / "receipts")
    assert code == 0
    assert lines[1:] == [
        "4 receipts, each of an answer in this ledger, in the same order",
        "0 answers sent, not received",
    ]


def test_what_was_sent_and_not_received_is_no_error(ran: Callable[..., Ran], home: Path) -> None:
    """It is counted and listed: connections end."""
    kept = (home / "receipts").read_bytes().splitlines(keepends=True)
    (home / "receipts").write_bytes(kept[0] + kept[3])
    code, lines, _ = ran("verify", "--receipts", home / "receipts")
    assert code == 0
    assert lines[1] == "2 receipts, each of an answer in this ledger, in the same order"
    assert lines[2] == "2 answers sent, not received:"
    assert any("round 1: 20 cases" in line for line in lines[3:])


def test_a_receipt_without_a_line_is_found(ran: Callable[..., Ran], home: Path) -> None:
    """Something left that this hospital's ledger does not know of."""
    path = ledger_path(home)
    mine = [line for line in path.read_bytes().splitlines(keepends=True) if b"approved" in line]
    path.write_bytes(b"".join(mine))
    path.with_suffix(".head").unlink()
    code, _, errors = ran("verify", "--receipts", home / "receipts")
    assert code == 1
    assert "error: receipt 1 " in errors[0]
    assert "is of an answer that is not in this ledger" in errors[0]


@pytest.mark.parametrize(
    ("spoil", "wanted"),
    [
        (lambda lines: lines[::-1], "receipt 2 does not come after the receipt before it"),
        (lambda lines: [lines[0], lines[0]], "receipt 2 does not come after the receipt before it"),
        (lambda lines: [lines[0][:-9]], "receipt 1 is damaged"),
        (lambda lines: [*lines[:0], b""], "receipt 1 is damaged"),
        (
            lambda lines: [lines[0], lines[2].replace(b'"round":1', b'"round":3')],
            "receipt 2 is not signed by the coordinator's release key",
        ),
    ],
    ids=["backwards", "twice", "cut", "empty", "changed"],
)
def test_receipts_that_are_none_are_refused(
    spoil: Callable[[list[bytes]], list[bytes]],
    wanted: str,
    ran: Callable[..., Ran],
    home: Path,
) -> None:
    """Each is named by its place in the file."""
    lines = (home / "receipts").read_bytes().splitlines()
    (home / "receipts").write_bytes(b"\n".join(spoil(lines)) + b"\n")
    code, _, errors = ran("verify", "--receipts", home / "receipts")
    assert (code, errors[0]) == (1, f"ghanet-client: error: {wanted}")


def test_receipts_of_another_hospital_are_refused(
    ran: Callable[..., Ran], consortium: Path
) -> None:
    """Signed by the coordinator, but not about this one."""
    code, _, errors = ran("verify", "--receipts", consortium / "hospital-b" / "receipts")
    assert (code, errors[0]) == (1, "ghanet-client: error: receipt 1 is of another hospital")


def test_receipts_that_another_key_signed_are_refused(
    ran: Callable[..., Ran], home: Path, tmp_path: Path
) -> None:
    """Only the coordinator's release key gives receipts."""
    make_release_key(tmp_path / "other.key")
    other = Ledger(tmp_path / "other.jsonl", tmp_path / "other.key")
    other.append(RECEIVED, site="hospital-a", kind="round", round=1, digest="ab", bytes=1)
    code, _, errors = ran("verify", "--receipts", other.path)
    assert code == 1
    assert errors[0].endswith("receipt 1 is not signed by the coordinator's release key")


def test_a_line_about_something_else_is_no_receipt(
    ran: Callable[..., Ran], home: Path, consortium: Path
) -> None:
    """The coordinator signs other lines too."""
    key = consortium / "coordinator" / "keys" / "release.key"
    other = Ledger(home / "other.jsonl", key)
    other.append(SENT, site="hospital-a")
    code, _, errors = ran("verify", "--receipts", other.path)
    assert code == 1
    assert errors[0].endswith("receipt 1 is a line about something else than an answer")


def test_receipts_without_verify_are_a_mistake(ran: Callable[..., Ran], home: Path) -> None:
    """They would not be looked at."""
    code, _, errors = ran("--receipts", home / "receipts")
    assert code == 1
    assert errors[0].endswith("--receipts belongs to 'ghanet-client ledger verify'")
