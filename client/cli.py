"""``ghanet-client``: the hospital's command. Translates arguments; the work is elsewhere."""

import argparse
import datetime as dt
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from ghanet_model.commands import add_command, run_command
from ghanet_model.errors import ApprovalError, CohortError, GateError, SettingsError
from ghanet_model.files import write_atomic
from ghanet_model.invitation import accept_invitation, fingerprints, read_invitation
from ghanet_model.keys import make_site_key, site_fingerprint
from ghanet_model.study import read_study

from .certificate import certificate_note, request_fingerprint, require_request
from .certificate_commands import add_certificate_commands
from .config import SITE_FILE, read_site, require_site_name, site_template
from .release_commands import add_release_commands

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
    request = require_request(options.folder)
    console.print(
        f"study {study.name}, digest {study.digest[:16]}, coordinator {invitation.server}"
    )
    for what, fingerprint in fingerprints(invitation).items():
        console.print(f"fingerprint of the coordinator's {what}: {fingerprint}")
    console.print(f"fingerprint of this hospital's key: {site_fingerprint(public)}")
    console.print(f"fingerprint of its key for the door: {request_fingerprint(options.folder)}")
    console.print("compare all four with the coordinator over another channel")
    console.print(
        f"next: send {key.with_suffix('.pub')} (never the file without .pub) and {request} to the "
        "coordinator, put the certificate that comes back into place with 'ghanet-client "
        f"certificate FILE', edit {options.folder / SITE_FILE}, then run 'ghanet-client check' and "
        "'ghanet-client approve': nothing is approved yet that was not approved before",
    )
    return 0


def check(options: argparse.Namespace) -> int:
    """Say and draw what this hospital brings, and every problem with its row."""
    from .check import check_site  # noqa: PLC0415 - torch takes seconds
    from .check_plot import write_plot  # noqa: PLC0415
    from .check_table import render  # noqa: PLC0415

    report = check_site(options.folder, console=console)
    console.print(certificate_note(options.folder, dt.datetime.now(dt.UTC)))
    console.print(render(report))
    console.print(f"\nplot: {write_plot(options.folder, report)}")
    if report.problems:
        first, count = report.problems[0], len(report.problems)
        many = f"{count} problems, first: " if count > 1 else ""
        raise CohortError(f"this site cannot take part: {many}{first}", hint=first.hint)
    return 0


def doctor(options: argparse.Namespace) -> int:
    """Say what is wrong with connection, keys, files and machine, and what to do; 1 if anything."""
    from ghanet_model.doctor import tell  # noqa: PLC0415

    from .doctor import examine  # noqa: PLC0415 - torch takes seconds

    return tell(examine(options.folder), console.print, side="hospital", output=options.json)


def approve(options: argparse.Namespace) -> int:
    """Show what this hospital would agree to run and what changed, and agree to it."""
    from . import approval  # noqa: PLC0415
    from .changes import describe  # noqa: PLC0415

    if options.withdraw:
        approval.withdraw_approval(options.folder)
        console.print("the approval is taken back: from the next message on nothing is answered")
        return 0
    subject, before = approval.present(options.folder), approval.read_approval(options.folder)
    for line in describe(subject, before):
        console.print(line)
    console.print("")
    if before and before.stands and before.subject.digests == subject.digests:
        console.print("all of this is approved already")
        return 0
    if not options.yes:
        _require_yes("approve all of this?")
    approval.approve(options.folder, subject)
    console.print("approved: this hospital answers for these three digests and for no others")
    return 0


def _require_yes(question: str) -> None:
    if not sys.stdin.isatty():
        raise ApprovalError(
            "nobody is here to say yes", hint="read what stands above, then add --yes"
        )
    if input(f"{question} [y/N] ").strip().lower() not in ("y", "yes"):
        raise ApprovalError("nothing was approved")


def start(options: argparse.Namespace) -> int:
    """Connect to the coordinator and take part until stopped."""
    from .connect import connect  # noqa: PLC0415 - Flower takes seconds

    return connect(read_site(options.folder), console.print)


def health(options: argparse.Namespace) -> int:
    """Say whether 'start' goes on, is connected, and certificates hold; 1 if not."""
    from .health import health_lines  # noqa: PLC0415 - not for every command

    for line in health_lines(read_site(options.folder), dt.datetime.now(dt.UTC)):
        console.print(line)
    return 0


def withdraw(options: argparse.Namespace) -> int:
    """Take cases whose consent was withdrawn out of every later answer; '-' reads stdin."""
    from . import consent  # noqa: PLC0415 - pandas takes a second
    from .cohort import read_cohort  # noqa: PLC0415

    config = read_site(options.folder)
    cases = sys.stdin.read().splitlines() if options.cases == ["-"] else options.cases
    cases = [case for case in cases if case.strip()]
    listed = read_cohort(config, read_study(options.folder))[0].known
    known = frozenset(cases) if options.not_listed else listed
    new = consent.withdraw(config.folder, cases, known=known)
    console.print(f"{len(new)} case(s) withdrawn: out of the next round and of every later one")
    if len(new) < len(cases):
        console.print(f"{len(cases) - len(new)} had been withdrawn before, or were named twice")
    console.print("\n".join(consent.what_remains(config.folder)))
    return 0


