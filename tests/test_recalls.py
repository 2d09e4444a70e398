"""A hospital and recalled releases: every way to use one is refused, every wrong notice too."""

import shutil
import socket
from pathlib import Path

import pytest
from support import write_site
from test_private_study import PRIVATE, write_scaling
from test_recall import DIGEST, REASON
from test_server_recall import write_release

import client.cli
from client.approval import withdraw_approval
from client.frames import Frame, receive_frame, send_frame
from client.ledger import ledger_path, verify_site_ledger
from client.ledger_table import ledger_lines
from client.memory import Memory
from client.trainer import answer_frame, serve_one
from ghanet_model.files import sha256
from ghanet_model.invitation import RELEASE_KEY_FILE
from ghanet_model.keys import make_release_key
from ghanet_model.ledger import RECALLED, REFUSED, SENT
from ghanet_model.protocol import DeliveryAsk
from ghanet_model.recall import Recall, make_recall
from ghanet_model.study import read_study
from ghanet_model.wire import DELIVERY, ERROR, RECALL, RELEASE

HINT = "ghanet-client: hint: do not use it; ask the coordinator for a newer release"


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The consortium's release key."""
    path = tmp_path_factory.mktemp("keys") / "release.key"
    make_release_key(path)
    return path


def write_hospital(home: Path, key: Path, **settings: object) -> Path:
    """A hospital that can answer, with a release in its inbox."""
    write_site(home, **settings)
    (home / "keys").mkdir(exist_ok=True)
    shutil.copy(key.with_name("release.key.pub"), home / "keys" / RELEASE_KEY_FILE)
    write_release(home / "inbox", key, study=home)
    return home


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, key: Path) -> Path:
    """A hospital."""
    return write_hospital(tmp_path_factory.mktemp("site") / "a", key)


@pytest.fixture
def home(made: Path, tmp_path: Path) -> Path:
    """A copy."""
    return Path(shutil.copytree(made, tmp_path / "home", symlinks=True))


def release_in(home: Path) -> Path:
    """What was delivered."""
    return home / "inbox" / "small.ghanet"


def notice_for(home: Path, key: Path, digest: str = "") -> Recall:
    """Recalls the release of this hospital, or another one."""
    digest = digest or sha256(release_in(home).read_bytes())
    return make_recall("small", digest, reason=REASON, key_file=key)


def place_of(home: Path) -> Path:
    """Where the notice of its release belongs."""
    digest = sha256(release_in(home).read_bytes())
    return home / "inbox" / "recalls" / f"{digest}.recall"


def deliver(home: Path, content: bytes, what: str = RECALL, study: str = "0" * 64) -> Frame:
    """A delivery through the gate; a study that nobody holds if none is named."""
    record = DeliveryAsk(study, "small", content, what).to_record()
    return answer_frame(Frame(DELIVERY, record.values, record.packed()), home, Memory())


def run(home: Path, capsys, command: str, *arguments: object) -> tuple[int, str, list[str]]:
    """A command: exit code, what it said, its lines on standard error."""
    capsys.readouterr()
    code = client.cli.main([command, *map(str, arguments), "--folder", str(home)])
    said = capsys.readouterr()
    return code, said.out, said.err.splitlines()


