"""The gate: what leaves a hospital is what was asked for, over enough cases, and in the ledger."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from local import edit
from support import write_site

import client.ledger
import client.trainer
from client.answers import answer, open_site
from client.check import check_site
from client.frames import Frame
from client.ledger import ledger_path, verify_site_ledger
from client.memory import Memory
from client.policy import Policy
from client.preview import next_questions
from client.trainer import answer_frame
from ghanet_model.errors import SettingsError
from ghanet_model.files import sha256
from ghanet_model.ledger import REFUSED, SENT, Line, read_ledger
from ghanet_model.network import DECODERS
from ghanet_model.protocol import DeliveryAsk, DeliveryReply, RoundAsk, RoundReply
from ghanet_model.record import Record
from ghanet_model.wire import DELIVERY, ERROR, ROUND, STATISTICS

CANARY = "CANARY7Q2XK9"


class Hospital:
    """One hospital, what it was asked, and the answers that it makes of that."""

    def __init__(self, home: Path, **settings: object) -> None:
        self.home = write_site(home, **settings)
        site = open_site(self.home)
        self.asked = {one.kind: one.asked for one in next_questions(site)}
        self.made = {kind: answer(site, kind, asked) for kind, asked in self.asked.items()}

    def send(self, kind: str) -> Frame:
        """Ask, as the trainer is asked."""
        asked = self.asked[kind]
        return answer_frame(Frame(kind, asked.values, asked.packed()), self.home, Memory())

    def ask_round(self, **changes: object) -> None:
        """Another question about the same weights."""
        asked = replace(RoundAsk.from_record(self.asked[ROUND]), **changes)
        self.asked[ROUND] = asked.to_record()

    @property
    def lines(self) -> list[Line]:
        """What its ledger says of answers."""
        lines = read_ledger(ledger_path(self.home))
        return [line for line in lines if line.what in (SENT, REFUSED)]


@pytest.fixture(scope="module")
def hospital(tmp_path_factory: pytest.TempPathFactory) -> Hospital:
    """20 cases to train on, 10 held out; shared, because only its ledger changes."""
    return Hospital(tmp_path_factory.mktemp("site") / "home")


@pytest.fixture
def fresh(tmp_path: Path) -> Hospital:
    """One whose settings may change."""
    return Hospital(tmp_path / "home")


def values(**changes: object) -> Callable[[Record], Record]:
    """Some values changed or added, ``None`` takes one out; '__' stands for a point."""
    named = {name.replace("__", "."): value for name, value in changes.items()}

    def change(record: Record) -> Record:
        found = {**record.values, **named}
        return Record({k: v for k, v in found.items() if v is not None}, record.arrays)

    return change


def arrays(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Record], Record]:
    """One array changed or added."""

    def changed(record: Record) -> Record:
        array = record.arrays.get(name, np.zeros(3, np.float32))
        return Record(record.values, {**record.arrays, name: change(array)})

    return changed


def first(value: float) -> Callable[[np.ndarray], np.ndarray]:
    """An array with another first value."""

    def change(array: np.ndarray) -> np.ndarray:
        found = array.copy()
        found.flat[0] = value
        return found

    return change


def without(prefix: str) -> Callable[[Record], Record]:
    """Arrays taken out."""
    return lambda record: Record(
        record.values, {k: a for k, a in record.arrays.items() if not k.startswith(prefix)}
    )


def nine_of_a_column(record: Record) -> Record:
    """Sums of a column that 9 cases have."""
    changed = {name: a.copy() for name, a in record.arrays.items()}
    for name, value in {"count": 9, "total": 1, "squares": 1, "sites": 1, "trees": 0}.items():
        changed[name][3] = value
    changed["trees"][3, 0] = 9
    return Record(record.values, changed)


HEAD = "survival.head.weight"
NINE = {"evaluation__cases": 9.0, "evaluation__risk": -6.0}
SPOILT = {
    "an extra field": (ROUND, values(note=CANARY), "names of values"),
    "a missing field": (ROUND, values(loss=None), "names of values"),
    "sums not asked for": (ROUND, values(training_risk__cases=20.0), "names of values"),
    "a count as text": (ROUND, values(cases="20"), "types of values"),
    "a count as fraction": (ROUND, values(gene_cases=20.0), "types of values"),
    "a free text": (ROUND, values(withheld=CANARY), "texts"),
    "another base": (ROUND, values(base=CANARY), "texts"),
    "another round": (ROUND, values(number=2), "round"),
    "an extra array": (ROUND, arrays(CANARY, lambda a: a), "names of arrays"),
    "a missing array": (ROUND, without(HEAD), "names of arrays"),
    "a branch left out": (ROUND, without(DECODERS), "names of arrays"),
    "a wrong dtype": (ROUND, arrays(HEAD, lambda a: a.astype(np.float64)), "arrays"),
    "a wrong shape": (ROUND, arrays(HEAD, lambda a: a.T.copy()), "arrays"),
    "a NaN": (ROUND, arrays(HEAD, first(np.nan)), "weights"),
    "an inf": (ROUND, arrays(HEAD, first(np.inf)), "weights"),
    "a weight too far": (ROUND, arrays(HEAD, first(2.0)), "weights"),
    "a loss of NaN": (ROUND, values(loss=float("nan")), "numbers"),
    "an inf among sums": (ROUND, values(evaluation__nll=float("inf")), "numbers"),
    "impossible sums": (ROUND, values(evaluation__comparable=46.0), "numbers"),
    "more events than cases": (ROUND, values(events=21), "numbers"),
    "too many bytes": (ROUND, values(cases=10**3000), "size"),
    "9 events": (ROUND, values(events=9), "small cells"),
    "9 survivors": (ROUND, values(events=11), "small cells"),
    "3 held-out events": (
        ROUND,
        values(evaluation__events=3.0, evaluation__untold_events=0.0),
        "small cells",
    ),
    "9 cases": (ROUND, values(cases=9, gene_cases=9), "class sums"),
    "9 cases with genes": (ROUND, values(gene_cases=9), "class sums"),
    "9 held-out cases": (ROUND, values(**NINE), "minimum cohort"),
    "a gene of 9 cases": (STATISTICS, nine_of_a_column, "small cells"),
    "a gene sum of NaN": (STATISTICS, arrays("total", first(np.nan)), "numbers"),
    "gene sums in float32": (STATISTICS, arrays("count", np.float32), "arrays"),
    "gene sums and a text": (STATISTICS, values(note=CANARY), "names of values"),
    "gene sums and an array": (STATISTICS, arrays(CANARY, lambda a: a), "names of arrays"),
    "one gene sum more": (STATISTICS, arrays("count", lambda a: np.append(a, 20.0)), "arrays"),
}


@pytest.mark.parametrize("name", SPOILT)
def test_what_is_not_as_agreed_stays_here(
    name: str, hospital: Hospital, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the code leaves; the ledger has one line more, with the rule and no value."""
    kind, spoil, rule = SPOILT[name]
    monkeypatch.setattr(client.trainer, "answer", lambda *_: spoil(hospital.made[kind]))
    before = len(hospital.lines)
    answered = hospital.send(kind)
    assert (dict(answered.values), answered.arrays.size) == ({ERROR: "gate"}, 0)
    (line,) = hospital.lines[before:]
    assert (line.what, line.facts["kind"], line.facts["code"]) == (REFUSED, kind, "gate")
    assert line.facts["reason"].startswith(f"{rule}:")
    assert CANARY not in str(line.facts)


