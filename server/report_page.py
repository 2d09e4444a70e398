"""The page: one file that needs nothing else, made of report.json alone."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ghanet_model.page_html import Html, document, join, tag, tile
from ghanet_model.page_numbers import between, count, number, part, plural, signed

from .report_account import account, genes_and_features, withheld
from .report_cohort import cohort
from .report_models import c_indices, cox_models
from .report_privacy import privacy
from .report_survival import by_group, calibrated
from .report_training import curves, participants

Twin = Mapping[str, Any]
PARTS: Sequence[tuple[str, Callable[[int, Twin], Html]]] = (
    ("Cohort", cohort),
    ("Participation", participants),
    ("Learning curves", curves),
    ("C-indices", c_indices),
    ("Survival", by_group),
    ("Calibration", calibrated),
    ("Cox models", cox_models),
    ("Genes, features", genes_and_features),
    ("Privacy", privacy),
    ("Withheld", withheld),
    ("Method", account),
)
PRIVATE_PARTS = (privacy, participants, genes_and_features, withheld, account)  # what is known


def report_page(twin: Twin) -> str:
    """The whole page.

    Args:
        twin: report.json.
    """
    body = (make(place, twin) for place, (_, make) in enumerate(parts_of(twin), start=1))
    page = tag("main", _top(twin), _contents(twin), *body)
    return document(f"Run report: {twin['study']}", page)


def parts_of(twin: Twin) -> Sequence[tuple[str, Callable[[int, Twin], Html]]]:
    """Names and makers of the parts; of a private study, those that have something to say."""
    if not isinstance(twin.get("privacy"), Mapping):
        return PARTS
    by_maker = {make: name for name, make in PARTS}
    return [(by_maker[make], make) for make in PRIVATE_PARTS]


def _top(twin: Twin) -> Html:
    """Which run, how far it is, what it is for, and the numbers that people look for first."""
    facts = [
        tag("p", "Federated G-HANet", class_="kicker"),
        tag("h1", f"Run report: {twin['study']}"),
        tag("p", tag("b", _sentence(twin["state"])), _as_of(twin), class_="state"),
        tag("p", "study ", tag("code", part(twin, "digests", "study") or ""), class_="digest"),
        tag("p", f"{_sentence(twin['notice'])}.", class_="notice"),
    ]
    for title, key in (("The run stopped: ", "stopped"), ("At the end: ", "undelivered")):
        if twin.get(key):
            facts.append(tag("p", tag("b", title), twin[key], class_="warning"))
    return tag("header", *facts, _headline(twin))


def _sentence(words: str) -> str:
    """Words with a capital."""
    return words[:1].upper() + words[1:]


def _as_of(twin: Twin) -> str:
    goes_on = ", a run goes on" if twin.get("running") else ""
    time = (twin.get("as_of") or "")[:16].replace("T", " ")
    return f"{goes_on}, as of {time} UTC" if time else goes_on


def _headline(twin: Twin) -> Html:
    """One tile per arm, then differences and size."""
    arms = part(twin, "evaluation", "arms") or {}
    tiles = [
        _tile(arm, part(values, "c_within"), f"{count(part(values, 'c_within', 'pairs'))} pairs")
        for arm, values in arms.items()
        if values
    ]
    noisy = part(twin, "evaluation", "noisy")
    if noisy:
        tiles = [_tile("with noise", part(noisy, "c_within"), "pairs not told")]
    if not tiles:
        tiles = [_tile_so_far(twin)]
    return join([tag("div", *tiles, class_="tiles"), tag("p", *_sentences(twin), class_="lead")])


def _tile(name: str, found: Any, below: str) -> Html:
    limits = between(found)
    interval = f"95% interval {limits}" if limits else "no interval"
    return tile(f"C-index, {name}", number(part(found, "value")), interval, below, kind=name)


def _tile_so_far(twin: Twin) -> Html:
    """The newest C-index that there is, while the evaluation is not done."""
    known = [stage for stage in twin["participation"] if stage["c_index"] is not None]
    newest = known[-1] if known else {}
    pairs = f"{count(newest.get('pairs'))} pairs" if newest else "after the first round"
    return _tile("federated, so far", {"value": newest.get("c_index")}, pairs)


def _sentences(twin: Twin) -> list[str]:
    """What the tiles leave open."""
    said = [
        f"{row['of'].capitalize()} minus {row['minus']}: {signed(row)}. "
        for row in part(twin, "evaluation", "differences") or ()
        if row.get("value") is not None
    ]
    whole = part(twin, "evaluation", "integrated_brier")
    if part(whole, "model") is not None:
        said.append(
            f"Integrated Brier score {number(whole['model'])}, Kaplan-Meier alone "
            f"{number(part(whole, 'kaplan_meier'))}. "
        )
    cases = part(twin, "cohort", "total", "cases") or sum(site["cases"] for site in twin["sites"])
    left_out = f"{plural(len(twin['withheld']), 'entry', 'entries')} withheld or left out"
    size = f"{plural(len(twin['sites']), 'hospital')}, {plural(cases, 'case')}; "
    makers = [make for _, make in parts_of(twin)]
    return [*said, size, tag("a", left_out, href=f"#part-{makers.index(withheld) + 1}"), "."]


def _contents(twin: Twin) -> Html:
    links = (
        tag("a", tag("span", str(place), class_="number"), f" {name}", href=f"#part-{place}")
        for place, (name, _) in enumerate(parts_of(twin), start=1)
    )
    return tag("nav", *links, aria_label="Contents")
