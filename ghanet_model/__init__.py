"""Model, cases and formats shared by both sides. No Flower, no network, no hospital path.

The names below are loaded when first used, so that importing a small module does not load torch.
"""

from importlib import import_module
from typing import Any

_HOMES = {
    "GHANet": "network",
    "GHANetConfig": "sizes",
    "Prediction": "network",
    "Bag": "bag",
    "Outcome": "bag",
    "StudyConfig": "study",
    "Concordance": "metrics",
    "EvaluationSums": "metrics",
    "concordance": "metrics",
    "GHANetError": "errors",
    "Release": "release",
    "read_release": "release",
    "read_study": "study",
    "TrainingSettings": "training",
    "train": "training",
    "evaluate": "training",
}
__all__ = sorted(_HOMES)  # noqa: PLE0605 - the keys are the names


def __getattr__(name: str) -> Any:
    """Load a public name from its module."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