@pytest.mark.parametrize("kind", [ROUND, STATISTICS])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_real_answer_leaves_with_its_line(tmp_path: Path, kind: str, precision: str) -> None:
    """The line's digest and size are what the coordinator computes of what arrives."""
    own = Hospital(tmp_path / "home", exchange_precision=precision)
    answered = own.send(kind)
    arrived = Record.unpack(json.loads(json.dumps(dict(answered.values))), answered.arrays)
    (line,) = own.lines
    assert (line.what, line.facts["kind"], line.facts["round"]) == (SENT, kind, kind == ROUND)
    assert (line.facts["digest"], line.facts["bytes"]) == (arrived.digest, arrived.size)
    assert line.facts["cases"] == 20
    assert (line.facts["norm"] > 0) == (kind == ROUND)
    assert own.asked[ROUND].values["study"].startswith(line.facts["study"])
    assert len(verify_site_ledger(own.home)) == len(read_ledger(ledger_path(own.home)))


@pytest.mark.parametrize(
    "changes",
    [{"genes": False}, {"train": False, "genes": False}, {"train": False, "training_risk": True}],
    ids=["without genes", "evaluation", "final evaluation"],
)
def test_every_question_of_a_round_has_an_answer_that_leaves(
    fresh: Hospital, changes: dict[str, bool]
) -> None:
    """Fewer branches, or no weights at all: what was asked for, and no more."""
    fresh.ask_round(**changes)
    answered = fresh.send(ROUND)
    reply = RoundReply.from_record(Record.unpack(answered.values, answered.arrays))
    assert (reply.cases > 0) == changes.get("train", True)
    assert not any(name.startswith(DECODERS) for name in reply.update)
    assert fresh.lines[-1].what == SENT


