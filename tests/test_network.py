"""The network keeps the promises of its formulas: packing, order, top patches, gradients."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ghanet_model import study
from ghanet_model.errors import FeaturesError, SettingsError
from ghanet_model.layers import Attention, patch_weights
from ghanet_model.network import DECODERS, PRESETS, GHANetConfig, new_model

WIDTH = 12  # of the features


def small_config(**changes):
    """A compact configuration of three gene groups."""
    given = {"group_sizes": (3, 2, 4), "feature_width": WIDTH, "time_bins": 4, "dropout": 0.25}
    return GHANetConfig.preset("compact", **given | changes)


@pytest.fixture(scope="module")
def model():
    """A small model in double precision and eval mode."""
    return new_model(small_config(), seed=5).double().eval()


def bags_of(*lengths, seed=0):
    """Random features of cases with so many patches."""
    rng = torch.Generator().manual_seed(seed)
    return [torch.randn(n, WIDTH, generator=rng, dtype=torch.float64) for n in lengths]


def assert_same(packed, singles):
    """A packed prediction is that of its cases one by one."""
    for name in ("hazards", "survival", "risk"):
        together = torch.cat([getattr(single, name) for single in singles])
        torch.testing.assert_close(getattr(packed, name), together, rtol=1e-9, atol=1e-11)
    for name in ("similarity", "patch_weights"):
        own = tuple(getattr(single, name)[0] for single in singles)
        torch.testing.assert_close(getattr(packed, name), own, rtol=1e-9, atol=1e-11)
    for g, group in enumerate(packed.genes):
        together = torch.cat([single.genes[g] for single in singles])
        torch.testing.assert_close(group, together, rtol=1e-9, atol=1e-11)


@given(st.lists(st.integers(1, 40), min_size=1, max_size=5), st.integers(0, 1000))
@settings(max_examples=15, deadline=None)
def test_packed_equals_one_by_one(lengths, seed):
    """Bags of any sizes give the same numbers packed as alone, all of them proper."""
    model = new_model(small_config(), seed=5).double()
    bags = bags_of(*lengths, seed=seed)
    packed = model.predict(bags)
    assert_same(packed, [model.predict([bag]) for bag in bags])
    assert ((packed.hazards > 0) & (packed.hazards < 1)).all()
    for weights, length in zip(packed.patch_weights, lengths, strict=True):
        assert weights.shape == (3, length)
        torch.testing.assert_close(weights.sum(dim=1), torch.ones(3, dtype=torch.float64))


def test_packed_gradients_equal_one_by_one(model):
    """The gradient of a packed batch is the sum of its cases' gradients."""
    bags = bags_of(7, 1, 20)
    used = [p for name, p in model.named_parameters() if not name.startswith(DECODERS)]
    packed = torch.autograd.grad(model(torch.cat(bags), [7, 1, 20]).risk.sum(), used)
    singles = [torch.autograd.grad(model(bag, [len(bag)]).risk.sum(), used) for bag in bags]
    torch.testing.assert_close(packed, tuple(map(sum, zip(*singles, strict=True))))


def test_one_patch_is_a_bag(model):
    """A bag of one patch gives all weight to it."""
    prediction = model.predict(bags_of(1))
    assert prediction.patch_weights[0].tolist() == [[1.0]] * 3
    assert prediction.risk.isfinite().all()


