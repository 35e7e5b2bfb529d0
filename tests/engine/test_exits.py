import unittest
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from functools import partial

from tests.builders import given_exit_plan, given_trailing, given_watch
from tests.engine.bent_venue import BentVenue, a_bent_scene, corrupt, with_store
from tests.engine.scripted_venue import Scene, lost_before, partly
from trading.domain.errors import InvalidRequest, PositionNotFound
from trading.domain.exit_plan import ExitPlan, ExitReason
from trading.domain.market import Account, Depth, Holding, Level, Quote
from trading.domain.positions import Position, PositionStatus, Watch
from trading.domain.units import Coin, PositionId, Price, Quantity, Ratio, Usd
from trading.engine import closing, exits, queries
from trading.engine.exits import LooseningNeedsAdmin, Memory
from trading.engine.requests import Execution, ExitChange, TwapRequest
from trading.engine.valuing import publish_marks

ETH, BTC = Coin("ETH"), Coin("BTC")
Told = list[tuple[PositionId, ExitReason]]


def marked(price: str) -> Callable[[Quote], Quote]:
    """ETH's mark is *price*, whatever its book says."""
    return lambda one: replace(one, mark=Price(Decimal(price))) if one.coin == ETH else one


def liquidated_at(price: str, leg: Coin = ETH) -> Callable[[Account], Account]:
    """The venue says that it would take *leg* at *price*."""

    def bend(account: Account) -> Account:
        held = {
            coin: replace(one, liquidation_price=Price(Decimal(price))) if coin == leg else one
            for coin, one in account.holdings.items()
        }
        return replace(account, holdings=held)

    return bend


def unmarked(coin: Coin, one: Quote) -> Quote:
    """The mark of *coin* is no number."""
    return replace(one, mark=Price(Decimal("NaN"))) if one.coin == coin else one


def one_sided(empty: str, one: Depth) -> Depth:
    """Nobody is there on one side of ETH and of BTC."""
    if one.coin not in (ETH, BTC):
        return one
    return replace(one, bids=()) if empty == "bids" else replace(one, asks=())


class ExitsTestCase(unittest.TestCase):
    """One position: long 0.25 ETH at 4,000, short 0.01 BTC at 100,000. A fall of ETH by 2 % costs 1 % of gross."""

    def setUp(self) -> None:
        self.scene, self.venue = a_bent_scene(self, **self.configured())
        self.memory = Memory()

    def configured(self) -> dict[str, object]:
        return {}

    def swept(self, seconds: float = 1.0) -> list[ExitReason]:
        """Let time pass, sweep, and say which reasons to leave were given."""
        self.scene.clock.advance(seconds)
        told: Told = []
        if self.scene.desk.store.book().standing_positions() and "account" not in self.venue.reads_down:
            self.memory.account = self.venue.account()
        exits.sweep(self.scene.desk, self.memory, lambda position_id, reason: told.append((position_id, reason)))
        return [reason for _, reason in told]

    def planned(self, position: Position, plan: ExitPlan) -> None:
        """Give *position* another plan, without a look at what was approved."""
        watch = self.scene.store.book().watch(position.id) or Watch(position.id, plan)
        self.scene.store.save_watch(replace(watch, exit_plan=plan))

    def log(self, word: str) -> int:
        return sum(word in message for message in self.scene.log.messages())


