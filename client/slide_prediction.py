"""What a release says of single slides: from slide files or feature files to JSON and GeoJSON.

Features are made as the release's study says and kept, so that a run over a folder goes on where it
was stopped. Nothing of it leaves the hospital.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from numpy.typing import NDArray

from ghanet_model.errors import FeaturesError, SlideError, WeightsError
from ghanet_model.files import canonical_json, sha256, write_atomic
from ghanet_model.release import Release

from .config import SiteConfig
from .coords import Coords
from .encoders import EncoderFile, digest_of, load_encoder
from .extract import Job, extract, is_done
from .feature_writer import Maker
from .features import read_features
from .geojson import HIGH, LOW, Square, geojson
from .patch_weights import SUFFIX, keep_patch_weights, pixel_places, read_patch_weights
from .places import read_places
from .predict import require_encoder
from .slide_answer import FORMAT, Answering, Shown
from .slide_check import the_file
from .slide_list import ListedSlide, find_files
from .slide_pictures import SIDE, Pictures, pictures_of
from .slide_report import slide_report
from .slides import open_slide

SHOWN = 50  # patches of the highest weight in a GeoJSON file, and as many of the lowest
LEAST_PATCHES = 5  # of a slide; fewer are too little tissue to say anything
FEATURES_SUFFIX = ".h5"


@dataclass(frozen=True, slots=True)
class Answered:
    """What became of a slide."""

    name: str = field(repr=False)
    risk: float | None = None
    risk_group: str = ""
    survival: tuple[float, ...] = ()  # at each edge of the study
    again: bool = False  # it was there already
    refused: str = ""  # why there is no answer
    hint: str = ""
    band: tuple[float, ...] = ()  # low and high at each edge, where there is an ensemble
    recalibrated: tuple[float, ...] = ()  # survival, where there is a recalibration
    gate: str = ""  # like the training slides, unlike them, or not checked
    unlike: str = ""  # in what, where its numbers are not shown


def find_slides(paths: Sequence[Path]) -> list[ListedSlide]:
    """Slides and feature files that are named, and those in folders that are.

    Raises:
        SlideError: a path is not there, or a folder holds none.
    """
    found: list[ListedSlide] = []
    for path in paths:
        if not path.exists():
            raise SlideError(f"{path}: not found", hint="name slides, feature files or folders")
        if not path.is_dir():
            found.append(ListedSlide(_stem(path), (path,)))
            continue
        inside = find_files(path)
        slides = [ListedSlide(name, files) for name, files in sorted(inside.files.items())]
        slides += [ListedSlide(p.stem, (p,)) for p in sorted(path.glob(f"*{FEATURES_SUFFIX}"))]
        if not slides:
            raise SlideError(f"{path}: no slides in it", hint="name slide or feature files")
        found += slides
    return found


def _stem(path: Path) -> str:
    return path.name.removesuffix(path.suffix)


@dataclass(frozen=True, slots=True, eq=False)
class Predictor:
    """A release at work in a hospital."""

    config: SiteConfig
    answering: Answering
    output: Path  # folder

    @classmethod
    def of(
        cls, config: SiteConfig, release: Release, output: Path, shown: Shown | None = None
    ) -> "Predictor":
        """Of a verified release.

        Raises:
            FeaturesError: this hospital's encoder is another one.
            ReleaseError: the release says what cannot be.
        """
        require_encoder(config, release)
        torch.set_num_threads(config.threads)
        model = release.model().to(torch.device(config.device))
        answering = Answering.of(release, model, shown or Shown())
        output.mkdir(mode=0o700, parents=True, exist_ok=True)
        return cls(config, answering, output)

    @property
    def release(self) -> Release:
        """The release that answers."""
        return self.answering.release

    def maker(self) -> Maker:
        """The release's encoder, as this hospital has it.

        Raises:
            SlideError: it has another one, or none.
        """
        study = self.release.study
        file = EncoderFile(self.config.encoder_file, self.config.encoder_trust)
        encoder = load_encoder(study, file, threads=self.config.threads, device=self.config.device)
        return Maker(study.extraction, encoder)


def answer_all(
    predictor: Predictor, slides: Sequence[ListedSlide], told: Callable[[], None]
) -> list[Answered]:
    """Every slide in turn; one that is refused does not stop the others.

    Raises:
        SlideError: the encoder cannot be used.
        DeploymentError: the encoder failed while it worked.
    """
    makes = any(not _is_features(slide) for slide in slides)
    maker = predictor.maker() if makes else None
    found = []
    for slide in slides:
        found.append(_answer(predictor, slide, maker))
        told()
    return found


def _is_features(slide: ListedSlide) -> bool:
    return bool(slide.files) and slide.files[0].suffix.lower() == FEATURES_SUFFIX


def _answer(predictor: Predictor, slide: ListedSlide, maker: Maker | None) -> Answered:
    try:
        path = the_file(slide)
        features = path if maker is None or _is_features(slide) else _made(predictor, slide, maker)
        return _answer_of(predictor, slide.name, path, features)
    except (SlideError, FeaturesError) as error:
        _remove_answer(predictor.output, slide.name)
        return Answered(slide.name, refused=str(error), hint=error.hint)


def _made(predictor: Predictor, slide: ListedSlide, maker: Maker) -> Path:
    """The slide's features, made where they are missing."""
    job = Job(the_file(slide), predictor.output / "features" / f"{slide.name}.h5", slide.mpp)
    job.output.parent.mkdir(mode=0o700, exist_ok=True)
    if not is_done(job, maker.settings):
        extract(job, maker)
    return job.output


