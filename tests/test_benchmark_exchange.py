"""The exchange benchmark's arithmetic: medians, targets. No deployment."""

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path

import pytest

PATH = Path(__file__).resolve().parent.parent / "benchmarks" / "exchange.py"


def load():
    """benchmarks/exchange.py, which is no package."""
    spec = importlib.util.spec_from_file_location("benchmark_exchange", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


exchange = load()
arms = sys.modules["exchange_arms"]
PLAIN = arms.Measured(arms.PLAIN, 3, seconds=(30, 20, 22, 90), sizes=(8, 8, 8, 8), peak=500)
OURS = arms.Measured(arms.OURS, 3, seconds=(9, 10, 11, 12), sizes=(2, 4, 4, 4), peak=400)
MANY = replace(OURS, nodes=8, peak=430)


def test_the_first_exchange_counts_apart():
    """Seconds and bytes are the medians of the others; ends of rounds become their lengths."""
    assert (PLAIN.later_seconds, OURS.later_bytes) == (22, 4)
    assert arms.between([3.0, 5.0, 9.0]) == (2.0, 4.0)


@pytest.mark.parametrize(
    ("found", "missed"),
    [
        ([OURS, PLAIN, MANY], []),
        ([OURS, PLAIN], []),
        ([replace(OURS, sizes=(4, 4, 4, 5)), PLAIN], ["bytes"]),
        ([replace(OURS, seconds=(1, 12, 12, 12)), PLAIN], ["seconds"]),
        ([OURS, PLAIN, replace(MANY, peak=441)], ["memory"]),
    ],
)
def test_a_missed_target_is_named(found, missed):
    """Half the bytes of all exchanges, half the seconds, a tenth more memory: at most."""
    said = exchange.missed_targets(found)
    assert len(said) == len(missed)
    assert all(word in line for word, line in zip(missed, said, strict=True))
