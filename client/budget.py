"""The privacy budget of a cohort: what was ever released of it with noise, and what that costs.

Every release is a line of the ledger, written before the work for it begins, so a stop at any time
wastes budget and never hides any. Epsilon is derived from these lines whenever it is asked for and
stands nowhere. A case is trained on or evaluated in one study, not both, see ``parts``; which of
them it was may differ from study to study, so the most expensive way counts.
"""

import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ghanet_model.accounting import Charge, epsilon_of
from ghanet_model.errors import BudgetError, LedgerError, SettingsError
from ghanet_model.ledger import CHARGED, LEDGER_FILE, Ledger, Line, make_ledger_key

from .ledger import KEY_FILE, site_ledger
from .policy import Budget

TRAINING, EVALUATION = PARTS = ("training", "evaluation")  # of the cases of a study
MOST_WAYS = 64  # beyond, every case counts as trained on and evaluated in every study


@dataclass(frozen=True, slots=True)
class Release:
    """Something that is told of a cohort with noise."""

    study: str  # digest, its first 16 digits
    name: str  # of the study
    part: str  # of its cases: TRAINING or EVALUATION
    what: str  # 'round 3', say
    charge: Charge
    delta: float


@dataclass(frozen=True, slots=True)
class Entry:
    """A release as the ledger has it."""

    release: Release
    time: str  # UTC, ISO 8601
    digest: str  # of its line


def budget_ledger(folder: Path, budget: Budget) -> Ledger:
    """Where charges of a cohort stand; a shared ledger's key is made where there is none.

    Raises:
        LedgerError: the key cannot be written.
    """
    if budget.ledger is None:
        return site_ledger(folder)
    place = (folder / budget.ledger).resolve()
    try:
        make_ledger_key(place / KEY_FILE)
    except OSError as error:
        raise LedgerError(
            f"site.yaml: privacy: no key can be written to '{place}' ({error.strerror})"
        ) from None
    return Ledger(place / LEDGER_FILE, place / KEY_FILE)


def charge(ledger: Ledger, budget: Budget, release: Release, *, cap: float, by: str) -> Line:
    """Write a release into the ledger, unless it would cost more than the cap.

    Args:
        ledger: of the cohort.
        budget: names the cohort.
        release: about to be made.
        cap: the most epsilon of all releases of this cohort, at the smallest delta of any.
        by: accountant.

    Returns:
        The line; it is on disk.

    Raises:
        BudgetError: the cap would be exceeded; nothing was written.
        LedgerError: the ledger is damaged or cannot be written.
    """

    def require(read: Callable[[], list[Line]]) -> None:
        before = [entry.release for entry in entries(read(), budget.cohort)]
        spent, after = spent_by(before, by=by), spent_by([*before, release], by=by)
        if not after <= cap:
            raise BudgetError(
                f"{release.what} would bring epsilon from {spent:.3f} to {after:.3f}, above the "
                f"{cap:g} that this hospital allows",
                hint="'ghanet-client privacy status' shows what was spent; the cap is in site.yaml",
            )

    return ledger.append_if(require, CHARGED, cohort=budget.cohort, **_facts(release))


def _facts(release: Release) -> Mapping[str, str | int | float]:
    return {
        "study": release.study,
        "name": release.name,
        "part": release.part,
        "release": release.what,
        "noise": release.charge.noise,
        "rate": release.charge.rate,
        "steps": release.charge.steps,
        "delta": release.delta,
    }


def entries(lines: Iterable[Line], cohort: str) -> list[Entry]:
    """All charges of a cohort, oldest first.

    Raises:
        LedgerError: a charge that cannot be read: without it, epsilon would be too small.
    """
    return [
        Entry(_release(line), line.time, line.digest)
        for line in lines
        if line.what == CHARGED and line.facts.get("cohort") == cohort
    ]


def _release(line: Line) -> Release:
    facts = line.facts
    try:
        found = Release(
            study=str(facts["study"]),
            name=str(facts["name"]),
            part=str(facts["part"]),
            what=str(facts["release"]),
            charge=Charge(float(facts["noise"]), float(facts["rate"]), int(facts["steps"])),
            delta=float(facts["delta"]),
        )
    except (KeyError, ValueError, TypeError, SettingsError):
        found = None
    if found is None or found.part not in PARTS:
        raise LedgerError(f"ledger line {line.number} is a charge that cannot be read")
    return found


def spent_by(releases: Sequence[Release], *, by: str, delta: float | None = None) -> float:
    """Epsilon of the case that lost most, at ``delta`` or the smallest delta of all releases."""
    if not releases:
        return 0.0
    at = min(release.delta for release in releases) if delta is None else delta
    return max(epsilon_of(way, delta=at, accountant=by) for way in _ways(releases))


def _ways(releases: Sequence[Release]) -> list[list[Charge]]:
    """What may have been released of one case: in each study it is of one part or the other."""
    studies: dict[str, dict[str, list[Charge]]] = {}
    for release in releases:
        studies.setdefault(release.study, {}).setdefault(release.part, []).append(release.charge)
    choices = [list(parts.values()) for parts in studies.values()]
    if math.prod(map(len, choices)) > MOST_WAYS:
        return [[release.charge for release in releases]]
    return [list(itertools.chain.from_iterable(way)) for way in itertools.product(*choices)]
