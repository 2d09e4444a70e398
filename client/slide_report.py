"""The report of one slide: one page that needs nothing else, made of the answer and its release.

First whether to believe it, then what it says, then where from. Says nothing of any other case.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
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
)
from ghanet_model.page_numbers import between, count, number, part
from ghanet_model.page_survival import GROUP_STYLES, survival
from ghanet_model.page_svg import (
    SOFT,
    drawing,
    grid_lines,
    new_figure,
    to_svg,
)
from ghanet_model.release import Release

from . import slide_words as words
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
        ("Survival", _survival(answer)),
        ("Evaluated cases of each group", _reference(answer, release.manifest)),
        ("Where the model looked", _pictures(pictures)),
        ("Gene groups", _genes(answer)),
        ("How good the release is", _performance(release.manifest)),
        (
            "Limits",
            [bullets((*words.LIMITS, f"Terms of the encoder: {answer['encoder']['terms']}."))],
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
    return document(f"Slide {name}", tag("main", top, *body), images=True)


def _gate(answer: Values) -> Iterator[Html]:
    encoder, slide = answer["encoder"], answer.get("slide") or {}
    if encoder["name"] == HANDCRAFTED:
        yield tag("p", tag("b", "No. "), words.DEMONSTRATION_GATE, class_="warning")
    yield tag("p", words.UNCHECKED, class_="warning")
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
    yield table(("checked", "found"), rows, left=(0, 1), kind="prose")


def _group(answer: Values, release: Release) -> Iterator[Html]:
    low, high = release.risk_cutoffs
    yield tag(
        "div",
        tag(
            "div",
            tag("span", "group of risk", class_="name"),
            tag("span", answer["risk_group"], class_="value"),
            tag("span", f"risk {number(answer['risk'])}", class_="limits"),
            class_="tile",
        ),
        class_="tiles",
    )
    yield note(words.CUTOFFS.format(low=number(low, 2), high=number(high, 2)))
    yield note(words.NO_PERCENTILE)


def _survival(answer: Values) -> Iterator[Html]:
    rows = [
        (f"{number(one['months'], 0)} months", f"{100 * one['probability']:.0f}%")
        for one in answer["survival"]
    ]
    last = number(answer["survival"][-1]["months"], 0)
    yield figure(_curve(answer), f"{words.SURVIVAL.format(last=last)} {words.NO_BAND}")
    beyond = (f"beyond {last} months", "not estimable")
    yield table(("after", "alive"), [*rows, beyond], caption="Predicted survival")


def _curve(answer: Values) -> Html:
    """Survival falls exponentially inside a bin: the hazard is constant there."""
    known = [(0.0, 1.0), *((s["months"], s["probability"]) for s in answer["survival"])]
    months, alive = [], []
    for (start, before), (end, after) in pairwise(known):
        for step in range(21):
            months.append(start + (end - start) * step / 20)
            alive.append(before * (max(after, 1e-9) / max(before, 1e-9)) ** (step / 20))
    colour, _ = GROUP_STYLES.get(answer["risk_group"], (SOFT, "-"))
    with drawing("slide-survival"):
        shown = new_figure(300)
        axes = shown.subplots()
        axes.plot(months, alive, color=colour, linewidth=2.2)
        axes.plot(*zip(*known[1:], strict=True), "o", color=colour, markersize=5)
        axes.set(ylim=(0, 1.02), xlim=(0, known[-1][0]), xlabel="months", ylabel="alive")
        axes.yaxis.set_major_formatter(lambda share, _: f"{100 * share:.0f}%")
        grid_lines(axes)
        return to_svg(shown, f"predicted survival over {known[-1][0]:.0f} months")


def _reference(answer: Values, manifest: Values) -> Iterator[Html]:
    groups = manifest.get("groups") or {}
    if not part(groups, "survival"):
        yield later(words.NO_REFERENCE)
        return
    hospitals = ", ".join(part(groups, "hospitals") or ["the hospitals"])
    said = words.REFERENCE.format(hospitals=hospitals, group=answer["risk_group"])
    yield figure(survival(groups), said)


def _pictures(pictures: Pictures | None) -> Iterator[Html]:
    if pictures is None:
        yield later(words.NO_HEAT_MAP)
        return
    yield figure(_image(pictures.heat_map, "weight of each patch over the slide"), words.HEAT_MAP)
    ends = (("highest", pictures.high), ("lowest", pictures.low))
    rows = [
        tag("p", *(_image(one, f"patch of the {kind} weights") for one in shown), class_="patches")
        for kind, shown in ends
    ]
    yield figure(join(rows), words.PATCHES)


def _image(address: str, label: str) -> Html:
    return Html(f'<img src="{address}" alt="{label}">')


def _genes(answer: Values) -> Iterator[Html]:
    rows = [(group["name"], number(group["mean_z"], 2)) for group in answer["gene_groups"]]
    yield table(("group", "mean z"), rows, caption="Predicted activity", kind="prose")
    yield note(words.GENES)


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


def _limits(answer: Values) -> Html:
    return bullets((*words.LIMITS, f"Terms of the encoder: {answer['encoder']['terms']}."))


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
