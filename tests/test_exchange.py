"""What travels in a round: in which order, how much, and what a hospital must hold for it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support import LocalExchange, make_consortium, make_run

from client.held import HELD_FILE, Held, incoming_weights
from ghanet_model.change import change_of, to_words
from ghanet_model.errors import BehindError, TrainingError, WeightsError
from ghanet_model.protocol import RoundAsk
from ghanet_model.weights import fingerprint_of
from server.checkpoint import Checkpoint, write_checkpoint
from server.finish import evaluate_final
from server.panel import fix_panel
from server.report import report_of
from server.rounds import one_round, start_or_resume, train_rounds
from server.run import Run
from server.spool import SPOOL, clear_spool, read_update, write_update

SITES = ("hospital-a", "hospital-b", "hospital-d")


@pytest.fixture
def halves(tmp_path: Path) -> Path:
    """A consortium that exchanges bfloat16 changes."""
    make_consortium(tmp_path, exchange_precision="bfloat16")
    return tmp_path


def rounds_of(one: Run) -> Checkpoint:
    """All rounds of a run."""
    return train_rounds(one, fix_panel(one))


def codes_of(checkpoint: Checkpoint) -> set[str]:
    """Why hospitals were left out in any round."""
    return {site.left_out for record in checkpoint.history for site in record.sites} - {""}


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_order_of_arrival_changes_no_bit(tmp_path: Path, precision: str) -> None:
    """Updates are summed in roster order, whoever answers first."""
    make_consortium(tmp_path, exchange_precision=precision)
    one = make_run(tmp_path)
    panel = fix_panel(one)
    start = start_or_resume(one, panel)
    other = make_run(tmp_path, LocalExchange(tmp_path, SITES, backwards=True))
    found = [one_round(run, start, panel) for run in (one, other)]
    assert [name for _, name in other.exchange.asked] == list(reversed(SITES))
    assert len({fingerprint_of(checkpoint.weights) for checkpoint in found}) == 1
    assert [[s.name for s in c.history[0].sites] for c in found] == [list(SITES)] * 2


def test_a_site_that_answers_twice_counts_once(tmp_path: Path) -> None:
    """A second update of a round takes the first one's place; other rounds are other files."""
    first, second = {"a": np.zeros(2, np.float32)}, {"a": np.ones(2, np.float32)}
    write_update(tmp_path, 1, "ana", first)
    write_update(tmp_path, 1, "ana", second)
    write_update(tmp_path, 2, "ana", first)
    assert np.array_equal(read_update(tmp_path, 1, "ana")["a"], second["a"])
    assert len(list((tmp_path / SPOOL).rglob("*.safetensors"))) == 2
    clear_spool(tmp_path)
    assert not (tmp_path / SPOOL).exists()


def test_a_damaged_update_is_not_averaged(tmp_path: Path) -> None:
    """What was put aside is read whole or not at all."""
    write_update(tmp_path, 1, "ana", {"a": np.zeros(2, np.float32)})
    path = next((tmp_path / SPOOL).rglob("*.safetensors"))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(WeightsError, match=r"state/spool/ana\.safetensors"):
        read_update(tmp_path, 1, "ana")


def test_the_spool_is_empty_between_rounds(halves: Path) -> None:
    """What a round put aside is gone when its checkpoint is written; leftovers are never summed."""
    one = make_run(halves)
    panel = fix_panel(one)
    write_update(one.config.state, 1, "hospital-b", {"a": np.zeros(2, np.float32)})
    one_round(one, start_or_resume(one, panel), panel)
    assert {p.stem for p in (one.config.state / SPOOL).rglob("*.*")} == {"hospital-a", "hospital-b"}
    rounds_of(one)
    assert not (one.config.state / SPOOL).exists()


