"""Small and large screens, light and dark, keyboard and screen reader."""

from __future__ import annotations

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from tests.page.desk import DEPTH, IMAGE, LAPTOP, MAKE, PHONE, TEXT, Desk, link

MAIN_JOB = ("#prompt", "#runbar", "#stop", "#rgb", "#depth", "#viewer", "#lift", "#downloads", "#gallery img")
GRAVE = "serious", "critical"  # of axe-core's words for impact
SEEN = "const seen = (e) => e.checkVisibility({ checkOpacity: true, checkVisibilityCSS: true });"
# Texts that do not fit into their box or the page.
CLIPPED = f"""() => {{ {SEEN}
  const texts = 'button, label, h1, h2, p, dt, .info-text, #caption, .caption-label';
  return [...document.querySelectorAll(texts)]
    .filter((e) => seen(e) && e.innerText?.trim() && getComputedStyle(e).display !== 'contents')
    .filter((e) => (getComputedStyle(e).overflowX !== 'visible' && e.scrollWidth > e.clientWidth + 1)
      || e.getBoundingClientRect().right > document.documentElement.clientWidth + 1)
    .map((e) => e.outerHTML.slice(0, 120));
}}"""
# Boxes in sight that show nothing.
EMPTY = f"""() => {{ {SEEN}
  return [...document.querySelectorAll('#desk .block')]
    .filter((e) => seen(e) && e.clientHeight > 4 && !e.classList.contains('hide-container'))
    .filter((e) => !e.innerText.trim() && !e.querySelector('img, canvas, svg, input, textarea, video'))
    .map((e) => e.outerHTML.slice(0, 120));
}}"""
# Pairs of controls of which one lies on the other; those that belong onto pictures and into upload boxes apart.
OVERLAPPING = f"""() => {{ {SEEN}
  const boxes = [...document.querySelectorAll('#desk button, #desk input, #desk textarea')]
    .filter((e) => seen(e) && !['radio', 'file', 'range'].includes(e.type))
    .filter((e) => !e.closest('#vocabulary, .picture, #picture, #as-read, #depth-file'))
    .map((e) => [e, e.getBoundingClientRect()]);
  const found = [];
  for (const [a, p] of boxes) for (const [b, q] of boxes)
    if (a !== b && !a.contains(b) && !b.contains(a) && p.left < q.right - 1 && q.left < p.right - 1
        && p.top < q.bottom - 1 && q.top < p.bottom - 1) found.push([a, b].map((e) => e.outerHTML.slice(0, 90)));
  return found;
}}"""
# Which of the stops has the focus, and whether that shows.
FOCUS = """(stops) => {
  const at = document.activeElement;
  const ringed = (e) => e && (getComputedStyle(e).outlineStyle !== 'none' || getComputedStyle(e).boxShadow !== 'none');
  const stop = at.matches('button.primary') ? 'run' : stops.find((id) => at.closest('#' + id));
  return [stop, [at, at.parentElement, at.closest('label'), at.closest('.container, .wrap')].some(ringed)];
}"""


@pytest.fixture(scope="module", params=["light", "dark"])
def looking(request, visitor, server):
    """A page in one of the two looks, with a ready result; nothing fades, so that colours can be judged at once."""
    one = Desk(visitor, server.url, f"?__theme={request.param}")
    one.page.add_style_tag(content="* { transition: none !important; animation: none !important; }")
    expect(one.button("RGB · PNG")).to_be_enabled()
    dark = one.page.evaluate("() => document.body.classList.contains('dark')")
    assert dark == (request.param == "dark")
    yield one
    one.close()


@pytest.mark.parametrize("size", [LAPTOP, PHONE], ids=["laptop", "phone"])
def test_each_tab_is_whole_and_free_of_barriers(looking, size):
    desk = looking
    desk.page.set_viewport_size({"width": size[0], "height": size[1]})
    for tab in (TEXT, IMAGE, DEPTH):
        desk.open(tab, settings=True)
        assert desk.page.evaluate("() => document.documentElement.scrollWidth") <= size[0]
        for what in (CLIPPED, EMPTY, OVERLAPPING):
            assert desk.page.evaluate(what) == [], (tab, what)
        found = [
            each for each in Axe().run(desk.page).response["violations"] if each["impact"] in ("serious", "critical")
        ]
        assert [(each["id"], each["nodes"][0]["html"][:200]) for each in found] == [], tab
        desk("#controls .settings:visible > button").click()  # closed again
    desk.open(TEXT)
    for selector in (*MAIN_JOB, "#controls button.primary:visible"):
        box = desk(selector).first.bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= size[0], selector
        if size == LAPTOP:
            assert box["y"] >= 0 and box["y"] + box["height"] <= size[1], f"{selector} needs no scrolling"
    order = [desk(selector).bounding_box()["y"] for selector in ("#prompt", "#rgb", "#viewer", "#downloads")]
    assert size == LAPTOP or order == sorted(order)


def test_results_come_in_place_and_into_sight(desk):
    """Nothing moves when a run begins or ends; on a phone, a run brings the results into sight."""
    places = "() => ['prompt', 'rgb', 'depth', 'viewer', 'lift', 'downloads'].map((id) => document.getElementById(id)"
    places += ".getBoundingClientRect()).map((box) => [box.x, box.y, box.width])"
    before = desk.page.evaluate(places)
    desk.page.get_by_text("Draft").first.click()
    desk.button(MAKE[TEXT]).click()
    expect(desk("#stop")).to_be_enabled()
    assert desk.page.evaluate(places) == before
    expect(desk.status).to_contain_text("Done in")
    assert desk.page.evaluate(places)[:4] == before[:4]
    desk.page.set_viewport_size({"width": PHONE[0], "height": PHONE[1]})
    desk.page.evaluate("() => scrollTo(0, 0)")
    desk.run(TEXT)
    desk.page.wait_for_timeout(500)
    assert desk("#runbar").bounding_box()["y"] < 100


def test_the_main_job_needs_no_mouse(visitor, server):
    """Tab goes through the page in the order of what is seen, shows where it is, and a run is started with it."""
    desk = Desk(visitor, server.url, link(steps=2))
    expect(desk.button("RGB · PNG")).to_be_enabled()
    stops = ["prompt", "run", "compare", "use-image", "colours", "use-depth", "viewer", "reset", "estimate", "lift"]
    stops += ["file-rgb", "copy-link", "gallery", "vocabulary"]
    desk.prompt.focus()
    desk.prompt.press("Control+A")
    desk.page.keyboard.type("a green tree")
    reached, unseen = [], []
    for _ in range(80):
        stop, seen = desk.page.evaluate(FOCUS, stops)
        if stop and stop not in reached:
            reached.append(stop)
            unseen += [] if seen else [stop]
        if stop == stops[-1]:
            break
        desk.page.keyboard.press("Tab")
    assert reached == stops
    assert unseen == []
    home = desk.eye()
    desk("#viewer [tabindex]").focus()
    desk.page.keyboard.press("ArrowLeft")
    desk.page.wait_for_timeout(300)
    assert np.abs(desk.eye() - home).max() > 0.01
    desk("#controls button.primary:visible").focus()
    with desk.redrawing():
        desk.page.keyboard.press("Enter")
    expect(desk("#caption")).to_contain_text("“a green tree”")
    desk.close()
