"""The coordinator's use of Flower's ``flwr`` command: register hospitals, start and end runs."""

import json
import socket
import ssl
import subprocess
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ghanet_model.bundle import LICENSE_TEXT, SETTINGS_TEXT, open_bundle, write_source
from ghanet_model.errors import DeploymentError
from ghanet_model.files import sha256, write_atomic, write_json
from ghanet_model.invitation import INVITATION_FILE, read_invitation
from ghanet_model.processes import flower_environment, program

from .config import ServerConfig

CONNECTION = "coordinator"  # our section in Flower's config.toml
NODES_FILE = "nodes.json"
FLWR_SECONDS = 120.0
KNOWN_KEY = "already in use"  # Flower's words for a key that is registered
UNKNOWN_NODE = "node id not found"  # and for a node that is not
BUILT_FILE = "built.json"  # what the bundle beside it was built from


def write_flower_settings(config: ServerConfig) -> None:
    """Tell the ``flwr`` command where our SuperLink is and whose certificate to expect."""
    text = (
        f'[superlink]\ndefault = "{CONNECTION}"\n\n[superlink.{CONNECTION}]\n'
        f'address = "{config.local_address}"\n'
        f"root-certificates = {json.dumps(str(config.keys / 'ca.crt'))}\n"
    )
    write_atomic(config.flower_home / "config.toml", text.encode())


def build_bundle(config: ServerConfig) -> bytes:
    """The app bundle; built by Flower's own command when its text, Flower or the file is new.

    Raises:
        DeploymentError: it cannot be built.
        ApprovalError: more is in it than ours.
    """
    folder = config.state / "bundle"
    made = {"source": sha256((SETTINGS_TEXT + LICENSE_TEXT).encode()), "flwr": version("flwr")}
    try:
        content = next(folder.glob("*.fab")).read_bytes()
        if json.loads((folder / BUILT_FILE).read_text()) == {**made, "bundle": sha256(content)}:
            return content
    except (StopIteration, OSError, ValueError):
        pass
    content = _build_anew(config, folder)
    write_json(folder / BUILT_FILE, {**made, "bundle": sha256(content)})
    return content


def _build_anew(config: ServerConfig, folder: Path) -> bytes:
    write_source(folder)
    for old in folder.glob("*.fab"):
        old.unlink()
    _flwr(config, "build", "--app", str(folder), folder=folder)
    content = next(folder.glob("*.fab")).read_bytes()
    open_bundle(content)
    return content


def is_serving(config: ServerConfig) -> bool:
    """Whether our SuperLink answers with a certificate of our authority."""
    try:
        context = ssl.create_default_context(cafile=str(config.keys / "ca.crt"))
        with (
            socket.create_connection((config.local_host, config.local_port), timeout=3) as plain,
            context.wrap_socket(plain, server_hostname=config.local_host),
        ):
            return True
    except OSError:
        return False


@dataclass(frozen=True, slots=True)
class Node:
    """A hospital's key that Flower knows."""

    node_id: str
    key: str  # OpenSSH, one line; empty where an older version of ours let it in
    status: str = ""  # registered, online or offline
    seen: str = ""  # when it last connected or went


def online_nodes(config: ServerConfig) -> dict[str, Node]:
    """What Flower says of each hospital that was let in."""
    found = {str(node["node-id"]): node for node in _nodes(config)}
    return {
        name: replace(
            node, status=str(found[node.node_id]["status"]), seen=_seen(found[node.node_id])
        )
        for name, node in read_nodes(config).items()
        if node.node_id in found
    }


def _nodes(config: ServerConfig) -> list[dict[str, Any]]:
    """Nodes that Flower lets in."""
    found = _flwr_json(config, "supernode", "ls", CONNECTION).get("nodes", [])
    return [node for node in found if node["status"] != "unregistered"]


def _seen(node: dict[str, Any]) -> str:
    times = (str(node.get(key, "")) for key in ("online-at", "offline-at"))
    return max((time for time in times if time[:1].isdigit()), default="")


def read_nodes(config: ServerConfig) -> dict[str, Node]:
    """The node of each hospital that was let in."""
    path = config.state / NODES_FILE
    found = json.loads(path.read_text()) if path.exists() else {}
    return {
        name: Node(node, "") if isinstance(node, str) else Node(node["node"], node["key"])
        for name, node in found.items()
    }


def _write_nodes(config: ServerConfig, nodes: dict[str, Node]) -> None:
    values = {name: {"node": node.node_id, "key": node.key} for name, node in nodes.items()}
    write_json(config.state / NODES_FILE, values)


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
        found = {"node-id": _unnamed_node(config, name)}  # let in before that was written down
    node = Node(str(found["node-id"]), public_key)
    _write_nodes(config, read_nodes(config) | {name: node})


def unregister(config: ServerConfig, *, name: str) -> None:
    """Shut out the key that a hospital was let in with; Flower never takes it again."""
    nodes = read_nodes(config)
    node = nodes.pop(name)
    try:
        _flwr_json(config, "supernode", "unregister", node.node_id, CONNECTION)
    except DeploymentError as error:
        if UNKNOWN_NODE not in str(error).lower():  # shut out before that was written down
            raise
    _write_nodes(config, nodes)


def _unnamed_node(config: ServerConfig, name: str) -> str:
    """The one node that Flower lets in and we have no name for."""
    known = {node.node_id for node in read_nodes(config).values()}
    unnamed = {str(node["node-id"]) for node in _nodes(config)} - known
    if len(unnamed) != 1:
        raise DeploymentError(
            f"Flower does not take the key of {name}",
            hint="if it was shut out before: the hospital makes a new one with "
            "'ghanet-client renew-key', then ghanet-server renew",
        )
    return unnamed.pop()


def start_run(config: ServerConfig) -> str:
    """Start the ServerApp with the bundle of the invitation; return the run's id.

    Raises:
        DeploymentError: Flower refused, or would ship another bundle than the hospitals got.
    """
    invited = read_invitation(config.folder / INVITATION_FILE).bundle_content
    folder = config.state / "bundle"
    if _build_anew(config, folder) != invited:
        raise DeploymentError(
            f"'flwr run' would bring another app bundle than {INVITATION_FILE}",
            hint=f"run 'ghanet-server init' and send the new {INVITATION_FILE}",
        )
    found = _flwr_json(config, "run", str(folder), CONNECTION)
    if not found.get("success"):
        raise DeploymentError("Flower refused the run", hint="see logs/superlink.log")
    run = str(found["run-id"])
    if found.get("fab-hash") != sha256(invited)[:8]:  # all that Flower tells of it
        stop_run(config, run)
        raise DeploymentError("'flwr run' brought another app bundle than it built before")
    return run


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
