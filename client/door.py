"""The way to the coordinator: through the hospital's own proxy, with its certificate, to the door.

Says what is wrong with it in words. Sends nothing but an empty request that the door answers.
"""

import http.client
import re
import socket
import ssl
from contextlib import closing
from dataclasses import dataclass

from cryptography import x509

from ghanet_model.door import DOOR_HEADER, KEY_HEADER, key_header
from ghanet_model.errors import DeploymentError, GHANetError, KeysError
from ghanet_model.invitation import CA_FILE

from .certificate import RENEWING, shown_files
from .config import SITE_FILE, SiteConfig
from .proxy import find_proxy, place

SECONDS = 10.0
PATH = "/v1/fleet/send-node-heartbeat"  # one that the door passes; empty, so Flower refuses it
REVOKED, EXPIRED, LIST_ENDED, NONE, PAIR = (
    "FAILED:certificate revoked",
    "FAILED:certificate has expired",
    "FAILED:CRL has expired",
    "NONE",
    "pair",
)
_ODD = re.compile(r"[^\x20-\x7e]")


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why the door does not let this hospital in."""

    what: str
    hint: str
    passes: bool = False  # without anything being done here


_FOREIGN = Refusal(
    "this hospital's certificate is not of this coordinator's authority",
    "ask the coordinator to issue one for keys/door.csr, then 'ghanet-client certificate FILE'",
)
_REFUSALS = {
    REVOKED: Refusal(
        "this hospital's certificate was revoked",
        "put the new one into place with 'ghanet-client certificate FILE' if it was renewed; else "
        "ask the coordinator why",
    ),
    EXPIRED: Refusal("this hospital's certificate has expired", RENEWING),
    LIST_ENDED: Refusal(
        "the coordinator's list of refused certificates has ended, so it lets nobody in",
        "tell the coordinator: 'ghanet-server start' writes the list anew",
        passes=True,
    ),
    NONE: Refusal(
        "the coordinator asks for a certificate and was shown none",
        "send keys/door.csr to the coordinator, then 'ghanet-client certificate FILE'",
    ),
    PAIR: Refusal(
        "this hospital's certificate and key do not belong together at the coordinator's",
        "send keys/site_key.pub and keys/door.csr to the coordinator, for 'ghanet-server renew'",
    ),
}


def tls_context(config: SiteConfig) -> ssl.SSLContext:
    """TLS with whom this hospital trusts, and its own certificate if it has one.

    Raises:
        KeysError: a key or certificate is missing or unreadable.
    """
    context = trusting(config)
    if files := shown_files(config.folder):
        try:
            context.load_cert_chain(*files)
        except (ssl.SSLError, OSError):
            raise KeysError(
                "keys/door.crt and keys/door.key do not belong together or cannot be read",
                hint="'ghanet-client certificate FILE' puts a certificate into place",
            ) from None
    return context


def trusting(config: SiteConfig) -> ssl.SSLContext:
    """TLS with the consortium's authority, and with that of a proxy where site.yaml names one.

    Raises:
        KeysError: a certificate is missing or unreadable.
    """
    authority = config.folder / "keys" / CA_FILE
    try:
        context = ssl.create_default_context(cafile=str(authority))
    except (ssl.SSLError, OSError):
        raise KeysError(
            f"keys/{CA_FILE} is not a certificate", hint="run 'init' with your invitation again"
        ) from None
    if config.extra_authority is None:
        context.minimum_version = ssl.TLSVersion.TLSv1_3
    else:
        _trust_too(context, config)
    return context


def _trust_too(context: ssl.SSLContext, config: SiteConfig) -> None:
    try:
        context.load_verify_locations(cafile=str(config.extra_authority))
    except (ssl.SSLError, OSError):
        raise KeysError(
            f"{SITE_FILE}: 'extra_authority' names no readable certificate",
            hint="a PEM file of your IT's own authority; leave it out unless your IT asks for it",
        ) from None


def proxy_of(config: SiteConfig) -> str:
    """The hospital's own proxy on the way to the coordinator, as its programs are told it, or ''.

    Raises:
        DeploymentError: what the environment names is no proxy.
    """
    found = find_proxy(config.server)
    return found.url if found else ""


def _connection(config: SiteConfig, context: ssl.SSLContext) -> http.client.HTTPSConnection:
    """A connection to the coordinator, not yet opened; through the proxy if there is one."""
    (host, port), proxy = place(config.server), find_proxy(config.server)
    there = (proxy.host, proxy.port) if proxy else (host, port)
    found = http.client.HTTPSConnection(*there, context=context, timeout=SECONDS)
    if proxy:
        found.set_tunnel(host, port, proxy.headers)
    return found


def require_server(config: SiteConfig) -> str:
    """Reach the coordinator over TLS; the issuer of its certificate if that is an extra authority.

    Raises:
        DeploymentError: which of name, proxy, port, TLS or certificate is at fault.
        KeysError: a key or certificate here cannot be used.
    """
    connection = _connection(config, tls_context(config))
    proxy = " through the proxy of HTTPS_PROXY" if proxy_of(config) else ""
    try:
        connection.connect()
        return _foreign_issuer(config, connection)
    except ssl.SSLCertVerificationError as error:
        raise DeploymentError(
            f"the certificate of {config.server} is not this consortium's "
            f"({error.verify_message}); {_issuer(config)} issued it",
            hint="check 'server' in site.yaml, and keys/ca.crt with the coordinator. If it is your "
            "own proxy's, which opens TLS: have your IT leave this address closed",
        ) from None
    except socket.gaierror:
        whose = "the proxy of HTTPS_PROXY" if proxy else config.server
        hint = "check HTTPS_PROXY" if proxy else "check 'server' in site.yaml"
        raise DeploymentError(f"the name of {whose} cannot be resolved", hint=hint) from None
    except (OSError, ValueError, http.client.HTTPException) as error:
        why = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise DeploymentError(
            f"{config.server} cannot be reached{proxy} ({_plain(why.lower())})",
            hint="is the coordinator's server running, and does the firewall let you out?",
        ) from None
    finally:
        connection.close()


def _foreign_issuer(config: SiteConfig, connection: http.client.HTTPSConnection) -> str:
    """Who issued the server's certificate, if it was not the consortium."""
    own = x509.load_pem_x509_certificate((config.folder / "keys" / CA_FILE).read_bytes())
    found = _server_certificate(connection)
    if found is None or found.issuer == own.subject:
        return ""
    return _plain(found.issuer.rfc4514_string())


