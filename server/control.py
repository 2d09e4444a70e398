"""The coordinator's use of Flower's ``flwr`` command: register hospitals, start and end runs."""

import json
import socket
import ssl
import subprocess
import zipfile
from pathlib import Path
from typing import Any

from ghanet_model.errors import DeploymentError
from ghanet_model.files import write_atomic, write_json
from ghanet_model.processes import flower_environment, program

from .config import ServerConfig

CONNECTION = "coordinator"  # our section in Flower's config.toml
NODES_FILE = "nodes.json"
FLWR_SECONDS = 120.0
KNOWN_KEY = "already in use"  # Flower's words for a key that is registered
BUNDLE_FILES = {"pyproject.toml", "LICENSE", ".info/CONTENT"}
BUNDLE = """\
# What hospitals receive as "the app": names of entry points that they have installed, no code.
[project]
name = "federated-ghanet-app"
version = "1.0.0"
license = { file = "LICENSE" }
dependencies = ["flwr>=1.41.0"]

[tool.flwr.app]
publisher = "consortium"
fab-format-version = 1
flwr-version-target = "1.41.0"
fab-include = ["/pyproject.toml", "/LICENSE"]

[tool.flwr.app.components]
serverapp = "server.app:app"
clientapp = "client.app:app"

[tool.flwr.app.config]
"""
BUNDLE_LICENSE = "Apache-2.0, see the installed distribution federated-ghanet.\n"


def write_flower_settings(config: ServerConfig) -> None:
    """Tell the ``flwr`` command where our SuperLink is and whose certificate to expect."""
    text = (
        f'[superlink]\ndefault = "{CONNECTION}"\n\n[superlink.{CONNECTION}]\n'
        f'address = "{config.local_address}"\n'
        f"root-certificates = {json.dumps(str(config.keys / 'ca.crt'))}\n"
    )
    write_atomic(config.flower_home / "config.toml", text.encode())


def write_bundle(folder: Path) -> Path:
    """Write the app bundle's source: two text files."""
    write_atomic(folder / "pyproject.toml", BUNDLE.encode())
    write_atomic(folder / "LICENSE", BUNDLE_LICENSE.encode())
    return folder


def build_bundle(folder: Path, config: ServerConfig) -> Path:
    """Build the bundle with Flower's own command and check that it holds nothing else.

    Raises:
        DeploymentError: it cannot be built, or a file is in it that is not ours.
    """
    write_bundle(folder)
    for old in folder.glob("*.fab"):
        old.unlink()
    _flwr(config, "build", "--app", str(folder), folder=folder)
    bundle = next(folder.glob("*.fab"))
    names = set(zipfile.ZipFile(bundle).namelist())
    if names != BUNDLE_FILES:
        raise DeploymentError(f"app bundle holds {sorted(names - BUNDLE_FILES)}")
    return bundle


def is_serving(config: ServerConfig) -> bool:
    """Whether our SuperLink answers with a certificate of our authority."""
    try:
        context = ssl.create_default_context(cafile=str(config.keys / "ca.crt"))
        with (
            socket.create_connection((config.local_host, config.port), timeout=3) as plain,
            context.wrap_socket(plain, server_hostname=config.local_host),
        ):
            return True
    except OSError:
        return False


def online_nodes(config: ServerConfig) -> dict[str, str]:
    """State of each registered hospital: registered, online or offline."""
    found = _flwr_json(config, "supernode", "ls", CONNECTION).get("nodes", [])
    states = {str(node["node-id"]): str(node["status"]) for node in found}
    return {name: states[node] for name, node in read_nodes(config).items() if node in states}


def read_nodes(config: ServerConfig) -> dict[str, str]:
    """Flower's node id of each hospital that was let in."""
    path = config.state / NODES_FILE
    return dict(json.loads(path.read_text())) if path.exists() else {}


def register(config: ServerConfig, *, name: str, public_key: str) -> None:
    """Let a hospital's key in and remember its node."""
    key_file = config.state / "register" / f"{name}.pub"
    write_atomic(key_file, (public_key + "\n").encode())
    try:
        found = _flwr_json(
            config, "supernode", "register", str(key_file), CONNECTION, "--name", name
        )
    except DeploymentError as error:
        if KNOWN_KEY not in str(error).lower():
            raise
        found = {"node-id": _unnamed_node(config)}  # let in before that was written down
    write_json(config.state / NODES_FILE, read_nodes(config) | {name: str(found["node-id"])})


def _unnamed_node(config: ServerConfig) -> str:
    """The one node that Flower knows and we have no name for; none if that is not clear."""
    found = _flwr_json(config, "supernode", "ls", CONNECTION).get("nodes", [])
    unnamed = {str(node["node-id"]) for node in found} - set(read_nodes(config).values())
    return unnamed.pop() if len(unnamed) == 1 else ""


def start_run(config: ServerConfig) -> str:
    """Start the ServerApp with a bundle that was looked into; return the run's id."""
    folder = config.state / "bundle"
    build_bundle(folder, config)
    found = _flwr_json(config, "run", str(folder), CONNECTION)
    if not found.get("success"):
        raise DeploymentError("Flower refused the run", hint="see logs/superlink.log")
    return str(found["run-id"])


def run_status(config: ServerConfig, run: str) -> str:
    """Flower's word for a run: pending, starting, running or finished:..."""
    found = _flwr_json(config, "ls", CONNECTION, "--run-id", run)
    runs = found.get("runs", [])
    return str(runs[0].get("status", "")) if runs else "unknown"


def unfinished_runs(config: ServerConfig) -> list[str]:
    """Ids of runs that Flower does not call finished."""
    found = _flwr_json(config, "ls", CONNECTION)
    runs = found.get("runs", [])
    return [str(r["run-id"]) for r in runs if not str(r["status"]).startswith("finished")]


def stop_run(config: ServerConfig, run: str) -> None:
    """Tell Flower that a run is over."""
    _flwr_json(config, "stop", run, CONNECTION)


def _flwr_json(config: ServerConfig, *arguments: str) -> dict[str, Any]:
    """Run ``flwr ... --format json`` and read its answer."""
    output = _flwr(config, *arguments, "--format", "json")
    start = output.find("{")
    try:
        found: dict[str, Any] = json.loads(output[start:])
    except ValueError:
        raise DeploymentError(
            f"'flwr {arguments[0]}' gave no answer", hint="see logs/superlink.log"
        ) from None
    if found.get("success") is False:
        raise DeploymentError(
            f"'flwr {arguments[0]}' failed: {found.get('error-message', 'no reason given')}"
        )
    return found


def _flwr(config: ServerConfig, *arguments: str, folder: Path | None = None) -> str:
    try:
        done = subprocess.run(
            [program("flwr"), *arguments],
            env=flower_environment(config.flower_home),
            cwd=folder or config.state,
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
            timeout=FLWR_SECONDS,
        )
    except subprocess.TimeoutExpired:
        raise DeploymentError(
            f"'flwr {arguments[0]}' gave no answer in {FLWR_SECONDS:.0f} s",
            hint="see logs/superlink.log",
        ) from None
    if done.returncode != 0 and "{" not in done.stdout:
        lines = (done.stderr or done.stdout).strip().splitlines()
        raise DeploymentError(
            f"'flwr {arguments[0]}' failed: {lines[-1] if lines else 'no reason given'}"
        )
    return done.stdout
