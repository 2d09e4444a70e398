"""The privacy budget: never exceeded, never forgotten, epsilon as Opacus has it for the history."""

import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from client.budget import (
    EVALUATION,
    TRAINING,
    Release,
    budget_ledger,
    charge,
    entries,
    spent_by,
)
from client.policy import Budget
from ghanet_model.accounting import Charge, epsilon_of, plan_noise
from ghanet_model.errors import BudgetError, LedgerError, SettingsError
from ghanet_model.ledger import CHARGED
from ghanet_model.study import PRV, RDP

ROUNDS, STEPS, RATE, DELTA = 20, 10, 0.1, 1e-5
NOISE = plan_noise(Charge(0.0, RATE, ROUNDS * STEPS), 3.0, delta=DELTA, accountant=RDP)
ROUND = Release("a" * 16, "study-a", TRAINING, "round 1", Charge(NOISE, RATE, STEPS), DELTA)
EVALUATED = replace(ROUND, part=EVALUATION, what="evaluation", charge=Charge(2.0, 1.0, 1))
OWN = Budget()


def charged(folder, release=ROUND, *, cap=3.0, budget=OWN, by=RDP):
    """Charge a release in a hospital's folder."""
    return charge(budget_ledger(folder, budget), budget, release, cap=cap, by=by)


def releases(folder, budget=OWN):
    """What the ledger has."""
    return [entry.release for entry in entries(budget_ledger(folder, budget).verified(), "cohort")]


def test_a_whole_study_fits_and_nothing_more(tmp_path):
    """Twenty rounds as planned are charged, the next one is refused and leaves no line."""
    for number in range(1, ROUNDS + 1):
        charged(tmp_path, replace(ROUND, what=f"round {number}"))
    with pytest.raises(BudgetError, match=r"round 21 would bring epsilon from 2\.99\d to 3\.0\d"):
        charged(tmp_path, replace(ROUND, what="round 21"))
    found = releases(tmp_path)
    assert [release.what for release in found] == [f"round {n}" for n in range(1, ROUNDS + 1)]
    told = epsilon_of([Charge(NOISE, RATE, ROUNDS * STEPS)], delta=DELTA, accountant=RDP)
    assert spent_by(found, by=RDP) == pytest.approx(told, rel=1e-12)


def test_all_studies_of_a_cohort_share_it(tmp_path):
    """A second hospital folder that names the same ledger goes on where the first one was."""
    first, second = tmp_path / "first", tmp_path / "second"
    shared = Budget(ledger=Path("../shared"))
    big = replace(ROUND, charge=Charge(NOISE, RATE, STEPS * ROUNDS))
    charged(first, big, budget=shared)
    with pytest.raises(BudgetError, match="above the 3 that this hospital allows"):
        charged(second, replace(ROUND, study="b" * 16), budget=shared)
    charged(second, replace(ROUND, study="b" * 16), budget=shared, cap=4.0)
    assert len(releases(first, shared)) == 2
    assert not (first / "ledger").exists()


def test_another_cohort_has_its_own(tmp_path):
    """Two cohorts in one ledger do not add up."""
    charged(tmp_path, replace(ROUND, charge=Charge(NOISE, RATE, STEPS * ROUNDS)))
    line = charged(tmp_path, budget=Budget(cohort="lung"))
    assert line.facts["cohort"] == "lung"
    assert len(releases(tmp_path)) == 1


def test_a_case_is_trained_on_or_evaluated():
    """Within a study the costlier part counts; over studies a case may be in either."""
    only = spent_by([EVALUATED], by=PRV)
    assert spent_by([ROUND, EVALUATED], by=PRV) == max(spent_by([ROUND], by=PRV), only)
    other = replace(ROUND, study="b" * 16)
    both = spent_by([EVALUATED, other], by=PRV)
    assert both > only
    charges = [EVALUATED.charge, other.charge]
    assert both == epsilon_of(charges, delta=DELTA, accountant=PRV)


