"""Aggregation: a mean over cases, gene decoders over the sites that have genes, nothing else."""

import weakref
from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ghanet_model.change import ROUNDING, change_of
from ghanet_model.protocol import RoundReply
from ghanet_model.weights import fingerprint_of
from server.aggregate import Contribution, apply_updates

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


def reply(update, *, cases: int, gene_cases: int = 0, base=BASE) -> RoundReply:
    """A reply whose weights are the base plus this update."""
    return RoundReply(
        number=3,
        base="0" * 64,
        cases=cases,
        events=1,
        gene_cases=gene_cases,
        loss=1.0,
        seconds=1.0,
        evaluation=None,
        training_risk=None,
        update={name: base[name] + array for name, array in update.items()},
    )


def draw_replies(seed: int, counts: list[tuple[int, int]]) -> list[RoundReply]:
    """Replies of sites with (cases, gene cases)."""
    return [
        reply(draw(seed + i, genes=bool(genes)), cases=max(cases, genes), gene_cases=genes)
        for i, (cases, genes) in enumerate(counts)
    ]


def mean_of(base, replies: list[RoundReply]) -> dict[str, np.ndarray]:
    """The aggregate of these replies."""
    return apply_updates(base, (Contribution(r.cases, r.gene_cases, r.update) for r in replies))


SITES = st.lists(st.tuples(COUNTS, st.just(0) | COUNTS), min_size=1, max_size=6)


@given(seed=SEEDS, counts=SITES)
@settings(max_examples=40, deadline=None)
def test_equal_updates_are_their_own_mean(seed, counts):
    """Where every site sends the same, the mean is the same, whatever the numbers of cases."""
    update = draw(seed, scale=0.1)
    replies = [reply(update, cases=max(c, 1), gene_cases=max(g, 1)) for c, g in counts]
    for name, array in mean_of(BASE, replies).items():
        np.testing.assert_allclose(array, BASE[name] + update[name], atol=1e-7, rtol=1e-7)


@given(seed=SEEDS, first=COUNTS, second=COUNTS)
@settings(max_examples=40, deadline=None)
def test_two_sites_are_one_site_with_all_cases(seed, first, second):
    """The mean of two sites is the mean over the pooled cases."""
    one, two = draw(seed, scale=0.1), draw(seed + 1, scale=0.1)
    found = mean_of(BASE, [reply(one, cases=first), reply(two, cases=second)])
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
    found, name = mean_of(BASE, replies), "decoders.0.weight"
    mean = (genes * replies[0].update[name].astype(float) + more * replies[1].update[name]) / (
        genes + more
    )
    np.testing.assert_allclose(found[name], mean, atol=1e-6)


@given(seed=SEEDS, counts=SITES)
@settings(max_examples=30, deadline=None)
def test_what_nobody_trained_keeps_every_bit(seed, counts):
    """Without a site with genes the decoders stay bit for bit, negative zeros too."""
    base = BASE | {"decoders.0.weight": np.float32([[-0.0, 1e-40], [3e38, 1], [0, -1]])}
    found = mean_of(base, draw_replies(seed, [(cases, 0) for cases, _ in counts]))
    assert found["decoders.0.weight"].tobytes() == base["decoders.0.weight"].tobytes()
    assert found["association.queries"].tobytes() != base["association.queries"].tobytes()


@given(seed=SEEDS, counts=SITES, order=st.randoms(use_true_random=False))
@settings(max_examples=40, deadline=None)
def test_the_order_of_hospitals_does_not_matter(seed, counts, order):
    """In any order the aggregate is the same, to a rounding."""
    replies = draw_replies(seed, counts)
    found = mean_of(BASE, replies)
    order.shuffle(replies)
    for name, array in mean_of(BASE, replies).items():
        np.testing.assert_allclose(array, found[name], atol=1e-6)


