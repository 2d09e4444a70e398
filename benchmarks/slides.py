"""``benchmarks/slides.py``: reading, masking and encoding a slide, beside plain OpenSlide.

The slide is made here: JPEG tiles in a pyramid at 0.5 microns per pixel, a drawing of nobody. Both
ways read the same patches in turns, each by a handle of its own, from memory of the system and not
from a disk. CPU time counts, since other work on the cores does not lengthen it. See README.md.
"""

import argparse
import contextlib
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

import cv2
import numpy as np
import openslide
import torch
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parent))  # benchmarks/, which is no package

from memory import peak_megabytes
from options import benchmark_parser
from report import markdown
from slides_made import INPUT, WIDTH, make_slide, say, write_resnet

from client.coords import Coords, find_coords
from client.encoders import BATCH, Encoder, Features, Pixels
from client.extract import Job, extract
from client.feature_writer import Maker
from client.handcrafted import HandcraftedEncoder
from client.onnx_encoder import read_onnx
from client.slides import SlideImage, open_slide
from client.tissue import find_tissue
from ghanet_model.commands import run_command
from ghanet_model.errors import SlideError
from ghanet_model.extraction import Extraction
from ghanet_model.files import write_json
from ghanet_model.study import StudyConfig

SIDES, QUICK_SIDES = (5_000, 20_000), (2_000, 4_000)  # pixels: the smaller is for memory only
CUT = Extraction()
ENCODED, QUICK_ENCODED = (1024, 192), (256, 64)  # patches: hand-crafted, learnt
MOST_OVERHEAD = 0.10  # of reading and masking over plain reading, by --check
MOST_GROWTH = 60.0  # MB at the peak, of the large slide over the small one

