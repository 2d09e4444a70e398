"""``ghanet-client start``: SuperNode, SuperExec and trainer as one; retries, says what is wrong."""

import datetime as dt
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ghanet_model.errors import DeploymentError, KeysError
from ghanet_model.files import write_atomic
from ghanet_model.heartbeat import Heart
from ghanet_model.invitation import CA_FILE
from ghanet_model.processes import Account, stop_children, stop_on_signals

from .app_user import find_account
from .approval import require_all_approved
from .certificate import certificate_note
from .config import LOG_FILE, SiteConfig
from .door import Refusal, refusal_of, require_server
from .keeper import trainer_beside
from .launch import start_flower
from .seal import require_flower

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
        ApprovalError: the study, the app bundle or the installed software is not approved.
    """
    require_flower()
    _require_keys(config)
    require_all_approved(config.folder)
    account = find_account(config)
    _require_way(config, say)
    _say_who_runs_the_app(account, say)
    stopping, heart = stop_on_signals(), Heart(config.folder / "state")
    heart.beat(working=False)  # goes on counting since when, where an earlier start was refused
    tail = threading.Thread(target=_tail, args=(config.folder, say, stopping), daemon=True)
    tail.start()
    with trainer_beside(config.folder, say, group=account.group if account else None):
        _stay_connected(config, say, stopping, account)
    heart.stop()
    say("stopped")
    return 0


def _require_way(config: SiteConfig, say: Say) -> None:
    """Reach the coordinator and its door, or end here and say why not."""
    say(certificate_note(config.folder, dt.datetime.now(dt.UTC)))
    if issuer := require_server(config):
        say(
            f"warning: the connection is opened on its way by '{issuer}' (extra_authority), who "
            "can read all of it; no certificate of this hospital gets through there"
        )
    refusal = refusal_of(config)
    if refusal and not refusal.passes:
        raise DeploymentError(refusal.what, hint=refusal.hint)


def _say_who_runs_the_app(account: Account | None, say: Say) -> None:
    if account:
        say(f"Flower's app runs as user '{account.name}', who can read neither keys nor tables")
    else:
        say("Flower's app runs as the user who owns the node key; 'app_user' separates them")


def _stay_connected(
    config: SiteConfig, say: Say, stopping: threading.Event, account: Account | None
) -> None:
    """One connection after the other, until asked to stop."""
    delay, refusals, door = FIRST_DELAY, 0, 0
    lost = threading.Event()  # the server stopped answering, in this connection or the one before
    while not stopping.is_set():
        ended = _one_connection(config, say, stopping, account, lost)
        if stopping.is_set():
            break
        refusal = refusal_of(config)
        door = door + 1 if refusal and not refusal.passes else 0
        if refusal:
            delay = _delay_after_door(refusal, say, times=door, delay=delay)
        elif ended.connected:
            delay, refusals = FIRST_DELAY, 0
        elif ended.refused:
            refusals += 1
            delay = _delay_after_refusal(config, say, refusals)
        say(f"connection ended ({ended.why}); trying again in {delay:.0f} s")
        Heart(config.folder / "state").beat(working=False, pause=delay)
        stopping.wait(delay)
        delay = min(LONGEST_DELAY, delay * 2 * random.uniform(0.8, 1.2))  # noqa: S311 - a delay


def _delay_after_door(refusal: Refusal, say: Say, *, times: int, delay: float) -> float:
    """How long to wait before the door is tried again; what may pass is waited for longer.

    Raises:
        DeploymentError: it was tried again, and nothing has changed.
    """
    if times > 1:
        raise DeploymentError(refusal.what, hint=refusal.hint)
    say(f"refused at the door: {refusal.what}; {refusal.hint}")
    return RETRY_SECONDS if times else max(delay, RETRY_SECONDS)


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
    hint = "send keys/site_key.pub to the coordinator and ask to be enrolled"
    if known:
        hint = "ask the coordinator why; for a new key run 'ghanet-client renew-key'"
    raise DeploymentError(
        f"the coordinator at {config.server} {word} this hospital's key", hint=hint
    )


@dataclass(frozen=True, slots=True)
class Ended:
    """How a connection ended."""

    connected: bool  # it had begun
    refused: bool  # the key was not accepted
    why: str


def _one_connection(
    config: SiteConfig,
    say: Say,
    stopping: threading.Event,
    account: Account | None,
    lost: threading.Event,
) -> Ended:
    """Run SuperNode and SuperExec until one of them ends."""
    seen = threading.Event()

    def on_line(line: str) -> None:
        connected = CONNECTED in line and not seen.is_set()
        if LOST in line and seen.is_set() and not lost.is_set():
            lost.set()
            say(f"{config.server} does not answer; trying again until it does")
        elif lost.is_set() and (connected or FOUND in line):
            lost.clear()
            say(f"{config.server} answers again")
        if connected:
            seen.set()
            write_atomic(_mark(config), b"")
            say(f"connected to {config.server} as {config.name}")

    children, heart = start_flower(config, on_line, account), Heart(config.folder / "state")
    try:
        while not stopping.wait(0.3) and all(child.running for child in children):
            heart.beat(working=seen.is_set() and not lost.is_set())
        gone = [child.name for child in children if not child.running]
    finally:
        stop_children(children)
    refused = children[0].last(REFUSED_KEY) is not None
    why = "key not accepted" if refused else f"{gone[0]} ended" if gone else "stopped"
    hint = f", see logs/{gone[0].lower()}.log" if gone and not refused else ""
    return Ended(seen.is_set(), refused, why + hint)


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
