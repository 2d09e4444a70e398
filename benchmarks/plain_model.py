"""The model of the plain Flower app: the size that the benchmark compares at."""

from collections.abc import Mapping
from typing import Any

from ghanet_model.network import GHANet
from ghanet_model.sizes import GHANetConfig

GROUP_SIZES = (8,) * 6  # as the hospitals of our arm have genes


def make_model(config: Mapping[str, Any]) -> GHANet:
    """A new model of the run's preset."""
    return GHANet(
        GHANetConfig.preset(
            str(config["preset"]),
            group_sizes=GROUP_SIZES,
            feature_width=1024,
            time_bins=4,
            dropout=0.25,
        )
    )
