"""The pages in a real browser, before the whole service: a trader's day at the dashboard, what may go wrong in it, and
the page of the API. One class, so that one service and one browser do for all."""

import json

from django.core.signing import Signer

from tests.browser.chromium import PHONE, SECRET_KEY, TOKENS, WIDE, BrowserCase, until
from tests.browser.hand import held, suspend, trade_by_hand
from trading import schema
from trading.adapters.system import SystemClock
from trading.domain.orders import Side
from trading.events import STREAMS_MAX

FRAME_MS_MAX = 16
FIRST_PAINT_MS_MAX = 300
TRIES = 4
PAINTS_MAX = 20
# Of Chromium's own measure, in which 0.1 is still called good.
SHIFT_MAX = 0.01
TRANSFER_BYTES_MAX = 250_000
TRANSFERRED = "return performance.getEntriesByType('resource').reduce((sum, one) => sum + one.encodedBodySize, 0)"

OPERATIONS = sum(len(methods) for methods in json.loads(schema.document("json"))["paths"].values())

FITS = "return document.documentElement.scrollWidth === innerWidth"

# Of a pair that shares no coin with what the test has opened: which signal comes first is a matter of the minute.
TICKET = ".ticket-button[aria-label$='{}']"
FIRST_PAINT = "return performance.getEntriesByName('first-contentful-paint')[0].startTime"
# How much of the page has jumped, and how far, since it began to load, and what it was.
SHIFTS = """
return await new Promise((done) => {
  const jumps = [];
  const told = (one) => `${one.node?.nodeName}#${one.node?.id ?? ''}.${one.node?.className ?? ''} `
    + `${one.previousRect.top} -> ${one.currentRect.top}`;
  const add = (seen) => seen.getEntries().forEach((one) => {
    if (!one.hadRecentInput) jumps.push([one.value, one.sources.map(told)]);
  });
  new PerformanceObserver(add).observe({type: 'layout-shift', buffered: true});
  setTimeout(() => done(jumps), 300);
});
"""

# A hundred standing positions made of one, then a tick of all of them: how long its script took.
A_TICK_OF_A_HUNDRED = """
const { desk, tell } = await import('/static/desk/state.js');
const frame = () => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
const kept = desk.positions;
const one = [...kept.values()][0];
const many = new Map();
for (let n = 0; n < 100; n += 1) many.set(`made_${n}`, {...structuredClone(one), position_id: `made_${n}`});
desk.positions = many; tell('positions'); await frame();
const took = [];
for (let n = 0; n < arguments[0]; n += 1) {
  for (const p of many.values()) {
    p.pnl += 1.25; p.pnl_percent += 0.1; p.exit_return += 0.0003; p.current_spread *= 1.0001;
    p.marked_at = new Date().toISOString();
  }
  tell('marks'); await frame(); took.push(desk.frameMs);
}
desk.positions = kept; tell('positions'); await frame();
return took;
"""


THE_WAYS = """
const { distances, even, progress } = await import('/static/desk/exits.js');
const one = {
  size: 2000, exit_return: 0.006, stop_loss: 0.01, take_profit: 0.02, take_profit_usd: 30, stop_loss_usd: null,
  trailing_stop: {arm: 0.012, gap: 0.004}, high_water: null, window_expires_at: null, liquidation_distance: null,
  entry_spread: 9, current_spread: 8.5, take_profit_spread: 8, stop_loss_spread: 10,
  zscore: {entry: 1.2, current: 0.7, mean: Math.log(9.5) - 0.14, deviation: 0.2}, take_profit_z: 0.2, stop_loss_z: 6,
  pair: 'A/B', long: {coin: 'B'},
};
const armed = {...one, trailing_stop: {arm: 0.012, gap: 0.008}, high_water: 0.013};
const beyond = {...one, exit_return: 0.03, current_spread: 7.9, zscore: {...one.zscore, current: 6.5}};
const kept = distances({...one, stop_loss_spread: 8.8}).find(([name]) => name.startsWith('Stop spread'));
return {
  ways: distances(one), armed: distances(armed)[2], kept,
  reached: distances(beyond).filter(([, , left]) => left === 'reached').map(([name]) => name),
  zero: even(one), bar: [even(armed), progress(armed)],
};
"""

