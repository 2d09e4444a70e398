"""A real SuperLink and real SuperNodes: what hospitals run and answer is what they approved."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from demo.cohorts import ENCODER
from local import CLIENT, COORDINATOR, HERE, SERVER, LocalConsortium, edit
from support import processes_below, write_cohort, write_study

import client
from client.ledger import ledger_path
from ghanet_model.bundle import CLIENT_APP, LICENSE_TEXT, SETTINGS_TEXT
from ghanet_model.ledger import REFUSED, SENT, Line, read_ledger
from ghanet_model.processes import flower_environment, program
from server.config import read_server

pytestmark = pytest.mark.slow
OTHER = "nobody"
PYTHON = Path("/usr/bin") / f"python3.{sys.version_info.minor}"
HAS_OTHER = os.geteuid() == 0 and PYTHON.exists()
SITES = ("hospital-a", "hospital-b")  # the app of hospital-b runs as another user
EVIL = """\
from pathlib import Path
from flwr.clientapp import ClientApp
Path("{mark}").touch()
app = ClientApp()
"""
Done = subprocess.CompletedProcess[str]


@pytest.fixture(scope="module")
def consortium() -> Iterator[LocalConsortium]:
    """A coordinator and two hospitals in a place that another user can enter."""
    root = Path(tempfile.mkdtemp(prefix="ghanet-"))
    root.chmod(0o755)
    with LocalConsortium(root) as found:
        write_study(found.coordinator, rounds=1)
        found.init_coordinator()
        for name in SITES:
            write_cohort(found.site(name), name, clinical=False)
            settings = {"encoder": ENCODER, "threads": 1, "genes": "genes.csv"}
            found.join(name, role="trains", genes=True, settings=settings)
        found.start_server()
        start_sites(found)
        yield found
    assert processes_below(root) == []
    shutil.rmtree(root)


def start_sites(consortium: LocalConsortium) -> None:
    """Start both hospitals and wait until they are connected."""
    consortium.start_site("hospital-a")
    if HAS_OTHER:
        start_with_other_user(consortium, "hospital-b")
    else:
        consortium.start_site("hospital-b")
    for name in SITES:
        wait_until_said(consortium.site(name) / "start.log", "connected to")


def start_with_other_user(consortium: LocalConsortium, name: str) -> None:
    """By a Python that the other user can run; keys and tables are closed to it."""
    home = consortium.site(name)
    edit(home / "site.yaml", {"app_user": OTHER})
    for path in home.glob("*.csv"):
        path.chmod(0o600)
    (home / "features").chmod(0o700)
    programs = public_python(consortium.folder / "python")
    with (home / "start.log").open("wb") as log:
        consortium.running[name] = subprocess.Popen(
            [programs / CLIENT, "start"],
            cwd=home,
            stdout=log,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
            start_new_session=True,
        )


def public_python(folder: Path) -> Path:
    """The system's Python with what is installed for this one; returns where its programs are."""
    subprocess.run([PYTHON, "-m", "venv", "--without-pip", folder], check=True)
    packages = next((folder / "lib").glob("python3*/site-packages"))
    installed = [entry for entry in sys.path if entry.endswith("site-packages")]
    source = Path(client.__file__).parents[1]
    (packages / "ours.pth").write_text("\n".join([str(source), *installed]))
    _, text = (HERE / CLIENT).read_text().split("\n", 1)
    (folder / "bin" / CLIENT).write_text(f"#!{folder}/bin/python\n{text}")
    (folder / "bin" / CLIENT).chmod(0o755)
    return folder / "bin"


def wait_until_said(log: Path, words: str, seconds: float = 90) -> None:
    """Wait until a log holds these words."""
    end = time.monotonic() + seconds
    while not log.exists() or words not in log.read_text():
        if time.monotonic() > end:
            raise TimeoutError(f"{log} never said: {words}\n{log.read_text()}")
        time.sleep(0.1)


def ledger_of(consortium: LocalConsortium, name: str) -> list[Line]:
    """Lines of a hospital's ledger."""
    return read_ledger(ledger_path(consortium.site(name)))


