"""``benchmarks/tcga.py --sites DIR``: federated, pooled and each hospital alone, by one code.

The federation is the real deployment on this machine, its hospitals reading the given folders; the
other arms train the same model in this process. See README.md beside this file for what it may and
may not show. It prints numbers about groups of cases, never about one.
"""

import argparse
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parent))  # benchmarks/, which is no package

from arms import COORDINATOR, federate, learn, panel_of, predict, write_study
from hospitals import Hospital, all_cases, open_hospital
from plan import BFLOAT16, Plan, make_plan
from report import (
    ALONE,
    COARSE,
    FEDERATED,
    POOLED,
    Arm,
    as_json,
    compare,
    main_table,
    make_columns,
    missed_targets,
    seeds_table,
)

from ghanet_model.commands import run_command
from ghanet_model.errors import SettingsError, TrainingError
from ghanet_model.files import write_json
from ghanet_model.genes import GenePanel
from ghanet_model.sizes import PRESETS
from ghanet_model.study import StudyConfig


def benchmark(options: argparse.Namespace) -> int:
    """Run every arm and seed, print the tables, write the numbers."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    plan = make_plan(options)
    with work_folder(options.work) as work:
        hospitals, arms = run_arms(plan, work)
    cases = all_cases(hospitals)
    columns = make_columns(cases)
    rows = compare(arms, cases, columns)
    print(f"\nC-index with 95% bootstrap interval; {plan}\n")
    print(main_table(arms, columns, rows), seeds_table(plan.seeds, rows), sep="\n\n")
    if options.json:
        about = {"about": str(plan), "study": plan.study, "seeds": plan.seeds}
        write_json(options.json, {**about, **as_json(arms, columns, rows)})
    if options.check and (missed := missed_targets(rows)):
        raise TrainingError("; ".join(missed), hint="benchmarks/README.md says what is expected")
    return 0


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


@contextmanager
def work_folder(given: Path | None) -> Iterator[Path]:
    """An empty folder: the given one, which stays, or a temporary one, which does not."""
    if given is None:
        with tempfile.TemporaryDirectory(prefix="ghanet-benchmark-") as made:
            yield Path(made)
        return
    given.mkdir(parents=True, exist_ok=True)
    if any(given.iterdir()):
        raise SettingsError(f"{given}: not empty", hint="give --work a new folder")
    yield given.resolve()


def run_arms(plan: Plan, work: Path) -> tuple[list[Hospital], list[Arm]]:
    """Every arm with every seed.

    Raises:
        GHANetError: a table, a setting or the deployment failed.
    """
    runs = []
    for seed in plan.seeds:
        folder = work / f"seed-{seed}"
        study = write_study(folder / COORDINATOR, plan.study | {"seed": seed}, plan.groups)
        if not runs:
            say("reading tables")
            hospitals = [open_hospital(place, study) for place in plan.places]
            all_cases(hospitals)
            require_training(plan, hospitals, study)
        runs.append(run_seed(plan, folder, hospitals, study))
    return hospitals, [
        Arm(
            name=name,
            risks=np.array([run[name].risks for run in runs]),
            saw=runs[0][name].saw,
            seconds=tuple(run[name].seconds for run in runs),
        )
        for name in runs[0]
    ]


def require_training(plan: Plan, hospitals: Sequence[Hospital], study: StudyConfig) -> None:
    """A hospital that cannot train would end the federation's first round: say so before."""
    unable = [h.name for h in hospitals if h.name in plan.training and not h.can_train(study)]
    if unable:
        raise TrainingError(
            f"{', '.join(unable)}: fewer than {study.minimum_cases} training cases, or no event",
            hint="a larger cohort, or other hospitals",
        )


@dataclass(frozen=True, slots=True, eq=False)
class ArmRun:
    """One arm with one seed."""

    risks: NDArray[np.float64]  # (cases,)
    saw: frozenset[int]
    seconds: float


def run_seed(
    plan: Plan, folder: Path, hospitals: Sequence[Hospital], study: StudyConfig
) -> dict[str, ArmRun]:
    """Every arm once, by name."""
    training = [hospital for hospital in hospitals if hospital.name in plan.training]
    pooled_panel = panel_of(training, study)
    runs: dict[str, ArmRun] = {}

    def run(name: str, own: Sequence[Hospital], train: Callable[[], NDArray[np.float64]]) -> None:
        say(f"seed {study.seed}: {name}")
        began = time.monotonic()
        risks = train()
        saw = frozenset(number for number, h in enumerate(hospitals) if h in own)
        runs[name] = ArmRun(risks, saw, time.monotonic() - began)

    def in_process(own: Sequence[Hospital], panel: GenePanel, name: str) -> NDArray[np.float64]:
        return predict(learn(own, study, panel=panel, name=name), hospitals, study)

    def federation(own: Path) -> NDArray[np.float64]:
        return federate(own, plan.places, hospitals, trains=plan.training)

    run(FEDERATED, training, lambda: federation(folder))
    if plan.bfloat16:
        coarse = folder.with_name(f"{folder.name}-bfloat16")
        write_study(coarse / COORDINATOR, plan.study | BFLOAT16 | {"seed": study.seed}, plan.groups)
        run(COARSE, training, lambda: federation(coarse))
        return runs
    run(POOLED, training, lambda: in_process(training, pooled_panel, POOLED))
    for hospital in hospitals:
        if hospital.can_train(study):
            panel = panel_of([hospital], study) if hospital.has_genes else pooled_panel
            run(
                f"{ALONE} {hospital.name}",
                [hospital],
                partial(in_process, [hospital], panel, hospital.name),
            )
    return runs


def say(text: str) -> None:
    """A line of progress, on the error stream: the tables stay alone."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def make_parser() -> argparse.ArgumentParser:
    """The few options."""
    parser = argparse.ArgumentParser(prog="tcga.py", description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--sites", type=Path, required=True, help="a folder with one folder per hospital")
    add("--groups", type=Path, help="CSV of gene groups; default: gene_groups.csv in --sites")
    add("--preset", choices=sorted(PRESETS), default="compact")
    add(
        "--wsi-only", choices=("infers", "trains"), default="infers", help="hospitals without genes"
    )
    add("--rounds", type=int, help="of the federation; default: by preset")
    add("--local-epochs", type=int, help="in each round; default: by preset")
    add("--learning-rate", type=float, help="default: by preset")
    add(
        "--bfloat16",
        action="store_true",
        help="only the federation: in bfloat16, trained and exchanged so, beside float32",
    )
    add("--quick", action="store_true", help="one seed, one round, three hospitals: does it run?")
    add("--check", action="store_true", help="exit 1 where a target is missed")
    add("--json", type=Path, help="write all numbers to this file")
    add("--work", type=Path, help="keep the deployments' folders here; default: a temporary folder")
    add("--debug", action="store_true", help="tracebacks of unexpected errors")
    parser.set_defaults(command=benchmark)
    return parser


if __name__ == "__main__":
    sys.exit(run_command(make_parser()))
