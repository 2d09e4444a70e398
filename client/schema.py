"""What an answer to one question may hold: exact names, types, shapes and sizes."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ghanet_model.errors import GateError
from ghanet_model.files import sha256
from ghanet_model.metrics import EvaluationSums
from ghanet_model.network import DECODERS
from ghanet_model.protocol import SUMS, DeliveryAsk, RoundAsk, StatisticsAsk
from ghanet_model.record import Record, Scalar
from ghanet_model.study import BFLOAT16, StudyConfig
from ghanet_model.sums import values_of
from ghanet_model.topics import question_of
from ghanet_model.weights import Arrays
from ghanet_model.wire import DELIVERY, FEW_CASES, STATISTICS

VALUES_BYTES, NAME_BYTES = 2048, 256  # of all scalars; of an array's name, type, shape and place

Form = tuple[np.dtype[Any], tuple[int, ...]]  # of an array: type and shape


@dataclass(frozen=True, slots=True)
class Schema:
    """All that one answer may hold, and must."""

    numbers: Mapping[str, type[Scalar]] = field(default_factory=dict)
    texts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # one of these words
    arrays: Mapping[str, Form] = field(default_factory=dict)

    @property
    def most_bytes(self) -> int:
        """Of the whole answer: what the arrays need, and names."""
        sizes = [dtype.itemsize * math.prod(shape) for dtype, shape in self.arrays.values()]
        return sum(sizes) + NAME_BYTES * (len(sizes) + 1) + VALUES_BYTES

    def require_size(self, record: Record, size: int) -> None:
        """Refuse more bytes of scalars, or of packed arrays (``size``), than are needed.

        Raises:
            GateError: the rule that it breaks.
        """
        if len(json.dumps(dict(record.values))) > VALUES_BYTES or size > self.most_bytes:
            raise GateError("size: more bytes than this answer needs")

    def require(self, record: Record) -> None:
        """Refuse a record that holds anything else.

        Raises:
            GateError: the rule that it breaks.
        """
        if set(record.values) != {*self.numbers, *self.texts}:
            raise GateError("names of values: more or fewer than this answer has")
        for name, kind in self.numbers.items():
            if type(record.values[name]) is not kind:
                raise GateError(f"types of values: '{name}' is of another type")
        for name, words in self.texts.items():
            if record.values[name] not in words:
                raise GateError(f"texts: '{name}' is none of the words that it may be")
        if set(record.arrays) != set(self.arrays):
            raise GateError("names of arrays: more or fewer than this answer has")
        for name, form in self.arrays.items():
            if (record.arrays[name].dtype, record.arrays[name].shape) != form:
                raise GateError(f"arrays: '{name}' is of another type or shape")


def schema_of(
    kind: str, asked: Record, record: Record, *, study: StudyConfig, base: Arrays | None
) -> Schema:
    """What the answer to a question may hold; which branches were trained, the answer says.

    Args:
        kind: of the question.
        asked: the question.
        record: the answer; only the presence of sums and its numbers of cases are looked at.
        study: what shapes follow from.
        base: the weights that a round started from, None where they are not held.

    Raises:
        GateError: an answer to no question of ours, or to more than was asked.
    """
    if kind == STATISTICS:
        ask = StatisticsAsk.from_record(asked)
        shapes = question_of(ask.topic, ask.question, study).shapes(study)
        forms = {name: (np.dtype(np.float64), shape) for name, shape in shapes.items()}
        return Schema(texts={"topic": (ask.topic,)}, arrays=forms)
    if kind == DELIVERY:
        digest = sha256(DeliveryAsk.from_record(asked).content)
        return Schema(texts={"sha256": (digest,)})
    return _round_schema(RoundAsk.from_record(asked), record, study, base)


def _round_schema(ask: RoundAsk, record: Record, study: StudyConfig, base: Arrays | None) -> Schema:
    if base is None:
        raise GateError("base: an answer about weights that are not held here")
    trained, decoders = bool(record.values.get("cases")), bool(record.values.get("gene_cases"))
    if (trained and not ask.train) or (decoders and not (ask.genes and trained)):
        raise GateError("training: more than was asked for")
    dtype = np.dtype(np.uint16 if study.exchange_precision == BFLOAT16 else np.float32)
    branches = {
        name: (dtype, array.shape)
        for name, array in base.items()
        if trained and (decoders or not name.startswith(DECODERS))
    }
    return Schema(
        numbers=_numbers(ask, record),
        texts={"base": (ask.base,), "withheld": ("", FEW_CASES)},
        arrays=branches,
    )


def _numbers(ask: RoundAsk, record: Record) -> dict[str, type[Scalar]]:
    """Names and types of a round's numbers, with the sums and the count that it may leave out."""
    found: dict[str, type[Scalar]] = {"number": int, "cases": int, "gene_cases": int}
    found |= {"loss": float, "seconds": float}
    if "events" in record.values or not record.values.get("cases"):
        found["events"] = int
    trains = ask.train or ask.training_risk
    allowed = {"evaluation": True, "training_risk": ask.training_risk, "validation": trains}
    for name in (name for name in SUMS if allowed[name]):
        if f"{name}.cases" in record.values:
            found |= dict.fromkeys(values_of(name, EvaluationSums()), float)
    return found
