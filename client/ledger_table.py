"""The ledger for people: a line each, newest last, and what left by day. Reads, never writes."""

import datetime as dt
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from textwrap import wrap

from ghanet_model.ledger import REFUSED, SENT, Line
from ghanet_model.record import Scalar

from .ledger import Compared

WIDTH, INDENT = 100, 40  # columns of the table, and of what stands before the last one
DIGEST_SHOWN = 12  # of a digest's 64 digits: enough to find it again


def ledger_lines(lines: Sequence[Line], *, last: int) -> Iterator[str]:
    """The newest ``last`` lines as a table, then sums by day and kind."""
    if not lines:
        yield "the ledger has no line yet"
        return
    hidden = max(0, len(lines) - last)
    if hidden:
        yield f"{hidden} older lines are not shown; --last {len(lines)} shows all"
    yield f"{'line':>6}  {'time (UTC)':<19}  {'what':<9}  about"
    for line in lines[hidden:]:
        about = wrap(_about(line), WIDTH - INDENT) or [""]
        yield f"{line.number:>6}  {_time(line)}  {line.what:<9}  {about[0]}".rstrip()
        yield from (f"{'':<{INDENT}}{more}" for more in about[1:])
    yield ""
    yield from _sums(lines)


def _time(line: Line) -> str:
    try:
        there = dt.datetime.fromisoformat(line.time)
    except ValueError:
        return f"{line.time[:19]:<19}"
    return there.strftime("%Y-%m-%d %H:%M:%S")


def _about(line: Line) -> str:
    facts = line.facts
    if line.what == SENT:
        cases, size = facts.get("cases", 0), int(facts.get("bytes", 0))
        digest = str(facts.get("digest", ""))[:DIGEST_SHOWN]
        return f"{_named(facts)}: {cases} cases at most, {size / 1e6:.2f} MB, digest {digest}"
    if line.what == REFUSED:
        reason = f" ({facts['reason']})" if facts.get("reason") else ""
        code = f": {facts['code']}" if "code" in facts else ""
        return f"{_named(facts)}{code}{reason}"
    return ", ".join(f"{name} {_short(value)}" for name, value in facts.items())


def _named(facts: Mapping[str, Scalar]) -> str:
    kind, number, topic = (facts.get(key) for key in ("kind", "round", "topic"))
    return f"{kind} {number}" if number else f"{kind} ({topic})" if topic else str(kind or "")


def _short(value: Scalar) -> str:
    text = str(value)
    return text[:DIGEST_SHOWN] if len(text) == 64 else text


def _sums(lines: Sequence[Line]) -> Iterator[str]:
    """Answers and bytes of each day and kind."""
    answers: Counter[tuple[str, str, str]] = Counter()
    sizes: Counter[tuple[str, str, str]] = Counter()
    for line in lines:
        if line.what in (SENT, REFUSED):
            key = (line.time[:10], line.what, str(line.facts.get("kind", "")))
            answers[key] += 1
            sizes[key] += int(line.facts.get("bytes", 0))
    yield f"{'day':<10}  {'what':<9}  {'kind':<12}{'answers':>8}{'MB':>12}"
    for key in sorted(answers):
        day, what, kind = key
        yield f"{day:<10}  {what:<9}  {kind:<12}{answers[key]:>8}{sizes[key] / 1e6:>12.2f}"


def compared_lines(compared: Compared) -> Iterator[str]:
    """What the coordinator's receipts say of this ledger."""
    matched, left = len(compared.matched), compared.unreceived
    yield f"{matched} receipts, each of an answer in this ledger, in the same order"
    yield f"{len(left)} answers sent, not received{':' if left else ''}"
    for line in left:
        yield f"{line.number:>6}  {_time(line)}  {_about(line)}"
