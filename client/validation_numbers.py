"""A release on one hospital's cases, as numbers: order, calibration, curves, errors. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ghanet_model.brier import brier_sums, observed_survival, survival_at
from ghanet_model.evaluation import GROUPS
from ghanet_model.kaplan_meier import (
    MONTHS,
    at_risk,
    kaplan_meier,
    kaplan_meier_interval,
    log_rank,
    median_of,
    reverse_kaplan_meier,
    time_tree,
)
from ghanet_model.page_numbers import part
from ghanet_model.pairs import draw_weights, estimate, replicate_pairs
from ghanet_model.release import Release

from .validation_cases import Cases
from .validation_fit import Estimate, followed, line, shift, slope_between

REPLICATES = 1000  # of the bootstrap behind the C-index's interval
FEW_DEATHS = 10  # below it no slope, no recalibration
SLOPE_DEATHS = 50  # from which on recalibration has a slope; below it is a shift, b = 1
USUAL_DEATHS = 100  # that a validation is usually asked for (Collins et al. 2016)
ALL = "all"
MOST_TICKS = 8
Edges = Sequence[float]
Rows = list[dict[str, Any]]


def validation_numbers(
    cases: Cases, release: Release, *, generator: np.random.Generator
) -> dict[str, Any]:
    """All that is reported; None where it cannot be estimated.

    Args:
        cases: at least one.
        release: that predicted them.
        generator: of the bootstrap.
    """
    edges = release.study.time_bin_edges
    tree = time_tree(cases.time, cases.event, least=1)
    return {
        "cases": len(cases),
        "deaths": int(cases.event.sum()),
        "which": cases.which,
        "training_cases": cases.trained,
        "follow_up": median_of(reverse_kaplan_meier(tree)),
        "horizons": list(edges),
        "c_index": _c_index(cases, generator),
        "release_c_index": release_c_index(release),
        "calibration": [row for months in edges for row in _calibration(cases, edges, months)],
        **_slopes(cases, edges),
        "groups": _groups(cases, edges, release.risk_cutoffs),
        **_brier(cases, edges, tree),
    }


def _c_index(cases: Cases, generator: np.random.Generator) -> dict[str, Any]:
    """Harrell's C over pairs of this hospital, as the release's own is over pairs inside one."""
    weights = draw_weights(len(cases), REPLICATES, generator)
    pairs = replicate_pairs(cases.time, cases.event, cases.risk[None], weights=weights)
    found = estimate(pairs[0])
    numbers = {key: _number(value) for key, value in asdict(found).items()}
    return {**numbers, "pairs": int(found.pairs), "replicates": REPLICATES}


def release_c_index(release: Release) -> dict[str, Any] | None:
    """The C-index that the release says of itself, with its interval where it has one."""
    manifest = release.manifest
    arm, noisy = part(manifest, "arms", "federated"), part(manifest, "noisy", "c_within")
    own = part(arm, "c_within") or noisy
    found = {key: part(own, key) for key in ("value", "low", "high")}
    if own is None:
        found["value"] = part(manifest, "evaluation", "after", "c_index")
    if found["value"] is None:
        return None
    sites = part(arm, "hospitals") or list(part(manifest, "evaluation", "after", "sites") or ())
    return {**found, "hospitals": list(sites)}


def _calibration(cases: Cases, edges: Edges, months: float) -> Iterator[dict[str, Any]]:
    """Predicted beside observed survival at an edge: of all, then of each group of risk."""
    predicted = survival_at(cases.hazards, edges, [months])[:, 0]  # (n,)
    members = {ALL: np.ones(len(cases), bool)}
    members |= {name: cases.group == place for place, name in enumerate(GROUPS)}
    for name, own in members.items():
        if own.any():
            tree = time_tree(cases.time[own], cases.event[own], least=1)
            mean = float(predicted[own].mean())
            row = {"months": months, "group": name, "cases": int(own.sum()), "predicted": mean}
            yield {**row, **_observed(tree, months), **_ratio(tree, months, mean)}


def _observed(tree: NDArray[np.float64], months: float) -> dict[str, Any]:
    """Kaplan-Meier at an edge; nothing where follow-up ends before, no interval at 0 and 1."""
    followed_so_long = int(at_risk(tree)[_month(months)])
    if not _is_known(tree, months):
        return {"followed": 0, "observed": None, "low": None, "high": None}
    found = observed_survival(tree, months)
    limits = (found.low, found.high) if 0 < found.value < 1 else (None, None)
    return {
        "followed": followed_so_long,
        "observed": found.value,
        "low": limits[0],
        "high": limits[1],
    }


def _ratio(tree: NDArray[np.float64], months: float, predicted: float) -> dict[str, Any]:
    """Observed over expected deaths up to an edge, (1 - Kaplan-Meier) / (1 - predicted)."""
    seen, expected = _observed(tree, months), 1 - predicted
    keys = {"ratio": "observed", "ratio_low": "high", "ratio_high": "low"}
    return {
        key: None if seen[of] is None or expected <= 0 else (1 - seen[of]) / expected
        for key, of in keys.items()
    }


def _slopes(cases: Cases, edges: Edges) -> dict[str, Any]:
    """Intercept, slopes, and deaths before the last edge beside those expected."""
    seen = followed(cases.time, cases.event, cases.hazards, edges)
    enough = seen.deaths >= FEW_DEATHS
    both = line(seen) if enough else None
    between = slope_between(cases.time, cases.event, seen, edges[-1]) if enough else None
    alone = shift(seen)
    return {
        "deaths_before_last_edge": seen.deaths,
        "expected_deaths": seen.expected,
        "ratio": alone and {key: float(np.exp(v)) for key, v in asdict(alone).items()},
        "intercept": alone and asdict(alone),
        "slope_between": _estimate(between),
        "line": both and {"a": asdict(both.a), "b": asdict(both.b)},
    }


def _estimate(found: Estimate | None) -> dict[str, float] | None:
    return None if found is None else asdict(found)


def recalibration_of(found: dict[str, Any]) -> tuple[float, float] | None:
    """The a and b that are kept: none below ``FEW_DEATHS``, a shift below ``SLOPE_DEATHS``.

    Never of training cases: on them a release looks better than it is.
    """
    deaths = found["deaths_before_last_edge"]
    if deaths < FEW_DEATHS or found["training_cases"]:
        return None
    if deaths < SLOPE_DEATHS or found["line"] is None:
        return float(found["intercept"]["value"]), 1.0
    return float(found["line"]["a"]["value"]), float(found["line"]["b"]["value"])


def _groups(cases: Cases, edges: Edges, cutoffs: tuple[float, float]) -> dict[str, Any]:
    """Kaplan-Meier by the release's groups, as ``page_survival`` draws them."""
    members = [cases.group == place for place in range(len(GROUPS))]
    trees = np.array([time_tree(cases.time[m], cases.event[m], least=1) for m in members])
    last = _month(edges[-1])
    step = 12 * max(1, -(-last // (12 * MOST_TICKS)))
    months = list(range(0, last + 1, step))
    curves = [_curves(tree, last) for tree in trees]
    return {
        "names": list(GROUPS),
        "cutoffs": list(cutoffs),
        "cases": [int(own.sum()) for own in members],
        "deaths": [int(cases.event[own].sum()) for own in members],
        **{
            key: [curve[n] for curve in curves] for n, key in enumerate(("survival", "low", "high"))
        },
        "at_risk": {
            "months": months,
            "numbers": [at_risk(tree)[months].tolist() for tree in trees],
        },
        "log_rank": _log_rank(trees[[bool(own.any()) for own in members]]),
    }


def _curves(tree: NDArray[np.float64], last: int) -> list[list[float | None]]:
    """Survival and its interval by month, None after the end of follow-up."""
    known = _known(tree).tolist()[: last + 1]
    rows = kaplan_meier_interval(tree)[:, : last + 1]
    return [
        [float(v) if is_known else None for v, is_known in zip(r, known, strict=True)] for r in rows
    ]


def _log_rank(trees: NDArray[np.float64]) -> dict[str, Any] | None:
    if len(trees) < 2:
        return None
    found = log_rank(trees)
    return asdict(found) if np.isfinite(found.p) else None


def _brier(cases: Cases, edges: Edges, tree: NDArray[np.float64]) -> dict[str, Any]:
    """Mean squared errors at edges that follow-up reaches, beside those of Kaplan-Meier."""
    chances = np.array([kaplan_meier(tree), reverse_kaplan_meier(tree)])
    sums, whole = brier_sums(cases.time, cases.event, cases.hazards, edges, chances)
    rows = zip(edges, *(sums / len(cases)), strict=True)
    scores = [
        {"months": months, "model": float(model), "kaplan_meier": float(reference)}
        for months, model, reference in rows
        if _is_known(tree, months)
    ]
    mean = {
        "months": edges[-1],
        "model": whole[0] / len(cases),
        "kaplan_meier": whole[1] / len(cases),
    }
    reached = _is_known(tree, edges[-1])
    return {
        "brier": scores,
        "integrated_brier": {k: float(v) for k, v in mean.items()} if reached else None,
    }


def _is_known(tree: NDArray[np.float64], months: float) -> bool:
    return bool(_known(tree)[_month(months)])


def _known(tree: NDArray[np.float64]) -> NDArray[np.bool_]:
    """The months (MONTHS,) that somebody is followed so long, or after which all have died."""
    found: NDArray[np.bool_] = (at_risk(tree) > 0) | (kaplan_meier(tree) <= 0)
    return found


def _month(months: float) -> int:
    return min(int(months), MONTHS - 1)


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