THE_NEAREST = """
const { reach } = await import('/static/desk/exits.js');
// 9.96 of B for an A now: at 9.94 a tenth of a percent less is left of the whole, at 10.1002 seven tenths more.
const plain = {
  pair: 'A/B', long: {coin: 'A'}, size: 2000, exit_return: -0.002, stop_loss: 0.05, take_profit: 0.1,
  trailing_stop: null, high_water: null, entry_spread: 9, current_spread: 8.96,
  zscore: {entry: -2, current: -2.5, mean: Math.log(9.96) + 0.01, deviation: 0.004},
};
const spread = {...plain, stop_loss_spread: 8.94, take_profit_spread: 9.1002};
const z = {...spread, stop_loss_z: 3, take_profit_z: 0.5};
const short = {...spread, long: {coin: 'B'}, stop_loss_spread: 9.1002, take_profit_spread: 8.94};
return Object.fromEntries(Object.entries({plain, spread, z, short, no_price: {...spread, exit_return: null}})
  .map(([name, one]) => [name, reach(one)]));
"""
# What the axis of a chart of some hours says, and of some months.
DRAWN = """
const { lineChart } = await import('/static/desk/chart.js');
const { fillText } = CanvasRenderingContext2D.prototype;
const begun = Date.UTC(2026, 0, 5, 11, 30) / 1000;
const told = [];
for (const span of [8 * 3600, 100 * 86400]) {
  const drawn = [];
  CanvasRenderingContext2D.prototype.fillText = function (text, ...at) {
    drawn.push(text);
    return fillText.call(this, text, ...at);
  };
  const place = document.createElement('div');
  place.style.width = '800px';
  document.body.append(place);
  const chart = await lineChart(place, {height: 200, told: String, label: 'drawn'});
  chart.show([begun, begun + span], [1, 2]);
  await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
  told.push(drawn.filter((text) => /[0-9][-:]/.test(text)));
  chart.end();
  place.remove();
}
CanvasRenderingContext2D.prototype.fillText = fillText;
return told;
"""

OF_NO_OTHER_TEST = ("INJ/SNX", "DOGE/RNDR", "AVAX/INJ", "RNDR/SNX", "SOL/DOGE", "ETH/INJ", "BTC/SNX", "BNB/RNDR")
ITS_ZSCORE = """
const { desk } = await import('/static/desk/state.js');
const { zscoreAt } = await import('/static/desk/exits.js');
const one = desk.positions.get(arguments[0]);
return {...one.zscore, drawn: zscoreAt(one.zscore, one.current_spread)};
"""

BEYOND_THE_TARGET = """
const { desk, tell } = await import('/static/desk/state.js');
for (const one of desk.positions.values()) one.exit_return = 0.6;
tell('marks');
await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
return document.querySelector('.row .exits-bar').getAttribute('aria-label');
"""
# With an account of long numbers: the texts that stand over each other, that are cut, or that leave their box.
CROWDED = """
const { desk, tell } = await import('/static/desk/state.js');
desk.portfolio = {
  ...desk.portfolio, equity: 109876.54, today_pnl: -2345.67, naked_exposure: 1501.25, daily_loss: 0.02089,
  naked_today: {max_usd: 1501.25, usd_seconds: 24913.4},
  limits: desk.portfolio.limits.map((one) => ({...one, actual: one.limit})),
};
tell('portfolio');
await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
const own = (one) => [...one.childNodes].some((child) => child.nodeType === 3 && child.textContent.trim());
const seen = (one) => one.checkVisibility() && own(one) && !one.closest('.unseen');
const cut = (one) => one.scrollWidth > one.clientWidth && getComputedStyle(one).textOverflow === 'ellipsis';
const boxes = (one) => {
  const all = document.createRange();
  all.selectNodeContents(one);
  return [...all.getClientRects()];
};
const apart = (a, b) =>
  a.right - 1 <= b.left || b.right - 1 <= a.left || a.bottom - 3 <= b.top || b.bottom - 3 <= a.top;
const told = [];
for (const box of document.querySelectorAll('.tile, .signal, .row, .parts')) {
  const { right } = box.getBoundingClientRect();
  const texts = [...box.querySelectorAll('*')].filter(seen);
  for (const [place, one] of texts.entries()) {
    if (cut(one)) told.push(`${one.innerText} is cut`);
    for (const rect of boxes(one)) {
      if (rect.right > right) told.push(`${one.innerText} leaves its box`);
      const under = texts.slice(place + 1).find((other) => boxes(other).some((another) => !apart(rect, another)));
      if (under) told.push(`${one.innerText} over ${under.innerText}`);
    }
  }
}
return told;
"""

