"""Coordinators without a door, with an old folder, or whose door is not open."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from door_site import NO_NGINX, SITES, WHY, make_coordinator
from support import run

import server.cli
import server.door
from ghanet_model.errors import DeploymentError
from ghanet_model.files import write_atomic
from server.config import PORT_FILE, read_server
from server.door import behind_door, has_door
from server.door_words import door_line


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A coordinator and two hospitals with certificates."""
    root = tmp_path_factory.mktemp("door")
    make_coordinator(root)
    return root


@pytest.mark.skipif(NO_NGINX, reason=WHY)
def test_the_place_of_superlink_is_remembered(made: Path, tmp_path: Path) -> None:
    """Commands find it behind the door; without a door it is the public port again."""
    folder = Path(shutil.copytree(made / "coordinator", tmp_path / "coordinator"))
    config = behind_door(read_server(folder))
    assert config.inner_port not in (0, config.port)
    assert read_server(folder).local_address == f"127.0.0.1:{config.inner_port}"
    assert behind_door(read_server(folder)).inner_port == config.inner_port
    none = behind_door(replace(read_server(folder), door="none"))
    assert not (folder / "state" / PORT_FILE).exists()
    assert none.local_port == config.port


@pytest.mark.parametrize(
    ("setting", "why", "whom"),
    [
        ("auto 127.0.0.1", "nginx is not installed", "every program of this machine"),
        ("none 0.0.0.0", "server.yaml says so", "everybody who reaches it"),
    ],
)
def test_a_server_without_a_door_says_what_is_exposed(
    made: Path, monkeypatch: pytest.MonkeyPatch, setting: str, why: str, whom: str
) -> None:
    """Plainly, at every start; and one that must have a door does not start without."""
    door, listen = setting.split()
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(server.door, "PLACES", ())
    config = replace(read_server(made / "coordinator"), door=door, listen=listen, inner_port=0)
    assert not has_door(config)
    assert door_line(config) == (
        f"warning: no door ({why}): {listen}:{config.port} answers run control and node "
        f"registration to {whom}, without a password"
    )
    with pytest.raises(DeploymentError, match="nginx is not installed, which the door needs"):
        behind_door(replace(config, door="nginx"))


@pytest.mark.skipif(NO_NGINX, reason=WHY)
def test_an_old_roster_is_read_and_its_hospitals_have_no_certificate(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Said plainly for each; nothing else about them changes."""
    folder = Path(shutil.copytree(made / "coordinator", tmp_path / "coordinator"))
    values = json.loads((folder / "roster.json").read_text())
    for member in values["members"]:
        for name in ("serial", "expires", "door_key", "former_serials"):
            del member[name]
    (folder / "roster.json").write_text(json.dumps(values))
    write_atomic(folder / "state" / PORT_FILE, b"1")
    for end in ("ca.key", "ca.crt"):
        (folder / "keys" / f"door-{end}").unlink()
    run(server.cli.main, "roster", "--folder", folder)
    said = " ".join(capsys.readouterr().out.split())
    for name in SITES:
        assert f"warning: {name} has no certificate, the door refuses it" in said
