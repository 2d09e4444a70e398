"""Patch encoders: pixels of patches in, features out. One small interface for all of them.

The study says which encoder, by name and digest, and how patches are prepared for it; a hospital
brings the file. An ONNX file is data. A torch program is not: it runs only where site.yaml trusts
this very file.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ghanet_model.errors import DeploymentError, GHANetError, SlideError
from ghanet_model.extraction import HANDCRAFTED, Extraction
from ghanet_model.study import StudyConfig

ONNX_SUFFIX = ".onnx"
PROGRAM_SUFFIXES = (".pt2", ".ts", ".pt")
BATCH = 32  # patches encoded together, always the same ones, so that results repeat

Pixels = NDArray[np.uint8]  # (B, P, P, 3) red, green, blue
Features = NDArray[np.float32]  # (B, D)


class Encoder(Protocol):
    """What turns patches into features."""

    @property
    def name(self) -> str:
        """As the study names it."""

    @property
    def sha256(self) -> str:
        """Of its weights, or of the code that it is made of."""

    @property
    def width(self) -> int:
        """D: numbers per patch."""

    def encode(self, patches: Pixels) -> Features:
        """Features (B, D) of patches (B, P, P, 3)."""


@dataclass(frozen=True, slots=True)
class EncoderFile:
    """A hospital's encoder: where it is, and which program it trusts."""

    path: Path | None
    trusted: str = ""  # SHA-256 of a torch program that may run


def load_encoder(study: StudyConfig, file: EncoderFile, *, threads: int, device: str) -> Encoder:
    """The study's encoder, ready to be used.

    Args:
        study: names the encoder and what it is given.
        file: of this hospital.
        threads: of the CPU.
        device: as in site.yaml.

    Raises:
        SlideError: no file, another encoder than the study's, one that cannot run here.
    """
    if study.encoder == HANDCRAFTED:
        return _proven(_handcrafted(file), study)
    if file.path is None:
        raise SlideError(
            f"no file of the encoder '{study.encoder}'",
            hint="name it in site.yaml: encoder_file: MODEL.onnx; see docs/encoders.md",
        )
    if not file.path.is_file():
        raise SlideError(f"encoder file {file.path.name}: not found", hint="see site.yaml")
    return _proven(_read(study, file.path, file.trusted, threads=threads, device=device), study)


def _handcrafted(file: EncoderFile) -> Encoder:
    from .handcrafted import HandcraftedEncoder  # noqa: PLC0415 - only where it is used

    if file.path is not None:
        raise SlideError(
            f"the encoder {HANDCRAFTED} needs no file", hint="take encoder_file out of site.yaml"
        )
    return HandcraftedEncoder()


def _read(study: StudyConfig, path: Path, trusted: str, *, threads: int, device: str) -> Encoder:
    suffix = path.suffix.lower()
    if suffix == ONNX_SUFFIX:
        from .onnx_encoder import read_onnx  # noqa: PLC0415 - an optional package

        return read_onnx(path, study, threads=threads, device=device)
    if suffix in PROGRAM_SUFFIXES:
        from .torch_encoder import read_program  # noqa: PLC0415 - torch takes seconds

        return read_program(path, study, trusted=trusted, threads=threads, device=device)
    raise SlideError(
        f"encoder file {path.name}: no ONNX file", hint="export it to ONNX, see docs/encoders.md"
    )


def require_digest(found: str, study: StudyConfig) -> None:
    """Refuse another encoder than the study's, before anything of it is loaded.

    Raises:
        SlideError: the study names another digest.
    """
    wanted = study.extraction.sha256
    if wanted and found != wanted:
        raise SlideError(
            f"the encoder has digest {found}, the study's '{study.encoder}' has {wanted}",
            hint="get the file that the coordinator means; another version gives other features",
        )


def _proven(encoder: Encoder, study: StudyConfig) -> Encoder:
    """The encoder, if it is the study's.

    Raises:
        SlideError: another digest or width.
    """
    require_digest(encoder.sha256, study)
    if encoder.width != study.feature_width:
        raise SlideError(
            f"the encoder gives {encoder.width} numbers per patch, the study has "
            f"{study.feature_width}",
            hint="is it the study's encoder, without its classification head?",
        )
    return encoder


def prepared(patches: Pixels, extraction: Extraction) -> NDArray[np.float32]:
    """Patches (B, 3, P, P) as networks take them: from 0 to 1, less the mean, by the deviation."""
    values = np.ascontiguousarray(patches.transpose(0, 3, 1, 2), dtype=np.float32)
    values /= 255
    if extraction.mean:
        values -= np.array(extraction.mean, np.float32)[:, None, None]
        values /= np.array(extraction.std, np.float32)[:, None, None]
    return values


def blank(extraction: Extraction) -> Pixels:
    """A white patch (1, P, P, 3), to ask an encoder for its width."""
    return np.full((1, extraction.side, extraction.side, 3), 255, np.uint8)


def require_features(found: object, patches: int, name: str) -> Features:
    """What an encoder gave, as features.

    Raises:
        SlideError: another shape than (B, D), or numbers that are none.
    """
    values = np.asarray(found)
    if values.ndim != 2 or values.shape[0] != patches or values.dtype.kind != "f":
        raise SlideError(
            f"the encoder '{name}' gives {values.dtype} of shape {values.shape}",
            hint="its first output must be (patches, width): pool tokens before exporting it",
        )
    if not np.isfinite(values).all():
        raise SlideError(
            f"the encoder '{name}' gives numbers that are not finite",
            hint="was it exported in float16? Use float32",
        )
    return values.astype(np.float32, copy=False)


@contextmanager
def at_work(name: str) -> Iterator[None]:
    """What an encoder that was tried before does wrong is not the slide's fault: it ends the run.

    Raises:
        DeploymentError: in place of its error.
    """
    try:
        yield
    except GHANetError as error:
        raise DeploymentError(
            f"the encoder '{name}' failed while it worked: {error}",
            hint="out of memory? Use fewer --workers. What was made is kept: run it again",
        ) from None


def digest_of(*paths: Path) -> str:
    """SHA-256 of a file; of several, of their digests one after the other."""
    digests = []
    for path in paths:
        with path.open("rb") as file:
            digests.append(hashlib.file_digest(file, "sha256").hexdigest())
    return (
        digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()
    )


def first_line(error: Exception) -> str:
    """What a library says of an error, fit for one line of ours."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
