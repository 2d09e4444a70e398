"""Bins, hazards, curves and risk agree with their formulas."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ghanet_model.errors import CohortError
from ghanet_model.survival import risk_from, survival_at_edges, survival_from, time_bin_of

EDGES = (12.0, 36.0, 60.0)


@pytest.mark.parametrize(
    ("months", "expected"),
    [(0, 0), (11.99, 0), (12, 1), (35.99, 1), (36, 2), (60, 3), (1e6, 3)],
)
def test_a_bin_holds_its_lower_edge(months, expected):
    """A time at an edge falls in the bin that begins there."""
    assert time_bin_of(months, EDGES) == expected


@given(st.floats(0, 200), st.lists(st.floats(0.1, 150), min_size=1, max_size=6, unique=True))
@settings(max_examples=50, deadline=None)
def test_a_bin_encloses_its_time(months, edges):
    """The edges around a time's bin enclose it, the lower one included."""
    bounds = [0.0, *sorted(edges), math.inf]
    chosen = time_bin_of(months, sorted(edges))
    assert bounds[chosen] <= months < bounds[chosen + 1]


@pytest.mark.parametrize("months", [-0.1, math.nan, math.inf])
def test_an_impossible_time_is_refused(months):
    """A negative or missing time has no bin, and the message does not repeat it."""
    with pytest.raises(CohortError, match="negative or missing") as caught:
        time_bin_of(months, EDGES)
    assert str(months) not in str(caught.value)


def test_survival_is_the_product_of_staying_alive():
    """S(k) multiplies 1 - h(j) over the bins up to k."""
    hazards = torch.tensor([[0.5, 0.2, 0.25], [0.0, 0.0, 1.0]], dtype=torch.float64)
    expected = torch.tensor([[0.5, 0.4, 0.3], [1.0, 1.0, 0.0]], dtype=torch.float64)
    torch.testing.assert_close(survival_from(hazards), expected)


def test_risk_is_minus_the_sum_of_survival():
    """Who survives less has the higher risk; certain survival of K bins is -K."""
    survival = torch.tensor([[0.5, 0.25], [1.0, 1.0]])
    assert risk_from(survival).tolist() == [-0.75, -2.0]


def test_nothing_is_said_beyond_the_last_edge():
    """Survival at the K-1 edges leaves the open last bin out."""
    survival = survival_from(torch.tensor([[0.5, 0.5, 0.5, 0.9]]))
    assert survival_at_edges(survival).tolist() == [[0.5, 0.25, 0.125]]
