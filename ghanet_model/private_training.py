"""Training with differential privacy (Abadi et al. 2016, DP-SGD), the unit being the case.

One case is one bag, so one backward pass gives the gradient of one record: it is clipped and added
by itself, without hooks into the network. Unlike other training there are no epochs and no balance
of classes by drawing: each step takes a Poisson sample, and an empty one is a step like any other.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from .accounting import Charge
from .bag import Bags, Outcome
from .batches import Batch, batches_of, read_ahead
from .errors import SettingsError, TrainingError
from .loss import case_losses
from .network import DECODERS, Network
from .secure import drawn, normals, seeds
from .times import Stopwatch, Times
from .training import TrainingSettings, adam, predict, seeded, training_mode


@dataclass(frozen=True, slots=True)
class Mechanism:
    """How a round is made private. All of it is public, and none of it follows from a cohort."""

    clipping_norm: float  # C: the most that a case adds to a step's sum, as L2 norm
    sampling_rate: float  # q: chance of a case to be in a step
    steps: int  # of a round
    noise: float  # sigma: deviation of the noise over C
    nominal_cases: int  # the sum is divided by q times this, whatever the cohort's size
    class_weights: tuple[float, ...] = ()  # (2 K,) deaths by bin, censored by bin; none: 1 each

    def __post_init__(self) -> None:
        """Refuse what would make a case count for more than C."""
        if not all(0 < weight <= 1 for weight in self.class_weights):
            raise SettingsError(
                "a class weight is not above 0 and at most 1",
                hint="weights are taken after clipping: above 1 a case would exceed its norm",
            )
        if not self.clipping_norm > 0 or self.nominal_cases < 1:
            raise SettingsError("a clipping norm or number of cases is not above 0")

    @property
    def charge(self) -> Charge:
        """What a round costs."""
        return Charge(self.noise, self.sampling_rate, self.steps)

    def weight_of(self, outcome: Outcome) -> float:
        """What a clipped gradient of such a case is multiplied with."""
        if not self.class_weights:
            return 1.0
        bins = len(self.class_weights) // 2
        return self.class_weights[outcome.time_bin + (0 if outcome.event else bins)]


@dataclass(frozen=True, slots=True)
class PrivateReport:
    """What is known of a private round; for the site's own log only."""

    seconds: float
    times: Times


def train_privately(  # noqa: PLR0913 - all are the caller's to decide
    model: Network,
    bags: Bags,
    settings: TrainingSettings,
    mechanism: Mechanism,
    *,
    outcomes: Sequence[Outcome],
    use_genes: bool,
    device: torch.device,
    progress: Callable[[int, int], None] | None = None,
) -> PrivateReport:
    """Train ``model`` in place with noise; no two calls give the same weights.

    Neither a small cohort nor one without a death is refused here: whether a hospital answers must
    not tell which cases it has.

    Args:
        model: trained in place; must keep no number from one case to the next.
        bags: read one by one when drawn.
        settings: learning rate, weight decay, gene loss, precision; not epochs and cases per step.
        mechanism: clipping, sampling, noise.
        outcomes: of each bag.
        use_genes: False leaves the gene decoders as they are, bit by bit.
        device: where to train.
        progress: called after each step with steps done and steps in all.

    Raises:
        TrainingError: a number of outcomes that is not that of bags.
        SettingsError: a network that mixes cases.
    """
    if len(bags) != len(outcomes):
        raise TrainingError(f"{len(bags)} bags but {len(outcomes)} outcomes")
    require_cases_apart(model)
    began = time.monotonic()
    model.to(device)
    learned = learned_parameters(model, use_genes=use_genes)
    optimizer = adam(
        learned, learning_rate=settings.learning_rate, weight_decay=settings.weight_decay
    )
    steps = [drawn(len(bags), mechanism.sampling_rate) for _ in range(mechanism.steps)]
    cases = _one_by_one(bags, outcomes, steps, use_genes=use_genes, pin=device.type == "cuda")
    own_seeds = seeds()
    with training_mode(model), seeded(next(own_seeds), device), read_ahead(cases) as coming:
        watch = Stopwatch(device)
        for done, sample in enumerate(steps, start=1):
            total = [torch.zeros_like(parameter) for parameter in learned]
            for _ in sample:
                batch, seed = next(coming), next(own_seeds)
                gradient = case_gradient(model, learned, batch, settings, seed=seed, watch=watch)
                add_clipped(total, gradient, mechanism, batch.bags[0].outcome)
                watch.lap("backward")
            add_noise(total, mechanism)
            watch.lap("noise")
            for parameter, summed in zip(learned, total, strict=True):
                parameter.grad = summed / (mechanism.sampling_rate * mechanism.nominal_cases)
            optimizer.step()
            optimizer.zero_grad()
            if progress:
                progress(done, len(steps))
            watch.lap("step")
    return PrivateReport(time.monotonic() - began, watch.times)


