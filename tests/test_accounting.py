"""Epsilon is Opacus' for the same history, grows with it, and a planned noise keeps within it."""

import math
import random
import warnings

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opacus.accountants import PRVAccountant, RDPAccountant

from ghanet_model.accounting import (
    NOISE_STEP,
    Charge,
    epsilon_of,
    merge,
    plan_noise,
)
from ghanet_model.errors import SettingsError
from ghanet_model.study import ACCOUNTANTS, PRV, RDP

DELTA = 1e-5
KINDS = {RDP: RDPAccountant, PRV: PRVAccountant}
charges = st.builds(
    Charge,
    noise=st.sampled_from([1.0, 1.7, 2.5, 10.0]),
    rate=st.sampled_from([0.05, 0.2, 1.0]),
    steps=st.integers(0, 30),
)


def by_opacus(kind, history):
    """What Opacus says when it is told step by step."""
    counter = KINDS[kind]()
    for charge in history:
        for _ in range(charge.steps):
            counter.step(noise_multiplier=charge.noise, sample_rate=charge.rate)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return float(counter.get_epsilon(DELTA))


@pytest.mark.parametrize("kind", ACCOUNTANTS)
def test_epsilon_is_opacus(kind):
    """The same history, told step by step and in any order, gives the same epsilon."""
    history = [Charge(2.3, 0.1, 40), Charge(10.0, 1.0, 1), Charge(2.3, 0.1, 60)]
    told = by_opacus(kind, history)
    assert epsilon_of(history, delta=DELTA, accountant=kind) == pytest.approx(told, rel=1e-9)
    random.Random(1).shuffle(history)
    assert epsilon_of(history, delta=DELTA, accountant=kind) == pytest.approx(told, rel=1e-9)


@settings(max_examples=30, deadline=None)
@given(st.lists(charges, max_size=6), charges)
def test_a_longer_history_never_costs_less(history, more):
    """By RDP, exactly; as Opacus has it."""
    before = epsilon_of(history, delta=DELTA, accountant=RDP)
    after = epsilon_of([*history, more], delta=DELTA, accountant=RDP)
    assert after >= before
    if sum(charge.steps for charge in history):
        assert before == pytest.approx(by_opacus(RDP, history), rel=1e-9)


@given(st.lists(charges, max_size=8))
def test_merging_keeps_every_step(history):
    """Equal mechanisms are one, sorted; none is lost."""
    merged = merge(history)
    assert sum(charge.steps for charge in merged) == sum(charge.steps for charge in history)
    assert len({(charge.noise, charge.rate) for charge in merged}) == len(merged)
    assert merge(reversed(history)) == merged


def test_ends():
    """Nothing released costs nothing; a release without noise costs everything."""
    assert epsilon_of([], delta=DELTA, accountant=PRV) == 0
    assert epsilon_of([Charge(1.0, 0.5, 0)], delta=DELTA, accountant=RDP) == 0
    assert epsilon_of([Charge(0.0, 0.5, 1)], delta=DELTA, accountant=PRV) == math.inf


def test_prv_of_a_giant_history_ends():
    """Its grid would need terabytes; RDP's epsilon is told instead."""
    found = epsilon_of([Charge(0.02, 0.5, 100)], delta=DELTA, accountant=PRV)
    assert found > 1000


@pytest.mark.parametrize("kind", ACCOUNTANTS)
@pytest.mark.parametrize("epsilon", [0.5, 3.0, 20.0])
def test_planned_noise_is_the_least(kind, epsilon):
    """It keeps within epsilon, and a step less would not."""
    rounds = Charge(0.0, 0.1, 200)
    noise = plan_noise(rounds, epsilon, delta=DELTA, accountant=kind)
    within, above = (
        epsilon_of([Charge(sigma, 0.1, 200)], delta=DELTA, accountant=kind)
        for sigma in (noise, noise - NOISE_STEP)
    )
    assert within <= epsilon < above


def test_planned_noise_leaves_room_for_other_releases():
    """All of the budget, with what else is told of the same cases."""
    rounds, others = Charge(0.0, 0.1, 200), [Charge(10.0, 1.0, 3)]
    alone = plan_noise(rounds, 3.0, delta=DELTA, accountant=RDP)
    beside = plan_noise(rounds, 3.0, delta=DELTA, accountant=RDP, others=others)
    assert 1.01 < beside / alone < 1.06  # 3 % were measured
    history = [Charge(beside, 0.1, 200), *others]
    assert epsilon_of(history, delta=DELTA, accountant=RDP) <= 3.0


def test_a_budget_that_cannot_be_kept():
    """Said, with what to change; not searched for ever."""
    spent = [Charge(0.5, 1.0, 10)]
    with pytest.raises(SettingsError, match="no noise keeps this study within epsilon 1"):
        plan_noise(Charge(0.0, 0.1, 10), 1.0, delta=DELTA, accountant=RDP, others=spent)


@pytest.mark.parametrize(
    "wrong", [(-1.0, 0.1, 1), (math.nan, 0.1, 1), (1.0, 0.0, 1), (1.0, 1.1, 1), (1.0, 0.1, -1)]
)
def test_no_such_mechanism(wrong):
    """Noise below 0, a rate that is no chance, steps below 0."""
    with pytest.raises(SettingsError, match="no mechanism"):
        Charge(*wrong)


def test_wrong_accountant_and_delta():
    """Both are named."""
    with pytest.raises(SettingsError, match="no accountant 'gdp'"):
        epsilon_of([], delta=DELTA, accountant="gdp")
    with pytest.raises(SettingsError, match="delta is 0"):
        epsilon_of([], delta=0, accountant=RDP)
