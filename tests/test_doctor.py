"""``ghanet-client doctor`` names each fault; SuperLink, TLS servers, proxies and disks are real."""

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import flwr.supernode.node_auth_http_interceptor as signing
import pytest
from doctor_servers import connect_proxy, silent_port, tls_server, with_dates
from flwr.common import constant
from local import CLIENT, LocalConsortium, edit
from support import join, run, write_study

import client.cli
import server.cli
import server.doctor
from client import doctor_key, doctor_network
from client.doctor import examine
from client.doctor_line import AHEAD_SECONDS, BEHIND_SECONDS
from ghanet_model.certificates import make_authority, make_server_certificate
from ghanet_model.doctor import FAIL, OK, WARN, Finding
from ghanet_model.door import issue, make_door_authority, make_request
from ghanet_model.processes import free_port
from server.config import read_server
from server.control import online_nodes

NOBODY = 65534
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def consortium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalConsortium]:
    """A coordinator that serves, and two hospitals; one of them was never enrolled."""
    root = tmp_path_factory.mktemp("doctor")
    with LocalConsortium(root) as found:
        write_study(found.coordinator)
        where = ("--folder", found.coordinator)
        run(server.cli.main, "init", *where, "--host", "127.0.0.1", "--port", free_port())
        edit(found.coordinator / "server.yaml", {"door": "none"})  # with one: test_revocation
        join(root, "hospital-a", role="trains", genes=True)
        shutil.copytree(found.site("hospital-a"), found.site("hospital-x"))
        (found.site("hospital-x") / "keys" / "site_key").unlink()
        invitation = found.coordinator / "invitation.json"
        stranger = ("--folder", found.site("hospital-x"), "--invitation", invitation)
        run(client.cli.main, "init", *stranger)
        found.start_server()
        yield found


@pytest.fixture
def home(consortium: LocalConsortium, tmp_path: Path) -> Path:
    """A hospital's folder that a test may spoil; the coordinator knows its key."""
    return Path(shutil.copytree(consortium.site("hospital-a"), tmp_path / "hospital-a"))


@pytest.fixture
def keys(consortium: LocalConsortium) -> Path:
    """The coordinator's keys."""
    return consortium.coordinator / "keys"


def found_in(home: Path, until: str = "") -> dict[str, Finding]:
    """What the doctor finds, by the check's name; no further than this check."""
    found: dict[str, Finding] = {}
    for finding in examine(home):
        found[finding.name] = finding
        if finding.name == until:
            break
    return found


def states(found: dict[str, Finding], state: str) -> set[str]:
    """Names of the checks with this result."""
    return {name for name, finding in found.items() if finding.state == state}


def serve_at(home: Path, port: int, host: str = "127.0.0.1") -> None:
    """The hospital takes this port for the coordinator's."""
    edit(home / "site.yaml", {"server": f"{host}:{port}"})


def test_a_healthy_site_is_all_ok(consortium: LocalConsortium, tmp_path: Path) -> None:
    """Every line says ok, the exit code is 0, and the JSON holds the same."""
    output = tmp_path / "doctor.json"
    done = consortium.command("hospital-a", CLIENT, "doctor", "--json", str(output))
    assert {line.split()[0] for line in done.stdout.splitlines()} == {OK}
    values = json.loads(output.read_text())
    assert (values["format"], values["side"]) == (1, "hospital")
    lines = [str(Finding(**finding)) for finding in values["findings"]]
    assert lines == [line.rstrip() for line in done.stdout.splitlines()]
    for name in ("certificate", "clock", "key at coordinator", "speed", "features", "memory"):
        assert any(line.startswith(f"ok    {name} ") for line in lines)


