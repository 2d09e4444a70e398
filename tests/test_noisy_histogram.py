"""Without noise the histogram is the table's; with noise C is unbiased and its interval true."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lifelines.utils import concordance_index, survival_table_from_events

from ghanet_model.errors import ProtocolError
from ghanet_model.noisy_histogram import (
    FINE_BINS,
    RISK_BINS,
    TIME_BINS,
    TIME_EDGES,
    joint_counts,
    life_table,
    noisy_c,
    risk_counts,
    risk_edges,
    with_noise,
)

EDGES = np.linspace(-2, 2, RISK_BINS - 1)


def drawn(n=400, seed=0, effect=1.0):
    """Risk, time and event of drawn cases."""
    rng = np.random.default_rng(seed)
    risk = rng.standard_normal(n)
    death = rng.exponential(40 * np.exp(-effect * risk))
    censored = rng.uniform(3, 110, n)
    return risk, np.minimum(death, censored), death <= censored


def counts_of(cases):
    """Counts on the fixed edges."""
    return joint_counts(*cases, EDGES)


def brute_force(cases):
    """C on the grid, pair by pair."""
    risk, time, event = cases
    row = np.searchsorted(EDGES, risk, side="right")
    column = np.searchsorted(TIME_EDGES, time, side="right")
    won = pairs = 0.0
    for i in np.flatnonzero(event):
        for j in np.flatnonzero(column > column[i]):
            pairs += 1
            won += 1.0 if row[i] > row[j] else 0.5 * (row[i] == row[j])
    return won, pairs


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 60), st.integers(0, 10_000), st.sampled_from([0.0, 1.0]))
def test_without_noise_it_is_the_count_of_pairs(n, seed, effect):
    """Any cohort: C on the grid equals counting every pair; a case is in one cell."""
    cases = drawn(n, seed, effect)
    counts = counts_of(cases)
    assert counts.sum() == n
    won, pairs = brute_force(cases)
    found = noisy_c([counts], 0.0)
    if not pairs:
        assert found is None
    else:
        assert found.value == pytest.approx(won / pairs, abs=1e-12)
        assert found.comparable == pytest.approx(pairs)


@pytest.mark.parametrize("effect", [0.5, 1.0])
def test_the_grid_changes_c_little(effect):
    """Bins leave out pairs that are close: up to .025 above the C of lifelines on exact numbers."""
    risk, time, event = cases = drawn(4000, 3, effect)
    edges = np.quantile(risk, np.arange(1, RISK_BINS) / RISK_BINS)
    exact = concordance_index(time, -risk, event)
    assert 0 < noisy_c([joint_counts(*cases, edges)], 0.0).value - exact < 0.025


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 40), st.integers(0, 1000), st.data())
def test_one_case_changes_one_count_by_one(n, seed, data):
    """The sensitivity that the noise is made for; also of the first look at risks."""
    cases = drawn(n, seed)
    gone = data.draw(st.integers(0, n - 1))
    rest = tuple(np.delete(part, gone) for part in cases)
    change = counts_of(cases) - counts_of(rest)
    assert np.abs(change).sum() == 1
    fine = [risk_counts(own[0], low=-3, high=3) for own in (cases, rest)]
    assert np.abs(fine[0] - fine[1]).sum() == 1


def test_slopes_are_derivatives():
    """The deviation's slopes equal finite differences, cell by cell."""
    counts = counts_of(drawn(50, 1)) + 0.3
    value = noisy_c([counts], 0.0).value
    squares = 0.0
    for cell in np.ndindex(counts.shape):
        moved = counts.copy()
        moved[cell] += 1e-5
        squares += ((noisy_c([moved], 0.0).value - value) / 1e-5) ** 2
    assert noisy_c([counts], 2.0).of_noise == pytest.approx(2.0 * squares**0.5, rel=1e-3)


