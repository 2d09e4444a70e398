"""``benchmarks/exchange.py``: what one exchange of weights costs, ours and with plain Flower.

Nobody trains: weights go to every node and come back, through real SuperLinks, SuperNodes and TLS
on this machine. See README.md beside this file for what is compared and what may be claimed.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))  # benchmarks/, which is no package

from exchange_arms import OURS, PLAIN, Measured, Plan, run_ours
from exchange_plain import run_plain
from options import benchmark_parser

from ghanet_model.commands import run_command
from ghanet_model.files import write_json

FEW, MANY = 3, 8
COLUMNS = (
    *("arm", "nodes", "MB per exchange", "seconds", "range"),
    *("first: MB", "first: seconds", "ServerApp peak MB"),
)
SHARE, GROWTH = 0.5, 1.1  # of plain Flower's bytes and seconds; of memory from few to many nodes


def benchmark(options: argparse.Namespace) -> int:
    """Run every arm, print the table, write the numbers."""
    preset, counts = ("compact", (FEW,)) if options.quick else ("published", (FEW, MANY))
    exchanges = 2 if options.quick else max(2, options.exchanges)
    found = []
    with work_folder(options.work) as work:
        for nodes in counts:
            plan = Plan(preset, nodes, exchanges)
            for name, run in (("ours", run_ours), ("plain", run_plain)):
                print(f"{name}, {nodes} nodes ...", file=sys.stderr, flush=True)
                folder = work / f"{name}-{nodes}"
                folder.mkdir(parents=True)
                found.append(run(folder, plan))
    print(f"\npreset {preset}, {exchanges} exchanges\n\n{table(found)}")
    if options.json:
        write_json(options.json, {"preset": preset, "arms": [asdict(own) for own in found]})
    missed = missed_targets(found) if options.check else []
    print(*missed, sep="\n", end="\n" if missed else "")
    return int(bool(missed))


@contextmanager
def work_folder(kept: Path | None) -> Iterator[Path]:
    """The folder that was asked for, or a temporary one."""
    if kept:
        yield kept.resolve()
        return
    with tempfile.TemporaryDirectory(prefix="exchange-") as folder:
        yield Path(folder)


def table(found: Sequence[Measured]) -> str:
    """One line per arm and number of nodes."""
    rows = [f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|"]
    for own in found:
        later = own.seconds[1:]
        rows.append(
            f"| {own.arm} | {own.nodes} | {own.later_bytes / 1e6:.1f} | {own.later_seconds:.1f} "
            f"| {min(later):.1f} - {max(later):.1f} | {own.sizes[0] / 1e6:.1f} "
            f"| {own.seconds[0]:.1f} | {own.peak / 1e6:.0f} |"
        )
    return "\n".join(rows)


def missed_targets(found: Sequence[Measured]) -> list[str]:
    """What ``--check`` asks for and was not reached."""
    arms = {(own.arm, own.nodes): own for own in found}
    ours, plain, many = arms[OURS, FEW], arms[PLAIN, FEW], arms.get((OURS, MANY))
    missed = []
    if sum(ours.sizes) > SHARE * sum(plain.sizes):  # the first exchange included
        missed.append(f"missed: more than {SHARE:.0%} of plain Flower's bytes")
    if ours.later_seconds > SHARE * plain.later_seconds:
        missed.append(f"missed: more than {SHARE:.0%} of plain Flower's seconds")
    if many and many.peak > GROWTH * ours.peak:
        missed.append(f"missed: memory grew by more than {GROWTH - 1:.0%} from {FEW} to {MANY}")
    return missed


def make_parser() -> argparse.ArgumentParser:
    """The few options."""
    parser = benchmark_parser(
        "exchange.py",
        __doc__,
        benchmark,
        quick="compact weights, 3 nodes, 2 exchanges: does it run?",
    )
    add = parser.add_argument
    add("--exchanges", type=int, default=4, help="of each arm, 2 at least; the first counts apart")
    add("--work", type=Path, help="keep the deployments' folders here; default: a temporary folder")
    return parser


if __name__ == "__main__":
    sys.exit(run_command(make_parser()))