# What is selected in a position's legs and costs once another mark has come, and whether that is shown.
SELECTED = """
const { desk, tell } = await import('/static/desk/state.js');
const mark = () => document.querySelector('.detail-facts tbody td:nth-of-type(3)').textContent;
const told = [];
const before = mark();
for (const css of ['.detail-facts tbody th', '.detail-facts dl div:nth-last-child(4) dt']) {
  getSelection().selectAllChildren(document.querySelector(css));
  for (const one of desk.positions.values()) one.long.mark_price *= 1.01;
  tell('marks');
  await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
  told.push(String(getSelection()).split(' ')[0]);
}
return [told, mark() !== before];
"""

# From here on the stream tells of a close before the close itself is answered; what the page says of it is kept.
A_SLOW_ANSWER = """
const { desk } = await import('/static/desk/state.js');
window.toasted = [];
const keep = (changes) => changes.forEach((one) => one.addedNodes.forEach((node) => toasted.push(node.textContent)));
new MutationObserver(keep).observe(document.getElementById('toasts'), {childList: true});
const asked = window.fetch;
window.fetch = async (path, how) => {
  const answer = await asked(path, how);
  const id = how?.method === 'POST' && path.split('/')[3];
  while (id && desk.positions.has(id)) await new Promise((done) => setTimeout(done, 20));
  return answer;
};
"""

TWENTY_AT_ONCE = """
const { toast } = await import('/static/desk/dom.js');
for (let n = 0; n < 20; n += 1) toast(`A position has closed, the ${n}th of many that leave at once.`);
const { left, top, width, height } = document.getElementById('stop').getBoundingClientRect();
const there = document.elementFromPoint(left + width / 2, top + height / 2);
return [there.innerText, document.querySelectorAll('.toast').length];
"""

AN_OLD_MARK = """
const { desk, now, tell } = await import('/static/desk/state.js');
for (const one of desk.positions.values()) one.marked_at = new Date(now() - 60000).toISOString();
tell('clock');
await new Promise((done) => requestAnimationFrame(done));
"""


def in_utc(iso: str) -> str:
    """An instant of the API, which is in UTC, as the page writes it."""
    return f"{iso[:10]} {iso[11:19]} UTC"


