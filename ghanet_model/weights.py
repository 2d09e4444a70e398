"""Weights as named arrays: fingerprint, check, safetensors. Never pickle."""

import hashlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from .change import Change, is_finite
from .errors import WeightsError

if TYPE_CHECKING:  # it takes a second, and most commands need no model
    import torch

Arrays = dict[str, NDArray[np.float32]]
Update = Arrays | Change  # weights after training, or their change as bfloat16 words


def weights_of(model: "torch.nn.Module") -> Arrays:
    """Copy a model's parameters and buffers to float32 arrays by name."""
    return {
        name: tensor.detach().float().cpu().numpy().copy()
        for name, tensor in model.state_dict().items()
    }


def load_weights(model: "torch.nn.Module", arrays: Mapping[str, NDArray[np.float32]]) -> None:
    """Put arrays into a model of the same shape.

    Raises:
        WeightsError: a name or shape differs, or a value is not finite.
    """
    import torch  # noqa: PLC0415 - see above

    check_same_shape(arrays, weights_of(model))
    model.load_state_dict({name: torch.from_numpy(a.copy()) for name, a in arrays.items()})


def check_same_shape(
    arrays: Mapping[str, NDArray[Any]], like: Arrays, *, dtype: type[np.generic] = np.float32
) -> None:
    """Refuse arrays that differ from ``like`` in names or shapes, or are not finite ``dtype``.

    uint16 stands for bfloat16 words; see ``change``.

    Raises:
        WeightsError: what differs, by array name.
    """
    if missing := sorted(set(like) - set(arrays)):
        raise WeightsError(f"weights lack '{missing[0]}' ({len(missing)} missing)")
    for name, array in arrays.items():
        if name not in like:
            raise WeightsError(f"weights hold '{name[:80]}', which the model does not have")
        if array.dtype != dtype or array.shape != like[name].shape:
            raise WeightsError(
                f"weights '{name}' are {array.dtype} {array.shape}, "
                f"expected {dtype.__name__} {like[name].shape}"
            )
        if not is_finite(array):
            raise WeightsError(f"weights '{name}' are not finite")


def fingerprint_of(arrays: Mapping[str, NDArray[np.float32]]) -> str:
    """SHA-256 over names, shapes and bytes, in the order of the names."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name}|{array.dtype.str}|{array.shape}|".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def to_safetensors(
    arrays: Mapping[str, NDArray[Any]], metadata: Mapping[str, str] | None = None
) -> bytes:
    """Arrays and text metadata as one safetensors file."""
    ordered = {name: np.ascontiguousarray(arrays[name]) for name in sorted(arrays)}
    return bytes(save(ordered, metadata=dict(metadata) if metadata else None))


def from_safetensors(content: bytes, *, where: str) -> Arrays:
    """Read a safetensors file into arrays.

    Raises:
        WeightsError: damaged or not safetensors.
    """
    try:
        return dict(load(content))
    except (SafetensorError, ValueError, KeyError, TypeError):
        raise WeightsError(f"{where}: not a whole safetensors file") from None


def metadata_of(content: bytes) -> dict[str, str]:
    """The text metadata of a safetensors file: JSON header of the length its first 8 bytes say."""
    length = int.from_bytes(content[:8], "little")
    header: dict[str, Any] = json.loads(content[8 : 8 + length])
    return dict(header.get("__metadata__") or {})
