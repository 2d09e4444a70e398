"""Asking hospitals for sums: one question to several, each answer read and kept. No Flower here."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from ghanet_model.protocol import StatisticsAsk
from ghanet_model.question import Question as Topic
from ghanet_model.question import Sums, text_of
from ghanet_model.record import Record
from ghanet_model.weights import Arrays
from ghanet_model.wire import STATISTICS

from .gate import most_bytes_of, read_sums
from .intake import Answers, Question, ask_all
from .roster import Member
from .run import Run


@dataclass(frozen=True, slots=True)
class Model:
    """The model that a question is about."""

    base: str  # fingerprint of its weights
    panel: str  # its gene panel as JSON
    weights: Arrays = field(repr=False)  # go to hospitals only that do not hold them


def ask_sums(
    run: Run, topic: Topic, members: Iterable[Member], *, model: Model | None = None
) -> Answers[Sums]:
    """Ask hospitals the same; see ``ask_each``."""
    asked = list(members)
    return ask_each(run, {member.name: topic for member in asked}, asked, model=model)


def ask_each(
    run: Run,
    topics: Mapping[str, Topic],
    members: Iterable[Member],
    *,
    model: Model | None = None,
) -> Answers[Sums]:
    """Ask hospitals for sums.

    Args:
        run: the run.
        topics: what to ask each, all of one topic.
        members: whom.
        model: that the questions are about, if about any.
    """
    asked = {member.name: member for member in members}
    if not asked:
        return Answers({}, {}, frozenset(), {})
    question = Question(
        STATISTICS,
        {name: _record(run, topics[name], model, whole=False) for name in asked},
        most=max(most_bytes_of(topics[name], run.study) for name in asked),
        whole=(lambda name: _record(run, topics[name], model, whole=True)) if model else None,
    )
    return ask_all(
        run, question, lambda name, record: read_sums(record, asked[name], topics[name], run.study)
    )


def _record(run: Run, topic: Topic, model: Model | None, *, whole: bool) -> Record:
    ask = StatisticsAsk(
        run.study.digest,
        topic.topic,
        text_of(topic),
        base=model.base if model else "",
        panel=model.panel if model else "",
        weights=model.weights if model and whole else {},
    )
    return ask.to_record()