def test_with_noise_it_is_unbiased_and_its_interval_holds():
    """Three hospitals of 400, sigma 2: mean and spread over draws as told; 95% hold the truth."""
    noise, times = 2.0, 300
    truth = noisy_c([counts_of(drawn(200_000, 99))], 0.0).value
    found, held = [], 0
    for number in range(times):
        hospitals = [counts_of(drawn(400, 1000 + 3 * number + k)) for k in range(3)]
        one = noisy_c([with_noise(counts, noise) for counts in hospitals], noise)
        found.append(one)
        low, high = one.interval
        held += low <= truth <= high
    values = np.array([one.value for one in found])
    told = np.mean([one.deviation for one in found])
    assert values.mean() == pytest.approx(truth, abs=4 * values.std() / times**0.5)
    assert told == pytest.approx(values.std(), rel=0.25)
    assert held / times >= 0.90


def test_noise_that_leaves_no_pair_tells_nothing():
    """Where noise makes the number of pairs negative there is no C."""
    assert noisy_c([np.zeros((RISK_BINS, TIME_BINS, 2))], 5.0) is None
    assert noisy_c([], 5.0) is None
    with pytest.raises(ProtocolError, match="counts of shape"):
        noisy_c([np.zeros((3, 4, 2))], 1.0)


def test_edges_part_the_cases_evenly():
    """Exactly enough without noise; near enough with noise of 5 on 1,200 cases."""
    risk = np.random.default_rng(4).normal(-1.0, 0.3, 1200)
    counts = risk_counts(risk, low=-4, high=0)
    for found, slack in ((counts, 0.02), (with_noise(counts, 5.0), 0.08)):
        edges = risk_edges(found, low=-4, high=0)
        assert (np.diff(edges) > 0).all()
        shares = np.searchsorted(np.sort(risk), edges) / len(risk)
        assert np.abs(shares - np.arange(1, RISK_BINS) / RISK_BINS).max() < slack + 0.03


@given(st.lists(st.floats(-30, 30), min_size=FINE_BINS, max_size=FINE_BINS))
def test_edges_always_rise(counts):
    """Whatever the noise did: edges rise and stay in the range."""
    edges = risk_edges(np.array(counts), low=-4.0, high=0.0)
    assert (np.diff(edges) >= 0).all()
    assert (edges >= -4).all()
    assert (edges <= 0).all()


def test_the_life_table_is_the_actuarial_one():
    """Without noise: as lifelines' life table gives it on the same grid."""
    _, time, event = cases = drawn(500, 8)
    survival, deviation = life_table(counts_of(cases).sum(axis=0), 0.0)
    table = survival_table_from_events(time, event)  # one row per time
    alive = 1.0
    for t, (low, high) in enumerate(zip((0.0, *TIME_EDGES[:-1]), TIME_EDGES, strict=True)):
        inside = (time >= low) & (time < high)
        at_risk = (time >= low).sum() - (inside & ~event).sum() / 2
        alive *= 1 - (inside & event).sum() / at_risk
        assert survival[t] == pytest.approx(alive)
    assert table["observed"].sum() == event.sum()
    assert (np.diff(deviation) >= 0).all()


def test_the_life_tables_deviation_covers_noise():
    """Spread of survival over draws of noise and cases is about what is told."""
    at, noise = TIME_EDGES.index(36.0), 3.0
    found = [
        life_table(with_noise(counts_of(drawn(900, 50 + n)).sum(axis=0), noise), noise)
        for n in range(200)
    ]
    spread = np.std([np.log(survival[at]) for survival, _ in found])
    told = np.mean([deviation[at] for _, deviation in found])
    assert told == pytest.approx(spread, rel=0.3)


def test_nobody_at_risk_is_not_survival():
    """From where fewer than one is at risk on, nothing is told."""
    counts = np.zeros((TIME_BINS, 2))
    counts[0] = 5, 5
    survival, _ = life_table(counts, 0.0)
    assert survival[0] == pytest.approx(1 - 5 / 7.5)
    assert np.isnan(survival[1:]).all()
