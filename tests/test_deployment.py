"""A real deployment: SuperLink, SuperNodes, TLS, kill -9, a canary that must not travel."""

import json
import os
import shutil
import signal
import subprocess
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import engine
import pytest
from demo.cohorts import ENCODER, FEATURES
from local import CLIENT, COORDINATOR, HERE, SERVER, LocalConsortium
from support import processes_below, trainers_of, write_cohort, write_study

from ghanet_model.certificates import make_authority
from ghanet_model.release import read_release
from ghanet_model.weights import fingerprint_of
from server.checkpoint import read_checkpoint
from server.config import read_server
from server.progress import read_progress
from server.setup import read_study

pytestmark = pytest.mark.slow
CANARY = "CANARY7Q2XK9"
SITES = ("hospital-a", "hospital-b", "hospital-d")
ROUNDS = 4
SERVER_GONE = "does not answer; trying again until it does"


def plant_canary(home: Path) -> dict[str, object]:
    """Put the canary into case ids, slide names, file names and the path of the features."""
    for name in ("clinical.csv", "slides.csv", "genes.csv"):
        path = home / name
        if path.exists():
            header, *rows = path.read_text().splitlines()
            rows = [
                f"{CANARY}{row}".replace(",", f",{CANARY}", name == "slides.csv") for row in rows
            ]
            path.write_text("\n".join([header, *rows]) + "\n")
    for file in (home / FEATURES).iterdir():
        file.rename(file.with_name(CANARY + file.name))
    (home / "features").rename(home / CANARY)
    return {"features": CANARY}


@pytest.fixture(scope="module")
def consortium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalConsortium]:
    """Three hospitals and a coordinator, all processes real; the canary lives in each hospital."""
    with LocalConsortium(tmp_path_factory.mktemp("consortium")) as found:
        write_study(found.coordinator, rounds=ROUNDS, round_minutes=6)
        found.init_coordinator()
        for name in SITES:
            genes = name != "hospital-d"
            write_cohort(found.site(name), name, genes=genes)
            settings = {"encoder": ENCODER, "threads": 1, "genes": "genes.csv" if genes else None}
            settings |= plant_canary(found.site(name))
            found.join(name, role="trains" if genes else "infers", genes=genes, settings=settings)
        found.start_server()
        for name in SITES:
            found.start_site(name)
        yield found
    assert processes_below(found.folder) == []


def server_app(folder: Path) -> int:
    """Process id of this consortium's ServerApp; others may run beside it."""
    address = read_server(folder).local_address
    pattern = f"flwr-serverapp.*{address}"
    found = subprocess.run(["pgrep", "-f", pattern], capture_output=True, text=True, check=True)
    return int(found.stdout.split()[0])


