"""Checkpoints: the newest whole one is what a run goes on from, and no other study's."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ghanet_model.errors import GHANetError, StudyError, WeightsError
from ghanet_model.metrics import Concordance, EvaluationSums
from ghanet_model.weights import fingerprint_of, to_safetensors
from server.checkpoint import (
    KEEP,
    Checkpoint,
    RoundRecord,
    SiteRound,
    read_checkpoint,
    round_from_json,
    write_checkpoint,
)

STUDY = "5" * 64
WEIGHTS = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.ones(2, np.float32)}
SUMS = EvaluationSums(12, 5, 3.25, -20.5, 40.125, Concordance(20, 9, 1, 30))
HISTORY = (
    RoundRecord(
        1,
        2.5,
        (
            SiteRound(
                "ana", trained=True, cases=20, events=9, gene_cases=20, loss=1.5, seconds=2.0
            ),
            SiteRound("ben", trained=False, evaluation=SUMS, withheld="few cases"),
            SiteRound("cat", trained=False, left_out="not connected"),
        ),
    ),
    RoundRecord(2, 0.1, ()),
)


def write(folder, number: int, **changes) -> Checkpoint:
    """A checkpoint after ``number`` rounds, written and returned."""
    weights = {name: array + number for name, array in WEIGHTS.items()}
    checkpoint = Checkpoint(number, STUDY, **{"weights": weights, "history": HISTORY} | changes)
    write_checkpoint(folder, checkpoint)
    return checkpoint


def names(folder) -> list[str]:
    """What lies in the folder."""
    return sorted(path.name for path in folder.iterdir())


def test_a_checkpoint_reads_back_with_its_history(tmp_path):
    """Number, study, weights to the bit, and every round of history come back equal."""
    written = write(tmp_path / "checkpoints", 2)
    found = read_checkpoint(tmp_path / "checkpoints", study=STUDY)
    assert (found.number, found.study, found.history) == (2, STUDY, HISTORY)
    assert fingerprint_of(found.weights) == fingerprint_of(written.weights)


@given(
    loss=st.floats(allow_nan=False, allow_infinity=False),
    seconds=st.floats(0, 1e9),
    text=st.text(max_size=20),
    counts=st.tuples(*[st.integers(0, 2**53)] * 4),
)
@settings(max_examples=30, deadline=None)
def test_history_loses_no_digit(tmp_path_factory, loss, seconds, text, counts):
    """Any number and text of a round comes back as it was."""
    sums = EvaluationSums(counts[0], counts[1], loss, -loss, seconds, Concordance(*counts))
    site = SiteRound("ana", trained=True, loss=loss, evaluation=sums, withheld=text)
    history = (RoundRecord(1, seconds, (site,)),)
    folder = tmp_path_factory.mktemp("state")
    write(folder, 1, history=history)
    assert read_checkpoint(folder, study=STUDY).history == history


def test_history_is_plain_json(tmp_path):
    """A report or page reads a round from JSON without knowing our classes."""
    write(tmp_path, 1)
    content = next(tmp_path.iterdir()).read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    history = json.loads(header["__metadata__"]["history"])
    assert history[0]["sites"][1]["evaluation"]["concordance"]["comparable"] == 30
    assert tuple(map(round_from_json, history)) == HISTORY


def test_no_checkpoint_is_none(tmp_path):
    """A folder without checkpoints, or none at all, is the start of a study."""
    assert read_checkpoint(tmp_path, study=STUDY) is None
    assert read_checkpoint(tmp_path / "absent", study=STUDY) is None


def test_the_newest_wins(tmp_path):
    """The highest number is read, in numbers, not in letters."""
    for number in (8, 9, 10):
        write(tmp_path, number)
    assert read_checkpoint(tmp_path, study=STUDY).number == 10


def test_only_the_newest_stay(tmp_path):
    """Old checkpoints are removed, the last few stay to fall back on."""
    for number in range(KEEP + 3):
        write(tmp_path, number)
    assert names(tmp_path) == [f"round-{n:04}.safetensors" for n in range(3, KEEP + 3)]


def test_the_one_before_serves_when_the_newest_is_removed(tmp_path):
    """What the hint about a damaged checkpoint says is true."""
    write(tmp_path, 1)
    write(tmp_path, 2)
    (tmp_path / "round-0002.safetensors").unlink()
    assert read_checkpoint(tmp_path, study=STUDY).number == 1


def test_other_files_are_neither_read_nor_removed(tmp_path):
    """A part file of a crash, a note or a copy is not a checkpoint."""
    strangers = [".round-0009.safetensors.x1.part", "notes.txt", "round-0009.safetensors.bak"]
    for name in strangers:
        (tmp_path / name).write_bytes(b"half")
    for number in range(KEEP + 1):
        write(tmp_path, number)
    assert read_checkpoint(tmp_path, study=STUDY).number == KEEP
    assert set(strangers) <= set(names(tmp_path))


def test_another_study_is_refused(tmp_path):
    """Weights of another study are never trained on, and the file and way out are named."""
    write(tmp_path, 3)
    with pytest.raises(StudyError, match=r"round-0003\.safetensors belongs to another") as caught:
        read_checkpoint(tmp_path, study="6" * 64)
    assert "folder of its own" in caught.value.hint


@pytest.fixture(scope="module")
def content(tmp_path_factory) -> bytes:
    """The bytes of one checkpoint."""
    folder = tmp_path_factory.mktemp("whole")
    write(folder, 1)
    return (folder / "round-0001.safetensors").read_bytes()


def read_bytes(folder, content: bytes) -> Checkpoint | None:
    """Read a checkpoint of these bytes."""
    (folder / "round-0001.safetensors").write_bytes(content)
    return read_checkpoint(folder, study=STUDY)


def test_a_damaged_byte_is_noticed(tmp_path, content):
    """No byte of weights, history or number can change and still be trained from."""
    for place in {*range(0, len(content), 5), *range(40), len(content) - 1}:
        damaged = bytearray(content)
        damaged[place] ^= 1
        with pytest.raises(GHANetError):
            read_bytes(tmp_path, bytes(damaged))


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_a_cut_checkpoint_is_refused(tmp_path_factory, content, data):
    """A file without its end, or with bytes added, is our error."""
    cut = data.draw(st.integers(0, len(content) - 1))
    tail = data.draw(st.binary(min_size=1, max_size=20))
    folder = tmp_path_factory.mktemp("cut")
    for damaged in (content[:cut], content + tail):
        with pytest.raises(WeightsError):
            read_bytes(folder, damaged)


def test_a_safetensors_file_of_others_is_refused(tmp_path):
    """Weights without our history are no checkpoint; the error says what to do."""
    for metadata in (None, {"study": STUDY}, {"sha256": "0" * 64, "study": STUDY}):
        with pytest.raises(WeightsError, match=r"round-0001\.safetensors is damaged") as caught:
            read_bytes(tmp_path, to_safetensors(WEIGHTS, metadata))
    assert "the one before" in caught.value.hint
