"""``ghanet-client view``: who is let in, what is shown, and what has no way out, over real HTTP."""

import json
import re
import shutil
import signal
import socket
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import cv2
import numpy as np
import openslide
import pytest
from slide_files import MARKER, tissue_image
from viewer_site import MARKED, OFFSET, running, write_viewer_site

import client.cli
from client.ledger import site_ledger
from client.patch_weights import SUFFIX, read_patch_weights
from client.viewer_guard import POLICY, REPORT_POLICY, Door
from client.viewer_slides import RECALLED
from ghanet_model.ledger import RECALLED as RECALLED_LINE

NAMES = ("labelled", "shifted", "destroyed", "waiting")


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    """A hospital's folder."""
    return write_viewer_site(tmp_path_factory.mktemp("viewer"))


@pytest.fixture(scope="module")
def site(home):
    """Its viewer."""
    with running(home) as found:
        yield found


def picture(content: bytes) -> np.ndarray:
    """RGB pixels (H, W, 3)."""
    return cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]


def kept_of(home: Path, name: str):
    """Patch weights of an answer."""
    values = json.loads((home / "predictions" / f"{name}.json").read_text())
    path = home / "predictions" / f"{name}{SUFFIX}"
    return read_patch_weights(path, made_of=values["made_of"])


# ---- who is let in


@pytest.mark.parametrize("cookie", ["", "other=1", "ghanet_view_{port}=wrong", "\x80=;;,"])
@pytest.mark.parametrize("path", ["/", "/slides/x", "/static/viewer.js", "/legend.png", "/nowhere"])
def test_nobody_without_the_token(site, path, cookie):
    """Not one address answers, and the refusal names no slide."""
    answer = site.get(path, cookie=cookie.format(port=site.port))
    assert answer.status == 403
    assert b"ghanet-client view" in answer.body
    assert not any(name.encode() in answer.body for name in NAMES)


def test_the_link_lets_in(site):
    """Its token becomes a cookie that no script and no other site can use."""
    answer = site.get(f"/?token={site.token}", cookie="")
    assert answer.status == 200
    assert answer.headers["set-cookie"] == (
        f"ghanet_view_{site.port}={site.token}; HttpOnly; Path=/; SameSite=strict"
    )
    assert 'content="0; url=/"' in answer.body.decode()


def test_cookies_of_other_servers_do_no_harm(site):
    """Another program of this machine may have set any, before ours or after it."""
    own = f"ghanet_view_{site.port}={site.token}"
    for cookie in (f'prefs={{"a":1}}; {own}', f"{own}; empty", f"a=b=c; {own}; @=1"):
        assert site.get("/", cookie=cookie).status == 200


def test_a_wrong_token_does_not(site):
    """Nor an empty one, nor one that is no text, whatever the cookie."""
    for token in ("", "x", site.token[:-1], "%ff", "%F0%9F%98%80"):
        answer = site.get(f"/?token=&token={token}" if token else "/?token=x")
        assert (answer.status, "set-cookie" in answer.headers) == (403, False)


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "", "[::1", "10.0.0.1"])
def test_other_names_of_this_server(site, host):
    """A name that was made to point here by somebody else is not answered."""
    assert site.get("/", host=host).status == 421


@pytest.mark.parametrize("host", ["localhost:9", "127.0.0.1", "[::1]:8765", "LOCALHOST"])
def test_its_own_names(site, host):
    """Also through a tunnel, whose port is another."""
    assert site.get("/", host=host).status == 200


def test_all_addresses_have_numbers_only():
    """Where all are listened to, a number or the machine's own name is asked for, no other name."""
    door = Door.of("0.0.0.0", 1, names=("ward7",))
    assert [door.is_called(host) for host in ("10.1.2.3:1", "WARD7:1", "evil.example")] == [
        True,
        True,
        False,
    ]


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_nothing_can_be_sent(site, method):
    """There is only something to see."""
    assert site.get("/", method=method).status == 405


