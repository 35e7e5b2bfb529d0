"""Pictures of every state of the dashboard, in both themes and both widths, to be judged by eye: `make screens`.

Writes to the folder given, and docs/dashboard.png for the README.
"""

import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.browser.chromium import PHONE, TOKENS, WIDE, Browser, Service, require_browser, until
from trading.conf import PROJECT_ROOT

SETTLE_SECONDS = 0.5
TRAIL_SECONDS = 25.0
PICTURE = PROJECT_ROOT / "docs" / "dashboard.png"
FAR = {"take_profit": 0.02, "stop_loss": 0.015}


class Gallery:
    """Where the pictures go."""

    def __init__(self, folder: Path, browser: Browser) -> None:
        self.folder = folder
        self.browser = browser
        folder.mkdir(parents=True, exist_ok=True)

    def take(self, name: str) -> None:
        """The page as it is, four times."""
        for theme in ("light", "dark"):
            self.browser.script("document.documentElement.dataset.theme = arguments[0]", theme)
            for width, size in (("wide", WIDE), ("phone", PHONE)):
                self.browser.resize(size)
                time.sleep(SETTLE_SECONDS)
                self.browser.driver.save_screenshot(str(self.folder / f"{name}-{theme}-{width}.png"))
        self.browser.resize(WIDE)

    def close_dialog(self) -> None:
        self.browser.script("document.querySelectorAll('dialog').forEach((one) => one.close())")


def main(folder: Path) -> None:
    """Raises SkipTest where there is no browser."""
    require_browser()
    with a_desk() as (service, browser):
        gallery = Gallery(folder, browser)
        for scene in (at_the_door, nothing_yet, trading, looking_back, refused, reading_only, stopping, lost):
            print(scene.__name__.replace("_", " "), flush=True)
            scene(gallery, service)
    print(f"{len(list(folder.glob('*.png')))} pictures in {folder}")


@contextmanager
def a_desk() -> Iterator[tuple[Service, Browser]]:
    with tempfile.TemporaryDirectory(prefix="executor_screens_") as name:
        service = Service(Path(name), MIN_SIGNAL_CONFIDENCE="0.6")
        try:
            service.start()
            browser = Browser(Path(name) / "profile", service)
            try:
                yield service, browser
            finally:
                browser.quit()
        finally:
            service.stop()


def at_the_door(gallery: Gallery, service: Service) -> None:
    browser = gallery.browser
    browser.open("/login")
    browser.see("#token")
    gallery.take("log-in")
    browser.type("#token", "x" * 43)
    browser.click("button", "Log in")
    browser.see("#token-error", "not known")
    gallery.take("log-in-refused")
    browser.type("#token", TOKENS["admin"])
    browser.click("button", "Log in")


def nothing_yet(gallery: Gallery, service: Service) -> None:
    browser = gallery.browser
    browser.see("#positions", "Nothing is open")
    browser.see(".signal")
    gallery.take("desk-empty")
    browser.click(".tabs a", "History")
    browser.see("#view-history", "Nothing has closed yet")
    gallery.take("history-empty")
    browser.click(".tabs a", "Desk")
    for mode in ("testnet", "local", "mainnet", "unknown"):
        # What another venue would make of it; the page has the word from the service.
        show_mode(browser, mode)
        gallery.take(f"mode-{mode}")
    show_mode(browser, "demo")


def trading(gallery: Gallery, service: Service) -> None:
    browser = gallery.browser
    trade(service, "one", "SOL/AVAX", 4200, trailing_stop={"arm": 0.01, "gap": 0.004}, **FAR)
    trade(service, "two", "XRP/BNB", 2600, max_holding_seconds=1800, leverage=2, **FAR)
    trade(service, "three", "ARB/OP", 9000, execution="twap", twap={"duration_seconds": 600, "slices": 6}, **FAR)
    until(lambda: len(browser.all(".row")) == 3, "three rows")
    time.sleep(TRAIL_SECONDS)
    gallery.take("desk")
    browser.click(".row-toggle", "XRP / BNB")
    browser.see(".chart canvas")
    browser.see(".timeline")
    picture(browser)
    gallery.take("position")
    browser.click(".row-toggle", "ARB / OP")
    browser.see(".timeline", "orders reported")
    browser.script("document.querySelector('.detail-story').scrollIntoView({block: 'center'})")
    gallery.take("position-story")
    browser.script("scrollTo(0, 0)")
    browser.click(".row-toggle", "ARB / OP")
    browser.click(".row .actions button")
    browser.see(".costs", "Cost of leaving")
    gallery.take("close")
    browser.click("dialog .danger")
    until(lambda: len(browser.all(".row")) == 2, "a closed position")
    browser.click(".ticket-button")
    browser.see(".headroom")
    gallery.take("ticket")
    browser.type("#ticket-exact", "80000")
    browser.see(".reasons")
    gallery.take("ticket-refused")
    gallery.close_dialog()


