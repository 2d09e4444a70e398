"""``ghanet-client predict SLIDE ...``: the work, for the command to call."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from ghanet_model.errors import SlideError
from ghanet_model.files import write_atomic
from ghanet_model.release import NOTICE, Release

from .config import SiteConfig
from .predict import provenance
from .slide_prediction import Answered, Predictor, answer_all, find_slides

TABLE_FILE = "slides.csv"
MOST_NAMED = 5  # reports that the screen names


def predict_slides(
    config: SiteConfig,
    release: Release,
    paths: Sequence[Path],
    *,
    output: Path,
    console: Console,
) -> None:
    """Answers for single slides, three files each, and a table of them.

    Raises:
        SlideError: a slide was refused; all others have answers.
        GHANetError: the release, the encoder or a path cannot be used.
    """
    slides = find_slides(paths)
    predictor = Predictor.of(config, release, output)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        bar = progress.add_task("predicting", total=len(slides))
        answers = answer_all(predictor, slides, lambda: progress.advance(bar))
    table = table_of(release, answers)
    write_atomic(output / TABLE_FILE, table.encode(), private=True)
    console.print(NOTICE)
    for one in answers:
        if one.refused:
            console.print(f"refused: {one.name}: {one.refused}")
            console.print(f"  hint: {one.hint}")
    good, before = sum(not one.refused for one in answers), sum(one.again for one in answers)
    console.print(f"{good} slides predicted, {before} of them before: {output / TABLE_FILE}")
    shown = [one for one in answers if not one.refused][:MOST_NAMED]
    for one in shown:
        console.print(f"report: {output / one.name}.html, to be opened in a browser")
    if len(shown) < good:
        console.print(f"and {good - len(shown)} more reports beside it")
    if good < len(answers):
        raise SlideError(
            f"{len(answers) - good} of {len(answers)} slides have no answer, see above",
            hint="mend them, or leave them out",
        )


def table_of(release: Release, answers: Sequence[Answered]) -> str:
    """All answers as CSV with notices on top; a refused slide has its reason, no numbers."""
    text = io.StringIO()
    text.write(provenance(release))
    writer = csv.writer(text, lineterminator="\n")
    edges = [f"survival_{edge:g}_months" for edge in release.study.time_bin_edges]
    writer.writerow(["slide", "risk", "risk_group", *edges, "refused"])
    for one in answers:
        risk = "" if one.risk is None else f"{one.risk:.6f}"
        survival = [f"{value:.6f}" for value in one.survival] or [""] * len(edges)
        writer.writerow([one.name, risk, one.risk_group, *survival, one.refused])
    return text.getvalue()
