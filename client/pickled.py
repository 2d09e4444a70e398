"""What a pickle says, as plain data: names stay names. Nothing is looked up, called or run.

A pickle is a program for a machine that can call anything. This one knows the few instructions
that describe a tensor, and answers with a term: ``Called(Named("torch..."), (...))`` is text
about a call that nobody makes. Any other instruction, and any long program, is refused.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

MOST_STEPS = 200  # a tensor takes 30, a numpy array 60
_INSTRUCTIONS = {  # of pickle's second protocol, which torch writes; names as in its manual
    0x80: "PROTO", ord("c"): "GLOBAL", ord("("): "MARK", ord("t"): "TUPLE", ord("."): "STOP",
    ord("R"): "REDUCE", ord("b"): "BUILD", ord("Q"): "BINPERSID",
    ord(")"): "EMPTY_TUPLE", 0x85: "TUPLE1", 0x86: "TUPLE2", 0x87: "TUPLE3",
    ord("N"): "NONE", 0x88: "NEWTRUE", 0x89: "NEWFALSE",
    ord("X"): "BINUNICODE", 0x8A: "LONG1",
    ord("J"): "BININT", ord("K"): "BININT1", ord("M"): "BININT2",
    ord("q"): "BINPUT", ord("r"): "LONG_BINPUT", ord("h"): "BINGET", ord("j"): "LONG_BINGET",
}  # fmt: skip
_BYTES = {  # of a whole number that follows
    "PROTO": 1, "BININT1": 1, "BININT2": 2, "BININT": 4,
    "BINPUT": 1, "LONG_BINPUT": 4, "BINGET": 1, "LONG_BINGET": 4,
}  # fmt: skip
_SAY = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_VALUES = {"BINUNICODE", "BININT", "BININT1", "BININT2", "LONG1"}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_MARK = object()


class ForeignError(Exception):
    """The pickle holds more than a tensor can be described by."""


@dataclass(frozen=True, slots=True)
class Named:
    """A module's name and a name in it, with a dot between."""

    name: str


@dataclass(frozen=True, slots=True)
class Called:
    """A call that the pickle asks for."""

    called: object
    arguments: object


@dataclass(frozen=True, slots=True)
class Built:
    """An object that the pickle asks to be given a state."""

    start: object
    state: object


@dataclass(frozen=True, slots=True)
class Kept:
    """A reference to what is stored beside the pickle."""

    key: object


@dataclass(slots=True)
class _Machine:
    stack: list[Any] = field(default_factory=list)
    memo: dict[int, Any] = field(default_factory=dict)

    def take(self, count: int) -> tuple[Any, ...]:
        """The topmost ``count``, lowest first, off the stack."""
        if count > len(self.stack):
            raise IndexError
        taken = self.stack[len(self.stack) - count :]
        del self.stack[len(self.stack) - count :]
        return tuple(taken)


def described(content: bytes) -> object:
    """The term that a pickle describes.

    Raises:
        ForeignError: it does anything that a tensor does not need.
        ValueError, IndexError, KeyError: it is damaged.
    """
    machine = _Machine()
    for step, (name, argument) in enumerate(_instructions(content)):
        if step >= MOST_STEPS:
            raise ForeignError
        if name == "STOP":
            break
        _follow(machine, name, argument)
    return machine.take(1)[0]


def _instructions(content: bytes) -> Iterator[tuple[str, Any]]:
    """Each instruction with what follows it; None: nothing does."""
    at = 0
    while True:
        name = _INSTRUCTIONS.get(content[at])
        if name is None:
            raise ForeignError
        argument, at = _argument(content, at + 1, name)
        yield name, argument


def _argument(content: bytes, at: int, name: str) -> tuple[Any, int]:
    """What follows an instruction, and where the next one is."""
    if name in _BYTES:
        end = at + _BYTES[name]
        return _number(content, at, end, signed=name == "BININT"), end
    if name == "LONG1":
        end = at + 1 + content[at]
        return _number(content, at + 1, end, signed=True), end
    if name == "BINUNICODE":
        start = at + 4
        end = start + _number(content, at, start)
        return _cut(content, start, end).decode("utf-8", "surrogatepass"), end
    if name == "GLOBAL":
        end = content.index(b"\n", content.index(b"\n", at) + 1)
        return content[at:end].decode("ascii").replace("\n", "."), end + 1
    return None, at


def _number(content: bytes, start: int, end: int, *, signed: bool = False) -> int:
    return int.from_bytes(_cut(content, start, end), "little", signed=signed)


def _cut(content: bytes, start: int, end: int) -> bytes:
    if end > len(content):
        raise ValueError
    return content[start:end]


def _follow(machine: _Machine, name: str, argument: Any) -> None:
    stack = machine.stack
    if name in _VALUES:
        stack.append(argument)
    elif name in _SAY:
        stack.append(_SAY[name])
    elif name in _TUPLES:
        stack.append(machine.take(_TUPLES[name]))
    elif name == "GLOBAL":
        stack.append(Named(argument))
    elif name == "MARK":
        stack.append(_MARK)
    elif name == "TUPLE":
        above = stack[::-1].index(_MARK)
        items = machine.take(above)
        stack[-1] = items  # in place of the mark
    elif name in ("BINPUT", "LONG_BINPUT"):
        machine.memo[argument] = stack[-1]
    elif name in ("BINGET", "LONG_BINGET"):
        stack.append(machine.memo[argument])
    elif name != "PROTO":
        _compose(machine, name)


def _compose(machine: _Machine, name: str) -> None:
    if name == "REDUCE":
        machine.stack.append(Called(*machine.take(2)))
    elif name == "BUILD":
        machine.stack.append(Built(*machine.take(2)))
    elif name == "BINPERSID":
        machine.stack.append(Kept(*machine.take(1)))
    else:
        raise ForeignError
