"""Proposed time bins: horizons that follow-up reaches, and about equally many deaths in each."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ghanet_model.kaplan_meier import time_tree
from server.bins import UNEVEN, propose_edges


def proposal(times: np.ndarray, died: np.ndarray, **options: object) -> tuple[tuple, str]:
    """Of cases known exactly."""
    return tuple(propose_edges(time_tree(times, died, least=1), **options))


@given(seed=st.integers(0, 999), bins=st.integers(2, 8))
@settings(max_examples=40, deadline=None)
def test_no_bin_holds_much_more_than_its_share_of_deaths(seed: int, bins: int) -> None:
    """Unless its months cannot be told apart."""
    rng = np.random.default_rng(seed)
    times, died = rng.exponential(40, 300), rng.random(300) < 0.5
    edges, _ = proposal(times, died, bins=bins)
    assert {12.0, 36.0, 60.0} <= set(edges)
    assert list(edges) == sorted(set(edges))
    assert all(edge == int(edge) for edge in edges)
    bounds = [0, *edges, np.inf]
    counts = np.histogram(times[died], bounds)[0]
    widths = np.diff(bounds)
    assert all(n <= UNEVEN * died.sum() / bins or w == 1 for n, w in zip(counts, widths, strict=1))


def test_without_horizons_edges_are_quartiles_of_deaths() -> None:
    """Four bins of equally many deaths, whole months."""
    times = np.repeat(np.arange(40), 5) + 0.5
    edges, said = proposal(times, np.ones(200, bool), horizons=())
    assert edges == (10.0, 20.0, 30.0)
    assert said == "4 bins with 25%, 25%, 25%, 25% of the deaths"


def test_a_horizon_beyond_follow_up_is_no_edge_and_is_said() -> None:
    """A report could not quote it."""
    times = np.linspace(1, 50, 100)
    edges, said = proposal(times, np.arange(100) % 2 == 0)
    assert 60.0 not in edges
    assert {12.0, 36.0} <= set(edges)
    assert said.endswith("follow-up does not reach 60 months")


def test_without_deaths_nothing_is_proposed() -> None:
    """There is nothing to divide."""
    edges, said = proposal(np.linspace(1, 50, 100), np.zeros(100, bool))
    assert edges == ()
    assert "no hospital told" in said


def test_deaths_told_in_wide_boxes_are_said() -> None:
    """Edges of counts that are not known to the month are said to be so."""
    rng = np.random.default_rng(0)
    tree = time_tree(rng.exponential(40, 40), np.arange(40) % 2 == 0, least=10)
    assert "known to no better than a year" in propose_edges(tree).sentence
