"""Certificates from our own authorities: of the coordinator, and of a site's own loopback.

Those that hospitals show at the coordinator's door are in ``door.py``.
"""

import datetime as dt
import ipaddress
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from .errors import KeysError
from .files import read_file, write_atomic
from .keys import spelt

AUTHORITY_DAYS = 3650
SERVER_DAYS = 397  # the longest that common TLS clients accept
LOOPBACK = ("localhost", "127.0.0.1")
WARN_DAYS = 30  # before a certificate's end
MOST_BYTES = 100_000  # of a key or certificate file
UNREADABLE = (
    OSError,
    ValueError,
    x509.InvalidVersion,
    x509.ExtensionNotFound,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)


def make_authority(folder: Path, *, name: str, stem: str = "ca") -> None:
    """Write ``ca.key`` and ``ca.crt``: a new authority that signs certificates of one kind only."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = common_name(f"{name} authority")
    builder = (
        new_certificate(subject, subject, key.public_key(), days=AUTHORITY_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(key_usage(sign_certificates=True), critical=True)
    )
    write_pair(folder / stem, key, builder.sign(key, hashes.SHA256()))


def make_server_certificate(folder: Path, hosts: Sequence[str]) -> None:
    """Write ``server.key`` and ``server.crt`` for ``hosts`` (names or addresses), signed by ``ca``.

    Raises:
        KeysError: the authority's files are missing or unreadable.
    """
    authority_key, authority = read_authority(folder)
    key = ec.generate_private_key(ec.SECP256R1())
    names = [_general_name(host) for host in dict.fromkeys((*hosts, *LOOPBACK))]
    builder = (
        new_certificate(
            common_name(hosts[0]), authority.subject, key.public_key(), days=SERVER_DAYS
        )
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(key_usage(sign_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()),
            critical=False,
        )
    )
    write_pair(folder / "server", key, builder.sign(authority_key, hashes.SHA256()))


def certificate_fingerprint(pem: bytes) -> str:
    """SHA256 fingerprint of a certificate, in OpenSSH's spelling.

    Raises:
        KeysError: it is no certificate.
    """
    try:
        certificate = x509.load_pem_x509_certificate(pem)
    except UNREADABLE:
        raise KeysError("the authority's certificate cannot be read") from None
    return spelt(certificate.fingerprint(hashes.SHA256()))


def certificate_end(pem: bytes) -> dt.datetime:
    """Until when a certificate is valid.

    Raises:
        KeysError: it is no certificate.
    """
    try:
        return x509.load_pem_x509_certificate(pem).not_valid_after_utc
    except UNREADABLE:
        raise KeysError("a certificate cannot be read") from None


def server_certificate_serves(folder: Path, hosts: Sequence[str], *, days: int) -> bool:
    """Whether ``server.crt`` names all of ``hosts`` and is valid for ``days`` more."""
    try:
        content = read_file(folder / "server.crt", most=MOST_BYTES)
        certificate = x509.load_pem_x509_certificate(content)
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        names, last = set(found.value), certificate.not_valid_after_utc
    except UNREADABLE:
        return False
    end = dt.datetime.now(dt.UTC) + dt.timedelta(days=days)
    return last > end and all(_general_name(host) in names for host in hosts)


def read_authority(
    folder: Path, stem: str = "ca"
) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    """Key and certificate of an authority.

    Raises:
        KeysError: a file is missing or unreadable.
    """
    try:
        content = read_file(folder / f"{stem}.key", most=MOST_BYTES)
        key = load_pem_private_key(content, password=None)
        content = read_file(folder / f"{stem}.crt", most=MOST_BYTES)
        certificate = x509.load_pem_x509_certificate(content)
        _ = certificate.subject, certificate.extensions  # read only now, and may be damaged
    except (*UNREADABLE, TypeError, UnsupportedAlgorithm):
        raise KeysError(f"keys/{stem}.key or keys/{stem}.crt: missing or unreadable") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise KeysError(f"keys/{stem}.key: not an elliptic-curve key")
    return key, certificate


def new_certificate(
    subject: x509.Name, issuer: x509.Name, public: ec.EllipticCurvePublicKey, *, days: float
) -> x509.CertificateBuilder:
    """A certificate without extensions but the key's identity, valid from now on."""
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(minutes=5))  # clocks differ a little
        .not_valid_after(now + dt.timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    )


def key_usage(*, sign_certificates: bool) -> x509.KeyUsage:
    """What a key may do: sign certificates and lists, or prove itself."""
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=sign_certificates,
        crl_sign=sign_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def common_name(common: str) -> x509.Name:
    """A subject of one common name."""
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common[:64])])


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def write_pair(stem: Path, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> None:
    """Write a key, readable by its owner only, and its certificate beside it."""
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    write_atomic(stem.with_suffix(".key"), private, private=True)
    write_atomic(stem.with_suffix(".crt"), certificate.public_bytes(Encoding.PEM))
