import unittest
from dataclasses import replace
from decimal import Decimal

from tests.engine.scripted_venue import a_scene
from tests.fakes import FakeApprover, FakeClock, FakeSignals
from trading.domain.errors import GuardianUnavailable, ScoutUnavailable, SignalNotFound
from trading.domain.market import Holding
from trading.domain.units import Coin, Price, Quantity, Usd
from trading.engine import working
from trading.engine.adoption import next_adoption
from trading.engine.connections import SCOUT_AGE_MAX, Connection, connections, prices_heard_at
from trading.engine.hearing import GUARDIAN, SCOUT, Heard, HeardApprover, HeardSignals, Hearing


class HearingTest(unittest.TestCase):
    def setUp(self) -> None:
        self.clock, self.hearing = FakeClock(), Hearing()
        self.scout = FakeSignals()
        self.heard = HeardSignals(self.scout, self.hearing, self.clock)

    def test_nothing_is_known_of_a_peer_that_was_never_asked(self) -> None:
        self.assertEqual(Heard(), self.hearing.of(SCOUT))

    def test_an_answer_is_dated(self) -> None:
        self.assertEqual((), self.heard.recent())
        self.assertEqual(Heard(at=self.clock.now()), self.hearing.of(SCOUT))

    def test_a_refusal_is_an_answer_too(self) -> None:
        with self.assertRaises(SignalNotFound):
            self.heard.signal("signal_9", None)
        self.assertEqual("", self.hearing.of(SCOUT).why)

    def test_a_failure_is_raised_again_and_keeps_when_the_last_answer_came(self) -> None:
        self.heard.recent()
        answered = self.clock.now()
        self.clock.advance(30)
        self.scout.failure = ScoutUnavailable("nobody there")
        with self.assertRaises(ScoutUnavailable):
            self.heard.recent()
        self.assertEqual(Heard(answered, self.clock.now(), "nobody there"), self.hearing.of(SCOUT))
        self.scout.failure = None
        self.heard.recent()
        self.assertEqual(Heard(at=self.clock.now()), self.hearing.of(SCOUT))

    def test_guardian_is_heard_when_it_is_told_an_outcome(self) -> None:
        guardian = FakeApprover(failure=GuardianUnavailable("asleep"))
        heard = HeardApprover(guardian, self.hearing, self.clock)
        with self.assertRaises(GuardianUnavailable):
            heard.report_outcome(None)  # type: ignore[arg-type]  # it fails before it looks
        self.assertEqual("asleep", self.hearing.of(GUARDIAN).why)


class ConnectionsTest(unittest.TestCase):
    def setUp(self) -> None:
        self.scene = a_scene(self)
        self.desk = replace(
            self.scene.desk,
            signals=HeardSignals(self.scene.signals, self.scene.desk.hearing, self.scene.clock),
            approvals=HeardApprover(self.scene.approver, self.scene.desk.hearing, self.scene.clock),
        )

    def told(self) -> dict[str, Connection]:
        return {one.name: one for one in connections(self.desk)}

    def test_a_desk_that_has_asked_nobody_knows_its_venue_only(self) -> None:
        told = self.told()
        self.assertEqual(
            {"Prices": "up", "Venue": "up", "Scout": "unknown", "Guardian": "unknown"},
            {name: one.status for name, one in told.items()},
        )
        self.assertEqual((self.scene.clock.now(), None), (told["Venue"].heard_at, told["Scout"].heard_at))

    def test_guardian_is_known_from_the_record_after_a_restart(self) -> None:
        self.scene.opened()
        answered = self.scene.clock.now()
        self.scene.clock.advance(600)
        told = self.told()["Guardian"]
        self.assertEqual(("up", answered), (told.status, told.heard_at))

    def test_scout_is_late_when_it_was_not_heard_for_long(self) -> None:
        self.desk.signals.recent()
        self.scene.clock.advance(SCOUT_AGE_MAX.total_seconds() + 1)
        self.assertEqual("late", self.told()["Scout"].status)

    def test_a_peer_that_failed_last_is_down_with_its_words(self) -> None:
        self.scene.signals.failure = ScoutUnavailable("no route")
        with self.assertRaises(ScoutUnavailable):
            self.desk.signals.recent()
        told = self.told()["Scout"]
        self.assertEqual(("down", "no route"), (told.status, told.words))

    def test_a_venue_that_cannot_be_read_is_down_and_so_are_its_prices(self) -> None:
        self.scene.venue.reads_down |= {"quotes", "account"}
        told = self.told()
        self.assertEqual(("down", "down"), (told["Venue"].status, told["Prices"].status))
        self.assertIn("account", told["Venue"].words)

    def test_a_coin_without_a_price_is_no_price(self) -> None:
        self.scene.venue.quotes_missing.add("BTC")
        self.assertEqual("down", self.told()["Prices"].status)

    def test_one_leg_without_a_price_is_no_price_however_fresh_the_other_is(self) -> None:
        self.scene.opened()
        self.assertEqual("up", self.told()["Prices"].status)
        self.scene.venue.quotes_missing.add("ETH")
        told = self.told()["Prices"]
        self.assertEqual(("down", None, "the venue has no price for ETH"), (told.status, told.heard_at, told.words))
        self.assertIsNone(prices_heard_at(self.desk))

    def test_the_dollars_beside_what_was_taken_over_need_no_price(self) -> None:
        desk, holding = self.desk, Holding(Coin("SOL"), Quantity(Decimal(3)), Price(Decimal(150)))
        with desk.store.exclusive() as book:
            terms = next_adoption(desk, book, holding, desk.venue.account())
            assert terms is not None
            working.adopt(desk, terms, holding.entry_price, Usd(Decimal(0)))
        self.assertEqual("up", self.told()["Prices"].status)
