"""Numbers of a page as people read them. What is not there is a dash, never a zero."""

from collections.abc import Mapping
from typing import Any

NOTHING, TO, MINUS = "\N{EN DASH}", "\N{EN DASH}", "\N{MINUS SIGN}"
UNTOLD = "untold"
SMALL_P = 0.001  # below this a p-value says no more


def at(values: Mapping[str, Any], key: str, place: int) -> Any:
    """One of a row, None where it is not there."""
    row = values.get(key) or ()
    return row[place] if place < len(row) else None


def ratio_at(cox: Mapping[str, Any], place: int) -> dict[str, float | None]:
    """A covariate's hazard ratio with its interval."""
    keys = {"value": "hazard_ratio", "low": "low", "high": "high"}
    return {name: at(cox, key, place) for name, key in keys.items()}


def part(values: Any, *keys: str) -> Any:
    """What lies below the keys, None where anything on the way is missing.

    >>> part({"a": {"b": 1}}, "a", "b"), part({"a": None}, "a", "b")
    (1, None)
    """
    for key in keys:
        values = values.get(key) if isinstance(values, Mapping) else None
    return values


def number(value: float | None, digits: int = 3) -> str:
    """A number with as many digits as mean anything.

    >>> number(0.67149), number(-0.0312, 2), number(None)
    ('0.671', '−0.03', '–')
    """  # noqa: RUF002 - what it prints
    return NOTHING if value is None else f"{value:,.{digits}f}".replace("-", MINUS)


def count(value: float | None, missing: str = NOTHING) -> str:
    """A whole number.

    >>> count(12345), count(None, UNTOLD)
    ('12,345', 'untold')
    """
    return missing if value is None else f"{value:,.0f}".replace("-", MINUS)


def interval(found: Any, digits: int = 3) -> str:
    """A value with its 95% interval, as far as there is one.

    >>> interval({"value": 0.6714, "low": 0.601, "high": 0.7349})
    '0.671 (0.601–0.735)'
    >>> interval({"value": 0.6714, "low": None, "high": None}), interval(None)
    ('0.671', '–')
    """  # noqa: RUF002 - what it prints
    value, limits = part(found, "value"), between(found, digits)
    return number(value, digits) + (f" ({limits})" if value is not None and limits else "")


def between(found: Any, digits: int = 3) -> str:
    """The interval alone, empty where there is none."""
    low, high = part(found, "low"), part(found, "high")
    if low is None or high is None:
        return ""
    between = TO if low >= 0 else " to "
    return f"{number(low, digits)}{between}{number(high, digits)}"


def signed(found: Any, digits: int = 3) -> str:
    """A difference with its 95% interval.

    >>> signed({"value": 0.0514, "low": -0.012, "high": 0.115})
    '+0.051 (−0.012 to +0.115)'
    """  # noqa: RUF002 - what it prints
    value, low, high = (_plus(part(found, key), digits) for key in ("value", "low", "high"))
    return value if NOTHING in (value, low, high) else f"{value} ({low} to {high})"


def _plus(value: float | None, digits: int) -> str:
    sign = "+" if value is not None and round(value, digits) > 0 else ""
    return sign + number(value, digits)


def p_value(p: float | None) -> str:
    """How likely such a difference is by chance.

    >>> p_value(0.0321), p_value(0.47), p_value(0.00001), p_value(None)
    ('0.032', '0.47', '< 0.001', '')
    """
    if p is None:
        return ""
    return f"< {SMALL_P:g}" if p < SMALL_P else f"{p:.{2 if p >= 0.1 else 3}f}"


def plural(value: int, one: str, many: str = "") -> str:
    """A count with its noun.

    >>> plural(1, "hospital"), plural(2, "hospital")
    ('1 hospital', '2 hospitals')
    """
    return f"{value:,} {one if value == 1 else many or one + 's'}"


def megabytes(size: float | None) -> str:
    """Bytes in millions."""
    return NOTHING if size is None else f"{size / 1e6:,.1f}"


def runs(numbers: list[int]) -> str:
    """Whole numbers in a row as from and to.

    >>> runs([1, 2, 3, 7, 9, 10])
    '1–3, 7, 9, 10'
    """  # noqa: RUF002 - what it prints
    found: list[list[int]] = []
    for one in sorted(numbers):
        if found and one == found[-1][-1] + 1:
            found[-1].append(one)
        else:
            found.append([one])
    rows = (map(str, row) if len(row) < 3 else [f"{row[0]}{TO}{row[-1]}"] for row in found)
    return ", ".join(text for row in rows for text in row)
