"""The network keeps the promises of its formulas: packing, order, top patches, gradients."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ghanet_model.errors import FeaturesError, SettingsError
from ghanet_model.layers import PatchAttention, SelfAttention, group_weights
from ghanet_model.network import DECODERS, GatedPooling, new_model
from ghanet_model.sizes import GHANetConfig

WIDTH = 12  # of the features


def small_config(preset="compact", **changes):
    """A small configuration of three gene groups."""
    given = {"group_sizes": (3, 2, 4), "feature_width": WIDTH, "time_bins": 4, "dropout": 0.25}
    return GHANetConfig.preset(preset, **given | changes)


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


def textbook(layer, queries, rows):
    """Attention of (G, W) to (N, W) by building keys and values: tokens (G, W), similarity."""
    q = layer.to_query(queries).unflatten(1, (layer.heads, -1)).transpose(0, 1)  # (h, G, d)
    k, v = (
        to(rows).unflatten(1, (layer.heads, -1)).transpose(0, 1)
        for to in (layer.to_key, layer.to_value)
    )
    similarity = q @ k.transpose(1, 2) / math.sqrt(layer.head_width)  # (h, G, N)
    heads = (similarity.softmax(dim=-1) @ v).transpose(0, 1).flatten(1)
    return layer.to_output(heads), similarity


def test_attention_is_the_textbook_one():
    """Folded weights and norm give what building keys and values of normed rows gives."""
    layer = PatchAttention(10, heads=2, head_width=3, dropout=0.0).double()
    norm = torch.nn.LayerNorm(10).double()
    torch.nn.init.normal_(norm.weight)
    torch.nn.init.normal_(norm.bias)
    queries, rows = torch.randn(1, 4, 10).double(), torch.randn(8, 10).double()
    units = torch.nn.functional.layer_norm(rows, (10,))
    tokens, similarity = textbook(layer, queries[0], norm(rows))
    attended = layer(queries, units, [8], norm)
    torch.testing.assert_close(attended.similarity, similarity.mean(dim=0).detach())
    torch.testing.assert_close(attended.tokens[0], tokens)


def test_tokens_attend_to_their_own_case():
    """Self-attention is the textbook one in each case."""
    layer = SelfAttention(10, heads=2, head_width=3, dropout=0.0).double()
    tokens = torch.randn(3, 4, 10).double()
    expected = torch.stack([textbook(layer, own, own)[0] for own in tokens])
    torch.testing.assert_close(layer(tokens), expected)


def test_top_patches_share_the_weight():
    """A gene group's weight is the softmax over the top fifth of a case's patches."""
    similarity = torch.tensor([[4.0, 1, 2, 3, 0, 0, 0, 0, 0, 0, 7]])
    expected = torch.zeros(1, 11)
    expected[0, [0, 3]] = torch.tensor([4.0, 3.0]).softmax(dim=0)
    expected[0, 10] = 1.0  # a case of its own
    torch.testing.assert_close(group_weights(similarity, [10, 1], 0.2), expected)


def test_ties_at_the_top_stay():
    """Patches as similar as the last of the top are at the top too."""
    similarity = torch.tensor([[3.0, 1, 3, 3, 0], [0, 0, 0, 0, 9.0]])
    third = 1 / 3
    expected = torch.tensor([[third, 0, third, third, 0], [0, 0, 0, 0, 1.0]])
    torch.testing.assert_close(group_weights(similarity, [5], 0.2), expected)


def test_no_gradient_through_similarity():
    """Weights of gene groups teach nothing to the similarity that they come from."""
    similarity = torch.randn(2, 9, requires_grad=True)
    assert not group_weights(similarity, [9], 0.2).requires_grad


@given(st.lists(st.integers(1, 60), min_size=1, max_size=5), st.sampled_from(["compact", "abmil"]))
@settings(max_examples=15, deadline=None)
def test_bfloat16_is_near(lengths, preset):
    """Under bfloat16 autocast predictions differ a little, and gradients stay float32.

    All patches are at the top: where two nearly tie for the last place there, rounding may choose
    the other one, which is no small difference.
    """
    config = replace(small_config(preset=preset), top_ratio=1.0)
    model = new_model(config, seed=5).eval()
    bags = [bag.half() for bag in bags_of(*lengths)]
    full = model.predict(bags)
    with torch.autocast("cpu", torch.bfloat16):
        coarse = model.predict(bags)
        rough = model(torch.cat([bag.float() for bag in bags]), lengths)
    for found in (coarse, rough):
        assert found.hazards.dtype == torch.float32
        assert all(group.dtype == torch.float32 for group in found.genes)
        assert (found.hazards - full.hazards).abs().max() < 0.05
        assert (found.risk - full.risk).abs().max() < 0.15
    rough.risk.sum().backward()
    grads = [p.grad for p in model.parameters() if p.grad is not None]
    assert {grad.dtype for grad in grads} == {torch.float32}
    assert all(grad.isfinite().all() for grad in grads)


def test_bfloat16_gradients_are_near():
    """The gradient's direction under bfloat16 is nearly that of float32."""
    model = new_model(small_config(dropout=0.0), seed=5)
    features = torch.cat(bags_of(300, 20, 700)).half()

    def gradient(kind):
        model.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=kind == torch.bfloat16):
            hazards = model(features, [300, 20, 700]).hazards
        hazards.log().sum().backward()
        return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])

    full, coarse = gradient(torch.float32), gradient(torch.bfloat16)
    assert torch.nn.functional.cosine_similarity(full, coarse, dim=0) > 0.99
    assert (full - coarse).norm() < 0.15 * full.norm()


def test_abmil_is_the_gate_alone():
    """ABMIL pools by its gate: one row of weights, which moves with the patches."""
    model = new_model(small_config(preset="abmil"), seed=5).double()
    assert isinstance(model, GatedPooling)
    bags = bags_of(30, 7)
    packed = model.predict(bags)
    assert_same(packed, [model.predict([bag]) for bag in bags])
    assert [weights.shape for weights in packed.patch_weights] == [(1, 30), (1, 7)]
    assert [own.shape for own in packed.similarity] == [(0, 30), (0, 7)]
    assert [group.shape for group in packed.genes] == [(2, 3), (2, 2), (2, 4)]


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


def test_presets():
    """Compact is far smaller than published; an unknown name is refused."""
    with pytest.raises(SettingsError, match="no preset 'huge'"):
        small_config(preset="huge")
    assert small_config(preset="published").width == 512
    assert small_config().width == 64
    with pytest.raises(SettingsError, match="no network 'other'"):
        GHANetConfig(group_sizes=(1,), kind="other")


@pytest.mark.parametrize("preset", ["published", "compact", "abmil"])
def test_a_study_may_give_the_width(preset):
    """The other widths follow in proportion; the preset's own is the preset."""
    own = small_config(preset=preset)
    half = own.scaled(own.width // 2)
    assert (half.width, half.gate_width) == (own.width // 2, own.gate_width // 2)
    assert (half.head_width, half.bottleneck) == (own.head_width // 2, own.bottleneck // 2)
    assert own.scaled(own.width) == own == own.scaled(0)
    new_model(own.scaled(8), seed=0)
