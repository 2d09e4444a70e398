"""What a round asks of hospitals. No Flower here."""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from ghanet_model.genes import GenePanel
from ghanet_model.protocol import RoundAsk, RoundReply
from ghanet_model.record import Record
from ghanet_model.study import BFLOAT16
from ghanet_model.weights import fingerprint_of
from ghanet_model.wire import ROUND

from .aggregate import change_between
from .checkpoint import Checkpoint, weights_before
from .gate import Expected
from .intake import REASONS, Answers, Question, ask_all, word_of
from .roster import Member
from .run import Run


def expected_of(run: Run, checkpoint: Checkpoint) -> Expected:
    """What an answer to the round after this checkpoint must look like."""
    weights = checkpoint.weights
    return Expected(checkpoint.number + 1, fingerprint_of(weights), weights, run.study)


def round_asks(
    run: Run, expected: Expected, members: Iterable[Member], panel: GenePanel, *, final: bool
) -> dict[str, RoundAsk]:
    """What a round asks of each hospital, as its role says, with whole weights."""
    text = json.dumps(panel.to_json())
    return {
        member.name: RoundAsk(
            study=run.study.digest,
            number=expected.number,
            train=member.trains and not final,
            genes=member.has_genes and not final,
            training_risk=member.trains and final,
            panel=text,
            base=expected.base,
            weights=expected.like,
        )
        for member in members
    }


def without_weights(
    run: Run, asks: Mapping[str, RoundAsk], checkpoint: Checkpoint
) -> dict[str, RoundAsk]:
    """The same with less to carry, where the study allows it: the change since the last round.

    Round 1 carries nothing, hospitals make the first weights from the study's seed. Who cannot
    follow says so and is asked again with whole weights.
    """
    if run.study.exchange_precision != BFLOAT16:
        return dict(asks)
    if checkpoint.number == 0:
        return {name: replace(ask, weights={}) for name, ask in asks.items()}
    before = weights_before(run.config.state / "checkpoints", checkpoint)
    change = None if before is None else change_between(before, checkpoint.weights)
    if before is None or change is None:
        return dict(asks)
    old = fingerprint_of(before)
    return {name: replace(ask, weights={}, before=old, change=change) for name, ask in asks.items()}


def ask_round(
    run: Run,
    checkpoint: Checkpoint,
    asks: Mapping[str, RoundAsk],
    expected: Expected,
    read: Callable[[str, Record], RoundReply],
) -> Answers[RoundReply]:
    """Ask a round of the hospitals that are there; the others of the roster are left out."""
    first = without_weights(run, asks, checkpoint)
    question = Question(
        ROUND,
        {name: ask.to_record() for name, ask in first.items()},
        most=expected.most_bytes,
        number=expected.number,
        whole=lambda name: asks[name].to_record(),
    )
    answers = ask_all(run, question, read)
    absent = {
        member.name: REASONS[word_of(member) or "offline"]
        for member in run.roster.members
        if member.name not in asks and (member.trains or not run.study.is_private)
    }
    return replace(answers, left_out=answers.left_out | absent)
