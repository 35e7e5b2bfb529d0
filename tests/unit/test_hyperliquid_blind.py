"""The whole desk on the exchange simulator, which tells no price for longer than the last one is worth anything: what
needs no fresh price leaves by the exchange's own valuation of what is held."""

import io
from contextlib import redirect_stderr
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

from tests.builders import given_signal
from tests.engine.hands import join_all
from tests.engine.scripted_venue import a_request
from tests.fakes import FakeSignals
from tests.servers.hyperliquid.faults import INFO, Answer, Commit, Fault
from tests.unit.desks import a_desk
from tests.unit.hyperliquid_world import ETH, SOL, HyperliquidWorld
from trading.domain.errors import VenueUnavailable
from trading.domain.exit_plan import ExitReason
from trading.domain.market import Account, Quote
from trading.domain.positions import Position, PositionStatus
from trading.domain.units import Price
from trading.engine import closing, emergency, entry, exits, monitor
from trading.engine.monitor import Watchman
from trading.engine.requests import ExitChange
from trading.engine.valuing import distance_of


class BlindTest(HyperliquidWorld):
    """Long half an ETH and short 7.5 SOL from 3,000 and 200; ETH stands at 2,700 now and SOL at 180, and for 70 seconds
    nobody could read that."""

    def setUp(self) -> None:
        super().setUp()
        signals = FakeSignals()
        self.desk = a_desk(self, signals, stop_loss="0.4", take_profit="2")
        signals.offer(given_signal("one", "SOL/ETH", "2.4", created_at=self.clock.now()))
        self.id_of = entry.execute(self.desk, a_request("one", "3000"), None).position.position_id
        self.assertEqual((self.held(ETH), self.held(SOL)), (Decimal("0.5"), Decimal("-7.5")))
        for question in ("l2Book", "metaAndAssetCtxs"):
            self.server.faults.add(Fault(INFO, Answer.BAD_GATEWAY, Commit.NEVER, question, None))
        self.exchange.set_market(ETH, "2700")
        self.exchange.set_market(SOL, "180")
        self.clock.advance(70)
        with self.assertRaises(VenueUnavailable):
            self.venue.quotes((ETH, SOL))

    @property
    def position(self) -> Position:
        return self.desk.store.book().position(self.id_of)

    def look(self, watchman: Watchman) -> None:
        self.clock.advance(1)
        monitor.tick(watchman)
        join_all(watchman)

    def assert_left(self, reason: ExitReason) -> None:
        self.assertEqual((self.held(ETH), self.held(SOL)), (0, 0))
        self.assertEqual((self.position.status, self.position.exit_reason), (PositionStatus.CLOSED, reason))

    def test_a_manual_close_goes_out(self) -> None:
        closing.close(self.desk, self.id_of, ExitReason.MANUAL)
        self.assert_left(ExitReason.MANUAL)

    def test_a_time_limit_goes_out_and_an_exit_by_price_does_not(self) -> None:
        """SOL's fall and ETH's cancel each other out, but for the costs, which are beyond a stop of 0.2 %."""
        watchman = Watchman(self.desk)
        exits.change_exits(self.desk, self.id_of, ExitChange(stop_loss=Decimal("0.002")), admin=True)
        self.exchange.set_market(ETH, "2600")
        self.look(watchman)
        self.look(watchman)
        self.assertEqual(self.position.status, PositionStatus.OPEN)
        exits.change_exits(self.desk, self.id_of, ExitChange(max_holding_seconds=1), admin=True)
        self.look(watchman)
        self.assert_left(ExitReason.TIME_LIMIT)

    def test_an_emergency_stop_of_a_process_that_has_seen_no_price_goes_out(self) -> None:
        emergency.stop(replace(self.desk, venue=self.opened()))
        self.assert_left(ExitReason.EMERGENCY_STOP)

    def test_and_one_without_a_ledger(self) -> None:
        (self.desk.config.data_dir / "desk.json").write_bytes(b"damaged")
        with redirect_stderr(io.StringIO()):
            emergency.stop(self.desk)
        self.assertEqual((self.held(ETH), self.held(SOL)), (0, 0))

    def test_how_near_liquidation_is_is_told_by_the_later_mark(self) -> None:
        account = self.liquidated_at(Price(Decimal(190)))
        hundred = Price(Decimal(100))
        old = Quote(SOL, hundred, hundred, hundred, account.taken_at - timedelta(seconds=60))
        for name, quotes, distance in (
            ("no price", {}, Decimal(10) / 180),
            ("a price of before", {SOL: old}, Decimal(10) / 180),
            ("a price of later", {SOL: replace(old, taken_at=account.taken_at)}, Decimal("0.9")),
        ):
            with self.subTest(name):
                self.assertEqual(distance_of(self.position, account, quotes), distance)

    def liquidated_at(self, price: Price) -> Account:
        """The account as it is read now, but that the short would be liquidated at *price* and the long never."""
        account = self.venue.account()
        holdings = {
            ETH: replace(account.holdings[ETH], liquidation_price=None),
            SOL: replace(account.holdings[SOL], liquidation_price=price),
        }
        return replace(account, holdings=holdings)

    def test_a_coin_that_does_not_trade_is_not_tried(self) -> None:
        account, listed = self.venue.account(), self.venue.instruments()
        self.assertEqual({coin: one.mid for coin, one in account.valuations(listed).items()}, {ETH: 2700, SOL: 180})
        gone = {ETH: replace(listed[ETH], delisted=True)}
        self.assertEqual(account.valuations(gone), {})
