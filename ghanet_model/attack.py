"""The attack that an audit plays: the losses of cases under a model and under references.

References are models of the same sizes, each trained without noise on one half of all cases, of
those trained on and of others alike; a case's loss is compared with that of the reference that did
not see it. They are made where the cases are, and stay there.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import compress
from typing import Any

import torch

from .audit import Audit, audit
from .bag import Bag, Bags, Outcome
from .batches import read_ahead
from .loss import case_losses
from .network import Network, new_model
from .training import TrainingSettings, train

HALVES = 2
CPU = torch.device("cpu")

Bar = Callable[[int, int], None]  # told what is done, and of how many


@dataclass(frozen=True, slots=True)
class Audited:
    """Both variants."""

    loss: Audit  # how small the loss is
    calibrated: Audit  # how much smaller than that of a model which did not see the case


class _Some(Sequence[Bag]):
    """Some of the bags, each read when asked for."""

    def __init__(self, bags: Bags, chosen: Sequence[int]) -> None:
        self.bags, self.chosen = bags, chosen

    def __len__(self) -> int:
        return len(self.chosen)

    def __getitem__(self, place: Any) -> Any:
        if isinstance(place, slice):
            return _Some(self.bags, self.chosen[place])
        return self.bags[self.chosen[place]]


def attack(  # noqa: PLR0913 - a model, cases, what is known of them
    model: Network,
    bags: Bags,
    *,
    outcomes: Sequence[Outcome],
    seen: Sequence[bool],
    classes: Sequence[object],
    reference: TrainingSettings,
    use_genes: bool,
    bar: Callable[[str], Bar],
) -> Audited:
    """Tell cases that ``model`` was trained on from others by their losses.

    Args:
        model: to be audited.
        bags: of all cases, read one by one; with genes where training had them.
        outcomes: of each bag.
        seen: whether training could see it.
        classes: only cases of the same class are compared.
        reference: how references are trained.
        use_genes: whether references learn from genes.
        bar: given a name, returns what is told of progress.

    Raises:
        TrainingError: nothing to compare, or a loss that is not finite.
    """
    weight = reference.gene_loss_weight
    own = losses_of(model, bags, gene_weight=weight, show=bar("released model"))
    apart = [0.0] * len(bags)
    for number, (half, rest) in enumerate(_halves(len(bags)), start=1):
        other = new_model(model.config, seed=number)
        train(
            other,
            _Some(bags, half),
            reference,
            outcomes=[outcomes[i] for i in half],
            use_genes=use_genes,
            seed=number,
            device=CPU,
            progress=bar(f"reference {number} of {HALVES}"),
        )
        show = bar(f"its losses {number}")
        found = losses_of(other, _Some(bags, rest), gene_weight=weight, show=show)
        for i, loss in zip(rest, found, strict=True):
            apart[i] = loss
    calibrated = [other - mine for mine, other in zip(own, apart, strict=True)]
    return Audited(
        loss=_compare([-loss for loss in own], seen, classes),
        calibrated=_compare(calibrated, seen, classes),
    )


def losses_of(model: Network, bags: Bags, *, gene_weight: float, show: Bar) -> list[float]:
    """The loss of each case, without dropout."""
    found: list[float] = []
    with torch.no_grad(), read_ahead(bags) as coming:
        for bag in coming:
            prediction = model.predict([bag.features])
            found.append(float(case_losses(prediction, [bag], gene_weight=gene_weight).total[0]))
            show(len(found), len(bags))
    return found


def _halves(count: int) -> Iterator[tuple[list[int], list[int]]]:
    """Each half with the other one."""
    order = torch.randperm(count, generator=torch.Generator().manual_seed(1)).tolist()
    first, second = sorted(order[: count // HALVES]), sorted(order[count // HALVES :])
    yield first, second
    yield second, first


def _compare(scores: Sequence[float], seen: Sequence[bool], classes: Sequence[object]) -> Audit:
    unseen = [not own for own in seen]
    return audit(
        list(compress(scores, seen)),
        list(compress(scores, unseen)),
        member_classes=list(compress(classes, seen)),
        other_classes=list(compress(classes, unseen)),
    )