class BarrierTest(ExitsTestCase):
    def test_nothing_is_left_while_nothing_is_breached(self) -> None:
        self.scene.opened()
        self.assertEqual([], self.swept())

    def test_without_positions_nothing_is_read(self) -> None:
        self.assertEqual([], self.swept())
        self.assertEqual([], self.venue.calls)

    def test_each_barrier_by_price(self) -> None:
        for name, price, reason in (
            ("loss below the stop", "3910", ExitReason.STOP_LOSS),
            ("loss short of the stop", "3970", None),
            ("profit at the target", "4119", ExitReason.TAKE_PROFIT),
            ("profit short of it", "4050", None),
        ):
            with self.subTest(name):
                scene, venue = a_bent_scene(self)
                self.scene, self.venue, self.memory = scene, venue, Memory()
                plan = given_exit_plan(take_profit=Ratio(Decimal("0.0135")))
                self.planned(scene.opened(), plan)
                self.swept()
                venue.move("ETH", price)
                self.assertEqual([] if reason is None else [reason], self.swept())

    def test_a_barrier_is_breached_when_touched_to_the_last_digit(self) -> None:
        position = self.scene.opened()
        self.scene.clock.advance(1)
        ((_, mark),) = publish_marks(self.scene.desk, None)
        assert mark.exit_return is not None
        self.planned(position, given_exit_plan(stop_loss=Ratio(-mark.exit_return)))
        self.assertEqual([], self.swept(), "the venue's mark knows of no spread")
        self.assertEqual([ExitReason.STOP_LOSS], self.swept())
        self.venue.move("ETH", "4070")
        ((_, mark),) = publish_marks(self.scene.desk, None)
        assert mark.exit_return is not None
        self.planned(position, given_exit_plan(take_profit=Ratio(mark.exit_return)))
        self.assertEqual([ExitReason.TAKE_PROFIT], self.swept())

    def test_an_opening_whose_time_is_up_buys_nothing_any_more(self) -> None:
        """It was let alone while it held nothing, bought after its time, and paid for the way out at once."""
        self.venue.shares = {"ETH": Decimal(0), "BTC": Decimal(0)}
        position = self.scene.opened(twap=TwapRequest(600, 10), max_holding_seconds=90)
        self.assertEqual([], self.swept(60))
        self.assertEqual([ExitReason.TIME_LIMIT], self.swept(31))
        self.venue.shares = {}
        sent = len(self.venue.sent)
        closed = self.scene.close(position, ExitReason.TIME_LIMIT)
        self.scene.ticks(10, 60)
        self.assertEqual((PositionStatus.CLOSED, ExitReason.NOT_FILLED), (closed.status, closed.exit_reason))
        self.assertEqual(sent, len(self.venue.sent))

    def test_a_trailing_stop_leaves_below_its_highest(self) -> None:
        position = self.scene.opened()
        self.planned(position, given_exit_plan(trailing=given_trailing("0.006", "0.004")))
        for price in ("4040", "4070"):
            self.venue.move("ETH", price)
            self.assertEqual([], self.swept())
        # Whoever looks sees what it goes by, and that it stays armed when that is gone.
        highest = queries.position(self.scene.desk, position.id).high_water
        assert highest is not None
        self.assertGreater(highest, Decimal("0.006"))
        self.venue.move("ETH", "4035")
        self.assertEqual([ExitReason.TRAILING_STOP], self.swept())
        self.assertEqual(0, self.log("are back"), "they have never been away")

    def test_a_trailing_stop_that_was_never_armed_does_not_trail(self) -> None:
        position = self.scene.opened()
        self.planned(position, given_exit_plan(trailing=given_trailing("0.006", "0.004")))
        for price in ("4015", "3985"):
            self.venue.move("ETH", price)
            self.assertEqual([], self.swept())

    def test_several_breaches_have_one_order(self) -> None:
        """Liquidation, stop, trailing, take profit, time: the first that holds is the reason."""
        trailing = given_trailing("0.001", "0.0005")
        rows = (
            ("liquidation before all", "3910", "3800", 1, "0.01", ExitReason.LIQUIDATION),
            ("stop before trailing and time", "3910", None, 1, "0.01", ExitReason.STOP_LOSS),
            ("trailing before profit and time", "4030", None, 1, "0.001", ExitReason.TRAILING_STOP),
            ("profit before time", "4119", None, 1, "0.01", ExitReason.TAKE_PROFIT),
            ("time last", "4000", None, 1, "0.01", ExitReason.TIME_LIMIT),
        )
        for name, price, liquidation, holding, profit, reason in rows:
            with self.subTest(name):
                self.scene, self.venue = a_bent_scene(self)
                self.memory = Memory()
                position = self.scene.opened()
                high = Ratio(Decimal("0.02")) if reason in (ExitReason.STOP_LOSS, ExitReason.TRAILING_STOP) else None
                plan = given_exit_plan(
                    take_profit=Ratio(Decimal(profit)), trailing=trailing, max_holding_seconds=holding
                )
                self.scene.store.save_watch(Watch(position.id, plan, high_water=high))
                self.venue.move("ETH", price)
                if liquidation is not None:
                    self.venue.bend_account = liquidated_at(liquidation)
                self.assertEqual([reason], self.swept())

    def test_time_is_up_without_any_price(self) -> None:
        position = self.scene.opened()
        self.planned(position, given_exit_plan(max_holding_seconds=60))
        self.venue.reads_down = {"quotes", "depths", "account"}
        self.assertEqual([], self.swept(59))
        self.assertEqual([ExitReason.TIME_LIMIT], self.swept(1))

    def test_the_time_limit_does_not_wait_for_a_clock_that_was_set_back(self) -> None:
        for name, plan in (
            ("told at a glance", given_exit_plan()),
            ("or not", given_exit_plan(trailing=given_trailing())),
        ):
            with self.subTest(name):
                self.scene, self.venue = a_bent_scene(self)
                self.memory = Memory()
                self.planned(self.scene.opened(), replace(plan, max_holding_seconds=60))
                self.assertEqual([], self.swept(30))
                self.scene.opened("signal_2", pair="SOL/AVAX")
                self.scene.clock.instant -= timedelta(hours=1)
                self.assertEqual([], self.swept(29))
                self.assertEqual([ExitReason.TIME_LIMIT], self.swept(1))

    def test_nor_where_it_was_set_back_before_the_first_look(self) -> None:
        """To before the entry: nothing is known of how long it has been held, and no less than nothing."""
        self.planned(self.scene.opened(), given_exit_plan(max_holding_seconds=60))
        self.scene.clock.instant -= timedelta(hours=1)
        self.assertEqual([], self.swept(1))
        self.assertEqual([], self.swept(59))
        self.assertEqual([ExitReason.TIME_LIMIT], self.swept(1))

    def test_nor_for_a_machine_that_slept(self) -> None:
        """The clock that nobody sets stands still meanwhile."""
        self.planned(self.scene.opened(), given_exit_plan(max_holding_seconds=60))
        self.assertEqual([], self.swept(1))
        self.scene.clock.instant += timedelta(seconds=58)
        self.assertEqual([ExitReason.TIME_LIMIT], self.swept(1))

    def test_the_window_that_was_asked_for_is_the_time_limit(self) -> None:
        self.scene.opened(time_window="1min")
        self.assertEqual([], self.swept(58))
        self.assertEqual([ExitReason.TIME_LIMIT], self.swept(2))

    def test_liquidation_needs_no_usable_price(self) -> None:
        self.scene.opened()
        self.venue.bend_quote = lambda quote: replace(quote, bid=Price(Decimal(0)))
        self.venue.bend_account = liquidated_at("3700")
        self.assertEqual([ExitReason.LIQUIDATION], self.swept())

    def test_the_liquidation_of_either_leg_counts(self) -> None:
        self.scene.opened()
        for leg, far, near in ((ETH, "3599", "3600"), (BTC, "110001", "110000")):
            with self.subTest(leg):
                for price, reasons in ((far, []), (near, [ExitReason.LIQUIDATION])):
                    # Who has been warned of is looked at closely anyway.
                    self.memory = Memory()
                    self.venue.bend_account = liquidated_at(price, leg)
                    self.assertEqual(reasons, self.swept())

    def test_an_account_of_more_than_ten_seconds_ago_tells_of_no_liquidation(self) -> None:
        self.scene.opened()
        self.venue.bend_account = liquidated_at("3700")
        self.memory.account = self.venue.account()
        self.venue.reads_down = {"account"}
        self.scene.clock.advance(10)
        for seconds, expected in ((0.0, [ExitReason.LIQUIDATION]), (0.1, [])):
            with self.subTest(seconds=seconds):
                self.assertEqual(expected, self.swept(seconds))

    def test_maintenance_margin_beyond_half_of_equity_is_liquidation(self) -> None:
        self.scene.opened()
        for share, expected in (("0.5", []), ("0.51", [ExitReason.LIQUIDATION])):
            with self.subTest(share):
                self.strain(share)
                self.assertEqual([], self.swept())
                self.assertEqual(expected, self.swept(2))

    def test_a_strain_of_one_reading_is_no_liquidation(self) -> None:
        """The money of a unified account is read apart from its margin: one answer without it closed everything."""
        self.scene.opened()
        for _ in range(2):
            self.strain("0.51")
            self.assertEqual([], self.swept())
            self.assertEqual([], self.swept(1))
            self.venue.reads_down.add("account")
            self.assertEqual([], self.swept(3), "the same reading once more")
            self.venue.reads_down.clear()
            self.strain("0.4")
            self.assertEqual([], self.swept())

    def strain(self, share: str) -> None:
        """The account's maintenance margin is *share* of its equity."""
        self.venue.bend_account = lambda account: replace(
            account, equity=Usd(Decimal(1000)), maintenance_margin=Usd(Decimal(share) * 1000)
        )

    def test_an_account_that_suddenly_reads_empty_is_no_liquidation(self) -> None:
        self.scene.opened()
        self.venue.bend_account = lambda account: replace(
            account, equity=Usd(Decimal(0)), maintenance_margin=Usd(Decimal(0)), holdings={}
        )
        self.assertEqual([], self.swept())

    def test_an_account_of_before_the_pair_was_turned_round_is_no_liquidation(self) -> None:
        """It held the same coins the other way, whose liquidation lies behind the present price: a second later the
        new position would be closed for it."""
        self.scene.opened()
        self.venue.bend_account = lambda account: replace(
            account,
            holdings={
                coin: replace(one, quantity=Quantity(-one.quantity), liquidation_price=Price(one.entry_price * 2))
                for coin, one in account.holdings.items()
            },
        )
        self.assertEqual([], self.swept())
        self.assertEqual(0, self.log("comes near its liquidation"))

    def test_liquidation_is_warned_of_once_on_the_way(self) -> None:
        self.scene.opened()
        for price, lines in (("3000", 0), ("3300", 1), ("3300", 1), ("3000", 1), ("3300", 2)):
            self.venue.bend_account = liquidated_at(price)
            self.assertEqual([], self.swept())
            self.assertEqual(lines, self.log("comes near its liquidation"))

    def test_of_a_strained_margin_it_is_warned_of_too(self) -> None:
        self.scene.opened()
        for share, lines in (("0.3", 0), ("0.31", 1), ("0.31", 1)):
            self.strain(share)
            self.assertEqual([], self.swept())
            self.assertEqual(lines, self.log("comes near its liquidation"))