@given(seed=SEEDS, counts=SITES)
@settings(max_examples=30, deadline=None)
def test_the_aggregate_is_between_the_updates(seed, counts):
    """No value leaves the range of what the sites sent."""
    replies = draw_replies(seed, counts)
    name = "survival.head.bias"
    sent = np.stack([r.update[name] for r in replies])
    found = mean_of(BASE, replies)[name]
    assert (found >= sent.min(axis=0) - 1e-6).all()
    assert (found <= sent.max(axis=0) + 1e-6).all()


def test_the_aggregate_is_float32_and_a_new_set_of_arrays():
    """The result is what a model takes, and the base is not written to."""
    before = fingerprint_of(BASE)
    found = mean_of(BASE, [reply(draw(1), cases=1, gene_cases=1)])
    assert {array.dtype for array in found.values()} == {np.dtype(np.float32)}
    assert fingerprint_of(BASE) == before != fingerprint_of(found)


def test_many_small_updates_are_not_rounded_away():
    """Sums are kept in float64: a thousand sites lose nothing that one site would keep."""
    update = {name: np.full(shape, 1e-4, np.float32) for name, shape in SHAPES.items()}
    zero = {name: np.zeros(shape, np.float32) for name, shape in SHAPES.items()}
    found = mean_of(zero, [reply(update, cases=10**9, gene_cases=1, base=zero)] * 1000)
    assert all((found[name] == update[name]).all() for name in SHAPES)


SITE = st.tuples(COUNTS, st.floats(1e-6, 10))


@given(seed=SEEDS, sites=st.lists(SITE, min_size=1, max_size=5))
@settings(max_examples=40, deadline=None)
def test_bfloat16_stays_within_its_rounding(seed, sites):
    """From the same updates, bfloat16 and float32 differ by no more than two roundings can.

    Up: each value moves by 2^-8 of itself at most, so their mean by 2^-8 of the mean of |update|.
    Down: the mean that came out moves by 2^-8 of itself. float32's own roundings come on top.
    """
    updates = [draw(seed + i, scale=scale) for i, (_, scale) in enumerate(sites)]
    replies = [reply(u, cases=c, gene_cases=c) for u, (c, _) in zip(updates, sites, strict=True)]
    halves = [replace(r, update=change_of(r.update, BASE)) for r in replies]
    exact, rounded = mean_of(BASE, replies), mean_of(BASE, halves)
    cases = np.array([c for c, _ in sites], float)
    for name, array in exact.items():
        each = np.stack([r.update[name].astype(float) - BASE[name] for r in replies])
        size = np.average(np.abs(each), axis=0, weights=cases)
        mean = np.abs(np.average(each, axis=0, weights=cases))
        up, down = ROUNDING * size, ROUNDING * (mean + ROUNDING * size)
        own = 2.0**-22 * (np.abs(BASE[name]) + size)
        assert (np.abs(rounded[name].astype(float) - array) <= up + down + own).all()


def test_the_error_of_bfloat16_is_a_quarter_of_a_percent():
    """Relative L2 error of the mean of three sites' updates: measured .0024, below 2^-8."""
    large = {"w": np.zeros(100_000, np.float32)}
    rng = np.random.default_rng(0)
    updates = [{"w": rng.normal(size=100_000).astype(np.float32)} for _ in range(3)]
    changes = [change_of(update, large) for update in updates]
    exact, rounded = (
        apply_updates(large, map(Contribution, (20, 30, 50), (0, 0, 0), own))
        for own in (updates, changes)
    )
    error = np.linalg.norm(rounded["w"] - exact["w"]) / np.linalg.norm(exact["w"])
    assert 0.002 < error < 2.0**-8


def test_one_update_is_in_memory_at_a_time():
    """While the mean is taken, an update is gone before the next one is read."""
    alive = []

    def read():
        for seed in range(4):
            assert all(update() is None for update in alive)
            array = np.zeros(4, np.float32) + seed
            alive.append(weakref.ref(array))
            yield Contribution(1, 0, {"survival.head.bias": array})
            del array

    apply_updates(BASE, read())
    assert len(alive) == 4
