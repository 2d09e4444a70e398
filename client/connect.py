"""``ghanet-client start``: SuperNode, SuperExec and trainer as one; retries, says what is wrong."""

import random
import secrets
import socket
import ssl
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ghanet_model.certificates import make_authority, make_server_certificate
from ghanet_model.errors import DeploymentError, KeysError
from ghanet_model.files import write_atomic
from ghanet_model.invitation import CA_FILE
from ghanet_model.processes import (
    Child,
    flower_environment,
    free_port,
    program,
    start_child,
    stop_children,
    stop_on_signals,
)

from .config import FOLDER_VARIABLE, LOG_FILE, SiteConfig
from .keeper import trainer_beside

LOCK_OUT_SECONDS = 65.0  # Flower holds a node that vanished for 60 s before it may come back
FIRST_DELAY, LONGEST_DELAY, RETRY_SECONDS = 5.0, 900.0, 10.0
REFUSED_KEY = r"\[code: 200[14]\]|\[200[14]\]"
CONNECTED, LOST, FOUND = "SuperNode ID", "Connection attempt failed", "Connection successful"
Say = Callable[[str], None]


def connect(config: SiteConfig, say: Say) -> int:
    """Take part until asked to stop; come back after every loss of connection.

    Raises:
        DeploymentError: the coordinator cannot be reached, is not the one of the invitation, or
            does not know this hospital's key.
        KeysError: a key or certificate is missing.
    """
    _require_keys(config)
    require_server(config)
    stopping = stop_on_signals()
    tail = threading.Thread(target=_tail, args=(config.folder, say, stopping), daemon=True)
    tail.start()
    with trainer_beside(config.folder, say):
        _stay_connected(config, say, stopping)
    say("stopped")
    return 0


def _stay_connected(config: SiteConfig, say: Say, stopping: threading.Event) -> None:
    """One connection after the other, until asked to stop."""
    delay, refusals = FIRST_DELAY, 0
    while not stopping.is_set():
        ended = _one_connection(config, say, stopping)
        if stopping.is_set():
            break
        if ended.connected:
            delay, refusals = FIRST_DELAY, 0
        elif ended.refused:
            refusals += 1
            delay = _delay_after_refusal(config, say, refusals)
        say(f"connection ended ({ended.why}); trying again in {delay:.0f} s")
        stopping.wait(delay)
        delay = min(LONGEST_DELAY, delay * 2 * random.uniform(0.8, 1.2))  # noqa: S311 - a delay


def require_server(config: SiteConfig) -> None:
    """Reach the coordinator over TLS and check its certificate against the invitation's.

    Raises:
        DeploymentError: which of name, port, TLS or certificate is at fault.
    """
    host, _, port = config.server.rpartition(":")
    try:
        context = ssl.create_default_context(cafile=str(config.folder / "keys" / CA_FILE))
    except ssl.SSLError:
        raise KeysError(
            f"keys/{CA_FILE} is not a certificate", hint="run 'init' with your invitation again"
        ) from None
    try:
        with (
            socket.create_connection((host.strip("[]"), int(port)), timeout=10) as plain,
            context.wrap_socket(plain, server_hostname=host.strip("[]")),
        ):
            return
    except ssl.SSLCertVerificationError as error:
        raise DeploymentError(
            f"the certificate of {config.server} is not this consortium's ({error.verify_message})",
            hint="check 'server' in site.yaml, and keys/ca.crt with the coordinator; a proxy that "
            "opens TLS connections shows here too",
        ) from None
    except socket.gaierror:
        raise DeploymentError(
            f"the name of {config.server} cannot be resolved", hint="check 'server' in site.yaml"
        ) from None
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise DeploymentError(
            f"{config.server} cannot be reached ({why.lower()})",
            hint="is the coordinator's server running, and does the firewall let you out?",
        ) from None


def _require_keys(config: SiteConfig) -> None:
    for name in ("site_key", CA_FILE):
        if not (config.folder / "keys" / name).is_file():
            raise KeysError(
                f"keys/{name} is missing", hint="run 'ghanet-client init' with your invitation"
            )


def _mark(config: SiteConfig) -> Path:
    """A file that says that the coordinator once accepted this hospital's key."""
    return config.folder / "state" / "accepted"


