"""The live page in a real browser, against a running router: its figures are the board's, and it says nothing wrong."""

import math
import os
import signal
import time
import uuid
from collections.abc import Iterator

import pytest

from lambda_dispatch.scaler.verdict import EXIT_NAMES
from lambda_dispatch_core.board.board import Board, Decision
from tests.process.test_admin import admin_pid
from tests.support import browser
from tests.support.supervised import ROOT, Router, until

pytestmark = pytest.mark.skipif(browser.PROGRAM is None, reason="no chromium on this machine")

TEXT = "(document.querySelector({!r})?.textContent ?? '')"
CELLS = "[...document.querySelectorAll('#{} tbody tr')].map(row => [...row.cells].map(cell => cell.textContent))"


# Texts of a pool's card that lie over each other.
OVERLAPS = """(() => {
  const found = [...document.querySelectorAll('.verdict b, .verdict .name, .verdict dt, .verdict dd')];
  const boxes = found.map((it) => [it.textContent, it.getBoundingClientRect()]);
  const meet = (a, b) => a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 1 && b.top < a.bottom - 1;
  return boxes.flatMap(([text, a], at) =>
    boxes.slice(at + 1).filter(([, b]) => meet(a, b)).map(([other]) => text + ' / ' + other));
})()"""


@pytest.fixture
def page() -> Iterator[browser.Page]:
    with browser.Page() as page:
        yield page


def start(board: Board, count: int) -> None:
    for _ in range(count):
        now = time.monotonic_ns()
        taken = board.allocate_instance(0, uuid.uuid4().bytes, 10, now, now + 900_000_000_000)
        assert taken is not None
        board.open_instance(*taken, now)


@pytest.mark.timeout(120)
def test_the_page_shows_what_the_board_says_and_goes_on_after_a_kill(page: browser.Page) -> None:
    with Router(workers=2, admin_port=0) as router:
        board = router.board(write=True)
        own = ("number", "at", "pool", "held", "inputs", "who", "why", "command")
        names = [name for name in Decision._fields if name not in own]
        board.record_decision(
            time.monotonic_ns(),
            0,
            **{**dict.fromkeys(names, 0), "desired": 3, "max_instances": 9},
            held="rate of starts",
            inputs=(1.5, math.nan),
        )
        start(board, 3)
        origin = f"http://127.0.0.1:{router.ports['admin']}/"
        page.open(origin, 1280)
        page.until(f"{TEXT.format('#age')} === 'live'", "live data")
        page.until(f"{TEXT.format('#count')} === '3'", "three instances")
        page.until(f"{TEXT.format('#facts')}.includes('2 of 2 workers ready')", "two workers")
        assert {row[1] for row in page.evaluate(CELLS.format("workers"))} == {str(p) for p in router.pids().values()}
        assert {row[3] for row in page.evaluate(CELLS.format("instances"))} == {"open"}
        (decision,) = page.until(f"{CELLS.format('decisions')}", "the decision")
        assert decision[2] == "0 → 3" and decision[4] == "rate of starts"
        assert page.evaluate(TEXT.format(".verdict b")) == "ok: 3 open, 0 in flight, no request waits"
        assert page.evaluate(OVERLAPS) == []
        page.screenshot(ROOT / "build" / "admin-1280.png")

        before = until(lambda: admin_pid(router), "the admin process")
        os.kill(before, signal.SIGKILL)
        start(board, 1)
        page.until(f"{TEXT.format('#count')} === '4'", "the stream goes on with the successor")
        quiet = [text for text in page.messages if "ERR_" not in text]  # the browser names the broken connection itself
        assert quiet == []
        assert {url for url in page.requests if not url.startswith((origin, "data:", "about:"))} == set()
        board.close()


@pytest.mark.timeout(120)
@pytest.mark.parametrize("dark", [True, False])
def test_a_telephone_needs_no_sideways_scrolling(page: browser.Page, dark: bool) -> None:
    with Router(workers=1, admin_port=0) as router:
        board = router.board(write=True)
        start(board, 200)
        board.close()
        page.open(f"http://127.0.0.1:{router.ports['admin']}/", 390, 844, dark)
        page.until(f"{TEXT.format('#count')}.startsWith('200')", "the instances")
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        assert page.evaluate("document.querySelectorAll('#instances tbody tr').length") == 100
        page.evaluate("document.querySelector('#filter').value = 'no such'")
        page.evaluate("document.querySelector('#filter').dispatchEvent(new Event('input'))")
        assert page.evaluate(TEXT.format("#count")) == "0 of 200"
        page.screenshot(ROOT / "build" / f"admin-390-{'dark' if dark else 'light'}.png")
        assert page.messages == []


