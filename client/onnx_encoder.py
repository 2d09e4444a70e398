"""Encoders as ONNX files, by onnxruntime. A file is data: no operators of others are loaded."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

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

WEIGHTS = (".data", "_data")  # what exporters add to a model's name for weights beside it


@dataclass(frozen=True, slots=True, eq=False)
class OnnxEncoder:
    """A session of onnxruntime."""

    name: str
    sha256: str
    width: int
    session: Any = field(repr=False)
    extraction: Extraction

    def encode(self, patches: Pixels) -> Features:
        """Features (B, D) of patches (B, P, P, 3)."""
        with at_work(self.name):
            return _run(self.session, patches, self.extraction, self.name)


def read_onnx(path: Path, study: StudyConfig, *, threads: int, device: str) -> OnnxEncoder:
    """An ONNX file as encoder.

    Raises:
        SlideError: onnxruntime is absent or cannot load the file, or it takes something else than
            patches.
    """
    beside = [path.with_name(path.name + suffix) for suffix in WEIGHTS]
    files = [path, *(one for one in beside if one.is_file())]
    digest = digest_of(*files)
    require_digest(digest, study)
    session = _session(files, threads=threads, device=device)
    width = _run(session, blank(study.extraction), study.extraction, study.encoder).shape[1]
    return OnnxEncoder(study.encoder, digest, width, session, study.extraction)


def _session(files: Sequence[Path], *, threads: int, device: str) -> Any:
    """Load a model that sees these files and no other: a digest covers all that it reads."""
    path = files[0]
    try:
        import onnxruntime  # noqa: PLC0415 - an optional package
    except ImportError:
        raise SlideError(
            "onnxruntime is not installed", hint="pip install 'federated-ghanet[onnx]'"
        ) from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    providers = _providers(onnxruntime.get_available_providers(), device)
    try:
        with TemporaryDirectory(prefix="ghanet-encoder-") as alone:
            for one in files:
                (Path(alone) / one.name).symlink_to(one.resolve())
            session = onnxruntime.InferenceSession(Path(alone) / path.name, options, providers)
    except Exception as error:  # noqa: BLE001 - its errors have no common class
        raise SlideError(
            f"encoder file {path.name}: onnxruntime cannot load it ({first_line(error)})",
            hint="is it whole, with its weights beside it? See docs/encoders.md",
        ) from None
    if len(session.get_providers()) < len(providers):
        raise SlideError(
            f"onnxruntime cannot use '{device}' here",
            hint="does its CUDA fit the driver? 'device: cpu' works everywhere",
        )
    if len(session.get_inputs()) != 1:
        raise SlideError(
            f"encoder file {path.name}: takes {len(session.get_inputs())} inputs",
            hint="export it with patches (batch, 3, height, width) as its only input",
        )
    return session


def _providers(here: Sequence[str], device: str) -> list[Any]:
    """Where it runs.

    Raises:
        SlideError: site.yaml names a GPU that onnxruntime cannot use.
    """
    if not device.startswith("cuda"):
        return ["CPUExecutionProvider"]
    if "CUDAExecutionProvider" not in here:
        raise SlideError(
            "onnxruntime cannot use a GPU here",
            hint="pip install onnxruntime-gpu in place of onnxruntime, or 'device: cpu'",
        )
    number = device.partition(":")[2] or "0"
    return [("CUDAExecutionProvider", {"device_id": number}), "CPUExecutionProvider"]


def _run(session: Any, patches: Pixels, extraction: Extraction, name: str) -> Features:
    values = prepared(patches, extraction)
    try:
        found = session.run(
            [session.get_outputs()[0].name], {session.get_inputs()[0].name: values}
        )[0]
    except Exception as error:  # noqa: BLE001 - its errors have no common class
        raise SlideError(
            f"the encoder '{name}' does not take patches {values.shape} ({first_line(error)})",
            hint="export it with a free batch size; see input_pixels in study.yaml: extraction",
        ) from None
    return require_features(np.asarray(found), len(patches), name)
