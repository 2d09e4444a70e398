"""Who may see the viewer: its own host names and token; its pages load nothing from elsewhere.

It stands before every route, so that none can be forgotten.
"""

import ipaddress
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field

from starlette.requests import HTTPConnection
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOOPBACK = ("127.0.0.1", "localhost", "::1")
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; frame-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
REPORT_POLICY = (  # of a report, which brings its style and pictures with it
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'self'; sandbox"
)
_HOST = re.compile(r"(?:\[([0-9a-f:.]+)\]|([^\[\]:]+))(?::[0-9]{0,5})?")
HEADERS = {  # of every answer
    "Cache-Control": "no-store",
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
SHUT = "open the link that 'ghanet-client view' printed when it was started\n"
ENTERED = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta http-equiv="refresh" content="0; url=/">
<link rel="icon" href="data:,"><title>Slide viewer</title></head>
<body><p><a href="/">To the slides</a></p></body></html>
"""


@dataclass(frozen=True, slots=True)
class Door:
    """Who is let in."""

    hosts: frozenset[str]  # names by which browsers may call it
    token: str = field(repr=False)
    cookie: str  # its name
    numeric: bool = False  # any numeric address too, as where all of them are listened to

    @classmethod
    def of(cls, host: str, port: int, *, names: Iterable[str] = ()) -> "Door":
        """A door with a new token for a server that listens at ``host``.

        Args:
            host: address; 0.0.0.0 and :: are all.
            port: of the server, so that two on one machine keep their cookies apart.
            names: of this machine, where all addresses are listened to.
        """
        known = {name.lower() for name in (*LOOPBACK, host, *names) if name}
        token = secrets.token_urlsafe(32)
        return cls(frozenset(known), token, f"ghanet_view_{port}", listens_to_all(host))

    def is_called(self, host: str) -> bool:
        """Whether a Host header means this server; its port may be a tunnel's."""
        parts = _HOST.fullmatch(host.lower())
        name = (parts[1] or parts[2]) if parts else ""
        return name in self.hosts or (self.numeric and _is_address(name))

    def knows(self, token: str) -> bool:
        """Compare in constant time."""
        return secrets.compare_digest(token.encode("utf-8", "replace"), self.token.encode())


def listens_to_all(host: str) -> bool:
    """Whether an address stands for all of a machine's.

    >>> listens_to_all("0.0.0.0"), listens_to_all("127.0.0.1")
    (True, False)
    """
    return _is_address(host) and ipaddress.ip_address(host).is_unspecified


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address.

    >>> is_loopback("127.0.0.1"), is_loopback("0.0.0.0")
    (True, False)
    """
    return host == "localhost" or (_is_address(host) and ipaddress.ip_address(host).is_loopback)


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


class Guard:
    """Looks at every request before anything else does, and writes the headers of every answer."""

    def __init__(self, app: ASGIApp, door: Door) -> None:
        self._app = app
        self._door = door

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or pass on."""
        if scope["type"] != "http":
            return  # no websockets, no lifespan

        async def sealed(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": _with_headers(message["headers"])}
            await send(message)

        answer = self._refusal(scope)
        await (answer or self._app)(scope, receive, sealed)

    def _refusal(self, scope: Scope) -> Response | None:
        """What is said to those who are not let in; None: let in."""
        asked = HTTPConnection(scope)  # its cookies are read one by one: others' may be odd
        if not self._door.is_called(asked.headers.get("host", "")):
            return PlainTextResponse("this server has another name\n", status_code=421)
        if scope["method"] not in ("GET", "HEAD"):
            return PlainTextResponse("there is only something to see here\n", status_code=405)
        if scope["path"] == "/" and "token" in asked.query_params:
            return self._entered(asked.query_params["token"])
        if self._door.knows(asked.cookies.get(self._door.cookie, "")):
            return None
        return PlainTextResponse(SHUT, status_code=403)

    def _entered(self, token: str) -> Response:
        """A page that goes on by itself: a strict cookie follows no redirect from elsewhere."""
        if not self._door.knows(token):
            return PlainTextResponse(SHUT, status_code=403)
        answer = HTMLResponse(ENTERED)
        answer.set_cookie(self._door.cookie, token, httponly=True, samesite="strict")
        return answer


def _with_headers(given: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """An answer's own headers go before ours."""
    kept = [(key.lower(), value) for key, value in given]
    names = {key for key, _ in kept}
    ours = ((key.lower().encode(), value.encode()) for key, value in HEADERS.items())
    return [*kept, *((key, value) for key, value in ours if key not in names)]
