"""Approval: a hospital answers for what its IT agreed to, and for nothing else."""

import json
import stat
from pathlib import Path

import pytest
from local import edit
from support import approve_as_it_is, small_bundle, write_site

import client.cli
from client import approval
from client.answers import open_site
from client.approval import (
    APPROVED_FILE,
    present,
    read_approval,
    require_all_approved,
    require_approved,
    require_bundle,
)
from client.changes import describe
from client.ledger import ledger_path
from ghanet_model import distribution
from ghanet_model.bundle import BUNDLE_FILE, SETTINGS_TEXT
from ghanet_model.distribution import Distribution, installed
from ghanet_model.errors import ApprovalError
from ghanet_model.files import sha256
from ghanet_model.ledger import APPROVED, REFUSED, read_ledger
from ghanet_model.study import read_study


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A hospital's folder, approved as it is."""
    return write_site(tmp_path / "hospital-a")


def approve(home: Path, *options: str) -> int:
    """``ghanet-client approve`` in a folder."""
    return client.cli.main(["approve", "--folder", str(home), *options])


def changed_software(monkeypatch: pytest.MonkeyPatch) -> None:
    """One file of ours is another one than before, and torch is newer."""
    found = installed()
    files = {**found.files, "client/gate.py": "0" * 64}
    other = Distribution(files, {**found.versions, "torch": "9.9"})
    monkeypatch.setattr(approval, "installed", lambda: other)


def test_what_was_approved_is_answered_for(home: Path) -> None:
    """Study, bundle and software as they were approved pass."""
    require_all_approved(home)
    require_approved(home, read_study(home))
    assert open_site(home).study == read_study(home)


def test_nothing_is_approved_by_itself(home: Path) -> None:
    """Without an approval no message is answered, and the hint says what to do."""
    (home / APPROVED_FILE).unlink()
    with pytest.raises(ApprovalError, match="nothing is approved") as caught:
        open_site(home)
    assert "ghanet-client approve" in caught.value.hint


def test_a_changed_study_is_not_answered_for(home: Path) -> None:
    """From the message on that finds another study.yaml, until IT approves it."""
    edit(home / "study.yaml", {"rounds": 7})
    with pytest.raises(ApprovalError, match="the study with digest"):
        open_site(home)
    assert approve(home, "--yes") == 0
    assert open_site(home).study.rounds == 7