def test_a_federation_in_bfloat16_learns(halves: Path) -> None:
    """The third round's training loss is well below the first one's, and nobody is lost."""
    checkpoint = rounds_of(make_run(halves))
    for place in (0, 1):
        losses = [record.sites[place].loss for record in checkpoint.history]
        assert losses[-1] < 0.9 * losses[0]
    assert codes_of(checkpoint) == set()


def test_hospitals_hold_the_bits_of_the_server(halves: Path) -> None:
    """What each hospital computes from changes is the checkpoint's weights, bit for bit."""
    one = make_run(halves)
    checkpoint = rounds_of(one)
    evaluate_final(one, checkpoint, fix_panel(one))
    base = fingerprint_of(checkpoint.weights)
    assert all(Held(halves / name / "state").find(base) for name in SITES)


def test_changes_are_half_the_bytes_and_the_first_weights_none(tmp_path: Path) -> None:
    """Round 1 carries no weights; later rounds and every update half of what float32 carries."""
    moved = {}
    for precision in ("float32", "bfloat16"):
        make_consortium(tmp_path / precision, exchange_precision=precision)
        history = rounds_of(make_run(tmp_path / precision)).history
        moved[precision] = [record.sites[0] for record in history]
    assert moved["bfloat16"][0].sent < 100
    for whole, half in zip(moved["float32"], moved["bfloat16"], strict=True):
        assert half.sent < 0.51 * whole.sent
        assert half.received < 0.51 * whole.received


def test_the_report_adds_bytes_up(halves: Path) -> None:
    """Totals over rounds and hospitals agree with what history holds; infers receives only."""
    one = make_run(halves)
    checkpoint = rounds_of(one)
    final = evaluate_final(one, checkpoint, fix_panel(one))
    report = report_of(one.study, one.roster, checkpoint, final)
    sites = {site["name"]: site for site in report["sites"]}
    traffic = report["traffic"]
    assert sum(site["sent_bytes"] for site in sites.values()) == traffic["sent_bytes"] > 0
    assert (
        sum(r["hospital-a"]["received_bytes"] for r in traffic["rounds"])
        == (sites["hospital-a"]["received_bytes"])
    )
    assert sites["hospital-d"]["received_bytes"] < 100 < sites["hospital-d"]["sent_bytes"]


@pytest.mark.parametrize("what", ["absent", "damaged"])
def test_a_hospital_that_lost_what_it_held_goes_on(halves: Path, what: str) -> None:
    """It gets the whole weights in the same round, is not left out, and the result is the same."""
    one = make_run(halves)
    panel = fix_panel(one)
    straight = one_round(one, after := one_round(one, start_or_resume(one, panel), panel), panel)

    write_checkpoint(one.config.state / "checkpoints", after)
    held = halves / "hospital-b" / "state" / HELD_FILE
    held.unlink() if what == "absent" else held.write_bytes(held.read_bytes()[:-1])
    again = make_run(halves)
    found = one_round(again, start_or_resume(again, panel), panel)
    assert [n for _, n in again.exchange.asked] == ["hospital-a", "hospital-b"] * 1 + [
        "hospital-b",
        "hospital-d",
    ]
    assert codes_of(found) == set()
    assert fingerprint_of(found.weights) == fingerprint_of(straight.weights)
    sites = {site.name: site for site in found.history[-1].sites}
    assert sites["hospital-b"].sent > 2.9 * sites["hospital-a"].sent


def test_a_server_that_was_stopped_sends_changes_again(halves: Path) -> None:
    """Two checkpoints are all it takes; without the older one whole weights travel."""
    one = make_run(halves)
    panel = fix_panel(one)
    folder = one.config.state / "checkpoints"
    write_checkpoint(folder, one_round(one, start_or_resume(one, panel), panel))
    for name in (None, "round-0000.safetensors"):
        if name:
            (folder / name).unlink()
        later = make_run(halves)
        one_round(later, start_or_resume(later, panel), panel)
        kinds = {next(iter(r.arrays.values())).dtype for _, r in later.exchange.sent}
        assert kinds == {np.dtype(np.float32 if name else np.uint16)}


