"""Changes of weights as bfloat16 words: half the bytes, the same bits on every machine. No torch.

A change is new minus old weights, rounded to bfloat16: an update on its way to the coordinator, or
the mean of updates on its way back. What is added to weights is always the rounded change, so all
who add it hold the same float32 weights.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import WeightsError

Words = NDArray[np.uint16]  # the upper half of float32: sign, 8 bits exponent, 7 of the fraction
Change = dict[str, Words]
EXPONENT = np.uint16(0x7F80)  # all of these bits: infinite or not a number
MINUS_ZERO = np.uint16(0x8000)  # added to any number, it leaves every bit, a zero's sign too
ROUNDING = 2.0**-8  # |rounded - x| <= ROUNDING |x|, for |x| from 2^-126


def to_words(values: NDArray[np.float32]) -> Words:
    """Round to the nearest bfloat16, a tie to the even word.

    >>> [hex(w) for w in to_words(np.float32([1, 1 + 2**-8, 1 + 3 * 2**-8]))]
    ['0x3f80', '0x3f80', '0x3f82']

    Raises:
        WeightsError: a value is not finite, or too large for bfloat16.
    """
    bits = np.ascontiguousarray(values).view(np.uint32)
    half = np.uint32(0x7FFF) + ((bits >> 16) & 1)  # one less than a half where the word is even
    words = ((bits + half) >> 16).astype(np.uint16)
    if not (np.isfinite(values).all() and is_finite(words)):
        raise WeightsError("a change of weights is not finite")
    return words


def from_words(words: Words) -> NDArray[np.float32]:
    """The values of bfloat16 words, exactly."""
    return (words.astype(np.uint32) << 16).view(np.float32)


def is_finite(array: NDArray[Any]) -> bool:
    """Whether every value is finite; of words, whether every bfloat16 is."""
    if array.dtype == np.uint16:
        return not bool(((array & EXPONENT) == EXPONENT).any())
    return bool(np.isfinite(array).all())


def change_of(
    after: Mapping[str, NDArray[np.float32]], before: Mapping[str, NDArray[np.float32]]
) -> Change:
    """After minus before, array by array.

    Raises:
        WeightsError: a difference is not finite, or too large for bfloat16.
    """
    with np.errstate(over="ignore", invalid="ignore"):  # refused below, not warned of
        return {name: to_words(array - before[name]) for name, array in after.items()}


def apply_change(
    before: Mapping[str, NDArray[np.float32]], change: Mapping[str, Words]
) -> dict[str, NDArray[np.float32]]:
    """Before plus change in float32; arrays that the change does not name keep every bit."""
    return {
        name: array + from_words(change[name]) if name in change else array
        for name, array in before.items()
    }
