"""A slide's features while they are made: one file that only grows, so that any kill loses little.

A head of fixed length says what is made; rows of numbers follow. How far it has come is its length:
a row that was half written is cut off, and whatever is not as the head says is begun again.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

HEAD_BYTES = 4096
SUFFIX = ".part"  # SLIDE.h5.part; also tells readers of features that the slide is not finished
_NUMBER = np.dtype("<f4")


@dataclass(frozen=True, slots=True)
class Head:
    """What a draft is of."""

    key: str  # digest of slide, grid and encoder
    patches: int  # N, when it is done
    width: int  # D

    @property
    def row_bytes(self) -> int:
        """Bytes of a patch's features."""
        return self.width * _NUMBER.itemsize

    def packed(self) -> bytes:
        """As the first bytes of the file."""
        text = json.dumps({"key": self.key, "patches": self.patches, "width": self.width})
        return text.encode().ljust(HEAD_BYTES - 1) + b"\n"


def draft_of(path: Path) -> Path:
    """Where the draft of a feature file is."""
    return path.with_name(path.name + SUFFIX)


def progress_of(draft: Path) -> tuple[int, int] | None:
    """Patches done and in all; None where there is no draft yet. Reads while it is written."""
    try:
        with draft.open("rb") as file:
            head = Head(**json.loads(file.read(HEAD_BYTES)))
            size = os.fstat(file.fileno()).st_size
    except (OSError, ValueError, TypeError):
        return None
    return (size - HEAD_BYTES) // head.row_bytes, head.patches


@dataclass(slots=True, eq=False)
class Draft:
    """An open draft."""

    head: Head
    path: Path = field(repr=False)
    file: IO[bytes] = field(repr=False)
    done: int  # patches

    def append(self, rows: NDArray[np.float32]) -> None:
        """Add features (B, D)."""
        self.file.write(np.ascontiguousarray(rows, _NUMBER).tobytes())
        self.file.flush()
        self.done += len(rows)

    def rows(self) -> NDArray[np.float32]:
        """All features (N, D), on disk."""
        shape = (self.head.patches, self.head.width)
        return np.memmap(self.path, _NUMBER, "r", offset=HEAD_BYTES, shape=shape)


@contextmanager
def open_draft(path: Path, head: Head, *, batch: int) -> Iterator[Draft]:
    """Go on with a draft, or begin one.

    Args:
        path: of the draft.
        head: what is wanted; a draft of something else is begun again.
        batch: patches that are made together; an unfinished batch is made again, since how many
            are encoded together may show in the last bits.
    """
    done = _rows_in(path, head)
    if done < head.patches:
        done -= done % batch
    kept = 0 if done else os.O_TRUNC
    with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | kept, 0o600), "r+b") as file:
        if not done:
            file.write(head.packed())
        file.truncate(HEAD_BYTES + done * head.row_bytes)
        file.seek(0, os.SEEK_END)
        file.flush()
        yield Draft(head, path, file, done)


def _rows_in(path: Path, head: Head) -> int:
    """Whole rows of a draft that is of this head."""
    try:
        with path.open("rb") as file:
            same = file.read(HEAD_BYTES) == head.packed()
            size = os.fstat(file.fileno()).st_size
    except OSError:
        return 0
    return min((size - HEAD_BYTES) // head.row_bytes, head.patches) if same else 0
