"""Random numbers for privacy, from the operating system: no seed, so nobody can repeat them.

A seed that others know lets them subtract the noise and name the cases that were drawn. Training
of a study without privacy uses its seed; nothing here does.
"""

import os
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

MANTISSA = 53  # bits of a float64 below 1
SUMMED = 4  # normal numbers in each that is given out
AT_ONCE = 1 << 16  # normal numbers made together; what they need fits into a cache


def uniforms(count: int) -> NDArray[np.float64]:
    """``count`` independent numbers above 0 and up to 1, of 53 random bits each."""
    whole = np.frombuffer(os.urandom(8 * count), np.uint64) >> np.uint64(64 - MANTISSA)
    return (whole.astype(np.float64) + 1.0) * 2.0**-MANTISSA


def normals(count: int) -> NDArray[np.float64]:
    """``count`` independent normal numbers, mean 0 and deviation 1.

    By Box and Muller; each is half the sum of four, so that it cannot be traced to the few
    floating-point numbers that one pair of uniform numbers can give (Holohan & Braghin 2021,
    "Secure random sampling in differential privacy", section 5; Opacus' secure mode does so too).
    """
    parts = [_some_normals(min(AT_ONCE, count - at)) for at in range(0, count, AT_ONCE)]
    return np.concatenate(parts) if parts else np.empty(0)


def seeds() -> Iterator[int]:
    """Seeds below 2^63 that nobody else knows, for generators that need one."""
    while True:
        yield int.from_bytes(os.urandom(8), "little") >> 1


def drawn(cases: int, rate: float) -> list[int]:
    """Poisson sampling: each of ``cases`` by itself with chance ``rate``; often another number.

    None at all is a sample like any other.
    """
    found: list[int] = np.flatnonzero(uniforms(cases) <= rate).tolist()
    return found


def _some_normals(count: int) -> NDArray[np.float64]:
    pairs = -(-count * SUMMED // 2)
    radius = np.sqrt(-2.0 * np.log(uniforms(pairs)))
    angle = 2.0 * np.pi * uniforms(pairs)
    both = np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])
    half: NDArray[np.float64] = both[: count * SUMMED].reshape(SUMMED, count).sum(axis=0) / 2.0
    return half
