"""The audit of a release by a hospital on its own cases; its result is about them and stays."""

from collections.abc import Iterator
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import torch
from rich.progress import Progress

from ghanet_model.attack import Audited, Bar, attack
from ghanet_model.errors import CohortError, FeaturesError
from ghanet_model.files import write_json
from ghanet_model.release import Release
from ghanet_model.training import TrainingSettings

from .bags import SiteBags, training_bags
from .cohort import require_cohort
from .config import SiteConfig
from .features import find_features

AUDITS = "audits"  # below the hospital's folder


def audit_release(
    config: SiteConfig, release: Release, *, epochs: int, progress: Progress
) -> Audited:
    """Tell cases trained on from held-out ones by their losses.

    Args:
        config: of the hospital.
        release: verified.
        epochs: of each reference model, on half of the cases.
        progress: shown while losses are computed and references trained.

    Raises:
        CohortError: too few cases of either kind.
        FeaturesError: features of another encoder than the release's.
    """
    if config.encoder != release.study.encoder:
        raise FeaturesError(
            f"features are from encoder '{config.encoder}', "
            f"the release needs '{release.study.encoder}'"
        )
    torch.set_num_threads(config.threads)
    bags, seen = _known_bags(config, release)
    least = config.policy.least(release.study)
    if min(sum(seen), len(seen) - sum(seen)) < least:
        raise CohortError(
            f"{sum(seen)} cases trained on and {len(seen) - sum(seen)} held out",
            hint=f"{least} of each are needed for an audit",
        )
    outcomes = [outcome for outcome in bags.outcomes if outcome is not None]
    settings = TrainingSettings.from_study(release.study)
    return attack(
        release.model(),
        bags,
        outcomes=outcomes,
        seen=seen,
        classes=[(outcome.time_bin, outcome.event) for outcome in outcomes],
        reference=replace(settings, epochs=epochs),
        use_genes=any(bags.has_genes),
        bar=partial(_bar, progress),
    )


def _bar(progress: Progress, name: str) -> Bar:
    bar = progress.add_task(name, total=None)
    return lambda done, steps: progress.update(bar, completed=done, total=steps)


def _known_bags(config: SiteConfig, release: Release) -> tuple[SiteBags, list[bool]]:
    """Every case with an outcome, with its genes, and whether training could see it."""
    cohort = require_cohort(config, release.study)
    cohort = cohort.only(
        [case.outcome is not None and not case.validation for case in cohort.cases]
    )
    seen = [case.can_train for case in cohort.cases]
    alike = replace(cohort, cases=tuple(replace(case, held_out=False) for case in cohort.cases))
    features = find_features(config.features)
    return training_bags(alike, features, study=release.study, panel=release.panel), seen


def write_audit(config: SiteConfig, release: Release, found: Audited) -> Path:
    """Keep the result, readable by its owner only; returns where."""
    path = config.folder / AUDITS / f"{release.name}.json"
    path.parent.mkdir(exist_ok=True)
    write_json(path, {"release": release.sha256, **asdict(found)})
    path.chmod(0o600)
    return path


def audit_lines(found: Audited) -> Iterator[str]:
    """The result in words."""
    for name, one in (("loss alone", found.loss), ("calibrated loss", found.calibrated)):
        yield (
            f"{name}: an attacker who has the model and a case's data tells a case trained on from "
            f"another in {100 * one.auc:.0f} of 100 pairs ({100 * one.low:.0f} to "
            f"{100 * one.high:.0f}); 50 is a guess"
        )
    yield (
        f"compared: {found.loss.members} cases trained on and {found.loss.others} held out, those "
        "of the same time bin and event with each other; cases without such a partner are left out"
    )
    yield "this is about your cases: do not hand it out, no privacy budget covers it"
