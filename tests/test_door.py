"""The door: real nginx on the loopback lets in what a hospital needs, and nothing else."""

import shutil
import ssl
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from door_site import (
    FLEET,
    NO_NGINX,
    SITES,
    WHY,
    Behind,
    Visitor,
    connected,
    doors,
    home_of,
    hospital,
    knock,
    listen_behind,
    make_coordinator,
    status,
    visitor,
)

from ghanet_model.door import AUTHORITY, issue, make_door_authority, read_request
from server.config import read_server
from server.door import Door

pytestmark = pytest.mark.skipif(NO_NGINX, reason=WHY)
TEN = (
    "activate-node",
    "deactivate-node",
    "send-node-heartbeat",
    "pull-messages",
    "push-messages",
    "get-run",
    "get-fab",
    "push-object",
    "pull-object",
    "confirm-message-received",
)
CONTROL = (
    "/",
    "/docs",
    "/openapi.json",
    "/redoc",
    "/health",
    "/v1/control/list-runs",
    "/v1/control/start-run",
    "/v1/control/stop-run",
    "/v1/control/list-nodes",
    "/v1/control/register-node",
    "/v1/control/unregister-node",
    "/v1/control/stream-logs",
    "/v1/runtime/acquire-task",
    "/v1/runtime/push-task-output",
    "/v1/fleet",
    "/v1/fleet/",
    "/v1/fleet/register-node",
    "/v1/fleet/unregister-node",
)
TRICKS = (
    "/v1/fleet/../control/start-run",
    "/v1/fleet/pull-messages/../../control/start-run",
    "/v1/control/start-run/../../fleet/pull-messages",
    "/v1/control/start-run%2f..%2f..%2ffleet%2fpull-messages",
    "/v1/fleet/%2e%2e/control/start-run",
    "/v1/fleet%2f..%2fcontrol%2fstart-run",
    "/v1/control/start-run?/../../fleet/pull-messages",
    "/v1/control/start-run#/v1/fleet/pull-messages",
    "/v1/fleet/pull-messages?x=/v1/control/start-run",
    "/v1/fleet/pull-messages#/../../control/start-run",
    "//v1/control/start-run",
    "//v1/fleet/pull-messages",
    "/v1//fleet/pull-messages",
    "/v1/./fleet/pull-messages",
    "/v1/fleet/pull-messages/",
    "/v1/fleet/pull-messages;/v1/control/start-run",
    "/v1/control/start-run;x",
    "/V1/FLEET/PULL-MESSAGES",
    "/v1/Control/Start-Run",
    "/v1/fleet/pull%2dmessages",
    "/v1/fleet/pull-messages%00",
    "/v1/fleet/pull-messages%0a",
    "/v1/fleet/pull-messages%20",
    "/v1\\control\\start-run",
    "https://127.0.0.1/v1/control/start-run",
    "https://127.0.0.1/v1/fleet/pull-messages/../../control/start-run",
)


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


@pytest.mark.parametrize("name", TEN)
def test_the_ten_paths_pass(opened: Door, behind: Behind, name: str) -> None:
    """Letter by letter, with the one key that was looked at."""
    who = hospital(opened)
    assert knock(opened.config.port, who, f"/v1/fleet/{name}", body=b"x").body == "in"
    assert behind.seen[-1] == ("POST", f"/v1/fleet/{name}", [who.node])


@pytest.mark.parametrize("path", [*CONTROL, *TRICKS])
def test_every_other_path_and_spelling_is_refused(opened: Door, behind: Behind, path: str) -> None:
    """404, or 400 where it is no request at all; nothing of it reaches SuperLink."""
    before = len(behind.seen)
    assert status(opened, hospital(opened), path) in ((404,) if path in CONTROL else (404, 400))
    assert len(behind.seen) == before


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "HEAD", "CONNECT"])
def test_another_method_is_refused(opened: Door, behind: Behind, method: str) -> None:
    """405, or 400 for one that only proxies know; never 403, which Flower misreads."""
    before = len(behind.seen)
    assert status(opened, hospital(opened), method=method) in (405, 400)
    assert len(behind.seen) == before


