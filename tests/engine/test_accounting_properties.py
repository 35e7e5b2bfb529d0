"""Properties of the accounting: parts of a payment, fills and tables of one position add up, whatever happened."""

import unittest

try:
    from hypothesis import given, settings
    from hypothesis import strategies as st
except ImportError as error:
    raise unittest.SkipTest("hypothesis is not installed: pip install -r requirements-dev.txt") from error

from datetime import timedelta
from decimal import Decimal

from tests.accounts import account_of
from tests.builders import T0, after, given_a_trade, given_order, given_watch
from trading.domain.accounts import FundingShare
from trading.domain.market import FundingPayment
from trading.domain.orders import OrderReport, OrderStatus
from trading.domain.positions import position_of
from trading.domain.trades import OrdersIntended, OrdersReported, Trade, record
from trading.domain.units import ZERO, Coin, PositionId, Price, Quantity, Usd
from trading.engine.accounting import moves_of
from trading.engine.holdings import fills_of, held_at, split

ETH = Coin("ETH")
HOUR = T0 + timedelta(hours=1)
amounts = st.decimals(min_value=-10_000, max_value=10_000, places=6)
quantities = st.decimals(min_value=Decimal("0.0001"), max_value=1000, places=4)
prices = st.decimals(min_value=Decimal("0.01"), max_value=200_000, places=10)
fees = st.decimals(min_value=0, max_value=50, places=6)


class SplitPropertyTest(unittest.TestCase):
    @settings(max_examples=200, deadline=None, derandomize=True)
    @given(amounts, st.lists(quantities, min_size=1, max_size=6))
    def test_the_parts_add_up_to_the_payment_and_none_is_off_by_more_than_rounding(
        self, amount: Decimal, held: list[Decimal]
    ) -> None:
        holdings = {PositionId(f"pos_{number}"): Quantity(one) for number, one in enumerate(held)}
        total = sum(held, ZERO)
        parts = split(FundingPayment(ETH, Usd(amount), Quantity(total), HOUR), holdings)
        self.assertEqual(amount, sum(parts.values(), ZERO))
        for holder, part in parts.items():
            self.assertLessEqual(abs(part - amount * holdings[holder] / total), Decimal("0.000001") * len(held))
            self.assertGreaterEqual(part * amount, 0)

    @settings(max_examples=100, deadline=None, derandomize=True)
    @given(amounts, quantities, quantities)
    def test_what_is_somebody_elses_is_never_taken(self, amount: Decimal, own: Decimal, abroad: Decimal) -> None:
        payment = FundingPayment(ETH, Usd(amount), Quantity(-(own + abroad)), HOUR)
        (part,) = split(payment, {PositionId("pos"): Quantity(own)}).values()
        self.assertLessEqual(abs(part - amount * own / (own + abroad)), Decimal("0.000002"))


@st.composite
def trades(draw: st.DrawFn) -> Trade:
    """An opening of many orders on its long leg, filled in one or two steps, some of them trims."""
    trade = given_a_trade()
    held = ZERO
    for attempt in range(1, draw(st.integers(1, 6)) + 1):
        reduces = held > 0 and draw(st.booleans())
        quantity = draw(quantities) if not reduces else held
        at = after(attempt * draw(st.sampled_from((1, 3600, 40_000))))
        at = max(at, trade.events[-1].at)
        leg = trade.terms.long
        order = given_order(
            trade.terms,
            leg,
            attempt=attempt,
            at=at,
            side=leg.side.opposite if reduces else leg.side,
            quantity=Quantity(quantity),
            reduce_only=reduces,
        )
        trade = record(trade, OrdersIntended(at, (order,)))
        part = draw(st.sampled_from((Decimal(0), Decimal("0.25"), Decimal("0.5"), Decimal(1)))) * quantity
        price = Price(draw(prices))
        ends = OrderStatus.FILLED if part == quantity else OrderStatus.PARTIALLY_FILLED if part else OrderStatus.ABSENT
        words = [OrderReport(order.client_order_id, ends, at, Quantity(part), price if part else None, Usd(draw(fees)))]
        if part and draw(st.booleans()):
            early = OrderReport(
                order.client_order_id, OrderStatus.ACCEPTED, at, Quantity(part / 2), Price(draw(prices))
            )
            words.insert(0, early)
        for word in words:
            trade = record(trade, OrdersReported(at, (word,)))
        held += -part if reduces else part
    return trade


class MovesPropertyTest(unittest.TestCase):
    @settings(max_examples=150, deadline=None, derandomize=True)
    @given(trades())
    def test_fills_fold_to_what_the_trade_says(self, trade: Trade) -> None:
        fills = fills_of(trade)
        self.assertEqual(trade.fees, sum((fill.fees for fill in fills), ZERO))
        self.assertEqual(trade.filled(ETH), held_at((trade,), ETH, after(10**6)))
        self.assertEqual(ZERO, held_at((trade,), ETH, T0))

    @settings(max_examples=150, deadline=None, derandomize=True)
    @given(trades(), st.lists(amounts, max_size=5), amounts, prices)
    def test_days_legs_and_position_tell_the_same_sum(
        self, trade: Trade, hours: list[Decimal], untold: Decimal, price: Decimal
    ) -> None:
        shares = [
            FundingShare(trade.terms.position_id, ETH, T0 + timedelta(hours=hour), Usd(amount))
            for hour, amount in enumerate(hours, start=1)
        ]
        funding = Usd(sum(hours, ZERO) + untold)
        position = position_of((trade,), given_watch(trade, funding_long=funding))
        moved = [move.money for move in moves_of(position, (trade,), shares)]
        self.assertLess(abs(position.realized - sum((one.realized for one in moved), ZERO)), Decimal("1e-12"))
        self.assertEqual(position.fees, sum((one.fees for one in moved), ZERO))
        self.assertEqual(position.funding, sum((one.funding for one in moved), ZERO))
        account = account_of(position, (trade,), {ETH: Price(price)})
        bought = sum((fill.notional * fill.side.sign for fill in fills_of(trade)), ZERO)
        made = position.long.held * price - bought - position.fees - funding
        assert account.pnl is not None
        self.assertLess(abs(made - account.pnl), Decimal("1e-9"))