class PagesTest(BrowserCase):
    def setUp(self) -> None:
        self.browser.resize(WIDE)
        self.addCleanup(self.make_flat)

    def make_flat(self) -> None:
        for position in self.service.ask("GET", "/api/positions"):
            if position["status"] != "closed":
                self.service.ask("POST", f"/api/positions/{position['position_id']}/close", {})

    def trade(self, signal_id: str, pair: str, becomes: str = "open", **more: object) -> None:
        """Somebody else opens a trade, through the API; it does not leave by itself."""
        exits = {"take_profit": 0.5, "stop_loss": 0.3}
        body = {"signal_id": signal_id, "pair": pair, "position_size": 1000, **exits, **more}
        self.assertEqual(becomes, self.service.ask("POST", "/api/trades/execute", body).get("status"))

    def test_a_day_at_the_desk(self) -> None:
        see, click, kind = self.browser.see, self.browser.click, self.browser.type
        self.browser.driver.delete_all_cookies()
        self.browser.open()
        kind("#token", "x" * 43)
        click("button", "Log in")
        see("#token-error", "the token is not known")
        kind("#token", TOKENS["admin"])
        self.browser.errors()  # the refusal just seen is told there, too
        click("button", "Log in")
        see("#mode", "DEMO")
        see("#tile-state", "Active")
        see("#positions", "Nothing is open")
        click("#theme")
        see("[data-theme=dark] #theme")

        self.trade("a_day", "SOL/AVAX")
        see(".row", "SOL / AVAX")

        click(TICKET.format("BTC/ETH"))
        see(".verdict-line", "would execute")
        see(".headroom", "left of")
        kind("#ticket-exact", "60000")
        see(".reasons", "allocation exceeded")
        kind("#ticket-exact", "1500")
        kind("#ticket-stop_loss", "30")
        kind("#ticket-take_profit", "50")
        see(".verdict-line", "would execute")
        click("#ticket-go", "Execute $1,500")
        see(".dialog-body", "Guardian approved")
        click(".dialog-body button", "Done")
        until(lambda: len(self.browser.all(".row")) == 2, "the second row")

        click(".row-toggle", "SOL / AVAX")
        see(".chart canvas")
        see(".timeline", "trade filled")
        see(".quote", "Approved")
        kind(".exits-form [name=stop_loss]", "25")
        told = self.browser.witness(".toast", "stop 25.00 %")
        click(".exits-form button", "Change exits")
        told()
        see(".distances", "Stop loss \N{MINUS SIGN}25.00 %")
        kind(".exits-form [name=stop_loss]", "0.01")
        click(".exits-form button", "Change exits")
        see(".exits-form .problem", "stop_loss must be a number from 0.002")
        self.assertEqual(1, len([one for one in self.browser.errors() if "400" in one]))
        self.looks_well("desk")

        click(".row .actions button")
        see(".costs", "Cost of leaving now")
        click("dialog .danger")
        until(lambda: len(self.browser.all(".row")) == 1, "the closed row going away")

        click(".tabs a", "History")
        see("#view-history .closed", "manual")
        self.looks_well("history")
        click(".tabs a", "Log")
        see(".log", "closing")
        kind("#log-words", "nothing says this")
        see("#view-log", "Nothing fits")
        kind("#log-words", "FILLED")
        see(".log", "FILLED")
        self.looks_well("log")
        click(".tabs a", "Desk")

        trade_by_hand(self.service.data, "DOGE", Side.BUY, "500")
        self.learn_of_the_account()
        click("#stop")
        see("#stop-foreign", "Not the desk's: 500 DOGE")
        self.assertFalse(see("#stop-go").is_enabled())
        kind("#stop-word", "stop it")
        self.assertFalse(see("#stop-go").is_enabled())
        kind("#stop-word", "STOP")
        self.assertTrue(see("#stop-go", "Stop everything").is_enabled())
        click("#stop-account")
        self.assertFalse(see("#stop-go", "Stop and sell the whole account").is_enabled())
        kind("#stop-word", "STOP ACCOUNT")
        click("#stop-go")
        see("#stop-words")
        self.looks_well("the stop")
        see("dialog .big", "Flat. The desk is halted.")
        self.assertEqual({}, held(self.service.data))
        see("#positions", "Nothing is open")
        click("dialog .close")
        see("#tile-state", "Halted")
        click("#resume")
        see("#resume-why", "The desk is HALTED")
        click("#resume-go", "Resume trading")
        see("#tile-state", "Active")
        self.assertEqual([], self.browser.errors())

        click("#log-out")
        see("#log-in-form")
        self.assertEqual([], self.browser.all(".row"))

    def learn_of_the_account(self) -> None:
        """Now, and not at the page's next look in some seconds."""
        self.browser.awaited("await (await import('/static/desk/feed.js')).portfolio()")

    def looks_well(self, view: str) -> None:
        """By day on a wide screen and by night on a phone: nothing that keeps anybody out, nothing that sticks out."""
        for theme, size in (("light", WIDE), ("dark", PHONE)):
            self.browser.resize(size)
            self.browser.script("document.documentElement.dataset.theme = arguments[0]", theme)
            until(lambda: self.browser.script(FITS), f"{view} fitting {size}")
            self.assertEqual([], self.browser.ills(), f"{view}, {theme}, {size}")
            self.assertTrue(self.browser.see("#stop", "Emergency stop").is_enabled())
        self.browser.resize(WIDE)

    def test_a_token_for_reading_sees_everything_and_changes_nothing(self) -> None:
        self.trade("read_only", "LINK/ATOM")
        self.browser.log_in_as("read")
        self.browser.see(".row", "LINK / ATOM")
        self.browser.see("#who", "read only")
        self.assertFalse(self.browser.see("#stop").is_enabled())
        self.assertFalse(any(one.is_displayed() for one in self.browser.all(".row .actions button")))
        self.browser.click(".ticket-button", "Preview")
        self.browser.see("#ticket-go", "Read only")
        self.assertFalse(self.browser.see("#ticket-go").is_enabled())
        self.assertEqual([], self.browser.ills())

    def test_guardians_no_is_shown_with_its_reasons(self) -> None:
        self.service.agents.objection = "the spread is too thin"
        self.addCleanup(setattr, self.service.agents, "objection", "")
        self.browser.log_in_as("trade")
        self.browser.click(TICKET.format("XRP/BNB"), "Ticket")
        self.browser.see(".verdict-line", "would execute")
        self.browser.click("#ticket-go", "Execute")
        self.browser.see("#ticket-answer", "rejected")
        self.browser.see("#ticket-answer", "the spread is too thin")
        self.assertFalse(self.browser.see("#ticket-go").is_enabled())

    def test_a_holding_that_the_book_cannot_explain_is_accepted_by_hand_or_keeps_the_desk_from_opening(self) -> None:
        see, click = self.browser.see, self.browser.click
        self.trade("drifted", "SUI/APT")
        self.browser.log_in_as("admin")
        see(".row", "SUI / APT")
        (position,) = self.service.ask("GET", "/api/positions?status=open")
        coin = position["long"]["coin"]
        trade_by_hand(self.service.data, coin, Side.BUY, "25")
        self.addCleanup(trade_by_hand, self.service.data, coin, Side.SELL, "25")
        see("#tile-state", "Reducing")
        self.learn_of_the_account()
        click("#resume", "Resume trading")
        see("#resume-why", "The desk is REDUCING")
        click("#resume-go", "Resume trading")
        see("dialog .problem", f"drift in {coin}")
        see("#resume-holdings", f"{coin}: the venue holds")
        click(f"#resume-holdings [value={coin}]")
        self.assertFalse(see("#resume-go", "Accept 1 holding and resume").is_enabled())
        self.assertEqual([], self.browser.ills())
        self.browser.type("#resume-word", "ACCEPT")
        click("#resume-go")
        see("#tile-state", "Active")
        self.assertEqual({coin: 25.0}, self.service.ask("GET", "/api/portfolio")["accepted_drift"])

    def test_every_operation_of_the_api_is_shown_opens_and_can_be_tried_without_a_violation(self) -> None:
        self.browser.open("/api/docs")
        until(lambda: len(self.browser.all(".opblock")) == OPERATIONS, f"{OPERATIONS} operations being shown")
        self.browser.errors()
        self.browser.script("document.querySelector('.opblock-summary-path[data-path=\"/api/health\"]').click()")
        self.browser.click(".try-out__btn")
        self.browser.click(".execute")
        self.browser.see(".live-responses-table", "executor_agent")
        self.assertEqual([], self.browser.errors())

    def test_the_first_exit_by_z_score_brings_a_chart_of_it(self) -> None:
        see, click = self.browser.see, self.browser.click
        pair = self.pair_beyond_its_mean()
        self.trade("deviates", pair)
        self.browser.log_in_as("admin")
        click(".row-toggle", pair.replace("/", " / "))
        see(".chart canvas")
        self.assertEqual(2, len(self.browser.all(".detail .switch button")))
        click(".more summary")
        self.browser.type(".exits-form [name=stop_loss_z]", "20")
        click(".exits-form button", "Change exits")
        see(".distances", "Stop z 20.00")
        click(".detail .switch button", "Z-score")
        see(".detail .switch [aria-pressed=true]", "Z-score")
        see(f".chart[aria-label^='Z-score of {pair}'] canvas")
        see(".detail-chart", "as they were at entry")
        (position,) = self.service.ask("GET", "/api/positions?status=open")
        told = self.browser.awaited(ITS_ZSCORE, position["position_id"])
        self.assertAlmostEqual(told["entry"], position["zscore"]["entry"])
        self.assertAlmostEqual(told["drawn"], told["current"], delta=1e-6)
        self.assertEqual([], self.browser.ills())

    def pair_beyond_its_mean(self) -> str:
        """One whose z-score by the desk's own bars is on the side that its signal says, and half a deviation from the
        mean, which a target at the mean demands: nearer, the next price puts it on the other side."""
        beyond = {"stop_loss_z": 20, "take_profit_z": 0}
        for pair in OF_NO_OTHER_TEST:
            asked = {"signal_id": f"z of {pair}", "pair": pair, "position_size": 1000, **beyond}
            if self.service.ask("POST", "/api/trades/preview", asked).get("would_execute"):
                return pair
        raise AssertionError(f"none of {OF_NO_OTHER_TEST}")

    def test_where_no_stream_is_left_it_asks_now_and_then(self) -> None:
        self.browser.open("/login")
        self.take_every_stream()
        self.browser.log_in_as("read")
        self.browser.see(".parts", "polling")
        self.trade("polled", "CRV/LDO")
        self.browser.see(".row", "CRV / LDO")

    def take_every_stream(self) -> None:
        """Also those of pages that were left a moment ago, which the service has not missed yet."""
        taken = 0

        def take() -> bool:
            nonlocal taken
            while taken < STREAMS_MAX and self.enterContext(self.service.stream()) == 200:
                taken += 1
            return taken == STREAMS_MAX

        until(take, "every stream being taken")

    def test_rows_are_sorted_and_reached_by_keyboard(self) -> None:
        for signal_id, pair, size in (("small", "APE/FTM", 900), ("large", "STX/CFX", 2100)):
            self.trade(signal_id, pair, position_size=size)
        from selenium.webdriver import Keys

        self.browser.log_in_as("trade")
        until(lambda: len(self.browser.all(".row")) == 2, "two rows")
        for click, key, first in (
            ("Size", "descending", "STX"),
            ("Size", "ascending", "APE"),
            ("Pair", "ascending", "APE"),
        ):
            self.browser.click(".positions thead button", click)
            self.browser.see(f"th[aria-sort={key}]", click)
            self.browser.see(".row:first-child", first)
        self.browser.see(".row-toggle", "APE").send_keys(Keys.ARROW_DOWN)
        self.browser.see(".row-toggle:focus", "STX").send_keys(Keys.ENTER)
        self.browser.see("[aria-expanded=true]", "STX")
        self.browser.see(".distances", "Stop loss")
        self.assertEqual([["long", "Naked"], True], self.browser.awaited(SELECTED))
        self.browser.awaited(A_SLOW_ANSWER)
        self.browser.see("[aria-label='Close STX/CFX']").send_keys(Keys.ENTER)
        self.browser.see("dialog .danger").send_keys(Keys.ENTER)
        self.browser.gone("dialog")
        self.browser.see(".row-toggle:focus", "APE")
        (told,) = self.browser.script("return window.toasted")
        self.assertIn("STX/CFX has closed: manual", told)
        # The places of its header, where the stop is, are its own however many tell something at once.
        self.assertEqual(["Emergency stop", 4], self.browser.awaited(TWENTY_AT_ONCE))

    def test_the_rest_of_an_opening_is_cancelled_and_what_is_forbidden_says_so(self) -> None:
        slices = {"execution": "twap", "twap": {"duration_seconds": 600, "slices": 4}, "position_size": 4000}
        self.trade("sliced", "BTC/ETH", "opening", **slices)
        self.browser.log_in_as("trade")
        self.browser.see(".row", "opening 1 / 4")
        self.browser.click(".row-toggle", "BTC / ETH")
        self.browser.type(".exits-form [name=stop_loss]", "45")
        self.browser.click(".exits-form button", "Change exits")
        self.browser.see(".exits-form .problem", "admin")
        told = self.browser.witness(".toast", "what is filled stands")
        self.browser.click(".detail button", "Cancel the rest")
        told()
        self.browser.gone(".row", "opening")
        self.browser.see(".timeline", "trade canceled")

    def test_a_bar_to_an_exit_is_the_part_of_the_way_that_is_used_up(self) -> None:
        self.browser.open("/login")
        found = self.browser.awaited(THE_WAYS)
        told = {name: round(used, 6) for name, used, _ in found["ways"]}
        self.assertEqual(
            {
                "Stop loss \N{MINUS SIGN}1.00 %": 0,
                "Take profit 1.50 %": 0.4,  # 30 USD of 2000, which is nearer than 2 %
                "Trailing 0.40 % from 1.20 %": 0.5,
                "Target spread 8.00000": 0.5,
                "Stop spread 10.0000": 0,
                "Target z 0.20": 0.5,
                "Stop z 6.00": 0,
            },
            told,
        )
        reached = ["Take profit 1.50 %", "Target spread 8.00000", "Stop z 6.00"]
        self.assertEqual(reached, found["reached"])
        # A stop that keeps a profit lies on the other side of the entry.
        self.assertEqual(["Stop spread 8.80000", 0, "0.300000 away"], found["kept"])
        self.assertAlmostEqual(0.4, found["zero"])
        # What has armed it is gone: it leaves at 1.3 % less 0.8 % all the same, and nothing is lost by then.
        name, used, left = found["armed"]
        self.assertEqual(("Stop, trailing 0.50 %", 0.875, "0.10 % away"), (name, round(used, 6), left))
        self.assertEqual([0, 0.1], [round(one, 6) for one in found["bar"]])

    def test_the_bar_ends_at_the_nearest_exit_whatever_that_is_measured_in(self) -> None:
        self.browser.open("/login")
        found = self.browser.awaited(THE_NEAREST)
        for name, (stop, target) in {
            "plain": (0.05, 0.1),
            "spread": (0.003005, 0.004987),
            "z": (0.003, 0.002),
            # The same pair the other way round, with stop and target where the ratio rises and falls.
            "short": (0.008989, -0.000995),
            "no_price": (0.05, 0.1),
        }.items():
            self.assertAlmostEqual(stop, found[name]["stop"], 5, name)
            self.assertAlmostEqual(target, found[name]["target"], 5, name)

    def test_every_time_says_the_zone_that_the_days_and_the_files_are_in(self) -> None:
        driver = self.browser.driver
        driver.execute_cdp_cmd("Emulation.setTimezoneOverride", {"timezoneId": "Asia/Kolkata"})
        self.addCleanup(driver.execute_cdp_cmd, "Emulation.setTimezoneOverride", {"timezoneId": ""})
        self.trade("zoned", "BTC/SOL")
        (position,) = self.service.ask("GET", "/api/positions?status=open")
        self.browser.log_in_as("trade")
        self.browser.click(".row-toggle", "BTC / SOL")
        self.browser.see(".timeline", in_utc(position["entry_time"]))
        self.browser.click(".row .actions button")
        self.browser.see(".costs", " UTC. Both legs go together")
        self.browser.click("dialog .danger")
        self.browser.gone(".row", "BTC / SOL")
        self.browser.click(".tabs a", "History")
        closed = self.service.ask("GET", f"/api/positions/{position['position_id']}")
        self.browser.see("#view-history .closed", in_utc(closed["exit_time"]))
        self.browser.click(".tabs a", "Log")
        self.browser.see(".log", in_utc(self.service.ask("GET", "/api/agent/logs?limit=1")[0]["timestamp"]))
        day, year = self.browser.awaited(DRAWN)
        self.assertEqual(["12:00 UTC", "13:00", "14:00", "15:00", "16:00", "17:00", "18:00", "19:00"], day)
        self.assertEqual(["2026-02-01 UTC", "2026-03-01", "2026-04-01"], year)

    def test_an_opening_that_is_suspended_says_why_and_is_resumed_or_cancelled_on_the_page(self) -> None:
        see, click = self.browser.see, self.browser.click
        slices = {"execution": "twap", "twap": {"duration_seconds": 600, "slices": 4}, "position_size": 4000}
        self.trade("given_up", "LINK/ATOM", "opening", **slices)
        (position,) = self.service.ask("GET", "/api/positions?status=opening")
        suspend(self.service.data, position["trade_id"], "neither completed nor trimmed")
        self.addCleanup(self.resume)
        self.browser.log_in_as("trade")
        see(".row .status", "suspended")
        click(".row-toggle", "LINK / ATOM")
        see(".detail-story", "Suspended: neither completed nor trimmed")
        see(".detail-story button", "Cancel the rest")
        self.assertEqual(1, len(self.browser.all(".detail-story button")))
        self.browser.log_in_as("admin")
        see("#tile-state", "suspended trade")
        click(".row-toggle", "LINK / ATOM")
        click(".detail-story button", "Resume this opening")
        see(".timeline", "trade resumed")
        # Nothing more is bought while the desk is reducing, for this very trade.
        see(".timeline", "trade canceled")
        self.browser.gone(".row .status", "suspended")
        click("#resume")
        click("#resume-go", "Resume trading")
        see("#tile-state", "Active")

    def resume(self) -> None:
        """Whatever the test has come to: the desk opens again."""
        self.make_flat()
        until(lambda: self.service.ask("POST", "/api/resume", {}).get("trading_state") == "ACTIVE", "an active desk")

    def test_an_old_price_is_greyed_and_says_how_old_it_is(self) -> None:
        self.trade("stale", "BNB/ETH")
        self.browser.log_in_as("read")
        self.browser.see(".row", "BNB / ETH")
        self.browser.awaited(AN_OLD_MARK)
        self.browser.see(".row[data-old]", "price 1 min")
        self.assertRegex(self.browser.awaited(BEYOND_THE_TARGET), "^to the stop: [0-9.]+ %, to the target: reached$")
        self.assertEqual([], self.browser.ills())

    def test_no_text_is_cut_or_stands_over_another_whatever_the_width(self) -> None:
        self.trade("narrow", "DOGE/kPEPE")
        self.browser.log_in_as("admin")
        self.browser.see(".row", "DOGE / kPEPE")
        self.browser.see(".signal")
        self.browser.see("#tile-naked", "today")
        for width in (320, 360, 390, 430, 720, 1440):
            self.browser.resize((width, 800))
            self.assertEqual([], self.browser.awaited(CROWDED), width)

    def test_a_session_that_ends_leads_back_to_the_log_in_page(self) -> None:
        self.browser.log_in_as("trade")
        self.browser.see("#tile-state", "Active")
        self.browser.keep(self.ended_session())
        self.browser.see("#ended", "The session has ended")
        self.assertEqual([], self.browser.ills())

    def ended_session(self) -> str:
        """A cookie that was good until a moment ago, signed by the service's own key."""
        value = self.service.session("trade")
        signer = Signer(key=SECRET_KEY, salt="trading.sessions")
        content = signer.unsign_object(value)
        content["ends"] = int(SystemClock().now().timestamp()) - 1
        return signer.sign_object(content)

    def test_a_service_that_dies_and_comes_back_is_told_and_followed(self) -> None:
        self.trade("restart", "ARB/OP")
        self.browser.log_in_as("trade")
        self.browser.see(".row", "ARB / OP")
        with self.service.without_web():
            self.browser.see("#banner", "The service does not answer")
            self.assertEqual([], self.browser.ills())
        self.browser.gone("#banner", "The service does not answer")
        self.browser.see(".parts", "live")
        self.trade("after_the_restart", "DYDX/GMX")
        self.browser.see(".row", "DYDX / GMX")

    def test_it_is_fast_and_stands_still(self) -> None:
        self.trade("fast", "LTC/BCH")
        self.browser.log_in_as("read")
        paints, transfers = [], []
        jumps = dict[tuple[int, int], list[list[tuple[float, list[str]]]]]()
        for size in (WIDE, PHONE) * (TRIES // 2):
            self.browser.resize(size)
            self.browser.open()
            self.browser.see(".row", "LTC / BCH")
            self.browser.see(".signal")
            paints.append(self.browser.script(FIRST_PAINT))
            transfers.append(self.browser.script(TRANSFERRED))
            jumps.setdefault(size, []).append(self.browser.awaited(SHIFTS))
        # The page stands as still, and is as fast, as in its best try: a banner that says how late something is, and
        # all that slows one down besides the page, is the machine's other work.
        for size, tries in jumps.items():
            self.assertLess(min(sum(value for value, _ in seen) for seen in tries), SHIFT_MAX, (size, tries))
        while min(paints) >= FIRST_PAINT_MS_MAX and len(paints) < PAINTS_MAX:
            self.browser.open()
            self.browser.see(".signal")
            paints.append(self.browser.script(FIRST_PAINT))
        self.assertLess(min(paints), FIRST_PAINT_MS_MAX, paints)
        took = self.browser.awaited(A_TICK_OF_A_HUNDRED, TRIES * 2)
        self.assertLess(min(took), FRAME_MS_MAX, took)
        # Until it stands: what it polls afterwards is the more, the longer a slow machine looks at it.
        self.assertLess(min(transfers), TRANSFER_BYTES_MAX, transfers)
