"""The feature cache: within its budget, never behind the files, and the same bags as without."""

import os
import threading
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from client.bags import evaluation_bags, training_bags
from client.cache import CaseFiles, FeatureCache
from client.cohort import Case, Cohort, Slide
from client.features import find_features
from ghanet_model.bag import Outcome
from ghanet_model.errors import FeaturesError
from ghanet_model.network import new_model
from ghanet_model.sizes import GHANetConfig
from ghanet_model.study import StudyConfig
from ghanet_model.training import TrainingSettings, train

WIDTH = 4
CASE = 3 * WIDTH * 2  # bytes: three patches in float16
STUDY = StudyConfig(
    name="demo",
    encoder="enc-v1",
    feature_width=WIDTH,
    time_bin_edges=(12.0,),
    gene_groups="groups.csv",
    groups=(("first", ("G1",)),),
)


def write(path: Path, number: float, *, encoder: str = "enc-v1") -> Path:
    """A feature file of three patches that all say ``number``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file["features"] = np.full((3, WIDTH), number, np.float16)
        file["features"].attrs["encoder"] = encoder
    return path


def site(folder: Path, cases: int = 6):
    """A cohort with its features; the first case has two slides, the last is held out."""
    slides = [Slide(f"S{i}", "slides.csv", i + 2) for i in range(cases + 1)]
    of_case = [slides[:2], *([slide] for slide in slides[2:])]
    known = [
        Case(f"C{i}", Outcome(3.0 * i, i % 2 == 0, 0), tuple(own), held_out=i == cases - 1)
        for i, own in enumerate(of_case)
    ]
    for i, slide in enumerate(slides):
        write(folder / "h5_files" / f"{slide.slide_id}.h5", i)
    return Cohort(tuple(known), tuple(slides), None, ()), find_features(folder)


class Files:
    """Counts reads of one file in place of a case's files."""

    def __init__(self, path: Path) -> None:
        self.path, self.reads = path, 0

    def get(self, cache: FeatureCache, **fits: object) -> torch.Tensor:
        """Through the cache."""
        fits = {"width": WIDTH, "encoder": "enc-v1"} | fits
        return cache.get(CaseFiles((self.path,), **fits), self._read)

    def _read(self) -> torch.Tensor:
        self.reads += 1
        with h5py.File(self.path) as file:
            return torch.from_numpy(file["features"][...])


@pytest.fixture
def files(tmp_path):
    """Five cases' files."""
    return [Files(write(tmp_path / f"{i}.h5", i)) for i in range(5)]


def test_a_case_is_read_once(files):
    """What is held is given again without reading, as stored."""
    cache = FeatureCache(CASE)
    assert files[0].get(cache) is files[0].get(cache)
    assert (files[0].reads, cache.used) == (1, CASE)
    assert files[0].get(cache).dtype == torch.float16


