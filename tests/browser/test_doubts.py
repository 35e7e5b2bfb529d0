"""The dashboard when what it is told is odd, late or missing: it sends what was seen and nothing else, and does not
make up how anything ended."""

import time
from typing import Any

from tests.browser.chromium import PHONE, WIDE, BrowserCase, until

# Answers of the service that are held back, replaced or lost, and what the page has sent meanwhile. A stub without a
# status lets the real answer through; one that is `held` waits for `window.release()`.
STUBS = """
const real = window.realFetch ??= window.fetch.bind(window);
window.sent = [];
const stubs = arguments[0];
const open = new Promise((done) => { window.release = done; });
window.fetch = async (path, options = {}) => {
  const method = options.method || 'GET';
  const key = (options.headers || {})['Idempotency-Key'] || null;
  if (method !== 'GET') window.sent.push({path, key, body: options.body && JSON.parse(options.body)});
  const one = stubs.find((stub) => stub.method === method && path.startsWith(stub.path));
  if (one && one.held) await open;
  if (!one || one.status === undefined) return real(path, options);
  if (one.status === 0) throw new TypeError('the connection was lost');
  return Response.json(one.body, {status: one.status});
};
"""
# A stream that opens and then says what it is told to say.
QUIET_STREAM = """
window.EventSource = class extends EventTarget {
  static OPEN = 1;
  constructor() {
    super();
    this.readyState = 1;
    window.stream = this;
    window.streams = (window.streams || 0) + 1;
    setTimeout(() => this.onopen && this.onopen(), 0);
  }
  close() { this.readyState = 2; }
};
window.told = (name, items) => window.stream.dispatchEvent(new MessageEvent(name, {data: JSON.stringify(items)}));
"""
EDITED_UNDER_A_PREVIEW = """
const field = document.getElementById('ticket-exact');
field.value = '2000';
field.dispatchEvent(new Event('input', {bubbles: true}));
window.release();
await new Promise((done) => setTimeout(done, 150));
return document.getElementById('ticket-go').disabled;
"""
NOTHING_TOUCHED = """
const { h } = await import('/static/desk/dom.js');
const { changeOf, fields, valuesOf } = await import('/static/desk/exits.js');
const one = arguments[0];
return changeOf(h('form', {}, fields('untouched', valuesOf(one), {}, false)), one);
"""
WRITTEN = """
const format = await import('/static/desk/format.js');
return arguments[0].map(([name, value]) => format[name](value));
"""
TIMERS = """
window.trails = new Set();
const { setInterval: begin, clearInterval: end } = window;
window.setInterval = (job, every) => {
  const id = begin(job, every);
  if (every === 15000) window.trails.add(id);
  return id;
};
window.clearInterval = (id) => { window.trails.delete(id); end(id); };
"""
OLDER_MARK = """
const { desk } = await import('/static/desk/state.js');
const one = [...desk.positions.values()][0];
const mark = {...one, long_price: one.long.mark_price, short_price: one.short.mark_price, pnl: 12345,
  marked_at: new Date(Date.parse(one.marked_at) - 5000).toISOString()};
window.told('marks', [mark]);
return one.pnl;
"""
# Time passes ten times as fast for the page: its clock, and all that it puts off.
HURRIED = """
const { setTimeout: later, setInterval: every } = window;
window.setTimeout = (job, after, ...rest) => later(job, (after || 0) / 10, ...rest);
window.setInterval = (job, after, ...rest) => every(job, (after || 0) / 10, ...rest);
const clock = Date.now, begun = clock();
Date.now = () => begun + (clock() - begun) * 10;
"""
# From the end of one poll on, what the next asks for first is being opened, and is open when that has been told.
A_POLL_MISSES_NOBODY = """
const [one] = await (await fetch('/api/positions?status=open&limit=1')).json();
const real = window.fetch.bind(window);
const answer = (items) => Response.json(items);
let ended = false;
let filled = false;
window.fetch = async (path, options) => {
  const status = new URLSearchParams(path.split('?')[1]).get('status');
  if (!path.startsWith('/api/positions?') || !status || !ended) {
    const told = await real(path, options);
    ended ||= status === 'closing';
    return told;
  }
  if (status === 'opening') {
    await new Promise((done) => setTimeout(done, 200));
    filled = true;
  }
  return answer(status === 'open' && filled ? [one] : []);
};
const { desk, on } = await import('/static/desk/state.js');
const seen = [];
await new Promise((done) => on('positions', () => seen.push(desk.positions.size) < 4 || done()));
return Math.min(...seen);
"""
A_SLOW_ANSWER = """
const { desk } = await import('/static/desk/state.js');
const real = window.fetch.bind(window);
window.fetch = async (path, options) => {
  const answer = await real(path, options);
  if (path.startsWith('/api/portfolio')) await new Promise((done) => setTimeout(done, 1000));
  return answer;
};
await (await import('/static/desk/feed.js')).portfolio();
return desk.ahead;
"""
THIRTEEN_HOURS_AHEAD = "const now = Date.now; Date.now = () => now() + 13 * 3600 * 1000;"
# Whether the page says so: an answer that was on its way already may have made the account young again.
AN_OLD_ACCOUNT = """
const { desk, now, tell } = await import('/static/desk/state.js');
desk.portfolio.taken_at = new Date(now() - 60000).toISOString();
tell('clock');
await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
return document.querySelector('#glance[data-old]')?.innerText.includes('the account of 1 min') ?? false;
"""
SCROLLED = """
const { tell } = await import('/static/desk/state.js');
const frame = () => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
const place = document.querySelector('.detail-facts .scroll');
place.focus();
place.scrollLeft = 40;
tell('marks');
await frame();
const now = document.querySelector('.detail-facts .scroll');
return [now.scrollLeft, document.activeElement === now];
"""
BEYOND = "const one = document.querySelector('dialog'); return one.scrollWidth - one.clientWidth;"
PORTFOLIO = "await (await import('/static/desk/feed.js')).portfolio()"
PLACEHOLDERS = "return [...document.querySelectorAll('.pair-of-fields > .field input')].map((one) => one.placeholder)"
CONNECTIONS = """
const { desk, tell } = await import('/static/desk/state.js');
desk.connections = await (await fetch('/api/connections')).json();
tell('connections');
await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
"""
HEALTH = "await (await import('/static/desk/feed.js')).health()"
SIGNALS = "await (await import('/static/desk/feed.js')).signals()"
ODD = {
    "take_profit": 0.0123456789,
    "stop_loss": 0.07,
    "trailing_stop": {"arm": 0.0123456789, "gap": 0.003},
    "max_holding_seconds": None,
    "take_profit_usd": 33.33333333,
    "stop_loss_usd": None,
    "take_profit_spread": -0.99998347621,
    "stop_loss_spread": 0.0000012345,
    "take_profit_z": None,
    "stop_loss_z": None,
}


