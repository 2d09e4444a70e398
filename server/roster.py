"""The roster: which hospitals take part, with which key, in which role. The server's only list."""

import datetime as dt
import json
from dataclasses import asdict, dataclass
from functools import reduce
from pathlib import Path
from typing import Any

from ghanet_model.errors import KeysError, SettingsError
from ghanet_model.files import write_json
from ghanet_model.keys import read_site_public_key, site_fingerprint
from ghanet_model.settings import FORMAT
from ghanet_model.study import NAME

ROSTER_FILE = "roster.json"
TRAINS, INFERS = "trains", "infers"


@dataclass(frozen=True, slots=True)
class Member:
    """One enrolled hospital."""

    name: str
    role: str  # TRAINS: evaluates and trains; INFERS: evaluates and receives releases
    has_genes: bool  # its genes are used; False at every site that only infers
    public_key: str  # OpenSSH, one line
    enrolled: str  # UTC, ISO 8601

    @property
    def trains(self) -> bool:
        """Whether it trains."""
        return self.role == TRAINS

    @property
    def fingerprint(self) -> str:
        """Of its key, as ssh-keygen prints it."""
        return site_fingerprint(self.public_key)


@dataclass(frozen=True, slots=True)
class Roster:
    """All enrolled hospitals, by name; sums are taken in this order."""

    members: tuple[Member, ...] = ()

    def names(self) -> tuple[str, ...]:
        """Every hospital's name."""
        return tuple(member.name for member in self.members)

    def training(self) -> tuple[Member, ...]:
        """Those that train."""
        return tuple(member for member in self.members if member.trains)

    def with_genes(self) -> tuple[Member, ...]:
        """Those that train with genes."""
        return tuple(member for member in self.training() if member.has_genes)

    def adding(self, member: Member) -> "Roster":
        """The roster with one more hospital.

        Raises:
            SettingsError: bad name or role, or name or key already enrolled.
        """
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
        for other in self.members:
            if other.name == member.name:
                raise SettingsError(f"'{member.name}' is enrolled already")
            if other.public_key == member.public_key:
                raise SettingsError(
                    f"this key is enrolled already, as '{other.name}'",
                    hint="every hospital makes its own key with 'ghanet-client init'",
                )
        return Roster(tuple(sorted((*self.members, member), key=lambda m: m.name)))


def new_member(name: str, *, role: str, has_genes: bool, key_file: Path) -> Member:
    """A hospital from the public key file it sent.

    Raises:
        KeysError: the file is not a hospital's public key.
        SettingsError: it cannot be read.
    """
    try:
        text = key_file.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError):
        raise SettingsError(f"{key_file}: cannot be read as a public key") from None
    now = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
    key = read_site_public_key(text, where=key_file.name)
    return Member(name=name, role=role, has_genes=has_genes, public_key=key, enrolled=now)


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
    except (OSError, ValueError, KeyError, TypeError, RecursionError, KeysError):
        raise SettingsError(
            f"{ROSTER_FILE}: not a roster", hint="restore it from a backup"
        ) from None


def _member(values: dict[str, Any]) -> Member:
    """A member as the file holds it; a damaged one is a TypeError, ValueError or KeysError."""
    member = Member(**values)
    if type(member.has_genes) is not bool:
        raise TypeError
    if read_site_public_key(member.public_key, where=ROSTER_FILE) != member.public_key:
        raise ValueError
    dt.datetime.fromisoformat(member.enrolled)
    return member


def write_roster(folder: Path, roster: Roster) -> None:
    """Write roster.json."""
    members = [asdict(member) for member in roster.members]
    write_json(folder / ROSTER_FILE, {"format": FORMAT, "members": members})
