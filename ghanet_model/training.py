"""Local epochs and evaluation on one site's bags. No global state, no log of a case.

Bags are read in a thread of their own while others are computed; results do not depend on it.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor, nn

from .bag import Bag, Bags, Outcome
from .batches import Batch, batches_of, read_ahead
from .errors import TrainingError
from .files import sha256
from .loss import case_losses
from .metrics import EvaluationSums, concordance
from .network import Network, Prediction
from .study import BFLOAT16, FLOAT32, StudyConfig
from .times import Stopwatch, Times


@dataclass(frozen=True, slots=True)
class TrainingSettings:
    """How a site trains in one round."""

    epochs: int
    batch_cases: int  # cases per step, at most
    learning_rate: float
    weight_decay: float
    gene_loss_weight: float
    precision: str = FLOAT32  # of forward passes; parameters, gradients and loss stay float32

    @classmethod
    def from_study(cls, study: StudyConfig) -> Self:
        """What the study says."""
        return cls(
            epochs=study.local_epochs,
            batch_cases=study.batch_cases,
            learning_rate=study.learning_rate,
            weight_decay=study.weight_decay,
            gene_loss_weight=study.gene_loss_weight,
            precision=study.training_precision,
        )


@dataclass(frozen=True, slots=True)
class TrainingReport:
    """What training did, in numbers about the site and none about a case."""

    cases: int
    steps: int
    loss: float  # mean over the cases drawn in the last epoch
    seconds: float
    times: Times  # where they went


def train(  # noqa: PLR0913 - all are the caller's to decide
    model: Network,
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
    optimizer = adam(
        model.parameters(),
        learning_rate=settings.learning_rate,
        weight_decay=settings.weight_decay,
    )
    sums = []
    drawn = _batches(bags, outcomes, draws, use_genes=use_genes, pin=device.type == "cuda")
    with training_mode(model), seeded(seed, device), read_ahead(drawn) as batches:
        watch = Stopwatch(device)
        for done in range(1, len(draws) + 1):
            optimizer.zero_grad()
            step = _one_step(batches)
            sums.append(sum(_add_gradients(model, batch, settings, watch) for batch in step))
            optimizer.step()
            if progress:
                progress(done, len(draws))
            watch.lap("step")
    last = sums[-(len(draws) // settings.epochs) :]
    loss, seconds = sum(last) / len(bags), time.monotonic() - started
    return TrainingReport(len(bags), len(draws), loss, seconds, watch.times)


def round_seed(study: StudyConfig, number: int, name: str) -> int:
    """A seed that belongs to this study, round and hospital, the same after any restart."""
    return int(sha256(f"{study.seed}|{number}|{name}".encode())[:15], 16)


def evaluate(model: Network, bags: Bags, *, device: torch.device) -> EvaluationSums:
    """Sums over the bags that have an outcome, two bags in memory at a time.

    Always in the model's own precision: sites' sums are added and compared, and must not differ
    because one computes bfloat16 in another way than the next.
    """
    model.to(device)
    nll, times, events, risks = 0.0, [], [], []
    single = (one for bag in bags for one in batches_of([bag], 1, pin=device.type == "cuda"))
    with read_ahead(single) as batches:
        for batch in batches:
            (bag,) = batch.bags
            if bag.outcome is None:
                continue
            prediction = model.predict([batch.features_on(device)])
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


def adam(
    parameters: Iterable[nn.Parameter], *, learning_rate: float, weight_decay: float
) -> torch.optim.Adam:
    """Adam with L2 weight decay over what requires a gradient, fused: one pass over memory."""
    learned = [parameter for parameter in parameters if parameter.requires_grad]
    kind = learned[0].device.type
    return torch.optim.Adam(
        learned, lr=learning_rate, weight_decay=weight_decay, fused=kind in ("cpu", "cuda")
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


def _batches(
    bags: Bags,
    outcomes: Sequence[Outcome],
    draws: Sequence[Sequence[int]],
    *,
    use_genes: bool,
    pin: bool,
) -> Iterator[Batch]:
    """The cases of all steps, each bag read when its turn comes."""
    for drawn in draws:
        cases = (_case(bags[i], outcomes[i], use_genes=use_genes) for i in drawn)
        yield from batches_of(cases, len(drawn), pin=pin)


def _one_step(batches: Iterator[Batch]) -> Iterator[Batch]:
    """Batches up to the end of a step."""
    for batch in batches:
        yield batch
        if batch.ends_step:
            return


def _add_gradients(
    model: Network, batch: Batch, settings: TrainingSettings, watch: Stopwatch
) -> float:
    """Add a batch's part of the gradient of its step's mean loss; return the sum of its losses."""
    parameters = model.weight
    features = batch.features_on(parameters.device)  # (P, D)
    watch.lap("read")
    prediction = predict(model, features, batch.lengths, precision=settings.precision)
    gene_weight = settings.gene_loss_weight
    loss: Tensor = case_losses(prediction, batch.bags, gene_weight=gene_weight).total.sum()
    if not loss.isfinite():
        raise TrainingError(
            "the loss is not finite", hint="a lower learning rate, or look at the features"
        )
    watch.lap("forward")
    (loss / batch.step_cases).backward()  # type: ignore[no-untyped-call]
    watch.lap("backward")
    return loss.item()


def predict(
    model: Network, features: Tensor, lengths: Sequence[int], *, precision: str
) -> Prediction:
    """What the loss needs, in the parameters' type whatever the precision of the forward pass."""
    own = model.weight.dtype
    with autocast(features.device, precision):
        found: Prediction = model(features, lengths)  # it takes features of any float type
    genes = tuple(group.to(own) for group in found.genes)
    return replace(found, hazards=found.hazards.to(own), genes=genes)


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """Where forward passes of a study run; refused by torch on a device without bfloat16."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == BFLOAT16)


@contextmanager
def training_mode(model: Network) -> Iterator[None]:
    """Dropout as in training inside; as before afterwards."""
    mode = model.training
    model.train()
    try:
        yield
    finally:
        model.train(mode)


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Random numbers from ``seed`` inside; the global state as before afterwards."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.default_generator.manual_seed(seed)
        if device.type == "cuda":
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield
