"""Keys: made where they are used, written readable by their owner only, never sent.

A hospital's key (EC P-384, OpenSSH) proves its node to the coordinator. The release key (Ed25519,
PEM) signs what the coordinator releases. Public halves stand beside the private ones as ``.pub``.
"""

import base64
import hashlib
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
    load_ssh_public_key,
)

from .errors import KeysError
from .files import read_file, write_atomic

SIGNATURE_SIZE = 64  # bytes of an Ed25519 signature
MOST_BYTES = 10_000  # of a key file


def make_site_key(path: Path) -> str:
    """Write a new hospital key and its public half; return the public half as one line."""
    key = ec.generate_private_key(ec.SECP384R1())
    public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    private = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
    write_atomic(path.with_name(path.name + ".pub"), public + b"\n")
    write_atomic(path, private, private=True)  # last: a private key is never without its half
    return public.decode()


def read_site_public_key(text: str, *, where: str) -> str:
    """Check a hospital's public key and return it as one line without comment.

    Raises:
        KeysError: not an OpenSSH public key, another kind of key, or a private key.
    """
    hint = "ask the hospital for the file keys/site_key.pub that 'ghanet-client init' wrote"
    if "PRIVATE KEY" in text:
        raise KeysError(
            f"{where}: this is a private key", hint=f"delete it, it must never travel; {hint}"
        )
    try:
        key = load_ssh_public_key(text.strip().encode())
    except (ValueError, UnsupportedAlgorithm, NotImplementedError):  # a compressed point
        raise KeysError(f"{where}: not an OpenSSH public key", hint=hint) from None
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name != "secp384r1":
        raise KeysError(f"{where}: not an EC P-384 key", hint=hint)
    return key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()


def site_key_pem(public_line: str) -> bytes:
    """A hospital's public key as PEM, the form in which Flower knows nodes."""
    key = load_ssh_public_key(public_line.encode())
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def make_release_key(path: Path) -> None:
    """Write a new Ed25519 key for releases and its public half."""
    key = ed25519.Ed25519PrivateKey.generate()
    write_atomic(
        path, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), private=True
    )
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    write_atomic(path.with_name(path.name + ".pub"), public)


def sign(key_file: Path, content: bytes) -> bytes:
    """Ed25519 signature of ``content``, 64 bytes."""
    try:
        key = load_pem_private_key(read_file(key_file, most=MOST_BYTES), password=None)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm):
        raise KeysError(f"{key_file.name}: no readable release key") from None
    if not isinstance(key, ed25519.Ed25519PrivateKey):
        raise KeysError(f"{key_file.name}: not an Ed25519 key")
    return key.sign(content)


def is_signed(public_pem: bytes, signature: bytes, content: bytes, *, where: str) -> bool:
    """Whether ``signature`` is the key's Ed25519 signature of ``content``."""
    try:
        _read_release_public_key(public_pem, where).verify(signature, content)
    except InvalidSignature:
        return False
    return True


def release_fingerprint(public_pem: bytes, *, where: str) -> str:
    """Fingerprint of a release key: SHA256 and the base64 of its raw 32 bytes' digest."""
    raw = _read_release_public_key(public_pem, where).public_bytes_raw()
    return fingerprint(raw)


def site_fingerprint(public_line: str) -> str:
    """Fingerprint of a hospital key, as ``ssh-keygen -l`` prints it."""
    line = read_site_public_key(public_line, where="site_key.pub")
    return fingerprint(base64.b64decode(line.split()[1]))


def fingerprint(raw: bytes) -> str:
    """SHA256 fingerprint in OpenSSH's spelling."""
    return spelt(hashlib.sha256(raw).digest())


def spelt(digest: bytes) -> str:
    """A SHA-256 digest as OpenSSH spells fingerprints."""
    return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")


def _read_release_public_key(public_pem: bytes, where: str) -> ed25519.Ed25519PublicKey:
    try:
        key = load_pem_public_key(public_pem)
    except (ValueError, UnsupportedAlgorithm):
        raise KeysError(f"{where}: not a public key") from None
    if not isinstance(key, ed25519.Ed25519PublicKey):
        raise KeysError(f"{where}: not an Ed25519 key")
    return key
