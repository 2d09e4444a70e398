"""The survival of one slide's report: curve, band, and chances at the study's edges."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

from ghanet_model.page_html import Html, figure, later, note, table
from ghanet_model.page_numbers import number, part
from ghanet_model.page_survival import GROUP_STYLES
from ghanet_model.page_svg import SOFT, drawing, grid_lines, new_figure, to_svg

from . import slide_words as words

Values = Mapping[str, Any]
LANDMARKS = (12.0, 36.0, 60.0)  # months
TINY = 1e-9


def survival_of(answer: Values, manifest: Values) -> Iterator[Html]:
    """The curve with its band and the values at its edges, or why there are none."""
    if answer["hidden"]:
        yield later(words.NOT_SHOWN)
        return
    rounds = part(answer, "band", "rounds") or []
    rows = [
        (
            f"{number(one['months'], 0)} months",
            _percent(one["probability"]),
            *_range(one),
            *_bent(one),
        )
        for one in _with_landmarks(answer["survival"])
    ]
    last = number(answer["survival"][-1]["months"], 0)
    said = words.SURVIVAL.format(last=last), _band_in_words(rounds, manifest)
    yield figure(_curve(answer), " ".join(said))
    more = [words.BAND_COLUMN.format(count=len(rounds))] if rounds else []
    more += [words.RECALIBRATED_COLUMN] if "recalibration" in answer else []
    rows += [_not_estimable(label, len(more)) for label in _beyond(answer["survival"])]
    yield table(("after", "alive", *more), rows, caption="Predicted survival")
    if "recalibration" in answer:
        yield note(words.RECALIBRATED.format(what=answer["recalibration"]["what"]))


def _with_landmarks(survival: Sequence[Values]) -> list[Values]:
    """What is said at the study's edges, and between them at the months that are asked for most."""
    edges = [one["months"] for one in survival]
    missing = [m for m in LANDMARKS if m < edges[-1] and m not in edges]
    rows = [*survival, *({"months": m, **_between(survival, m)} for m in missing)]
    return sorted(rows, key=lambda row: float(row["months"]))


def _between(survival: Sequence[Values], months: float) -> Values:
    """Every chance of a row, where survival falls exponentially from edge to edge."""
    start = dict.fromkeys(survival[0], 1.0) | {"months": 0.0}
    for before, after in pairwise([start, *survival]):
        if before["months"] < months < after["months"]:
            share = (months - before["months"]) / (after["months"] - before["months"])
            ends = {key: (before[key], after[key]) for key in after if key != "months"}
            return {key: a * (max(b, TINY) / max(a, TINY)) ** share for key, (a, b) in ends.items()}
    raise ValueError(f"{months} months are outside of the curve")


def _beyond(survival: Sequence[Values]) -> list[str]:
    """The months that are asked for most and lie beyond the last edge, and all that do."""
    last = survival[-1]["months"]
    asked = [f"{number(months, 0)} months" for months in LANDMARKS if months > last]
    return [*asked, f"beyond {number(last, 0)} months"]


def _not_estimable(label: str, more: int) -> tuple[str, ...]:
    return (label, "not estimable", *("not estimable" for _ in range(more)))


def _percent(share: float) -> str:
    return f"{100 * share:.0f}%"


def _range(row: Values) -> list[str]:
    return [f"{_percent(row['low'])} to {_percent(row['high'])}"] if "low" in row else []


def _bent(row: Values) -> list[str]:
    return [_percent(row["recalibrated"])] if "recalibrated" in row else []


def _band_in_words(rounds: Sequence[int], manifest: Values) -> str:
    """What the band is, or that there is none; what the study asked for and the release lacks."""
    band = words.BAND.format(rounds=_listed(rounds)) if rounds else words.NO_BAND
    missing = [row["round"] for row in part(manifest, "ensemble", "missing") or []]
    return f"{band} {words.BAND_LACKS.format(rounds=_listed(missing))}" if missing else band


def _listed(rounds: Sequence[int]) -> str:
    """Round 2; rounds 2, 3, 4."""
    return f"round{'s' * (len(rounds) > 1)} {', '.join(map(str, sorted(rounds)))}"


def _curve(answer: Values) -> Html:
    """Survival falls exponentially inside a bin: the hazard is constant there."""
    known = _known(answer, "probability")
    months, alive = inside(known)
    colour, _ = GROUP_STYLES.get(answer["risk_group"], (SOFT, "-"))
    with drawing("slide-survival"):
        shown = new_figure(300)
        axes = shown.subplots()
        if "band" in answer:
            low, high = (inside(_known(answer, end))[1] for end in ("low", "high"))
            axes.fill_between(months, low, high, color=colour, alpha=0.22, linewidth=0)
        axes.plot(months, alive, color=colour, linewidth=2.2)
        axes.plot(*zip(*known[1:], strict=True), "o", color=colour, markersize=5)
        axes.set(ylim=(0, 1.02), xlim=(0, known[-1][0]), xlabel="months", ylabel="alive")
        axes.yaxis.set_major_formatter(lambda share, _: f"{100 * share:.0f}%")
        grid_lines(axes)
        with_band = " with its band" * ("band" in answer)
        return to_svg(shown, f"predicted survival over {known[-1][0]:.0f} months{with_band}")


def _known(answer: Values, which: str) -> list[tuple[float, float]]:
    """Months and chance to be alive: everybody at first, then what is said at each edge."""
    return [(0.0, 1.0), *((one["months"], one[which]) for one in answer["survival"])]


def inside(known: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    """Months and chances along the curve; between a band's ends lies every model's curve."""
    months, alive = [], []
    for (start, before), (end, after) in pairwise(known):
        for step in range(21):
            months.append(start + (end - start) * step / 20)
            alive.append(before * (max(after, TINY) / max(before, TINY)) ** (step / 20))
    return months, alive