class DoubtsTest(BrowserCase):
    def setUp(self) -> None:
        self.addCleanup(self.make_flat)

    def make_flat(self) -> None:
        for position in self.service.ask("GET", "/api/positions"):
            if position["status"] != "closed":
                self.service.ask("POST", f"/api/positions/{position['position_id']}/close", {})

    def trade(self, signal_id: str, pair: str) -> dict[str, Any]:
        body = {"signal_id": signal_id, "pair": pair, "position_size": 1000, "take_profit": 0.5, "stop_loss": 0.3}
        answer: dict[str, Any] = self.service.ask("POST", "/api/trades/execute", body)
        self.assertEqual("open", answer.get("status"), answer)
        return answer

    def stub(self, *stubs: dict[str, object]) -> None:
        self.browser.script(STUBS, list(stubs))

    def sent(self, path: str) -> list[dict[str, Any]]:
        return [one for one in self.browser.script("return window.sent") if one["path"].startswith(path)]

    def wait_for_requests(self, count: int) -> None:
        until(lambda: len(self.sent("/api/trades/execute")) == count, f"request {count}")

    def ticket(self, *stubs: dict[str, object]) -> None:
        """One that may be executed, before the *stubs* are put up."""
        self.browser.log_in_as("trade")
        self.browser.click(".signal[data-take=true] .ticket-button", "Ticket")
        self.browser.see(".verdict-line", "would execute")
        self.stub(*stubs)

    def before_the_page(self, script: str) -> None:
        """Run *script* in every page from now on, before its own."""
        driver = self.browser.driver
        added = driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": script})
        self.addCleanup(driver.execute_cdp_cmd, "Page.removeScriptToEvaluateOnNewDocument", added)

    def on_a_quiet_stream(self) -> None:
        self.before_the_page(QUIET_STREAM)
        self.browser.log_in_as("trade")

    def test_a_preview_of_what_the_form_said_before_gives_no_button(self) -> None:
        self.browser.log_in_as("trade")
        self.browser.see(".signal[data-take=true]")
        self.stub({"method": "POST", "path": "/api/trades/preview", "held": True})
        self.browser.click(".signal[data-take=true] .ticket-button", "Ticket")
        until(lambda: self.sent("/api/trades/preview"), "a preview being asked for")
        self.assertTrue(self.browser.awaited(EDITED_UNDER_A_PREVIEW))
        self.browser.see("#ticket-go", "Execute $2,000")

    def test_the_button_says_exactly_what_is_sent_and_nothing_is_changed_under_it(self) -> None:
        self.ticket({"method": "POST", "path": "/api/trades/execute", "held": True, "status": 0})
        self.browser.type("#ticket-exact", "1500.75")
        self.turn_the_wheel_over("#ticket-exact")
        self.browser.click("#ticket-go", "Execute $1,500.75")
        self.browser.see("#ticket-go", "Asking Guardian")
        self.assertTrue(self.browser.script("return document.querySelector('.ticket-form').inert"))
        self.browser.script("window.release()")
        self.browser.see("#ticket-answer", "may have been done all the same")
        self.browser.click("#ticket-go", "Execute $1,500.75")
        first, again = self.sent("/api/trades/execute")
        self.assertEqual((1500.75, None), (first["body"]["position_size"], first["key"]))
        self.assertEqual(first, again)

    def test_a_refusal_that_tells_the_trading_state_is_a_refusal(self) -> None:
        detail = "the desk is LIQUIDATING: emergency stop"
        no = {"code": "TRADING_HALTED", "detail": detail, "trading_state": "LIQUIDATING", "causes": []}
        self.ticket({"method": "POST", "path": "/api/trades/execute", "status": 409, "body": no})
        self.browser.click("#ticket-go", "Execute")
        self.browser.see("#ticket-answer", detail)
        self.browser.see("#ticket-go", "Execute $1,000")

    def turn_the_wheel_over(self, css: str) -> None:
        place = self.browser.see(css).rect
        at = {"x": place["x"] + 20, "y": place["y"] + 10, "deltaX": 0, "deltaY": 120}
        self.browser.driver.execute_cdp_cmd("Input.dispatchMouseEvent", {"type": "mouseWheel", **at})

    def test_what_stands_between_is_not_taken_for_the_service(self) -> None:
        self.ticket(
            {"method": "POST", "path": "/api/trades/execute", "status": 502, "body": {"message": "bad gateway"}}
        )
        self.browser.click("#ticket-go", "Execute")
        self.browser.see("#ticket-answer", "answered with status 502; what was asked may have been done all the same")
        self.browser.see("#ticket-go", "Execute $1,000")

    def test_what_would_be_done_unasked_is_told_before_it_is(self) -> None:
        self.browser.log_in_as("admin")
        self.browser.see(".signal[data-take=true]")
        account = self.service.ask("GET", "/api/portfolio")
        pair = {"signal_id": "unasked", "pair": "SOL/AVAX", "position_size": 1000}
        own = {"trailing_stop": {"arm": 0.01, "gap": 0.00425}, "max_holding_seconds": 90}
        would = {**self.service.ask("POST", "/api/trades/preview", pair), **own, "exits": {"stop_loss_usd": 7.5}}

        def looks_at(**account_is: object) -> None:
            self.stub(
                {"method": "GET", "path": "/api/portfolio", "status": 200, "body": {**account, **account_is}},
                {"method": "POST", "path": "/api/trades/preview", "status": 200, "body": would},
                {"method": "GET", "path": "/api/health", "status": 200, "body": {**health, "trading_state": "HALTED"}},
            )
            self.browser.awaited(PORTFOLIO)

        health = self.service.ask("GET", "/api/health")
        looks_at(terms={**account["terms"], **own})
        self.browser.click(".signal[data-take=true] .ticket-button", "Ticket")
        self.browser.see(".facts", "stop 1 %, target 2 %, trailing 0.425 % from 1 %, after 1 min 30 s, loss $7.50")
        self.assertEqual(["2", "1", "1", "0.425", "90"], self.browser.script(PLACEHOLDERS))
        self.browser.click("dialog .close")
        # Of an account that nobody can read nothing is known, and not that there is nothing.
        looks_at(equity=None, foreign_holdings={})
        self.browser.click("#stop")
        self.browser.see("#stop-foreign", "cannot be read now")
        self.browser.click("dialog .close")
        # A key that is held down a little too long must not confirm what has come up under it.
        self.browser.awaited(HEALTH)
        self.browser.click("#resume")
        self.browser.see("#resume-why")
        self.assertNotEqual("resume-go", self.browser.script("return document.activeElement.id"))

    def test_what_is_ticked_while_the_desk_is_asked_stays_ticked(self) -> None:
        self.browser.log_in_as("admin")
        self.browser.see(".signal")
        drifted = {"drifts": [{"coin": "SOL", "venue": 25.0, "book": 0.0}]}
        account = {**self.service.ask("GET", "/api/portfolio"), **drifted}
        health = {**self.service.ask("GET", "/api/health"), "trading_state": "REDUCING"}
        no = {"code": "RESUME_REFUSED", "detail": "drift in SOL", "causes": ["drift in SOL"]}
        looked = {"method": "GET", "path": "/api/portfolio", "status": 200, "body": account}
        stubs = (
            {"method": "GET", "path": "/api/health", "status": 200, "body": health},
            {"method": "POST", "path": "/api/resume", "status": 409, "body": no},
        )
        self.stub(looked, *stubs)
        self.browser.awaited(PORTFOLIO)
        self.browser.awaited(HEALTH)
        self.browser.click("#resume")
        self.stub({**looked, "held": True}, *stubs)
        self.browser.click("#resume-go", "Resume trading")
        self.browser.see("dialog .problem", "drift in SOL")
        self.browser.click("#resume-holdings [value=SOL]")
        self.browser.see("#resume-word")
        self.browser.script("window.before = document.querySelector('#resume-holdings'); window.release()")
        until(lambda: not self.browser.script("return window.before.isConnected"), "the desk's answer")
        self.browser.see("#resume-word")

    def test_what_the_venue_has_refused_or_a_stop_overtaken_is_tried_again_under_another_key(self) -> None:
        refused = {"code": "VENUE_REJECTED", "detail": "nothing was filled: no"}
        overtaken = {"code": "TRADING_HALTED", "detail": "the desk was stopped", "trade_id": "trd_0"}
        self.ticket()
        keys = []
        canceled = {"code": "TRADE_CANCELED", "detail": "nothing was filled: canceled"}
        for status, no in ((502, refused), (409, overtaken), (409, canceled), (502, refused)):
            self.stub({"method": "POST", "path": "/api/trades/execute", "status": status, "body": no})
            self.browser.click("#ticket-go", "Execute")
            self.wait_for_requests(1)
            self.browser.see("#ticket-answer", no["detail"])
            keys += [one["key"] for one in self.sent("/api/trades/execute")]
        self.assertIsNone(keys[0])
        self.assertEqual(4, len(set(keys)))

    def test_what_has_closed_again_already_is_not_called_opened(self) -> None:
        position = self.trade("closed again", "LTC/BCH")
        closed = self.service.ask("POST", f"/api/positions/{position['position_id']}/close", {})
        self.ticket({"method": "POST", "path": "/api/trades/execute", "status": 200, "body": closed})
        self.browser.click("#ticket-go", "Execute")
        self.browser.see("dialog .big", "Closed already: manual")

    def test_an_exit_that_nobody_touched_stays_as_it_is(self) -> None:
        self.browser.open("/login")
        self.assertEqual({}, self.browser.awaited(NOTHING_TOUCHED, ODD))

    def test_what_is_no_number_takes_no_barrier_away(self) -> None:
        position = self.trade("no number", "CRV/LDO")
        self.service.ask("PATCH", f"/api/positions/{position['position_id']}", {"stop_loss_usd": 250})
        self.browser.log_in_as("trade")
        self.stub()
        self.browser.click(".row-toggle", "CRV / LDO")
        until(lambda: self.browser.see("[name=stop_loss_usd]").get_property("value") == "250", "the barrier")
        self.browser.type(".exits-form [name=stop_loss_usd]", "1e-")
        self.browser.click(".exits-form button", "Change exits")
        self.browser.see(".exits-form .problem", "Loss holds something that is no number")
        self.assertEqual([], self.sent("/api/positions"))

    def test_numbers_keep_the_digits_that_matter(self) -> None:
        self.browser.open("/login")
        written = {
            ("spread", -0.9999998911): "\N{MINUS SIGN}0.999999891100",
            ("spread", -0.999167): "\N{MINUS SIGN}0.999167000",
            ("spread", 0.0153): "0.015300",
            ("spread", 29.1234567): "29.1235",
            ("spread", -1e-9): "0.000000",
            ("price", 0.0098765): "0.00987650",
            ("price", 0.000000000012): "0.0000000000120000",
            ("limitPercent", 0.025): "2.5 %",
            ("limitPercent", 0.3): "30 %",
            ("exactUsd", 1500.75): "$1,500.75",
        }
        told = self.browser.awaited(WRITTEN, [list(one) for one in written])
        self.assertEqual(list(written.values()), told)

    def test_of_two_signals_of_a_pair_the_one_that_would_be_taken_is_shown(self) -> None:
        self.browser.log_in_as("trade")
        self.browser.see(".signal[data-take=true]")
        offered = next(one for one in self.service.ask("GET", "/api/signals") if one["would_take"])
        why = [{"code": "SIGNAL_EXPIRED", "detail": "too old"}]
        older = {**offered, "id": "older", "zscore": offered["zscore"] * 2, "would_take": False, "why_not": why}
        self.stub({"method": "GET", "path": "/api/signals", "status": 200, "body": [offered, older]})
        self.browser.awaited(SIGNALS)
        self.browser.see("#signals-count", "1 of 1 would be taken")
        self.browser.see(".signal", "\N{CHECK MARK} would take")

    def test_a_stop_without_a_ledger_is_flat_only_when_the_venue_is(self) -> None:
        self.browser.log_in_as("trade")
        self.browser.see(".signal")
        left = {"position_id": "BTC", "pair": "BTC", "status": "held", "why": "0.5 BTC are still held at the venue"}
        report = {"status": "closing", "closed": [], "remaining": [left], "foreign": [], "trading_state": "HALTED"}
        self.stub({"method": "POST", "path": "/api/emergency_stop", "status": 202, "body": report})
        self.browser.click("#stop")
        self.browser.type("#stop-word", "STOP")
        self.browser.click("#stop-go", "Stop everything")
        self.browser.see("dialog .big", "Not flat yet")
        self.browser.see("dialog", "0.5 BTC are still held")
        done = {**report, "status": "all_positions_closed", "remaining": []}
        self.stub({"method": "POST", "path": "/api/emergency_stop", "status": 200, "body": done})
        self.browser.click("#stop-again")
        self.browser.see("dialog .big", "Flat. The desk is halted.")
        self.browser.click("dialog .close")
        self.browser.click("#stop")
        self.browser.type("#stop-word", "STOP")
        self.browser.click("#stop-go", "Stop everything")
        self.browser.see("#stop-words", "Nothing of the desk is left at the venue.")

    def test_a_ledger_that_cannot_be_read_is_not_an_empty_one(self) -> None:
        self.browser.log_in_as("trade")
        self.browser.see("#positions", "Nothing is open")
        health = {**self.service.ask("GET", "/api/health"), "status": "unhealthy", "problems": ["it is damaged"]}
        account = {**self.service.ask("GET", "/api/portfolio"), "foreign_holdings": {"AVAX": 140.0, "SOL": -14.5}}
        self.stub(
            {"method": "GET", "path": "/api/health", "status": 503, "body": health},
            {"method": "GET", "path": "/api/portfolio", "status": 200, "body": account},
        )
        self.browser.awaited(PORTFOLIO)
        self.browser.awaited(HEALTH)
        held = "The account holds 140 AVAX, -14.5 SOL; what of it is the desk's cannot be told now."
        self.browser.see("#positions", "Not known what is open")
        self.browser.see("#positions", f"The ledger cannot be used. {held}")
        self.browser.gone("#positions", "Nothing is open")
        self.browser.see("#tile-naked", "not known without the ledger")
        self.browser.see("[data-limit=Positions]", "unknown")
        self.browser.click("#stop")
        self.browser.see("#stop-help", "as far as that is known without the ledger")
        self.browser.see("#stop-foreign", held)

    def test_a_stop_that_cannot_be_followed_any_more_is_not_called_flat(self) -> None:
        self.browser.log_in_as("trade")
        self.browser.see(".signal")
        left = {"position_id": "one", "pair": "SOL/AVAX", "status": "closing", "why": "being closed"}
        report = {"status": "closing", "closed": [], "remaining": [left], "foreign": [], "trading_state": "LIQUIDATING"}
        stop = {"method": "POST", "path": "/api/emergency_stop", "status": 202, "body": report}
        health = self.service.ask("GET", "/api/health")

        def is_told(code: int, **what: str) -> dict[str, object]:
            return {"method": "GET", "path": "/api/health", "status": code, "body": {**health, **what}}

        def told(code: int, **what: str) -> None:
            self.stub(stop, is_told(code, **what))
            self.browser.awaited(HEALTH)

        self.stub(stop, is_told(503, status="unhealthy", trading_state="HALTED"))
        self.browser.click("#stop")
        self.browser.type("#stop-word", "STOP")
        self.browser.click("#stop-go", "Stop everything")
        self.browser.see("dialog .big", "Not flat yet")
        self.browser.see("#stop-words", "The ledger cannot be used any more")
        told(200, trading_state="LIQUIDATING")
        self.browser.click("#stop-again")
        self.browser.see("dialog .big", "Closed. Proving that the venue is flat")
        told(0)
        self.browser.see("dialog .big", "The service does not answer")
        self.browser.see("#stop-words", "manage.py emergency_stop")
        told(200, trading_state="HALTED")
        self.browser.see("dialog .big", "Flat. The desk is halted.")
        told(200, trading_state="ACTIVE")
        self.browser.see("dialog .big", "Flat, and resumed since")

    def test_a_stream_that_is_held_back_on_its_way_is_not_live(self) -> None:
        self.before_the_page(HURRIED)
        self.on_a_quiet_stream()
        self.browser.see(".parts", "polling")
        self.trade("held back", "ARB/OP")
        self.browser.see(".row", "ARB / OP")
        until(lambda: self.browser.script("return window.streams") > 1, "another stream being tried")
        self.assertEqual(1, self.browser.awaited(A_POLL_MISSES_NOBODY))

    def test_what_was_on_its_way_for_longer_tells_nothing_new(self) -> None:
        position = self.trade("late marks", "SUI/APT")
        self.on_a_quiet_stream()
        self.browser.see(".row", "SUI / APT")
        self.browser.script("window.told('positions', [arguments[0]])", position)
        self.assertNotEqual(12345, self.browser.awaited(OLDER_MARK))

    def test_what_is_not_known_or_not_worked_is_not_told_to_be_well(self) -> None:
        position = self.trade("not well", "AVAX/INJ")
        self.on_a_quiet_stream()
        self.browser.see(".row", "AVAX / INJ")
        self.browser.script("window.told('positions', [arguments[0]])", position)
        self.browser.see(".risk", "low")
        blind = {**position, "marked_at": None, "risk_level": "medium"}
        self.browser.script("window.told('positions', [arguments[0]])", blind)
        self.browser.see(".risk", "medium")
        self.browser.script("window.told('marks', [arguments[0]])", {**blind, "risk_level": "high"})
        self.browser.see(".risk", "high")
        before = {"naked_exposure": 40.0, "today_since": "2026-11-22T00:00:00+00:00"}
        account = {**self.service.ask("GET", "/api/portfolio"), **before}
        self.stub({"method": "GET", "path": "/api/portfolio", "status": 200, "body": account})
        self.browser.awaited(PORTFOLIO)
        self.browser.see("#tile-naked", "legs do not match")
        self.browser.see(".tile", "since 2026-11-22 00:00 UTC")
        for status, told in (("REPAIRING", "legs are being levelled"), ("SUSPENDED", "a trade is suspended")):
            one = {**position, "status": "opening", "execution": {**position["execution"], "status": status}}
            self.browser.script("window.told('positions', [arguments[0]])", one)
            self.browser.see("#tile-naked", told)
        self.browser.see(".row .status", "suspended")

    def test_a_venue_that_does_not_answer_is_told_wherever_it_matters(self) -> None:
        position = self.trade("no venue", "RNDR/SNX")
        path = f"/api/positions/{position['position_id']}/close"
        blind = {
            **self.service.ask("GET", path),
            "status": "opening",
            "cost": None,
            "expected_pnl": None,
            "exit_return": None,
        }
        venue = {"name": "Venue", "status": "down", "heard_at": None, "words": "timed out"}
        report = {"status": "closing", "closed": [], "remaining": [], "foreign": [], "trading_state": "LIQUIDATING"}
        health = {**self.service.ask("GET", "/api/health"), "trading_state": "LIQUIDATING"}
        self.on_a_quiet_stream()
        self.browser.see(".row", "RNDR / SNX")
        self.stub(
            {"method": "GET", "path": "/api/connections", "status": 200, "body": [venue]},
            {"method": "GET", "path": "/api/health", "status": 200, "body": health},
            {"method": "GET", "path": path, "status": 200, "body": blind},
            {"method": "POST", "path": "/api/emergency_stop", "status": 202, "body": report},
        )
        self.browser.awaited(CONNECTIONS)
        self.assertEqual("Venuedown", self.browser.see("[data-part=Venue]", "down").text.replace("\n", ""))
        self.browser.click(".row .actions button")
        self.browser.see(
            ".costs", "No price is known now; it can be closed all the same. The rest of its opening is cancelled"
        )
        self.browser.click("dialog .close")
        at_once = {**position["execution"], "slices_done": 0, "status": "WORKING"}
        closing = {**position, "status": "closing", "exit_execution": at_once}
        self.browser.script("window.told('positions', [arguments[0]])", closing)
        self.browser.see(".row .status", "closing")
        self.assertFalse(self.browser.see(".row .actions button").is_enabled())
        self.browser.click("#stop")
        self.browser.type("#stop-word", "STOP")
        self.browser.click("#stop-go", "Stop everything")
        self.browser.see("#stop-words", "The venue does not answer: timed out.")
        gone = {**position, "status": "closed", "exit_reason": "STOP_LOSS", "pnl": -12.5}
        self.browser.script("window.told('positions', [arguments[0]])", gone)
        self.browser.see(".toast", "RNDR/SNX has closed: stop loss, \N{MINUS SIGN}$12.50 net.")

    def test_what_changes_behind_the_page_is_followed(self) -> None:
        position = self.trade("behind the page", "BNB/ETH")
        path = f"/api/positions/{position['position_id']}"
        self.browser.log_in_as("trade")
        self.browser.click(".row-toggle", "BNB / ETH")
        stop = ".exits-form [name=stop_loss]"
        self.browser.see(stop)
        self.service.ask("PATCH", path, {"stop_loss": 0.25})
        until(lambda: self.browser.see(stop).get_property("value") == "25", "the new stop in its field")
        self.browser.type(stop, "24")
        self.service.ask("PATCH", path, {"stop_loss": 0.2})
        self.browser.see(".exits-form", "these exits were changed elsewhere")
        self.assertEqual("24", self.browser.see(stop).get_property("value"))
        health = {**self.service.ask("GET", "/api/health"), "status": "degraded", "problems": ["nobody is watching"]}
        no = {"code": "STORE_CORRUPT", "detail": "the ledger is damaged"}
        self.stub(
            {"method": "GET", "path": "/api/health", "status": 200, "body": health},
            {"method": "GET", "path": "/api/portfolio", "status": 503, "body": no},
        )
        self.browser.awaited(PORTFOLIO)
        self.browser.awaited(HEALTH)
        self.browser.see("#banner", "the ledger is damaged \N{MIDDLE DOT} nobody is watching")
        # What was a demo when the page came is none any more.
        another = {**health, "demo_mode": False, "network": "mainnet"}
        self.stub({"method": "GET", "path": "/api/health", "status": 200, "body": another})
        until(lambda: self.browser.script("return window.realFetch === undefined"), "the page being loaded anew")

    def test_who_could_not_be_logged_out_is_told(self) -> None:
        self.browser.log_in_as("read")
        self.browser.see(".signal")
        self.stub({"method": "DELETE", "path": "/api/session", "status": 0})
        told = self.browser.witness(".toast", "You are still logged in")
        self.browser.click("#log-out")
        told()

    def test_a_position_that_was_shut_at_once_is_not_asked_about_any_more(self) -> None:
        self.trade("shut at once", "DYDX/GMX")
        self.browser.log_in_as("read")
        self.browser.see(".row", "DYDX / GMX")
        self.browser.script(TIMERS)
        self.stub({"method": "GET", "path": "/api/positions", "held": True})
        for _ in range(3):
            self.browser.script("document.querySelector('.row-toggle').click()")
        self.browser.script("window.release()")
        self.browser.see(".timeline", "trade filled")
        until(lambda: self.browser.script("return window.trails.size") > 0, "the trail being followed")
        self.assertEqual(1, self.browser.script("return window.trails.size"))

    def test_what_goes_wrong_behind_a_closed_window_is_told_all_the_same(self) -> None:
        self.trade("behind", "INJ/SNX")
        self.browser.log_in_as("trade")
        self.browser.see(".row", "INJ / SNX")
        no = {"code": "STORE_CORRUPT", "detail": "the ledger cannot be written"}
        self.stub({"method": "POST", "path": "/api/positions", "held": True, "status": 503, "body": no})
        self.browser.click(".row .actions button")
        self.browser.see(".costs", "By the depth of the book at")
        told = self.browser.witness(".toast", "store corrupt: the ledger cannot be written")
        self.browser.click("dialog .danger")
        self.browser.click("dialog .close")
        self.browser.script("window.release()")
        told()

    def test_a_slow_answer_does_not_make_old_prices_young(self) -> None:
        self.browser.log_in_as("read")
        self.browser.see("#tile-state", "Active")
        self.assertGreater(self.browser.awaited(A_SLOW_ANSWER), -500)

    def test_a_clock_that_is_wrong_ends_no_session_and_ages_no_price(self) -> None:
        self.trade("wrong clock", "BTC/ETH")
        self.before_the_page(THIRTEEN_HOURS_AHEAD)
        self.browser.log_in_as("trade")
        self.browser.see(".row:not([data-old])", "BTC / ETH")
        self.browser.gone("#ended")
        time.sleep(2)
        self.browser.see(".row:not([data-old])", "BTC / ETH")

    def test_an_account_that_was_read_long_ago_is_told_to_be_old(self) -> None:
        self.browser.log_in_as("read")
        self.browser.see("#tile-state", "Active")
        self.stub({"method": "GET", "path": "/api/portfolio", "held": True})
        until(lambda: self.browser.awaited(AN_OLD_ACCOUNT), "the account being called old")

    def test_what_was_scrolled_stays_where_it_is_when_prices_move(self) -> None:
        self.trade("scrolled", "SOL/AVAX")
        self.browser.resize(PHONE)
        self.addCleanup(self.browser.resize, WIDE)
        self.browser.log_in_as("read")
        self.browser.click(".row-toggle", "SOL / AVAX")
        self.browser.see(".detail-facts", "Naked at most")
        self.assertEqual([40, True], self.browser.awaited(SCROLLED))

    def test_an_endless_word_of_guardian_stays_a_word_within_the_window(self) -> None:
        self.service.agents.objection = "<img src=x>" + "W" * 3000
        self.addCleanup(setattr, self.service.agents, "objection", "")
        self.browser.resize(PHONE)
        self.addCleanup(self.browser.resize, WIDE)
        self.ticket()
        self.browser.click("#ticket-go", "Execute")
        self.browser.see("#ticket-answer", "<img src=x>WWW")
        self.assertEqual(0, self.browser.script(BEYOND))

    def test_a_close_in_slices_is_hurried_by_hand(self) -> None:
        position = self.trade("hurried", "STX/CFX")
        slices = {"execution": "twap", "twap": {"duration_seconds": 600, "slices": 4}}
        self.service.ask("POST", f"/api/positions/{position['position_id']}/close", slices)
        self.browser.log_in_as("trade")
        self.browser.see(".row", "closing 1 / 4")
        self.browser.click(".row .actions button", "Close")
        self.browser.see(".costs", "what is left of that goes at once")
        self.browser.click("dialog .danger")
        self.browser.gone(".row", "STX / CFX")
