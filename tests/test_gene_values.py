"""Gene scaling from sums: quartiles of the pooled table, whatever its units and its outliers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_genes import make_study

from ghanet_model.errors import GateError, ProtocolError
from ghanet_model.gene_values import (
    GeneValues,
    coarseness,
    gene_value_sums,
    own_grid,
    scaling_bounds,
    scaling_of,
)
from ghanet_model.question import add_sums

COLUMNS = 4


def table_of(seed, cases):
    """A z-score with outliers, a log count, a raw count and a copy number; some not measured."""
    rng = np.random.default_rng(seed)
    scores = rng.normal(0.2, 1.0, cases)
    scores[rng.random(cases) < 0.02] *= 1e4
    counts = rng.gamma(2.0, 2000.0, cases)
    copies = rng.choice([-2, -1, 0, 1, 2], cases, p=[0.02, 0.08, 0.8, 0.08, 0.02])
    values = np.column_stack([scores, np.log2(counts + 1), counts, copies]).astype(float)
    values[rng.random(values.shape) < 0.05] = np.nan
    return values


def fine(parts, *, least):
    """Sums of hospitals on every column's own grid, and that grid."""
    grid = own_grid(add_sums(gene_value_sums(part, least=least) for part in parts))
    return add_sums(gene_value_sums(part, least=least, grid=grid) for part in parts), grid


def split(table, seed):
    """The table's rows in three hospitals."""
    site = np.random.default_rng(seed).integers(0, 3, len(table))
    return [table[site == number] for number in range(3)]


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(30, 200))
def test_sums_of_any_split_are_those_of_the_pooled_table(seed, cases):
    """On the grid exactly, with nothing suppressed."""
    table = table_of(seed, cases)
    parts, grid = fine(split(table, seed), least=1)
    pooled, own = fine([table], least=1)
    for name in ("trees", "count"):
        assert np.array_equal(parts[name], pooled[name])
    assert parts["squares"] == pytest.approx(pooled["squares"])
    ours, theirs = scaling_of(parts, grid), scaling_of(pooled, own)
    assert ours.scale == pytest.approx(theirs.scale)
    assert ours.centre == pytest.approx(theirs.centre)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(60, 300), st.sampled_from([1, 10]))
def test_quartiles_of_the_pooled_table_lie_inside_the_stated_error(seed, cases, least):
    """Also where small counts stay in larger boxes."""
    table = table_of(seed, cases)
    told = [part for part in split(table, seed) if np.isfinite(part).sum(axis=0).min() >= least]
    sums, grid = fine(told, least=least)
    pooled = np.concatenate(told)
    for share in (0.25, 0.5, 0.75):
        low, high = scaling_bounds(sums, grid, share)
        true = np.nanquantile(pooled, share, axis=0, method="inverted_cdf")
        assert (low - 1e-9 <= true).all()
        assert (true <= high + 1e-9).all()


def test_scaling_is_that_of_median_and_iqr():
    """Within a tenth, for scores, logs and counts alike; outliers do not matter."""
    table = table_of(1, 2000)
    found = scaling_of(*fine(split(table, 2), least=10))
    low, middle, high = np.nanquantile(table[:, :3], [0.25, 0.5, 0.75], axis=0)
    scale = (high - low) / 1.349
    assert found.scale[:3] == pytest.approx(scale, rel=0.1)
    assert (np.abs(found.centre[:3] - middle) < 0.1 * scale).all()


def test_copy_numbers_are_scaled_by_mean_and_deviation():
    """Their quartiles are all 0."""
    table = table_of(1, 2000)
    found = scaling_of(*fine([table], least=10))
    assert found.scale[3] == pytest.approx(np.nanstd(table[:, 3]))
    assert found.centre[3] == pytest.approx(np.nanmean(table[:, 3]))


def test_few_measured_cases_say_nothing():
    """Not in a tree, not in a moment, not even that there are some."""
    table = table_of(3, 40)
    table[9:, 2] = np.nan
    sums = gene_value_sums(table, least=10)
    assert not any(sums[name][2].any() for name in sums)
    assert sums["sites"].tolist() == [1, 1, 0, 1]
    GeneValues().require_enough(sums, 10)


def test_a_small_count_does_not_pass_the_gate():
    """Nine cases of a leaf are nine cases."""
    sums = dict(gene_value_sums(table_of(3, 40), least=10))
    sums["trees"] = sums["trees"].copy()
    sums["trees"][0, -1] = 9
    with pytest.raises(GateError, match="'trees' of fewer than 10"):
        GeneValues().require_enough(sums, 10)


@pytest.mark.parametrize("name", ["trees", "count", "total", "squares", "sites"])
@pytest.mark.parametrize("value", [-1.0, 0.5, 1e9])
def test_sums_that_no_cohort_can_have_are_refused(name, value):
    """A negative count, half a case, more than the clip allows."""
    sums = {key: array.copy() for key, array in gene_value_sums(table_of(3, 40), least=10).items()}
    sums[name][0] = value
    if name == "total" and abs(value) < 2:
        return  # a possible total
    with pytest.raises(ProtocolError, match=r"no cohort can have|are no counts"):
        GeneValues().require_possible(sums, make_study())


def test_how_coarse_suppression_is_can_be_seen():
    """With a least of one nothing is coarse."""
    table = table_of(4, 100)
    assert coarseness(gene_value_sums(table, least=1)).max() == 0
    assert 0 < coarseness(gene_value_sums(table, least=10))[0] <= 1
