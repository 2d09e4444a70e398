"""Bags of a site: the right cases, all their slides, their genes, and nothing read too early."""

from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from client.bags import evaluation_bags, prediction_bags, training_bags
from client.cohort import Case, Cohort, Slide
from client.features import find_features
from ghanet_model.bag import Outcome
from ghanet_model.errors import FeaturesError
from ghanet_model.genes import GenePanel
from ghanet_model.study import StudyConfig

STUDY = StudyConfig(
    name="demo",
    encoder="enc-v1",
    feature_width=3,
    time_bin_edges=(12.0, 36.0),
    gene_groups="groups.csv",
    groups=(("first", ("G1", "G2")), ("second", ("G2",))),
    gene_types=("rnaseq",),
)
COLUMNS = ("G1_rnaseq", "G2_rnaseq")
PANEL = GenePanel(
    groups=(("first", COLUMNS), ("second", COLUMNS[1:])),
    columns=COLUMNS,
    centre=(1.0, 2.0),
    scale=(2.0, 1.0),
    clip=3.0,
)
NAN = float("nan")


def make_cohort(*, clinical: bool = True) -> Cohort:
    """Four cases: two slides, one slide, held out, without genes."""
    slides = [Slide(f"CANARY-{i}", "slides.csv", i + 2) for i in range(5)]
    of_case = [slides[:2], slides[2:3], slides[3:4], slides[4:]]
    cases = tuple(
        Case(
            f"CANARY-CASE-{i}",
            Outcome(10.0 * i, event=bool(i % 2), time_bin=0) if clinical else None,
            tuple(own),
            held_out=i == 2,
        )
        for i, own in enumerate(of_case)
    )
    genes = np.array([[3, 4], [NAN, 100], [1, 2], [NAN, NAN]], np.float32)
    return Cohort(cases, tuple(slides), genes, COLUMNS)


def make_features(folder: Path, kinds: tuple = (np.float32,) * 5):
    """A CLAM folder; slide i has i + 1 patches of the number i."""
    (folder / "h5_files").mkdir()
    for i, kind in enumerate(kinds):
        with h5py.File(folder / "h5_files" / f"CANARY-{i}.h5", "w") as file:
            file["features"] = np.full((i + 1, 3), i, kind)
    return find_features(folder)


def test_slides_of_a_case_are_one_bag(tmp_path):
    """Several slides are concatenated in the order of the table."""
    bags = training_bags(make_cohort(), make_features(tmp_path), study=STUDY)
    assert bags[0].features[:, 0].tolist() == [0, 1, 1]
    assert bags[1].features.shape == (3, 3)


def test_stored_type_is_kept(tmp_path):
    """A float16 slide stays float16; mixed slides take the wider type."""
    kinds = (np.float16, np.float32, np.float16, np.float16, np.float16)
    bags = training_bags(make_cohort(), make_features(tmp_path, kinds), study=STUDY)
    assert [bag.features.dtype for bag in bags] == [torch.float32, torch.float16, torch.float16]


def test_training_sees_no_held_out_case(tmp_path):
    """Training bags are the cases with outcome that are not held out."""
    bags = training_bags(make_cohort(), make_features(tmp_path), study=STUDY)
    assert [outcome.time for outcome in bags.outcomes] == [0.0, 10.0, 30.0]
    assert [bag.outcome for bag in bags] == list(bags.outcomes)


@pytest.mark.parametrize(("trains", "times"), [(True, [20.0]), (False, [0.0, 10.0, 20.0, 30.0])])
def test_evaluation_cases(tmp_path, trains, times):
    """A site that trains evaluates on its held-out cases, one that only infers on all."""
    features = make_features(tmp_path)
    bags = evaluation_bags(make_cohort(), features, study=STUDY, trains=trains)
    assert [outcome.time for outcome in bags.outcomes] == times


def test_prediction_takes_all_cases(tmp_path):
    """Without outcomes there is nothing to train or evaluate on, but all to predict."""
    cohort, features = make_cohort(clinical=False), make_features(tmp_path)
    assert len(training_bags(cohort, features, study=STUDY)) == 0
    assert len(evaluation_bags(cohort, features, study=STUDY, trains=False)) == 0
    bags = prediction_bags(cohort, features, study=STUDY)
    assert bags.outcomes == (None,) * 4


def test_genes_are_scaled_per_group(tmp_path):
    """A bag's genes are clipped and scaled by the panel, one tensor per group."""
    bags = training_bags(make_cohort(), make_features(tmp_path), study=STUDY, panel=PANEL)
    assert [group.tolist() for group in bags[0].genes] == [[1.0, 2.0], [2.0]]
    assert [len(group) for group in bags[1].genes] == list(PANEL.group_sizes)
    assert bags[1].genes[0].isnan().tolist() == [True, False]
    assert bags[1].genes[1].tolist() == [3.0]
    assert bags[0].genes[0].dtype == torch.float32


def test_case_without_measured_gene_has_none(tmp_path):
    """A case whose genes are all unknown is a case without genes."""
    bags = training_bags(make_cohort(), make_features(tmp_path), study=STUDY, panel=PANEL)
    assert bags.has_genes == (True, True, False)
    assert bags[2].genes is None


def test_without_panel_there_are_no_genes(tmp_path):
    """Unscaled genes never reach a bag."""
    bags = training_bags(make_cohort(), make_features(tmp_path), study=STUDY)
    assert bags.has_genes == (False,) * 3


def test_bags_are_a_sequence(tmp_path):
    """Slices, negative indices and iteration work; an index too far is an error."""
    bags = training_bags(make_cohort(), make_features(tmp_path), study=STUDY)
    assert [len(bag.features) for bag in bags[1:]] == [3, 5]
    assert len(bags[-1].features) == 5
    with pytest.raises(IndexError):
        bags[3]


def test_missing_file_is_told_before_training(tmp_path):
    """A slide without file stops at once, by row and without name."""
    features = make_features(tmp_path, (np.float32,) * 4)
    with pytest.raises(FeaturesError) as caught:
        training_bags(make_cohort(), features, study=STUDY)
    assert str(caught.value) == "features of slides.csv row 6: no feature file"


def test_bad_file_is_told_when_read(tmp_path):
    """Files are opened only when their bag is asked for; a bad one is told by row."""
    features = make_features(tmp_path)
    bags = training_bags(make_cohort(), features, study=STUDY)
    (features.path / "CANARY-2.h5").write_bytes(b"CANARY")
    assert len(bags[0].features) == 3
    with pytest.raises(FeaturesError, match=r"^features of slides\.csv row 4: the file is damaged"):
        bags[1]
