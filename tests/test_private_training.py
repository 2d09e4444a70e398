"""No case changes a step by more than C, at any size; without noise it is Opacus' own step."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from opacus.optimizers import DPOptimizer
from scipy.stats import chi2
from test_training import CPU, SETTINGS, WIDTH, changed, planted_bags, small_model

from ghanet_model import private_training
from ghanet_model.bag import Bag, Outcome
from ghanet_model.batches import batches_of
from ghanet_model.errors import SettingsError, TrainingError
from ghanet_model.network import DECODERS, new_model
from ghanet_model.private_training import (
    Mechanism,
    add_clipped,
    add_noise,
    case_gradient,
    learned_parameters,
    require_cases_apart,
    train_privately,
)
from ghanet_model.sizes import GHANetConfig
from ghanet_model.training import seeded, training_mode

QUIET = Mechanism(clipping_norm=0.7, sampling_rate=1.0, steps=1, noise=0.0, nominal_cases=24)
PRESETS = ("compact", "abmil")


def model_of(preset, *, dropout=0.25, seed=0):
    """A model of two gene groups."""
    config = GHANetConfig.preset(
        preset, group_sizes=(3, 2), feature_width=WIDTH, time_bins=3, dropout=dropout
    )
    return new_model(config, seed=seed)


def bag_of(patches, seed, scale=1.0):
    """A case of any size."""
    rng = torch.Generator().manual_seed(seed)
    outcome = Outcome(10.0 * (seed % 3), seed % 2 == 0, seed % 3)
    genes = (torch.randn(3, generator=rng), torch.randn(2, generator=rng))
    return Bag(scale * torch.randn(patches, WIDTH, generator=rng), outcome, genes)


def one_case(bag):
    """A batch of one case, as training makes it."""
    return next(batches_of([bag], 1, pin=False))


def summed(model, bags, mechanism, *, use_genes=True):
    """A step's clipped sum; each case's dropout has a seed of its own, the same in every sum."""
    learned = learned_parameters(model, use_genes=use_genes)
    total = [torch.zeros_like(parameter) for parameter in learned]
    with training_mode(model), seeded(0, CPU):
        for bag in bags:
            batch, seed = one_case(bag), int(bag.features.shape[0])
            gradient = case_gradient(model, learned, batch, SETTINGS, seed=seed)
            add_clipped(total, gradient, mechanism, bag.outcome)
    return total


def distance(one, other):
    """L2 of the difference over all parameters."""
    pairs = zip(one, other, strict=True)
    return math.sqrt(sum(float((a.double() - b.double()).square().sum()) for a, b in pairs))


@settings(max_examples=12, deadline=None)
@given(
    model=st.builds(model_of, st.sampled_from(PRESETS), seed=st.integers(0, 9)),
    bags=st.lists(
        st.builds(
            bag_of,
            st.sampled_from([1, 2, 60, 700]),
            st.integers(0, 1000),
            st.sampled_from([0.01, 1.0, 30.0]),
        ),
        min_size=1,
        max_size=4,
        unique_by=lambda bag: len(bag.features),
    ),
    bound=st.sampled_from([0.05, 0.7, 3.0]),
    data=st.data(),
)
def test_removing_a_case_changes_a_sum_by_at_most_c(model, bags, bound, data):
    """Any preset, bag sizes and features; dropout on, the order of the others as it was."""
    gone = data.draw(st.integers(0, len(bags) - 1))
    mechanism = replace(QUIET, clipping_norm=bound)
    whole = summed(model, bags, mechanism)
    rest = summed(model, [bag for i, bag in enumerate(bags) if i != gone], mechanism)
    assert distance(whole, rest) <= bound * (1 + 1e-4)


@pytest.mark.parametrize("preset", [*PRESETS, "published"])
@pytest.mark.parametrize("patches", [1, 60, 20_000])
def test_every_bag_size_is_clipped_alike(preset, patches):
    """A bag of 20,000 patches counts as one case: its part is C long, all layers together."""
    model = model_of(preset)
    total = summed(model, [bag_of(patches, 3)], replace(QUIET, clipping_norm=0.02))
    zeros = [torch.zeros_like(part) for part in total]
    assert distance(total, zeros) == pytest.approx(0.02, rel=1e-3)


def test_without_a_bound_it_is_the_plain_gradient():
    """No noise and a large C: the sum of gradients of all losses."""
    model, bags = model_of("compact", dropout=0.0), planted_bags(6)
    total = summed(model, bags, replace(QUIET, clipping_norm=1e9))
    learned = learned_parameters(model, use_genes=True)
    with training_mode(model):
        for bag in bags:
            plain = case_gradient(model, learned, one_case(bag), SETTINGS, seed=0)
            total = [part - own for part, own in zip(total, plain, strict=True)]
    assert distance(total, [torch.zeros_like(part) for part in total]) < 1e-4


def test_without_noise_it_is_opacus_step():
    """Opacus' DPOptimizer, fed with the same gradients per case, moves every weight alike."""
    bags, steps = planted_bags(12), 3
    mechanism = replace(QUIET, steps=steps, nominal_cases=10)
    settings_ = replace(SETTINGS, weight_decay=0.0)
    ours, theirs = (model_of("compact", dropout=0.0) for _ in range(2))
    outcomes = [bag.outcome for bag in bags]
    train_privately(ours, bags, settings_, mechanism, outcomes=outcomes, use_genes=True, device=CPU)
    learned = learned_parameters(theirs, use_genes=True)
    adam = torch.optim.Adam(learned, lr=settings_.learning_rate)
    optimizer = DPOptimizer(adam, noise_multiplier=0.0, max_grad_norm=0.7, expected_batch_size=10)
    for _ in range(steps):
        with training_mode(theirs):
            found = [
                case_gradient(theirs, learned, one_case(bag), settings_, seed=0) for bag in bags
            ]
        for parameter, *gradients in zip(learned, *found, strict=True):
            parameter.grad_sample = torch.stack(gradients)
            parameter.grad = torch.zeros_like(parameter)
        optimizer.step()
        optimizer.zero_grad()
    pairs = zip(ours.state_dict().values(), theirs.state_dict().values(), strict=True)
    assert max(float((a - b).abs().max()) for a, b in pairs) < 2e-6


