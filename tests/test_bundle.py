"""The app bundle that travels to hospitals: built by Flower's own command, looked into by both."""

import io
import json
import shutil
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import small_bundle

from ghanet_model.bundle import (
    BUNDLE_FILES,
    CLIENT_APP,
    MOST_BYTES,
    SETTINGS_TEXT,
    open_bundle,
)
from ghanet_model.errors import ApprovalError, DeploymentError
from ghanet_model.files import sha256
from server import control
from server.config import ServerConfig
from server.control import BUILT_FILE, build_bundle


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> ServerConfig:
    """A coordinator's folder with keys and site-like files in it, and a bundle built there."""
    folder = tmp_path_factory.mktemp("coordinator")
    found = ServerConfig(folder=folder, host="127.0.0.1")
    found.keys.mkdir()
    (found.keys / "ca.key").write_text("secret")
    (folder / "clinical.csv").write_text("case_id\n")
    build_bundle(found)
    return found


@pytest.fixture
def config(built: ServerConfig, tmp_path: Path) -> ServerConfig:
    """A copy of it to change."""
    shutil.copytree(built.folder, tmp_path / "copy")
    return ServerConfig(folder=tmp_path / "copy", host="127.0.0.1")


def test_the_bundle_holds_no_code_no_key_and_no_site_file(built: ServerConfig) -> None:
    """It names entry points that both sides installed, and nothing else is in it."""
    bundle = open_bundle(build_bundle(built))
    assert set(bundle.files) == set(BUNDLE_FILES)
    assert bundle.entries == {"serverapp": "server.app:app", "clientapp": CLIENT_APP}


def test_the_same_bundle_is_built_every_time(config: ServerConfig, built: ServerConfig) -> None:
    """Its digest can be approved once and compared for ever."""
    (config.state / "bundle" / BUILT_FILE).unlink()
    assert build_bundle(config) == build_bundle(built)


def test_a_bundle_is_built_once(config: ServerConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Flower's command runs again only when text, Flower or the file is another one."""
    runs: list[str] = []
    original = control._flwr
    monkeypatch.setattr(control, "_flwr", lambda *a, **k: runs.append(a[1]) or original(*a, **k))
    first = build_bundle(config)
    assert runs == []
    next((config.state / "bundle").glob("*.fab")).write_bytes(b"other")
    assert build_bundle(config) == first
    monkeypatch.setattr(control, "version", lambda _: "1.42.0")
    assert build_bundle(config) == first
    assert runs == ["build", "build"]
    assert json.loads((config.state / "bundle" / BUILT_FILE).read_text())["flwr"] == "1.42.0"


def test_a_stray_file_beside_the_bundle_does_not_get_in(config: ServerConfig) -> None:
    """Code and tables that lie in the bundle's folder stay there."""
    folder = config.state / "bundle"
    (folder / "server").mkdir()
    (folder / "server" / "app.py").write_text("app = None\n")
    (folder / "genes.csv").write_text("case_id\n")
    (folder / BUILT_FILE).unlink()
    assert set(open_bundle(build_bundle(config)).files) == set(BUNDLE_FILES)


def test_a_run_with_another_bundle_than_the_invitations_does_not_start(
    config: ServerConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The coordinator hears of it in one line before any hospital does."""

    class Invited:
        bundle_content = small_bundle({"LICENSE": "older"})

    monkeypatch.setattr(control, "read_invitation", lambda _: Invited)
    with pytest.raises(DeploymentError, match=r"app bundle than invitation\.json"):
        control.start_run(config)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "no readable archive"),
        (b"PK\3\4" * 9, "no readable archive"),
        (b"x" * (MOST_BYTES + 1), "larger than"),
        (small_bundle({"client/app.py": "app = 1"}), "holds other files.*'client/app.py'"),
        (small_bundle({"../x": ""}), "holds other files"),
        (small_bundle({"LICENSE": "a" * (MOST_BYTES + 1)}), "larger than"),
        (small_bundle({"pyproject.toml": "x = "}), "settings that cannot be read"),
        (small_bundle({"pyproject.toml": "x = 1"}), "settings that cannot be read"),
        (
            small_bundle({"pyproject.toml": SETTINGS_TEXT.replace(CLIENT_APP, "evil:app")}),
            "starts another app",
        ),
    ],
)
def test_a_bundle_that_nobody_should_approve_is_refused(content: bytes, why: str) -> None:
    """Too large, no archive, with code or with another app: one line that says which."""
    with pytest.raises(ApprovalError, match=why) as caught:
        open_bundle(content)
    assert caught.value.hint


def test_a_name_that_stands_twice_is_refused() -> None:
    """Readers could disagree on which of the two is meant."""
    content = io.BytesIO(small_bundle())
    with zipfile.ZipFile(content, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("LICENSE", "second")
    with pytest.raises(ApprovalError, match="holds other files"):
        open_bundle(content.getvalue())


def test_a_zip_bomb_is_not_unpacked() -> None:
    """What is small as it comes and large as it opens is refused by what it says of itself."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in BUNDLE_FILES:
            archive.writestr(name, b"0" * 10_000_000)
    assert len(content.getvalue()) < MOST_BYTES
    with pytest.raises(ApprovalError, match="holds a file larger"):
        open_bundle(content.getvalue())


@given(place=st.integers(0, 2000), byte=st.integers(0, 255))
@settings(max_examples=200, deadline=None)
def test_a_damaged_bundle_is_our_error_or_another_digest(place: int, byte: int) -> None:
    """Whatever byte is another one: refused in one line, or known by another digest."""
    whole = small_bundle()
    content = bytearray(whole)
    content[place % len(content)] = byte
    try:
        found = open_bundle(bytes(content))
    except ApprovalError:
        return
    assert found.digest == sha256(bytes(content))
    assert bytes(content) == whole or found.digest != sha256(whole)
