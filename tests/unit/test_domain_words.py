"""The words of the domain: units, identifiers, pairs, quotes, accounts, orders, signals, barriers, errors."""

import unittest
from dataclasses import FrozenInstanceError
from decimal import Decimal

from tests.builders import T0, given_account, given_quote, given_signal
from trading.domain.desk_state import Cause, DeskState, TradingState
from trading.domain.errors import (
    Busy,
    DeskError,
    InvalidNumber,
    InvalidRequest,
    RiskDenied,
    StoreCorrupt,
    StoreHeld,
    Unavailable,
    VenueUnavailable,
)
from trading.domain.exit_plan import TIME_WINDOW_DEFAULT, TIME_WINDOWS
from trading.domain.market import Holding, Pair, Traits, ratio_of
from trading.domain.orders import OrderReport, OrderStatus, RejectReason, Side, client_order_id
from trading.domain.trades import TradeStatus, close_trade_id, open_trade_id, position_id_of
from trading.domain.units import (
    Coin,
    Number,
    PositionId,
    Price,
    Quantity,
    TradeId,
    ceil_to_step,
    exact,
    floor_to_step,
    hash_of,
    positive,
)

D = Decimal


class UnitsTest(unittest.TestCase):
    def test_numbers_become_decimals_digit_for_digit(self) -> None:
        table: tuple[tuple[Number, str], ...] = ((0.1, "0.1"), (1e-7, "1e-7"), (3, "3"), ("2.50", "2.50"), (D(7), "7"))
        for value, text in table:
            with self.subTest(value=value):
                self.assertEqual(exact(value, "x"), D(text))

    def test_what_is_no_finite_number_is_refused_by_name(self) -> None:
        numbers: tuple[object, ...] = (float("nan"), float("-inf"), D("NaN"), D("sNaN"), "", "1,5", "0x10")
        for bad in (*numbers, True, None, [], b"1"):
            with self.subTest(bad=bad), self.assertRaises(InvalidNumber) as caught:
                exact(bad, "margin")  # type: ignore[arg-type]  # the wrong types are the point
            self.assertEqual(caught.exception.field, "margin")
            self.assertIn("margin", caught.exception.detail)

    def test_positive_means_above_zero(self) -> None:
        self.assertEqual(positive("0.1", "x"), D("0.1"))
        for bad in (0, -1, "-0.0"):
            with self.subTest(bad=bad), self.assertRaisesRegex(InvalidNumber, "above zero"):
                positive(bad, "x")

    def test_rounding_to_a_step_goes_down_or_up_and_leaves_multiples_alone(self) -> None:
        table = (
            ("1.2345", "0.01", "1.23", "1.24"),
            ("1.23", "0.01", "1.23", "1.23"),
            ("-1.5", "1", "-2", "-1"),
            ("7", "5", "5", "10"),
        )
        for value, step, down, up in table:
            with self.subTest(value=value, step=step):
                self.assertEqual(floor_to_step(D(value), D(step)), D(down))
                self.assertEqual(ceil_to_step(D(value), D(step)), D(up))

    def test_ids_depend_on_their_causes_alone(self) -> None:
        self.assertEqual(hash_of("a", 1), hash_of("a", 1))
        self.assertNotEqual(hash_of("a", "b"), hash_of("ab"))
        self.assertNotEqual(hash_of("a", "b"), hash_of("b", "a"))
        self.assertEqual(len(hash_of()), 64)
        self.assertRegex(client_order_id(TradeId("t"), 1, Coin("BTC"), 1), r"^0x[0-9a-f]{32}$")

    def test_ids_differ_by_every_cause(self) -> None:
        btc, eth = Coin("BTC"), Coin("ETH")
        ids = {
            client_order_id(TradeId(trade), number, coin, attempt)
            for trade in ("t", "u")
            for number in (1, 2)
            for coin in (btc, eth)
            for attempt in (1, 2)
        }
        self.assertEqual(len(ids), 16)
        self.assertNotEqual(open_trade_id("s", 1), open_trade_id("s", 2))
        self.assertNotEqual(close_trade_id(PositionId("s"), 1), open_trade_id("s", 1))
        self.assertTrue(position_id_of(open_trade_id("s", 1)).startswith("pos_"))


class MarketTest(unittest.TestCase):
    def test_a_pair_is_read_as_it_is_written(self) -> None:
        for text in ("BTC/ETH", " BTC / ETH ", "kPEPE/xyz:XYZ100"):
            with self.subTest(text=text):
                self.assertEqual(str(Pair.parse(text)).replace(" ", ""), text.replace(" ", ""))
        self.assertEqual(Pair.parse("BTC/ETH"), Pair(Coin("BTC"), Coin("ETH")))

    def test_what_is_no_pair_is_an_invalid_request(self) -> None:
        for text in ("", "BTC", "BTC/", "/ETH", "A/B/C", "BTC/BTC", "BTC / BTC", "X" * 33 + "/A", "A/" + "X" * 33):
            with self.subTest(text=text), self.assertRaises(InvalidRequest) as caught:
                Pair.parse(text)
            self.assertIn("pair", caught.exception.fields)

    def test_a_quote_is_usable_when_all_its_prices_mean_something(self) -> None:
        zero, nan, ninety = Price(D(0)), Price(D("NaN")), Price(D(90))
        table = (
            ("ordinary", given_quote("SOL"), True),
            ("bid equals ask", given_quote("SOL", spread="0"), True),
            ("crossed", given_quote("SOL", ask=ninety), False),
            ("no bid", given_quote("SOL", bid=zero), False),
            ("NaN ask", given_quote("SOL", ask=nan), False),
            ("infinite ask", given_quote("SOL", ask=Price(D("Infinity"))), False),
            ("negative mark", given_quote("SOL", mark=Price(D(-1))), False),
        )
        for name, quote, usable in table:
            with self.subTest(name):
                self.assertIs(quote.usable, usable)

    def test_the_mid_is_between_bid_and_ask(self) -> None:
        self.assertEqual(given_quote("SOL", "200", spread="0.01").mid, D(200))

    def test_an_account_holds_nothing_of_a_coin_it_does_not_list(self) -> None:
        account = given_account(holdings=[Holding(Coin("ETH"), Quantity(D("-2")), Price(D(4000)))])
        self.assertEqual(account.held(Coin("ETH")), D(-2))
        self.assertEqual(account.held(Coin("BTC")), D(0))

    def test_the_ratio_of_a_pair_is_base_over_quote(self) -> None:
        self.assertEqual(ratio_of(D(100_000), D(4000)), D(25))

    def test_a_venue_is_taken_to_prove_absence(self) -> None:
        self.assertTrue(Traits().proves_absence)

    def test_records_do_not_change(self) -> None:
        quote = given_quote("SOL")
        with self.assertRaises(FrozenInstanceError):
            quote.bid = Price(D(1))  # type: ignore[misc]  # that it cannot is the point


