"""Losses of survival and genes. Pure functions of tensors: no model, no I/O, never a mean.

Every loss is one number per case (B,), so that callers may weigh, clip or add cases.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from .bag import Bag, Outcome
from .errors import GenesError, TrainingError
from .network import Prediction
from .survival import survival_from

LEAST = 1e-7  # chances below are taken for this one before the logarithm


@dataclass(frozen=True, slots=True)
class LossTerms:
    """The loss of each case: ``total = nll + gene_weight (sce + mse)``."""

    nll: Tensor  # (B,)
    sce: Tensor  # (B,)
    mse: Tensor  # (B,)
    total: Tensor  # (B,)


def negative_log_likelihood(hazards: Tensor, time_bin: Tensor, event: Tensor) -> Tensor:
    """Sum up an outcome: nll = -d (log S(y-1) + log h(y)) - (1-d) log S(y), with S(-1) = 1.

    A case that died in bin y lived through the bins before and met the hazard of y; a censored
    case counts as having lived through y.

    Args:
        hazards: h (B, K), from 0 to 1.
        time_bin: y (B,), integers from 0 to K-1.
        event: d (B,), true for died.

    Returns:
        (B,), 0 or more.

    >>> hazards = torch.tensor([[0.5, 0.2]])
    >>> negative_log_likelihood(hazards, torch.tensor([1]), torch.tensor([True])).exp().round()
    tensor([10.])
    """
    survival = functional.pad(survival_from(hazards), (1, 0), value=1.0)  # (B, K+1), S(-1) first
    y = time_bin.unsqueeze(1)  # (B, 1)
    before, hazard, after = (
        table.gather(1, index).squeeze(1).clamp(min=LEAST).log()
        for table, index in ((survival, y), (hazards, y), (survival, y + 1))
    )
    return -torch.where(event.bool(), before + hazard, after)


def gene_loss(predicted: Sequence[Tensor], targets: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Add up sce = sum_g (1 - cos_g)^3 and mse = sum_g mse_g, over measured genes only.

    Args:
        predicted: G times (B, n_g).
        targets: G times (B, n_g); NaN is not measured, and no gradient comes from there. A group
            without a measured gene adds 0.

    Returns:
        sce and mse, each (B,).
    """
    losses = [_group_loss(p, t.to(p)) for p, t in zip(predicted, targets, strict=True)]
    sce, mse = zip(*losses, strict=True)
    return torch.stack(sce).sum(dim=0), torch.stack(mse).sum(dim=0)


def _group_loss(predicted: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """One group, (B, n) each -> (1 - cos)^3 and mse, each (B,)."""
    measured = ~target.isnan()
    count = measured.sum(dim=1)  # (B,)
    predicted = predicted.where(measured, 0.0)
    target = target.where(measured, 0.0)
    unit = functional.normalize(predicted, dim=1) * functional.normalize(target, dim=1)
    sce = ((1 - unit.sum(dim=1)) ** 3).where(count > 0, 0.0)
    mse = ((predicted - target) ** 2).sum(dim=1) / count.clamp(min=1)
    return sce, mse


def case_losses(prediction: Prediction, bags: Sequence[Bag], *, gene_weight: float) -> LossTerms:
    """The loss of each case; the gene terms are 0 for bags without genes.

    Where no bag has genes, the gene decoders are not part of the loss at all: their gradients
    stay None and an optimiser leaves them alone.

    Args:
        prediction: of the same B cases, in the same order.
        bags: with outcomes; genes of the model's group sizes, or None.
        gene_weight: how much the gene terms count.

    Raises:
        TrainingError: a bag has no outcome, or one outside the model's time bins.
        GenesError: genes of other group sizes than the model's.
    """
    hazards = prediction.hazards
    outcomes = [_outcome_of(bag, hazards.shape[1]) for bag in bags]
    time_bin = torch.tensor([outcome.time_bin for outcome in outcomes], device=hazards.device)
    event = torch.tensor([outcome.event for outcome in outcomes], device=hazards.device)
    nll = negative_log_likelihood(hazards, time_bin, event)
    sce = mse = torch.zeros_like(nll)
    if any(bag.genes is not None for bag in bags):
        sce, mse = gene_loss(prediction.genes, _targets(prediction.genes, bags))
    return LossTerms(nll, sce, mse, nll + gene_weight * (sce + mse))


def _outcome_of(bag: Bag, time_bins: int) -> Outcome:
    if bag.outcome is None:
        raise TrainingError("a case without an outcome has no loss")
    if not 0 <= bag.outcome.time_bin < time_bins:
        raise TrainingError(f"an outcome lies outside the {time_bins} time bins of the model")
    return bag.outcome


def _targets(predicted: Sequence[Tensor], bags: Sequence[Bag]) -> list[Tensor]:
    """G times (B, n_g); all NaN where a bag has no genes."""
    sizes = [group.shape[1] for group in predicted]
    for bag in bags:
        if bag.genes is not None and [len(group) for group in bag.genes] != sizes:
            raise GenesError("genes of a case do not fit the gene groups of the model")
    unmeasured = [
        group.new_full((size,), torch.nan) for group, size in zip(predicted, sizes, strict=True)
    ]
    rows = [unmeasured if bag.genes is None else bag.genes for bag in bags]
    return [torch.stack([row[g].to(group) for row in rows]) for g, group in enumerate(predicted)]
