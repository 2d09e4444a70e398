"""The hospital's own proxy on the way to the coordinator, as HTTPS_PROXY and NO_PROXY name it."""

import re
import urllib.parse
import urllib.request
from base64 import b64encode
from dataclasses import dataclass, field

from ghanet_model.errors import DeploymentError

_HOST = re.compile(r"[\w-]{1,63}(?:\.[\w-]{1,63})*\.?|[0-9a-f]*:[0-9a-f:.]+", re.ASCII)


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy that the environment names."""

    variable: str  # that names it
    host: str
    port: int
    url: str = field(repr=False)  # as it is named; a password may be in it
    headers: dict[str, str] = field(repr=False)  # so may it here

    @property
    def address(self) -> str:
        """Without user and password."""
        return f"http://{self.host}:{self.port}"


def place(server: str) -> tuple[str, int]:
    """Host and port."""
    host, _, port = server.rpartition(":")
    return host.strip("[]"), int(port)


def find_proxy(server: str) -> Proxy | None:
    """The proxy on the way to a server, as Flower takes it; None where there is none.

    Raises:
        DeploymentError: what is named is none that can be used.
    """
    host, port = place(server)
    known = urllib.request.getproxies()
    kind = next((kind for kind in ("https", "all") if known.get(kind)), None)
    if kind is None or urllib.request.proxy_bypass(f"{host}:{port}"):
        return None
    url = known[kind] if "://" in known[kind] else f"http://{known[kind]}"
    variable = f"{kind.upper()}_PROXY"
    try:
        parts = urllib.parse.urlsplit(url)
        host = parts.hostname or ""
        if parts.scheme != "http" or not _HOST.fullmatch(host) or parts.port == 0:
            raise ValueError  # noqa: TRY301 - one answer to all that is wrong with it
        return Proxy(variable, host, parts.port or 80, url, _authorization(parts))
    except ValueError:
        raise DeploymentError(
            f"{variable} is not the address of a proxy",
            hint=f"write {variable}=http://proxy.example.org:3128",
        ) from None


def _authorization(parts: urllib.parse.SplitResult) -> dict[str, str]:
    if parts.username is None:
        return {}
    user = urllib.parse.unquote(f"{parts.username}:{parts.password or ''}")
    return {"Proxy-Authorization": f"Basic {b64encode(user.encode()).decode()}"}
