"""What the coordinator is told of the door: what is exposed, what ends soon, what to do."""

import datetime as dt

from ghanet_model.certificates import WARN_DAYS
from ghanet_model.door import AUTHORITY, LIST_WARN_DAYS, REQUEST_FILE, list_times
from ghanet_model.errors import KeysError

from .config import AUTO, ServerConfig
from .door import has_door
from .roster import Member, Roster


def door_line(config: ServerConfig) -> str:
    """What stands between hospitals and run control, in one plain line."""
    place = f"{config.listen}:{config.port}"
    if config.inner_port:
        return (
            f"door: nginx at {place} passes ten paths to hospitals with a certificate; run control "
            f"answers at {config.local_address} only, to every program of this machine"
        )
    why = "nginx is not installed" if config.door == AUTO else "server.yaml says so"
    here = config.listen in ("127.0.0.1", "localhost", "::1")
    whom = "every program of this machine" if here else "everybody who reaches it"
    return (
        f"warning: no door ({why}): {place} answers run control and node registration to {whom}, "
        "without a password"
    )


def door_lines(config: ServerConfig, roster: Roster, now: dt.datetime) -> list[str]:
    """The list's end, and each hospital's certificate; nothing where there is no door."""
    if not has_door(config):
        return []
    lines = [list_line(config, now), *(certificate_line(one, now) for one in roster.members)]
    return [line for line in lines if line]


def status_lines(config: ServerConfig, roster: Roster, now: dt.datetime) -> list[str]:
    """For ``status``: where the door is, the list's end, and certificates that need somebody."""
    if not has_door(config):
        return []
    inner = f"SuperLink behind it at {config.local_address}" if config.inner_port else "not open"
    found = door_lines(config, roster, now)
    return [f"door: nginx; {inner}", *(one for one in found if not one.startswith("certificate "))]


def certificate_line(member: Member, now: dt.datetime) -> str:
    """What is known of a hospital's certificate; a warning where something is to be done."""
    if not member.is_active:
        return ""
    if not member.serial:
        return (
            f"warning: {member.name} has no certificate, the door refuses it: {_renewing(member)}"
        )
    ends = dt.datetime.fromisoformat(member.expires)
    left = (ends - now).days
    if ends <= now:
        return (
            f"warning: certificate of {member.name} ended on {ends:%Y-%m-%d}: {_renewing(member)}"
        )
    mark = f"; {_renewing(member)}" if left < WARN_DAYS else ""
    said = f"certificate of {member.name}: valid until {ends:%Y-%m-%d}, {left} days left"
    return f"warning: {said}{mark}" if mark else said


def _renewing(member: Member) -> str:
    return f"ghanet-server renew {member.name} --request {REQUEST_FILE} (it sends that file)"


def list_line(config: ServerConfig, now: dt.datetime) -> str:
    """Until when the list of refused certificates is valid; a warning long before it is not."""
    if not (config.keys / f"{AUTHORITY}.key").exists():
        return ""
    try:
        _, ends = list_times(config.keys)
    except KeysError as error:
        return f"warning: {error}; {error.hint}"
    left = (ends - now).total_seconds() / 86400
    said = f"list of refused certificates: valid until {ends:%Y-%m-%d %H:%M} UTC"
    if left >= LIST_WARN_DAYS:
        return said
    ended = "it has ended, so the door refuses every hospital" if left <= 0 else ""
    why = ended or "when it ends the door refuses every hospital"
    return (
        f"warning: {said}; {why}. 'ghanet-server start' writes it anew at once and every day: "
        "start it, or see what it says if it runs"
    )
