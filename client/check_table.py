"""What a check found as text for people, 80 columns wide: numbers, then problems. No case id."""

import textwrap
from collections.abc import Iterator
from itertools import groupby
from statistics import median

from .check import SiteReport
from .table import Problem

_WIDTH = 80
_LABEL = 24  # columns
_Row = tuple[str, object]  # label and value


def render(report: SiteReport) -> str:
    """What was understood, a table of numbers, every problem; that of many rows is said once."""
    study = f"{report.study}, digest {report.digest[:16]}"
    facts: list[_Row] = [("site", report.site), ("study", study)]
    parts = [
        [line for row in rows for line in _row_lines(*row)]
        for rows in (facts, _case_rows(report), _feature_rows(report), _gene_rows(report))
    ]
    if report.understood:
        parts.insert(1, ["understood", *(t for one in report.understood for t in _wrapped(one, 2))])
    parts += [
        _wrapped(f"cannot train: {why}; enough for the role 'infers'", 0) for why in report.training
    ]
    parts.append([f"problems: {len(report.problems) or 'none'}", *_problem_lines(report.problems)])
    return "\n\n".join("\n".join(part) for part in parts)


def _case_rows(report: SiteReport) -> Iterator[_Row]:
    yield "cases", report.cases
    yield "  held out", report.held_out
    yield "  with outcome", report.with_outcome
    yield "  events", report.events
    if report.outcomes:
        months = [outcome.time for outcome in report.outcomes]
        span = f"{min(months):.0f} to {max(months):.0f} months"
        yield "  follow-up", f"median {median(months):.0f}, {span}"
    yield "  withdrawn", report.withdrawn
    yield "rows left out", sum(one.rows for one in report.left_out)
    for one in report.left_out:
        yield "", f"{one.rows} of {one.table}: {one.what}"


def _feature_rows(report: SiteReport) -> Iterator[_Row]:
    one, two, more = report.slides_per_case
    yield "slides", report.slides
    yield "  cases with one", one
    yield "  cases with two", two
    yield "  cases with more", more
    yield "features", report.features or "none found"
    yield "  patches", report.patches
    yield "  numbers per patch", report.width or "-"
    yield "  encoder", report.encoder
    yield "  its terms", report.terms


def _gene_rows(report: SiteReport) -> Iterator[_Row]:
    if not report.genes:
        yield "genes", "none"
        return
    yield "cases with genes", report.with_genes
    yield "gene columns", f"measured in {report.minimum_cases} cases or more, of the study's"
    for one in report.genes:
        yield f"{one.measured:>8} of {one.candidates}", one.group


def _row_lines(label: str, value: object) -> list[str]:
    start = f"{label:<{_LABEL}}"
    return _fill(str(value), start, " " * _LABEL)


def _wrapped(text: str, indent: int) -> list[str]:
    return _fill(text, " " * indent, " " * (indent + 2))


def _fill(text: str, first: str, later: str) -> list[str]:
    return textwrap.wrap(
        text, _WIDTH, initial_indent=first, subsequent_indent=later, break_on_hyphens=False
    )


def _problem_lines(problems: tuple[Problem, ...]) -> list[str]:
    lines = []
    key = {p: (p.table, p.what, p.hint) for p in problems}
    first = {k: i for i, k in reversed(list(enumerate(key[p] for p in problems)))}
    ordered = sorted(problems, key=lambda p: first[key[p]])
    for (table, what, hint), same in groupby(ordered, key=lambda p: key[p]):
        rows = sorted({p.row for p in same if p.row is not None})
        place = f"{table} row{'s' * (len(rows) > 1)} {_ranges(rows)}" if rows else table
        lines += _wrapped(f"{place}: {what}", 2)
        lines += _wrapped(f"hint: {hint}", 4) if hint else []
    return lines


def _ranges(rows: list[int]) -> str:
    """[2, 3, 4, 9] as '2-4, 9'."""
    parts: list[list[int]] = []
    for row in rows:
        if parts and row == parts[-1][-1] + 1:
            parts[-1] = [parts[-1][0], row]
        else:
            parts.append([row])
    return ", ".join("-".join(map(str, part)) for part in parts)
