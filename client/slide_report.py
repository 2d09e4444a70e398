"""The report of one slide: one page that needs nothing else, made of the answer and its release.

First whether to believe it, then what it says, then where from. Says nothing of any other case.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ghanet_model.extraction import HANDCRAFTED
from ghanet_model.page_html import (
    Html,
    bullets,
    document,
    figure,
    join,
    later,
    note,
    section,
    table,
    tag,
    tile,
)
from ghanet_model.page_numbers import between, count, number, part
from ghanet_model.page_survival import survival
from ghanet_model.release import Release
from ghanet_model.reliability import LEAST_R

from . import slide_words as words
from .slide_curve import survival_of
from .slide_gate import LIKE, UNKNOWN
from .slide_pictures import Pictures

Values = Mapping[str, Any]


def slide_report(name: str, answer: Values, release: Release, pictures: Pictures | None) -> str:
    """The page.

    Args:
        name: of the slide, for this hospital's eyes.
        answer: as its JSON file says it.
        release: verified.
        pictures: of the slide; None where there was a feature file alone.
    """
    parts = (
        ("Can this answer be used?", _gate(answer)),
        ("Group of risk", _group(answer, release)),
        ("Survival", survival_of(answer, release.manifest)),
        ("Evaluated cases of each group", _reference(answer, release.manifest)),
        ("Where the model looked", _pictures(pictures)),
        ("Gene groups", _genes(answer)),
        ("How good the release is", [*_performance(release.manifest), _tripod(release.manifest)]),
        (
            "Limits",
            [bullets(_limits(answer))],
        ),
        ("Where this comes from", [_provenance(answer)]),
    )
    body = (section(place, title, *content) for place, (title, content) in enumerate(parts, 1))
    top = tag(
        "header",
        tag("p", "Federated G-HANet", class_="kicker"),
        tag("h1", f"Slide {name}"),
        tag("p", tag("b", words.BANNER), class_="warning", role="note"),
    )
    end = tag("p", words.BANNER, class_="notice")
    return document(f"Slide {name}", tag("main", top, *body, end), images=True)


def _gate(answer: Values) -> Iterator[Html]:
    encoder, slide, gate = answer["encoder"], answer.get("slide") or {}, answer["gate"]
    if encoder["name"] == HANDCRAFTED:
        yield tag("p", tag("b", "No. "), words.DEMONSTRATION_GATE, class_="warning")
    yield from _verdict(gate, is_hidden=answer["hidden"])
    mpp = (
        f"{number(slide['mpp'])} microns per pixel, by the {slide['mpp_from']}"
        if slide
        else "not known"
    )
    rows = [
        ("patches", count(answer["patches"])),
        ("resolution", mpp),
        ("patches are", f"{encoder['pixels']} pixels at {number(encoder['mpp'], 2)} microns each"),
        ("encoder", encoder["name"]),
    ]
    rows += [(f"unlike in {one['what']}", _deviations(one)) for one in gate["distances"]]
    yield table(("checked", "found"), rows, left=(0, 1), kind="prose")


def _verdict(gate: Values, *, is_hidden: bool) -> Iterator[Html]:
    """Whether the slide is like the training slides."""
    if gate["verdict"] == UNKNOWN:
        yield tag("p", words.UNCHECKED, class_="warning")
        return
    if gate["verdict"] == LIKE:
        most = number(gate["most_usual"], 0)
        yield tag("p", words.USUAL.format(cases=count(gate["training_cases"]), most=most))
        return
    far = ", ".join(one["what"] for one in gate["distances"] if one["far"])
    said = words.UNUSUAL.format(far=far)
    rest = words.HIDDEN if is_hidden else words.SHOWN_ANYWAY
    yield tag("p", tag("b", "No. "), f"{said} {rest}", class_="warning")


def _deviations(one: Values) -> str:
    """In words; the sign says on which side."""
    far = ", too far" if one["far"] else ""
    return f"{number(one['deviations'], 1)} deviations{far}"


def _group(answer: Values, release: Release) -> Iterator[Html]:
    if answer["hidden"]:
        yield later(words.NOT_SHOWN)
    else:
        yield from _tiles(answer, release)
    if answer.get("clinical"):
        yield from _side_by_side(answer["clinical"])


def _tiles(answer: Values, release: Release) -> Iterator[Html]:
    low, high = release.risk_cutoffs
    percentile = _percentile(answer["shares_below"])
    yield tag(
        "div",
        tile("group of risk", answer["risk_group"], f"risk {number(answer['risk'])}"),
        tile("percentile", percentile, "among training cases") if percentile else "",
        class_="tiles",
    )
    yield note(words.CUTOFFS.format(low=number(low, 2), high=number(high, 2)))
    yield note(words.PERCENTILE if percentile else words.NO_PERCENTILE)


def _percentile(shares: Sequence[float] | None) -> str:
    """Between which percentiles a risk lies; nothing where that is not reported."""
    if shares is None:
        return ""
    low, high = (round(100 * share) for share in shares)
    return f"{low}" if low == high else f"{low} to {high}"


def _side_by_side(arms: Sequence[Values]) -> Iterator[Html]:
    """The slide alone, clinical variables alone, both together."""
    rows = [
        (
            words.ARMS[one["arm"]],
            _percentile(one["shares_below"]) or "not reported",
            number(one["hazard_ratio"], 2) if "hazard_ratio" in one else "-",
            number(one["c_index"], 3),
            ", ".join(one.get("not_known") or ["-"]),
        )
        for one in arms
    ]
    head = ("model", "percentile", "hazard ratio", "C-index", "taken as the mean")
    yield table(head, rows, caption="Slide and clinical variables", left=(0, 4))
    yield note(words.SIDE_BY_SIDE)


def _reference(answer: Values, manifest: Values) -> Iterator[Html]:
    groups = manifest.get("groups") or {}
    if not part(groups, "survival"):
        yield later(words.WITHHELD if groups.get("withheld") else words.NO_REFERENCE)
        return
    hospitals = ", ".join(part(groups, "hospitals") or ["the hospitals"])
    said = words.REFERENCE.format(hospitals=hospitals)
    if answer["risk_group"]:
        said += " " + words.OWN_GROUP.format(group=answer["risk_group"])
    yield figure(survival(groups), said)


def _pictures(pictures: Pictures | None) -> Iterator[Html]:
    if pictures is None:
        yield later(words.NO_HEAT_MAP)
        return
    yield figure(_image(pictures.heat_map, "weight of each patch over the slide"), words.HEAT_MAP)
    ends = (("highest", pictures.high), ("lowest", pictures.low))
    rows = [
        tag("p", *(_image(one, _of(kind, n)) for n, one in enumerate(shown, 1)), class_="patches")
        for kind, shown in ends
    ]
    yield figure(join(rows), words.PATCHES)


def _of(kind: str, place: int) -> str:
    return f"patch {place} of those with the {kind} weights"


def _image(address: str, label: str) -> Html:
    return Html(f'<img src="{address}" alt="{label}">')


def _genes(answer: Values) -> Iterator[Html]:
    if answer["hidden"]:
        yield later(words.NOT_SHOWN)
        return
    rows = [_gene_row(group) for group in answer["gene_groups"]]
    head = ("group", "mean z", "r on held-out cases", "95% interval", "may be read")
    yield table(head, rows, caption="Predicted activity", kind="prose")
    told = any(group["reliability"] for group in answer["gene_groups"])
    yield note(words.GENES)
    yield note(words.RELIABILITY.format(least=LEAST_R) if told else words.NO_RELIABILITY)


def _gene_row(group: Values) -> Sequence[str | Html]:
    """One group; grey where held-out cases do not show that it can be read."""
    found = group["reliability"]
    r = number(found["r"], 2) if found else "not reported"
    interval = f"{number(found['low'], 2)} to {number(found['high'], 2)}" if found else "-"
    cells = (group["name"], number(group["mean_z"], 2), r, interval)
    if group["readable"]:
        return (*cells, "yes")
    return tuple(tag("span", cell, class_="untold") for cell in (*cells, "no"))


def _performance(manifest: Values) -> Iterator[Html]:
    arms = manifest.get("arms")
    if not arms:
        yield later(words.NO_PERFORMANCE)
        return
    rows: Sequence[Sequence[str]] = [
        (arm, number(part(found, "c_within", "value")), between(part(found, "c_within")))
        for arm, found in arms.items()
        if found
    ]
    yield table(("model", "C-index", "95% interval"), rows, caption="On evaluated cases")
    yield note(words.PERFORMANCE)


def _limits(answer: Values) -> Iterator[str]:
    yield from words.LIMITS
    yield words.RECALIBRATED_LIMIT if "recalibration" in answer else words.NOT_RECALIBRATED
    yield f"Terms of the encoder: {answer['encoder']['terms']}."


def _tripod(manifest: Values) -> Html:
    """How much of what a model should report this one does not."""
    counts = {key: part(manifest, "tripod", key) for key in ("of", "in_part", "not_reported")}
    known = all(isinstance(found, int) for found in counts.values())
    return note(words.TRIPOD.format(**counts) if known else words.NO_TRIPOD)


def _provenance(answer: Values) -> Html:
    release, encoder = answer["release"], answer["encoder"]
    facts = {
        "release": f"{release['name']}, {release['sha256']}",
        "signed by": release["signed_by"],
        "study": release["study"],
        "encoder file": encoder["sha256"] or "no digest in the study",
        "features": answer["features_sha256"],
    }
    listed = (piece for what, said in facts.items() for piece in _fact(what, said))
    return tag("dl", *listed, class_="digests")


def _fact(what: str, said: str) -> Sequence[Html]:
    return tag("dt", what), tag("dd", tag("code", said))