def everything(folder: Path) -> dict[Path, bytes]:
    """All files of a folder."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_delivered_notice_is_put_into_place(home: Path, key: Path) -> None:
    """Whatever study the coordinator runs; confirmed by its digest, two lines in the ledger."""
    notice = notice_for(home, key)
    for _ in range(2):
        assert deliver(home, notice.content).values == {"sha256": notice.digest}
    assert place_of(home).read_bytes() == notice.content
    lines = [line for line in verify_site_ledger(home) if line.what in (RECALLED, SENT)]
    assert [line.what for line in lines] == [RECALLED, SENT, SENT]
    assert lines[0].facts == {"release": "small", "sha256": notice.sha256}
    assert any("delivery (recall): 0 cases" in text for text in ledger_lines(lines, last=9))


def test_the_log_says_so(home: Path, key: Path, caplog: pytest.LogCaptureFixture) -> None:
    """In one line, with release, date and reason."""
    notice = notice_for(home, key)
    record = DeliveryAsk("0" * 64, "small", notice.content, RECALL).to_record()
    here, there = socket.socketpair()
    with here, there, caplog.at_level("INFO", "ghanet"):
        send_frame(here, Frame(DELIVERY, record.values, record.packed()))
        serve_one(there, home, Memory())
        receive_frame(here)
    (line,) = caplog.messages
    assert line.startswith("received a recall; 0.00 MB left this site; ")
    assert line.endswith(f"s ({notice})")


def test_a_private_study_receives_recalls(tmp_path: Path, key: Path) -> None:
    """Nothing of it is charged; no new approval is needed."""
    write_scaling(tmp_path / "a")
    home = write_hospital(tmp_path / "a", key, **PRIVATE)
    assert read_study(home).is_private
    notice = notice_for(home, key)
    assert deliver(home, notice.content).values == {"sha256": notice.digest}
    assert {line.what for line in verify_site_ledger(home)} == {"approved", RECALLED, SENT}


def test_a_hospital_that_approved_nothing_answers_nothing(home: Path, key: Path, capsys) -> None:
    """By mail the notice arrives all the same."""
    withdraw_approval(home)
    notice = notice_for(home, key)
    assert deliver(home, notice.content).values == {ERROR: "unapproved"}
    assert not place_of(home).exists()
    (home / "mail.recall").write_bytes(notice.content)
    assert run(home, capsys, "recall", home / "mail.recall")[0] == 0
    assert place_of(home).exists()


@pytest.mark.parametrize("command", ["predict", "audit"])
def test_every_use_of_a_recalled_release_is_refused(
    home: Path, key: Path, capsys, command: str
) -> None:
    """In one line and a hint, wherever the file lies and whatever it is called."""
    notice = notice_for(home, key)
    copy = home / "kept.ghanet"
    shutil.copy(release_in(home), copy)
    deliver(home, notice.content)
    lines = [f"ghanet-client: error: {notice}", HINT]
    assert run(home, capsys, command) == (1, "", lines)
    assert run(home, capsys, command, "--release", copy) == (1, "", lines)
    release_in(home).unlink()
    assert run(home, capsys, command, "--release", copy) == (1, "", lines)
    assert not list(home.glob("predictions*"))


def test_only_that_release_is_refused(home: Path, key: Path, capsys) -> None:
    """Another one of the same name is used as before."""
    deliver(home, notice_for(home, key).content)
    write_release(home / "inbox", key, study=home, rounds=2)
    code, out, err = run(home, capsys, "predict")
    assert (code, err) == (0, [])
    assert "30 cases predicted" in out


def test_a_recalled_release_is_not_taken_again(home: Path, key: Path) -> None:
    """The inbox stays as it is."""
    content, study = release_in(home).read_bytes(), read_study(home).digest
    assert ERROR not in deliver(home, content, RELEASE, study).values
    deliver(home, notice_for(home, key).content)
    release_in(home).unlink()
    assert deliver(home, content, RELEASE, study).values == {ERROR: "release"}
    assert not release_in(home).exists()


def damage(path: Path) -> None:
    """The last byte is gone."""
    path.write_bytes(path.read_bytes()[:-1])


@pytest.mark.parametrize(
    ("change", "what"), [(damage, "is damaged"), (Path.unlink, "is gone")], ids=["damaged", "gone"]
)
def test_a_notice_cannot_be_made_to_vanish(home: Path, key: Path, capsys, change, what) -> None:
    """The release stays recalled; the ledger knows, and the notice can be put back."""
    notice = notice_for(home, key)
    deliver(home, notice.content)
    place = place_of(home)
    change(place)
    code, _, err = run(home, capsys, "predict")
    assert code == 1
    assert err[0].endswith(f"the notice inbox/recalls/{place.name} {what}")
    (home / "mail.recall").write_bytes(notice.content)
    code, out, _ = run(home, capsys, "recall", home / "mail.recall")
    assert out.splitlines() == [str(notice), "this was known here already"]
    assert run(home, capsys, "predict")[2][0] == f"ghanet-client: error: {notice}"


def test_a_notice_by_mail(home: Path, key: Path, capsys) -> None:
    """Verified, put into place, in the ledger; before it, the release works."""
    assert run(home, capsys, "predict")[0] == 0
    notice = notice_for(home, key)
    (home / "mail.recall").write_bytes(notice.content)
    code, out, err = run(home, capsys, "recall", home / "mail.recall")
    assert (code, err) == (0, [])
    assert out.splitlines() == [str(notice), "it is refused here from now on"]
    assert place_of(home).read_bytes() == notice.content
    assert [line.what for line in verify_site_ledger(home)][-1] == RECALLED
    assert run(home, capsys, "predict")[2] == [f"ghanet-client: error: {notice}", HINT]


def by_another_key(home: Path, _: Path) -> bytes:
    """Of another consortium."""
    make_release_key(home / "other.key")
    return notice_for(home, home / "other.key").content


WRONG = {
    "other": (by_another_key, "not signed by this consortium's release key"),
    "damaged": (lambda home, key: notice_for(home, key).content[:-1], "a damaged one"),
    "large": (lambda home, key: notice_for(home, key).content + b" " * 20_000, "larger than any"),
    "release": (lambda home, _: release_in(home).read_bytes(), "larger than any"),
    "ledger": (lambda home, _: ledger_path(home).read_bytes().splitlines()[0], "a damaged one"),
    "empty": (lambda *_: b"", "a damaged one"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_notices_change_nothing(home: Path, key: Path, capsys, case: str) -> None:
    """By mail: one line. By a delivery: one code, and a line of the ledger that it was refused."""
    make, what = WRONG[case]
    (home / "mail.recall").write_bytes(make(home, key))
    before = everything(home)
    code, out, err = run(home, capsys, "recall", home / "mail.recall")
    assert (code, out, len(err)) == (1, "", 2)
    assert what in err[0]
    assert everything(home) == before
    assert deliver(home, (home / "mail.recall").read_bytes()).values == {ERROR: "release"}
    assert everything(home / "inbox") == {release_in(home): release_in(home).read_bytes()}
    assert verify_site_ledger(home)[-1].what == REFUSED
    assert run(home, capsys, "predict")[0] == 0


def test_no_file_and_no_key(home: Path, key: Path, capsys) -> None:
    """One line each."""
    code, _, err = run(home, capsys, "recall", home / "nothing.recall")
    assert (code, err[0]) == (1, "ghanet-client: error: nothing.recall: no such recall notice")
    (home / "mail.recall").write_bytes(notice_for(home, key, DIGEST).content)
    (home / "keys" / RELEASE_KEY_FILE).unlink()
    code, _, err = run(home, capsys, "recall", home / "mail.recall")
    assert (code, err[0]) == (1, "ghanet-client: error: keys/release.pub is missing")


def test_a_delivery_of_neither_is_refused(home: Path, key: Path) -> None:
    """A word that is none of the two."""
    assert deliver(home, notice_for(home, key).content, "revival").values == {ERROR: "protocol"}
    assert not place_of(home).exists()
