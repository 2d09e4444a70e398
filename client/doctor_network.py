"""The doctor's look at the way to the coordinator: its name, a proxy, the port, and the key there.

Sends a TCP connect, a proxy's CONNECT, and one question of Flower's that changes nothing.
"""

import http.client
import json
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator

from ghanet_model.doctor import Finding, fail, ok, warn
from ghanet_model.errors import DeploymentError
from ghanet_model.processes import flower_environment

from .config import FOLDER_VARIABLE, SiteConfig
from .door import refusal_for
from .proxy import Proxy, find_proxy, place

SECONDS = 5.0  # a packet that a firewall drops is not answered at all
KEY_SECONDS = 60.0  # to load Flower and ask
UNKNOWN_KEY, KNOWN_KEY = 2004, 2003  # Flower's codes: not activated; interval refused
NAME, PROXY, PORT, KEY = "name", "proxy", "port", "key at coordinator"


class NoWayError(Exception):
    """The coordinator cannot be reached; ``finding`` says where the way ends."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(finding.found)
        self.finding = finding


def proxy_to(server: str) -> Proxy | None:
    """The proxy on the way to a server, or None.

    Raises:
        NoWayError: what is named there is none that can be used.
    """
    try:
        return find_proxy(server)
    except DeploymentError as error:
        raise NoWayError(fail(PROXY, str(error), error.hint)) from None


def way_to(server: str) -> Iterator[Finding]:
    """Name, proxy and port, as far as the way goes.

    Raises:
        NoWayError: where it ends.
    """
    proxy = proxy_to(server)
    yield _name(server, proxy)
    if proxy is None:
        unused = [key for key in ("https", "all") if urllib.request.getproxies().get(key)]
        said = "NO_PROXY names the coordinator: no proxy is used" if unused else "none is set"
        yield ok(PROXY, said)
    reach(server, proxy).close()
    if proxy is not None:
        yield ok(PROXY, f"{proxy.variable} is used; {proxy.address} passes CONNECT to {server}")
        yield ok(PORT, f"{server} is connected to by the proxy")
    else:
        yield ok(PORT, f"{server} is open")


def _name(server: str, proxy: Proxy | None) -> Finding:
    """What the name of the coordinator stands for."""
    host, port = place(server)
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        again = error.errno == socket.EAI_AGAIN
        why = "no name server answers" if again else "no name server knows it"
        what = f"'{host}' cannot be resolved: {why}"
        if proxy is not None:
            return warn(NAME, what, f"none if {proxy.address} resolves it, see 'proxy'")
        to_do = "check this machine's DNS" if again else "check 'server' in site.yaml, then DNS"
        raise NoWayError(fail(NAME, what, to_do)) from None
    addresses = list(dict.fromkeys(str(one[4][0]) for one in found))
    if addresses == [host]:
        return ok(NAME, f"{host} is an address")
    return ok(NAME, f"{host} is {', '.join(addresses)}")


def reach(server: str, proxy: Proxy | None) -> socket.socket:
    """A connection to the coordinator, through the proxy where there is one.

    Raises:
        NoWayError: says what happened instead.
    """
    host, port = place(server)
    if proxy is not None:
        return _tunnel(host, port, proxy)
    try:
        return socket.create_connection((host, port), timeout=SECONDS)
    except OSError as error:
        raise NoWayError(fail(PORT, *_why(error, server))) from None


def _why(error: OSError, address: str) -> tuple[str, str]:
    """What happened to a connect, and what to do: refused and not answered are two things."""
    if isinstance(error, ConnectionRefusedError):
        what = f"{address} refuses connections: that machine answers, nothing listens there"
        return what, "ask the coordinator whether the server runs; check the port"
    if isinstance(error, TimeoutError):
        what = f"{address} does not answer in {SECONDS:.0f} s: a firewall drops what is sent there"
        return what, "ask your IT to let this machine out to that address and port"
    if isinstance(error, socket.gaierror):
        return f"{address} cannot be resolved", "check the name, then this machine's DNS"
    why = (error.strerror or str(error) or type(error).__name__).lower()
    return f"no way to {address} ({why})", "check this machine's routes and firewall"


def _tunnel(host: str, port: int, proxy: Proxy) -> socket.socket:
    """What CONNECT through a proxy gives."""
    connection = http.client.HTTPConnection(proxy.host, proxy.port, timeout=SECONDS)
    connection.set_tunnel(host, port, proxy.headers)
    try:
        connection.connect()
    except OSError as error:
        connection.close()
        said = str(error)
        if said.startswith("Tunnel connection failed"):
            what = f"{proxy.address} of {proxy.variable} refuses CONNECT to {host}:{port} ({said})"
            to_do = f"ask your IT to allow it there, or name {host} in NO_PROXY"
        else:
            what, to_do = _why(error, f"{proxy.address} of {proxy.variable}")
        raise NoWayError(fail(PROXY, what, to_do)) from None
    except http.client.HTTPException:
        connection.close()
        what = f"{proxy.address} of {proxy.variable} does not answer as a proxy"
        raise NoWayError(fail(PROXY, what, f"check {proxy.variable}")) from None
    return connection.sock


def key_at_coordinator(config: SiteConfig) -> Iterator[Finding]:
    """Whether the coordinator knows this hospital's key; asked by Flower's own client."""
    home = config.folder / "state" / "flower"
    environment = flower_environment(home, **{FOLDER_VARIABLE: str(config.folder)})
    if proxy := proxy_to(config.server):  # where Flower's other programs get none
        environment["HTTPS_PROXY"] = proxy.url
    try:
        done = subprocess.run(
            [sys.executable, "-m", "client.doctor_key"],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
            stdin=subprocess.DEVNULL,
            timeout=KEY_SECONDS,
        )
        said = json.loads(done.stdout.splitlines()[-1])
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        what = "cannot be told before connecting: Flower's client did not run"
        yield warn(KEY, what, "ghanet-client start")
        return
    yield key_finding(config.server, **said)


def key_finding(server: str, *, status: int, code: int, door: str, why: str) -> Finding:
    """What the coordinator's answer says of this hospital's key."""
    if code == KNOWN_KEY:
        return ok(KEY, f"{server} knows this hospital's key and takes its signature")
    if code == UNKNOWN_KEY:
        to_do = "send keys/site_key.pub to the coordinator and ask to be enrolled"
        return fail(KEY, f"{server} does not know this hospital's key", to_do)
    if refusal := refusal_for(door):
        return fail(KEY, refusal.what, refusal.hint)
    if status == 401:
        what = f"{server} does not take this hospital's signature"
        return fail(KEY, what, "see 'clock': a signature is good for a few minutes only")
    said = why or f"the answer was HTTP {status}, code {code}"
    return warn(KEY, f"cannot be told before connecting: {said}", "ghanet-client start")
