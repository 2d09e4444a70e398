"""Features of all slides of a hospital, by several workers. Stopped anywhere, it goes on there."""

import fcntl
import os
import re
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

import cv2

from ghanet_model.errors import DeploymentError, FeaturesError, GHANetError, SlideError
from ghanet_model.processes import exit_with
from ghanet_model.study import StudyConfig

from .config import SiteConfig
from .draft import draft_of, progress_of
from .encoders import EncoderFile, load_encoder
from .extract import Extracted, Job, extract, is_done
from .feature_folders import feature_folders
from .feature_writer import Maker
from .slide_check import the_file
from .slide_list import ListedSlide

LOCK_FILE = ".extract.lock"
LOOK_SECONDS = 0.5  # between looks at how far workers are
_NO_FILE_NAME = re.compile(r"[^A-Za-z0-9._-]+")


@dataclass(frozen=True, slots=True)
class Refused:
    """A slide without features."""

    slide: ListedSlide
    why: str
    hint: str


@dataclass(frozen=True, slots=True)
class RunResult:
    """What a run did."""

    folder: Path  # of feature files
    made: int
    patches: int  # of those made
    already: int  # done before, by the same settings
    refused: tuple[Refused, ...]
    warned: tuple[tuple[ListedSlide, str], ...] = field(default=())


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a run is, for a progress bar."""

    slides: int  # done
    patches: int  # done, of slides at work too
    expected: float  # patches in all, as far as is known


def features_folder(config: SiteConfig, study: StudyConfig) -> Path:
    """Where feature files of this encoder go.

    Raises:
        FeaturesError: ``features`` holds features of another program or encoder.
    """
    name = "features_" + _NO_FILE_NAME.sub("-", study.encoder)
    folder = config.features if config.features.name == name else config.features / name
    for found in feature_folders(config.features):
        if found.path != folder:
            raise FeaturesError(
                f"'features' in site.yaml holds {found.kind} features already ({found.path.name})",
                hint="name another folder for those that are made here",
            )
    return folder


def run(
    config: SiteConfig,
    study: StudyConfig,
    slides: Sequence[ListedSlide],
    *,
    workers: int,
    show: Callable[[Standing], None],
) -> RunResult:
    """Make what is missing.

    Args:
        config: of the hospital.
        study: says how.
        slides: all of them.
        workers: processes; each has its own encoder.
        show: told how far it is, about twice a second.

    Raises:
        FeaturesError: the folder holds other features.
        SlideError: the encoder cannot be used.
        DeploymentError: another run is at work, a worker was killed, the disk is full.
    """
    folder = features_folder(config, study)
    threads = max(1, config.threads // workers)
    make = _MakerOf(
        study, EncoderFile(config.encoder_file, config.encoder_trust), config.device, threads
    )
    settings = make().settings  # also says once what is wrong with the encoder
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _alone(folder):
        jobs, refused = _jobs(slides, folder)
        waiting = {slide: job for slide, job in jobs.items() if not is_done(job, settings)}
        made: dict[ListedSlide, Extracted] = {}
        for slide, result in _work(waiting, make, workers=workers, show=show):
            if isinstance(result, Extracted):
                made[slide] = result
            else:
                refused.append(Refused(slide, str(result), result.hint))
    return RunResult(
        folder=folder,
        made=len(made),
        patches=sum(one.patches for one in made.values()),
        already=len(jobs) - len(waiting),
        refused=tuple(refused),
        warned=tuple((slide, text) for slide, one in made.items() for text in one.warnings),
    )


def _jobs(
    slides: Sequence[ListedSlide], folder: Path
) -> tuple[dict[ListedSlide, Job], list[Refused]]:
    jobs, refused = {}, []
    for slide in slides:
        try:
            jobs[slide] = Job(the_file(slide), folder / f"{slide.name}.h5", slide.mpp)
        except SlideError as error:
            refused.append(Refused(slide, str(error), error.hint))
    return jobs, refused


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Two runs would write the same drafts."""
    handle = os.open(folder / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise DeploymentError(
            "another 'slides extract' is at work in this folder", hint="wait for it, or stop it"
        ) from None
    finally:
        os.close(handle)


@dataclass(frozen=True, slots=True)
class _MakerOf:
    """Loads the encoder, once in each process."""

    study: StudyConfig
    file: EncoderFile
    device: str
    threads: int

    def __call__(self) -> Maker:
        cv2.setNumThreads(1)
        encoder = load_encoder(self.study, self.file, threads=self.threads, device=self.device)
        return Maker(self.study.extraction, encoder)


class _Worker:
    """What a worker process keeps between slides."""

    maker: Maker
    wrong: GHANetError | None = None  # why it has no encoder


def _begin(make: _MakerOf, stop: Connection) -> None:
    exit_with(stop)
    try:
        _Worker.maker = make()
    except GHANetError as error:  # an error here would be a traceback
        _Worker.wrong = error


def _extract(job: Job) -> Extracted | SlideError:
    """Make one file.

    Raises:
        DeploymentError: the encoder failed.
        OSError: a file cannot be written.
    """
    if _Worker.wrong is not None:
        raise DeploymentError(
            f"a worker has no encoder: {_Worker.wrong}", hint="run it again with fewer --workers"
        )
    try:
        return extract(job, _Worker.maker)
    except SlideError as error:
        return error


def _work(
    waiting: dict[ListedSlide, Job],
    make: _MakerOf,
    *,
    workers: int,
    show: Callable[[Standing], None],
) -> Iterator[tuple[ListedSlide, Extracted | SlideError]]:
    """Results as they come. Whatever ends this early ends the workers at once: drafts stay."""
    if not waiting:
        return
    context = get_context("spawn")
    heard, stop = context.Pipe(duplex=False)
    pool = ProcessPoolExecutor(
        min(workers, len(waiting)), context, initializer=_begin, initargs=(make, heard)
    )
    try:
        with _ctrl_c_is_ours():
            tasks = {pool.submit(_extract, job): slide for slide, job in waiting.items()}
        left, patches = set(tasks), 0
        while left:
            done, left = wait(left, timeout=LOOK_SECONDS, return_when="FIRST_COMPLETED")
            for task in done:
                result = _result(task)
                patches += result.patches if isinstance(result, Extracted) else 0
                yield tasks[task], result
            show(_standing(waiting, tasks, left, patches))
    finally:
        stop.close()
        heard.close()
        pool.shutdown(cancel_futures=True)


@contextmanager
def _ctrl_c_is_ours() -> Iterator[None]:
    """Processes begun here do not hear Ctrl-C, from their first moment on."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _result(task: "Future[Extracted | SlideError]") -> Extracted | SlideError:
    try:
        return task.result()
    except BrokenProcessPool:
        raise DeploymentError(
            "a worker was killed (out of memory?)", hint="run it again with fewer --workers"
        ) from None
    except OSError as error:  # of writing: what reading raises is a SlideError
        raise DeploymentError(
            f"features cannot be written ({str(error.strerror or error).lower()})",
            hint="make room or mend the folder, then run it again: what was made is kept",
        ) from None


def _standing(
    waiting: dict[ListedSlide, Job],
    tasks: "dict[Future[Extracted | SlideError], ListedSlide]",
    left: "set[Future[Extracted | SlideError]]",
    patches: int,
) -> Standing:
    """Slides at work say by their drafts how far they are; others count as the mean of these."""
    at_work = [waiting[tasks[task]].output for task in left if task.running()]
    known = [one for one in (progress_of(draft_of(path)) for path in at_work) if one]
    finished = len(tasks) - len(left)
    of_known = patches + sum(total for _, total in known)
    mean = of_known / max(1, finished + len(known))
    rest = len(left) - len(known)
    return Standing(finished, patches + sum(done for done, _ in known), of_known + rest * mean)


def require_all(result: RunResult) -> None:
    """End with an error where a slide has no features.

    Raises:
        SlideError: how many, and what to do.
    """
    if result.refused:
        first = result.refused[0]
        raise SlideError(
            f"{len(result.refused)} slides have no features, the first: {first.why}",
            hint=first.hint or "mend them, or drop their rows of the slides table",
        )
