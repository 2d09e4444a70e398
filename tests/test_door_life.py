"""The door while it is open: who is cut off, when its list ends, when it closes by itself."""

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from door_site import (
    FLEET,
    NO_NGINX,
    SITES,
    WHY,
    Behind,
    command,
    connected,
    doors,
    home_of,
    hospital,
    listen_behind,
    make_coordinator,
    status,
    wait_for_word,
    wait_until,
    word,
)
from local import edit
from support import run

import client.cli
from client.config import read_site
from client.door import refusal_of
from ghanet_model.door import KEY_HEADER, list_times, write_list
from ghanet_model.errors import DeploymentError
from ghanet_model.processes import free_port
from server.config import read_server
from server.door import REOPENINGS, Door, written
from server.membership import _revoking
from server.roster import change_roster, read_roster, write_roster

pytestmark = pytest.mark.skipif(NO_NGINX, reason=WHY)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A coordinator and two hospitals with certificates."""
    root = tmp_path_factory.mktemp("door")
    make_coordinator(root)
    return root


@pytest.fixture(scope="module")
def behind(made: Path) -> Behind:
    """What stands behind every door of this file."""
    return listen_behind(made / "coordinator" / "keys")


@pytest.fixture(scope="module")
def opened(made: Path, behind: Behind) -> Iterator[Door]:
    """A door that no test changes."""
    yield from doors(read_server(made / "coordinator"), behind)


@pytest.fixture
def copy(made: Path, behind: Behind, tmp_path: Path) -> Iterator[Door]:
    """A door of a copy of all folders, to be changed."""
    root = Path(shutil.copytree(made, tmp_path / "copy"))
    port = free_port()
    edit(root / "coordinator" / "server.yaml", {"port": port})
    for name in SITES:
        edit(root / name / "site.yaml", {"server": f"127.0.0.1:{port}"})
    yield from doors(read_server(root / "coordinator"), behind)


def test_a_revoked_hospital_is_cut_off_in_the_middle_of_a_connection(copy: Door) -> None:
    """Once 'revoke' is done and the server has looked, nothing of it passes; others go on."""
    assert word(copy) == word(copy, SITES[1]) == ""
    who = hospital(copy)
    with connected(copy, who.context()) as held:
        head = f"POST {FLEET} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n{KEY_HEADER}: {who.node}"
        held.sendall(f"{head}\r\n\r\n".encode())
        assert b" 200 " in held.recv(4096)
        command(copy, "revoke", SITES[0], "--reason", "a test")
        copy.tend()
        wait_for_word(copy, "FAILED:certificate revoked")
        assert held.recv(4096)[-2:] in (b"in", b"")
        assert held.recv(4096) == b""  # the connection of before is closed
    assert word(copy, SITES[1]) == ""
    said = refusal_of(read_site(home_of(copy, SITES[0])))
    assert said is not None
    assert said.what == "this hospital's certificate was revoked"


def test_a_renewed_certificate_is_the_only_one(copy: Door, tmp_path: Path) -> None:
    """From the same request or a new one: the old serial is refused, the new one gets in."""
    home, folder = home_of(copy, SITES[0]), copy.config.folder
    run(client.cli.main, "renew-certificate", "--folder", home)
    assert word(copy) == ""  # the old one stays in use until the new one has come
    request = home / "keys" / "door.csr"
    command(copy, "renew", SITES[0], "--request", request)
    copy.tend()
    wait_for_word(copy, "FAILED:certificate revoked")
    issued = folder / "certificates" / f"{SITES[0]}.crt"
    run(client.cli.main, "certificate", issued, "--folder", home)
    assert word(copy) == ""
    command(copy, "renew", SITES[0], "--request", request)
    copy.tend()
    wait_for_word(copy, "FAILED:certificate revoked")
    run(client.cli.main, "certificate", issued, "--folder", home)
    assert word(copy) == ""
    assert len(read_roster(folder).named(SITES[0]).former_serials) == 2


def test_an_ended_list_refuses_everybody_and_is_written_anew(
    copy: Door, capsys: pytest.CaptureFixture[str]
) -> None:
    """The door fails closed; the client says that it passes; 'start' mends it at its next look."""
    write_list(copy.config.keys, (), days=-0.01)
    copy.reload()
    wait_for_word(copy, "FAILED:CRL has expired")
    said = refusal_of(read_site(home_of(copy, SITES[0])))
    assert said is not None
    assert said.passes
    capsys.readouterr()
    command(copy, "status")
    assert "has ended, so the door refuses every hospital" in " ".join(
        capsys.readouterr().out.split()
    )
    write_list(copy.config.keys, (), days=-2)
    copy.tend()
    wait_for_word(copy, "")
    begins, ends = list_times(copy.config.keys)
    assert 6 <= (ends - begins).days <= 7


def test_status_warns_before_the_list_ends(copy: Door, capsys: pytest.CaptureFixture[str]) -> None:
    """Three days before: an alarm before it is an outage, with what to do."""
    for days, warned in ((3.1, False), (2.9, True)):
        write_list(copy.config.keys, (), days=days)
        capsys.readouterr()
        command(copy, "status")
        said = capsys.readouterr().out
        assert ("warning: list of refused certificates" in said) is warned
        assert ("'ghanet-server start' writes it anew" in said) is warned


def test_a_damaged_list_is_not_read(copy: Door) -> None:
    """Nginx would go on with the old one in silence: so the server ends in one clear line."""
    (copy.config.keys / "door.crl").write_text("no list")
    with pytest.raises(DeploymentError, match="nginx refuses the door's settings"):
        copy.reload()


def test_a_list_that_is_gone_is_written_anew(copy: Door) -> None:
    """The server goes on: all that is in it stands in the roster."""
    (copy.config.keys / "door.crl").unlink()
    copy.tend()
    assert (copy.config.keys / "door.crl").exists()
    assert word(copy) == ""
    assert copy.said == []


def kill(door: Door) -> None:
    """End nginx's master without a word."""
    os.kill(int((door.config.state / "door" / "nginx.pid").read_text()), signal.SIGKILL)
    wait_until(lambda: not door.child.running)


