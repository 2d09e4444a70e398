"""What a follower prints: no more than was measured, and nothing twice."""

import io
import threading
import time

from rich.console import Console

import server.control
from server.config import ServerConfig
from server.follow import follow, report_table
from server.progress import FINISHED, ROUND, Progress, Reporter, run_lock

SITE = {
    "name": "hospital-a",
    "role": "trains",
    "has_genes": True,
    "cases": 90,
    "events": 60,
    "untold_events": 0,
    "evaluated": 30,
    "sent_bytes": 605_950_880,
    "received_bytes": 302_990_000,
    "c_index_before": 0.5,
    "c_index": 0.67,
    "note": "",
}
REPORT = {
    "study": "first-study",
    "rounds": 20,
    "sites": [SITE],
    "traffic": {"sent_bytes": 605_950_880, "received_bytes": 302_990_000},
    "c_index_before": 0.5,
    "c_index": 0.66,
}


def test_the_report_fits_a_terminal():
    """80 columns hold every number whole, and say how many bytes moved."""
    console = Console(width=80, file=io.StringIO())
    console.print(report_table(REPORT))
    said = console.file.getvalue()
    assert "605.95 MB sent to hospitals, 302.99 MB received" in said
    assert "hospital-a" in said
    assert "0.670" in said
    assert "…" not in said


def test_a_resumed_run_tells_of_its_own_rounds_only(tmp_path, monkeypatch):
    """Rounds of an earlier run are old news; each new one is a line with its seconds and bytes."""
    monkeypatch.setattr(server.control, "run_status", lambda *_: "running")
    config = ServerConfig(folder=tmp_path, host="localhost")

    def train() -> None:
        with run_lock(config.state):
            reporter = Reporter(config.state, Progress(run="7"))
            reporter.say(
                phase=ROUND, round_number=2, rounds=2, round_seconds=(9.0,), round_bytes=(9,)
            )
            time.sleep(0.6)
            reporter.say(round_seconds=(9.0, 12.3), round_bytes=(9, 3_020_000))
            time.sleep(0.6)
            reporter.say(phase=FINISHED)

    training = threading.Thread(target=train)
    training.start()
    console = Console(width=80, file=io.StringIO())
    follow(config, "7", console)
    training.join()
    said = console.file.getvalue()
    assert "round 2 took 12 s and moved 3.02 MB" in said
    assert "round 1 took" not in said
