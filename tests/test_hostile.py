"""Hostile answers: each quarantines its hospital with a reason; the round is that of the others."""

import errno
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support import LocalExchange, join, make_consortium, make_run

import server.spool
from ghanet_model.errors import TrainingError
from ghanet_model.genes import GenePanel
from ghanet_model.ledger import QUARANTINED, RECEIVED
from ghanet_model.network import DECODERS
from ghanet_model.record import Record
from ghanet_model.wire import ROUND, STATISTICS
from server.checkpoint import Checkpoint
from server.finish import evaluate_final
from server.intake import QUARANTINE
from server.ledger import in_words, verified
from server.panel import fix_panel
from server.progress import read_progress
from server.report import report_of
from server.rounds import one_round, start_or_resume
from server.run import Run

Spoil = Callable[[Record], Record]
HOSTILE = "hospital-c"
GOOD = ("hospital-a", "hospital-b")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three hospitals train, the hostile one without genes; the panel is fixed."""
    root = tmp_path_factory.mktemp("consortium")
    make_consortium(root)
    join(root, HOSTILE, role="trains", genes=False)
    fix_panel(make_run(root))
    return root


@pytest.fixture
def consortium(made: Path, tmp_path: Path) -> Path:
    """A copy."""
    return Path(shutil.copytree(made, tmp_path / "copy", symlinks=True))


class Hostile(LocalExchange):
    """One hospital's answers are spoilt on their way."""

    def __init__(self, root: Path, spoil: Spoil, *, kind: str = ROUND, name: str = HOSTILE) -> None:
        super().__init__(root, [*GOOD, HOSTILE, "hospital-d"])
        self.spoil, self.kind, self.name = spoil, kind, name

    def tamper(self, kind: str, name: str, reply: Record) -> Record:
        """Spoil the answers of one hospital to one kind of question."""
        spoilt = kind == self.kind and name == self.name
        return self.spoil(reply) if spoilt else reply


def values(**changed: object) -> Spoil:
    """Other scalars."""
    return lambda reply: replace(reply, values={**reply.values, **changed})


def array(change: Callable[[np.ndarray], np.ndarray], name: str = "") -> Spoil:
    """Another array in place of one, the first if none is named."""

    def spoil(reply: Record) -> Record:
        chosen = name or min(reply.arrays)
        return replace(reply, arrays={**reply.arrays, chosen: change(reply.arrays[chosen])})

    return spoil


def at(value: float) -> Callable[[np.ndarray], np.ndarray]:
    """The same array with one other value."""

    def change(found: np.ndarray) -> np.ndarray:
        changed = found.copy()
        changed.flat[0] = value
        return changed

    return change


def missing(reply: Record) -> Record:
    """One array is not there."""
    return replace(reply, arrays=dict(list(reply.arrays.items())[1:]))


def extra(reply: Record) -> Record:
    """One array too many."""
    return replace(reply, arrays={**reply.arrays, "case": np.zeros(3, np.float32)})


def oversized(reply: Record) -> Record:
    """A hundred times what was asked for."""
    return replace(reply, arrays={**reply.arrays, "more": np.zeros(50_000_000, np.uint8)})


def decoders(reply: Record) -> Record:
    """Gene decoders of a hospital that was asked for none."""
    mine = {f"{DECODERS}0.weight": np.zeros(3, np.float32)}
    return replace(
        reply, values={**reply.values, "gene_cases": 20}, arrays={**reply.arrays, **mine}
    )


