"""``benchmarks/model.py``: G-HANet computed as published and as here, same weights, one process.

As published: keys and values of every patch in both hops, one bag at a time, float32. Here: packed
bags, folded attention, fused passes over patches, float32 or bfloat16. See README.md.
"""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent))  # benchmarks/, which is no package

from memory import peak_megabytes
from options import benchmark_parser
from published import published
from report import markdown

from ghanet_model.bag import Bag, Outcome
from ghanet_model.batches import pack
from ghanet_model.commands import run_command
from ghanet_model.errors import TrainingError
from ghanet_model.files import write_json
from ghanet_model.loss import case_losses
from ghanet_model.network import Network, new_model
from ghanet_model.sizes import GHANetConfig
from ghanet_model.study import BFLOAT16, FLOAT32
from ghanet_model.training import adam, autocast

SIZES = ((200, 32), (1_024, 16), (4_096, 4), (20_000, 1))  # patches of a case, cases of a step
GENES = (100,) * 6  # per gene group
TRAINING, INFERENCE = "training", "inference"
PUBLISHED, OURS, COARSE = "published", "ours", "ours, bfloat16"
LARGE = 200_000  # patches of the bag that is streamed
LEAST = {  # times as fast as published, by --check
    (TRAINING, OURS, 200): 2.3,
    (TRAINING, OURS, 4_096): 1.5,
    **{(TRAINING, COARSE, patches): 4.0 for patches, _ in SIZES},
    **{(INFERENCE, OURS, patches): 1.5 for patches, _ in SIZES},
}
MOST_MEMORY = {(INFERENCE, OURS, 20_000): 0.5, (TRAINING, OURS, 20_000): 0.5}  # of the published
MOST_STREAMED = 1024**3 / 1e6  # MB
PATCH_PRODUCTS = 2 * (1024 * 512 * 2 + 512 * 512)  # operations per patch that nothing can save:
# both first layers and the gate; training repeats each for its weights, and the gate's for H
TRAINED_PRODUCTS = 2 * PATCH_PRODUCTS + 2 * 512 * 512


@dataclass(frozen=True, slots=True)
class Measured:
    """The fastest of several repetitions: what else runs on a machine can only slow one down."""

    work: str
    way: str
    patches: int
    cases: int
    seconds: float  # per case
    megabytes: float | None  # at the peak, beyond weights and features
    speed: float  # times as fast as published
    floor: float  # share of the seconds that the products of the patches take at the full rate


def benchmark(options: argparse.Namespace) -> int:
    """Measure every size, print the table."""
    torch.set_num_threads(options.threads)
    device = torch.device(options.device)
    sizes = SIZES[::2] + SIZES[3:] if options.quick else SIZES
    repeats = 2 if options.quick else options.repeats
    rates = {kind: product_rate(kind, device) for kind in (torch.float32, torch.bfloat16)}
    merged = merged_gain(device)
    found = [one for patches, cases in sizes for one in compare(patches, cases, repeats, device)]
    found = [with_floor(one, rates) for one in found]
    streamed = None if options.quick else stream(device)
    about = f"published sizes, {options.threads} threads, {device.type}, best of {repeats}"
    print(f"\n{about}\n\n{table(found)}\n")
    for kind, rate in rates.items():
        print(f"large product of matrices, {kind}: {rate / 1e9:,.0f} GFLOP/s")
    print(f"two first layers in one product: {merged:.2f} times as fast as one after the other")
    if streamed is not None:
        print(f"one bag of {LARGE:,} float16 patches, inference: {streamed:,.0f} MB at the peak")
    if options.json:
        write_json(options.json, {"about": about, "rows": [asdict(one) for one in found]})
    missed = missed_targets(found, streamed)
    if options.check and missed:
        raise TrainingError(f"targets missed: {'; '.join(missed)}")
    return 0


def compare(patches: int, cases: int, repeats: int, device: torch.device) -> list[Measured]:
    """Training and inference of one size in every way, in turn, so that noise disturbs all."""
    bags = draw_bags(patches, cases, device)
    config = GHANetConfig(group_sizes=GENES)
    work: dict[tuple[str, str], Callable[[], object]] = {}
    for way in (PUBLISHED, OURS, COARSE):
        learner = new_model(config, seed=0).to(device).train()
        work[TRAINING, way] = trainer(learner, bags, way)
        work[INFERENCE, way] = predictor(new_model(config, seed=0).to(device).eval(), bags, way)
    seconds = dict.fromkeys(work, float("inf"))
    for do in work.values():
        do()  # not counted: it warms up, and optimisers make their state
    peaks = {key: peak_megabytes(do, device) for key, do in work.items()}
    for repeat in range(repeats):
        for key, do in work.items():
            seconds[key] = min(seconds[key], best_seconds(do, device, repeats=1) / cases)
        say(f"{cases} x {patches:,} patches: repetition {repeat + 1} of {repeats}")
    return [
        Measured(*key, patches, cases, s, peaks[key], seconds[key[0], PUBLISHED] / s, 0.0)
        for key, s in seconds.items()
    ]


def draw_bags(patches: int, cases: int, device: torch.device) -> list[Bag]:
    """Cases with float16 features, genes and outcomes."""
    rng = torch.Generator().manual_seed(0)
    return [
        Bag(
            torch.randn(patches, 1024, generator=rng).half().to(device),
            Outcome(10.0, i % 2 == 0, i % 4),
            tuple(torch.randn(n, generator=rng) for n in GENES),
        )
        for i in range(cases)
    ]