def require_cases_apart(model: nn.Module) -> None:
    """Refuse a network in which one case's numbers could reach another's gradient.

    Raises:
        SettingsError: which part.
    """
    for name, module in model.named_modules():
        normalises = isinstance(module, nn.modules.batchnorm._NormBase)  # noqa: SLF001 - their root
        if normalises or next(module.buffers(recurse=False), None) is not None:
            raise SettingsError(
                f"'{name}' ({type(module).__name__}) keeps numbers from one case to the next",
                hint="without them (LayerNorm, say) a case can be private",
            )


def learned_parameters(model: Network, *, use_genes: bool) -> list[nn.Parameter]:
    """What a round trains, the same for every case of it."""
    return [
        parameter
        for name, parameter in model.named_parameters()
        if parameter.requires_grad and (use_genes or not name.startswith(DECODERS))
    ]


def case_gradient(  # noqa: PLR0913
    model: Network,
    learned: Sequence[nn.Parameter],
    batch: Batch,
    settings: TrainingSettings,
    *,
    seed: int,
    watch: Stopwatch | None = None,
) -> list[Tensor]:
    """The gradient of one case's loss.

    Args:
        model: in training mode.
        learned: parameters to derive by.
        batch: of one case.
        settings: gene loss and precision.
        seed: of this case's dropout alone. A random state that went from case to case would let
            one case change what others contribute.
        watch: told how long it took.
    """
    _restart_random(seed, learned[0].device)
    features = batch.features_on(learned[0].device)  # (N, D)
    if watch:
        watch.lap("read")
    prediction = predict(model, features, batch.lengths, precision=settings.precision)
    weight = settings.gene_loss_weight
    loss = case_losses(prediction, batch.bags, gene_weight=weight).total.sum()
    if watch:
        watch.lap("forward")
    found = torch.autograd.grad(loss, learned, allow_unused=True)
    pairs = zip(found, learned, strict=True)
    return [torch.zeros_like(p) if gradient is None else gradient for gradient, p in pairs]


@torch.no_grad()
def add_clipped(
    total: Sequence[Tensor],
    gradient: Sequence[Tensor],
    mechanism: Mechanism,
    outcome: Outcome | None = None,
) -> None:
    """Add a case's gradient, at most C long, then by its class' weight.

    One that is not finite adds nothing: it would make the sum so, and that would tell of the case.
    """
    norm = float(torch.stack(torch._foreach_norm(list(gradient))).double().norm())  # noqa: SLF001
    if not norm < float("inf"):
        return
    share = min(1.0, mechanism.clipping_norm / (norm + 1e-6))  # as Opacus does
    if outcome is not None:
        share *= mechanism.weight_of(outcome)
    torch._foreach_add_(list(total), list(gradient), alpha=share)


@torch.no_grad()
def add_noise(total: Sequence[Tensor], mechanism: Mechanism) -> None:
    """Add normal noise of deviation sigma C to every number of a step's sum."""
    if not mechanism.noise:
        return
    deviation = mechanism.noise * mechanism.clipping_norm
    for summed in total:
        noise = torch.from_numpy(normals(summed.numel()).reshape(summed.shape))
        summed.copy_(summed.double().cpu() + deviation * noise)


def _restart_random(seed: int, device: torch.device) -> None:
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(seed)


def _one_by_one(
    bags: Bags,
    outcomes: Sequence[Outcome],
    steps: Sequence[Sequence[int]],
    *,
    use_genes: bool,
    pin: bool,
) -> Iterator[Batch]:
    """The drawn cases of all steps, each alone."""
    for sample in steps:
        for i in sample:
            bag = bags[i]
            case = replace(bag, outcome=outcomes[i], genes=bag.genes if use_genes else None)
            yield from batches_of([case], 1, pin=pin)
