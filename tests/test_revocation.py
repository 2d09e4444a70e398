"""A real deployment in which one of three training hospitals is revoked while it trains."""

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

from server.progress import read_progress
from server.roster import read_roster

pytestmark = pytest.mark.slow
SITES = ("hospital-a", "hospital-b", "hospital-c")
OUT = "hospital-c"
SOON = 20.0  # seconds in which a run gives up a revoked hospital, on a busy machine; a look is 3


@pytest.fixture(scope="module")
def consortium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalConsortium]:
    """Three hospitals that train, all processes real; every one is needed for a round."""
    with LocalConsortium(tmp_path_factory.mktemp("consortium")) as found:
        write_study(found.coordinator, round_minutes=4)
        found.init_coordinator()
        for name in SITES:
            genes = name != OUT
            write_cohort(found.site(name), name, genes=genes)
            settings = {"encoder": ENCODER, "threads": 1, "genes": "genes.csv" if genes else None}
            found.join(name, role="trains", genes=genes, settings=settings, cases=30)
        found.start_server()
        for name in SITES:
            found.start_site(name)
        yield found
    assert processes_below(found.folder) == []


def wait_until(known, seconds: float = 120) -> float:
    """Wait until something is so; how long it took."""
    began = time.monotonic()
    while not known():
        if time.monotonic() - began > seconds:
            raise TimeoutError
        time.sleep(0.1)
    return time.monotonic() - began


def doing(folder: Path, number: int) -> str:
    """What the hospital does in this round, as the run sees it; empty before and after."""
    now = read_progress(folder / "state")
    here = now and now.phase == "round" and now.round_number == number
    return now.sites.get(OUT, "") if now and here else ""


@pytest.fixture(scope="module")
def study(consortium: LocalConsortium) -> dict[str, object]:
    """A study in whose second round a hospital is revoked, its trainer held at work."""
    training = subprocess.Popen(
        [HERE / SERVER, "train"],
        cwd=consortium.coordinator,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_until(lambda: doing(consortium.coordinator, 1) == "answered")
    trainers = trainers_of(consortium.site(OUT))
    for trainer in trainers:
        os.kill(trainer, signal.SIGSTOP)
    wait_until(lambda: doing(consortium.coordinator, 2) == "working")
    revoking = subprocess.Popen(
        [HERE / SERVER, "revoke", OUT, "--reason", "its key was stolen"], cwd=consortium.coordinator
    )
    wait_until(lambda: not read_roster(consortium.coordinator).named(OUT).is_active)
    revoked = time.monotonic()
    waited = wait_until(lambda: doing(consortium.coordinator, 2) != "working")
    assert revoking.wait(timeout=60) == 0
    for trainer in trainers:
        os.kill(trainer, signal.SIGCONT)
    out, err = training.communicate(timeout=240)
    client = consortium.running[OUT]
    code = client.wait(timeout=200)
    return {
        "waited": waited,
        "code": training.returncode,
        "said": out + err,
        "client": code,
        "cut off": time.monotonic() - revoked,
    }


def test_a_run_gives_a_revoked_hospital_up_at_once(study: dict[str, object]) -> None:
    """Within seconds, not after the four minutes of the round."""
    assert float(str(study["waited"])) < SOON


def test_the_study_goes_on_to_its_release(
    consortium: LocalConsortium, study: dict[str, object]
) -> None:
    """The others train to the end and hold the release; the revoked one does not."""
    assert study["code"] == 0, study["said"]
    report = json.loads((consortium.coordinator / "report" / "report.json").read_text())
    assert report["rounds"] == 3
    inboxes = [(consortium.site(n) / "inbox" / "small.ghanet").exists() for n in SITES]
    assert inboxes == [True, True, False]


def test_report_and_roster_say_since_when(
    consortium: LocalConsortium, study: dict[str, object]
) -> None:
    """With the reason; the table of ``train`` says it too."""
    standing = read_roster(consortium.coordinator).named(OUT).standing
    assert standing.startswith("revoked since 20")
    assert standing.endswith("(its key was stolen)")
    report = json.loads((consortium.coordinator / "report" / "report.json").read_text())
    assert report["sites"][2]["standing"] == standing
    assert "revoked by the coordinator" in str(study["said"])
    said = consortium.command(COORDINATOR, SERVER, "roster").stdout
    assert "revoked" in said
    assert said.count("online") == 2


def test_the_revoked_hospital_is_told_in_one_clear_line(
    consortium: LocalConsortium, study: dict[str, object]
) -> None:
    """Its client ends by itself with exit code 1."""
    said = (consortium.site(OUT) / "start.log").read_text()
    assert "no longer accepts this hospital's key" in said
    assert study["client"] == 1


def test_receipts_match_what_the_hospital_says_it_sent(
    consortium: LocalConsortium, study: dict[str, object]
) -> None:
    """The coordinator's signed lines and the hospital's own ledger, compared there."""
    for name in ("hospital-a", OUT):
        output = consortium.site(name) / "receipts.jsonl"
        consortium.command(COORDINATOR, SERVER, "receipts", name, "--output", str(output))
        done = consortium.command(name, CLIENT, "ledger", "verify", "--receipts", str(output))
        assert done.returncode == 0
        assert output.read_text().count("\n") >= 1


def test_a_revoked_hospital_comes_back_with_a_new_key(
    consortium: LocalConsortium, study: dict[str, object]
) -> None:
    """While the server serves; the new key connects, the others stay connected."""
    consortium.running.pop(OUT)
    consortium.command(OUT, CLIENT, "renew-key")
    key = str(consortium.site(OUT) / "keys" / "site_key.pub")
    consortium.command(COORDINATOR, SERVER, "renew", OUT, key)
    consortium.start_site(OUT)
    log = consortium.site(OUT) / "start.log"
    wait_until(lambda: "connected to" in log.read_text())
    said = consortium.command(COORDINATOR, SERVER, "roster").stdout
    assert said.count("online") == 3
