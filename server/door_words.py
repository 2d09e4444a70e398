"""What the coordinator is told of the door: what is exposed, what ends soon, what to do."""

import datetime as dt
from dataclasses import dataclass

from ghanet_model.certificates import WARN_DAYS
from ghanet_model.door import AUTHORITY, LIST_WARN_DAYS, REQUEST_FILE, list_times
from ghanet_model.errors import KeysError

from .config import AUTO, ServerConfig
from .door import has_door
from .roster import Member, Roster


@dataclass(frozen=True, slots=True)
class Note:
    """What is known of the door or a certificate; a warning where something is to be done."""

    said: str
    to_do: str = ""

    def __str__(self) -> str:
        return f"warning: {self.said}; {self.to_do}" if self.to_do else self.said


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


def door_notes(config: ServerConfig, roster: Roster, now: dt.datetime) -> list[Note]:
    """The list's end, and each hospital's certificate; nothing where there is no door."""
    if not has_door(config):
        return []
    notes = [list_note(config, now), *(certificate_note(one, now) for one in roster.members)]
    return [note for note in notes if note]


def door_lines(config: ServerConfig, roster: Roster, now: dt.datetime) -> list[str]:
    """The same, a line each."""
    return list(map(str, door_notes(config, roster, now)))


def status_lines(config: ServerConfig, roster: Roster, now: dt.datetime) -> list[str]:
    """For ``status``: where the door is, the list's end, and certificates that need somebody."""
    if not has_door(config):
        return []
    inner = f"SuperLink behind it at {config.local_address}" if config.inner_port else "not open"
    found = door_lines(config, roster, now)
    return [f"door: nginx; {inner}", *(one for one in found if not one.startswith("certificate "))]


def certificate_note(member: Member, now: dt.datetime) -> Note | None:
    """What is known of a hospital's certificate; None: it takes no part."""
    if not member.is_active:
        return None
    renewing = f"ghanet-server renew {member.name} --request {REQUEST_FILE} (it sends that file)"
    if not member.serial:
        return Note(f"{member.name} has no certificate, the door refuses it", renewing)
    ends = dt.datetime.fromisoformat(member.expires)
    left = (ends - now).days
    if ends <= now:
        return Note(f"certificate of {member.name} ended on {ends:%Y-%m-%d}", renewing)
    said = f"certificate of {member.name}: valid until {ends:%Y-%m-%d}, {left} days left"
    return Note(said, renewing if left < WARN_DAYS else "")


def list_note(config: ServerConfig, now: dt.datetime) -> Note | None:
    """Until when the list of refused certificates is valid; a warning long before it is not."""
    if not (config.keys / f"{AUTHORITY}.key").exists():
        return None
    try:
        _, ends = list_times(config.keys)
    except KeysError as error:
        return Note(str(error), error.hint)
    left = (ends - now).total_seconds() / 86400
    said = f"list of refused certificates: valid until {ends:%Y-%m-%d %H:%M} UTC"
    if left >= LIST_WARN_DAYS:
        return Note(said)
    ended = "it has ended, so the door refuses every hospital" if left <= 0 else ""
    why = ended or "when it ends the door refuses every hospital"
    return Note(
        f"{said}; {why}",
        "'ghanet-server start' writes it anew at once and every day: start it, or see what it says "
        "if it runs",
    )
