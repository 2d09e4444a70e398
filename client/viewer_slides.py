"""Slides as the viewer lists them: which there are, and what became of each.

Files are found by listing folders, never by a name that came from outside; addresses hold a keyed
digest of the name, which is another one after each start.
"""

import csv
import io
import json
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from hashlib import blake2b
from itertools import dropwhile
from pathlib import Path
from typing import Any

from ghanet_model.errors import SlideError
from ghanet_model.evaluation import GROUPS
from ghanet_model.extraction import HANDCRAFTED
from ghanet_model.files import read_file
from ghanet_model.study import read_study

from .config import SiteConfig
from .patch_weights import SUFFIX
from .predict_slides import TABLE_FILE
from .recalls import is_recalled
from .slide_check import the_file
from .slide_gate import UNKNOWN
from .slide_list import ListedSlide, list_slides

ANSWERED, WAITING, REFUSED = "answered", "not answered yet", "refused"
RECALLED = "the release that answered was recalled: its answer must not be used"
HIDDEN = ""  # the group of a slide that the gate kept back
_MOST_JSON, _MOST_TABLE = 4_000_000, 64_000_000  # bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """What was said of a slide, as far as the viewer shows it."""

    risk_group: str
    demonstration: bool  # by an encoder of which nothing may be believed
    gate: str  # LIKE, UNLIKE or UNKNOWN: whether the slide is like those of training
    unlike: str  # in what it is not
    release: str  # its digest
    made_of: str  # as its weights say it too
    report: Path = field(repr=False)
    weights: Path = field(repr=False)


@dataclass(frozen=True, slots=True)
class ViewedSlide:
    """A slide and what became of it."""

    key: str  # in addresses
    name: str = field(repr=False)  # for this hospital's screen only
    listed: ListedSlide | None = field(repr=False)  # None: there is an answer alone
    state: str  # ANSWERED, WAITING or REFUSED
    reason: str = ""  # of a refusal
    answer: Answer | None = None

    @property
    def mpp(self) -> float | None:
        """Microns per pixel by the slides table."""
        return self.listed.mpp if self.listed else None

    def file(self) -> Path:
        """Its one file.

        Raises:
            SlideError: none or several.
        """
        if self.listed is None:
            raise SlideError(
                "its file is not in the folder of slides", hint="see 'slide_files' in site.yaml"
            )
        return the_file(self.listed)


class Catalogue:
    """The site's slides as they were at the start; answers as they are now."""

    def __init__(self, listed: Sequence[ListedSlide], folder: Path, *, key: bytes) -> None:
        self._predictions = folder / "predictions"
        self._folder = folder
        self._key = key
        self._listed = {_composed(slide.name): slide for slide in listed}
        self._names = {self._address(name): name for name in self._listed}

    def slides(self) -> list[ViewedSlide]:
        """All of them, by name."""
        answers, refused = self._answers(), self._refused()
        names, recalled = sorted({*self._listed, *answers, *refused}), self._recalled()
        found = (self._viewed(name, answers.get(name), refused, recalled) for name in names)
        return [slide for slide in found if slide is not None]

    def find(self, key: str) -> ViewedSlide | None:
        """The slide of an address; None: there is none."""
        answers, refused = self._answers(), self._refused()
        name = self._names.get(key)
        if name is None:
            named = {*answers, *refused}
            name = next((one for one in named if self._address(one) == key), None)
        if name is None:
            return None
        return self._viewed(name, answers.get(name), refused, self._recalled())

    def unanswered(self, key: str) -> ViewedSlide | None:
        """A slide of the site's list, whatever was said of it; reads no file."""
        name = self._names.get(key)
        return None if name is None else ViewedSlide(key, name, self._listed[name], WAITING)

    def _address(self, name: str) -> str:
        return blake2b(
            name.encode("utf-8", "surrogatepass"), key=self._key, digest_size=12
        ).hexdigest()

    def _recalled(self) -> Callable[[str], bool]:
        """Whether a release was recalled; each is looked for once."""
        return cache(partial(is_recalled, self._folder))

    def _answers(self) -> dict[str, Path]:
        """JSON files by the name of their slide."""
        found = sorted(self._predictions.glob("*.json"))
        return {_composed(path.name.removesuffix(".json")): path for path in found}

    def _refused(self) -> Mapping[str, str]:
        """Reasons of the last run, by name."""
        try:
            text = read_file(self._predictions / TABLE_FILE, most=_MOST_TABLE).decode()
            lines = dropwhile(lambda line: line.startswith("#"), io.StringIO(text, newline=""))
            rows = csv.DictReader(lines)
            return {_composed(row["slide"]): row["refused"] for row in rows if row.get("refused")}
        except (OSError, ValueError, KeyError, csv.Error):
            return {}

    def _viewed(
        self,
        name: str,
        path: Path | None,
        refused: Mapping[str, str],
        recalled: Callable[[str], bool],
    ) -> ViewedSlide | None:
        """None: a file that is no answer, of a slide that is not listed."""
        key, listed = self._address(name), self._listed.get(name)
        if name in refused and not (path and self._is_newer(path)):
            return ViewedSlide(key, name, listed, REFUSED, refused[name])
        answer = read_answer(path) if path else None
        if answer is not None:
            if recalled(answer.release):
                return ViewedSlide(key, name, listed, REFUSED, RECALLED)
            return ViewedSlide(key, name, listed, ANSWERED, answer=answer)
        if listed is None:
            return None
        why = _why(listed)
        return ViewedSlide(key, name, listed, REFUSED if why else WAITING, why)

    def _is_newer(self, path: Path) -> bool:
        """Whether an answer was made after the table that says it was refused."""
        try:
            table = self._predictions / TABLE_FILE
            return path.stat().st_mtime_ns > table.stat().st_mtime_ns
        except OSError:
            return False


def read_catalogue(config: SiteConfig, *, key: bytes) -> tuple[Catalogue, tuple[str, ...]]:
    """A site's slides, and what is to be said of its folder.

    Raises:
        SettingsError: the folder of slides is not there.
        CohortError, FeaturesError: the slides table cannot be used.
    """
    if config.slide_files is None:
        said = "site.yaml names no folder of slides ('slide_files'): answers alone are shown"
        return Catalogue((), config.folder, key=key), (said,)
    found = list_slides(config, read_study(config.folder))
    return Catalogue(found.slides, config.folder, key=key), found.notes


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _why(listed: ListedSlide) -> str:
    """Why a slide has no file to answer of; '': it has one."""
    try:
        the_file(listed)
    except SlideError as error:
        return str(error)
    return ""


def read_answer(path: Path) -> Answer | None:
    """An answer as 'predict' wrote it; None: the file is not one."""
    try:
        values: dict[str, Any] = json.loads(read_file(path, most=_MOST_JSON))
        return _answer_of(path, values)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def _answer_of(path: Path, values: dict[str, Any]) -> Answer | None:
    group, made_of, gate = values["risk_group"], values["made_of"], values.get("gate") or {}
    if group not in (*GROUPS, HIDDEN) or not isinstance(made_of, str):
        return None
    name = path.name.removesuffix(".json")
    far = [str(one["what"]) for one in gate.get("distances", ()) if one["far"]]
    return Answer(
        risk_group=group,
        demonstration=values["encoder"]["name"] == HANDCRAFTED,
        gate=str(gate.get("verdict", UNKNOWN)),
        unlike=", ".join(far),
        release=str(values["release"]["sha256"]),
        made_of=made_of,
        report=path.with_name(f"{name}.html"),
        weights=path.with_name(f"{name}{SUFFIX}"),
    )
