"""The cells of a benchmark: one model of one fold, seed and arm. Each is a file when it is done.

A run that is started again finds them. A cell holds risks in the order of the tables, no case id.
"""

import json
import shutil
import signal
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from functools import cache
from multiprocessing import get_context
from pathlib import Path

import torch
from arms import COORDINATOR, Risks, federate, learn, panel_of, predict, write_study
from hospitals import Hospital, Place, open_hospital, split_places
from plan import CHANGES, Plan
from report import ALONE, POOLED

from ghanet_model.errors import SettingsError
from ghanet_model.files import write_json
from ghanet_model.genes import GenePanel
from ghanet_model.processes import end_with_parent
from ghanet_model.study import StudyConfig, read_study


@dataclass(frozen=True, slots=True)
class Cell:
    """One model."""

    fold: int
    seed: int
    arm: str

    def __str__(self) -> str:
        return f"fold {self.fold}, seed {self.seed}, {self.arm}"


@dataclass(frozen=True, slots=True)
class Done:
    """What a cell's file says."""

    digest: str  # of the plan and the fold
    seconds: float
    risks: list[float]


def all_cells(plan: Plan) -> list[Cell]:
    """Every cell, one fold and seed after the other."""
    return [Cell(f, s, arm) for s in plan.seeds for f in plan.folds for arm in plan.trained]


def read_cell(plan: Plan, work: Path, cell: Cell) -> Done | None:
    """A cell that is done; None if it is not.

    Raises:
        SettingsError: it is of another benchmark.
    """
    try:
        found = Done(**json.loads(_file(work, cell).read_text()))
    except FileNotFoundError:
        return None
    if found.digest != plan.digest(cell.fold):
        raise SettingsError(f"{work}: holds another benchmark", hint="give --work a new folder")
    return found


def _file(work: Path, cell: Cell) -> Path:
    return work / "cells" / f"{cell.fold}-{cell.seed}-{cell.arm.replace(' ', '-')}.json"


def run_cells(plan: Plan, work: Path, told: Callable[[int, int], None]) -> None:
    """Every cell that is not done yet, ``workers`` at a time.

    Args:
        plan: what to run.
        work: where cells are.
        told: is told cells done and cells in all, first of what was found.

    Raises:
        GHANetError: a cell failed; those at work are done, the others are not begun.
    """
    cells = all_cells(plan)
    waiting = [cell for cell in cells if read_cell(plan, work, cell) is None]
    done = len(cells) - len(waiting)
    told(done, len(cells))
    if plan.workers == 1:
        for number, cell in enumerate(waiting, done + 1):
            run_cell(plan, work, cell)
            told(number, len(cells))
        return
    context = get_context("spawn")
    with ProcessPoolExecutor(plan.workers, mp_context=context, initializer=_begin) as pool:
        futures = [pool.submit(run_cell, plan, work, cell) for cell in waiting]
        try:
            for number, future in enumerate(as_completed(futures), done + 1):
                future.result()
                told(number, len(cells))
        finally:
            for future in futures:
                future.cancel()


def _begin() -> None:
    """A worker ends with its parent, and leaves Ctrl-C to it."""
    end_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)


def run_cell(plan: Plan, work: Path, cell: Cell) -> None:
    """Train one model and keep what it says of every case."""
    began = time.monotonic()
    risks = _risks(plan, work, cell)
    done = Done(plan.digest(cell.fold), time.monotonic() - began, risks.tolist())
    write_json(_file(work, cell), asdict(done))


def _risks(plan: Plan, work: Path, cell: Cell) -> Risks:
    places, hospitals = open_fold(plan, work, cell.fold)
    changes = CHANGES.get(cell.arm, {}) | {"seed": cell.seed}
    own = tuple(training_of(plan, hospitals, cell.arm))
    with_genes = own if own[0].has_genes else tuple(training_of(plan, hospitals, POOLED))
    panel = _panel(with_genes, study_of(work, plan.seeds[0]))
    if cell.arm in CHANGES:
        root = work / "federations" / _file(work, cell).stem
        shutil.rmtree(root, ignore_errors=True)  # of a run that was stopped
        write_study(root / COORDINATOR, plan.study | changes, plan.groups)
        risks = federate(root, places, hospitals, trains=plan.training, panel=panel)
        shutil.rmtree(root)
        return risks
    name = own[0].name if cell.arm.startswith(ALONE) else cell.arm
    study = study_of(work, cell.seed)
    return predict(learn(own, study, panel=panel, name=name), hospitals, study)


@cache
def _panel(hospitals: tuple[Hospital, ...], study: StudyConfig) -> GenePanel:
    """The same with every seed."""
    return panel_of(hospitals, study)


def training_of(plan: Plan, hospitals: Sequence[Hospital], arm: str) -> list[Hospital]:
    """Whose training cases an arm learns from."""
    alone = arm.removeprefix(f"{ALONE} ")
    chosen = {alone} if arm.startswith(ALONE) else plan.training
    return [hospital for hospital in hospitals if hospital.name in chosen]


def prepare(plan: Plan, work: Path) -> dict[int, tuple[Hospital, ...]]:
    """Write the studies and every fold's tables; the hospitals by fold.

    Raises:
        GHANetError: a table, a split or a setting cannot be used.
    """
    for seed in plan.seeds:
        write_study(_study_folder(work, seed), plan.study | {"seed": seed}, plan.groups)
    return {fold: open_fold(plan, work, fold)[1] for fold in plan.folds}


def _study_folder(work: Path, seed: int) -> Path:
    return work / "studies" / str(seed)


def study_of(work: Path, seed: int) -> StudyConfig:
    """The study of a seed."""
    return read_study(_study_folder(work, seed))


def open_fold(plan: Plan, work: Path, fold: int) -> tuple[tuple[Place, ...], tuple[Hospital, ...]]:
    """The hospitals with this fold's split."""
    places = plan.places
    if plan.splits:
        places = split_places(places, plan.split_file(fold), work / "tables" / str(fold))
    return places, _open(places, study_of(work, plan.seeds[0]))


@cache
def _open(places: tuple[Place, ...], study: StudyConfig) -> tuple[Hospital, ...]:
    """Read once by each process."""
    return tuple(open_hospital(place, study) for place in places)
