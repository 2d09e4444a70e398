"""The protocol: every message survives the wire, and nothing from outside is taken on trust."""

import json
from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_genes import make_study

from ghanet_model.errors import GHANetError, ProtocolError, RefusedError
from ghanet_model.gene_values import GeneValues, gene_value_sums
from ghanet_model.metrics import Concordance, EvaluationSums
from ghanet_model.protocol import (
    DeliveryAsk,
    DeliveryReply,
    RoundAsk,
    RoundReply,
    StatisticsAsk,
    StatisticsReply,
)
from ghanet_model.question import text_of
from ghanet_model.record import Record
from ghanet_model.wire import ERROR, RECALL

WEIGHTS = {"a.weight": np.ones((2, 3), np.float32), "b": np.zeros(1, np.float32)}
SUMS = EvaluationSums(
    cases=5,
    events=3,
    nll=2.5,
    risk=-6.5,
    risk_squared=9.75,
    concordance=Concordance(concordant=4, discordant=2, tied_risk=1, comparable=7),
)
STUDY = make_study(groups=(("one", ("A", "B", "C")),), gene_types=("rnaseq",))
TABLE = np.random.default_rng(0).normal(size=(12, 3))
REPLY = RoundReply(
    number=2,
    base="f" * 64,
    cases=20,
    events=9,
    gene_cases=12,
    loss=1.25,
    seconds=3.5,
    evaluation=SUMS,
    training_risk=None,
    withheld="few_cases",
    update=WEIGHTS,
)
ROLE = {"train": True, "genes": False, "training_risk": True}
ASK = RoundAsk("0" * 64, 3, **ROLE, panel="{}", base="1" * 64, weights=WEIGHTS)
WORDS = {name: array.astype(np.uint16) for name, array in WEIGHTS.items()}
MESSAGES = [
    StatisticsAsk("0" * 64, GeneValues.topic, text_of(GeneValues())),
    StatisticsAsk("0" * 64, "evaluation", "{}", base="1" * 64, panel="{}", weights=WEIGHTS),
    StatisticsReply(GeneValues.topic, gene_value_sums(TABLE, least=10)),
    ASK,
    REPLY,
    replace(REPLY, events=None, evaluation=replace(SUMS, events=0, untold_events=1)),
    replace(REPLY, cases=0, gene_cases=0, events=0, evaluation=None, training_risk=SUMS, update={}),
    replace(ASK, weights={}),
    replace(ASK, weights={}, before="2" * 64, change=WORDS),
    replace(REPLY, update=WORDS),
    DeliveryAsk("0" * 64, "first-study", bytes(range(256))),
    DeliveryAsk("0" * 64, "first-study", b""),
    DeliveryAsk("0" * 64, "first-study", b"{}", RECALL),
    DeliveryReply("1" * 64),
]


def read(kind, record: Record):
    """A message from a record."""
    if kind is StatisticsReply:
        return kind.from_record(record, GeneValues(), STUDY)
    return kind.from_record(record)


def plain(value):
    """A message as something that compares, arrays as type, shape and bytes."""
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.shape, value.tobytes()
    if isinstance(value, dict):
        return {key: plain(v) for key, v in value.items()}
    if hasattr(value, "__dataclass_fields__"):
        return type(value), [plain(getattr(value, f.name)) for f in fields(value)]
    return value


def travel(record: Record) -> Record:
    """Over the wire and back."""
    return Record.unpack(json.loads(json.dumps(dict(record.values))), record.packed())


@pytest.mark.parametrize("message", MESSAGES, ids=lambda m: type(m).__name__)
def test_every_message_survives_the_wire(message):
    """What is sent is what arrives, to the bit."""
    assert plain(read(type(message), travel(message.to_record()))) == plain(message)


@pytest.mark.parametrize("message", MESSAGES, ids=lambda m: type(m).__name__)
def test_every_value_is_needed_and_of_its_type(message):
    """Without any one of its values, or with another type in its place, a message is refused."""
    record = message.to_record()
    for key, value in record.values.items():
        if key.endswith(".cases"):
            continue  # tells whether the sums are there at all
        untold = key == "events" and record.values["cases"]  # a count that may be left out
        others = [v for v in (True, 1, 1.5, "x") if type(v) is not type(value)]
        absent = [] if untold else [{k: v for k, v in record.values.items() if k != key}]
        for values in absent + [{**record.values, key: other} for other in others]:
            with pytest.raises(ProtocolError, match=key):
                read(type(message), Record(values, record.arrays))


