"""``ghanet-client``'s commands about keys and the certificate for the coordinator's door."""

import argparse
from pathlib import Path

from rich.console import Console

from ghanet_model.commands import add_command
from ghanet_model.keys import site_fingerprint

from .certificate import renew_request, take_certificate
from .config import read_site

console = Console(highlight=False, markup=False, soft_wrap=True)


def renew_keys(options: argparse.Namespace) -> int:
    """Make new keys for this hospital, after the old ones were lost, stolen or revoked."""
    from .site_key import renew_key  # noqa: PLC0415

    public = renew_key(options.folder)
    console.print(f"fingerprint of this hospital's new key: {site_fingerprint(public)}")
    console.print(
        f"next: send {options.folder / 'keys' / 'site_key.pub'} and door.csr beside it to the "
        "coordinator, compare the fingerprint over another channel; once it was renewed there, put "
        "the certificate into place with 'ghanet-client certificate FILE' and run 'start'"
    )
    return 0


def certificate(options: argparse.Namespace) -> int:
    """Put the certificate that the coordinator sent back into place, after checking it."""
    found = take_certificate(options.folder, options.file, name=read_site(options.folder).name)
    console.print(
        f"certificate for the door: serial {found.serial}, valid until {found.ends:%Y-%m-%d}; "
        "'ghanet-client start' shows it from its next connection on"
    )
    return 0


def renew_certificate(options: argparse.Namespace) -> int:
    """Make a request for a new certificate; the old one stays in use until the new one is here."""
    request = renew_request(options.folder, name=read_site(options.folder).name)
    console.print(f"fingerprint of the request's key: {request.key}")
    console.print(
        f"next: send {options.folder / 'keys' / 'door.csr'} to the coordinator and compare the "
        "fingerprint. With 'ghanet-server renew' there the old certificate ends: put the new one "
        "into place at once, with 'ghanet-client certificate FILE'"
    )
    return 0


def add_certificate_commands(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]",
) -> None:
    """The commands of this module with their options."""
    add_command(commands, "renew-key", renew_keys)
    placing = add_command(commands, "certificate", certificate)
    placing.add_argument("file", type=Path, help="NAME.crt from the coordinator")
    add_command(commands, "renew-certificate", renew_certificate)
