"""The hospital's Flower ClientApp: message to frame, frame to message. Errors leave as codes.

Started anew for every message, so it holds no torch: the work is the trainer's.
"""

import os
from pathlib import Path

from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp

from ghanet_model.wire import ARRAYS, BLOB, DELIVERY, ERROR, ROUND, STATISTICS, VALUES

from .config import FOLDER_VARIABLE
from .frames import Frame, ask, scalars_of
from .sitelog import log_refusal, log_to

app = ClientApp()


@app.query(STATISTICS)
def statistics(message: Message, _: Context) -> Message:
    """Sums over genes."""
    return reply_to(message, STATISTICS)


@app.train(ROUND)
def training_round(message: Message, _: Context) -> Message:
    """One round."""
    return reply_to(message, ROUND)


@app.query(DELIVERY)
def delivery(message: Message, _: Context) -> Message:
    """A release for the inbox."""
    return reply_to(message, DELIVERY)


def reply_to(message: Message, kind: str) -> Message:
    """The trainer's answer, or the code of what went wrong; its text stays in the hospital."""
    try:
        folder = Path(os.environ[FOLDER_VARIABLE])
        answered = ask(folder, _frame_of(message, kind))
    except Exception as error:  # noqa: BLE001 - Flower would send its text
        answered = Frame(kind, {ERROR: _log(kind, error)})
    return _message_of(answered, message)


def _log(kind: str, error: Exception) -> str:
    """Write down what went wrong where that can be written; returns its code."""
    try:
        log_to(Path(os.environ[FOLDER_VARIABLE]), rotates=False)
        return log_refusal(kind, error)
    except (OSError, KeyError):
        return "failed"


def _frame_of(message: Message, kind: str) -> Frame:
    values = scalars_of(message.content.config_records[VALUES])
    return Frame(kind, values, message.content.array_records[ARRAYS][BLOB].numpy())


def _message_of(frame: Frame, message: Message) -> Message:
    arrays = ArrayRecord({BLOB: Array(frame.arrays)})
    content = RecordDict({VALUES: ConfigRecord(dict(frame.values)), ARRAYS: arrays})
    return Message(content, reply_to=message)