def _delay_after_refusal(config: SiteConfig, say: Say, refusals: int) -> float:
    """How long to wait before a refused key is tried again.

    A server that just started may be letting keys in; and a hospital that vanished without
    goodbye is let in again after a minute only.

    Raises:
        DeploymentError: neither can be the reason any more.
    """
    known = _mark(config).exists()
    if refusals == 1 and known:
        say("after a connection that ended without goodbye, it takes a minute to be let in again")
        return LOCK_OUT_SECONDS
    if refusals == 1:
        say("the coordinator did not accept this hospital's key; trying once more")
        return RETRY_SECONDS
    word = "no longer accepts" if known else "does not know"
    raise DeploymentError(
        f"the coordinator at {config.server} {word} this hospital's key",
        hint="send keys/site_key.pub to the coordinator and ask to be enrolled",
    )


@dataclass(frozen=True, slots=True)
class Ended:
    """How a connection ended."""

    connected: bool  # it had begun
    refused: bool  # the key was not accepted
    why: str


def _one_connection(config: SiteConfig, say: Say, stopping: threading.Event) -> Ended:
    """Run SuperNode and SuperExec until one of them ends."""
    seen, lost = threading.Event(), threading.Event()

    def on_line(line: str) -> None:
        if CONNECTED in line and not seen.is_set():
            seen.set()
            write_atomic(_mark(config), b"")
            say(f"connected to {config.server} as {config.name}")
        elif LOST in line and seen.is_set() and not lost.is_set():
            lost.set()
            say(f"{config.server} does not answer; trying again until it does")
        elif FOUND in line and lost.is_set():
            lost.clear()
            say(f"{config.server} answers again")

    children = _start(config, on_line)
    try:
        while not stopping.wait(0.3) and all(child.running for child in children):
            pass
        gone = [child.name for child in children if not child.running]
    finally:
        stop_children(children)
    refused = children[0].last(REFUSED_KEY) is not None
    why = "key not accepted" if refused else f"{gone[0]} ended" if gone else "stopped"
    hint = f", see logs/{gone[0].lower()}.log" if gone and not refused else ""
    return Ended(seen.is_set(), refused, why + hint)


def _start(config: SiteConfig, on_line: Callable[[str], None]) -> list[Child]:
    loopback, logs = config.folder / "state" / "loopback", config.folder / "logs"
    make_authority(loopback, name="loopback")  # a new one at every start, for this machine only
    make_server_certificate(loopback, ["localhost"])
    (loopback / "ca.key").unlink()
    secret = loopback / "superexec.secret"
    write_atomic(secret, secrets.token_bytes(48), private=True)
    port = free_port()
    environment = flower_environment(config.folder / "state" / "flower")
    node = [sys.executable, "-m", "client.supernode", "--superlink", config.server]
    node += ["--root-certificates", str(config.folder / "keys" / CA_FILE)]
    node += ["--auth-supernode-private-key", str(config.folder / "keys" / "site_key")]
    node += ["--host", "127.0.0.1", "--port", str(port), "--isolation", "process"]
    node += ["--superexec-auth-secret-file", str(secret)]
    node += ["--ssl-ca-certfile", str(loopback / "ca.crt")]
    node += ["--ssl-certfile", str(loopback / "server.crt")]
    node += ["--ssl-keyfile", str(loopback / "server.key")]
    executor = [sys.executable, "-m", "ghanet_model.attached", program("flower-superexec")]
    executor += ["--runtime-api-address", f"127.0.0.1:{port}"]
    executor += ["--root-certificates", str(loopback / "ca.crt")]
    executor += ["--superexec-auth-secret-file", str(secret)]
    supernode = start_child(
        "SuperNode", node, environment=environment, log=logs / "supernode.log", on_line=on_line
    )
    environment |= {FOLDER_VARIABLE: str(config.folder)}
    superexec = start_child(
        "SuperExec", executor, environment=environment, log=logs / "superexec.log"
    )
    return [supernode, superexec]


def _tail(folder: Path, say: Say, stopping: threading.Event) -> None:
    """Say what the app writes to site.log from now on."""
    path = folder / "logs" / LOG_FILE
    place = path.stat().st_size if path.exists() else 0
    while not stopping.wait(0.5):
        if not path.exists():
            continue
        if path.stat().st_size < place:
            place = 0  # rotated
        with path.open(errors="replace") as file:
            file.seek(place)
            for line in file.read().splitlines():
                if not line.startswith((" ", "Traceback")):
                    say(line)
            place = file.tell()
