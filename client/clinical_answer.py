"""What is known of one patient, and what the clinical and the stacked model say of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ghanet_model.cox import COVARIATES, Linear, linear_risk
from ghanet_model.errors import ReleaseError, SettingsError
from ghanet_model.evaluation import CLINICAL, FEDERATED, STACKED
from ghanet_model.percentile import shares_below
from ghanet_model.release import Release

from .covariates import number_of

NAMES = ("age", "sex", "grade", "stage")  # as they are typed, in the order of COVARIATES
USAGE = "use --clinical age=63,sex=female,grade=2,stage=3; leave out what is not known"


@dataclass(frozen=True, slots=True)
class Patient:
    """Covariates of one patient; NaN is not known."""

    numbers: tuple[float, ...] = field(repr=False)  # age, female, grade, stage

    @property
    def x(self) -> NDArray[np.float64]:
        """(1, 4)."""
        return np.array([self.numbers], np.float64)


def patient_of(text: str) -> Patient:
    """Read ``age=63,sex=female,grade=2,stage=3``; any of them may be missing, but not all.

    Raises:
        SettingsError: a word that is not understood, named; or one twice.
    """
    said: dict[str, str] = {}
    for part in text.split(","):
        name, equals, value = (piece.strip() for piece in part.partition("="))
        if name not in NAMES or not equals or not value:
            raise SettingsError(f"--clinical: {part.strip()[:40]!r} is not understood", hint=USAGE)
        if name in said:
            raise SettingsError(f"--clinical: {name} is there twice", hint=USAGE)
        said[name] = value
    return Patient(tuple(_number(name, said.get(name)) for name in NAMES))


def _number(name: str, value: str | None) -> float:
    if value is None:
        return float("nan")
    found = number_of(name, value)
    if found is None:
        raise SettingsError(f"--clinical: {name} {value[:40]!r} is not understood", hint=USAGE)
    return found


def require_clinical(release: Release) -> Mapping[str, Any]:
    """The clinical models that a release holds, by arm.

    Raises:
        ReleaseError: none.
    """
    fits = (release.manifest.get("reference") or {}).get("cox") or {}
    if not fits:
        raise ReleaseError(
            "the release holds no clinical model",
            hint="predict without --clinical; too few deaths were known when it was made",
        )
    return dict(fits)


def side_by_side(release: Release, patient: Patient, risk: float) -> list[dict[str, Any]]:
    """What the slide alone, the clinical model and both together say.

    Each as a share of the cases that it was fitted to with a lower risk, between two bounds; the
    clinical ones as a hazard ratio too, against a patient at the mean of these.

    Args:
        release: verified.
        patient: whose slide it is.
        risk: of the slide, by the released model.

    Raises:
        ReleaseError: the release holds no clinical model.
    """
    reference, fits = release.manifest.get("reference") or {}, require_clinical(release)
    rows = [_row(release, FEDERATED, reference.get("risk_boxes") or [], risk)]
    for arm in (CLINICAL, STACKED):
        if arm in fits:
            x = patient.x if arm == CLINICAL else np.column_stack([patient.x, [risk]])
            rows.append(_of_arm(release, arm, fits[arm], x))
    return rows


def _of_arm(
    release: Release, arm: str, fit: Mapping[str, Any], x: NDArray[np.float64]
) -> dict[str, Any]:
    try:
        at = Linear(*(np.array(fit[key], np.float64) for key in ("mean", "sd", "beta")))
        risk = float(linear_risk(x, at)[0])
    except (KeyError, TypeError, ValueError):
        raise ReleaseError(f"its {arm} model cannot be used") from None
    row = _row(release, arm, fit.get("risk_boxes") or [], risk)
    return {**row, "hazard_ratio": float(np.exp(risk)), "not_known": _not_known(x, at)}


def _row(
    release: Release, arm: str, boxes: Sequence[Sequence[float]], risk: float
) -> dict[str, Any]:
    low, high = shares_below(boxes, risk)
    arms = release.manifest.get("arms") or {}
    c_index = ((arms.get(arm) or {}).get("c_within") or {}).get("value")
    told = [low, high] if boxes else None
    return {"arm": arm, "risk": risk, "shares_below": told, "c_index": c_index}


def _not_known(x: NDArray[np.float64], at: Linear) -> list[str]:
    """Covariates that count in this model and are not known of the patient; taken as the mean."""
    pairs = zip(COVARIATES, x[0], at.beta, strict=False)
    return [name for name, value, beta in pairs if np.isnan(value) and beta]
