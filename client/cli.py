"""``ghanet-client``: the hospital's command. Translates arguments; the work is elsewhere."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from ghanet_model.commands import add_command, run_command
from ghanet_model.errors import CohortError, SettingsError
from ghanet_model.files import write_atomic
from ghanet_model.invitation import accept_invitation, fingerprints, read_invitation
from ghanet_model.keys import make_site_key, site_fingerprint

from .config import SITE_FILE, read_site, require_site_name, site_template

console = Console(highlight=False, markup=False, soft_wrap=True)


def init(options: argparse.Namespace) -> int:
    """Make a hospital's folder, or take a new invitation into it."""
    invitation = read_invitation(options.invitation)
    fresh = not (options.folder / SITE_FILE).exists()
    if fresh and options.name is None:
        raise SettingsError("a new folder needs a name", hint="add --name, the hospital's name")
    if fresh:
        require_site_name(options.name)
        text = site_template(name=options.name, server=invitation.server)
    study = accept_invitation(options.folder, invitation)
    key = options.folder / "keys" / "site_key"
    public = make_site_key(key) if not key.exists() else key.with_suffix(".pub").read_text()
    if fresh:
        write_atomic(options.folder / SITE_FILE, text.encode())
    console.print(
        f"study {study.name}, digest {study.digest[:16]}, coordinator {invitation.server}"
    )
    for what, fingerprint in fingerprints(invitation).items():
        console.print(f"fingerprint of the coordinator's {what}: {fingerprint}")
    console.print(f"fingerprint of this hospital's key: {site_fingerprint(public)}")
    console.print("compare all three with the coordinator over another channel")
    console.print(
        f"next: send {key.with_suffix('.pub')} (never the file without .pub) to the coordinator, "
        f"edit {options.folder / SITE_FILE}, then run 'ghanet-client check'",
    )
    return 0


def check(options: argparse.Namespace) -> int:
    """Say what this hospital brings and every problem with its row."""
    from .check import check_site, render  # noqa: PLC0415 - torch takes seconds

    report = check_site(options.folder, console=console)
    console.print(render(report), markup=False)
    if report.problems:
        first, count = report.problems[0], len(report.problems)
        many = f"{count} problems, first: " if count > 1 else ""
        raise CohortError(f"this site cannot take part: {many}{first}", hint=first.hint)
    return 0


def start(options: argparse.Namespace) -> int:
    """Connect to the coordinator and take part until stopped."""
    from .connect import connect  # noqa: PLC0415 - Flower takes seconds

    return connect(read_site(options.folder), console.print)


def predict(options: argparse.Namespace) -> int:
    """Predict survival of every case from slides alone, with a verified release."""
    from .predict import find_release, predict_table  # noqa: PLC0415 - torch takes seconds

    config = read_site(options.folder)
    release = find_release(config, options.release)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        table = predict_table(config, release, progress)
    output = options.output or options.folder / "predictions.csv"
    write_atomic(output, table.encode(), private=True)
    console.print(table.splitlines()[0].removeprefix("# "))
    console.print(f"{table.count(chr(10)) - 3} cases predicted: {output}")
    return 0


def make_parser() -> argparse.ArgumentParser:
    """All commands and their few options."""
    parser = argparse.ArgumentParser(
        prog="ghanet-client", description="one hospital of a federated G-HANet study"
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    making = add_command(commands, "init", init)
    making.add_argument("--invitation", type=Path, required=True, help="from the coordinator")
    making.add_argument("--name", help="of the hospital: small letters, digits, '-'")
    add_command(commands, "check", check)
    add_command(commands, "start", start)
    predicting = add_command(commands, "predict", predict)
    predicting.add_argument("--release", type=Path, help="default: the one in inbox/")
    predicting.add_argument("--output", type=Path, help="default: predictions.csv in the folder")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of ``ghanet-client``."""
    return run_command(make_parser(), arguments)
