"""Weights: what does not fit is refused by name, damaged bytes raise our error and no other."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from ghanet_model.errors import WeightsError
from ghanet_model.network import new_model
from ghanet_model.sizes import GHANetConfig
from ghanet_model.weights import (
    check_same_shape,
    fingerprint_of,
    from_safetensors,
    load_weights,
    to_safetensors,
    weights_of,
)

CONFIG = GHANetConfig.preset(
    "compact", group_sizes=(3, 2), feature_width=8, time_bins=4, dropout=0.0
)
LIKE = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.ones(4, np.float32)}
CONTENT = to_safetensors(LIKE, {"study": "x"})
FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)
ARRAYS = st.dictionaries(
    st.text("abc.", min_size=1),
    arrays_of.arrays(np.float32, arrays_of.array_shapes(max_dims=3, max_side=3), elements=FLOATS),
    max_size=4,
)


def model(seed: int = 0):
    """A small model."""
    return new_model(CONFIG, seed=seed)


def same(one, two) -> bool:
    """Whether two sets of arrays are the same to the bit."""
    return one.keys() == two.keys() and all(
        one[n].dtype == two[n].dtype
        and one[n].shape == two[n].shape
        and one[n].tobytes() == two[n].tobytes()
        for n in one
    )


def test_loaded_weights_are_the_weights():
    """A model that takes another's weights predicts what the other predicts."""
    one, two = model(0), model(1)
    load_weights(two, weights_of(one))
    features = torch.randn(5, 8, generator=torch.Generator().manual_seed(0))
    assert same(weights_of(one), weights_of(two))
    assert torch.equal(one.predict([features]).risk, two.predict([features]).risk)


def test_weights_are_a_copy():
    """Training goes on without changing weights that were taken, or that were put in."""
    net = model()
    taken = weights_of(net)
    before = fingerprint_of(taken)
    load_weights(net, taken)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(1)
    assert fingerprint_of(taken) == before


def test_weights_of_another_model_are_refused():
    """A model with one more gene does not take these weights, and stays as it was."""
    other = new_model(
        GHANetConfig.preset(
            "compact", group_sizes=(3, 3), feature_width=8, time_bins=4, dropout=0.0
        ),
        seed=1,
    )
    before = fingerprint_of(weights_of(other))
    with pytest.raises(WeightsError, match=r"decoders\.1"):
        load_weights(other, weights_of(model()))
    assert fingerprint_of(weights_of(other)) == before


def test_what_fits_is_taken():
    """The same names, shapes and type, in any order, are accepted."""
    assert check_same_shape(dict(reversed(LIKE.items())), LIKE) is None


