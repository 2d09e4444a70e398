"""The doctor's look at the machine: disk, memory, shared memory, the device that computes."""

import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from ghanet_model.batches import PATCHES_AT_ONCE
from ghanet_model.doctor import Finding, disk, fail, free_memory, ok, size, warn
from ghanet_model.network import new_model
from ghanet_model.rehearsal import stand_in_panel
from ghanet_model.release import model_config
from ghanet_model.study import BFLOAT16, StudyConfig
from ghanet_model.training import autocast

from .cache import MEGABYTE
from .config import FOLDER_VARIABLE, SITE_FILE, SiteConfig
from .features import FeatureFacts

DISK, MEMORY, SHARED, DEVICE = "disk", "memory", "shared memory", "device"
LOGS = 200 * MEGABYTE  # logs are set aside and grow no further: three of Flower's, site.log
WEIGHTS_ON_DISK = 3  # held, the next being written, the release
WEIGHTS_IN_MEMORY = 7  # held, received, trained, gradients, Adam's two, what leaves
# measured in round 3, weights of 57 MB, small bags: trainer 851 MB, SuperNode 601, 'start' 245,
# SuperExec 129; the app 130 (docs/hospital.md); less seven times the weights
PROGRAMS = 1_550 * MEGABYTE
BYTES_PER_PATCH = 16_000  # of training at width 512: 243 MB for 16,384 (benchmarks/README.md)
WIDTH = 512
SHARED_LEAST = 16 * MEGABYTE
SHARED_FOLDER = Path("/dev/shm")  # noqa: S108 - only looked at
NVIDIA_DRIVER, NVIDIA_CARD = Path("/proc/driver/nvidia/version"), Path("/dev/nvidia0")
TOO_OLD = "driver on your system is too old"  # torch's words


def weights_bytes(study: StudyConfig) -> tuple[int, int]:
    """Bytes of the study's weights in memory and in a message; with every gene of the study."""
    config = model_config(study, stand_in_panel(study))
    count = sum(one.numel() for one in new_model(config, seed=study.seed).state_dict().values())
    return 4 * count, count * (2 if study.exchange_precision == BFLOAT16 else 4)


def disk_room(
    config: SiteConfig, study: StudyConfig, heads: Sequence[FeatureFacts], missing: int
) -> Iterator[Finding]:
    """Whether the folder's disk has room for a round, and for features that are still to be made.

    Args:
        config: names the folder.
        study: fixes the network.
        heads: of features that are there.
        missing: slides whose features are not.
    """
    weights, _ = weights_bytes(study)
    round_needs = WEIGHTS_ON_DISK * weights + LOGS
    largest = max((fact.patches * fact.width * 2 for fact in heads), default=0)  # float16
    to_make = missing * largest
    why = f"weights and logs need {size(round_needs)}"
    if missing:
        guess = size(to_make) if largest else "a size that the first ones tell"
        why += f", features of {missing} slides {guess} at most"
    enough = 2 * round_needs + to_make
    yield disk(DISK, config.folder, least=round_needs + to_make, enough=enough, why=why)


def memory(config: SiteConfig, study: StudyConfig, largest: int) -> Iterator[Finding]:
    """Whether programs, weights, the largest bag and the cache fit into memory.

    Args:
        config: says what the cache may take.
        study: fixes the network.
        largest: patches of the largest case.
    """
    weights, _ = weights_bytes(study)
    width = model_config(study, stand_in_panel(study)).width
    patches = max(largest, PATCHES_AT_ONCE)
    features = 2 * patches * study.feature_width * 4  # at work, and read ahead
    work = features + patches * BYTES_PER_PATCH * width // WIDTH + WEIGHTS_IN_MEMORY * weights
    least, cache = PROGRAMS + work, config.cache_megabytes * MEGABYTE
    free, whose = free_memory()
    need = (
        f"programs {size(PROGRAMS)}, work on {patches} patches {size(work)} "
        f"(largest case: {largest}), cache_megabytes {size(cache)}"
    )
    if is_running(config.folder):
        yield ok(MEMORY, f"'start' runs and holds its part; {size(free)} more is free on {whose}")
    elif free < least:
        to_do = "a machine or container with more memory"
        yield fail(MEMORY, f"{size(free)} free on {whose}; needed: {need}", to_do)
    elif free < least + cache:
        to_do = f"cache_megabytes: {max(int((free - least) / MEGABYTE), 0)} in {SITE_FILE}"
        yield warn(MEMORY, f"{size(free)} free on {whose}; needed: {need}", to_do)
    else:
        yield ok(MEMORY, f"{size(free)} free on {whose}; needed at most: {need}")


