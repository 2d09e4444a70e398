"""The global weights that this hospital received last, and what it was asked to do with them.

The next change is added to them, the gate compares with them what leaves, and a preview repeats
the last question. They are every hospital's weights; no case is in them that the coordinator has
not already sent to all.
"""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from ghanet_model.change import apply_change
from ghanet_model.errors import BehindError, ProtocolError, WeightsError
from ghanet_model.files import canonical_json, write_atomic
from ghanet_model.protocol import RoundAsk
from ghanet_model.record import Record
from ghanet_model.weights import (
    Arrays,
    check_same_shape,
    fingerprint_of,
    from_safetensors,
    to_safetensors,
)

HELD_FILE, ASKED_FILE = "held.safetensors", "asked.json"


class Held:
    """One set of weights in a file, read once and kept in memory; known by its fingerprint."""

    def __init__(self, folder: Path, *, durable: bool = True) -> None:
        """Of a folder ``state``; if not ``durable``, files are read and none is written."""
        self._path, self._asked = folder / HELD_FILE, folder / ASKED_FILE
        self._durable = durable
        self._weights: Arrays | None = None
        self._fingerprint = ""

    def find(self, fingerprint: str) -> Arrays | None:
        """The weights of this fingerprint, None where others or none are held."""
        if self._weights is None:
            self._read()
        return self._weights if self._fingerprint == fingerprint else None

    def keep(self, weights: Arrays, fingerprint: str) -> None:
        """Hold these weights from now on, also after a restart."""
        if self.find(fingerprint) is None:
            if self._durable:
                write_atomic(self._path, to_safetensors(weights), private=True)
            self._weights, self._fingerprint = weights, fingerprint

    def keep_ask(self, ask: RoundAsk) -> None:
        """Remember the last question, without its weights."""
        if self._durable:
            values = replace(ask, weights={}, before="", change={}).to_record().values
            write_atomic(self._asked, canonical_json(dict(values)), private=True)

    def last_ask(self) -> RoundAsk | None:
        """The last question, if the weights that it was about are held; else None."""
        try:
            ask = RoundAsk.from_record(Record(json.loads(self._asked.read_bytes())))
        except (OSError, ValueError, TypeError, AttributeError, RecursionError, ProtocolError):
            return None
        return ask if self.find(ask.base) is not None else None

    def _read(self) -> None:
        """Read the file; one that is absent or damaged holds nothing."""
        try:
            self._weights = from_safetensors(self._path.read_bytes(), where=HELD_FILE)
            self._fingerprint = fingerprint_of(self._weights)
        except (OSError, WeightsError):
            self._weights, self._fingerprint = None, ""


def incoming_weights(ask: RoundAsk, held: Held, initial: Callable[[], Arrays]) -> Arrays:
    """The weights that a round asks for: held, received whole, changed, or made from the seed.

    Args:
        ask: the round.
        held: what this hospital received before.
        initial: the study's first weights, of the shape that every round's weights have.

    Raises:
        BehindError: the weights follow from others than this hospital holds; it needs them whole.
        WeightsError: a change does not fit, or whole weights are not those that were announced.
    """
    found = held.find(ask.base)
    if found is not None:
        return found
    found = ask.weights or _changed(ask, held, initial)
    if found and fingerprint_of(found) == ask.base:
        return found
    if ask.weights:
        raise WeightsError("the weights that came are not those that were announced")
    raise BehindError(
        f"round {ask.number} builds on weights that are not held here",
        hint="nothing to do: the coordinator now sends them whole",
    )


def _changed(ask: RoundAsk, held: Held, initial: Callable[[], Arrays]) -> Arrays | None:
    """The weights that need no whole message; None where what they follow from is not held."""
    if not ask.before:
        return initial() if ask.number == 1 else None
    before = held.find(ask.before)
    if before is None:
        return None
    touched = {name: before[name] for name in ask.change if name in before}
    check_same_shape(ask.change, touched, dtype=np.uint16)
    return apply_change(before, ask.change)
