"""Published weights give the published numbers, and their gradients."""

import json
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch

from ghanet_model.bag import Bag, Outcome
from ghanet_model.errors import WeightsError
from ghanet_model.loss import case_losses
from ghanet_model.reference import from_reference, reference_names

GOLDEN = json.loads((Path(__file__).parent / "golden" / "reference.json").read_text())
TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-5}
GATE_BIAS = "gate.attention_c.bias"


def published_weight(name, shape):
    """The published parameter ``name``: normal numbers seeded by the checksum of its name.

    Gains are 1 + a tenth of a draw, biases a tenth, matrices divided by the root of their inputs.
    """
    drawn = np.random.default_rng(zlib.crc32(name.encode())).standard_normal(shape)
    if name.endswith("bias"):
        drawn = 0.1 * drawn
    elif len(shape) == 1:
        drawn = 1 + 0.1 * drawn
    elif not name.endswith("tokens"):
        drawn = drawn / np.sqrt(shape[-1])
    return drawn.astype(np.float32)


def golden_bag(case, dtype):
    """Features, outcome and genes of a golden case: relu of normal numbers, then its genes."""
    rng = np.random.default_rng(case["seed"])
    features = rng.standard_normal((case["n_patches"], 1024)).clip(min=0).astype(np.float32)
    genes = [rng.standard_normal(n).astype(np.float32) for n in case["gene_group_sizes"]]
    outcome = Outcome(1.0, event=not case["censored"], time_bin=case["time_bin"])
    return Bag(
        torch.tensor(features, dtype=dtype),
        outcome,
        tuple(torch.tensor(group, dtype=dtype) for group in genes),
    )


@pytest.fixture(scope="module")
def state():
    """All published parameters of the golden model, float32."""
    return {name: published_weight(name, shape) for name, shape in GOLDEN["names"]}


@pytest.fixture(scope="module", params=[torch.float64, torch.float32], ids=["double", "single"])
def model(request, state):
    """The golden model in our words."""
    double = request.param == torch.float64
    return from_reference({n: v.astype("f8") for n, v in state.items()} if double else state).eval()


@pytest.fixture(scope="module", params=GOLDEN["cases"], ids=lambda case: f"{case['n_patches']}")
def answer(request, model):
    """(golden case, our prediction, our loss terms, our gradient norms, tolerance)."""
    dtype = model.association.queries.dtype
    bag = golden_bag(request.param, dtype)
    prediction = model(bag.features, [len(bag.features)])
    losses = case_losses(prediction, [bag], gene_weight=0.3)
    model.zero_grad()
    losses.total.sum().backward()
    norms = {name: p.grad.double().norm().item() for name, p in model.named_parameters()}
    return request.param, prediction, losses, norms, TOLERANCE[dtype]


def close(ours, golden, tolerance):
    """Whether a tensor holds the golden numbers."""
    found = ours.detach().double().numpy()
    return np.allclose(found, golden, rtol=tolerance, atol=tolerance)


def test_hazards_and_survival_are_the_published_ones(answer):
    """Hazards, survival and risk agree to 1e-9 in double, 1e-5 in single precision."""
    case, prediction, _, _, tolerance = answer
    assert close(prediction.hazards[0], case["hazards"], tolerance)
    assert close(prediction.survival[0], case["survival"], tolerance)
    assert close(prediction.risk[0], case["risk"], tolerance)


def test_genes_and_similarity_are_the_published_ones(answer):
    """Reconstructed genes and the similarity of groups and patches agree."""
    case, prediction, _, _, tolerance = answer
    for ours, golden in zip(prediction.genes, case["genes"], strict=True):
        assert close(ours[0], golden, tolerance)
    assert close(prediction.similarity[0][:, :5], case["similarity_first5"], tolerance)
    assert close(prediction.similarity[0].sum(dim=1), case["similarity_row_sums"], tolerance)


@pytest.mark.parametrize("term", ["nll", "sce", "mse", "total"])
def test_loss_terms_are_the_published_ones(answer, term):
    """Every term of the loss agrees."""
    case, _, losses, _, tolerance = answer
    assert close(getattr(losses, term)[0], case[term], tolerance)


def test_gradients_are_the_published_ones(answer):
    """The norm of every parameter's gradient agrees; the absent gate bias would have none."""
    case, _, _, norms, tolerance = answer
    golden = dict(case["grad_norms"])
    assert golden.pop(GATE_BIAS) == pytest.approx(0, abs=1e-12)
    ours = {theirs: norms[name] for theirs, name in reference_names(6).items()}
    assert ours == pytest.approx(golden, rel=tolerance, abs=0)
    assert len(ours) == len(norms)


def test_sizes_are_read_from_shapes(model):
    """The published model is recognised by its shapes alone."""
    config = model.config
    assert config.group_sizes == (5, 7, 6, 8, 9, 4)
    assert (config.feature_width, config.width, config.gate_width) == (1024, 512, 256)
    assert (config.heads, config.head_width, config.expansion) == (4, 128, 4)
    assert (config.bottleneck, config.time_bins) == (256, 4)


def test_the_state_is_copied(state):
    """Training the model leaves the published arrays as they are, numpy or torch."""
    name, ours = "classifier.bias", "survival.head.bias"
    for given in (state, {n: torch.tensor(v) for n, v in state.items()}):
        model = from_reference(given)
        with torch.no_grad():
            model.get_parameter(ours).fill_(7.0)
        assert not np.any(np.asarray(given[name]) == 7.0)


def test_unused_parameters_may_be_absent(state):
    """The dead second attention and the gate's last bias need not be there."""
    used = {n: v for n, v in state.items() if n in reference_names(6)}
    assert len(used) == len(state) - 6
    assert from_reference(used).config.group_sizes == (5, 7, 6, 8, 9, 4)


def test_random_state_is_untouched(state):
    """Loading draws no random number."""
    before = torch.get_rng_state()
    from_reference(state)
    assert torch.equal(torch.get_rng_state(), before)


def without(name):
    """A change that takes a name away."""
    return lambda state: {n: v for n, v in state.items() if n != name}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without("wsi_net.0.weight"), "missing names, the first is 'wsi_net.0.weight'"),
        (without("recon_net.sig_reconstruct_net.2.4.bias"), "missing|unknown"),
        (lambda state: state | {"extra.weight": np.zeros(1)}, "unknown names.*extra.weight"),
        (lambda state: state | {"ln1.bias": np.zeros(3, "f4")}, "feed_norm.bias has shape"),
        (lambda state: state | {"ln1.bias": np.zeros(512, "f8")}, "one float type"),
        (lambda state: state | {"recon_net.tokens": np.zeros(6, "f4")}, "too few dimensions"),
    ],
)
def test_weights_of_another_model_are_refused(state, change, message):
    """A missing or unknown name, another shape or mixed types are no published weights."""
    with pytest.raises(WeightsError, match=message):
        from_reference(change(state))