def _answer_of(predictor: Predictor, name: str, path: Path, features: Path) -> Answered:
    release = predictor.release
    digest = digest_of(features)
    mark = predictor.answering.shown.mark
    made_of = sha256(canonical_json([FORMAT, SUFFIX, release.sha256, digest, *mark]))
    target = predictor.output / f"{name}.json"
    kept = _read(target)
    if kept.get("made_of") == made_of and _is_whole(predictor, name, features, made_of=made_of):
        return _answered(name, kept, again=True)
    study = release.study
    bag = read_features(
        features,
        width=study.feature_width,
        encoder=study.encoder,
        where="features",
        extraction=study.extraction,
    )
    if len(bag) < LEAST_PATCHES:
        raise SlideError(
            f"{len(bag)} patches, too little tissue to say anything",
            hint=f"at least {LEAST_PATCHES} are needed",
        )
    said, weights = predictor.answering.answer(bag)
    values = {**said, "features_sha256": digest, "made_of": made_of}
    squares, pictures = _squares(path, features, weights), None
    if path != features:
        values["slide"], pictures = _looked_at(path, features, weights)
    page = slide_report(name, values, release, pictures)
    write_atomic(predictor.output / f"{name}.geojson", geojson(squares), private=True)
    write_atomic(predictor.output / f"{name}.html", page.encode(), private=True)
    kept_weights = predictor.output / f"{name}{SUFFIX}"
    keep_patch_weights(kept_weights, features, weights, made_of=made_of)
    content = json.dumps(values, indent=1, allow_nan=False) + "\n"
    write_atomic(target, content.encode(), private=True)  # last: it says that all is there
    return _answered(name, values)


def _is_whole(predictor: Predictor, name: str, features: Path, *, made_of: str) -> bool:
    """Whether what lies beside an answer is still there, and its weights can be read."""
    beside = (predictor.output / f"{name}{end}" for end in (".geojson", ".html"))
    if not all(path.is_file() for path in beside):
        return False
    try:
        read_patch_weights(predictor.output / f"{name}{SUFFIX}", made_of=made_of)
    except WeightsError:
        return pixel_places(features) is None
    return True


def _remove_answer(output: Path, name: str) -> None:
    """An answer of before was of another file of this name."""
    for end in (".json", ".html", ".geojson", SUFFIX):
        (output / f"{name}{end}").unlink(missing_ok=True)


def _looked_at(
    path: Path, features: Path, weights: NDArray[np.float64]
) -> tuple[dict[str, Any], Pictures]:
    """What the slide says of itself, and its pictures.

    Raises:
        SlideError: it is damaged.
    """
    places = read_places(features, where="features")
    mpp = places.level0_mpp
    with open_slide(path, mpp=mpp) as slide:
        facts, side0 = slide.facts, places.side or 1.0
        level = facts.level_for(facts.mpp)
        read_side = max(1, round(side0 / facts.downsamples[level]))
        corners = places.coords.astype(np.int64)
        coords = Coords(corners, side0, level, read_side, min(read_side, SIDE))
        said = {"vendor": facts.vendor, "mpp": mpp, "mpp_from": _mpp_from(features)}
        return said, pictures_of(slide, coords, weights)


def _mpp_from(features: Path) -> str:
    with h5py.File(features, "r") as file:
        return str(file.attrs.get("mpp_from", "file"))


def _squares(path: Path, features: Path, weights: NDArray[np.float64]) -> list[Square]:
    """Patches of the highest and of the lowest weight; none where the file knows no places."""
    places = pixel_places(features)
    if places is None or places.side is None:
        return []
    corners = places.coords - _origin(path)
    order = np.argsort(weights, kind="stable")
    count = min(SHOWN, len(order) // 2)
    chosen = [(i, HIGH) for i in order[::-1][:count]] + [(i, LOW) for i in order[:count]]
    return [
        Square(float(corners[i, 0]), float(corners[i, 1]), places.side, float(weights[i]), kind)
        for i, kind in chosen
    ]


def _origin(path: Path) -> tuple[int, int]:
    """The corner of what was scanned; of a feature file it is not known, and taken as 0."""
    if path.suffix.lower() == FEATURES_SUFFIX:
        return 0, 0
    with open_slide(path, mpp=1.0) as slide:  # whatever it is, it is not used
        return slide.facts.scanned.x, slide.facts.scanned.y


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _answered(name: str, values: dict[str, Any], *, again: bool = False) -> Answered:
    rows = values["survival"]
    survival = tuple(float(row["probability"]) for row in rows)
    ends = [row[end] for row in rows for end in ("low", "high")] if "band" in values else []
    bent = [row["recalibrated"] for row in rows] if "recalibration" in values else []
    gate, risk = values["gate"], values["risk"]
    far = ", ".join(one["what"] for one in gate["distances"] if one["far"])
    return Answered(
        name,
        None if risk is None else float(risk),
        str(values["risk_group"]),
        survival,
        again,
        band=tuple(map(float, ends)),
        recalibrated=tuple(map(float, bent)),
        gate=str(gate["verdict"]),
        unlike=far if values["hidden"] else "",
    )
