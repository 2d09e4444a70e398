"""Bags of a cohort: each case's slides and genes, read when asked for. A bag carries no name."""

from collections.abc import Sequence
from typing import overload

import torch
from torch import Tensor

from ghanet_model.bag import Bag, Outcome
from ghanet_model.batches import pack
from ghanet_model.genes import GenePanel
from ghanet_model.study import StudyConfig

from .cache import CaseFiles, FeatureCache
from .cohort import Case, Cohort
from .features import FeatureFolder, read_features

Genes = tuple[Tensor, ...] | None  # one (n_g,) per group


class SiteBags(Sequence[Bag]):
    """Cases as bags; several slides of a case are one bag. Features stay in ``cache`` alone.

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
        cache: FeatureCache | None = None,
    ) -> None:
        self.files = [
            CaseFiles(
                tuple(features.file_of(s.slide_id, where=s.where) for s in case.slides),
                width=study.feature_width,
                encoder=study.encoder,
                extraction=study.extraction,
            )
            for case in cases
        ]
        self._where = [[slide.where for slide in case.slides] for case in cases]
        self._cache = cache or FeatureCache(0)
        self.outcomes: tuple[Outcome | None, ...] = tuple(case.outcome for case in cases)
        self._genes: Sequence[Genes] = [None] * len(cases) if genes is None else genes

    def __len__(self) -> int:
        return len(self.files)

    @overload
    def __getitem__(self, index: int) -> Bag: ...
    @overload
    def __getitem__(self, index: slice) -> list[Bag]: ...
    def __getitem__(self, index: int | slice) -> Bag | list[Bag]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        files, where = self.files[index], self._where[index]
        features = self._cache.get(files, lambda: _read(files, where))  # (N, D)
        return Bag(features, self.outcomes[index], self._genes[index])

    @property
    def has_genes(self) -> tuple[bool, ...]:
        """Which bags carry genes, without reading any."""
        return tuple(genes is not None for genes in self._genes)


def _read(files: CaseFiles, where: Sequence[str]) -> Tensor:
    """Features of all slides of a case, in the order of the table."""
    slides = [
        read_features(
            path,
            width=files.width,
            encoder=files.encoder,
            where=row,
            extraction=files.extraction,
        )
        for path, row in zip(files.paths, where, strict=True)
    ]
    return pack(slides, pin=False)


def training_bags(
    cohort: Cohort,
    features: FeatureFolder,
    *,
    study: StudyConfig,
    panel: GenePanel | None = None,
    cache: FeatureCache | None = None,
) -> SiteBags:
    """Cases that training may see: with an outcome, not held out, not of validation."""
    chosen = [i for i, case in enumerate(cohort.cases) if case.can_train]
    return _bags(cohort, chosen, features, study=study, panel=panel, cache=cache)


def evaluation_bags(
    cohort: Cohort,
    features: FeatureFolder,
    *,
    study: StudyConfig,
    trains: bool,
    cache: FeatureCache | None = None,
) -> SiteBags:
    """Cases with an outcome: the held out at a site that trains, all at one that only infers.

    Without genes: evaluation reads slides alone.
    """
    chosen = [
        i
        for i, case in enumerate(cohort.cases)
        if case.outcome is not None and (case.held_out or not trains)
    ]
    return _bags(cohort, chosen, features, study=study, panel=None, cache=cache)


def validation_bags(
    cohort: Cohort,
    features: FeatureFolder,
    *,
    study: StudyConfig,
    cache: FeatureCache | None = None,
) -> SiteBags:
    """Cases that training does not see and evaluation does not either."""
    chosen = [i for i, case in enumerate(cohort.cases) if case.outcome and case.validation]
    return _bags(cohort, chosen, features, study=study, panel=None, cache=cache)


def prediction_bags(cohort: Cohort, features: FeatureFolder, *, study: StudyConfig) -> SiteBags:
    """All cases, in the cohort's order."""
    return SiteBags(cohort.cases, features, study=study)


def _bags(  # noqa: PLR0913 - what its two callers were given
    cohort: Cohort,
    chosen: list[int],
    features: FeatureFolder,
    *,
    study: StudyConfig,
    panel: GenePanel | None,
    cache: FeatureCache | None,
) -> SiteBags:
    if cache is not None:  # a case that was withdrawn leaves memory too
        cache.keep_only({features.path_of(slide.slide_id) for slide in cohort.slides})
    genes = None
    if panel is not None and cohort.genes is not None:
        groups = panel.scaled(cohort.genes[chosen], cohort.gene_columns)
        rows = zip(*(torch.from_numpy(group) for group in groups), strict=True)
        genes = [None if all(g.isnan().all() for g in row) else tuple(row) for row in rows]
    cases = [cohort.cases[i] for i in chosen]
    return SiteBags(cases, features, study=study, genes=genes, cache=cache)
