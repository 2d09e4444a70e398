"""The numbers of a plan, from what hospitals told. Pure: asks nobody, writes no file."""

import datetime as dt
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ghanet_model.dyadic import nodes_of, spread
from ghanet_model.errors import GenesError
from ghanet_model.genes import candidate_columns, candidate_groups
from ghanet_model.kaplan_meier import DEAD, MONTHS, at_risk
from ghanet_model.network import DECODERS, new_model
from ghanet_model.panel import coverage, missing_columns
from ghanet_model.question import Sums, add_sums
from ghanet_model.rehearsal import SIZES, stand_in_panel
from ghanet_model.release import model_config
from ghanet_model.study import BFLOAT16, StudyConfig

from .bins import propose_edges
from .cohort import summary_of
from .plan_power import power_json
from .plan_warnings import warnings_of
from .roster import Member

MEGABITS = 10  # per second: a line as some hospitals have it


@dataclass(frozen=True, slots=True)
class Found:
    """What hospitals told, by name."""

    study: StudyConfig
    members: tuple[Member, ...]
    rehearsed: dict[str, Sums] = field(repr=False)
    tables: dict[str, Sums] = field(repr=False)  # of cohorts; perhaps told before
    genes: dict[str, Sums] = field(repr=False)
    times: dict[str, Sums] = field(repr=False)  # of evaluated cases
    why: dict[str, str]  # why one would not take part
    unlike: str  # whose features differ from the others'


def plan_json(found: Found, *, needed: int) -> dict[str, Any]:
    """All numbers of a plan.

    Args:
        found: what hospitals told.
        needed: training hospitals that a round needs.
    """
    study, sizes = found.study, model_sizes(found.study, found.genes)
    hospitals = [_hospital(found, member, sizes) for member in found.members]
    ready = [hospital for hospital in hospitals if not hospital["why"]]
    tree = _times(found.tables.values())
    plan = {
        "study": study.digest,
        "name": study.name,
        "made": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "hospitals": hospitals,
        "training_hospitals": {
            "needed": needed,
            "ready": sum(hospital["role"] == "trains" for hospital in ready),
        },
        "model": sizes,
        "round": _round(ready),
        "whole": _whole(study, ready),
        "genes": _genes(found),
        "time_bins": _time_bins(study, tree),
        "power": power_json(study, ready, found.tables),
    }
    return {**plan, "warnings": warnings_of(study, plan, found.tables, found.unlike)}


def model_sizes(study: StudyConfig, genes: Mapping[str, Sums]) -> dict[str, int]:
    """Parameters of the model: all, and of gene decoders; with every gene that all measured."""
    columns = candidate_columns(study)
    total = add_sums(genes.values())["sites"] if genes else np.zeros(len(columns))
    common = {columns[i] for i in np.flatnonzero(total == len(genes))}
    try:
        panel = stand_in_panel(study, common)
    except GenesError:  # a group that nobody can learn, see the warnings
        panel = stand_in_panel(study)
    state = new_model(model_config(study, panel), seed=study.seed).state_dict()
    counts = {name: tensor.numel() for name, tensor in state.items()}
    decoders = sum(count for name, count in counts.items() if name.startswith(DECODERS))
    return {"parameters": sum(counts.values()), "decoders": decoders, "genes": len(panel.columns)}


def _hospital(found: Found, member: Member, sizes: Mapping[str, int]) -> dict[str, Any]:
    """A row of the table; None where a number is small, untold or not known."""
    name, rehearsed = member.name, found.rehearsed.get(member.name)
    table = summary_of(found.tables[name]) if name in found.tables else None
    told = _sizes(rehearsed) if rehearsed else dict.fromkeys(SIZES, None)
    if rehearsed is None and table:
        told |= {key: table[key] for key in ("cases", "training")}
    why = found.why.get(name) or _lacks(found.study, member, told)
    tree = found.times[name]["times"] if name in found.times else np.zeros((2, 1))
    return {
        "name": name,
        "role": member.role,
        "has_genes": member.has_genes,
        "why": why,
        **told,
        "described_cases": table["cases"] if table else None,
        "events": table["events"] if table else None,
        "evaluated_events": int(tree[DEAD].sum()) if tree.any() else None,
        "seconds": _seconds(rehearsed),
        "megabytes": megabytes(found.study, member, sizes),
        "feature_megabytes": round(float(rehearsed["megabytes"][0]), 1) if rehearsed else None,
    }


