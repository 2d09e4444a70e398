"""All topics that a hospital can be asked sums about."""

import json
from collections.abc import Mapping

from .cohort_table import CohortTable
from .cox_questions import CoxMoments, CoxStep
from .errors import ProtocolError
from .evaluation import Evaluation, FollowUp, TrainingRisks
from .gene_classes import GeneClasses
from .gene_values import GeneValues
from .noisy_questions import NoisyOutcomes, NoisyRisks
from .question import Question
from .rehearsal import Rehearsal
from .reliability import ArmRisks, GeneActivity
from .signature import FeatureSignature
from .slide_questions import SlideDistances, SlideMoments, SlideShape
from .study import StudyConfig

KINDS: tuple[type[Question], ...] = (
    CohortTable,
    Rehearsal,
    FeatureSignature,
    GeneValues,
    GeneClasses,
    FollowUp,
    TrainingRisks,
    CoxMoments,
    CoxStep,
    Evaluation,
    SlideMoments,
    SlideShape,
    SlideDistances,
    GeneActivity,
    ArmRisks,
    NoisyRisks,
    NoisyOutcomes,
)
PRIVATE = (NoisyRisks.topic, NoisyOutcomes.topic)  # all that a private study asks
TOPICS: Mapping[str, type[Question]] = {kind.topic: kind for kind in KINDS}


def question_of(topic: str, text: str, study: StudyConfig) -> Question:
    """The question that came as text.

    Raises:
        ProtocolError: no topic of ours, or not such a question.
    """
    kind = TOPICS.get(topic)
    if kind is None:
        raise ProtocolError(f"no topic '{topic[:40]}'")
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, Mapping):
        raise ProtocolError(f"question about {topic}: not a JSON object")
    return kind.from_json(value, study)
