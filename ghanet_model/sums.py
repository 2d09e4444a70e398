"""Sums as scalars on the wire; sums that no cohort can have are refused on arrival."""

import math
from dataclasses import asdict

from .errors import ProtocolError
from .metrics import Concordance, EvaluationSums
from .record import Record, Scalar

SLACK = 1 + 1e-9  # of rounding, in sums that are checked against each other


def values_of(prefix: str, sums: EvaluationSums | None) -> dict[str, Scalar]:
    """Sums as scalars; nothing where there are none."""
    if sums is None:
        return {}
    flat = asdict(sums)
    flat |= flat.pop("concordance")
    return {f"{prefix}.{key}": float(value) for key, value in flat.items()}


def sums_of(prefix: str, record: Record) -> EvaluationSums | None:
    """Sums from scalars; None where there are none."""
    if f"{prefix}.cases" not in record.values:
        return None

    def whole(key: str) -> int:
        number = record.number(f"{prefix}.{key}")
        if number < 0 or number != int(number):
            raise ProtocolError(f"message has '{prefix}.{key}' that is no count")
        return int(number)

    counts = ("concordant", "discordant", "tied_risk", "comparable")
    sums = EvaluationSums(
        cases=whole("cases"),
        events=whole("events"),
        nll=record.number(f"{prefix}.nll"),
        risk=record.number(f"{prefix}.risk"),
        risk_squared=record.number(f"{prefix}.risk_squared"),
        concordance=Concordance(**{key: whole(key) for key in counts}),
        untold_events=whole("untold_events"),
    )
    cases, pairs = sums.cases, sums.concordance
    if (
        sums.events > cases
        or sums.untold_events > min(1, cases)
        or (sums.untold_events and sums.events)
        or sums.nll < 0
        or sums.risk_squared < 0
        or abs(sums.risk) > math.sqrt(cases) * math.sqrt(sums.risk_squared) * SLACK
        or pairs.concordant + pairs.discordant + pairs.tied_risk != pairs.comparable
        or pairs.comparable > cases * (cases - 1) // 2
    ):
        raise ProtocolError(f"message has sums in '{prefix}' that no cohort can have")
    return sums
