"""What a hospital answers to questions about sums. Small numbers stay here: see each topic."""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ghanet_model.cohort_table import CohortTable
from ghanet_model.cox_questions import CoxMoments, CoxStep
from ghanet_model.errors import GenesError, ProtocolError
from ghanet_model.evaluation import Evaluation, FollowUp, TrainingRisks
from ghanet_model.gene_classes import GeneClasses, class_sums
from ghanet_model.gene_values import GeneValues, gene_value_sums
from ghanet_model.protocol import StatisticsAsk
from ghanet_model.question import Sums
from ghanet_model.rehearsal import Rehearsal
from ghanet_model.reliability import ArmRisks, GeneActivity
from ghanet_model.signature import FeatureSignature
from ghanet_model.slide_questions import SlideDistances, SlideMoments, SlideShape
from ghanet_model.topics import question_of

from .describe import cohort_table
from .evaluation import covariates, cox, evaluation, follow_up, training_risks
from .reference import arm_risks, gene_activity, slide_distances, slide_moments, slide_shape
from .rehearsal import rehearse
from .signature import feature_signature
from .site import Site

Answer: TypeAlias = Callable[[Site, StatisticsAsk, Any], Sums]


def _gene_values(site: Site, _ask: StatisticsAsk, question: GeneValues) -> Sums:
    return gene_value_sums(_genes_of(site), least=site.least, grid=question.grid)


def _gene_classes(site: Site, _ask: StatisticsAsk, question: GeneClasses) -> Sums:
    genes, cases = _genes_of(site), site.cohort().cases
    outcomes = [case.outcome for case in cases if case.can_train and case.outcome]
    return class_sums(genes, outcomes, question.scaling, site.study, least=site.least)


def _genes_of(site: Site) -> NDArray[np.float32]:
    genes = site.cohort().training_genes
    if genes is None:
        raise GenesError("asked for gene sums, but site.yaml names no gene table")
    return genes


ANSWERS: Mapping[str, Answer] = {
    CohortTable.topic: cohort_table,
    Rehearsal.topic: rehearse,
    FeatureSignature.topic: feature_signature,
    GeneValues.topic: _gene_values,
    GeneClasses.topic: _gene_classes,
    FollowUp.topic: follow_up,
    TrainingRisks.topic: training_risks,
    CoxMoments.topic: covariates,
    CoxStep.topic: cox,
    Evaluation.topic: evaluation,
    SlideMoments.topic: slide_moments,
    SlideShape.topic: slide_shape,
    SlideDistances.topic: slide_distances,
    GeneActivity.topic: gene_activity,
    ArmRisks.topic: arm_risks,
}


def sums_for(site: Site, ask: StatisticsAsk) -> Sums:
    """This hospital's sums.

    Raises:
        ProtocolError: not a question of ours.
    """
    question = question_of(ask.topic, ask.question, site.study)
    if ask.topic not in ANSWERS:
        raise ProtocolError(f"no answer about {ask.topic}")
    return ANSWERS[ask.topic](site, ask, question)
