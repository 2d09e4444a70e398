"""``make demo``: a whole consortium on one machine, by the commands a real one would use.

Every side has its own folder and key; what moves between folders here (the invitation, a public
key) is what people would send each other. Ends all it started, also after Ctrl-C.
"""

import argparse
import csv
import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from cohorts import ENCODER, HOSPITALS, WIDTH, Hospital, make_world, write_groups, write_hospital

from ghanet_model.files import sha256, write_json
from ghanet_model.processes import free_port

HERE = Path(sys.executable).parent
MARK = ".made-by-demo"
STUDY = f"""\
format: 1
name: demo
encoder: {ENCODER}
feature_width: {WIDTH}
time_bin_edges: [12, 36, 60]
gene_groups: gene_groups.csv
gene_types: [rnaseq]
preset: compact
rounds: 5
local_epochs: 4
batch_cases: 8
learning_rate: 0.001
round_minutes: 3
"""


def main() -> int:
    """Run the demo in the folder named on the command line."""
    parser = argparse.ArgumentParser(description="a consortium of four hospitals on one machine")
    parser.add_argument("folder", type=Path, nargs="?", default=Path("demo"))
    folder = parser.parse_args().folder.resolve()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    running: list[subprocess.Popen[bytes]] = []
    began = time.monotonic()
    try:
        _prepare(folder)
        _set_up(folder)
        _take_part(folder, running)
        _summarise(folder, seconds=time.monotonic() - began)
    except KeyboardInterrupt:
        print("demo: stopped", file=sys.stderr)
        return 130
    except subprocess.CalledProcessError as error:
        print(f"demo: error: a command ended with exit code {error.returncode}", file=sys.stderr)
        return 1
    finally:
        _stop(running)
    return 0


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _prepare(folder: Path) -> None:
    """An empty folder; an earlier demo is replaced, anything else is not touched."""
    if folder.exists() and any(folder.iterdir()):
        if not (folder / MARK).exists():
            print(f"demo: error: {folder} is not empty and no demo made it", file=sys.stderr)
            raise SystemExit(1)
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MARK).touch()


def _set_up(folder: Path) -> None:
    """Data at each hospital, then the commands of each side."""
    _title("1. Four hospitals get synthetic slides; three have genes, hospital-d has none")
    world = make_world(np.random.default_rng(7))
    for number, hospital in enumerate(HOSPITALS):
        write_hospital(folder / hospital.name, hospital, world, seed=100 + number)
    _title("2. The coordinator makes keys, certificates and the invitation")
    coordinator = folder / "coordinator"
    coordinator.mkdir()
    (coordinator / "study.yaml").write_text(STUDY)
    write_groups(coordinator / "gene_groups.csv")
    _run("ghanet-server", "init", "--host", "127.0.0.1", "--port", str(free_port()), at=coordinator)
    _title("3. Each hospital makes its key, checks its data and is enrolled")
    for hospital in HOSPITALS:
        _join(folder, hospital)


def _join(folder: Path, hospital: Hospital) -> None:
    home, coordinator = folder / hospital.name, folder / "coordinator"
    invitation = coordinator / "invitation.json"
    _run("ghanet-client", "init", "--name", hospital.name, "--invitation", str(invitation), at=home)
    site = home / "site.yaml"
    text = site.read_text().replace("encoder: CHANGE-ME", f"encoder: {ENCODER}")
    text = text.replace("threads: 2", "threads: 1")
    if hospital.has_genes:
        text = text.replace("# genes: genes.parquet", "genes: genes.csv")
    site.write_text(text)
    _run("ghanet-client", "check", at=home)
    role = ["--role", "trains", "--genes"] if hospital.has_genes else ["--role", "infers"]
    key = str(home / "keys" / "site_key.pub")
    _run("ghanet-server", "enrol", hospital.name, key, *role, at=coordinator)


def _take_part(folder: Path, running: list[subprocess.Popen[bytes]]) -> None:
    """Start every side, train, release, and predict where there are no genes."""
    _title("4. Every side starts; the coordinator trains")
    coordinator = folder / "coordinator"
    running.append(_start("ghanet-server", at=coordinator))
    _wait_until_serving(coordinator, running[0])
    running.extend(_start("ghanet-client", at=folder / h.name) for h in HOSPITALS)
    _run("ghanet-server", "train", at=coordinator)
    _title("5. hospital-d, which has no genes, predicts with the release")
    _run("ghanet-client", "predict", at=folder / "hospital-d")


def _wait_until_serving(coordinator: Path, server: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + 90
    while "serving at" not in _output("ghanet-server", "status", at=coordinator):
        if server.poll() is not None or time.monotonic() > end:
            raise subprocess.CalledProcessError(server.returncode or 1, "ghanet-server start")
        time.sleep(0.5)


def _summarise(folder: Path, *, seconds: float) -> None:
    """Write summary.json and show where to look."""
    report = json.loads((folder / "coordinator" / "report" / "report.json").read_text())
    release = folder / "coordinator" / "releases" / "demo.ghanet"
    predictions = folder / "hospital-d" / "predictions.csv"
    signed_by = predictions.read_text().splitlines()[1].split()[-1]
    keys = ("name", "role", "has_genes", "cases", "events", "c_index")
    summary = {
        "rounds": report["rounds"],
        "seconds": round(seconds, 1),
        "sites": [{key: site[key] for key in keys} for site in report["sites"]],
        "release": {
            "path": str(release.relative_to(folder.parent)),
            "sha256": sha256(release.read_bytes()),
            "signed_by": signed_by,
        },
        "predictions": str(predictions.relative_to(folder.parent)),
    }
    write_json(folder / "summary.json", summary)
    _title("Done")
    with predictions.open() as file:
        rows = [row for row in csv.reader(file) if not row[0].startswith("#")]
    print(f"predictions of hospital-d, first of {len(rows) - 1} cases:")
    for row in rows[:4]:
        print("  " + "  ".join(f"{cell:>18}" for cell in row))
    curve = folder / "coordinator" / "report" / "learning_curve.png"
    print(f"\nlearning curve  {curve}\nrelease         {release}\npredictions     {predictions}")
    print(f"summary         {folder / 'summary.json'}\n{seconds:.0f} seconds")


def _title(text: str) -> None:
    print(f"\n{text}\n", flush=True)


def _run(command: str, *arguments: str, at: Path) -> None:
    """Run one command in a side's folder, as a person there would."""
    print(f"[{at.name}] $ {command} {' '.join(arguments)}", flush=True)
    subprocess.run([HERE / command, *arguments], cwd=at, check=True, stdin=subprocess.DEVNULL)


def _output(command: str, *arguments: str, at: Path) -> str:
    found = subprocess.run(
        [HERE / command, *arguments], cwd=at, check=False, capture_output=True, text=True
    )
    return found.stdout


def _start(command: str, *, at: Path) -> subprocess.Popen[bytes]:
    print(f"[{at.name}] $ {command} start &", flush=True)
    with (at / "start.log").open("wb") as log:
        return subprocess.Popen(
            [HERE / command, "start"],
            cwd=at,
            stdout=log,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )


def _stop(running: list[subprocess.Popen[bytes]]) -> None:
    """End hospitals first, then the server, and wait for each."""
    for process in running[::-1]:
        process.terminate()
    for process in running:
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()


if __name__ == "__main__":
    sys.exit(main())
