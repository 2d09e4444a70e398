"""The messages between coordinator and hospitals: every key once, checked on arrival. No Flower.

A ``Record`` is what travels: named scalars and named arrays. Each message class turns itself into
a Record and back; a Record from outside is trusted only after that.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .change import Change
from .errors import ProtocolError
from .metrics import EvaluationSums
from .question import Question, Sums
from .record import LARGEST, Record
from .study import StudyConfig
from .sums import sums_of, values_of
from .weights import Arrays, Update
from .wire import FEW_CASES, RECALL, RELEASE

SUMS = ("evaluation", "training_risk", "validation")  # of a round


@dataclass(frozen=True, slots=True)
class StatisticsAsk:
    """Coordinator asks a site for sums; about a model, for sums over what it predicts."""

    study: str  # digest
    topic: str
    question: str  # JSON, see ``topics``
    base: str = ""  # fingerprint of the weights that it is about; "": about none
    panel: str = ""  # GenePanel as JSON, the shape of a model
    weights: Arrays = field(default_factory=dict)  # whole, or nothing

    def to_record(self) -> Record:
        """For the wire."""
        keys = ("study", "topic", "question", "base", "panel")
        return Record({key: getattr(self, key) for key in keys}, self.weights)

    @classmethod
    def from_record(cls, record: Record) -> "StatisticsAsk":
        """From the wire; question and arrays are checked against study and model later."""
        keys = ("study", "topic", "question", "base", "panel")
        return cls(**{key: record.text(key) for key in keys}, weights=_arrays_of(record))


@dataclass(frozen=True, slots=True)
class StatisticsReply:
    """A site's sums, arrays of fixed shape that add."""

    topic: str
    sums: Sums

    def to_record(self) -> Record:
        """For the wire."""
        arrays = {name: np.asarray(array, np.float64) for name, array in self.sums.items()}
        return Record({"topic": self.topic}, arrays)

    @classmethod
    def from_record(
        cls, record: Record, question: Question, study: StudyConfig
    ) -> "StatisticsReply":
        """From the wire: an answer to this question, with sums that a cohort can have."""
        shapes, arrays = question.shapes(study), _arrays_of(record)
        if record.text("topic") != question.topic or set(arrays) != set(shapes):
            raise ProtocolError(f"message is no answer about {question.topic}")
        for name, shape in shapes.items():
            if arrays[name].dtype != np.float64 or arrays[name].shape != shape:
                raise ProtocolError(f"message has '{name}' of another type or shape")
            if not np.isfinite(arrays[name]).all() or np.abs(arrays[name]).max(initial=0) > LARGEST:
                raise ProtocolError(f"message has '{name}' that is not finite or too large")
        question.require_possible(arrays, study)
        return cls(question.topic, arrays)


@dataclass(frozen=True, slots=True)
class RoundAsk:
    """Coordinator asks a site to evaluate the weights ``base`` and, if told so, to train from them.

    They travel whole, or as the change from weights that the site holds, or not at all: those of
    round 1 follow from the study's seed, and a site that is asked again has them.
    """

    study: str  # digest
    number: int  # of the round, from 1; rounds + 1 is the evaluation of the final model
    train: bool
    genes: bool  # train the gene decoders too
    training_risk: bool  # also sum the risk of training cases, for the cut-offs of risk groups
    panel: str  # GenePanel as JSON
    base: str  # fingerprint of the weights
    weights: Arrays = field(default_factory=dict)  # whole, or nothing
    before: str = ""  # fingerprint of the weights that ``change`` is added to
    change: Change = field(default_factory=dict)

    def to_record(self) -> Record:
        """For the wire."""
        keys = ("study", "number", "train", "genes", "training_risk", "panel", "base", "before")
        values = {key: getattr(self, key) for key in keys}
        return Record(values, self.change if self.before else self.weights)

    @classmethod
    def from_record(cls, record: Record) -> "RoundAsk":
        """From the wire; the arrays are checked against the model later."""
        before = record.text("before")
        arrays = _arrays_of(record)
        return cls(
            study=record.text("study"),
            number=record.whole("number"),
            train=record.flag("train"),
            genes=record.flag("genes"),
            training_risk=record.flag("training_risk"),
            panel=record.text("panel"),
            base=record.text("base"),
            weights={} if before else arrays,
            before=before,
            change=arrays if before else {},
        )


