"""A trade's timeline: from the signal to the outcome, each entry at its own instant."""

import unittest
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

from tests.engine.bent_venue import a_bent_scene
from trading.adapters.account_file import AccountFile
from trading.domain.accounts import FundingShare
from trading.domain.errors import StoreCorrupt
from trading.domain.exit_plan import ExitReason
from trading.domain.units import Coin, Usd
from trading.engine import monitor, queries, working
from trading.engine.monitor import Watchman
from trading.engine.requests import Execution, TwapRequest


class TimelineTest(unittest.TestCase):
    def setUp(self) -> None:
        self.scene, self.venue = a_bent_scene(self)
        accounts = AccountFile(self.scene.store.data_dir)
        self.addCleanup(accounts.close)
        self.scene = replace(self.scene, desk=replace(self.scene.desk, accounts=accounts))
        self.position = self.scene.opened()
        self.accounts = accounts

    def words(self, trade_id: str | None = None) -> list[tuple[str, str]]:
        view = queries.trade(self.scene.desk, trade_id or self.position.trade_id)  # type: ignore[arg-type]
        instants = [one.at for one in view.timeline]
        self.assertEqual(sorted(instants), instants)
        return [(one.event, one.detail) for one in view.timeline]

    def test_it_begins_with_the_signal_the_approval_and_what_the_limits_measured(self) -> None:
        words = self.words()
        self.assertEqual(["SignalOffered", "Approved", "ChecksPassed"], [name for name, _ in words[:3]])
        self.assertEqual("signal_1: short_spread BTC/ETH, z 2.4, confidence 0.86", words[0][1])
        self.assertIn("within the rules", words[1][1])
        self.assertIn("max_positions 0 of 3", words[2][1])
        self.assertIn("max_leverage 1 of 3", words[2][1])

    def test_fills_have_their_price_and_fee(self) -> None:
        filled = [words for name, words in self.words() if name == "Filled"]
        self.assertEqual(
            ["buy 0.2500 ETH at 4000.4, fee 0.450045 USD", "sell 0.01000 BTC at 99990, fee 0.449955 USD"], filled
        )

    def test_it_goes_on_to_funding_exit_and_outcome(self) -> None:
        at = self.scene.clock.now() + timedelta(seconds=60)
        shares = [
            FundingShare(self.position.id, Coin("ETH"), at, Usd(Decimal("0.05"))),
            FundingShare(self.position.id, Coin("BTC"), at, Usd(Decimal("-0.02"))),
        ]
        self.accounts.keep_funding(shares)
        self.scene.clock.advance(120)
        closed = self.scene.close(self.position, ExitReason.TAKE_PROFIT)
        words = self.words()
        self.assertIn(("Funding", "paid 0.05 USD on ETH"), words)
        self.assertIn(("Funding", "received 0.02 USD on BTC"), words)
        self.assertEqual(["ExitBegun", "ExitEnded", "Outcome"], [name for name, _ in words[-3:]])
        self.assertIn(f"TAKE_PROFIT by trade {closed.closing_trade_id}", words[-3][1])
        self.assertIn("Guardian has not heard yet", words[-1][1])
        self.scene.clock.advance(3600)
        monitor.tick(Watchman(self.scene.desk), wait_seconds=5)
        self.assertIn("Guardian has heard", self.words()[-1][1])

    def test_the_closing_trade_tells_its_own_part(self) -> None:
        closed = self.scene.close(self.position)
        names = {name for name, _ in self.words(closed.closing_trade_id)}
        self.assertEqual({"TradeAccepted", "OrdersIntended", "OrdersReported", "Filled", "TradeFilled"}, names)

    def test_funding_that_cannot_be_read_is_left_out(self) -> None:
        class Broken(AccountFile):
            def funding(self, *_: object) -> tuple[FundingShare, ...]:
                raise StoreCorrupt("line 3")

        broken = Broken(self.scene.store.data_dir)
        self.scene = replace(self.scene, desk=replace(self.scene.desk, accounts=broken))
        self.assertIn("TradeFilled", dict(self.words()))

    def test_what_other_hands_took_and_what_somebody_asked_for_has_its_words(self) -> None:
        self.venue.hold("ETH", str(-self.venue.held("ETH")))
        self.scene.close(self.position)
        self.scene.ticks(8)
        closed = self.scene.position(self.position.id)
        gone = dict(self.words(closed.closing_trade_id))["HoldingGone"]
        self.assertIn("0.2500 ETH booked at 4000", gone)
        other = self.scene.opened("two", pair="SOL/AVAX", execution=Execution.TWAP, twap=TwapRequest(180, 5))
        trade = self.scene.trade(other.trade_id)
        working.want_cancel(self.scene.desk, trade, "enough of it")
        self.scene.ticks(2)
        words = dict(self.words(other.trade_id))
        self.assertEqual(("enough of it", "enough of it"), (words["CancelWanted"], words["TradeCanceled"]))

    def test_a_list_of_trades_has_the_journals_alone(self) -> None:
        (view,), _ = queries.trades(self.scene.desk, 10, None)
        self.assertEqual("TradeAccepted", view.timeline[0].event)