def test_small_cells_are_suppressed_before_the_gate(hospital: Hospital) -> None:
    """Of 20 cases with few deaths or survivors the number is untold, of 10 held out always."""
    reply = RoundReply.from_record(hospital.made[ROUND])
    outcomes = [c.outcome for c in open_site(hospital.home).cohort().cases if c.can_train]
    events = sum(outcome.event for outcome in outcomes)
    assert events not in (0, 10, 20)
    assert reply.events is None
    assert (reply.evaluation.events, reply.evaluation.untold_events) == (0, 1)


def test_a_hospital_may_tell_small_cells_if_it_says_so(fresh: Hospital) -> None:
    """Its site.yaml is the only place for that; the study's minimum still holds for sums."""
    edit(fresh.home / "site.yaml", {"policy": {"minimum_cases": 1}})
    answered = fresh.send(ROUND)
    assert answered.values["events"] > 0
    assert answered.values["evaluation.untold_events"] == 0


def test_a_lax_policy_is_said_by_check(fresh: Hospital) -> None:
    """The usual limits need no word."""
    assert not any("fewer than the usual" in one for one in check_site(fresh.home).understood)
    edit(fresh.home / "site.yaml", {"policy": {"minimum_cases": 9}})
    assert any(
        "over 9 cases, fewer than the usual 10" in o for o in check_site(fresh.home).understood
    )


@pytest.mark.parametrize("key", ["minimum_cases", "answers_per_day", "megabytes_per_day"])
def test_a_limit_of_nothing_is_a_mistake(key: str) -> None:
    """Whoever wants to send nothing does not start."""
    with pytest.raises(SettingsError, match=key):
        Policy(**{key: 0})


def test_a_hospital_may_be_stricter_than_the_study(fresh: Hospital) -> None:
    """10 held-out cases are too few for it, 20 to train on are not."""
    edit(fresh.home / "site.yaml", {"policy": {"minimum_cases": 15}})
    answered = fresh.send(ROUND)
    assert (answered.values["withheld"], answered.values["cases"]) == ("few_cases", 20)
    edit(fresh.home / "site.yaml", {"policy": {"minimum_cases": 21}})
    assert fresh.send(ROUND).values == {ERROR: "cohort"}
    assert not np.frombuffer(fresh.send(STATISTICS).arrays, np.uint8)[-384:].any()


