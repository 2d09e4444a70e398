"""A hospital with answered, waiting and refused slides, for tests of the viewer; and its server."""

import http.client
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from slide_files import MARKER, destroy_tiles, tissue_image, write_aperio, write_scn, write_tiff
from slide_site import write_release, write_slide_site

import client.cli
from client.config import read_site
from client.viewer import Served, serving

OFFSET = (512, 256)  # of what was scanned in shifted.scn
MARKED = (600, 400)  # corner of a square of MARKER in its scanned area, 40 pixels wide


def write_viewer_site(root: Path) -> Path:
    """Slides labelled (with a label image), shifted, waiting and destroyed; two have answers."""
    home = write_slide_site(root / "hospital")
    write_release(home)
    archive = home / "archive"
    image = tissue_image(np.random.default_rng(2), 1024)
    write_aperio(archive / "labelled.svs", image, mpp=0.5)
    marked = image.copy()
    marked[MARKED[1] : MARKED[1] + 40, MARKED[0] : MARKED[0] + 40] = MARKER
    write_scn(archive / "shifted.scn", marked, mpp=0.5, offset=OFFSET, collection=(2048, 2048))
    write_tiff(archive / "destroyed.tiff", image, mpp=0.5)
    destroy_tiles(archive / "destroyed.tiff")
    client.cli.main(["predict", str(archive), "--folder", str(home)])
    write_tiff(archive / "waiting.tiff", image, mpp=0.5)
    return home


@dataclass(frozen=True, slots=True)
class Answer:
    """What came over HTTP."""

    status: int
    headers: dict[str, str]  # names in small letters
    body: bytes


@dataclass(frozen=True, slots=True)
class Site:
    """A running viewer."""

    home: Path
    served: Served

    @property
    def port(self) -> int:
        """Where it listens."""
        return self.served.socket.getsockname()[1]

    @property
    def token(self) -> str:
        """Who may come in."""
        return self.served.link.partition("token=")[2]

    def get(self, path: str, *, method: str = "GET", **headers: str) -> Answer:
        """Ask, with the right cookie unless ``cookie`` says another; the path goes as it is."""
        line = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        sent = {"cookie": f"ghanet_view_{self.port}={self.token}", **headers}
        line.request(method, path, headers=sent)
        answer = line.getresponse()
        body = answer.read()
        line.close()
        found = {key.lower(): value for key, value in answer.getheaders()}
        return Answer(answer.status, found, body)

    def key(self, name: str) -> str:
        """The address of a slide, read from the list."""
        page = self.get("/").body.decode()
        before = page.partition(f'">{name}</a>')[0]
        return before.rpartition('href="/slides/')[2]


@contextmanager
def running(home: Path) -> Iterator[Site]:
    """The viewer of a hospital, served over real HTTP from this process."""
    with serving(read_site(home), host="127.0.0.1", port=0) as served:
        thread = threading.Thread(target=served.run, daemon=True)
        thread.start()
        try:
            yield Site(home, served)
        finally:
            served.server.should_exit = True
            thread.join(20)
