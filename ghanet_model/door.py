"""Certificates for the coordinator's door: a hospital asks for one, the coordinator issues it.

The key is made at the hospital and never leaves it; what travels is a request and a certificate.
Of a request only its key is taken: name, life and use of a certificate are the coordinator's.
"""

import base64
import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_ssh_public_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from .certificates import (
    MOST_BYTES,
    UNREADABLE,
    common_name,
    key_usage,
    make_authority,
    new_certificate,
    read_authority,
)
from .errors import KeysError
from .files import read_file, write_atomic
from .keys import fingerprint

AUTHORITY = "door-ca"  # signs hospitals' certificates and nothing else
LIST_FILE = "door.crl"
KEY_FILE, REQUEST_FILE, CERTIFICATE_FILE = "door.key", "door.csr", "door.crt"
SITE_DAYS = 397
LIST_DAYS = 7
LIST_WARN_DAYS = 3
DOOR_HEADER = "GHANet-Door"  # in which the door says why it let nobody in
KEY_HEADER = "flwr-public-key"  # in which Flower's SuperNode says whose message it is
CURVES = ("secp256r1", "secp384r1")
_SKEW = dt.timedelta(minutes=5)  # clocks differ a little
_HINT = "ask the hospital for the file keys/door.csr that 'ghanet-client init' wrote"


@dataclass(frozen=True, slots=True)
class SiteCertificate:
    """What a hospital's certificate says."""

    name: str  # the hospital's
    serial: str  # hexadecimal, as nginx writes it
    begins: dt.datetime
    ends: dt.datetime
    key: str  # fingerprint of its key

    def days_left(self, now: dt.datetime) -> int:
        """Whole days until it ends; negative afterwards."""
        return (self.ends - now).days


@dataclass(frozen=True, slots=True)
class Request:
    """A hospital's request: it holds the key of whoever signed it."""

    name: str
    public: ec.EllipticCurvePublicKey

    @property
    def key(self) -> str:
        """Fingerprint of its key."""
        return _key_fingerprint(self.public)


def make_request(folder: Path, *, name: str, key_file: str = KEY_FILE) -> Request:
    """Write a new key and, signed with it, a request for a certificate for ``name``."""
    key = ec.generate_private_key(ec.SECP256R1())
    request = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(common_name(name))
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    write_atomic(folder / REQUEST_FILE, request.public_bytes(Encoding.PEM))
    write_atomic(folder / key_file, private, private=True)  # last: a key is never without a request
    return Request(name, key.public_key())


def read_request(path: Path, *, name: str) -> Request:
    """A hospital's request, whose signature proves that it holds the key.

    Raises:
        KeysError: it is none, it was changed, or it is another hospital's.
    """
    try:
        content = read_file(path, most=MOST_BYTES)
        if b"PRIVATE KEY" in content:
            raise KeysError(
                f"{path.name}: this is a private key",
                hint=f"delete it, it must never travel; {_HINT}",
            )
        request = x509.load_pem_x509_csr(content)
        names, public = _common_names(request.subject), request.public_key()
        signed = request.is_signature_valid
    except (*UNREADABLE, TypeError, UnsupportedAlgorithm):
        raise KeysError(f"{path.name}: no readable request", hint=_HINT) from None
    if not signed:
        raise KeysError(f"{path.name}: its signature is not its key's", hint=_HINT)
    if names != [name]:
        raise KeysError(
            f"{path.name}: asks for another name than '{name}'",
            hint="the name in the hospital's site.yaml and on this command must be the same",
        )
    if not isinstance(public, ec.EllipticCurvePublicKey) or public.curve.name not in CURVES:
        raise KeysError(f"{path.name}: not an EC P-256 or P-384 key", hint=_HINT)
    return Request(name, public)


def make_door_authority(keys: Path, *, name: str) -> None:
    """Make the authority of hospitals' certificates and its first list, where there is none."""
    if not (keys / f"{AUTHORITY}.key").exists():
        make_authority(keys, name=f"{name} door", stem=AUTHORITY)
    if not (keys / LIST_FILE).exists():
        write_list(keys, ())


