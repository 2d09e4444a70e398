"""What operators run, as far as no engine is needed: images, compose files, units, the page."""

import argparse
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from check_torch import problem
from readme import MODES, PAGE, blocks

import client.cli
import server.cli

DEPLOY = Path(__file__).parents[1] / "deploy"
SIDES = ("server", "client")
UNITS = [DEPLOY / "systemd" / f"ghanet-{side}.service" for side in SIDES]
PARSERS = {
    "ghanet-server": server.cli.make_parser(),
    "ghanet-client": client.cli.make_parser(),
}
PINNED = re.compile(r"[\w./-]+:\d+\.\d+\.\d+[\w.-]*@sha256:[0-9a-f]{64}")
FOLDERS = {"server": "/var/lib/ghanet-server", "client": "/var/lib/ghanet-client"}


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions, continued lines joined."""
    text = re.sub(r"^#.*\n", "", (DEPLOY / "Dockerfile").read_text(), flags=re.MULTILINE)
    lines = text.replace("\\\n", " ").splitlines()
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in lines) if word]


def stages() -> dict[str, list[tuple[str, str]]]:
    """Instructions of each stage, those of the stage that it stands on included."""
    found: dict[str, list[tuple[str, str]]] = {}
    name = ""
    for word, rest in instructions():
        if word == "FROM":
            base, _, name = rest.split()
            found[name] = list(found.get(base, []))
        elif name:
            found[name].append((word, rest))
    return found


def service(side: str) -> dict[str, object]:
    """The one service of a compose file."""
    whole = yaml.safe_load((DEPLOY / f"compose.{side}.yaml").read_text())
    assert list(whole["services"]) == [side]
    return dict(whole["services"][side])


def version() -> str:
    """The project's."""
    settings = tomllib.loads((DEPLOY.parent / "pyproject.toml").read_text())
    return str(settings["project"]["version"])


def test_the_base_is_pinned() -> None:
    """By version and digest; every stage stands on it or on a stage above, never on 'latest'."""
    bases = [rest for word, rest in instructions() if word == "ARG" and rest.startswith("BASE=")]
    assert len(bases) == 1
    assert PINNED.fullmatch(bases[0].removeprefix("BASE="))
    names = {"${BASE}"}
    for word, rest in instructions():
        if word == "FROM":
            assert rest.split()[0] in names
            names.add(rest.split()[2])
    assert "latest" not in (DEPLOY / "Dockerfile").read_text()


@pytest.mark.parametrize("side", SIDES)
def test_an_image_ends_as_a_user_without_rights(side: str) -> None:
    """The last USER counts; start, health and stop are ours; the version is the project's."""
    stage = stages()[side]
    last = dict(stage)
    assert last["USER"] == "10001:10001"
    assert last["ENTRYPOINT"] == f'["ghanet-{side}"]'
    assert last["CMD"] == '["start"]'
    assert f'CMD ["ghanet-{side}", "health"]' in last["HEALTHCHECK"]
    assert ("ARG", f"VERSION={version()}") in stage
    assert "org.opencontainers.image.title" in " ".join(rest for _, rest in stage)


@pytest.mark.parametrize("side", SIDES)
def test_an_image_holds_no_installer(side: str) -> None:
    """Packages come from the build stage only, pinned; the server adds nginx and nothing else."""
    commands = [rest for word, rest in stages()[side] if word == "RUN"]
    assert not [command for command in commands if "pip" in command.split()]
    added = [re.findall(r"install --yes --no-install-recommends (.*?)\s+&&", c) for c in commands]
    assert [a for a in added if a] == ([["nginx-light"]] if side == "server" else [])
    build = " ".join(rest for _, rest in stages()["build"])
    assert "PIP_CONSTRAINT=constraints.txt" in build
    assert "uninstall --quiet --yes setuptools pip" in build
    assert "--invalidation-mode unchecked-hash" in build


def test_nothing_but_code_reaches_a_build() -> None:
    """A folder with tables or keys beside the project is never sent to an engine."""
    lines = (DEPLOY.parent / ".dockerignore").read_text().splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    copied = {
        name for word, rest in stages()["build"] if word == "COPY" for name in rest.split()[:-1]
    }
    assert {rule[1:] for rule in rules if rule.startswith("!")} == copied
    assert all((DEPLOY.parent / name).exists() for name in copied)


@pytest.mark.parametrize("side", SIDES)
def test_a_container_can_change_nothing_and_gain_nothing(side: str) -> None:
    """Read-only, no rights, bounded, restarted on every exit; the same user as in the image."""
    found = service(side)
    wanted = {
        "read_only": True,
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true"],
        "restart": "always",
        "init": True,
        "user": dict(stages()[side])["USER"],
        "image": f"ghanet-{side}:{version()}",
    }
    assert {key: found.get(key) for key in wanted} == wanted
    assert {"mem_limit", "pids_limit", "shm_size", "tmpfs", "stop_grace_period"} <= set(found)
    assert not {"privileged", "cap_add", "network_mode", "pid", "ipc", "devices"} & set(found)
    build = dict(found["build"])  # type: ignore[call-overload]
    assert (DEPLOY / build["context"] / build["dockerfile"]).exists()
    assert build["target"] == side
    folder = f"${{GHANET_FOLDER:-{FOLDERS[side]}}}:/ghanet"
    assert found["volumes"][0] == folder  # type: ignore[index]