SPOILT: dict[str, tuple[Spoil, str]] = {
    "NaN": (array(at(np.nan)), "not finite"),
    "infinity": (array(at(np.inf)), "not finite"),
    "a huge step": (array(at(1e3)), "moved further than training can move them"),
    "a large number": (array(at(3e38)), "moved further than training can move them"),
    "another shape": (array(lambda a: a.reshape(-1)[:1]), "expected float32"),
    "another type": (array(lambda a: a.astype(np.float64)), "expected float32"),
    "an array missing": (missing, "weights lack"),
    "an array too many": (extra, "weights hold 'case', which the model does not have"),
    "another base": (values(base="0" * 64), "belongs to another round"),
    "a round to come": (values(number=2), "belongs to another round"),
    "oversized": (oversized, "larger than what was asked for"),
    "endless scalars": (values(**{f"x{i}": 1 for i in range(99)}), "larger than what was asked"),
    "an endless text": (values(withheld="x" * 9999), "larger than what was asked for"),
    "a million cases": (values(cases=10**6), "claims 1000010 cases; 30 were approved"),
    "a million held-out cases": (values(**{"evaluation.cases": 1e6}), "sums|claims"),
    "negative cases": (values(cases=-5), "'cases'"),
    "negative events": (values(events=-1), "'events'"),
    "more events than cases": (values(events=21), "update claims 20 cases"),
    "half a case": (values(cases=20.5), "lacks 'cases'"),
    "gene decoders unasked": (decoders, "gene decoders without being asked to"),
    "cases without weights": (lambda r: replace(r, arrays={}), "cases without an update"),
    "an unknown word": (values(withheld="because"), "unknown reason"),
    "a lie of being revoked": (lambda _: Record({"error": "revoked"}), "cannot be read"),
}


def train_one(root: Path, exchange: LocalExchange) -> tuple[Run, GenePanel, Checkpoint]:
    """One round of the study."""
    one = make_run(root, exchange)
    panel = fix_panel(one)
    return one, panel, one_round(one, start_or_resume(one, panel), panel)


@pytest.fixture(scope="module")
def of_the_others(made: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray]:
    """What the round gives without the hostile hospital."""
    root = tmp_path_factory.mktemp("others") / "copy"
    shutil.copytree(made, root, symlinks=True)

    class Two(LocalExchange):
        def _answer(self, kind, name, ask, blob):
            return "left" if name == HOSTILE else super()._answer(kind, name, ask, blob)

    return train_one(root, Two(root, [*GOOD, HOSTILE, "hospital-d"]))[2].weights


@pytest.mark.parametrize("what", SPOILT)
def test_a_hostile_answer_is_quarantined_and_the_round_is_that_of_the_others(
    consortium: Path, of_the_others: dict[str, np.ndarray], what: str
) -> None:
    """Through the real path; history, progress and ledger say whose answer and why."""
    spoil, reason = SPOILT[what]
    one, _, after = train_one(consortium, Hostile(consortium, spoil))
    site = next(s for s in after.history[0].sites if s.name == HOSTILE)
    assert site.left_out.startswith(QUARANTINE)
    assert re.search(reason, site.left_out)
    assert not site.trained
    assert site.evaluation is None
    assert all(np.array_equal(after.weights[n], a) for n, a in of_the_others.items())
    line = next(line for line in verified(one.config) if line.what == QUARANTINED)
    assert dict(line.facts) == {
        "site": HOSTILE,
        "kind": ROUND,
        "round": 1,
        "reason": site.left_out.removeprefix(QUARANTINE),
    }
    assert "quarantined" in in_words(line)
    assert read_progress(one.config.state).sites[HOSTILE] == f"left out: {site.left_out}"


def test_the_answer_of_the_last_round_is_not_taken_again(consortium: Path) -> None:
    """A replay is quarantined; the same hospital is asked again and trains in the next round."""
    kept: list[Record] = []

    def replay(reply: Record) -> Record:
        kept.append(reply)
        return kept[0] if len(kept) == 2 else reply

    one, panel, first = train_one(consortium, Hostile(consortium, replay))
    second = one_round(one, first, panel)
    third = one_round(one, second, panel)
    sites = [next(s for s in r.sites if s.name == HOSTILE) for r in third.history]
    assert [site.trained for site in sites] == [True, False, True]
    assert sites[1].left_out == f"{QUARANTINE}its answer belongs to another round"
    final = evaluate_final(one, third, panel)
    report = report_of(one.study, one.roster_now(), third, final)
    mine = next(site for site in report["sites"] if site["name"] == HOSTILE)
    assert mine["quarantined"] == {"2": "its answer belongs to another round"}
    assert mine["note"] == "quarantined in round 2"


