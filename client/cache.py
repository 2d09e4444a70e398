"""Features kept in memory between epochs and rounds, within a budget of bytes. Never on disk."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import TypeAlias

from torch import Tensor

from ghanet_model.extraction import Extraction

MEGABYTE = 1_000_000
Stamp: TypeAlias = tuple[int, ...]  # mtime and ctime in ns, size in bytes, inode


@dataclass(frozen=True, slots=True)
class CaseFiles:
    """The feature files of one case, and what they were checked to be."""

    paths: tuple[Path, ...]
    width: int
    encoder: str
    extraction: Extraction | None = None


@dataclass(frozen=True, slots=True, eq=False)
class _Held:
    stamps: tuple[Stamp, ...]  # of the files, taken before they were read
    features: Tensor  # (N, D)


class FeatureCache:
    """Features of cases as their files hold them, for as long as the process lives.

    What is in stays in, and more is taken while there is room. An epoch comes by every case, so
    dropping the least recently used would drop each one shortly before it is asked for again: a
    cache a little too small would never help. Here the share that fits is the share not read again.

    An entry goes when one of its files changes or comes to belong to another case, or when
    ``keep_only`` leaves it out. Any thread may use it; nobody may write to what it gives.
    """

    def __init__(self, budget: int) -> None:
        """Hold at most ``budget`` bytes; 0 holds nothing."""
        self.budget = budget
        self._held: dict[CaseFiles, _Held] = {}
        self._lock = Lock()

    @property
    def used(self) -> int:
        """Bytes of the features held."""
        return sum(held.features.nbytes for held in list(self._held.values()))

    def get(self, files: CaseFiles, read: Callable[[], Tensor]) -> Tensor:
        """Features (N, D) of a case: held ones if no file changed since, else ``read()``.

        Raises:
            FeaturesError: whatever ``read`` refuses; a refusal is not remembered.
        """
        stamps = _stamps(files.paths)
        with self._lock:
            held = self._held.get(files)
            if held is not None and held.stamps == stamps:
                return held.features
            self._drop(files.paths)
        features = read()
        with self._lock:
            self._drop(files.paths)
            if stamps is not None and self.used + features.nbytes <= self.budget:
                self._held[files] = _Held(stamps, features)
        return features

    def keep_only(self, paths: Collection[Path]) -> None:
        """Forget every case with a file that is not among ``paths``."""
        kept = set(paths)
        with self._lock:
            self._held = {own: h for own, h in self._held.items() if kept.issuperset(own.paths)}

    def _drop(self, paths: Collection[Path]) -> None:
        """Forget every case with a file among ``paths``."""
        stale = [own for own in self._held if not set(own.paths).isdisjoint(paths)]
        for own in stale:
            del self._held[own]


def _stamps(paths: Collection[Path]) -> tuple[Stamp, ...] | None:
    """What tells whether files changed; None where one cannot be asked, and reading says why."""
    try:
        found = [path.stat() for path in paths]
    except OSError:
        return None
    return tuple((one.st_mtime_ns, one.st_ctime_ns, one.st_size, one.st_ino) for one in found)
