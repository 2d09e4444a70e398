"""What the evaluation of a study will be able to tell, from the cases that would be evaluated.

Deaths among them that are untold are taken from shares that are told, and that is said.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ghanet_model.metrics import told
from ghanet_model.power import detectable_difference
from ghanet_model.question import Sums
from ghanet_model.study import StudyConfig

CORRELATIONS = (0.5, 0.8)  # of two models' risks: models of different kinds, of one kind
REPLICATES = 200
TOLD, OWN, OTHERS, MOST = (
    "told",
    "from the share of deaths in its whole cohort",
    "from the share of deaths at the others",
    "not known, taken as half of its cases, or the most that few deaths are",
)
Hospital = Mapping[str, Any]


def power_json(
    study: StudyConfig, ready: Sequence[Hospital], tables: Mapping[str, Sums]
) -> dict[str, Any]:
    """Cases, deaths as expected, and how exactly C-indices will be known.

    Args:
        study: its seed and minimum of cases.
        ready: hospitals that would take part.
        tables: of cohorts, by hospital.
    """
    evaluating = [hospital for hospital in ready if hospital["evaluated"]]
    deaths = {h["name"]: expected_deaths(h, tables, least=study.minimum_cases) for h in evaluating}
    cases = [hospital["evaluated"] for hospital in evaluating]
    expected = [number for number, _ in deaths.values()]
    found = {
        correlation: detectable_difference(
            cases, expected, correlation=correlation, replicates=REPLICATES, seed=study.seed
        )
        for correlation in CORRELATIONS
    }
    return {
        "cases": sum(cases),
        "deaths": sum(expected),
        "hospitals": {name: {"deaths": n, "how": how} for name, (n, how) in deaths.items()},
        "half_width": _number(found[CORRELATIONS[0]].half_width),
        "detectable": {str(key): _number(power.detectable) for key, power in found.items()},
    }


def expected_deaths(
    hospital: Hospital, tables: Mapping[str, Sums], *, least: int
) -> tuple[int, str]:
    """Deaths among the cases that a hospital evaluates, and where the number comes from."""
    if hospital["evaluated_events"] is not None:
        return hospital["evaluated_events"], TOLD
    name, evaluated = hospital["name"], hospital["evaluated"]
    own = share_of({name: tables[name]} if name in tables else {})
    share, how = (own, OWN) if own is not None else (share_of(tables), OTHERS)
    if share is None:
        return min(least - 1, evaluated // 2), MOST
    return _untold(share * evaluated, evaluated, least=least), how


def _untold(deaths: float, of: int, *, least: int) -> int:
    """The number nearest to ``deaths`` that a hospital would not tell, as it did not."""
    possible = [n for n in range(of + 1) if told(n, of, least=least) is None]
    return min(possible, key=lambda n: abs(n - deaths), default=round(deaths))


def share_of(tables: Mapping[str, Sums]) -> float | None:
    """Deaths among cases with a known outcome, of those that told both; None where nobody did."""
    told = [table["outcome"] for table in tables.values() if not table["untold_outcome"].any()]
    known = sum(survivors + events for survivors, events, _ in told)
    return sum(events for _, events, _ in told) / known if known else None


def _number(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 4)
