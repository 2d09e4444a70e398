"""Gene panels: federated sums equal the pooled table, and nothing about few cases leaves a site."""

import json
from functools import reduce
from operator import add

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ghanet_model.errors import GenesError
from ghanet_model.genes import GenePanel, GeneSums, candidate_columns, gene_sums, make_panel
from ghanet_model.study import StudyConfig


def make_study(**changes) -> StudyConfig:
    """A study of two groups that share gene B."""
    values = {
        "name": "demo",
        "encoder": "enc-v1",
        "feature_width": 4,
        "time_bin_edges": (12.0, 36.0),
        "gene_groups": "groups.csv",
        "groups": (("first", ("B", "A")), ("second", ("B", "C"))),
        "gene_types": ("rnaseq", "cnv"),
        "minimum_cases": 3,
    }
    return StudyConfig(**(values | changes))


def values_of(seed: int, cases: int) -> np.ndarray:
    """Wild values like those of real tables, a tenth of them not measured."""
    random = np.random.default_rng(seed)
    values = random.normal(0.3, 2.0, (cases, 6)) ** 3
    values[random.random(values.shape) < 0.1] = np.nan
    return values


def panel_of(study: StudyConfig) -> GenePanel:
    """The panel of 40 cases."""
    sums = gene_sums(values_of(0, 40), clip=study.gene_clip, minimum_cases=3)
    return make_panel(study, sums, sites=1)


def test_candidates_are_sorted_and_unique():
    """A gene of two groups is one column per type."""
    expected = ("A_cnv", "A_rnaseq", "B_cnv", "B_rnaseq", "C_cnv", "C_rnaseq")
    assert candidate_columns(make_study()) == expected


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(12, 60), min_size=1, max_size=5), st.integers(0, 1000))
def test_federated_scaling_equals_pooled_scaling(sizes, seed):
    """Mean and sd of the panel are those of the pooled clipped table."""
    tables = [values_of(seed + i, cases) for i, cases in enumerate(sizes)]
    sums = reduce(add, (gene_sums(t, clip=5.0, minimum_cases=3) for t in tables))
    panel = make_panel(make_study(), sums, sites=len(tables))
    pooled = np.clip(np.concatenate(tables), -5, 5)
    np.testing.assert_allclose(panel.mean, np.nanmean(pooled, axis=0), atol=1e-9, rtol=0)
    np.testing.assert_allclose(panel.sd, np.nanstd(pooled, axis=0), atol=1e-9, rtol=0)


def test_few_cases_say_nothing():
    """A column of fewer than the minimum of cases contributes zeros to every sum."""
    values = values_of(1, 30)
    values[2:, 4] = np.nan
    sums = gene_sums(values, clip=5.0, minimum_cases=3)
    assert [part[4] for part in (sums.count, sums.total, sums.squares, sums.sites)] == [0] * 4
    assert sums.sites.tolist() == [1, 1, 1, 1, 0, 1]


def test_a_column_never_measured_says_nothing_even_without_minimum():
    """No case is no site, whatever the minimum."""
    assert gene_sums(np.full((3, 2), np.nan), clip=5.0, minimum_cases=0).sites.tolist() == [0, 0]


def test_values_are_clipped_before_they_are_summed():
    """An outlier of a real table weighs no more than the clip."""
    sums = gene_sums(np.full((3, 1), 36893.0), clip=5.0, minimum_cases=1)
    assert (sums.total[0], sums.squares[0]) == (15.0, 75.0)


def test_sums_of_other_studies_cannot_be_added():
    """Sums over other columns are refused."""
    few, many = (gene_sums(np.ones((3, n)), clip=5.0, minimum_cases=1) for n in (1, 2))
    with pytest.raises(GenesError, match="different studies"):
        few + many


def test_panel_keeps_what_every_gene_site_measured():
    """A column that one site lacks is not in the panel; a site without genes does not count."""
    short = values_of(2, 30)
    short[:, 0] = np.nan
    tables = [values_of(1, 30), short, np.full((30, 6), np.nan)]
    sums = reduce(add, (gene_sums(t, clip=5.0, minimum_cases=3) for t in tables))
    panel = make_panel(make_study(), sums, sites=2)
    assert panel.columns == candidate_columns(make_study())[1:]
    assert panel.group_sizes == (3, 4)


def test_sites_that_share_no_column_have_no_panel():
    """Two sites with different genes are told so, rather than given genes of one site each."""
    left, right = values_of(1, 30), values_of(2, 30)
    left[:, :3], right[:, 3:] = np.nan, np.nan
    sums = gene_sums(left, clip=5.0, minimum_cases=3) + gene_sums(right, clip=5.0, minimum_cases=3)
    with pytest.raises(GenesError, match="no gene that every site"):
        make_panel(make_study(), sums, sites=2)


def test_constant_columns_are_left_out():
    """A column without variance cannot be scaled."""
    values = values_of(0, 30)
    values[:, 5] = 4.9
    panel = make_panel(make_study(), gene_sums(values, clip=5.0, minimum_cases=3), sites=1)
    assert "C_rnaseq" not in panel.columns


