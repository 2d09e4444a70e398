"""``ghanet-server``'s commands about hospitals: enrol, roster, revoke, renew, ledger, receipts."""

import argparse
import datetime as dt
import textwrap
from collections.abc import Mapping
from itertools import chain
from pathlib import Path

from rich.console import Console

from ghanet_model.certificates import WARN_DAYS, certificate_end
from ghanet_model.commands import add_command
from ghanet_model.files import write_atomic
from ghanet_model.invitation import INVITATION_FILE
from ghanet_model.ledger import read_ledger

from . import control
from .config import ServerConfig, read_server
from .control import Node
from .door import has_door
from .door_files import certify, write_certificate
from .door_words import certificate_note, door_lines
from .ledger import in_words, last_received, receipts, server_ledger, verified
from .membership import Renewal
from .membership import enrol as enrol_member
from .membership import renew as renew_member
from .membership import revoke as revoke_member
from .roster import INFERS, TRAINS, Member, Roster, new_member, read_key_file, read_roster
from .setup import refresh_invitation

WIDTH, INDENT = 100, "    "  # columns of tables, and before what stands below a row
COLUMNS = ("hospital", "role", "genes", "cases", "state", "last seen (UTC)")
CERTIFICATES = {"ca.crt": "your authority", "server.crt": "the server"}
console = Console(highlight=False, markup=False, soft_wrap=True)


def enrol(options: argparse.Namespace) -> int:
    """Add a hospital to the roster and let its key in."""
    config = read_server(options.folder)
    member = new_member(
        options.name,
        role=options.role,
        has_genes=options.genes,
        cases=options.cases,
        key=options.key,
    )
    pem = b""
    if options.request:
        certificate, pem = certify(config, member.name, options.request)
        member = member.with_certificate(certificate)
    refresh_invitation(options.folder)  # first: a wrong study leaves nobody half enrolled
    enrol_member(config, member)
    genes = " with genes" if member.has_genes else ""
    console.print(
        f"enrolled {member.name}: {member.role}{genes}, {member.cases} cases at most, "
        f"key {member.fingerprint}"
    )
    console.print(f"compare this fingerprint with the hospital; send it {INVITATION_FILE}")
    _say_certificate(config, member, pem)
    return 0


def _say_certificate(config: ServerConfig, member: Member, pem: bytes) -> None:
    """Where its new certificate lies, or that it needs one."""
    if pem:
        path = write_certificate(config, member.name, pem)
        console.print(
            f"certificate for the door, until {member.expires[:10]}: {path}; its key, to be "
            f"compared too: {member.door_key}"
        )
        console.print(f"send it; there: ghanet-client certificate {path.name}")
    elif has_door(config):
        console.print(str(certificate_note(member, dt.datetime.now(dt.UTC))))


def roster(options: argparse.Namespace) -> int:
    """Show every hospital with its key and state, and until when certificates are valid."""
    config = read_server(options.folder)
    serving = control.is_serving(config)
    nodes = control.online_nodes(config) if serving else {}
    found = read_roster(options.folder)
    now = dt.datetime.now(dt.UTC)
    for line in roster_lines(found, nodes, last_received(config), serving=serving):
        console.print(line)
    for line in (*certificate_lines(config, now), *door_lines(config, found, now)):
        console.print("\n".join(textwrap.wrap(line, WIDTH, subsequent_indent=INDENT)))
    return 0


