"""All topics that a hospital can be asked sums about."""

import json
from collections.abc import Mapping

from .errors import ProtocolError
from .genes import GeneMoments
from .question import Question
from .study import StudyConfig

TOPICS: Mapping[str, type[Question]] = {kind.topic: kind for kind in (GeneMoments,)}


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
