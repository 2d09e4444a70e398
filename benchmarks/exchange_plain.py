"""The plain arm of exchange.py: Flower as its documentation shows it, with real processes."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from exchange_arms import (
    EXCHANGE_SECONDS,
    HERE,
    PLAIN,
    WAIT_SECONDS,
    Measured,
    Peak,
    Plan,
    between,
    wait_for,
)

from ghanet_model.certificates import make_authority, make_server_certificate
from ghanet_model.errors import DeploymentError
from ghanet_model.processes import Child, free_port, program, start_child, stop_children

CONNECTED = "SuperNode ID"  # Flower's words
PLAIN_FILES = ("plain_client.py", "plain_model.py", "plain_server.py")
PLAIN_PROJECT = """\
[project]
name = "plain-fedavg"
version = "1.0.0"
license = {{ file = "LICENSE" }}
dependencies = ["flwr>=1.41.0"]

[tool.flwr.app]
publisher = "benchmark"
fab-format-version = 1
flwr-version-target = "1.41.0"
fab-include = ["/*.py", "/pyproject.toml", "/LICENSE"]

[tool.flwr.app.components]
serverapp = "plain_server:app"
clientapp = "plain_client:app"

[tool.flwr.app.config]
preset = "{preset}"
nodes = {nodes}
rounds = {rounds}
ticks = {ticks}
"""


def run_plain(folder: Path, plan: Plan) -> Measured:
    """Flower as its documentation shows it: SuperLink and SuperNodes over TLS, all else default."""
    address, keys = f"127.0.0.1:{free_port()}", folder / "keys"
    make_authority(keys, name="benchmark")
    make_server_certificate(keys, ["127.0.0.1"])
    ticks = write_plain_app(folder, plan)
    children: list[Child] = []
    try:
        children.append(_superlink(folder, address))
        time.sleep(5)
        children += [_supernode(folder, address, number) for number in range(plan.nodes)]
        nodes = children[1:]
        wait_for("connection", lambda: all(node.last(CONNECTED) for node in nodes))
        with Peak(address) as peak:
            _start_run(folder, address)
            ends = tick_times(ticks, plan.exchanges)
    finally:
        stop_children(children[::-1])
    sizes = [2 * plan.nodes * json.loads(line)["bytes"] for line in ticks.read_text().splitlines()]
    return Measured(PLAIN, plan.nodes, between(ends), tuple(sizes[1:]), peak.bytes)


def write_plain_app(folder: Path, plan: Plan) -> Path:
    """The app that ``flwr run`` takes; returns the file that its ServerApp writes times to."""
    app, ticks = folder / "app", folder / "ticks.jsonl"
    app.mkdir()
    for name in PLAIN_FILES:
        shutil.copyfile(HERE / name, app / name)
    text = PLAIN_PROJECT.format(
        preset=plan.preset, nodes=plan.nodes, rounds=plan.exchanges, ticks=json.dumps(str(ticks))
    )
    (app / "pyproject.toml").write_text(text)
    (app / "LICENSE").write_text("Part of a benchmark.\n")
    return ticks


def tick_times(path: Path, last: int) -> list[float]:
    """When each round ended, the start included."""

    def lines() -> list[str]:
        return path.read_text().splitlines() if path.exists() else []

    for number in range(last + 1):
        seconds = EXCHANGE_SECONDS if number else WAIT_SECONDS
        wait_for(f"round {number}", lambda count=number: len(lines()) > count, seconds)
    return [json.loads(line)["time"] for line in lines()]


def _environment(home: Path) -> dict[str, str]:
    """Flower's defaults, but for calls home and installing packages, which no arm does."""
    return {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
        "FLWR_HOME": str(home),
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
        "PYTHONUNBUFFERED": "1",
    }


def _superlink(folder: Path, address: str) -> Child:
    host, _, port = address.partition(":")
    command = [program("flower-superlink"), "--host", host, "--port", port]
    for option, name in (("ca-certfile", "ca.crt"), ("certfile", "server.crt"),
                         ("keyfile", "server.key")):  # fmt: skip
        command += [f"--ssl-{option}", str(folder / "keys" / name)]
    environment, log = _environment(folder / "link"), folder / "superlink.log"
    return start_child("SuperLink", command, environment=environment, log=log)


def _supernode(folder: Path, address: str, number: int) -> Child:
    command = [program("flower-supernode"), "--superlink", address]
    command += ["--root-certificates", str(folder / "keys" / "ca.crt")]
    command += ["--host", "127.0.0.1", "--port", str(free_port())]
    environment, log = _environment(folder / f"node-{number}"), folder / f"supernode-{number}.log"
    return start_child("SuperNode", command, environment=environment, log=log)


def _start_run(folder: Path, address: str) -> None:
    home = folder / "run"
    home.mkdir()
    certificate = json.dumps(str(folder / "keys" / "ca.crt"))
    text = f'[superlink.bench]\naddress = "{address}"\nroot-certificates = {certificate}\n'
    (home / "config.toml").write_text(text)
    done = subprocess.run(
        [program("flwr"), "run", str(folder / "app"), "bench"],
        env=_environment(home),
        check=False,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise DeploymentError(f"flwr run: {said[-1] if said else 'it said nothing'}")
