"""What a look at slides and a run over them found, as text for people at the hospital."""

from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.table import Table

from ghanet_model.extraction import encoder_terms
from ghanet_model.study import StudyConfig

from .extraction_run import RunResult
from .slide_check import Looked
from .slide_list import ListedSlide, SlideList
from .slides import SlideFacts

MOST_ROWS = 20  # of slides that can be used; the CSV has all
MOST_NAMES = 20  # of files that no row names


def study_lines(study: StudyConfig) -> Iterator[str]:
    """How the study wants slides to be cut, and by which encoder."""
    cut = study.extraction
    yield (
        f"study {study.name}: patches of {cut.pixels} pixels at {cut.mpp:g} microns per pixel "
        f"({cut.microns:g} microns wide), at least {100 * cut.least_tissue:.0f}% tissue"
    )
    digest = f", digest {cut.sha256[:16]}" if cut.sha256 else ", no digest in the study"
    yield f"encoder {study.encoder}{digest}; its terms: {encoder_terms(study.encoder, cut)}"


def print_slides(console: Console, found: Sequence[Looked], seconds: float | None) -> None:
    """One line per slide that can be used, then each that cannot, with reason and remedy."""
    usable = [(one, one.facts) for one in found if one.facts and not one.refused]
    if usable:
        console.print(_table(usable[:MOST_ROWS], seconds))
    if len(usable) > MOST_ROWS:
        console.print(f"and {len(usable) - MOST_ROWS} more that can be used, all in the table")
    for one, _ in usable:
        for text in one.notes:
            console.print(f"note: {called(one.slide)}: {text}")
    for one in found:
        if one.refused:
            print_refused(console, one.slide, one.refused, one.hint)


def _table(usable: Sequence[tuple[Looked, SlideFacts]], seconds: float | None) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("slide", overflow="fold", min_width=20)
    table.add_column("vendor")
    for name in ("size", "mpp", "from", "tissue mm2", "share", "patches", "time"):
        table.add_column(name, justify="right", no_wrap=True)
    for one, facts in usable:
        table.add_row(
            one.slide.name,
            facts.vendor,
            f"{facts.width} x {facts.height}",
            f"{facts.mpp:.4g}",
            facts.mpp_from,
            f"{one.tissue:.2f}",
            f"{100 * one.share:.0f}%",
            f"{one.patches:,}",
            duration(one.patches * seconds) if seconds else "?",
        )
    return table


def print_refused(console: Console, slide: ListedSlide, why: str, hint: str) -> None:
    """A slide that has no features, and what to do."""
    console.print(f"refused: {called(slide)}: {why}")
    if hint:
        console.print(f"  hint: {hint}")


def called(slide: ListedSlide) -> str:
    """A slide by name and row; for this hospital's own screen only."""
    row = f" (row {slide.row})" if slide.row else ""
    return f"{slide.name}{row}"


def list_lines(listed: SlideList) -> Iterator[str]:
    """What is to be said of table and folder."""
    yield from listed.notes
    if listed.unlisted:
        count, names = len(listed.unlisted), ", ".join(listed.unlisted[:MOST_NAMES])
        more = count - MOST_NAMES
        tail = f" and {more} more" if more > 0 else ""
        yield f"in no row of the slides table: {count} files, not used: {names}{tail}"


def sum_line(found: Sequence[Looked], seconds: float | None, *, workers: int) -> str:
    """All slides in one line."""
    patches, usable = sum(one.patches for one in found), sum(not one.refused for one in found)
    rate = f"{1 / seconds:.0f} patches per second and worker, " if seconds else ""
    long = f"about {duration(patches * seconds / workers)}" if seconds else "time not known"
    return (
        f"{usable} of {len(found)} slides can be used: {patches:,} patches; {rate}{long} with "
        f"{workers} workers"
    )


def result_lines(result: RunResult) -> Iterator[str]:
    """What a run did."""
    for slide, text in result.warned:
        yield f"note: {called(slide)}: {text}"
    yield (
        f"{result.made} slides made ({result.patches:,} patches), {result.already} were done "
        f"before, {len(result.refused)} refused: {result.folder}"
    )


def duration(seconds: float) -> str:
    """'40 s', '12 min', '3.5 h'."""
    if seconds < 1:
        return "< 1 s"
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
