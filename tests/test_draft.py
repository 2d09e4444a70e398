"""Features that are being made: whatever kills it, what is there is right, and it goes on."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.draft import HEAD_BYTES, Head, open_draft, progress_of

HEAD = Head("k" * 64, patches=70, width=3)
ROWS = np.random.default_rng(1).standard_normal((70, 3)).astype(np.float32)


def go_on(path, *, until=70, head=HEAD, batch=32):
    """Add batches up to a patch; where it began."""
    with open_draft(path, head, batch=batch) as draft:
        began = draft.done
        while draft.done < until:
            draft.append(ROWS[draft.done : draft.done + batch])
        if draft.done == head.patches:
            np.testing.assert_array_equal(draft.rows(), ROWS)
    return began


@given(cut=st.integers(0, HEAD_BYTES + 70 * 12))
def test_cut_anywhere_it_goes_on_with_whole_batches(tmp_path_factory, cut):
    """A draft of any length is what was written up to a whole batch, and ends the same."""
    path = tmp_path_factory.mktemp("draft") / "a.part"
    go_on(path)
    path.write_bytes(path.read_bytes()[:cut])
    rows = max(0, cut - HEAD_BYTES) // 12
    assert go_on(path) == (rows if rows == 70 else rows // 32 * 32)


def test_a_part_of_something_else_is_begun_again(tmp_path):
    """Another slide, grid or encoder: nothing is kept."""
    go_on(tmp_path / "a.part", until=32)
    other = Head("x" * 64, patches=70, width=3)
    assert go_on(tmp_path / "a.part", head=other) == 0
    assert progress_of(tmp_path / "a.part") == (70, 70)


@pytest.mark.parametrize("content", [b"", b"{", b"x" * 5000, b"[]".ljust(HEAD_BYTES)])
def test_rubbish_is_no_progress(tmp_path, content):
    """Whatever is there, it is read without an error and begun again."""
    (tmp_path / "a.part").write_bytes(content)
    assert progress_of(tmp_path / "a.part") is None
    assert go_on(tmp_path / "a.part") == 0


def test_progress_is_seen_while_it_grows(tmp_path):
    """Patches done and in all; None before it begins."""
    assert progress_of(tmp_path / "a.part") is None
    go_on(tmp_path / "a.part", until=64)
    assert progress_of(tmp_path / "a.part") == (64, 70)
