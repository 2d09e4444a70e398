"""What the arms of exchange.py share, and ours: the deployment by its commands."""

import os
import re
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Self

import numpy as np
import yaml

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "deploy"))  # it is no package

from demo.cohorts import ENCODER, Hospital, make_world, write_groups, write_hospital
from local import COORDINATOR, SERVER, LocalConsortium

from ghanet_model.errors import DeploymentError
from ghanet_model.processes import program
from server.checkpoint import Checkpoint, read_checkpoint
from server.config import read_server
from server.rounds import total_traffic
from server.setup import read_study

HERE = Path(__file__).resolve().parent
OURS, PLAIN = "this project, bfloat16", "plain Flower, FedAvg"
WAIT_SECONDS = 240.0  # for processes to start
EXCHANGE_SECONDS = 600.0  # for one exchange


@dataclass(frozen=True, slots=True)
class Plan:
    """What is exchanged, and how often."""

    preset: str
    nodes: int
    exchanges: int  # the first one included


@dataclass(frozen=True, slots=True)
class Measured:
    """What an arm took."""

    arm: str
    nodes: int
    seconds: tuple[float, ...]  # of each exchange, the first one first
    sizes: tuple[int, ...]  # bytes of arrays to and from all nodes, of each
    peak: int  # bytes of memory that the ServerApp held at most

    @property
    def later_seconds(self) -> float:
        """The median of the exchanges after the first."""
        return statistics.median(self.seconds[1:])

    @property
    def later_bytes(self) -> float:
        """The same of the bytes."""
        return statistics.median(self.sizes[1:])


class Peak:
    """Watches one ServerApp from outside: the most memory that the system saw it hold."""

    def __init__(self, address: str) -> None:
        self.bytes = 0
        self._address, self._ended = address, threading.Event()

    def __enter__(self) -> Self:
        threading.Thread(target=self._watch, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()

    def _watch(self) -> None:
        while not self._ended.wait(0.2):
            for process in Path("/proc").glob("[0-9]*"):
                self.bytes = max(self.bytes, self._held_by(process))

    def _held_by(self, process: Path) -> int:
        try:
            command = (process / "cmdline").read_bytes().decode()
            if "flwr-serverapp" not in command or self._address not in command:
                return 0
            found = re.search(r"VmHWM:\s+(\d+) kB", (process / "status").read_text())
        except OSError:
            return 0
        return 1024 * int(found[1]) if found else 0


def wait_for(what: str, done: Callable[[], bool], seconds: float = WAIT_SECONDS) -> None:
    """Wait until something is so.

    Raises:
        DeploymentError: it is not in time.
    """
    end = time.monotonic() + seconds
    while not done():
        if time.monotonic() > end:
            raise DeploymentError(f"{what}: not in {seconds:.0f} s")
        time.sleep(0.1)


def between(ends: Sequence[float]) -> tuple[float, ...]:
    """Seconds of each exchange, from the end of the one before to its own."""
    return tuple(late - early for early, late in pairwise(ends))


class Sites(LocalConsortium):
    """A local consortium whose hospitals do not train; see exchange_site.py."""

    def _start(self, side: str, command: str) -> None:
        if command == SERVER:
            super()._start(side, command)
            return
        with (self.folder / side / "start.log").open("wb") as log:
            self.running[side] = subprocess.Popen(
                [sys.executable, HERE / "exchange_site.py", "start"],
                cwd=self.folder / side,
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
                start_new_session=True,
            )


def run_ours(folder: Path, plan: Plan) -> Measured:
    """Our deployment by its commands: hospitals join, connect and exchange rounds."""
    names = [f"hospital-{number}" for number in range(1, plan.nodes + 1)]
    write_consortium_study(folder / COORDINATOR, plan)
    world = make_world(np.random.default_rng(0))
    with Sites(folder) as sites, ExitStack() as stack:
        sites.init_coordinator()
        for number, name in enumerate(names):
            write_hospital(sites.site(name), Hospital(name, 30, has_genes=True), world, seed=number)
            settings = {"encoder": ENCODER, "threads": 1, "genes": "genes.csv"}
            sites.join(name, role="trains", genes=True, settings=settings)
        sites.start_server()
        for name in names:
            sites.start_site(name)
        logs = [sites.site(name) / "start.log" for name in names]
        wait_for("connection", lambda: all("connected to" in log.read_text() for log in logs))
        config = read_server(sites.coordinator)
        peak = stack.enter_context(Peak(config.local_address))
        stack.enter_context(_training(sites))
        ends = checkpoint_times(config.state / "checkpoints", plan.exchanges)
        checkpoint = read_checkpoint(
            config.state / "checkpoints", study=read_study(sites.coordinator).digest
        )
    return Measured(OURS, plan.nodes, between(ends), _sizes(checkpoint), peak.bytes)


def write_consortium_study(folder: Path, plan: Plan) -> None:
    """The study of our arm."""
    folder.mkdir(parents=True)
    write_groups(folder / "gene_groups.csv")
    values = {
        "format": 1,
        "name": "exchange",
        "encoder": ENCODER,
        "feature_width": 1024,
        "time_bin_edges": [12, 36, 60],
        "gene_groups": "gene_groups.csv",
        "gene_types": ["rnaseq"],
        "preset": plan.preset,
        "rounds": plan.exchanges,
        "exchange_precision": "bfloat16",
    }
    (folder / "study.yaml").write_text(yaml.safe_dump(values, sort_keys=False))


@contextmanager
def _training(sites: Sites) -> Iterator[None]:
    """``train`` in the background; what comes after the last round is not waited for."""
    with (sites.coordinator / "train.log").open("wb") as log:
        command = [program(SERVER), "train"]
        training = subprocess.Popen(
            command, cwd=sites.coordinator, stdout=log, stderr=log, stdin=subprocess.DEVNULL
        )
    try:
        yield
    finally:
        training.terminate()
        training.wait()


def checkpoint_times(folder: Path, last: int) -> list[float]:
    """When each checkpoint was written, the one before the first round included."""
    seen: dict[int, float] = {}
    for number in range(last + 1):
        path = folder / f"round-{number:04d}.safetensors"
        seconds = EXCHANGE_SECONDS if number else WAIT_SECONDS
        wait_for(f"checkpoint {number}", path.exists, seconds)
        seen[number] = path.stat().st_mtime
    return list(seen.values())


def _sizes(checkpoint: Checkpoint | None) -> tuple[int, ...]:
    history = checkpoint.history if checkpoint else ()
    return tuple(total_traffic(record.sites).total for record in history)
