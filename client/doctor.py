"""``ghanet-client doctor``: what is checked, in the order in which one fault explains the next.

Changes nothing and names no case. Of the network only the coordinator's own address is asked.
"""

from collections.abc import Iterator
from pathlib import Path

from ghanet_model.doctor import FAIL, Finding, examined, fail, ok, warn
from ghanet_model.errors import GHANetError
from ghanet_model.study import StudyConfig, read_study

from . import doctor_line as line
from . import doctor_machine as machine
from . import doctor_network as network
from . import doctor_site as site
from . import doctor_tls as tls
from .config import SiteConfig, read_site
from .features import FeatureFacts

SETTINGS, BEYOND = "settings", "beyond"


def examine(folder: Path) -> Iterator[Finding]:
    """Every finding about a hospital's folder, each as soon as it is known."""
    try:
        config, study = read_site(folder), read_study(folder)
    except GHANetError as error:
        yield fail(SETTINGS, str(error), error.hint)
        return
    yield ok(SETTINGS, f"{config.name}, study {study.name}, coordinator {config.server}")
    yield from examined(site.FOLDER, lambda: site.folder(config))
    yield from examined(site.KEYS, lambda: site.keys(config))
    yield from examined(site.DOOR, lambda: site.door_certificate(config))
    yield from examined(site.APPROVAL, lambda: site.approval(config))
    yield from _way(config, study)
    yield from _machine(config, study)
    yield from examined(site.APP_USER, lambda: site.app_user(config))


def _way(config: SiteConfig, study: StudyConfig) -> Iterator[Finding]:
    """The way to the coordinator, until it ends."""
    try:
        yield from network.way_to(config.server)
        yield from examined(tls.CHAIN, lambda: _answerer(config, study))
    except network.NoWayError as end:
        yield end.finding
        yield _not_looked_at("what comes after it on the way", end.finding.name)


def _not_looked_at(what: str, name: str) -> Finding:
    return warn(BEYOND, f"{what} were not looked at", f"mend '{name}', then run doctor again")


def _answerer(config: SiteConfig, study: StudyConfig) -> Iterator[Finding]:
    """Who answers there; what needs trust is asked only of the consortium's own."""
    shown = tls.look_at(config)
    found = list(tls.certificate(config, shown))
    yield from found
    bad = next((one.name for one in found if one.state == FAIL), "")
    if bad == tls.CHAIN:
        yield _not_looked_at("clock, key at coordinator and speed", bad)
        return
    yield from examined(line.CLOCK, lambda: line.clock(config, shown))
    if bad:
        yield _not_looked_at("key at coordinator and speed", bad)
        return
    yield from examined(network.KEY, lambda: network.key_at_coordinator(config))
    _, payload = machine.weights_bytes(study)
    minutes = study.round_minutes
    yield from examined(line.SPEED, lambda: line.speed(config, 2 * payload, minutes))


def _machine(config: SiteConfig, study: StudyConfig) -> Iterator[Finding]:
    """Files and machine; features say how much memory and disk are needed."""
    heads: dict[str, FeatureFacts] = {}
    largest = missing = 0
    tables = list(examined(site.TABLES, lambda: site.tables(config)))
    yield from tables
    if all(one.state != FAIL for one in tables):
        cohort = site.listed(config, study)
        yield from examined(site.FEATURES, lambda: site.features(config, study, cohort, heads))
        largest = site.largest_bag(cohort, heads)
        missing = site.to_be_made(config, cohort)
    known = tuple(heads.values())
    yield from examined(machine.DISK, lambda: machine.disk_room(config, study, known, missing))
    yield from examined(machine.MEMORY, lambda: machine.memory(config, study, largest))
    yield from examined(machine.SHARED, machine.shared_memory)
    yield from examined(machine.DEVICE, lambda: machine.device(config, study))