def bad(name: str, value: float):
    """LIKE with one value of array ``name`` replaced."""
    array = LIKE[name].copy()
    array.flat[-1] = value
    return LIKE | {name: array}


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({}, r"lack 'a' \(2 missing\)"),
        ({"a": LIKE["a"]}, r"lack 'b' \(1 missing\)"),
        (LIKE | {"c": LIKE["b"]}, "hold 'c', which the model does not have"),
        (LIKE | {"b": LIKE["b"].astype(np.float64)}, r"'b' are float64 \(4,\)"),
        (LIKE | {"b": LIKE["b"].astype(np.float16)}, "'b' are float16"),
        (LIKE | {"b": LIKE["b"].astype(np.complex64)}, "'b' are complex64"),
        (LIKE | {"a": LIKE["a"].T}, r"'a' are float32 \(3, 2\), expected float32 \(2, 3\)"),
        (LIKE | {"a": LIKE["a"].ravel()}, r"'a' are float32 \(6,\)"),
        (bad("a", np.nan), "'a' are not finite"),
        (bad("b", np.inf), "'b' are not finite"),
        (bad("b", -np.inf), "'b' are not finite"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(arrays, message):
    """Missing, extra, another type or shape, and what is not finite: each names its array."""
    with pytest.raises(WeightsError, match=message):
        check_same_shape(arrays, LIKE)


def test_a_long_foreign_name_is_cut():
    """A name from outside cannot flood a log."""
    with pytest.raises(WeightsError) as caught:
        check_same_shape(LIKE | {"x" * 10_000: LIKE["b"]}, LIKE)
    assert len(str(caught.value)) < 200


@given(arrays=ARRAYS)
@settings(max_examples=40, deadline=None)
def test_safetensors_bring_back_every_bit(arrays):
    """What was written is what is read: names, shapes, types and bits."""
    assert same(from_safetensors(to_safetensors(arrays), where="x"), arrays)


@given(arrays=ARRAYS)
@settings(max_examples=20, deadline=None)
def test_one_set_of_arrays_is_one_file(arrays):
    """The bytes do not depend on the order of the arrays or on their memory layout."""
    other = {name: np.asfortranarray(array) for name, array in reversed(arrays.items())}
    assert to_safetensors(arrays) == to_safetensors(other)
    assert fingerprint_of(arrays) == fingerprint_of(other)


def read_or_refuse(content: bytes) -> bool:
    """Whether it could be read; any error but ours fails the test."""
    try:
        from_safetensors(content, where="a.safetensors")
    except WeightsError:
        return False
    return True


@given(cut=st.integers(0, len(CONTENT) - 1))
@settings(max_examples=60, deadline=None)
def test_truncated_files_are_refused(cut):
    """A file without its end is never read as if it were whole."""
    assert not read_or_refuse(CONTENT[:cut])


@given(flips=st.lists(st.tuples(st.integers(0, len(CONTENT) - 1), st.integers(1, 255)), min_size=1))
@settings(max_examples=200, deadline=None)
def test_flipped_bytes_raise_nothing_else(flips):
    """Whatever bytes are changed, the file is read or refused with our error."""
    content = bytearray(CONTENT)
    for place, mask in flips:
        content[place] ^= mask
    read_or_refuse(bytes(content))


@given(content=st.binary())
@settings(max_examples=60, deadline=None)
def test_random_bytes_raise_nothing_else(content):
    """Bytes from anywhere are read or refused with our error."""
    read_or_refuse(content)


def with_header(**entry: object) -> bytes:
    """A file of one array with this header and 16 bytes of data."""
    header = json.dumps({"a": entry}).encode()
    return len(header).to_bytes(8, "little") + header + bytes(16)


SHAPES = [[4], [2], [8], [16], [32], [0], [-4], [2**63], [2**32, 2**32], [1.5], "x", None, [[4]]]
OFFSETS = [[0, 16], [16, 0], [0, 2**63], [-16, 0], [0], None]


@pytest.mark.parametrize("kind", ["BF16", "F8_E4M3", "F4", "F32", "X", None, 3])
def test_impossible_headers_raise_nothing_else(kind):
    """Types that numpy lacks, sizes beyond memory and nonsense are refused, not computed with."""
    read = [
        (shape, offsets)
        for shape in SHAPES
        for offsets in OFFSETS
        if read_or_refuse(with_header(dtype=kind, shape=shape, data_offsets=offsets))
    ]
    assert read == ([([4], [0, 16])] if kind == "F32" else [])


def test_a_damaged_file_is_named():
    """The error says which file, and nothing of what is in it."""
    with pytest.raises(WeightsError, match=r"^a\.safetensors: not a whole safetensors file$"):
        from_safetensors(CONTENT[:-1], where="a.safetensors")


@given(arrays=ARRAYS.filter(bool), data=st.data())
@settings(max_examples=60, deadline=None)
def test_a_fingerprint_knows_every_bit(arrays, data):
    """One bit of one value changes the fingerprint."""
    name = data.draw(st.sampled_from(sorted(arrays)))
    changed = arrays[name].copy()
    raw = changed.view(np.uint32).reshape(-1)
    raw[data.draw(st.integers(0, raw.size - 1))] ^= np.uint32(1 << data.draw(st.integers(0, 31)))
    assert fingerprint_of(arrays | {name: changed}) != fingerprint_of(arrays)


def test_a_fingerprint_knows_names_shapes_and_types():
    """The same bytes under another name, in another shape or of another type are other weights."""
    others = [
        {"a": LIKE["a"], "c": LIKE["b"]},
        {"a": LIKE["b"], "b": LIKE["a"]},
        {"a": LIKE["a"].reshape(3, 2), "b": LIKE["b"]},
        {"a": LIKE["a"], "b": LIKE["b"].view(np.int32)},
        {"a": LIKE["a"]},
        LIKE | {"c": np.zeros(0, np.float32)},
    ]
    assert len({fingerprint_of(arrays) for arrays in [LIKE, *others]}) == 1 + len(others)
