"""The programs of Flower beside the trainer: SuperNode, and SuperExec, which starts the app."""

import secrets
import sys
from collections.abc import Callable
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from ghanet_model.certificates import make_authority, make_server_certificate
from ghanet_model.files import write_atomic
from ghanet_model.invitation import CA_FILE
from ghanet_model.processes import (
    Account,
    Child,
    flower_environment,
    free_port,
    start_child,
)

from .app_user import environment_of, hand_over
from .config import FOLDER_VARIABLE, SiteConfig
from .door import proxy_of

# Not as a module: Python's fork server would run its main module anew for every app.
SUPEREXEC = "import sys; from client.superexec import main; sys.exit(main())"
SECRET_FILE, TRUSTED_FILE = "superexec.secret", "trusted.yaml"


def start_flower(
    config: SiteConfig, on_line: Callable[[str], None], account: Account | None
) -> list[Child]:
    """Start SuperNode and SuperExec, which reach each other over this machine only."""
    loopback = config.folder / "state" / "loopback"
    make_authority(loopback, name="loopback")  # a new one at every start, for this machine only
    make_server_certificate(loopback, ["localhost"])
    (loopback / "ca.key").unlink()
    write_atomic(loopback / SECRET_FILE, secrets.token_bytes(48), private=True)
    write_atomic(loopback / TRUSTED_FILE, _nobody().encode())
    port = free_port()
    supernode = _start_supernode(config, loopback, port, on_line)
    return [supernode, _start_superexec(config, loopback, port, account)]


def _start_supernode(
    config: SiteConfig, loopback: Path, port: int, on_line: Callable[[str], None]
) -> Child:
    keys, proxy = config.folder / "keys", proxy_of(config)
    command = [sys.executable, "-m", "client.supernode", "--superlink", config.server]
    command += ["--root-certificates", str(keys / CA_FILE)]
    command += ["--auth-supernode-private-key", str(keys / "site_key")]
    command += ["--trusted-entities", str(loopback / TRUSTED_FILE)]
    command += ["--host", "127.0.0.1", "--port", str(port), "--isolation", "process"]
    command += ["--superexec-auth-secret-file", str(loopback / SECRET_FILE)]
    command += ["--ssl-ca-certfile", str(loopback / CA_FILE)]
    command += ["--ssl-certfile", str(loopback / "server.crt")]
    command += ["--ssl-keyfile", str(loopback / "server.key")]
    return start_child(
        "SuperNode",
        command,
        environment=_environment(config, **({"HTTPS_PROXY": proxy} if proxy else {})),
        log=config.folder / "logs" / "supernode.log",
        on_line=on_line,
    )


def _start_superexec(
    config: SiteConfig, loopback: Path, port: int, account: Account | None
) -> Child:
    """What starts Flower's app for every message: as another user, if there is one for it."""
    authority, secret = loopback / CA_FILE, loopback / SECRET_FILE
    if account:
        authority, secret = hand_over(account, authority=authority, secret=secret)
    command = [sys.executable, "-c", SUPEREXEC]
    command += ["--runtime-api-address", f"127.0.0.1:{port}"]
    command += ["--root-certificates", str(authority)]
    command += ["--superexec-auth-secret-file", str(secret)]
    return start_child(
        "SuperExec",
        command,
        environment=environment_of(account, config.folder) if account else _environment(config),
        log=config.folder / "logs" / "superexec.log",
        account=account,
    )


def _environment(config: SiteConfig, **extra: str) -> dict[str, str]:
    home = config.folder / "state" / "flower"
    return flower_environment(home, **{FOLDER_VARIABLE: str(config.folder)}, **extra)


def _nobody() -> str:
    """A list of trusted signers with one who never signs: without it SuperNode judges no bundle."""
    public = Ed25519PrivateKey.generate().public_key()
    line = public.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    return f"fpk_nobody: '{line}'\n"
