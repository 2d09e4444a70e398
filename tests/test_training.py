"""Training learns, repeats itself, keeps within memory and leaves alone what is not its own."""

import math
import re
import threading
from collections import Counter
from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch
from lifelines.utils import concordance_index

from ghanet_model import batches, training
from ghanet_model.bag import Bag, Outcome
from ghanet_model.batches import batches_of
from ghanet_model.errors import FeaturesError, TrainingError
from ghanet_model.loss import case_losses
from ghanet_model.network import DECODERS, new_model
from ghanet_model.sizes import GHANetConfig
from ghanet_model.study import StudyConfig
from ghanet_model.times import Stopwatch
from ghanet_model.training import TrainingSettings, evaluate, train

CPU = torch.device("cpu")
WIDTH = 6
SETTINGS = TrainingSettings(
    epochs=2, batch_cases=8, learning_rate=1e-3, weight_decay=1e-5, gene_loss_weight=0.3
)


def small_model(dropout=0.25):
    """A compact model of two gene groups."""
    config = GHANetConfig.preset(
        "compact", group_sizes=(3, 2), feature_width=WIDTH, time_bins=3, dropout=dropout
    )
    return new_model(config, seed=0)


def planted_bags(n=24, seed=0):
    """Cases whose first feature says when they die, and whose genes repeat it."""
    rng = torch.Generator().manual_seed(seed)
    bags = []
    for i in range(n):
        time_bin = i % 3
        features = torch.randn(5 + i % 4, WIDTH, generator=rng)
        features[:, 0] += 3.0 * (time_bin - 1)
        genes = (torch.full((3,), time_bin - 1.0), torch.randn(2, generator=rng))
        bags.append(Bag(features, Outcome(10.0 * time_bin, i % 4 != 0, time_bin), genes))
    return bags


def trained(bags=None, settings=SETTINGS, *, model=None, seed=1, use_genes=True, outcomes=None):
    """A model after training, and the report."""
    model = model or small_model()
    bags = planted_bags() if bags is None else bags
    outcomes = [bag.outcome for bag in bags] if outcomes is None else outcomes
    report = train(
        model, bags, settings, outcomes=outcomes, use_genes=use_genes, seed=seed, device=CPU
    )
    return model, report


def changed(one, other):
    """Names of parameters that differ in any bit."""
    pairs = zip(one.state_dict().items(), other.state_dict().values(), strict=True)
    return {name for (name, a), b in pairs if not torch.equal(a, b)}


def test_training_learns_what_was_planted():
    """On a planted problem the loss falls by a fifth and the risks order the deaths."""
    bags, settings = planted_bags(72), replace(SETTINGS, learning_rate=2e-3)
    _, first = trained(bags, replace(settings, epochs=1))
    model, last = trained(bags, replace(settings, epochs=12))
    sums = evaluate(model, planted_bags(72, seed=9), device=CPU)
    assert last.loss < first.loss * 0.8
    assert sums.concordance.c_index > 0.75


def test_same_seed_same_weights():
    """Same inputs and seed give the same weights bit by bit; another seed other ones."""
    model, report = trained()
    same, again = trained()
    other, _ = trained(seed=2)
    assert not changed(model, same)
    assert report.loss == again.loss
    assert changed(model, other)


def test_random_state_is_untouched():
    """Training neither moves nor follows the global random state."""
    torch.manual_seed(3)
    before = torch.get_rng_state()
    model, _ = trained()
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(4)
    assert not changed(model, trained()[0])


def test_without_genes_decoders_stay():
    """Training without genes changes every parameter but the decoders, whose bits stay."""
    model, _ = trained(use_genes=False)
    names = {name for name, _ in model.named_parameters() if not name.startswith(DECODERS)}
    assert changed(model, small_model()) == names


def test_with_genes_decoders_learn():
    """Training with genes changes every parameter of the decoders too."""
    model, _ = trained()
    assert changed(model, small_model()) == set(model.state_dict())


def test_frozen_parameters_are_not_decayed():
    """A parameter that requires no gradient keeps its bits, weight decay or not."""
    model = small_model()
    model.survival.requires_grad_(requires_grad=False)
    trained(settings=replace(SETTINGS, weight_decay=0.1), model=model)
    frozen = {name for name in model.state_dict() if name.startswith("survival.")}
    assert changed(model, small_model()) == set(model.state_dict()) - frozen


def test_parts_of_a_step_are_the_step(monkeypatch):
    """Cutting steps into parts of few patches changes no weight beyond rounding."""
    whole, _ = trained(model=small_model(dropout=0.0).double())
    monkeypatch.setattr(batches, "PATCHES_AT_ONCE", 12)
    parts, _ = trained(model=small_model(dropout=0.0).double())
    for a, b in zip(whole.parameters(), parts.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-7, atol=1e-9)


def test_classes_are_drawn_alike():
    """A rare (bin, event) is drawn as often as a common one."""
    outcomes = [Outcome(1.0, event=i < 20, time_bin=0) for i in range(200)]
    settings = replace(SETTINGS, epochs=50)
    drawn = [i for step in training._draw(outcomes, settings, seed=0) for i in step]
    share = Counter(i < 20 for i in drawn)[True] / len(drawn)
    assert share == pytest.approx(0.5, abs=0.02)
    assert len(set(drawn)) == 200