@pytest.fixture(scope="module")
def mark(consortium: LocalConsortium) -> Path:
    """A raw ``flwr run`` brought a bundle with code; the file that the code would have made."""
    folder, mark = consortium.folder / "evil", consortium.folder / "was-run"
    (folder / "client").mkdir(parents=True)
    included = SETTINGS_TEXT.replace('"/LICENSE"]', '"/LICENSE", "/client/**"]')
    (folder / "pyproject.toml").write_text(included)
    (folder / "LICENSE").write_text(LICENSE_TEXT)
    (folder / "client" / "__init__.py").touch()
    module = f"{CLIENT_APP.split(':', maxsplit=1)[0].split('.')[1]}.py"
    (folder / "client" / module).write_text(EVIL.format(mark=mark))
    home = read_server(consortium.coordinator).flower_home
    command = [program("flwr"), "run", str(folder), "coordinator", "--format", "json"]
    subprocess.run(command, env=flower_environment(home), check=True, capture_output=True)
    for name in SITES:
        wait_until_said(consortium.site(name) / "start.log", "app bundle refused")
    progress = consortium.coordinator / "state" / "progress.json"
    wait_until_said(progress, '"failed"')
    return mark


@pytest.fixture(scope="module")
def unapproved(consortium: LocalConsortium, mark: Path) -> Done:
    """What ``train`` said after the study was changed and no hospital approved the new one."""
    edit(consortium.coordinator / "study.yaml", {"seed": 11})
    consortium.command(COORDINATOR, SERVER, "init")
    invitation = str(consortium.coordinator / "invitation.json")
    for name in SITES:
        consortium.command(name, CLIENT, "init", "--invitation", invitation)
    return consortium.train(check=False)


@pytest.fixture(scope="module")
def approved(consortium: LocalConsortium, unapproved: Done) -> Done:
    """What ``train`` said once the hospitals had approved the changed study."""
    for name in SITES:
        consortium.command(name, CLIENT, "approve", "--yes")
    return consortium.train(check=False)


def test_an_unapproved_bundle_is_not_run(consortium: LocalConsortium, mark: Path) -> None:
    """Not a line of its code: neither console nor ledger is silent about it, both name it."""
    assert not mark.exists()
    for name in SITES:
        refused = [line for line in ledger_of(consortium, name) if line.what == REFUSED]
        digest = str(refused[0].facts["digest"])
        said = (consortium.site(name) / "start.log").read_text()
        assert f"the app bundle with digest {digest[:16]} is not approved" in said
        assert "ghanet-client approve" in said
    assert not any(line.what == SENT for name in SITES for line in ledger_of(consortium, name))


def test_a_hospital_stays_connected_after_a_refusal(
    consortium: LocalConsortium, mark: Path
) -> None:
    """It goes on asking for messages."""
    for name in SITES:
        assert consortium.running[name].poll() is None
        assert "connection ended" not in (consortium.site(name) / "start.log").read_text()


def test_a_changed_study_is_refused_until_it_is_approved(
    consortium: LocalConsortium, unapproved: Done
) -> None:
    """The new invitation alone changes nothing; the coordinator is told why in one line."""
    assert unapproved.returncode == 1
    assert "hospital-a" in unapproved.stderr.splitlines()[0]
    assert "Traceback" not in unapproved.stderr
    said = (consortium.site("hospital-a") / "logs" / "site.log").read_text()
    assert "statistics refused: the study with digest" in said


def test_what_is_approved_is_answered(consortium: LocalConsortium, approved: Done) -> None:
    """After the approval the same hospitals, never restarted, train the study to its end."""
    assert approved.returncode == 0, approved.stderr
    report = json.loads((consortium.coordinator / "report" / "report.json").read_text())
    assert [site["name"] for site in report["sites"]] == list(SITES)
    for name in SITES:
        kinds = [line.facts["kind"] for line in ledger_of(consortium, name) if line.what == SENT]
        assert set(kinds) == {"statistics", "round", "delivery"}


@pytest.mark.skipif(not HAS_OTHER, reason=f"needs root and {PYTHON}")
def test_a_round_works_with_the_app_as_another_user(
    consortium: LocalConsortium, approved: Done
) -> None:
    """Its processes belong to that user; the hospital trained all the same."""
    home = consortium.site("hospital-b")
    assert approved.returncode == 0, approved.stderr
    assert f"Flower's app runs as user '{OTHER}'" in (home / "start.log").read_text()
    assert "trained on" in (home / "logs" / "site.log").read_text()
    owners = {
        path.stat().st_uid != 0
        for path in Path("/proc").glob("[0-9]*")
        if is_superexec_of(path, home)
    }
    assert owners == {True}


def is_superexec_of(process: Path, home: Path) -> bool:
    """Whether a process starts the apps of this hospital."""
    try:
        command = (process / "cmdline").read_bytes()
    except OSError:
        return False
    return b"client.superexec" in command and str(home).encode() in command
