"""How slides become features: what all hospitals of a study must do alike. No image, no file."""

import math
import re
from dataclasses import asdict, dataclass

from .errors import SettingsError
from .files import canonical_json, sha256

HANDCRAFTED = "handcrafted-v1"  # the encoder that needs no weights
DEMONSTRATION = "demonstration encoder: hand-made numbers that no study has shown to be of use"
LEAST_MPP, MOST_MPP = 0.05, 20.0  # microns per pixel of a slide; no scanner is finer or coarser
LEAST_MICRONS = 8.0  # side of a patch, a cell or two; smaller ones are too many
_NOT_CUT = ("sha256", "licence")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Extraction:
    """Cutting and encoding of slides; resolution is in microns per pixel, never a magnification."""

    pixels: int = 256  # side of a patch at ``mpp``
    mpp: float = 0.5  # microns per pixel of a patch
    least_tissue: float = 0.25  # share of a patch that must be tissue
    input_pixels: int = 0  # side that the encoder is given, patches are resized to it; 0: pixels
    mean: tuple[float, ...] = ()  # of red, green, blue from 0 to 1; subtracted before encoding
    std: tuple[float, ...] = ()  # what is divided by then
    sha256: str = ""  # of the encoder's file; without it hospitals cannot prove to have the same
    licence: str = ""  # of the encoder; the release comes under its terms

    def __post_init__(self) -> None:
        """Refuse what cannot be cut or encoded."""
        if not 16 <= self.pixels <= 2048:
            raise _wrong("pixels", self.pixels, "16 to 2048")
        if not 0.1 <= self.mpp <= 16:
            raise _wrong("mpp", self.mpp, "0.1 to 16 microns per pixel, most often 0.5")
        if self.microns < LEAST_MICRONS:
            raise _wrong("pixels", self.pixels, f"patches at least {LEAST_MICRONS:g} microns wide")
        if not 0 < self.least_tissue <= 1:
            raise _wrong("least_tissue", self.least_tissue, "a share above 0, 1 at most")
        if self.input_pixels and not 16 <= self.input_pixels <= 2048:
            raise _wrong("input_pixels", self.input_pixels, "16 to 2048, or 0")
        if len(self.mean) not in (0, 3) or len(self.std) != len(self.mean):
            raise _wrong("mean", list(self.mean), "three numbers, and three for 'std'; or neither")
        if not all(0 <= value <= 1 for value in self.mean):
            raise _wrong("mean", list(self.mean), "colours from 0 to 1: those of 255 divided by it")
        if not all(0 < value < math.inf for value in self.std):
            raise _wrong("std", list(self.std), "numbers above 0")
        if self.sha256 and not _SHA256.fullmatch(self.sha256):
            raise _wrong("sha256", self.sha256[:80], "64 digits and letters a to f, or none")

    @property
    def side(self) -> int:
        """Pixels of a patch as the encoder is given it."""
        return self.input_pixels or self.pixels

    @property
    def cut(self) -> str:
        """Digest of all that decides features and is not the encoder: files say it."""
        values = {key: value for key, value in asdict(self).items() if key not in _NOT_CUT}
        return sha256(canonical_json(values | {"input_pixels": self.side}))

    @property
    def microns(self) -> float:
        """Side of a patch on the slide."""
        return self.pixels * self.mpp


def encoder_terms(encoder: str, extraction: Extraction) -> str:
    """What a release, and who reads its answers, must say of the encoder."""
    if encoder == HANDCRAFTED:
        return DEMONSTRATION
    return extraction.licence or "not stated: ask the coordinator before any use"


def _wrong(key: str, value: object, wanted: str) -> SettingsError:
    return SettingsError(f"study.yaml: extraction: '{key}' is {value!r}", hint=f"use {wanted}")