def test_a_body_of_nine_megabytes_is_refused(opened: Door, behind: Behind) -> None:
    """413; one of Flower's largest pieces passes."""
    who, before = hospital(opened), len(behind.seen)
    assert status(opened, who, body=b"\0" * 9_000_000) == 413
    assert len(behind.seen) == before
    assert status(opened, who, body=b"\0" * (5 * 2**20 + 1000)) == 200


def test_without_a_certificate_nobody_gets_in(opened: Door, behind: Behind) -> None:
    """400 for every path, also those that do not exist."""
    before, who = len(behind.seen), replace(hospital(opened), certificate=None)
    for path in (FLEET, "/v1/control/list-runs", "/docs"):
        answer = knock(opened.config.port, who, path)
        assert (answer.status, answer.door) == (400, "NONE")
    assert len(behind.seen) == before


def issued_by(keys: Path, home: Path, into: Path, **options) -> Visitor:
    """A hospital with a certificate of its own key and name, from the authority in ``keys``."""
    request = read_request(home / "keys" / "door.csr", name=home.name)
    into.write_bytes(issue(keys, request, **options))
    return replace(visitor(home), certificate=into)


def test_another_authority_is_refused(opened: Door, tmp_path: Path) -> None:
    """Also one of the very same name; a certificate of the server's authority is none either."""
    make_door_authority(tmp_path, name="G-HANet consortium of 127.0.0.1")
    who = issued_by(tmp_path, home_of(opened, SITES[0]), tmp_path / "foreign.crt")
    answer = knock(opened.config.port, who)
    assert (answer.status, answer.door[:7]) == (400, "FAILED:")
    keys = opened.config.keys
    for end in ("key", "crt"):
        shutil.copy(keys / f"ca.{end}", tmp_path / f"{AUTHORITY}.{end}")
    who = issued_by(tmp_path, home_of(opened, SITES[0]), tmp_path / "server.crt")
    assert knock(opened.config.port, who).status == 400


def test_an_expired_certificate_is_refused(opened: Door, tmp_path: Path) -> None:
    """400, with the reason in the door's word."""
    request = read_request(home_of(opened, SITES[0]) / "keys" / "door.csr", name=SITES[0])
    ended = -1 / 86400  # a second ago; it began five minutes ago
    (tmp_path / "old.crt").write_bytes(issue(opened.config.keys, request, days=ended))
    who = replace(hospital(opened), certificate=tmp_path / "old.crt")
    answer = knock(opened.config.port, who)
    assert (answer.status, answer.door) == (400, "FAILED:certificate has expired")


def test_a_certificate_that_is_not_in_the_roster_is_refused(opened: Door, tmp_path: Path) -> None:
    """Even one of our authority, of the right name and key: its serial is not the one."""
    who = issued_by(opened.config.keys, home_of(opened, SITES[0]), tmp_path / "second.crt")
    answer = knock(opened.config.port, who)
    assert (answer.status, answer.door) == (401, "pair")


@pytest.mark.parametrize("node", ["", "bm9ib2R5", "other"])
def test_another_node_key_is_refused(opened: Door, behind: Behind, node: str) -> None:
    """401: a hospital cannot speak with another's key, an unknown one or none."""
    before = len(behind.seen)
    theirs = hospital(opened, SITES[1]).node
    who = replace(hospital(opened), node=theirs if node == "other" else node)
    answer = knock(opened.config.port, who)
    assert (answer.status, answer.door) == (401, "pair")
    assert len(behind.seen) == before


def test_only_tls_1_3_and_no_resumption(opened: Door) -> None:
    """A resumed session would not be held against the list."""
    who = hospital(opened)
    old = who.context()
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(ssl.SSLError), connected(opened, old):
        pass
    context = who.context()
    with connected(opened, context) as first:
        first.sendall(b"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
        first.recv(4096)
        session = first.session
    with connected(opened, context, session=session) as second:
        assert second.version() == "TLSv1.3"
        assert not second.session_reused