class BadPriceTest(ExitsTestCase):
    def test_a_price_that_is_none_is_never_an_exit_and_said_once(self) -> None:
        bends: tuple[tuple[str, Callable[[Quote], Quote]], ...] = (
            ("zero bid", lambda one: replace(one, bid=Price(Decimal(0)))),
            ("NaN ask", lambda one: replace(one, ask=Price(Decimal("NaN")))),
            ("infinite ask", lambda one: replace(one, ask=Price(Decimal("Infinity")))),
            ("NaN mark", lambda one: replace(one, mark=Price(Decimal("NaN")))),
            ("negative mark", lambda one: replace(one, mark=Price(Decimal(-1)))),
            ("crossed", lambda one: replace(one, bid=Price(one.ask + 1))),
        )
        for name, bend in bends:
            with self.subTest(name):
                self.scene, self.venue = a_bent_scene(self)
                self.memory = Memory()
                self.scene.opened()
                self.venue.move("ETH", "3910")
                self.venue.bend_quote = bend
                self.venue.bend_account = liquidated_at("1000")
                for _ in range(4):
                    self.assertEqual([], self.swept())
                self.assertEqual(1, self.log("no usable price"))
                self.venue.straighten()
                self.assertEqual([ExitReason.STOP_LOSS], self.swept())
                self.assertEqual(1, self.log("are back"))

    def test_a_missing_or_old_price_is_never_an_exit(self) -> None:
        self.scene.opened()
        self.venue.move("ETH", "3910")
        for name, missing, age, expected in (
            ("missing", {"ETH"}, 0.0, []),
            ("older than five seconds", set[str](), 5.1, []),
            ("five seconds old", set[str](), 5.0, [ExitReason.STOP_LOSS]),
        ):
            with self.subTest(name):
                self.venue.quotes_missing, self.venue.quotes_age = missing, {"ETH": age}
                self.assertEqual(expected, self.swept())

    def test_one_position_without_a_price_does_not_keep_another_from_its_exit(self) -> None:
        for coin in (ETH, BTC):
            with self.subTest(coin):
                self.scene, self.venue = a_bent_scene(self)
                self.memory = Memory()
                self.scene.opened()
                self.scene.opened("signal_2", pair="SOL/AVAX")
                self.venue.bend_quote = partial(unmarked, coin)
                self.venue.bend_account = liquidated_at("100")
                self.swept()
                self.venue.move("AVAX", "24.4")
                self.assertEqual([ExitReason.STOP_LOSS], self.swept())

    def test_nor_does_one_of_whose_book_one_side_is_empty(self) -> None:
        self.scene.opened()
        self.scene.opened("signal_2", pair="SOL/AVAX")
        for side in ("bids", "asks"):
            with self.subTest(side):
                self.venue.bend_depth = partial(one_sided, side)
                self.assertEqual([], self.swept())
        self.venue.move("AVAX", "24.4")
        self.assertEqual([ExitReason.STOP_LOSS], self.swept())

    def test_a_breach_before_a_blind_spell_is_no_first_reading(self) -> None:
        self.scene.opened()
        self.venue.move("ETH", "3910")
        self.venue.bend_quote = marked("4000")
        self.assertEqual([], self.swept())
        self.venue.quotes_missing = {"ETH"}
        self.assertEqual([], self.swept(1))
        self.venue.quotes_missing = set()
        self.assertEqual([], self.swept(1))
        self.assertEqual([ExitReason.STOP_LOSS], self.swept(1))


