"""The page: whole, safe, readable by people, complete at any time, and made of its twin alone."""

import copy
import doctest
import html
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import example_run
import pytest

import ghanet_model.page_html
import ghanet_model.page_numbers
import ghanet_model.page_svg
import server.report_withheld
from server.report import twin_of
from server.report_page import PARTS, report_page

CHROMIUM = shutil.which("chromium")
VOID = {"meta", "br", "hr", "img", "link", "input"}


@pytest.fixture(scope="module")
def twin():
    """The twin of a made-up run with everything, as it lies on disk."""
    return json.loads(json.dumps(twin_of(example_run.example())))


@pytest.fixture(scope="module")
def page(twin):
    """Its page."""
    return report_page(twin)


class Elements(HTMLParser):
    """Elements that are opened and closed, and all text outside style."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.wrong: list[str] = []
        self.names: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        """Note it."""
        self.names.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        """One of a drawing, closed at once."""
        self.names.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        """It must be the one that was opened last."""
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)

    def handle_data(self, data):
        """What people read."""
        if self.open and self.open[-1] != "style":
            self.text += data


@pytest.mark.parametrize("make", [example_run.example, example_run.half_way])
def test_the_page_is_well_formed(make):
    """Every element is closed where it must be, and no id is there twice."""
    found = Elements(report_page(twin_of(make())))
    assert (found.wrong, found.open) == ([], [])
    ids = [value for key, value in found.attributes if key == "id"]
    assert len(ids) == len(set(ids))


def test_the_page_needs_nothing_else(page):
    """No address, script, font, frame or file: what is not inside is not there."""
    found = Elements(page)
    assert not re.search(r"https?:|//[a-z]|@import|url\((?!#)", page)
    assert not {"script", "link", "img", "iframe", "object"} & set(found.names)
    addresses = [value for key, value in found.attributes if key in ("href", "src")]
    assert addresses
    assert all(address.startswith("#") for address in addresses)
    assert not [key for key, _ in found.attributes if key.startswith("on")]


def test_parts_stand_in_order(page):
    """Eleven parts, each with its number."""
    assert re.findall(r'<section id="part-(\d+)">', page) == [str(n + 1) for n in range(len(PARTS))]
    assert len(PARTS) == 11


def test_the_head_says_what_it_is_and_what_it_is_not_for(page, twin):
    """Study, digest, state and the notice stand above everything else."""
    head = page[: page.index("<section")]
    for said in (
        "bladder-survival",
        twin["digests"]["study"],
        "Finished: 20 of 20 rounds, evaluated",
        "Research use only, not for patient management.",
        "0.668",
        "0.631–0.705",  # noqa: RUF001
        "9,412 pairs",
    ):
        assert said in head


def test_an_untold_cell_is_never_a_zero(twin):
    """A cell that a hospital does not tell reads 'untold', and the sum says at how many."""
    page = report_page(twin)
    row = re.search(r"<tr><th[^>]*>Deaths</th>(.*?)</tr>", page)[1]
    cells = re.findall(r"<td>(.*?)</td>", row)
    assert cells[5] == '<span class="untold">untold</span>'
    assert cells[6] == '577 + <span class="untold">untold at 1</span>'


def test_withheld_hospitals_bring_a_warning(twin):
    """Curves that miss hospitals say so, above the curves; others do not."""
    assert "may be biased" in report_page(twin)
    whole = copy.deepcopy(twin)
    whole["evaluation"]["groups"]["withheld"] = {}
    assert "may be biased" not in report_page(whole)


def test_parts_without_numbers_say_when_they_come():
    """Half-way, the evaluation's parts are one sentence each, and no number is made up."""
    page = report_page(twin_of(example_run.half_way()))
    for place in (5, 6, 7):
        part = re.search(rf'<section id="part-{place}">(.*?)</section>', page)[1]
        assert "Evaluated after the last round." in part
    assert "The hospitals have not described their cohorts yet." in page


def test_what_comes_from_outside_is_text(twin):
    """A reason, a group or a name that holds HTML is shown as it was written."""
    evil = '<img src=x onerror="alert(1)">&amp;'
    hostile = copy.deepcopy(twin)
    hostile["withheld"].append({"hospital": evil, "what": evil, "why": evil})
    hostile["stopped"] = hostile["study"] = hostile["genes"]["groups"][0]["name"] = evil
    hostile["evaluation"]["cox"]["clinical"]["covariates"][0] = evil
    hostile["evaluation"]["by_hospital"][evil] = hostile["evaluation"]["by_hospital"]["aachen"]
    page = report_page(hostile)
    assert html.escape(evil) in page
    assert "<img" not in page
    assert Elements(page).wrong == []


