"""The part of the page about privacy: what was promised, and what noisy counts say. Pure."""

from collections.abc import Mapping
from typing import Any

from ghanet_model.page_html import Html, later, note, section, table, tag
from ghanet_model.page_numbers import between, number, part

Values = Mapping[str, Any]
TITLE = "Privacy"
OFF = "Differential privacy is off: sums and updates are exact, and may tell of single cases."
UNCOVERED = (
    "It adds up with other studies of the same cases and, for a patient of several hospitals, over "
    "these. It does not cover which hospitals took part, how many cases each was enrolled with and "
    "how long answers took. No C-index of single rounds is known. Numbers of cases are those that "
    "hospitals were enrolled with."
)
NOT_YET = "The evaluated cases are told of once, after the last round."
HOW = (
    "From two histograms of each hospital's evaluated cases, noise on every count. The interval "
    "covers both the sample of cases and the noise. Pairs of cases that are close in time are left "
    "out, which makes C larger than one of exact times, by .01 to .02 on drawn cases. Survival is "
    "actuarial, by thirds of the evaluated cases' risk; a dash is where too few are left to say."
)


def privacy(place: int, twin: Values) -> Html:
    """Epsilon and all that it needs, then C and survival from noisy counts."""
    said = twin.get("privacy")
    if not isinstance(said, Mapping):
        return section(place, TITLE, tag("p", OFF))
    found = part(twin, "evaluation", "noisy")
    results = [_c_index(found), _survival(found), note(HOW)] if found else [later(NOT_YET)]
    return section(place, TITLE, _promise(said), tag("p", UNCOVERED), *results)


def _promise(said: Values) -> Html:
    rows = [
        ("epsilon", f"{said['epsilon']:g}"),
        ("delta", f"{said['delta']:g}"),
        ("unit", said["unit"]),
        ("adjacency", said["adjacency"]),
        ("accountant", said["accountant"].upper()),
        ("steps, in all rounds", f"{said['steps']}"),
        ("sampling rate", f"{said['sampling_rate']:g}"),
        ("clipping norm", f"{said['clipping_norm']:g}"),
        ("noise of a step, in clipping norms", f"{said['noise']:g}"),
        ("noise of a count of evaluated cases", f"{said['evaluation_noise']:g}"),
    ]
    return table(("promised to every case", ""), rows, caption="The promise, and how it is kept")


def _c_index(found: Values) -> Html:
    value = part(found, "c_within")
    if value is None:
        return tag("p", tag("b", "C-index: "), "not estimable, noise outweighs the cases.")
    of_noise = f"noise alone has a deviation of {number(value['of_noise'])}"
    hospitals = f"{len(found['hospitals'])} hospitals"
    says = f"{number(value['value'])} ({between(value)}), {hospitals}; {of_noise}."
    return tag("p", tag("b", "C-index within hospitals: "), says)


def _survival(found: Values) -> Html:
    months = [f"{month:g} months" for month in found["months"]]
    rows = [
        (name, *(number(survival) for survival in curve["survival"]))
        for name, curve in found["survival"].items()
    ]
    return table(("risk group", *months), rows, caption="Survival by risk group, from noisy counts")
