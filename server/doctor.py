"""``ghanet-server doctor``: what is checked, in which order. Changes nothing, asks no hospital."""

import datetime as dt
from collections.abc import Iterator
from pathlib import Path

from ghanet_model.certificates import certificate_end, server_certificate_serves
from ghanet_model.doctor import Finding, examined, expiry, fail, ok, private_files, warn, writable
from ghanet_model.errors import GHANetError
from ghanet_model.genes import candidate_groups
from ghanet_model.processes import can_listen
from ghanet_model.study import StudyConfig, read_study

from . import control
from . import doctor_machine as machine
from .config import SERVER_FILE, ServerConfig, read_server
from .door import has_door
from .door_words import door_notes
from .ledger import last_received
from .members import state_of
from .roster import read_roster
from .serve import ready_mark

SETTINGS, FOLDER, KEYS, DATES = "settings", "folder", "keys", "certificate dates"
STUDY, GROUPS, PORT, EXPOSURE, DOOR = "study", "gene groups", "port", "exposure", "door"
ROSTER, HOSPITALS = "roster", "hospitals"
LOOPBACK = ("127.0.0.1", "::1", "localhost")
FEWEST_GENES = 5  # of a group
PUBLIC = (".pub", ".crt", ".crl")  # in keys/: what may be read by anybody


def examine(folder: Path) -> Iterator[Finding]:
    """Every finding about a coordinator's folder, each as soon as it is known."""
    try:
        config = read_server(folder)
    except GHANetError as error:
        yield fail(SETTINGS, str(error), error.hint)
        return
    yield ok(SETTINGS, f"hospitals reach {config.address}, listens on {config.listen}")
    places = (config.folder, config.state, config.logs, config.releases, config.report)
    yield from examined(FOLDER, lambda: [writable(FOLDER, places)])
    yield from examined(KEYS, lambda: _keys(config))
    yield from examined(DATES, lambda: _certificates(config))
    serving = control.is_serving(config)
    yield from examined(PORT, lambda: _port(config, serving=serving))
    yield from examined(EXPOSURE, lambda: _exposure(config))
    yield from examined(ROSTER, lambda: _roster(config))
    yield from examined(HOSPITALS, lambda: _hospitals(config, serving=serving))
    yield from examined(machine.CLOCK, lambda: machine.clock(config))
    yield from _study(config)


def _study(config: ServerConfig) -> Iterator[Finding]:
    """The study, and what it needs of this machine."""
    try:
        study = read_study(config.folder)
    except GHANetError as error:
        yield fail(STUDY, str(error), error.hint)
        return
    yield ok(STUDY, f"{study.name}, digest {study.digest[:16]}, {study.rounds} rounds")
    yield from examined(GROUPS, lambda: _gene_groups(study))
    sites = len(read_roster(config.folder).active())
    yield from examined(machine.DISK, lambda: machine.disk_room(config, study, sites))
    yield from examined(machine.DATABASE, lambda: machine.database(config))
    yield from examined(machine.MEMORY, lambda: machine.memory(study, sites))
    yield from examined(machine.FILES, lambda: machine.open_files(sites))


def _keys(config: ServerConfig) -> Iterator[Finding]:
    """Whether the private keys are there and nobody else's."""
    for name in ("ca.key", "server.key", "release.key"):
        if not (config.keys / name).is_file():
            yield fail(KEYS, f"keys/{name} is missing", "restore keys/ from your backup")
            return
    private = (one for one in sorted(config.keys.iterdir()) if one.suffix not in PUBLIC)
    yield private_files(KEYS, private)


def _certificates(config: ServerConfig) -> Iterator[Finding]:
    """Whether authority and server certificate are in time, and this server's."""
    renewed = "'ghanet-server start' makes a new one; hospitals need nothing new"
    end = certificate_end((config.keys / "server.crt").read_bytes())
    yield expiry(DATES, end, renewed, whose="the server's certificate")
    end = certificate_end((config.keys / "ca.crt").read_bytes())
    to_do = "begin another folder with 'ghanet-server init': hospitals trust this authority only"
    yield expiry(DATES, end, to_do, whose="your authority")
    hosts = [config.host, config.local_host]
    if not server_certificate_serves(config.keys, hosts, days=-36500):  # whatever its dates
        yield fail("host name", f"server.crt does not name {' and '.join(hosts)}", renewed)
    else:
        yield ok("host name", f"server.crt names {' and '.join(dict.fromkeys(hosts))}")


