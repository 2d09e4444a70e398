"""What the fuzz tests share: valid bytes made invalid, and how much memory reading them takes."""

import os
import resource
from collections.abc import Callable

from hypothesis import settings
from hypothesis import strategies as st

from ghanet_model.errors import GHANetError

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "100"))  # more by hand, then others each time
FUZZ = settings(max_examples=EXAMPLES, deadline=None, derandomize=EXAMPLES == 100, database=None)
ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=12,
)
MEGABYTE = 1024  # of ru_maxrss, which counts in kilobytes


@st.composite
def damaged(draw: st.DrawFn, *seeds: bytes) -> bytes:
    """One of ``seeds`` after a few flips, cuts, splices and insertions."""
    content = bytearray(draw(st.sampled_from(seeds)))
    for _ in range(draw(st.integers(1, 4))):
        kind = draw(st.sampled_from(("flip", "flip", "byte", "cut", "insert", "splice")))
        place = draw(st.integers(0, max(0, len(content) - 1)))
        if kind == "cut":
            del content[place : place + draw(st.sampled_from((1, 4, 100, len(content))))]
        elif kind == "insert":
            content[place:place] = draw(st.binary(min_size=1, max_size=16))
        elif kind == "splice":
            other = draw(st.sampled_from(seeds))
            content[place:] = other[draw(st.integers(0, len(other))) :]
        elif content:
            bit = 1 << draw(st.integers(0, 7))
            content[place] = content[place] ^ bit if kind == "flip" else draw(st.integers(0, 255))
    return bytes(content)


def is_read(read: Callable[..., object], *arguments: object, **named: object) -> bool:
    """Whether it is read, or refused by one of our errors; any other error fails the test."""
    try:
        read(*arguments, **named)
    except GHANetError:
        return False
    return True


def memory_of(read: Callable[[], object]) -> int:
    """Megabytes that ``read`` takes at its peak, in a process of its own."""
    receiver, sender = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            is_read(read)
            taken = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
            os.write(sender, str(taken // MEGABYTE).encode())
        finally:
            os._exit(0)
    os.close(sender)
    os.waitpid(child, 0)
    with os.fdopen(receiver) as answer:
        return int(answer.read())  # nothing where the process died
