"""Weights of the authors' published model as a GHANet: names and shapes only, no code of theirs."""

import re
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from .errors import WeightsError
from .network import GHANet
from .sizes import GHANetConfig

HEADS = 4  # of the published attention; shapes do not tell
UNUSED = ("recon_net.cross_attention1.", "gate.attention_c.bias")  # built but without effect
QUERIES = "recon_net.tokens"  # (1, G, W) there, (G, W) here

_GENES = re.compile(r"recon_net\.sig_reconstruct_net\.\d+\.4\.bias")
_DECODER = {"0": "hidden", "1": "norm", "4": "output"}
_NORMS = {f"recon_net.ln_{i}": f"association.norm{i}" for i in range(1, 7)}
_LAYERS = _NORMS | {
    "recon_net.wsi_net.0": "association.embed",
    "recon_net.cross_attention0.to_out": "association.attention.to_output",
    "recon_net.ffn0.net.0": "association.feed0.inner",
    "recon_net.ffn0.net.2": "association.feed0.outer",
    "recon_net.ffn1.net.0": "association.feed1.inner",
    "recon_net.ffn1.net.2": "association.feed1.outer",
    "wsi_net.0": "survival.embed",
    "wsi_net.1": "survival.embed_norm",
    "gate.attention_a.0": "survival.gate.content",
    "gate.attention_b.0": "survival.gate.opening",
    "hyperconv1.linear1": "survival.convolution.linear1",
    "hyperconv1.ln1": "survival.convolution.norm1",
    "hyperconv1.linear2": "survival.convolution.linear2",
    "hyperconv1.ln2": "survival.convolution.norm2",
    "attention.to_out": "survival.attention.to_output",
    "ln1": "survival.feed_norm",
    "ffn.net.0": "survival.feed.inner",
    "ffn.net.2": "survival.feed.outer",
    "butter.0": "survival.narrow",
    "butter.1": "survival.narrow_norm",
    "classifier": "survival.head",
}
_WEIGHTS = {  # layers without bias
    "recon_net.cross_attention0.to_q.0": "association.attention.to_query",
    "recon_net.cross_attention0.to_k.0": "association.attention.to_key",
    "recon_net.cross_attention0.to_v": "association.attention.to_value",
    "gate.attention_c": "survival.gate.score",
    "attention.to_q.0": "survival.attention.to_query",
    "attention.to_k.0": "survival.attention.to_key",
    "attention.to_v": "survival.attention.to_value",
}


def reference_names(groups: int) -> dict[str, str]:
    """Published parameter name -> ours, for every parameter in use of a model of G gene groups."""
    layers = _LAYERS | {
        f"recon_net.sig_reconstruct_net.{g}.{theirs}": f"decoders.{g}.{ours}"
        for g in range(groups)
        for theirs, ours in _DECODER.items()
    }
    names = {f"{t}.{kind}": f"{o}.{kind}" for t, o in layers.items() for kind in ("weight", "bias")}
    names |= {f"{theirs}.weight": f"{ours}.weight" for theirs, ours in _WEIGHTS.items()}
    return names | {QUERIES: "association.queries"}


def from_reference(state: Mapping[str, Tensor | np.ndarray]) -> GHANet:
    """A GHANet with published weights, its sizes read from their shapes, in their float type.

    Args:
        state: arrays by published name; what has no effect there may be present or not.

    Raises:
        WeightsError: a name missing or unknown, a shape that does not fit, mixed float types.
    """
    groups = sum(1 for name in state if _GENES.fullmatch(name))
    names = reference_names(max(1, groups))
    _check_names(state, names)
    ours = {names[name]: _copy_of(state[name]) for name in names}
    try:
        config = _config_of({theirs: tuple(ours[name].shape) for theirs, name in names.items()})
    except IndexError:
        raise WeightsError("published weights: a parameter has too few dimensions") from None
    ours["association.queries"] = ours["association.queries"].flatten(0, -2)
    with torch.device("meta"):  # no memory, no random numbers: every value comes from the state
        model = GHANet(config)
    _check_values(ours, model)
    model.load_state_dict(ours, assign=True)
    return model


def _copy_of(value: Tensor | np.ndarray) -> Tensor:
    return value.detach().clone() if isinstance(value, Tensor) else torch.tensor(value)


def _config_of(shapes: Mapping[str, tuple[int, ...]]) -> GHANetConfig:
    width = shapes[QUERIES][2]
    genes = [shape[0] for name, shape in shapes.items() if _GENES.fullmatch(name)]
    return GHANetConfig(
        group_sizes=tuple(genes),
        feature_width=shapes["wsi_net.0.weight"][1],
        width=width,
        gate_width=shapes["gate.attention_a.0.weight"][0],
        heads=HEADS,
        head_width=shapes["attention.to_q.0.weight"][0] // HEADS,
        expansion=shapes["ffn.net.2.weight"][1] // width,
        bottleneck=shapes["butter.0.weight"][0],
        time_bins=shapes["classifier.bias"][0],
    )


def _check_names(state: Mapping[str, object], names: Mapping[str, str]) -> None:
    missing = sorted(names.keys() - state.keys())
    unknown = sorted(n for n in state if n not in names and not n.startswith(UNUSED))
    for problem, found in (("missing", missing), ("unknown", unknown)):
        if found:
            raise WeightsError(
                f"published weights: {len(found)} {problem} names, the first is '{found[0]}'",
                hint="expected is the state dict of the published G-HANet",
            )


def _check_values(ours: Mapping[str, Tensor], model: GHANet) -> None:
    for name, parameter in model.state_dict().items():
        if ours[name].shape != parameter.shape:
            raise WeightsError(
                f"published weights: {name} has shape {tuple(ours[name].shape)},"
                f" expected {tuple(parameter.shape)}"
            )
    kinds = {value.dtype for value in ours.values()}
    if len(kinds) != 1 or not next(iter(kinds)).is_floating_point:
        raise WeightsError("published weights: expected one float type for all")
