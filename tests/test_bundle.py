"""The app bundle that travels to hospitals: built by Flower's own command."""

import zipfile
from pathlib import Path

import pytest

from ghanet_model.errors import DeploymentError
from server.config import ServerConfig
from server.control import BUNDLE_FILES, build_bundle

CODE = (".py", ".pyc", ".so", ".sh")


@pytest.fixture
def config(tmp_path: Path) -> ServerConfig:
    """A coordinator's folder with keys and site-like files in it."""
    found = ServerConfig(folder=tmp_path, host="127.0.0.1")
    found.keys.mkdir()
    (found.keys / "ca.key").write_text("secret")
    (tmp_path / "clinical.csv").write_text("case_id\n")
    return found


def test_the_bundle_holds_no_code_no_key_and_no_site_file(config: ServerConfig) -> None:
    """It names entry points that both sides installed, and nothing else is in it."""
    bundle = build_bundle(config.folder / "bundle", config)
    names = zipfile.ZipFile(bundle).namelist()
    assert set(names) == BUNDLE_FILES
    assert not [name for name in names if name.endswith((*CODE, ".key", ".pem", ".csv"))]


def test_the_same_bundle_is_built_every_time(config: ServerConfig) -> None:
    """Its digest can be approved once and compared for ever."""
    first = build_bundle(config.folder / "one", config).read_bytes()
    assert build_bundle(config.folder / "two", config).read_bytes() == first


def test_a_stray_file_beside_the_bundle_does_not_get_in(config: ServerConfig) -> None:
    """Code and tables that lie in the bundle's folder stay there."""
    folder = config.folder / "bundle"
    (folder / "server").mkdir(parents=True)
    (folder / "server" / "app.py").write_text("app = None\n")
    (folder / "genes.csv").write_text("case_id\n")
    names = zipfile.ZipFile(build_bundle(folder, config)).namelist()
    assert set(names) == BUNDLE_FILES


def test_a_bundle_that_holds_more_is_refused(
    config: ServerConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Should Flower ever pack more, the run does not start."""
    monkeypatch.setattr("server.control.BUNDLE_FILES", {"pyproject.toml", "LICENSE"})
    with pytest.raises(DeploymentError, match="app bundle holds"):
        build_bundle(config.folder / "bundle", config)
