"""``make demo`` as a newcomer runs it, and as one interrupts it."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support import processes_below, write_study

from ghanet_model.invitation import read_invitation
from ghanet_model.release import read_release

DEMO = Path(__file__).resolve().parent.parent / "deploy" / "demo" / "run.py"
pytestmark = pytest.mark.slow


def test_the_demo_trains_releases_and_predicts(tmp_path: Path) -> None:
    """Its summary says five rounds, four hospitals, a signed release; nothing stays behind."""
    folder = tmp_path / "demo"
    done = subprocess.run(
        [sys.executable, DEMO, folder, "--share", "0.5"],
        capture_output=True,
        text=True,
        check=False,
        timeout=850,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["rounds"] == 5
    assert [(s["name"], s["role"], s["has_genes"]) for s in summary["sites"]] == [
        ("hospital-a", "trains", True),
        ("hospital-b", "trains", True),
        ("hospital-c", "trains", True),
        ("hospital-d", "infers", False),
    ]
    key = read_invitation(folder / "coordinator" / "invitation.json").release_key.encode()
    release = read_release(folder.parent / summary["release"]["path"], public_pem=key)
    assert summary["release"]["sha256"] == release.sha256
    assert summary["release"]["signed_by"] == release.signed_by
    report = json.loads((folder / "coordinator" / "report" / "report.json").read_text())
    assert report["c_index"] > report["c_index_before"] + 0.05
    page = (folder / "hospital-d" / "predictions" / "D0000-1.html").read_text()
    assert "nothing on this page may be believed" in page  # of its encoder
    assert "rounds 2, 3, 4 of the same training" in page  # its band
    assert "ghanet-client view --open --folder" in done.stdout
    assert processes_below(folder) == []


def test_an_interrupted_demo_leaves_no_process(tmp_path: Path) -> None:
    """Ctrl-C while hospitals train ends everything that was started."""
    folder = tmp_path / "demo"
    demo = subprocess.Popen(
        [sys.executable, DEMO, folder, "--share", "0.15"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    progress = folder / "coordinator" / "state" / "progress.json"
    end = time.monotonic() + 600
    while not (progress.exists() and '"round"' in progress.read_text()):
        assert demo.poll() is None
        assert time.monotonic() < end
        time.sleep(0.2)
    os.killpg(demo.pid, signal.SIGINT)  # as a terminal does: to the whole foreground group
    _, said = demo.communicate(timeout=60)
    assert demo.returncode == 130
    assert said.splitlines()[-1] == "demo: stopped"
    assert processes_below(folder) == []


KILLED = """\
import sys, time
from pathlib import Path
from local import LocalConsortium
consortium = LocalConsortium(Path(sys.argv[1]))
consortium.init_coordinator()
consortium.start_server()
print("serving", flush=True)
time.sleep(600)
"""


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="nobody asks servers to end")
def test_a_killed_demo_leaves_no_process(tmp_path: Path) -> None:
    """As by a machine short of memory: its servers end too."""
    write_study(tmp_path / "coordinator")
    environment = {**os.environ, "PYTHONPATH": str(DEMO.parent.parent)}
    script = [sys.executable, "-c", KILLED, str(tmp_path)]
    with subprocess.Popen(script, env=environment, stdout=subprocess.PIPE, text=True) as killed:
        assert killed.stdout is not None
        assert killed.stdout.readline() == "serving\n"
        killed.kill()
    end = time.monotonic() + 60
    while processes_below(tmp_path):
        assert time.monotonic() < end
        time.sleep(0.1)
