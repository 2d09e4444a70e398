"""``benchmarks/predict.py``: seconds and memory of ``ghanet-client predict features.h5``.

Slides of 1,000 to 200,000 patches, each in a process of its own; beside all that is done for a
slide, only reading its features and only the model. Features and weights are drawn. See README.md.
"""

import argparse
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent))  # benchmarks/, which is no package

from memory import MEGABYTE, peak_megabytes
from options import benchmark_parser
from predict_made import ENCODER, Preset, make_home, write_drawn
from report import markdown

from client.config import read_site
from client.features import read_features
from client.predict import find_release
from client.slide_prediction import Predictor, answer_all, find_slides
from ghanet_model.commands import run_command
from ghanet_model.errors import FeaturesError
from ghanet_model.files import write_json
from ghanet_model.network import Network

PRESETS = (Preset("published", 1024), Preset("compact", 384))
SIZES, QUICK_SIZES = (1_000, 5_000, 20_000, 50_000, 200_000), (1_000, 5_000, 20_000)  # patches
WARM = 100  # patches of a slide that comes first and is not counted
FIXED_MB, PER_MB = 100.0, 1.75  # most memory of a slide: so much, and per MB of its features
FIXED_SECONDS, PER_SECOND = 0.5, 1.5  # most seconds: so many, and per second of reading and model
CPU = torch.device("cpu")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Job:
    """A slide to be measured."""

    home: Path  # of the hospital
    preset: Preset
    patches: int
    repeats: int

    @property
    def features(self) -> Path:
        """Its feature file."""
        return self.home / f"slide-{self.patches}.h5"


@dataclass(frozen=True, slots=True)
class Step:
    """One way through a slide: the least CPU seconds, and peak memory of the first time."""

    seconds: float
    peak: float | None  # MB beyond the process as it was; None: the system does not tell


@dataclass(frozen=True, slots=True)
class Command:
    """The whole command, in a process that ends with it."""

    seconds: float  # by the clock
    peak: float  # MB, all of the process


@dataclass(frozen=True, slots=True)
class Measured:
    """A row of the table."""

    preset: str
    width: int  # D
    patches: int  # N
    slide: Step  # digest, reading, model, GeoJSON, report, JSON
    reading: Step
    model: Step
    command: Command

    @property
    def features(self) -> float:
        """MB of the features as float32."""
        return 4 * self.patches * self.width / MEGABYTE

    @property
    def over_parts(self) -> float:
        """Seconds of a slide, by those of reading and model."""
        return self.slide.seconds / (self.reading.seconds + self.model.seconds)

    @property
    def over_features(self) -> float | None:
        """Memory of a slide, by that of its features."""
        return None if self.slide.peak is None else self.slide.peak / self.features


def benchmark(options: argparse.Namespace) -> int:
    """Draw slides, measure each, print the table."""
    sizes = options.patches or (QUICK_SIZES if options.quick else SIZES)
    presets = PRESETS[:1] if options.quick else PRESETS
    found = []
    with tempfile.TemporaryDirectory(dir=options.work) as work:
        for preset in presets:
            home = Path(work) / preset.name
            make_home(home, preset, threads=options.threads)
            alone(write_drawn, home / f"slide-{WARM}.h5", WARM, preset.width)
            for patches in sorted(sizes):
                found.append(measure(Job(home, preset, patches, options.repeats)))
                say(found[-1])
    print(f"\n{options.threads} thread(s), CPU time, best of {options.repeats}\n")
    print(table(found))
    if options.json:
        extra = [{"over_parts": o.over_parts, "over_features": o.over_features} for o in found]
        rows = [asdict(one) | more for one, more in zip(found, extra, strict=True)]
        write_json(options.json, {"threads": options.threads, "rows": rows})
    missed = [text for one in found for text in missed_targets(one)]
    if options.check and missed:
        raise FeaturesError(f"targets missed: {'; '.join(missed)}")
    return 0


def measure(job: Job) -> Measured:
    """All that is measured of one slide; its file is gone afterwards."""
    alone(write_drawn, job.features, job.patches, job.preset.width)
    slide, reading, model = alone(steps_of, job)
    command = command_of(job)
    job.features.unlink()
    preset = job.preset
    return Measured(preset.name, preset.width, job.patches, slide, reading, model, command)


def alone(work: Callable[..., T], *arguments: object) -> T:
    """Do it in a process of its own, which ends with it: this one stays small."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(work, *arguments).result()


def steps_of(job: Job) -> tuple[Step, Step, Step]:
    """The whole of a slide, only reading, only the model, in turns; the release is loaded once."""
    predictor = predictor_of(job.home, job.home / f"predictions-{job.patches}")
    predict(predictor, job.home / f"slide-{WARM}.h5")
    model = predictor.release.model()
    turns = [turn_of(predictor, model, job) for _ in range(job.repeats)]
    slide, reading, model = (best_of(steps) for steps in zip(*turns, strict=True))
    return slide, reading, model


def predictor_of(home: Path, output: Path) -> Predictor:
    """The hospital's release, loaded."""
    config = read_site(home)
    return Predictor.of(config, find_release(config, None), output)


