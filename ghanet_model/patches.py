"""What the network does with every patch, fused and in chunks. Exact: the formulas' own gradients.

Patches outnumber all else by a hundred to one, so their tensors decide time and memory. Each
function here goes through them once forward and once back, in chunks that stay in a processor's
cache, and keeps for the way back, per patch and of width W, only

    ``project``   the normalised row (float) and which of its entries are alive (one byte each)
    ``attend``    nothing of width W: softmax and dropout over patches, one number per query
    ``pool``      the same two as ``project``, and both halves of the gate (2 A numbers)

All else is computed again, chunk by chunk, where that takes a pass over cached memory; products of
matrices are never repeated. Without gradients nothing is kept but what is returned.

Products run in ``kind``: the parameters' float type, or bfloat16, in which rows are then also kept;
sums, norms, softmax and the parameters' gradients stay in the parameters' float type.
Shapes: P patches of B cases, D feature width, W width, Q queries, G gene groups, A gate width.
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

_CPU_CHUNK, _GPU_CHUNK = 512, 65_536  # patches at once: of 512, all of a chunk fits the L2 cache
_LEVELS = 256  # dropout rates are taken in steps of 1/256: one random byte per entry


def product_type(weight: Tensor) -> torch.dtype:
    """The float type of products: the weight's own, or that of autocast where it is on."""
    if torch.is_autocast_enabled(weight.device.type) and weight.dtype == torch.float32:
        return torch.get_autocast_dtype(weight.device.type)
    return weight.dtype


def prepare(features: Tensor, kind: torch.dtype) -> Tensor:
    """Features cast once where training in bfloat16 would cast each chunk four times."""
    if kind != torch.bfloat16 or not torch.is_grad_enabled():
        return features
    cast = torch.empty_like(features, dtype=kind)
    for part in _chunks(features):
        cast[part] = features[part].to(torch.float32)  # float16 to bfloat16 at once is slower
    return cast


def project(
    features: Tensor, layer: nn.Linear, *, eps: float, dropout: float, kind: torch.dtype
) -> Tensor:
    """(d - mean d) / sd d of d = drop(relu(X W + b)): a norm without its own weights.

    Args:
        features: X (P, D), of any float type.
        layer: W, b.
        eps: of the norm.
        dropout: rate; 0 when not training.
        kind: of products, and of what is returned.

    Returns:
        (P, W).
    """
    with _as_written(features):
        rows: Tensor = _Project.apply(  # type: ignore[no-untyped-call]
            features, layer.weight, layer.bias, eps, dropout, kind, torch.is_grad_enabled()
        )
    return rows