def test_a_hospital_that_never_catches_up_is_left_out(halves: Path) -> None:
    """Whole weights are sent once in a round; who still says 'behind' is named."""
    one = make_run(halves)

    class Lost(LocalExchange):
        def _answer(self, kind, name, ask, blob):
            return "behind" if name == "hospital-b" else super()._answer(kind, name, ask, blob)

    panel = fix_panel(one)
    run = make_run(halves, Lost(halves, SITES))
    with pytest.raises(TrainingError, match="hospital-b: it could not take the weights"):
        one_round(run, start_or_resume(run, panel), panel)
    assert [name for _, name in run.exchange.asked].count("hospital-b") == 2


OLD = {"a": np.float32([1, 2]), "b": np.float32([3])}
NEW = {"a": np.float32([1.5, 2]), "b": np.float32([3])}
CHANGE = {"a": to_words(np.float32([0.5, 0]))}
ASK = RoundAsk(
    *("0" * 64, 2),
    train=True,
    genes=False,
    training_risk=False,
    panel="{}",
    base=fingerprint_of(NEW),
    before=fingerprint_of(OLD),
    change=CHANGE,
)


@pytest.fixture
def held(tmp_path: Path) -> Held:
    """Of a hospital that received OLD."""
    found = Held(tmp_path)
    found.keep(OLD, fingerprint_of(OLD))
    return found


def incoming(ask: RoundAsk, held: Held) -> dict[str, np.ndarray]:
    """What a hospital makes of an ask; the first weights are OLD."""
    return incoming_weights(ask, held, lambda: OLD)


def test_a_change_is_added_to_what_is_held(held: Held, tmp_path: Path) -> None:
    """From memory, and after a restart from the file."""
    for own in (held, Held(tmp_path)):
        assert fingerprint_of(incoming(ASK, own)) == ASK.base


def test_a_repeated_round_needs_no_more(held: Held) -> None:
    """Who holds the weights already uses them, whatever else is sent."""
    held.keep(NEW, ASK.base)
    assert fingerprint_of(incoming(ASK, held)) == ASK.base
    assert fingerprint_of(incoming(replace(ASK, before="", change={}), held)) == ASK.base


@pytest.mark.parametrize(
    "ask",
    [
        replace(ASK, before="9" * 64),
        replace(ASK, base="9" * 64),
        replace(ASK, before="", change={}),
        replace(ASK, number=1, before="", change={}),
    ],
    ids=["another base", "another result", "nothing in round 2", "other first weights"],
)
def test_who_cannot_follow_is_behind(held: Held, ask: RoundAsk) -> None:
    """Weights that cannot be made to the bit are asked for whole, never guessed."""
    with pytest.raises(BehindError):
        incoming(ask, held)


def test_whole_weights_bring_anybody_back(tmp_path: Path) -> None:
    """Nothing held, whole weights: they are taken, if they are those that were announced."""
    ask = replace(ASK, before="", change={}, weights=NEW)
    assert incoming(ask, Held(tmp_path)) == NEW
    with pytest.raises(WeightsError, match="not those that were announced"):
        incoming(replace(ask, weights=OLD), Held(tmp_path))


@pytest.mark.parametrize(
    "change",
    [
        {"c": CHANGE["a"]},
        {"a": CHANGE["a"][:1]},
        {"a": CHANGE["a"].astype(np.float32)},
        {"a": np.uint16([0x7F80, 0])},
    ],
    ids=["unknown name", "shape that would broadcast", "another type", "infinity"],
)
def test_a_change_that_does_not_fit_is_refused(held: Held, change: dict) -> None:
    """Every array from outside is looked at before it is added."""
    with pytest.raises(WeightsError):
        incoming(replace(ASK, change=change), held)


def test_a_change_of_nothing_is_empty() -> None:
    """Equal weights have a change of zeros."""
    assert not change_of(OLD, OLD)["a"].any()
