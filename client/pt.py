"""Features in .pt files, read without unpickling: what is in a file is data and never runs.

A .pt file is a zip of plain entries: a pickle that describes the tensor, and its numbers. The
description is read as text, see ``pickled``; it must be of one tensor (CLAM, slideflow) or one
numpy array (TRIDENT), and the numbers must be as many as it claims.
"""

import math
import re
import struct
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from ghanet_model.errors import FeaturesError

from .feature_file import (
    AGAIN,
    BLOCK,
    Numbers,
    Origin,
    Stored,
    absent,
    damaged,
    require_patches,
    require_settled,
)
from .pickled import Built, Called, ForeignError, Kept, Named, described

_KIND = "a .pt file"
_ENTRY = re.compile(r"[^/]+/data\.pkl")
_STORAGE = re.compile(r"torch\.(\w{1,20})Storage")
_FLOATS = {"Half": "float16", "Float": "float32", "Double": "float64"}
_ARRAY = re.compile(r"[biufc][0-9]{1,2}")
_ERRORS = (
    OSError, RuntimeError, LookupError, ValueError, TypeError, MemoryError, EOFError,
    OverflowError, zipfile.BadZipFile, struct.error,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Described:
    shape: tuple[int, ...]
    kind: str  # of number, as numpy names it
    entry: str | None  # that holds the numbers of a tensor
    content: bytes = b""  # the numbers of an array
    big_endian: bool = False
    by_column: bool = False

    @property
    def dtype(self) -> np.dtype[np.floating]:
        """The type of the numbers as they are stored."""
        return np.dtype(self.kind).newbyteorder(">" if self.big_endian else "<")


@contextmanager
def opened_pt(path: Path, where: str) -> Iterator[Stored]:
    """The features of a file while it is open.

    Raises:
        FeaturesError: the file is missing, damaged, or holds anything but patch features.
    """
    require_settled(path, _KIND, where)
    try:
        with path.open("rb") as file:
            _require_zip(file.read(1), where)
            with zipfile.ZipFile(file) as archive:
                yield _stored(archive, path.stat().st_size, where)
    except FileNotFoundError:
        raise absent(where) from None
    except ForeignError:
        raise _foreign(where) from None
    except _ERRORS:
        raise damaged(_KIND, where) from None


def _require_zip(start: bytes, where: str) -> None:
    """Refuse what torch wrote before it wrote zips: a bare pickle, or a tar of them."""
    if start == b"\x80":
        raise FeaturesError(
            f"{where}: the .pt file is a bare pickle: never loaded",
            hint="save it again with torch 1.6 or newer",
        )


def _stored(archive: zipfile.ZipFile, size: int, where: str) -> Stored:
    _require_plain(archive, size, where)
    pickles = [name for name in archive.namelist() if _ENTRY.fullmatch(name)]
    if len(pickles) != 1:
        raise _foreign(where)
    root = pickles[0].split("/", maxsplit=1)[0]
    found = _tensor_or_array(archive, root, where)
    patches, width = require_patches(found.shape, found.kind, where)
    _require_as_claimed(archive, found, where)
    if found.entry is None:
        flat = np.frombuffer(found.content, found.dtype)
        rows = flat.reshape(found.shape, order="F") if found.by_column else flat
        values = rows.reshape(patches, width)
        return Stored(patches, width, Origin(), values.copy, lambda: _cut(values))
    blocks = partial(_blocks, archive, found.entry, found.dtype, patches, width)
    whole = partial(_whole, blocks, (patches, width), found.dtype)
    return Stored(patches, width, Origin(), whole, blocks)


def _require_plain(archive: zipfile.ZipFile, size: int, where: str) -> None:
    """Every entry as it is, not packed, and all of them together not longer than the file."""
    entries = archive.infolist()
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise FeaturesError(
            f"{where}: the .pt file is packed", hint="save it again with torch 1.6 or newer"
        )
    if any(entry.file_size != entry.compress_size for entry in entries):
        raise damaged(_KIND, where)
    if sum(entry.file_size for entry in entries) > size:
        raise damaged(_KIND, where)


def _tensor_or_array(archive: zipfile.ZipFile, root: str, where: str) -> _Described:
    match described(archive.read(f"{root}/data.pkl")):
        case Called(
            Named("torch._utils._rebuild_tensor_v2"),
            (
                Kept(("storage", Named(storage), str(key), str(), int(stored))),
                int(start),
                tuple(shape),
                tuple(strides),
                bool(),
                Called(Named("collections.OrderedDict"), ()),
            ),
        ) if named := _STORAGE.fullmatch(storage):
            _require_in_rows(start, shape, strides, stored, where)
            kind = _FLOATS.get(named[1], named[1].lower())
            order = f"{root}/byteorder"
            big = order in archive.namelist() and archive.read(order) == b"big"
            return _Described(shape, kind, f"{root}/data/{key}", big_endian=big)
        case Built(
            Called(
                Named("numpy._core.multiarray._reconstruct" | "numpy.core.multiarray._reconstruct"),
                (Named("numpy.ndarray"), *_),
            ),
            (
                1,
                tuple(shape),
                Built(Called(Named("numpy.dtype"), (str(kind), *_)), (3, str(order), *_)),
                bool(by_column),
                content,
            ),
        ) if _ARRAY.fullmatch(kind):
            named_kind = str(np.dtype(kind))
            text = _bytes_of(content)
            return _Described(_sizes(shape), named_kind, None, text, order == ">", by_column)
    raise ForeignError


def _bytes_of(content: object) -> bytes:
    """Bytes as pickle's second protocol writes them: as text."""
    match content:
        case Called(Named("_codecs.encode"), (str(text), "latin1")):
            return text.encode("latin-1")
        case Called(Named("__builtin__.bytes"), ()):
            return b""
    raise ForeignError


def _sizes(shape: tuple[object, ...]) -> tuple[int, ...]:
    """The same, once every one is a number that an axis can have."""
    sizes = tuple(size for size in shape if type(size) is int and size >= 0)
    if len(sizes) != len(shape):
        raise ForeignError
    return sizes


def _require_in_rows(
    start: int, shape: tuple[object, ...], strides: tuple[object, ...], stored: int, where: str
) -> None:
    """Refuse a view of numbers: one may claim billions of patches that are a single number."""
    sizes = _sizes(shape)
    expected = tuple(math.prod(sizes[axis + 1 :]) for axis in range(len(sizes)))
    in_rows = all(n == 1 or a == b for n, a, b in zip(sizes, strides, expected, strict=True))
    if 0 not in sizes and (start or not in_rows or math.prod(sizes) != stored):
        raise FeaturesError(
            f"{where}: the tensor is a view of other numbers",
            hint="save it again: torch.save(tensor.contiguous().clone(), path)",
        )


def _require_as_claimed(archive: zipfile.ZipFile, found: _Described, where: str) -> None:
    """As many bytes as the shape claims, before any memory is taken for them."""
    entry = found.entry
    held = len(found.content) if entry is None else archive.getinfo(entry).file_size
    if held != math.prod(found.shape) * found.dtype.itemsize:
        raise FeaturesError(f"{where}: not all features were written", hint=AGAIN)


def _blocks(
    archive: zipfile.ZipFile, entry: str, dtype: np.dtype[np.floating], patches: int, width: int
) -> Iterator[Numbers]:
    """The numbers of an entry, patch after patch; at its end the zip's checksum is compared."""
    with archive.open(entry) as file:
        for start in range(0, patches, BLOCK):
            rows = min(BLOCK, patches - start)
            values = np.frombuffer(file.read(rows * width * dtype.itemsize), dtype)
            yield values.reshape(rows, width)


def _whole(
    blocks: Callable[[], Iterator[Numbers]], shape: tuple[int, int], dtype: np.dtype[np.floating]
) -> Numbers:
    values, start = np.empty(shape, dtype), 0
    for block in blocks():
        values[start : start + len(block)] = block
        start += len(block)
    return values


def _cut(values: Numbers) -> Iterator[Numbers]:
    return (values[start : start + BLOCK] for start in range(0, len(values), BLOCK))


def _foreign(where: str) -> FeaturesError:
    return FeaturesError(
        f"{where}: the .pt file holds more than a tensor: never loaded",
        hint="save nothing but the features: torch.save(features, path)",
    )