def attend(
    queries: Tensor, rows: Tensor, lengths: Sequence[int], *, dropout: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Softmax attention of each case's queries over its own rows, which are keys and values.

    Args:
        queries: (B, Q, W), scaled.
        rows: (P, W).
        lengths: rows of each case.
        dropout: rate of dropping a row from a query's sum; 0 when not training.

    Returns:
        What was gathered (B, Q, W), the weight in each sum (B, Q): 1 but for dropout, and the
        similarity (Q, P) before softmax, through which no gradient passes.
    """
    with _as_written(rows):
        gathered, weight, similarity = _Attend.apply(  # type: ignore[no-untyped-call]
            queries, rows, tuple(lengths), dropout, torch.is_grad_enabled()
        )
    return gathered, weight, similarity


class Pooled(NamedTuple):
    """What ``pool`` returns."""

    by_gate: Tensor  # (B, W)
    by_group: Tensor  # (B, G, W)
    gate: Tensor  # (P,), adds up to 1 in each case; no gradient passes


def pool(  # noqa: PLR0913 - the layers it fuses
    features: Tensor,
    groups: Tensor,
    lengths: Sequence[int],
    *,
    layer: nn.Linear,
    norm: nn.LayerNorm,
    gate: tuple[Tensor, Tensor, Tensor],
    dropout: float,
    kind: torch.dtype,
) -> Pooled:
    """Sums of H = drop(relu(norm(X W + b))) over each case's patches: by a gate, and by groups.

    Args:
        features: X (P, D), of any float type.
        groups: how much each patch counts for each group (G, P); constant, no gradient.
        lengths: patches of each case.
        layer: W, b.
        norm: with its own weights.
        gate: weight (2A, W) and bias (2A) of tanh and sigmoid, score (A): the gate's softmax is
            over (tanh(H W_a + b_a) * sigmoid(H W_b + b_b)) score.
        dropout: rate; 0 when not training.
        kind: of products.
    """
    with _as_written(features):
        by_gate, by_group, weights = _Pool.apply(  # type: ignore[no-untyped-call]
            features, groups, tuple(lengths), layer.weight, layer.bias, norm.weight, norm.bias,
            *gate, norm.eps, dropout, kind, torch.is_grad_enabled(),
        )  # fmt: skip
    return Pooled(by_gate, by_group, weights)


class _Project(torch.autograd.Function):
    """``project``."""

    @staticmethod
    def forward(  # noqa: PLR0913, PLR0917
        ctx: Any,
        features: Tensor,
        weight: Tensor,
        bias: Tensor,
        eps: float,
        dropout: float,
        kind: torch.dtype,
        learns: bool,  # noqa: FBT001 - Function.apply takes no keywords
    ) -> Tensor:
        count, width, matrix = len(features), len(weight), weight.to(kind)
        rows = torch.empty(count, width, dtype=kind, device=weight.device)
        spread = torch.empty(count, 1, dtype=weight.dtype, device=weight.device)
        alive = _alive_like(rows, needed=learns)
        eps /= _scale(dropout) ** 2  # a norm undoes the scale of dropout, but for eps
        for part in _chunks(features):
            hidden = _affine(features[part], matrix, bias).relu_()  # (C, W)
            _drop(hidden, dropout)
            unit, _, spread[part] = torch.native_layer_norm(hidden, [width], None, None, eps)
            rows[part] = unit
            if learns:
                alive[part] = hidden.sign_()
        if learns:
            ctx.save_for_backward(features, weight, rows, spread, alive)
        return rows

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        features, weight, rows, spread, alive = ctx.saved_tensors
        down = _Down(features, weight, rows.dtype, wanted=ctx.needs_input_grad[0])
        for part in _chunks(features):
            into, _, _ = _norm_backward(grad[part].to(weight.dtype), rows[part].to(weight.dtype))
            down.add_chunk(part, into.mul_(spread[part]).mul_(alive[part]))
        return down.features, down.weight, down.bias, None, None, None, None


class _Attend(torch.autograd.Function):
    """``attend``."""

    @staticmethod
    def forward(  # noqa: PLR0913, PLR0917
        ctx: Any,
        queries: Tensor,
        rows: Tensor,
        lengths: tuple[int, ...],
        dropout: float,
        learns: bool,  # noqa: FBT001 - Function.apply takes no keywords
    ) -> tuple[Tensor, Tensor, Tensor]:
        gathered = torch.empty_like(queries)
        weight = queries.new_ones(queries.shape[:2])
        similarity = queries.new_empty(queries.shape[1], len(rows))
        chance = torch.empty_like(similarity) if learns else None  # softmax
        kept = _bytes(similarity, dropout) if dropout else None  # (Q, P)
        for case, part in enumerate(_cases(lengths)):
            own, asked = rows[part], queries[case].to(rows.dtype)  # (N, W), (Q, W)
            similarity[:, part] = asked @ own.T
            share = similarity[:, part].softmax(dim=1)
            if chance is not None:
                chance[:, part] = share
            if kept is not None:
                share = (share * kept[:, part]).mul_(_scale(dropout))
                weight[case] = share.sum(dim=1)
            gathered[case] = share.to(rows.dtype) @ own
        if learns:
            ctx.save_for_backward(queries, rows, chance, kept)
            ctx.lengths, ctx.scale = lengths, _scale(dropout)
        ctx.mark_non_differentiable(similarity)
        return gathered, weight, similarity

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, grad: Tensor, grad_weight: Tensor, _: Tensor
    ) -> tuple[Tensor | None, ...]:
        queries, rows, chance, kept = ctx.saved_tensors
        down_queries, down_rows = torch.empty_like(queries), torch.empty_like(rows)
        for case, part in enumerate(_cases(ctx.lengths)):
            own, share = rows[part], chance[:, part]  # (N, W), (Q, N)
            into = (grad[case].to(rows.dtype) @ own.T).to(grad.dtype)  # (Q, N)
            into += grad_weight[case, :, None]
            used = share
            if kept is not None:
                closed = kept[:, part].to(share.dtype) * ctx.scale
                used, into = share * closed, into.mul_(closed)
            into = share * (into - (into * share).sum(dim=1, keepdim=True))  # of the similarity
            down_queries[case] = into.to(rows.dtype) @ own
            left = torch.cat([used, into]).to(rows.dtype).T.contiguous()  # (N, 2Q)
            right = torch.cat([grad[case], queries[case]]).to(rows.dtype)  # (2Q, W)
            torch.mm(left, right, out=down_rows[part])
        return down_queries, down_rows, None, None, None


class _Pool(torch.autograd.Function):
    """``pool``.

    The gate's softmax is summed while patches go by: with the largest score so far as zero, what
    was summed before is scaled down whenever a larger one comes.
    """

    @staticmethod
    def forward(  # noqa: PLR0913, PLR0917
        ctx: Any,
        features: Tensor,
        groups: Tensor,
        lengths: tuple[int, ...],
        weight: Tensor,
        bias: Tensor,
        norm_weight: Tensor,
        norm_bias: Tensor,
        gate_weight: Tensor,
        gate_bias: Tensor,
        score: Tensor,
        eps: float,
        dropout: float,
        kind: torch.dtype,
        learns: bool,  # noqa: FBT001 - Function.apply takes no keywords
    ) -> tuple[Tensor, Tensor, Tensor]:
        count, width = len(features), len(weight)
        matrix, gate = weight.to(kind), gate_weight.to(kind)
        rows = weight.new_empty(count if learns else 0, width, dtype=kind)
        opened = weight.new_empty(count if learns else 0, len(gate), dtype=kind)
        spread = weight.new_empty(count, 1)
        alive = _alive_like(rows, needed=learns)
        scores = weight.new_empty(count)
        sums, scale = _Sums(groups, len(lengths), weight), _scale(dropout)
        norm = norm_weight * scale, norm_bias * scale
        for span in _spans(lengths, _chunk_of(features)):
            part = span.rows
            hidden = _affine(features[part], matrix, bias)  # (C, W)
            at_once = (None, None) if learns else norm  # the norm's own weights
            unit, _, spread[part] = torch.native_layer_norm(
                hidden, [width], at_once[0], at_once[1], eps
            )
            patches = torch.addcmul(norm[1], unit, norm[0]) if learns else unit
            _drop(patches.relu_(), dropout)
            both = _opened(patches, gate, gate_bias)  # (C, 2A)
            content, opening = both.chunk(2, dim=1)
            scores[part] = (content * opening) @ score
            sums.add(span, scores, patches)
            if learns:
                rows[part], opened[part], alive[part] = unit, both, patches.sign_()
        by_gate = sums.by_gate / sums.total  # (B, W)
        shares = sums.shares(scores, lengths)
        if learns:
            ctx.save_for_backward(
                features, groups, weight, norm_weight, norm_bias, gate_weight, score,
                rows, opened, spread, alive, by_gate, shares,
            )  # fmt: skip
            ctx.lengths, ctx.scale = lengths, scale
        ctx.mark_non_differentiable(shares)
        return by_gate, sums.by_group, shares

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, grad_gate: Tensor, grad_group: Tensor, _: Tensor
    ) -> tuple[Tensor | None, ...]:
        (
            features, groups, weight, norm_weight, norm_bias, gate_weight, score,
            rows, opened, spread, alive, by_gate, shares,
        ) = ctx.saved_tensors  # fmt: skip
        down = _Down(features, weight, rows.dtype, wanted=ctx.needs_input_grad[0])
        norm = norm_weight * ctx.scale, norm_bias * ctx.scale
        down_norm = torch.zeros_like(norm_weight), torch.zeros_like(norm_bias)
        down_score, half = torch.zeros_like(score), len(score)
        gate_down, gate = _Gradient(gate_weight, rows.dtype), gate_weight.to(rows.dtype)
        mean = (grad_gate * by_gate).sum(dim=1)  # (B,): of grad_gate . H over a case's gate
        for span in _spans(ctx.lengths, _chunk_of(features)):
            part = span.rows
            unit, living = rows[part].to(weight.dtype), alive[part]  # (C, W)
            patches = torch.addcmul(norm[1], unit, norm[0]).mul_(living)
            into = torch.empty_like(patches)  # (C, W)
            into_score = torch.empty_like(shares[part])  # (C,)
            for piece in span.pieces:
                own, case = piece.rows, piece.case
                ways = torch.cat([groups[:, own], shares[None, own]])  # (G+1, n)
                back = torch.cat([grad_group[case], grad_gate[None, case]])  # (G+1, W)
                torch.mm(ways.T, back, out=into[piece.within])
                felt = patches[piece.within] @ grad_gate[case]  # (n,)
                into_score[piece.within] = shares[own] * (felt - mean[case])
            content, opening = opened[part].to(weight.dtype).split(half, dim=1)
            down_score += into_score @ (content * opening)
            into_gate = _gate_backward(into_score, content, opening, score)  # (C, 2A)
            into += (gate_down.add(into_gate, patches) @ gate).to(into.dtype)
            into, *of_norm = _norm_backward(into.mul_(living), unit, norm_weight)
            down_norm[0].add_(of_norm[0], alpha=ctx.scale)
            down_norm[1].add_(of_norm[1], alpha=ctx.scale)
            down.add_chunk(part, into.mul_(spread[part] * ctx.scale))
        return (
            down.features, None, None, down.weight, down.bias, *down_norm,
            gate_down.weight, gate_down.bias, down_score, None, None, None, None,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Piece:
    """The part of one case that lies in a span."""

    case: int
    rows: slice  # of all patches
    within: slice  # of the span's


@dataclass(frozen=True, slots=True)
class _Span:
    """Patches worked on at once: a chunk of a long case, or several short cases."""

    rows: slice
    pieces: tuple[_Piece, ...]


def _spans(lengths: Sequence[int], size: int) -> Iterator[_Span]:
    """Cut cases into spans of at most ``size`` patches each."""
    begin = at = 0
    pieces: list[_Piece] = []
    for case, length in enumerate(lengths):
        end = at + length
        while at < end:
            stop = min(end, begin + size)
            pieces.append(_Piece(case, slice(at, stop), slice(at - begin, stop - begin)))
            at = stop
            if at - begin == size:
                yield _Span(slice(begin, at), tuple(pieces))
                begin, pieces = at, []
    if pieces:
        yield _Span(slice(begin, at), tuple(pieces))


def _cases(lengths: Sequence[int]) -> Iterator[slice]:
    at = 0
    for length in lengths:
        yield slice(at, at + length)
        at += length


def _chunk_of(features: Tensor) -> int:
    return _CPU_CHUNK if features.device.type == "cpu" else _GPU_CHUNK


def _chunks(features: Tensor) -> Iterator[slice]:
    size = _chunk_of(features)
    return (slice(at, at + size) for at in range(0, len(features), size))


class _Sums:
    """Running sums over the patches of each case: by the gate's softmax, and by groups."""

    def __init__(self, groups: Tensor, cases: int, like: Tensor) -> None:
        width = len(like)
        self.groups = groups  # (G, P)
        self.top = like.new_full((cases, 1), -torch.inf)  # largest score so far
        self.total = like.new_zeros(cases, 1)
        self.by_gate = like.new_zeros(cases, width)
        self.by_group = like.new_zeros(cases, len(groups), width)

    def add(self, span: _Span, scores: Tensor, patches: Tensor) -> None:
        """Take in a span: scores (P,) of all, patches (C, W) of the span."""
        for piece in span.pieces:
            case, own = piece.case, scores[piece.rows]  # (n,)
            top = torch.maximum(self.top[case], own.max())
            shrink, share = (self.top[case] - top).exp(), (own - top).exp()
            ways = torch.cat([self.groups[:, piece.rows], share[None]])  # (G+1, n)
            sums = ways @ patches[piece.within]  # (G+1, W)
            self.by_group[case] += sums[:-1]
            self.by_gate[case] = self.by_gate[case] * shrink + sums[-1]
            self.total[case] = self.total[case] * shrink + share.sum()
            self.top[case] = top

    def shares(self, scores: Tensor, lengths: Sequence[int]) -> Tensor:
        """The gate's softmax (P,)."""
        cases = torch.repeat_interleave(torch.tensor(lengths, device=scores.device))
        return (scores - self.top[cases, 0]).exp() / self.total[cases, 0]


class _Gradient:
    """Gradients of a layer, summed over chunks."""

    def __init__(self, weight: Tensor, kind: torch.dtype) -> None:
        self.kind = kind
        self.weight = torch.zeros_like(weight)
        self.bias = weight.new_zeros(len(weight))

    def add(self, into: Tensor, inputs: Tensor) -> Tensor:
        """Take in a chunk: gradients of outputs (C, out), and inputs (C, in).

        Returns:
            The gradients of outputs, cast for products.
        """
        self.bias += into.sum(dim=0)
        into = into.to(self.kind)
        if self.kind == self.weight.dtype:
            self.weight.addmm_(into.T, _cast(inputs, self.kind))
        else:
            self.weight += (into.T @ _cast(inputs, self.kind)).to(self.weight.dtype)
        return into


class _Down(_Gradient):
    """Gradients of a layer that meets the features, and of these if wanted."""

    def __init__(
        self, features: Tensor, weight: Tensor, kind: torch.dtype, *, wanted: bool
    ) -> None:
        super().__init__(weight, kind)
        self.inputs, self.matrix = features, weight
        self.features = torch.empty_like(features) if wanted else None

    def add_chunk(self, part: slice, into: Tensor) -> None:
        """Take in the gradients (C, W) of the outputs of a chunk."""
        self.add(into, self.inputs[part])
        if self.features is not None:
            self.features[part] = into @ self.matrix


def _affine(features: Tensor, matrix: Tensor, bias: Tensor) -> Tensor:
    """X W^T + b in the bias's float type, the product in the matrix's."""
    features = _cast(features, matrix.dtype)
    if matrix.dtype == bias.dtype:
        return torch.addmm(bias, features, matrix.T)
    return (features @ matrix.T).to(bias.dtype).add_(bias)


def _cast(tensor: Tensor, kind: torch.dtype) -> Tensor:
    """Float types converted; float16 to bfloat16 by way of float32, which is twice as fast."""
    if (tensor.dtype, kind) == (torch.float16, torch.bfloat16):
        tensor = tensor.to(torch.float32)
    return tensor.to(kind)


def _opened(patches: Tensor, gate: Tensor, bias: Tensor) -> Tensor:
    """Both halves of the gate, side by side: (C, 2A)."""
    both = _affine(patches, gate, bias)
    content, opening = both.chunk(2, dim=1)
    content.tanh_()
    opening.sigmoid_()
    return both


def _gate_backward(into: Tensor, content: Tensor, opening: Tensor, score: Tensor) -> Tensor:
    """Gradients of scores (C,) -> of what tanh and sigmoid were applied to, (C, 2A)."""
    both = into.new_empty(len(into), 2 * len(score))
    of_content, of_opening = both.chunk(2, dim=1)
    through = into[:, None] * score  # (C, A)
    torch.ops.aten.tanh_backward(through * opening, content, grad_input=of_content)
    torch.ops.aten.sigmoid_backward(through.mul_(content), opening, grad_input=of_opening)
    return both


def _norm_backward(
    grad: Tensor, unit: Tensor, weight: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Back through a norm whose result, before its own weights, was ``unit``.

    Returns:
        The gradient times sd of what was normalised, and those of the norm's weights if given.
    """
    zeros, ones = grad.new_zeros(len(grad), 1), grad.new_ones(len(grad), 1)
    bias = None if weight is None else torch.zeros_like(weight)  # of no effect here
    wanted = [True, weight is not None, weight is not None]
    found: tuple[Tensor, Tensor, Tensor] = torch.ops.aten.native_layer_norm_backward(
        grad, unit, [grad.shape[1]], zeros, ones, weight, bias, wanted
    )
    return found


def _as_written(tensor: Tensor) -> AbstractContextManager[None]:
    """No autocast: float types are those that the code says."""
    return torch.autocast(tensor.device.type, enabled=False)


def _threshold(dropout: float) -> int:
    return min(round(dropout * _LEVELS), _LEVELS - 1)


def _scale(dropout: float) -> float:
    """What survives dropout is scaled by this, so that means stay."""
    return _LEVELS / (_LEVELS - _threshold(dropout))


def _bytes(like: Tensor, dropout: float) -> Tensor:
    """1 where dropout keeps an entry, else 0; as bytes: several times faster than a draw each."""
    least = _threshold(dropout)
    words = torch.empty(-(-like.numel() // 8), dtype=torch.int64, device=like.device)
    words.random_(torch.iinfo(torch.int64).min, None)
    drawn = words.view(torch.uint8)[: like.numel()].view(like.shape)
    return drawn.clamp_(least - 1, least).sub_(least - 1) if least else torch.ones_like(drawn)


def _drop(hidden: Tensor, dropout: float) -> None:
    """Dropout in place, but for its scale."""
    if dropout:
        hidden.mul_(_bytes(hidden, dropout))


def _alive_like(rows: Tensor, *, needed: bool) -> Tensor:
    """Room for which entries are above 0, a byte each."""
    return torch.empty(rows.shape if needed else (0,), dtype=torch.int8, device=rows.device)
