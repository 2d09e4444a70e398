"""``deploy/check``: build both images and take part in a round inside them, without an engine.

buildah builds them on a base of debootstrap, which needs no image registry; bubblewrap runs them as
compose does: as user 10001, without rights, on a read-only system. Says what it could not check.
Needs root, and Debian's buildah, debootstrap, bubblewrap and util-linux.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from build_images import PROGRAMS, Builder, Image
from demo.cohorts import ENCODER, Hospital, make_world, write_groups, write_hospital
from local import edit
from sandbox import DATA, Sandbox

from ghanet_model.processes import free_port

NAME, READY_SECONDS = "hospital-a", 180.0
STUDY = """\
format: 1
name: check
encoder: demo-v1
feature_width: 64
time_bin_edges: [12, 36, 60]
gene_groups: gene_groups.csv
gene_types: [rnaseq]
preset: compact
rounds: 1
replicates: 20
batch_cases: 8
"""
INSIDE = """\
import importlib.util, os, shutil, sys
from pathlib import Path
site = Path(next(p for p in sys.path if p.endswith("site-packages")))
ours = [p for name in ("ghanet_model", "client", "server") for p in (site / name).glob("*.py")]
cold = [p.name for p in ours if not Path(importlib.util.cache_from_source(p)).exists()]
tools = [t for t in ("gcc", "cc", "make", "git", "curl", "uv") if shutil.which(t)]
tools += [name for name in ("pip", "setuptools") if (site / name).exists()]
try:
    Path("/opt/ghanet/x").write_text("")
    written = True
except OSError:
    written = False
status = dict(l.split(":", 1) for l in Path("/proc/self/status").read_text().splitlines())
rights = {key: int(status[key], 16) for key in ("CapEff", "CapBnd")}
alone = status["NoNewPrivs"].strip() == "1"
print(len(ours), cold, tools, written, os.getuid(), rights, alone)
"""
INSIDE_WANTED = "[] [] False 10001 {'CapEff': 0, 'CapBnd': 0} True"
UNCHECKED = """\
not checked here:
  the base that the Dockerfile names (its digest was not pulled): built on debootstrap's Debian 12
  docker compose, its limits of memory, processes and /dev/shm, its restarts: no engine runs
  the engine's seccomp profile; HEALTHCHECK was run by hand, not by an engine
  TORCH=cuda and GPUs; architectures other than this machine's"""


def main() -> int:
    """Build, look, take part; exit code 1 at the first thing that is not as it should be."""
    parser = argparse.ArgumentParser(description="build both images and try them")
    parser.add_argument("--work", type=Path, default=Path("/var/tmp/ghanet-check"))  # noqa: S108
    parser.add_argument("--base", help="image to build on; default: one made with debootstrap")
    parser.add_argument("--driver", default="overlay", help="buildah's storage: overlay or vfs")
    options = parser.parse_args()
    missing = [package for name, package in PROGRAMS.items() if shutil.which(name) is None]
    if os.geteuid() != 0 or missing:
        what = f"apt-get install {' '.join(missing)}" if missing else "run it as root"
        print(f"check: error: cannot build here\ncheck: hint: {what}", file=sys.stderr)
        return 1
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        work_through(Builder(options.work, options.driver), options.base)
    except KeyboardInterrupt:
        print("check: stopped", file=sys.stderr)
        return 130
    except PermissionError as error:
        print(f"check: error: {error}", file=sys.stderr)
        return 1
    except subprocess.CalledProcessError as error:
        print(f"check: error: {error.cmd} ended with {error.returncode}", file=sys.stderr)
        return 1
    print(UNCHECKED)
    return 0


def work_through(builder: Builder, base: str | None) -> None:
    """Everything that can be checked."""
    base = base or builder.make_base()
    with ExitStack() as stack:
        images = {side: builder.build(side, base) for side in ("server", "client")}
        for side, image in images.items():
            look_at(side, image)
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=builder.work)))
        place.chmod(0o755)
        sides = {}
        for side, image in images.items():
            files = stack.enter_context(builder.mounted(image))
            sides[side] = stack.enter_context(Sandbox(image.config, files, place / side))
        for box in sides.values():
            look_inside(box)
        take_part(sides["server"], sides["client"], place)