def test_headers_of_every_answer(site):
    """Policy, no storing, no referrer: pages, pictures, scripts, refusals and what is missing."""
    key = site.key("labelled")
    paths = ("/", f"/slides/{key}", f"/slides/{key}/map.png", "/static/viewer.js", "/nowhere")
    for answer in (*map(site.get, paths), site.get("/", cookie=""), site.get("/", host="x")):
        assert answer.headers["content-security-policy"] == POLICY
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "server" not in answer.headers


def test_pages_keep_to_their_policy(site):
    """No inline script or style, nothing from elsewhere; the report alone has another policy."""
    key = site.key("labelled")
    for path in ("/", f"/slides/{key}", "/nowhere"):
        page = site.get(path).body.decode()
        assert not re.search(r"<style|<script(?![^>]* src=\"/static/)|\son\w+=|\sstyle=", page)
        assert not re.search(r"(?:src|href)=\"(?!/|data:,|#)", page)
        assert "RESEARCH USE ONLY" in page
    report = site.get(f"/slides/{key}/report")
    assert report.headers["content-security-policy"] == REPORT_POLICY
    assert report.body == (site.home / "predictions" / "labelled.html").read_bytes()


# ---- what is shown


def test_the_list_says_what_became_of_each(site):
    """Answered with its group, refused with its reason, waiting."""
    page = " ".join(re.sub(r"<[^>]+>", " ", site.get("/").body.decode()).split())
    group = json.loads((site.home / "predictions" / "labelled.json").read_text())["risk_group"]
    assert "4 slides: 2 answered, 1 not answered yet, 1 refused" in page
    assert f"labelled answered {group}" in page
    assert "destroyed refused the file is damaged: not every part of it can be read" in page
    assert "waiting not answered yet" in page


def test_addresses_hold_no_name(site):
    """Nor anything that could be guessed from one: another start has others."""
    keys = {site.key(name) for name in NAMES}
    assert all(re.fullmatch(r"[0-9a-f]{24}", key) for key in keys)
    assert len(keys) == 4
    with running(site.home) as other:
        assert other.key("labelled") not in keys


def test_states_follow_the_files(home, tmp_path):
    """An answer newer than its refusal, one that is none, one of a recalled release."""
    copy = tmp_path / "copy"
    shutil.copytree(home, copy)
    predictions = copy / "predictions"
    values = json.loads((predictions / "labelled.json").read_text())
    with running(copy) as site:
        (predictions / "destroyed.json").write_text(json.dumps(values))
        assert "3 answered" in site.get("/").body.decode()
        (predictions / "shifted.json").write_text('{"risk": 1}')
        (predictions / "stranger.json").write_text("[]")
        page = site.get("/").body.decode()
        assert "2 answered" in page
        assert "stranger" not in page
        (copy / "inbox" / "recalls").mkdir(parents=True)
        (copy / "inbox" / "recalls" / f"{values['release']['sha256']}.recall").touch()
        page = site.get("/").body.decode()
        assert RECALLED in page
        assert "0 answered" in page
        assert site.get(f"/slides/{site.key('labelled')}/report").status == 404
        shutil.rmtree(copy / "inbox" / "recalls")
        assert "2 answered" in site.get("/").body.decode()
        release = values["release"]
        facts = {"release": release["name"], "sha256": release["sha256"]}
        site_ledger(copy).append(RECALLED_LINE, **facts)  # the notice is gone, the line stays
        assert "0 answered" in site.get("/").body.decode()
        (predictions / "labelled.json").write_text(
            '{"risk_group": "low", "made_of": "", "gate": [1]}'
        )
        (predictions / "shifted.json").write_text("[" * 100_000)
        assert "4 slides" in site.get("/").body.decode()


def test_a_slide_unlike_the_training_slides(home, tmp_path):
    """Its group is not shown, and in what it is unlike is said."""
    shutil.copytree(home, tmp_path / "copy")
    path = tmp_path / "copy" / "predictions" / "labelled.json"
    far = {"verdict": "unlike", "distances": [{"what": "colour", "far": True}]}
    values = json.loads(path.read_text()) | {"risk_group": "", "risk": None, "gate": far}
    path.write_text(json.dumps(values))
    with running(tmp_path / "copy") as site:
        page = site.get(f"/slides/{site.key('labelled')}").body.decode()
        assert "group of risk <b>not shown</b>" in page
        assert "unlike those that the model was trained on (colour)" in page


