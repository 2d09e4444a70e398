"""The messages between coordinator and hospitals: every key once, checked on arrival. No Flower.

A ``Record`` is what travels: named scalars and named arrays. Each message class turns itself into
a Record and back; a Record from outside is trusted only after that.
"""

import math
from dataclasses import asdict, dataclass, field

import numpy as np

from .errors import ProtocolError
from .genes import GeneSums
from .metrics import Concordance, EvaluationSums
from .record import Record, Scalar
from .weights import Arrays
from .wire import FEW_CASES

SLACK = 1 + 1e-9  # of rounding, in sums that are checked against each other


@dataclass(frozen=True, slots=True)
class StatisticsAsk:
    """Coordinator asks a site with genes for its sums over genes."""

    study: str  # digest

    def to_record(self) -> Record:
        """For the wire."""
        return Record({"study": self.study})

    @classmethod
    def from_record(cls, record: Record) -> "StatisticsAsk":
        """From the wire."""
        return cls(record.text("study"))


@dataclass(frozen=True, slots=True)
class StatisticsReply:
    """A site's sums over its training cases' genes; the sum over sites is all that is used."""

    sums: GeneSums

    def to_record(self) -> Record:
        """For the wire."""
        arrays = {
            "count": self.sums.count,
            "total": self.sums.total,
            "squares": self.sums.squares,
            "sites": self.sums.sites,
        }
        return Record({}, {key: np.asarray(a, np.float64) for key, a in arrays.items()})

    @classmethod
    def from_record(cls, record: Record, *, columns: int) -> "StatisticsReply":
        """From the wire; ``columns`` is how many candidate columns the study has."""
        count, total, squares, sites = (
            np.asarray(record.array(key, np.float64, columns), np.float64)
            for key in ("count", "total", "squares", "sites")
        )
        sums = GeneSums(count=count, total=total, squares=squares, sites=sites)
        if not _can_be(sums):
            raise ProtocolError("message has gene sums that no cohort can have")
        return cls(sums)


@dataclass(frozen=True, slots=True)
class RoundAsk:
    """Coordinator asks a site to evaluate these weights and, if told so, to train from them."""

    study: str  # digest
    number: int  # of the round, from 1; rounds + 1 is the evaluation of the final model
    train: bool
    genes: bool  # train the gene decoders too
    training_risk: bool  # also sum the risk of training cases, for the cut-offs of risk groups
    panel: str  # GenePanel as JSON
    weights: Arrays

    def to_record(self) -> Record:
        """For the wire."""
        keys = ("study", "number", "train", "genes", "training_risk", "panel")
        return Record({key: getattr(self, key) for key in keys}, self.weights)

    @classmethod
    def from_record(cls, record: Record) -> "RoundAsk":
        """From the wire; the weights are checked against the model later."""
        return cls(
            study=record.text("study"),
            number=record.whole("number"),
            train=record.flag("train"),
            genes=record.flag("genes"),
            training_risk=record.flag("training_risk"),
            panel=record.text("panel"),
            weights={name: np.asarray(a) for name, a in record.arrays.items()},
        )


