"""``benchmarks/tcga.py --sites DIR``: federated, pooled and each hospital alone, by one code.

Folds, seeds and arms; one model of each is a cell, and a run that is started again skips those that
are done. The federation runs by the functions of coordinator and hospitals in one process. See
README.md beside this file for the protocol, and for what it may and may not show. It prints numbers
about groups of cases, never about one.
"""

import argparse
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))  # benchmarks/, which is no package

from arms import Risks, cox
from cells import Cell, prepare, read_cell, run_cells, study_of
from hospitals import Cases, Hospital, all_cases
from options import benchmark_parser
from plan import WORKERS, Plan, make_plan
from report import (
    ALONE,
    ARMS,
    CLINICAL,
    FEDERATED,
    STACKED,
    Arm,
    as_json,
    compare,
    main_table,
    make_columns,
    missed_targets,
    seeds_table,
)
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TimeElapsedColumn, TimeRemainingColumn

from ghanet_model.commands import run_command
from ghanet_model.errors import TrainingError
from ghanet_model.files import write_json
from ghanet_model.sizes import PRESETS

Folds = dict[int, tuple[Hospital, ...]]


def benchmark(options: argparse.Namespace) -> int:
    """Run every cell that is not done, print the tables, write the numbers."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    plan = make_plan(options)
    with work_folder(options.work) as work:
        folds = prepare(plan, work)
        cases = all_cases(folds)
        require_training(plan, folds, work)
        with progress() as told:
            run_cells(plan, work, told)
        arms = [arm_of(plan, work, name, cases) for name in plan.trained]
        arms += [fitted_arm(plan, work, name, folds) for name in _fitted(plan)]
    columns = make_columns(cases)
    rows = compare(arms, columns)
    print(f"\nC-index with 95% bootstrap interval; {plan}\n")
    print(main_table(arms, columns, rows), seeds_table(plan.seeds, rows), sep="\n\n")
    if options.json:
        about = {"about": str(plan), "study": plan.study, "seeds": plan.seeds, "folds": plan.folds}
        write_json(options.json, {**about, **as_json(arms, columns, rows)})
    checked = options.check or options.chance
    if checked and (missed := missed_targets(rows, chance=options.chance)):
        raise TrainingError("; ".join(missed), hint="benchmarks/README.md says what is expected")
    return 0


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


@contextmanager
def work_folder(given: Path | None) -> Iterator[Path]:
    """The given folder, which stays, or a temporary one, which does not."""
    if given is None:
        with tempfile.TemporaryDirectory(prefix="ghanet-benchmark-") as made:
            yield Path(made)
        return
    given.mkdir(parents=True, exist_ok=True)
    yield given.resolve()


@contextmanager
def progress() -> Iterator[Callable[[int, int], None]]:
    """Cells done and the time that the others will take, on the error stream."""
    columns = [*Progress.get_default_columns()[:2], MofNCompleteColumn()]
    columns += [TimeElapsedColumn(), TimeRemainingColumn(elapsed_when_finished=True)]
    with Progress(*columns, console=Console(stderr=True), speed_estimate_period=600) as shown:
        task = shown.add_task("models", total=None)
        yield lambda done, total: shown.update(task, completed=done, total=total)


def require_training(plan: Plan, folds: Folds, work: Path) -> None:
    """A hospital that cannot train would end a federation's first round: say so before.

    Raises:
        TrainingError: one cannot, in any fold.
    """
    study = study_of(work, plan.seeds[0])
    needed = {h.name for h in folds[plan.folds[0]]} if ALONE in plan.arms else plan.training
    unable = {
        hospital.name
        for hospitals in folds.values()
        for hospital in hospitals
        if hospital.name in needed and not hospital.can_train(study)
    }
    if unable:
        raise TrainingError(
            f"{', '.join(sorted(unable))}: fewer than {study.minimum_cases} training cases, "
            "or no event",
            hint="a larger cohort, or other hospitals",
        )


def risks_of(plan: Plan, work: Path, cell: Cell) -> tuple[Risks, float]:
    """What a cell that is done says of every case, and its seconds."""
    done = read_cell(plan, work, cell)
    assert done is not None
    return np.array(done.risks), done.seconds


def arm_of(plan: Plan, work: Path, name: str, cases: Cases) -> Arm:
    """The risks of held-out cases, each by the model of the fold that held it out."""
    risks, seconds = np.zeros((len(plan.seeds), len(cases.times))), []
    for row, seed in enumerate(plan.seeds):
        for fold in plan.folds:
            found, took = risks_of(plan, work, Cell(fold, seed, name))
            risks[row, cases.fold == fold] = found[cases.fold == fold]
            seconds.append(took)
    return Arm(name, risks, float(np.mean(seconds)))


def _fitted(plan: Plan) -> list[str]:
    return [arm for arm in (CLINICAL, STACKED) if arm in plan.arms]


def fitted_arm(plan: Plan, work: Path, name: str, folds: Folds) -> Arm:
    """An arm that is fitted by Cox's model, to what each case's table and the federation say."""
    cases = all_cases(folds)
    risks = np.zeros((len(plan.seeds), len(cases.times)))
    for row, seed in enumerate(plan.seeds):
        for fold, hospitals in folds.items():
            own = None
            if name == STACKED:
                own = risks_of(plan, work, Cell(fold, seed, FEDERATED))[0]
            found = cox(hospitals, study_of(work, seed), trains=plan.training, risks=own)
            risks[row, cases.fold == fold] = found[cases.fold == fold]
    return Arm(name, risks, 0.0)


def make_parser() -> argparse.ArgumentParser:
    """The few options."""
    parser = benchmark_parser(
        "tcga.py", __doc__, benchmark, quick="one fold and seed, two rounds, three hospitals"
    )
    add = parser.add_argument
    add("--sites", type=Path, required=True, help="a folder with one folder per hospital")
    add("--splits", type=Path, help="a folder of splits_K.csv; default: the tables' own split")
    add("--groups", type=Path, help="CSV of gene groups; default: gene_groups.csv in --sites")
    add("--preset", choices=sorted(PRESETS), default="compact")
    add("--folds", type=int, nargs="+", help="default: 0 to 4 with --splits")
    add("--seeds", type=int, nargs="+", help="default: 0 1 2")
    add("--arms", choices=ARMS, nargs="+", help="default: all but the last")
    add(
        "--wsi-only", choices=("infers", "trains"), default="infers", help="hospitals without genes"
    )
    add("--rounds", type=int, help="of the federation; default: by preset")
    add("--local-epochs", type=int, help="in each round; default: by preset")
    add("--learning-rate", type=float, help="default: by preset")
    add("--workers", type=int, default=WORKERS, help="models at a time, one core each")
    add("--chance", action="store_true", help="exit 1 where an arm of slides is not at chance")
    add("--work", type=Path, help="keep cells here, and go on from there; default: temporary")
    return parser


if __name__ == "__main__":
    sys.exit(run_command(make_parser()))
