"""``ghanet-client slides check`` and ``slides extract``: the work, for the command to call."""

from pathlib import Path

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)

from ghanet_model.errors import DeploymentError, GHANetError, SlideError
from ghanet_model.study import read_study

from .config import SiteConfig, read_site
from .contact_sheet import write_sheets
from .encoders import EncoderFile, load_encoder
from .extraction_run import RunResult, Standing, require_all, run
from .slide_check import look_at_all, seconds_per_patch, write_table
from .slide_list import ListedSlide, list_slides
from .slides_table import (
    list_lines,
    print_refused,
    print_slides,
    result_lines,
    study_lines,
    sum_line,
)


def check_slides(folder: Path, *, workers: int | None, console: Console) -> None:
    """Look at every slide and say what would become of it.

    Raises:
        SlideError: a slide or the encoder cannot be used; all are said first.
        GHANetError: settings or the slides table cannot be used.
    """
    config, study = read_site(folder), read_study(folder)
    listed, workers = list_slides(config, study), workers or config.threads
    for line in study_lines(study):
        console.print(line)
    with _progress(console) as progress:
        bar = progress.add_task("looking at slides", total=len(listed.slides))
        found = look_at_all(
            listed.slides, study.extraction, workers=workers, told=lambda: progress.advance(bar)
        )
    wrong: GHANetError | None = None
    seconds = None
    try:
        file = EncoderFile(config.encoder_file, config.encoder_trust)
        encoder = load_encoder(study, file, threads=1, device=config.device)
        seconds = seconds_per_patch(found, study.extraction, encoder)
    except (SlideError, DeploymentError) as error:
        wrong = error
    print_slides(console, found, seconds)
    for line in list_lines(listed):
        console.print(line)
    console.print(sum_line(found, seconds, workers=workers))
    console.print(f"table: {write_table(folder, found, seconds)}")
    if wrong:
        raise wrong
    refused = [one for one in found if one.refused]
    if refused:
        raise SlideError(
            f"{len(refused)} of {len(found)} slides cannot be used, see above",
            hint="mend them, or drop their rows of the slides table",
        )
    if not found:
        raise SlideError("no slides", hint="see 'slide_files' in site.yaml")


def extract_slides(folder: Path, *, workers: int | None, console: Console) -> None:
    """Make the features that are missing, then the contact sheets.

    Raises:
        SlideError: some slides have no features; all others have.
        GHANetError: settings, table, encoder or folder cannot be used.
    """
    config, study = read_site(folder), read_study(folder)
    listed, workers = list_slides(config, study), workers or config.threads
    for line in (*study_lines(study), *list_lines(listed)):
        console.print(line)
    with _progress(console) as progress:
        bar = progress.add_task("extracting", total=None)

        def show(now: Standing) -> None:
            said = f"extracting: {now.slides} slides done, patches"
            progress.update(
                bar,
                description=said,
                completed=now.patches,
                total=max(now.patches, round(now.expected)),
            )

        result = run(config, study, listed.slides, workers=workers, show=show)
    for one in result.refused:
        print_refused(console, one.slide, one.why, one.hint)
    for line in result_lines(result):
        console.print(line)
    for page in _sheets(config, listed.slides, result):
        console.print(f"contact sheet: {page}")
    require_all(result)


def _sheets(config: SiteConfig, slides: tuple[ListedSlide, ...], result: RunResult) -> list[Path]:
    gone = {one.slide for one in result.refused}
    named = [
        (slide.name, result.folder / f"{slide.name}.h5", f"row {slide.row}" if slide.row else "")
        for slide in slides
        if slide not in gone
    ]
    return write_sheets(config.folder, named)


def _progress(console: Console) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    return Progress(*columns, TimeRemainingColumn(), console=console, transient=True)