def wait_for_round(folder: Path, number: int, seconds: float = 240) -> None:
    """Wait until a round has begun."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        now = read_progress(folder / "state")
        if now and now.phase == "round" and now.round_number == number:
            return
        time.sleep(0.1)
    raise TimeoutError(f"round {number} did not begin: {read_progress(folder / 'state')}")


def wait_until_said(log: Path, words: str, seconds: float = 120) -> None:
    """Wait until a log holds these words; a hospital at work looks for its server afterwards."""
    end = time.monotonic() + seconds
    while words not in log.read_text():
        if time.monotonic() > end:
            raise TimeoutError(f"{log.name} never said: {words}")
        time.sleep(0.1)


def unpacked(path: Path) -> bytes:
    """What a zip holds, names and contents."""
    with zipfile.ZipFile(path) as archive:
        return b"".join(name.encode() + archive.read(name) for name in archive.namelist())


def start_training(consortium: LocalConsortium) -> subprocess.Popen[str]:
    """``train`` in the background."""
    return subprocess.Popen(
        [HERE / SERVER, "train"],
        cwd=consortium.coordinator,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def end_of(training: subprocess.Popen[str], seconds: float) -> subprocess.CompletedProcess[str]:
    """What ``train`` said in the end."""
    out, err = training.communicate(timeout=seconds)
    return subprocess.CompletedProcess([], training.returncode, out, err)


@pytest.fixture(scope="module")
def cut_off(consortium: LocalConsortium) -> subprocess.CompletedProcess[str]:
    """What ``train`` said when the whole server was killed in round 2; it is started again."""
    training = start_training(consortium)
    wait_for_round(consortium.coordinator, 2)
    killed = consortium.running.pop(COORDINATOR)
    killed.kill()
    killed.wait()
    done = end_of(training, 60)
    wait_until_said(consortium.site("hospital-a") / "start.log", SERVER_GONE)
    consortium.start_server()
    return done


@pytest.fixture(scope="module")
def interrupted(
    consortium: LocalConsortium, cut_off: subprocess.CompletedProcess[str]
) -> subprocess.CompletedProcess[str]:
    """What ``train`` said when its ServerApp was killed in round 3."""
    assert cut_off.returncode == 1
    training = start_training(consortium)
    wait_for_round(consortium.coordinator, 3)
    os.kill(server_app(consortium.coordinator), signal.SIGKILL)
    return end_of(training, 60)


@pytest.fixture(scope="module")
def finished(
    consortium: LocalConsortium, interrupted: subprocess.CompletedProcess[str]
) -> subprocess.CompletedProcess[str]:
    """What the second ``train`` said.

    Before it, a table of hospital-d becomes a folder and the trainer of hospital-a is killed; in
    round 4, hospital-b is killed and started.
    """
    assert interrupted.returncode == 1
    clinical = consortium.site("hospital-d") / "clinical.csv"
    clinical.rename(clinical.with_suffix(".kept"))
    clinical.mkdir()
    (clinical / CANARY).touch()
    for trainer in trainers_of(consortium.site("hospital-a")):
        os.kill(trainer, signal.SIGKILL)
    training = start_training(consortium)
    wait_for_round(consortium.coordinator, 4)
    killed = consortium.running.pop("hospital-b")
    killed.kill()
    killed.wait()
    consortium.start_site("hospital-b")
    done = end_of(training, 300)
    clinical.joinpath(CANARY).unlink()
    clinical.rmdir()
    clinical.with_suffix(".kept").rename(clinical)
    return done


def test_a_killed_server_is_one_clear_line(
    consortium: LocalConsortium, cut_off: subprocess.CompletedProcess[str]
) -> None:
    """``train`` says where the run stopped, and the server can be started again."""
    assert cut_off.stderr.splitlines()[0] == (
        f"ghanet-server: error: the run stopped in round 2 of {ROUNDS}"
    )
    assert len(cut_off.stderr.splitlines()) == 2


def test_hospitals_outlive_their_server(
    consortium: LocalConsortium, finished: subprocess.CompletedProcess[str]
) -> None:
    """A hospital says that the server is gone and that it is back, and goes on by itself."""
    said = (consortium.site("hospital-a") / "start.log").read_text()
    assert SERVER_GONE in said
    assert "answers again" in said


def test_a_killed_server_app_is_one_clear_line(
    interrupted: subprocess.CompletedProcess[str],
) -> None:
    """``train`` says where the run stopped and what to do, with exit code 1."""
    assert interrupted.returncode == 1
    assert interrupted.stderr.splitlines() == [
        f"ghanet-server: error: the run stopped in round 3 of {ROUNDS}",
        "ghanet-server: hint: run 'ghanet-server train': it goes on from there",
    ]


def test_training_goes_on_from_the_round_that_was_killed(
    consortium: LocalConsortium, finished: subprocess.CompletedProcess[str]
) -> None:
    """Whole rounds are never repeated, rounds that were cut off are; the study ends."""
    assert finished.returncode == 0, finished.stderr
    log = (consortium.site("hospital-a") / "logs" / "site.log").read_text()
    assert [log.count(f"round {n}: trained") for n in (1, 4)] == [1, 1]
    folder, study = consortium.coordinator, read_study(consortium.coordinator)
    checkpoint = read_checkpoint(folder / "state" / "checkpoints", study=study.digest)
    assert [record.number for record in checkpoint.history] == [1, 2, 3, 4]


def test_weights_are_those_of_one_process_that_was_never_stopped(
    consortium: LocalConsortium, finished: subprocess.CompletedProcess[str], tmp_path: Path
) -> None:
    """Bit by bit: what the engine computes, the deployment did through all that it suffered."""
    write_study(tmp_path / COORDINATOR, rounds=ROUNDS, round_minutes=6)
    engine.init_coordinator(tmp_path)
    for name in SITES:
        genes = name != "hospital-d"
        write_cohort(tmp_path / name, name, genes=genes)
        settings = {"encoder": ENCODER, "threads": 1, "genes": "genes.csv" if genes else None}
        role = "trains" if genes else "infers"
        engine.join(tmp_path, name, role=role, genes=genes, settings=settings)
    engine.run_here(tmp_path)
    released = "releases/small.ghanet"
    one, other = (
        read_release(folder / released, public_pem=(folder / "keys/release.key.pub").read_bytes())
        for folder in (consortium.coordinator, tmp_path / COORDINATOR)
    )
    assert one.panel == other.panel
    assert fingerprint_of(one.weights) == fingerprint_of(other.weights)


def test_a_killed_hospital_comes_back_into_its_round(
    consortium: LocalConsortium, finished: subprocess.CompletedProcess[str]
) -> None:
    """Killed in round 4 and started again, it is asked again, and the round has its update."""
    folder, study = consortium.coordinator, read_study(consortium.coordinator)
    checkpoint = read_checkpoint(folder / "state" / "checkpoints", study=study.digest)
    last = {site.name: site for site in checkpoint.history[-1].sites}
    assert last["hospital-b"].trained
    said = (consortium.site("hospital-b") / "start.log").read_text()
    assert "it takes a minute to be let in again" in said


def test_a_killed_trainer_does_not_end_the_connection(
    consortium: LocalConsortium, finished: subprocess.CompletedProcess[str]
) -> None:
    """It is started again by itself, the hospital stays connected and trains on."""
    folder, study = consortium.coordinator, read_study(consortium.coordinator)
    checkpoint = read_checkpoint(folder / "state" / "checkpoints", study=study.digest)
    last = {site.name: site for site in checkpoint.history[-1].sites}
    assert last["hospital-a"].trained
    said = (consortium.site("hospital-a") / "start.log").read_text()
    assert said.count("the trainer was killed") == 1
    assert "connection ended" not in said


def test_a_hospital_that_raises_sends_a_code(
    consortium: LocalConsortium, finished: subprocess.CompletedProcess[str]
) -> None:
    """The hospital's own log knows what happened; the coordinator's report only a fixed word."""
    report = json.loads((consortium.coordinator / "report" / "report.json").read_text())
    note = next(site["note"] for site in report["sites"] if site["name"] == "hospital-d")
    assert note == "its tables cannot be used"
    assert "round refused" in (consortium.site("hospital-d") / "logs" / "site.log").read_text()


def test_no_trace_of_the_canary_reaches_the_coordinator(
    consortium: LocalConsortium, finished: subprocess.CompletedProcess[str]
) -> None:
    """No file, log or database of the coordinator holds a case id, slide name or site path."""
    assert CANARY in (consortium.site("hospital-b") / "clinical.csv").read_text()
    searched = [path for path in consortium.coordinator.rglob("*") if path.is_file()]
    expected = {"superlink.db", "superlink.log", "run.log", "ledger.jsonl", "report.json"}
    assert expected <= {path.name for path in searched}
    assert [path for path in searched if CANARY.encode() in path.read_bytes()] == []
    bundles = [path for path in searched if path.suffix == ".fab"]
    assert bundles
    assert [path for path in bundles if CANARY.encode() in unpacked(path)] == []
    assert CANARY not in finished.stdout + finished.stderr


def test_receipts_match_and_no_ledger_holds_the_canary(
    consortium: LocalConsortium, finished: subprocess.CompletedProcess[str]
) -> None:
    """What a hospital says it sent is what the coordinator received; neither names a case."""
    for name in SITES:
        receipts = consortium.coordinator / f"{name}.receipts"
        consortium.command(COORDINATOR, SERVER, "receipts", name, "--output", str(receipts))
        consortium.command(name, CLIENT, "ledger", "verify", "--receipts", str(receipts))
        ledger = consortium.site(name) / "ledger" / "ledger.jsonl"
        assert '"what":"sent"' in ledger.read_text()
        assert CANARY not in ledger.read_text() + receipts.read_text()


def test_every_inbox_holds_the_release_and_the_site_without_genes_predicts(
    consortium: LocalConsortium, finished: subprocess.CompletedProcess[str]
) -> None:
    """Hospital-d, which has no genes, predicts every one of its cases with the signed release."""
    public = (consortium.coordinator / "keys" / "release.key.pub").read_bytes()
    inboxes = [consortium.site(name) / "inbox" / "small.ghanet" for name in SITES]
    assert len({read_release(path, public_pem=public).sha256 for path in inboxes}) == 1
    done = consortium.command("hospital-d", CLIENT, "predict")
    assert "research use only, not for patient management" in done.stdout
    lines = (consortium.site("hospital-d") / "predictions.csv").read_text().splitlines()
    assert lines[0] == "# research use only, not for patient management"
    assert lines[3].startswith("case_id,risk,risk_group,survival_12_months")
    assert len(lines) == 4 + 30


def test_status_names_every_hospital(
    consortium: LocalConsortium, finished: subprocess.CompletedProcess[str]
) -> None:
    """``status`` says who is connected and where the run stands."""
    said = consortium.command(COORDINATOR, SERVER, "status").stdout
    assert "hospital-a: trains with genes, online" in said
    assert "run: finished" in said


def test_a_plan_is_made_and_changes_nothing(
    consortium: LocalConsortium, finished: subprocess.CompletedProcess[str]
) -> None:
    """``plan`` rehearses a round with every hospital; the release stays as it is."""
    release = consortium.coordinator / "releases" / "small.ghanet"
    before = release.read_bytes()
    said = consortium.command(COORDINATOR, SERVER, "plan").stdout
    plan = json.loads((consortium.coordinator / "report" / "plan.json").read_text())
    assert {one["name"]: one["why"] for one in plan["hospitals"]} == dict.fromkeys(SITES, "")
    assert f"{ROUNDS} rounds: about" in said
    assert release.read_bytes() == before


def test_a_second_train_of_a_finished_study_changes_nothing(
    consortium: LocalConsortium, finished: subprocess.CompletedProcess[str]
) -> None:
    """Training a finished study again ends at once with the same release."""
    release = consortium.coordinator / "releases" / "small.ghanet"
    before = release.read_bytes()
    assert consortium.train().returncode == 0
    assert release.read_bytes() == before


def stranger(consortium: LocalConsortium, name: str) -> Path:
    """A hospital that made its key and was never enrolled."""
    home = consortium.site(name)
    write_cohort(home, name)
    invitation = str(consortium.coordinator / "invitation.json")
    consortium.command(name, CLIENT, "init", "--name", name, "--invitation", invitation)
    consortium.command(name, CLIENT, "approve", "--yes")
    return home


def test_an_unregistered_key_is_one_clear_line(consortium: LocalConsortium) -> None:
    """A hospital that was not enrolled is told so, with exit code 1."""
    stranger(consortium, "hospital-x")
    done = consortium.command("hospital-x", CLIENT, "start", check=False)
    assert done.returncode == 1
    assert "does not know this hospital's key" in done.stderr.splitlines()[0]
    assert len(done.stderr.splitlines()) == 2


def test_a_wrong_authority_is_one_clear_line(consortium: LocalConsortium) -> None:
    """A coordinator whose certificate another authority signed is not talked to."""
    home = stranger(consortium, "hospital-y")
    make_authority(home / "other", name="somebody else")
    shutil.copy(home / "other" / "ca.crt", home / "keys" / "ca.crt")
    done = consortium.command("hospital-y", CLIENT, "start", check=False)
    assert done.returncode == 1
    assert "is not this consortium's" in done.stderr.splitlines()[0]


def test_an_unreachable_server_is_one_clear_line(consortium: LocalConsortium) -> None:
    """A closed port is named, with exit code 1."""
    home = stranger(consortium, "hospital-z")
    site = home / "site.yaml"
    lines = site.read_text().splitlines()
    text = ["server: 127.0.0.1:9" if line.startswith("server:") else line for line in lines]
    site.write_text("\n".join(text))
    done = consortium.command("hospital-z", CLIENT, "start", check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[0] == (
        "ghanet-client: error: 127.0.0.1:9 cannot be reached (connection refused)"
    )
