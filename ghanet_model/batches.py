"""Cases packed for the network, the next while the current one is computed. No random number here.

Shapes: N patches of one case, P patches of all cases packed, D feature width.
"""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import reduce
from itertools import islice
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .bag import Bag

PATCHES_AT_ONCE = 20_000  # bounds memory; a step of more is taken in parts, its gradient the same

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Cases that pass through the network together: a step of training, or a part of one."""

    features: Tensor  # (P, D), one case after the other, in the type they are stored in
    bags: tuple[Bag, ...]
    step_cases: int  # of the whole step
    ends_step: bool

    @property
    def lengths(self) -> list[int]:
        """Patches of each case; they add up to P."""
        return [len(bag.features) for bag in self.bags]

    def features_on(self, device: torch.device) -> Tensor:
        """Features (P, D) on the device, still as stored: half the bytes travel half as long."""
        return self.features.to(device, non_blocking=self.features.is_pinned())


def batches_of(cases: Iterable[Bag], count: int, *, pin: bool) -> Iterator[Batch]:
    """One step's ``count`` cases, read when their turn comes, in parts of PATCHES_AT_ONCE.

    Args:
        cases: of the step.
        count: how many they are.
        pin: pack into memory that a CUDA device copies from by itself.
    """
    left = count
    for bags in _parts(cases):
        left -= len(bags)
        features = pack([bag.features for bag in bags], pin=pin)
        rows = torch.split(features, [len(bag.features) for bag in bags])
        own = tuple(replace(bag, features=f) for bag, f in zip(bags, rows, strict=True))
        yield Batch(features, own, step_cases=count, ends_step=not left)


def pack(features: Sequence[Tensor], *, pin: bool) -> Tensor:
    """Cases (N, D) as one (P, D), in a float type that holds them all, copied at most once.

    A single case is not copied, unless to be pinned: nobody may write to what comes back. numpy
    copies, since torch would start a second team of OpenMP threads, which slows down the first.
    """
    if len(features) == 1 and not pin:
        return features[0]
    kind = reduce(torch.promote_types, (own.dtype for own in features))
    shape = (sum(map(len, features)), *features[0].shape[1:])
    packed = torch.empty(shape, dtype=kind, pin_memory=pin)
    np.concatenate([_bytes_of(own.to(kind)) for own in features], out=_bytes_of(packed))
    return packed


def _bytes_of(features: Tensor) -> NDArray[np.uint8]:
    """The same memory (N, D bytes per number); numpy has no bfloat16."""
    return features.contiguous().view(torch.uint8).numpy()


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
def read_ahead(items: Iterable[Item]) -> Iterator[Iterator[Item]]:
    """Make each next item in a thread while the current one is used; one ahead, never more.

    Items come in their order. What making one raises is raised where that item would have come.
    The thread has ended when the block is left, however it is left: it waits for one item at most.
    """
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="read-ahead") as thread:
        yield _in_turn(iter(items), thread)


def _in_turn(items: Iterator[Item], thread: ThreadPoolExecutor) -> Iterator[Item]:
    def start() -> Future[list[Item]]:
        return thread.submit(lambda: list(islice(items, 1)))

    coming = start()
    while found := coming.result():
        coming = start()
        yield found.pop()