def look_at(side: str, image: Image) -> None:
    """What the image says of itself, and how large it is."""
    config = image.config
    print(f"{side}: {image.bytes / 1e6:,.0f} MB unpacked, {image.packed / 1e6:,.0f} MB packed")
    require("user", config["User"], "10001:10001")
    require("starts", config["Entrypoint"] + config["Cmd"], [f"ghanet-{side}", "start"])
    require("health", image.health, ["CMD", f"ghanet-{side}", "health"])
    labels = config["Labels"]
    require("licence", labels["org.opencontainers.image.licenses"], "Apache-2.0")


def look_inside(box: Sandbox) -> None:
    """What is in it, and what its user can do."""
    said = box.run(["/opt/ghanet/bin/python", "-I", "-c", INSIDE]).split(" ", 1)
    require("inside", said[1].strip(), INSIDE_WANTED)
    began = time.monotonic()
    box.command("--help")
    print(f"{box.name}: '--help' in {time.monotonic() - began:.1f} s")


def require(what: str, found: object, wanted: object) -> None:
    """End the check where something is not as it should be."""
    if found != wanted:
        raise SystemExit(f"check: error: {what}: {found!r}, wanted {wanted!r}")


def take_part(server: Sandbox, client: Sandbox, place: Path) -> None:
    """A coordinator and a hospital, from empty folders to the release of one round."""
    (server.folder / "study.yaml").write_text(STUDY)
    write_groups(server.folder / "gene_groups.csv")
    data = place / "data"
    hospital = Hospital(NAME, 40, has_genes=True)
    write_hospital(data, hospital, make_world(np.random.default_rng(7)), seed=1)
    for path in data.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    client.data = data
    server.command("init", "--host", "127.0.0.1", "--port", str(free_port()))
    send(server.folder / "invitation.json", client.folder / "invitation.json")
    client.command("init", "--name", NAME, "--invitation", "invitation.json")
    tables = {name: f"{DATA}/{name}.csv" for name in ("slides", "clinical", "genes")}
    settings = {"encoder": ENCODER, "features": f"{DATA}/features", "threads": 1}
    edit(client.folder / "site.yaml", settings | tables)
    client.command("check")
    print(f"{client.name}: 'check' found no problem in tables that it can only read")
    client.command("approve", "--yes")
    send(client.folder / "keys" / "site_key.pub", server.folder / "hospital-a.pub")
    send(client.folder / "keys" / "door.csr", server.folder / "hospital-a.csr")
    options = ["--request", "hospital-a.csr", "--role", "trains", "--genes", "--cases", "40"]
    server.command("enrol", NAME, "hospital-a.pub", *options)
    send(server.folder / "certificates" / "hospital-a.crt", client.folder / "hospital-a.crt")
    client.command("certificate", "hospital-a.crt")
    server.start()
    print(f"{server.name}: {wait_until_well(server)}")
    print(client.command("doctor"))
    client.start()
    print(f"{client.name}: {wait_until_well(client)}")
    server.command("train")
    report = json.loads((server.folder / "report" / "report.json").read_text())
    require("rounds", report["rounds"], 1)
    require("release", (server.folder / "releases" / "check.ghanet").exists(), wanted=True)
    for box in (server, client):
        print(f"{box.name}: {box.threads()} threads and processes after a round")
        box.stop()
        require("health after its end", box.health()[0], 1)
    print("one round, its evaluation and release: server and hospital in their images")


def send(file: Path, place: Path) -> None:
    """A mail with one file."""
    place.write_bytes(file.read_bytes())


def wait_until_well(box: Sandbox) -> str:
    """Ask for its health until it is well; what it says then."""
    end = time.monotonic() + READY_SECONDS
    while True:
        code, said = box.health()
        if code == 0 and "not connected" not in said:
            return said.strip()
        if time.monotonic() > end:
            raise SystemExit(f"check: error: {box.name}: {said}\n{box.log()}")
        time.sleep(1)


if __name__ == "__main__":
    sys.exit(main())
