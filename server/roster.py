"""The roster: which hospitals take part, with which key, in which role. The server's only list.

A hospital that was revoked or that left stays in it, with the time: history is never lost.
"""

import datetime as dt
import fcntl
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import reduce
from pathlib import Path
from typing import Any

from ghanet_model.door import SiteCertificate
from ghanet_model.errors import KeysError, SettingsError
from ghanet_model.files import write_json
from ghanet_model.keys import read_site_public_key, site_fingerprint
from ghanet_model.settings import FORMAT
from ghanet_model.study import NAME

ROSTER_FILE, LOCK_FILE = "roster.json", "roster.lock"
TRAINS, INFERS = "trains", "infers"


@dataclass(frozen=True, slots=True)
class Member:
    """One hospital that was enrolled."""

    name: str
    role: str  # TRAINS: evaluates and trains; INFERS: evaluates and receives releases
    has_genes: bool  # its genes are used; False at every site that only infers
    public_key: str  # OpenSSH, one line
    enrolled: str  # UTC, ISO 8601
    cases: int = 0  # the most that one answer may claim, training and held out together
    revoked: str = ""  # since when, UTC; empty in good standing
    reason: str = ""  # why it was revoked
    left: str = ""  # since when, UTC; empty while it takes part
    former_keys: tuple[str, ...] = ()  # refused for ever, from every hospital
    serial: str = ""  # of its certificate for the door, hexadecimal; empty: it has none
    expires: str = ""  # when that ends, UTC
    door_key: str = ""  # fingerprint of the key of its last certificate
    former_serials: tuple[tuple[str, str], ...] = ()  # refused for ever; since when, UTC

    @property
    def trains(self) -> bool:
        """Whether it trains."""
        return self.role == TRAINS

    @property
    def is_active(self) -> bool:
        """Whether it is in good standing and takes part."""
        return not (self.revoked or self.left)

    @property
    def standing(self) -> str:
        """Since when it takes part no more, in words; empty where it does."""
        if self.revoked:
            return f"revoked since {self.revoked}" + (f" ({self.reason})" if self.reason else "")
        return f"left since {self.left}" if self.left else ""

    @property
    def without_certificate(self) -> "Member":
        """The same hospital, its certificate refused at the door from now on."""
        if not self.serial:
            return self
        former = (*self.former_serials, (self.serial, now()))
        return replace(self, serial="", expires="", former_serials=former)

    def with_certificate(self, certificate: SiteCertificate) -> "Member":
        """The same hospital with a new certificate, the old one refused from now on."""
        return replace(
            self.without_certificate,
            serial=certificate.serial,
            expires=certificate.ends.isoformat(timespec="seconds"),
            door_key=certificate.key,
        )

    @property
    def fingerprint(self) -> str:
        """Of its key, as ssh-keygen prints it."""
        return site_fingerprint(self.public_key)


@dataclass(frozen=True, slots=True)
class Roster:
    """All hospitals that were ever enrolled, by name; sums are taken in this order."""

    members: tuple[Member, ...] = ()

    def names(self) -> tuple[str, ...]:
        """Every hospital's name."""
        return tuple(member.name for member in self.members)

    def active(self) -> tuple[Member, ...]:
        """Those in good standing."""
        return tuple(member for member in self.members if member.is_active)

    def training(self) -> tuple[Member, ...]:
        """Those in good standing that train."""
        return tuple(member for member in self.active() if member.trains)

    def with_genes(self) -> tuple[Member, ...]:
        """Those in good standing that train with genes."""
        return tuple(member for member in self.training() if member.has_genes)

    def named(self, name: str) -> Member:
        """One hospital.

        Raises:
            SettingsError: it was never enrolled.
        """
        for member in self.members:
            if member.name == name:
                return member
        raise SettingsError(f"'{name}' is not enrolled", hint="ghanet-server roster names all")

    def adding(self, member: Member) -> "Roster":
        """The roster with one more hospital.

        Raises:
            SettingsError: bad name or role, or name or key already enrolled.
        """
        _require_usable(member)
        if member.name in self.names():
            hint = "" if self.named(member.name).is_active else "ghanet-server renew takes it back"
            raise SettingsError(f"'{member.name}' is enrolled already", hint=hint)
        for key in (member.public_key, *member.former_keys):
            self.require_new_key(key)
        return Roster(tuple(sorted((*self.members, member), key=lambda m: m.name)))

    def require_new_key(self, key: str) -> None:
        """Refuse a key that any hospital has or had.

        Raises:
            SettingsError: whose it is or was.
        """
        for other in self.members:
            if key == other.public_key:
                raise SettingsError(
                    f"this key is enrolled already, as '{other.name}'",
                    hint="every hospital makes its own key with 'ghanet-client init'",
                )
            if key in other.former_keys:
                raise SettingsError(
                    f"this is a former key of '{other.name}', which is refused for ever",
                    hint="the hospital makes a new key with 'ghanet-client renew-key'",
                )

    def replacing(self, member: Member) -> "Roster":
        """The roster with this hospital as it is now."""
        return Roster(tuple(member if m.name == member.name else m for m in self.members))


