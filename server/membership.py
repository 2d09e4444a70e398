"""Who may connect: enrol, revoke, renew, left. Each touches one hospital and no other.

The roster is written first, so that a run in progress sees it; then the ledger; then the door's
files, which a door that is open reads at once; Flower's own list of keys last, now if the server
serves, else at its next start.
"""

from dataclasses import dataclass, replace
from functools import partial

from ghanet_model.door import SiteCertificate
from ghanet_model.errors import SettingsError
from ghanet_model.ledger import ENROLLED, LEFT, RENEWED, REVOKED

from . import control
from .config import ServerConfig
from .door_files import write_door_files
from .ledger import server_ledger
from .roster import Member, Roster, change_roster, locked, now, read_roster

NO_REASON = "no reason given"
REASON_LENGTH = 200
NODES_LOCK = "nodes.lock"


def enrol(config: ServerConfig, member: Member) -> None:
    """Add a hospital and let its key in.

    Raises:
        SettingsError: its name or key was enrolled before.
    """
    change_roster(config.folder, lambda roster: roster.adding(member))
    server_ledger(config).append(
        ENROLLED,
        site=member.name,
        role=member.role,
        genes=member.has_genes,
        cases=member.cases,
        key=member.fingerprint,
        serial=member.serial,
    )
    align(config)


def revoke(config: ServerConfig, name: str, *, reason: str) -> Member:
    """Refuse a hospital from its next message on, and give up what it was asked.

    Raises:
        SettingsError: it is not enrolled, or revoked already.
    """
    why = " ".join(reason.split())[:REASON_LENGTH] or NO_REASON
    member = change_roster(config.folder, partial(_revoking, name=name, reason=why)).named(name)
    server_ledger(config).append(REVOKED, site=name, reason=why, key=member.fingerprint)
    align(config)
    return member


def _revoking(roster: Roster, *, name: str, reason: str) -> Roster:
    member = roster.named(name)
    if member.revoked:
        raise SettingsError(f"'{name}' is {member.standing} already")
    return roster.replacing(replace(member.without_certificate, revoked=now(), reason=reason))


@dataclass(frozen=True, slots=True)
class Renewal:
    """What of a hospital is to change; the rest stays."""

    key: str | None = None
    cases: int | None = None
    certificate: SiteCertificate | None = None


def renew(config: ServerConfig, name: str, renewal: Renewal) -> Member:
    """Change what was agreed with a hospital: its key, its cases; takes one back that is out.

    Its certificate is refused from now on if there is a new one, or a new key: both keys of a
    hospital lie in one folder.

    Raises:
        SettingsError: nothing to change, a key that was used before, or no new key for a hospital
            that was revoked.
    """
    member = change_roster(config.folder, partial(_renewing, name=name, renewal=renewal)).named(
        name
    )
    server_ledger(config).append(
        RENEWED, site=name, cases=member.cases, key=member.fingerprint, serial=member.serial
    )
    align(config)
    return member


def _renewing(roster: Roster, *, name: str, renewal: Renewal) -> Roster:
    key, cases, certificate = renewal.key, renewal.cases, renewal.certificate
    member = roster.named(name)
    if member.revoked and key is None:
        raise SettingsError(
            f"'{name}' was revoked; it is taken back with a new key only",
            hint="the hospital runs 'ghanet-client renew-key' and sends keys/site_key.pub",
        )
    if member.revoked and certificate and certificate.key == member.door_key:
        raise SettingsError(
            f"'{name}' was revoked; this request is of the key that its old certificate had",
            hint="the hospital runs 'ghanet-client renew-key' and sends keys/door.csr too",
        )
    if key is None and cases is None and certificate is None and member.is_active:
        raise SettingsError(
            "nothing to renew", hint="name the new key file, --request FILE.csr or --cases N"
        )
    if cases is not None and cases < 1:
        raise SettingsError(f"{cases} cases cannot be agreed on", hint="--cases 1 or more")
    fresh = replace(member, revoked="", reason="", left="", cases=cases or member.cases)
    if key is not None:
        roster.require_new_key(key)
        former = (*member.former_keys, member.public_key)
        fresh = replace(fresh.without_certificate, public_key=key, former_keys=former)
    if certificate is not None:
        fresh = fresh.with_certificate(certificate)
    return roster.replacing(fresh)


def note_left(config: ServerConfig, name: str) -> None:
    """Write down that a hospital said it has left; it is not asked again."""

    def leaving(roster: Roster) -> Roster:
        return roster.replacing(replace(roster.named(name), left=now()))

    if not read_roster(config.folder).named(name).left:
        change_roster(config.folder, leaving)
        server_ledger(config).append(LEFT, site=name)


def align(config: ServerConfig) -> None:
    """Bring the door, and Flower's list of keys if the server serves, in line with the roster.

    A hospital that left keeps its key: it may come back with it, and is not asked until then.
    """
    write_door_files(config)
    if control.is_serving(config):
        align_keys(config)


def align_keys(config: ServerConfig) -> None:
    """Shut out keys that were revoked or replaced, then let in those that are new."""
    with locked(config.state / NODES_LOCK):
        members = {m.name: m for m in read_roster(config.folder).members if not m.revoked}
        for name, node in control.read_nodes(config).items():
            member = members.get(name)
            if member is None or node.key not in ("", member.public_key):
                control.unregister(config, name=name)
        known = control.read_nodes(config)
        for member in members.values():
            if member.name not in known:
                control.register(config, name=member.name, public_key=member.public_key)
