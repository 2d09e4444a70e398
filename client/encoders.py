"""Patch encoders: an image of a patch in, its features out. One small interface for all of them."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class Encoder(Protocol):
    """What turns patches into features. The same patch gives the same features in any batch."""

    @property
    def name(self) -> str:
        """As the study names it."""

    @property
    def sha256(self) -> str:
        """Of its weights, or of the code that it is made of."""

    @property
    def width(self) -> int:
        """D: numbers per patch."""

    def encode(self, patches: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Features (B, D) of RGB patches (B, P, P, 3)."""