def test_patch_order_does_not_matter(model):
    """Slides of a case are concatenated; whichever comes first, the risk is the same."""
    first, second = bags_of(6, 9)
    one = model.predict([torch.cat([first, second])])
    other = model.predict([torch.cat([second, first])])
    torch.testing.assert_close(one.risk, other.risk, rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(one.similarity[0][:, :6], other.similarity[0][:, 9:])


def test_patches_matter(model):
    """Another slide is another risk."""
    first, second = bags_of(6, 9)
    risks = model.predict([first, torch.cat([first, second])]).risk
    assert (risks[0] - risks[1]).abs() > 1e-4


def test_attention_is_the_textbook_one():
    """Folded weights give what building keys and values gives."""
    layer = Attention(10, heads=2, head_width=3, dropout=0.0).double()
    queries, rows = torch.randn(1, 4, 10).double(), torch.randn(8, 10).double()
    q = layer.to_query(queries[0]).view(4, 2, 3).transpose(0, 1)  # (h, G, d)
    k, v = (to(rows).view(8, 2, 3).transpose(0, 1) for to in (layer.to_key, layer.to_value))
    similarity = q @ k.transpose(1, 2) / math.sqrt(3)
    heads = (similarity.softmax(dim=-1) @ v).transpose(0, 1).reshape(4, 6)
    attended = layer(queries, rows, [8])
    torch.testing.assert_close(attended.similarity[0], similarity)
    torch.testing.assert_close(attended.tokens[0], layer.to_output(heads))


def test_attention_drops_patches_in_training():
    """Dropout acts on the softmax over patches: with all dropped, only the bias is left."""
    layer = Attention(10, heads=2, head_width=3, dropout=1.0)
    queries, rows = torch.randn(1, 4, 10), torch.randn(8, 10)
    assert torch.equal(layer(queries, rows, [8]).tokens[0, 0], layer.to_output.bias)
    assert not torch.equal(layer.eval()(queries, rows, [8]).tokens[0, 0], layer.to_output.bias)


def test_top_patches_share_half_the_weight():
    """Half of P is the gate's softmax, half the softmax over the top fifth of patches."""
    similarity = torch.tensor([[4.0, 1, 2, 3, 0, 0, 0, 0, 0, 0]])
    scores = torch.arange(10.0)
    top = torch.zeros(1, 10)
    top[0, [0, 3]] = torch.tensor([4.0, 3.0]).softmax(dim=0)
    expected = (scores.softmax(dim=0) + top) / 2
    torch.testing.assert_close(patch_weights(scores, similarity, 0.2), expected)


def test_ties_at_the_top_stay():
    """Patches as similar as the last of the top are at the top too."""
    similarity = torch.tensor([[3.0, 1, 3, 3, 0], [0, 0, 0, 0, 9.0]])
    from_top = 2 * patch_weights(torch.zeros(5), similarity, 0.2) - 0.2
    third = 1 / 3
    expected = torch.tensor([[third, 0, third, third, 0], [0, 0, 0, 0, 1.0]])
    torch.testing.assert_close(from_top, expected)


def test_no_gradient_through_similarity():
    """Patch weights teach the gate, never the similarity."""
    similarity = torch.randn(2, 9, requires_grad=True)
    scores = torch.randn(9, requires_grad=True)
    patch_weights(scores, similarity, 0.2)[:, 0].sum().backward()
    assert similarity.grad is None
    assert scores.grad.abs().sum() > 0


def test_only_decoders_have_no_say_in_risk(model):
    """Every parameter but those named DECODERS has a gradient of the hazards."""
    model.zero_grad()
    model(bags_of(30)[0], [30]).hazards[:, 0].sum().backward()
    for name, parameter in model.named_parameters():
        silent = parameter.grad is None or not parameter.grad.any()
        assert silent == name.startswith(DECODERS), name
    model.zero_grad()


def test_predict_leaves_the_mode():
    """Prediction is free of dropout and gradient, in whichever mode the model is and stays."""
    model = new_model(small_config(), seed=5).double()
    (bag,) = bags_of(15)
    calm = model.eval().predict([bag])
    assert not model.training
    again = model.train().predict([bag])
    assert model.training
    assert torch.equal(calm.risk, again.risk)
    assert not again.hazards.requires_grad
    assert not torch.equal(model(bag, [15]).risk, calm.risk)  # dropout is at work


def test_predict_takes_half_precision():
    """Features of half precision are used in the model's own."""
    model = new_model(small_config(), seed=5)
    half = bags_of(15)[0].half()
    prediction = model.predict([half])
    assert prediction.risk.dtype == torch.float32
    assert torch.equal(prediction.risk, model.predict([half.float()]).risk)


@pytest.mark.parametrize(
    ("features", "message"),
    [
        (torch.zeros(3, WIDTH + 1), r"shape \(3, 13\), expected \(patches, 12\)"),
        (torch.zeros(1, 3, WIDTH), "expected"),
        (torch.zeros(0, WIDTH), "no patches"),
        (torch.full((3, WIDTH), torch.nan), "not finite"),
        (torch.full((3, WIDTH), torch.inf), "not finite"),
    ],
)
def test_unusable_features_are_refused(model, features, message):
    """Features of another width, without patches or not finite give no prediction."""
    with pytest.raises(FeaturesError, match=message):
        model.predict([torch.zeros(2, WIDTH), features])


@pytest.mark.parametrize("lengths", [[], [4], [6], [5, 0], [6, -1]])
def test_lengths_must_add_up(model, lengths):
    """Packed patches without lengths that add up to them are refused."""
    with pytest.raises(FeaturesError, match="add up"):
        model(torch.zeros(5, WIDTH, dtype=torch.float64), lengths)


def test_nothing_to_predict_is_refused(model):
    """Predicting for nobody is an error."""
    with pytest.raises(FeaturesError, match="no bags"):
        model.predict([])


def test_a_seed_is_a_model():
    """One seed gives one set of weights, another seed another; no global number is drawn."""
    before = torch.get_rng_state()
    first, same, other = (new_model(small_config(), seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    for name, value in first.state_dict().items():
        assert torch.equal(value, same.state_dict()[name])
    assert not torch.equal(first.association.queries, other.association.queries)


def test_starting_weights():
    """Linear layers start Xavier normal with zero bias, queries standard normal."""
    model = new_model(GHANetConfig(group_sizes=(2,) * 6, feature_width=128, expansion=1), seed=0)
    weight = model.association.feed0.inner.weight
    assert weight.std().item() == pytest.approx(math.sqrt(2 / sum(weight.shape)), rel=0.02)
    assert weight.abs().max() > 3 * weight.std()  # normal, not uniform
    assert model.association.queries.std().item() == pytest.approx(1, rel=0.05)
    assert not model.survival.head.bias.any()
    assert (model.association.norm1.weight == 1).all()


@pytest.mark.parametrize(
    "changes",
    [
        {"group_sizes": ()},
        {"group_sizes": (3, 0)},
        {"feature_width": 0},
        {"time_bins": 0},
        {"dropout": 1.0},
        {"dropout": -0.1},
    ],
)
def test_impossible_sizes_are_refused(changes):
    """An empty gene group, a size below 1 or a dropout of 1 is no model."""
    with pytest.raises(SettingsError, match="model: "):
        small_config(**changes)


@pytest.mark.parametrize("share", [0.0, 1.1])
def test_an_impossible_top_is_refused(share):
    """The top is more than nothing and at most all."""
    with pytest.raises(SettingsError, match="top_ratio"):
        GHANetConfig(group_sizes=(1,), top_ratio=share)


def test_presets_are_those_of_the_study():
    """A study names exactly the presets there are; compact is far smaller than published."""
    assert set(PRESETS) == set(study.PRESETS)
    with pytest.raises(SettingsError, match="no preset 'huge'"):
        GHANetConfig.preset("huge", group_sizes=(1,), feature_width=8, time_bins=4, dropout=0.0)
    sizes = {"group_sizes": (1,), "feature_width": 8, "time_bins": 4, "dropout": 0.0}
    assert GHANetConfig.preset("published", **sizes).width == 512
    assert GHANetConfig.preset("compact", **sizes).width == 64
