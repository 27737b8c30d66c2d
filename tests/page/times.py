"""How quick the page is, on the embedded model: `python -m tests.page.times` prints a table.

Everything is taken inside the browser, by its own clock: from the event of a click to the frame that shows what it was
for. Software draws the 3D view where there is no graphics card.
"""

from __future__ import annotations

import argparse
import itertools
import os
import re
from collections.abc import Callable, Iterator
from statistics import median

from playwright.sync_api import Browser, expect

from tests.page.desk import MAKE, TEXT, Desk, browsing, private, served
from tests.trust.studio import Server

# Until a condition holds after an event, in seconds: `const took = await until(event, condition)`.
UNTIL = """() => { window.until = (event, holds) => new Promise((done, fail) => document.addEventListener(event, () => {
  const start = performance.now();
  const look = () => holds() ? done((performance.now() - start) / 1000) : requestAnimationFrame(look);
  look();
  setTimeout(() => fail(new Error('nothing came of it in 30 seconds')), 30000);
}, { once: true, capture: true })); }"""
# The first moment at which a click on another tab has opened it.
READY = """(() => {
  const tab = () => [...document.querySelectorAll('[role=tab]')].find((tab) => tab.innerText.startsWith('Image'));
  const look = () => {
    if (tab()?.getAttribute('aria-selected') === 'true') { window.ready_s = performance.now() / 1000; return; }
    tab()?.click();
    requestAnimationFrame(look);
  };
  look();
})();"""
PAINTED = "() => performance.getEntriesByName('first-contentful-paint')[0].startTime / 1000"
DRAWN = "() => Number(document.querySelector('#viewer .js-plotly-plot').dataset.drawn)"
# Seconds of a frame, the mean of many, of a view that is turned anew before each; the last is waited for on the card.
TURN = """async (frames) => {
  const scene = document.querySelector('#viewer .js-plotly-plot')._fullLayout.scene._scene;
  const view = scene.camera.view, gl = scene.glplot.gl, pixel = new Uint8Array(4);
  const turn = async (times) => {
    for (let i = 0; i < times; i++) {
      view.rotate(view.lastT() + 1, 0.03, 0.01, 0);
      await new Promise(requestAnimationFrame);
    }
    gl.readPixels(0, 0, 1, 1, gl.RGBA, gl.UNSIGNED_BYTE, pixel);
  };
  await turn(2);
  const start = performance.now();
  await turn(frames);
  return (performance.now() - start) / 1000 / frames;
}"""
# Counts the pictures that come while a run lasts.
COUNT = """() => {
  window.came = { rgb: 0, depth: 0 };
  for (const name of Object.keys(window.came))
    new MutationObserver(() => { window.came[name] += 1; }).observe(
      document.querySelector('#' + name), { subtree: true, attributes: true, attributeFilter: ['src'] });
}"""


def timed(desk: Desk, event: str, holds: str, act: Callable[[], object]) -> float:
    """Seconds from an event to the frame in which a condition holds (JavaScript), when `act` is done."""
    desk.page.evaluate(UNTIL)
    desk.page.evaluate(f"([event, n]) => {{ window.took = until(event, () => {holds}); }}", [event, desk.drawn])
    act()
    return desk.page.evaluate("() => window.took")


def drawing(desk: Desk, event: str, act: Callable[[], object]) -> float:
    """Seconds from an event to the 3D view that is drawn for it."""
    return timed(desk, event, f"({DRAWN})() > n", act)


def loading(browser: Browser, server: Server) -> tuple[float, float]:
    """Seconds to the first paint and until a click works, in a browser that has never been here."""
    context = private(browser)
    page = context.new_page()
    page.add_init_script(READY)
    page.goto(server.url)
    page.wait_for_function("() => window.ready_s && performance.getEntriesByName('first-contentful-paint').length")
    took = page.evaluate(PAINTED), page.evaluate("() => window.ready_s")
    context.close()
    return took


def opening(desk: Desk, number: int) -> float:
    """Seconds from the click on a ready example to its 3D view."""
    return drawing(desk, "click", desk("#gallery .thumbnail-item").nth(number).click)


def lifting(desk: Desk, slider: int, value: float) -> float:
    """Seconds from a change of a lift control to the 3D view that follows it."""
    return drawing(desk, "input", lambda: desk("#lift input[type=range]").nth(slider).fill(str(value)))


def turning(desk: Desk, frames: int = 5) -> float:
    """Seconds of a frame of a view that is being turned."""
    return desk.page.evaluate(TURN, frames)


def points(desk: Desk) -> int:
    """How many points the 3D view shows."""
    return desk.page.evaluate("() => document.querySelector('#viewer .js-plotly-plot')._fullData[0].x.length")


def stopping(desk: Desk, after: int) -> float:
    """Seconds from Stop to its answer, in a run that has done some steps."""
    desk.button(MAKE[TEXT]).click()
    expect(desk.status).to_have_text(re.compile(rf"^Step ([{after}-9]|\d\d+) of"))
    stopped = "document.querySelector('#runbar [role=status]').innerText.startsWith('Stopped')"
    return timed(desk, "click", stopped, desk("#stop").click)


def previews(desk: Desk, steps: int) -> dict[str, int]:
    """How many pictures and depth maps a run of some steps shows, its result included."""
    desk.open(TEXT, settings=True)
    desk.set("Steps", steps)
    desk.page.evaluate(COUNT)
    desk.run(TEXT)
    return desk.page.evaluate("() => window.came")


def all_times(browser: Browser, server: Server, rounds: int) -> Iterator[tuple[str, str, str]]:
    """Measure everything: what, the median of the rounds, and the most it may be."""

    def row(what: str, seconds: list[float], most: float | None) -> tuple[str, str, str]:
        return what, f"{median(seconds):.2f} s", "" if most is None else f"{most:g} s"

    loads = [loading(browser, server) for _ in range(rounds)]
    yield row("first paint", [paint for paint, _ in loads], 2)
    yield row("interactive", [ready for _, ready in loads], 4)

    desk = Desk(private(browser), server.url)
    lifting(desk, 2, 0)  # no edges cut: each pixel is a point
    opened = [opening(desk, 1 + number % 2) for number in range(rounds + 1)][1:]
    yield row(f"3D view of {points(desk)} points as a surface, from the click on an example", opened, 2.5)
    yield row("a turned frame of it", [turning(desk) for _ in range(rounds)], 0.35)
    yield row("a lift control", [lifting(desk, 0, 50 + number) for number in range(rounds)], 0.5)

    surface = desk("#lift").get_by_label("Surface")
    drawing(desk, "click", surface.uncheck)
    yield row("3D view as points", [opening(desk, 1 + number % 2) for number in range(rounds)], 2.5)
    yield row("a turned frame of it", [turning(desk) for _ in range(rounds)], None)
    yield row("a lift control", [lifting(desk, 0, 60 + number) for number in range(rounds)], None)
    drawing(desk, "click", surface.check)

    came = previews(desk, 20)
    yield "pictures / depth maps shown in 20 steps", f"{came['rgb']} / {came['depth']}", "10 or more"
    desk.set("Steps", 100)
    yield row("Stop", [stopping(desk, 2 + number % 3) for number in range(rounds)], 1)
    desk.close()


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="how often each is measured; the median is told")
    rounds = parser.parse_args().rounds
    print(f"On {os.cpu_count()} cores, median of {rounds}:\n")
    with served() as server, browsing() as browser:
        for row in itertools.chain([("what", "measured", "at most")], all_times(browser, server, rounds)):
            print("{:62}{:>12}{:>12}".format(*row), flush=True)


if __name__ == "__main__":
    main()
