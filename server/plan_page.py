"""A plan for people, in a terminal."""

from collections.abc import Iterator, Mapping
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from .follow import number_or_dash

Plan = Mapping[str, Any]
PLAN_FILE = "plan.json"  # below report/
COLUMNS = ("hospital", "role", "cases", "deaths", "train", "genes", "evaluate", "s", "MB")
MOST_GROUPS = 12  # shown; those of which least is measured


def print_plan(plan: Plan, console: Console) -> None:
    """Show all of a plan but its smallest numbers, which are in report/plan.json."""
    console.print(_hospitals(plan))
    for hospital in plan["hospitals"]:
        if hospital["why"]:
            console.print(f"{hospital['name']} would not take part: {hospital['why']}")
    if plan["genes"]["groups"]:
        console.print(_coverage(plan))
    for line in (*_time(plan), *_bins(plan), *_power(plan)):
        console.print(line)
    for warning in plan["warnings"]:
        console.print(f"warning: {warning}")


def _hospitals(plan: Plan) -> Table:
    """Who could take part; s and MB are of one round."""
    table = _table(f"{plan['name']}: hospitals, and what a round takes", *COLUMNS, left=2)
    table.caption = "untold: none, or fewer than the hospital tells; s and MB: of one round"
    for one in plan["hospitals"]:
        seconds, moved = one["seconds"], sum(one["megabytes"].values())
        table.add_row(
            one["name"],
            one["role"],
            *(_told(one[key]) for key in ("cases", "events")),
            _told(one["training"]) if one["role"] == "trains" else "-",
            _told(one["with_genes"]) if one["has_genes"] else "-",
            _told(one["evaluated"]),
            f"{sum(seconds.values()):.1f}" if seconds else "-",
            "-" if one["why"] else f"{moved:.1f}",
        )
    return table


def _coverage(plan: Plan) -> Table:
    """Genes measured of each group, by hospital; the groups that fare worst."""
    genes = plan["genes"]
    groups = sorted(genes["groups"].items(), key=lambda g: g[1]["everywhere"] / g[1]["candidates"])
    names = list(genes["hospitals"])
    title = "genes measured" + (f", the worst {MOST_GROUPS} groups" * (len(groups) > MOST_GROUPS))
    table = _table(title, "group", "of", "by all", *names, left=1)
    for group, found in groups[:MOST_GROUPS]:
        own = (str(genes["hospitals"][name][group][0]) for name in names)
        table.add_row(group, str(found["candidates"]), str(found["everywhere"]), *own)
    return table


def _table(title: str, *columns: str, left: int) -> Table:
    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", caption_justify="left")
    for place, column in enumerate(columns):
        table.add_column(column, justify="left" if place < left else "right", no_wrap=bool(place))
    return table


def _time(plan: Plan) -> Iterator[str]:
    """Seconds and bytes, of one round and in all."""
    one, whole = plan["round"], plan["whole"]
    if one["slowest"] is None:
        yield "time: no hospital is ready"
        return
    yield (
        f"a round: about {_duration(one['seconds'])} at {one['slowest']}, the slowest, and "
        f"{one['megabytes']:.1f} MB to and from all; with the time that these take on the way, "
        f"which is not measured ({one['seconds_at_10_megabits']:.0f} s at 10 Mbit/s)"
    )
    yield (
        f"{whole['rounds']} rounds: about {_duration(whole['seconds'])} of computing and "
        f"{whole['megabytes']:.0f} MB, release included"
    )


def _duration(seconds: float) -> str:
    """Seconds as people say them.

    >>> [_duration(seconds) for seconds in (0.4, 45, 600, 9000)]
    ['0.4 s', '45 s', '10 min', '2.5 h']
    """
    if seconds < 120:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _bins(plan: Plan) -> Iterator[str]:
    bins = plan["time_bins"]
    edges, deaths = (" ".join(f"{value:g}" for value in bins[key]) for key in ("edges", "deaths"))
    yield f"time bins: edges {edges}, with {deaths} deaths that are told"
    proposed = " ".join(f"{edge:g}" for edge in bins["proposed"])
    yield f"  proposed: {proposed}; {bins['why']}" if proposed else f"  {bins['why']}"


def _power(plan: Plan) -> Iterator[str]:
    """How exactly C-indices will be known."""
    power = plan["power"]
    if not power["cases"]:
        return
    low, high = (number_or_dash(power["detectable"][key]) for key in ("0.8", "0.5"))
    yield (
        f"evaluation: {power['cases']} cases with about {power['deaths']} deaths; a C-index is "
        f"known to +-{number_or_dash(power['half_width'])} (95%); a difference of two models is "
        f"found in 4 of 5 studies if it is {low} (risks correlated 0.8) to {high} (0.5)"
    )
    by: dict[str, list[str]] = {}
    for name, found in power["hospitals"].items():
        by.setdefault(found["how"], []).append(name)
    for how, names in by.items():
        if how != "told":
            yield f"  deaths of {', '.join(names)} are {how}"


def _told(number: int | None) -> str:
    return "untold" if number is None else str(number)