@pytest.mark.parametrize(
    ("kind", "policy", "leave"),
    [(STATISTICS, {"answers_per_day": 2}, 2), (ROUND, {"megabytes_per_day": 1}, 1)],
    ids=["answers", "megabytes"],
)
def test_too_many_in_a_day_stay_here(
    fresh: Hospital, kind: str, policy: dict[str, int], leave: int
) -> None:
    """As many leave as the hospital allows, or half megabytes; the next do not."""
    edit(fresh.home / "site.yaml", {"policy": policy})
    codes = [fresh.send(kind).values.get(ERROR) for _ in range(leave + 2)]
    assert codes == [None] * leave + ["gate"] * 2
    assert fresh.lines[-1].facts["reason"].startswith("rate: ")


def test_answers_of_another_kind_or_day_do_not_count(
    fresh: Hospital, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The limit is of each kind, and of the last 24 hours."""
    edit(fresh.home / "site.yaml", {"policy": {"answers_per_day": 1}})
    codes = [fresh.send(kind).values.get(ERROR) for kind in (STATISTICS, ROUND, STATISTICS)]
    assert codes == [None, None, "gate"]
    monkeypatch.setattr(client.ledger, "DAY", timedelta(hours=-1))
    assert ERROR not in fresh.send(STATISTICS).values


@pytest.mark.parametrize("fault", ["a folder in its place", "damaged", "a file as its folder"])
def test_without_a_ledger_nothing_leaves(fresh: Hospital, fault: str) -> None:
    """An answer that cannot be written down is not sent."""
    path = ledger_path(fresh.home)
    if fault == "damaged":
        path.write_bytes(path.read_bytes()[:-3] + b"x}\n")
    else:
        path.unlink()
        path.with_suffix(".head").unlink()
    if fault == "a folder in its place":
        path.mkdir()
    if fault == "a file as its folder":
        path.parent.rmdir()
        path.parent.write_text("")
    answered = fresh.send(STATISTICS)
    assert (dict(answered.values), answered.arrays.size) == ({ERROR: "ledger"}, 0)


def test_what_nobody_waits_for_has_no_line(fresh: Hospital) -> None:
    """The app is gone when the answer is ready: nothing was sent, and nothing is said of it."""
    asked = fresh.asked[STATISTICS]

    def gone() -> None:
        raise ConnectionAbortedError

    with pytest.raises(ConnectionAbortedError):
        answer_frame(
            Frame(STATISTICS, asked.values, asked.packed()),
            fresh.home,
            Memory(),
            require_wanted=gone,
        )
    assert fresh.lines == []


@pytest.mark.parametrize("kind", [ROUND, f"{CANARY}\n"])
def test_every_refusal_has_its_line(fresh: Hospital, kind: str) -> None:
    """Also one that the gate has no part in; it holds a code and none of the asker's words."""
    answered = answer_frame(Frame(kind, {"study": CANARY}), fresh.home, Memory())
    (line,) = fresh.lines
    assert line.what == REFUSED
    assert answered.values == {ERROR: line.facts["code"]}
    assert CANARY not in str(line.facts)


def test_a_delivery_is_answered_by_its_digest_only(
    hospital: Hospital, monkeypatch: pytest.MonkeyPatch
) -> None:
    """64 other digits are a text that nobody asked for."""
    hospital.asked[DELIVERY] = DeliveryAsk("0" * 64, "first", b"release").to_record()
    codes = []
    for text in ("f" * 64, sha256(b"release")):
        reply = DeliveryReply(text).to_record()
        monkeypatch.setattr(client.trainer, "answer", lambda *_, reply=reply: reply)
        codes.append(hospital.send(DELIVERY).values.get(ERROR))
    assert codes == ["gate", None]


def test_no_case_is_in_the_ledger(hospital: Hospital) -> None:
    """Neither ids nor slides, whatever was refused."""
    text = ledger_path(hospital.home).read_text()
    cohort = open_site(hospital.home).cohort()
    assert not any(case.case_id in text for case in cohort.cases)