def leave(options: argparse.Namespace) -> int:
    """Leave the study: every later message is answered with one word, 'left'."""
    from . import consent  # noqa: PLC0415 - not for every command

    config = read_site(options.folder)
    if options.back:
        consent.come_back(config.folder)
        console.print("this hospital takes part again once the coordinator has taken it back")
        return 0
    console.print(f"left the study, {consent.leave(config.folder)}")
    console.print(
        "keep 'ghanet-client start' running until the coordinator's next message: its answer tells "
        "them. Or tell them yourself; 'ghanet-server revoke' then shuts the door on their side"
    )
    console.print("\n".join(consent.what_remains(config.folder)))
    return 0


def slides(options: argparse.Namespace) -> int:
    """Look at your slides (check), or make features of them for the study (extract)."""
    from .slides_commands import check_slides, extract_slides  # noqa: PLC0415 - takes a second

    work = {"check": check_slides, "extract": extract_slides}[options.action]
    if options.workers is not None and options.workers < 1:
        raise SettingsError("--workers is below 1", hint="one for each core at the most")
    work(options.folder, workers=options.workers, console=console)
    return 0


def ledger(options: argparse.Namespace) -> int:
    """Show what was sent, refused, approved and withdrawn, or prove that no line was changed."""
    from ghanet_model.ledger import read_ledger  # noqa: PLC0415

    from . import ledger as own  # noqa: PLC0415
    from .ledger_table import compared_lines, ledger_lines  # noqa: PLC0415

    if options.action is None:
        if options.receipts:
            raise SettingsError("--receipts belongs to 'ghanet-client ledger verify'")
        lines = read_ledger(own.ledger_path(options.folder))
        for text in ledger_lines(lines, last=options.last):
            console.print(text)
        return 0
    lines = own.verify_site_ledger(options.folder)
    console.print(f"{len(lines)} lines, each signed and in its place: none was changed or lost")
    if options.receipts:
        site = read_site(options.folder).name
        receipts = own.read_receipts(options.folder, options.receipts, site=site)
        for text in compared_lines(own.compare_receipts(lines, receipts)):
            console.print(text)
    return 0


def privacy(options: argparse.Namespace) -> int:
    """Show what the privacy of these cases has cost so far, by study, and what is left."""
    from .privacy_status import read_entries, status_lines, write_plot  # noqa: PLC0415 - torch

    config, study = read_site(options.folder), read_study(options.folder)
    found = read_entries(config)
    for line in status_lines(found, config, study):
        console.print(line)
    console.print(f"plot: {write_plot(found, config, study)}")
    return 0


def preview(options: argparse.Namespace) -> int:
    """Make the next answer without sending it, and show all that would leave."""
    from .preview import preview_answers  # noqa: PLC0415 - torch takes seconds
    from .preview_report import render, write_histogram  # noqa: PLC0415

    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        bar = progress.add_task("reading and training", total=None)

        def show(done: int, steps: int) -> None:
            progress.update(bar, completed=done, total=steps)

        found = preview_answers(options.folder, progress=show)
    for one in found:
        console.print(render(one))
        console.print("")
        if one.base:
            output = options.output or options.folder / "preview.png"
            write_histogram(output, one)
            console.print(f"histogram of the change, by branch: {output}")
    console.print("nothing was sent")
    if kept := [one.refusal for one in found if one.refusal]:
        raise GateError(f"the next answer would not leave: {kept[0]}")
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
    add_command(commands, "doctor", doctor).add_argument("--json", help="a file; '-': only this")
    cutting = add_command(commands, "slides", slides)
    cutting.add_argument("action", choices=["check", "extract"], help="look, or make features")
    cutting.add_argument("--workers", type=int, help="default: threads in site.yaml")
    approving = add_command(commands, "approve", approve)
    approving.add_argument("--yes", action="store_true", help="agree without being asked")
    approving.add_argument("--withdraw", action="store_true", help="take the approval back")
    add_command(commands, "start", start)
    add_command(commands, "health", health)
    add_certificate_commands(commands)
    add_release_commands(commands)
    withdrawing = add_command(commands, "withdraw", withdraw)
    withdrawing.add_argument("cases", nargs="+", metavar="CASE", help="as your tables name it")
    withdrawing.add_argument("--not-listed", action="store_true", help="it is in no table yet")
    leaving = add_command(commands, "leave", leave)
    leaving.add_argument("--return", dest="back", action="store_true", help="take part again")
    telling = add_command(commands, "ledger", ledger)
    telling.add_argument("action", nargs="?", choices=["verify"], help="prove it whole")
    telling.add_argument("--receipts", type=Path, help="with verify: the coordinator's, to compare")
    telling.add_argument("--last", type=int, default=30, help="how many lines; default: 30")
    spending = add_command(commands, "privacy", privacy)
    spending.add_argument("action", choices=["status"], help="spent and left")
    previewing = add_command(commands, "preview", preview)
    previewing.add_argument("--output", type=Path, help="default: preview.png in the folder")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of ``ghanet-client``."""
    return run_command(make_parser(), arguments)
