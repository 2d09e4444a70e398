"""``benchmarks/reading.py``: what reading features costs in an epoch, from files and from memory.

One training, four ways to come by its bags; they give the same loss bit by bit. The slides are
drawn, in files as CLAM and TRIDENT write them: float16, one HDF5 chunk per patch. See README.md.
"""

import argparse
import os
import signal
import sys
import tempfile
import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from unittest import mock

import h5py
import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent))  # benchmarks/, which is no package

from options import benchmark_parser
from report import markdown

from client.bags import SiteBags
from client.cache import FeatureCache
from client.cohort import Case, Slide
from client.features import find_features
from ghanet_model import training
from ghanet_model.bag import Outcome
from ghanet_model.commands import run_command
from ghanet_model.errors import TrainingError
from ghanet_model.files import write_json
from ghanet_model.network import new_model
from ghanet_model.sizes import GHANetConfig
from ghanet_model.study import FLOAT32, PRECISIONS, StudyConfig
from ghanet_model.training import TrainingReport, TrainingSettings

MOST_READING = 0.1  # of an epoch, by --check
GENES = (100,) * 6  # per gene group
BYTES = 1024 * 2  # of a patch
STUDY = StudyConfig(
    name="reading",
    encoder="drawn",
    feature_width=1024,
    time_bin_edges=(12.0, 36.0, 60.0),
    gene_groups="groups.csv",
    groups=(),
)


@dataclass(frozen=True, slots=True)
class Way:
    """One way to come by bags."""

    cached: bool  # from memory; else every file is read whenever its case is drawn
    ahead: bool  # the next bags while the current ones are computed; else in turn

    def __str__(self) -> str:
        source = "from memory" if self.cached else "from files"
        return f"{source}, {'ahead' if self.ahead else 'in turn'}"


WAYS = tuple(
    Way(cached, ahead) for cached in (False, True) for ahead in (False, True)
)  # last: ours


@dataclass(frozen=True, slots=True)
class Measured:
    """The fastest epoch of one way: what else runs on a machine can only slow one down."""

    way: str
    seconds: float
    reading: float  # share of the seconds
    times: str  # where they went


