"""``ghanet-server health``: whether ``start`` goes on, answers, and its certificates hold.

For container engines and monitors: reads a few small files, asks itself once over TLS.
"""

import datetime as dt
import socket
import ssl

from ghanet_model.door import list_times
from ghanet_model.errors import DeploymentError, KeysError
from ghanet_model.heartbeat import certificate_lines, require_heartbeat, spelt_time
from ghanet_model.invitation import CA_FILE

from .config import ServerConfig
from .door_words import list_note

ANSWER_SECONDS = 10.0


def health_lines(config: ServerConfig, now: dt.datetime) -> list[str]:
    """What is well, and certificates that end soon.

    Raises:
        DeploymentError: nothing runs, or it does not answer as hospitals expect.
        KeysError: a certificate has ended, or the door's list of refused ones has.
    """
    found = require_heartbeat(config.state, now)
    lines = certificate_lines(config.keys, now) + _list_lines(config, now)
    _require_answers(config)
    span = spelt_time(now - found.since)
    return [f"serving at {config.listen}:{config.port} for {span}", *lines]


def _list_lines(config: ServerConfig, now: dt.datetime) -> list[str]:
    """A warning where the door's list ends soon."""
    if not config.inner_port:  # 'start' opened no door
        return []
    _, ends = list_times(config.keys)
    if ends <= now:
        raise KeysError(
            "the list of refused certificates has ended: the door refuses every hospital",
            hint="'ghanet-server start' writes it anew: stop and start again, see what it says",
        )
    note = list_note(config, now)
    return [str(note)] if note and note.to_do else []


def _require_answers(config: ServerConfig) -> None:
    """Ask at the port that hospitals reach, under the name that they use; and behind the door."""
    _require_answer(config, config.own_host, config.port, config.host)
    if config.inner_port:
        _require_answer(config, config.local_host, config.inner_port, config.local_host)


def _require_answer(config: ServerConfig, place: str, port: int, name: str) -> None:
    """Any answer will do: of a door to a stranger, of SuperLink that there is no such page."""
    try:
        context = ssl.create_default_context(cafile=str(config.keys / CA_FILE))
        with (
            socket.create_connection((place, port), timeout=ANSWER_SECONDS) as plain,
            context.wrap_socket(plain, server_hostname=name) as connection,
        ):
            connection.sendall(f"HEAD / HTTP/1.1\r\nHost: {name}\r\n\r\n".encode())
            if not connection.recv(12).startswith(b"HTTP/"):
                raise ConnectionError("no HTTP")
    except OSError as error:
        why = getattr(error, "verify_message", None) or error.strerror or str(error)
        raise DeploymentError(
            f"port {port} does not answer as hospitals expect ({why.lower()})",
            hint="look at logs/, then stop and start again",
        ) from None