class SecondReadingTest(ExitsTestCase):
    def pulled(self, share: str = "0.97") -> Callable[[Depth], Depth]:
        """The bids of ETH have gone away to a lower price; asks and mark stay."""

        def bend(depth: Depth) -> Depth:
            if depth.coin != ETH:
                return depth
            return replace(depth, bids=(Level(Price(depth.bids[0].price * Decimal(share)), depth.bids[0].quantity),))

        return bend

    def test_a_breach_that_the_mark_shares_counts_at_once(self) -> None:
        self.scene.opened()
        self.venue.move("ETH", "3910")
        self.assertEqual([ExitReason.STOP_LOSS], self.swept())

    def test_a_pulled_bid_is_no_stop_on_one_reading(self) -> None:
        self.scene.opened()
        self.venue.bend_depth = self.pulled()
        self.assertEqual([], self.swept())
        self.venue.straighten()
        self.assertEqual([], self.swept())
        self.venue.bend_depth = self.pulled()
        self.assertEqual([], self.swept())

    def test_a_bid_that_stays_away_is_a_stop_from_a_quarter_of_a_second(self) -> None:
        self.scene.opened()
        self.venue.bend_depth = self.pulled()
        self.assertEqual([], self.swept())
        self.assertEqual([], self.swept(0.249))
        self.assertEqual([ExitReason.STOP_LOSS], self.swept(0.001))

    def test_one_reading_that_is_looked_at_twice_is_not_two(self) -> None:
        """Polled books are kept for up to 4.5 s as the request budget fills: the bid may have been back all along."""
        self.scene.opened()
        for name, ages in (("neither leg", {"ETH": 1.0, "BTC": 1.0}), ("the other leg alone", {"ETH": 1.0})):
            with self.subTest(f"{name} was read anew"):
                self.memory = Memory()
                self.venue.bend_depth, self.venue.quotes_age = self.pulled(), {}
                self.assertEqual([], self.swept())
                self.venue.quotes_age = ages
                self.assertEqual([], self.swept(1))
                self.venue.quotes_age = {}
                self.assertEqual([ExitReason.STOP_LOSS], self.swept(0.25))

    def test_a_second_reading_is_later_than_the_newest_price_of_the_first(self) -> None:
        self.scene.opened()
        self.venue.bend_depth, self.venue.quotes_age = self.pulled(), {"BTC": 1.0}
        self.assertEqual([], self.swept())
        self.venue.quotes_age = {}
        self.assertEqual([], self.swept(0.1))
        self.assertEqual([ExitReason.STOP_LOSS], self.swept(0.15))

    def test_a_clock_that_was_set_back_makes_the_next_reading_a_first_one(self) -> None:
        self.scene.opened()
        self.venue.bend_depth = self.pulled()
        self.assertEqual([], self.swept())
        self.scene.clock.instant -= timedelta(hours=1)
        self.assertEqual([], self.swept(0.1))
        self.assertEqual([ExitReason.STOP_LOSS], self.swept(0.25))

    def test_what_opens_between_two_readings_does_not_make_the_second_one_the_first(self) -> None:
        self.scene.opened()
        self.venue.bend_depth = self.pulled()
        self.assertEqual([], self.swept())
        self.venue.straighten()
        self.scene.opened("signal_2", pair="SOL/AVAX")
        self.venue.bend_depth = self.pulled()
        self.assertIn(ExitReason.STOP_LOSS, self.swept(0.25))

    def test_an_unconfirmed_breach_does_not_hold_up_the_clock(self) -> None:
        position = self.scene.opened()
        self.planned(position, given_exit_plan(max_holding_seconds=10))
        self.venue.bend_depth = self.pulled()
        self.assertEqual([ExitReason.TIME_LIMIT], self.swept(10))

    def test_a_mark_that_is_older_than_an_exit_may_rest_on_is_no_witness(self) -> None:
        """Marks are polled every twenty seconds where the request budget is used up."""

        def bend(age: float) -> Callable[[Quote], Quote]:
            """ETH's mark is of *age* seconds ago, when all was low."""
            return lambda one: (
                replace(one, mark=Price(Decimal(3800)), marked_at=one.taken_at - timedelta(seconds=age))
                if one.coin == ETH
                else one
            )

        for age, reasons in ((5.0, [ExitReason.STOP_LOSS]), (5.1, [])):
            with self.subTest(age=age):
                self.scene, self.venue = a_bent_scene(self)
                self.memory = Memory()
                self.scene.opened()
                self.venue.bend_depth, self.venue.bend_quote = self.pulled(), bend(age)
                self.assertEqual(reasons, self.swept())
                self.assertEqual([ExitReason.STOP_LOSS], self.swept())
                self.venue.bend_depth, self.venue.depth_usd = None, {"ETH": Decimal(10)}
                self.memory = Memory()
                self.assertEqual([], self.swept())
                self.assertEqual(reasons, self.swept())

    def test_what_no_fresh_mark_confirms_is_no_high_water(self) -> None:
        position = self.scene.opened()
        plan = given_exit_plan(trailing=given_trailing("0.006", "0.004"), take_profit=Ratio(Decimal(1)))
        self.planned(position, plan)
        self.venue.move("ETH", "4100")
        self.venue.bend_quote = lambda one: replace(one, marked_at=one.taken_at - timedelta(seconds=6))
        self.assertEqual([], self.swept())
        self.assertEqual({}, self.memory.high_water)
        self.venue.straighten()
        self.assertEqual([], self.swept())
        self.assertGreater(self.memory.high_water[position.id], Decimal("0.006"))

    def test_a_book_that_is_too_thin_for_a_moment_raises_no_trailing_mark(self) -> None:
        """The mark is half a percent above what the position could be left at: by it alone, arm and gap were passed."""
        position = self.scene.opened()
        self.planned(position, given_exit_plan(trailing=given_trailing("0.006", "0.004")))
        self.venue.move("ETH", "4070")
        self.venue.bend_depth = self.pulled("0.99")
        self.assertEqual([], self.swept())
        self.venue.depth_usd = {"ETH": Decimal(10)}
        for _ in range(3):
            self.assertEqual([], self.swept())
        self.venue.depth_usd = {}
        for _ in range(3):
            self.assertEqual([], self.swept())
        self.assertIsNone(self.scene.position(position.id).high_water)

    def test_what_has_grown_beyond_the_book_trails_by_the_mark_on_two_readings(self) -> None:
        position = self.scene.opened(twap=TwapRequest(60, 2))
        self.planned(position, given_exit_plan(trailing=given_trailing("0.006", "0.004")))
        self.assertEqual([], self.swept())
        self.scene.tick(30)
        self.venue.depth_usd = {"ETH": Decimal(10)}
        for price in ("4070", "4030"):
            self.venue.move("ETH", price)
            self.assertEqual([], self.swept())
        self.assertEqual([ExitReason.TRAILING_STOP], self.swept())

    def test_too_little_depth_leaves_the_word_to_the_mark_on_two_readings(self) -> None:
        self.scene.opened()
        self.venue.depth_usd = {"ETH": Decimal(10)}
        self.venue.bend_depth = None
        self.assertEqual([], self.swept())
        self.venue.move("ETH", "3910")
        self.assertEqual([], self.swept())
        self.assertEqual([ExitReason.STOP_LOSS], self.swept(0.25))

    def test_a_profit_without_depth_to_take_it_needs_two_readings(self) -> None:
        position = self.scene.opened()
        self.planned(position, given_exit_plan(take_profit=Ratio(Decimal("0.01"))))
        self.swept()
        self.venue.depth_usd = {"ETH": Decimal(10)}
        self.venue.move("ETH", "4110")
        self.assertEqual([], self.swept())
        self.assertEqual([ExitReason.TAKE_PROFIT], self.swept(0.25))

    def test_a_book_that_is_old_crossed_empty_or_damaged_carries_nothing(self) -> None:
        nan = Price(Decimal("NaN"))
        bends: tuple[tuple[str, Callable[[Depth], Depth]], ...] = (
            ("old", lambda one: replace(one, taken_at=one.taken_at.replace(hour=1), bids=self.pulled()(one).bids)),
            ("empty", lambda one: replace(one, bids=(), asks=())),
            ("crossed", lambda one: replace(one, asks=(Level(Price(Decimal("0.01")), one.asks[0].quantity),))),
            ("NaN price", lambda one: replace(one, bids=(Level(nan, one.bids[0].quantity),))),
            ("no price", lambda one: replace(one, bids=(Level(Price(Decimal(0)), one.bids[0].quantity),))),
            ("NaN quantity", lambda one: replace(one, bids=(Level(one.bids[0].price, Quantity(nan)),))),
        )
        self.scene.opened()
        for name, bend in bends:
            with self.subTest(name):
                self.venue.bend_depth = bend
                for _ in range(3):
                    self.assertEqual([], self.swept())

    def test_a_bid_that_shoots_up_does_not_become_a_trailing_stop(self) -> None:
        position = self.scene.opened()
        self.planned(
            position, given_exit_plan(trailing=given_trailing("0.006", "0.004"), take_profit=Ratio(Decimal(1)))
        )

        def shot(depth: Depth) -> Depth:
            levels = (Level(Price(depth.bids[0].price * Decimal("1.025")), depth.bids[0].quantity),)
            return replace(depth, bids=levels, asks=levels) if depth.coin == ETH else depth

        self.venue.bend_depth = shot
        self.assertEqual([], self.swept())
        self.venue.straighten()
        for _ in range(2):
            self.assertEqual([], self.swept())
        self.assertIsNone(self.scene.position(position.id).high_water)


