"""What this hospital says of its training slides, of gene groups, and of usual risks: sums only."""

import warnings

import numpy as np
import torch
from numpy.typing import NDArray

from ghanet_model.batches import read_ahead
from ghanet_model.cox import linear_risk
from ghanet_model.dyadic import tree_counts
from ghanet_model.errors import GenesError
from ghanet_model.evaluation import QUANTILE_LEAVES
from ghanet_model.network import new_model
from ghanet_model.pairs import risk_leaves
from ghanet_model.protocol import StatisticsAsk
from ghanet_model.question import Sums, zeros
from ghanet_model.release import model_config
from ghanet_model.reliability import ArmRisks, GeneActivity, activity_sums
from ghanet_model.slide_questions import (
    SlideDistances,
    SlideMoments,
    SlideShape,
    least_for_shape,
)
from ghanet_model.slide_reference import described
from ghanet_model.weights import load_weights

from .bags import SiteBags, training_bags
from .evaluation import fitted
from .predictions import EVALUATION, is_chosen, panel_of, weights_of_question
from .site import Site
from .watched import Watched

NUMBERS = ("numbers", "of training slides")  # where memory keeps them
Numbers = NDArray[np.float64]


def slide_moments(site: Site, _ask: StatisticsAsk, question: SlideMoments) -> Sums:
    """Sums of what describes each training case."""
    numbers, _ = _described(site)
    if len(numbers) < site.least:
        return zeros(question.shapes(site.study))
    return {
        "count": np.array([float(len(numbers))]),
        "total": numbers.sum(axis=0),
        "squares": (numbers**2).sum(axis=0),
    }


def slide_shape(site: Site, _ask: StatisticsAsk, question: SlideShape) -> Sums:
    """Sums of their projections, and of products of these."""
    numbers, _ = _described(site)
    if len(numbers) < least_for_shape(site.least):
        return zeros(question.shapes(site.study))
    places = question.moments.places(numbers)  # (n, PLACES)
    return {
        "count": np.array([float(len(places))]),
        "total": places.sum(axis=0),
        "products": places.T @ places,
    }


def slide_distances(site: Site, _ask: StatisticsAsk, question: SlideDistances) -> Sums:
    """Sums of their log distances."""
    numbers, patches = _described(site)
    if len(numbers) < site.least:
        return zeros(question.shapes(site.study))
    logs = np.array(
        [
            question.shape.log_distances(own, int(many))
            for own, many in zip(numbers, patches, strict=True)
        ]
    )
    return {
        "count": np.array([float(len(logs))]),
        "total": logs.sum(axis=0),
        "squares": (logs**2).sum(axis=0),
    }


def _described(site: Site) -> tuple[Numbers, Numbers]:
    """What describes each training case (n, 2 D), and its patches (n,); read once."""

    def make() -> Numbers:
        torch.set_num_threads(site.config.threads)
        bags = training_bags(site.cohort(), site.features(), study=site.study, cache=site.cache)
        watched = Watched(bags, site.require_wanted)
        rows = [[*described(bag.features), float(len(bag.features))] for bag in watched]
        return np.array(rows, np.float64).reshape(len(rows), 2 * site.study.feature_width + 1)

    found = site.memory.predicted(site.cohort(), NUMBERS, make)
    return found[:, :-1], found[:, -1]


def gene_activity(site: Site, ask: StatisticsAsk, question: GeneActivity) -> Sums:
    """Predicted and measured activity of the held-out cases that have genes.

    Raises:
        GenesError: there is no gene table.
    """
    cohort, panel = site.cohort(), panel_of(ask.panel, site.study)
    if cohort.genes is None:
        raise GenesError("asked about gene groups, but site.yaml names no gene table")
    rows = [row for row, case in enumerate(cohort.cases) if is_chosen(case, EVALUATION)]
    if len(rows) < site.least:
        return zeros(question.shapes(site.study))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # the mean of nothing measured is NaN
        groups = panel.scaled(cohort.genes[rows], cohort.gene_columns)
        measured = np.array([np.nanmean(group, axis=1) for group in groups], np.float64).T
    return activity_sums(_predicted(site, ask, rows), measured, least=site.least)


def _predicted(site: Site, ask: StatisticsAsk, rows: list[int]) -> Numbers:
    """Mean predicted z (n, G) of these cases."""
    model = new_model(model_config(site.study, panel_of(ask.panel, site.study)), seed=0)
    load_weights(model, weights_of_question(site, ask))
    torch.set_num_threads(site.config.threads)
    device = torch.device(site.config.device)
    model.to(device)
    cases = [site.cohort().cases[row] for row in rows]
    bags = SiteBags(cases, site.features(), study=site.study, cache=site.cache)
    found = []
    with read_ahead(Watched(bags, site.require_wanted)) as coming:
        for bag in coming:
            genes = model.predict([bag.features.to(device)]).genes
            found.append([float(group[0].cpu().double().mean()) for group in genes])
    return np.array(found, np.float64).reshape(len(rows), -1)


def arm_risks(site: Site, ask: StatisticsAsk, question: ArmRisks) -> Sums:
    """An arm's risks of the cases that it was fitted to."""
    _, x = fitted(site, ask, question.arm)
    leaves = risk_leaves(linear_risk(x, question.at) / question.spread, QUANTILE_LEAVES)
    return {"risks": tree_counts(leaves, QUANTILE_LEAVES, least=site.least)}