def test_noise_has_the_stated_deviation():
    """Sigma times C, in every parameter alike."""
    mechanism = replace(QUIET, noise=2.5)
    total = [torch.zeros(300, 400), torch.ones(500)]
    add_noise(total, mechanism)
    noise = torch.cat([total[0].flatten(), total[1] - 1]).double() / (2.5 * 0.7)
    low, high = chi2.ppf([5e-10, 1 - 5e-10], len(noise)) / len(noise)
    assert low < float(noise.square().mean()) < high


def privately(bags, mechanism, *, use_genes=True, model=None):
    """A model after a private round."""
    model = model or small_model()
    outcomes = [bag.outcome for bag in bags]
    train_privately(
        model, bags, SETTINGS, mechanism, outcomes=outcomes, use_genes=use_genes, device=CPU
    )
    return model


def test_an_empty_sample_is_a_noisy_step():
    """A hospital whose cases are never drawn sends weights that moved, as any other."""
    rare = replace(QUIET, sampling_rate=1e-9, noise=1.0, steps=2)
    model = privately(planted_bags(3), rare)
    assert changed(model, small_model()) == set(model.state_dict())
    assert changed(privately([], rare), small_model()) == set(model.state_dict())


def test_the_same_start_gives_other_weights():
    """Two hospitals with the same seed, model and cases draw different noise and samples."""
    noisy = replace(QUIET, noise=0.5, sampling_rate=0.5)
    bags = planted_bags(8)
    assert changed(privately(bags, noisy), privately(bags, noisy))
    halves = replace(QUIET, sampling_rate=0.5)
    assert changed(privately(bags, halves), privately(bags, halves))


