"""``ghanet-server`` as its user meets it: command, exit code, exact words on standard error."""

import shutil
from pathlib import Path

import pytest
from local import edit
from support import make_consortium

import server.cli
from ghanet_model.invitation import read_invitation
from server.setup import read_server, renew_certificate


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A coordinator with three hospitals enrolled; nothing is running."""
    root = tmp_path_factory.mktemp("consortium")
    make_consortium(root)
    return root


@pytest.fixture
def coordinator(made: Path, tmp_path: Path) -> Path:
    """A copy of the coordinator's folder."""
    return Path(shutil.copytree(made / "coordinator", tmp_path / "coordinator"))


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> list[str]:
    """Run a command that must fail with exit code 1; its lines on standard error."""
    capsys.readouterr()
    assert server.cli.main([str(a) for a in arguments]) == 1
    return capsys.readouterr().err.splitlines()


def test_init_makes_private_keys_readable_by_their_owner_only(
    coordinator: Path, made: Path
) -> None:
    """Every private key has mode 0600."""
    keys = [made / "coordinator" / "keys" / n for n in ("ca.key", "server.key", "release.key")]
    assert {oct(key.stat().st_mode & 0o777) for key in keys} == {"0o600"}


def test_init_of_a_new_folder_needs_a_host(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a host there would be no certificate."""
    lines = refused(capsys, "init", "--folder", tmp_path / "new")
    assert lines == [
        "ghanet-server: error: a new folder needs a host",
        "ghanet-server: hint: add --host, the name hospitals will use",
    ]


def test_the_studies_template_can_be_read(tmp_path: Path) -> None:
    """What ``init`` writes is a study that ``init`` accepts."""
    assert server.cli.main(["init", "--folder", str(tmp_path / "c"), "--host", "example.org"]) == 0
    assert read_invitation(tmp_path / "c" / "invitation.json").server == "example.org:8000"


def test_init_again_renews_the_invitation(coordinator: Path) -> None:
    """After an edit of study.yaml the invitation holds the new text."""
    edit(coordinator / "study.yaml", {"rounds": 7})
    assert server.cli.main(["init", "--folder", str(coordinator)]) == 0
    assert "rounds: 7" in read_invitation(coordinator / "invitation.json").study


def test_a_hospital_cannot_be_enrolled_twice(
    coordinator: Path, made: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither its name nor its key can be taken again."""
    key = made / "hospital-a" / "keys" / "site_key.pub"
    options = ("--role", "infers", "--cases", 30, "--folder", coordinator)
    assert refused(capsys, "enrol", "hospital-a", key, *options)[0] == (
        "ghanet-server: error: 'hospital-a' is enrolled already"
    )
    assert refused(capsys, "enrol", "hospital-n", key, *options)[0] == (
        "ghanet-server: error: this key is enrolled already, as 'hospital-a'"
    )


def test_a_private_key_is_refused(
    coordinator: Path, made: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A hospital that sent the wrong half is told to delete it."""
    key = made / "hospital-a" / "keys" / "site_key"
    options = ("--role", "infers", "--cases", 30, "--folder", coordinator)
    lines = refused(capsys, "enrol", "hospital-n", key, *options)
    assert lines[0] == "ghanet-server: error: site_key: this is a private key"


def test_train_without_a_server_says_what_to_start(
    coordinator: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No server, one line."""
    edit(coordinator / "server.yaml", {"port": 9})
    lines = refused(capsys, "train", "--folder", coordinator)
    assert lines[0] == "ghanet-server: error: no server answers at 127.0.0.1:9"


def test_train_needs_a_hospital_with_genes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A study without genes anywhere cannot begin."""
    server.cli.main(["init", "--folder", str(tmp_path), "--host", "127.0.0.1"])
    lines = refused(capsys, "train", "--folder", tmp_path)
    assert lines[0] == "ghanet-server: error: no enrolled hospital trains with genes"


def test_an_impossible_study_is_refused(
    coordinator: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Falling bin edges are refused with an example of what would do."""
    edit(coordinator / "study.yaml", {"time_bin_edges": [60, 12]})
    assert refused(capsys, "init", "--folder", coordinator) == [
        "ghanet-server: error: study.yaml: 'time_bin_edges' is [60.0, 12.0]",
        "ghanet-server: hint: use rising months, for example [12, 36, 60]",
    ]


def test_a_folder_that_is_no_coordinators(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Commands outside a coordinator's folder say so."""
    lines = refused(capsys, "status", "--folder", tmp_path)
    assert lines[0].startswith("ghanet-server: error: server.yaml: not found in ")


def test_a_release_before_the_last_round_is_refused(
    coordinator: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A half-trained study is not released."""
    assert refused(capsys, "release", "--folder", coordinator)[0] == (
        "ghanet-server: error: 0 of 3 rounds are trained"
    )


def test_a_certificate_that_lacks_a_name_is_made_anew(coordinator: Path) -> None:
    """After an edit of server.yaml the next start has a certificate for the new names."""
    assert renew_certificate(read_server(coordinator)) is False
    edit(coordinator / "server.yaml", {"host": "new.example.org", "listen": "::1"})
    authority = (coordinator / "keys" / "ca.crt").read_bytes()
    assert renew_certificate(read_server(coordinator)) is True
    assert renew_certificate(read_server(coordinator)) is False
    assert (coordinator / "keys" / "ca.crt").read_bytes() == authority
    assert read_server(coordinator).local_address == "[::1]:8000"
