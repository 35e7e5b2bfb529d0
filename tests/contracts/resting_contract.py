"""The numbered specification of what rests at a venue and of the fills it tells, for venues whose Traits say so."""

from datetime import datetime, timedelta
from decimal import Decimal

from tests.contracts.venue_contract import VenueContract
from trading.domain.orders import Side
from trading.domain.resting import (
    AccountFill,
    FillCause,
    RestingOrder,
    RestingReport,
    RestingStatus,
    TriggerKind,
    resting_order_id,
)
from trading.domain.units import Coin, PositionId, Price, Quantity
from trading.utils.trade_calculator import fit_price, marketable_limit

LIFE = timedelta(seconds=10)
LIMIT_BAND = Decimal("0.10")


class RestingContract(VenueContract):
    """Mix into a TestCase instead of VenueContract."""

    def a_resting_order(
        self, coin: Coin, quantity: Decimal, kind: TriggerKind = TriggerKind.STOP, distance: str = "0.2", **changes: str
    ) -> RestingOrder:
        """A SELL that guards a long of *quantity*: below the mark for a stop, above it for a take-profit."""
        self.orders_made += 1
        digits = self.venue.instruments()[coin].price_decimals_max
        mark = self.venue.quotes([coin])[coin].mark
        away = Decimal(distance) * (-1 if kind is TriggerKind.STOP else 1)
        trigger = Price(fit_price(mark * (1 + away), digits, up=kind is TriggerKind.TAKE_PROFIT))
        return RestingOrder(
            client_order_id=resting_order_id(PositionId(self.id()), coin, kind, self.orders_made),
            coin=coin,
            side=Side.SELL,
            quantity=Quantity(quantity),
            trigger_price=Price(Decimal(changes.get("trigger", trigger))),
            limit_price=marketable_limit(trigger, Side.SELL, LIMIT_BAND, digits),
            kind=kind,
        )

    def a_pair(self, coin: Coin, quantity: Decimal, distance: str = "0.2") -> tuple[RestingOrder, RestingOrder]:
        return (
            self.a_resting_order(coin, quantity, TriggerKind.STOP, distance),
            self.a_resting_order(coin, quantity, TriggerKind.TAKE_PROFIT, distance),
        )

    def placed(self, *orders: RestingOrder) -> tuple[RestingReport, ...]:
        reports = self.venue.place_resting(orders, self.clock.now() + LIFE)
        self.assertEqual([one.client_order_id for one in reports], [one.client_order_id for one in orders])
        return reports

    def listed(self) -> set[str]:
        return {str(one.client_order_id) for one in self.venue.resting()}

    def fills_since(self, since: datetime) -> tuple[AccountFill, ...]:
        return self.venue.account_fills(since)

    def test_v60_what_was_placed_is_listed_until_it_is_taken_back(self) -> None:
        orders = self.a_pair(self.major, self.holding(self.major, 5000).filled)
        self.assertEqual([one.status for one in self.placed(*orders)], [RestingStatus.RESTING] * 2)
        listed = {one.client_order_id: one for one in self.venue.resting()}
        for order in orders:
            row = listed[order.client_order_id]
            self.assertEqual((row.coin, row.side, row.quantity), (order.coin, order.side, order.quantity))
            self.assertEqual((row.trigger_price, row.limit_price), (order.trigger_price, order.limit_price))
        self.assertEqual(self.venue.cancel_resting(orders[:1]), {orders[0].client_order_id})
        self.assertEqual(self.listed(), {orders[1].client_order_id})

    def test_v61_taking_back_what_is_not_there_is_done(self) -> None:
        order = self.a_resting_order(self.major, self.holding(self.major).filled)
        self.assertEqual(self.venue.cancel_resting([order]), frozenset())
        self.placed(order)
        self.assertEqual(self.venue.cancel_resting([order]), {order.client_order_id})
        self.assertEqual(self.venue.cancel_resting([order]), frozenset())
        self.assertEqual(self.listed(), set())
        self.assertEqual(self.venue.cancel_resting([]), frozenset())

    def test_v62_an_id_rests_once(self) -> None:
        order = self.a_resting_order(self.major, self.holding(self.major).filled)
        self.placed(order)
        (again,) = self.placed(order)
        self.assertIsNot(again.status, RestingStatus.REJECTED)
        self.assertEqual(len(self.venue.resting()), 1)
        self.venue.cancel_resting([order])
        self.placed(order)
        self.assertEqual(self.listed(), set())

    def test_v63_a_malformed_order_takes_its_whole_group_with_it(self) -> None:
        quantity = self.holding(self.major, 5000).filled
        good = self.a_resting_order(self.major, quantity)
        lot = self.venue.instruments()[self.major].quantity_step
        for wrong in (
            self.a_resting_order(self.major, quantity + lot / 2),
            self.a_resting_order(self.major, quantity, trigger="1234.56789"),
        ):
            with self.subTest(wrong=wrong):
                reports = self.placed(good, wrong)
                self.assertEqual([one.status for one in reports], [RestingStatus.REJECTED] * 2)
                self.assertTrue(all(one.detail for one in reports))
        self.assertEqual(self.listed(), set())

    def test_v64_a_trigger_on_the_wrong_side_of_the_mark_is_refused(self) -> None:
        order = self.a_resting_order(self.major, self.holding(self.major).filled, distance="-0.2")
        self.assertIs(self.placed(order)[0].status, RestingStatus.REJECTED)
        self.assertEqual(self.listed(), set())

    def test_v65_what_guards_a_holding_ends_with_it(self) -> None:
        held = self.holding(self.major, 5000)
        self.placed(*self.a_pair(self.major, held.filled))
        self.sent(self.an_order(self.major, Side.SELL, quantity=held.filled, reduce_only=True))
        self.assertEqual(self.held(self.major), 0)
        self.assertEqual(self.listed(), set())

    def test_v66_the_mark_fires_it_and_the_fill_carries_its_id(self) -> None:
        held = self.holding(self.major, 5000)
        placed_at = self.clock.now()
        orders = self.a_pair(self.major, held.filled, "0.0005")
        self.placed(*orders)
        for _ in range(600):
            self.clock.advance(5)
            if self.held(self.major) == 0:
                break
        self.assertEqual(self.held(self.major), 0)
        (fill,) = {one.client_order_id: one for one in self.fills_since(placed_at) if one.side is Side.SELL}.values()
        self.assertIn(fill.client_order_id, {one.client_order_id for one in orders})
        self.assertIs(fill.cause, FillCause.ORDER)
        self.assertEqual(self.listed(), set())

    def test_v68_taking_back_tells_what_was_there_from_what_has_fired(self) -> None:
        """Somebody holds more of the coin, so that what has not fired stays."""
        held = self.holding(self.major, 5000)
        self.holding(self.major, 5000)
        near, far = self.a_pair(self.major, held.filled, "0.0005"), self.a_pair(self.major, held.filled)
        self.placed(*near, *far)
        for _ in range(600):
            self.clock.advance(5)
            if (left := self.listed() & {one.client_order_id for one in near}) != {one.client_order_id for one in near}:
                break
        there = self.venue.cancel_resting((*near, *far))
        self.assertEqual(there, left | {one.client_order_id for one in far})
        self.assertEqual(self.listed(), set())

    def test_v67_the_fills_tell_what_the_reports_told(self) -> None:
        since = self.clock.now()
        report = self.holding(self.major, 5000)
        own = [one for one in self.fills_since(since) if one.client_order_id == report.client_order_id]
        self.assertEqual(sum(one.quantity for one in own), report.filled)
        self.assertEqual(sum(one.fee for one in own), report.fees)
        self.assertEqual({(one.coin, one.side, one.cause) for one in own}, {(self.major, Side.BUY, FillCause.ORDER)})
        self.assertEqual(len({one.id for one in own}), len(own))
        self.clock.advance(60)
        self.assertEqual(self.fills_since(self.clock.now() - timedelta(seconds=30)), ())
