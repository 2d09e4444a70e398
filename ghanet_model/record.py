"""Record: what travels, named scalars and arrays; trusted only after it was read. No Flower."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from .errors import ProtocolError, RefusedError, WeightsError
from .files import sha256
from .weights import from_safetensors, to_safetensors
from .wire import ERROR

LARGEST = 2.0**53  # of a number: no count or sum of ours comes near, and sums of such stay finite
_CODE = re.compile(r"[a-z_]{1,39}")  # of an error
Scalar: TypeAlias = int | float | str | bool
Vector: TypeAlias = (
    NDArray[np.float64] | NDArray[np.float32] | NDArray[np.uint16] | NDArray[np.uint8]
)


def digest_of(values: Mapping[str, Scalar], blob: NDArray[np.uint8]) -> str:
    """SHA-256 by which both sides' ledgers know a record: of its scalars and its arrays' bytes."""
    content = {"values": dict(values), "arrays": sha256(blob.tobytes())}
    return sha256(json.dumps(content, sort_keys=True).encode())  # of whatever came, NaN too


@dataclass(frozen=True, slots=True)
class Record:
    """What travels: named scalars and named arrays."""

    values: Mapping[str, Scalar]
    arrays: Mapping[str, Vector] = field(default_factory=dict)
    size: int = field(default=0, compare=False)  # bytes of the arrays as they arrived
    digest: str = field(default="", compare=False)  # of what arrived, see ``digest_of``

    def packed(self) -> NDArray[np.uint8]:
        """All arrays as the bytes of one safetensors file: one object on the wire, no pickle."""
        return np.frombuffer(to_safetensors(self.arrays), np.uint8)

    @classmethod
    def unpack(cls, values: Mapping[str, object], blob: NDArray[np.uint8]) -> "Record":
        """The record of what arrived; a coded refusal is a ``RefusedError``.

        Raises:
            RefusedError: the other side sent an error code instead of an answer.
            ProtocolError: a value or the arrays are not what a record holds.
        """
        code = values.get(ERROR)
        if isinstance(code, str):
            raise RefusedError(code if _CODE.fullmatch(code) else "protocol")
        if blob.dtype != np.uint8 or blob.ndim != 1:
            raise ProtocolError("message has arrays that are not safetensors")
        scalars = {k: v for k, v in values.items() if isinstance(v, (bool, int, float, str))}
        try:
            arrays = from_safetensors(blob.tobytes(), where="message")
            return cls(scalars, arrays, blob.size, digest_of(scalars, blob))
        except WeightsError as error:
            raise ProtocolError(str(error)) from None

    def value(self, key: str, kind: type[Scalar]) -> Scalar:
        """The scalar ``key``, of exactly this type.

        Raises:
            ProtocolError: absent, or of another type.
        """
        found = self.values.get(key)
        if type(found) is not kind:
            raise ProtocolError(f"message lacks '{key}' ({kind.__name__})")
        return found

    def text(self, key: str) -> str:
        """A string."""
        return str(self.value(key, str))

    def whole(self, key: str) -> int:
        """A count: a whole number, not negative."""
        number = int(self.value(key, int))
        if not 0 <= number <= LARGEST:
            what = "a negative" if number < 0 else "too large a"
            raise ProtocolError(f"message has {what} '{key}'")
        return number

    def number(self, key: str) -> float:
        """A finite number, small enough to be added and squared."""
        number = float(self.value(key, float))
        if not abs(number) <= LARGEST:
            raise ProtocolError(f"message has '{key}' that is not finite or too large")
        return number

    def flag(self, key: str) -> bool:
        """A yes or no."""
        return bool(self.value(key, bool))

    def array(self, key: str, dtype: type[np.generic], size: int | None = None) -> Vector:
        """A finite one-dimensional array of this type, and of this size if given."""
        found = self.arrays.get(key)
        if found is None or found.dtype != dtype or found.ndim != 1:
            raise ProtocolError(f"message lacks '{key}' (1-d {dtype.__name__})")
        if size is not None and len(found) != size:
            raise ProtocolError(f"message has {len(found)} values of '{key}', expected {size}")
        if not np.isfinite(found).all():
            raise ProtocolError(f"message has '{key}' that is not finite")
        return found