class JumpTest(ExitsTestCase):
    def test_a_jump_is_confirmed_by_the_next_tick(self) -> None:
        self.scene.opened()
        self.swept()
        self.venue.move("ETH", "3800")
        self.assertEqual([], self.swept())
        self.assertEqual([ExitReason.STOP_LOSS], self.swept(0.1))

    def keep_frames(self) -> None:
        """What is told of a coin from now on is what was told of it first."""
        quotes: dict[Coin, Quote] = {}
        depths: dict[Coin, Depth] = {}
        self.venue.bend_quote = lambda one: quotes.setdefault(one.coin, one)
        self.venue.bend_depth = lambda one: depths.setdefault(one.coin, one)

    def test_the_frame_that_jumped_confirms_nothing_when_it_is_looked_at_again(self) -> None:
        self.scene.opened()
        self.swept()
        self.venue.move("ETH", "3800")
        self.keep_frames()
        for _ in range(4):
            self.assertEqual([], self.swept(0.2))
        self.venue.straighten()
        self.assertEqual([ExitReason.STOP_LOSS], self.swept(0.1))

    def test_a_jump_is_seen_behind_a_coin_of_which_there_is_no_news(self) -> None:
        self.scene.opened()
        self.keep_frames()
        self.assertEqual([], self.swept())
        kept, books = self.venue.bend_quote, self.venue.bend_depth
        assert kept is not None and books is not None
        self.venue.bend_quote = lambda one: kept(one) if one.coin == ETH else one
        self.venue.bend_depth = lambda one: books(one) if one.coin == ETH else one
        self.venue.move("BTC", "105000")
        self.assertEqual([], self.swept(0.1))
        self.assertEqual([ExitReason.STOP_LOSS], self.swept(0.1))

    def test_and_behind_one_whose_book_no_glance_can_rest_on(self) -> None:
        self.scene.opened()
        self.venue.bend_depth = lambda one: replace(one, asks=()) if one.coin == ETH else one
        self.assertEqual([], self.swept())
        self.venue.move("BTC", "105000")
        self.assertEqual([], self.swept(0.1))
        self.assertEqual([ExitReason.STOP_LOSS], self.swept(0.1))

    def test_where_both_legs_jump_the_later_one_is_waited_for(self) -> None:
        self.scene.opened()
        self.swept()
        self.venue.move("ETH", "3800")
        self.keep_frames()
        self.assertEqual([], self.swept(0.1))
        self.venue.straighten()
        self.venue.move("ETH", "4000")
        self.venue.move("BTC", "105000")
        self.keep_frames()
        self.assertEqual([], self.swept(0.9))
        self.assertEqual([], self.swept(0.2))
        self.assertEqual([ExitReason.STOP_LOSS], self.swept(0.8))

    def test_a_jump_that_is_taken_back_was_none(self) -> None:
        self.scene.opened()
        self.swept()
        self.venue.move("ETH", "3800")
        self.assertEqual([], self.swept(0.3))
        self.venue.move("ETH", "4000")
        self.assertEqual([], self.swept(0.3))
        self.assertEqual([], self.swept(0.3))

    def test_three_percent_are_no_jump(self) -> None:
        self.scene.opened()
        self.swept()
        self.venue.move("ETH", "3880")
        self.assertEqual([ExitReason.STOP_LOSS], self.swept())

    def test_what_opens_in_between_makes_a_jump_no_smaller(self) -> None:
        self.scene.opened()
        self.swept()
        self.scene.opened("signal_2", pair="SOL/AVAX")
        self.venue.move("ETH", "3800")
        self.assertEqual([], self.swept(0.5))
        self.assertEqual([ExitReason.STOP_LOSS], self.swept(0.5))

    def test_from_a_second_on_the_mark_decides(self) -> None:
        for name, mark, expected in (("breached", "3800", [ExitReason.STOP_LOSS]), ("calm", "4000", [])):
            with self.subTest(name):
                self.scene, self.venue = a_bent_scene(self)
                self.memory = Memory()
                self.scene.opened()
                self.swept()
                self.venue.bend_quote = marked(mark)
                for price in ("3800", "4000", "3800"):
                    self.venue.move("ETH", price)
                    self.assertEqual([], self.swept(0.3))
                self.venue.move("ETH", "4000")
                self.swept(0.05)
                self.venue.move("ETH", "3800")
                self.assertEqual(expected, self.swept(0.4))

    def test_the_mark_decides_however_often_the_price_jumps(self) -> None:
        """A book that comes apart step by step has no two readings that agree."""
        by_spread = given_exit_plan(stop_loss=Ratio(Decimal("0.5")), stop_loss_spread=Decimal("24.4"))
        for name, plan in (("plain", given_exit_plan()), ("of the spread", by_spread)):
            with self.subTest(name):
                self.scene, self.venue = a_bent_scene(self)
                self.memory = Memory()
                self.planned(self.scene.opened(), plan)
                self.swept()
                self.venue.bend_quote = marked("4000")
                for price in ("3800", "3600", "3400", "3200", "3000", "2800"):
                    self.venue.move("ETH", price)
                    self.assertEqual([], self.swept(0.4))
                self.venue.bend_quote = marked("3800")
                self.venue.move("ETH", "2600")
                self.assertEqual([ExitReason.STOP_LOSS], self.swept(0.4))

    def test_a_price_that_is_lost_after_a_jump_is_waited_for(self) -> None:
        position = self.scene.opened()
        self.planned(position, given_exit_plan(max_holding_seconds=10))
        self.swept()
        self.venue.move("ETH", "3800")
        self.keep_frames()
        self.assertEqual([], self.swept(0.1))
        self.venue.quotes_missing = {"BTC"}
        self.assertEqual([], self.swept(2))
        self.assertEqual([ExitReason.TIME_LIMIT], self.swept(10))

    def test_a_jump_that_the_mark_decides_on_raises_no_trailing_mark_beyond_the_book(self) -> None:
        """The bids stayed a percent below: by the mark alone arm and gap were passed, and the position was left at a
        price that had not moved since."""
        position = self.scene.opened()
        self.planned(position, given_exit_plan(trailing=given_trailing("0.006", "0.004")))
        self.swept()
        bids = (Level(Price(Decimal(4089)), Quantity(Decimal(10))),)
        self.venue.move("ETH", "4130")
        self.keep_frames()
        kept = self.venue.bend_depth
        assert kept is not None
        self.venue.bend_depth = lambda one: replace(kept(one), bids=bids) if one.coin == ETH else one
        for _ in range(3):
            self.assertEqual([], self.swept(0.6))
        self.venue.bend_quote = None
        for _ in range(3):
            self.assertEqual([], self.swept(0.6))
        highest = self.memory.high_water[position.id]
        self.assertTrue(Decimal("0.009") < highest < Decimal("0.0105"), highest)

    def test_the_time_limit_does_not_wait_for_a_jump(self) -> None:
        position = self.scene.opened()
        self.planned(position, given_exit_plan(max_holding_seconds=5))
        self.swept()
        self.venue.move("ETH", "3800")
        self.assertEqual([ExitReason.TIME_LIMIT], self.swept(5))

    def test_a_jump_is_no_blindness(self) -> None:
        self.scene.opened()
        self.swept()
        self.venue.move("ETH", "3800")
        self.swept()
        self.assertEqual(0, self.log("no usable price"))