@pytest.mark.parametrize(("cases", "steps"), [(1, [1]), (8, [8]), (9, [5, 4]), (20, [7, 7, 6])])
def test_an_epoch_draws_as_many_cases_as_there_are(cases, steps):
    """Steps of an epoch are of nearly equal size, at most ``batch_cases``."""
    outcomes = [Outcome(1.0, event=True, time_bin=0)] * cases
    drawn = training._draw(outcomes, replace(SETTINGS, epochs=2), seed=0)
    assert [len(step) for step in drawn] == steps * 2


def test_report_and_progress():
    """The report counts cases and steps, and progress hears of every step."""
    bags, heard = planted_bags(), []
    outcomes = [bag.outcome for bag in bags]
    report = train(
        small_model(),
        bags,
        SETTINGS,
        outcomes=outcomes,
        use_genes=True,
        seed=1,
        device=CPU,
        progress=lambda done, steps: heard.append((done, steps)),
    )
    assert (report.cases, report.steps) == (24, 6)
    assert heard == [(done, 6) for done in range(1, 7)]
    assert report.seconds > 0
    assert math.isfinite(report.loss)


def test_reported_loss_is_the_mean_of_the_last_epoch():
    """With a learning rate of nothing, no dropout and nine like cases, it is one's loss."""
    bags, model = [planted_bags()[1]] * 9, small_model(dropout=0.0)
    _, report = trained(bags, replace(SETTINGS, learning_rate=0.0), model=model, use_genes=False)
    assert report.steps == 4
    assert report.loss == pytest.approx(evaluate(model, bags[:1], device=CPU).nll, rel=1e-5)


def test_a_step_follows_the_mean_loss():
    """The gradient of a step is that of the mean of its cases' losses."""
    bags, model = planted_bags(4), small_model(dropout=0.0).double()
    (batch,) = batches_of(bags, 4, pin=False)
    total = training._add_gradients(model, batch, SETTINGS, Stopwatch(CPU))
    found = [parameter.grad for parameter in model.parameters()]
    single = [
        case_losses(model(b.features.double(), [len(b.features)]), [b], gene_weight=0.3)
        for b in bags
    ]
    mean = torch.cat([losses.total for losses in single]).mean()
    expected = torch.autograd.grad(mean, list(model.parameters()))
    torch.testing.assert_close(found, list(expected))
    assert total == pytest.approx(4 * mean.item())


def test_outcomes_are_those_given():
    """Training takes outcomes from its argument, so bags need not carry them."""
    bags = planted_bags()
    outcomes = [bag.outcome for bag in bags]
    bare = [replace(bag, outcome=None) for bag in bags]
    assert not changed(trained(bags)[0], trained(bare, outcomes=outcomes)[0])


def test_half_precision_features_train_in_full():
    """Features of half precision train a model of single precision."""
    halves = [replace(bag, features=bag.features.half()) for bag in planted_bags()]
    model, report = trained(halves)
    singles = [replace(bag, features=bag.features.float()) for bag in halves]
    assert not changed(model, trained(singles)[0])
    assert model.association.queries.dtype == torch.float32
    assert report.steps == 6


class Reads(list):
    """Bags that note which thread reads them, and may refuse the read of a number."""

    def __init__(self, bags, *, refused=None):
        super().__init__(bags)
        self.refused, self.threads, self.count = refused, set(), 0

    def __getitem__(self, index):
        """Read one."""
        self.threads.add(threading.current_thread())
        self.count += 1
        if self.count == self.refused:
            raise FeaturesError("features of slides.csv row 7: no patches")
        return super().__getitem__(index)


def test_reading_ahead_changes_no_bit(monkeypatch):
    """Bags are read by another thread, and weights and sums are those of reading in turn."""
    bags = Reads(planted_bags())
    monkeypatch.setattr(batches, "PATCHES_AT_ONCE", 12)
    model, report = trained(bags)
    assert threading.main_thread() not in bags.threads
    sums = evaluate(model, bags, device=CPU)
    monkeypatch.setattr(training, "read_ahead", lambda items: nullcontext(iter(items)))
    same, again = trained(bags)
    assert threading.main_thread() in bags.threads
    assert not changed(model, same)
    assert report.loss == again.loss
    assert evaluate(model, bags, device=CPU) == sums


def test_what_reading_refuses_ends_training():
    """An error of a bag comes out as it is, and no thread stays."""
    threads = threading.active_count()
    with pytest.raises(FeaturesError, match=r"^features of slides\.csv row 7: no patches$"):
        trained(Reads(planted_bags(), refused=5))
    assert threading.active_count() == threads


