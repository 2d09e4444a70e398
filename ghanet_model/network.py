"""G-HANet (arXiv 2403.10040): genes associated with patches, patches with survival.

A function of tensors: it reads no file, knows no case and draws no random number but dropout.
Shapes: B cases, N patches of one case, P patches of all cases packed, D feature width, W width,
G gene groups, K time bins.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Self

import numpy as np
import torch
from torch import Tensor, nn

from .errors import FeaturesError, SettingsError
from .layers import Attention, FeedForward, GeneDecoder, HyperConvolution, PatchGate, patch_weights
from .survival import risk_from, survival_from

DECODERS = "decoders."  # parameters so named learn from genes alone; averaged over paired sites
PRESETS = {
    "published": {},
    "compact": {"width": 64, "gate_width": 32, "head_width": 16, "expansion": 1, "bottleneck": 32},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class GHANetConfig:
    """Sizes of a G-HANet; the defaults are the published ones.

    Raises:
        SettingsError: a size below 1, no gene group or an empty one, a share out of range.
    """

    group_sizes: tuple[int, ...]  # genes in each of the G groups
    feature_width: int = 1024  # D
    width: int = 512  # W
    gate_width: int = 256
    heads: int = 4
    head_width: int = 128
    expansion: int = 4  # feed-forward layers are 2 * expansion * W wide inside, halved by GEGLU
    bottleneck: int = 256  # each gene group's share of what the hazards are read from
    time_bins: int = 4  # K
    dropout: float = 0.25
    top_ratio: float = 0.2  # share of patches that a gene group's hyperedge holds

    def __post_init__(self) -> None:
        for field in fields(self):
            if field.type is int and getattr(self, field.name) < 1:
                raise SettingsError(f"model: {field.name} is {getattr(self, field.name)}, below 1")
        if not self.group_sizes or min(self.group_sizes) < 1:
            raise SettingsError(
                "model: a gene group is empty", hint="every group needs at least one gene"
            )
        if not 0 <= self.dropout < 1:
            raise SettingsError(f"model: dropout is {self.dropout}, not from 0 up to 1")
        if not 0 < self.top_ratio <= 1:
            raise SettingsError(f"model: top_ratio is {self.top_ratio}, not above 0 and at most 1")

    @classmethod
    def preset(
        cls,
        name: str,
        *,
        group_sizes: tuple[int, ...],
        feature_width: int,
        time_bins: int,
        dropout: float,
    ) -> Self:
        """Sizes by name: ``published``, or ``compact`` for CPUs and for privacy noise.

        Raises:
            SettingsError: another name, or sizes that cannot be.
        """
        if name not in PRESETS:
            raise SettingsError(f"model: no preset '{name}'", hint=f"use {' or '.join(PRESETS)}")
        given = {"feature_width": feature_width, "time_bins": time_bins}
        return cls(group_sizes=group_sizes, dropout=dropout, **given, **PRESETS[name])


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
        self.attention = _attention(config)  # the same in both hops
        self.feed0, self.feed1 = _feed_forward(config), _feed_forward(config)
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(width) for _ in range(3))
        self.norm4, self.norm5, self.norm6 = (nn.LayerNorm(width) for _ in range(3))

    def forward(
        self, features: Tensor, lengths: Sequence[int]
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Features (P, D) -> R (B, G, W) and, per case, M (G, N) of the second hop."""
        rows = self.norm2(self.dropout(self.embed(features).relu()))  # (P, W), for both hops
        queries = self.queries.expand(len(lengths), -1, -1)  # (B, G, W)
        first = self.attention(self.norm1(queries), rows, lengths).tokens
        tokens = self.feed0(self.norm3(first)) + first  # (B, G, W)
        second, similarity = self.attention(self.norm4(queries + tokens), rows, lengths)
        tokens = self.norm6(self.feed1(self.norm5(second)) + second)  # (B, G, W)
        return tokens, tuple(own.detach().mean(dim=0) for own in similarity)