class LifeTest(ExitsTestCase):
    def sliced(self) -> Position:
        return self.scene.opened(execution=Execution.TWAP, twap=TwapRequest(180, 5))

    def test_an_opening_is_swept_from_its_first_fill_and_its_slices_stop(self) -> None:
        position = self.sliced()
        self.assertIs(PositionStatus.OPENING, position.status)
        self.venue.move("ETH", "3910")
        self.assertEqual([ExitReason.STOP_LOSS], self.swept())
        closed = self.scene.close(position, ExitReason.STOP_LOSS)
        self.assertIs(PositionStatus.CLOSED, closed.status)
        sent = len(self.venue.sent)
        self.scene.ticks(5, 36)
        self.assertEqual((sent, True), (len(self.venue.sent), self.venue.flat))

    def test_an_opening_without_a_fill_has_nothing_to_leave_before_its_time(self) -> None:
        self.venue.script(lost_before())
        self.scene.opened(max_holding_seconds=60)
        self.venue.move("ETH", "3910")
        self.assertEqual([], self.swept(0))

    def test_a_closing_position_is_marked_but_not_told_again(self) -> None:
        position = self.scene.opened()
        self.venue.script(*(partly(ETH="0.5", BTC="0.5") for _ in range(3)))
        closing.close(self.scene.desk, position.id, ExitReason.MANUAL, until=self.scene.clock.monotonic())
        self.assertIs(PositionStatus.CLOSING, self.scene.position(position.id).status)
        self.venue.move("ETH", "3910")
        self.assertEqual([], self.swept(0.1))
        self.venue.bend_account = liquidated_at("3700")
        self.assertEqual([], self.swept(0.1))
        publish_marks(self.scene.desk, None)
        self.assertIn(f"mark:{position.id}", self.scene.cache.values)

    def test_one_breach_makes_one_close(self) -> None:
        position = self.scene.opened()
        self.venue.move("ETH", "3910")
        for _ in range(3):
            self.scene.clock.advance(1)
            exits.sweep(
                self.scene.desk, self.memory, lambda known, reason: void(closing.close(self.scene.desk, known, reason))
            )
        self.assertEqual(2, len(self.scene.trades()))
        closed = self.scene.position(position.id)
        self.assertEqual((PositionStatus.CLOSED, ExitReason.STOP_LOSS), (closed.status, closed.exit_reason))

    def test_what_is_closed_is_forgotten(self) -> None:
        position = self.scene.opened()
        self.planned(position, given_exit_plan(trailing=given_trailing()))
        self.venue.bend_account = liquidated_at("3300")
        self.swept()
        self.venue.quotes_missing = {"ETH"}
        self.swept()
        self.venue.quotes_missing = set()
        self.scene.close(position)
        self.swept()
        self.assertEqual(Memory(), self.memory)


