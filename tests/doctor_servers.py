"""Real servers that are wrong in one way each: TLS with any certificate, proxies, a full queue."""

import datetime as dt
import select
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key


@contextmanager
def tls_server(certificate: Path, key: Path, *, ahead: float | None = 0.0) -> Iterator[int]:
    """A port where HTTPS answers, its Date so many seconds ahead; None: it sends no Date."""

    class Answers(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.send_response(404)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def send_header(self, keyword: str, value: str) -> None:
            if keyword != "Date" or ahead is not None:
                super().send_header(keyword, value)

        def date_time_string(self, timestamp: float | None = None) -> str:
            return super().date_time_string((timestamp or time.time()) + (ahead or 0.0))

        def log_message(self, *_: object) -> None:
            """Nothing."""

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def get_request(self) -> tuple[socket.socket, object]:
            plain, address = super().get_request()
            plain.settimeout(10)
            return context.wrap_socket(plain, server_side=True), address

        def handle_error(self, *_: object) -> None:
            """A client that trusts this server not is no fault of it."""

    with _running(Server(("0.0.0.0", 0), Answers)) as port:
        yield port


@contextmanager
def connect_proxy(*, refuses: bool = False) -> Iterator[tuple[int, list[str]]]:
    """The port of an HTTP proxy, and what it was asked to connect to."""
    asked: list[str] = []

    class Passes(BaseHTTPRequestHandler):
        def do_CONNECT(self) -> None:
            asked.append(self.path)
            if refuses:
                self.send_error(403, "not allowed")
                return
            host, _, port = self.path.rpartition(":")
            with socket.create_connection((host, int(port)), timeout=10) as onward:
                self.send_response(200)
                self.end_headers()
                _copy(self.connection, onward)

        def log_message(self, *_: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Passes)
    server.daemon_threads = True
    with _running(server) as port:
        yield port, asked


def _copy(one: socket.socket, other: socket.socket) -> None:
    ends = {one: other, other: one}
    while True:
        for ready in select.select([*ends], [], [], 30)[0]:
            content = ready.recv(65536)
            if not content:
                return
            ends[ready].sendall(content)


@contextmanager
def _running(server: ThreadingHTTPServer) -> Iterator[int]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join(10)
        server.server_close()


@contextmanager
def silent_port() -> Iterator[int]:
    """A port that answers no connect: the queue of its listener is full, so packets are dropped."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        waiting = [socket.socket() for _ in range(4)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(listener.getsockname())
        try:
            yield listener.getsockname()[1]
        finally:
            for one in waiting:
                one.close()


def with_dates(keys: Path, output: Path, *, begins: float, ends: float) -> Path:
    """The certificate of ``keys`` signed again by their authority, days from now."""
    authority = x509.load_pem_x509_certificate((keys / "ca.crt").read_bytes())
    key = load_pem_private_key((keys / "ca.key").read_bytes(), password=None)
    old = x509.load_pem_x509_certificate((keys / "server.crt").read_bytes())
    now = dt.datetime.now(dt.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(old.subject)
        .issuer_name(authority.subject)
        .public_key(old.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + dt.timedelta(days=begins))
        .not_valid_after(now + dt.timedelta(days=ends))
    )
    for extension in old.extensions:
        builder = builder.add_extension(extension.value, extension.critical)
    output.write_bytes(builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM))
    return output
