"""Who may connect: enrol, revoke, renew, left. Each touches one hospital and no other.

The roster is written first, so that a run in progress sees it; then the ledger; Flower's own list
of keys last, now if the server serves, else at its next start.
"""

from dataclasses import replace
from functools import partial

from ghanet_model.errors import SettingsError
from ghanet_model.ledger import ENROLLED, LEFT, RENEWED, REVOKED

from . import control
from .config import ServerConfig
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
    return roster.replacing(replace(member, revoked=now(), reason=reason))


def renew(config: ServerConfig, name: str, *, key: str | None, cases: int | None) -> Member:
    """Change what was agreed with a hospital: its key, its cases; takes one back that is out.

    Raises:
        SettingsError: nothing to change, a key that was used before, or no new key for a hospital
            that was revoked.
    """
    change = partial(_renewing, name=name, key=key, cases=cases)
    member = change_roster(config.folder, change).named(name)
    server_ledger(config).append(RENEWED, site=name, cases=member.cases, key=member.fingerprint)
    align(config)
    return member


def _renewing(roster: Roster, *, name: str, key: str | None, cases: int | None) -> Roster:
    member = roster.named(name)
    if member.revoked and key is None:
        raise SettingsError(
            f"'{name}' was revoked; it is taken back with a new key only",
            hint="the hospital runs 'ghanet-client renew-key' and sends keys/site_key.pub",
        )
    if key is None and cases is None and member.is_active:
        raise SettingsError("nothing to renew", hint="name the new key file, or --cases N")
    if cases is not None and cases < 1:
        raise SettingsError(f"{cases} cases cannot be agreed on", hint="--cases 1 or more")
    fresh = replace(member, revoked="", reason="", left="", cases=cases or member.cases)
    if key is not None:
        roster.require_new_key(key)
        fresh = replace(fresh, public_key=key, former_keys=(*member.former_keys, member.public_key))
    return roster.replacing(fresh)


def note_left(config: ServerConfig, name: str) -> None:
    """Write down that a hospital said it has left; it is not asked again."""

    def leaving(roster: Roster) -> Roster:
        return roster.replacing(replace(roster.named(name), left=now()))

    if not read_roster(config.folder).named(name).left:
        change_roster(config.folder, leaving)
        server_ledger(config).append(LEFT, site=name)


def align(config: ServerConfig) -> None:
    """Bring Flower's list of keys in line with the roster, if the server serves.

    A hospital that left keeps its key: it may come back with it, and is not asked until then.
    """
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