def _require_usable(member: Member) -> None:
    if not NAME.fullmatch(member.name):
        raise SettingsError(
            f"hospital name {member.name!r} cannot be used",
            hint="small letters, digits and '-', 63 at most",
        )
    if member.role not in (TRAINS, INFERS):
        raise SettingsError(
            f"role {member.role!r} cannot be used", hint=f"use {TRAINS} or {INFERS}"
        )
    if member.has_genes and not member.trains:
        raise SettingsError(
            "genes are used in training only", hint="leave out --genes or use --role trains"
        )
    if member.cases < 0:
        raise SettingsError(f"'{member.name}' cannot have {member.cases} cases")


def new_member(name: str, *, role: str, has_genes: bool, cases: int | None, key: Path) -> Member:
    """A hospital from the public key file it sent.

    Raises:
        KeysError: the file is not a hospital's public key.
        SettingsError: it cannot be read, or nobody said how many cases it brings.
    """
    if cases is None or cases < 1:
        raise SettingsError(
            f"'{name}' needs a number of cases",
            hint="add --cases N, the most that it may claim, training and held out together, "
            "as agreed with it",
        )
    return Member(
        name=name,
        role=role,
        has_genes=has_genes,
        public_key=read_key_file(key),
        enrolled=now(),
        cases=cases,
    )


def read_key_file(path: Path) -> str:
    """The public key of the file that a hospital sent, as one line."""
    try:
        text = path.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError):
        raise SettingsError(f"{path}: cannot be read as a public key") from None
    return read_site_public_key(text, where=path.name)


def now() -> str:
    """This second, UTC."""
    return dt.datetime.now(dt.UTC).isoformat(timespec="seconds")


def read_roster(folder: Path) -> Roster:
    """Read roster.json; no file is an empty roster.

    Raises:
        SettingsError: the file is not a roster of this format.
    """
    path = folder / ROSTER_FILE
    try:
        values = json.loads(path.read_text())
        if values["format"] != FORMAT:
            raise SettingsError(f"{ROSTER_FILE}: format is {values['format']!r}, expected {FORMAT}")
        return reduce(Roster.adding, map(_member, values["members"]), Roster())
    except FileNotFoundError:
        return Roster()
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, KeysError):
        raise SettingsError(
            f"{ROSTER_FILE}: not a roster", hint="restore it from a backup"
        ) from None


def _member(values: dict[str, Any]) -> Member:
    """A member as the file holds it; a damaged one is a TypeError, ValueError or KeysError."""
    lists = {name: tuple(values.get(name, ())) for name in ("former_keys", "former_serials")}
    lists["former_serials"] = tuple((serial, since) for serial, since in lists["former_serials"])
    member = Member(**{**values, **lists})
    if type(member.has_genes) is not bool or type(member.cases) is not int:
        raise TypeError
    if not all(isinstance(text, str) for text in (member.revoked, member.reason, member.left)):
        raise TypeError
    for key in (member.public_key, *member.former_keys):
        if read_site_public_key(key, where=ROSTER_FILE) != key:
            raise ValueError
    for serial in filter(None, (member.serial, *(one for one, _ in member.former_serials))):
        int(serial, 16)
    times = (member.revoked, member.left, member.expires, *(t for _, t in member.former_serials))
    for time in (member.enrolled, *filter(None, times)):
        dt.datetime.fromisoformat(time)
    if bool(member.serial) != bool(member.expires):
        raise ValueError
    return member


def write_roster(folder: Path, roster: Roster) -> None:
    """Write roster.json."""
    members = [asdict(member) for member in roster.members]
    write_json(folder / ROSTER_FILE, {"format": FORMAT, "members": members})


def change_roster(folder: Path, change: Callable[[Roster], Roster]) -> Roster:
    """Read, change and write the roster; one process at a time, commands and a run alike."""
    with locked(folder / LOCK_FILE):
        changed = change(read_roster(folder))
        write_roster(folder, changed)
        return changed


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock file; the system frees it however the process ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
