"""The evaluation as JSON: sums of hospitals turned into numbers with intervals. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ghanet_model.brier import observed_survival
from ghanet_model.cox import COVARIATES
from ghanet_model.evaluation import (
    ALONE,
    ARMS,
    CLINICAL,
    FEDERATED,
    GROUPS,
    RANKED,
    STACKED,
)
from ghanet_model.kaplan_meier import at_risk, kaplan_meier_interval, log_rank
from ghanet_model.pairs import c_all, difference, estimate
from ghanet_model.percentile import Box
from ghanet_model.question import Sums, add_sums
from ghanet_model.study import StudyConfig

from .cox_fit import RIDGE, ArmFit

DIFFERENCES = ((FEDERATED, ALONE), (FEDERATED, CLINICAL), (STACKED, CLINICAL))
AT_RISK_MONTHS = 12


@dataclass(frozen=True, slots=True, eq=False)
class Evaluated:
    """All that the evaluation brought."""

    sums: Mapping[str, Sums]  # by hospital
    fits: Mapping[str, ArmFit]
    cutoffs: tuple[float, float]
    times: NDArray[np.float64]  # (2, nodes): follow-up of everybody who told it
    left_out: Mapping[str, str]
    untold_times: Sequence[str] = ()  # hospitals without a part in ``times``
    risk_boxes: Sequence[Box] = ()  # the model's risks of training cases


def evaluation_json(study: StudyConfig, found: Evaluated) -> dict[str, Any]:
    """Every number that is reported, and what is not."""
    told = {name: sums for name, sums in found.sums.items() if sums["cases"].any()}
    return {
        "horizons": list(study.time_bin_edges),
        "replicates": study.replicates,
        "arms": {arm: _arm(number, told) for number, arm in enumerate(ARMS)},
        "differences": [_difference(of, minus, told) for of, minus in DIFFERENCES],
        "by_hospital": {name: _hospital(sums) for name, sums in told.items()},
        "risk_boxes": [list(box) for box in found.risk_boxes],
        "groups": _groups(study, found.cutoffs, told),
        "calibration": _calibration(study, told),
        **_brier(study, told if found.times.any() else {}),
        "cox": {arm: cox_json(arm, fit) for arm, fit in found.fits.items()},
        "withheld": _withheld(found),
    }


def _of_arm(number: int, told: Mapping[str, Sums]) -> dict[str, Sums]:
    return {name: sums for name, sums in told.items() if sums["cases"][number]}


def _arm(number: int, told: Mapping[str, Sums]) -> dict[str, Any] | None:
    """One arm over the hospitals that have it."""
    own = _of_arm(number, told)
    if not own:
        return None
    total = add_sums(own.values())
    return {
        "c_within": _interval(estimate(total["pairs"][number])),
        "c_all": _c_all(number, own),
        "cases": int(total["cases"][number]),
        "events": int(total["events"][number]),
        "untold_events": int(total["untold_events"][number]),
        "hospitals": sorted(own),
    }


def _c_all(number: int, own: Mapping[str, Sums]) -> dict[str, Any] | None:
    """C over pairs of all hospitals, with its error bound; None for arms of several models."""
    if ARMS[number] not in RANKED:
        return None
    place = RANKED.index(ARMS[number])
    there = {name: sums["order"][place] for name, sums in own.items() if sums["order"][place].any()}
    if not there:
        return None
    found = c_all(sum(there.values()))
    return {
        "value": _number(found.value),
        "low": _number(found.low),
        "high": _number(found.high),
        "hospitals": sorted(there),
    }


def _difference(of: str, minus: str, told: Mapping[str, Sums]) -> dict[str, Any]:
    """The difference of two arms over the hospitals that have both."""
    a, b = ARMS.index(of), ARMS.index(minus)
    both = _of_arm(b, _of_arm(a, told))
    if not both:
        return {"of": of, "minus": minus, "value": None, "low": None, "high": None, "hospitals": []}
    pairs = add_sums(both.values())["pairs"]
    found = _interval(difference(pairs[a], pairs[b]))
    return {"of": of, "minus": minus, **found, "hospitals": sorted(both)}


def _hospital(sums: Sums) -> dict[str, Any]:
    return {
        arm: _interval(estimate(sums["pairs"][number])) if sums["cases"][number] else None
        for number, arm in enumerate(ARMS)
    }


def _groups(
    study: StudyConfig, cutoffs: tuple[float, float], told: Mapping[str, Sums]
) -> dict[str, Any]:
    """Kaplan-Meier by group of risk, over the hospitals that told the group."""
    cases = sum((sums["group_cases"] for sums in told.values()), np.zeros(len(GROUPS)))
    withheld = {
        name: [g for g, hidden in zip(GROUPS, sums["group_untold"], strict=True) if hidden]
        for name, sums in told.items()
    }
    result: dict[str, Any] = {
        "names": list(GROUPS),
        "cutoffs": list(cutoffs),
        "cases": [int(count) for count in cases],
        "hospitals": sorted(name for name, sums in told.items() if sums["group_cases"].any()),
        "withheld": {name: groups for name, groups in withheld.items() if groups},
    }
    if not cases.any():
        return result | dict.fromkeys(("survival", "low", "high", "at_risk", "log_rank"))
    times = add_sums(told.values())["group_times"]  # (G, 2, nodes)
    last = int(study.time_bin_edges[-1])
    curves = [kaplan_meier_interval(tree) for tree in times]  # each (3, months)
    months = list(range(0, last + 1, AT_RISK_MONTHS))
    parts = ("survival", "low", "high")
    return {
        **result,
        **{
            part: [_numbers(curve[place][: last + 1]) for curve in curves]
            for place, part in enumerate(parts)
        },
        "at_risk": {
            "months": months,
            "numbers": [[round(float(n), 1) for n in at_risk(tree)[months]] for tree in times],
        },
        "log_rank": _log_rank(times[cases > 0]),
    }


def _log_rank(times: NDArray[np.float64]) -> dict[str, Any] | None:
    if len(times) < 2:
        return None
    found = log_rank(times)
    return {"chi2": _number(found.chi2), "dof": found.dof, "p": _number(found.p)}


def _calibration(study: StudyConfig, told: Mapping[str, Sums]) -> list[dict[str, Any]]:
    """Mean predicted survival of each group beside its Kaplan-Meier, at every horizon."""
    if not told:
        return []
    total = add_sums(told.values())
    rows = []
    for horizon, months in enumerate(study.time_bin_edges):
        for number, group in enumerate(GROUPS):
            cases = total["group_cases"][number]
            if not cases:
                continue
            observed = observed_survival(total["group_times"][number], months)
            rows.append(
                {
                    "months": months,
                    "group": group,
                    "cases": int(cases),
                    "predicted": float(total["group_predicted"][number, horizon] / cases),
                    "observed": _number(observed.value),
                    "low": _number(observed.low),
                    "high": _number(observed.high),
                }
            )
    return rows


def _brier(study: StudyConfig, told: Mapping[str, Sums]) -> dict[str, Any]:
    """Mean squared errors of the model and of Kaplan-Meier as everybody's prediction."""
    cases = sum(float(sums["brier_cases"][0]) for sums in told.values())
    if not cases:
        return {"brier": [], "integrated_brier": None}
    total = add_sums(told.values())
    model, reference = total["brier"] / cases
    integrated = total["integrated_brier"] / cases
    return {
        "brier": [
            {"months": months, "model": float(own), "kaplan_meier": float(other)}
            for months, own, other in zip(study.time_bin_edges, model, reference, strict=True)
        ],
        "integrated_brier": {
            "months": study.time_bin_edges[-1],
            "model": float(integrated[0]),
            "kaplan_meier": float(integrated[1]),
        },
    }


