"""The coordinator's doctor looks at the machine: disk, database, memory, open files, clock."""

import datetime as dt
import resource
import time
from collections.abc import Iterator
from pathlib import Path

from cryptography import x509

from ghanet_model.doctor import Finding, disk, fail, free_memory, ok, size, warn
from ghanet_model.study import StudyConfig

from .config import ServerConfig
from .ensemble import kept
from .plan_numbers import model_sizes
from .progress import read_progress

DISK, DATABASE, MEMORY, FILES, CLOCK = "disk", "database", "memory", "open files", "clock"
LOGS = 200_000_000  # bytes; logs are set aside and grow no further
LARGE_DATABASE = 20_000_000_000
# measured in round 3 of two hospitals, weights of 57 MB: SuperLink 734 MB, ServerApp 977, SuperExec
# 129, 'start' and 'train' 245 each; SuperLink may hold an answer of each hospital on its way
PROGRAMS, WEIGHTS_IN_MEMORY = 1_800_000_000, 8
FILES_OF_ALL, FILES_OF_ONE = 256, 8  # connections and database; of each hospital
AHEAD_SECONDS = 60.0  # by which a file's time may be in the future


def _weights(study: StudyConfig) -> int:
    return 4 * model_sizes(study, {})["parameters"]


def disk_room(config: ServerConfig, study: StudyConfig, sites: int) -> Iterator[Finding]:
    """Whether the disk holds a round; what comes after it takes the same room again.

    Flower's database takes what a round moves and uses it again: measured 172 MB after the first
    and 181 MB after the sixth round of 227 MB each.
    """
    weights, now = _weights(study), read_progress(config.state)
    moved = max(now.round_bytes) if now and now.round_bytes else 2 * sites * weights
    checkpoints = (kept(study) + 1) * weights  # and the one that is written
    one = sites * weights + moved + checkpoints + LOGS
    why = (
        f"a round needs {size(one)}: messages {size(moved)}, updates put aside "
        f"{size(sites * weights)}, checkpoints {size(checkpoints)}, logs; later ones use it again"
    )
    yield disk(DISK, config.folder, least=one, enough=2 * one, why=why)


def database(config: ServerConfig) -> Iterator[Finding]:
    """How large Flower's database has become; it holds messages in clear."""
    found = sum(path.stat().st_size for path in config.state.glob("superlink.db*"))
    said = f"state/superlink.db takes {size(found)}"
    if found > LARGE_DATABASE:
        yield warn(DATABASE, said, "see that the disk has room for as much again")
    else:
        yield ok(DATABASE, said)


def memory(study: StudyConfig, sites: int) -> Iterator[Finding]:
    """Whether programs and weights fit into memory."""
    weights = _weights(study)
    need = PROGRAMS + (WEIGHTS_IN_MEMORY + sites) * weights
    free, whose = free_memory()
    said = (
        f"{size(free)} free on {whose}; {size(need)} are enough for {sites} hospitals and "
        f"{size(weights)} of weights"
    )
    to_do = "a machine or container with more memory"
    if free < need / 2:
        yield fail(MEMORY, said, to_do)
    elif free < need:
        yield warn(MEMORY, said, f"{to_do}; if a study runs now, it has its part already")
    else:
        yield ok(MEMORY, said)


def open_files(sites: int) -> Iterator[Finding]:
    """Whether as many connections can be open as hospitals need."""
    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    need = FILES_OF_ALL + FILES_OF_ONE * sites
    said = f"{most} may be open, {need} are enough for {sites} hospitals"
    if most != resource.RLIM_INFINITY and most < need:
        yield fail(FILES, said, f"ulimit -n {2 * need}, or LimitNOFILE={2 * need} in the service")
    else:
        yield ok(FILES, said)


def clock(config: ServerConfig) -> Iterator[Finding]:
    """Whether time has passed since anything here was made; nobody else's clock is asked."""
    own = [path for path in _files(config) if path.is_file()]
    newest = max((path.stat().st_mtime for path in own), default=0.0)
    authority = x509.load_pem_x509_certificate((config.keys / "ca.crt").read_bytes())
    now, to_do = time.time(), "set this machine's clock; hospitals' signatures depend on it"
    if newest > now + AHEAD_SECONDS:
        what = f"a file here is {newest - now:.0f} s from the future: the clock was set back"
        yield fail(CLOCK, what, to_do)
    elif now < authority.not_valid_before_utc.timestamp():
        yield fail(CLOCK, "it is before your authority was made", to_do)
    else:
        said = f"{dt.datetime.fromtimestamp(now, dt.UTC):%Y-%m-%d %H:%M:%S} UTC"
        yield ok(CLOCK, f"{said}, after every file here; no other clock was asked")


def _files(config: ServerConfig) -> Iterator[Path]:
    for folder in (config.folder, config.folder / "ledger", config.state, config.logs):
        if folder.is_dir():
            yield from folder.iterdir()
    yield Path(__file__)