class HighWaterTest(ExitsTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.position = self.scene.opened()
        self.planned(self.position, given_exit_plan(trailing=given_trailing("0.006", "0.004")))

    def stored(self) -> Decimal | None:
        watch = self.scene.store.book().watch(self.position.id)
        return None if watch is None else watch.high_water

    def test_it_survives_a_restart(self) -> None:
        self.venue.move("ETH", "4070")
        self.swept()
        self.scene, self.memory = self.scene.reopened(), Memory()
        self.venue.move("ETH", "4035")
        self.assertEqual([ExitReason.TRAILING_STOP], self.swept())

    def test_small_rises_are_remembered_and_not_written(self) -> None:
        self.venue.move("ETH", "4060")
        self.swept()
        before = self.stored()
        lines = len((self.scene.store.data_dir / "positions.json").read_bytes())
        for step in range(20):
            self.venue.move("ETH", Decimal(4060) + Decimal(step) / 100)
            self.swept()
        self.assertEqual((before, lines), (self.stored(), len(self.position_file())))
        seen = self.memory.high_water[self.position.id]
        self.assertGreater(seen, before or Decimal(1))

    def test_a_rise_of_a_twentieth_of_the_gap_is_written_so_that_a_restart_loses_no_more(self) -> None:
        self.venue.move("ETH", "4060")
        self.swept()
        before = self.stored()
        assert before is not None
        self.venue.move("ETH", "4061.5")
        self.swept()
        self.assertEqual(before, self.stored())
        self.venue.move("ETH", "4061.7")
        self.swept()
        after = self.stored()
        assert after is not None
        self.assertGreaterEqual(after - before, Decimal("0.0002"))

    def position_file(self) -> bytes:
        return (self.scene.store.data_dir / "positions.json").read_bytes()

    def test_it_is_not_written_before_the_trail_is_armed(self) -> None:
        self.venue.move("ETH", "4010")
        self.swept()
        self.assertIsNone(self.stored())

    def test_a_disk_that_refuses_it_keeps_nobody_from_leaving(self) -> None:
        self.venue.move("ETH", "4070")
        with self.scene.store.exclusive():
            self.scene.clock.advance(1)
            self.swept()
        self.assertIsNone(self.stored())
        self.venue.move("ETH", "4035")
        self.assertEqual([ExitReason.TRAILING_STOP], self.swept())

    def test_a_damaged_book_file_keeps_nobody_from_leaving(self) -> None:
        self.scene.opened("signal_2", pair="SOL/AVAX")
        self.scene.desk = with_store(self.scene, save_watch=corrupt)
        self.venue.move("ETH", "4070")
        self.venue.move("AVAX", "24.4")
        self.assertEqual([ExitReason.STOP_LOSS], self.swept())


class ChangeTest(ExitsTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.position = self.scene.opened()

    def change(self, change: ExitChange, *, admin: bool = False) -> ExitPlan:
        exits.change_exits(self.scene.desk, self.position.id, change, admin=admin)
        return self.scene.position(self.position.id).exit_plan

    def test_a_tightened_stop_applies_at_the_next_sweep(self) -> None:
        self.venue.move("ETH", "3965")
        self.assertEqual([], self.swept())
        self.change(ExitChange(stop_loss=Decimal("0.005")))
        self.assertEqual([ExitReason.STOP_LOSS], self.swept())

    def test_every_barrier_can_be_changed_and_what_is_optional_removed(self) -> None:
        trailing = given_trailing()
        rows = (
            (ExitChange(take_profit=Decimal("0.05")), {"take_profit": Decimal("0.05")}),
            (ExitChange(trailing=trailing), {"trailing": trailing}),
            (ExitChange(max_holding_seconds=60), {"max_holding_seconds": 60}),
            (ExitChange(dropped=frozenset({"trailing_stop"})), {"trailing": None}),
            (ExitChange(dropped=frozenset({"max_holding_seconds"})), {"max_holding_seconds": None}),
        )
        expected = self.position.exit_plan
        for change, fields in rows:
            expected = replace(expected, **fields)
            with self.subTest(str(change)):
                self.assertEqual(expected, self.change(change))

    def test_a_window_is_no_window_any_more_when_its_time_changes(self) -> None:
        watch = given_watch(self.scene.trade(self.position.trade_id))
        plan = replace(watch.exit_plan, max_holding_seconds=300, time_window="5min")
        self.scene.store.save_watch(replace(watch, exit_plan=plan))
        self.assertEqual("5min", self.change(ExitChange(take_profit=Decimal("0.03"))).time_window)
        self.assertIsNone(self.change(ExitChange(max_holding_seconds=301)).time_window)

    def test_loosening_beyond_what_was_approved_needs_an_admin(self) -> None:
        wider = ExitChange(stop_loss=Decimal("0.02"))
        with self.assertRaises(LooseningNeedsAdmin) as refusal:
            self.change(wider)
        self.assertEqual(Decimal("0.01"), refusal.exception.facts["limit"])
        self.assertEqual(Decimal("0.01"), self.scene.position(self.position.id).exit_plan.stop_loss)
        self.assertEqual(Decimal("0.02"), self.change(wider, admin=True).stop_loss)

    def test_what_an_admin_loosened_may_be_tightened_and_left_alone_by_anybody(self) -> None:
        self.change(ExitChange(stop_loss=Decimal("0.03")), admin=True)
        self.assertEqual(Decimal("0.03"), self.change(ExitChange(take_profit=Decimal("0.04"))).stop_loss)
        self.assertEqual(Decimal("0.02"), self.change(ExitChange(stop_loss=Decimal("0.02"))).stop_loss)
        with self.assertRaises(LooseningNeedsAdmin):
            self.change(ExitChange(stop_loss=Decimal("0.025")))

    def test_a_change_leaves_a_line_with_old_and_new_and_no_change_leaves_none(self) -> None:
        self.change(ExitChange(stop_loss=Decimal("0.008"), trailing=given_trailing(), max_holding_seconds=60))
        line = self.scene.log.entries[-1]
        self.assertEqual("exits of BTC/ETH changed", line.message)
        before, after = line.facts["before"], line.facts["after"]
        self.assertEqual(
            {"take_profit": "0.02", "stop_loss": "0.01", "trailing_stop": None, "max_holding_seconds": None}, before
        )
        self.assertEqual(
            {
                "take_profit": "0.02",
                "stop_loss": "0.008",
                "trailing_stop": "arm 0.01, gap 0.004",
                "max_holding_seconds": "60",
            },
            after,
        )
        self.change(ExitChange(stop_loss=Decimal("0.008")))
        self.assertIs(line, self.scene.log.entries[-1])

    def test_contradictions_closed_and_unknown_positions_are_refused(self) -> None:
        with self.assertRaises(InvalidRequest) as contradiction:
            self.change(ExitChange(trailing=given_trailing("0.004", "0.004")))
        self.assertIn("trailing_stop", contradiction.exception.fields)
        self.scene.close(self.position)
        with self.assertRaises(InvalidRequest) as closed:
            self.change(ExitChange(take_profit=Decimal("0.03")))
        self.assertIn("position_id", closed.exception.fields)
        with self.assertRaises(PositionNotFound):
            exits.change_exits(self.scene.desk, PositionId("pos_none"), ExitChange(), admin=True)

    def test_a_change_survives_a_restart(self) -> None:
        self.change(ExitChange(take_profit=Decimal("0.05")))
        plan = self.scene.reopened().position(self.position.id).exit_plan
        self.assertEqual(Decimal("0.05"), plan.take_profit)


class LiquidationWordsTest(ExitsTestCase):
    def test_a_liquidation_price_that_is_none_is_not_near(self) -> None:
        self.scene.opened()
        for price in (None, "0", "NaN", "-5"):
            with self.subTest(price):
                word = None if price is None else Price(Decimal(price))

                def bend(account: Account, kept: Price | None = word) -> Account:
                    holdings = {
                        coin: Holding(coin, one.quantity, one.entry_price, kept)
                        for coin, one in account.holdings.items()
                    }
                    return replace(account, holdings=holdings)

                self.venue.bend_account = bend
                self.assertEqual([], self.swept())


def void(_: object) -> None:
    """For a lambda whose value nobody wants."""


class ScriptTest(unittest.TestCase):
    def test_the_scene_is_what_these_tests_think_it_is(self) -> None:
        scene, venue = a_bent_scene(self)
        self.assertIsInstance(scene, Scene)
        self.assertIsInstance(venue, BentVenue)
        position = scene.opened()
        legs = [(leg.coin, leg.held) for leg in position.legs]
        self.assertEqual([(ETH, Decimal("0.25")), (BTC, Decimal("0.01"))], legs)