def test_training_that_is_abandoned_stops_reading():
    """What progress raises ends the training: no thread stays, and few bags more are read."""
    bags, threads = Reads(planted_bags()), threading.active_count()
    outcomes = [bag.outcome for bag in list.__iter__(bags)]

    def leave(done, steps):
        raise ConnectionError

    with pytest.raises(ConnectionError):
        train(
            small_model(),
            bags,
            replace(SETTINGS, epochs=9),
            outcomes=outcomes,
            use_genes=True,
            seed=1,
            device=CPU,
            progress=leave,
        )
    assert threading.active_count() == threads
    assert bags.count <= 3 * SETTINGS.batch_cases


def test_bfloat16_trains_close_to_float32():
    """Parameters stay float32; the loss follows within 2%, risks (from -3 to 0) within 0.15."""
    settings = replace(SETTINGS, epochs=4)
    model, report = trained(settings=settings)
    half, other = trained(settings=replace(settings, precision="bfloat16"))
    assert {p.dtype for p in half.parameters()} == {torch.float32}
    assert changed(model, half)
    assert other.loss == pytest.approx(report.loss, rel=0.02)
    features = [bag.features for bag in planted_bags(seed=9)]
    risks, others = model.predict(features).risk, half.predict(features).risk
    torch.testing.assert_close(others, risks, rtol=0, atol=0.15)


def test_bfloat16_repeats_itself():
    """Same seed, same weights bit by bit, in bfloat16 too."""
    settings = replace(SETTINGS, precision="bfloat16")
    assert not changed(trained(settings=settings)[0], trained(settings=settings)[0])


def test_the_report_says_where_the_time_went():
    """Every part took some, all of it lies within the seconds, and it reads as shares."""
    _, report = trained()
    times = report.times
    assert min(times.read, times.forward, times.backward, times.step) > 0
    assert times.total <= report.seconds
    assert re.fullmatch(r"read \d+%, forward \d+%, backward \d+%, step \d+%", str(times))


@pytest.mark.parametrize("mode", [True, False])
def test_the_mode_is_left_as_it_was(mode):
    """A model in eval mode is in eval mode after training, and learns the same."""
    model, _ = trained(model=small_model().train(mode))
    assert model.training == mode
    assert not changed(model, trained()[0])


def test_a_loss_that_is_not_finite_stops_training():
    """Features that are not finite end the training, and the message names no case."""
    bags = planted_bags()
    bags = [replace(bag, features=bag.features * torch.nan) for bag in bags]
    with pytest.raises(TrainingError, match=r"^the loss is not finite$"):
        trained(bags)


def test_nothing_to_learn_from_is_refused():
    """No bags, no deaths or outcomes of another number end before anything is read."""
    bags = planted_bags()
    alive = [replace(bag.outcome, event=False) for bag in bags]
    with pytest.raises(TrainingError, match="no cases"):
        trained([])
    with pytest.raises(TrainingError, match="no event"):
        trained(bags, outcomes=alive)
    with pytest.raises(TrainingError, match="24 bags but 23 outcomes"):
        trained(bags, outcomes=alive[1:])


def test_evaluation_counts_cases_with_an_outcome():
    """Cases without an outcome are not counted, and change nothing."""
    bags = planted_bags()
    unknown = [replace(bag, outcome=None) for bag in planted_bags(seed=5)]
    model = small_model()
    sums = evaluate(model, bags, device=CPU)
    assert (sums.cases, sums.events) == (24, 18)
    assert evaluate(model, [*unknown, *bags], device=CPU) == sums
    assert evaluate(model, unknown, device=CPU).cases == 0


def test_evaluation_is_that_of_the_predictions():
    """Sums over bags are those of the risks and likelihoods predicted together."""
    bags, model = planted_bags(), small_model()
    sums = evaluate(model, bags, device=CPU)
    risks = model.predict([bag.features for bag in bags]).risk.double()
    times = [bag.outcome.time for bag in bags]
    events = [bag.outcome.event for bag in bags]
    nll = sum(evaluate(model, [bag], device=CPU).nll for bag in bags)
    assert sums.nll == pytest.approx(nll)
    assert sums.risk == pytest.approx(risks.sum().item(), rel=1e-5)
    assert sums.risk_squared == pytest.approx((risks**2).sum().item(), rel=1e-5)
    assert sums.concordance.c_index == pytest.approx(concordance_index(times, -risks, events))


def test_evaluation_refuses_unusable_features():
    """A case that cannot be predicted ends the evaluation; it is never skipped."""
    bags = planted_bags()
    bags[3] = replace(bags[3], features=bags[3].features[:, 1:])
    with pytest.raises(FeaturesError, match="expected"):
        evaluate(small_model(), bags, device=CPU)


def test_settings_are_those_of_the_study():
    """Every setting comes from the study's field of that meaning."""
    study = StudyConfig(
        name="demo",
        encoder="uni",
        feature_width=WIDTH,
        time_bin_edges=(12.0, 36.0),
        gene_groups="groups.csv",
        groups=(("tumor", ("TP53",)),),
        local_epochs=3,
        batch_cases=16,
        learning_rate=5e-4,
        weight_decay=2e-5,
        gene_loss_weight=0.1,
        training_precision="bfloat16",
    )
    assert TrainingSettings.from_study(study) == TrainingSettings(
        3, 16, 5e-4, 2e-5, 0.1, "bfloat16"
    )
