"""The update gate's checks, one by one: what cannot be averaged is refused before it is used."""

from dataclasses import replace

import numpy as np
import pytest
from demo.cohorts import WIDTH

from ghanet_model.change import change_of
from ghanet_model.errors import ProtocolError, WeightsError
from ghanet_model.protocol import RoundReply
from ghanet_model.study import StudyConfig
from ghanet_model.weights import fingerprint_of
from server.gate import Expected, check_update, read_reply
from server.roster import Member

SHAPES = {"association.queries": (2, 3), "survival.head.bias": (4,), "decoders.0.weight": (3, 2)}


def draw(seed: int, *, genes: bool = True) -> dict[str, np.ndarray]:
    """Random arrays of the model's shapes."""
    rng = np.random.default_rng(seed)
    return {
        name: rng.normal(size=shape).astype(np.float32)
        for name, shape in SHAPES.items()
        if genes or not name.startswith("decoders.")
    }


STUDY = StudyConfig(
    name="small",
    encoder="synthetic",
    feature_width=WIDTH,
    time_bin_edges=(12.0,),
    gene_groups="g.csv",
    groups=(("g", ("TP53",)),),
)
BASE = draw(0)
EXPECTED = Expected(number=3, base=fingerprint_of(BASE), like=BASE, study=STUDY)
MEMBER = Member("a", "trains", has_genes=True, public_key="", enrolled="", cases=30)


def reply(update, *, cases: int, gene_cases: int = 0) -> RoundReply:
    """A reply whose weights are the base plus this update."""
    return RoundReply(
        number=3,
        base=EXPECTED.base,
        cases=cases,
        events=1,
        gene_cases=gene_cases,
        loss=1.0,
        seconds=1.0,
        evaluation=None,
        training_risk=None,
        update={name: BASE[name] + array for name, array in update.items()},
    )


GOOD = reply(draw(5), cases=20, gene_cases=10)


@pytest.mark.parametrize("genes", [True, False])
def test_a_good_update_is_taken(genes):
    """With and without genes, an update of exactly the trained branches passes."""
    own = reply(draw(5, genes=genes), cases=20, gene_cases=20 * genes)
    assert check_update(own, EXPECTED, asked_genes=True) is None


def spoilt(name: str, array: np.ndarray) -> dict[str, np.ndarray]:
    """A good update with one array replaced."""
    return {**GOOD.update, name: array}


HEAD = "survival.head.bias"
REFUSED = {
    "no cases": replace(GOOD, cases=0, events=0, gene_cases=0),
    "more genes than cases": replace(GOOD, gene_cases=21),
    "more events than cases": replace(GOOD, events=21),
    "decoders without gene cases": replace(GOOD, gene_cases=0),
    "gene cases without decoders": replace(GOOD, update=draw(5, genes=False)),
    "an array missing": replace(GOOD, update={k: a for k, a in GOOD.update.items() if k != HEAD}),
    "nothing": replace(GOOD, update={}),
    "an array too many": replace(GOOD, update=spoilt("other", np.zeros(1, np.float32))),
    "NaN": replace(GOOD, update=spoilt(HEAD, np.float32([0, 0, np.nan, 0]))),
    "infinity": replace(GOOD, update=spoilt(HEAD, np.float32([0, np.inf, 0, 0]))),
    "another shape": replace(GOOD, update=spoilt(HEAD, np.zeros(5, np.float32))),
    "a shape that would broadcast": replace(GOOD, update=spoilt(HEAD, np.zeros(1, np.float32))),
    "another type": replace(GOOD, update=spoilt(HEAD, np.zeros(4, np.float64))),
}


@pytest.mark.parametrize("what", REFUSED)
def test_an_update_that_cannot_be_averaged_is_refused(what):
    """One bad update is refused before it can spoil the mean of all."""
    with pytest.raises(WeightsError):
        check_update(REFUSED[what], EXPECTED, asked_genes=True)


def test_decoders_that_were_not_asked_for_are_refused():
    """A site that trains genes without being asked to is refused."""
    with pytest.raises(WeightsError, match="without being asked"):
        check_update(GOOD, EXPECTED, asked_genes=False)


HALF = replace(GOOD, update=change_of(GOOD.update, BASE))
WORDS = replace(EXPECTED, study=replace(STUDY, exchange_precision="bfloat16"))
BAD_WORDS = {
    "float32 in a bfloat16 study": GOOD,
    "infinity": replace(HALF, update=HALF.update | {HEAD: np.uint16([0, 0x7F80, 0, 0])}),
    "not a number": replace(HALF, update=HALF.update | {HEAD: np.uint16([0, 0xFFC1, 0, 0])}),
    "another shape": replace(HALF, update=HALF.update | {HEAD: np.zeros(1, np.uint16)}),
    "an array missing": replace(HALF, update={HEAD: HALF.update[HEAD]}),
}


@pytest.mark.parametrize("what", BAD_WORDS)
def test_a_change_that_cannot_be_averaged_is_refused(what):
    """Words are looked at as closely as float32 weights."""
    with pytest.raises(WeightsError):
        check_update(BAD_WORDS[what], WORDS, asked_genes=True)


def test_a_change_is_taken_where_the_study_says_so():
    """bfloat16 words pass in a bfloat16 study only."""
    assert check_update(HALF, WORDS, asked_genes=True) is None
    with pytest.raises(WeightsError, match="expected float32"):
        check_update(HALF, EXPECTED, asked_genes=True)


SMALL = reply({k: np.float32(1e-5) * a for k, a in draw(5).items()}, cases=20, gene_cases=10)
UNASKED = {
    "another round": (replace(SMALL, number=2), "belongs to another round"),
    "another base": (replace(SMALL, base="0" * 64), "belongs to another round"),
    "a step too far": (GOOD, "moved further than training can move them"),
    "a negative loss": (replace(SMALL, loss=-1.0), "negative time or loss"),
    "negative time": (replace(SMALL, seconds=-1.0), "negative time or loss"),
}


def read(answer: RoundReply, *, member: Member = MEMBER, final: bool = False) -> RoundReply:
    """Through the gate, as it arrives."""
    return read_reply(answer.to_record(), EXPECTED, member, final=final)


def test_an_honest_answer_passes():
    """It comes out as it went in."""
    assert read(SMALL).cases == 20


@pytest.mark.parametrize("what", UNASKED)
def test_an_answer_that_no_training_gives_is_refused(what):
    """Each with its reason."""
    answer, reason = UNASKED[what]
    with pytest.raises((WeightsError, ProtocolError), match=reason):
        read(answer)


@pytest.mark.parametrize(
    ("member", "final"), [(replace(MEMBER, role="infers", has_genes=False), False), (MEMBER, True)]
)
def test_nobody_trains_unasked(member, final):
    """Neither a hospital that only infers, nor anyone in the final evaluation."""
    with pytest.raises(ProtocolError, match="without being asked"):
        read(SMALL, member=member, final=final)


def test_cases_are_counted_together():
    """Training and held-out cases of one answer are at most what was approved."""
    few = replace(MEMBER, cases=19)
    with pytest.raises(ProtocolError, match="claims 20 cases; 19 were approved"):
        read(SMALL, member=few)
