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
from tests.browser.hand import trade_by_hand
from tests.servers.hyperliquid import AGENT_KEY, MASTER, open_server
from tests.servers.hyperliquid.market import PaperFeed
from tests.servers.siblings import SEED, Agents, serve
from trading.conf import PROJECT_ROOT
from trading.domain.orders import Side

SETTLE_SECONDS = 0.5
TRAIL_SECONDS = 25.0
# Longer than a mark stays young: everything that is old is grey.
GREYED_SECONDS = 8.0
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
        for scene in SCENES:
            print(scene.__name__.replace("_", " "), flush=True)
            scene(gallery, service)
    with a_live_desk() as (service, browser):
        print("live", flush=True)
        live(Gallery(folder, browser), service)
    print(f"{len(list(folder.glob('*.png')))} pictures in {folder}")


@contextmanager
def a_desk(**environ: str) -> Iterator[tuple[Service, Browser]]:
    with tempfile.TemporaryDirectory(prefix="executor_screens_") as name:
        service = Service(Path(name), **{"MIN_SIGNAL_CONFIDENCE": "0.6", **environ})
        try:
            service.begin()
            service.wait()
            browser = Browser(Path(name) / "profile", service)
            try:
                yield service, browser
            finally:
                browser.quit()
        finally:
            service.stop()


@contextmanager
def a_live_desk() -> Iterator[tuple[Service, Browser]]:
    """Configured for production, on the exchange simulator: only the exchange's address differs from a real one."""
    scout = serve(0, Agents().scout)
    try:
        with open_server(feed=PaperFeed(SEED)) as exchange:
            settings = {
                "DEMO_MODE": "false",
                "VENUE": "hyperliquid",
                "HYPERLIQUID_API_URL": exchange.url,
                "HYPERLIQUID_ACCOUNT_ADDRESS": MASTER,
                "HYPERLIQUID_WALLET_KEY": AGENT_KEY,
                "SCOUT_URL": f"http://127.0.0.1:{scout.server_port}",
                "MIN_SIGNAL_CONFIDENCE": "0.3",
            }
            with a_desk(**settings) as found:
                yield found
    finally:
        scout.shutdown()
        scout.server_close()


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
    """Guardian's no, and the page before its first answer."""
    browser = gallery.browser
    service.agents.objection = "Two of these coins move together with what is open; the pair adds no diversification."
    browser.click(".ticket-button")
    browser.click("#ticket-go", "Execute")
    browser.see("#ticket-answer", "Two of these coins")
    browser.script("document.querySelector('#ticket-answer').scrollIntoView({block: 'end'})")
    gallery.take("guardian-no")
    service.agents.objection = ""
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


def troubled(gallery: Gallery, service: Service) -> None:
    """Faults staged at the paper venue: prices that stand still, a leg that cannot be closed, a hand in the account."""
    browser = gallery.browser
    stage(service, kind="stale_prices", seconds=120)
    browser.see(".row[data-old]", "old")
    gallery.take("stale")
    service.ask("DELETE", "/api/demo/scenario")
    browser.gone(".row[data-old]")
    (position,) = service.ask("GET", "/api/positions?status=open")
    stage(service, kind="halted_coin", coin=position["long"]["coin"], seconds=60)
    service.ask("POST", f"/api/positions/{position['position_id']}/close", {})
    browser.see("#tile-naked[data-level=warn]")
    gallery.take("naked")
    service.ask("DELETE", "/api/demo/scenario")
    browser.see("#positions", "Nothing is open")
    trade(service, "drifted", "SUI/APT", 3000, **FAR)
    browser.see(".row", "SUI / APT")
    (position,) = service.ask("GET", "/api/positions?status=open")
    trade_by_hand(service.data, position["long"]["coin"], Side.BUY, "120")
    trade_by_hand(service.data, "DOGE", Side.BUY, "900")
    browser.see("#tile-state", "drift")
    gallery.take("reducing")
    browser.click("#resume")
    browser.click("#resume-go")
    browser.see("dialog .problem", "drift")
    gallery.take("resume-refused")
    browser.click(f"#resume-holdings [value={position['long']['coin']}]")
    gallery.take("resume-accepting")
    browser.type("#resume-word", "ACCEPT")
    browser.click("#resume-go")
    browser.see("#tile-state", "Active")


def stopping(gallery: Gallery, service: Service) -> None:
    browser = gallery.browser
    browser.see(".row")
    browser.click("#stop")
    browser.see("#stop-word")
    gallery.take("stop")
    browser.click("#stop-account")
    browser.see("#stop-go", "whole account")
    gallery.take("stop-account")
    browser.type("#stop-word", "STOP ACCOUNT")
    browser.click("#stop-go")
    browser.see("#stop-words")
    gallery.take("stop-progress")
    browser.see("dialog .big", "Flat")
    gallery.take("stop-done")
    gallery.close_dialog()
    gallery.take("halted")
    browser.click("#resume")
    browser.see("#resume-go")
    gallery.take("resume")
    browser.click("#resume-go")
    browser.see("#tile-state", "Active")


def lost(gallery: Gallery, service: Service) -> None:
    trade(service, "five", "LINK/ATOM", 3000, **FAR)
    gallery.browser.see(".row")
    service.stop()
    gallery.browser.see("#banner", "does not answer")
    time.sleep(GREYED_SECONDS)
    gallery.take("disconnected")


def live(gallery: Gallery, service: Service) -> None:
    """A desk in production mode with two positions; then as the same page names the other networks."""
    browser = gallery.browser
    browser.log_in_as("admin")
    browser.see("#mode", "SIMULATOR")
    until(lambda: service.ask("GET", "/api/health")["monitor"]["alive"], "a monitor that watches")
    offered = [one for one in service.ask("GET", "/api/signals") if one["would_take"]]
    for signal, size in zip(offered, (2400, 1600), strict=False):
        trade(service, signal["id"], signal["pair"], size, **FAR)
    browser.see(".row")
    time.sleep(TRAIL_SECONDS)
    gallery.take("live")
    browser.click(".row-toggle")
    browser.see(".chart canvas")
    browser.see(".timeline")
    gallery.take("live-position")
    browser.click(".row-toggle")
    for mode in ("testnet", "mainnet", "unknown"):
        # The word comes from the configured address, which a test sees to; no network is asked for a picture.
        show_mode(browser, mode)
        gallery.take(f"live-as-{mode}")
    browser.open("/login")
    show_mode(browser, "mainnet")
    gallery.take("log-in-as-mainnet")


SCENES = (at_the_door, nothing_yet, trading, looking_back, refused, reading_only, troubled, stopping, lost)


def stage(service: Service, **what: object) -> None:
    service.ask("POST", "/api/demo/scenario", what)


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
