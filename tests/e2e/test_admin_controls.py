"""Each control of the live page, clicked in a real browser, and its effect in the router."""

import os
import time
from collections.abc import Iterator

import pytest

from lambda_dispatch_core.board import board as b
from tests.process.test_admin import TOKEN, ask
from tests.support import browser
from tests.support.supervised import ROOT, Router, until

pytestmark = pytest.mark.skipif(browser.PROGRAM is None, reason="no chromium on this machine")

TEXT = "(document.querySelector({!r})?.textContent ?? '')"


class Desk:
    """A router, and the page open on it."""

    def __init__(self, page: browser.Page, router: Router) -> None:
        self.page = page
        self.router = router
        self.board = router.board(write=True)
        self.origin = f"http://127.0.0.1:{router.ports['admin']}/"
        page.open(self.origin, 1280)
        page.until(f"{TEXT.format('#age')} === 'live'", "live data")
        page.evaluate("document.querySelector('#controls-card').open = true")

    def fill(self, **values: str) -> None:
        for name, value in values.items():
            self.page.evaluate(f"document.querySelector('#{name}').value = {value!r}")

    def click(self, name: str) -> None:
        self.page.evaluate(f"document.querySelector('#do-{name}').click()")

    def said(self, words: str) -> None:
        self.page.until(f"{TEXT.format('#said')}.includes({words!r})", f"{name_of(self.page)}: {words}")

    def in_force(self, kind: int, pool: int = 0) -> b.Override:
        def found() -> b.Override | None:
            it = self.board.override(self.board.pools if pool < 0 else pool, kind)
            return it if it is not None and it.in_force(time.monotonic_ns()) else None

        it = until(found, f"override {b.OVERRIDE_KINDS[kind]}")
        assert isinstance(it, b.Override)
        return it

    def over(self, kind: int, pool: int = 0) -> None:
        number = self.board.pools if pool < 0 else pool
        until(lambda: (it := self.board.override(number, kind)) is None or it.ended, f"end of {b.OVERRIDE_KINDS[kind]}")


def name_of(page: browser.Page) -> str:
    return str(page.evaluate(TEXT.format("#said")))


@pytest.fixture
def desk() -> Iterator[Desk]:
    with (
        browser.Page() as page,
        Router(workers=1, real=True, admin_port=0, admin_open_control=True, max_instances=40) as router,
    ):
        desk = Desk(page, router)
        yield desk
        desk.board.close()


@pytest.mark.timeout(120)
def test_each_control_of_a_pool_takes_effect(desk: Desk) -> None:
    page = desk.page
    desk.click("pause")
    desk.said("say why")
    assert desk.board.commands == 0
    desk.fill(reason="a sale", who="Zoë", min="2", max="9")
    desk.click("set-limits")
    it = desk.in_force(b.OVERRIDE_LIMITS)
    assert (it.first, it.second, it.reason, it.who) == (2, 9, "a sale", "Zoë 127.0.0.1")
    assert it.until - it.at == 3600 * 10**9
    page.until(f"{TEXT.format('#overrides')}.includes('min 2, max 9 fake 59m')", "the override with its time")
    first = page.evaluate(TEXT.format("#overrides .left"))
    page.until(f"{TEXT.format('#overrides .left')} !== {first!r}", "the countdown goes on")
    desk.fill(min="9", max="2")
    desk.click("set-limits")
    desk.said("min 9 is more than max 2")
    desk.click("pause")
    desk.in_force(b.OVERRIDE_PAUSE)
    page.until("document.querySelectorAll('#overrides li').length === 2", "both overrides")
    page.evaluate("document.querySelector('#controls-card').scrollIntoView()")
    page.screenshot(ROOT / "build" / "admin-controls-1280.png")
    desk.click("resume")
    desk.over(b.OVERRIDE_PAUSE)
    desk.click("clear-limits")
    desk.over(b.OVERRIDE_LIMITS)
    page.until("document.querySelectorAll('#overrides li').length === 0", "no override")

    desk.click("breaker")
    until(lambda: desk.board.override(0, b.OVERRIDE_BREAKER) is not None, "the breaker's reset")
    now = time.monotonic_ns()
    slot, generation = desk.board.allocate_instance(0, os.urandom(16), 10, now, now + 10**12) or (0, 0)
    desk.board.open_instance(slot, generation, now)
    desk.fill(missing="3")
    desk.click("recycle")
    assert desk.in_force(b.OVERRIDE_RECYCLE).first == 3
    page.until("document.querySelectorAll('#instances tbody tr').length === 1", "the instance")
    page.evaluate("document.querySelector('#instances tbody tr').click()")
    assert page.evaluate("document.querySelector('#instance').value") == desk.board.instance(slot).id.hex()[:8]
    desk.click("drain-instance")
    until(lambda: desk.board.state(slot, generation) == b.INSTANCE_DRAINING, "the instance drains")
    assert page.messages == [] or all("400" in text for text in page.messages)


@pytest.mark.timeout(120)
def test_each_control_of_the_router_takes_effect_and_a_chip_ends_its_override(desk: Desk) -> None:
    page, port = desk.page, desk.router.ports["admin"]
    desk.fill(reason="a test")
    desk.click("drain")
    desk.in_force(b.OVERRIDE_DRAIN, -1)
    assert ask(port, "/readyz").status == 503
    page.until(f"{TEXT.format('#facts')}.includes('draining')", "the page says so")
    desk.click("undrain")
    until(lambda: ask(port, "/readyz").status == 200, "a router that takes clients")
    desk.fill(level="warning")
    desk.click("log-level")
    assert desk.in_force(b.OVERRIDE_LOG_LEVEL, -1).first == 30
    page.until(f"{TEXT.format('#overrides')}.includes('log level warning')", "the chip")
    page.evaluate("document.querySelector('#overrides button').click()")
    desk.over(b.OVERRIDE_LOG_LEVEL, -1)
    desk.click("reload")
    until(lambda: "configuration reloaded by=command" in desk.router.log(), "the reload")
    assert page.messages == []


@pytest.mark.timeout(120)
def test_a_page_that_may_read_asks_for_the_token_to_act() -> None:
    with (
        browser.Page() as page,
        Router(workers=1, admin_port=0, admin_token=TOKEN, admin_read_only=True) as router,
    ):
        desk = Desk(page, router)
        desk.fill(reason="a test")
        desk.click("pause")
        desk.said("a bearer token is needed")
        assert page.evaluate("document.activeElement.id") == "token"
        desk.fill(token=TOKEN)
        desk.click("pause")
        desk.in_force(b.OVERRIDE_PAUSE)
        desk.board.close()


@pytest.mark.timeout(120)
def test_a_page_without_a_token_to_ask_for_says_how_to_act() -> None:
    with browser.Page() as page, Router(workers=1, admin_port=0) as router:
        desk = Desk(page, router)
        assert page.evaluate("document.querySelector('#controls').hidden")
        assert "lambda-dispatch ctl" in page.evaluate(TEXT.format("#off"))
        desk.board.close()
