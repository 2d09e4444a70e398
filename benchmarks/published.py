"""A G-HANet's weights computed as the published code does: what ours is compared with.

Written from the formulas, to the same numbers: keys and values are built for every patch, in both
hops; each bag goes through alone; all in float32. Only ``GHANet``'s parameters are used, none of
its ways of computing.
"""

import math

from torch import Tensor
from torch.nn import functional

from ghanet_model.layers import CLOSED, FeedForward, Heads
from ghanet_model.network import AssociationBranch, GHANet, Prediction, SurvivalBranch
from ghanet_model.survival import risk_from, survival_from


def published(model: GHANet, features: Tensor) -> Prediction:
    """Predict for one bag (N, D); with dropout where ``model`` is in training mode."""
    tokens, similarity = _associate(model.association, features)
    hazards, weights = _survive(model.survival, features, tokens, similarity)
    survival = survival_from(hazards)
    genes = tuple(decode(tokens[None, g]) for g, decode in enumerate(model.decoders))
    return Prediction(hazards, survival, risk_from(survival), genes, (similarity,), (weights,))


def _associate(branch: AssociationBranch, features: Tensor) -> tuple[Tensor, Tensor]:
    """R (G, W) and M (G, N)."""
    rows = branch.embed(features).relu()  # (N, W)
    rows = functional.dropout(rows, branch.dropout.p, branch.training)
    queries = branch.queries
    first, _ = _attend(branch.attention, branch.norm1(queries), branch.norm2(rows))
    tokens = _feed(branch.feed0, branch.norm3(first)) + first
    again = branch.norm4(queries + tokens)
    second, similarity = _attend(branch.attention, again, branch.norm2(rows))
    tokens = branch.norm6(_feed(branch.feed1, branch.norm5(second)) + second)
    return tokens, similarity.mean(dim=0)


def _attend(attention: Heads, queries: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Tokens (G, W) and similarity (h, G, N), by keys and values of all N rows."""
    heads = attention.heads
    q, k, v = (
        part.unflatten(-1, (heads, -1)).transpose(0, 1)  # (h, G or N, d)
        for part in (
            functional.linear(queries, attention.to_query.weight),
            functional.linear(rows, attention.to_key.weight),
            functional.linear(rows, attention.to_value.weight),
        )
    )
    similarity = q @ k.transpose(1, 2) / math.sqrt(q.shape[-1])  # (h, G, N)
    weights = functional.dropout(similarity.softmax(-1), attention.dropout.p, attention.training)
    out = (weights @ v).transpose(0, 1).flatten(1)  # (G, h d)
    return functional.linear(out, attention.to_output.weight, attention.to_output.bias), similarity


def _feed(feed: FeedForward, tokens: Tensor) -> Tensor:
    value, gate = feed.inner(tokens).chunk(2, dim=-1)
    return feed.dropout(feed.outer(value * functional.gelu(gate)))


def _survive(
    branch: SurvivalBranch, features: Tensor, tokens: Tensor, similarity: Tensor
) -> tuple[Tensor, Tensor]:
    """Hazards (1, K) and P (G, N)."""
    patches = branch.embed_norm(branch.embed(features)).relu()  # (N, W)
    patches = functional.dropout(patches, branch.dropout.p, branch.training)
    gate = branch.gate
    opened = gate.content(patches).tanh() * gate.opening(patches).sigmoid()
    scores = gate.score(opened).squeeze(-1)  # (N,)
    top = max(1, int(branch.top_ratio * len(patches)))
    least = similarity.topk(top, dim=1).values[:, -1:]
    closed = similarity.where(similarity >= least, similarity - CLOSED)
    weights = (scores.softmax(0) + closed.softmax(1).detach()) / 2  # (G, N)
    joined = (branch.convolution(weights @ patches) + tokens) / 2
    joined = _attend(branch.attention, joined, joined)[0] + joined
    joined = _feed(branch.feed, branch.feed_norm(joined)) + joined
    narrow = functional.dropout(
        branch.narrow_norm(branch.narrow(joined)).relu(), branch.dropout.p, branch.training
    )
    return branch.head(narrow.flatten()[None]).sigmoid(), weights
