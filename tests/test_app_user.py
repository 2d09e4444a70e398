"""Another user for Flower's app: what that user gets, and what it can neither read nor change."""

import os
import pwd
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from local import edit
from support import write_site

from client.app_user import PLACE, environment_of, find_account, hand_over
from client.config import FOLDER_VARIABLE, SiteConfig, read_site
from client.frames import GROUP_VARIABLE, SOCKET, listen
from client.frames import PLACE as TRAINER
from ghanet_model.errors import DeploymentError, SettingsError
from ghanet_model.processes import Account, start_child

OTHER, PYTHON = "nobody", "/usr/bin/python3"
needs_root = pytest.mark.skipif(
    os.geteuid() != 0 or not Path(PYTHON).exists(), reason=f"needs root and {PYTHON}"
)
TRIES = """\
import os, sys
for path in sys.argv[1:]:
    try:
        os.listdir(path) if os.path.isdir(path) else open(path).read(1)
    except PermissionError:
        print("closed", path)
    else:
        print("open", path)
print("user", os.getuid(), os.getgid(), os.getgroups(), *sorted(os.environ))
"""


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A hospital's folder that others may enter, whose tables only their owner can read."""
    root = Path(tempfile.mkdtemp(prefix="ghanet-"))
    root.chmod(0o755)
    found = write_site(root / "hospital-a")
    (found / "keys" / "site_key").write_text("secret")
    for path in [*(found / "keys").iterdir(), *found.glob("*.csv")]:
        path.chmod(0o600)
    (found / "features").chmod(0o700)
    edit(found / "site.yaml", {"app_user": OTHER})
    monkeypatch.setattr(sys, "executable", PYTHON)
    yield found
    shutil.rmtree(root)


@pytest.fixture
def config(home: Path) -> SiteConfig:
    """Its settings."""
    return read_site(home)


def run_as(account: Account, folder: Path, *arguments: object) -> list[str]:
    """What a program says that is started as the app is."""
    command = [PYTHON, "-c", TRIES, *map(str, arguments)]
    environment = environment_of(account, folder)
    child = start_child(
        "Probe", command, environment=environment, log=folder / "probe.log", account=account
    )
    child.process.wait(timeout=30)
    return (folder / "probe.log").read_text().splitlines()


@needs_root
def test_the_app_reads_no_key_and_no_table(config: SiteConfig) -> None:
    """Neither keys, tables, features nor the approval open for what runs as the other user."""
    account = find_account(config)
    assert account is not None
    names = ("keys/site_key", "keys/ledger.key", "clinical.csv", "slides.csv", "genes.csv")
    paths = [config.folder / name for name in (*names, "features", "approved.json")]
    said = run_as(account, config.folder, *paths)
    assert said[:-1] == [f"closed {path}" for path in paths]


@needs_root
def test_the_app_runs_as_that_user_and_knows_little(config: SiteConfig) -> None:
    """No group beside its own, and of the environment only what it needs."""
    account = find_account(config)
    assert account is not None
    os.environ["HOSPITAL_PASSWORD"] = "secret"
    try:
        user, *names = run_as(account, config.folder)[-1].split("] ")
    finally:
        del os.environ["HOSPITAL_PASSWORD"]
    other = pwd.getpwnam(OTHER)
    assert user == f"user {other.pw_uid} {other.pw_gid} ["
    known = set(names[0].split())
    assert {"PATH", "HOME", "FLWR_HOME", FOLDER_VARIABLE} <= known
    assert "HOSPITAL_PASSWORD" not in known


@needs_root
def test_the_app_gets_a_secret_of_its_own(config: SiteConfig, tmp_path: Path) -> None:
    """Copies that only it can read, in a place where it can make nothing; its home is its own."""
    account = find_account(config)
    assert account is not None
    for name in ("ca.crt", "secret"):
        (tmp_path / name).write_text(name)
    for path in hand_over(account, authority=tmp_path / "ca.crt", secret=tmp_path / "secret"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o400
        assert path.stat().st_uid == account.user
    place = config.folder / PLACE
    assert (stat.S_IMODE(place.stat().st_mode), place.stat().st_uid) == (0o710, 0)
    assert account.home.stat().st_uid == account.user


@needs_root
def test_what_an_earlier_app_left_is_gone(config: SiteConfig) -> None:
    """Each start gives it an empty home."""
    first = find_account(config)
    assert first is not None
    (first.home / "apps").mkdir()
    again = find_account(config)
    assert again is not None
    assert list(again.home.iterdir()) == []


@needs_root
@pytest.mark.parametrize("name", ["clinical.csv", "keys/site_key"])
def test_a_readable_secret_is_one_clear_line(name: str, config: SiteConfig) -> None:
    """What the other user can read although it must not is named before anything starts."""
    (config.folder / name).chmod(0o644)
    with pytest.raises(DeploymentError, match=f"can read .*{name}") as caught:
        find_account(config)
    assert "chmod o-r" in caught.value.hint


@needs_root
def test_a_closed_place_is_one_clear_line(config: SiteConfig) -> None:
    """A folder that the other user cannot enter is named."""
    config.folder.chmod(0o700)
    with pytest.raises(DeploymentError, match=f"cannot enter {config.folder}$"):
        find_account(config)


@needs_root
def test_a_python_that_others_cannot_run_is_one_clear_line(
    config: SiteConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One below /root, for example."""
    tmp_path.chmod(0o700)
    shutil.copy(PYTHON, tmp_path / "python3")
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python3"))
    with pytest.raises(DeploymentError, match=f"user '{OTHER}' cannot run {tmp_path}"):
        find_account(config)


@needs_root
@pytest.mark.parametrize(("name", "why"), [("no-such-user", "no user"), ("root", "is root")])
def test_a_user_that_cannot_serve_is_refused(name: str, why: str, home: Path) -> None:
    """One that does not exist, and one that reads everything."""
    edit(home / "site.yaml", {"app_user": name})
    with pytest.raises(SettingsError, match=why):
        find_account(read_site(home))


def test_without_root_another_user_is_refused(
    config: SiteConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody but root starts programs as somebody else; the hint says what to do."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(DeploymentError, match="needs root") as caught:
        find_account(config)
    assert "take app_user out" in caught.value.hint


@needs_root
def test_the_trainers_socket_opens_for_the_group_only(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With another user its group reaches the socket; without one nobody but the owner does."""
    group = pwd.getpwnam(OTHER).pw_gid
    for value, modes in ((str(group), (0o710, 0o660)), ("", (0o700, 0o600))):
        monkeypatch.setenv(GROUP_VARIABLE, value)
        with listen(home):
            paths = home / TRAINER, home / TRAINER / SOCKET
            assert tuple(stat.S_IMODE(path.stat().st_mode) for path in paths) == modes
            assert not value or {path.stat().st_gid for path in paths} == {group}
