"""The hospital's Flower ClientApp: message to record, record to message. Errors leave as codes."""

import logging
import os
import time
from logging.handlers import RotatingFileHandler
from pathlib import Path

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp
from numpy.typing import NDArray

from ghanet_model.errors import GHANetError
from ghanet_model.wire import ARRAYS, BLOB, ERROR, VALUES

from .config import FOLDER_VARIABLE, LOG_FILE

NOTHING = np.zeros(0, np.uint8)
log = logging.getLogger("ghanet")

app = ClientApp()


@app.query("statistics")
def statistics(message: Message, _: Context) -> Message:
    """Sums over genes."""
    return reply_to(message, "statistics")


@app.train("round")
def training_round(message: Message, _: Context) -> Message:
    """One round."""
    return reply_to(message, "round")


@app.query("delivery")
def delivery(message: Message, _: Context) -> Message:
    """A release for the inbox."""
    return reply_to(message, "delivery")


def reply_to(message: Message, kind: str) -> Message:
    """Answer, or send the code of what went wrong; its text stays in the hospital's log."""
    try:
        folder = Path(os.environ[FOLDER_VARIABLE])
        log_to(folder / "logs" / LOG_FILE)
        return _answer(message, kind, folder)
    except GHANetError as error:
        log.error("%s refused: %s%s", kind, error, f" ({error.hint})" if error.hint else "")  # noqa: TRY400
        code = error.code
    except Exception:
        log.exception("%s failed", kind)
        code = "failed"
    return _message({ERROR: code}, NOTHING, message)


def _answer(message: Message, kind: str, folder: Path) -> Message:
    from ghanet_model.record import Record  # noqa: PLC0415 - torch takes seconds

    from .answers import answer, open_site  # noqa: PLC0415 - the same

    began = time.monotonic()
    values = dict(message.content.config_records[VALUES])
    blob = message.content.array_records[ARRAYS][BLOB].numpy()
    answered = answer(open_site(folder), kind, Record.unpack(values, blob))
    packed = answered.packed()
    log.info("%s", describe(kind, answered.values, len(packed), time.monotonic() - began))
    return _message(dict(answered.values), packed, message)


def describe(kind: str, values: object, size: int, seconds: float) -> str:
    """One line for the hospital's log: what was done and how much left. Counts only."""
    done = {"statistics": "sent gene sums", "delivery": "received a release"}.get(kind, kind)
    if kind == "round" and isinstance(values, dict):
        cases = values["cases"]
        did = f"trained on {cases} cases" if cases else "evaluated"
        done = f"round {values['number']}: {did}"
    return f"{done}; {size / 1e6:.2f} MB left this site; {seconds:.1f} s"


def _message(
    values: dict[str, int | float | str | bool], blob: NDArray[np.uint8], message: Message
) -> Message:
    arrays = ArrayRecord({BLOB: Array(blob)})
    content = RecordDict({VALUES: ConfigRecord(dict(values)), ARRAYS: arrays})
    return Message(content, reply_to=message)


def log_to(path: Path) -> None:
    """Log to a file of the hospital only; nothing on stdout, which Flower might carry away."""
    if log.handlers:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    handler = RotatingFileHandler(path, maxBytes=5_000_000, backupCount=3)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%Y-%m-%d %H:%M:%S"))
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False
