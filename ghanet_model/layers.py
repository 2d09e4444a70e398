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

from .patches import attend

CLOSED = 1e5  # taken off the similarity of patches outside the top: their softmax is exactly 0


class Attended(NamedTuple):
    """What attention over patches returns."""

    tokens: Tensor  # (B, G, W)
    similarity: Tensor  # (G, P), averaged over heads, before softmax; no gradient passes


class Heads(nn.Module):
    """What all attention has: queries, keys and values without bias, an output with one."""

    def __init__(self, width: int, *, heads: int, head_width: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.head_width = heads, head_width
        self.to_query = nn.Linear(width, heads * head_width, bias=False)
        self.to_key = nn.Linear(width, heads * head_width, bias=False)
        self.to_value = nn.Linear(width, heads * head_width, bias=False)
        self.to_output = nn.Linear(heads * head_width, width)
        self.dropout = nn.Dropout(dropout)

    def split(self, layer: nn.Linear, tokens: Tensor) -> Tensor:
        """(B, G, W) -> (B, h, G, d)."""
        return torch.unflatten(layer(tokens), -1, (self.heads, -1)).transpose(1, 2)

    def join(self, heads: Tensor) -> Tensor:
        """(B, h, G, d) -> (B, G, W), in the parameters' float type."""
        tokens: Tensor = self.to_output(heads.transpose(1, 2).flatten(2))
        return tokens.to(self.to_output.weight.dtype)


class SelfAttention(Heads):
    """Each case's G tokens attend to themselves. Dropout acts on the softmax."""

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, G, W) -> (B, G, W)."""
        q, k, v = (
            self.split(layer, tokens) for layer in (self.to_query, self.to_key, self.to_value)
        )
        chance = (q @ k.transpose(-1, -2) / math.sqrt(self.head_width)).softmax(dim=-1)
        return self.join(self.dropout(chance) @ v)


class PatchAttention(Heads):
    """Few queries attend to the many rows C of each case, C = norm(row) for a norm given.

    similarity_h = q_h (C W_k,h)^T / sqrt(d)  = (q_h W_k,h^T) C^T / sqrt(d)
    out_h        = attention_h (C W_v,h)      = (attention_h C) W_v,h

    The right-hand sides are exact and never build keys or values for P rows. Nor does the norm
    ever multiply P rows: C = u n + m for unit rows u, and n and m go to the side of the queries.
    """

    def forward(
        self, queries: Tensor, units: Tensor, lengths: Sequence[int], norm: nn.LayerNorm
    ) -> Attended:
        """Each case's queries (B, G, W) attend to its own part of the unit rows (P, W)."""
        keys, values = (
            torch.unflatten(layer.weight, 0, (self.heads, -1))
            for layer in (self.to_key, self.to_value)
        )  # (h, d, W)
        asked = self.split(self.to_query, queries) / math.sqrt(self.head_width)  # (B, h, G, d)
        folded = torch.einsum("bhgd,hdw->bhgw", asked, keys).flatten(1, 2)  # (B, hG, W)
        folded = folded.to(norm.weight.dtype)
        dropout = self.dropout.p if self.training else 0.0
        seen, weight, similarity = attend(folded * norm.weight, units, lengths, dropout=dropout)
        seen = seen * norm.weight + weight.unsqueeze(-1) * norm.bias  # (B, hG, W)
        seen = torch.unflatten(seen, 1, (self.heads, -1))  # (B, h, G, W)
        heads = torch.einsum("bhgw,hdw->bhgd", seen, values)
        level = (folded.detach() @ norm.bias.detach()).T  # (hG, B): the same for all rows of a case
        cases = torch.tensor(lengths, device=units.device)
        similarity += level.repeat_interleave(cases, dim=1)
        by_head = torch.unflatten(similarity, 0, (self.heads, -1))  # (h, G, P)
        return Attended(self.join(heads), by_head.mean(dim=0))


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
    gradient is 0, so it is left out. Its parameters are here; ``patches.pool`` computes it.
    """

    def __init__(self, width: int, *, gate_width: int) -> None:
        super().__init__()
        self.content = nn.Linear(width, gate_width)
        self.opening = nn.Linear(width, gate_width)
        self.score = nn.Linear(gate_width, 1, bias=False)

    def forward(self) -> tuple[Tensor, Tensor, Tensor]:
        """Weight (2A, W) and bias (2A) of both halves, score (A)."""
        weight = torch.cat([self.content.weight, self.opening.weight])
        bias = torch.cat([self.content.bias, self.opening.bias])
        return weight, bias, self.score.weight.squeeze(0)


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


def group_weights(similarity: Tensor, lengths: Sequence[int], top_ratio: float) -> Tensor:
    """softmax(M where M is at the top of its case, else closed): how much patches count by group.

    The top of a row is what reaches its ``max(1, int(top_ratio N))``-th largest value; ties stay.
    No gradient passes through M.

    Args:
        similarity: M (G, P), averaged over heads.
        lengths: patches N of each case.
        top_ratio: share of a case's patches at the top, above 0, at most 1.

    Returns:
        (G, P); the rows of each case add up to 1.
    """
    shares = []
    for own in torch.split(similarity.detach(), list(lengths), dim=1):  # (G, N)
        top = max(1, int(top_ratio * own.shape[1]))
        least = own.topk(top, dim=1).values[:, -1:]  # (G, 1)
        shares.append(own.where(own >= least, own - CLOSED).softmax(dim=1))
    return torch.cat(shares, dim=1)
