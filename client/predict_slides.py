"""``ghanet-client predict SLIDE ...``: the work, for the command to call."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from ghanet_model.errors import SettingsError, SlideError
from ghanet_model.files import write_atomic
from ghanet_model.page_numbers import plural
from ghanet_model.release import NOTICE, Release

from .band import what_it_is
from .config import SiteConfig
from .predict import provenance, survival_columns
from .recalibration import Recalibration
from .slide_answer import Shown
from .slide_gate import UNKNOWN
from .slide_prediction import Answered, Predictor, answer_all, find_slides

TABLE_FILE = "slides.csv"
MOST_NAMED = 5  # reports that the screen names


def predict_slides(  # noqa: PLR0913 - what the command was given
    config: SiteConfig,
    release: Release,
    paths: Sequence[Path],
    *,
    output: Path,
    console: Console,
    shown: Shown,
) -> None:
    """Answers for single slides, three files each, and a table of them.

    Raises:
        SlideError: a slide was refused; all others have answers.
        SettingsError: what is known of one patient, and several slides.
        GHANetError: the release, the encoder or a path cannot be used.
    """
    slides = find_slides(paths)
    if shown.patient and len(slides) > 1:
        raise SettingsError(
            f"--clinical is about one patient, here are {len(slides)} slides",
            hint="name one slide",
        )
    predictor = Predictor.of(config, release, output, shown)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        bar = progress.add_task("predicting", total=len(slides))
        answers = answer_all(predictor, slides, lambda: progress.advance(bar))
    table = table_of(release, answers, shown.recalibration)
    write_atomic(output / TABLE_FILE, table.encode(), private=True)
    console.print(NOTICE)
    for one in answers:
        if one.refused:
            console.print(f"refused: {one.name}: {one.refused}")
            console.print(f"  hint: {one.hint}")
    good, before = sum(not one.refused for one in answers), sum(one.again for one in answers)
    earlier = f", {before} of them before" if before else ""
    console.print(f"{plural(good, 'slide')} predicted{earlier}: {output / TABLE_FILE}")
    _say_hidden(answers, console)
    named = [one for one in answers if not one.refused][:MOST_NAMED]
    for one in named:
        console.print(f"report: {output / one.name}.html, to be opened in a browser")
    if len(named) < good:
        console.print(f"and {plural(good - len(named), 'more report')} beside it")
    if good < len(answers):
        raise SlideError(
            f"no answer for {len(answers) - good} of {plural(len(answers), 'slide')}, see above",
            hint="mend them, or leave them out",
        )


def _say_hidden(answers: Sequence[Answered], console: Console) -> None:
    """Which answers have no number, and why; who could not be checked."""
    for one in (own for own in answers if own.unlike):
        console.print(f"no number: {one.name}: unlike the training slides in {one.unlike}")
    if any(one.unlike for one in answers):
        console.print("  hint: another stain, scanner, organ or magnification? --show-hidden tells")
    if any(one.gate == UNKNOWN for one in answers):
        console.print("not checked: whether a slide is like the training slides (see the reports)")


def table_of(
    release: Release, answers: Sequence[Answered], recalibration: Recalibration | None = None
) -> str:
    """All answers as CSV with notices on top; a refused slide has its reason, no numbers."""
    text = io.StringIO()
    text.write(provenance(release))
    text.write(f"# low, high: {what_it_is(release)}\n" if release.ensemble else "")
    text.write(f"# recalibrated: {recalibration.said}\n" if recalibration else "")
    writer = csv.writer(text, lineterminator="\n")
    columns = survival_columns(release, recalibrates=recalibration is not None)
    writer.writerow(["slide", "risk", "risk_group", *columns, "gate", "refused"])
    for one in answers:
        risk = "" if one.risk is None else f"{one.risk:.6f}"
        said = [*one.survival, *one.band, *one.recalibrated]
        survival = [f"{value:.6f}" for value in said] or [""] * len(columns)
        writer.writerow([one.name, risk, one.risk_group, *survival, one.gate, one.refused])
    return text.getvalue()
