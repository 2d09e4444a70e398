"""What several test files share: a small consortium, with or without processes."""

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np
from demo.cohorts import ENCODER, WIDTH, Hospital, make_world, write_groups, write_hospital
from local import edit

import client.cli
import server.cli
from client.answers import answer, open_site
from ghanet_model.errors import GHANetError
from ghanet_model.record import Record
from server.progress import Progress, Reporter
from server.roster import read_roster
from server.run import Run
from server.setup import read_server, read_study

STUDY = f"""\
format: 1
name: small
encoder: {ENCODER}
feature_width: {WIDTH}
time_bin_edges: [12, 36, 60]
gene_groups: gene_groups.csv
gene_types: [rnaseq]
preset: compact
rounds: 3
local_epochs: 1
batch_cases: 8
learning_rate: 0.001
round_minutes: 2
"""


def write_study(folder: Path, **settings: object) -> None:
    """study.yaml and its gene groups, some settings changed."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "study.yaml").write_text(STUDY)
    edit(folder / "study.yaml", settings)
    write_groups(folder / "gene_groups.csv")


def write_cohort(folder: Path, name: str, *, cases: int = 30, genes: bool = True) -> None:
    """Tables and features of one hospital; a third of its cases is held out."""
    world = make_world(np.random.default_rng(7))
    seed = sum(name.encode())
    write_hospital(folder, Hospital(name, cases, has_genes=genes), world, seed=seed)


def run(command: Callable[[list[str]], int], *arguments: object) -> None:
    """Run a command of ours inside this process; it must succeed."""
    assert command([str(a) for a in arguments]) == 0


def join(root: Path, name: str, *, role: str, genes: bool, cases: int = 30) -> None:
    """A hospital with its own folder, enrolled; no process is started."""
    home, coordinator = root / name, root / "coordinator"
    write_cohort(home, name, cases=cases, genes=genes)
    invitation = coordinator / "invitation.json"
    run(client.cli.main, "init", "--folder", home, "--name", name, "--invitation", invitation)
    settings = {"encoder": ENCODER, "threads": 1, "genes": "genes.csv" if genes else None}
    edit(home / "site.yaml", settings)
    key = home / "keys" / "site_key.pub"
    options = ["--role", role, *(["--genes"] if genes and role == "trains" else [])]
    run(server.cli.main, "enrol", name, key, "--folder", coordinator, *options)


def make_consortium(root: Path, **settings: object) -> None:
    """Coordinator and three hospitals: two train with genes, one has slides only."""
    write_study(root / "coordinator", **settings)
    run(server.cli.main, "init", "--folder", root / "coordinator", "--host", "127.0.0.1")
    join(root, "hospital-a", role="trains", genes=True)
    join(root, "hospital-b", role="trains", genes=True, cases=45)
    join(root, "hospital-d", role="infers", genes=False)


def processes_below(folder: Path) -> list[str]:
    """Command lines of live processes that work in or name the folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            where = str((process / "cwd").readlink())
        except OSError:
            continue
        if str(folder) in command + where and int(process.name) != os.getpid():
            found.append(command)
    return found


class LocalExchange:
    """Messages as plain calls: every hospital answers in this process, from its own folder."""

    def __init__(self, root: Path, names: Iterable[str]) -> None:
        self.root = root
        self.names = set(names)
        self.asked: list[tuple[str, str]] = []  # (kind, hospital)
        self.answers: list[tuple[str, Record]] = []  # what came back, as sent

    def online(self) -> set[str]:
        """Everybody."""
        return set(self.names)

    def ask(
        self,
        kind: str,
        asks: Mapping[str, Record],
        *,
        seconds: float,  # noqa: ARG002 - the protocol's; calls do not wait
        on_answer: Callable[[str], None],
    ) -> dict[str, Record | str]:
        """Ask each hospital in turn; through the bytes of the wire, errors as codes."""
        found: dict[str, Record | str] = {}
        for name, record in asks.items():
            self.asked.append((kind, name))
            arrived = Record.unpack(dict(record.values), record.packed())
            try:
                reply = answer(open_site(self.root / name), kind, arrived)
                found[name] = Record.unpack(dict(reply.values), reply.packed())
                self.answers.append((name, reply))
            except GHANetError as error:
                found[name] = error.code
            on_answer(name)
        return found


def make_run(root: Path, exchange: LocalExchange | None = None) -> Run:
    """A run of the consortium in ``root`` without Flower."""
    folder = root / "coordinator"
    config, roster = read_server(folder), read_roster(folder)
    reporter = Reporter(config.state, Progress(run="test"))
    return Run(
        config,
        read_study(folder),
        roster,
        exchange or LocalExchange(root, roster.names()),
        reporter,
    )
