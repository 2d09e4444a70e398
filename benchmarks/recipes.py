"""Recipes of private training, tried on drawn hospitals. One recipe, one seed: two C-indices.

Every hospital trains with local noise, the mean of their weights is the next round's, all count
alike: what a federation of a private study computes, without messages.
"""

import copy
import time
from dataclasses import dataclass

import numpy as np
import torch
from consortium import (
    DrawnHospital,
    c_within,
    draw_consortium,
    gene_sizes,
    risks_of,
)

from ghanet_model.accounting import Charge, plan_noise
from ghanet_model.network import Network, build_model, new_model
from ghanet_model.private_training import Mechanism, train_privately
from ghanet_model.sizes import GHANetConfig
from ghanet_model.study import PRV
from ghanet_model.training import TrainingSettings, train
from ghanet_model.weights import Arrays, load_weights, weights_of

CPU = torch.device("cpu")
DELTA = 1e-5
NOMINAL_CASES = 400
FEATURE_WIDTH = 64
TIME_BINS = 4


@dataclass(frozen=True, slots=True)
class Recipe:
    """Settings that may be chosen. Everything of it is a public constant."""

    preset: str = "compact"
    width: int = 0  # W; 0: the preset's
    learning_rate: float = 2e-3
    clipping_norm: float = 1.0
    sampling_rate: float = 0.2
    rounds: int = 15
    steps: int = 5  # of a round
    gene_loss_weight: float = 0.3
    dropout: float = 0.0
    epsilon: float = 3.0  # 0: no privacy; epochs of all cases, balanced, in place of steps
    batch_cases: int = 32  # without privacy
    noise: float | None = None  # planned from epsilon unless given

    def sizes(self) -> GHANetConfig:
        """The network."""
        preset = GHANetConfig.preset(
            self.preset,
            group_sizes=gene_sizes(),
            feature_width=FEATURE_WIDTH,
            time_bins=TIME_BINS,
            dropout=self.dropout,
        )
        return preset.scaled(self.width)

    def mechanism(self) -> Mechanism:
        """How each round is made private."""
        every = Charge(0.0, self.sampling_rate, self.rounds * self.steps)
        noise = self.noise
        if noise is None:
            noise = plan_noise(every, self.epsilon, delta=DELTA, accountant=PRV)
        return Mechanism(self.clipping_norm, self.sampling_rate, self.steps, noise, NOMINAL_CASES)

    def settings(self) -> TrainingSettings:
        """The rest."""
        return TrainingSettings(
            epochs=1,
            batch_cases=self.batch_cases,
            learning_rate=self.learning_rate,
            weight_decay=0.0 if self.epsilon else 1e-5,
            gene_loss_weight=self.gene_loss_weight,
        )


@dataclass(frozen=True, slots=True)
class Tried:
    """What a recipe gives with one seed."""

    selection: float  # C within hospitals, on the cases that settings are chosen by
    test: float
    train: float  # on the cases trained on
    oracle: float  # of the true hazard, on the test cases
    parameters: int
    seconds: float


def attempt(recipe: Recipe, seed: int) -> Tried:
    """Train a consortium by a recipe and evaluate the last model."""
    began = time.monotonic()
    hospitals = draw_consortium(seed)
    model = federate(recipe, hospitals, seed)
    found = {
        part: c_within(
            [risks_of(model, getattr(own, part)) for own in hospitals],
            [getattr(own, part) for own in hospitals],
        )
        for part in ("selection", "test", "training")
    }
    oracle = c_within([own.test.drive.tolist() for own in hospitals], [o.test for o in hospitals])
    return Tried(
        selection=found["selection"],
        test=found["test"],
        train=found["training"],
        oracle=oracle,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        seconds=time.monotonic() - began,
    )


def federate(recipe: Recipe, hospitals: tuple[DrawnHospital, ...], seed: int) -> Network:
    """All rounds."""
    model = new_model(recipe.sizes(), seed=seed)
    mechanism = recipe.mechanism() if recipe.epsilon else None
    for number in range(1, recipe.rounds + 1):
        base, trained = weights_of(model), []
        for place, own in enumerate(hospitals):
            mine = copy.deepcopy(model)
            _train_one(mine, recipe, mechanism, own, (seed * 1000 + number) * 10 + place)
            trained.append(weights_of(mine))
        load_weights(model, _mean(base, trained))
    return model


def _train_one(
    model: Network, recipe: Recipe, mechanism: Mechanism | None, own: DrawnHospital, seed: int
) -> None:
    bags, outcomes = own.training.bags, own.training.outcomes
    if mechanism is None:
        train(
            model, bags, recipe.settings(), outcomes=outcomes, use_genes=True, seed=seed, device=CPU
        )
        return
    train_privately(
        model, bags, recipe.settings(), mechanism, outcomes=outcomes, use_genes=True, device=CPU
    )


def _mean(base: Arrays, trained: list[Arrays]) -> Arrays:
    """Every hospital counts alike."""
    return {
        name: np.mean([own[name] for own in trained], axis=0, dtype=np.float64).astype(np.float32)
        for name in base
    }


def untrained(recipe: Recipe) -> Network:
    """A network of these sizes."""
    return build_model(recipe.sizes())
