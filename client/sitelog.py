"""The hospital's own log: one line for every message. Counts only, and nothing of it leaves."""

import logging
from collections.abc import Mapping, Sequence
from logging.handlers import RotatingFileHandler
from pathlib import Path

from ghanet_model.errors import GHANetError
from ghanet_model.wire import DELIVERY, PRIVATE_CASES, ROUND, STATISTICS

from .config import LOG_FILE

LOG_BYTES, OLD_LOGS = 5_000_000, 3
log = logging.getLogger("ghanet")


def log_to(folder: Path, *, rotates: bool) -> None:
    """Log to the hospital's file only; nothing on stdout, which Flower might carry away.

    Args:
        folder: the hospital's.
        rotates: set a long log aside; for one process only, others write a line and end.
    """
    if log.handlers:
        return
    path = folder / "logs" / LOG_FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    size = LOG_BYTES if rotates else 0
    handler = RotatingFileHandler(path, maxBytes=size, backupCount=OLD_LOGS)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%Y-%m-%d %H:%M:%S"))
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False


def log_refusal(kind: str, error: Exception) -> str:
    """Say what went wrong with a message; returns the code, all that may leave about it."""
    if not isinstance(error, GHANetError):
        log.error("%s failed", kind, exc_info=error)
        return "failed"
    log.error("%s refused: %s%s", kind, error, f" ({error.hint})" if error.hint else "")
    return error.code


def describe(
    kind: str, values: Mapping[str, object], *, size: int, seconds: float, notes: Sequence[str] = ()
) -> str:
    """One line: what was done, how much left, and how long it took.

    Args:
        kind: of the message.
        values: of the answer; of a delivery what it brought as well.
        size: bytes of its arrays.
        seconds: from question to answer.
        notes: where the time went, in words; they stay in this line.
    """
    done = f"sent sums: {values['topic']}" if kind == STATISTICS else kind
    done = f"received a {values['what']}" if kind == DELIVERY else done
    if kind == ROUND:
        cases = values["cases"]
        did = f"trained on {cases} cases" if cases else "evaluated"
        did = "trained with noise" if cases == PRIVATE_CASES else did
        done = f"round {values['number']}: {did}"
    where = f" ({', '.join(notes)})" if notes else ""
    return f"{done}; {size / 1e6:.2f} MB left this site; {seconds:.1f} s{where}"
