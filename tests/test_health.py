"""``health`` of both sides: what a container engine or a monitor is told, and when it fails."""

import datetime as dt
import json
import shutil
from pathlib import Path

import pytest
from cryptography import x509
from support import write_site

import client.cli
import server.cli
import server.health
from ghanet_model import heartbeat
from ghanet_model.certificates import make_authority, make_server_certificate
from ghanet_model.errors import DeploymentError
from ghanet_model.heartbeat import HEARTBEAT_FILE, Heart, require_heartbeat
from server.config import PORT_FILE, ServerConfig
from server.door_files import write_door_files
from server.setup import init_folder


def now() -> dt.datetime:
    """Of the moment: the suite may run for long before it comes here."""
    return dt.datetime.now(dt.UTC)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A hospital's folder with an authority and a second certificate."""
    home = write_site(tmp_path_factory.mktemp("site"))
    make_authority(home / "keys", name="consortium")
    make_server_certificate(home / "keys", ["localhost"])
    return home


@pytest.fixture
def home(made: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(made, tmp_path / "site"))


@pytest.fixture
def coordinator(tmp_path: Path) -> ServerConfig:
    """A coordinator's folder whose port nobody listens on."""
    return init_folder(tmp_path / "coordinator", host="127.0.0.1", port=1)


def write_beat(state: Path, **changes: object) -> None:
    """A heartbeat of now, some of it changed."""
    Heart(state).beat(working=True)
    path = state / HEARTBEAT_FILE
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def ago(**span: float) -> str:
    """A time before now."""
    return (now() - dt.timedelta(**span)).isoformat()


def of_client(home: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """Exit code of 'ghanet-client health', and all that it said."""
    code = client.cli.main(["health", "--folder", str(home)])
    said = capsys.readouterr()
    return code, said.out + said.err


def test_a_connected_hospital_is_well(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One line that says where to and how long."""
    write_beat(home / "state", since=ago(hours=3))
    assert of_client(home, capsys) == (0, "connected to localhost:1 for 3 h\n")


def test_a_hospital_that_does_not_run(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 1: before the first start, and after one that ended in order."""
    assert of_client(home, capsys)[0] == 1
    write_beat(home / "state")
    Heart(home / "state").stop()
    code, said = of_client(home, capsys)
    assert code == 1
    assert said.splitlines()[0] == "ghanet-client: error: 'start' does not run here"


def test_a_process_that_hangs(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A beat that is late by more than a minute."""
    write_beat(home / "state", due=ago(seconds=50))
    assert of_client(home, capsys)[0] == 0
    write_beat(home / "state", due=ago(minutes=10))
    code, said = of_client(home, capsys)
    assert code == 1
    assert "has said nothing for 10 min more than it should" in said


def test_a_hospital_that_waits_to_try_again_is_well(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A pause of minutes between two tries is no missing beat; half an hour without any is."""
    Heart(home / "state").beat(working=False, pause=900)
    later = now() + dt.timedelta(seconds=930)
    assert not require_heartbeat(home / "state", later).working
    code, said = of_client(home, capsys)
    assert (code, said.split(" for ")[0]) == (0, "not connected to localhost:1")
    write_beat(home / "state", working=False, since=ago(minutes=31))
    code, said = of_client(home, capsys)
    assert (code, said.splitlines()[0]) == (
        1,
        "ghanet-client: error: not connected to localhost:1 for 31 min",
    )


def test_how_long_is_told_over_several_connections(tmp_path: Path) -> None:
    """A new connection attempt does not start the clock of the outage anew."""
    began = ago(hours=2)
    write_beat(tmp_path, working=False, since=began)
    Heart(tmp_path).beat(working=False)
    assert require_heartbeat(tmp_path, now()).since.isoformat() == began
    Heart(tmp_path).beat(working=True)
    assert now() - require_heartbeat(tmp_path, now()).since < dt.timedelta(hours=1)


def test_few_beats_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One in some seconds, and one when the state changes; a full disk ends nothing."""
    written: list[object] = []
    monkeypatch.setattr(heartbeat, "write_json", lambda _, values: written.append(values))
    heart = Heart(tmp_path)
    for working in (False, False, True, True, True):
        heart.beat(working=working)
    assert len(written) == 2

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(heartbeat, "write_json", full)
    heart.beat(working=False)


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"due": 1, "since": 2, "working": true}', '{"due": "2026-01-01"}']
)
def test_a_damaged_heartbeat(tmp_path: Path, text: str) -> None:
    """It is no sign of life, and no traceback; the next beat mends it."""
    (tmp_path / HEARTBEAT_FILE).write_text(text)
    with pytest.raises(DeploymentError, match="cannot be read"):
        require_heartbeat(tmp_path, now())
    Heart(tmp_path).beat(working=True)
    assert require_heartbeat(tmp_path, now()).working


def test_certificates_that_end(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each in keys/ counts: a warning in the last month, then exit code 1; old ones do not."""
    write_beat(home / "state")
    content = (home / "keys" / "server.crt").read_bytes()
    (home / "keys" / "site.old.crt").write_bytes(b"no certificate any more")
    end = x509.load_pem_x509_certificate(content).not_valid_after_utc

    def at(left: dt.timedelta) -> tuple[int, str]:
        monkeypatch.setattr(
            heartbeat,
            "certificate_end",
            lambda pem: now() + (left if pem == content else dt.timedelta(days=99)),
        )
        return of_client(home, capsys)

    assert end > now()
    assert "warning: certificate keys/server.crt ends in 9 days" in at(dt.timedelta(days=9.5))[1]
    code, said = at(dt.timedelta(seconds=-1))
    assert code == 1
    assert "certificate keys/server.crt has ended" in said


def test_a_server_that_does_not_answer(
    coordinator: ServerConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    """A heartbeat alone is not enough: its own port is tried over TLS."""
    write_beat(coordinator.state)
    assert server.cli.main(["health", "--folder", str(coordinator.folder)]) == 1
    assert "port 1 does not answer as hospitals expect" in capsys.readouterr().err


def test_a_server_that_does_not_run(
    coordinator: ServerConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first thing that is missing is what is said."""
    assert server.cli.main(["health", "--folder", str(coordinator.folder)]) == 1
    said = capsys.readouterr().err
    assert said.startswith("ghanet-server: error: 'start' does not run here\n")


def test_a_door_whose_list_has_ended(
    coordinator: ServerConfig, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It lets nobody in: that is a fault, whatever else is well."""
    coordinator.state.mkdir(exist_ok=True)
    (coordinator.state / PORT_FILE).write_text("2")
    write_door_files(coordinator)
    write_beat(coordinator.state)
    asked = ["health", "--folder", str(coordinator.folder)]
    assert server.cli.main(asked) == 1
    assert "port 1 does not answer" in capsys.readouterr().err
    ended = now() - dt.timedelta(days=8), now() - dt.timedelta(days=1)
    monkeypatch.setattr(server.health, "list_times", lambda _: ended)
    assert server.cli.main(asked) == 1
    assert "the list of refused certificates has ended" in capsys.readouterr().err


def test_a_heartbeat_of_the_future(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """After a clock was set back it would stay good for as long, whoever lives."""
    write_beat(home / "state", due=(now() + dt.timedelta(days=1)).isoformat())
    code, said = of_client(home, capsys)
    assert code == 1
    assert "is of the future" in said
