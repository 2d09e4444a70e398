"""HDF5 as a stranger may write it: no other file is opened through it, nothing grows on reading.

A dataset may name other files (links, virtual and external storage), claim numbers that are not
there, or hold a chunk that inflates a thousandfold. Each of these is refused before it is read.
"""

import math
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py

from ghanet_model.errors import FeaturesError

FREE = 64 * 2**20  # bytes that any file may ask for
MOST_RATIO = 20  # beyond them: bytes in memory for a byte of the file; gzip reaches 1.3 on features
SMALL_CHUNK = 2**16  # a smaller one cannot inflate to more than FREE
_DEFLATE, _LZF = h5py.h5z.FILTER_DEFLATE, 32000
_PACKERS = {_DEFLATE, _LZF}
_FILTERS = _PACKERS | {h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32}


@contextmanager
def opened(path: Path, where: str) -> Iterator[h5py.File]:
    """An open file; whatever HDF5 finds wrong with it, now or while reading, becomes one error."""
    names = (f"{base}.{mark}" for base in (path.name, path.stem) for mark in ("lock", "part"))
    if any((path.parent / name).exists() for name in names):
        raise unfinished(where)
    if path.exists() and not path.is_file():  # a pipe would keep us waiting
        raise _damaged(where)
    try:
        with h5py.File(path, "r", rdcc_nbytes=0) as file:  # each chunk is read once: keep none
            yield file
    except FileNotFoundError:
        raise FeaturesError(f"{where}: no feature file", hint="extract it") from None
    except BlockingIOError:
        raise unfinished(where) from None
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, MemoryError, zlib.error):
        raise _damaged(where) from None


def _damaged(where: str) -> FeaturesError:
    return FeaturesError(
        f"{where}: the file is damaged, cut short or not HDF5",
        hint="extract the features of this slide again",
    )


def unfinished(where: str) -> FeaturesError:
    """The error of a file that is still being written."""
    return FeaturesError(
        f"{where}: the feature file is not finished",
        hint="wait for feature extraction; if it stopped, delete .lock and .part, run it again",
    )


def own_object(file: h5py.File, name: str, where: str) -> Any:
    """What ``name`` is in this very file; None where it is absent.

    Raises:
        FeaturesError: it is elsewhere: a link, or a dataset stored in other files.
    """
    link = file.get(name, getlink=True)
    if link is None:
        return None
    found = file[name] if isinstance(link, h5py.HardLink) else None
    is_data = isinstance(found, h5py.Dataset)
    if found is None or (is_data and (found.is_virtual or found.external)):
        raise FeaturesError(
            f"{where}: '{name}' is not in the file but linked from it",
            hint="copy the features into one file",
        )
    return found


def require_stored(features: h5py.Dataset, path: Path, where: str) -> None:
    """Refuse a dataset that claims more than its file holds.

    Raises:
        FeaturesError: numbers that were never written, or that would grow on reading.
    """
    claimed = math.prod(features.shape) * features.dtype.itemsize
    chunk = math.prod(features.chunks or ()) * features.dtype.itemsize
    stored = min(features.id.get_storage_size(), path.stat().st_size)
    filters = _filters(features)
    if stored < (claimed if not filters else 1):
        raise FeaturesError(
            f"{where}: not all features were written",
            hint="extract the features of this slide again",
        )
    if not set(filters) <= _FILTERS or sum(one in _PACKERS for one in filters) > 1:
        raise FeaturesError(
            f"{where}: packed in a way that is not read", hint="use gzip, lzf or no compression"
        )
    if max(claimed, chunk) > max(FREE, MOST_RATIO * stored):
        raise _grows(where)
    if filters:
        _require_plain_chunks(features, chunk, where)


def _filters(features: h5py.Dataset) -> list[int]:
    """The filters that chunks went through, in this order."""
    kept = features.id.get_create_plist()
    return [kept.get_filter(place)[0] for place in range(kept.get_nfilters())]


def _require_plain_chunks(features: h5py.Dataset, size: int, where: str) -> None:
    """No chunk is longer than what it holds, and none inflates to more than its ``size``."""
    chunks: list[Any] = []
    features.id.chunk_iter(chunks.append)
    filters = _filters(features)
    deflated = 1 << filters.index(_DEFLATE) if _DEFLATE in filters else 0
    for chunk in (one for one in chunks if one.size > SMALL_CHUNK):
        if chunk.size > size + size // 8 + 1024:
            raise _grows(where)
        if deflated & ~chunk.filter_mask:
            _, content = features.id.read_direct_chunk(chunk.chunk_offset)
            if len(zlib.decompressobj().decompress(content, size + 1)) > size:
                raise _grows(where)


def _grows(where: str) -> FeaturesError:
    return FeaturesError(
        f"{where}: the file is packed so that it grows beyond measure on reading",
        hint="extract the features of this slide again, without compression",
    )
