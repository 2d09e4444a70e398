"""A real study in which one of three training hospitals is revoked in the middle of a round.

Through the door where nginx is installed, one hospital through a proxy of its own; else without.
"""

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from connect_proxy import ConnectProxy
from demo.cohorts import ENCODER
from door_site import FLEET, NO_NGINX, WHY, knock, visitor
from local import CLIENT, COORDINATOR, HERE, SERVER, LocalConsortium
from support import processes_below, trainers_of, write_cohort, write_study

from server.config import read_server
from server.progress import read_progress
from server.roster import read_roster

pytestmark = pytest.mark.slow
behind_a_door = pytest.mark.skipif(NO_NGINX, reason=WHY)
SITES = ("hospital-a", "hospital-b", "hospital-c")
PROXIED, OUT = "hospital-b", "hospital-c"
SOON = 20.0  # seconds in which a run gives up a revoked hospital, on a busy machine; a look is 3
AT_THE_DOOR = 60.0  # seconds in which nothing of it passes any more
REVOKED = "FAILED:certificate revoked"


@pytest.fixture(scope="module")
def proxy() -> ConnectProxy:
    """The proxy of one hospital."""
    return ConnectProxy().start()


@pytest.fixture(scope="module")
def consortium(
    tmp_path_factory: pytest.TempPathFactory, proxy: ConnectProxy
) -> Iterator[LocalConsortium]:
    """Three hospitals that train, all processes real; every one is needed for a round."""
    with LocalConsortium(tmp_path_factory.mktemp("consortium"), door=not NO_NGINX) as found:
        write_study(found.coordinator, rounds=2, round_minutes=4)
        found.init_coordinator()
        for name in SITES:
            genes = name != OUT
            write_cohort(found.site(name), name, genes=genes, clinical=False)
            settings = {"encoder": ENCODER, "threads": 1, "genes": "genes.csv" if genes else None}
            found.join(name, role="trains", genes=genes, settings=settings, cases=30)
        found.start_server()
        for name in SITES:
            found.start_site(name, **({"HTTPS_PROXY": proxy.url} if name == PROXIED else {}))
        yield found
    assert processes_below(found.folder) == []


def wait_until(known, seconds: float = 300) -> float:
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


def word(consortium: LocalConsortium, name: str) -> str:
    """What the door says to a hospital."""
    port = read_server(consortium.coordinator).port
    return knock(port, visitor(consortium.site(name))).door


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
    wait_until(lambda: doing(consortium.coordinator, 1) == "working")  # not of the stage before
    wait_until(lambda: doing(consortium.coordinator, 1) == "answered")
    trainers = trainers_of(consortium.site(OUT))
    for trainer in trainers:
        os.kill(trainer, signal.SIGSTOP)
    wait_until(lambda: doing(consortium.coordinator, 2) == "working")
    revoking = subprocess.Popen(
        [HERE / SERVER, "revoke", OUT, "--reason", "its key was stolen"], cwd=consortium.coordinator
    )
    wait_until(lambda: not read_roster(consortium.coordinator).named(OUT).is_active)
    began = time.monotonic()
    waited = wait_until(lambda: doing(consortium.coordinator, 2) != "working")
    if consortium.door:
        wait_until(lambda: word(consortium, OUT) == REVOKED)
    cut_off = time.monotonic() - began
    assert revoking.wait(timeout=60) == 0
    for trainer in trainers:
        os.kill(trainer, signal.SIGCONT)
    out, err = training.communicate(timeout=240)
    code = consortium.running[OUT].wait(timeout=200)
    return {
        "waited": waited,
        "cut off": cut_off,
        "code": training.returncode,
        "said": out + err,
        "client": code,
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
    assert report["rounds"] == 2
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
    wanted = "this hospital's certificate was revoked"
    if not consortium.door:
        wanted = "the coordinator's server no longer accepts this hospital's key"
    assert f"ghanet-client: error: {wanted}" in said
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


@behind_a_door
def test_a_revoked_hospital_is_cut_off_in_the_middle_of_a_round(
    consortium: LocalConsortium, study: dict[str, object]
) -> None:
    """Within a minute nothing of it passes; its client says why."""
    assert float(str(study["cut off"])) < AT_THE_DOOR
    said = (consortium.site(OUT) / "start.log").read_text()
    assert "refused at the door: this hospital's certificate was revoked" in said


@behind_a_door
def test_a_hospital_goes_through_its_own_proxy(
    consortium: LocalConsortium, proxy: ConnectProxy, study: dict[str, object]
) -> None:
    """All of its traffic, to the coordinator and to nobody else."""
    assert set(proxy.asked) == {f"127.0.0.1:{read_server(consortium.coordinator).port}"}
    assert proxy.moved > 100_000


@behind_a_door
def test_run_control_is_behind_the_door(
    consortium: LocalConsortium, study: dict[str, object]
) -> None:
    """With SuperLink itself behind: a good certificate reaches it by the ten paths only."""
    port, who = read_server(consortium.coordinator).port, visitor(consortium.site(SITES[0]))
    for path in ("/v1/control/list-runs", "/v1/control/start-run", "/docs", "/openapi.json"):
        assert knock(port, who, path).status == 404
    answer = knock(port, who)
    assert answer.status >= 400  # an empty message: SuperLink's own word, not the door's
    assert answer.door == ""
    assert knock(port, replace(who, certificate=None)).status == 400
    said = consortium.command(COORDINATOR, SERVER, "status").stdout
    assert "door: nginx; SuperLink behind it at 127.0.0.1:" in said


@behind_a_door
def test_the_logs_say_who_came_and_no_case(
    consortium: LocalConsortium, study: dict[str, object]
) -> None:
    """Hospitals by name, the revoked one without; no case of anybody."""
    text = (consortium.coordinator / "logs" / "door-access.log").read_text()
    passed = {line.split()[2] for line in text.splitlines() if f"POST {FLEET} 200" in line}
    assert passed == set(SITES)
    assert "certificate revoked" in text
    cases = (consortium.site(SITES[0]) / "clinical.csv").read_text().splitlines()[1:]
    assert not any(row.split(",")[0] in text for row in cases)
    said = (consortium.coordinator / "start.log").read_text()
    assert "door: nginx at 127.0.0.1:" in said
    assert "Traceback" not in said


@behind_a_door
def test_the_doctor_goes_through_the_door_too(
    consortium: LocalConsortium, study: dict[str, object]
) -> None:
    """It finds nothing at a hospital that is let in, and why the revoked one is not."""
    done = consortium.command("hospital-a", CLIENT, "doctor", "--json", "doctor.json")
    assert {line.split()[0] for line in done.stdout.splitlines()} == {"ok"}
    refused = consortium.command(OUT, CLIENT, "doctor", check=False)
    assert refused.returncode == 1
    (line,) = (line for line in refused.stdout.splitlines() if line.startswith("fail"))
    assert "key at coordinator" in line
    assert "this hospital's certificate was revoked" in line
    found = consortium.command(COORDINATOR, SERVER, "doctor", check=False).stdout
    assert "a door stands before SuperLink, which listens on the loopback only" in found


@behind_a_door
def test_a_door_whose_nginx_was_killed_is_opened_again(
    consortium: LocalConsortium, study: dict[str, object]
) -> None:
    """By the server that goes on; hospitals need do nothing."""
    pid = consortium.coordinator / "state" / "door" / "nginx.pid"
    os.kill(int(pid.read_text()), signal.SIGKILL)
    log = consortium.coordinator / "start.log"
    wait_until(lambda: "the door closed by itself" in log.read_text())
    wait_until(lambda: is_let_in(consortium, SITES[0]))
    assert consortium.running[COORDINATOR].poll() is None


def is_let_in(consortium: LocalConsortium, name: str) -> bool:
    """Whether the door is open for a hospital."""
    try:
        return word(consortium, name) == ""
    except OSError:
        return False


def test_a_revoked_hospital_comes_back_with_a_new_key(
    consortium: LocalConsortium, study: dict[str, object]
) -> None:
    """While the server serves; the new key connects, the others stay connected."""
    consortium.running.pop(OUT)
    consortium.command(OUT, CLIENT, "renew-key")
    keys = consortium.site(OUT) / "keys"
    request = ["--request", str(keys / "door.csr")] if consortium.door else []
    consortium.command(COORDINATOR, SERVER, "renew", OUT, str(keys / "site_key.pub"), *request)
    if consortium.door:
        consortium.take_certificate(OUT)
    consortium.start_site(OUT)
    log = consortium.site(OUT) / "start.log"
    wait_until(lambda: "connected to" in log.read_text())
    said = consortium.command(COORDINATOR, SERVER, "roster").stdout
    assert said.count("online") == 3
