"""Whatever the venue answers, the playbook keeps its promises: trades driven through random answers and times."""

import unittest
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal

try:
    from hypothesis import given, settings
    from hypothesis import strategies as st
except ImportError as missing:
    raise unittest.SkipTest("hypothesis is not installed; `pip install -r requirements-dev.txt` has it") from missing

from tests.builders import T0, given_a_closing_trade, given_instrument, given_quote, given_terms, price_of
from trading.domain.desk_state import TradingState
from trading.domain.market import Instrument
from trading.domain.orders import Order, OrderReport, OrderStatus, RejectReason
from trading.domain.trades import (
    CancelWanted,
    LegPlan,
    OrdersIntended,
    OrdersReported,
    PositionEffect,
    Slice,
    Terms,
    Trade,
    TradeAccepted,
    TradeStatus,
    TradeSuspended,
    accept,
    imbalance_of,
    record,
    replay,
)
from trading.domain.units import ZERO, Coin, Quantity, Usd
from trading.engine.playbook import (
    CLOSE_BANDS,
    COMPLETION_BANDS,
    RESIDUE_SHARE_MAX,
    Ask,
    Market,
    Note,
    Policy,
    Send,
    Wait,
    next_step,
)
from trading.utils.trade_calculator import slice_quantities, twap_due_times

STEPS_AT_ONE_INSTANT = 64
LOTS = {Coin("ETH"): Decimal("0.0001"), Coin("BTC"): Decimal("0.00001")}
INSTRUMENTS: dict[Coin, Instrument] = {coin: given_instrument(coin, str(lot)) for coin, lot in LOTS.items()}
MINIMUM = Decimal(10)

ANSWERS = st.one_of(
    st.just("full"),
    st.just("doubt"),
    st.just("absent"),
    st.sampled_from(list(RejectReason)),
    st.decimals("0.01", "0.99", places=2),
)


@dataclass(frozen=True)
class Tick:
    """One look at the trade: how long after the last one, where prices are, and how the orders are answered."""

    seconds: float
    eth: str
    btc: str
    state: TradingState
    answers: tuple[object, ...]


TICKS = st.lists(
    st.builds(
        Tick,
        seconds=st.sampled_from([0.0, 0.1, 1.0, 7.0, 36.0, 600.0]),
        eth=st.sampled_from(["4000", "3990", "4009", "3500", "4400"]),
        btc=st.sampled_from(["100000", "100100", "99000", "120000"]),
        state=st.sampled_from([TradingState.ACTIVE] * 6 + [TradingState.REDUCING]),
        answers=st.tuples(*[ANSWERS] * 8),
    ),
    min_size=1,
    max_size=14,
)


