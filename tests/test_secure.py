"""Noise and samples come from the operating system, spread as stated, and repeat for nobody."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from scipy.stats import chi2, kstest

from ghanet_model.secure import drawn, normals, seeds, uniforms

CHANCE = 1e-9  # of a failure where all is right
DRAW = "import torch, numpy; torch.manual_seed(1); numpy.random.seed(1); from ghanet_model.secure "


def test_normals_are_normal():
    """Variance within what chi-square allows, and the distribution of a normal number."""
    found = normals(200_000)
    low, high = chi2.ppf([CHANCE / 2, 1 - CHANCE / 2], len(found)) / len(found)
    assert low < np.square(found).mean() < high
    assert kstest(found, "norm").pvalue > CHANCE
    assert abs(np.corrcoef(found[:-1], found[1:])[0, 1]) < 6.2 / np.sqrt(len(found))


@pytest.mark.parametrize("count", [0, 1, 3, 65_536, 65_537])
def test_as_many_as_asked(count):
    """Any number, also around the size of a chunk."""
    assert normals(count).shape == (count,)
    assert np.isfinite(normals(count)).all()


def test_uniforms_are_never_zero():
    """0 has no logarithm; the mean and the ends are those of uniform numbers."""
    found = uniforms(200_000)
    assert 0 < found.min() < 1e-3
    assert 0.999 < found.max() <= 1
    assert kstest(found, "uniform").pvalue > CHANCE


@pytest.mark.parametrize("rate", [0.05, 0.2, 0.5])
def test_poisson_sampling(rate):
    """Each case by itself with the chance that was named; the size of samples differs."""
    cases, times = 200, 500
    samples = [drawn(cases, rate) for _ in range(times)]
    counts = np.bincount(np.concatenate(samples).astype(int), minlength=cases)
    sd = np.sqrt(times * rate * (1 - rate))
    assert np.abs(counts - times * rate).max() < 7 * sd
    sizes = np.array([len(sample) for sample in samples])
    assert sizes.var() == pytest.approx(cases * rate * (1 - rate), rel=0.4)


def test_ends_of_the_rate():
    """Rate 1 is everybody; of nobody nobody is drawn."""
    assert drawn(5, 1.0) == [0, 1, 2, 3, 4]
    assert drawn(0, 0.5) == []


def test_seeds_of_others_are_of_no_matter():
    """Two processes with the same seeds everywhere draw different noise and different cases."""
    code = f"{DRAW} import drawn, normals; print(normals(3), drawn(60, .5))"
    first, second = (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        for _ in range(2)
    )
    assert first.stdout != second.stdout
    assert first.stdout.count("[") == 2


def test_torch_state_is_untouched():
    """What privacy draws neither moves nor follows torch's random state."""
    before = torch.get_rng_state()
    one, other = normals(4), normals(4)
    assert torch.equal(torch.get_rng_state(), before)
    assert not np.array_equal(one, other)


def test_seeds_fit_generators():
    """Seeds are whole numbers that torch takes, and differ."""
    found = [seed for seed, _ in zip(seeds(), range(100), strict=False)]
    assert len(set(found)) == 100
    assert all(0 <= seed < 2**63 for seed in found)
    torch.Generator().manual_seed(found[0])
