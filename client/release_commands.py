"""The commands of a release at a hospital: predict, validate, audit, view, recall."""

import argparse
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from ghanet_model.commands import add_command
from ghanet_model.errors import SettingsError
from ghanet_model.files import write_atomic

from .config import read_site

INBOX = "default: the one in inbox/"

console = Console(highlight=False, markup=False, soft_wrap=True)


def predict(options: argparse.Namespace) -> int:
    """Predict survival of every case from slides alone, with a verified release."""
    from .clinical_answer import patient_of  # noqa: PLC0415 - torch takes seconds
    from .predict import find_release, predict_table  # noqa: PLC0415
    from .recalibration import read_recalibration  # noqa: PLC0415

    config = read_site(options.folder)
    release = find_release(config, options.release)
    bent = read_recalibration(options.recalibration, release) if options.recalibration else None
    if options.slides:
        from .predict_slides import predict_slides  # noqa: PLC0415
        from .slide_answer import Shown  # noqa: PLC0415

        output = options.output or options.folder / "predictions"
        patient = patient_of(options.clinical) if options.clinical else None
        shown = Shown(bent, patient, options.show_hidden)
        predict_slides(config, release, options.slides, output=output, console=console, shown=shown)
        return 0
    if options.clinical or options.show_hidden:
        raise SettingsError("--clinical and --show-hidden are about a slide", hint="name one")
    with _progress() as progress:
        table = predict_table(config, release, progress, bent)
    output = options.output or options.folder / "predictions.csv"
    write_atomic(output, table.encode(), private=True)
    console.print(table.splitlines()[0].removeprefix("# "))
    rows = sum(not line.startswith("#") for line in table.splitlines()) - 1
    console.print(f"{rows} cases predicted: {output}")
    return 0


def validate(options: argparse.Namespace) -> int:
    """Compare what a release predicts with what happened to your cases. Stays here."""
    from .predict import find_release  # noqa: PLC0415 - torch takes seconds
    from .validate import validate_release  # noqa: PLC0415
    from .validation_table import kept_lines, validation_lines  # noqa: PLC0415

    config = read_site(options.folder)
    release = find_release(config, options.release)
    with _progress() as progress:
        found = validate_release(config, release, everybody=options.all, progress=progress)
    for line in (*validation_lines(found), *kept_lines(found, config.folder)):
        console.print(line)
    return 0


def audit(options: argparse.Namespace) -> int:
    """Say how well a release tells your cases that trained it from your others. Stays here."""
    from .audit import audit_lines, audit_release, write_audit  # noqa: PLC0415 - torch
    from .predict import find_release  # noqa: PLC0415

    config = read_site(options.folder)
    release = find_release(config, options.release)
    with _progress() as progress:
        found = audit_release(config, release, epochs=options.epochs, progress=progress)
    for line in audit_lines(found):
        console.print(line)
    console.print(f"kept: {write_audit(config, release, found)}")
    return 0


def view(options: argparse.Namespace) -> int:
    """Show your slides, where the model looked and the reports in a browser of this machine."""
    from .viewer import view as show  # noqa: PLC0415 - the web server takes a second

    site = read_site(options.folder)
    show(site, host=options.host, port=options.port, opens=options.open, say=console.print)
    return 0


def recall(options: argparse.Namespace) -> int:
    """Put a recall notice that came by mail into place: its release is refused from then on."""
    from ghanet_model.recall import read_recall  # noqa: PLC0415 - not for every command

    from .recalls import put_recall, release_key  # noqa: PLC0415

    config = read_site(options.folder)
    notice = read_recall(options.notice, public_pem=release_key(config.folder))
    new = put_recall(config.folder, notice)
    console.print(str(notice))
    console.print("it is refused here from now on" if new else "this was known here already")
    return 0


def _progress() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True)


def add_release_commands(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]",
) -> None:
    """The commands of this module with their options."""
    predicting = add_command(commands, "predict", predict)
    what = "slide or feature files, or folders of them; default: the cases of the slides table"
    predicting.add_argument("slides", nargs="*", type=Path, metavar="SLIDE", help=what)
    predicting.add_argument("--release", type=Path, help=INBOX)
    predicting.add_argument("--output", type=Path, help="default: predictions.csv, or predictions/")
    what = "of 'validate': shows recalibrated survival beside the release's own"
    predicting.add_argument("--recalibration", type=Path, metavar="FILE", help=what)
    what = "of the slide's patient: age=63,sex=female,grade=2,stage=3, as far as known"
    predicting.add_argument("--clinical", metavar="FACTS", help=what)
    what = "numbers also of slides that are unlike the training slides"
    predicting.add_argument("--show-hidden", action="store_true", help=what)
    validating = add_command(commands, "validate", validate)
    validating.add_argument("--release", type=Path, help=INBOX)
    validating.add_argument("--all", action="store_true", help="training cases too: flatters")
    auditing = add_command(commands, "audit", audit)
    auditing.add_argument("--release", type=Path, help=INBOX)
    auditing.add_argument("--epochs", type=int, default=10, help="of the references; default: 10")
    viewing = add_command(commands, "view", view)
    viewing.add_argument("--port", type=int, default=8765, help="default: 8765")
    viewing.add_argument("--host", default="127.0.0.1", help="default: this machine only")
    viewing.add_argument("--open", action="store_true", help="open a browser")
    recalling = add_command(commands, "recall", recall)
    recalling.add_argument("notice", type=Path, metavar="FILE", help="from the coordinator")
