"""Aggregation: a mean over cases, gene decoders over the sites that have genes, nothing else."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ghanet_model.errors import WeightsError
from ghanet_model.protocol import RoundReply
from ghanet_model.weights import fingerprint_of
from server.aggregate import Expected, apply_updates, check_update

SHAPES = {"association.queries": (2, 3), "survival.head.bias": (4,), "decoders.0.weight": (3, 2)}
COUNTS = st.integers(1, 2000)
SEEDS = st.integers(0, 2**32 - 1)


def draw(seed: int, *, scale: float = 1.0, genes: bool = True) -> dict[str, np.ndarray]:
    """Random arrays of the model's shapes."""
    rng = np.random.default_rng(seed)
    return {
        name: (scale * rng.normal(size=shape)).astype(np.float32)
        for name, shape in SHAPES.items()
        if genes or not name.startswith("decoders.")
    }


BASE = draw(0)
EXPECTED = Expected(number=3, base=fingerprint_of(BASE), like=BASE)


def reply(update, *, cases: int, gene_cases: int = 0, base=BASE) -> RoundReply:
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
        trained={name: base[name] + array for name, array in update.items()},
    )


def draw_replies(seed: int, counts: list[tuple[int, int]]) -> list[RoundReply]:
    """Replies of sites with (cases, gene cases)."""
    return [
        reply(draw(seed + i, genes=bool(genes)), cases=max(cases, genes), gene_cases=genes)
        for i, (cases, genes) in enumerate(counts)
    ]


SITES = st.lists(st.tuples(COUNTS, st.just(0) | COUNTS), min_size=1, max_size=6)


@given(seed=SEEDS, counts=SITES)
@settings(max_examples=40, deadline=None)
def test_equal_updates_are_their_own_mean(seed, counts):
    """Where every site sends the same, the mean is the same, whatever the numbers of cases."""
    update = draw(seed, scale=0.1)
    replies = [reply(update, cases=max(c, 1), gene_cases=max(g, 1)) for c, g in counts]
    for name, array in apply_updates(BASE, replies).items():
        np.testing.assert_allclose(array, BASE[name] + update[name], atol=1e-7, rtol=1e-7)


@given(seed=SEEDS, first=COUNTS, second=COUNTS)
@settings(max_examples=40, deadline=None)
def test_two_sites_are_one_site_with_all_cases(seed, first, second):
    """The mean of two sites is the mean over the pooled cases."""
    one, two = draw(seed, scale=0.1), draw(seed + 1, scale=0.1)
    found = apply_updates(BASE, [reply(one, cases=first), reply(two, cases=second)])
    for name in SHAPES:
        if name.startswith("decoders."):
            continue
        pooled = np.repeat([one[name], two[name]], [first, second], axis=0).astype(np.float64)
        np.testing.assert_allclose(found[name], BASE[name] + pooled.mean(axis=0), atol=1e-6)


@given(seed=SEEDS, cases=COUNTS, genes=COUNTS, more=COUNTS)
@settings(max_examples=30, deadline=None)
def test_decoders_are_averaged_by_cases_with_genes(seed, cases, genes, more):
    """Decoders are weighted by cases with genes; a site without genes has no say in them."""
    sites = [(cases + genes, genes), (cases + more, more), (cases, 0)]
    replies = draw_replies(seed, sites)
    found, name = apply_updates(BASE, replies), "decoders.0.weight"
    mean = (genes * replies[0].trained[name].astype(float) + more * replies[1].trained[name]) / (
        genes + more
    )
    np.testing.assert_allclose(found[name], mean, atol=1e-6)


@given(seed=SEEDS, counts=SITES)
@settings(max_examples=30, deadline=None)
def test_what_nobody_trained_keeps_every_bit(seed, counts):
    """Without a site with genes the decoders stay bit for bit, negative zeros too."""
    base = BASE | {"decoders.0.weight": np.float32([[-0.0, 1e-40], [3e38, 1], [0, -1]])}
    found = apply_updates(base, draw_replies(seed, [(cases, 0) for cases, _ in counts]))
    assert found["decoders.0.weight"].tobytes() == base["decoders.0.weight"].tobytes()
    assert found["association.queries"].tobytes() != base["association.queries"].tobytes()


@given(seed=SEEDS, counts=SITES, order=st.randoms(use_true_random=False))
@settings(max_examples=40, deadline=None)
def test_the_order_of_hospitals_does_not_matter(seed, counts, order):
    """In any order the aggregate is the same, to a rounding."""
    replies = draw_replies(seed, counts)
    found = apply_updates(BASE, replies)
    order.shuffle(replies)
    for name, array in apply_updates(BASE, replies).items():
        np.testing.assert_allclose(array, found[name], atol=1e-6)


@given(seed=SEEDS, counts=SITES)
@settings(max_examples=30, deadline=None)
def test_the_aggregate_is_between_the_updates(seed, counts):
    """No value leaves the range of what the sites sent."""
    replies = draw_replies(seed, counts)
    name = "survival.head.bias"
    sent = np.stack([r.trained[name] for r in replies])
    found = apply_updates(BASE, replies)[name]
    assert (found >= sent.min(axis=0) - 1e-6).all()
    assert (found <= sent.max(axis=0) + 1e-6).all()


def test_the_aggregate_is_float32_and_a_new_set_of_arrays():
    """The result is what a model takes, and the base is not written to."""
    before = fingerprint_of(BASE)
    found = apply_updates(BASE, [reply(draw(1), cases=1, gene_cases=1)])
    assert {array.dtype for array in found.values()} == {np.dtype(np.float32)}
    assert fingerprint_of(BASE) == before != fingerprint_of(found)


def test_many_small_updates_are_not_rounded_away():
    """Sums are kept in float64: a thousand sites lose nothing that one site would keep."""
    update = {name: np.full(shape, 1e-4, np.float32) for name, shape in SHAPES.items()}
    zero = {name: np.zeros(shape, np.float32) for name, shape in SHAPES.items()}
    found = apply_updates(zero, [reply(update, cases=10**9, gene_cases=1, base=zero)] * 1000)
    assert all((found[name] == update[name]).all() for name in SHAPES)


GOOD = reply(draw(5), cases=20, gene_cases=10)


@pytest.mark.parametrize("genes", [True, False])
def test_a_good_update_is_taken(genes):
    """With and without genes, an update of exactly the trained branches passes."""
    own = reply(draw(5, genes=genes), cases=20, gene_cases=20 * genes)
    assert check_update(own, EXPECTED, asked_genes=True) is None


def spoilt(name: str, array: np.ndarray) -> dict[str, np.ndarray]:
    """A good update with one array replaced."""
    return {**GOOD.trained, name: array}


HEAD = "survival.head.bias"
REFUSED = {
    "another round": replace(GOOD, number=2),
    "another base": replace(GOOD, base="0" * 64),
    "no cases": replace(GOOD, cases=0, events=0, gene_cases=0),
    "more genes than cases": replace(GOOD, gene_cases=21),
    "more events than cases": replace(GOOD, events=21),
    "decoders without gene cases": replace(GOOD, gene_cases=0),
    "gene cases without decoders": replace(GOOD, trained=draw(5, genes=False)),
    "an array missing": replace(GOOD, trained={k: a for k, a in GOOD.trained.items() if k != HEAD}),
    "nothing": replace(GOOD, trained={}),
    "an array too many": replace(GOOD, trained=spoilt("other", np.zeros(1, np.float32))),
    "NaN": replace(GOOD, trained=spoilt(HEAD, np.float32([0, 0, np.nan, 0]))),
    "infinity": replace(GOOD, trained=spoilt(HEAD, np.float32([0, np.inf, 0, 0]))),
    "another shape": replace(GOOD, trained=spoilt(HEAD, np.zeros(5, np.float32))),
    "a shape that would broadcast": replace(GOOD, trained=spoilt(HEAD, np.zeros(1, np.float32))),
    "another type": replace(GOOD, trained=spoilt(HEAD, np.zeros(4, np.float64))),
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