def test_many_studies_count_whole():
    """Where ways become many, every case counts as in both parts: never less than is true."""
    many = [replace(release, study=f"{n:016x}") for n in range(8) for release in (ROUND, EVALUATED)]
    everything = epsilon_of([release.charge for release in many], delta=DELTA, accountant=RDP)
    assert spent_by(many, by=RDP) == pytest.approx(everything)


def test_epsilon_is_told_at_the_smallest_delta():
    """A study of a larger delta does not make another one look cheaper."""
    loose = replace(ROUND, study="b" * 16, delta=1e-3)
    assert spent_by([ROUND, loose], by=RDP) == spent_by([ROUND, loose], by=RDP, delta=DELTA)
    assert spent_by([ROUND, loose], by=RDP, delta=1e-3) < spent_by([ROUND, loose], by=RDP)


def test_charges_at_the_same_time_wait_for_each_other(tmp_path):
    """Eight at once, room for four: four lines, epsilon within the cap."""
    part = replace(ROUND, charge=Charge(NOISE, RATE, STEPS * ROUNDS // 4))

    def one(number):
        try:
            charged(tmp_path, replace(part, what=f"round {number}"))
        except BudgetError:
            return 0
        return 1

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(one, range(8))) == 4
    assert spent_by(releases(tmp_path), by=RDP) <= 3.0


def test_a_ledger_that_was_changed_charges_nothing(tmp_path):
    """A line less would be budget gained: refused, whatever was cut."""
    for number in (1, 2, 3):
        charged(tmp_path, replace(ROUND, what=f"round {number}"))
    path = budget_ledger(tmp_path, OWN).path
    lines = path.read_bytes().splitlines(keepends=True)
    for kept in (lines[:2], lines[1:], [lines[0], lines[2]], []):
        path.write_bytes(b"".join(kept))
        with pytest.raises(LedgerError):
            charged(tmp_path)
    path.write_bytes(b"".join(lines).replace(b'"steps":10', b'"steps":1', 1))
    with pytest.raises(LedgerError, match="ledger line"):
        charged(tmp_path)


def test_it_survives_a_reinstallation(tmp_path):
    """Everything of it is in the folder: a copy elsewhere knows as much."""
    charged(tmp_path / "old")
    shutil.copytree(tmp_path / "old", tmp_path / "new")
    assert releases(tmp_path / "new") == releases(tmp_path / "old") == [ROUND]


def test_a_charge_that_cannot_be_read_is_an_error(tmp_path):
    """Leaving it out would tell too small an epsilon."""
    budget_ledger(tmp_path, OWN).append(CHARGED, cohort="cohort", noise="much")
    with pytest.raises(LedgerError, match="line 1 is a charge that cannot be read"):
        charged(tmp_path)


@pytest.mark.parametrize("wrong", [{"epsilon": 0.0}, {"epsilon": -1.0}, {"cohort": " "}])
def test_no_such_budget(wrong):
    """Said by name."""
    with pytest.raises(SettingsError, match=r"site\.yaml: privacy"):
        Budget(**wrong)


SPENDER = """
import os, random, signal, sys, time
from dataclasses import replace
from pathlib import Path
sys.path[:0] = sys.argv[2:]
from test_budget import ROUND, charged, releases

folder = Path(sys.argv[1])
spent, rng = folder / "spent", random.Random(5)
charged(folder)

def spend():
    for number in range(10_000):
        charged(folder, replace(ROUND, what=f"round {number}"), cap=1e9)
        with spent.open("ab", buffering=0) as file:
            file.write(b".")  # the noise is drawn from here on

kill = begun = 0
while kill < 100 or begun <= 10:  # a busy machine begins few between kills
    child = os.fork()
    if not child:
        spend()
    time.sleep(rng.uniform(0, 0.12))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    begun = spent.stat().st_size if spent.exists() else 0
    assert begun < len(releases(folder)) <= begun + kill + 2, kill
    kill += 1
"""


def test_killed_at_any_moment_it_never_shows_less_than_was_spent(tmp_path):
    """A hundred kills: each release that was begun has its line, and the ledger is whole."""
    here = [str(Path(__file__).parent), *sys.path]
    command = [sys.executable, "-c", SPENDER, str(tmp_path), *here]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr
