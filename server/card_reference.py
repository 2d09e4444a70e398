"""Parts of a model card: calibration, and what the answer about a slide is held against."""

from collections.abc import Mapping, Sequence
from typing import Any

from ghanet_model.page_numbers import part
from ghanet_model.percentile import OPEN, risk_at

from .tripod_told import with_interval

Found = Mapping[str, Any]
SHOWN = (5, 25, 50, 75, 95)  # percentiles of training cases' risk


def calibration(rows: Sequence[Found]) -> str:
    """Predicted beside observed survival, by horizon and group of risk."""
    if not rows:
        return "Calibration: not reported."
    lines = [
        f"| {row['months']:g} | {row['group']} | {row['cases']} | {row['predicted']:.3f} "
        f"| {_observed(row)} |"
        for row in rows
    ]
    head = [
        "Calibration: mean predicted survival of a group's evaluated cases, beside their",
        "Kaplan-Meier estimate with its 95% interval. A hospital that tells nothing of a group is",
        "not in it, so where few died it can be biased.",
        "",
        "| months | group | cases | predicted | observed |",
        "|---|---|---|---|---|",
    ]
    return "\n".join([*head, *lines])


def _observed(row: Found) -> str:
    return with_interval({"value": row["observed"], "low": row["low"], "high": row["high"]})


def reference(found: Found) -> str:
    """Usual risks, gene groups, usual slides and Cox models, as far as they are there."""
    parts = (
        "## What a slide's answer is held against",
        _risks(found.get("risk_boxes") or ()),
        _gene_groups(found.get("gene_groups") or ()),
        _features(found.get("features")),
        _cox(found.get("cox") or {}),
    )
    return "\n\n".join(parts)


def _risks(boxes: Sequence[Sequence[float]]) -> str:
    """Each percentile between two risks: hospitals tell cases by boxes."""
    if not boxes:
        return "Percentiles of the training cases' risk: not reported."
    rows = "; ".join(f"{share}% {_between(*risk_at(boxes, share / 100))}" for share in SHOWN)
    return f"Percentiles of the training cases' risk, by boxes of cases: {rows}."


def _between(low: float, high: float) -> str:
    """In words; a box may have no end."""
    if low == -OPEN and high == OPEN:
        return "anywhere"
    if low == -OPEN:
        return f"below {high:.3f}"
    return f"above {low:.3f}" if high == OPEN else f"{low:.3f} to {high:.3f}"


def _gene_groups(groups: Sequence[Found]) -> str:
    if not groups:
        return "How predicted activity of gene groups follows the measured one: not reported."
    rows = (
        f"| {group['name']} | {_correlation(group)} | {group['cases'] or '-'} |" for group in groups
    )
    head = [
        "Gene groups: correlation of predicted and measured mean expression on held-out cases,",
        "inside hospitals, with its 95% interval.",
        "",
        "| group | r | cases |",
        "|---|---|---|",
    ]
    return "\n".join([*head, *rows])


def _correlation(group: Found) -> str:
    return with_interval({"value": group["r"], "low": group["low"], "high": group["high"]})


def _features(found: object) -> str:
    if not found:
        return "What the training slides are like, to notice others: not reported."
    return (
        "What the training slides are like, by mean and spread of their features: in the manifest."
    )


def _cox(fits: Mapping[str, Found]) -> str:
    """Coefficients by standard deviation of the covariate."""
    rows = [row for arm, fit in fits.items() for row in _coefficients(arm, fit)]
    if not rows:
        return "Cox models of age, sex, grade and stage, as applied: not reported."
    head = [
        "Cox models as applied: hazard is multiplied by e to the coefficient for each standard",
        "deviation above the mean. The baseline is each hospital's own, and stays there.",
        "",
        "| model | covariate | mean | standard deviation | coefficient |",
        "|---|---|---|---|---|",
    ]
    return "\n".join([*head, *rows])


def _coefficients(arm: str, fit: Found) -> list[str]:
    columns = [part(fit, key) or () for key in ("covariates", "mean", "sd", "beta")]
    return [
        f"| {arm} | {name} | {mean:.3f} | {sd:.3f} | {beta:.3f} |"
        for name, mean, sd, beta in zip(*columns, strict=False)
    ]
