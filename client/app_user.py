"""Another user for the Flower app, who can read neither the node key nor a table.

Root starts SuperExec as that user, below it Flower's app; SuperNode, trainer, keys and data stay
with whoever runs ``start``. Of the folder the user gets ``state/app`` and the trainer's socket.
"""

import json
import os
import pwd
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from ghanet_model.errors import DeploymentError, SettingsError
from ghanet_model.processes import FLOWER_ENVIRONMENT, Account

from .config import FOLDER_VARIABLE, SITE_FILE, SiteConfig

PLACE = Path("state") / "app"
CA_FILE, SECRET_FILE, HOME = "ca.crt", "superexec.secret", "flower"
PUBLIC = (".pub", ".crt", ".csr")  # in keys/: what may be read by anybody
PROBE_SECONDS = 60.0
PROBE = """\
import json, os, sys
asked = json.loads(sys.argv[1])
rights = {"read": os.R_OK, "write": os.W_OK, "enter": os.X_OK}
print(json.dumps({k: [p for p in asked[k] if os.access(p, rights[k])] for k in asked}))
"""


def find_account(config: SiteConfig) -> Account | None:
    """The account of ``app_user``, its place made; None if the app runs as this user.

    Raises:
        SettingsError: there is no such user, or it is one that reads everything.
        DeploymentError: this user is not root, or that user could not work, or could read too much.
    """
    if config.app_user is None:
        return None
    account = account_of(config, config.app_user)
    _make_home(account)
    require_separate(config, account)
    return account


def account_of(config: SiteConfig, name: str) -> Account:
    """The account of a user who is to run the app; nothing is made for it.

    Raises:
        SettingsError: there is no such user, or it is one that reads everything.
        DeploymentError: this user is not root.
    """
    if os.geteuid() != 0:
        raise DeploymentError(
            f"{SITE_FILE}: 'app_user' needs root, who alone starts programs as another user",
            hint="let root start it, for example as a service, or take app_user out",
        )
    try:
        found = pwd.getpwnam(name)
    except KeyError:
        raise SettingsError(
            f"{SITE_FILE}: there is no user {name!r} on this machine",
            hint="useradd --system --no-create-home --shell /usr/sbin/nologin ghanet-app",
        ) from None
    if found.pw_uid == 0:
        raise SettingsError(f"{SITE_FILE}: 'app_user' is root, who can read every key and table")
    return Account(name, found.pw_uid, found.pw_gid, config.folder / PLACE / HOME)


def _make_home(account: Account) -> None:
    """An empty home: what an earlier bundle left there is gone."""
    place = account.home.parent
    place.mkdir(parents=True, exist_ok=True)
    os.chown(place, -1, account.group)
    place.chmod(0o710)
    if account.home.exists():
        shutil.rmtree(account.home)
    account.home.mkdir(mode=0o700)
    os.chown(account.home, account.user, account.group)


def hand_over(account: Account, *, authority: Path, secret: Path) -> tuple[Path, Path]:
    """Copies of the loopback authority and of SuperExec's secret that the account can read."""
    place = account.home.parent
    copies = place / CA_FILE, place / SECRET_FILE
    for path, source in zip(copies, (authority, secret), strict=True):
        path.unlink(missing_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400), "wb") as file:
            file.write(source.read_bytes())
        os.chown(path, account.user, account.group)
    return copies


def environment_of(account: Account, folder: Path) -> dict[str, str]:
    """All that the account's programs get to know."""
    programs = [str(Path(sys.executable).parent), "/usr/local/bin", "/usr/bin", "/bin"]
    return {
        **FLOWER_ENVIRONMENT,
        "PATH": os.pathsep.join(programs),
        "HOME": str(account.home),
        "FLWR_HOME": str(account.home),
        "LANG": "C.UTF-8",
        FOLDER_VARIABLE: str(folder),
    }


def require_separate(config: SiteConfig, account: Account) -> None:
    """Ask as that user what it can do; the system knows best.

    Raises:
        DeploymentError: it could not work, or could read or change too much.
    """
    packages = Path(__file__).parent
    way = [account.home, *account.home.parents, packages, *packages.parents]
    way = [path for path in way if path.exists()]  # the home is made at the first start
    asked = {
        "read": secrets_of(config),
        "write": [config.folder, config.folder / "state", packages],
        "enter": way,
    }
    can = _probe(account, asked)
    closed = sorted(path for path in way if str(path) not in can["enter"])
    if closed:
        raise DeploymentError(
            f"user '{account.name}' cannot enter {closed[0]}",
            hint=f"chmod o+x {closed[0]}, or keep what the app needs elsewhere",
        )
    for right in ("read", "write"):
        if can[right]:
            raise DeploymentError(
                f"user '{account.name}' of 'app_user' can {right} {', '.join(can[right])}",
                hint=f"take that right away, for example: chmod o-{right[0]} {can[right][0]}",
            )


def secrets_of(config: SiteConfig) -> list[Path]:
    """What the app must not read: private keys, tables, features."""
    keys = [p for p in (config.folder / "keys").iterdir() if p.suffix not in PUBLIC]
    return [*keys, *config.tables, config.features]


def _probe(account: Account, asked: Mapping[str, Iterable[Path]]) -> dict[str, list[str]]:
    listed = {right: [str(path) for path in paths] for right, paths in asked.items()}
    # started where everybody may be: the account's home may lie behind a closed door
    options = account.options | {"cwd": "/"}
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-c", PROBE, json.dumps(listed)],
            env=environment_of(account, Path("/")),
            capture_output=True,
            check=True,
            timeout=PROBE_SECONDS,
            **options,
        )
        found: dict[str, list[str]] = json.loads(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError):
        raise DeploymentError(
            f"user '{account.name}' cannot run {Path(sys.executable).resolve()}",
            hint="install Python and this project where every user can read, not below /root",
        ) from None
    return found
