"""Progress: what a run says others read whole; one run at a time holds a folder."""

import datetime as dt
import fcntl
import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ghanet_model.errors import DeploymentError
from server.progress import (
    FAILED,
    FINISHED,
    LOCK_FILE,
    PROGRESS_FILE,
    ROUND,
    WAITING,
    Progress,
    Reporter,
    is_running,
    read_progress,
    run_lock,
)

HOLD = """\
import sys, time
from pathlib import Path
from server.progress import run_lock
with run_lock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def reporter(tmp_path):
    """Of a run that has just begun."""
    return Reporter(tmp_path, Progress(run="7"))


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the folder's lock."""
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"held\n"
        yield process
        process.kill()


def test_nothing_was_said_before_the_first_run(tmp_path):
    """No file is no progress, not an error."""
    assert read_progress(tmp_path) is None
    assert read_progress(tmp_path / "absent") is None


def test_what_is_said_is_what_is_read(reporter, tmp_path):
    """Every field comes back equal, tuples and absent numbers too."""
    reporter.say(phase=ROUND, round_number=2, rounds=3, c_index=(None, 0.5), round_seconds=(1.5,))
    assert read_progress(tmp_path) == reporter.now
    assert reporter.now.c_index == (None, 0.5)


def test_what_is_not_said_stays(reporter, tmp_path):
    """A change of one field leaves the others."""
    reporter.say(rounds=9)
    reporter.say(phase=ROUND)
    now = read_progress(tmp_path)
    assert (now.run, now.rounds, now.phase) == ("7", 9, ROUND)


def test_each_hospital_has_its_own_word(reporter, tmp_path):
    """What one hospital does now does not change what is known of another."""
    reporter.say(sites={"ana": "working", "ben": "working"})
    reporter.site("ana", "answered")
    assert read_progress(tmp_path).sites == {"ana": "answered", "ben": "working"}


def test_progress_says_when(reporter, tmp_path):
    """The time of the last word is UTC and now."""
    reporter.say()
    said = dt.datetime.fromisoformat(read_progress(tmp_path).updated)
    assert abs((dt.datetime.now(dt.UTC) - said).total_seconds()) < 60


@pytest.mark.parametrize(("phase", "ended"), [(WAITING, False), (FINISHED, True), (FAILED, True)])
def test_a_run_ends_finished_or_failed(phase, ended):
    """Nothing more comes after these two words."""
    assert Progress(run="7", phase=phase).ended == ended


@given(content=st.binary(max_size=50) | st.sampled_from([b"[]", b"{}", b'{"run": "7"}', b"null"]))
@settings(max_examples=50, deadline=None)
def test_a_damaged_file_is_no_progress(tmp_path_factory, content):
    """A follower is never stopped by what lies in the file's place."""
    folder = tmp_path_factory.mktemp("damaged")
    (folder / PROGRESS_FILE).write_bytes(content)
    assert read_progress(folder) is None


def test_a_follower_never_reads_a_half_word(reporter, tmp_path):
    """While a run writes, every look finds a whole progress."""
    reporter.say()
    writing = threading.Thread(
        target=lambda: [reporter.say(round_number=n, error="x" * 5000) for n in range(60)]
    )
    writing.start()
    while writing.is_alive():
        assert read_progress(tmp_path) is not None
    writing.join()
    assert read_progress(tmp_path).round_number == 59


def test_nobody_runs_in_a_new_folder(tmp_path):
    """A look at a folder makes nothing in it."""
    assert not is_running(tmp_path / "state")
    assert not (tmp_path / "state").exists()


def test_a_run_holds_its_folder(tmp_path):
    """While the lock is held a second run is refused; afterwards the folder is free."""
    with run_lock(tmp_path / "state"):
        assert is_running(tmp_path / "state")
        with pytest.raises(DeploymentError, match="another run"), run_lock(tmp_path / "state"):
            pytest.fail("two runs in one folder")
    assert not is_running(tmp_path / "state")
    with run_lock(tmp_path / "state"):
        assert is_running(tmp_path / "state")


def test_another_process_is_kept_out(holder, tmp_path):
    """The lock is between processes."""
    assert is_running(tmp_path)
    with pytest.raises(DeploymentError), run_lock(tmp_path):
        pytest.fail("two runs in one folder")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_process_frees_its_folder(holder, tmp_path, number):
    """However a run ends, nothing has to be cleaned up before the next."""
    os.kill(holder.pid, number)
    holder.wait(5)
    assert not is_running(tmp_path)
    with run_lock(tmp_path):
        assert is_running(tmp_path)


def test_a_run_that_fails_frees_its_folder(tmp_path):
    """An error passes through the lock as it is, also one that looks like the lock's own."""
    with pytest.raises(BlockingIOError, match="mine"), run_lock(tmp_path):
        raise BlockingIOError("mine")
    assert not is_running(tmp_path)


@pytest.fixture
def look(tmp_path):
    """A look at the folder by another command, that lasts until it is closed."""
    handle = os.open(tmp_path / LOCK_FILE, os.O_RDONLY | os.O_CREAT)
    fcntl.flock(handle, fcntl.LOCK_SH)
    with os.fdopen(handle) as file:
        yield file


def test_a_look_is_not_a_run(look, tmp_path):
    """Two commands that look at the same time do not take each other for a run."""
    assert not is_running(tmp_path)


def test_a_run_waits_for_a_look_to_end(look, tmp_path):
    """A command that looks just now does not keep a run from starting."""
    threading.Timer(0.05, look.close).start()
    with run_lock(tmp_path):
        assert look.closed


def test_looking_never_keeps_a_run_out(tmp_path):
    """Commands that look all the time neither stop a run from starting nor see each other."""
    with run_lock(tmp_path):
        pass
    seen, stopping = [], threading.Event()

    def look() -> None:
        while not stopping.is_set():
            seen.append(is_running(tmp_path))
            time.sleep(0.001)

    lookers = [threading.Thread(target=look) for _ in range(3)]
    for looker in lookers:
        looker.start()
    try:
        time.sleep(0.2)
        assert seen
        assert not any(seen)
        for _ in range(300):
            with run_lock(tmp_path):
                pass
    finally:
        stopping.set()
        for looker in lookers:
            looker.join()
