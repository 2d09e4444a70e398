"""What the door knows of hospitals: certificates, the list of refused ones, who has which key.

All of it follows from the roster and is written anew with it. Starts no process.
"""

import datetime as dt
from pathlib import Path

from ghanet_model.door import (
    AUTHORITY,
    SiteCertificate,
    issue,
    key_header,
    make_door_authority,
    read_request,
    read_site_certificate,
    write_list,
)
from ghanet_model.files import write_atomic

from .config import ServerConfig
from .roster import Member, Roster, locked, read_roster

LOCK_FILE, PAIRS_FILE = "door.lock", "pairs.map"
CERTIFICATES = "certificates"  # folder of those that were issued, to be sent


def door_folder(config: ServerConfig) -> Path:
    """Where nginx finds its settings."""
    return config.state / "door"


def require_authority(config: ServerConfig) -> None:
    """Make the authority of hospitals' certificates in a folder that lacks it."""
    make_door_authority(config.keys, name=f"G-HANet consortium of {config.host}")


def certify(config: ServerConfig, name: str, request: Path) -> tuple[SiteCertificate, bytes]:
    """A certificate for the request that a hospital sent; it counts once it is in the roster.

    Raises:
        KeysError: the request cannot be used.
    """
    asked = read_request(request, name=name)
    require_authority(config)
    pem = issue(config.keys, asked)
    return read_site_certificate(pem, where=name), pem


def write_certificate(config: ServerConfig, name: str, pem: bytes) -> Path:
    """Keep a certificate, to be sent to its hospital."""
    path = config.folder / CERTIFICATES / f"{name}.crt"
    write_atomic(path, pem)
    return path


def write_door_files(config: ServerConfig) -> None:
    """Write the list of refused certificates and the pairs, as the roster has them now.

    A folder without the authority has had no door yet: nothing is written.

    Raises:
        KeysError: the authority cannot be read.
    """
    if not (config.keys / f"{AUTHORITY}.key").exists():
        return
    with locked(config.state / LOCK_FILE):
        roster = read_roster(config.folder)
        refused = [entry for member in roster.members for entry in member.former_serials]
        write_list(config.keys, ((one, dt.datetime.fromisoformat(t)) for one, t in refused))
        content = "".join(map(_pair, admitted(roster)))
        write_atomic(door_folder(config) / PAIRS_FILE, content.encode(), private=True)


def admitted(roster: Roster) -> tuple[Member, ...]:
    """Hospitals that the door lets in: not revoked, with a certificate."""
    return tuple(member for member in roster.members if member.serial and not member.revoked)


def _pair(member: Member) -> str:
    """A line of nginx's map: subject and serial of the certificate, and the node key."""
    return f'"CN={member.name}|{member.serial}|{key_header(member.public_key)}" 1;\n'