def test_a_case_that_is_not_finite_adds_nothing():
    """The sum is finite, and that of the others."""
    good = planted_bags(5)
    bad = replace(bag_of(4, 9), features=torch.full((4, WIDTH), math.nan))
    model = model_of("compact")
    together, without = summed(model, [*good, bad], QUIET), summed(model, good, QUIET)
    assert distance(together, without) == 0
    exact = replace(QUIET, noise=0.0)
    for parameter in privately([*good, bad], exact, model=model_of("compact")).parameters():
        assert parameter.isfinite().all()


def test_one_case_does_not_move_anothers_dropout():
    """The part of a case is the same whoever came before it."""
    model, (first, second) = model_of("compact"), (bag_of(5, 1), bag_of(7, 2))
    total = summed(model, [first, second], QUIET)
    parts = [summed(model, [bag], QUIET) for bag in (first, second)]
    both = [a + b for a, b in zip(*parts, strict=True)]
    assert distance(total, both) < 1e-5


def test_classes_are_weighed_after_clipping():
    """A case of weight .25 adds a quarter of C; weights above 1 are refused."""
    bag, weights = bag_of(6, 4), (0.5, 0.25, 1.0, 0.1, 0.2, 0.3)  # bin 1, died
    total = summed(model_of("compact"), [bag], replace(QUIET, class_weights=weights))
    zeros = [torch.zeros_like(part) for part in total]
    assert distance(total, zeros) == pytest.approx(0.25 * 0.7, rel=1e-3)
    assert QUIET.weight_of(Outcome(1.0, event=False, time_bin=2)) == 1
    censored = Outcome(1.0, event=False, time_bin=2)
    assert replace(QUIET, class_weights=weights).weight_of(censored) == 0.3
    with pytest.raises(SettingsError, match="above 0 and at most 1"):
        replace(QUIET, class_weights=(1.5,))


def test_without_genes_decoders_stay():
    """Neither learnt nor noised, bit by bit."""
    model = privately(planted_bags(4), replace(QUIET, noise=1.0), use_genes=False)
    names = {name for name, _ in model.named_parameters() if not name.startswith(DECODERS)}
    assert changed(model, small_model()) == names


@pytest.mark.parametrize("module", [torch.nn.BatchNorm1d(4), torch.nn.InstanceNorm2d(4)])
def test_a_network_that_mixes_cases_is_refused(module):
    """By the name of the part that does."""
    with pytest.raises(SettingsError, match=r"'1' .*Norm.* from one case to the next"):
        require_cases_apart(torch.nn.Sequential(torch.nn.Linear(4, 4), module))
    for preset in PRESETS:
        require_cases_apart(model_of(preset))


def test_random_state_is_untouched():
    """Private training leaves torch's state as it was, and does not follow it."""
    torch.manual_seed(3)
    before = torch.get_rng_state()
    privately(planted_bags(4), replace(QUIET, noise=1.0))
    assert torch.equal(torch.get_rng_state(), before)


def test_no_death_is_no_error():
    """Whether training fails must not tell that nobody died."""
    bags = [replace(bag, outcome=Outcome(5.0, event=False, time_bin=0)) for bag in planted_bags(3)]
    privately(bags, replace(QUIET, noise=1.0))
    with pytest.raises(TrainingError, match="3 bags but 2 outcomes"):
        train_privately(
            small_model(),
            bags,
            SETTINGS,
            QUIET,
            outcomes=[bag.outcome for bag in bags[:2]],
            use_genes=False,
            device=CPU,
        )


def test_noise_and_samples_follow_no_seed(monkeypatch):
    """Everything that is drawn, dropout's seeds too, comes from the operating system."""
    asked = []

    def recorded(size):
        asked.append(size)
        return bytes(size)

    monkeypatch.setattr("ghanet_model.secure.os.urandom", recorded)
    total = [torch.zeros(10)]
    private_training.add_noise(total, replace(QUIET, noise=1.0))
    assert asked
    assert len(total[0].unique()) == 1  # of zeros only, all numbers are the same
