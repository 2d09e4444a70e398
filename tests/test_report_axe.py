"""Reports for everybody: read out, by keyboard, light and dark, printed.

With Chromium and axe-core (``browser.py`` says how to get both) pages are looked at as a browser
shows them; without, only what can be told from their text is.
"""

import json
import re
from itertools import pairwise
from pathlib import Path

import example_run
import pytest
from browser import axe, browser, chromium
from test_report_page import Elements
from test_slide_prediction import home  # noqa: F401 - a fixture

import client.cli
from client.slide_words import BANNER
from ghanet_model.page_html import STYLE, table
from server.report import twin_of
from server.report_page import report_page

CSS = STYLE.read_text(encoding="utf-8")
WRITTEN = ("ink", "soft", "accent", "alone", "clinical", "stacked", "low", "mid", "high", "warn")
READABLE = 4.5  # contrast of letters to what is below them, by WCAG 2 AA


@pytest.fixture
def slide_page(home: Path) -> Path:  # noqa: F811 - the fixture
    """The report of a slide."""
    slide = home / "archive" / "one.tiff"
    assert client.cli.main(["predict", str(slide), "--folder", str(home)]) == 0
    return home / "predictions" / "one.html"


@pytest.fixture
def run_page(tmp_path: Path) -> Path:
    """The report of a run."""
    path = tmp_path / "run.html"
    path.write_text(report_page(json.loads(json.dumps(twin_of(example_run.example())))))
    return path


@pytest.mark.skipif(not chromium() or not axe(), reason="no Chromium or axe-core; see browser.py")
def test_axe_finds_nothing_wrong(slide_page: Path, run_page: Path, tmp_path: Path):
    """On both reports, light and dark, wide and narrow; and nothing is loaded or complained of."""
    with browser(tmp_path / "profile") as page:
        page._send("Page.setBypassCSP", enabled=True)  # of pages that forbid every script
        for path in (slide_page, run_page):
            for scheme, width in (("light", 1280), ("dark", 1280), ("light", 400)):
                page.look(width, 900, scheme=scheme)
                page.open(path.as_uri())
                assert page.accessibility(axe() or Path()) == []
                assert page.ask("document.documentElement.scrollWidth <= innerWidth")
        assert {request.partition(":")[0] for request in page.requests} == {"file"}
        assert page.complaints == []


def test_the_report_can_be_read_out(slide_page: Path):
    """Language, headings in order, every picture, drawing and table named, no name twice."""
    text = slide_page.read_text()
    found = Elements(text)
    assert '<html lang="en">' in text
    levels = [int(name[1]) for name in found.names if re.fullmatch("h[1-6]", name)]
    assert levels[0] == 1 not in levels[1:]
    assert all(after <= before + 1 for before, after in pairwise(levels))
    pictures = re.findall(r'<img src="[^"]*" alt="([^"]*)">', text)
    assert len(pictures) == found.names.count("img") == len(set(pictures)) > 1
    drawings = re.findall(r'<svg [^>]*role="img" aria-label="([^"]+)"', text)
    assert len(drawings) == found.names.count("svg") > 0
    labels = re.findall(r'class="wide" tabindex="0" role="group" aria-label="([^"]+)"', text)
    assert len(labels) == found.names.count("table") == len(set(labels)) > 1
    assert "<th></th>" not in re.sub(r" (scope|class)=\"[^\"]*\"", "", text)


def test_the_gate_stands_first_and_the_banner_at_both_ends(slide_page: Path):
    """Nobody reads a number before whether to believe it, or a sheet without the warning."""
    text = slide_page.read_text()
    assert text.index("Can this answer be used?") < text.index("Group of risk")
    body = text[text.index("<main>") :]
    first, last = body.index(BANNER), body.rindex(BANNER)
    assert first < body.index("Can this answer be used?")
    assert last > body.index("Where this comes from")
    assert f'@bottom-left {{ content: "{BANNER}"' in text
    assert "<button" not in text


def test_a_printed_sheet_says_of_which_slide_it_is(slide_page: Path):
    """Sheets get mixed up."""
    assert '@top-left { content: "Slide\\20 one"; }' in slide_page.read_text()


def test_a_column_without_a_title_has_no_empty_one():
    """A title without words would be read out as one; a table without caption still has a name."""
    found = table(("", "cases"), [("aachen", "412")])
    assert '<td class="words"></td><th scope="col">cases</th>' in found
    assert 'aria-label="cases"' in found


def colours(part: str) -> dict[str, str]:
    """Those that a part of the style sets, by name."""
    return dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", part))


def brightness(colour: str) -> float:
    """Relative luminance by WCAG 2."""
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return sum(
        weight * value for weight, value in zip((0.2126, 0.7152, 0.0722), linear, strict=True)
    )


def contrast(one: str, other: str) -> float:
    """From 1 to 21."""
    low, high = sorted((brightness(one), brightness(other)))
    return (high + 0.05) / (low + 0.05)


def test_letters_can_be_read_in_light_and_dark():
    """Also those inside drawings, whose background axe cannot tell."""
    light, _, dark = CSS.partition("prefers-color-scheme: dark")
    assert contrast("#000000", "#ffffff") == 21
    for shades in (colours(light), colours(dark)):
        for name in WRITTEN:
            assert contrast(shades[name], shades["paper"]) >= READABLE, name
        assert contrast(shades["warn"], shades["warn-wash"]) >= READABLE
        assert contrast(shades["ink"], shades["warn-wash"]) >= READABLE
