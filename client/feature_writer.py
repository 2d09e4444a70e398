"""The feature file that we write: TRIDENT's layout, and what TRIDENT does not say of itself.

``features`` (N, D), ``coords`` (N, 2) in level-0 pixels, resolution in microns, encoder with its
digest, and a thumbnail with the patches outlined. It appears whole or not at all.
"""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import h5py
import numpy as np
from numpy.typing import NDArray

from ghanet_model.errors import SlideError
from ghanet_model.extraction import HANDCRAFTED, Extraction
from ghanet_model.files import canonical_json, sha256, sync_folder

from .coords import Coords
from .encoders import Encoder
from .slides import Rgb, SlideFacts, SlideImage
from .tissue import overview

FORMAT = 1
MADE_BY = "federated-ghanet"
THUMBNAIL = 192  # pixels of its longer side
_OUTLINE = (0, 110, 60)
_DAMAGED = (OSError, RuntimeError, KeyError, ValueError, TypeError, cv2.error)
_CHUNK_BYTES = 2**20  # of HDF5; files are read whole


@dataclass(frozen=True, slots=True)
class Maker:
    """What features are made with."""

    extraction: Extraction
    encoder: Encoder

    @property
    def settings(self) -> str:
        """Digest of all that decides the numbers and is not the slide."""
        values = {"format": FORMAT, "cut": self.extraction.cut, "encoder": self.encoder.sha256}
        return sha256(canonical_json(values))


@dataclass(frozen=True, slots=True)
class Source:
    """Which slide file features are of, so that another one is noticed."""

    bytes: int
    fingerprint: str  # OpenSlide's; '': it has none
    mpp: float  # by the slides table; 0: by the file

    @classmethod
    def of(cls, path: Path, facts: SlideFacts, given: float | None) -> "Source":
        """Of a slide as it is now.

        Raises:
            SlideError: its file is gone.
        """
        try:
            size = path.stat().st_size
        except OSError:
            raise SlideError("the file is gone", hint="see 'slide_files' in site.yaml") from None
        return cls(size, facts.fingerprint, given or 0.0)


def is_made(path: Path, source: Source, settings: str) -> bool:
    """Whether a feature file is there, of this slide and these settings."""
    found = _said(path)
    return found == {"made_by": MADE_BY, "settings": settings, **_attributes(source)}


def is_foreign(path: Path) -> bool:
    """Whether a file is there that another program made: it is not ours to replace."""
    return path.exists() and bool(_said(path)) and _said(path)["made_by"] != MADE_BY


def _said(path: Path) -> dict[str, object]:
    """What a feature file says of its making; empty: no such file, or a damaged one."""
    keys = ("made_by", "settings", "slide_bytes", "slide_fingerprint", "slide_mpp")
    try:
        with h5py.File(path, "r") as file:
            return {key: file.attrs.get(key) for key in keys}
    except _DAMAGED:
        return {}


def _attributes(source: Source) -> dict[str, object]:
    return {f"slide_{key}": value for key, value in asdict(source).items()}


def write_features(  # noqa: PLR0913 - what a file says
    path: Path,
    rows: NDArray[np.float32],
    coords: Coords,
    *,
    slide: SlideImage,
    source: Source,
    maker: Maker,
) -> None:
    """Write a feature file of features (N, D), which may lie on disk.

    Raises:
        SlideError: the slide is damaged where its thumbnail is.
        OSError: it cannot be written.
    """
    with _appearing(path) as name, h5py.File(name, "w") as file:
        file.attrs.update(
            {
                "format": FORMAT,
                "made_by": MADE_BY,
                "settings": maker.settings,
                "cut": maker.extraction.cut,
                **_attributes(source),
                "mpp_from": slide.facts.mpp_from,
                "demonstration": maker.encoder.name == HANDCRAFTED,
            }
        )
        features = file.create_dataset("features", data=rows, chunks=_chunks(rows))
        encoder = maker.encoder
        features.attrs.update({"encoder": encoder.name, "encoder_sha256": encoder.sha256})
        placed = file.create_dataset("coords", data=coords.corners)
        placed.attrs.update(_places(slide.facts, coords, maker.extraction))
        for named in (features, placed):
            named.attrs["name"] = path.stem  # TRIDENT's readers want it
        file.create_dataset("thumbnail", data=_packed(thumbnail(slide, coords)))


def _places(facts: SlideFacts, coords: Coords, cut: Extraction) -> dict[str, float]:
    """What TRIDENT says of coordinates, and microns."""
    return {
        "patch_size": cut.pixels,
        "patch_size_level0": coords.side0,
        "level0_magnification": round(10 / facts.mpp),
        "target_magnification": round(10 / cut.mpp),
        "overlap": 0,
        "level0_width": facts.width,
        "level0_height": facts.height,
        "level0_mpp": facts.mpp,
        "target_mpp": cut.mpp,
    }


@contextmanager
def _appearing(path: Path) -> Iterator[Path]:
    """A file beside ``path`` that takes its place, synced, when all is written."""
    handle, name = tempfile.mkstemp(
        dir=path.parent, prefix=".making-"
    )  # its name could be too long
    os.close(handle)
    try:
        yield Path(name)
        with Path(name).open("rb+") as file:
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def _chunks(rows: NDArray[np.float32]) -> tuple[int, int]:
    count, width = rows.shape
    return min(count, max(1, _CHUNK_BYTES // (width * rows.itemsize))), width


def thumbnail(slide: SlideImage, coords: Coords) -> Rgb:
    """The scanned area (h, w, 3), small, with its patches outlined.

    Raises:
        SlideError: the slide is damaged.
    """
    area = slide.facts.scanned
    finer = slide.facts.mpp * max(area.width, area.height) / (2 * THUMBNAIL)
    image, cell = overview(slide, finer)
    scale = THUMBNAIL / max(image.shape[:2])
    size = [max(1, round(side * scale)) for side in (image.shape[1], image.shape[0])]
    small: Rgb = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
    low = (coords.corners - (area.x, area.y)) * scale / cell
    for corner, opposite in zip(low, low + coords.side0 * scale / cell, strict=True):
        first, last = (np.round(end).astype(int).tolist() for end in (corner, opposite))
        cv2.rectangle(small, first, last, _OUTLINE, 1)
    return small


def _packed(image: Rgb) -> NDArray[np.uint8]:
    done, content = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    if not done:
        raise SlideError("its thumbnail cannot be made", hint="look at the slide")
    return np.asarray(content, np.uint8).reshape(-1)


def read_thumbnail(path: Path) -> Rgb | None:
    """The thumbnail (h, w, 3) of a feature file of ours; None of any other."""
    try:
        with h5py.File(path, "r") as file:
            image = cv2.imdecode(np.asarray(file["thumbnail"], np.uint8), cv2.IMREAD_COLOR)
    except _DAMAGED:
        return None
    return None if image is None else np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)
