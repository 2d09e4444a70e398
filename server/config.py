"""The coordinator's folder: server.yaml and where everything lies."""

import re
from dataclasses import dataclass
from pathlib import Path

from ghanet_model.errors import SettingsError
from ghanet_model.settings import read_settings

SERVER_FILE = "server.yaml"
PORT_FILE = "superlink.port"  # in state/: where SuperLink listens behind the door
AUTO, NGINX, NO_DOOR = DOORS = ("auto", "nginx", "none")
FOLDER_VARIABLE = "GHANET_SERVER_FOLDER"
_HOST = re.compile(r"[A-Za-z0-9._:-]{1,253}")


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """server.yaml: where hospitals reach the coordinator."""

    folder: Path
    host: str  # name or address that hospitals use, in the certificate
    port: int = 8000
    listen: str = "127.0.0.1"  # interface to listen on
    door: str = AUTO  # what stands before SuperLink: nginx, none, or nginx where it is installed
    inner_port: int = 0  # of SuperLink behind the door, on the loopback; 0: no door

    def __post_init__(self) -> None:
        """Refuse what cannot be listened on."""
        if not _HOST.fullmatch(self.host) or not _HOST.fullmatch(self.listen):
            raise SettingsError(
                f"{SERVER_FILE}: 'host' and 'listen' are names or addresses",
                hint="for example coordinator.example.org, without port",
            )
        if not 0 < self.port < 65536:
            raise SettingsError(f"{SERVER_FILE}: 'port' is {self.port}", hint="use 1 to 65535")
        if self.door not in DOORS:
            raise SettingsError(
                f"{SERVER_FILE}: 'door' is {self.door!r}", hint=f"use {', '.join(DOORS)}"
            )

    @property
    def address(self) -> str:
        """What hospitals put into site.yaml."""
        return f"{_bracketed(self.host)}:{self.port}"

    @property
    def local_host(self) -> str:
        """Where the coordinator's own programs reach the SuperLink."""
        return "127.0.0.1" if self.inner_port else self.own_host

    @property
    def own_host(self) -> str:
        """Where this machine reaches the port that hospitals reach."""
        return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.listen, self.listen)  # noqa: S104

    @property
    def local_address(self) -> str:
        """The same with the port."""
        return f"{_bracketed(self.local_host)}:{self.local_port}"

    @property
    def local_port(self) -> int:
        """The port there."""
        return self.inner_port or self.port

    @property
    def keys(self) -> Path:
        """Keys and certificates."""
        return self.folder / "keys"

    @property
    def state(self) -> Path:
        """What the coordinator remembers between commands."""
        return self.folder / "state"

    @property
    def flower_home(self) -> Path:
        """Flower's own files."""
        return self.state / "flower"

    @property
    def logs(self) -> Path:
        """Logs of the processes."""
        return self.folder / "logs"

    @property
    def releases(self) -> Path:
        """Signed releases."""
        return self.folder / "releases"

    @property
    def report(self) -> Path:
        """Plots and tables for people."""
        return self.folder / "report"


def _bracketed(host: str) -> str:
    """An IPv6 address as addresses with a port write it."""
    return f"[{host}]" if ":" in host else host


def read_server(folder: Path) -> ServerConfig:
    """Read server.yaml of a coordinator's folder, and where its SuperLink was started last."""
    place, inner = folder.resolve(), _read_port(folder / "state" / PORT_FILE)
    return read_settings(folder / SERVER_FILE, ServerConfig, folder=place, inner_port=inner)


def _read_port(path: Path) -> int:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return 0
