"""``benchmarks/unlike_slides.py``: does the gate hide numbers of unlike slides, and only of those?

On a finished demo: how many slides that no training saw it calls unlike, and what becomes of
slides in another stain, blurred, blank or no slides at all. See README.md.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
import openslide
import torch
from matplotlib.cbook import get_sample_data
from numpy.typing import NDArray
from PIL import Image
from scipy.stats import binomtest

sys.path.insert(0, str(Path(__file__).resolve().parent))  # benchmarks/, which is no package
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "deploy"))

from demo.cohorts import ARCHIVE, MPP
from demo.slides import Stain
from demo.tiff import write_slide
from heat_maps import hospitals, slides_of
from options import benchmark_parser
from report import markdown

from client.config import SiteConfig, read_site
from client.predict import find_release
from client.slide_gate import LIKE, UNKNOWN, UNLIKE, judge, reference_of
from client.slide_list import ListedSlide
from client.slide_prediction import Answered, Predictor, answer_all
from ghanet_model.commands import run_command
from ghanet_model.errors import CohortError, FeaturesError, ReleaseError
from ghanet_model.files import write_json
from ghanet_model.release import Release

SLIDES, QUICK_SLIDES = 20, 5  # of each kind
SEED = 0
LEAST_USUAL, MOST_FLAGGED = 200, 0.05  # by --check
REAL = Path(__file__).resolve().parents[2] / "shared" / "slides"  # of patients, if there
REFUSED = "refused"
Pixels = NDArray[np.uint8]  # (H, W, 3) red, green, blue
Change = Callable[[Pixels, np.random.Generator], Pixels]

BROWN = (0.27, 0.57, 0.78)  # diaminobenzidine; this and the next by Ruifrok and Johnston 2001
MAGENTA = (0.18, 0.97, 0.16)  # periodic acid-Schiff, near eosin
GREEN = (0.80, 0.15, 0.55)  # light green of a trichrome, by eye


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of slide: what is done to a drawn one, and the resolution its file then says."""

    name: str
    change: Change
    mpp: float = MPP
    once: bool = False  # nothing of the drawn slide is left: one is enough
    must: bool = False  # be flagged or refused, by --check


@dataclass(frozen=True, slots=True)
class Count:
    """What became of slides of a kind."""

    kind: str
    slides: int
    like: int
    unlike: int
    refused: int
    why: str  # of the first refusal; or in what the first is unlike


def restained(dye: tuple[float, float, float]) -> Change:
    """Another dye in place of eosin, by optical density."""
    usual = Stain()
    dyes = np.array([usual.hematoxylin, usual.eosin])  # (2, 3)

    def change(pixels: Pixels, _: np.random.Generator) -> Pixels:
        amounts = np.maximum(density_of(pixels) @ np.linalg.pinv(dyes), 0)  # (H, W, 2)
        return pixels_of(amounts @ np.array([usual.hematoxylin, dye]))

    return change


def stained(strength: float) -> Change:
    """All dyes this many times as strong."""
    return lambda pixels, _: pixels_of(strength * density_of(pixels))


def blurred(sigma: float) -> Change:
    """Out of focus, by this many pixels."""
    return lambda pixels, _: np.asarray(cv2.GaussianBlur(pixels, (0, 0), sigma), np.uint8)


def density_of(pixels: Pixels) -> NDArray[np.float64]:
    """Optical density (H, W, 3) against white glass."""
    return -np.log10(np.maximum(pixels, 1) / 245.0)


def pixels_of(density: NDArray[np.float64]) -> Pixels:
    """The other way round."""
    return np.clip(245.0 * 10.0**-density, 0, 255).astype(np.uint8)