def _port(config: ServerConfig, *, serving: bool) -> Iterator[Finding]:
    """Whether our SuperLink answers, the port is free, or somebody else has it."""
    if serving and ready_mark(config).exists():
        yield ok(PORT, f"SuperLink answers at {config.local_address} with our certificate")
    elif serving:
        what = f"SuperLink answers at {config.local_address}, hospitals are being let in"
        yield warn(PORT, what, "wait until 'ghanet-server start' says that it serves")
    elif can_listen(config.listen, config.port):
        what = f"nothing serves; port {config.port} of {config.listen} is free"
        yield warn(PORT, what, "ghanet-server start")
    else:
        what = f"port {config.port} of {config.listen} cannot be used, and it is not our server's"
        to_do = f"end what runs there, or change 'port' or 'listen' in {SERVER_FILE}"
        yield fail(PORT, what, to_do)


def _exposure(config: ServerConfig) -> Iterator[Finding]:
    """What strangers can reach: SuperLink asks no password for run control."""
    closed = config.listen in LOOPBACK
    if closed and config.host not in LOOPBACK:
        what = f"the server listens on {config.listen} only: no other machine can reach it"
        yield warn(EXPOSURE, what, f"'listen' in {SERVER_FILE}, once there is a door (nginx)")
    elif has_door(config):
        yield ok(EXPOSURE, "a door stands before SuperLink, which listens on the loopback only")
    elif closed:
        yield ok(EXPOSURE, "this machine only; no door, so its programs can start and stop runs")
    else:
        what = (
            f"no door: who reaches port {config.port} of {config.listen} can list and start runs "
            "and register keys, without a password"
        )
        yield warn(EXPOSURE, what, f"install nginx; 'door: auto' in {SERVER_FILE} then uses it")
    notes = door_notes(config, read_roster(config.folder), dt.datetime.now(dt.UTC))
    for note in notes:
        if note.to_do:
            yield warn(DOOR, note.said, note.to_do)
    if notes and not any(note.to_do for note in notes):
        yield ok(DOOR, f"list of refused certificates and {len(notes) - 1} certificates in time")


def _roster(config: ServerConfig) -> Iterator[Finding]:
    """Who is enrolled, and whether a round could have enough of them."""
    roster, study = read_roster(config.folder), read_study(config.folder)
    training = len(roster.training())
    said = (
        f"{len(roster.active())} hospitals take part, {training} train, "
        f"{len(roster.with_genes())} of these with genes"
    )
    needed = max(study.minimum_sites, 1)
    if training < needed:
        yield warn(ROSTER, f"{said}; a round needs {needed}", "ghanet-server enrol")
    elif not roster.with_genes():
        yield warn(ROSTER, said, "enrol one with --genes: without, no study starts")
    else:
        yield ok(ROSTER, said)


def _hospitals(config: ServerConfig, *, serving: bool) -> Iterator[Finding]:
    """Where each hospital in good standing is, and when it was seen last."""
    members = read_roster(config.folder).active()
    if not members:
        return
    nodes, received = control.online_nodes(config) if serving else {}, last_received(config)
    said, away = [], False
    for member in members:
        node = nodes.get(member.name)
        seen = max(received.get(member.name, ""), node.seen if node else "")
        state = state_of(member, nodes, serving=serving) if serving else ""
        away = away or state != "online"
        seen = f"last seen {seen[:16].replace('T', ' ')}" if seen else "never seen"
        said.append(f"{member.name} {f'{state}, ' if state else ''}{seen}")
    line = "; ".join(said)
    if serving and away:
        yield warn(HOSPITALS, line, "ask who is away to run 'ghanet-client doctor'")
    else:
        yield ok(HOSPITALS, line)


def _gene_groups(study: StudyConfig) -> Iterator[Finding]:
    """How many columns each group can have."""
    sizes = {name: len(columns) for name, columns in candidate_groups(study)}
    said = f"{len(sizes)} groups, {min(sizes.values())} to {max(sizes.values())} gene columns each"
    small = [name for name, count in sizes.items() if count < FEWEST_GENES]
    if small:
        what = f"{said}; fewer than {FEWEST_GENES} in {', '.join(small)}"
        yield warn(GROUPS, what, f"are symbols missing in {study.gene_groups}?")
    else:
        yield ok(GROUPS, said)