def _sizes(rehearsed: Sums) -> dict[str, int | None]:
    return {key: int(value) or None for key, value in zip(SIZES, rehearsed["sizes"], strict=True)}


def _lacks(study: StudyConfig, member: Member, told: Mapping[str, int | None]) -> str:
    """Why a hospital that answers would not train all the same."""
    needs = f"; {study.minimum_cases} at least are needed"
    if member.trains and not told["training"]:
        return "too few training cases" + needs
    if member.has_genes and not told["with_genes"]:
        return "too few training cases with genes" + needs
    return ""


def _seconds(rehearsed: Sums | None) -> dict[str, float] | None:
    if rehearsed is None:
        return None
    training, evaluation = (round(float(part), 2) for part in rehearsed["seconds"])
    return {"training": training, "evaluation": evaluation}


def megabytes(study: StudyConfig, member: Member, sizes: Mapping[str, int]) -> dict[str, float]:
    """To and from a hospital in one round."""
    width = 2 if study.exchange_precision == BFLOAT16 else 4
    trained = sizes["parameters"] - (0 if member.has_genes else sizes["decoders"])
    received = trained if member.trains else 0
    return {
        "sent": round(width * sizes["parameters"] / 1e6, 3),
        "received": round(width * received / 1e6, 3),
    }


def _round(ready: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One round: hospitals work at the same time, so the slowest counts."""
    seconds = {hospital["name"]: sum(hospital["seconds"].values()) for hospital in ready}
    slowest = max(seconds, key=lambda name: seconds[name], default=None)
    moved = {hospital["name"]: sum(hospital["megabytes"].values()) for hospital in ready}
    return {
        "seconds": round(seconds[slowest], 2) if slowest else None,
        "slowest": slowest,
        "megabytes": round(sum(moved.values()), 3),
        "seconds_at_10_megabits": round(8 * max(moved.values(), default=0.0) / MEGABITS, 1),
    }


def _whole(study: StudyConfig, ready: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """All rounds, the evaluation after the last one, and the release, which is float32."""
    one = _round(ready)
    sent = sum(hospital["megabytes"]["sent"] for hospital in ready)
    short = study.exchange_precision == BFLOAT16
    release, first = (2 * sent, sent) if short else (sent, 0.0)  # round 1 then carries no weights
    last = max((hospital["seconds"]["evaluation"] for hospital in ready), default=0.0)
    moved = study.rounds * one["megabytes"] - first + sent + release
    seconds = study.rounds * (one["seconds"] or 0.0) + last
    return {"rounds": study.rounds, "seconds": round(seconds, 1), "megabytes": round(moved, 3)}


def _genes(found: Found) -> dict[str, Any]:
    """Candidates of each group, columns that all measured, and those of every hospital."""
    lacking = missing_columns(found.study, found.genes)
    gone = {column for columns in lacking.values() for column in columns}
    groups = {
        name: {"candidates": len(columns), "everywhere": len(set(columns) - gone)}
        for name, columns in candidate_groups(found.study)
    }
    measured = coverage(found.study, found.genes)
    return {"groups": groups if found.genes else {}, "hospitals": measured}


def _times(tables: Iterable[Sums]) -> NDArray[np.float64]:
    """Months of all cases (2, nodes), as far as they are told."""
    return sum((table["times"] for table in tables), np.zeros((2, nodes_of(MONTHS))))


def _time_bins(study: StudyConfig, tree: NDArray[np.float64]) -> dict[str, Any]:
    """The study's edges with the deaths between them, and others that follow-up proposes."""
    deaths, proposed = spread(tree)[DEAD], propose_edges(tree)
    month = [0, *(min(math.floor(edge), MONTHS) for edge in study.time_bin_edges), MONTHS]
    parts = [deaths[a:b].sum() for a, b in itertools.pairwise(month)]
    return {
        "edges": list(study.time_bin_edges),
        "deaths": [round(float(part), 1) for part in parts],
        "proposed": list(proposed.edges),
        "why": proposed.sentence,
        "last_month": int((at_risk(tree) >= 1).sum()),
    }
