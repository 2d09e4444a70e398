"""One slide to one feature file. Goes on where it was stopped, to the same numbers."""

from dataclasses import asdict, dataclass, field
from pathlib import Path

import cv2

from ghanet_model.errors import SlideError
from ghanet_model.files import canonical_json, sha256

from .coords import Coords, find_coords, notes_of
from .draft import Draft, Head, draft_of, open_draft
from .encoders import BATCH, Encoder
from .feature_writer import Maker, Source, is_foreign, is_made, write_features
from .slides import SlideImage, open_slide
from .tissue import find_tissue


@dataclass(frozen=True, slots=True)
class Job:
    """A slide to be done."""

    slide: Path = field(repr=False)
    output: Path = field(repr=False)  # the feature file
    mpp: float | None = None  # by the slides table


@dataclass(frozen=True, slots=True)
class Extracted:
    """What became of a slide."""

    patches: int
    warnings: tuple[str, ...]


def is_done(job: Job, settings: str) -> bool:
    """Whether a slide's feature file is there, made by these settings of this file."""
    if draft_of(job.output).exists() or not job.output.exists():
        return False
    try:
        with open_slide(job.slide, mpp=job.mpp) as slide:
            return is_made(job.output, Source.of(job.slide, slide.facts, job.mpp), settings)
    except SlideError:
        return False


def extract(job: Job, maker: Maker) -> Extracted:
    """Make a slide's feature file, in place of one of other settings.

    Raises:
        SlideError: the slide cannot be read, is too coarse or has no patches; nothing stays of it,
            nor of what was made of it by other settings.
        DeploymentError: the encoder failed; what was made stays, to go on with.
        OSError: files cannot be written; the same.
    """
    if is_foreign(job.output):
        raise SlideError(
            "a feature file that was not made here is in its place",
            hint="name another folder as 'features' in site.yaml, or take the file away",
        )
    draft = draft_of(job.output)
    try:
        with open_slide(job.slide, mpp=job.mpp) as slide:
            coords = find_coords(slide.facts, find_tissue(slide), maker.extraction)
            _make(job, slide, coords, maker, draft)
    except SlideError:
        _forget(job)
        raise
    except (cv2.error, MemoryError, ValueError) as error:
        _forget(job)
        raise strange(error) from None
    draft.unlink()
    return Extracted(len(coords), notes_of(slide.facts, maker.extraction))


def strange(error: Exception) -> SlideError:
    """What is said of a slide on which a library failed in a way that nobody foresaw."""
    return SlideError(
        f"cannot be worked on ({type(error).__name__})",
        hint="is it far larger than others? If not, report it with its format",
    )


def _forget(job: Job) -> None:
    for path in (draft_of(job.output), job.output):
        path.unlink(missing_ok=True)


def _make(job: Job, slide: SlideImage, coords: Coords, maker: Maker, draft: Path) -> None:
    source = Source.of(job.slide, slide.facts, job.mpp)
    head = Head(_key(source, slide, coords, maker), len(coords), maker.encoder.width)
    with open_draft(draft, head, batch=BATCH) as growing:
        _encode(growing, slide, coords, maker.encoder)
        rows = growing.rows()
        write_features(job.output, rows, coords, slide=slide, source=source, maker=maker)


def _key(source: Source, slide: SlideImage, coords: Coords, maker: Maker) -> str:
    """A draft of another key is begun again."""
    values = {
        "settings": maker.settings,
        "source": asdict(source),
        "size": [slide.facts.width, slide.facts.height, slide.facts.mpp],
        "corners": sha256(coords.corners.astype("<i8").tobytes()),
    }
    return sha256(canonical_json(values))


def _encode(draft: Draft, slide: SlideImage, coords: Coords, encoder: Encoder) -> None:
    """Batch by batch from where the draft ends."""
    for first in range(draft.done, len(coords), BATCH):
        draft.append(encoder.encode(coords.read(slide, first=first, last=first + BATCH)))
