"""Building blocks of G-HANet: tensors in, tensors out. They know no case, no loss, no file.

Shapes: B cases, N patches of one case, P patches of all cases packed, G gene groups, W width,
h heads, d head width. ``lengths`` are the B numbers of patches; they add up to P.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

CLOSED = 1e5  # taken off the similarity of patches outside the top: their softmax is exactly 0


class Attended(NamedTuple):
    """What attention returns."""

    tokens: Tensor  # (B, G, W)
    similarity: tuple[Tensor, ...]  # B times (h, G, N), before softmax


class Attention(nn.Module):
    """Multi-head attention of few queries over the many rows of each case.

    similarity_h = q_h (C W_k,h)^T / sqrt(d)  = (q_h W_k,h^T) C^T / sqrt(d)
    out_h        = attention_h (C W_v,h)      = (attention_h C) W_v,h

    The right-hand sides are exact and never build keys or values for P rows. Queries, keys and
    values have no bias; the output has one. Dropout acts on the softmax over rows.
    """

    def __init__(self, width: int, *, heads: int, head_width: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.head_width = heads, head_width
        self.to_query = nn.Linear(width, heads * head_width, bias=False)
        self.to_key = nn.Linear(width, heads * head_width, bias=False)
        self.to_value = nn.Linear(width, heads * head_width, bias=False)
        self.to_output = nn.Linear(heads * head_width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, queries: Tensor, rows: Tensor, lengths: Sequence[int]) -> Attended:
        """Each case's queries (B, G, W) attend to its own part of the rows (P, W)."""
        cases = zip(self._fold(queries), torch.split(rows, list(lengths)), strict=True)
        seen, similarity = [], []
        for folded, own in cases:  # (h, G, W), (N, W)
            similar = folded @ own.T  # (h, G, N)
            seen.append(self.dropout(similar.softmax(dim=-1)) @ own)  # (h, G, W)
            similarity.append(similar)
        return Attended(self._unfold(torch.stack(seen)), tuple(similarity))

    def _fold(self, queries: Tensor) -> Tensor:
        """Queries times keys' weights: (B, G, W) -> (B, h, G, W), ready to meet plain rows."""
        q: Tensor = self.to_query(queries).view(*queries.shape[:2], self.heads, -1)  # (B, G, h, d)
        keys = self.to_key.weight.view(self.heads, self.head_width, -1)  # (h, d, W)
        return torch.einsum("bghd,hdw->bhgw", q / math.sqrt(self.head_width), keys)

    def _unfold(self, seen: Tensor) -> Tensor:
        """Attended rows times values' weights, then the output layer: (B, h, G, W) -> (B, G, W)."""
        values = self.to_value.weight.view(self.heads, self.head_width, -1)  # (h, d, W)
        heads = torch.einsum("bhgw,hdw->bghd", seen, values)
        tokens: Tensor = self.to_output(heads.flatten(2))
        return tokens


class FeedForward(nn.Module):
    """GEGLU: (a, b) = X W_1 + b_1;  drop((a * gelu(b)) W_2 + b_2); a, b are expansion * W wide."""

    def __init__(self, width: int, *, expansion: int, dropout: float) -> None:
        super().__init__()
        self.inner = nn.Linear(width, 2 * expansion * width)
        self.outer = nn.Linear(expansion * width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, G, W) -> (B, G, W)."""
        value, gate = self.inner(tokens).chunk(2, dim=-1)
        mixed: Tensor = self.dropout(self.outer(value * functional.gelu(gate)))
        return mixed


class PatchGate(nn.Module):
    """w = (tanh(H W_a + b_a) * sigmoid(H W_b + b_b)) W_c: how much each patch counts.

    The published gate adds one number to every w. It cancels in the softmax over patches and its
    gradient is 0, so it is left out.
    """

    def __init__(self, width: int, *, gate_width: int) -> None:
        super().__init__()
        self.content = nn.Linear(width, gate_width)
        self.opening = nn.Linear(width, gate_width)
        self.score = nn.Linear(gate_width, 1, bias=False)

    def forward(self, patches: Tensor) -> Tensor:
        """(P, W) -> (P,)."""
        gated = self.content(patches).tanh() * self.opening(patches).sigmoid()  # (P, gate_width)
        scores: Tensor = self.score(gated).squeeze(-1)
        return scores


class GeneDecoder(nn.Module):
    """linear(drop(elu(ln(linear(R_g))))): the genes of one group from its token."""

    def __init__(self, width: int, *, genes: int, dropout: float) -> None:
        super().__init__()
        self.hidden = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(width, genes)

    def forward(self, token: Tensor) -> Tensor:
        """(B, W) -> (B, genes)."""
        genes: Tensor = self.output(self.dropout(functional.elu(self.norm(self.hidden(token)))))
        return genes


class HyperConvolution(nn.Module):
    """F = relu(ln(relu(ln(U W_1)) W_2)) + U: what the hyperedges exchange, one per gene group."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear1, self.norm1 = nn.Linear(width, width), nn.LayerNorm(width)
        self.linear2, self.norm2 = nn.Linear(width, width), nn.LayerNorm(width)

    def forward(self, edges: Tensor) -> Tensor:
        """(B, G, W) -> (B, G, W)."""
        inner = self.norm1(self.linear1(edges)).relu()
        mixed: Tensor = self.norm2(self.linear2(inner)).relu() + edges
        return mixed


def patch_weights(scores: Tensor, similarity: Tensor, top_ratio: float) -> Tensor:
    """P = (softmax(w) + softmax(M where M is at the top, else closed)) / 2, for one case.

    The top of a row is what reaches its ``max(1, int(top_ratio N))``-th largest value; ties stay.
    No gradient passes through M.

    Args:
        scores: w (N,), from the gate.
        similarity: M (G, N), averaged over heads.
        top_ratio: share of patches at the top, above 0, at most 1.
    """
    similarity = similarity.detach()
    top = max(1, int(top_ratio * similarity.shape[1]))
    least = similarity.topk(top, dim=1).values[:, -1:]  # (G, 1)
    opened = similarity.where(similarity >= least, similarity - CLOSED)
    return (scores.softmax(dim=0) + opened.softmax(dim=1)) / 2  # (G, N)
