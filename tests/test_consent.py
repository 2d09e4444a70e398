"""Consent: a withdrawn case is out of every later answer; a hospital that left answers nothing."""

import json
from pathlib import Path

import pytest
from support import run, write_site

import client.cli
from client.answers import open_site
from client.consent import come_back, leave, left_since, read_withdrawn, require_member, withdraw
from client.ledger import site_ledger
from ghanet_model.errors import CohortError, LeftError
from ghanet_model.ledger import LEFT, RETURNED, WITHDRAWN, read_ledger

CASE = "A0003"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A hospital's folder."""
    return write_site(tmp_path / "hospital-a")


def ids_of(home: Path) -> list[str]:
    """The cases that an answer would use now."""
    return [case.case_id for case in open_site(home).cohort().cases]


def test_a_withdrawn_case_is_in_no_later_cohort(home: Path) -> None:
    """Neither trained on, nor evaluated, nor in the sums of genes, nor predicted."""
    before = open_site(home).cohort()
    run(client.cli.main, "withdraw", CASE, "--folder", home)
    after = open_site(home).cohort()
    assert CASE in [case.case_id for case in before.cases]
    assert [c.case_id for c in after.cases] == [
        case.case_id for case in before.cases if case.case_id != CASE
    ]
    assert len(after.genes) == len(before.genes) - 1
    assert len(after.slides) < len(before.slides)
    assert after.withdrawn == 1


def test_a_running_trainer_forgets_a_withdrawn_case(home: Path) -> None:
    """What it holds in memory is made anew for the next message."""
    site = open_site(home)
    site.cohort()
    withdraw(home, [CASE], known=frozenset([CASE]))
    again = open_site(home, site.memory).cohort()
    assert CASE not in [case.case_id for case in again.cases]


def test_no_file_of_ours_names_the_case(home: Path) -> None:
    """The list and the ledger hold a keyed pseudonym."""
    tables = {path: path.read_bytes() for path in home.rglob("*") if path.is_file()}
    run(client.cli.main, "withdraw", CASE, "--folder", home)
    for path in home.rglob("*"):
        if path.is_file() and path not in tables:
            assert CASE.encode() not in path.read_bytes(), path
            assert CASE not in path.name
    [line] = [line for line in read_ledger(site_ledger(home).path) if line.what == WITHDRAWN]
    assert list(line.facts) == ["pseudonym"]


def test_the_command_says_what_remains(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And does not repeat the id."""
    run(client.cli.main, "withdraw", CASE, "--folder", home)
    said = capsys.readouterr().out
    assert "cannot be taken back" in said
    assert CASE not in said


def test_a_misspelt_case_is_refused_and_nothing_is_withdrawn(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """All of a list or none of it."""
    assert client.cli.main(["withdraw", CASE, "A9999", "--folder", str(home)]) == 1
    said = capsys.readouterr().err
    assert "1 of 2 cases are not in this hospital's tables" in said
    assert "A9999" not in said
    assert CASE in ids_of(home)


def test_a_case_that_is_not_listed_yet_can_be_withdrawn(home: Path) -> None:
    """The next export may bring it."""
    run(client.cli.main, "withdraw", "A9999", "--not-listed", "--folder", home)
    assert "A9999" in read_withdrawn(home)


def test_withdrawing_twice_is_once(home: Path) -> None:
    """The first time counts."""
    known = frozenset([CASE])
    assert len(withdraw(home, [CASE, CASE], known=known)) == 1
    assert withdraw(home, [CASE], known=known) == []
    assert len(read_withdrawn(home)) == 1


@pytest.mark.parametrize("name", ["keys/pseudonym.key", "withdrawn.json"])
@pytest.mark.parametrize("harm", ["lost", "changed"])
def test_a_case_does_not_come_back_when_a_file_is_lost(home: Path, name: str, harm: str) -> None:
    """Without list or key no case of the hospital is used."""
    withdraw(home, [CASE], known=frozenset([CASE]))
    if harm == "lost":
        (home / name).unlink()
    else:
        (home / name).write_bytes(b"x" * 32)
    with pytest.raises(CohortError, match=r"withdrawn\.json"):
        open_site(home).cohort()


def test_a_hospital_that_left_answers_nothing(home: Path) -> None:
    """Until it comes back; both are in its ledger."""
    leave(home)
    with pytest.raises(LeftError, match="left the study"):
        open_site(home)
    come_back(home)
    open_site(home)
    require_member(home)
    said = [line.what for line in read_ledger(site_ledger(home).path)]
    assert [what for what in said if what in (LEFT, RETURNED)] == [LEFT, RETURNED]


def test_a_damaged_mark_of_leaving_is_no_consent(home: Path) -> None:
    """Better silent than wrong."""
    leave(home)
    (home / "left.json").write_text("{")
    assert left_since(home) == "an unknown day"


def test_leaving_twice_is_once(home: Path) -> None:
    """The day stays the first one."""
    first = leave(home)
    assert leave(home) == first == json.loads((home / "left.json").read_text())["since"]


def test_a_withdrawal_that_was_cut_off_gets_its_line(home: Path) -> None:
    """The case was out at once; the command again writes what the ledger lacks."""
    known = frozenset([CASE])
    withdraw(home, [CASE], known=known)
    for path in (home / "ledger").iterdir():
        path.unlink()
    withdraw(home, [CASE], known=known)
    lines = read_ledger(site_ledger(home).path)
    assert [line.what for line in lines] == [WITHDRAWN]
