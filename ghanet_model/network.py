"""The networks. G-HANet (arXiv 2403.10040): genes associated with patches, patches with survival.

Functions of tensors: they read no file, know no case and draw no random number but dropout.
Shapes: B cases, N patches of one case, P patches of all cases packed, D feature width, W width,
G gene groups, K time bins.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .errors import FeaturesError
from .layers import (
    FeedForward,
    GeneDecoder,
    HyperConvolution,
    PatchAttention,
    PatchGate,
    SelfAttention,
    group_weights,
)
from .patches import pool, prepare, product_type, project
from .sizes import ABMIL, GHANetConfig
from .survival import risk_from, survival_from

PATCHES_AT_ONCE = 20_000  # in one packed prediction; bounds memory, a larger bag comes alone
FEW_TOKENS = 64
DECODERS = "decoders."  # parameters so named learn from genes alone; averaged over paired sites


@dataclass(frozen=True, slots=True)
class Prediction:
    """What the model says about B cases. ``similarity`` and ``patch_weights`` carry no gradient."""

    hazards: Tensor  # (B, K)
    survival: Tensor  # (B, K)
    risk: Tensor  # (B,), higher is worse
    genes: tuple[Tensor, ...]  # G times (B, n_g), reconstructed
    similarity: tuple[Tensor, ...]  # B times (G, N): M, averaged over heads, before softmax
    patch_weights: tuple[Tensor, ...]  # B times (G, N): P, each row adds up to 1


class AssociationBranch(nn.Module):
    """Cross-modal association: one token per gene group, gathered from patches in two hops."""

    def __init__(self, config: GHANetConfig) -> None:
        super().__init__()
        width, groups = config.width, len(config.group_sizes)
        self.embed = nn.Linear(config.feature_width, width)
        self.dropout = nn.Dropout(config.dropout)
        self.queries = nn.Parameter(torch.empty(groups, width))  # T
        self.attention = PatchAttention(config.width, **_heads(config))  # the same in both hops
        self.feed0, self.feed1 = _feed_forward(config), _feed_forward(config)
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(width) for _ in range(3))
        self.norm4, self.norm5, self.norm6 = (nn.LayerNorm(width) for _ in range(3))

    def forward(
        self, features: Tensor, lengths: Sequence[int], kind: torch.dtype
    ) -> tuple[Tensor, Tensor]:
        """Features (P, D) -> R (B, G, W) and M (G, P) of the second hop."""
        dropout = self.dropout.p if self.training else 0.0
        units = project(
            features, self.embed, eps=self.norm2.eps, dropout=dropout, kind=kind
        )  # (P, W)
        queries = self.queries.expand(len(lengths), -1, -1)  # (B, G, W)
        first = self.attention(self.norm1(queries), units, lengths, self.norm2).tokens
        tokens = self.feed0(self.norm3(first)) + first  # (B, G, W)
        again = self.norm4(queries + tokens)
        second, similarity = self.attention(again, units, lengths, self.norm2)
        tokens = self.norm6(self.feed1(self.norm5(second)) + second)  # (B, G, W)
        return tokens, similarity


class SurvivalBranch(nn.Module):
    """Hyper-attention: patches gathered by gene group, joined with its token, read as hazards."""

    def __init__(self, config: GHANetConfig) -> None:
        super().__init__()
        width = config.width
        self.top_ratio = config.top_ratio
        self.embed, self.embed_norm = nn.Linear(config.feature_width, width), nn.LayerNorm(width)
        self.gate = PatchGate(width, gate_width=config.gate_width)
        self.convolution = HyperConvolution(width)
        self.attention = SelfAttention(width, **_heads(config))
        self.feed_norm, self.feed = nn.LayerNorm(width), _feed_forward(config)
        self.narrow = nn.Linear(width, config.bottleneck)
        self.narrow_norm = nn.LayerNorm(config.bottleneck)
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(len(config.group_sizes) * config.bottleneck, config.time_bins)

    def forward(
        self,
        features: Tensor,
        lengths: Sequence[int],
        tokens: Tensor,
        similarity: Tensor,
        *,
        kind: torch.dtype,
    ) -> tuple[Tensor, Tensor]:
        """Features (P, D), R (B, G, W), M (G, P) -> hazards (B, K), P (G, P)."""
        groups = group_weights(similarity, lengths, self.top_ratio)  # (G, P)
        dropout = self.dropout.p if self.training else 0.0
        by_gate, by_group, gate = pool(
            features, groups, lengths,
            layer=self.embed, norm=self.embed_norm, gate=self.gate(), dropout=dropout, kind=kind,
        )  # fmt: skip
        edges = (by_gate.unsqueeze(1) + by_group) / 2  # U (B, G, W)
        joined = (self.convolution(edges) + tokens) / 2
        joined = self.attention(joined) + joined
        joined = self.feed(self.feed_norm(joined)) + joined
        narrow = self.dropout(self.narrow_norm(self.narrow(joined)).relu())  # (B, G, bottleneck)
        return hazards_from(self.head, narrow.flatten(1)), (gate + groups) / 2


class Network(nn.Module):
    """What every network is to others. Cases of different size are packed, never padded.

    Linear layers start Xavier normal with zero bias, queries standard normal, norms at 1 and 0;
    see ``new_model`` for one that starts from a seed.
    """

    def __init__(self, config: GHANetConfig) -> None:
        super().__init__()
        self.config = config
        self.decoders = nn.ModuleList(
            GeneDecoder(config.width, genes=size, dropout=config.dropout)
            for size in config.group_sizes
        )

    def forward(self, features: Tensor, lengths: Sequence[int]) -> Prediction:
        """Predict for B cases at once; the same numbers as one by one.

        Under autocast products of matrices are taken in its type, and rows of patches kept in it;
        what is returned, sums, norms and every parameter's gradient stay in the parameters' type.

        Args:
            features: (P, D), of any float type, the patches of all cases, one after the other.
            lengths: patches of each case, at least one each; they add up to P.

        Raises:
            FeaturesError: features and lengths do not fit each other or the model.
        """
        self._check_packed(features, lengths)
        weight = self.weight
        kind = product_type(weight)
        with _products_of(len(lengths) * len(self.decoders), weight.device):
            tokens, hazards, similarity, weights = self.read(prepare(features, kind), lengths, kind)
            found = [decode(tokens[:, g]) for g, decode in enumerate(self.decoders)]
        genes = tuple(group.to(weight.dtype) for group in found)
        survival = survival_from(hazards)  # (B, K)
        own = (torch.split(kept, list(lengths), dim=1) for kept in (similarity, weights))
        return Prediction(hazards, survival, risk_from(survival), genes, *own)

    def read(
        self, features: Tensor, lengths: Sequence[int], kind: torch.dtype
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Tokens (B, G, W), hazards (B, K), similarity and weights of patches (G, P) each.

        ``kind`` is the float type that products with patches are taken in.
        """
        raise NotImplementedError

    @property
    def weight(self) -> Tensor:
        """A parameter: its device and float type are those of all."""
        return next(self.parameters())

    def predict(self, bags: Sequence[Tensor]) -> Prediction:
        """Predict without dropout or gradient; features (N, D) of any float type, per case.

        Patches stream through in chunks: of a bag, one (N, W) is held in memory, and what is
        returned of it. Features move to the model's device as they are stored.

        Raises:
            FeaturesError: a bag of another shape, without patches, or with values not finite.
        """
        for features in bags:
            check_features(features, self.config.feature_width)
        if not bags:
            raise FeaturesError("no bags to predict for")
        mode = self.training
        self.eval()
        try:
            with torch.no_grad():
                return _joined([self(*_packed(run, self.weight.device)) for run in _runs(bags)])
        finally:
            self.train(mode)

    def _check_packed(self, features: Tensor, lengths: Sequence[int]) -> None:
        _check_shape(features, self.config.feature_width)
        if not lengths or min(lengths) < 1 or sum(lengths) != features.shape[0]:
            raise FeaturesError("lengths of bags do not add up to the patches given")