@pytest.mark.parametrize("message", [MESSAGES[10]], ids=lambda m: type(m).__name__)
def test_every_vector_is_needed_and_of_its_type(message):
    """A vector that is absent, of another type or not one-dimensional is refused."""
    record = message.to_record()
    for key, array in record.arrays.items():
        others = [array.astype(np.float32), array[None], np.asarray(array).reshape(-1, 1)]
        for arrays in [{k: a for k, a in record.arrays.items() if k != key}] + [
            {**record.arrays, key: other} for other in others
        ]:
            with pytest.raises(ProtocolError, match=f"lacks '{key}'"):
                read(type(message), Record(record.values, arrays))


@pytest.mark.parametrize("key", ["number", "cases", "events", "gene_cases"])
def test_negative_counts_are_refused(key):
    """Nobody counts below zero."""
    record = REPLY.to_record()
    with pytest.raises(ProtocolError, match=f"negative '{key}'"):
        RoundReply.from_record(Record({**record.values, key: -1}, record.arrays))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("key", ["loss", "seconds", "evaluation.nll", "evaluation.cases"])
def test_numbers_that_are_not_finite_are_refused(key, value):
    """One NaN would spoil every sum that it is added to."""
    record = REPLY.to_record()
    with pytest.raises(ProtocolError, match=f"'{key}' that is not finite"):
        RoundReply.from_record(Record({**record.values, key: value}, record.arrays))


@pytest.mark.parametrize("cases", [0, 3])
def test_an_update_comes_with_its_cases(cases):
    """An update without cases, or cases without an update, is refused."""
    reply = replace(REPLY, cases=cases, update={} if cases else WEIGHTS)
    with pytest.raises(ProtocolError, match="update"):
        RoundReply.from_record(reply.to_record())


IMPOSSIBLE = [
    {"cases": 2.5},
    {"cases": -1.0},
    {"events": 6.0},
    {"nll": -0.1},
    {"risk_squared": -1.0},
    {"risk": -7.1},  # (sum of 5 risks)^2 <= 5 * 9.75
    {"concordant": 3.0},
    {"comparable": 8.0},
    {"concordant": 10.0, "comparable": 13.0},  # 5 cases have 10 pairs
    {"untold_events": 1.0},  # told and untold
    {"untold_events": 2.0, "events": 0.0},  # one hospital is one
    {"untold_events": 0.5, "events": 0.0},
]


@pytest.mark.parametrize("changes", IMPOSSIBLE, ids=str)
def test_evaluation_sums_that_no_cohort_can_have_are_refused(changes):
    """More events than cases, pairs that do not add up, a mean beyond its squares: refused."""
    record = REPLY.to_record()
    spoilt = {f"evaluation.{key}": value for key, value in changes.items()}
    with pytest.raises(ProtocolError, match="evaluation"):
        RoundReply.from_record(Record({**record.values, **spoilt}, record.arrays))


@given(
    risks=st.lists(st.floats(-4, 0, width=32), max_size=30),
    events=st.integers(0, 30),
    pairs=st.integers(0, 30),
)
@settings(max_examples=60, deadline=None)
def test_sums_of_a_real_cohort_are_taken(risks, events, pairs):
    """Sums over real cases arrive, whatever the rounding."""
    pairs = min(pairs, len(risks) * (len(risks) - 1) // 2)
    own = EvaluationSums(
        cases=len(risks),
        events=min(events, len(risks)),
        nll=1.0,
        risk=sum(risks),
        risk_squared=sum(r**2 for r in risks),
        concordance=Concordance(pairs, 0, 0, pairs),
    )
    reply = replace(REPLY, evaluation=own)
    assert RoundReply.from_record(travel(reply.to_record())).evaluation == own


@given(seed=st.integers(0, 2**32 - 1), cases=st.integers(0, 40), same=st.booleans())
@settings(max_examples=60, deadline=None)
def test_gene_sums_of_a_real_cohort_are_taken(seed, cases, same):
    """Gene sums of a real table arrive, also where a column is constant or not measured."""
    table = np.random.default_rng(seed).normal(size=(cases, 3), scale=3)
    table[:, 0], table[:, 1] = np.nan, table[:1, 1] if same and cases else table[:, 1]
    sums = gene_value_sums(table, least=10)
    record = travel(StatisticsReply(GeneValues.topic, sums).to_record())
    assert plain(read(StatisticsReply, record).sums) == plain(sums)


@pytest.mark.parametrize("columns", [0, 2, 4])
def test_sums_of_another_study_are_refused(columns):
    """A reply holds one sum per candidate column of this study."""
    table = np.random.default_rng(0).normal(size=(12, columns))
    reply = StatisticsReply(GeneValues.topic, gene_value_sums(table, least=10))
    with pytest.raises(ProtocolError, match="of another type or shape"):
        read(StatisticsReply, reply.to_record())


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e17])
def test_sums_that_are_no_numbers_are_refused(value):
    """They would make the sum of all hospitals none."""
    sums = {name: array.copy() for name, array in gene_value_sums(TABLE, least=10).items()}
    sums["total"][1] = value
    with pytest.raises(ProtocolError, match="not finite or too large"):
        read(StatisticsReply, StatisticsReply(GeneValues.topic, sums).to_record())


