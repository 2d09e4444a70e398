"""Look at every slide before features are made of it: can it be used, how many patches, how long.

Nothing is written but the table. A slide that is refused is named with the reason and a remedy.
"""

import csv
import io
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2

from ghanet_model.errors import SlideError
from ghanet_model.extraction import Extraction
from ghanet_model.files import write_atomic

from .coords import find_coords, notes_of
from .encoders import BATCH, Encoder
from .extract import strange
from .slide_list import ListedSlide
from .slides import SlideFacts, open_slide
from .tissue import Tissue, find_tissue

TABLE_FILE = "slides_check.csv"
TRIED = 3  # slides on which the time of a patch is measured
_COLUMNS = (
    "slide", "row", "state", "vendor", "width", "height", "mpp", "mpp_from", "objective",
    "tissue_mm2", "tissue_share", "patches", "seconds", "said", "hint",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Looked:
    """What a look at a slide found."""

    slide: ListedSlide
    facts: SlideFacts | None = None
    tissue: float = 0.0  # mm2
    share: float = 0.0  # of the scanned area
    patches: int = 0  # expected
    notes: tuple[str, ...] = ()  # what is unusual
    refused: str = ""  # why
    hint: str = ""


def the_file(slide: ListedSlide) -> Path:
    """The one file of a slide.

    Raises:
        SlideError: none or several.
    """
    if len(slide.files) == 1:
        return slide.files[0]
    if slide.wrong:
        raise SlideError(slide.wrong, hint="rename it")
    if slide.files:
        raise SlideError(
            f"{len(slide.files)} files have this name", hint="keep one of them in slide_files"
        )
    raise SlideError("no file of this name", hint="copy it there, or drop its row of the table")


def look_at(slide: ListedSlide, extraction: Extraction) -> Looked:
    """Open a slide, find its tissue, count its patches."""
    facts, tissue = None, None
    try:
        with open_slide(the_file(slide), mpp=slide.mpp) as image:
            facts = image.facts
            tissue = find_tissue(image)
            patches = len(find_coords(facts, tissue, extraction))
    except SlideError as error:
        return Looked(slide, facts, *_amount(tissue), refused=str(error), hint=error.hint)
    except (cv2.error, MemoryError, ValueError) as error:
        wrong = strange(error)
        return Looked(slide, facts, *_amount(tissue), refused=str(wrong), hint=wrong.hint)
    return Looked(
        slide, facts, *_amount(tissue), patches=patches, notes=notes_of(facts, extraction)
    )


def _amount(tissue: Tissue | None) -> tuple[float, float]:
    return (tissue.square_millimetres, tissue.share) if tissue else (0.0, 0.0)


def look_at_all(
    slides: Sequence[ListedSlide],
    extraction: Extraction,
    *,
    workers: int,
    told: Callable[[], None],
) -> list[Looked]:
    """Every slide, in order; ``told`` is called after each."""

    def look(slide: ListedSlide) -> Looked:
        found = look_at(slide, extraction)
        told()
        return found

    with ThreadPoolExecutor(workers) as pool:  # OpenSlide and OpenCV let others run
        return list(pool.map(look, slides))


def seconds_per_patch(
    found: Sequence[Looked], extraction: Extraction, encoder: Encoder
) -> float | None:
    """Reading and encoding, measured on a batch of the first usable slides; None without one."""
    spent, patches = 0.0, 0
    usable = [one.slide for one in found if one.patches]
    for number, slide in enumerate([*usable[:1], *usable[:TRIED]]):  # the first warms up
        try:
            with open_slide(the_file(slide), mpp=slide.mpp) as image:
                coords = find_coords(image.facts, find_tissue(image), extraction)
                began = time.monotonic()
                pixels = coords.read(image, first=0, last=BATCH)
        except SlideError:
            continue
        encoder.encode(pixels)
        if number:
            spent, patches = spent + time.monotonic() - began, patches + len(pixels)
    return spent / patches if patches else None


def write_table(folder: Path, found: Sequence[Looked], seconds: float | None) -> Path:
    """Everything as CSV, readable by its owner only."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    writer.writerows(_row(one, seconds) for one in found)
    path = folder / TABLE_FILE
    write_atomic(path, text.getvalue().encode(), private=True)
    return path


def _row(one: Looked, seconds: float | None) -> list[object]:
    facts = one.facts
    of_file: list[object] = [""] * 6
    if facts:
        objective = facts.objective or ""
        of_file = [facts.vendor, facts.width, facts.height, facts.mpp, facts.mpp_from, objective]
    amount = (f"{one.tissue:.3f}", f"{one.share:.4f}", one.patches)
    long = "" if seconds is None else f"{seconds * one.patches:.1f}"
    said = one.refused or "; ".join(one.notes)
    state = "refused" if one.refused else "usable"
    return [one.slide.name, one.slide.row or "", state, *of_file, *amount, long, said, one.hint]
