"""The signature of this hospital's features, as sums over cases; reading them warms the cache."""

import logging
import time

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ghanet_model.protocol import StatisticsAsk
from ghanet_model.question import Sums, zeros
from ghanet_model.signature import FeatureSignature

from .bags import SiteBags
from .site import Site
from .watched import Watched

BLOCK = 16_384  # patches that are added in one go
SAY_SECONDS = 30.0
log = logging.getLogger("ghanet")


def feature_signature(site: Site, _ask: StatisticsAsk, question: FeatureSignature) -> Sums:
    """Sums over cases of the mean of each one's patches; fewer than ``least`` tell nothing.

    What training reads in every epoch is read first: a cache that is too small for all holds that.
    """
    sums = zeros(question.shapes(site.study))
    cases = sorted(site.cohort().cases, key=lambda case: not case.can_train)
    if len(cases) < site.least:
        return sums
    torch.set_num_threads(site.config.threads)
    bags = SiteBags(cases, site.features(), study=site.study, cache=site.cache)
    said = began = time.monotonic()
    for done, bag in enumerate(Watched(bags, site.require_wanted), start=1):
        mean = mean_of(bag.features)  # (D,)
        sums["total"] += mean
        sums["squares"] += mean**2
        sums["patches"] += len(bag.features)
        if time.monotonic() - said > SAY_SECONDS:
            said = time.monotonic()
            log.info("reading features: %d of %d cases", done, len(cases))
    sums["count"] += len(cases)
    site.notes.append(f"features of {len(cases)} cases read in {time.monotonic() - began:.0f} s")
    return sums


def mean_of(features: Tensor) -> NDArray[np.float64]:
    """The mean over patches, (N, D) -> (D,), in double precision without a copy of them all."""
    total = sum(block.double().sum(dim=0) for block in torch.split(features, BLOCK))
    return np.asarray(total) / len(features)