def roster_lines(
    found: Roster, nodes: Mapping[str, Node], received: Mapping[str, str], *, serving: bool
) -> list[str]:
    """A table: who takes part, in which state; below each its key and since when it is out."""
    rows = [COLUMNS, *(_cells(m, nodes, received, serving=serving) for m in found.members)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    table = [lines[0], "-" * len(lines[0])]
    for line, member in zip(lines[1:], found.members, strict=True):
        below = (f"key {member.fingerprint}", member.standing)
        told = (textwrap.wrap(text, WIDTH - len(INDENT)) for text in below)
        table += [line, *(INDENT + part for part in chain(*told))]
    return [*table, ""]


def _cells(
    member: Member, nodes: Mapping[str, Node], received: Mapping[str, str], *, serving: bool
) -> tuple[str, ...]:
    node = nodes.get(member.name)
    seen = max(received.get(member.name, ""), node.seen if node else "")
    return (
        member.name,
        member.role,
        "yes" if member.has_genes else "no",
        str(member.cases or "?"),
        state_of(member, nodes, serving=serving).split(" since ")[0],
        seen[:16].replace("T", " ") or "never",
    )


def state_of(member: Member, nodes: Mapping[str, Node], *, serving: bool) -> str:
    """Whether a hospital is connected, or since when it takes part no more."""
    if not member.is_active:
        return member.standing
    if not serving:
        return "server not running"
    node = nodes.get(member.name)
    return node.status if node else "not let in yet"


def certificate_lines(config: ServerConfig, now: dt.datetime) -> list[str]:
    """Until when each certificate is valid; a warning where that is soon."""
    lines = []
    for file, whose in CERTIFICATES.items():
        end = certificate_end((config.keys / file).read_bytes())
        left = (end - now).days
        mark = "warning: " if left < WARN_DAYS else ""
        said = f"valid until {end:%Y-%m-%d}, {left} days left" if end > now else "no longer valid"
        lines.append(f"{mark}certificate of {whose}: {said}")
    return lines


def revoke(options: argparse.Namespace) -> int:
    """Refuse one hospital from its next message on; a study goes on without it."""
    member = revoke_member(read_server(options.folder), options.name, reason=options.reason)
    console.print(f"{member.name} is {member.standing}")
    console.print(
        "it gets no more questions or releases, and no answer of it is taken; what it gave before "
        "stays in the model"
    )
    return 0


def renew(options: argparse.Namespace) -> int:
    """Give one hospital a new key, certificate or number of cases; takes one back that is out."""
    key = read_key_file(options.key) if options.key else None
    config = read_server(options.folder)
    name = read_roster(options.folder).named(options.name).name
    certificate, pem = certify(config, name, options.request) if options.request else (None, b"")
    member = renew_member(config, name, Renewal(key, options.cases, certificate))
    console.print(f"renewed {member.name}: {member.cases} cases at most, key {member.fingerprint}")
    if key:
        console.print("its old key is refused; compare the new fingerprint with the hospital")
    _say_certificate(config, member, pem)
    return 0


def ledger(options: argparse.Namespace) -> int:
    """Show the ledger: who was let in and out, what arrived. 'verify' proves it whole."""
    config = read_server(options.folder)
    if options.action == "verify":
        console.print(f"the ledger is whole: {len(verified(config))} lines")
        return 0
    for line in read_ledger(server_ledger(config).path)[-options.last :]:
        console.print(in_words(line))
    return 0


def write_receipts(options: argparse.Namespace) -> int:
    """Write one hospital's receipts: every answer of it that arrived, signed, for it to compare."""
    config = read_server(options.folder)
    name = read_roster(options.folder).named(options.name).name
    content = receipts(config, name)
    output = options.output or options.folder / f"receipts-{name}.jsonl"
    write_atomic(output, content)
    count = len(content.splitlines())
    console.print(f"{count} receipts: {output}")
    console.print(f"send it; there: ghanet-client ledger verify --receipts {output.name}")
    return 0


def add_member_commands(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]",
) -> None:
    """The commands of this module with their options."""
    adding = add_command(commands, "enrol", enrol)
    adding.add_argument("name", help="of the hospital")
    adding.add_argument("key", type=Path, help="the public key file the hospital sent")
    adding.add_argument("--role", choices=(TRAINS, INFERS), required=True)
    adding.add_argument("--genes", action="store_true", help="train with its genes")
    adding.add_argument("--cases", type=int, help="the most that it may claim, as agreed")
    adding.add_argument("--request", type=Path, help="door.csr that it sent: makes a certificate")
    add_command(commands, "roster", roster)
    revoking = add_command(commands, "revoke", revoke)
    revoking.add_argument("name", help="of the hospital")
    revoking.add_argument("--reason", default="", help="for report and ledger")
    renewing = add_command(commands, "renew", renew)
    renewing.add_argument("name", help="of the hospital")
    renewing.add_argument("key", type=Path, nargs="?", help="the new public key file it sent")
    renewing.add_argument("--cases", type=int, help="the most that it may claim from now on")
    renewing.add_argument("--request", type=Path, help="door.csr: a certificate for the old one")
    reading = add_command(commands, "ledger", ledger)
    reading.add_argument("action", nargs="?", choices=("verify",), help="prove it whole")
    reading.add_argument("--last", type=int, default=30, help="lines to show; default: 30")
    proving = add_command(commands, "receipts", write_receipts)
    proving.add_argument("name", help="of the hospital")
    proving.add_argument("--output", type=Path, help="default: receipts-NAME.jsonl in the folder")
