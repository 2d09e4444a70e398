"""Recall notices: what was signed is accepted, and everything else is refused."""

import datetime as dt
import json
import shutil
from base64 import b64encode
from dataclasses import replace
from pathlib import Path

import pytest
from hostile import FUZZ, damaged, is_read, memory_of
from hypothesis import given
from hypothesis import strategies as st

from ghanet_model.errors import KeysError, ReleaseError
from ghanet_model.files import canonical_json
from ghanet_model.keys import make_release_key, sign
from ghanet_model.recall import MOST_BYTES, MOST_REASON, make_recall, read_recall, verify_recall

REASON = "the cut-offs of risk are wrong"
DIGEST = "5e" * 32
WHEN = dt.datetime(2026, 11, 30, 12, 34, 56, tzinfo=dt.UTC)


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A release key."""
    path = tmp_path_factory.mktemp("keys") / "release.key"
    make_release_key(path)
    return path


@pytest.fixture(scope="module")
def public(key: Path) -> bytes:
    """Its public half."""
    return key.with_name("release.key.pub").read_bytes()


def notice_by(key: Path, reason: str = REASON):
    """A notice about a release that nobody has."""
    return make_recall("small", DIGEST, reason=reason, key_file=key, date=WHEN)


def test_a_notice_is_what_was_signed(key: Path, public: bytes) -> None:
    """It survives its file and says all in one line."""
    notice = notice_by(key, reason="the cut-offs\n of risk   are wrong")
    assert verify_recall(notice.content, public_pem=public, where="x") == notice
    assert str(notice) == (
        "small.ghanet (sha256 5e5e5e5e) was recalled on 2026-11-30 12:34 UTC: "
        "the cut-offs of risk are wrong"
    )
    keys = {"format", "release", "sha256", "reason", "date", "signature"}
    assert set(json.loads(notice.content)) == keys


def test_no_byte_of_a_notice_can_change(key: Path, public: bytes) -> None:
    """Whatever bit is flipped, whatever end is cut."""
    content = notice_by(key).content
    for place in range(len(content)):
        flipped = bytearray(content)
        flipped[place] ^= 1
        for wrong in (bytes(flipped), content[:place]):
            with pytest.raises(ReleaseError):
                verify_recall(wrong, public_pem=public, where="x")


def signed(key: Path, **changed: object) -> bytes:
    """A notice with other fields, signed by the right key all the same."""
    bare = replace(notice_by(key), **changed)
    signature = b64encode(sign(key, bare.unsigned)).decode()
    return replace(bare, signature=signature).content


@pytest.mark.parametrize(
    "changed",
    [
        {"format": 2},
        {"format": True},
        {"release": "../small"},
        {"release": 1},
        {"sha256": DIGEST.upper()},
        {"sha256": DIGEST[1:]},
        {"reason": ""},
        {"reason": "two\nlines"},
        {"reason": "\x1b[2Jgone"},
        {"reason": "x" * (MOST_REASON + 1)},
        {"reason": ["x"]},
        {"date": "yesterday"},
        {"date": "2026-11-30T12:34:56+02:00"},
    ],
    ids=str,
)
def test_not_even_the_right_key_signs_anything(key: Path, public: bytes, changed: dict) -> None:
    """Texts that reach terminals and file names are plain, whoever signed them."""
    with pytest.raises(ReleaseError, match="not a recall notice, or a damaged one"):
        verify_recall(signed(key, **changed), public_pem=public, where="x")


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"{}", b"[" * 9000, b'{"format":1e999}', b"\xff", b" " * (MOST_BYTES + 1)],
    ids=["empty", "list", "nothing", "deep", "infinite", "latin", "large"],
)
def test_what_is_no_notice(public: bytes, content: bytes) -> None:
    """Refused in one line."""
    with pytest.raises(ReleaseError, match="recall notice"):
        verify_recall(content, public_pem=public, where="x")


def test_fields_more_or_fewer_or_spaced(key: Path, public: bytes) -> None:
    """The one form of a notice, and no other."""
    values = json.loads(notice_by(key).content)
    fewer = {name: value for name, value in values.items() if name != "reason"}
    for other in (fewer, values | {"until": "never"}):
        assert not is_read(verify_recall, canonical_json(other), public_pem=public, where="x")
    spaced = json.dumps(values).encode()
    assert not is_read(verify_recall, spaced, public_pem=public, where="x")


@FUZZ
@given(st.data())
def test_damaged_notices(key: Path, public: bytes, data: st.DataObject) -> None:
    """Read only if nothing was changed, else refused by an error of ours."""
    content = notice_by(key).content
    drawn = data.draw(damaged(content))
    assert is_read(verify_recall, drawn, public_pem=public, where="x") == (drawn == content)


def test_a_large_file_is_not_read(public: bytes, tmp_path: Path) -> None:
    """Its size is looked at first."""
    with (tmp_path / "a.recall").open("wb") as file:
        file.truncate(2**33)  # a hole: no disk is used
    with pytest.raises(ReleaseError, match=r"a\.recall: larger than any recall notice"):
        read_recall(tmp_path / "a.recall", public_pem=public)
    assert memory_of(lambda: read_recall(tmp_path / "a.recall", public_pem=public)) < 50
    with pytest.raises(ReleaseError, match=r"b\.recall: no such recall notice"):
        read_recall(tmp_path / "b.recall", public_pem=public)


@pytest.mark.parametrize("reason", ["", " \n ", "x" * (MOST_REASON + 1), "\x1b[2J"])
def test_a_reason_is_needed(key: Path, reason: str) -> None:
    """Hospitals read it."""
    with pytest.raises(ReleaseError, match="reason"):
        notice_by(key, reason=reason)


def test_keys_that_do_not_belong_together(key: Path, tmp_path: Path) -> None:
    """A notice that nobody could verify is not made."""
    for name in ("release.key", "other.key"):
        make_release_key(tmp_path / name)
    shutil.copy(tmp_path / "other.key.pub", tmp_path / "release.key.pub")
    with pytest.raises(KeysError, match="do not belong together"):
        notice_by(tmp_path / "release.key")