@dataclass(frozen=True, slots=True)
class RoundReply:
    """A site's answer: additive evaluation sums and, if it trained, its update.

    An update travels as the weights after training; the server takes their difference from the
    base in float64, so that one hospital's federation is exactly its own training.
    """

    number: int
    base: str  # fingerprint of the weights it started from
    cases: int  # trained on; 0 where the site did not train
    events: int  # of these
    gene_cases: int  # of these, with genes; 0: the update has no gene decoders
    loss: float  # mean training loss of the last epoch, 0 where not trained
    seconds: float
    evaluation: EvaluationSums | None  # of the incoming weights; None: withheld or no cases
    training_risk: EvaluationSums | None
    withheld: str = ""  # why the evaluation is absent: FEW_CASES or nothing
    trained: Arrays = field(default_factory=dict)  # weights after training, of trained branches

    def to_record(self) -> Record:
        """For the wire."""
        keys = ("number", "base", "cases", "events", "gene_cases", "loss", "seconds", "withheld")
        values = {key: getattr(self, key) for key in keys}
        for name in ("evaluation", "training_risk"):
            values |= _values_of(name, getattr(self, name))
        return Record(values, self.trained)

    @classmethod
    def from_record(cls, record: Record) -> "RoundReply":
        """From the wire; the update is checked against the model later."""
        cases = record.whole("cases")
        if bool(cases) != bool(record.arrays):
            raise ProtocolError("message has an update without cases, or cases without an update")
        return cls(
            number=record.whole("number"),
            base=record.text("base"),
            cases=cases,
            events=record.whole("events"),
            gene_cases=record.whole("gene_cases"),
            loss=record.number("loss"),
            seconds=record.number("seconds"),
            evaluation=_sums_of("evaluation", record),
            training_risk=_sums_of("training_risk", record),
            withheld=_withheld(record.text("withheld")),
            trained={name: np.asarray(a) for name, a in record.arrays.items()},
        )


@dataclass(frozen=True, slots=True)
class DeliveryAsk:
    """Coordinator hands a signed release to a site's inbox."""

    study: str
    name: str
    content: bytes

    def to_record(self) -> Record:
        """For the wire: bytes as an array, because Flower sends arrays in chunks."""
        content = np.frombuffer(self.content, np.uint8)
        return Record({"study": self.study, "name": self.name}, {"content": content})

    @classmethod
    def from_record(cls, record: Record) -> "DeliveryAsk":
        """From the wire."""
        content = record.array("content", np.uint8).tobytes()
        return cls(record.text("study"), record.text("name"), content)


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


def _can_be(sums: GeneSums) -> bool:
    """Whether a cohort can have these sums: (sum v)^2 <= n sum v^2, and 0 where not measured."""
    count, total, squares, sites = sums.count, sums.total, sums.squares, sums.sites
    if (count < 0).any() or (count % 1).any() or (squares < 0).any():
        return False
    if not np.array_equal(sites, count > 0) or squares[count == 0].any():
        return False
    return bool((np.abs(total) <= np.sqrt(count) * np.sqrt(squares) * SLACK).all())


def _withheld(code: str) -> str:
    """Why a sum is absent: one of our words or nothing, never a text of the other side."""
    if code not in ("", FEW_CASES):
        raise ProtocolError("message withholds a sum for an unknown reason")
    return code


def _values_of(prefix: str, sums: EvaluationSums | None) -> dict[str, Scalar]:
    """Sums as scalars; nothing where there are none."""
    if sums is None:
        return {}
    flat = asdict(sums)
    flat |= flat.pop("concordance")
    return {f"{prefix}.{key}": float(value) for key, value in flat.items()}


def _sums_of(prefix: str, record: Record) -> EvaluationSums | None:
    """Sums from scalars; None where there are none."""
    if f"{prefix}.cases" not in record.values:
        return None

    def whole(key: str) -> int:
        number = record.number(f"{prefix}.{key}")
        if number < 0 or number != int(number):
            raise ProtocolError(f"message has '{prefix}.{key}' that is no count")
        return int(number)

    counts = ("concordant", "discordant", "tied_risk", "comparable")
    sums = EvaluationSums(
        cases=whole("cases"),
        events=whole("events"),
        nll=record.number(f"{prefix}.nll"),
        risk=record.number(f"{prefix}.risk"),
        risk_squared=record.number(f"{prefix}.risk_squared"),
        concordance=Concordance(**{key: whole(key) for key in counts}),
    )
    cases, pairs = sums.cases, sums.concordance
    if (
        sums.events > cases
        or sums.nll < 0
        or sums.risk_squared < 0
        or abs(sums.risk) > math.sqrt(cases) * math.sqrt(sums.risk_squared) * SLACK
        or pairs.concordant + pairs.discordant + pairs.tied_risk != pairs.comparable
        or pairs.comparable > cases * (cases - 1) // 2
    ):
        raise ProtocolError(f"message has sums in '{prefix}' that no cohort can have")
    return sums