def glass(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """No tissue at all, and the noise of a camera."""
    return np.clip(245 + 2 * rng.standard_normal(pixels.shape), 0, 255).astype(np.uint8)


def penned(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Glass with thick strokes of a pen."""
    drawn = glass(pixels, rng)
    for _ in range(12):
        ends = rng.integers(0, min(pixels.shape[:2]), 4)
        cv2.line(drawn, tuple(ends[:2].tolist()), tuple(ends[2:].tolist()), (30, 60, 160), 40)
    return drawn


def photograph(_: Pixels, __: np.random.Generator) -> Pixels:
    """A portrait that comes with matplotlib."""
    with get_sample_data("grace_hopper.jpg") as file:
        return np.asarray(Image.open(file).convert("RGB"), np.uint8)


KINDS = (
    Kind("as drawn", lambda pixels, _: pixels),
    Kind("brown and blue", restained(BROWN), must=True),
    Kind("magenta and blue", restained(MAGENTA)),
    Kind("green and blue", restained(GREEN), must=True),
    Kind("stain, .8 of its strength", stained(0.8)),
    Kind("stain, .6", stained(0.6)),
    Kind("stain, .4", stained(0.4)),
    Kind("stain, 1.3", stained(1.3)),
    Kind("stain, 1.7", stained(1.7)),
    Kind("blurred by 1 pixel", blurred(1.0)),
    Kind("blurred by 2 pixels", blurred(2.0)),
    Kind("blurred by 4 pixels", blurred(4.0)),
    Kind("resolution said to be half", lambda pixels, _: pixels, mpp=2 * MPP),
    Kind("resolution said to be double", lambda pixels, _: pixels, mpp=MPP / 2),
    Kind("blank glass", glass, once=True, must=True),
    Kind("pen on glass", penned),
    Kind("a photograph", photograph, once=True, must=True),
)


def benchmark(options: argparse.Namespace) -> int:
    """Count, print the table."""
    torch.set_num_threads(1)
    folders = hospitals(options.demo)
    site = next((one for one in map(read_site, folders) if one.genes is None), None)
    if site is None:
        raise CohortError(f"{options.demo}: no hospital without genes", hint="run 'make demo'")
    release = find_release(site, None)
    if reference_of(release) is None:
        raise ReleaseError("the release does not say what training slides are like")
    usual = count_usual(folders, release)
    interval = interval_of(usual)
    amount = QUICK_SLIDES if options.quick else SLIDES
    found = [count_kind(kind, site, release, amount) for kind in KINDS]
    found += count_real(site, release)
    print("\nslides of cases that training never saw\n")
    print(f"{usual.slides} slides, {usual.unlike} called unlike: {interval}\n")
    print(table(found))
    if options.json:
        kinds = [asdict(one) for one in found]
        write_json(options.json, {"usual": asdict(usual), "interval": interval, "kinds": kinds})
    missed = missed_targets(usual, found)
    if options.check and missed:
        raise FeaturesError(f"targets missed: {'; '.join(missed)}")
    return 0


def count_usual(folders: Sequence[Path], release: Release) -> Count:
    """Held-out cases of hospitals that train, and all of those that do not."""
    reference, verdicts = reference_of(release), []
    for folder in folders:
        config = read_site(folder)
        for training in (False, True) if config.genes is None else (False,):
            slides = slides_of(config, release, training=training)
            verdicts += [judge(reference, features).verdict for features in slides]
    return Count(
        "usual", len(verdicts), verdicts.count(LIKE), verdicts.count(UNLIKE), refused=0, why=""
    )


def interval_of(usual: Count) -> str:
    """The share that is called unlike, with a 95% interval by Wilson's score."""
    ends = binomtest(usual.unlike, usual.slides).proportion_ci(method="wilson")
    return f"{usual.unlike / usual.slides:.1%} ({ends.low:.1%} to {ends.high:.1%})"


def count_kind(kind: Kind, site: SiteConfig, release: Release, amount: int) -> Count:
    """Change drawn slides of the site, write them as files, and predict from these."""
    drawn = sorted((site.folder / ARCHIVE).glob("*.tiff"))[: 1 if kind.once else amount]
    if not drawn:
        raise CohortError(f"{site.folder / ARCHIVE}: no slides", hint="run 'make demo'")
    rng = np.random.default_rng(SEED)
    with tempfile.TemporaryDirectory() as home:
        listed = []
        for number, path in enumerate(drawn):
            copy = Path(home) / "slides" / f"{number}.tiff"
            write_slide(copy, kind.change(read_pixels(path), rng), mpp=kind.mpp)
            listed.append(ListedSlide(copy.stem, (copy,)))
        return counted(kind.name, predicted(site, release, listed, Path(home)))


def count_real(site: SiteConfig, release: Release) -> list[Count]:
    """Small slides of patients, where they are beside the project."""
    listed = [ListedSlide(path.stem, (path,)) for path in real_slides()]
    if not listed:
        return []
    with tempfile.TemporaryDirectory() as home:
        return [counted("slides of patients", predicted(site, release, listed, Path(home)))]


def real_slides() -> Iterator[Path]:
    """Those that OpenSlide opens and that say their resolution."""
    for path in sorted(REAL.glob("*")):
        if not path.is_file() or openslide.OpenSlide.detect_format(path) is None:
            continue
        try:
            with openslide.OpenSlide(path) as slide:
                if openslide.PROPERTY_NAME_MPP_X in slide.properties:
                    yield path
        except openslide.OpenSlideError:
            continue


def predicted(
    site: SiteConfig, release: Release, listed: Sequence[ListedSlide], home: Path
) -> list[Answered]:
    """As ``ghanet-client predict`` does it."""
    return answer_all(Predictor.of(site, release, home / "answers"), listed, lambda: None)


def counted(name: str, answers: Sequence[Answered]) -> Count:
    """How many of each."""
    verdicts = [REFUSED if one.refused else one.gate for one in answers]
    if UNKNOWN in verdicts:
        raise ReleaseError("the release does not say what training slides are like")
    why = next((one.unlike or one.refused for one in answers if one.unlike or one.refused), "")
    print(f"{time.strftime('%H:%M:%S')} {name}", file=sys.stderr, flush=True)
    return Count(name, len(answers), *(verdicts.count(one) for one in (LIKE, UNLIKE, REFUSED)), why)


def read_pixels(path: Path) -> Pixels:
    """A small slide as one picture."""
    with openslide.OpenSlide(path) as slide:
        return np.asarray(slide.read_region((0, 0), 0, slide.dimensions).convert("RGB"), np.uint8)


def missed_targets(usual: Count, found: Sequence[Count]) -> list[str]:
    """What --check complains about."""
    missed = []
    if usual.slides < LEAST_USUAL:
        missed.append(f"{usual.slides} usual slides, fewer than {LEAST_USUAL}")
    if usual.unlike > MOST_FLAGGED * usual.slides:
        missed.append(f"{usual.unlike} of {usual.slides} usual slides called unlike")
    must = {kind.name for kind in KINDS if kind.must}
    missed += [f"{one.like} passed: {one.kind}" for one in found if one.kind in must and one.like]
    return missed


def table(found: Sequence[Count]) -> str:
    """A row for each kind."""
    header = ["", "slides", "unlike", "refused", "like", "why, the first"]
    rows = [
        [c.kind, str(c.slides), str(c.unlike), str(c.refused), str(c.like), c.why] for c in found
    ]
    return markdown([header, *rows])


def make_parser() -> argparse.ArgumentParser:
    """The few options."""
    parser = benchmark_parser(
        "unlike_slides.py",
        __doc__,
        benchmark,
        quick=f"{QUICK_SLIDES} slides of a kind, not {SLIDES}",
    )
    add = parser.add_argument
    add("--demo", type=Path, required=True, metavar="FOLDER", help="what 'make demo' left")
    return parser


if __name__ == "__main__":
    sys.exit(run_command(make_parser()))