def test_a_hospital_has_no_open_port_and_writes_no_data() -> None:
    """What it mounts beside its folder is read-only."""
    found = service("client")
    assert not {"ports", "expose"} & set(found)
    assert found["volumes"][1:] == [  # type: ignore[index]
        "${GHANET_DATA:-/srv/ghanet-data}:${GHANET_DATA:-/srv/ghanet-data}:ro"
    ]


@pytest.mark.parametrize("unit", UNITS, ids=SIDES)
def test_a_unit_is_hardened(unit: Path) -> None:
    """It writes its folder only, gains nothing, and comes back after every exit."""
    lines = unit.read_text().splitlines()
    side = unit.stem.removeprefix("ghanet-")
    for line in (
        "User=ghanet",
        f"ExecStart=/opt/ghanet/bin/ghanet-{side} start",
        f"WorkingDirectory={FOLDERS[side]}",
        f"ReadWritePaths={FOLDERS[side]}",
        "Restart=always",
        "StartLimitIntervalSec=0",
        "ProtectSystem=strict",
        "NoNewPrivileges=true",
        "CapabilityBoundingSet=",
        "SystemCallFilter=@system-service",
    ):
        assert line in lines


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd")
@pytest.mark.parametrize("unit", UNITS, ids=SIDES)
def test_systemd_takes_the_unit(unit: Path, tmp_path: Path) -> None:
    """No key is unknown, no value refused; its exposure is rated low."""
    copy = tmp_path / unit.name
    copy.write_text(re.sub(r"ExecStart=\S+", f"ExecStart={sys.executable}", unit.read_text()))
    command = ["systemd-analyze", "verify", "--man=no", copy]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    own = [line for line in done.stderr.splitlines() if unit.name in line or str(copy) in line]
    assert own == []
    command = ["systemd-analyze", "security", "--offline=true", "--threshold=25", copy]
    rated = subprocess.run(command, capture_output=True, text=True, check=False)
    assert rated.returncode == 0, rated.stdout[-300:] + rated.stderr


def commands() -> list[list[str]]:
    """Every command of ours that the page names: in its blocks, and between back quotes."""
    page = PAGE.read_text()
    inside = [line for block in blocks() for line in block.text.splitlines()]
    quoted = re.findall(r"`(ghanet-(?:server|client) [^`]+)`", page)
    lines = [line for line in inside + quoted if re.match(r"ghanet-(server|client) ", line)]
    found = [shlex.split(line.replace('"$HOST"', "example.org")) for line in lines]
    assert len(found) > 15
    return found


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_a_command_of_the_page_is_one(words: list[str]) -> None:
    """The parsers take each as it stands."""
    assert isinstance(PARSERS[words[0]].parse_args(words[1:]), argparse.Namespace)


def test_every_block_of_the_page_can_be_run_by_a_script() -> None:
    """None is without its first line, and containers and pip differ where both must be told."""
    found = blocks()
    assert len(found) == PAGE.read_text().count("```sh")
    assert {block.mode for block in found} == set(MODES)
    for block in found:
        modes = {
            other.mode for other in found if (other.side, other.step) == (block.side, block.step)
        }
        assert ("containers" in modes) == ("pip" in modes)


def test_files_and_chapters_that_the_page_names_exist() -> None:
    """Links, also into chapters; paths of deploy/ and tests/."""
    page = PAGE.read_text()
    for target in re.findall(r"\]\(([^)]+)\)", page):
        path, _, chapter = target.partition("#")
        file = DEPLOY / path
        assert file.exists(), target
        titles = re.findall(r"^#+ (.*)$", file.read_text(), flags=re.MULTILINE)
        assert not chapter or chapter in {t.lower().replace(" ", "-") for t in titles}, target
    for name in set(re.findall(r"\b(?:deploy|tests)/[\w./-]*\w", page)) - {"deploy/.env"}:
        assert (DEPLOY.parent / name).exists(), name


@pytest.mark.parametrize(
    ("wanted", "cuda", "words"),
    [
        ("cpu", None, ""),
        ("cuda", "13.0", ""),
        ("cpu", "13.0", "built for cuda, and TORCH=cpu was asked for"),
        ("cuda", None, "built for cpu, and TORCH=cuda was asked for"),
        ("gpu", None, "use cpu or cuda"),
    ],
)
def test_an_image_has_the_torch_that_was_asked_for(
    wanted: str, cuda: str | None, words: str
) -> None:
    """A build ends where pip chose another one: gigabytes too many, or no GPU."""
    assert words in problem(wanted, "2.13.0", cuda)
    assert bool(words) == bool(problem(wanted, "2.13.0", cuda))