def test_empty_group_is_named():
    """A study whose group nobody measured stops before round 1."""
    values = values_of(0, 30)
    values[:, 2:] = np.nan
    with pytest.raises(GenesError, match="'second'"):
        make_panel(make_study(), gene_sums(values, clip=5.0, minimum_cases=3), sites=1)


def test_no_gene_site_is_an_error():
    """Without any measured gene there is no panel."""
    with pytest.raises(GenesError, match="no gene that every site"):
        make_panel(
            make_study(),
            gene_sums(np.full((30, 6), np.nan), clip=5.0, minimum_cases=3),
            sites=1,
        )


@pytest.mark.parametrize("spoil", [np.ones(5), np.array([1, 1, np.nan, 1, 1, 1.0])])
def test_sums_that_do_not_fit_are_refused(spoil):
    """Sums of another width, or with NaN, make no panel."""
    good = np.ones(6)
    with pytest.raises(GenesError, match="6 candidate columns"):
        make_panel(
            make_study(), GeneSums(count=good, total=spoil, squares=good, sites=good), sites=1
        )


def test_scaled_values_are_standard():
    """Scaled training values have mean 0 and sd 1, what was not measured stays so."""
    study, values = make_study(), values_of(0, 40)
    first, second = panel_of(study).scale(values, candidate_columns(study))
    assert first.shape == second.shape == (40, 4)
    assert first.dtype == np.float32
    np.testing.assert_allclose(np.nanmean(first, axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(np.nanstd(second, axis=0), 1, atol=1e-5)
    assert (np.isnan(first) == np.isnan(values[:, :4])).all()


def test_scaling_follows_column_names():
    """The order of a site's columns does not matter."""
    study, values = make_study(), values_of(0, 40)
    columns, panel = candidate_columns(study), panel_of(study)
    turned = panel.scale(values[:, ::-1], columns[::-1])
    for one, other in zip(panel.scale(values, columns), turned, strict=True):
        np.testing.assert_array_equal(one, other)


def test_scaling_without_a_column_is_refused():
    """A column of the panel that the site does not name is an error, not a guess."""
    study = make_study()
    with pytest.raises(GenesError, match="1 columns of the panel"):
        panel_of(study).scale(values_of(0, 40)[:, 1:], candidate_columns(study)[1:])


def test_json_gives_the_panel_back():
    """A panel survives the network exactly."""
    study = make_study()
    panel = panel_of(study)
    assert GenePanel.from_json(json.loads(json.dumps(panel.to_json())), study=study) == panel


BAD = {
    "not a mapping": list,
    "missing key": lambda j: {k: v for k, v in j.items() if k != "sd"},
    "unknown key": lambda j: j | {"more": 1},
    "groups is text": lambda j: j | {"groups": "first"},
    "group without name": lambda j: j | {"groups": [[1, ["A_cnv"]]]},
    "group is a triple": lambda j: j | {"groups": [["first", ["A_cnv"], 1]]},
    "group is empty": lambda j: j | {"groups": [["first", []], ["second", j["columns"]]]},
    "columns of numbers": lambda j: j | {"columns": [1] * 6},
    "columns unsorted": lambda j: j | {"columns": j["columns"][::-1]},
    "column outside groups": lambda j: j | {"columns": [*j["columns"], "Z_cnv"]},
    "mean of text": lambda j: j | {"mean": ["1"] * 6},
    "mean of flags": lambda j: j | {"mean": [True] * 6},
    "mean too short": lambda j: j | {"mean": [0.0]},
    "mean not finite": lambda j: j | {"mean": [float("nan")] * 6},
    "mean too large": lambda j: j | {"mean": [10**400] * 6},
    "sd zero": lambda j: j | {"sd": [0.0] * 6},
    "sd negative": lambda j: j | {"sd": [-1.0] * 6},
    "sd not finite": lambda j: j | {"sd": [float("inf")] * 6},
    "clip is text": lambda j: j | {"clip": "5"},
    "clip zero": lambda j: j | {"clip": 0},
}


@pytest.mark.parametrize("spoil", BAD.values(), ids=BAD)
def test_bad_json_is_refused(spoil):
    """Whatever is wrong with a panel from the network, it is a GenesError."""
    with pytest.raises(GenesError):
        GenePanel.from_json(spoil(panel_of(make_study()).to_json()))


@pytest.mark.parametrize(
    "other",
    [
        {"gene_clip": 4.0},
        {"groups": (("first", ("A", "B")), ("other", ("B", "C")))},
        {"groups": (("first", ("A", "D")), ("second", ("B", "C")))},
    ],
)
def test_panel_of_another_study_is_refused(other):
    """Clip, groups and genes must be those that the site approved."""
    panel = panel_of(make_study())
    with pytest.raises(GenesError, match="gene panel"):
        GenePanel.from_json(panel.to_json(), study=make_study(**other))