def test_json_alone_goes_to_the_screen(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """``--json -`` prints what a program can read, and nothing else; a fault is exit code 1."""
    serve_at(home, free_port())
    assert client.cli.main(["doctor", "--folder", str(home), "--json", "-"]) == 1
    values = json.loads(capsys.readouterr().out)
    failed = [one["name"] for one in values["findings"] if one["state"] == FAIL]
    assert failed == ["port"]


def test_a_wrong_name_is_found(home: Path) -> None:
    """A name that no name server knows; what lies behind it is not looked at."""
    serve_at(home, 443, "coordinator.invalid")
    found = found_in(home)
    assert states(found, FAIL) == {"name"}
    assert "'coordinator.invalid' cannot be resolved" in found["name"].found
    assert "certificate" not in found


def test_a_closed_port_is_found(home: Path) -> None:
    """Nothing listens: the machine answers and refuses."""
    serve_at(home, port := free_port())
    found = found_in(home)
    assert states(found, FAIL) == {"port"}
    assert f"127.0.0.1:{port} refuses connections" in found["port"].found


def test_a_port_that_does_not_answer_is_another_fault(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is sent there is dropped, as firewalls do it."""
    monkeypatch.setattr(doctor_network, "SECONDS", 0.3)
    with silent_port() as port:
        serve_at(home, port)
        found = found_in(home)
    assert states(found, FAIL) == {"port"}
    assert "does not answer" in found["port"].found
    assert "firewall" in found["port"].found


@pytest.mark.parametrize("whole", [True, False])
def test_an_interception_is_found_and_named(*, whole: bool, home: Path, tmp_path: Path) -> None:
    """TLS is ended by somebody else: the subject and the issuer of that authority are said."""
    make_authority(tmp_path, name="Hospital IT inspection")
    make_server_certificate(tmp_path, ["127.0.0.1"])
    chain = tmp_path / "chain.pem"
    authority = (tmp_path / "ca.crt").read_bytes() if whole else b""
    chain.write_bytes((tmp_path / "server.crt").read_bytes() + authority)
    with tls_server(chain, tmp_path / "server.key") as port:
        serve_at(home, port)
        found = found_in(home)
    assert states(found, FAIL) == {"certificate"}
    said, name = found["certificate"].found, "CN=Hospital IT inspection authority"
    sent = f"subject '{name}', issuer '{name}'" if whole else "which sent no certificate"
    assert said.startswith("TLS is opened on the way: ")
    assert f"is signed by '{name}' ({sent}" in said
    assert "key at coordinator" not in found


def test_an_interception_that_is_allowed_is_a_warning(home: Path, tmp_path: Path) -> None:
    """As for 'start': site.yaml names the proxy's authority, and what follows is looked at."""
    make_authority(tmp_path, name="Hospital IT inspection")
    make_server_certificate(tmp_path, ["127.0.0.1"])
    with tls_server(tmp_path / "server.crt", tmp_path / "server.key") as port:
        serve_at(home, port)
        edit(home / "site.yaml", {"extra_authority": str(tmp_path / "ca.crt")})
        found = found_in(home)
    assert found["certificate"].state == WARN
    assert "'CN=Hospital IT inspection authority' (extra_authority)" in found["certificate"].found
    assert found["certificate dates"].state == OK
    assert "clock" in found


def test_a_wrong_authority_in_the_folder_is_found(home: Path, tmp_path: Path) -> None:
    """keys/ca.crt is another consortium's; the server is a coordinator's."""
    make_authority(tmp_path, name="G-HANet consortium of elsewhere.example.org")
    shutil.copy(tmp_path / "ca.crt", home / "keys" / "ca.crt")
    found = found_in(home)
    assert states(found, FAIL) == {"certificate"}
    assert "elsewhere.example.org" in found["certificate"].found
    assert "another consortium" in found["certificate"].to_do


@pytest.mark.parametrize(
    ("days", "state", "words"),
    [
        ((-30, -1), FAIL, "ended on"),
        ((1, 30), FAIL, "begins only on"),
        ((-30, 10), WARN, "9 days left"),
    ],
)
def test_an_expired_certificate_is_found(
    days: tuple[float, float], state: str, words: str, home: Path, keys: Path
) -> None:
    """So is one that has not begun, and one that ends soon is a warning."""
    begins, ends = days
    certificate = with_dates(keys, home / "server.crt", begins=begins, ends=ends)
    with tls_server(certificate, keys / "server.key") as port:
        serve_at(home, port)
        found = found_in(home, until="clock")
    assert found["certificate dates"].state == state
    assert words in found["certificate dates"].found
    assert found["certificate"].state == found["clock"].state == OK


def test_another_host_name_is_found(home: Path, keys: Path) -> None:
    """The certificate is the coordinator's, the address in site.yaml is not in it."""
    with tls_server(keys / "server.crt", keys / "server.key") as port:
        serve_at(home, port, "127.0.0.2")
        found = found_in(home)
    assert states(found, FAIL) == {"host name"}
    assert "is for 127.0.0.1, localhost, site.yaml says 127.0.0.2" in found["host name"].found


@pytest.mark.parametrize(
    ("ahead", "state", "words"),
    [
        (600, FAIL, "s behind the coordinator's"),
        (-600, FAIL, "s ahead of the coordinator's"),
        (60, WARN, "s behind the coordinator's"),
        (None, WARN, "no Date comes"),
    ],
)
def test_a_clock_off_is_found(
    ahead: float | None, state: str, words: str, home: Path, keys: Path
) -> None:
    """By ten minutes is a fault, by one minute behind a warning."""
    with tls_server(keys / "server.crt", keys / "server.key", ahead=ahead) as port:
        serve_at(home, port)
        found = found_in(home, until="clock")
    assert (found["clock"].state, words in found["clock"].found) == (state, True)


def test_flower_takes_signatures_as_the_doctor_says(
    consortium: LocalConsortium, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clock 10 s ahead or 10 minutes behind is refused by SuperLink, one minute behind is not."""
    assert constant.SYSTEM_TIME_TOLERANCE == AHEAD_SECONDS
    assert constant.TIMESTAMP_TOLERANCE == BEHIND_SECONDS
    home, now = consortium.site("hospital-a"), signing.now
    answers = {}
    for seconds in (10, -60, -600):
        monkeypatch.setattr(signing, "now", lambda s=seconds: now() + timedelta(seconds=s))
        answers[seconds] = doctor_key.asked(home)["status"], doctor_key.asked(home)["code"]
    assert answers[10] == answers[-600] == (401, 0)
    assert answers[-60][1] == doctor_network.KNOWN_KEY


def test_an_unregistered_key_is_found(consortium: LocalConsortium) -> None:
    """SuperLink itself says that it does not know the key; all else is well."""
    found = found_in(consortium.site("hospital-x"))
    assert states(found, FAIL) == {"key at coordinator"}
    assert "does not know this hospital's key" in found["key at coordinator"].found


def test_asking_for_the_key_changes_nothing(consortium: LocalConsortium) -> None:
    """The hospital is as it was for Flower: registered, never online."""
    assert doctor_key.asked(consortium.site("hospital-a"))["code"] == doctor_network.KNOWN_KEY
    assert online_nodes(read_server(consortium.coordinator))["hospital-a"].status == "registered"


def test_other_versions_than_approved_are_found(home: Path) -> None:
    """The approval was of another torch: its name and both versions are said."""
    path = home / "approved.json"
    values = json.loads(path.read_text())
    values["software"]["versions"]["torch"] = "2.0.0"
    path.write_text(json.dumps(values))
    found = found_in(home, until="software")
    assert states(found, FAIL) == {"software"}
    assert "torch: 2.0.0 -> " in found["software"].found


def test_a_study_that_is_not_approved_is_found(home: Path) -> None:
    """It changed since the approval."""
    edit(home / "study.yaml", {"rounds": 7})
    found = found_in(home, until="software")
    assert states(found, FAIL) == {"approval"}
    assert found["approval"].found.startswith("another study than")


def fill(path: Path) -> None:
    """Write until the disk is full."""
    with path.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(65536))


@contextmanager
def full_disk(home: Path) -> Iterator[Path]:
    """A copy of the folder on a disk of its own that it fills: a real one, so root only."""
    with tempfile.TemporaryDirectory(prefix="ghanet-") as place:
        command = ["mount", "-t", "tmpfs", "-o", "size=12m", "ghanet-doctor", place]
        if os.geteuid() != 0 or subprocess.run(command, check=False).returncode != 0:
            pytest.skip("a disk of its own needs root and the right to mount")
        try:
            copy = Path(shutil.copytree(home, Path(place) / home.name))
            with pytest.raises(OSError, match="No space left"):
                fill(copy / "filler")
            yield copy
        finally:
            subprocess.run(["umount", place], check=True)


def test_a_full_disk_is_found(home: Path) -> None:
    """Nothing can be written, and how much a round needs is said."""
    serve_at(home, free_port())
    with full_disk(home) as copy:
        found = found_in(copy)
    assert states(found, FAIL) == {"folder", "port", "disk"}
    assert "no space left" in found["folder"].found
    assert found["disk"].found.startswith("0.0 MB free")


def test_a_nearly_full_disk_is_found(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no disk can be made: the system's answer is replaced, 100 MB are free."""
    real = os.statvfs(home)
    blocks = 100_000_000 // real.f_frsize
    values = [blocks if field == 4 else value for field, value in enumerate(real)]
    monkeypatch.setattr(os, "statvfs", lambda _: os.statvfs_result(values))
    serve_at(home, free_port())
    assert states(found_in(home), FAIL) == {"port", "disk"}


def as_other_user(home: Path, uid: int) -> dict[str, Finding]:
    """What the doctor finds when this user runs it; the process is forked, then it is that user."""
    reading, writing = os.pipe()
    if (child := os.fork()) == 0:
        try:
            os.setgroups([])
            os.setgid(uid)
            os.setuid(uid)
            lines = [[f.name, f.state, f.found, f.to_do] for f in examine(home)]
            os.write(writing, json.dumps(lines).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as file:
        found = [Finding(*line) for line in json.loads(file.read())]
    os.waitpid(child, 0)
    return {finding.name: finding for finding in found}


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user, which root alone can")
def test_unreadable_features_are_found(home: Path) -> None:
    """Files of another user, closed to this one: who may read and who asked are said."""
    serve_at(home, free_port())  # the fork sends nothing
    with tempfile.TemporaryDirectory(prefix="ghanet-") as place:
        Path(place).chmod(0o755)
        copy = Path(shutil.copytree(home, Path(place) / "hospital-a"))
        for path in [copy, *copy.rglob("*")]:
            os.chown(path, NOBODY, NOBODY)
        closed = sorted((copy / "features").rglob("*.h5"))[:3]
        for path in closed:
            os.chown(path, 0, 0)
            path.chmod(0o600)
        found = as_other_user(copy, NOBODY)
    assert states(found, FAIL) == {"port", "features"}
    assert found["features"].found.startswith("3 of 3")
    assert "uid 65534 (gid 65534) cannot read a file that has mode 0600, uid 0" in (
        found["features"].found
    )
    assert not any(path.stem in str(found) for path in closed)


def test_missing_features_are_found(home: Path) -> None:
    """A file that is gone; its slide is called by its row."""
    next((home / "features").rglob("*.h5")).unlink()
    serve_at(home, free_port())
    found = found_in(home, until="features")
    assert "1 cannot be used, first: features of slides.csv row" in found["features"].found


def test_a_proxy_is_used_and_said(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """HTTPS_PROXY is in effect: every check goes through it, its password is never said."""
    with connect_proxy() as (port, asked):
        monkeypatch.setenv("HTTPS_PROXY", f"http://user:hidden@127.0.0.1:{port}")
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        found = found_in(home)
    assert states(found, FAIL) == set()
    assert f"HTTPS_PROXY is used; http://127.0.0.1:{port} passes CONNECT" in found["proxy"].found
    assert found["key at coordinator"].state == OK
    assert len(set(asked)) == 1
    assert len(asked) >= 5
    assert "hidden" not in str(found)


def test_a_proxy_that_refuses_is_found(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It answers CONNECT with 403."""
    monkeypatch.setenv("HTTPS_PROXY", "")
    with connect_proxy(refuses=True) as (port, _):
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{port}")
        monkeypatch.setenv("NO_PROXY", "elsewhere.example.org")
        found = found_in(home)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        bypassed = next(one for one in examine(home) if one.name == "proxy")
    assert states(found, FAIL) == {"proxy"}
    assert "refuses CONNECT" in found["proxy"].found
    assert "403" in found["proxy"].found
    assert bypassed.found == "NO_PROXY names the coordinator: no proxy is used"


def test_open_keys_are_found(home: Path) -> None:
    """A private key that others can read."""
    (home / "keys" / "site_key").chmod(0o644)
    found = found_in(home, until="keys")
    assert "has mode 0644" in found["keys"].found
    assert found["keys"].to_do.startswith("chmod 600 ")


def test_a_door_certificate_is_looked_at(home: Path, keys: Path, tmp_path: Path) -> None:
    """If there is one: of another key is a fault, ended too; none is needed without a door."""
    door = {"until": "approval"}
    assert found_in(home, **door)["door certificate"].found.startswith("none: needed where")
    make_door_authority(tmp_path, name="door of tests")
    request = make_request(home / "keys", name="hospital-a")
    (home / "keys" / "door.crt").write_bytes(issue(tmp_path, request))
    assert found_in(home, **door)["door certificate"].state == OK
    (home / "keys" / "door.crt").write_bytes(issue(tmp_path, request, days=-1 / 86400))
    assert found_in(home, **door)["door certificate"].state == FAIL
    shutil.copy(keys / "ca.key", home / "keys" / "door.key")
    assert "is not of the key" in found_in(home, **door)["door certificate"].found


def test_what_speaks_no_tls_is_found(home: Path) -> None:
    """An HTTP proxy at the coordinator's port."""
    with connect_proxy() as (port, _):
        serve_at(home, port)
        found = found_in(home)
    assert states(found, FAIL) == {"certificate"}
    assert "no TLS" in found["certificate"].found


def test_settings_that_cannot_be_read_are_one_line(home: Path) -> None:
    """Nothing else can be looked at then."""
    (home / "site.yaml").write_text("format: 1\n")
    assert [finding.state for finding in examine(home)] == [FAIL]


def test_a_coordinator_that_serves_has_no_fault(consortium: LocalConsortium) -> None:
    """The hospital that never came is a warning."""
    found = {finding.name: finding for finding in server.doctor.examine(consortium.coordinator)}
    assert states(found, FAIL) == set()
    assert found["port"].found.startswith("SuperLink answers at 127.0.0.1:")
    assert found["hospitals"].state == WARN
    assert found["hospitals"].found == "hospital-a registered, never seen"