PLAIN, READING, MASKING, ALL = (
    "plain OpenSlide", "reading", "opening, masking", "opening, masking, reading",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Measured:
    """CPU seconds of a step over some patches."""

    step: str
    patches: int
    seconds: float
    over_plain: float | None = None  # its seconds as a share of those of plain reading

    @property
    def rate(self) -> float:
        """Patches per second of one core."""
        return self.patches / self.seconds


@dataclass(frozen=True, slots=True)
class Pass:
    """CPU seconds of reading a slide once, in both ways."""

    patches: int
    plain: float
    masking: float
    reading: float

    @property
    def overhead(self) -> float:
        """Of opening, masking and reading, beside plain reading."""
        return (self.masking + self.reading) / self.plain - 1


@dataclass(frozen=True, slots=True)
class MeanColour:
    """Satisfies ``Encoder``: as wide as learnt features, and cheap."""

    name: str = "mean-colour"
    sha256: str = "0" * 64
    width: int = 1024

    def encode(self, patches: Pixels) -> Features:
        """Mean colours (B, D), over and over, of patches (B, P, P, 3)."""
        means = patches.mean(axis=(1, 2), dtype=np.float32)
        return np.tile(means, (1, self.width // 3 + 1))[:, : self.width]


def benchmark(options: argparse.Namespace) -> int:
    """Make the slides, measure, print the table."""
    cv2.setNumThreads(1)
    with contextlib.ExitStack() as stack:
        work = options.work or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        work.mkdir(parents=True, exist_ok=True)
        sides = QUICK_SIDES if options.quick else SIDES
        small, large = (make_slide(work / f"slide-{side}.tiff", side) for side in sides)
        counts = QUICK_ENCODED if options.quick else ENCODED
        passes = read_passes(large, options.repeats)
        found = [*readings(passes), *encodings(large, work, counts)]
        peaks = [extraction_peak(path, work) for path in (small, large)]
    overheads = ", ".join(f"{one.overhead:+.1%}" for one in passes)
    about = f"slide of {sides[1]:,} x {sides[1]:,} pixels, {passes[0].patches:,} patches"
    print(f"\n{about}, read {len(passes)} times, CPU time of one thread\n")
    print(table(found))
    print(f"\nopening, masking and reading over plain: {middle(passes):+.1%} ({overheads})")
    for side, peak in zip(sides, peaks, strict=True):
        said = "unknown" if peak is None else f"{peak:.0f} MB"
        print(f"extracting {side:,} x {side:,}: {said} at the peak, beyond an idle process")
    if options.json:
        rows = [asdict(one) | {"rate": one.rate} for one in found]
        passed = [asdict(one) for one in passes]
        write_json(options.json, {"rows": rows, "passes": passed, "peaks": list(peaks)})
    missed = missed_targets(passes, peaks)
    if options.check and missed:
        raise SlideError(f"targets missed: {'; '.join(missed)}")
    return 0


def read_passes(path: Path, repeats: int) -> list[Pass]:
    """Read a slide again and again; the first time, which fills the system's cache, is dropped."""
    found = []
    for number in range(repeats + 1):
        found.append(read_pass(path))
        say(f"reading: pass {number} of {repeats}, {found[-1].overhead:+.1%} over plain")
    return found[1:]


def read_pass(path: Path) -> Pass:
    """Read all patches in both ways, a batch by one, then by the other; who begins, alternates."""
    with open_masked(path, CUT) as (slide, coords, masking):
        began = time.process_time()
        with openslide.OpenSlide(path) as handle:
            opening = time.process_time() - began
            spent = {PLAIN: opening, READING: 0.0}
            for number, first in enumerate(range(0, len(coords), BATCH)):
                last = first + BATCH
                ways: dict[str, Callable[[], object]] = {
                    PLAIN: lambda: read_plain(handle, coords, first, last),  # noqa: B023
                    READING: lambda: coords.read(slide, first=first, last=last),  # noqa: B023
                }
                for way in sorted(ways, reverse=bool(number % 2)):
                    spent[way] += cpu_seconds(ways[way])
    return Pass(len(coords), spent[PLAIN], masking, spent[READING])


@contextlib.contextmanager
def open_masked(path: Path, cut: Extraction) -> Iterator[tuple[SlideImage, Coords, float]]:
    """A slide, its patches, and the CPU seconds that it took to find them."""
    began = time.process_time()
    with open_slide(path) as slide:
        coords = find_coords(slide.facts, find_tissue(slide), cut)
        yield slide, coords, time.process_time() - began


def read_plain(
    handle: openslide.OpenSlide, coords: Coords, first: int, last: int
) -> list[NDArray[np.uint8]]:
    """The same patches as most readers do it: Pillow's RGBA to RGB to an array."""
    size = (coords.read_side, coords.read_side)
    corners = coords.corners[first:last].tolist()
    regions = (handle.read_region((x, y), coords.level, size) for x, y in corners)
    return [np.asarray(region.convert("RGB")) for region in regions]


def cpu_seconds(work: Callable[[], object]) -> float:
    """Of this process, all threads."""
    began = time.process_time()
    work()
    return time.process_time() - began


def readings(passes: Sequence[Pass]) -> list[Measured]:
    """Rows of the table: sums over passes."""
    patches = sum(one.patches for one in passes)
    plain = sum(one.plain for one in passes)
    masking, reading = sum(one.masking for one in passes), sum(one.reading for one in passes)
    seconds = {PLAIN: plain, MASKING: masking, READING: reading, ALL: masking + reading}
    return [Measured(step, patches, s, s / plain) for step, s in seconds.items()]


def encodings(path: Path, work: Path, counts: tuple[int, int]) -> list[Measured]:
    """Rows of the table: both encoders, on patches already read."""
    say("encoding")
    cut = Extraction(input_pixels=INPUT)
    study = StudyConfig("benchmark", "resnet-34", WIDTH, (12.0,), "groups.csv", (), cut)
    learnt = read_onnx(write_resnet(work / "resnet.onnx"), study, threads=1, device="cpu")
    return [
        encoding("encoding by hand, 256 px", HandcraftedEncoder(), path, CUT, counts[0]),
        encoding("encoding by ResNet-34, ONNX, 224 px", learnt, path, cut, counts[1]),
    ]


def encoding(step: str, encoder: Encoder, path: Path, cut: Extraction, count: int) -> Measured:
    """CPU seconds of encoding ``count`` patches from the middle of a slide."""
    with open_masked(path, cut) as (slide, coords, _):
        first = max(0, (len(coords) - count) // 2)
        patches = coords.read(slide, first=first, last=first + count)
    batches = [patches[at : at + BATCH] for at in range(0, len(patches), BATCH)]
    encoder.encode(batches[0])  # not counted: it warms up
    return Measured(step, len(patches), cpu_seconds(lambda: list(map(encoder.encode, batches))))


def extraction_peak(path: Path, work: Path) -> float | None:
    """Peak memory in MB of making a feature file, in a process of its own."""
    say(f"memory: {path.name}")
    job = Job(path, work / f"{path.stem}.h5")
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(peak_of, job).result()


def peak_of(job: Job) -> float | None:
    """Peak memory in MB of making a feature file, in this process."""
    maker = Maker(CUT, MeanColour())
    return peak_megabytes(lambda: extract(job, maker), torch.device("cpu"))


def middle(passes: Sequence[Pass]) -> float:
    """The median overhead: other work may hit one way of one pass."""
    return median(one.overhead for one in passes)


def missed_targets(passes: Sequence[Pass], peaks: Sequence[float | None]) -> list[str]:
    """What --check complains about."""
    missed = []
    overhead = middle(passes)
    if overhead > MOST_OVERHEAD:
        missed.append(f"opening, masking and reading {overhead:+.1%} over plain")
    small, large = peaks
    if small and large and large - small > MOST_GROWTH:
        missed.append(f"the large slide takes {large - small:.0f} MB more than the small one")
    return missed


def table(found: Sequence[Measured]) -> str:
    """A row for each step."""
    header = ["", "patches", "ms per patch", "patches per second", "of plain"]
    body = [
        [
            one.step, f"{one.patches:,}", f"{1e3 / one.rate:.3f}", f"{one.rate:,.0f}",
            "" if one.over_plain is None else f"{one.over_plain:.1%}",
        ]
        for one in found
    ]  # fmt: skip
    return markdown([header, *body])


def make_parser() -> argparse.ArgumentParser:
    """The few options."""
    parser = benchmark_parser(
        "slides.py", __doc__, benchmark, quick="smaller slides, fewer patches; half a minute"
    )
    add = parser.add_argument
    add("--work", type=Path, help="where slides are kept for the next run; default: nowhere")
    add("--repeats", type=int, default=5, help="of reading; default: 5")
    return parser


if __name__ == "__main__":
    sys.exit(run_command(make_parser()))
