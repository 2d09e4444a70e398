"""Bags of a cohort: each case's slides and genes, read when asked for. A bag carries no name."""

from collections.abc import Sequence
from pathlib import Path
from typing import overload

import torch
from torch import Tensor

from ghanet_model.bag import Bag, Outcome
from ghanet_model.genes import GenePanel
from ghanet_model.study import StudyConfig

from .cohort import Case, Cohort
from .features import FeatureFolder, read_features

Genes = tuple[Tensor, ...] | None  # one (n_g,) per group


class SiteBags(Sequence[Bag]):
    """Cases as bags; several slides of a case are one bag. Only file names are held in memory.

    Raises:
        FeaturesError: at once where a file is missing, when read where a file is no good.
    """

    def __init__(
        self,
        cases: Sequence[Case],
        features: FeatureFolder,
        *,
        study: StudyConfig,
        genes: Sequence[Genes] | None = None,
    ) -> None:
        self._width, self._encoder = study.feature_width, study.encoder
        self._files = [
            [(features.file_of(s.slide_id, where=s.where), s.where) for s in case.slides]
            for case in cases
        ]
        self.outcomes: tuple[Outcome | None, ...] = tuple(case.outcome for case in cases)
        self._genes: Sequence[Genes] = [None] * len(cases) if genes is None else genes

    def __len__(self) -> int:
        return len(self._files)

    @overload
    def __getitem__(self, index: int) -> Bag: ...
    @overload
    def __getitem__(self, index: slice) -> list[Bag]: ...
    def __getitem__(self, index: int | slice) -> Bag | list[Bag]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        slides = [self._read(path, where) for path, where in self._files[index]]
        features = slides[0] if len(slides) == 1 else torch.cat(slides)  # (N, D)
        return Bag(features, self.outcomes[index], self._genes[index])

    def _read(self, path: Path, where: str) -> Tensor:
        return read_features(path, width=self._width, encoder=self._encoder, where=where)

    @property
    def has_genes(self) -> tuple[bool, ...]:
        """Which bags carry genes, without reading any."""
        return tuple(genes is not None for genes in self._genes)


def training_bags(
    cohort: Cohort, features: FeatureFolder, *, study: StudyConfig, panel: GenePanel | None = None
) -> SiteBags:
    """Cases that training may see: with an outcome and not held out."""
    chosen = [i for i, case in enumerate(cohort.cases) if case.can_train]
    return _bags(cohort, chosen, features, study, panel)


def evaluation_bags(
    cohort: Cohort,
    features: FeatureFolder,
    *,
    study: StudyConfig,
    trains: bool,
    panel: GenePanel | None = None,
) -> SiteBags:
    """Cases with an outcome: the held out at a site that trains, all at one that only infers."""
    chosen = [
        i
        for i, case in enumerate(cohort.cases)
        if case.outcome is not None and (case.held_out or not trains)
    ]
    return _bags(cohort, chosen, features, study, panel)


def prediction_bags(cohort: Cohort, features: FeatureFolder, *, study: StudyConfig) -> SiteBags:
    """All cases, in the cohort's order."""
    return SiteBags(cohort.cases, features, study=study)


def _bags(
    cohort: Cohort,
    chosen: list[int],
    features: FeatureFolder,
    study: StudyConfig,
    panel: GenePanel | None,
) -> SiteBags:
    genes = None
    if panel is not None and cohort.genes is not None:
        groups = panel.scale(cohort.genes[chosen], cohort.gene_columns)
        rows = zip(*(torch.from_numpy(group) for group in groups), strict=True)
        genes = [None if all(g.isnan().all() for g in row) else tuple(row) for row in rows]
    return SiteBags([cohort.cases[i] for i in chosen], features, study=study, genes=genes)
