"""Certificates: a real TLS handshake on the loopback says whether they are good."""

import ipaddress
import socket
import ssl
import threading
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from ghanet_model.certificates import make_authority, make_server_certificate
from ghanet_model.errors import KeysError

HOSTS = ["ghanet.example.org", "192.0.2.7", "2001:db8::7"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """An authority and a certificate for HOSTS."""
    path = tmp_path_factory.mktemp("keys")
    make_authority(path, name="consortium")
    make_server_certificate(path, HOSTS)
    return path


def certificate(folder: Path, name: str) -> x509.Certificate:
    """A certificate of the folder."""
    return x509.load_pem_x509_certificate((folder / f"{name}.crt").read_bytes())


def handshake(folder: Path, authority: Path, *, host: str) -> str:
    """Connect to a TLS server with the folder's certificate; the protocol, or why it was refused.

    The client is as strict as Python 3.13 is by default.
    """
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(folder / "server.crt", folder / "server.key")
    asking = ssl.create_default_context(cafile=str(authority / "ca.crt"))
    asking.verify_flags |= ssl.VERIFY_X509_STRICT | ssl.VERIFY_X509_PARTIAL_CHAIN
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=accept_one, args=(listener, serving), daemon=True)
        thread.start()
        try:
            with (
                socket.create_connection(listener.getsockname(), timeout=5) as plain,
                asking.wrap_socket(plain, server_hostname=host) as secure,
            ):
                return str(secure.version())
        except ssl.SSLCertVerificationError as error:
            return error.verify_message
        finally:
            thread.join(5)


def accept_one(listener: socket.socket, context: ssl.SSLContext) -> None:
    """The server's half of one handshake; a client that hangs up is no fault of it."""
    plain, _ = listener.accept()
    with plain:
        plain.settimeout(5)
        try:
            context.wrap_socket(plain, server_side=True).close()
        except OSError:
            return


@pytest.mark.parametrize("host", [*HOSTS, "localhost", "127.0.0.1"])
def test_clients_with_the_authority_connect(folder, host):
    """Every name and address of the certificate, and the loopback, passes a strict check."""
    assert handshake(folder, folder, host=host) == "TLSv1.3"


@pytest.mark.parametrize("host", ["other.example.org", "example.org", "192.0.2.8"])
def test_other_hosts_are_refused(folder, host):
    """A host that the certificate does not name is refused."""
    assert "mismatch" in handshake(folder, folder, host=host)


def test_another_authority_is_refused(folder, tmp_path):
    """An authority of the very same name, with another key, does not vouch for the server."""
    make_authority(tmp_path, name="consortium")
    assert certificate(tmp_path, "ca").subject == certificate(folder, "ca").issuer
    refusal = handshake(folder, tmp_path, host="localhost")
    assert "issuer" in refusal or "signature" in refusal


def test_names_and_addresses_are_named_as_such(folder):
    """Host names stand as DNS names, addresses as IP addresses, each once, the loopback too."""
    kind = x509.SubjectAlternativeName
    names = certificate(folder, "server").extensions.get_extension_for_class(kind).value
    assert names.get_values_for_type(x509.DNSName) == ["ghanet.example.org", "localhost"]
    addresses = [ipaddress.ip_address(a) for a in ("192.0.2.7", "2001:db8::7", "127.0.0.1")]
    assert names.get_values_for_type(x509.IPAddress) == addresses


def test_a_host_named_twice_stands_once(folder, tmp_path):
    """A loopback name as the coordinator's own name is not repeated."""
    make_authority(tmp_path, name="c")
    make_server_certificate(tmp_path, ["localhost"])
    kind = x509.SubjectAlternativeName
    names = certificate(tmp_path, "server").extensions.get_extension_for_class(kind).value
    assert names.get_values_for_type(x509.DNSName) == ["localhost"]


def test_the_server_cannot_sign_certificates(folder):
    """Who steals the server's key gains no authority."""
    extensions = certificate(folder, "server").extensions
    assert not extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert not extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign
    authority = certificate(folder, "ca").extensions
    assert authority.get_extension_for_class(x509.BasicConstraints).value.path_length == 0


def test_server_certificates_are_short_lived(folder):
    """At most 398 days, the longest that common TLS clients accept."""
    own = certificate(folder, "server")
    assert (own.not_valid_after_utc - own.not_valid_before_utc).days <= 398


def test_private_keys_are_for_their_owner_only(folder):
    """Keys have mode 0600, certificates can be read by everybody."""
    modes = {p.name: p.stat().st_mode & 0o777 for p in folder.iterdir()}
    private, public = {"ca.key", "server.key"}, {"ca.crt", "server.crt"}
    assert modes == dict.fromkeys(private, 0o600) | dict.fromkeys(public, 0o644)


def test_long_host_names_fit(tmp_path):
    """A name longer than a certificate's common name is still served under its full length."""
    host = ".".join(["a" * 60, "b" * 60, "example.org"])
    make_authority(tmp_path, name="x" * 100)
    make_server_certificate(tmp_path, [host])
    assert handshake(tmp_path, tmp_path, host=host) == "TLSv1.3"


@pytest.mark.parametrize("name", ["ca.key", "ca.crt"])
@pytest.mark.parametrize("content", [None, b"", b"-----BEGIN CERTIFICATE-----\n"])
def test_a_missing_or_damaged_authority_is_named(tmp_path, name, content):
    """Without its authority no certificate is made, and the error says which files."""
    make_authority(tmp_path, name="c")
    (tmp_path / name).unlink()
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(KeysError, match=r"ca\.key or keys/ca\.crt"):
        make_server_certificate(tmp_path, ["localhost"])


def test_an_authority_of_another_kind_is_refused(tmp_path):
    """A key that is not ours in the authority's place is named."""
    make_authority(tmp_path, name="c")
    key = ed25519.Ed25519PrivateKey.generate()
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / "ca.key").write_bytes(pem)
    with pytest.raises(KeysError, match=r"keys/ca\.key: not an elliptic-curve key"):
        make_server_certificate(tmp_path, ["localhost"])
