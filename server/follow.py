"""Following a run: progress from its file, live in a terminal, a line per change elsewhere."""

import time
from collections.abc import Callable
from typing import Any

from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from ghanet_model.errors import DeploymentError, TrainingError

from . import control, progress
from .config import ServerConfig

START_SECONDS = 120.0  # for a run to write its first progress
CHECK_SECONDS = 5.0  # between questions to Flower


def follow(config: ServerConfig, run: str, console: Console) -> progress.Progress:
    """Show a run until it ends; the progress it ended with.

    Raises:
        TrainingError: the run failed, with its own words.
        DeploymentError: it stopped without a word, or never began.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[rest]}"))
    with Progress(*columns, TimeElapsedColumn(), console=console, transient=True) as bars:
        bar = bars.add_task("starting", total=None, rest="")
        shown, told = "", -1  # rounds told of; those before this run are old news
        left_out: set[str] = set()  # lines about hospitals, each said once

        def show(now: progress.Progress) -> None:
            nonlocal shown, told
            bars.update(
                bar,
                description=describe(now),
                total=now.rounds or None,
                completed=now.round_number - (now.phase == progress.ROUND),
                rest=f"{sites_line(now)}  {rest_of(now)}",
            )
            if now.rounds:
                for number in range(told + 1, len(now.round_bytes) + 1) if told >= 0 else ():
                    bars.console.print(round_line(now, number), highlight=False)
                told = len(now.round_bytes)
            if (line := describe(now)) != shown:
                shown = line
                bars.console.print(line, highlight=False)
            for line in left_out_lines(now):
                if line not in left_out:
                    left_out.add(line)
                    bars.console.print(line, highlight=False)

        last = _watch(config, run, show)
    if last.phase == progress.FAILED:
        raise TrainingError(last.error, hint=last.hint)
    return last


def _watch(
    config: ServerConfig, run: str, show: Callable[[progress.Progress], None]
) -> progress.Progress:
    """Call ``show`` with every change until the run ends or is gone."""
    began = checked = time.monotonic()
    while True:
        now = progress.read_progress(config.state)
        mine = now if now and now.run == run else None
        if mine:
            show(mine)
            if mine.ended:
                return mine
        if mine and not progress.is_running(config.state):
            time.sleep(0.5)  # it may have written its last word just now
            last = progress.read_progress(config.state)
            if last and last.run == run and last.ended:
                return last
            raise DeploymentError(
                f"the run stopped in {describe(mine)}",
                hint="run 'ghanet-server train': it goes on from there",
            )
        if not mine and time.monotonic() - checked > CHECK_SECONDS:
            checked = time.monotonic()
            _require_starting(config, run, waited=checked - began)
        time.sleep(0.2)


def _require_starting(config: ServerConfig, run: str, *, waited: float) -> None:
    ended = control.run_status(config, run).startswith("finished")
    if not ended and waited > START_SECONDS:
        control.stop_run(config, run)  # so that the next 'train' does not wait for it again
    if ended or waited > START_SECONDS:
        raise DeploymentError(
            "the run did not begin", hint="see logs/superexec.log and logs/superlink.log"
        )


def describe(now: progress.Progress) -> str:
    """Where a run stands, in a few words."""
    if now.phase == progress.ROUND:
        return f"round {now.round_number} of {now.rounds}"
    return now.phase


def left_out_lines(now: progress.Progress) -> list[str]:
    """Which hospitals' answers are missing in what goes on now, and why."""
    mark = "left out: "
    return [
        f"{describe(now)}: {name}: {doing.removeprefix(mark)}"
        for name, doing in now.sites.items()
        if doing.startswith(mark)
    ]


def round_line(now: progress.Progress, number: int) -> str:
    """What a finished round took."""
    seconds, moved = now.round_seconds[number - 1], now.round_bytes[number - 1]
    return f"round {number} took {seconds:.0f} s and moved {megabytes(moved)} MB"


def sites_line(now: progress.Progress) -> str:
    """How many hospitals answered, or who is awaited."""
    if now.phase == progress.WAITING:
        absent = [name for name, doing in now.sites.items() if doing == "not connected"]
        return "waiting for " + ", ".join(absent) if absent else ""
    answered = sum(doing == "answered" for doing in now.sites.values())
    return f"{answered} of {len(now.sites)} hospitals answered" if now.sites else ""


def rest_of(now: progress.Progress) -> str:
    """Estimate of the time left, from the mean round so far."""
    if not now.round_seconds or not now.rounds:
        return ""
    mean = sum(now.round_seconds) / len(now.round_seconds)
    left = (now.rounds - len(now.round_seconds)) * mean
    return f"about {left / 60:.0f} min left" if left >= 90 else f"about {left:.0f} s left"


def report_table(report: dict[str, Any]) -> Table:
    """The table of sites of a report."""
    title = f"{report['study']}: {report['rounds']} rounds, C-index before and after"
    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", caption_justify="left")
    for column in ("site", "role", "genes", "cases", "events", "evaluated", "before", "after"):
        text = column in ("site", "role")
        table.add_column(column, justify="left" if text else "right", no_wrap=text)
    for site in report["sites"]:
        table.add_row(
            site["name"],
            site["role"],
            "yes" if site["has_genes"] else "no",
            str(site["cases"]),
            _events(site["events"], site["untold_events"]),
            str(site["evaluated"]),
            number_or_dash(site["c_index_before"]),
            number_or_dash(site["c_index"]) + (f" ({site['note']})" if site["note"] else ""),
        )
    table.add_section()
    before, after = report["c_index_before"], report["c_index"]
    table.add_row("all, by pairs", *[""] * 5, number_or_dash(before), number_or_dash(after))
    traffic = report["traffic"]
    sent, received = megabytes(traffic["sent_bytes"]), megabytes(traffic["received_bytes"])
    table.caption = f"{sent} MB sent to hospitals, {received} MB received{_with_noise(report)}"
    return table


def _with_noise(report: dict[str, Any]) -> str:
    """The one C-index that a private study has; nothing of another."""
    noisy = (report.get("evaluation") or {}).get("noisy")
    if not noisy:
        return ""
    found = noisy["c_within"]
    if found is None:
        return "\nC-index of the release: not estimable, noise outweighs the cases"
    return (
        f"\nC-index of the release, from noisy counts: {found['value']:.3f} "
        f"({found['low']:.3f} to {found['high']:.3f})"
    )


def _events(events: int, untold: int) -> str:
    """A hospital's number of events, as far as it told it."""
    return f"{events} + untold" if events and untold else "untold" if untold else str(events)


def megabytes(size: int) -> str:
    """Bytes in millions, two digits behind the point."""
    return f"{size / 1e6:.2f}"


def number_or_dash(value: object) -> str:
    """A C-index with three digits, or a dash."""
    return f"{value:.3f}" if isinstance(value, float) else "-"