def test_a_door_that_closed_by_itself_is_opened_again(copy: Door) -> None:
    """Its master was killed: no worker of before stays, and the new one lets in."""
    kill(copy)
    copy.tend()
    assert word(copy) == ""
    assert copy.said == ["the door closed by itself (see logs/door.log); opening it again"]


def test_a_door_that_does_not_stay_open_ends_the_server(copy: Door) -> None:
    """After three times in a row, in one clear line."""
    for _ in range(REOPENINGS):
        kill(copy)
        copy.tend()
    kill(copy)
    with pytest.raises(DeploymentError, match="the door does not stay open"):
        copy.tend()


def test_the_log_names_hospitals_and_nothing_of_a_message(copy: Door) -> None:
    """Who, when, which path, how it ended; a stranger has no name whatever it claims."""
    status(copy, hospital(copy), body=b"SECRET")
    status(copy, replace(hospital(copy), certificate=None))
    log = copy.config.logs / "door-access.log"
    wait_until(lambda: len(log.read_text().splitlines()) > 1)
    first, second = [line.split() for line in log.read_text().splitlines()[-2:]]
    assert first[2:6] == [SITES[0], "POST", FLEET, "200"]
    assert second[2:6] == ["-", "POST", FLEET, "400"]
    assert "SECRET" not in log.read_text()


def test_the_door_has_no_rights_and_keeps_to_the_folder(opened: Door) -> None:
    """Workers run as nobody where root starts them; pid file and settings are the folder's own."""
    place = opened.config.state / "door"
    assert {"nginx.conf", "nginx.pid", "pairs.map"} <= {path.name for path in place.iterdir()}
    assert str(opened.config.folder) not in (place / "nginx.conf").read_text()
    master = int((place / "nginx.pid").read_text())
    workers = subprocess.run(
        ["ps", "--ppid", str(master), "-o", "euser="], capture_output=True, text=True, check=True
    )
    wanted = "nobody" if os.geteuid() == 0 else os.environ.get("USER", "")
    assert wanted in workers.stdout
    assert "root" not in workers.stdout


def test_nginx_ends_with_the_server(made: Path, behind: Behind, tmp_path: Path) -> None:
    """Even if that is killed: no door is left open that nobody tends."""
    root = Path(shutil.copytree(made, tmp_path / "copy"))
    port = free_port()
    code = (
        "import sys, time; from dataclasses import replace; from pathlib import Path;"
        "from server.config import read_server; from server.door import open_door;"
        f"config = replace(read_server(Path(sys.argv[1])), port={port}, inner_port={behind.port});"
        "open_door(config, print); print('open', flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", code, root / "coordinator"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "open\n"
        process.kill()

    def is_closed() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) != 0

    wait_until(is_closed)


def test_what_is_read_is_noticed(opened: Door, tmp_path: Path) -> None:
    """A list or map that is written anew is another one, also within one second."""
    place = shutil.copytree(opened.config.folder, tmp_path / "coordinator")
    config = read_server(Path(place))
    before = written(config)
    write_list(config.keys, ())
    assert written(config) != before


def test_a_list_that_was_not_written_is_written_by_the_server(copy: Door) -> None:
    """A revocation that failed after the roster was changed cuts off all the same."""
    folder = copy.config.folder
    change_roster(folder, partial(_revoking, name=SITES[0], reason="a test"))
    assert word(copy) == ""
    copy.tend()
    wait_for_word(copy, "FAILED:certificate revoked")


def test_a_list_that_cannot_be_written_is_said_once(copy: Door) -> None:
    """The old one is good for days: the server goes on, and tries again."""
    key = copy.config.keys / "door-ca.key"
    content = key.read_bytes()
    key.write_text("damaged")
    write_roster(copy.config.folder, read_roster(copy.config.folder))
    for _ in range(3):
        copy.tend()
    assert len(copy.said) == 1
    assert copy.said[0].startswith("warning: the list of refused certificates cannot be written")
    assert word(copy) == ""
    key.write_bytes(content)
    before = written(copy.config)
    copy.tend()
    assert written(copy.config) != before
