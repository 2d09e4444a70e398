"""The hospital's own limits on what leaves it, from site.yaml; as strict as it likes."""

import math
from dataclasses import dataclass, fields
from pathlib import Path

from ghanet_model.errors import SettingsError
from ghanet_model.study import StudyConfig

COHORT = "cohort"  # its name where a hospital has one only
USUAL_CASES = 10  # a smaller count or sum says too much about the few that it is of


@dataclass(frozen=True, slots=True)
class Policy:
    """What may leave at the most."""

    minimum_cases: int = USUAL_CASES  # no sum over fewer; no count of deaths or survivors below it
    answers_per_day: int = 500  # of each kind, in the last 24 hours
    megabytes_per_day: int = 20_000  # of all kinds together, in the last 24 hours

    def __post_init__(self) -> None:
        """Refuse limits that are none."""
        for field in fields(self):
            if getattr(self, field.name) < 1:
                raise SettingsError(
                    f"site.yaml: policy: '{field.name}' is {getattr(self, field.name)!r}",
                    hint="use 1 or more",
                )

    def least(self, study: StudyConfig) -> int:
        """The fewest cases that a sum may be over: the study's or this hospital's, the larger."""
        return max(study.minimum_cases, self.minimum_cases)


@dataclass(frozen=True, slots=True)
class Budget:
    """What all studies of a cohort together may cost it; ``ledger`` is shared by them."""

    epsilon: float | None = None  # the most; None: what the study at hand says
    cohort: str = COHORT  # its name, where one ledger is of several
    ledger: Path | None = None  # folder; None: the ledger of this hospital's folder

    def __post_init__(self) -> None:
        """Refuse a budget that is none."""
        if self.epsilon is not None and not 0 < self.epsilon < math.inf:
            raise SettingsError(
                f"site.yaml: privacy: 'epsilon' is {self.epsilon!r}", hint="use a number above 0"
            )
        if not self.cohort.strip():
            raise SettingsError("site.yaml: privacy: 'cohort' is empty", hint="use a short name")


def policy_notes(policy: Policy) -> list[str]:
    """What a person should know about these limits; nothing where they are the usual ones."""
    if policy.minimum_cases >= USUAL_CASES:
        return []
    few = f"site.yaml allows sums over {policy.minimum_cases} cases, fewer than the usual "
    return [f"{few}{USUAL_CASES}: so few may be recognised"]