def trainer(model: Network, bags: Sequence[Bag], way: str) -> Callable[[], None]:
    """One optimiser step over all bags, in one way; the published one with Adam as it was used."""
    rates = {"lr": 2e-4, "weight_decay": 1e-5}
    plain = torch.optim.Adam(model.parameters(), **rates)
    fused = adam(model.parameters(), learning_rate=2e-4, weight_decay=1e-5)

    def one_by_one() -> None:
        plain.zero_grad()
        for bag in bags:
            prediction = published(model, bag.features.float())
            loss = case_losses(prediction, [bag], gene_weight=0.3).total.sum() / len(bags)
            loss.backward()
        plain.step()

    def packed() -> None:
        fused.zero_grad()
        features = pack([bag.features for bag in bags], pin=False)
        with autocast(features.device, BFLOAT16 if way == COARSE else FLOAT32):
            prediction = model(features, [len(bag.features) for bag in bags])
        loss = case_losses(prediction, bags, gene_weight=0.3).total.sum() / len(bags)
        loss.backward()
        fused.step()

    return one_by_one if way == PUBLISHED else packed


def predictor(model: Network, bags: Sequence[Bag], way: str) -> Callable[[], None]:
    """Prediction for all bags, in one way."""

    def one_by_one() -> None:
        with torch.no_grad():
            for bag in bags:
                published(model, bag.features.float())

    def packed() -> None:
        features = [bag.features for bag in bags]
        with autocast(features[0].device, BFLOAT16 if way == COARSE else FLOAT32):
            model.predict(features)

    return one_by_one if way == PUBLISHED else packed


def product_rate(kind: torch.dtype, device: torch.device) -> float:
    """Operations per second of a large product of matrices."""
    a, b = (torch.randn(4096, 1024, device=device).to(kind) for _ in range(2))
    return 2 * 4096**2 * 1024 / best_seconds(lambda: a @ b.T, device)


def merged_gain(device: torch.device) -> float:
    """How much faster one product with both first layers is than one after the other."""
    features = torch.randn(4096, 1024, device=device)
    one, other, both = (torch.randn(n, 1024, device=device) for n in (512, 512, 1024))
    apart = best_seconds(lambda: (features @ one.T, features @ other.T), device)
    return apart / best_seconds(lambda: features @ both.T, device)


def best_seconds(work: Callable[[], object], device: torch.device, repeats: int = 7) -> float:
    """Seconds of the fastest repetition."""
    best = float("inf")
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        best = min(best, time.perf_counter() - began)
    return best


def with_floor(one: Measured, rates: dict[torch.dtype, float]) -> Measured:
    """The same with the share of its seconds that could not be saved."""
    rate = rates[torch.bfloat16 if one.way == COARSE else torch.float32]
    products = TRAINED_PRODUCTS if one.work == TRAINING else PATCH_PRODUCTS
    values = asdict(one) | {"floor": one.patches * products / rate / one.seconds}
    return Measured(**values)


def stream(device: torch.device) -> float | None:
    """Peak memory in MB of predicting for one large bag, beyond its features."""
    model = new_model(GHANetConfig(group_sizes=GENES), seed=0).to(device)
    (bag,) = draw_bags(LARGE, 1, device)
    return peak_megabytes(lambda: model.predict([bag.features]), device)


def missed_targets(found: Sequence[Measured], streamed: float | None) -> list[str]:
    """What --check complains about."""
    by_key = {(one.work, one.way, one.patches): one for one in found}
    missed = [
        f"{key[0]} {key[1]} at {key[2]:,}: {by_key[key].speed:.2f}x, not {least}x"
        for key, least in LEAST.items()
        if key in by_key and by_key[key].speed < least and asked_of(key[1])
    ]
    for (work, way, patches), most in MOST_MEMORY.items():
        ours, theirs = by_key[work, way, patches], by_key[work, PUBLISHED, patches]
        if ours.megabytes and theirs.megabytes and ours.megabytes > most * theirs.megabytes:
            missed.append(f"{work} at {patches:,}: {ours.megabytes:.0f} MB")
    if streamed is not None and streamed > MOST_STREAMED:
        missed.append(f"{LARGE:,} patches: {streamed:,.0f} MB")
    return missed


def asked_of(way: str) -> bool:
    """Whether this machine can be asked for a way's target: bfloat16 needs avx512_bf16."""
    cpu = Path("/proc/cpuinfo")
    return way != COARSE or (cpu.exists() and "avx512_bf16" in cpu.read_text())


def table(found: Sequence[Measured]) -> str:
    """A row for each work, size and way."""
    header = ["", "patches x cases", "way", "ms per case", "speed", "peak MB", "products' share"]
    body = [
        [
            one.work, f"{one.patches:,} x {one.cases}", one.way, f"{1e3 * one.seconds:.1f}",
            f"{one.speed:.2f}x", "-" if one.megabytes is None else f"{one.megabytes:.0f}",
            "" if one.way == PUBLISHED else f"{one.floor:.0%}",
        ]
        for one in sorted(found, key=lambda one: (one.work, one.patches), reverse=False)
    ]  # fmt: skip
    return markdown([header, *body])


def say(text: str) -> None:
    """A line of progress, on the error stream: the table stays alone."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def make_parser() -> argparse.ArgumentParser:
    """The few options."""
    parser = benchmark_parser(
        "model.py", __doc__, benchmark, quick="three sizes, fewer repetitions, no large bag"
    )
    add = parser.add_argument
    add("--threads", type=int, default=1, help="default: 1")
    add("--device", default="cpu", help="cpu, or cuda where there is a GPU; default: cpu")
    add("--repeats", type=int, default=5, help="of each size and way; default: 5")
    return parser


if __name__ == "__main__":
    sys.exit(run_command(make_parser()))
