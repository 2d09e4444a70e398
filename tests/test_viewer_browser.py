"""The slide viewer in a real Chromium: opened, zoomed, coloured, clicked, read out, printed.

``browser.py`` says how to get Chromium and axe-core; without them these tests are skipped.
"""

import json
import shutil
import time
from pathlib import Path

import pytest
from browser import Page, axe, browser, chromium
from viewer_site import Site, running, write_viewer_site

pytestmark = pytest.mark.skipif(not chromium(), reason="no Chromium; see browser.py")
REAL = Path(__file__).parents[2] / "shared" / "slides" / "cmu-1-small-region.svs"
PIXEL = """(() => {
  const canvas = document.querySelector('#picture .openseadragon-canvas canvas');
  const box = canvas.getBoundingClientRect();
  const [x, y] = [(%s - box.x) / box.width, (%s - box.y) / box.height];
  const where = [x * canvas.width, y * canvas.height].map(Math.round);
  return [...canvas.getContext('2d').getImageData(...where, 1, 1).data];
})()"""


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The viewer of a hospital, with a real slide where there is one."""
    home = write_viewer_site(tmp_path_factory.mktemp("viewer"))
    if REAL.exists():
        shutil.copy(REAL, home / "archive" / "real.svs")
    with running(home) as found:
        yield found


@pytest.fixture(scope="module")
def tab(tmp_path_factory, site):
    """A browser that came in by the link."""
    with browser(tmp_path_factory.mktemp("browser") / "profile") as page:
        page.look(1440, 900)
        page.open(site.served.link)
        page.wait("document.title.startsWith('Slides')")
        yield page
        ours = "getImageData"  # of PIXEL above
        assert [said for said in page.complaints if ours not in said] == []
        outside = [
            url for url in page.requests if not url.startswith(f"http://127.0.0.1:{site.port}/")
        ]
        assert outside == []


def go(tab: Page, site: Site, name: str) -> None:
    """To a slide by its link in the list; until its picture is drawn in the middle."""
    tab.open(f"http://127.0.0.1:{site.port}/")
    tab.wait("document.title.startsWith('Slides')")
    tab.ask(
        f"[...document.querySelectorAll('td, th a')].find(a => a.textContent === '{name}').click()"
    )
    tab.wait(f"document.title.startsWith('Slide {name}')")
    tab.wait("document.querySelector('#picture canvas')")
    drawn = PIXEL % tab.middle("#picture")
    tab.wait(f"{drawn}[3] === 255 && Math.min(...{drawn}) < 235")
    wait_until_settled(tab, drawn)


def wait_until_settled(tab: Page, value: str, seconds: float = 30.0) -> None:
    """Coarse tiles are drawn first: until a value was the same five times in a second."""
    seen, end = [], time.monotonic() + seconds
    while len(seen) < 5 or len({*map(str, seen[-5:])}) > 1:
        assert time.monotonic() < end
        seen.append(tab.ask(value))
        time.sleep(0.2)


def text(tab: Page, selector: str) -> str:
    """What an element says."""
    return tab.ask(f"document.querySelector('{selector}').textContent")


def put(tab: Page, selector: str, value: str) -> None:
    """Enter a value."""
    change = f"e.value = '{value}'; e.dispatchEvent(new Event('input'))"
    tab.ask(f"(e => {{ {change} }})(document.querySelector('{selector}'))")


def weight(site: Site, name: str, place: tuple[float, float]) -> dict:
    """What the server says of a place."""
    found = site.get(f"/slides/{site.key(name)}/patch?x={place[0]}&y={place[1]}")
    return json.loads(found.body)


def test_from_the_list_to_the_weight_of_a_patch(tab, site):
    """Open, colour, click: the weight read is that of the patch, and a square marks it."""
    go(tab, site, "labelled")
    middle = tab.middle("#picture")
    before = tab.ask(PIXEL % middle)
    tab.click_on("#map-shown")
    tab.wait(f"{PIXEL % middle}.join() !== '{','.join(map(str, before))}'")
    put(tab, "#opacity", "0")
    tab.wait(f"{PIXEL % middle}.join() === '{','.join(map(str, before))}'")
    assert text(tab, "#opacity-said") == "0%"
    inside = (middle[0] + 8, middle[1] + 8)  # in the middle four patches meet
    tab.click(*inside)
    tab.wait("document.querySelector('#patch').textContent.startsWith('Rank')")
    found = weight(site, "labelled", (528, 528))
    assert text(tab, "#patch").startswith(f"Rank {found['rank']} of {found['of']}: weight ")
    tab.wait("document.querySelector('.chosen').getBoundingClientRect().width > 0")
    left, right = tab.ask(
        "(b => [b.left, b.right])(document.querySelector('.chosen').getBoundingClientRect())"
    )
    assert left <= inside[0] <= right


def test_glass_has_no_weight(tab, site):
    """A click beside the tissue says so."""
    go(tab, site, "labelled")
    x, y = tab.middle("#picture")
    tab.click(x - 200, y - 200)
    tab.wait("document.querySelector('#patch').textContent.startsWith('No patch here')")


def test_by_keyboard(tab, site):
    """The skip link first; ranks by keys; plus zooms, Enter reads the middle."""
    go(tab, site, "labelled")
    tab.open(tab.ask("location.href"))
    tab.wait("document.querySelector('#picture canvas')")
    tab.press("Tab", 9)
    assert tab.ask("document.activeElement.textContent") == "Skip to the content"
    tab.ask("document.querySelector('#rank').focus()")
    tab.press("Enter", 13, "\r")
    tab.wait("document.querySelector('#patch').textContent.startsWith('Rank 1 of')")
    tab.click_on("#rank-lower")
    tab.wait("document.querySelector('#patch').textContent.startsWith('Rank 2 of')")
    tab.click_on("#whole")
    tab.ask("document.querySelector('.openseadragon-canvas').focus()")
    scale = text(tab, ".scale")
    for _ in range(4):
        tab.press("+", 187, "+")
    tab.wait(f"document.querySelector('.scale').textContent !== '{scale}'")
    tab.press("Enter", 13, "\r")
    around = [weight(site, "labelled", (x, y)) for x in (511, 512) for y in (511, 512)]
    ranks = [f"Rank {one['rank']} of" for one in around]  # in the middle four patches meet
    tab.wait(f"{ranks}.some(r => document.querySelector('#patch').textContent.startsWith(r))")


def test_zoom_asks_for_finer_tiles(tab, site):
    """Down to level 0 of the slide, the last one of 0 to 10."""
    go(tab, site, "labelled")
    for _ in range(5):
        tab.click_on("#zoom-in")
    tab.wait("performance.getEntriesByType('resource').some(r => r.name.includes('/tiles/10/'))")


def test_the_report_stands_beside_it(tab, site):
    """Loaded in a frame that may run nothing."""
    go(tab, site, "labelled")
    frame = "document.querySelector('#report iframe')"
    assert tab.ask(f"{frame}.getAttribute('sandbox')") == ""
    tab.wait(f"{frame}.getBoundingClientRect().width > 300")
    assert f"http://127.0.0.1:{site.port}/slides/{site.key('labelled')}/report" in tab.requests


def test_paper_has_no_heat_map_unless_asked(tab, site):
    """The picture is drawn without it before it is printed, and with it again after."""
    go(tab, site, "labelled")
    middle = tab.middle("#picture")
    before = tab.ask(PIXEL % middle)
    tab.click_on("#map-shown")
    tab.wait(f"{PIXEL % middle}.join() !== '{','.join(map(str, before))}'")
    coloured = tab.ask(PIXEL % middle)
    assert tab.ask(f"dispatchEvent(new Event('beforeprint')), {PIXEL % middle}") == before
    tab.ask("dispatchEvent(new Event('afterprint'))")
    tab.wait(f"{PIXEL % middle}.join() === '{','.join(map(str, coloured))}'")
    tab.click_on("#map-printed")
    assert tab.ask(f"dispatchEvent(new Event('beforeprint')), {PIXEL % middle}") == coloured


def test_a_slide_without_an_answer(tab, site):
    """It is shown, and why there is no heat map is said; a damaged one says that it is."""
    go(tab, site, "waiting")
    assert "run 'ghanet-client predict' on this slide" in text(tab, ".later")
    assert not tab.ask("!!document.querySelector('#map-shown')")
    if REAL.exists():
        go(tab, site, "real")


def test_the_search_of_the_list(tab, site):
    """Rows without what was typed go; how many are left is said."""
    tab.open(f"http://127.0.0.1:{site.port}/")
    tab.wait("document.title.startsWith('Slides')")
    put(tab, "#search", "REFUSED")
    assert text(tab, "#found").startswith("1 of ")
    assert tab.ask("[...document.querySelectorAll('tbody tr')].filter(r => !r.hidden).length") == 1


@pytest.mark.skipif(not axe(), reason="no axe-core; see browser.py")
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_wrong(tab, site, scheme):
    """Neither in the list nor beside a slide."""
    tab.look(1440, 900, scheme=scheme)
    go(tab, site, "labelled")
    tab.click_on("#map-shown")
    assert tab.accessibility(axe()) == []
    tab.open(f"http://127.0.0.1:{site.port}/")
    tab.wait("document.title.startsWith('Slides')")
    assert tab.accessibility(axe()) == []
