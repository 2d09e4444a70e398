"""What the model's benchmark compares gives the same numbers."""

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))  # it is no package

from published import published

from ghanet_model.bag import Bag, Outcome
from ghanet_model.loss import case_losses
from ghanet_model.network import new_model
from ghanet_model.sizes import GHANetConfig

SIZES = {"group_sizes": (5, 3, 4), "feature_width": 24, "time_bins": 4, "dropout": 0.25}


@pytest.mark.parametrize("patches", [1, 7, 3000])
def test_streamed_is_as_published(patches):
    """In float32, in chunks, predictions are those of the published way of computing."""
    model = new_model(GHANetConfig.preset("compact", **SIZES), seed=0).eval()
    features = torch.randn(patches, 24)
    ours = model.predict([features])
    with torch.no_grad():
        theirs = published(model, features)
    for name in ("hazards", "survival", "risk", "genes", "similarity", "patch_weights"):
        one, other = getattr(ours, name), getattr(theirs, name)
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


def test_gradients_are_as_published():
    """Packed, fused gradients of the loss add up to those of bags one by one."""
    model = new_model(GHANetConfig.preset("compact", **SIZES | {"dropout": 0.0}), seed=0).double()
    bags = [
        Bag(
            torch.randn(n, 24, dtype=torch.float64),
            Outcome(5.0, n % 2 == 0, n % 4),
            tuple(torch.randn(size, dtype=torch.float64) for size in SIZES["group_sizes"]),
        )
        for n in (700, 1, 30)
    ]
    used = list(model.parameters())
    ours = model(torch.cat([bag.features for bag in bags]), [700, 1, 30])
    found = torch.autograd.grad(case_losses(ours, bags, gene_weight=0.3).total.sum(), used)
    sums = [torch.zeros_like(one) for one in used]
    for bag in bags:
        loss = case_losses(published(model, bag.features), [bag], gene_weight=0.3).total.sum()
        sums = [s + g for s, g in zip(sums, torch.autograd.grad(loss, used), strict=True)]
    torch.testing.assert_close(found, tuple(sums), rtol=1e-9, atol=1e-11)
