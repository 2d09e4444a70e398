"""Three drawn hospitals in memory, of 300 to 500 training cases, and cases to choose and test by.

The demo's world: genes drive what slides look like and how long cases live. Nothing describes a
patient, so any number of settings may be tried on it.
"""

import sys
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "deploy"))

from demo.cohorts import EFFECT, GROUPS, World, draw_outcomes, draw_patches, make_world

from ghanet_model.bag import Bag, Outcome
from ghanet_model.metrics import Concordance, concordance
from ghanet_model.network import Network

SIZES = (300, 400, 500)  # training cases of each hospital
OTHERS = 500  # cases of each hospital to choose by, and as many to test
EDGES = (12.0, 36.0, 60.0)  # months
WORLD_SEED = 20261101  # of the world; a consortium's seed draws its hospitals and cases
GENE_NOISE = 0.5  # of the demo's expression
PATCHES_AT_ONCE = 200  # cases predicted together


@dataclass(frozen=True, slots=True)
class Cases:
    """Cases of one hospital."""

    bags: tuple[Bag, ...]
    drive: NDArray[np.float64]  # (n,) the true log hazard

    @property
    def outcomes(self) -> list[Outcome]:
        """Of each bag."""
        return [bag.outcome for bag in self.bags if bag.outcome is not None]

    @property
    def as_sites_have_them(self) -> tuple[Bag, ...]:
        """Bags without outcomes in them."""
        return tuple(replace(bag, outcome=None) for bag in self.bags)


@dataclass(frozen=True, slots=True)
class DrawnHospital:
    """One hospital's cases, by what they are for."""

    training: Cases
    selection: Cases  # settings are chosen by these
    test: Cases  # and reported on these


@cache
def draw_consortium(seed: int) -> tuple[DrawnHospital, ...]:
    """Three hospitals, each with a stain of its own."""
    world = make_world(np.random.default_rng(WORLD_SEED))
    return tuple(_draw_hospital(size, world, (seed, i)) for i, size in enumerate(SIZES))


def _draw_hospital(size: int, world: World, seed: tuple[int, int]) -> DrawnHospital:
    rng = np.random.default_rng(seed)
    stain = 0.3 * rng.standard_normal(world.centres.shape[1])
    return DrawnHospital(*(_draw(n, world, stain, rng) for n in (size, OTHERS, OTHERS)))


def _draw(count: int, world: World, stain: NDArray[np.float64], rng: np.random.Generator) -> Cases:
    activity = rng.standard_normal((count, len(GROUPS)))
    table = draw_outcomes([str(n) for n in range(count)], activity, rng)
    times, events = table["time"].to_numpy(float), table["event"].to_numpy(bool)
    bins = np.searchsorted(EDGES, times, side="right")
    bags = []
    for own, time, event, time_bin in zip(activity, times, events, bins, strict=True):
        patches = torch.from_numpy(draw_patches(own, world, stain, rng))
        outcome = Outcome(float(time), bool(event), int(time_bin))
        bags.append(Bag(patches, outcome, _genes(own, world, rng)))
    return Cases(tuple(bags), activity @ EFFECT / np.linalg.norm(EFFECT))


def _genes(
    activity: NDArray[np.float64], world: World, rng: np.random.Generator
) -> tuple[torch.Tensor, ...]:
    """Expression by group, scaled by the world's own constants: public ones, not a cohort's."""
    signal = activity[:, None] * world.loadings
    values = signal + GENE_NOISE * rng.standard_normal(world.loadings.shape)
    scaled = values / np.sqrt(world.loadings**2 + GENE_NOISE**2)
    return tuple(torch.from_numpy(group).float().clamp(-3, 3) for group in scaled)


def gene_sizes() -> tuple[int, ...]:
    """Genes of each group."""
    return tuple(len(symbols.split()) for symbols in GROUPS.values())


def risks_of(model: Network, cases: Cases) -> list[float]:
    """What the model says of each case."""
    found: list[float] = []
    with torch.no_grad():
        for at in range(0, len(cases.bags), PATCHES_AT_ONCE):
            features = [bag.features for bag in cases.bags[at : at + PATCHES_AT_ONCE]]
            found += model.predict(features).risk.tolist()
    return found


def c_within(risks: list[list[float]], cases: list[Cases]) -> float:
    """C over pairs inside hospitals, weighted by pairs."""
    total = sum(
        (
            concordance(
                [outcome.time for outcome in own.outcomes],
                [outcome.event for outcome in own.outcomes],
                risk,
            )
            for risk, own in zip(risks, cases, strict=True)
        ),
        Concordance(),
    )
    return total.c_index or 0.5
