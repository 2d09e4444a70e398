"""Everything that is missing from a report, by hospital, with the reason. Pure."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ghanet_model.page_numbers import part, plural, runs
from ghanet_model.wire import FEW_CASES

from .report_rounds import END, LEFT_OUT, QUARANTINED, RELEASED
from .report_run import RunReport

FINAL = {END: "final evaluation", RELEASED: "evaluation of the released model"}
SMALL = "a small cell: fewer cases than the study lets out, or a cell that would tell of one"
WHY = {FEW_CASES: "fewer cases than the study's minimum"}
WIDE = "known for too few cases, or told in spans too wide to say it"
CLASSES = ("sex", "stage", "grade")
SIZES = {
    "cases": "cases",
    "training": "cases to train on",
    "held_out": "held-out cases",
    "with_genes": "cases with genes",
    "events": "deaths",
}
ESTIMATES = {"follow_up": "median follow-up", "age": "age"}
Row = dict[str, str]


def withheld_of(found: RunReport, stages: Sequence[Mapping[str, Any]]) -> list[Row]:
    """One row for each thing, hospitals in the roster's order.

    Args:
        found: the run.
        stages: its participation.
    """
    rows = [
        *_of_standing(found),
        *_of_rounds(stages),
        *_of_file(found.cohort, "cohort table"),
        *_of_cohort(found.cohort),
        *_of_file(found.signature, "comparison of features"),
        *_of_panel(found.panel),
        *(part(found.evaluation, "withheld") or ()),
        *_of_file(found.reference, "usual slides, risks and gene groups"),
    ]
    order = {name: place for place, name in enumerate(found.roster.names())}
    return sorted(rows, key=lambda row: order.get(row["hospital"], len(order)))


def _row(hospital: str, what: str, why: str) -> Row:
    return {"hospital": hospital, "what": what, "why": why}


def _of_standing(found: RunReport) -> Iterator[Row]:
    for member in found.roster.members:
        if member.standing:
            yield _row(member.name, "everything after it was out", member.standing)


def _of_rounds(stages: Sequence[Mapping[str, Any]]) -> Iterator[Row]:
    """Answers that were missing, not used, or not told, rounds of one reason together."""
    names: dict[tuple[str, str, str], list[str]] = defaultdict(list)
    for stage in stages:
        for name, deed in stage["hospitals"].items():
            out = deed["did"] in (LEFT_OUT, QUARANTINED)
            what = deed["did"] if out else "C-index of the incoming model"
            if deed["why"]:
                names[name, what, deed["why"]].append(stage["stage"])
    for (name, what, why), found in names.items():
        yield _row(name, f"{what}: {when(found)}", WHY.get(why, why))


def when(stages: Sequence[str]) -> str:
    """Stages in words.

    >>> when(["7", "8", "end"])
    'rounds 7, 8 and final evaluation'
    """
    rounds = [int(stage) for stage in stages if stage.isdecimal()]
    counted = [f"round{'s' * (len(rounds) > 1)} {runs(rounds)}"] if rounds else []
    return " and ".join([*counted, *(FINAL[stage] for stage in FINAL if stage in stages)])


def _of_file(values: Mapping[str, Any] | None, what: str) -> Iterator[Row]:
    """Hospitals that did not answer a question of the statistics."""
    for name, why in (part(values, "left_out") or {}).items():
        yield _row(name, what, str(why))


def _of_cohort(cohort: Mapping[str, Any] | None) -> Iterator[Row]:
    """Cells of the cohort table that hospitals did not tell, and what needs more cases."""
    for name, values in (part(cohort, "hospitals") or {}).items():
        own = values or {}
        cells = [word for key, word in SIZES.items() if own.get(key, 0) is None]
        for key in CLASSES:
            hidden = [word for word, told in (own.get(key) or {}).items() if told is None]
            cells += [f"{key} {word}" for word in hidden]
        if cells:
            told = f"{plural(len(cells), 'cell')} of the cohort table: {', '.join(cells)}"
            yield _row(name, told, SMALL)
        for key, word in ESTIMATES.items():
            if own.get(key, 0) is None:
                yield _row(name, word, WIDE)


def _of_panel(panel: Mapping[str, Any] | None) -> Iterator[Row]:
    """Genes that a hospital did not measure, which are therefore learnt nowhere."""
    for name, columns in (part(panel, "missing") or {}).items():
        if columns:
            first = ", ".join(columns[:5]) + (", ..." if len(columns) > 5 else "")
            what = f"{plural(len(columns), 'gene column')} not measured: {first}"
            yield _row(name, what, "a column is learnt where every hospital with genes has it")