def issue(keys: Path, request: Request, *, days: float = SITE_DAYS) -> bytes:
    """A certificate for the request's name and key, PEM.

    Raises:
        KeysError: the authority's files are missing or unreadable.
    """
    authority_key, authority = read_authority(keys, AUTHORITY)
    subject = common_name(request.name)
    builder = (
        new_certificate(subject, authority.subject, request.public, days=days)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(key_usage(sign_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()),
            critical=False,
        )
    )
    return builder.sign(authority_key, hashes.SHA256()).public_bytes(Encoding.PEM)


def read_site_certificate(pem: bytes, *, where: str) -> SiteCertificate:
    """What a hospital's certificate says.

    Raises:
        KeysError: it is no certificate, or not one for a hospital.
    """
    try:
        certificate = x509.load_pem_x509_certificate(pem)
        names, public = _common_names(certificate.subject), certificate.public_key()
        kind = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except (*UNREADABLE, TypeError, UnsupportedAlgorithm):
        raise KeysError(f"{where}: no readable certificate of a hospital") from None
    ours = len(names) == 1 and isinstance(public, ec.EllipticCurvePublicKey)
    if not ours or ExtendedKeyUsageOID.CLIENT_AUTH not in kind:
        raise KeysError(f"{where}: not a certificate of a hospital")
    return SiteCertificate(
        name=names[0],
        serial=hexadecimal(certificate.serial_number),
        begins=certificate.not_valid_before_utc,
        ends=certificate.not_valid_after_utc,
        key=_key_fingerprint(public),
    )


def door_key_fingerprint(path: Path) -> str:
    """Fingerprint of a private key's public half.

    Raises:
        KeysError: the file is missing or holds no key.
    """
    try:
        key = load_pem_private_key(read_file(path, most=MOST_BYTES), password=None)
    except (*UNREADABLE, TypeError, UnsupportedAlgorithm):
        raise KeysError(
            f"keys/{path.name}: missing or unreadable", hint="run 'ghanet-client renew-certificate'"
        ) from None
    return _key_fingerprint(key.public_key())


def write_list(
    keys: Path, refused: Iterable[tuple[str, dt.datetime]], *, days: float = LIST_DAYS
) -> None:
    """Write the list of certificates that are refused (serial, since when), signed.

    Raises:
        KeysError: the authority's files are missing or unreadable.
    """
    authority_key, authority = read_authority(keys, AUTHORITY)
    now = dt.datetime.now(dt.UTC)
    begins = min(now, now + dt.timedelta(days=days)) - _SKEW
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(authority.subject)
        .last_update(begins)
        .next_update(now + dt.timedelta(days=days))
        .add_extension(x509.CRLNumber(int(now.timestamp() * 1000)), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()),
            critical=False,
        )
    )
    for serial, since in refused:
        entry = x509.RevokedCertificateBuilder().serial_number(int(serial, 16))
        builder = builder.add_revoked_certificate(entry.revocation_date(since).build())
    content = builder.sign(authority_key, hashes.SHA256()).public_bytes(Encoding.PEM)
    write_atomic(keys / LIST_FILE, content)


def list_times(keys: Path) -> tuple[dt.datetime, dt.datetime]:
    """When the list was written, and when it ends.

    Raises:
        KeysError: it is missing or unreadable.
    """
    try:
        found = x509.load_pem_x509_crl(read_file(keys / LIST_FILE, most=10 * MOST_BYTES))
        ends = found.next_update_utc
    except UNREADABLE:
        ends = None
    if ends is None:
        raise KeysError(
            f"keys/{LIST_FILE}: missing or unreadable", hint="'ghanet-server start' writes it"
        )
    return found.last_update_utc, ends


def key_header(public_line: str) -> str:
    """A hospital's node key (OpenSSH) as SuperNode writes it into ``KEY_HEADER``."""
    key = load_ssh_public_key(public_line.encode())
    pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(pem).decode()


def hexadecimal(serial: int) -> str:
    """A serial number in whole bytes of capital digits."""
    text = f"{serial:X}"
    return text.zfill(len(text) + len(text) % 2)


def _key_fingerprint(public: object) -> str:
    if not isinstance(public, ec.EllipticCurvePublicKey):
        raise KeysError("a key for the door is not an elliptic-curve key")
    return fingerprint(public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


def _common_names(subject: x509.Name) -> list[str]:
    """The common names of a subject that has nothing else."""
    found = subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return [str(one.value) for one in found] if len(list(subject)) == len(found) else []
