"""HDF5 as a stranger may write it: no other file is opened through it, nothing grows on reading.

A dataset may name other files (links, virtual and external storage), claim numbers that are not
there, or hold a chunk that inflates a thousandfold. Each of these is refused before it is read.
"""

import math
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ghanet_model.errors import FeaturesError

from .feature_file import AGAIN, absent, damaged, require_settled, unfinished

FREE = 64 * 2**20  # bytes that any file may ask for
MOST_RATIO = 20  # beyond them: bytes in memory for a byte of the file; gzip reaches 1.3 on features
SMALL_CHUNK = 2**16  # a smaller one cannot inflate to more than FREE
_DEFLATE, _LZF = h5py.h5z.FILTER_DEFLATE, 32000
_PACKERS = {_DEFLATE, _LZF}
_FILTERS = _PACKERS | {h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32}


@contextmanager
def opened(path: Path, where: str) -> Iterator[h5py.File]:
    """An open file; whatever HDF5 finds wrong with it, now or while reading, becomes one error."""
    require_settled(path, "HDF5", where)
    try:
        with h5py.File(path, "r", rdcc_nbytes=0) as file:  # each chunk is read once: keep none
            yield file
    except FileNotFoundError:
        raise absent(where) from None
    except BlockingIOError:
        raise unfinished(where) from None
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, MemoryError, zlib.error):
        raise damaged("HDF5", where) from None


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


def holders(file: h5py.File, names: Sequence[str], where: str) -> tuple[Any, ...]:
    """What may carry attributes: the objects of these names that are there, then the file."""
    found = (own_object(file, name, where) for name in names)
    return (*(one for one in found if one is not None), file)


def text(holders: Sequence[Any], name: str) -> str | None:
    """The first that ``holders`` say of ``name`` in words; '' and 'None' say nothing."""
    for said in _said(holders, name):
        words = said.decode(errors="replace") if isinstance(said, bytes) else said
        if isinstance(words, str) and words not in ("", "None"):
            return words[:100]
    return None


def number(holders: Sequence[Any], name: str) -> float | None:
    """The first number above 0 that ``holders`` say of ``name``."""
    for said in map(np.asarray, _said(holders, name)):
        if said.size == 1 and said.dtype.kind in "iuf" and 0 < said.item() < math.inf:
            return float(said.item())
    return None


def _said(holders: Sequence[Any], name: str) -> Iterator[Any]:
    return (one.attrs[name] for one in holders if name in one.attrs)


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
        raise FeaturesError(f"{where}: not all features were written", hint=AGAIN)
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
        hint=f"{AGAIN}, without compression",
    )
