"""Losses agree with their formulas, and what was not measured has no say."""

import math
from dataclasses import replace

import pytest
import torch
from torch.nn import functional

from ghanet_model.bag import Bag, Outcome
from ghanet_model.errors import GenesError, TrainingError
from ghanet_model.loss import case_losses, gene_loss, negative_log_likelihood
from ghanet_model.network import DECODERS, new_model
from ghanet_model.sizes import GHANetConfig

HAZARDS = torch.tensor([[0.5, 0.2, 0.25]], dtype=torch.float64)
GROUPS = (3, 4)


@pytest.fixture
def targets():
    """Genes of two cases in two groups, float64."""
    rng = torch.Generator().manual_seed(1)
    return [torch.randn(2, n, generator=rng, dtype=torch.float64) for n in GROUPS]


@pytest.fixture
def predicted():
    """Predictions to compare with them; they collect gradients."""
    rng = torch.Generator().manual_seed(2)
    draws = [torch.randn(2, n, generator=rng, dtype=torch.float64) for n in GROUPS]
    return [draw.requires_grad_() for draw in draws]


@pytest.fixture
def model():
    """A small model of two gene groups, in eval mode."""
    config = GHANetConfig.preset(
        "compact", group_sizes=GROUPS, feature_width=8, time_bins=3, dropout=0.0
    )
    return new_model(config, seed=0).double().eval()


@pytest.fixture
def bags(targets):
    """Two cases, the second without genes."""
    features = torch.randn(9, 8, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    genes = tuple(group[0] for group in targets)
    first = Bag(features[:4], Outcome(5.0, event=True, time_bin=1), genes)
    return [first, Bag(features[4:], Outcome(9.0, event=False, time_bin=2))]


def losses_of(model, bags, gene_weight=0.3):
    """The losses of packed bags."""
    prediction = model(torch.cat([b.features for b in bags]), [len(b.features) for b in bags])
    return case_losses(prediction, bags, gene_weight=gene_weight)


@pytest.mark.parametrize(
    ("time_bin", "event", "chance"),
    [
        (0, True, 0.5),
        (1, True, 0.5 * 0.2),
        (2, True, 0.4 * 0.25),
        (0, False, 0.5),
        (1, False, 0.4),
        (2, False, 0.3),
    ],
)
def test_likelihood_is_the_chance_of_what_happened(time_bin, event, chance):
    """A death in bin y has S(y-1) h(y), a censored case S(y)."""
    nll = negative_log_likelihood(HAZARDS, torch.tensor([time_bin]), torch.tensor([event]))
    assert nll.item() == pytest.approx(-math.log(chance), abs=1e-12)


@pytest.mark.parametrize(("hazard", "event"), [(0.0, True), (1.0, False)])
def test_an_impossible_outcome_costs_a_finite_amount(hazard, event):
    """What the model holds impossible costs -log 1e-7, and its gradient is finite."""
    hazards = torch.full((1, 2), hazard, dtype=torch.float64, requires_grad=True)
    nll = negative_log_likelihood(hazards, torch.tensor([0]), torch.tensor([event]))
    (gradient,) = torch.autograd.grad(nll.sum(), hazards)
    assert nll.item() == pytest.approx(-math.log(1e-7))
    assert gradient.isfinite().all()


def test_gene_loss_adds_groups(predicted, targets):
    """Each group adds (1 - cos)^3 and its mean squared error, case by case."""
    sce, mse = gene_loss(predicted, targets)
    pairs = list(zip(predicted, targets, strict=True))
    cosines = [functional.cosine_similarity(p, t, dim=1) for p, t in pairs]
    torch.testing.assert_close(sce, sum((1 - cosine) ** 3 for cosine in cosines))
    torch.testing.assert_close(mse, sum(((p - t) ** 2).mean(dim=1) for p, t in pairs))


def test_only_measured_genes_count(predicted, targets):
    """A case with unmeasured genes has the loss of its measured genes alone."""
    targets[1][0, 2:] = torch.nan
    sce, mse = gene_loss(predicted, targets)
    fewer = [predicted[0][:1], predicted[1][:1, :2]], [targets[0][:1], targets[1][:1, :2]]
    expected_sce, expected_mse = gene_loss(*fewer)
    torch.testing.assert_close((sce[:1], mse[:1]), (expected_sce, expected_mse))


def test_unmeasured_genes_have_no_gradient(predicted, targets):
    """The gradient is 0 where nothing was measured, and finite and not 0 elsewhere."""
    targets[0][0] = torch.nan
    targets[1][1, 3] = torch.nan
    torch.stack(gene_loss(predicted, targets)).sum().backward()
    for p, t in zip(predicted, targets, strict=True):
        assert p.grad.isfinite().all()
        assert torch.equal(p.grad == 0, t.isnan())


def test_a_group_without_a_measured_gene_adds_nothing(predicted, targets):
    """A group of which nothing was measured leaves the other groups' loss as it is."""
    targets[0][:] = torch.nan
    with_group, without = gene_loss(predicted, targets), gene_loss(predicted[1:], targets[1:])
    torch.testing.assert_close(with_group, without)


def test_a_prediction_of_zero_has_a_finite_gradient(targets):
    """No direction is no division by zero: the cosine is 0 and the gradient finite."""
    zeros = [torch.zeros_like(group, requires_grad=True) for group in targets]
    sce, _ = gene_loss(zeros, targets)
    sce.sum().backward()
    assert sce.tolist() == [2.0, 2.0]
    assert all(group.grad.isfinite().all() for group in zeros)


def test_a_case_without_genes_has_no_gene_loss(model, bags):
    """In a mixed batch the case with genes pays for them, the other one does not."""
    losses = losses_of(model, bags)
    alone = losses_of(model, bags[:1])
    assert losses.sce[1] == losses.mse[1] == 0
    torch.testing.assert_close((losses.sce[:1], losses.mse[:1]), (alone.sce, alone.mse))
    assert alone.sce.item() > 0


def test_total_weighs_the_gene_terms(model, bags):
    """The total is nll + weight (sce + mse)."""
    losses = losses_of(model, bags, gene_weight=0.7)
    torch.testing.assert_close(losses.total, losses.nll + 0.7 * (losses.sce + losses.mse))


def test_decoders_are_no_part_of_a_loss_without_genes(model, bags):
    """Without genes in a batch the decoders get no gradient at all, the rest does."""
    losses_of(model, bags[1:]).total.sum().backward()
    for name, parameter in model.named_parameters():
        assert (parameter.grad is None) == name.startswith(DECODERS)


def test_an_unmeasured_gene_leaves_no_nan_in_the_model(model, bags):
    """NaN targets never reach a parameter's gradient."""
    holes = tuple(group.clone() for group in bags[0].genes)
    holes[0][:] = torch.nan
    holes[1][1] = torch.nan
    losses_of(model, [replace(bags[0], genes=holes), bags[1]]).total.sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())
    assert model.decoders[1].output.weight.grad[0].abs().sum() > 0


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"outcome": None}, TrainingError),
        ({"outcome": Outcome(5.0, event=True, time_bin=3)}, TrainingError),
        ({"outcome": Outcome(5.0, event=True, time_bin=-1)}, TrainingError),
        ({"genes": (torch.zeros(3),)}, GenesError),
        ({"genes": (torch.zeros(3), torch.zeros(5))}, GenesError),
    ],
)
def test_a_bag_that_does_not_fit_is_refused(model, bags, change, error):
    """No outcome, an outcome beyond the bins or genes of other groups have no loss."""
    with pytest.raises(error):
        losses_of(model, [replace(bags[0], **change), bags[1]])
