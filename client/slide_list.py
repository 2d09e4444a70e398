"""Which slides a hospital has: rows of its slides table, matched with files.

A DICOM slide is called like its first file; where a folder holds one slide, like the folder too.
"""

import os
import unicodedata
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
NO_TEXT = "its file name is not UTF-8 text"
_KNOWN = {*SUFFIXES, *FOREIGN}


@dataclass(frozen=True, slots=True)
class ListedSlide:
    """A slide of the table, or a file where there is no table."""

    name: str = field(repr=False)  # as feature files name it
    files: tuple[Path, ...] = field(repr=False)  # none: not found; several: which one is meant?
    row: int | None = None  # of the slides table
    wrong: str = ""  # why it cannot be used, whatever it holds
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
    found = find_files(config.slide_files)
    if not config.slides.exists():
        said = f"{config.slides.name} is not there yet: every slide file is taken"
        slides = [ListedSlide(name, paths) for name, paths in sorted(found.files.items())]
        slides += [ListedSlide(name, (), wrong=NO_TEXT) for name in found.unnamed]
        return SlideList(tuple(slides), (), (*found.notes, said))
    rows = require_cohort(config.slides_only(), study).slides
    slides = [
        ListedSlide(row.slide_id, found.of(row.slide_id), row.row, mpp=row.mpp) for row in rows
    ]
    used = {path for slide in slides for path in slide.files}
    unlisted = [name for name, paths in found.files.items() if not used.intersection(paths)]
    return SlideList(tuple(slides), tuple(sorted([*unlisted, *found.unnamed])), found.notes)


@dataclass(frozen=True, slots=True)
class Found:
    """Slide files of a folder."""

    files: dict[str, tuple[Path, ...]] = field(repr=False)  # by slide name, letters composed (NFC)
    folders: dict[str, tuple[Path, ...]] = field(repr=False)  # DICOM: of folders with one slide
    unnamed: tuple[str, ...] = field(repr=False)  # names that are no text, made printable
    notes: tuple[str, ...]

    def of(self, slide_id: str) -> tuple[Path, ...]:
        """The files that a table may mean by a name."""
        name = unicodedata.normalize("NFC", slide_id)
        return self.files.get(name) or self.folders.get(name, ())


def find_files(folder: Path) -> Found:
    """Slide files at or below a folder, links followed."""
    found: defaultdict[str, list[Path]] = defaultdict(list)
    dicom: defaultdict[Path, list[Path]] = defaultdict(list)
    unnamed: list[str] = []
    notes: list[str] = []
    for path in _walk(folder, notes):
        if not _is_text(path.name):
            unnamed.append(path.name.encode("utf-8", "backslashreplace").decode())
        elif path.suffix.lower() == DICOM:
            dicom[path.parent].append(path)
        else:
            found[_name_of(path)].append(path)
    folders = {}
    for place, paths in dicom.items():
        series, more = _series(paths)
        for path in (*series, *more.unread):
            found[_name_of(path)].append(path)
        if len(series) == 1 and place != folder:
            folders[unicodedata.normalize("NFC", place.name)] = tuple(series)
        if more.levels:
            notes.append(f"{more.levels} DICOM files are further levels of slides that are listed")
    files = {name: tuple(paths) for name, paths in found.items()}
    return Found(files, folders, tuple(unnamed), tuple(notes))


def _walk(folder: Path, notes: list[str]) -> Iterator[Path]:
    """Every file that could be a slide, in order; folders that cannot be read are noted."""
    seen: set[tuple[int, int]] = set()

    def unread(error: OSError) -> None:
        place = Path(error.filename).relative_to(folder)
        notes.append(f"a folder cannot be read ({str(error.strerror).lower()}): {str(place)!r}")

    for place, below, names in os.walk(folder, followlinks=True, onerror=unread):
        facts = Path(place).stat()
        if (facts.st_dev, facts.st_ino) in seen:  # a link back
            below.clear()
            continue
        seen.add((facts.st_dev, facts.st_ino))
        below.sort()
        for name in sorted(names):
            path = Path(place, name)
            if not name.startswith(".") and path.suffix.lower() in _KNOWN and path.is_file():
                yield path


def _is_text(name: str) -> bool:
    """Whether a name can be printed, and written into files; bytes of other alphabets cannot."""
    return name.isprintable()  # what is no UTF-8 comes as surrogates, which are not


def _name_of(path: Path) -> str:
    return unicodedata.normalize("NFC", slide_stem(path.name))


@dataclass(frozen=True, slots=True)
class _More:
    """DICOM files beside the first of each series."""

    levels: int  # of series that are listed
    unread: tuple[Path, ...]  # no slides; each is listed, so that it is refused by name


def _series(paths: list[Path]) -> tuple[list[Path], _More]:
    """The first file of each DICOM slide, and the others."""
    first: dict[str, Path] = {}
    unread, levels = [], 0
    for path in paths:
        try:
            with openslide.OpenSlide(path) as slide:
                series = slide.properties.get(SERIES)
        except OpenSlideError:
            series = None
        if series is None:
            unread.append(path)
        elif series in first:
            levels += 1
        else:
            first[series] = path
    return list(first.values()), _More(levels, tuple(unread))