def test_the_budget_is_kept_and_what_is_in_stays(files):
    """Epochs over more than fits: never more bytes than allowed, what fits is read once."""
    cache = FeatureCache(3 * CASE + CASE // 2)
    for _ in range(4):
        for i, one in enumerate(files):
            assert one.get(cache)[0, 0] == i
            assert cache.used <= cache.budget
    assert cache.used == 3 * CASE
    assert [one.reads for one in files] == [1, 1, 1, 4, 4]


def test_no_budget_no_cache(files):
    """0 holds nothing, and a case larger than the budget still comes."""
    for budget in (0, CASE - 1):
        cache = FeatureCache(budget)
        assert files[0].get(cache)[0, 0] == 0
        assert cache.used == 0


def test_a_changed_file_is_read_again(files):
    """New content of the same size, or another file in its place, is seen at once."""
    cache, one = FeatureCache(10 * CASE), files[0]
    one.get(cache)
    os.utime(write(one.path, 7), (1, 1))
    assert one.get(cache)[0, 0] == 7
    other = write(one.path.with_name("other.h5"), 8)
    os.utime(other, (1, 1))
    other.replace(one.path)
    assert one.get(cache)[0, 0] == 8
    assert cache.used == CASE


def test_another_requirement_is_another_entry(files):
    """What was checked against one study is read, and checked, again for another."""
    cache = FeatureCache(10 * CASE)
    files[0].get(cache)
    files[0].get(cache, encoder="enc-v2")
    assert (files[0].reads, cache.used) == (2, CASE)


def test_a_file_that_changes_while_it_is_read_is_read_again(files):
    """Its stamp is taken before reading, so what was read late is never taken for current."""
    cache, one = FeatureCache(10 * CASE), files[0]
    read = one._read

    def slow():
        found = read()
        os.utime(write(one.path, 9), (1, 1))
        return found

    cache.get(CaseFiles((one.path,), WIDTH, "enc-v1"), slow)
    assert one.get(cache)[0, 0] == 9


def test_threads_share_it(files):
    """Many threads at once get the right features, and the budget holds."""
    cache, wrong = FeatureCache(2 * CASE), []

    def use():
        for _ in range(50):
            wrong.extend(i for i, one in enumerate(files) if one.get(cache)[0, 0] != i)

    threads = [threading.Thread(target=use) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert cache.used == 2 * CASE


def test_a_withdrawn_case_leaves_memory(tmp_path):
    """Bags of a cohort leave nothing in the cache that is not of that cohort."""
    cohort, features = site(tmp_path)
    cache = FeatureCache(100 * CASE)
    list(training_bags(cohort, features, study=STUDY, cache=cache))
    assert cache.used == 6 * CASE
    fewer = Cohort(cohort.cases[1:], cohort.slides[2:], None, ())
    evaluation_bags(fewer, features, study=STUDY, trains=True, cache=cache)
    assert cache.used == 4 * CASE


def test_a_slide_of_another_case_moves(tmp_path):
    """Slides that come to belong to another case are held once."""
    cohort, features = site(tmp_path)
    cache = FeatureCache(100 * CASE)
    list(training_bags(cohort, features, study=STUDY, cache=cache))
    first, second, *others = cohort.cases
    moved = [
        Case(first.case_id, first.outcome, first.slides[:1], held_out=False),
        Case(second.case_id, second.outcome, first.slides[1:] + second.slides, held_out=False),
    ]
    bags = training_bags(
        Cohort((*moved, *others), cohort.slides, None, ()), features, study=STUDY, cache=cache
    )
    assert [bag.features[:, 0].unique().tolist() for bag in bags[:2]] == [[0.0], [1.0, 2.0]]
    assert cache.used == 6 * CASE


def test_a_refusal_is_not_held(tmp_path):
    """A file that is refused is told each time, in the same words, and is used once repaired."""
    cohort, features = site(tmp_path)
    cache = FeatureCache(100 * CASE)
    bags = training_bags(cohort, features, study=STUDY, cache=cache)
    path = features.path / "S2.h5"
    write(path, np.nan)
    for _ in range(2):
        with pytest.raises(FeaturesError, match=r"^features of slides\.csv row 4: NaN or infinity"):
            bags[1]
    write(path, 1, encoder="other")
    with pytest.raises(FeaturesError, match=r"row 4: made by encoder 'other'"):
        bags[1]
    write(path, 1)
    assert bags[1].features[0, 0] == 1
    path.unlink()
    with pytest.raises(FeaturesError, match=r"^features of slides\.csv row 4: no feature file"):
        bags[1]


def test_training_is_the_same_with_and_without(tmp_path):
    """Weights after training from a cache, whole or too small, are those without, bit by bit."""
    cohort, features = site(tmp_path)
    config = GHANetConfig.preset(
        "compact", group_sizes=(2,), feature_width=WIDTH, time_bins=2, dropout=0.25
    )
    states = []
    for budget in (0, 2 * CASE, 100 * CASE):
        bags = training_bags(cohort, features, study=STUDY, cache=FeatureCache(budget))
        model = new_model(config, seed=0)
        train(
            model,
            bags,
            TrainingSettings(3, 2, 1e-3, 1e-5, 0.3),
            outcomes=bags.outcomes,
            use_genes=False,
            seed=1,
            device=torch.device("cpu"),
        )
        states.append(model.state_dict())
    for state in states[1:]:
        assert all(torch.equal(state[name], states[0][name]) for name in state)
