"""Folders of feature files: which tool wrote them, and which file is of which slide.

CLAM       DIR/h5_files/SLIDE.h5, or DIR/pt_files/SLIDE.pt alone
TRIDENT    DIR/20x_256px_0px_overlap/features_ENCODER/SLIDE.h5 (or .pt)
STAMP      DIR/EXTRACTOR[-HASH]/.../SLIDE.h5, subfolders as the slides have them
slideflow  DIR/SLIDE.pt beside SLIDE.index.npz

Folders and beginnings of STAMP's files are looked at; no slide's name is put in words.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from types import MappingProxyType

from ghanet_model.errors import FeaturesError

from .feature_file import absent, unfinished
from .feature_h5 import stamp_says

_TRIDENT = re.compile(r"features_.+")
_INDEX = ".index.npz"  # slideflow writes it last
_MARKS = ("lock", "part")
_NEVER_READ = ("pkl", "pickle", "npy", "joblib")
_TRIES = 5  # files that may be damaged or locked before a folder is taken for another tool's


@dataclass(frozen=True, slots=True)
class FeatureFolder:
    """A folder with one feature file per slide."""

    kind: str  # clam, clam pt, trident, stamp or slideflow
    path: Path
    files: Mapping[str, Path] = field(repr=False, hash=False)  # by slide
    unfinished: frozenset[str] = field(default=frozenset(), repr=False)  # of these, half written
    ambiguous: frozenset[str] = field(default=frozenset(), repr=False)  # of these, several files

    @property
    def stems(self) -> frozenset[str]:
        """Slides that have a file."""
        return frozenset(self.files)

    def file_of(self, slide_id: str, *, where: str) -> Path:
        """The file of a slide.

        Raises:
            FeaturesError: there is none, or several, or its writer has not finished.
        """
        if slide_id in self.unfinished:
            raise unfinished(where)
        if slide_id in self.ambiguous:
            raise FeaturesError(
                f"{where}: feature files of this name in several subfolders",
                hint="give slides names that are unique, or point 'features' to one subfolder",
            )
        if slide_id not in self.files:  # also keeps '../' out of paths
            raise absent(where)
        return self.files[slide_id]

    def path_of(self, slide_id: str) -> Path:
        """Where a slide's file is, or would be."""
        return self.files.get(slide_id, self.path / f"{slide_id}.h5")


def find_features(folder: Path) -> FeatureFolder:
    """The one feature folder at or below ``folder``.

    Raises:
        FeaturesError: none, several, or a kind that cannot be used.
    """
    if not folder.is_dir():
        raise FeaturesError("features: folder not found", hint="see 'features' in site.yaml")
    found = feature_folders(folder)
    if len(found) > 1:
        names = ", ".join(sorted(str(one.path.relative_to(folder)) for one in found))
        raise FeaturesError(
            f"features: {len(found)} feature folders: {names}",
            hint="name one of them as 'features' in site.yaml",
        )
    if not found:
        raise FeaturesError("features: no feature files", hint=_hint_for_none(folder))
    return found[0]


def feature_folders(folder: Path) -> list[FeatureFolder]:
    """Every folder with feature files at or below ``folder``."""
    found = {one.path: one for one in reversed(list(_candidates(folder))) if one.files}
    return list(found.values())


def _candidates(folder: Path) -> Iterator[FeatureFolder]:
    """Every folder that looks like one of ours; where two tools claim one, the first counts."""
    yield from _stamp(folder)
    yield from _slideflow(folder)
    yield from _clam(folder)
    yield from _trident(folder)


def _stamp(folder: Path) -> Iterator[FeatureFolder]:
    said = _said_below(folder)
    for root in sorted({_root(path, said[path][0], folder) for path in said if said[path][1]}):
        paths = [path for path in sorted(root.rglob("*.h5")) if not path.name.startswith(".")]
        twice = frozenset(stem for stem, n in Counter(p.stem for p in paths).items() if n > 1)
        files = _by_slide(paths)
        yield FeatureFolder("stamp", root, files, _marked(root.rglob), twice)


