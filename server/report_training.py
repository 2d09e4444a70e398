"""Parts 2 and 3 of the page: who took part in which round, and learning curves."""

from collections.abc import Mapping, Sequence
from typing import Any

from ghanet_model.page_html import Html, bullets, figure, join, later, note, section, table, tag
from ghanet_model.page_numbers import NOTHING, TO, count, megabytes, number, part, plural
from ghanet_model.study import VALIDATION

from .report_curves import c_index_curve, loss_curve
from .report_rounds import (
    ANSWERED,
    DEEDS,
    EVALUATED,
    LEFT_OUT,
    NOT_ASKED,
    ONLY_TRAINED,
    QUARANTINED,
    TRAINED,
)
from .report_words import C_CURVE, CHOSEN_ROUND, LOSS_CURVE, VALIDATION_CURVE

Values = Mapping[str, Any]
Stages = Sequence[Values]
MOST_ROUNDS = 30  # columns of the matrix; of more, equal neighbours are one column
SIGNS = {  # a sign and its CSS class
    TRAINED: ("\N{BLACK CIRCLE}", "good"),
    ONLY_TRAINED: ("\N{CIRCLE WITH LEFT HALF BLACK}", "good"),
    EVALUATED: ("\N{WHITE CIRCLE}", "good"),
    ANSWERED: ("\N{MIDDLE DOT}", "good"),
    LEFT_OUT: ("\N{EN DASH}", "out"),
    QUARANTINED: ("\N{MULTIPLICATION SIGN}", "bad"),
    NOT_ASKED: ("", ""),
}


def participants(place: int, twin: Values) -> Html:
    """Who did what in which round, how long it took, how much it moved."""
    title, stages = "Participation", twin["participation"]
    if not stages:
        return section(place, title, later("No round has ended yet."), _totals(twin))
    said = (_summary(twin), _totals(twin), _matrix(stages), _reasons(twin))
    return section(place, title, *said)


def _summary(twin: Values) -> Html:
    seconds, traffic = twin["round_seconds"], twin["traffic"]
    took = f", {number(sum(seconds) / 60, 1)} minutes together" if seconds else ""
    sent, received = megabytes(traffic["sent_bytes"]), megabytes(traffic["received_bytes"])
    moved = f"{sent} MB went to hospitals and {received} MB came back"
    return tag("p", f"{plural(len(seconds), 'round')}{took}; {moved}.")


def _totals(twin: Values) -> Html:
    """A row per hospital, over all rounds."""
    rows = [_total(site, twin["participation"]) for site in twin["sites"]]
    counts = ("rounds trained", "training cases", "seconds a round", "MB sent to it", "MB received")
    head = ("hospital", "role", "genes", *counts)
    return table(head, rows, caption="Hospitals and what they did", left=(0, 1, 2))


def _total(site: Values, stages: Stages) -> Sequence[str]:
    deeds = [s["hospitals"][site["name"]] for s in stages if site["name"] in s["hospitals"]]
    trained = [deed for deed in deeds if deed["did"] in (TRAINED, ONLY_TRAINED)]
    seconds = [deed["seconds"] for deed in trained if deed["seconds"]]
    return (
        site["name"],
        site["role"],
        "yes" if site["has_genes"] else "no",
        count(len(trained)) if trained else NOTHING,
        count(trained[-1]["cases"]) if trained else NOTHING,
        number(sum(seconds) / len(seconds), 1) if seconds else NOTHING,
        megabytes(site["sent_bytes"]),
        megabytes(site["received_bytes"]),
    )


def _matrix(stages: Stages) -> Html:
    """Hospitals by rounds, a sign for what was done; its words are there for those who listen."""
    columns = _columns(stages)
    names = list(dict.fromkeys(name for stage in stages for name in stage["hospitals"]))
    deeds = {
        name: [part(stage, "hospitals", name, "did") or NOT_ASKED for _, stage in columns]
        for name in names
    }
    rows = [(name, *map(_sign, row)) for name, row in deeds.items()]
    ended = not stages[-1]["stage"].isdecimal()
    caption = "By round" + ("; at the end the model was evaluated once more" if ended else "")
    head = ("", *(title for title, _ in columns))
    return join([table(head, rows, caption=caption, kind="matrix"), _key(deeds)])


def _key(deeds: Mapping[str, Sequence[str]]) -> Html:
    """What the signs mean, of those that are there."""
    used = {deed for row in deeds.values() for deed in row if SIGNS[deed][0]}
    words = (tag("span", _mark(deed), f" {deed}", class_="key") for deed in DEEDS if deed in used)
    return note(*words)


def _columns(stages: Stages) -> list[tuple[str, Values]]:
    """A title and a stage per column; where there are many, equal neighbours are one."""
    columns: list[list[Values]] = []
    for stage in stages:
        same = columns and stage["stage"].isdecimal() and _deeds(columns[-1][-1]) == _deeds(stage)
        if same and len(stages) > MOST_ROUNDS:
            columns[-1].append(stage)
        else:
            columns.append([stage])
    return [(_title(column), column[0]) for column in columns]


def _deeds(stage: Values) -> dict[str, str]:
    return {name: deed["did"] for name, deed in stage["hospitals"].items()}


def _title(column: Stages) -> str:
    first, last = column[0]["stage"], column[-1]["stage"]
    return str(first) if first == last else f"{first}{TO}{last}"


def _mark(deed: str) -> Html:
    sign, kind = SIGNS[deed]
    return tag("span", sign, class_=f"sign {kind}".strip(), aria_hidden="true")


def _sign(deed: str) -> Html:
    return join([_mark(deed), tag("span", deed, class_="spoken")])


def _reasons(twin: Values) -> Html:
    """Why answers are missing; the whole list is in part 9."""
    rows = [row for row in twin["withheld"] if row["what"].startswith((LEFT_OUT, QUARANTINED))]
    if not rows:
        return note("No hospital's answer was missing or quarantined.")
    said = (join([tag("b", r["hospital"]), f" {r['what']}: {r['why']}"]) for r in rows)
    return join([tag("h3", "Missing and quarantined answers"), bullets(said)])


def curves(place: int, twin: Values) -> Html:
    """How the model learnt."""
    title, stages = "Learning curves", twin["participation"]
    if not any(stage["loss"] is not None for stage in stages):
        return section(place, title, later("Drawn after the first round."))
    chosen = part(twin, "selection", "round")
    validated = any(stage["validation"] is not None for stage in stages)
    said = LOSS_CURVE + VALIDATION_CURVE * validated + CHOSEN_ROUND * bool(validated and chosen)
    drawings = (figure(c_index_curve(stages), C_CURVE), figure(loss_curve(stages, chosen), said))
    return section(place, title, tag("div", *drawings, class_="pair"), _chosen(twin))


def _chosen(twin: Values) -> Html:
    by, chosen = part(twin, "selection", "by"), part(twin, "selection", "round")
    if by == VALIDATION:
        how = "the smallest loss on validation cases, which neither train nor evaluate"
    else:
        how = "the last, as the study says"
    which = f"Round {chosen} is released" if chosen else "The released round is not chosen yet"
    return note(f"{which}: {how}. Evaluation cases have no part in the choice.")
