"""Asking hospitals for sums: one question to several, each answer read and kept. No Flower here."""

from collections.abc import Iterable

from ghanet_model.protocol import StatisticsAsk
from ghanet_model.question import Question as Topic
from ghanet_model.question import Sums, text_of
from ghanet_model.wire import STATISTICS

from .gate import most_bytes_of, read_sums
from .intake import Answers, Question, ask_all
from .roster import Member
from .run import Run


def ask_sums(run: Run, topic: Topic, members: Iterable[Member]) -> Answers[Sums]:
    """Ask hospitals for sums.

    Args:
        run: the run.
        topic: what to ask.
        members: whom.
    """
    asked = {member.name: member for member in members}
    ask = StatisticsAsk(run.study.digest, topic.topic, text_of(topic)).to_record()
    question = Question(STATISTICS, dict.fromkeys(asked, ask), most=most_bytes_of(topic, run.study))
    return ask_all(
        run, question, lambda name, record: read_sums(record, asked[name], topic, run.study)
    )
