"""Settings files: YAML in, frozen dataclass out. An unknown key or a wrong type is an error.

Only plain YAML is read: no key twice, no anchors, aliases or tags, nothing deep, nothing long.
"""

import dataclasses
import difflib
import math
import re
import types
import typing
from pathlib import Path
from typing import Any, TypeVar

import yaml

from .errors import SettingsError
from .files import read_file

FORMAT = 1
MOST_BYTES = 100_000  # of a settings file; ours have 2 000, and YAML is slow to read
MOST_DEPTH = 20  # of lists and mappings in each other
LARGEST = 2**63  # what whole numbers stay below, up and down
_NO_TEXT = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")  # no name or path holds one
_TEXT_TAG, _BOOL_TAG = "tag:yaml.org,2002:str", "tag:yaml.org,2002:bool"
_BOOL_STARTS = "tTfF"  # of true and false

Settings = TypeVar("Settings")


def read_settings(path: Path, kind: type[Settings], **derived: Any) -> Settings:
    """Read one settings file into the dataclass ``kind``.

    Args:
        path: a YAML file whose top level says ``format: 1``.
        kind: a dataclass; fields without default are required keys.
        derived: fields that the program sets, not the file.

    Raises:
        SettingsError: missing file, not YAML, unknown or missing key, wrong type, other format.
    """
    values = read_yaml(path)
    found = values.pop("format", None)
    if found != FORMAT:
        raise SettingsError(
            f"{path.name}: format is {_shown(found)}, this version reads format {FORMAT}",
            hint=f"the first line of {path.name} should be 'format: {FORMAT}'",
        )
    return parse(values, kind, where=path.name, **derived)


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML mapping; everything else is a SettingsError."""
    try:
        text = read_file(path, most=MOST_BYTES).decode()
        values = yaml.load(text, _Loader)  # noqa: S506 - a SafeLoader, made narrower
    except FileNotFoundError:
        raise SettingsError(
            f"{path.name}: not found in {path.parent}", hint="run the 'init' command first"
        ) from None
    except UnicodeDecodeError:
        raise SettingsError(
            f"{path.name}: cannot be read (not UTF-8 text)", hint="save it as UTF-8"
        ) from None
    except OSError as error:
        raise SettingsError(
            f"{path.name}: cannot be read ({str(error.strerror).lower()})"
        ) from None
    except _RefusedError as refused:
        raise SettingsError(f"{path.name}: {refused.problem}") from None
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f" at line {mark.line + 1}" if mark else ""
        raise SettingsError(f"{path.name}: not valid YAML{line}") from None
    if not isinstance(values, dict):
        raise SettingsError(f"{path.name}: expected 'key: value' lines")
    return values


class _RefusedError(yaml.MarkedYAMLError):
    """Valid YAML, but nothing that a settings file needs."""


def _refused(what: str, mark: Any) -> _RefusedError:
    return _RefusedError(problem=f"{what} at line {mark.line + 1}")


class _Loader(yaml.SafeLoader):
    """YAML without what surprises or grows: off, no and on are words, as in YAML 1.2."""

    depth = 0
    yaml_implicit_resolvers = {  # noqa: RUF012 - as yaml has it
        first: [
            (tag, pattern)
            for tag, pattern in resolvers
            if tag != _BOOL_TAG or first in _BOOL_STARTS
        ]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def compose_node(self, parent: Any, index: Any) -> Any:
        """The next node, where it is a plain one and not too deep."""
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if getattr(event, "anchor", None) or getattr(event, "tag", None):
            raise _refused("an anchor, alias or tag", event.start_mark)
        if self.depth >= MOST_DEPTH:
            raise _refused(
                f"more than {MOST_DEPTH} lists or mappings in each other", event.start_mark
            )
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:  # noqa: FBT001, FBT002
        """A mapping whose keys are text, each there once."""
        seen = set()
        for key, _ in node.value:
            if key.tag != _TEXT_TAG:
                raise _refused("a key that is not text", key.start_mark)
            if key.value in seen:
                raise _refused(f"{_shown(key.value)} is there twice, again", key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def _shown(value: object) -> str:
    """A value as an error repeats it: on one line, not long."""
    try:
        text = repr(value)
    except ValueError:  # Python prints no number of more than 4300 digits
        text = "a very long number"
    return text if len(text) <= 100 else f"{text[:97]}..."


def parse(values: dict[str, Any], kind: type[Settings], *, where: str, **derived: Any) -> Settings:
    """Turn a mapping into the dataclass ``kind``, checking every key and type."""
    fields = {f.name: f for f in dataclasses.fields(kind) if f.name not in derived}  # type: ignore[arg-type]
    for key in values:
        if key not in fields:
            near = difflib.get_close_matches(key, fields, n=1)
            raise SettingsError(
                f"{where}: unknown setting {_shown(key)}",
                hint=f"did you mean '{near[0]}'?" if near else f"known: {', '.join(fields)}",
            )
    for name, field in fields.items():
        no_default = field.default is field.default_factory is dataclasses.MISSING
        if no_default and name not in values:
            raise SettingsError(f"{where}: setting '{name}' is missing")
    hints = typing.get_type_hints(kind)
    checked = {key: _convert(value, hints[key], where, key) for key, value in values.items()}
    return kind(**checked, **derived)


def _convert(value: Any, hint: Any, where: str, key: str) -> Any:
    """``value`` as the type that the field's annotation names."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    is_bool = isinstance(value, bool)  # a bool is an int to Python, not to a reader
    if origin in (types.UnionType, typing.Union):
        inner = next(a for a in arguments if a is not type(None))
        return None if value is None else _convert(value, inner, where, key)
    if origin is tuple and isinstance(value, list):
        return tuple(_convert(item, arguments[0], where, key) for item in value)
    if dataclasses.is_dataclass(hint) and isinstance(value, dict):
        return parse(value, typing.cast("type[Any]", hint), where=f"{where}: {key}")
    if hint in (float, Path) and isinstance(value, int | float | str) and not is_bool:
        return _made(hint, value, where, key)
    if isinstance(hint, type) and isinstance(value, hint) and not (is_bool and hint is int):
        return _bounded(value, where, key)
    wanted = getattr(origin or hint, "__name__", str(hint)).replace("tuple", "list")
    raise SettingsError(f"{where}: '{key}' is {_shown(value)}, expected {wanted}")


def _bounded(value: Any, where: str, key: str) -> Any:
    """A value that every machine can hold, print and write."""
    if isinstance(value, float) and not math.isfinite(value):
        raise SettingsError(f"{where}: '{key}' is {value}", hint="use a finite number")
    if isinstance(value, int) and not -LARGEST < value < LARGEST:
        raise SettingsError(f"{where}: '{key}' is too large a number")
    if _NO_TEXT.search(str(value)):
        raise SettingsError(f"{where}: '{key}' holds a character that no name or path has")
    return value


def _made(kind: type, value: object, where: str, key: str) -> Any:
    """A number, which YAML reads as text where it says 1e-5, or a path."""
    try:
        return _bounded(kind(value), where, key)
    except (ValueError, OverflowError, TypeError):
        wanted = "a number" if kind is float else "a path"
        raise SettingsError(f"{where}: '{key}' is {_shown(value)}, expected {wanted}") from None
