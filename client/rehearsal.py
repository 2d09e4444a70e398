"""A rehearsal of a round on a few cases: the code of a real one, and nothing of it is kept."""

import time
from dataclasses import dataclass, replace

import numpy as np
import torch

from ghanet_model.bag import Outcome
from ghanet_model.errors import GenesError, TrainingError
from ghanet_model.network import Network, new_model
from ghanet_model.protocol import StatisticsAsk
from ghanet_model.question import Sums, zeros
from ghanet_model.rehearsal import Rehearsal, stand_in_panel
from ghanet_model.release import model_config
from ghanet_model.training import TrainingReport, TrainingSettings, evaluate, train

from .bags import SiteBags, training_bags
from .cache import MEGABYTE
from .cohort import Cohort
from .predictions import EVALUATION, EVERYBODY, TRAINING, VALIDATION, is_chosen
from .site import Site
from .watched import Watched

MOST_CASES, MOST_SECONDS = 8, 10.0  # on which each part of a round is rehearsed
Rows = list[int]  # of the cohort's cases


def rehearse(site: Site, _ask: StatisticsAsk, question: Rehearsal) -> Sums:
    """Numbers of cases, and how long a round takes with them; a few cases are told as none.

    Raises:
        GenesError: asked to train with genes, and there is no gene table.
        FeaturesError: a case without its file, or a file that is no good.
        TrainingError: nobody died among the training cases.
    """
    cohort, trains = site.cohort(), question.trains
    if question.genes and cohort.genes is None:
        raise GenesError("asked to train with genes, but site.yaml names no gene table")
    training = _rows(cohort, TRAINING) if trains else []
    kept = _rows(cohort, VALIDATION) if trains else []
    evaluated = _rows(cohort, EVALUATION if trains else EVERYBODY)
    sequenced = _with_genes(cohort, training) if question.genes else 0
    every = SiteBags(cohort.cases, site.features(), study=site.study)  # refuses a missing file
    sizes = np.array([len(every), len(training), sequenced, len(evaluated)], np.float64)
    sums = zeros(question.shapes(site.study))
    sums["sizes"] = np.where(sizes < site.least, 0.0, sizes)
    if len(every) < site.least:
        return sums
    work = _work(site, cohort, _bytes_of(every))
    sums["megabytes"] += _bytes_of(every) / MEGABYTE
    if len(training) >= site.least:
        sums["seconds"][0] = work.training_seconds(training, use_genes=question.genes)
    if len(evaluated) >= site.least:
        sums["seconds"][1] = work.evaluation_seconds(evaluated, len(evaluated) + len(kept))
    return sums


def _rows(cohort: Cohort, which: str) -> Rows:
    return [row for row, case in enumerate(cohort.cases) if is_chosen(case, which)]


def _with_genes(cohort: Cohort, rows: Rows) -> int:
    """How many of these cases have a gene that was measured."""
    genes = None if cohort.genes is None else cohort.genes[rows]
    return 0 if genes is None else int((~np.isnan(genes).all(axis=1)).sum())


def _bytes_of(bags: SiteBags) -> int:
    """Of all feature files."""
    return sum(path.stat().st_size for path in {p for files in bags.files for p in files.paths})


@dataclass(frozen=True, slots=True, eq=False)
class _Work:
    """What a rehearsal works with."""

    site: Site
    cohort: Cohort
    model: Network  # trained in place, and thrown away
    device: torch.device
    stays: bool  # features are in memory when round 1 begins

    def training_seconds(self, rows: Rows, *, use_genes: bool) -> float:
        """Of a round with all its epochs, and those of a model of this hospital's own.

        Raises:
            TrainingError: nobody died among these cases.
        """
        events = [outcome is not None and outcome.event for outcome in self._outcomes(rows)]
        if not any(events):
            raise TrainingError("no event among the training cases")
        first = rows[events.index(True)]
        rows = [first, *(row for row in rows if row != first)]
        once = self._train(rows[:1], use_genes=use_genes)
        report = self._train(_a_few(rows, once.times.total), use_genes=use_genes)
        study, optimiser = self.site.study, report.times.step / report.steps
        case = (report.times.total - report.times.step) / report.cases
        epoch = len(rows) * case + -(-len(rows) // study.batch_cases) * optimiser
        return epoch * study.local_epochs * (2 if study.train_alone else 1)

    def evaluation_seconds(self, rows: Rows, cases: int) -> float:
        """Of a round that evaluates so many cases, by a few of ``rows``."""
        some = _a_few(rows, self._evaluate(rows[:1]))
        return self._evaluate(some) / len(some) * cases

    def _train(self, rows: Rows, *, use_genes: bool) -> TrainingReport:
        genes = None if self.cohort.genes is None else self.cohort.genes[rows]
        cases = tuple(self.cohort.cases[row] for row in rows)
        part, study = replace(self.cohort, cases=cases, genes=genes), self.site.study
        panel = stand_in_panel(study) if use_genes else None
        features, cache = self.site.features(), self.site.cache
        bags = training_bags(part, features, study=study, panel=panel, cache=cache)
        return train(
            self.model,
            self._watched(bags),
            replace(TrainingSettings.from_study(study), epochs=1),
            outcomes=[outcome for outcome in self._outcomes(rows) if outcome],
            use_genes=use_genes,
            seed=study.seed,
            device=self.device,
        )

    def _evaluate(self, rows: Rows) -> float:
        """Seconds for these cases."""
        site, cases = self.site, [self.cohort.cases[row] for row in rows]
        bags = SiteBags(cases, site.features(), study=site.study, cache=site.cache)
        watched, began = self._watched(bags), time.perf_counter()
        evaluate(self.model, watched, device=self.device)
        return time.perf_counter() - began

    def _outcomes(self, rows: Rows) -> list[Outcome | None]:
        return [self.cohort.cases[row].outcome for row in rows]

    def _watched(self, bags: SiteBags) -> Watched:
        """Bags of work that may be given up; read already if they will be when round 1 begins."""
        watched = Watched(bags, self.site.require_wanted)
        for place in range(len(bags) if self.stays else 0):
            watched[place]
        return watched


def _work(site: Site, cohort: Cohort, size: int) -> _Work:
    torch.set_num_threads(site.config.threads)
    config = model_config(site.study, stand_in_panel(site.study))
    model = new_model(config, seed=site.study.seed)
    device, stays = torch.device(site.config.device), size <= site.cache.budget
    return _Work(site, cohort, model, device, stays)


def _a_few(rows: Rows, seconds: float) -> Rows:
    """The first and others evenly from the rest, as many as there is time for.

    Args:
        rows: to choose from.
        seconds: that one case took, with all that is slow only once.
    """
    many = max(1, min(MOST_CASES, len(rows), int(MOST_SECONDS / max(seconds, 1e-9))))
    return [rows[place] for place in np.linspace(0, len(rows) - 1, many).astype(int)]
