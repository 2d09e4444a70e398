"""Encoders as torch programs (.pt2, TorchScript): they run code, so only where they are trusted.

torch reads both with pickle inside. site.yaml says by SHA-256 which file may run; nothing of
another one is opened.
"""

import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from ghanet_model.errors import SlideError
from ghanet_model.extraction import Extraction
from ghanet_model.study import StudyConfig

from .encoders import (
    Features,
    Pixels,
    at_work,
    blank,
    digest_of,
    first_line,
    prepared,
    require_digest,
    require_features,
)

EXPORTED = ".pt2"


@dataclass(frozen=True, slots=True, eq=False)
class ProgramEncoder:
    """A trusted program."""

    name: str
    sha256: str
    width: int
    program: Any = field(repr=False)
    extraction: Extraction
    device: str

    def encode(self, patches: Pixels) -> Features:
        """Features (B, D) of patches (B, P, P, 3)."""
        with at_work(self.name):
            return _run(self.program, patches, self.extraction, name=self.name, device=self.device)


def read_program(
    path: Path, study: StudyConfig, *, trusted: str, threads: int, device: str
) -> ProgramEncoder:
    """A torch program as encoder.

    Raises:
        SlideError: it is not trusted, cannot be loaded, or takes something else than patches.
    """
    digest = digest_of(path)
    if digest != trusted:
        raise SlideError(
            f"encoder file {path.name}: a program, and not the one that site.yaml trusts",
            hint=f"better an ONNX file; if you trust its maker: encoder_trust: {digest}",
        )
    require_digest(digest, study)
    torch.set_num_threads(threads)
    program = _load(path, device)
    first = _run(
        program, blank(study.extraction), study.extraction, name=study.encoder, device=device
    )
    return ProgramEncoder(study.encoder, digest, first.shape[1], program, study.extraction, device)


def _load(path: Path, device: str) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that TorchScript is deprecated
            if path.suffix.lower() == EXPORTED:
                return torch.export.load(path).module().to(device)
            return torch.jit.load(path, map_location=device).eval()  # type: ignore[no-untyped-call]
    except Exception as error:  # noqa: BLE001 - a program may raise anything
        raise SlideError(
            f"encoder file {path.name}: torch cannot load it ({first_line(error)})",
            hint="is it whole, and made by a torch that is not newer than this one?",
        ) from None


def _run(
    program: Any, patches: Pixels, extraction: Extraction, *, name: str, device: str
) -> Features:
    values = torch.from_numpy(prepared(patches, extraction)).to(device)
    try:
        with torch.inference_mode():
            found = program(values)
    except Exception as error:  # noqa: BLE001 - a program may raise anything
        raise SlideError(
            f"the encoder '{name}' does not take patches {tuple(values.shape)} "
            f"({first_line(error)})",
            hint="export it with a free batch size; see input_pixels in study.yaml: extraction",
        ) from None
    first = found[0] if isinstance(found, tuple | list) else found
    if not isinstance(first, torch.Tensor):
        raise SlideError(f"the encoder '{name}' gives no tensor", hint="see docs/encoders.md")
    return require_features(first.float().cpu().numpy(), len(patches), name)
