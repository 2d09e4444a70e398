"""Which slides a hospital has: rows of its slides table, matched with files."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import openslide
from openslide import OpenSlideError

from ghanet_model.errors import SettingsError
from ghanet_model.study import StudyConfig

from .cohort import require_cohort
from .config import SITE_FILE, SiteConfig
from .features import slide_stem
from .slides import FOREIGN, SUFFIXES

DICOM = ".dcm"
SERIES = "dicom.SeriesInstanceUID"


@dataclass(frozen=True, slots=True)
class ListedSlide:
    """A slide of the table, or a file where there is no table."""

    name: str = field(repr=False)  # as feature files name it
    files: tuple[Path, ...] = field(repr=False)  # none: not found; several: which one is meant?
    row: int | None = None  # of the slides table
    mpp: float | None = None  # by the table


@dataclass(frozen=True, slots=True)
class SlideList:
    """All of them."""

    slides: tuple[ListedSlide, ...]
    unlisted: tuple[str, ...] = field(repr=False)  # names of files that no row names
    notes: tuple[str, ...] = ()


def list_slides(config: SiteConfig, study: StudyConfig) -> SlideList:
    """Match table and files.

    Raises:
        SettingsError: site.yaml names no folder of slides, or it is not there.
        CohortError, FeaturesError: the slides table cannot be used, or is for another encoder.
    """
    if config.slide_files is None:
        raise SettingsError(
            f"{SITE_FILE}: 'slide_files' is missing", hint="name the folder with your slides"
        )
    if not config.slide_files.is_dir():
        raise SettingsError(
            f"{SITE_FILE}: slide_files: folder not found", hint=f"see 'slide_files' in {SITE_FILE}"
        )
    files, notes = find_files(config.slide_files)
    if not config.slides.exists():
        said = f"{config.slides.name} is not there yet: every slide file is taken"
        slides = [ListedSlide(name, paths) for name, paths in sorted(files.items())]
        return SlideList(tuple(slides), (), (*notes, said))
    rows = require_cohort(config.slides_only(), study).slides
    slides = [
        ListedSlide(row.slide_id, files.get(row.slide_id, ()), row.row, row.mpp) for row in rows
    ]
    listed = {row.slide_id for row in rows}
    return SlideList(tuple(slides), tuple(sorted(set(files) - listed)), tuple(notes))


def find_files(folder: Path) -> tuple[dict[str, tuple[Path, ...]], list[str]]:
    """Slide files at or below a folder by slide name, and what is to be said of them."""
    found: defaultdict[str, list[Path]] = defaultdict(list)
    dicom: defaultdict[Path, list[Path]] = defaultdict(list)
    for path in sorted(folder.rglob("*")):
        suffix = path.suffix.lower()
        if path.name.startswith(".") or suffix not in {*SUFFIXES, *FOREIGN} or not path.is_file():
            continue
        if suffix == DICOM:
            dicom[path.parent].append(path)
        else:
            found[slide_stem(path.name)].append(path)
    more = 0
    for place, paths in dicom.items():
        series = list(_series(paths))
        more += len(paths) - len(series)
        for path in series:
            whole = len(series) == 1 and place != folder and len(paths) > 1
            found[place.name if whole else slide_stem(path.name)].append(path)
    notes = [f"{more} DICOM files are further levels of slides that are listed"] if more else []
    return {name: tuple(paths) for name, paths in found.items()}, notes


def _series(paths: list[Path]) -> Iterator[Path]:
    """The first file of each DICOM slide; one that cannot be opened stands for itself."""
    seen: set[str] = set()
    for path in paths:
        try:
            with openslide.OpenSlide(path) as slide:
                series = slide.properties.get(SERIES)
        except OpenSlideError:
            series = None
        if series is None or series not in seen:
            yield path
        if series is not None:
            seen.add(series)