def test_an_answer_about_something_else_is_refused():
    """Its topic says so."""
    reply = StatisticsReply("follow-up", gene_value_sums(TABLE, least=10))
    with pytest.raises(ProtocolError, match="no answer about gene values"):
        read(StatisticsReply, reply.to_record())


@pytest.mark.parametrize(
    ("code", "wanted"),
    [("cohort", "cohort"), ("flower", "flower")]
    + [(c, "protocol") for c in ("a b", "x" * 40, "", "a\nb", "<b>", "été", "../x", "Patient")],
)
def test_an_error_is_a_code_and_no_text(code, wanted):
    """A refusal arrives as its code; what is no code of ours becomes 'protocol'."""
    with pytest.raises(RefusedError) as caught:
        Record.unpack({ERROR: code}, np.zeros(0, np.uint8))
    assert str(caught.value) == wanted


@pytest.mark.parametrize("blob", [np.zeros(9), np.zeros((3, 3), np.uint8), np.zeros(9, np.int8)])
def test_arrays_that_are_no_bytes_are_refused(blob):
    """The blob is one row of bytes."""
    with pytest.raises(ProtocolError, match="not safetensors"):
        Record.unpack({}, blob)


def read_if_good(kind, values: dict[str, object], blob: bytes):
    """A message, or None where it was refused; any error but ours fails the test."""
    try:
        return read(kind, Record.unpack(values, np.frombuffer(blob, np.uint8)))
    except GHANetError:
        return None


KEYS = st.sampled_from(sorted({k for m in MESSAGES for k in m.to_record().values})) | st.text()
EMPTY = st.just(Record({}).packed().tobytes())
SCALARS = st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.integers())


@given(values=st.dictionaries(KEYS | st.just(ERROR), SCALARS), blob=st.binary(max_size=64) | EMPTY)
@settings(max_examples=150, deadline=None)
def test_random_messages_raise_only_our_errors(values, blob):
    """Anything may arrive; a message is made of it or it is refused, with an error of ours."""
    for message in MESSAGES:
        found = read_if_good(type(message), values, blob)
        assert found is None or type(found) is type(message)


@given(
    message=st.sampled_from(MESSAGES),
    values=st.dictionaries(KEYS, SCALARS, max_size=2),
    data=st.data(),
)
@settings(max_examples=200, deadline=None)
def test_spoilt_messages_raise_only_our_errors(message, values, data):
    """A message with some values replaced and some bytes flipped is read or refused, no more."""
    record, blob = message.to_record(), bytearray(message.to_record().packed())
    for _ in range(data.draw(st.integers(0, 2))):
        blob[data.draw(st.integers(0, len(blob) - 1))] ^= data.draw(st.integers(1, 255))
    found = read_if_good(type(message), {**record.values, **values}, bytes(blob))
    assert found is None or type(found) is type(message)


def test_events_that_are_not_told_are_no_value_on_the_wire():
    """A small cell leaves no trace in the message, not even a zero."""
    assert "events" not in replace(REPLY, events=None).to_record().values


def test_a_text_in_place_of_a_code_is_refused():
    """Why a sum is withheld is one of our words; a hospital cannot put a text into reports."""
    record = replace(REPLY, withheld="[/bold] patient 7").to_record()
    with pytest.raises(ProtocolError, match="unknown reason"):
        RoundReply.from_record(record)