def is_running(folder: Path) -> bool:
    """Whether a program of 'start' works for the folder; asked of the system, on Linux only."""
    mark = f"{FOLDER_VARIABLE}={folder}\0".encode()
    for process in Path("/proc").glob("[0-9]*/environ"):
        try:
            if mark in process.read_bytes():
                return True
        except OSError:
            continue
    return False


def shared_memory() -> Iterator[Finding]:
    """What programs may share; containers have 64 MB unless told otherwise."""
    if not SHARED_FOLDER.is_dir():
        yield warn(SHARED, f"there is no {SHARED_FOLDER}", "mount one, 64 MB are enough")
        return
    found = shutil.disk_usage(SHARED_FOLDER)
    said = f"{size(found.total)} in {SHARED_FOLDER}, {size(found.free)} free"
    if found.free < SHARED_LEAST:
        to_do = "docker run --shm-size=64m; 'slides extract' keeps locks of its workers there"
        yield warn(SHARED, said, to_do)
    else:
        yield ok(SHARED, f"{said}; no features or weights are kept there")


def device(config: SiteConfig, study: StudyConfig) -> Iterator[Finding]:
    """Whether the configured device computes in the study's precision; if not, why."""
    precision = study.training_precision
    try:
        found = torch.zeros(1, device=config.device)
        with autocast(torch.device(config.device), precision):
            (found + 1).sum().item()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        yield fail(DEVICE, *why_no_device(config.device, precision, str(error)))
        return
    if config.device != "cpu":
        yield ok(DEVICE, f"{_device_name(config.device)} computes in {precision}")
        return
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    said = f"cpu computes in {precision} with {config.threads} threads of {cores} cores"
    if cores and config.threads > cores:
        yield warn(DEVICE, said, f"threads: {cores} in {SITE_FILE}; more only wait for each other")
    elif NVIDIA_CARD.exists():
        yield ok(DEVICE, f"{said}; there is a GPU too, which 'device: cuda' would use")
    else:
        yield ok(DEVICE, said)


def _device_name(device: str) -> str:
    if not device.startswith("cuda"):
        return device
    index = int(device.partition(":")[2] or 0)
    return f"{device} ({torch.cuda.get_device_name(index)}, CUDA {torch.version.cuda})"


def why_no_device(device: str, precision: str, said: str) -> tuple[str, str]:
    """Why a device does not compute, and what to do; ``said`` are torch's words."""
    what = f"device '{device}' cannot be used"
    if not device.startswith("cuda"):
        return f"{what} in {precision}: {_first_line(said)}", f"device: cpu in {SITE_FILE}"
    if TOO_OLD in said:
        hint = f"a newer driver, or a torch made for an older CUDA than {torch.version.cuda}"
        return f"{what}: the NVIDIA driver is too old for this torch", hint
    if torch.version.cuda is None:
        return f"{what}: this torch is made for CPUs only", "install torch made for CUDA"
    if not NVIDIA_DRIVER.exists():
        return f"{what}: no NVIDIA driver is loaded", "install it; in a container: --gpus all"
    if not NVIDIA_CARD.exists():
        return f"{what}: the driver is there, no card is", "in a container: docker run --gpus all"
    return f"{what} in {precision}: {_first_line(said)}", f"nvidia-smi; or cpu in {SITE_FILE}"


def _first_line(text: str) -> str:
    return (text.strip().splitlines() or ["torch does not say why"])[0][:160]
