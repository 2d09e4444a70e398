"""Gene panels: federated sums equal the pooled table, and nothing about few cases leaves a site."""

import json

import numpy as np
import pytest

from ghanet_model.errors import GenesError
from ghanet_model.gene_values import gene_value_sums
from ghanet_model.genes import GenePanel, candidate_columns
from ghanet_model.panel import coverage, missing_columns, panel_of_tables
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
    return panel_of_tables(study, {"a": values_of(0, 40)}, least=3)


def test_candidates_are_sorted_and_unique():
    """A gene of two groups is one column per type."""
    expected = ("A_cnv", "A_rnaseq", "B_cnv", "B_rnaseq", "C_cnv", "C_rnaseq")
    assert candidate_columns(make_study()) == expected


def test_panel_keeps_what_every_gene_site_measured():
    """A column that one site lacks is not in the panel."""
    short = values_of(2, 30)
    short[:, 0] = np.nan
    tables = {"a": values_of(1, 30), "b": short}
    sums = {name: gene_value_sums(table, least=3) for name, table in tables.items()}
    panel = panel_of_tables(make_study(), tables, least=3)
    assert panel.columns == candidate_columns(make_study())[1:]
    assert panel.group_sizes == (3, 4)
    assert missing_columns(make_study(), sums) == {"a": [], "b": ["A_cnv"]}
    assert coverage(make_study(), sums)["b"] == {"first": [3, 4], "second": [4, 4]}


def test_a_site_with_too_few_genes_is_told_which_are_missing():
    """By name, group and columns, before anything is trained."""
    left, right = values_of(1, 30), values_of(2, 30)
    right[:, 2:] = np.nan
    with pytest.raises(GenesError) as error:
        panel_of_tables(make_study(), {"north": left, "south": right}, least=3)
    assert str(error.value) == (
        "gene group 'second' has no usable column: south lacks B_cnv, B_rnaseq, C_cnv and 1 more"
    )


def test_constant_columns_are_left_out():
    """A column without variance cannot be scaled."""
    values = values_of(0, 30)
    values[:, 5] = 4.9
    assert "C_rnaseq" not in panel_of_tables(make_study(), {"a": values}, least=3).columns


def test_a_group_of_constants_is_named():
    """A study whose group nobody can learn stops before round 1."""
    values = values_of(0, 30)
    values[:, 2:] = 1.0
    with pytest.raises(GenesError, match="'second' has no usable column: every column is constant"):
        panel_of_tables(make_study(), {"a": values}, least=3)


def test_scaled_values_are_robust_deviations():
    """Median about 0, quartiles about +-0.67, clipped; what was not measured stays so."""
    study, values = make_study(), values_of(0, 400)
    panel = panel_of_tables(study, {"a": values}, least=3)
    first, second = panel.scaled(values, candidate_columns(study))
    assert first.shape == second.shape == (400, 4)
    assert first.dtype == np.float32
    low, middle, high = np.nanquantile(first, [0.25, 0.5, 0.75], axis=0)
    np.testing.assert_allclose(middle, 0, atol=0.1)
    np.testing.assert_allclose(high - low, 1.349, atol=0.15)
    assert second.min() >= -study.gene_clip or np.isnan(second).any()
    assert np.nanmax(np.abs(first)) == study.gene_clip
    assert (np.isnan(first) == np.isnan(values[:, :4])).all()


def test_scaling_follows_column_names():
    """The order of a site's columns does not matter."""
    study, values = make_study(), values_of(0, 40)
    columns, panel = candidate_columns(study), panel_of(study)
    turned = panel.scaled(values[:, ::-1], columns[::-1])
    for one, other in zip(panel.scaled(values, columns), turned, strict=True):
        np.testing.assert_array_equal(one, other)


def test_scaling_without_a_column_is_refused():
    """A column of the panel that the site does not name is an error, not a guess."""
    study = make_study()
    with pytest.raises(GenesError, match="1 columns of the panel"):
        panel_of(study).scaled(values_of(0, 40)[:, 1:], candidate_columns(study)[1:])


def test_json_gives_the_panel_back():
    """A panel survives the network exactly."""
    study = make_study()
    panel = panel_of(study)
    assert GenePanel.from_json(json.loads(json.dumps(panel.to_json())), study=study) == panel


BAD = {
    "not a mapping": list,
    "missing key": lambda j: {k: v for k, v in j.items() if k != "scale"},
    "unknown key": lambda j: j | {"more": 1},
    "groups is text": lambda j: j | {"groups": "first"},
    "group without name": lambda j: j | {"groups": [[1, ["A_cnv"]]]},
    "group is a triple": lambda j: j | {"groups": [["first", ["A_cnv"], 1]]},
    "group is empty": lambda j: j | {"groups": [["first", []], ["second", j["columns"]]]},
    "columns of numbers": lambda j: j | {"columns": [1] * 6},
    "columns unsorted": lambda j: j | {"columns": j["columns"][::-1]},
    "column outside groups": lambda j: j | {"columns": [*j["columns"], "Z_cnv"]},
    "centre of text": lambda j: j | {"centre": ["1"] * 6},
    "centre of flags": lambda j: j | {"centre": [True] * 6},
    "centre too short": lambda j: j | {"centre": [0.0]},
    "centre not finite": lambda j: j | {"centre": [float("nan")] * 6},
    "centre too large": lambda j: j | {"centre": [10**400] * 6},
    "scale zero": lambda j: j | {"scale": [0.0] * 6},
    "scale negative": lambda j: j | {"scale": [-1.0] * 6},
    "scale not finite": lambda j: j | {"scale": [float("inf")] * 6},
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
