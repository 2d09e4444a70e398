"""Settings files: YAML in, frozen dataclass out. An unknown key or a wrong type is an error."""

import dataclasses
import difflib
import types
import typing
from pathlib import Path
from typing import Any, TypeVar

import yaml

from .errors import SettingsError

FORMAT = 1

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
            f"{path.name}: format is {found!r}, this version reads format {FORMAT}",
            hint=f"the first line of {path.name} should be 'format: {FORMAT}'",
        )
    return parse(values, kind, where=path.name, **derived)


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML mapping; everything else is a SettingsError."""
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SettingsError(
            f"{path.name}: not found in {path.parent}", hint="run the 'init' command first"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path.name}: cannot be read ({type(error).__name__})") from None
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f" at line {mark.line + 1}" if mark else ""
        raise SettingsError(f"{path.name}: not valid YAML{line}") from None
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise SettingsError(f"{path.name}: expected 'key: value' lines")
    return values


def parse(values: dict[str, Any], kind: type[Settings], *, where: str, **derived: Any) -> Settings:
    """Turn a mapping into the dataclass ``kind``, checking every key and type."""
    fields = {f.name: f for f in dataclasses.fields(kind) if f.name not in derived}  # type: ignore[arg-type]
    for key in values:
        if key not in fields:
            near = difflib.get_close_matches(key, fields, n=1)
            raise SettingsError(
                f"{where}: unknown setting '{key}'",
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
        return value
    wanted = getattr(origin or hint, "__name__", str(hint)).replace("tuple", "list")
    raise SettingsError(f"{where}: '{key}' is {value!r}, expected {wanted}")


def _made(kind: type, value: object, where: str, key: str) -> Any:
    """A number, which YAML reads as text where it says 1e-5, or a path."""
    try:
        return kind(value)
    except (ValueError, OverflowError, TypeError):
        wanted = "a number" if kind is float else "a path"
        raise SettingsError(f"{where}: '{key}' is {value!r}, expected {wanted}") from None
