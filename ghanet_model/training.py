"""Local epochs and evaluation on one site's bags. No global state, no I/O, no log of a case."""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from .bag import Bag, Bags, Outcome
from .errors import TrainingError
from .loss import case_losses
from .metrics import EvaluationSums, concordance
from .network import GHANet
from .study import StudyConfig

PATCHES_AT_ONCE = 20_000  # bounds memory; a step of more is taken in parts, its gradient the same


@dataclass(frozen=True, slots=True)
class TrainingSettings:
    """How a site trains in one round."""

    epochs: int
    batch_cases: int  # cases per step, at most
    learning_rate: float
    weight_decay: float
    gene_loss_weight: float

    @classmethod
    def from_study(cls, study: StudyConfig) -> Self:
        """What the study says."""
        return cls(
            epochs=study.local_epochs,
            batch_cases=study.batch_cases,
            learning_rate=study.learning_rate,
            weight_decay=study.weight_decay,
            gene_loss_weight=study.gene_loss_weight,
        )


@dataclass(frozen=True, slots=True)
class TrainingReport:
    """What training did, in numbers about the site and none about a case."""

    cases: int
    steps: int
    loss: float  # mean over the cases drawn in the last epoch
    seconds: float


def train(  # noqa: PLR0913 - all are the caller's to decide
    model: GHANet,
    bags: Bags,
    settings: TrainingSettings,
    *,
    outcomes: Sequence[Outcome],
    use_genes: bool,
    seed: int,
    device: torch.device,
    progress: Callable[[int, int], None] | None = None,
) -> TrainingReport:
    """Train ``model`` in place, on ``device``, with Adam (L2 weight decay).

    An epoch draws as many cases as there are, with replacement, each with a chance of one over
    the number of cases of its (time bin, event), so that every such class is drawn alike often;
    its steps are of nearly equal size, at most ``batch_cases``. Same inputs, seed and machine give
    the same weights bit by bit; the global random state is untouched.

    Args:
        model: trained in place; parameters that require no gradient stay as they are.
        bags: read one by one when drawn; features of any float type.
        settings: epochs, step size, rates.
        outcomes: of each bag, so that drawing reads no features.
        use_genes: False leaves genes unread and the gene decoders as they are, bit by bit.
        seed: of drawing cases and of dropout.
        device: where to train.
        progress: called after each step with steps done and steps in all.

    Raises:
        TrainingError: no bags, no event among them, or a loss that is not finite.
    """
    _check_outcomes(bags, outcomes)
    started = time.monotonic()
    draws = list(_draw(outcomes, settings, seed))
    model.to(device)
    optimizer = torch.optim.Adam(
        [parameter for parameter in model.parameters() if parameter.requires_grad],
        lr=settings.learning_rate,
        weight_decay=settings.weight_decay,
    )
    sums = []
    with _training_mode(model), _seeded(seed, device):
        for done, drawn in enumerate(draws, start=1):
            cases = (_case(bags[i], outcomes[i], use_genes=use_genes) for i in drawn)
            optimizer.zero_grad()
            sums.append(_add_gradients(model, cases, len(drawn), settings.gene_loss_weight))
            optimizer.step()
            if progress:
                progress(done, len(draws))
    last = sums[-(len(draws) // settings.epochs) :]
    loss = sum(last) / len(bags)
    return TrainingReport(len(bags), len(draws), loss, time.monotonic() - started)


def evaluate(model: GHANet, bags: Bags, *, device: torch.device) -> EvaluationSums:
    """Sums over the bags that have an outcome, one bag in memory at a time."""
    model.to(device)
    nll, times, events, risks = 0.0, [], [], []
    for bag in bags:
        if bag.outcome is None:
            continue
        prediction = model.predict([bag.features.to(device)])
        nll += case_losses(prediction, [replace(bag, genes=None)], gene_weight=0.0).nll.item()
        risks.append(prediction.risk.item())
        times.append(bag.outcome.time)
        events.append(bag.outcome.event)
    return EvaluationSums(
        cases=len(risks),
        events=sum(events),
        nll=nll,
        risk=sum(risks),
        risk_squared=sum(risk**2 for risk in risks),
        concordance=concordance(times, events, risks),
    )


def _check_outcomes(bags: Bags, outcomes: Sequence[Outcome]) -> None:
    if not len(bags):
        raise TrainingError("no cases to train on")
    if len(bags) != len(outcomes):
        raise TrainingError(f"{len(bags)} bags but {len(outcomes)} outcomes")
    if not any(outcome.event for outcome in outcomes):
        raise TrainingError(
            "no event among the cases to train on", hint="without a death nothing can be learned"
        )


def _draw(
    outcomes: Sequence[Outcome], settings: TrainingSettings, seed: int
) -> Iterator[list[int]]:
    """The cases of each step, epoch after epoch."""
    classes = [(outcome.time_bin, outcome.event) for outcome in outcomes]
    counts = Counter(classes)
    chances = torch.tensor([1 / counts[own] for own in classes], dtype=torch.float64)
    generator = torch.Generator().manual_seed(seed)
    steps = -(-len(classes) // settings.batch_cases)
    for _ in range(settings.epochs):
        drawn = torch.multinomial(chances, len(classes), replacement=True, generator=generator)
        yield from (part.tolist() for part in drawn.tensor_split(steps))


def _case(bag: Bag, outcome: Outcome, *, use_genes: bool) -> Bag:
    return replace(bag, outcome=outcome, genes=bag.genes if use_genes else None)


def _add_gradients(model: GHANet, cases: Iterable[Bag], count: int, gene_weight: float) -> float:
    """Add the gradient of the mean loss over ``count`` cases; return the sum of their losses."""
    total = 0.0
    for part in _parts(cases):
        features = torch.cat([bag.features.to(model.association.queries) for bag in part])
        prediction = model(features, [len(bag.features) for bag in part])
        loss: Tensor = case_losses(prediction, part, gene_weight=gene_weight).total.sum()
        if not loss.isfinite():
            raise TrainingError(
                "the loss is not finite", hint="a lower learning rate, or look at the features"
            )
        (loss / count).backward()  # type: ignore[no-untyped-call]
        total += loss.item()
    return total


def _parts(cases: Iterable[Bag]) -> Iterator[list[Bag]]:
    """Cases in runs of at most PATCHES_AT_ONCE patches; a larger case comes alone."""
    part: list[Bag] = []
    patches = 0
    for bag in cases:
        if part and patches + len(bag.features) > PATCHES_AT_ONCE:
            yield part
            part, patches = [], 0
        part.append(bag)
        patches += len(bag.features)
    if part:
        yield part


@contextmanager
def _training_mode(model: GHANet) -> Iterator[None]:
    mode = model.training
    model.train()
    try:
        yield
    finally:
        model.train(mode)


@contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Random numbers from ``seed`` inside; the global state as before afterwards."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.default_generator.manual_seed(seed)
        if device.type == "cuda":
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield
