"""The fused passes over patches give what the formulas give: values, gradients, dropout."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from ghanet_model import patches
from ghanet_model.patches import attend, pool, project

D, W, A, G, Q = 10, 8, 5, 3, 4
LENGTHS = st.lists(st.integers(1, 40), min_size=1, max_size=6)
DROPOUT = st.sampled_from([0.0, 0.25, 0.5])


@pytest.fixture(scope="module", autouse=True)
def masks():
    """What dropout kept in each pass, in the order drawn; chunks are of 16 patches.

    Short cases share a chunk, long ones need several.
    """
    kept, draw = [], patches._bytes

    def recorded(like, dropout):
        kept.append(draw(like, dropout))
        return kept[-1].clone()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(patches, "_CPU_CHUNK", 16)
        patch.setattr(patches, "_bytes", recorded)
        yield kept


def drawn(*shape):
    """Random numbers in double precision, to be learned."""
    return torch.randn(*shape, dtype=torch.float64).requires_grad_()


def kept_part(masks, dropout):
    """What dropout multiplies by, all chunks together; empties the record."""
    kept = torch.cat(masks).double() / (1 - dropout) if dropout else torch.tensor(1.0)
    masks.clear()
    return kept


def assert_gradients(ours, plain, inputs):
    """Same values, and same gradients of one random sum of them."""
    ours, plain = tuple(ours), tuple(plain)
    torch.testing.assert_close(ours, plain, rtol=1e-10, atol=1e-12)
    weights = [torch.randn_like(one) for one in plain]
    found, wanted = (
        torch.autograd.grad(sum((o * w).sum() for o, w in zip(side, weights, strict=True)), inputs)
        for side in (ours, plain)
    )
    torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-11)


@given(LENGTHS, DROPOUT)
@settings(max_examples=20, deadline=None)
def test_project_is_relu_dropout_and_norm(masks, lengths, dropout):
    """Rows are normalised drop(relu(X W + b)), whatever the chunks."""
    features, layer = drawn(sum(lengths), D), torch.nn.Linear(D, W).double()
    ours = project(features, layer, eps=1e-5, dropout=dropout, kind=torch.float64)
    hidden = layer(features).relu() * kept_part(masks, dropout)
    plain = functional.layer_norm(hidden, (W,))
    assert_gradients([ours], [plain], [features, *layer.parameters()])


@given(LENGTHS, DROPOUT)
@settings(max_examples=20, deadline=None)
def test_attend_is_softmax_over_own_rows(masks, lengths, dropout):
    """Each case's queries see its rows and no others'."""
    queries, rows = drawn(len(lengths), Q, W), drawn(sum(lengths), W)
    gathered, weight, similarity = attend(queries, rows, lengths, dropout=dropout)
    kept = kept_part(masks, dropout).expand(Q, len(rows)).split(lengths, dim=1)
    similar = [q @ own.T for q, own in zip(queries, rows.split(lengths), strict=True)]
    shares = [s.softmax(dim=1) * k for s, k in zip(similar, kept, strict=True)]
    plain = [s @ own for s, own in zip(shares, rows.split(lengths), strict=True)]
    torch.testing.assert_close(similarity, torch.cat(similar, dim=1).detach())
    assert not similarity.requires_grad
    sums = torch.stack([s.sum(dim=1) for s in shares])
    assert_gradients([gathered, weight], [torch.stack(plain), sums], [queries, rows])


def plain_pool(features, groups, lengths, kept, **layers):
    """``pool`` by its formulas."""
    (weight, bias, score), norm, layer = layers["gate"], layers["norm"], layers["layer"]
    patches = norm(layer(features)).relu() * kept  # (P, W)
    content, opening = functional.linear(patches, weight, bias).chunk(2, dim=1)
    scores = (content.tanh() * opening.sigmoid()) @ score
    shares = [own.softmax(dim=0) for own in scores.split(lengths)]
    own = list(zip(shares, groups.split(lengths, dim=1), patches.split(lengths), strict=True))
    by_gate = torch.stack([s @ H for s, _, H in own])
    return by_gate, torch.stack([g @ H for _, g, H in own]), torch.cat(shares)


@given(LENGTHS, DROPOUT, st.sampled_from([0.1, 30.0]))
@settings(max_examples=30, deadline=None)
def test_pool_is_gated_and_grouped_sums(masks, lengths, dropout, steep):
    """Sums by the gate's softmax and by groups, for flat and for steep gates."""
    features, groups = drawn(sum(lengths), D), torch.rand(G, sum(lengths), dtype=torch.float64)
    layer, norm = torch.nn.Linear(D, W).double(), torch.nn.LayerNorm(W).double()
    torch.nn.init.normal_(norm.weight)
    torch.nn.init.normal_(norm.bias)
    score = (drawn(A) * steep).detach().requires_grad_()
    gate = drawn(2 * A, W), drawn(2 * A), score
    parts = {"layer": layer, "norm": norm, "gate": gate}
    ours = pool(features, groups, lengths, dropout=dropout, kind=torch.float64, **parts)
    kept = kept_part(masks, dropout)
    *plain, shares = plain_pool(features, groups, lengths, kept, **parts)
    torch.testing.assert_close(ours.gate, shares.detach())
    learned = [features, *layer.parameters(), *norm.parameters(), *gate]
    assert_gradients(ours[:2], plain, learned)


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.25, 0.999])
def test_dropout_keeps_its_share_and_the_mean(rate):
    """As many entries stay as the rate says, to 1/256, and are scaled so that the mean stays."""
    kept = patches._bytes(torch.empty(1000, 257), rate).double()
    assert set(kept.unique().tolist()) <= {0.0, 1.0}
    taken = min(round(rate * 256), 255) / 256
    assert kept.mean().item() == pytest.approx(1 - taken, abs=0.005)
    assert (1 - taken) * patches._scale(rate) == pytest.approx(1)
    columns = kept.mean(dim=0)  # every byte of a random word is as good as the next
    assert columns.std().item() < 2 * ((1 - taken) * taken / 1000) ** 0.5 + 1e-12


def test_spans_cover_every_patch_once():
    """Short cases share a span, long ones are cut; the rows follow each other."""
    spans = list(patches._spans([3, 40, 1, 20], 16))
    assert [span.rows.stop - span.rows.start for span in spans] == [16, 16, 16, 16]
    rows = [
        (piece.case, i) for span in spans for piece in span.pieces for i in range(64)[piece.rows]
    ]
    assert [i for _, i in rows] == list(range(64))
    assert [sum(case == c for c, _ in rows) for case in range(4)] == [3, 40, 1, 20]


def test_without_gradients_nothing_is_kept():
    """Inference gives the same and holds no graph."""
    features, layer = torch.randn(50, D), torch.nn.Linear(D, W)
    learning = project(features, layer, eps=1e-5, dropout=0.0, kind=torch.float32)
    with torch.no_grad():
        calm = project(features, layer, eps=1e-5, dropout=0.0, kind=torch.float32)
    assert torch.equal(learning, calm)
    assert not calm.requires_grad


def test_features_of_half_precision_are_used_in_full():
    """float16 features are cast to the weights' type, chunk by chunk."""
    half, layer = torch.randn(50, D).half(), torch.nn.Linear(D, W)
    ours = project(half, layer, eps=1e-5, dropout=0.0, kind=torch.float32)
    assert ours.dtype == torch.float32
    assert torch.equal(
        ours, project(half.float(), layer, eps=1e-5, dropout=0.0, kind=torch.float32)
    )