def test_tiles_are_the_slide(site):
    """The finest level, its last tile too, against the picture that the slide was written from."""
    key = site.key("waiting")
    image = tissue_image(np.random.default_rng(2), 1024)
    tile = picture(site.get(f"/slides/{key}/tiles/10/1_1.jpeg").body).astype(int)
    assert tile.shape == (256, 256, 3)
    assert np.abs(tile - image[253:509, 253:509]).mean() < 6
    last = picture(site.get(f"/slides/{key}/tiles/10/4_4.jpeg").body)
    assert last.shape == (9, 9, 3)  # 1024 - 4 x 254, and one of overlap


def test_a_slide_starts_where_it_was_scanned(site):
    """Pixels, patches and heat map of a slide in a larger plane have the scanned corner as 0."""
    key = site.key("shifted")
    column, row = (place // 254 for place in MARKED)
    tile = picture(site.get(f"/slides/{key}/tiles/10/{column}_{row}.jpeg").body)
    x, y = (place - 254 * (place // 254) + 1 for place in MARKED)  # one of overlap
    middle = tile[y + 10 : y + 30, x + 10 : x + 30].reshape(-1, 3).mean(axis=0)
    assert np.abs(middle - MARKER).max() < 8
    kept = kept_of(site.home, "shifted")
    corner = kept.coords[kept.weights.argmax()] - OFFSET
    first = json.loads(site.get(f"/slides/{key}/patches/1").body)
    assert [first["x"], first["y"]] == corner.tolist()


def test_a_patch_by_place_and_by_rank(site):
    """The same one, with the weight that was kept; outside of all patches there is none."""
    key, kept = site.key("labelled"), kept_of(site.home, "labelled")
    assert kept.weights.sum() == pytest.approx(1)
    for rank in (1, 2, len(kept.weights)):
        found = json.loads(site.get(f"/slides/{key}/patches/{rank}").body)
        assert found["weight"] == sorted(kept.weights, reverse=True)[rank - 1]
        x, y = (found[axis] + found["side"] / 2 for axis in "xy")
        assert json.loads(site.get(f"/slides/{key}/patch?x={x}&y={y}").body) == found
    for question in ("patch?x=1&y=1", "patch?x=nan&y=1", "patches/0", f"patches/{10**9}"):
        assert json.loads(site.get(f"/slides/{key}/{question}").body) is None


def test_the_heat_map_lies_over_its_patches(site):
    """Clear where there is none; yellow at the highest rank, blue at the lowest."""
    content = site.get(f"/slides/{site.key('labelled')}/map.png").body
    shown = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    kept = kept_of(site.home, "labelled")
    scale = shown.shape[1] / 1024
    high, low = (
        shown[round((y + kept.side / 2) * scale), round((x + kept.side / 2) * scale)].astype(int)
        for x, y in (kept.coords[kept.weights.argmax()], kept.coords[kept.weights.argmin()])
    )
    assert shown[2, 2, 3] == 0
    assert high[3] == low[3] == 255
    assert high[2] > high[0] + 100  # BGR
    assert low[0] > low[2] + 50


def test_a_damaged_slide_says_so(site):
    """On its page stays what can be read; each tile answers with the reason, and no path."""
    key = site.key("destroyed")
    assert "the file is damaged" in site.get(f"/slides/{key}").body.decode()
    for _ in range(2):
        answer = site.get(f"/slides/{key}/tiles/10/1_1.jpeg")
        assert answer.status == 422
        assert answer.body == b"the file is damaged: not every part of it can be read\n"


# ---- what has no way out


@pytest.mark.parametrize(
    "path",
    [
        "/slides/{key}/tiles/10/9_0.jpeg", "/slides/{key}/tiles/11/0_0.jpeg",
        "/slides/{key}/tiles/-1/0_0.jpeg", "/slides/{key}/tiles/10/0_0.png",
        "/slides/{key}/tiles/10/0_-1.jpeg", "/slides/{key}/tiles/9999999999/0_0.jpeg",
        "/slides/{key}/tiles/10/0_0.jpeg/", "/slides/{key}/tiles/x/y", "/slides/labelled",
        "/slides/{key}/patch", "/slides/{key}/patch?x=a&y=1", "/slides/{key}/patches/x",
        "/slides/..%2f..%2fsite.yaml", "/slides/../site.yaml", "/static/..%2fcli.py",
        "/static/../cli.py", "/static/%2e%2e/viewer.py", "//etc/passwd", "/openapi.json", "/docs",
        "/static/openseadragon.min.js.map", "/slides/{key}/label", "/slides/{key}/macro",
        "/slides/{key}/associated/label", "/slides/{key}/label.jpeg", "/slides/%00",
    ],
)  # fmt: skip
def test_what_is_not_there(site, path):
    """404, and nothing of a file."""
    answer = site.get(path.format(key=site.key("labelled")))
    assert answer.status == 404
    assert b"slide_files" not in answer.body


def test_no_pixel_of_a_label(site):
    """The slide has a label and a macro image, grey as nothing else is; no tile of it is grey."""
    with openslide.OpenSlide(site.home / "archive" / "labelled.svs") as slide:
        assert {"label", "macro"} <= set(slide.associated_images)
        label = np.asarray(slide.associated_images["label"].convert("RGB"), int)
    assert (label == 90).all()
    key, seen = site.key("labelled"), 0
    for level in range(11):
        across = -(-(2**level) // 254)
        for place in ((x, y) for x in range(across) for y in range(across)):
            path = f"/slides/{key}/tiles/{level}/{place[0]}_{place[1]}.jpeg"
            tile = picture(site.get(path).body).astype(int)
            assert not (np.abs(tile - 90) < 12).all(axis=2).any()
            seen += 1
    assert seen == 8 + 4 + 9 + 25  # levels of 1 to 128 pixels, 256 (2 x 2), 512, 1024


def test_the_command(home):
    """It prints one link, answers, says no slide's name, and ends well with Ctrl-C."""
    code = "import sys, client.cli; sys.exit(client.cli.main())"
    command = [sys.executable, "-c", code, "view", "--port", "0", "--folder", str(home)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        link, stop = process.stdout.readline().split()[-1], process.stdout.readline()
        port, token = re.fullmatch(r"http://127\.0\.0\.1:(\d+)/\?token=(\S{43})", link).groups()
        with socket.create_connection(("127.0.0.1", int(port)), timeout=20) as line:
            cookie = f"Cookie: ghanet_view_{port}={token}"
            line.sendall(f"GET / HTTP/1.0\r\nHost: localhost\r\n{cookie}\r\n\r\n".encode())
            assert line.recv(12) == b"HTTP/1.1 200"
        process.send_signal(signal.SIGINT)
        process.wait(30)
        out, err = process.stdout.read(), process.stderr.read()  # with what 'readline' has taken in
    assert (process.returncode, stop, out, err) == (0, "stop with Ctrl-C\n", "", "")


def test_a_port_that_is_taken(home, capsys):
    """One line and a hint."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        assert client.cli.main(["view", "--port", port, "--folder", str(home)]) == 1
    assert capsys.readouterr().err == (
        f"ghanet-client: error: cannot listen at 127.0.0.1, port {port} (address already in use)\n"
        "ghanet-client: hint: choose another with --port\n"
    )


def test_all_files_are_in_the_wheel():
    """What the viewer serves is package data."""
    root = Path(client.cli.__file__).parents[1]
    settings = tomllib.loads((root / "pyproject.toml").read_text())
    patterns = settings["tool"]["setuptools"]["package-data"]["client"]
    folders = [root / "client" / name for name in ("viewer_static", "viewer_templates")]
    for path in (path for folder in folders for path in folder.iterdir()):
        name = path.relative_to(root / "client").as_posix()
        assert any(fnmatch(name, pattern) for pattern in patterns), name