def benchmark(options: argparse.Namespace) -> int:
    """Write slides, train epochs each way in turn, print the table."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # the slides do not stay behind
    slides, repeats = (16, 1) if options.quick else (options.slides, options.repeats)
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory(prefix="ghanet-reading-", dir=options.folder) as made:
        say(f"writing {slides} slides")
        patches = write_slides(Path(made) / "h5_files", slides)
        found = measure(open_bags(Path(made), slides), repeats, options.precision)
    about = (
        f"published, {options.precision}, {slides} slides of 1,000 to 4,000 patches "
        f"({patches * BYTES / 1e6:.0f} MB), threads {options.threads}, best of {repeats}"
    )
    print(f"\nOne epoch; {about}\n\n{table(found)}")
    if options.json:
        write_json(options.json, {"about": about, "ways": [asdict(one) for one in found]})
    ours = found[-1]
    if options.check and ours.reading > MOST_READING:
        share = f"{ours.reading:.0%} of an epoch {ours.way}"
        raise TrainingError(f"reading takes {share}, more than {MOST_READING:.0%}")
    return 0


def write_slides(folder: Path, slides: int) -> int:
    """Draw feature files; how many patches they hold together."""
    rng, width = np.random.default_rng(0), STUDY.feature_width
    folder.mkdir()
    counts = rng.integers(1_000, 4_001, slides)
    for number, patches in enumerate(counts):
        values = rng.standard_normal((patches, width), np.float32).astype(np.float16)
        with h5py.File(folder / f"S{number}.h5", "w") as file:
            file.create_dataset("features", data=values, chunks=(1, width), maxshape=(None, width))
            file["coords"] = np.zeros((patches, 2), np.int64)
    return int(counts.sum())


def open_bags(folder: Path, slides: int) -> dict[Way, SiteBags]:
    """Bags as a hospital opens them, with a cache for all of them or for none."""
    rng = np.random.default_rng(1)
    cases = [
        Case(f"C{i}", Outcome(15.0 * (i % 4), i % 3 > 0, i % 4), (Slide(f"S{i}", "slides.csv", i),))
        for i in range(slides)
    ]
    genes = [
        tuple(torch.from_numpy(rng.standard_normal(n, np.float32)) for n in GENES) for _ in cases
    ]
    features = find_features(folder)
    caches = {way: FeatureCache(sys.maxsize if way.cached else 0) for way in WAYS}
    return {
        way: SiteBags(cases, features, study=STUDY, genes=genes, cache=caches[way]) for way in WAYS
    }


def measure(bags: Mapping[Way, SiteBags], repeats: int, precision: str) -> list[Measured]:
    """Epochs of every way, one way after the other, so that what disturbs one disturbs all.

    Raises:
        TrainingError: two of them did not train alike.
    """
    reports: dict[Way, list[TrainingReport]] = {way: [] for way in WAYS}
    for way in WAYS:
        if way.cached:
            deque(bags[way], maxlen=0)  # fills the cache
    epoch(bags[WAYS[0]], WAYS[0], precision)  # not counted: it loads parts of torch
    for _ in range(repeats):
        for way in WAYS:
            report = epoch(bags[way], way, precision)
            say(f"{way}: {report.seconds:.1f} s; {report.times}")
            reports[way].append(report)
    if len({report.loss for way in WAYS for report in reports[way]}) > 1:
        raise TrainingError("the ways did not train alike")
    return [summary(way, reports[way]) for way in WAYS]


def epoch(bags: SiteBags, way: Way, precision: str) -> TrainingReport:
    """Train one epoch, always the same one: 32 cases per step, as published."""
    for path in {path for files in bags.files for path in files.paths}:
        forget_pages(path)
    config = GHANetConfig.preset(
        "published", group_sizes=GENES, feature_width=1024, time_bins=4, dropout=0.25
    )
    settings = TrainingSettings.from_study(replace(STUDY, training_precision=precision))
    in_turn = mock.patch.object(training, "read_ahead", lambda items: nullcontext(iter(items)))
    with nullcontext() if way.ahead else in_turn:
        return training.train(
            new_model(config, seed=0),
            bags,
            settings,
            outcomes=[outcome for outcome in bags.outcomes if outcome],
            use_genes=True,
            seed=0,
            device=torch.device("cpu"),
        )


def forget_pages(path: Path) -> None:
    """Have the system read a file from its disk again: a cohort is larger than its page cache."""
    if hasattr(os, "posix_fadvise"):  # not on macOS
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def summary(way: Way, reports: Sequence[TrainingReport]) -> Measured:
    """A way's fastest epoch."""
    best = min(reports, key=lambda report: report.seconds)
    return Measured(str(way), best.seconds, best.times.read / best.seconds, str(best.times))


def table(found: Sequence[Measured]) -> str:
    """A row for each way."""
    header = ["bags", "seconds", "waiting to read", "where they went"]
    body = [[one.way, f"{one.seconds:.1f}", f"{one.reading:.1%}", one.times] for one in found]
    return markdown([header, *body])


def say(text: str) -> None:
    """A line of progress, on the error stream: the table stays alone."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def make_parser() -> argparse.ArgumentParser:
    """The few options."""
    parser = benchmark_parser(
        "reading.py",
        __doc__,
        benchmark,
        quick="16 slides, one epoch each way: does it run?",
        check="exit 1 where reading from memory costs too much",
    )
    add = parser.add_argument
    add("--slides", type=int, default=60, help="of the drawn cohort, one per case; default: 60")
    add("--folder", type=Path, help="where to write them; default: for temporary files")
    add("--precision", choices=PRECISIONS, default=FLOAT32, help="default: float32")
    add("--threads", type=int, default=2, help="default: 2")
    add("--repeats", type=int, default=3, help="epochs of each way; default: 3")
    return parser


if __name__ == "__main__":
    sys.exit(run_command(make_parser()))