def test_changed_software_answers_nothing(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An update of one file or one distribution needs a new approval."""
    changed_software(monkeypatch)
    with pytest.raises(ApprovalError, match="the software with digest"):
        open_site(home)


def test_an_update_below_a_running_process_is_noticed(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Approved or not: what is in memory is not what lies on the disk."""
    open_site(home)
    changed_software(monkeypatch)
    approve_as_it_is(home)
    with pytest.raises(ApprovalError, match="changed while it ran") as caught:
        open_site(home)
    assert "start again" in caught.value.hint


@pytest.mark.parametrize("name", ["study.yaml", BUNDLE_FILE])
def test_start_refuses_what_is_not_approved(
    name: str, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before any connection, with one line that says which of them and what to do."""
    (home / "keys").mkdir(exist_ok=True)
    for key in ("site_key", "ca.crt"):
        (home / "keys" / key).touch()
    if name == BUNDLE_FILE:
        (home / name).write_bytes(small_bundle({"LICENSE": "another"}))
    else:
        edit(home / name, {"seed": 5})
    assert client.cli.main(["start", "--folder", str(home)]) == 1
    lines = capsys.readouterr().err.splitlines()
    what = "app bundle" if name == BUNDLE_FILE else "study"
    assert lines[0].startswith(f"ghanet-client: error: the {what} with digest ")
    assert lines[1] == "ghanet-client: hint: 'ghanet-client approve' shows what it would approve"


def test_approval_is_taken_back(home: Path) -> None:
    """From the next message on nothing is answered; it can be given again, the ledger has both."""
    assert approve(home, "--withdraw") == 0
    with pytest.raises(ApprovalError, match="taken back"):
        open_site(home)
    assert approve(home, "--withdraw") == 1
    assert approve(home, "--yes") == 0
    open_site(home)
    whats = [line.what for line in read_ledger(ledger_path(home))]
    assert whats == [APPROVED, REFUSED, APPROVED]


def test_the_ledger_has_the_three_digests(home: Path) -> None:
    """What was approved can be proven later."""
    facts = read_ledger(ledger_path(home))[-1].facts
    assert facts["study"] == read_study(home).digest
    assert facts["app_bundle"] == sha256((home / BUNDLE_FILE).read_bytes())
    assert facts["software"] == installed().digest


def test_the_approval_is_private(home: Path) -> None:
    """Only its owner can read or change what was approved."""
    assert stat.S_IMODE((home / APPROVED_FILE).stat().st_mode) == 0o600


def test_nobody_to_ask_means_no(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a terminal and without --yes, nothing is approved and the exit code is 1."""
    before = (home / APPROVED_FILE).read_bytes()
    edit(home / "study.yaml", {"rounds": 9})
    assert approve(home) == 1
    said = capsys.readouterr()
    assert said.err.splitlines()[1] == (
        "ghanet-client: hint: read what stands above, then add --yes"
    )
    assert "rounds: 3 -> 9" in said.out
    assert (home / APPROVED_FILE).read_bytes() == before


def test_one_who_says_no_approves_nothing(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At a terminal, anything but yes is no."""
    edit(home / "study.yaml", {"rounds": 9})
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("builtins.input", lambda _: "")
    assert approve(home) == 1
    monkeypatch.setattr("builtins.input", lambda _: "y")
    assert approve(home) == 0


def test_what_changed_is_said_in_words(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Setting by setting, gene by gene in number, line by line, file by file."""
    before = read_approval(home)
    edit(home / "study.yaml", {"rounds": 5, "exchange_precision": "bfloat16"})
    groups = (home / "gene_groups.csv").read_text()
    (home / "gene_groups.csv").write_text(groups.replace("oncogenes", "others", 1))
    settings = SETTINGS_TEXT.replace('"consortium"', '"somebody"')
    (home / BUNDLE_FILE).write_bytes(small_bundle({"pyproject.toml": settings}))
    changed_software(monkeypatch)
    said = "\n".join(describe(present(home), before))
    for words in (
        "rounds: 3 -> 5",
        "exchange_precision: float32 -> bfloat16",
        "gene group 'others': added, ",
        "gene group 'oncogenes': removed",
        'pyproject.toml: removed: publisher = "consortium"',
        'pyproject.toml: added: publisher = "somebody"',
        "-> 9.9",
        "1 of our files changed: client/gate.py",
    ):
        assert words in said
    assert "dropout" not in said


def test_a_study_cannot_write_on_the_terminal(home: Path) -> None:
    """Control characters in a name that the coordinator chose are not printed."""
    groups = (home / "gene_groups.csv").read_text()
    subject = present(home)
    assert groups
    strange = {**subject.study, "encoder": "\x1b[2Jgood\x9b31m"}
    lines = describe(approval.Subject(strange, subject.bundle, subject.software), None)
    assert not [line for line in lines if not line.isprintable()]


def test_a_damaged_approval_approves_nothing(home: Path) -> None:
    """Cut off, of another format or with a part missing: one line with what to do."""
    path = home / APPROVED_FILE
    whole = json.loads(path.read_text())
    for content in ("", path.read_text()[:50], json.dumps({**whole, "format": 2}), "[]", "{}"):
        path.write_text(content)
        with pytest.raises(ApprovalError, match="damaged"):
            open_site(home)


def test_only_the_approved_bundle_may_run(home: Path) -> None:
    """Not another one, not one under another's digest."""
    content = (home / BUNDLE_FILE).read_bytes()
    require_bundle(home, content, sha256(content))
    other = small_bundle({"LICENSE": "another"})
    with pytest.raises(ApprovalError, match="is not approved"):
        require_bundle(home, other, sha256(other))
    with pytest.raises(ApprovalError, match="not the announced"):
        require_bundle(home, other, sha256(content))


def test_a_bundle_with_code_cannot_be_approved(home: Path) -> None:
    """Not even by somebody who says yes."""
    (home / BUNDLE_FILE).write_bytes(small_bundle({"client/app.py": "app = None"}))
    before = (home / APPROVED_FILE).read_bytes()
    assert approve(home, "--yes") == 1
    assert (home / APPROVED_FILE).read_bytes() == before


def test_the_software_digest_is_of_every_file_that_a_hospital_runs() -> None:
    """Each source file of both packages is in it, and nothing that Python makes by itself."""
    root = Path(distribution.__file__).parents[1]
    sources = {
        path.relative_to(root).as_posix()
        for package in ("client", "ghanet_model")
        for path in (root / package).rglob("*.py")
    }
    found = installed()
    assert sources <= set(found.files)
    assert not [name for name in found.files if "__pycache__" in name]
    assert found.files["client/app.py"] == sha256((root / "client" / "app.py").read_bytes())
    assert found.versions["flwr"] == "1.41.0"
    assert {"torch", "cryptography", "numpy"} <= set(found.versions)


def test_one_byte_more_is_another_software(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The digest follows the files wherever they are installed, sources or wheel."""
    for package in ("ghanet_model", "client"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text("")
    monkeypatch.setattr(distribution, "_folder", lambda package: tmp_path / package)
    before = installed().digest
    assert installed().digest == before
    (tmp_path / "client" / "__init__.py").write_text(" ")
    assert installed().digest != before
