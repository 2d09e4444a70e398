"""The audit of a release by a hospital on its own cases; its result is about them and stays."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import compress
from pathlib import Path

import torch
from rich.progress import Progress

from ghanet_model.audit import Audit, audit
from ghanet_model.bag import Bag, Outcome
from ghanet_model.batches import read_ahead
from ghanet_model.errors import CohortError, FeaturesError
from ghanet_model.files import write_json
from ghanet_model.loss import case_losses
from ghanet_model.network import Network, build_model
from ghanet_model.release import Release, model_config
from ghanet_model.training import TrainingSettings, train

from .bags import SiteBags, training_bags
from .cohort import require_cohort
from .config import SiteConfig
from .features import find_features

AUDITS = "audits"  # below the hospital's folder
HALVES = 2


@dataclass(frozen=True, slots=True)
class Audited:
    """Both variants."""

    loss: Audit  # how small the loss is
    calibrated: Audit  # how much smaller than that of a model which did not see the case


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
    classes = [(outcome.time_bin, outcome.event) for outcome in outcomes]
    losses = _losses(release.model(), bags, release, progress, "released model")
    scores = [-loss for loss in losses]
    apart = _reference_losses(bags, outcomes, release, epochs, progress)
    calibrated = [other - own for own, other in zip(losses, apart, strict=True)]
    return Audited(_compare(scores, seen, classes), _compare(calibrated, seen, classes))


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


def _losses(
    model: Network, bags: Sequence[Bag], release: Release, progress: Progress, name: str
) -> list[float]:
    """The loss of each case, without dropout."""
    bar, found = progress.add_task(name, total=len(bags)), []
    with read_ahead(bags) as coming:
        for bag in coming:
            prediction = model.predict([bag.features])
            weight = release.study.gene_loss_weight
            found.append(float(case_losses(prediction, [bag], gene_weight=weight).total[0]))
            progress.advance(bar)
    return found


def _reference_losses(
    bags: SiteBags, outcomes: Sequence[Outcome], release: Release, epochs: int, progress: Progress
) -> list[float]:
    """The loss of each case under the reference that was trained on the other half."""
    found = [0.0] * len(bags)
    for half, (own, rest) in enumerate(_halves(len(bags)), start=1):
        model = build_model(model_config(release.study, release.panel))
        _train_reference(model, bags, own, outcomes, release, epochs, _bar(progress, half))
        rest_bags = [bags[i] for i in rest]
        for i, loss in zip(
            rest, _losses(model, rest_bags, release, progress, f"its losses {half}"), strict=True
        ):
            found[i] = loss
    return found


def _bar(progress: Progress, half: int) -> Callable[[int, int], None]:
    bar = progress.add_task(f"reference {half} of {HALVES}", total=None)
    return lambda done, steps: progress.update(bar, completed=done, total=steps)


def _train_reference(  # noqa: PLR0913, PLR0917 - what its one caller has
    model: Network,
    bags: SiteBags,
    own: Sequence[int],
    outcomes: Sequence[Outcome],
    release: Release,
    epochs: int,
    show: Callable[[int, int], None],
) -> None:
    """Train a model of the release's sizes on some of the cases, without noise: it stays here."""
    train(
        model,
        [bags[i] for i in own],
        replace(TrainingSettings.from_study(release.study), epochs=epochs),
        outcomes=[outcomes[i] for i in own],
        use_genes=any(bags.has_genes),
        seed=own[0],
        device=torch.device("cpu"),
        progress=show,
    )


def _halves(count: int) -> Iterator[tuple[list[int], list[int]]]:
    """Each half with the other one."""
    order = torch.randperm(count, generator=torch.Generator().manual_seed(1)).tolist()
    first, second = sorted(order[: count // HALVES]), sorted(order[count // HALVES :])
    yield first, second
    yield second, first


def _compare(
    scores: Sequence[float], seen: Sequence[bool], classes: Sequence[tuple[int, bool]]
) -> Audit:
    unseen = [not own for own in seen]
    return audit(
        list(compress(scores, seen)),
        list(compress(scores, unseen)),
        member_classes=list(compress(classes, seen)),
        other_classes=list(compress(classes, unseen)),
    )


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
