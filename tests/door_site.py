"""A door on the loopback: real nginx with real certificates, before a TLS server that listens."""

import http.client
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from support import edit, run, write_study

import client.cli
import server.cli
from ghanet_model.door import KEY_HEADER, key_header
from ghanet_model.files import write_atomic
from ghanet_model.processes import free_port
from server.config import PORT_FILE, ServerConfig, read_server
from server.door import Door, find_nginx, open_door

NO_NGINX = find_nginx() is None
WHY = "needs nginx (Debian: apt install nginx-light)"
FLEET = "/v1/fleet/pull-messages"
SITES = ("hospital-a", "hospital-b")


def make_coordinator(root: Path) -> ServerConfig:
    """A coordinator with a door and two hospitals with certificates; nothing runs."""
    folder = root / "coordinator"
    write_study(folder)
    run(server.cli.main, "init", "--folder", folder, "--host", "127.0.0.1", "--port", free_port())
    edit(folder / "server.yaml", {"door": "nginx"})
    for name in SITES:
        join_with_certificate(root, name)
    return read_server(folder)


def join_with_certificate(root: Path, name: str) -> None:
    """A hospital asks for a certificate, is enrolled and puts it into place."""
    home, folder = root / name, root / "coordinator"
    invitation, keys = folder / "invitation.json", home / "keys"
    run(client.cli.main, "init", "--folder", home, "--name", name, "--invitation", invitation)
    options = ["--role", "infers", "--cases", 30, "--request", keys / "door.csr"]
    run(server.cli.main, "enrol", name, keys / "site_key.pub", "--folder", folder, *options)
    issued = folder / "certificates" / f"{name}.crt"
    run(client.cli.main, "certificate", issued, "--folder", home)


@dataclass
class Behind:
    """What stands where SuperLink would: it notes what reaches it and answers 'in'."""

    server: ThreadingHTTPServer
    seen: list[tuple[str, str, list[str]]] = field(default_factory=list)  # method, path, keys

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.server.server_address[1])


def listen_behind(keys: Path) -> Behind:
    """Start it, with the coordinator's server certificate."""
    found: Behind

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            keys_sent = self.headers.get_all(KEY_HEADER) or []
            found.seen.append((self.command, self.path, keys_sent))
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"in")

        do_POST = do_GET = do_PUT = answer  # noqa: N815 - names of http.server

        def log_message(self, *_: object) -> None:
            pass

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(keys / "server.crt", keys / "server.key")
    listening.socket = context.wrap_socket(listening.socket, server_side=True)
    found = Behind(listening)
    threading.Thread(target=listening.serve_forever, daemon=True).start()
    return found


@dataclass(frozen=True)
class Visitor:
    """Who knocks: with a certificate and its key, or without, and with a node key's name."""

    authority: Path
    certificate: Path | None
    key: Path | None
    node: str  # the header

    def context(self) -> ssl.SSLContext:
        """TLS as it does it."""
        context = ssl.create_default_context(cafile=str(self.authority))
        if self.certificate:
            context.load_cert_chain(self.certificate, self.key)
        return context


def visitor(home: Path, node: Path | None = None) -> Visitor:
    """A hospital, perhaps with another one's node key."""
    keys = home / "keys"
    public = ((node or home) / "keys" / "site_key.pub").read_text()
    return Visitor(keys / "ca.crt", keys / "door.crt", keys / "door.key", key_header(public))


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    door: str  # the door's own word
    body: str


def knock(
    port: int, who: Visitor, path: str = FLEET, *, method: str = "POST", body: bytes = b""
) -> Answer:
    """One request in one connection; the path goes out as it is written."""
    connection = http.client.HTTPSConnection("127.0.0.1", port, context=who.context(), timeout=20)
    connection._validate_path = lambda _: None  # a hostile client checks nothing
    try:
        connection.putrequest(method, path, skip_accept_encoding=True)
        connection.putheader(KEY_HEADER, who.node)
        connection.putheader("Content-Length", str(len(body)))
        with suppress(BrokenPipeError, ConnectionResetError, ssl.SSLError):
            connection.endheaders(body)  # may be refused before all of the body was sent
        found = connection.getresponse()
        return Answer(found.status, found.getheader("GHANet-Door", ""), found.read().decode())
    finally:
        connection.close()


def doors(config: ServerConfig, behind: Behind) -> Iterator[Door]:
    """Open a door, then close it; for commands there is no SuperLink."""
    write_atomic(config.state / PORT_FILE, b"1")
    said: list[str] = []
    door = open_door(replace(config, inner_port=behind.port), said.append)
    door.said = said
    yield door
    door.close()


def home_of(door: Door, name: str) -> Path:
    """A hospital's folder beside the coordinator's."""
    return door.config.folder.parent / name


def hospital(door: Door, name: str = SITES[0]) -> Visitor:
    """A hospital in good standing."""
    return visitor(home_of(door, name))


def wait_until(known: Callable[[], bool], seconds: float = 30) -> None:
    """Wait until something is so."""
    end = time.monotonic() + seconds
    while not known():
        assert time.monotonic() < end
        time.sleep(0.05)


def word(door: Door, name: str = SITES[0]) -> str:
    """What the door says to a hospital; empty where it lets it in."""
    return knock(door.config.port, hospital(door, name)).door


def wait_for_word(door: Door, wanted: str) -> None:
    """Until every worker of nginx says so: for a moment after a reload old ones accept too."""
    wait_until(lambda: all(word(door) == wanted for _ in range(8)))


def status(door: Door, who: Visitor, path: str = FLEET, **options) -> int:
    """The status that a request gets."""
    return knock(door.config.port, who, path, **options).status


def command(door: Door, *arguments: object) -> None:
    """A command of the coordinator."""
    run(server.cli.main, *arguments, "--folder", door.config.folder)


def connected(door: Door, context: ssl.SSLContext, **options) -> ssl.SSLSocket:
    """A connection that says nothing yet."""
    plain = socket.create_connection(("127.0.0.1", door.config.port), timeout=10)
    return context.wrap_socket(plain, server_hostname="127.0.0.1", **options)
