"""A private study over the real SuperLink: kill -9 in the middle of a charged round, and a cap."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from demo.cohorts import ENCODER
from local import CLIENT, COORDINATOR, HERE, SERVER, LocalConsortium
from support import processes_below, trainers_of, write_cohort, write_study
from test_private_study import PRIVATE, charges, write_scaling

from client.budget import EVALUATION, TRAINING
from client.ledger import ledger_path
from ghanet_model.ledger import CHARGED, read_ledger
from ghanet_model.release import read_release

pytestmark = pytest.mark.slow
SITES = {"hospital-a": {}, "hospital-b": {"privacy": {"epsilon": 2.7}}, "hospital-d": {}}
SETTINGS = {**PRIVATE, "rounds": 3, "private_steps": 60, "minimum_sites": 1, "round_minutes": 6}


def wait_for_charge(home: Path, what: str, seconds: float = 240) -> None:
    """Wait until a release is in the ledger: its work begins now."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if ledger_path(home).exists() and f'"{what}"' in ledger_path(home).read_text():
            return
        time.sleep(0.05)
    raise TimeoutError(f"{what} was never charged")


@pytest.fixture(scope="module")
def consortium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalConsortium]:
    """Two hospitals that train, one of them with a cap of its own, and one with slides only."""
    with LocalConsortium(tmp_path_factory.mktemp("private")) as found:
        write_study(found.coordinator, **SETTINGS)
        write_scaling(found.coordinator)
        found.init_coordinator()
        for name, own in SITES.items():
            genes = name != "hospital-d"
            write_cohort(found.site(name), name, genes=genes)
            settings = {"encoder": ENCODER, "threads": 1, "genes": "genes.csv" if genes else None}
            role = "trains" if genes else "infers"
            found.join(name, role=role, genes=genes, settings=settings | own)
        found.start_server()
        for name in SITES:
            found.start_site(name)
        yield found
    assert processes_below(found.folder) == []


@pytest.fixture(scope="module")
def finished(consortium: LocalConsortium) -> subprocess.CompletedProcess[str]:
    """What ``train`` said; the trainer of hospital-a was killed when round 2 was just charged."""
    training = subprocess.Popen(
        [HERE / SERVER, "train"],
        cwd=consortium.coordinator,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    home = consortium.site("hospital-a")
    wait_for_charge(home, "round 2")
    (trainer,) = trainers_of(home)
    os.kill(trainer, signal.SIGKILL)
    out, err = training.communicate(timeout=400)
    return subprocess.CompletedProcess([], training.returncode, out, err)


def left_out(consortium: LocalConsortium) -> dict[tuple[str, str], str]:
    """Whose answers the coordinator's report says are missing, and why."""
    report = json.loads((consortium.coordinator / "report" / "report.json").read_text())
    return {(line["hospital"], line["what"]): line["why"] for line in report["withheld"]}


def test_a_killed_round_stays_charged(
    consortium: LocalConsortium, finished: subprocess.CompletedProcess[str]
) -> None:
    """Killed in the middle of round 2, the hospital has paid for it; it is back in round 3."""
    assert finished.returncode == 0, finished.stderr
    home = consortium.site("hospital-a")
    assert "the trainer was killed" in (home / "start.log").read_text()
    found = charges(home)
    assert [r.what for r in found if r.part == TRAINING] == ["round 1", "round 2", "round 3"]
    assert [r.what for r in found if r.part == EVALUATION] == ["noisy risks", "noisy outcomes"]
    lines = read_ledger(ledger_path(home))
    paid = {line.digest for line in lines if line.what == CHARGED}
    sent = [line.facts["charge"] for line in lines if "charge" in line.facts]
    assert len(sent) == len(paid) - 1  # all but round 2
    assert set(sent) < paid
    assert left_out(consortium)["hospital-a", "left out: round 2"]


def test_a_hospital_over_its_cap_is_named_and_the_study_goes_on(
    consortium: LocalConsortium, finished: subprocess.CompletedProcess[str]
) -> None:
    """Hospital-b stops after round 2; the coordinator reads why."""
    found = charges(consortium.site("hospital-b"))
    assert [r.what for r in found if r.part == TRAINING] == ["round 1", "round 2"]
    why = "its privacy budget does not allow more"
    assert left_out(consortium)["hospital-b", "left out: round 3"] == why
    assert f"round 3 of 3: hospital-b: {why}" in finished.stdout


def test_the_spent_budget_is_told_and_the_release_names_epsilon(
    consortium: LocalConsortium, finished: subprocess.CompletedProcess[str]
) -> None:
    """Each hospital's status, and the manifest in every inbox."""
    said = consortium.command("hospital-b", CLIENT, "privacy", "status").stdout
    assert "of 2.7" in said
    public = (consortium.coordinator / "keys" / "release.key.pub").read_bytes()
    for name in SITES:
        release = read_release(consortium.site(name) / "inbox" / "small.ghanet", public_pem=public)
        assert release.manifest["privacy"]["epsilon"] == 3.0


def test_receipts_match(
    consortium: LocalConsortium, finished: subprocess.CompletedProcess[str]
) -> None:
    """What hospitals charged and sent is what the coordinator has."""
    for name in SITES:
        receipts = consortium.coordinator / f"{name}.receipts"
        consortium.command(COORDINATOR, SERVER, "receipts", name, "--output", str(receipts))
        consortium.command(name, CLIENT, "ledger", "verify", "--receipts", str(receipts))
