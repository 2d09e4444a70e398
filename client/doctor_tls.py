"""The doctor's look at who answers as the coordinator: certificate, clock, speed of the line.

OpenSSL judges the certificate as it does for Flower; the certificate is looked at again without
belief only to say whose it is. Sends TLS handshakes and nothing else.
"""

import ssl
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509

from ghanet_model.certificates import UNREADABLE
from ghanet_model.doctor import Finding, expiry, fail, ok, warn
from ghanet_model.invitation import CA_FILE

from .certificate import shown_files
from .config import SiteConfig
from .doctor_network import NoWayError, proxy_to, reach
from .door import trusting
from .proxy import place

NOT_YET, ENDED, OTHER_NAMES = 9, 10, (62, 64)  # OpenSSL's verdicts; others: not our authority
OWN_AUTHORITY = "G-HANet consortium of"  # how 'ghanet-server init' names authorities
CHAIN, DATES, HOST = "certificate", "certificate dates", "host name"


def believing(config: SiteConfig) -> ssl.SSLContext:
    """TLS as 'start' has it; a certificate for the door that cannot be used is not shown.

    Raises:
        KeysError: an authority cannot be read.
    """
    return _showing(trusting(config), config.folder / "keys")


def believing_nothing(keys: Path) -> ssl.SSLContext:
    """TLS with whoever answers, to see who that is."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return _showing(context, keys)


def _showing(context: ssl.SSLContext, keys: Path) -> ssl.SSLContext:
    if files := shown_files(keys.parent):
        with suppress(ssl.SSLError, OSError):  # see 'door certificate'
            context.load_cert_chain(*files)
    return context


@dataclass(frozen=True, slots=True)
class Shown:
    """What answered as the coordinator, and OpenSSL's verdict."""

    chain: tuple[x509.Certificate, ...]  # the server's own first
    code: int = 0  # 0: good
    said: str = ""


def look_at(config: SiteConfig) -> Shown:
    """A handshake as Flower does it; where it is refused, another one to see what was shown.

    Raises:
        KeysError: keys/ca.crt is no certificate.
        NoWayError: the coordinator is not reached any more, or does not speak TLS.
    """
    keys = config.folder / "keys"
    try:
        with secured(config, believing(config)) as secure:
            return Shown(_chain(secure))
    except ssl.SSLCertVerificationError as error:
        with secured(config, believing_nothing(keys)) as secure:
            return Shown(_chain(secure), error.verify_code, error.verify_message)


def secured(config: SiteConfig, context: ssl.SSLContext) -> ssl.SSLSocket:
    """A TLS connection to the coordinator.

    Raises:
        SSLCertVerificationError: the certificate is not what the context asks for.
        NoWayError: the coordinator is not reached any more, or does not speak TLS.
    """
    host, _ = place(config.server)
    plain = reach(config.server, proxy_to(config.server))
    try:
        return context.wrap_socket(plain, server_hostname=host)
    except ssl.SSLCertVerificationError:
        plain.close()
        raise
    except OSError as error:
        plain.close()
        cut = isinstance(error, ConnectionError | TimeoutError) or "EOF" in str(error)
        why = "the connection is cut in the handshake" if cut else "what answers speaks no TLS"
        to_do = "is it the coordinator's port? If so: does a firewall let TLS out to it?"
        raise NoWayError(fail(CHAIN, f"no TLS with {config.server}: {why}", to_do)) from None


def _chain(secure: ssl.SSLSocket) -> tuple[x509.Certificate, ...]:
    """What the server sent; before Python 3.13 only OpenSSL's own object tells more than the first.

    Raises:
        OSError: a certificate that cannot be read.
    """
    whole = getattr(secure, "get_unverified_chain", None)
    inner = getattr(secure, "_sslobj", None)
    whole = whole or getattr(inner, "get_unverified_chain", None)
    found = [secure.getpeercert(binary_form=True) or b""]
    if whole is not None:
        sent = whole() or []
        found = [one if isinstance(one, bytes) else _der(one.public_bytes()) for one in sent]
    try:
        return tuple(x509.load_der_x509_certificate(one) for one in found)
    except UNREADABLE as error:
        raise OSError("the certificate that was shown cannot be read") from error


def _der(pem: str) -> bytes:
    return ssl.PEM_cert_to_DER_cert(pem)


def certificate(config: SiteConfig, shown: Shown) -> Iterator[Finding]:
    """Who signed it, until when it is valid, whose name is in it; what was not reached is not said.

    OpenSSL looks at signatures first, then at the name, then at the dates.
    """
    server = shown.chain[0]
    own = x509.load_pem_x509_certificate((config.folder / "keys" / CA_FILE).read_bytes())
    if shown.code and shown.code not in (NOT_YET, ENDED, *OTHER_NAMES):
        yield _foreign(config, shown, own)
        return
    if shown.code == 0 and server.issuer != own.subject:
        what = f"opened on its way by '{_words(server.issuer)}' (extra_authority), who can read it"
        yield warn(CHAIN, what, "no certificate of this hospital gets through there; ask your IT")
    else:
        yield ok(CHAIN, f"signed by '{_words(own.subject)}', the authority of keys/{CA_FILE}")
    to_do = "tell the coordinator: 'ghanet-server start' makes a new one in its last 30 days"
    if shown.code == NOT_YET:
        what = f"the server's certificate begins only on {server.not_valid_before_utc:%Y-%m-%d %X}"
        yield fail(DATES, what, "see 'clock': this machine's is behind, or the coordinator's ahead")
    else:
        ends = min(server.not_valid_after_utc, own.not_valid_after_utc)
        yield expiry(DATES, ends, to_do, whose="the server's certificate")
    host, _ = place(config.server)
    if shown.code in OTHER_NAMES:
        what = f"the certificate is for {', '.join(_names(server))}, site.yaml says {host}"
        yield fail(HOST, what, "use one of these in 'server', or ask the coordinator for this name")
    else:
        yield ok(HOST, f"the certificate names {host}")


def _foreign(config: SiteConfig, shown: Shown, own: x509.Certificate) -> Finding:
    """A chain that our authority did not sign: another consortium's, or somebody in between."""
    server = shown.chain[0]
    issuer, ours = _words(server.issuer), _words(own.subject)
    if OWN_AUTHORITY in issuer:
        what = (
            f"the server's certificate is signed by '{issuer}', keys/{CA_FILE} is "
            f"'{ours}'{' with another key' if issuer == ours else ''}"
        )
        to_do = (
            f"keys/{CA_FILE} is of another consortium or an older coordinator: ask for "
            "invitation.json, compare fingerprints, run 'ghanet-client init' with it"
        )
        return fail(CHAIN, what, to_do)
    above = next((one for one in shown.chain[1:] if one.subject == server.issuer), None)
    sent = "which sent no certificate of its own"
    if above is not None:
        sent = f"subject '{_words(above.subject)}', issuer '{_words(above.issuer)}'"
    what = (
        f"TLS is opened on the way: the certificate of {config.server} is signed by '{issuer}' "
        f"({sent}), not by '{ours}'"
    )
    to_do = (
        f"ask your IT to let {config.server} pass its TLS inspection unopened; if there is none, "
        "compare fingerprints with the coordinator"
    )
    return fail(CHAIN, what, to_do)


def _words(name: x509.Name) -> str:
    """A name as strangers write it, fit for one line."""
    text = name.rfc4514_string() or "no name"
    return "".join(letter if letter.isprintable() else "?" for letter in text)[:120]


def _names(server: x509.Certificate) -> list[str]:
    try:
        found = server.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        return [str(one.value)[:80] for one in found]
    except UNREADABLE:
        return ["nobody"]
