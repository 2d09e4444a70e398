"""Changes: bfloat16 rounding agrees with others' and the same weights come out everywhere."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from ghanet_model.change import (
    ROUNDING,
    apply_change,
    change_of,
    from_words,
    is_finite,
    to_words,
)
from ghanet_model.errors import WeightsError
from server.aggregate import change_between

LARGEST = from_words(np.uint16([0x7F7F]))[0]
VALUES = st.floats(width=32, min_value=-float(LARGEST), max_value=float(LARGEST))
FLOATS = arrays_of.arrays(np.float32, st.integers(1, 40), elements=VALUES)


def float_of(*bits: int) -> np.ndarray:
    """float32 values of these bits."""
    return np.array(bits, np.uint32).view(np.float32)


@given(values=FLOATS)
@settings(max_examples=200, deadline=None)
def test_rounding_agrees_with_torch(values):
    """Every value becomes the word that torch makes of it."""
    theirs = torch.from_numpy(values.copy()).to(torch.bfloat16).view(torch.uint16).numpy()
    assert np.array_equal(to_words(values), theirs)


def test_ties_go_to_the_even_word():
    """Halfway between two words the even one is taken; a bit more or less decides otherwise."""
    values = float_of(0x3F808000, 0x3F818000, 0x3F808001, 0x3F817FFF, 0xBF818000, 0x00008000)
    assert [hex(w) for w in to_words(values)] == [
        *("0x3f80", "0x3f82", "0x3f81", "0x3f81", "0xbf82", "0x0")
    ]


def test_every_finite_word_is_its_own_rounding():
    """All 65,280 finite words come back from float32 as they were, zeros with their sign."""
    words = np.arange(2**16, dtype=np.uint16)
    words = words[np.isfinite(from_words(words))]
    assert len(words) == 65_280
    assert np.array_equal(to_words(from_words(words)), words)


@given(values=FLOATS)
@settings(max_examples=100, deadline=None)
def test_rounding_moves_a_value_by_one_part_in_256_at_most(values):
    """Half a unit in the last of 8 places is 2^-8 of the value, down to the smallest normal one."""
    moved = np.abs(from_words(to_words(values)).astype(float) - values)
    assert (moved <= np.maximum(ROUNDING * np.abs(values.astype(float)), 2.0**-134)).all()


@pytest.mark.parametrize("value", [np.nan, -np.nan, np.inf, -np.inf, np.float32(3.4e38)])
def test_what_has_no_finite_word_is_refused(value):
    """Not a number, infinite, and what would round to infinity."""
    with pytest.raises(WeightsError, match="not finite"):
        to_words(np.float32([1.0, value]))


def test_a_difference_that_overflows_is_refused():
    """Two finite weights can differ by more than float32 holds."""
    large = {"a": np.float32([3e38])}
    with pytest.raises(WeightsError, match="not finite"):
        change_of(large, {"a": -large["a"]})


@pytest.mark.parametrize(
    ("word", "finite"), [(0x7F80, False), (0xFF80, False), (0x7FC0, False), (0x7F7F, True)]
)
def test_words_are_finite_or_not(word, finite):
    """All ones in the exponent is no number; the largest word is one."""
    assert is_finite(np.uint16([0, word])) == finite


def test_arrays_without_a_change_keep_every_bit():
    """What nobody trained stays, negative zeros too."""
    before = {"a": np.float32([1, 2]), "b": np.float32([-0.0, 1e-40])}
    after = apply_change(before, {"a": to_words(np.float32([0.5, 0.25]))})
    assert after["a"].tolist() == [1.5, 2.25]
    assert after["b"].tobytes() == before["b"].tobytes()


@given(before=FLOATS, data=st.data())
@settings(max_examples=300, deadline=None)
def test_the_change_between_two_rounds_can_be_found_again(before, data):
    """Weights plus a change, rounded to float32, give away a change that leads to the same bits."""
    scale = data.draw(st.sampled_from([1.0, 2.0**-7, 2.0**-15, 2.0**-17, 2.0**-24, 2.0**-30]))
    drawn = arrays_of.arrays(np.float32, before.shape, elements=st.floats(-2, 2, width=32))
    change = to_words((before / 8 * scale * data.draw(drawn)).astype(np.float32))
    old = {"a": before / 8, "b": np.ones(1, np.float32)}
    new = apply_change(old, {"a": change})
    found = change_between(old, new)
    assert found is not None
    assert apply_change(old, found)["a"].tobytes() == new["a"].tobytes()


def test_weights_that_no_change_leads_to_have_none():
    """A difference with more digits than a word holds is not rounded away."""
    old = {"a": np.zeros(1, np.float32)}
    assert change_between(old, {"a": float_of(0x3F808001)}) is None
