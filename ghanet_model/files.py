"""Files as the only durable state: written beside their place, synced, then renamed. Never half."""

import errno
import hashlib
import json
import os
import stat
import tempfile
from pathlib import Path
from typing import Any


def write_atomic(path: Path, content: bytes, *, private: bool = False) -> None:
    """Replace ``path`` by ``content`` so that a reader sees the old or the new file, never a part.

    Args:
        path: where to write; missing folders are made.
        content: the whole file.
        private: readable by the owner only (mode 0600 instead of 0644).
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(0o600 if private else 0o644)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def read_file(path: Path, *, most: int) -> bytes:
    """The content of a file from outside; nothing is read of one that is too large.

    Args:
        path: a regular file, or a link to one; a pipe or device would never end.
        most: bytes.

    Raises:
        OSError: no such file, not a regular one, or longer than ``most``.
    """

    def opened(name: str, flags: int) -> int:
        return os.open(name, flags | os.O_NONBLOCK)  # a pipe must not hold us up

    with open(path, "rb", opener=opened) as file:
        facts = os.fstat(file.fileno())
        if not stat.S_ISREG(facts.st_mode):
            raise OSError(errno.EINVAL, "not a regular file", path.name)
        content = file.read(most + 1) if facts.st_size <= most else b""
        if max(facts.st_size, len(content)) > most:
            raise OSError(errno.EFBIG, f"larger than {most} bytes", path.name)
        return content


def sync_folder(folder: Path) -> None:
    """Make a rename in ``folder`` survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def canonical_json(value: Any) -> bytes:
    """The one byte string of a JSON value: sorted keys, no spaces, UTF-8, no NaN."""
    text = json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return text.encode()


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` for people and programs: indented, atomic."""
    write_atomic(path, (json.dumps(value, indent=1, allow_nan=False) + "\n").encode())


def sha256(content: bytes) -> str:
    """SHA-256 as 64 hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()