def live_and_end(board: Board, count: int, reason: str, lived: float) -> None:
    """So many instances that were asked for `lived` seconds ago, opened a second later, and end now."""
    for _ in range(count):
        now = time.monotonic_ns()
        born = now - int(lived * 1e9)
        taken = board.allocate_instance(0, uuid.uuid4().bytes, 10, born, born + 900_000_000_000)
        assert taken is not None
        board.open_instance(*taken, born + 1_000_000_000)
        assert board.close_instance(*taken, now)
        board.record_life(taken[0], now, EXIT_NAMES.index(reason) + 1, False)
        board.free_instance(*taken)


PAINTED = """(() => {
    const canvas = document.querySelector('#lives'), pen = canvas.getContext('2d');
    const ink = getComputedStyle(document.documentElement).getPropertyValue('--bad').trim();
    const wanted = ink.slice(1).match(/../g).map((hex) => parseInt(hex, 16));
    const data = pen.getImageData(0, 0, canvas.width, canvas.height).data;
    let found = 0;
    for (let at = 0; at < data.length; at += 4) {
        if (data[at + 3] === 255 && wanted.every((value, part) => data[at + part] === value)) found++;
    }
    return found;
})()"""


@pytest.mark.timeout(120)
def test_lives_and_waits_are_drawn_and_named(page: browser.Page) -> None:
    with Router(workers=1, admin_port=0) as router:
        board = router.board(write=True)
        live_and_end(board, 5, "SelfDeadline", 400)
        start(board, 2)
        page.open(f"http://127.0.0.1:{router.ports['admin']}/", 1280)
        page.until(f"{TEXT.format('#ends')} === '2 now, 5 ended in 15 minutes: 5 SelfDeadline'", "the ends by reason")
        assert page.evaluate(PAINTED) == 0
        live_and_end(board, 3, "AppConnectionError", 200)
        page.until(f"{TEXT.format('#ends')}.includes('5 SelfDeadline, 3 AppConnectionError')", "the new ends")
        assert page.evaluate(PAINTED) > 0, "a fault has a mark of its own"
        page.evaluate(
            "(() => { const box = document.querySelector('#lives').getBoundingClientRect();"
            "document.querySelector('#lives').dispatchEvent(new MouseEvent('mousemove',"
            "{ clientX: box.right - 60, clientY: box.top + 3 })); })()"
        )
        said = page.evaluate(TEXT.format("#life"))
        assert "opened in 1.0 s" in said and "SelfDeadline at" in said
        page.until("document.querySelector('#waits').style.height !== ''", "the heat map")
        # The browser has an opinion on how this test reads the picture.
        assert [text for text in page.messages if "willReadFrequently" not in text] == []
        page.screenshot(ROOT / "build" / "admin-lives.png")
        board.close()


@pytest.mark.timeout(180)
def test_three_thousand_instances_and_their_predecessors_are_drawn(page: browser.Page) -> None:
    with Router(workers=1, admin_port=0) as router:
        board = router.board(write=True)
        live_and_end(board, 2000, "SelfDeadline", 300)
        start(board, 3000)
        board.close()
        page.open(f"http://127.0.0.1:{router.ports['admin']}/", 1280)
        page.until(f"{TEXT.format('#ends')}.startsWith('3000 now, 2000 ended')", "all lives")
        tall = page.evaluate("document.querySelector('#lives').clientHeight")
        assert 300 <= tall < 400, "however many there are, the picture keeps its height"
        page.call("Performance.enable")
        seconds = "new Promise((done) => setTimeout(() => done(performance.now()), 5000))"
        before, began = metrics(page), page.evaluate("performance.now()")
        ended = page.evaluate(seconds)
        spent = 1000 * (metrics(page)["TaskDuration"] - before["TaskDuration"]) / ((ended - began) / 1000)
        print(f"main thread at 3,000 instances: {spent:.0f} ms per second")
        assert page.messages == []


def metrics(page: browser.Page) -> dict[str, float]:
    return {each["name"]: each["value"] for each in page.call("Performance.getMetrics")["metrics"]}