def looking_back(gallery: Gallery, service: Service) -> None:
    browser = gallery.browser
    for position in service.ask("GET", "/api/positions?status=open"):
        service.ask("POST", f"/api/positions/{position['position_id']}/close", {})
    browser.click(".tabs a", "History")
    browser.see("#view-history .closed")
    time.sleep(1)
    gallery.take("history")
    browser.click(".tabs a", "Log")
    browser.see(".log")
    gallery.take("log")
    browser.click(".tabs a", "Desk")


def refused(gallery: Gallery, service: Service) -> None:
    """The API's own words, and Guardian's: told by the page's own way of showing a problem."""
    browser = gallery.browser
    problem = {
        "code": "GUARDIAN_REJECTED",
        "detail": "Guardian says no",
        "reasoning": "Rejected: 3 of 3 positions are open; a leverage of 3 is more than this pair should carry.",
    }
    browser.awaited(
        "const dom = await import('/static/desk/dom.js');"
        "dom.openDialog('Ticket', dom.problemBox(arguments[0])); return true",
        problem,
    )
    gallery.take("guardian-no")
    gallery.close_dialog()
    browser.awaited(
        "const { desk, tell } = await import('/static/desk/state.js'); desk.positions = null; tell('positions');"
        "const dom = await import('/static/desk/dom.js');"
        "dom.fill(document.getElementById('positions'), dom.skeleton(3)); return true"
    )
    gallery.take("loading")


def reading_only(gallery: Gallery, service: Service) -> None:
    trade(service, "four", "LTC/BCH", 3000, **FAR)
    gallery.browser.log_in_as("read")
    gallery.browser.see(".row")
    gallery.take("read-only")
    gallery.browser.log_in_as("admin")
    gallery.browser.see(".row")


def stopping(gallery: Gallery, service: Service) -> None:
    browser = gallery.browser
    browser.click("#stop")
    browser.see("#stop-word")
    gallery.take("stop")
    browser.type("#stop-word", "STOP")
    browser.click("#stop-go")
    browser.see("#stop-words")
    gallery.take("stop-progress")
    browser.see("dialog .big", "Flat")
    gallery.take("stop-done")
    gallery.close_dialog()
    gallery.take("halted")
    browser.click("#resume")
    browser.see("#tile-state", "Active")


def lost(gallery: Gallery, service: Service) -> None:
    trade(service, "five", "LINK/ATOM", 3000, **FAR)
    gallery.browser.see(".row")
    service.stop()
    gallery.browser.see("#banner", "does not answer")
    time.sleep(6)
    gallery.take("disconnected")


def trade(service: Service, signal_id: str, pair: str, size: int, **more: object) -> None:
    service.ask("POST", "/api/trades/execute", {"signal_id": signal_id, "pair": pair, "position_size": size, **more})


def show_mode(browser: Browser, mode: str) -> None:
    browser.awaited(
        "document.documentElement.dataset.mode = arguments[0];"
        "(await import('/static/desk/glance.js')).showMode(); return true",
        mode,
    )


def picture(browser: Browser) -> None:
    """The README's: light, wide, one position opened."""
    browser.script("document.documentElement.dataset.theme = 'light'")
    browser.resize((1440, 960))
    time.sleep(SETTLE_SECONDS)
    browser.driver.save_screenshot(str(PICTURE))
    browser.resize(WIDE)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
