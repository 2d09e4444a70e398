"""The seal on what leaves: only what the ledger lists as sent, or an error code. No Flower here.

The trainer's gate lets an answer out and writes a line for it. What the app hands to SuperNode is
compared with that line, so that code in the app could send nothing that the gate did not see.
"""

from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ghanet_model.errors import DeploymentError, GateError, GHANetError
from ghanet_model.ledger import SENT, parse_line
from ghanet_model.record import Scalar, digest_of
from ghanet_model.wire import ERROR

FLOWER = "1.41.0"  # whose SuperNode is known; in another one the guards might guard nothing
NEWEST_BYTES = 262_144  # of the ledger: some hundred lines; answers are sent one at a time


def require_flower() -> None:
    """Refuse to connect by a Flower whose SuperNode nobody looked at.

    Raises:
        DeploymentError: another version is installed.
    """
    if (found := version("flwr")) != FLOWER:
        raise DeploymentError(
            f"Flower {found} is installed; bundles and answers are guarded in {FLOWER} only",
            hint=f"install flwr=={FLOWER}, as this project's requirements say",
        )


def codes() -> frozenset[str]:
    """Every word that may leave about an error."""
    return frozenset({"failed", *(kind.code for kind in GHANetError.__subclasses__())})


def require_let_out(path: Path, values: Mapping[str, Scalar], blob: NDArray[np.uint8]) -> None:
    """Refuse an answer that the gate did not let out.

    Args:
        path: of this hospital's ledger.
        values: the answer's scalars.
        blob: the bytes of its arrays.

    Raises:
        GateError: no line of the ledger says that it was sent, and it is no error code.
        LedgerError: a line of the ledger is damaged.
    """
    if set(values) == {ERROR} and values[ERROR] in codes() and blob.size == 0:
        return
    if digest_of(values, blob) not in newest_digests(path):
        raise GateError("an answer that the gate did not let out was held back")


def newest_digests(path: Path) -> set[str]:
    """Digests of the answers that the newest lines of a ledger say were sent."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - NEWEST_BYTES))
            content = file.read()
    except FileNotFoundError:
        return set()
    whole = content[: content.rfind(b"\n") + 1].splitlines()
    lines = [parse_line(raw, 0) for raw in (whole[1:] if size > NEWEST_BYTES else whole)]
    return {str(line.facts.get("digest")) for line in lines if line.what == SENT}