def paths_of(values, path=()):
    """Every place in a tree of JSON."""
    items = values.items() if isinstance(values, dict) else enumerate(values)
    for key, value in items if isinstance(values, dict | list) else ():
        yield (*path, key)
        yield from paths_of(value, (*path, key)) if isinstance(value, dict | list) else ()


def with_null(values, path):
    """The same tree with nothing at one place."""
    changed = copy.deepcopy(values)
    inner = changed
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = None
    return changed


STRUCTURE = {"names", "group", "months", "of", "minus", "covariates", "hospital", "what", "why"}
PLACES = [  # of numbers, and of whole parts
    (part, path)
    for part, values in (
        ("evaluation", example_run.evaluation()),
        ("cohort", example_run.cohort()),
        ("signature", example_run.signature()),
    )
    for path in paths_of(values)
    if not STRUCTURE & set(path) and not isinstance(path[-1], int)
]


def test_any_number_may_be_missing(twin):
    """Whatever is null in what the stages left, there is a page, well formed."""
    for part, path in PLACES[::71]:
        page = report_page({**twin, part: with_null(twin[part], path)})
        assert Elements(page).wrong == [], (part, path)


def test_drawings_have_the_colours_of_the_page(page):
    """Every colour of a drawing is one of the page's, so that light and dark have their own."""
    drawings = re.findall(r"<svg.*?</svg>", page, re.DOTALL)
    assert len(drawings) == 7
    for drawing in drawings:
        assert not re.search(r"#[0-9a-f]{6}\b", re.sub(r"href=\"#\w+\"|url\(#\w+\)", "", drawing))
        assert 'role="img" aria-label="' in drawing
    names = set(re.findall(r"var\(--(\w+)\)", "".join(drawings)))
    style = re.search(r"<style>(.*?)</style>", page, re.DOTALL)[1]
    light, dark = (
        set(re.findall(r"--(\w+):", block)) for block in style.split("@media screen")[:2]
    )
    assert names <= light
    assert light == {name for name in dark if name in light}


def test_many_rounds_fit_into_the_matrix():
    """Of more rounds than can be read beside each other, equal neighbours are one column."""
    twin = twin_of(example_run.example())
    stages = twin["participation"]
    many = [{**stages[9], "stage": str(n)} for n in range(1, 200)] + stages[-1:]
    page = report_page({**twin, "participation": many})
    matrix = page[page.index('class="matrix"') :]
    assert re.findall(r'<th scope="col"[^>]*>(.*?)</th>', matrix)[:2] == ["1–199", "end"]  # noqa: RUF001


def test_the_examples_in_the_code_are_right():
    """Numbers as people read them."""
    for module in (
        ghanet_model.page_html,
        ghanet_model.page_numbers,
        ghanet_model.page_svg,
        server.report_withheld,
    ):
        assert doctest.testmod(module).failed == 0


def browse(folder: Path, *options: str) -> str:
    """Run Chromium once, without a network; what it prints."""
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"]
    quiet = ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
    own = f"--user-data-dir={folder / 'profile'}"
    done = subprocess.run(
        [*command, *quiet, own, *options], capture_output=True, text=True, timeout=120, check=True
    )
    return done.stdout


MEASURE = """<!doctype html><body style="margin:0">
<iframe id="f" width="WIDTH" height="900" style="border:0" srcdoc="PAGE"></iframe>
<script>onload = () => {
  const root = document.getElementById("f").contentDocument.documentElement;
  document.title = root.scrollWidth + " of " + root.clientWidth;
}</script>"""


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
@pytest.mark.parametrize("width", [400, 1200])
def test_the_page_is_not_wider_than_the_window(page, tmp_path, width):
    """On a telephone and on a desk nothing but a wide table scrolls sideways, by itself."""
    measured = tmp_path / "measure.html"
    measured.write_text(
        MEASURE.replace("WIDTH", str(width)).replace("PAGE", html.escape(page)), encoding="utf-8"
    )
    title = re.search(
        r"<title>(\d+) of (\d+)", browse(tmp_path, "--dump-dom", f"file://{measured}")
    )
    assert title, "the page was not measured"
    assert int(title[1]) <= int(title[2]) <= width
