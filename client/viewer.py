"""``ghanet-client view``: slides, where the model looked, and the reports, in a local browser.

Calls nobody, keeps no log, and no answer of it names a path.
"""

import contextlib
import secrets
import socket
import webbrowser
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import uvicorn
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse, Response

from ghanet_model.errors import DeploymentError, GHANetError, SettingsError
from ghanet_model.files import write_atomic

from .config import SiteConfig
from .viewer_guard import Door, Guard, is_loopback, listens_to_all
from .viewer_images import Shelf
from .viewer_pages import Viewer, page
from .viewer_slides import read_catalogue

OPEN_FILE = ".view.html"  # passes the link to a browser, where a command line would show it
GONE = "There is nothing at this address. Those of slides change each time the viewer is started."
_OPEN = '<!doctype html><meta charset="utf-8"><meta http-equiv="refresh" content="0; url={link}">\n'
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Served:
    """A viewer that is ready to answer."""

    server: uvicorn.Server
    socket: socket.socket
    link: str = field(repr=False)  # with the token

    def run(self) -> None:
        """Answer until stopped."""
        with contextlib.suppress(KeyboardInterrupt):
            self.server.run(sockets=[self.socket])


def view(config: SiteConfig, *, host: str, port: int, opens: bool, say: Say) -> None:
    """Show a site's slides until stopped.

    Raises:
        GHANetError: the slides cannot be listed, or the address cannot be listened to.
    """
    with serving(config, host=host, port=port) as served:
        say(f"the slide viewer is ready; this link lets in whoever has it: {served.link}")
        if not is_loopback(host):
            say("other machines reach it, and the connection is not encrypted: prefer a tunnel")
        say("stop with Ctrl-C")
        with _opened(config.folder / OPEN_FILE, served.link if opens else ""):
            served.run()


@contextlib.contextmanager
def serving(config: SiteConfig, *, host: str, port: int) -> Iterator[Served]:
    """A viewer at an address; port 0 is any that is free.

    Raises:
        GHANetError: the slides cannot be listed, or the address cannot be listened to.
    """
    catalogue, notes = read_catalogue(config, key=secrets.token_bytes(32))
    shelf = Shelf()
    with _listening(host, port) as listener:
        bound = int(listener.getsockname()[1])
        names = (socket.gethostname(), socket.getfqdn()) if listens_to_all(host) else ()
        door = Door.of(host, bound, names=names)
        app = Guard(make_app(Viewer(catalogue, notes, shelf)), door)
        server = uvicorn.Server(
            uvicorn.Config(
                app,
                access_log=False,  # it would name addresses, and keep them
                log_config=None,
                log_level="critical",
                lifespan="off",
                ws="none",
                server_header=False,
                proxy_headers=False,
                timeout_graceful_shutdown=1,
            )
        )
        shown = names[0] if names else host
        shown = f"[{shown}]" if ":" in shown else shown
        try:
            yield Served(server, listener, f"http://{shown}:{bound}/?token={door.token}")
        finally:
            shelf.close()


@contextlib.contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    """A socket at an address.

    Raises:
        SettingsError: no such address on this machine.
        DeploymentError: something else has the port.
    """
    try:
        kind, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(kind, socket.SOCK_STREAM)
    except OSError:
        raise SettingsError(f"--host {host}: no such address", hint="leave it out") from None
    with listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(address)
            listener.listen()  # from here on nobody who calls is turned away
        except OSError as error:
            why = (error.strerror or str(error)).lower()
            raise DeploymentError(
                f"cannot listen at {host}, port {port} ({why})", hint="choose another with --port"
            ) from None
        yield listener


@contextlib.contextmanager
def _opened(path: Path, link: str) -> Iterator[None]:
    """Open a browser; the link goes through a file that the user alone may read."""
    if not link:
        yield
        return
    write_atomic(path, _OPEN.format(link=link).encode(), private=True)
    try:
        webbrowser.open(path.resolve().as_uri())
        yield
    finally:
        path.unlink(missing_ok=True)


def make_app(viewer: Viewer) -> FastAPI:
    """All addresses; what stands before them is the guard's."""
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False)
    routes: dict[str, Callable[..., Response]] = {
        "/": viewer.slides,
        "/slides/{key}": viewer.slide,
        "/slides/{key}/tiles/{level}/{place}": viewer.tile,
        "/slides/{key}/map.png": viewer.map,
        "/slides/{key}/patch": viewer.patch,
        "/slides/{key}/patches/{rank}": viewer.ranked,
        "/slides/{key}/report": viewer.report,
        "/legend.png": viewer.legend,
        "/static/{name}": viewer.static,
    }
    for path, answer in routes.items():
        app.add_api_route(path, answer, methods=["GET", "HEAD"], response_model=None)
    app.add_exception_handler(HTTPException, _missing)
    app.add_exception_handler(RequestValidationError, _missing)
    app.add_exception_handler(GHANetError, _refused)
    return app


def _missing(_: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 404
    return page("missing.html", status=status, title="Not found", said=GONE)


def _refused(_: Request, error: Exception) -> Response:
    return PlainTextResponse(f"{error}\n", status_code=422)