def test_an_explicit_quorum_is_never_shrunk(tmp_path: Path) -> None:
    """With minimum_sites 3 a round of two is no round, whatever was wrong with the third."""
    make_consortium(tmp_path, minimum_sites=3)
    join(tmp_path, HOSTILE, role="trains", genes=False)
    with pytest.raises(TrainingError, match=r"round 1: 2 of 3 .*hospital-c: quarantined: .*finite"):
        train_one(tmp_path, Hostile(tmp_path, array(at(np.nan))))


def test_the_weights_of_one_hospital_are_never_the_mean_of_two(tmp_path: Path) -> None:
    """Of two that train, one quarantined ends the run: the other's weights would go to all."""
    make_consortium(tmp_path)
    spoil = Hostile(tmp_path, array(at(np.nan)), name="hospital-b")
    spoil.names.discard(HOSTILE)
    with pytest.raises(TrainingError, match="round 1: 1 of 2 hospitals answered"):
        train_one(tmp_path, spoil)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (array(at(1e6), "count"), "no cohort can have"),
        (array(at(np.nan), "total"), "not finite"),
        (array(lambda a: a[:-1], "squares"), "'squares' of another type or shape"),
        (oversized, "larger than what was asked for"),
    ],
)
def test_bad_gene_sums_end_the_run_before_it_trains(
    consortium: Path, spoil: Spoil, reason: str
) -> None:
    """The panel is fixed once and misses no hospital silently; the line says whose and why."""
    (consortium / "coordinator" / "state" / "panel.json").unlink()
    hostile = Hostile(consortium, spoil, kind=STATISTICS, name="hospital-b")
    with pytest.raises(TrainingError, match=f"statistics: 1 of 2 .*hospital-b: .*({reason})"):
        fix_panel(make_run(consortium, hostile))


def test_a_full_disk_is_the_servers_own_fault(
    consortium: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run ends with one line about the server; no hospital is quarantined for it."""

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "x")

    monkeypatch.setattr(server.spool, "write_atomic", full)
    everybody = LocalExchange(consortium, [*GOOD, HOSTILE, "hospital-d"])
    with pytest.raises(
        TrainingError, match=r"cannot be written on the server \(no space left"
    ) as e:
        train_one(consortium, everybody)
    assert "goes on from round 1" in e.value.hint
    assert QUARANTINED not in {line.what for line in verified(make_run(consortium).config)}


def test_an_unwritable_ledger_ends_the_run(consortium: Path) -> None:
    """No answer is used that is not in the ledger."""
    shutil.rmtree(consortium / "coordinator" / "ledger")
    (consortium / "coordinator" / "ledger").touch()
    with pytest.raises((OSError, TrainingError)):
        train_one(consortium, LocalExchange(consortium, [*GOOD, HOSTILE, "hospital-d"]))
    assert not (consortium / "coordinator" / "state" / "spool").exists()


def test_a_hospital_cannot_write_into_the_coordinators_terminal(consortium: Path) -> None:
    """What a hostile name brings is printed plain and short."""
    name = "\x1b[2J" + "x" * 500
    spoil = lambda r: replace(r, arrays={**r.arrays, name: np.zeros(1, np.float32)})  # noqa: E731
    *_, after = train_one(consortium, Hostile(consortium, spoil))
    site = next(s for s in after.history[0].sites if s.name == HOSTILE)
    assert site.left_out.isprintable()
    assert len(site.left_out) < 250


def test_every_good_answer_is_in_the_ledger_too(consortium: Path) -> None:
    """What arrived is written down before it is looked at, from everybody."""
    one, *_ = train_one(consortium, Hostile(consortium, array(at(np.nan))))
    rounds = [x.facts["site"] for x in verified(one.config) if x.what == RECEIVED][-4:]
    assert rounds == [*GOOD, HOSTILE, "hospital-d"]
