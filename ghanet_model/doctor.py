"""What both doctors share: findings, how they are said, and what is asked of any machine.

A check changes nothing. One that cannot be made is a finding too, never a traceback.
"""

import datetime as dt
import json
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from .certificates import WARN_DAYS
from .errors import GHANetError
from .files import write_atomic
from .settings import FORMAT

OK, WARN, FAIL = "ok", "warn", "fail"
MEMORY_INFO = Path("/proc/meminfo")
GROUP_LIMITS = (  # of a container: what it may use, what it does, what of that is mere cache
    (
        Path("/sys/fs/cgroup/memory.max"),
        Path("/sys/fs/cgroup/memory.current"),
        "inactive_file",
    ),
    (
        Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
        Path("/sys/fs/cgroup/memory/memory.usage_in_bytes"),
        "total_inactive_file",
    ),
)
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found."""

    name: str  # of the check
    state: str  # OK, WARN or FAIL
    found: str
    to_do: str = ""

    def __str__(self) -> str:
        to_do = f"; to do: {self.to_do}" if self.to_do else ""
        return f"{self.state:<4}  {self.name:<20}  {self.found}{to_do}"


Check = Callable[[], Iterable[Finding]]


def ok(name: str, found: str) -> Finding:
    """All is well."""
    return Finding(name, OK, found)


def warn(name: str, found: str, to_do: str) -> Finding:
    """It works, but may not for long, or could not be told."""
    return Finding(name, WARN, found, to_do)


def fail(name: str, found: str, to_do: str) -> Finding:
    """It does not work."""
    return Finding(name, FAIL, found, to_do)


def examined(name: str, check: Check) -> Iterator[Finding]:
    """The findings of a check; an error that it meets is one."""
    try:
        yield from check()
    except GHANetError as error:
        yield fail(name, str(error), error.hint)
    except OSError as error:
        why = (error.strerror or str(error) or type(error).__name__).lower()
        if error.filename:
            to_do = f"uid {os.geteuid()} must be able to use it"
            yield fail(name, f"{why}: {error.filename}", to_do)
        else:
            yield fail(name, why, "run doctor again; if this stays, ask the other side")


def tell(findings: Iterable[Finding], say: Say, *, side: str, output: str | None) -> int:
    """Say each finding as it comes, and all as JSON where asked; exit code 1 if any is a fail.

    Args:
        findings: of the checks, in their order.
        say: prints a line.
        side: hospital or coordinator, for the JSON.
        output: a file for the JSON; '-': it is said, and nothing else.
    """
    kept = []
    for finding in findings:
        kept.append(finding)
        if output != "-":
            say(str(finding))
    text = findings_json(kept, side=side)
    if output == "-":
        say(text)
    elif output is not None:
        write_atomic(Path(output), f"{text}\n".encode())
    return int(any(finding.state == FAIL for finding in kept))


def findings_json(findings: Iterable[Finding], *, side: str) -> str:
    """Findings for programs."""
    values = {
        "format": FORMAT,
        "side": side,
        "time": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "findings": [asdict(finding) for finding in findings],
    }
    return json.dumps(values, indent=1)


def size(count: float) -> str:
    """Bytes for people.

    >>> size(1_234_000), size(5_600_000_000)
    ('1.2 MB', '5.6 GB')
    """
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"


def expiry(name: str, end: dt.datetime, to_do: str, *, whose: str) -> Finding:
    """Whether a certificate is in time."""
    now = dt.datetime.now(dt.UTC)
    left = (end - now).days
    if end <= now:
        return fail(name, f"{whose} ended on {end:%Y-%m-%d}", to_do)
    said = f"{whose} is valid until {end:%Y-%m-%d}, {left} days left"
    return warn(name, said, to_do) if left < WARN_DAYS else ok(name, said)


def disk(name: str, folder: Path, *, least: float, enough: float, why: str) -> Finding:
    """Whether a folder's disk has room.

    Args:
        name: of the check.
        folder: on that disk.
        least: bytes below which work fails.
        enough: bytes from which on nobody has to think of it.
        why: what needs them, in words.
    """
    found = os.statvfs(folder)
    free = found.f_bavail * found.f_frsize
    said = f"{size(free)} free in {folder}; {why}"
    to_do = f"free {size(max(enough - free, 0))}, or move the folder to another disk"
    if found.f_files and not found.f_favail:
        return fail(name, f"no file can be added in {folder}: no inode is free", "delete files")
    if free < least:
        return fail(name, said, to_do)
    return warn(name, said, to_do) if free < enough else ok(name, said)


def free_memory() -> tuple[int, str]:
    """Bytes that programs may still take, and whose limit that is: the machine's or a group's."""
    lines = MEMORY_INFO.read_text().splitlines()
    found = next(line for line in lines if line.startswith("MemAvailable"))
    limits = [(int(found.split()[1]) * 1024, "this machine")]
    for most, used, cache in GROUP_LIMITS:
        try:
            left = int(most.read_text()) - int(used.read_text())
            left += _statistic(used.with_name("memory.stat"), cache)
        except (OSError, ValueError):  # no such group, or 'max': no limit
            continue
        limits.append((max(left, 0), "this container"))
    return min(limits)


def _statistic(path: Path, name: str) -> int:
    """A line's number; 0 where there is none."""
    if not path.exists():
        return 0
    lines = (line.split() for line in path.read_text().splitlines())
    return next((int(line[1]) for line in lines if line[:1] == [name]), 0)


def private_files(name: str, paths: Iterable[Path]) -> Finding:
    """Whether private keys are readable by their owner, who is this user, and by nobody else."""
    known = [path for path in paths if path.is_file()]
    for path in known:
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & 0o077:
            what = f"{path} has mode {mode:04o}: others on this machine can use it"
            return fail(name, what, f"chmod 600 {path}")
        if not os.access(path, os.R_OK):
            owner = path.stat().st_uid
            what = f"{path} cannot be read by uid {os.geteuid()}, it belongs to uid {owner}"
            return fail(name, what, f"run as uid {owner}, or chown {os.geteuid()} {path}")
    return ok(name, f"{len(known)} private files, readable by their owner only")


def writable(name: str, folders: Iterable[Path]) -> Finding:
    """Whether files can be written: one is, and removed."""
    known = [folder for folder in folders if folder.is_dir()]
    for folder in known:
        probe = folder / f".doctor.{os.getpid()}.part"
        try:
            write_atomic(probe, bytes(4096), private=True)
            probe.unlink()
        except OSError as error:
            what = f"uid {os.geteuid()} cannot write in {folder} ({(error.strerror or '').lower()})"
            owner = folder.stat().st_uid
            return fail(name, what, f"it belongs to uid {owner}; free space, or chown it")
    below = " and the folders in it" if len(known) > 1 else ""
    return ok(name, f"uid {os.geteuid()} can write in {known[0]}{below}")