def _issuer(config: SiteConfig) -> str:
    """Who issued a certificate that was refused; looked at without believing it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    connection = _connection(config, context)
    try:
        connection.connect()
        found = _server_certificate(connection)
    except (OSError, ValueError, http.client.HTTPException):
        found = None
    finally:
        connection.close()
    return f"'{_plain(found.issuer.rfc4514_string())}'" if found else "somebody unknown"


def _server_certificate(connection: http.client.HTTPSConnection) -> x509.Certificate | None:
    found = connection.sock.getpeercert(binary_form=True)
    return x509.load_der_x509_certificate(found) if found else None


def _plain(text: str) -> str:
    """A text of strangers, fit for one line."""
    return _ODD.sub("?", text)[:100]


def refusal_of(config: SiteConfig) -> Refusal | None:
    """Why the door does not let this hospital in; None where it does, or there is no door.

    What else is wrong on the way is not the door's word, and is no refusal.
    """
    try:
        public = (config.folder / "keys" / "site_key.pub").read_text()
        connection = _connection(config, tls_context(config))
        with closing(connection):
            connection.request("POST", PATH, headers={KEY_HEADER: key_header(public)})
            return refusal_for(connection.getresponse().getheader(DOOR_HEADER, ""))
    except (OSError, ValueError, http.client.HTTPException, GHANetError):
        return None


def refusal_for(said: str) -> Refusal | None:
    """What a word of the door means."""
    return _REFUSALS.get(said, _FOREIGN if said.startswith("FAILED:") else None)
