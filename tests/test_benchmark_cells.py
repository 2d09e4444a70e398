"""The benchmark's cells: folds, arms that train, a run that goes on where it was stopped."""

import csv
import importlib.util
import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from demo.cohorts import write_groups
from support import write_cohort

from ghanet_model.errors import CohortError, SettingsError

PATH = Path(__file__).resolve().parent.parent / "benchmarks" / "tcga.py"


def load():
    """benchmarks/tcga.py, which is no package; what it puts on the path it finds beside itself."""
    spec = importlib.util.spec_from_file_location("benchmark_cells", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


tcga = load()
cells, hospitals, plan = (sys.modules[name] for name in ("cells", "hospitals", "plan"))

SITES = {"S1_A": True, "S2_B": True, "S3_C": False}  # with genes


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    """Three hospitals' folders as make_cohort.py writes them, two folds, gene groups."""
    root = tmp_path_factory.mktemp("cohort")
    for name, genes in SITES.items():
        folder = root / "sites" / name
        write_cohort(folder, name, genes=genes, cases=40)
        table = pd.read_csv(folder / "clinical.csv").drop(columns="split")
        table = table.rename(columns={"time": "survival_months"}).assign(is_female=1)
        table.to_csv(folder / "clinical.csv", index=False)
        if genes:
            pd.read_csv(folder / "genes.csv").to_parquet(folder / "genes.parquet")
    write_groups(root / "sites" / "gene_groups.csv")
    write_splits(root)
    return root


def write_splits(root):
    """Every other case is held out by fold 0, the others by fold 1."""
    (root / "splits").mkdir(exist_ok=True)
    tables = [pd.read_csv(root / "sites" / name / "clinical.csv") for name in SITES]
    ids = [list(pd.concat(tables)["case_id"])[start::2] for start in (0, 1)]
    for fold in (0, 1):
        with (root / "splits" / f"splits_{fold}.csv").open("w", newline="") as file:
            csv.writer(file).writerows(
                [("train", "val"), *zip(ids[1 - fold], ids[fold], strict=True)]
            )


def options_of(root, *more):
    """One seed, two folds and one round, in this process."""
    options = ["--sites", root / "sites", "--splits", root / "splits", "--folds", 0, 1]
    options += ["--seeds", 0, "--rounds", 1, "--local-epochs", 1, "--workers", 1, *more]
    return [str(option) for option in options]


def make_plan(root, *more):
    """A plan of that."""
    return plan.make_plan(tcga.make_parser().parse_args(options_of(root, *more)))


@pytest.fixture(scope="module")
def done(cohort, tmp_path_factory):
    """A benchmark of the arms that train quickly, and of those that are fitted."""
    work = tmp_path_factory.mktemp("work")
    options = options_of(cohort, "--work", work, "--json", work / "found.json", "--arms")
    options += ["federated", "pooled", "alone", "clinical", "stacked"]
    assert tcga.run_command(tcga.make_parser(), options) == 0
    return work


def test_every_arm_is_evaluated_on_every_case_once(done):
    """Two folds hold out all cases; arms, the mean alone, and differences have numbers."""
    numbers = json.loads((done / "found.json").read_text())
    assert numbers["columns"]["held-out cases"]["cases"] == 120
    rows = ["federated", "pooled", "clinical", "stacked", "alone, mean"]
    rows += [f"alone {name.lower().replace('_', '-')}" for name in SITES]
    assert list(numbers["c_index"])[: len(rows)] == rows
    for row in numbers["c_index"].values():
        assert row["held-out cases"]["mean"] is not None


def test_a_benchmark_goes_on_from_its_cells(done, cohort, tmp_path):
    """Only the cell that is missing is computed, and it says what it said before."""
    work = shutil.copytree(done, tmp_path / "work")
    path = work / "cells" / "1-0-pooled.json"
    before = json.loads(path.read_text())
    path.unlink()
    told = []
    fast = make_plan(cohort, "--arms", "federated", "pooled", "alone")
    cells.prepare(fast, work)
    cells.run_cells(fast, work, lambda *now: told.append(now))
    assert told == [(9, 10), (10, 10)]
    assert json.loads(path.read_text())["risks"] == before["risks"]


def test_cells_of_another_benchmark_are_refused(done, cohort):
    """Another learning rate: its risks would be mixed up with these."""
    other = make_plan(cohort, "--learning-rate", "0.5")
    with pytest.raises(SettingsError, match="holds another benchmark"):
        cells.read_cell(other, done, cells.Cell(0, 0, "pooled"))


def test_no_cell_names_a_case(done, cohort):
    """Risks alone, in the order of the tables."""
    names = pd.read_csv(cohort / "sites" / "S1_A" / "clinical.csv")["case_id"]
    texts = [path.read_text() for path in (done / "cells").iterdir()]
    assert len(texts) == 10
    assert not any(name in text for name in names for text in texts)


def test_a_fold_holds_out_what_its_file_says(cohort, done):
    """The tables' cases, and no others; folds do not share one."""
    own = make_plan(cohort)
    folds = cells.prepare(own, done)
    cases = hospitals.all_cases(folds)
    assert [(cases.fold == fold).sum() for fold in (-1, 0, 1)] == [0, 60, 60]
    with pytest.raises(CohortError, match="held out by two folds"):
        hospitals.all_cases({0: folds[0], 2: folds[0]})


def test_a_case_that_no_split_has_is_counted_and_not_named(cohort, tmp_path):
    """One clear line; leaving it out in silence would change the cohort."""
    lines = (cohort / "splits" / "splits_0.csv").read_text().splitlines()
    (tmp_path / "splits_0.csv").write_text("\n".join(lines[:-1]) + "\n")
    own = replace(make_plan(cohort), splits=tmp_path)
    with pytest.raises(CohortError, match=r"s3-c: 2 of 40 cases are not in splits_0\.csv"):
        cells.open_fold(own, tmp_path, 0)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        (["--folds", "7"], "no such file"),
        (["--arms", "stacked"], "compared with the federation"),
    ],
)
def test_a_plan_that_cannot_run_is_refused(cohort, options, error):
    """Before anything is trained."""
    with pytest.raises(SettingsError, match=error):
        make_plan(cohort, *options)
