"""The doctor's look at the line: this machine's clock against the coordinator's, and the speed.

Sends HTTP GETs to the coordinator's own address. What was not measured is not said.
"""

import datetime as dt
import email.utils
import http.client
import ssl
import time
from collections.abc import Iterator
from contextlib import closing

from cryptography import x509

from ghanet_model.doctor import Finding, fail, ok, size, warn

from .config import SiteConfig
from .doctor_tls import Shown, believing, believing_nothing, secured
from .proxy import place

CLOCK, SPEED = "clock", "speed"
# Flower takes a signature from 5 s in its future to 305 s in its past (node_auth.py of 1.41.0)
AHEAD_SECONDS, BEHIND_SECONDS = 5.0, 300.0
ROUGH_SECONDS, WARN_BEHIND = 1.5, 30.0  # a Date has whole seconds, and may be a second old
PAGE = "/openapi.json"  # the largest page that SuperLink gives to anybody; a door gives none
LEAST_PAGE, PAGES, MOST_BYTES, MOST_SECONDS = 20_000, 30, 20_000_000, 4.0


def get(secure: ssl.SSLSocket, host: str, path: str) -> tuple[http.client.HTTPResponse, int]:
    """The answer to a GET and the bytes of its body; the connection stays open."""
    connection = http.client.HTTPConnection(host)
    connection.sock = secure
    connection.request("GET", path, headers={"Accept-Encoding": "identity"})
    answer = connection.getresponse()
    return answer, len(answer.read(MOST_BYTES))


def clock(config: SiteConfig, shown: Shown) -> Iterator[Finding]:
    """This machine's clock against the coordinator's, by the Date of an answer."""
    host, _ = place(config.server)
    context = believing_nothing(config.folder / "keys")  # the dates may be what is wrong
    with closing(secured(config, context)) as secure:
        before = time.time()
        try:
            answer, _ = get(secure, host, "/")
            date = email.utils.parsedate_to_datetime(answer.getheader("Date", ""))
        except (http.client.HTTPException, ValueError, TypeError):
            yield _clock_by_certificate(shown.chain[0])
            return
    if date.tzinfo is None:
        date = date.replace(tzinfo=dt.UTC)
    # the header has whole seconds, rounded down, of a moment between question and answer
    yield clock_finding((before + time.time()) / 2 - date.timestamp() - 0.5)


def clock_finding(ahead: float) -> Finding:
    """What an offset in seconds means; negative: this machine's clock is behind."""
    side = "ahead of" if ahead > 0 else "behind"
    what = f"{abs(ahead):.0f} s {side} the coordinator's"
    why = f"{what}; Flower takes {AHEAD_SECONDS:.0f} s ahead and {BEHIND_SECONDS:.0f} s behind"
    to_do = "set this machine's clock, by NTP if you can; if it is right, tell the coordinator"
    if ahead > AHEAD_SECONDS + ROUGH_SECONDS or ahead < -BEHIND_SECONDS:
        return fail(CLOCK, why, to_do)
    if ahead > AHEAD_SECONDS - ROUGH_SECONDS or ahead < -WARN_BEHIND:
        return warn(CLOCK, why, to_do)
    return ok(CLOCK, "as the coordinator's" if abs(ahead) <= ROUGH_SECONDS else what)


def _clock_by_certificate(server: x509.Certificate) -> Finding:
    """Without a Date only a clock before the certificate's beginning can be told."""
    begins, now = server.not_valid_before_utc, dt.datetime.now(dt.UTC)
    if now < begins:
        what = f"{(begins - now).total_seconds():.0f} s or more behind the coordinator's"
        return fail(CLOCK, what, "set this machine's clock")
    what = f"no Date comes from the coordinator; not before {begins:%Y-%m-%d}, all that is known"
    return warn(CLOCK, what, "compare this machine's clock with the coordinator's by hand")


def speed(config: SiteConfig, payload: int, minutes: float) -> Iterator[Finding]:
    """How long a round's weights take down this line, by a page that the coordinator gives out.

    Args:
        config: names the coordinator.
        payload: bytes of a round, both ways.
        minutes: that a round may take.
    """
    host, _ = place(config.server)
    context = believing(config)
    with closing(secured(config, context)) as secure:
        _, page = get(secure, host, PAGE)  # made when it is asked for first
        rate = _rate(secure, host) if page >= LEAST_PAGE else 0.0
    yield speed_finding(payload, minutes, page=page, rate=rate)


def _rate(secure: ssl.SSLSocket, host: str) -> float:
    """Bytes per second of pages that are asked for at once, so that none waits for a question."""
    loaded, began = 0, time.monotonic()
    try:
        secure.sendall(_question(host, "keep-alive") * (PAGES - 1) + _question(host, "close"))
        while time.monotonic() - began < MOST_SECONDS and (part := secure.recv(65_536)):
            loaded += len(part)
    except (TimeoutError, ConnectionError):
        pass  # what came until then is a measure too
    return loaded / (time.monotonic() - began)


def _question(host: str, after: str) -> bytes:
    head = f"GET {PAGE} HTTP/1.1", f"Host: {host}", "Accept-Encoding: identity"
    return "\r\n".join((*head, f"Connection: {after}", "", "")).encode()


def speed_finding(payload: int, minutes: float, *, page: int, rate: float) -> Finding:
    """What a download says of a round; it is short, and a connection is slow first: a lower bound.

    Args:
        payload: bytes of a round.
        minutes: that a round may take.
        page: bytes of what could be fetched.
        rate: bytes per second; 0: nothing came.
    """
    needs = f"a round moves up to {size(payload)}"
    if page < LEAST_PAGE or not rate:
        return ok(SPEED, f"{needs}; not measured: only {page} bytes can be fetched from there")
    takes = payload / rate
    what = (
        f"{needs}: {takes:.1f} s or less, by a download of {size(PAGES * page)} at "
        f"{size(rate)}/s (a lower bound: it is short; upload not measured)"
    )
    if takes > 60 * minutes / 10:
        to_do = f"the study has {minutes:g} minutes per round; if the line is shared, try later"
        return warn(SPEED, what, to_do)
    return ok(SPEED, what)
