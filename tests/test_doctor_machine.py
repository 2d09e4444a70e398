"""What the doctor says of a machine; a fault that this one has not is put in its place."""

import os
import resource
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from local import edit
from support import run, write_site, write_study

import ghanet_model.doctor as shared
import server.cli
from client import doctor_machine as machine
from client.config import read_site
from client.doctor_line import clock_finding, speed_finding
from client.doctor_network import key_finding
from client.doctor_site import app_user
from ghanet_model.certificates import make_server_certificate
from ghanet_model.doctor import FAIL, OK, WARN, Finding, examined, free_memory
from ghanet_model.errors import KeysError
from ghanet_model.processes import free_port
from ghanet_model.study import read_study
from server import doctor_machine as server_machine
from server.config import read_server
from server.doctor import examine


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A hospital's folder."""
    return write_site(tmp_path_factory.mktemp("site") / "hospital")


@pytest.mark.parametrize(
    ("said", "built", "words"),
    [
        ("The NVIDIA driver on your system is too old (found version 11040)", "12.8", "too old"),
        ("Torch not compiled with CUDA enabled", None, "made for CPUs only"),
        ("No CUDA GPUs are available", "12.8", "no NVIDIA driver is loaded"),
    ],
)
def test_why_a_gpu_does_not_compute(
    said: str, built: str | None, words: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A driver that is too old, a torch without CUDA and no driver are three faults."""
    monkeypatch.setattr(torch.version, "cuda", built)
    monkeypatch.setattr(machine, "NVIDIA_DRIVER", tmp_path / "none")
    what, to_do = machine.why_no_device("cuda", "float32", said)
    assert words in what
    assert to_do


def test_a_device_that_is_not_there_is_found(home: Path) -> None:
    """Torch itself refuses the card with number 99."""
    config, study = read_site(home), read_study(home)
    edit(home / "site.yaml", {"device": "cuda:99"})
    found = list(machine.device(read_site(home), study))
    edit(home / "site.yaml", {"device": "cpu"})
    assert [one.state for one in found] == [FAIL]
    assert [one.state for one in machine.device(config, study)] == [OK]


def test_memory_is_compared_with_the_largest_bag(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Too little for the work is a fault; enough for it but not for the cache is a warning."""
    config, study = read_site(home), read_study(home)
    states = {}
    for free in (10**9, 3 * 10**9, 10**10):
        monkeypatch.setattr(machine, "free_memory", lambda free=free: (free, "this machine"))
        states[free] = [one.state for one in machine.memory(config, study, 1000)]
    assert states == {10**9: [FAIL], 3 * 10**9: [WARN], 10**10: [OK]}
    monkeypatch.setattr(machine, "free_memory", lambda: (2 * 10**9, "this machine"))
    assert next(machine.memory(config, study, 2_000_000)).state == FAIL


def test_a_containers_limit_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The least of what the machine has free and what the container may still take."""
    most, used = tmp_path / "memory.max", tmp_path / "memory.current"
    monkeypatch.setattr(shared, "GROUP_LIMITS", ((most, used, "inactive_file"),))
    assert free_memory()[1] == "this machine"
    most.write_text("5000\n")
    used.write_text("2000\n")
    assert free_memory() == (3000, "this container")
    (tmp_path / "memory.stat").write_text("anon 1500\ninactive_file 400\n")
    assert free_memory() == (3400, "this container")
    most.write_text("max\n")
    assert free_memory()[1] == "this machine"


def test_little_shared_memory_is_a_warning(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """So is none at all."""
    assert next(machine.shared_memory()).state in {OK, WARN}
    monkeypatch.setattr(machine, "SHARED_FOLDER", tmp_path / "none")
    assert next(machine.shared_memory()).state == WARN


@pytest.mark.parametrize(
    ("ahead", "state"),
    [(0.0, OK), (-20, OK), (-31, WARN), (-301, FAIL), (2.0, OK), (5.0, WARN), (7.0, FAIL)],
)
def test_the_clock_may_be_behind_more_than_ahead(ahead: float, state: str) -> None:
    """As Flower takes signatures."""
    assert clock_finding(ahead).state == state


def test_a_slow_line_is_a_warning_and_a_small_page_no_measure() -> None:
    """A tenth of a round for the weights is much; what was not measured is not said."""
    slow = speed_finding(60_000_000, 10, page=30_000, rate=500_000)
    assert (slow.state, "120.0 s or less" in slow.found) == (WARN, True)
    small = speed_finding(60_000_000, 10, page=9, rate=0.0)
    assert (small.state, "not measured" in small.found) == (OK, True)


@pytest.mark.parametrize(
    ("answer", "state", "words"),
    [
        ((400, 2003, "", ""), OK, "knows this hospital's key"),
        ((400, 2004, "", ""), FAIL, "does not know"),
        ((401, 0, "", ""), FAIL, "signature"),
        ((400, 0, "FAILED:certificate revoked", ""), FAIL, "certificate was revoked"),
        ((404, 0, "", ""), WARN, "cannot be told before connecting"),
        ((0, 0, "", "timed out"), WARN, "timed out"),
    ],
)
def test_what_the_coordinator_says_of_a_key(
    answer: tuple[int, int, str, str], state: str, words: str
) -> None:
    """What cannot be told is a warning, not a fault."""
    status, code, door, why = answer
    found = key_finding("host:1", status=status, code=code, door=door, why=why)
    assert (found.state, words in found.found) == (state, True)


def test_an_error_of_a_check_is_a_finding() -> None:
    """Of ours with its hint, of the system with its file; nothing else is caught."""

    def of_ours() -> Iterator[Finding]:
        raise KeysError("no key", hint="make one")
        yield

    def of_the_system() -> Iterator[Finding]:
        yield shared.ok("x", Path("/no/such/file").read_text())

    assert list(examined("x", of_ours)) == [Finding("x", FAIL, "no key", "make one")]
    assert "no such file or directory: /no/such/file" in str(next(examined("x", of_the_system)))


def test_an_app_user_who_is_nobody_is_found(home: Path) -> None:
    """The account is looked up; as another user than root that cannot be done."""
    edit(home / "site.yaml", {"app_user": "no-such-user"})
    found = list(examined("app user", lambda: app_user(read_site(home))))
    edit(home / "site.yaml", {"app_user": None})
    assert [one.state for one in found] == [FAIL if os.geteuid() == 0 else WARN]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A coordinator's folder; nothing serves."""
    write_study(tmp_path / "coordinator")
    place = ("--folder", tmp_path / "coordinator")
    run(server.cli.main, "init", *place, "--host", "127.0.0.1", "--port", free_port())
    return tmp_path / "coordinator"


def faults(folder: Path) -> dict[str, str]:
    """What is a fault, by the check's name."""
    return {one.name: one.found for one in examine(folder) if one.state == FAIL}


def test_each_fault_of_a_coordinator_is_found(folder: Path) -> None:
    """A port that somebody else has, open keys, a file from the future, an ended certificate."""
    before = {one.name: one.state for one in examine(folder)}
    assert FAIL not in before.values()
    assert (before["port"], before["roster"]) == (WARN, WARN)
    config = read_server(folder)
    (config.keys / "release.key").chmod(0o640)
    future = folder / "roster.json"
    future.write_text('{"format": 1, "members": []}')
    os.utime(future, (4e9, 4e9))
    with socket.create_server((config.listen, config.port)):
        found = faults(folder)
    assert set(found) == {"keys", "clock", "port"}
    assert "from the future" in found["clock"]
    assert "not our server's" in found["port"]


def test_another_server_certificate_is_found(folder: Path) -> None:
    """It names other hosts than server.yaml."""
    make_server_certificate(folder / "keys", ["elsewhere.example.org"])
    edit(folder / "server.yaml", {"host": "coordinator.example.org"})
    assert set(faults(folder)) == {"host name"}


def test_a_study_or_key_that_is_missing_is_found(folder: Path) -> None:
    """Each is one line."""
    (folder / "study.yaml").unlink()
    (folder / "keys" / "release.key").unlink()
    assert {"study", "keys"} <= set(faults(folder))


def test_an_open_superlink_is_a_warning(folder: Path) -> None:
    """Without a proxy in front everybody can start runs; that is said."""
    edit(folder / "server.yaml", {"listen": "0.0.0.0", "door": "none"})
    found = {one.name: one for one in examine(folder)}
    assert found["exposure"].state == WARN
    assert "without a password" in found["exposure"].found


def test_few_open_files_are_found() -> None:
    """256 do not do for a hundred hospitals; this process's own limit is lowered and put back."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, limits[1]))
    try:
        found = next(server_machine.open_files(100))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert (found.state, found.found[:20]) == (FAIL, "256 may be open, 105")


def test_the_coordinators_disk_and_memory_grow_with_hospitals(folder: Path) -> None:
    """More hospitals need more."""
    config, study = read_server(folder), read_study(folder)
    few, many = (next(server_machine.disk_room(config, study, n)).found for n in (2, 2000))
    assert few.split("needs")[1] != many.split("needs")[1]
    assert next(server_machine.memory(study, 10**6)).state == FAIL
