"""This hospital's certificate for the coordinator's door: asked for, put into place, renewed.

The key stays in keys/. A certificate is no trust anchor here: this hospital shows it and believes
nothing because of it, so it is taken if it is of this hospital's own key and name and in time. One
that another authority issued opens no door, and harms nobody.
"""

import datetime as dt
from pathlib import Path

from ghanet_model.certificates import MOST_BYTES, WARN_DAYS
from ghanet_model.door import (
    CERTIFICATE_FILE,
    KEY_FILE,
    REQUEST_FILE,
    Request,
    SiteCertificate,
    door_key_fingerprint,
    make_request,
    read_site_certificate,
)
from ghanet_model.errors import KeysError
from ghanet_model.files import read_file, write_atomic

from .config import read_site

NEXT_KEY_FILE = "door.next.key"  # of a request whose certificate has not come yet
RENEWING = "ghanet-client renew-certificate makes a request for another"


def require_request(folder: Path) -> Path:
    """The request of this hospital; made, with its key, where there is no key yet."""
    keys = folder / "keys"
    if not (keys / KEY_FILE).exists():
        make_request(keys, name=read_site(folder).name)
    return keys / REQUEST_FILE


def request_fingerprint(folder: Path) -> str:
    """Fingerprint of the key of the last request."""
    keys = folder / "keys"
    name = NEXT_KEY_FILE if (keys / NEXT_KEY_FILE).exists() else KEY_FILE
    return door_key_fingerprint(keys / name)


def renew_request(folder: Path, *, name: str) -> Request:
    """A new key and request beside the old ones, which stay in use until the certificate comes."""
    keys = folder / "keys"
    first = not (keys / KEY_FILE).exists()
    return make_request(keys, name=name, key_file=KEY_FILE if first else NEXT_KEY_FILE)


def replace_door_key(folder: Path) -> None:
    """A new key and request at once: the old key may be in other hands, its certificate ends."""
    keys, name = folder / "keys", read_site(folder).name
    (keys / NEXT_KEY_FILE).unlink(missing_ok=True)
    (keys / CERTIFICATE_FILE).unlink(missing_ok=True)
    if (keys / KEY_FILE).exists():
        (keys / KEY_FILE).replace(keys / "door.old.key")
    make_request(keys, name=name)


def take_certificate(folder: Path, path: Path, *, name: str) -> SiteCertificate:
    """Put a certificate into place, and with it the key that it was asked for with.

    Raises:
        KeysError: it is none, or of another key or hospital, or not valid now.
    """
    try:
        pem = read_file(path, most=MOST_BYTES)
    except OSError as error:
        why = (error.strerror or "unreadable").lower()
        raise KeysError(f"{path.name}: cannot be read ({why})") from None
    certificate = read_site_certificate(pem, where=path.name)
    key = _key_of(folder, certificate, where=path.name)
    _require_valid(certificate, name=name, where=path.name)
    keys = folder / "keys"
    write_atomic(keys / CERTIFICATE_FILE, pem)
    if key != KEY_FILE:
        (keys / key).replace(keys / KEY_FILE)
    return certificate


def _key_of(folder: Path, certificate: SiteCertificate, *, where: str) -> str:
    """Which key of this hospital a certificate is of: the newest is asked first."""
    for name in (NEXT_KEY_FILE, KEY_FILE):
        path = folder / "keys" / name
        if path.exists() and door_key_fingerprint(path) == certificate.key:
            return name
    raise KeysError(
        f"{where}: not a certificate of this hospital's key",
        hint=f"send keys/{REQUEST_FILE} as it is now to the coordinator",
    )


def _require_valid(certificate: SiteCertificate, *, name: str, where: str) -> None:
    now = dt.datetime.now(dt.UTC)
    if certificate.name != name:
        raise KeysError(f"{where}: a certificate of '{certificate.name}', this is '{name}'")
    if certificate.ends <= now:
        raise KeysError(f"{where}: ended on {certificate.ends:%Y-%m-%d}", hint=RENEWING)
    if certificate.begins > now:
        raise KeysError(
            f"{where}: begins on {certificate.begins:%Y-%m-%d %H:%M} UTC",
            hint="is the clock right?",
        )


def shown_files(folder: Path) -> tuple[Path, Path] | None:
    """Certificate and key to show at the door, if this hospital has them."""
    pair = folder / "keys" / CERTIFICATE_FILE, folder / "keys" / KEY_FILE
    return pair if all(path.is_file() for path in pair) else None


def certificate_note(folder: Path, now: dt.datetime) -> str:
    """Until when the certificate is valid; a warning where something is to be done."""
    files = shown_files(folder)
    if files is None:
        return (
            "no certificate for the coordinator's door (needed where it has one): send "
            f"keys/{REQUEST_FILE}, then 'ghanet-client certificate FILE'"
        )
    pem = read_file(files[0], most=MOST_BYTES)
    found = read_site_certificate(pem, where=f"keys/{CERTIFICATE_FILE}")
    left = found.days_left(now)
    if found.ends <= now:
        return f"warning: the certificate ended on {found.ends:%Y-%m-%d}; {RENEWING}"
    said = f"certificate for the door: valid until {found.ends:%Y-%m-%d}, {left} days left"
    return f"warning: {said}; {RENEWING}" if left < WARN_DAYS else said