class SurvivalBranch(nn.Module):
    """Hyper-attention: patches gathered by gene group, joined with its token, read as hazards."""

    def __init__(self, config: GHANetConfig) -> None:
        super().__init__()
        width = config.width
        self.top_ratio = config.top_ratio
        self.embed, self.embed_norm = nn.Linear(config.feature_width, width), nn.LayerNorm(width)
        self.gate = PatchGate(width, gate_width=config.gate_width)
        self.convolution = HyperConvolution(width)
        self.attention = _attention(config)
        self.feed_norm, self.feed = nn.LayerNorm(width), _feed_forward(config)
        self.narrow = nn.Linear(width, config.bottleneck)
        self.narrow_norm = nn.LayerNorm(config.bottleneck)
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(len(config.group_sizes) * config.bottleneck, config.time_bins)

    def weigh(self, patches: Tensor, similarity: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Patches H (P, W) and M (G, N) of each case -> P (G, N) of each case."""
        scores = self.gate(patches).split([own.shape[1] for own in similarity])
        pairs = zip(scores, similarity, strict=True)
        return tuple(patch_weights(w, own, self.top_ratio) for w, own in pairs)

    def forward(
        self, features: Tensor, tokens: Tensor, similarity: tuple[Tensor, ...]
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Features (P, D), R (B, G, W), M (G, N) per case -> hazards (B, K), P (G, N) per case."""
        patches = self.dropout(self.embed_norm(self.embed(features)).relu())  # (P, W)
        weights = self.weigh(patches, similarity)
        own = patches.split([weight.shape[1] for weight in weights])
        edges = torch.stack([P @ H for P, H in zip(weights, own, strict=True)])  # (B, G, W)
        joined = (self.convolution(edges) + tokens) / 2
        groups = [joined.shape[1]] * len(joined)  # each case's G tokens attend to themselves
        joined = self.attention(joined, joined.flatten(0, 1), groups).tokens + joined
        joined = self.feed(self.feed_norm(joined)) + joined
        narrow = self.dropout(self.narrow_norm(self.narrow(joined)).relu())  # (B, G, bottleneck)
        return self.head(narrow.flatten(1)).sigmoid(), weights


class GHANet(nn.Module):
    """The whole network. Cases of different size are packed, never padded.

    Linear layers start Xavier normal with zero bias, queries standard normal, norms at 1 and 0;
    see ``new_model`` for one that starts from a seed.
    """

    def __init__(self, config: GHANetConfig) -> None:
        super().__init__()
        self.config = config
        self.association = AssociationBranch(config)
        self.survival = SurvivalBranch(config)
        self.decoders = nn.ModuleList(
            GeneDecoder(config.width, genes=size, dropout=config.dropout)
            for size in config.group_sizes
        )
        nn.init.normal_(self.association.queries)
        self.apply(_initialise)

    def forward(self, features: Tensor, lengths: Sequence[int]) -> Prediction:
        """Predict for B cases at once; the same numbers as one by one.

        Args:
            features: (P, D), the patches of all cases, one case after the other.
            lengths: patches of each case, at least one each; they add up to P.

        Raises:
            FeaturesError: features and lengths do not fit each other or the model.
        """
        self._check_packed(features, lengths)
        tokens, similarity = self.association(features, lengths)  # (B, G, W), B times (G, N)
        hazards, weights = self.survival(features, tokens, similarity)  # (B, K), B times (G, N)
        survival = survival_from(hazards)  # (B, K)
        genes = tuple(decode(tokens[:, g]) for g, decode in enumerate(self.decoders))
        seen = tuple(weight.detach() for weight in weights)
        return Prediction(hazards, survival, risk_from(survival), genes, similarity, seen)

    def predict(self, bags: Sequence[Tensor]) -> Prediction:
        """Predict without dropout or gradient; features (N, D) of any float type, per case.

        Raises:
            FeaturesError: a bag of another shape, without patches, or with values not finite.
        """
        for features in bags:
            check_features(features, self.config.feature_width)
        if not bags:
            raise FeaturesError("no bags to predict for")
        packed = torch.cat(list(bags)).to(self.association.queries)
        mode = self.training
        self.eval()
        try:
            with torch.no_grad():
                prediction: Prediction = self(packed, [len(features) for features in bags])
        finally:
            self.train(mode)
        return prediction

    @classmethod
    def from_reference(cls, state: Mapping[str, Tensor | np.ndarray]) -> "GHANet":
        """The model with the weights of a published G-HANet; see ``reference.from_reference``."""
        from .reference import from_reference  # noqa: PLC0415 - it imports this module

        return from_reference(state)

    def _check_packed(self, features: Tensor, lengths: Sequence[int]) -> None:
        _check_shape(features, self.config.feature_width)
        if not lengths or min(lengths) < 1 or sum(lengths) != features.shape[0]:
            raise FeaturesError("lengths of bags do not add up to the patches given")


def new_model(config: GHANetConfig, *, seed: int) -> GHANet:
    """A model with starting weights drawn from ``seed``; the global random state is untouched."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return GHANet(config)


def check_features(features: Tensor, feature_width: int) -> None:
    """Refuse features of one case that no model can use.

    Raises:
        FeaturesError: not (N, D) with N at least 1, or a value that is not finite.
    """
    _check_shape(features, feature_width)
    if features.shape[0] == 0:
        raise FeaturesError("a bag has no patches", hint="was tissue found on the slide?")
    if not features.isfinite().all():
        raise FeaturesError("a bag has values that are not finite", hint="compute it again")


def _check_shape(features: Tensor, feature_width: int) -> None:
    if features.ndim != 2 or features.shape[1] != feature_width:
        raise FeaturesError(
            f"features have shape {tuple(features.shape)}, expected (patches, {feature_width})",
            hint="use features of the encoder that the study names",
        )


def _attention(config: GHANetConfig) -> Attention:
    heads, head_width = config.heads, config.head_width
    return Attention(config.width, heads=heads, head_width=head_width, dropout=config.dropout)


def _feed_forward(config: GHANetConfig) -> FeedForward:
    return FeedForward(config.width, expansion=config.expansion, dropout=config.dropout)


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.xavier_normal_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
