"""Files: whole or not at all, private where asked, one byte string per JSON value."""

import json
import math
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ghanet_model.files import canonical_json, sha256, write_atomic, write_json

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text("aé\n")
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner) | st.dictionaries(st.text("abc"), inner),
    max_leaves=8,
).filter(lambda value: "Infinity" not in json.dumps(value))


class BrokenDiskError(OSError):
    """What a disk says in these tests."""


def break_disk(*_: object) -> None:
    """Stands in for a system call on a full or dying disk."""
    raise BrokenDiskError


def mode(path: Path) -> int:
    """Permission bits."""
    return path.stat().st_mode & 0o777


def test_a_file_is_written_whole_into_new_folders(tmp_path):
    """Folders that are missing are made, and what was written is what is read."""
    path = tmp_path / "a" / "b" / "file"
    write_atomic(path, b"content")
    assert path.read_bytes() == b"content"


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_failing_disk_leaves_the_old_file(tmp_path, monkeypatch, step):
    """Whatever fails before the rename, the old file is whole and nothing is left beside it."""
    path = tmp_path / "file"
    write_atomic(path, b"old")
    monkeypatch.setattr(os if step == "fsync" else Path, step, break_disk)
    with pytest.raises(BrokenDiskError):
        write_atomic(path, b"new" * 1000)
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
    assert path.read_bytes() == b"old"


def test_a_failing_first_write_leaves_nothing(tmp_path, monkeypatch):
    """Where there was no file there is none after a failure, not even an empty one."""
    monkeypatch.setattr(os, "fsync", break_disk)
    with pytest.raises(BrokenDiskError):
        write_atomic(tmp_path / "file", b"new")
    assert list(tmp_path.iterdir()) == []


def test_content_is_on_the_disk_before_the_rename(tmp_path, monkeypatch):
    """The file is synced, then renamed, then its folder is synced: a power cut cannot halve it."""
    steps = []
    fsync, replace = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda handle: (steps.append("sync"), fsync(handle)))
    monkeypatch.setattr(Path, "replace", lambda *a: (steps.append("rename"), replace(*a))[1])
    write_atomic(tmp_path / "file", b"x")
    assert steps == ["sync", "rename", "sync"]


@pytest.mark.parametrize(("private", "wanted"), [(True, 0o600), (False, 0o644)])
def test_private_files_are_for_their_owner_only(tmp_path, private, wanted):
    """Mode 0600 if private, 0644 if not, also where a file of another mode is replaced."""
    path = tmp_path / "file"
    path.write_bytes(b"")
    path.chmod(0o666)
    write_atomic(path, b"x", private=private)
    assert mode(path) == wanted


def test_a_private_file_is_private_from_its_first_byte(tmp_path, monkeypatch):
    """Nobody else can read the part file while it is written."""
    seen = []
    monkeypatch.setattr(os, "fsync", lambda _: seen.append([mode(p) for p in tmp_path.iterdir()]))
    write_atomic(tmp_path / "file", b"x", private=True)
    assert seen[0] == [0o600]


@given(value=st.dictionaries(st.text("abcd"), VALUES))
@settings(max_examples=60, deadline=None)
def test_canonical_json_knows_no_order_of_keys(value):
    """The same mapping, filled in another order, is the same bytes, and reads back equal."""
    other = dict(reversed(value.items()))
    assert canonical_json(value) == canonical_json(other)
    assert json.loads(canonical_json(value)) == value


@given(one=VALUES, two=VALUES)
@settings(max_examples=60, deadline=None)
def test_canonical_json_tells_values_apart(one, two):
    """Equal bytes mean equal values."""
    assert (canonical_json(one) != canonical_json(two)) or one == two


def test_canonical_json_has_one_spelling():
    """Sorted, without spaces, letters as UTF-8: what a digest is taken of."""
    assert (
        canonical_json({"é": [1, 2.5, None], "a": True}) == '{"a":true,"é":[1,2.5,null]}'.encode()
    )


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_json_without_a_spelling_is_refused(tmp_path, value):
    """What JSON cannot say is neither hashed nor written."""
    with pytest.raises(ValueError, match="JSON"):
        canonical_json({"a": [value]})
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "file", {"a": value})
    assert list(tmp_path.iterdir()) == []


@given(value=VALUES)
@settings(max_examples=30, deadline=None)
def test_written_json_reads_back(tmp_path_factory, value):
    """A value written for people is the value read by programs."""
    path = tmp_path_factory.mktemp("json") / "file"
    write_json(path, value)
    assert json.loads(path.read_text()) == value


def test_sha256_is_the_published_one():
    """The digest of 'abc' is that of FIPS 180-2, appendix B.1."""
    known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert sha256(b"abc") == known
