"""Pickles as text: names stay names, and whatever a tensor does not need is refused."""

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.pickled import MOST_STEPS, Called, ForeignError, Named, described


def test_names_stay_names():
    """A call is described, and nobody makes it."""
    term = described(b"\x80\x02cos\nsystem\nX\x02\x00\x00\x00ls\x85R.")
    assert term == Called(Named("os.system"), ("ls",))


@pytest.mark.parametrize(
    "content",
    [
        b"\x80\x02ios\nsystem\n.",  # INST
        b"\x80\x02cos\nsystem\n)\x81.",  # NEWOBJ
        b"\x80\x04\x8c\x02os\x8c\x06system\x93.",  # STACK_GLOBAL
        b"\x80\x02\x82\x01.",  # EXT1
        b"\x80\x02" + b"N" * MOST_STEPS + b".",
    ],
)
def test_other_instructions_are_foreign(content):
    """What a tensor does not need is not followed, nor a long program."""
    with pytest.raises(ForeignError):
        described(content)


@given(st.binary(max_size=80) | st.binary(max_size=80).map(lambda rest: b"\x80\x02" + rest))
def test_any_program_ends(content):
    """It describes something, or is refused as foreign or damaged."""
    try:
        described(content)
    except (ForeignError, ValueError, LookupError):
        return


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**31), 2**70) | st.text(max_size=9),
    lambda inner: (
        st.tuples(inner) | st.tuples(inner, inner) | st.tuples(inner, inner, inner, inner)
    ),
    max_leaves=9,
)


@given(PLAIN)
def test_plain_values_are_described_as_they_are(value):
    """Numbers, words and tuples of them are what pickle makes of them."""
    assert described(pickle.dumps(value, protocol=2)) == value


def test_what_is_said_twice_is_the_same():
    """References within a pickle are followed."""
    term = described(pickle.dumps((np.float32, np.float32), protocol=2))
    assert term == (Named("numpy.float32"),) * 2
