"""The spool: a round's updates on disk, one file per hospital, so that memory holds one at a time.

It lives as long as its round. Nothing goes on from it: a round that is cut off asks again.
"""

import shutil
from pathlib import Path

from ghanet_model.errors import TrainingError
from ghanet_model.files import write_atomic
from ghanet_model.weights import Update, from_safetensors, to_safetensors

SPOOL = "spool"


def clear_spool(state: Path) -> None:
    """Remove whatever updates lie there."""
    shutil.rmtree(state / SPOOL, ignore_errors=True)


def write_update(state: Path, number: int, name: str, update: Update) -> None:
    """Put a hospital's checked update aside; a second one of the round replaces the first.

    Raises:
        TrainingError: the server's disk takes it not; nothing is wrong with the update.
    """
    try:
        write_atomic(_file(state, number, name), to_safetensors(update), private=True)
    except OSError as error:
        raise TrainingError(
            f"round {number}: an update cannot be written on the server "
            f"({(error.strerror or str(error)).lower()})",
            hint="make room or mend the disk, then run 'ghanet-server train': it goes on from "
            f"round {number}",
        ) from None


def read_update(state: Path, number: int, name: str) -> Update:
    """A hospital's update, as it was put aside.

    Raises:
        WeightsError: the file is damaged.
    """
    path = _file(state, number, name)
    return from_safetensors(path.read_bytes(), where=f"state/{SPOOL}/{path.name}")


def _file(state: Path, number: int, name: str) -> Path:
    return state / SPOOL / f"round-{number:04d}" / f"{name}.safetensors"