@dataclass(frozen=True, slots=True)
class RoundReply:
    """A site's answer: additive evaluation sums and, if it trained, its update.

    In float32 an update travels as the weights after training; the server takes their difference
    from the base in float64, so that one hospital's federation is exactly its own training. In
    bfloat16 it travels as its change from the base.
    """

    number: int
    base: str  # fingerprint of the weights it started from
    cases: int  # trained on; 0 where the site did not train
    events: int | None  # of these; None: a small cell, not told
    gene_cases: int  # of these, with genes; 0: the update has no gene decoders
    loss: float  # mean training loss of the last epoch, 0 where not trained
    seconds: float
    evaluation: EvaluationSums | None  # of the incoming weights; None: withheld or no cases
    training_risk: EvaluationSums | None
    validation: EvaluationSums | None = None  # of the incoming weights, to choose a round by
    withheld: str = ""  # why the evaluation is absent: FEW_CASES or nothing
    update: Update = field(default_factory=dict)  # of the branches that were trained

    def to_record(self) -> Record:
        """For the wire."""
        keys = ("number", "base", "cases", "events", "gene_cases", "loss", "seconds", "withheld")
        values = {key: getattr(self, key) for key in keys if getattr(self, key) is not None}
        for name in SUMS:
            values |= values_of(name, getattr(self, name))
        return Record(values, self.update)

    @classmethod
    def from_record(cls, record: Record) -> "RoundReply":
        """From the wire; the update is checked against the model later."""
        cases = record.whole("cases")
        if bool(cases) != bool(record.arrays):
            raise ProtocolError("message has an update without cases, or cases without an update")
        told = "events" in record.values or not cases
        return cls(
            number=record.whole("number"),
            base=record.text("base"),
            cases=cases,
            events=record.whole("events") if told else None,
            gene_cases=record.whole("gene_cases"),
            loss=record.number("loss"),
            seconds=record.number("seconds"),
            evaluation=sums_of("evaluation", record),
            training_risk=sums_of("training_risk", record),
            validation=sums_of("validation", record),
            withheld=_withheld(record.text("withheld")),
            update=_arrays_of(record),
        )


@dataclass(frozen=True, slots=True)
class DeliveryAsk:
    """Coordinator hands a signed release, or the notice that recalls one, to a site's inbox."""

    study: str
    name: str  # of the release
    content: bytes
    what: str = RELEASE  # or RECALL

    def to_record(self) -> Record:
        """For the wire: bytes as an array, because Flower sends arrays in chunks."""
        content = np.frombuffer(self.content, np.uint8)
        values = {"study": self.study, "name": self.name, "what": self.what}
        return Record(values, {"content": content})

    @classmethod
    def from_record(cls, record: Record) -> "DeliveryAsk":
        """From the wire."""
        content, what = record.array("content", np.uint8).tobytes(), record.text("what")
        if what not in (RELEASE, RECALL):
            raise ProtocolError("message delivers neither a release nor a recall")
        return cls(record.text("study"), record.text("name"), content, what)


@dataclass(frozen=True, slots=True)
class DeliveryReply:
    """A site's receipt: the digest of what now lies in its inbox."""

    sha256: str

    def to_record(self) -> Record:
        """For the wire."""
        return Record({"sha256": self.sha256})

    @classmethod
    def from_record(cls, record: Record) -> "DeliveryReply":
        """From the wire."""
        return cls(record.text("sha256"))


def _arrays_of(record: Record) -> dict[str, Any]:
    """All arrays of a record, of any shape and type; who uses them looks at both."""
    return {name: np.asarray(array) for name, array in record.arrays.items()}


def _withheld(code: str) -> str:
    """Why a sum is absent: one of our words or nothing, never a text of the other side."""
    if code not in ("", FEW_CASES):
        raise ProtocolError("message withholds a sum for an unknown reason")
    return code
