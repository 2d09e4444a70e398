"""What a hospital answers to questions about sums. Small numbers stay here: see each topic."""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from ghanet_model.errors import GenesError, ProtocolError
from ghanet_model.genes import GeneMoments, GeneSums, gene_sums
from ghanet_model.protocol import StatisticsAsk
from ghanet_model.question import Sums
from ghanet_model.topics import question_of

from .site import Site

Answer: TypeAlias = Callable[[Site, StatisticsAsk, Any], Sums]


def _gene_moments(site: Site, _ask: StatisticsAsk, _question: GeneMoments) -> Sums:
    genes = site.cohort().training_genes
    if genes is None:
        raise GenesError("asked for gene sums, but site.yaml names no gene table")
    sums = gene_sums(genes, clip=site.study.gene_clip, minimum_cases=site.least)
    return {name: getattr(sums, name) for name in GeneSums.__slots__}


ANSWERS: Mapping[str, Answer] = {GeneMoments.topic: _gene_moments}


def sums_for(site: Site, ask: StatisticsAsk) -> Sums:
    """This hospital's sums.

    Raises:
        ProtocolError: not a question of ours.
    """
    question = question_of(ask.topic, ask.question, site.study)
    if ask.topic not in ANSWERS:
        raise ProtocolError(f"no answer about {ask.topic}")
    return ANSWERS[ask.topic](site, ask, question)