class GHANet(Network):
    """Genes associated with patches; patches gathered by gene group and read as hazards."""

    def __init__(self, config: GHANetConfig) -> None:
        super().__init__(config)
        self.association = AssociationBranch(config)
        self.survival = SurvivalBranch(config)
        nn.init.normal_(self.association.queries)
        self.apply(_initialise)

    def read(
        self, features: Tensor, lengths: Sequence[int], kind: torch.dtype
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """R (B, G, W), hazards (B, K), M and P (G, P)."""
        tokens, similarity = self.association(features, lengths, kind)
        hazards, weights = self.survival(features, lengths, tokens, similarity, kind=kind)
        return tokens, hazards, similarity, weights

    @classmethod
    def from_reference(cls, state: Mapping[str, Tensor | np.ndarray]) -> "GHANet":
        """The model with the weights of a published G-HANet; see ``reference.from_reference``."""
        from .reference import from_reference  # noqa: PLC0415 - it imports this module

        return from_reference(state)


class GatedPooling(Network):
    """Gated attention pooling (ABMIL, arXiv 1802.04712) of G-HANet's patches, by its gate alone.

    u = softmax(w)^T H; hazards = sigmoid(drop(relu(ln(u W_b + b_b))) W_k + b_k). The one pooled
    vector stands for every gene group: each group's decoder reads it. Patches have one row of
    weights, and no similarity to gene groups.
    """

    def __init__(self, config: GHANetConfig) -> None:
        super().__init__(config)
        width = config.width
        self.embed, self.embed_norm = nn.Linear(config.feature_width, width), nn.LayerNorm(width)
        self.gate = PatchGate(width, gate_width=config.gate_width)
        self.narrow = nn.Linear(width, config.bottleneck)
        self.narrow_norm = nn.LayerNorm(config.bottleneck)
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(config.bottleneck, config.time_bins)
        self.apply(_initialise)

    def read(
        self, features: Tensor, lengths: Sequence[int], kind: torch.dtype
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Pooled for each group (B, G, W), hazards (B, K), no similarity, softmax(w) (1, P)."""
        none = self.weight.new_empty(0, len(features))
        dropout = self.dropout.p if self.training else 0.0
        pooled, _, gate = pool(
            features, none, lengths,
            layer=self.embed, norm=self.embed_norm, gate=self.gate(), dropout=dropout, kind=kind,
        )  # fmt: skip
        narrow = self.dropout(self.narrow_norm(self.narrow(pooled)).relu())  # (B, bottleneck)
        tokens = pooled.unsqueeze(1).expand(-1, len(self.decoders), -1)
        return tokens, hazards_from(self.head, narrow), none, gate.unsqueeze(0)


def _runs(bags: Sequence[Tensor], patches: int = PATCHES_AT_ONCE) -> Iterator[list[Tensor]]:
    """Bags in runs of at most so many patches; a larger bag comes alone."""
    run: list[Tensor] = []
    for features in bags:
        if run and sum(map(len, run)) + len(features) > patches:
            yield run
            run = []
        run.append(features)
    if run:
        yield run


def _packed(bags: Sequence[Tensor], device: torch.device) -> tuple[Tensor, list[int]]:
    """Features of several cases (P, D), one case after the other, and their lengths."""
    with torch.autocast(bags[0].device.type, enabled=False):  # it cannot join float16
        features = bags[0] if len(bags) == 1 else torch.cat(list(bags))
    return features.to(device), [len(own) for own in bags]


def _joined(parts: Sequence[Prediction]) -> Prediction:
    """One prediction of the cases of several."""
    if len(parts) == 1:
        return parts[0]
    hazards, survival, risk = (
        torch.cat([getattr(part, name) for part in parts])
        for name in ("hazards", "survival", "risk")
    )
    genes = tuple(torch.cat(group) for group in zip(*(part.genes for part in parts), strict=True))
    similarity, weights = (
        tuple(own for part in parts for own in getattr(part, name))
        for name in ("similarity", "patch_weights")
    )
    return Prediction(hazards, survival, risk, genes, similarity, weights)


def build_model(config: GHANetConfig) -> Network:
    """The network of a configuration, its starting weights from the global random state."""
    return GatedPooling(config) if config.kind == ABMIL else GHANet(config)


def new_model(config: GHANetConfig, *, seed: int) -> Network:
    """A model with starting weights drawn from ``seed``; the global random state is untouched."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return build_model(config)


def check_features(features: Tensor, feature_width: int) -> None:
    """Refuse features of one case that no model can use.

    Raises:
        FeaturesError: not (N, D) with N at least 1, or a value that is not finite.
    """
    _check_shape(features, feature_width)
    if features.shape[0] == 0:
        raise FeaturesError("a bag has no patches", hint="was tissue found on the slide?")
    if not all(bound.isfinite() for bound in features.aminmax()):  # NaN is both bounds
        raise FeaturesError("a bag has values that are not finite", hint="compute it again")


def _check_shape(features: Tensor, feature_width: int) -> None:
    if features.ndim != 2 or features.shape[1] != feature_width:
        raise FeaturesError(
            f"features have shape {tuple(features.shape)}, expected (patches, {feature_width})",
            hint="use features of the encoder that the study names",
        )


def _heads(config: GHANetConfig) -> dict[str, Any]:
    return {
        "heads": config.heads,
        "head_width": config.head_width,
        "dropout": config.dropout,
    }


def _feed_forward(config: GHANetConfig) -> FeedForward:
    return FeedForward(config.width, expansion=config.expansion, dropout=config.dropout)


def _products_of(tokens: int, device: torch.device) -> AbstractContextManager[None]:
    """Autocast as it is; but off for few tokens, where casting the weights takes longer."""
    if tokens < FEW_TOKENS:
        return torch.autocast(device.type, enabled=False)
    return nullcontext()


def hazards_from(head: nn.Linear, narrow: Tensor) -> Tensor:
    """sigmoid(h W_k + b_k), (B, K): in the parameters' type even under autocast."""
    with torch.autocast(narrow.device.type, enabled=False):
        hazards: Tensor = head(narrow.to(head.weight.dtype)).sigmoid()
    return hazards


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.xavier_normal_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