def _said_below(folder: Path) -> dict[Path, tuple[str, bool]]:
    """What STAMP says in a file of the folder itself and in one below each of its folders."""
    tops = (folder.glob("*.h5"), *(below.rglob("*.h5") for below in sorted(folder.glob("*/"))))
    return dict(found for top in tops for found in _first_said(top))


def _first_said(paths: Iterable[Path]) -> list[tuple[Path, tuple[str, bool]]]:
    for path in islice(paths, _TRIES):
        try:
            said = stamp_says(path)
        except FeaturesError:  # told with its row when its slide is asked for
            continue
        return [(path, said)] if said else []
    return []


def _root(path: Path, extractor: str, folder: Path) -> Path:
    """The folder named after the extractor; a folder that was renamed: the one asked for."""
    name = re.compile(re.escape(extractor) + r"(-[0-9a-f]{8})?")
    below = reversed(path.relative_to(folder).parents)  # '.' first
    parents = (folder / parent for parent in below)
    return next((parent for parent in parents if name.fullmatch(parent.name)), folder)


def _slideflow(folder: Path) -> Iterator[FeatureFolder]:
    for path in (folder, *sorted(folder.glob("*/")), *sorted(folder.glob("pt_files/*/"))):
        done = frozenset(p.name.removesuffix(_INDEX) for p in path.glob(f"*{_INDEX}"))
        if done:
            files = _files(path, "pt")
            yield FeatureFolder(
                "slideflow", path, files, _marked(path.glob) | (files.keys() - done)
            )


def _clam(folder: Path) -> Iterator[FeatureFolder]:
    for path in (folder, folder / "h5_files"):
        if path.name == "h5_files" and path.is_dir():
            done = _files(path.parent / "pt_files", "pt").keys()  # CLAM writes the .pt last
            files = _files(path, "h5")
            short = files.keys() - done if done else frozenset()
            yield FeatureFolder("clam", path, files, _marked(path.glob) | short)
    for path in (folder, folder / "pt_files"):
        beside = path != folder and _files(folder / "h5_files", "h5")  # which also hold coordinates
        if path.name == "pt_files" and not beside:
            yield FeatureFolder("clam pt", path, _files(path, "pt"), _marked(path.glob))


def _trident(folder: Path) -> Iterator[FeatureFolder]:
    below = (*folder.glob("features_*"), *folder.glob("*x_*px_*px_overlap/features_*"))
    here = (folder,) if _TRIDENT.fullmatch(folder.name) else ()
    for path in (*here, *sorted(below)):
        yield FeatureFolder("trident", path, _files(path, "pt", "h5"), _marked(path.glob))


def _files(folder: Path, *suffixes: str) -> Mapping[str, Path]:
    """Files by slide; of several suffixes the last counts."""
    return _by_slide(path for suffix in suffixes for path in folder.glob(f"*.{suffix}"))


def _by_slide(paths: Iterable[Path]) -> Mapping[str, Path]:
    return MappingProxyType({path.stem: path for path in paths if not path.name.startswith(".")})


def _marked(listed: Callable[[str], Iterator[Path]]) -> frozenset[str]:
    """Slides with SLIDE.h5.lock, SLIDE.lock, SLIDE.h5.part or SLIDE.part: still being written."""
    marks = (path.stem for mark in _MARKS for path in listed(f"*.{mark}"))
    return frozenset(m.removesuffix(".h5").removesuffix(".pt") for m in marks)


def _hint_for_none(folder: Path) -> str:
    slide_level = any(folder.glob("**/slide_features_*"))
    if slide_level or any(not of_patches for _, of_patches in _said_below(folder).values()):
        return "slide-level features cannot be used: extract patch features"
    if any(folder.glob("**/*_patches.h5")) or any(folder.glob("patches/*.h5")):
        return "there are coordinates only: run feature extraction first"
    for suffix in _NEVER_READ:
        if any(folder.glob(f"**/*.{suffix}")):
            return f"there are .{suffix} files, which are never opened: save features as HDF5"
    return (
        "point 'features' in site.yaml to a folder of CLAM (h5_files or pt_files), TRIDENT (a job),"
        " STAMP or slideflow"
    )
