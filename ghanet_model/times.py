"""Where the time of training goes. For a site's own log; nothing of it has to travel."""

import time
from dataclasses import asdict, dataclass

import torch


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds of training, by what they went to.

    >>> str(Times(read=1.0, forward=4.0, backward=4.0, step=1.0))
    'read 10%, forward 40%, backward 40%, step 10%'
    """

    read: float = 0.0  # waiting for features, packing and moving them included
    forward: float = 0.0  # network and loss
    backward: float = 0.0
    step: float = 0.0  # the optimiser, and telling of progress
    noise: float = 0.0  # drawing it, where a study is private

    @property
    def total(self) -> float:
        """All of it, in seconds."""
        return float(sum(asdict(self).values()))

    def __str__(self) -> str:
        parts = asdict(self).items()
        return ", ".join(
            f"{name} {seconds / (self.total or 1):.0%}" for name, seconds in parts if seconds
        )


class Stopwatch:
    """Adds up the seconds between looks at the clock; a GPU finishes its work before each look."""

    def __init__(self, device: torch.device) -> None:
        """Start now."""
        self._device = device
        self._seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, part: str) -> None:
        """What happened since the last look was ``part``, a field of ``Times``."""
        if self._device.type != "cpu":
            torch.accelerator.synchronize(self._device)
        now = time.perf_counter()
        self._seconds[part] = self._seconds.get(part, 0.0) + now - self._last
        self._last = now

    @property
    def times(self) -> Times:
        """What was added up so far."""
        return Times(**self._seconds)
