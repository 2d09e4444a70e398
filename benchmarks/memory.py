"""Memory that a piece of work takes at its peak, beyond what was taken before. Linux and CUDA."""

import ctypes
import gc
from collections.abc import Callable
from pathlib import Path

import torch

_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")
MEGABYTE = 1e6


def peak_megabytes(work: Callable[[], object], device: torch.device) -> float | None:
    """Do the work; the peak in MB, or None where the system does not tell."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        work()
        torch.cuda.synchronize(device)
        return (torch.cuda.max_memory_allocated(device) - before) / MEGABYTE
    if not _reset():
        work()
        return None
    before = _resident("VmRSS")
    work()
    return max(0.0, _resident("VmHWM") - before)


def _reset() -> bool:
    """Give freed memory back to the system, and have it forget the peak so far."""
    try:
        ctypes.CDLL("libc.so.6").malloc_trim(0)
        _RESET.write_text("5")
    except (OSError, AttributeError):
        return False
    return True


def _resident(key: str) -> float:
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith(key))
    return float(line.split()[1]) * 1024 / MEGABYTE
