"""The Cox benchmark: on a made-up data set of the same form, and on the real one where it is."""

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

PATH = Path(__file__).resolve().parent.parent / "benchmarks" / "cox.py"
REAL = PATH.parents[2] / "shared" / "data" / "fed_tcga_brca"


def load():
    """benchmarks/cox.py, which is no package; what it puts on the path it finds beside itself."""
    spec = importlib.util.spec_from_file_location("benchmark_cox", PATH)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


cox = load()


def run(folder, *options):
    """The exit code of the benchmark."""
    arguments = ["--data", str(folder), "--quick", *map(str, options)]
    return cox.run_command(cox.make_parser(), arguments)


def write_data(folder, *, centres=3, cases=240, strength=1.0):
    """A data set of the same form: who is older or has the flag dies earlier."""
    rng = np.random.default_rng(7)
    age, flag = rng.uniform(30, 90, cases), rng.random(cases) < 0.4
    days = rng.exponential(900 * np.exp(-strength * ((age - 60) / 12 + 2 * flag))).round()
    table = pd.DataFrame({"pid": [f"P{n}" for n in range(cases)], "age_at_index": age})
    table = table.assign(flag=flag.astype(int), E=(rng.random(cases) < 0.7) * 1.0, T=days)
    fold = np.where(np.arange(cases) % 4 == 0, "test", "train")
    place = [f"{name}_{n % centres}" for n, name in enumerate(fold)]
    split = pd.DataFrame({"pid": table["pid"], "fold": fold, "fold2": place})
    folder.mkdir(exist_ok=True)
    table.to_csv(folder / "brca.csv", index=False)
    split[:-4][::-1].to_csv(folder / "train_test_split.csv", index=False)
    return folder


def test_a_made_up_data_set_passes(tmp_path, capsys):
    """All arms, equality with lifelines, and the numbers as JSON."""
    assert run(write_data(tmp_path), "--check", "--json", tmp_path / "found.json") == 0
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["coefficient_difference"] < 1e-6
    assert found["about"].startswith("training cases 177 ")
    assert "| alone 2 " in capsys.readouterr().out


def test_cases_in_no_split_are_left_out_and_order_is_no_matter(tmp_path):
    """Rows are joined by patient, never by place."""
    names, train, test = cox.read_cases(write_data(tmp_path))
    table = pd.read_csv(tmp_path / "brca.csv")
    assert names == ["age_at_index", "flag"]
    assert len(train.time) + len(test.time) == len(table) - 4
    known = {*table["age_at_index"][:-4]}
    assert {*train.x[:, 0], *test.x[:, 0]} == known
    ages = table.set_index("age_at_index")["T"]
    assert ages[test.x[:, 0]].tolist() == test.time.tolist()


def test_a_missed_target_is_one_line(tmp_path, capsys):
    """Covariates that say nothing."""
    assert run(write_data(tmp_path, strength=0.0), "--check") == 1
    assert "cox.py: error: federated has a C of 0." in capsys.readouterr().err


def test_another_folder_is_one_line(tmp_path, capsys):
    """With what is needed."""
    assert run(tmp_path) == 1
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 2
    assert said[1] == "cox.py: hint: --data FOLDER with brca.csv and train_test_split.csv"


def test_centres_with_few_deaths_are_withheld(tmp_path):
    """Centres of 12 cases with 8 deaths tell nothing; so there is no risk."""
    _, train, _ = cox.read_cases(write_data(tmp_path, centres=20))
    found = cox.fit_by_sums(train, 1.0, least=10)
    assert found.withheld == len(train.centres()) == 15
    assert not found.linear.beta.any()


def test_the_ridge_is_the_one_that_foretells_the_training_cases(tmp_path):
    """Covariates that say nothing are shrunk most, such that say much least."""
    _, noise, _ = cox.read_cases(write_data(tmp_path / "a", strength=0.0))
    _, signal, _ = cox.read_cases(write_data(tmp_path / "b", strength=1.0))
    assert cox.fit_chosen(noise).ridge == max(cox.RIDGES)
    assert cox.fit_chosen(signal).ridge == min(cox.RIDGES)


@pytest.mark.skipif(not REAL.is_dir(), reason="no shared tables beside the project")
def test_the_real_data_set_meets_the_targets(tmp_path):
    """Six centres; C of .84 at least, and lifelines' coefficients. Two centres have few deaths."""
    assert run(REAL, "--check", "--json", tmp_path / "found.json") == 0
    found = json.loads((tmp_path / "found.json").read_text())
    c_index = found["c_index"]["federated"]["test cases"][0]
    assert c_index == pytest.approx(0.846, abs=5e-4)
    assert found["withheld"] == 2