def turn_of(predictor: Predictor, model: Network, job: Job) -> tuple[Step, Step, Step]:
    """One measurement of each."""
    kept: list[torch.Tensor] = []
    slide = step(lambda: predict(predictor, job.features))
    for path in predictor.output.glob(f"{job.features.stem}.*"):
        path.unlink()  # else the next turn finds it done
    reading = step(lambda: kept.append(read(job)))
    return slide, reading, step(lambda: model.predict(kept))


def predict(predictor: Predictor, path: Path) -> None:
    """What the command does for one feature file.

    Raises:
        FeaturesError: it was refused, or had been done before.
    """
    (answer,) = answer_all(predictor, find_slides([path]), lambda: None)
    if answer.refused or answer.again:
        raise FeaturesError(answer.refused or "the slide had been predicted before")


def read(job: Job) -> torch.Tensor:
    """The features (N, D)."""
    return read_features(job.features, width=job.preset.width, encoder=ENCODER, where="slide")


def step(work: Callable[[], object]) -> Step:
    """CPU seconds of all threads, and peak memory."""
    spent: list[float] = []

    def timed() -> None:
        began = time.process_time()
        work()
        spent.append(time.process_time() - began)

    peak = peak_megabytes(timed, CPU)
    return Step(spent[0], peak)


def best_of(steps: Sequence[Step]) -> Step:
    """Other work can only lengthen one; memory is that of the fresh process."""
    return Step(min(one.seconds for one in steps), steps[0].peak)


def command_of(job: Job) -> Command:
    """``ghanet-client predict`` as it is run, with its start and the release's check."""
    program = Path(sys.executable).with_name("ghanet-client")
    parts = [program, "predict", job.features, "--folder", job.home]
    output = job.home / f"command-{job.patches}"
    began = time.perf_counter()
    process = subprocess.Popen(
        [str(part) for part in (*parts, "--output", output)], stdout=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise FeaturesError("the command failed, see above")
    return Command(time.perf_counter() - began, usage.ru_maxrss * 1024 / MEGABYTE)


def missed_targets(one: Measured) -> Iterator[str]:
    """What --check complains about in a row."""
    name = f"{one.preset}, {one.patches:,} patches"
    most = FIXED_MB + PER_MB * one.features
    if one.slide.peak is not None and one.slide.peak > most:
        yield f"{name}: {one.slide.peak:.0f} MB, more than {most:.0f}"
    longest = FIXED_SECONDS + PER_SECOND * (one.reading.seconds + one.model.seconds)
    if one.slide.seconds > longest:
        yield f"{name}: {one.slide.seconds:.2f} s, more than {longest:.2f}"


def table(found: Sequence[Measured]) -> str:
    """A row for each slide."""
    header = [
        "", "patches", "features MB", "slide s", "reading s", "model s", "slide / both",
        "slide MB", "/ features", "reading MB", "model MB", "command s", "command MB",
    ]  # fmt: skip
    return markdown([header, *map(row, found)])


def row(one: Measured) -> list[str]:
    """As text."""
    seconds = [f"{step.seconds:.2f}" for step in (one.slide, one.reading, one.model)]
    slide, reading, model = (
        "" if step.peak is None else f"{step.peak:.0f}"
        for step in (one.slide, one.reading, one.model)
    )
    ratio = "" if one.over_features is None else f"{one.over_features:.2f}"
    return [
        f"{one.preset}, {one.width:,}", f"{one.patches:,}", f"{one.features:.0f}",
        *seconds, f"{one.over_parts:.2f}", slide, ratio, reading, model,
        f"{one.command.seconds:.1f}", f"{one.command.peak:.0f}",
    ]  # fmt: skip


def say(one: Measured) -> None:
    """A line of progress, on the error stream: the table stays alone."""
    text = f"{one.preset}, {one.patches:,} patches: {one.slide.seconds:.2f} s"
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def make_parser() -> argparse.ArgumentParser:
    """The few options."""
    parser = benchmark_parser(
        "predict.py", __doc__, benchmark, quick="up to 20,000 patches, one preset; about a minute"
    )
    add = parser.add_argument
    add("--patches", type=int, nargs="+", metavar="N", help="other sizes of slides")
    add("--threads", type=int, default=1, help="of the hospital's settings; default: 1")
    add("--repeats", type=int, default=3, help="default: 3")
    add("--work", type=Path, help="folder on the disk to be measured; 1 GB; default: the system's")
    return parser


if __name__ == "__main__":
    sys.exit(run_command(make_parser()))