def sliced_terms(usd: int, slices: int) -> Terms:
    """As the desk plans it: lots, a schedule level after every slice, 36 seconds between slices."""
    terms = given_terms(size=str(usd))
    legs = []
    for leg in terms.legs:
        lot = LOTS[leg.coin]
        legs.append(replace(leg, quantity=Quantity(Decimal(usd) / 2 / price_of(leg.coin) // lot * lot)))
    least = [MINIMUM * Decimal("1.05") / price_of(leg.coin) for leg in legs]
    lots = [LOTS[leg.coin] for leg in legs]
    parts = slice_quantities(legs[0].quantity, legs[1].quantity, lots[0], lots[1], slices, least[0], least[1])
    interval = Decimal(36) if slices > 1 else ZERO
    dues = twap_due_times(T0, 36 * len(parts), len(parts)) if slices > 1 else (T0,)
    return replace(
        terms,
        long=legs[0],
        short=legs[1],
        slices=tuple(Slice(n, due, *part) for n, (due, part) in enumerate(zip(dues, parts, strict=True), start=1)),
        slice_interval_seconds=interval,
        gives_up_at=T0 + timedelta(seconds=36 * len(parts) * 2 if slices > 1 else 60),
    )


class Drive:
    """A trade before a venue that answers as it is told, with every promise checked at every step."""

    def __init__(self, case: unittest.TestCase, terms: Terms) -> None:
        self.case = case
        self.trade = accept(TradeAccepted(terms.accepted_at, terms))
        self.now: datetime = terms.accepted_at
        self.resting = 0

    def tick(self, tick: Tick, *, answers_end: bool = False) -> None:
        self.now += timedelta(seconds=tick.seconds)
        answers, policy = list(tick.answers), Policy(tick.state)
        for _ in range(STEPS_AT_ONE_INSTANT):
            market = self.market(tick)
            match next_step(self.trade, market, policy):
                case Ask(orders):
                    self.case.assertEqual(self.trade.in_doubt, orders)
                    if answers and answers[0] == "doubt" and not answers_end:
                        return
                    self.answer(orders, ["absent"] * len(orders))
                case Send(orders):
                    self.check(orders, market, policy)
                    self.trade = record(self.trade, OrdersIntended(self.now, orders))
                    self.answer(orders, [answers.pop(0) if answers else "full" for _ in orders])
                case Note(event):
                    self.trade = record(self.trade, event)
                case Wait():
                    return
        self.case.fail("the trade does not come to rest")

    def market(self, tick: Tick) -> Market:
        quotes = {Coin(c): given_quote(c, price, self.now) for c, price in (("ETH", tick.eth), ("BTC", tick.btc))}
        return Market(self.now, quotes, INSTRUMENTS, {}, self.outstanding())

    def outstanding(self) -> dict[Coin, Quantity]:
        return {}

    def answer(self, orders: tuple[Order, ...], answers: list[object]) -> None:
        reports = tuple(self.report(order, answer) for order, answer in zip(orders, answers, strict=True))
        self.trade = record(self.trade, OrdersReported(self.now, reports))

    def report(self, order: Order, answer: object) -> OrderReport:
        name, lot = order.client_order_id, LOTS[order.coin]
        if answer == "doubt":
            return OrderReport(name, OrderStatus.UNKNOWN, self.now)
        if answer == "absent":
            return OrderReport(name, OrderStatus.ABSENT, self.now)
        if isinstance(answer, RejectReason):
            return OrderReport(name, OrderStatus.REJECTED, self.now, reason=answer)
        share = Decimal(1) if answer == "full" else Decimal(str(answer))
        amount = Quantity(order.quantity * share // lot * lot)
        if not amount:
            return OrderReport(name, OrderStatus.REJECTED, self.now, reason=RejectReason.NO_MATCH)
        status = OrderStatus.FILLED if amount == order.quantity else OrderStatus.PARTIALLY_FILLED
        return OrderReport(name, status, self.now, amount, order.limit_price, Usd(ZERO))

    def check(self, orders: tuple[Order, ...], market: Market, policy: Policy) -> None:
        case, trade = self.case, self.trade
        case.assertFalse(trade.in_doubt, "sent while in doubt")
        case.assertTrue(orders)
        for order in orders:
            leg = next(one for one in trade.terms.legs if one.coin == order.coin)
            case.assertGreater(order.quantity, 0)
            case.assertEqual(0, order.quantity % LOTS[order.coin], "off the lot grid")
            self.check_limit(order, market)
            if order.reduce_only:
                self.check_reducing(order, leg)
            else:
                case.assertIs(TradingState.ACTIVE, policy.trading_state, "opened outside ACTIVE")
                case.assertIs(leg.side, order.side)
                case.assertLessEqual(trade.filled(leg.coin) + order.quantity, leg.quantity, "more than the plan")
        self.check_pace(orders)

    def check_limit(self, order: Order, market: Market) -> None:
        quote = market.quotes[order.coin]
        touch = quote.ask if order.side.sign > 0 else quote.bid
        band = CLOSE_BANDS[-1] if order.reduce_only else COMPLETION_BANDS[-1]
        if not order.reduce_only and self.trade.status is not TradeStatus.REPAIRING:
            band = self.trade.terms.slippage_max
        self.case.assertLessEqual((order.limit_price / touch - 1) * order.side.sign, band, "outside the band")

    def check_reducing(self, order: Order, leg: LegPlan) -> None:
        self.case.assertIs(leg.side.opposite, order.side)
        self.case.assertLessEqual(order.quantity, self.trade.filled(leg.coin), "trims more than was filled")

    def check_pace(self, orders: tuple[Order, ...]) -> None:
        terms, repairing = self.trade.terms, self.trade.status is TradeStatus.REPAIRING
        if repairing or not terms.slice_interval_seconds or not self.trade.orders:
            return
        since = (self.now - self.trade.orders[-1].intended_at).total_seconds()
        self.case.assertGreaterEqual(Decimal(str(since)), terms.slice_interval_seconds, "a burst")


class CloseDrive(Drive):
    """A closing trade; the venue holds what the ledger says is outstanding."""

    def outstanding(self) -> dict[Coin, Quantity]:
        return {leg.coin: Quantity(leg.quantity - self.trade.filled(leg.coin)) for leg in self.trade.terms.legs}

    def check_reducing(self, order: Order, leg: LegPlan) -> None:
        self.case.assertIs(leg.side, order.side)
        self.case.assertLessEqual(order.quantity, self.outstanding()[order.coin], "closes more than is held")

    def check_pace(self, orders: tuple[Order, ...]) -> None:
        self.case.assertTrue(all(order.reduce_only for order in orders), "a close that is not reduce-only")


class OpeningProperties(unittest.TestCase):
    @settings(max_examples=40, deadline=None, derandomize=True)
    @given(st.integers(25, 5000), st.integers(1, 6), TICKS)
    def test_no_answer_makes_an_opening_break_a_promise(self, usd: int, slices: int, ticks: list[Tick]) -> None:
        drive = Drive(self, sliced_terms(usd, slices))
        for tick in ticks:
            drive.tick(tick)
        self.assertEqual(drive.trade, replay(drive.trade.events))

    @settings(max_examples=40, deadline=None, derandomize=True)
    @given(st.integers(25, 5000), st.integers(1, 6), TICKS, st.booleans())
    def test_every_opening_ends_or_is_suspended_and_leaves_no_naked_leg(
        self, usd: int, slices: int, ticks: list[Tick], canceled: bool
    ) -> None:
        drive = Drive(self, sliced_terms(usd, slices))
        for tick in ticks:
            drive.tick(tick)
        if canceled and drive.trade.live:
            drive.trade = record(drive.trade, CancelWanted(drive.now, "on request"))
        calm = Tick(37.0, "4000", "100000", TradingState.ACTIVE, ())
        for _ in range(40):
            drive.tick(calm, answers_end=True)
        trade = drive.trade
        if any(isinstance(event, TradeSuspended) for event in trade.events):
            # It has said that it cannot be levelled; whoever cancels it has it closed.
            return
        self.assertFalse(trade.live, trade.status)
        notional = min(leg.notional for leg in trade.terms.legs)
        lot = max(LOTS[leg.coin] * leg.arrival_price for leg in trade.terms.legs)
        self.assertLessEqual(abs(imbalance_of(trade)), max(lot, RESIDUE_SHARE_MAX * notional) + lot)

    @settings(max_examples=50, deadline=None, derandomize=True)
    @given(st.integers(25, 20_000), st.integers(1, 20))
    def test_a_schedule_that_goes_well_adds_up_to_the_lot(self, usd: int, slices: int) -> None:
        drive = Drive(self, sliced_terms(usd, slices))
        calm = Tick(1.0, "4000", "100000", TradingState.ACTIVE, ())
        drive.tick(replace(calm, seconds=0.0))
        for _ in range(slices):
            drive.tick(replace(calm, seconds=36.0))
        trade = drive.trade
        self.assertIs(TradeStatus.FILLED, trade.status)
        for leg in trade.terms.legs:
            self.assertEqual(leg.quantity, trade.filled(leg.coin))
        self.assertEqual(len(trade.terms.slices) * 2, len(trade.orders))


class ClosingProperties(unittest.TestCase):
    @settings(max_examples=40, deadline=None, derandomize=True)
    @given(st.integers(25, 5000), TICKS)
    def test_a_close_stays_reduce_only_and_clamped_and_ends_flat(self, usd: int, ticks: list[Tick]) -> None:
        terms = sliced_terms(usd, 1)
        opened = _opened(terms)
        closing = given_a_closing_trade(opened, at=T0)
        self.assertIs(PositionEffect.CLOSE, closing.terms.effect)
        drive = CloseDrive(self, closing.terms)
        for tick in ticks:
            drive.tick(tick)
        for _ in range(3):
            drive.tick(Tick(16.0, "4000", "100000", TradingState.HALTED, ()), answers_end=True)
        self.assertIs(TradeStatus.FILLED, drive.trade.status)
        self.assertEqual([ZERO, ZERO], list(drive.outstanding().values()))
        self.assertEqual(drive.trade, replay(drive.trade.events))


def _opened(terms: Terms) -> Trade:
    drive = Drive(unittest.TestCase(), terms)
    drive.tick(Tick(0.0, "4000", "100000", TradingState.ACTIVE, ()))
    return drive.trade


if __name__ == "__main__":
    unittest.main()
