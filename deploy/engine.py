"""A study in one process: the functions of coordinator and hospitals, without Flower or network.

Every message goes through the bytes of the wire and the gates of both sides, so what comes out is,
bit by bit, what a deployment computes. For benchmarks and tests; it reaches no other machine.
"""

import io
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import numpy as np
from local import COORDINATOR, edit
from numpy.typing import NDArray

import client.cli
import server.cli
from client.frames import Frame
from client.memory import Memory
from client.trainer import answer_frame
from ghanet_model.errors import DeploymentError
from ghanet_model.record import Record
from ghanet_model.wire import ERROR
from server.gate import opened
from server.progress import Progress, Reporter
from server.roster import read_roster
from server.run import OnAnswer, Run, Traffic
from server.setup import read_server, read_study
from server.stages import run_study

Main = Callable[[list[str]], int]  # of a command of ours


class LocalExchange:
    """Messages as plain calls: every hospital answers in this process, from its own folder.

    Each keeps one memory, as its trainer does: tables and features are read once.
    """

    def __init__(self, root: Path, names: Iterable[str], *, backwards: bool = False) -> None:
        self.root = root
        self.names = set(names)
        self.backwards = backwards  # the last of the roster answers first
        self.memories: defaultdict[str, Memory] = defaultdict(Memory)
        self.most = 0  # bytes that the server takes as an answer now

    def online(self) -> set[str]:
        """Everybody."""
        return set(self.names)

    def ask(
        self,
        kind: str,
        asks: Mapping[str, Record],
        *,
        most: int,
        seconds: float,  # noqa: ARG002 - the protocol's; calls do not wait
        on_answer: OnAnswer,
    ) -> dict[str, Traffic]:
        """Ask each hospital in turn; through the bytes of the wire, errors as codes."""
        self.most = most
        return {
            name: self._ask(kind, name, asks[name], on_answer)
            for name in (reversed(list(asks)) if self.backwards else asks)
        }

    def _ask(self, kind: str, name: str, ask: Record, on_answer: OnAnswer) -> Traffic:
        blob = ask.packed()
        traffic, answered = Traffic(sent=blob.size), self._answer(kind, name, ask, blob)
        if isinstance(answered, Record):
            traffic += Traffic(received=answered.size)
        again = on_answer(name, answered)
        return traffic + self._ask(kind, name, again, on_answer) if again else traffic

    def _answer(self, kind: str, name: str, ask: Record, blob: NDArray[np.uint8]) -> Record | str:
        """A hospital's answer as it arrives, or the code of its error."""
        asked = Frame(kind, dict(ask.values), blob)
        frame = answer_frame(asked, self.root / name, self.memories[name])
        if ERROR in frame.values:
            return str(frame.values[ERROR])
        reply = self._sent(kind, name, Record.unpack(dict(frame.values), frame.arrays))
        return opened(dict(reply.values), reply.packed(), most=self.most)

    def _sent(self, kind: str, name: str, reply: Record) -> Record:  # noqa: ARG002
        """What comes of an answer on its way; tests look at it, or change it."""
        return reply


def make_run(root: Path, exchange: LocalExchange | None = None) -> Run:
    """A run of the consortium in ``root``."""
    folder = root / COORDINATOR
    config, roster = read_server(folder), read_roster(folder)
    reporter = Reporter(config.state, Progress(run="in-process"))
    exchange = exchange or LocalExchange(root, roster.names())
    return Run(config, read_study(folder), roster, exchange, reporter)


def run_here(root: Path) -> None:
    """Every stage of the study in ``root``, to its release and report; goes on where it stopped.

    Raises:
        GHANetError: a stage failed.
    """
    run_study(make_run(root))


def command(main: Main, *arguments: object) -> None:
    """Run a command of ours in this process; what it says is shown to nobody.

    Raises:
        DeploymentError: it failed; says why.
    """
    said = io.StringIO()
    with redirect_stdout(io.StringIO()), redirect_stderr(said):
        code = main([str(argument) for argument in arguments])
    if code:
        why = (said.getvalue().strip().splitlines() or ["it said nothing"])[0]
        raise DeploymentError(why, hint="the same command by hand says more")


def init_coordinator(root: Path) -> None:
    """Keys, certificates and invitation, for the study that lies in the coordinator's folder."""
    command(server.cli.main, "init", "--folder", root / COORDINATOR, "--host", "127.0.0.1")


def join(  # noqa: PLR0913 - what a hospital says of itself
    root: Path, name: str, *, role: str, genes: bool, settings: dict[str, object], cases: int = 1000
) -> None:
    """A hospital makes its key, edits site.yaml, approves what it will run and is enrolled."""
    home, coordinator = root / name, root / COORDINATOR
    home.mkdir(parents=True, exist_ok=True)
    invitation = coordinator / "invitation.json"
    command(client.cli.main, "init", "--folder", home, "--name", name, "--invitation", invitation)
    edit(home / "site.yaml", settings)
    command(client.cli.main, "approve", "--folder", home, "--yes")
    key, options = home / "keys" / "site_key.pub", ["--role", role, "--cases", cases]
    options += ["--genes"] if genes else []
    command(server.cli.main, "enrol", name, key, "--folder", coordinator, *options)