class OrdersTest(unittest.TestCase):
    def test_sides_are_opposite_and_signed(self) -> None:
        self.assertIs(Side.BUY.opposite, Side.SELL)
        self.assertIs(Side.SELL.opposite, Side.BUY)
        self.assertEqual((Side.BUY.sign, Side.SELL.sign), (1, -1))

    def test_an_order_is_in_doubt_until_somebody_knows_its_end(self) -> None:
        doubtful = {OrderStatus.INTENDED, OrderStatus.ACCEPTED, OrderStatus.UNKNOWN}
        for status in OrderStatus:
            with self.subTest(status=status):
                self.assertIs(status.in_doubt, status in doubtful)

    def test_margin_open_interest_delisting_and_what_nobody_explains_do_not_heal(self) -> None:
        hopeless = {
            RejectReason.MARGIN,
            RejectReason.OPEN_INTEREST,
            RejectReason.NOT_TRADABLE,
            RejectReason.UNEXPLAINED,
        }
        for reason in RejectReason:
            with self.subTest(reason=reason):
                self.assertIs(reason.heals, reason not in hopeless)

    def test_a_report_without_more_says_that_nothing_was_filled(self) -> None:
        report = OrderReport(client_order_id(TradeId("t"), 1, Coin("BTC"), 1), OrderStatus.UNKNOWN, T0)
        self.assertEqual((report.filled, report.fees, report.average_price), (0, 0, None))


class SignalsTest(unittest.TestCase):
    def test_a_short_spread_sells_the_base_and_a_long_spread_buys_it(self) -> None:
        for zscore, long, short in (("2.4", "ETH", "BTC"), ("-2.4", "BTC", "ETH")):
            with self.subTest(zscore=zscore):
                signal = given_signal(zscore=zscore)
                self.assertEqual((signal.long_coin, signal.short_coin), (long, short))


class BarriersTest(unittest.TestCase):
    def test_time_windows_are_what_the_frontend_shows(self) -> None:
        shown = {key: (window.periods, window.display, window.duration_seconds) for key, window in TIME_WINDOWS.items()}
        self.assertEqual(
            shown,
            {"1min": (12, "1 minute", 60), "5min": (60, "5 minutes", 300), "15min": (180, "15 minutes", 900)},
        )
        self.assertEqual(TIME_WINDOW_DEFAULT, "5min")

    def test_only_live_trades_can_still_change_what_is_held(self) -> None:
        live = {status for status in TradeStatus if status.live}
        self.assertEqual(live, {"PENDING", "WORKING", "REPAIRING", "SUSPENDED"})


class DeskStateTest(unittest.TestCase):
    def test_a_new_desk_is_active_without_cause(self) -> None:
        state = DeskState()
        self.assertIs(state.state, TradingState.ACTIVE)
        self.assertEqual(state.causes, frozenset())
        self.assertIsNone(state.binding)

    def test_desks_do_not_share_what_they_accepted(self) -> None:
        self.assertIsNot(DeskState().accepted_drift, DeskState().accepted_drift)
        self.assertEqual(Cause("DAILY_LOSS"), Cause.DAILY_LOSS)


class ErrorsTest(unittest.TestCase):
    def test_every_error_has_its_own_stable_code(self) -> None:
        kinds = [DeskError]
        for kind in kinds:
            kinds.extend(kind.__subclasses__())
        # A caller does the same about it, whoever holds what he wants: he asks again.
        self.assertEqual(Busy.code, StoreHeld.code)
        codes = [kind.code for kind in kinds if kind is not StoreHeld]
        self.assertEqual(len(codes), len(set(codes)))
        self.assertTrue(all(code == code.upper() for code in codes))

    def test_detail_is_for_people_and_facts_for_programs(self) -> None:
        error = RiskDenied("too large", breaches=("ALLOCATION_EXCEEDED",))
        self.assertEqual((str(error), error.facts["breaches"]), ("too large", ("ALLOCATION_EXCEEDED",)))

    def test_an_invalid_request_says_which_field_and_why(self) -> None:
        error = InvalidRequest({"pair": "must be two coins", "leverage": "must be whole"})
        self.assertEqual(str(error), "pair: must be two coins; leverage: must be whole")
        self.assertEqual(error.facts["fields"], {"pair": "must be two coins", "leverage": "must be whole"})

    def test_a_corrupt_store_and_a_silent_venue_are_unavailable(self) -> None:
        for kind in (StoreCorrupt, VenueUnavailable):
            with self.subTest(kind=kind):
                self.assertTrue(issubclass(kind, Unavailable))


if __name__ == "__main__":
    unittest.main()