def cox_json(arm: str, found: ArmFit) -> dict[str, Any]:
    """A fit's hazard ratios per standard deviation, with 95% intervals."""
    names = [*COVARIATES, *(["model risk"] if arm == STACKED else [])]
    ratios = found.fit.hazard_ratios
    return {
        "covariates": names,
        "mean": _numbers(found.linear.mean),
        "sd": _numbers(found.linear.sd),
        "hazard_ratio": _numbers(ratios[0]),
        "low": _numbers(ratios[1]),
        "high": _numbers(ratios[2]),
        "p": _numbers(found.fit.p),
        "known": [int(count) for count in found.known],
        "l2": RIDGE,
        "ties": "efron",
        "cases": found.cases,
        "events": found.events,
        "hospitals": list(found.hospitals),
        "withheld": list(found.withheld),
    }


def _withheld(found: Evaluated) -> list[dict[str, str]]:
    """All that is missing, by hospital, with the reason."""
    rows = [
        {"hospital": name, "what": "evaluation", "why": why} for name, why in found.left_out.items()
    ]
    for name, sums in found.sums.items():
        if not sums["cases"].any():
            rows.append({"hospital": name, "what": "evaluation", "why": "too few cases"})
            continue
        if not sums["order"].any():
            why = "few deaths, or few survivors"
            rows.append({"hospital": name, "what": "C over all pairs", "why": why})
        rows += [
            {"hospital": name, "what": f"risk group {group}", "why": "few deaths or survivors"}
            for group, hidden in zip(GROUPS, sums["group_untold"], strict=True)
            if hidden
        ]
    for arm, fit in found.fits.items():
        rows += [
            {"hospital": name, "what": f"fit of {arm}", "why": "few cases or deaths"}
            for name in fit.withheld
        ]
    rows += [
        {"hospital": name, "what": "follow-up", "why": "few deaths, or few survivors"}
        for name in found.untold_times
    ]
    if not found.times.any():
        why = "no hospital could tell its follow-up, so nobody knows who was censored when"
        rows.append({"hospital": "", "what": "Brier score", "why": why})
    missing = [arm for arm in (CLINICAL, STACKED) if arm not in found.fits]
    rows += [{"hospital": "", "what": arm, "why": "could not be fitted"} for arm in missing]
    return rows


def _interval(found: Any) -> dict[str, Any]:
    pairs = getattr(found, "pairs", None)
    numbers = {key: _number(getattr(found, key)) for key in ("value", "low", "high")}
    return numbers if pairs is None else {**numbers, "pairs": int(pairs)}


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _numbers(values: Sequence[float] | NDArray[np.float64]) -> list[float | None]:
    return [_number(float(value)) for value in values]
