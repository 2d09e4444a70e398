"""What several test files share: a small consortium, with or without processes."""

import io
import os
import zipfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import engine
import numpy as np
import pandas as pd
from demo.cohorts import ENCODER, WIDTH, Hospital, make_world, write_groups, write_hospital
from local import edit

import client.cli
import server.cli
from client.approval import approve, present
from client.config import FOLDER_VARIABLE, site_template
from ghanet_model.bundle import BUNDLE_FILE, LICENSE_TEXT, SETTINGS_TEXT
from ghanet_model.record import Record
from server.roster import read_roster
from server.run import OnAnswer, Run, Traffic

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


def write_cohort(
    folder: Path, name: str, *, cases: int = 30, genes: bool = True, clinical: bool = True
) -> None:
    """Tables and features of one hospital; a third of its cases is held out.

    Without clinical data there is no clinical model, whose fit takes a dozen exchanges.
    """
    world = make_world(np.random.default_rng(7))
    seed = sum(name.encode())
    write_hospital(folder, Hospital(name, cases, has_genes=genes), world, seed=seed)
    if not clinical:
        table = pd.read_csv(folder / "clinical.csv")
        table[["case_id", "time", "event", "split"]].to_csv(folder / "clinical.csv", index=False)


def write_site(home: Path, **settings: object) -> Path:
    """A hospital's folder without keys: it can answer, but not connect."""
    write_study(home, **settings)
    write_cohort(home, "hospital-a")
    (home / "site.yaml").write_text(site_template(name="hospital-a", server="localhost:1"))
    edit(home / "site.yaml", {"encoder": ENCODER, "threads": 1, "genes": "genes.csv"})
    approve_as_it_is(home)
    return home


def small_bundle(files: Mapping[str, str] | None = None) -> bytes:
    """An app bundle as a coordinator's run brings it, made without Flower."""
    texts = {"pyproject.toml": SETTINGS_TEXT, "LICENSE": LICENSE_TEXT, ".info/CONTENT": ""}
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, text in (texts | dict(files or {})).items():
            archive.writestr(zipfile.ZipInfo(name), text)
    return content.getvalue()


def approve_as_it_is(home: Path) -> None:
    """What lies in a hospital's folder is approved, with a bundle if it has none."""
    if not (home / BUNDLE_FILE).exists():
        (home / BUNDLE_FILE).write_bytes(small_bundle())
    approve(home, present(home))


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
    run(client.cli.main, "approve", "--folder", home, "--yes")
    key = home / "keys" / "site_key.pub"
    options = ["--role", role, "--cases", cases]
    options += ["--genes"] if genes and role == "trains" else []
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


def trainers_of(home: Path) -> list[int]:
    """Process ids of live trainers of a hospital's folder."""
    mark = f"{FOLDER_VARIABLE}={home}\0".encode()
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            trains = b"client.trainer" in (process / "cmdline").read_bytes()
            if trains and mark in (process / "environ").read_bytes():
                found.append(int(process.name))
        except OSError:
            continue
    return found


class LocalExchange(engine.LocalExchange):
    """Remembers what was asked and answered, and lets tests change an answer."""

    def __init__(self, root: Path, names: Iterable[str], *, backwards: bool = False) -> None:
        super().__init__(root, names, backwards=backwards)
        self.asked: list[tuple[str, str]] = []  # (kind, hospital)
        self.sent: list[tuple[str, Record]] = []  # what each hospital was asked
        self.answers: list[tuple[str, Record]] = []  # what came back, as sent

    def tamper(self, kind: str, name: str, reply: Record) -> Record:  # noqa: ARG002 - overridden
        """What comes of an answer on its way; tests of hostile hospitals change it."""
        return reply

    def _ask(self, kind: str, name: str, ask: Record, on_answer: OnAnswer) -> Traffic:
        self.asked.append((kind, name))
        self.sent.append((name, ask))
        return super()._ask(kind, name, ask, on_answer)

    def _sent(self, kind: str, name: str, reply: Record) -> Record:
        self.answers.append((name, reply))
        return self.tamper(kind, name, reply)


def make_run(root: Path, exchange: engine.LocalExchange | None = None) -> Run:
    """A run of the consortium in ``root`` without Flower."""
    names = read_roster(root / "coordinator").names()
    return engine.make_run(root, exchange or LocalExchange(root, names))
