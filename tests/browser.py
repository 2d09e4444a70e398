"""A real headless Chromium for tests, driven over its DevTools protocol.

apt-get install chromium            # or name one: GHANET_CHROMIUM=/path/to/chrome
npm pack axe-core && tar xzf axe-core-*.tgz package/axe.min.js
export GHANET_AXE=$PWD/package/axe.min.js     # the check of accessibility
"""

import base64
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
OPTIONS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-dev-shm-usage", "--hide-scrollbars", "--remote-debugging-port=0",
)  # fmt: skip
PATIENCE = 30.0  # seconds


def chromium() -> str | None:
    """Where a Chromium is; None: nowhere."""
    named = os.environ.get("GHANET_CHROMIUM")
    return named or next((path for name in NAMES if (path := shutil.which(name))), None)


def axe() -> Path | None:
    """Where axe-core is; None: nowhere."""
    named = os.environ.get("GHANET_AXE")
    return Path(named) if named and Path(named).is_file() else None


class Page:
    """The one page of a browser; every request and complaint of it is kept."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._last = 0
        self._session = ""
        self.requests: list[str] = []  # addresses, data: left out
        self.complaints: list[str] = []  # errors and warnings of the console
        target = self._send("Target.createTarget", url="about:blank")["targetId"]
        found = self._send("Target.attachToTarget", targetId=target, flatten=True)
        self._session = found["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self._send(f"{domain}.enable")

    def _send(self, method: str, **values: Any) -> dict[str, Any]:
        self._last += 1
        message = {"id": self._last, "method": method, "params": values}
        self._connection.send(
            json.dumps(message | {"sessionId": self._session} if self._session else message)
        )
        while True:
            heard = self._hear(PATIENCE)
            assert heard is not None, f"{method}: no answer"
            if heard.get("id") == self._last:
                assert "error" not in heard, (method, heard)
                return heard["result"]

    def _hear(self, seconds: float) -> dict[str, Any] | None:
        try:
            heard = json.loads(self._connection.recv(timeout=seconds))
        except TimeoutError:
            return None
        said = heard.get("params", {})
        match heard.get("method"):
            case "Network.requestWillBeSent":
                url = said["request"]["url"]
                self.requests += [] if url.startswith("data:") else [url]
            case "Runtime.exceptionThrown":
                self.complaints.append(json.dumps(said["exceptionDetails"]))
            case "Runtime.consoleAPICalled" if said["type"] in ("error", "warning", "assert"):
                self.complaints.append(json.dumps(said["args"]))
            case "Log.entryAdded" if said["entry"]["level"] in ("error", "warning"):
                self.complaints.append(f"{said['entry']['text']} {said['entry'].get('url', '')}")
        return heard

    def open(self, url: str) -> None:
        """Go to an address; wait until it is loaded."""
        self._send("Page.navigate", url=url)
        self.wait("document.readyState === 'complete' && location.href !== 'about:blank'")

    def ask(self, script: str) -> Any:
        """The value of an expression of JavaScript, a promise's too."""
        found = self._send(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def wait(self, script: str) -> None:
        """Until an expression holds."""
        end = time.monotonic() + PATIENCE
        while True:
            if self.ask(f"!!({script})"):
                return
            assert time.monotonic() < end, f"{script}: did not come; {self.complaints}"
            time.sleep(0.05)

    def click(self, x: float, y: float) -> None:
        """A click at a place of the window."""
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            button = "none" if kind == "mouseMoved" else "left"
            self._send("Input.dispatchMouseEvent", type=kind, x=x, y=y, button=button, clickCount=1)

    def click_on(self, selector: str) -> None:
        """A click into the middle of an element."""
        self.click(*self.middle(selector))

    def middle(self, selector: str) -> tuple[float, float]:
        """Where an element is in the window, scrolled to if it must be."""
        place = self.ask(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)});"
            "e.scrollIntoView({block: 'nearest', behavior: 'instant'});"
            "const r = e.getBoundingClientRect();"
            "return [r.x + r.width / 2, r.y + r.height / 2] })()"
        )
        return place[0], place[1]

    def press(self, key: str, code: int, text: str = "") -> None:
        """A key."""
        for kind in ("keyDown", "keyUp"):
            said = {"type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code}
            self._send("Input.dispatchKeyEvent", **said, text=text if kind == "keyDown" else "")

    def look(self, width: int, height: int, *, scheme: str = "light", media: str = "") -> None:
        """Size of the window, colours that its user prefers, screen or print."""
        self._send(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=False,
        )  # fmt: skip
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self._send("Emulation.setEmulatedMedia", media=media, features=features)

    def shoot(self, path: Path) -> None:
        """A picture of what the window shows."""
        found = self._send("Page.captureScreenshot", format="png")
        path.write_bytes(base64.b64decode(found["data"]))

    def accessibility(self, source: Path) -> list[str]:
        """What axe-core finds wrong, reports in frames left out."""
        self.ask(source.read_text() + "; true")
        found = self.ask(
            "axe.run(document, {iframes: false, resultTypes: ['violations']})"
            ".then(r => r.violations.map(v => v.id + ': ' + v.help + ': '"
            " + v.nodes.map(n => n.html).join(' | ')))"
        )
        return list(found)


@contextmanager
def browser(profile: Path) -> Iterator[Page]:
    """A browser with an empty profile."""
    program = chromium()
    assert program is not None
    command = [program, *OPTIONS, f"--user-data-dir={profile}", "about:blank"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            with connect(_address(profile), max_size=None, open_timeout=PATIENCE) as connection:
                yield Page(connection)
        finally:
            process.terminate()


def _address(profile: Path) -> str:
    """Where it listens, as it writes into its profile."""
    end = time.monotonic() + PATIENCE
    file = profile / "DevToolsActivePort"
    while not (file.exists() and len(lines := file.read_text().splitlines()) > 1):
        assert time.monotonic() < end, "the browser did not start"
        time.sleep(0.05)
    return f"ws://127.0.0.1:{lines[0]}{lines[1]}"
