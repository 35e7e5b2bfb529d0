"""Orders become the venue's text digit for digit, and of answers only what is complete is believed."""

import unittest
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from trading.adapters.hyperliquid_actions import (
    Executed,
    Refusal,
    Unclear,
    Working,
    decode_done,
    decode_http_refusal,
    decode_words,
    encode_leverage,
    encode_noop,
    encode_orders,
    reason_of,
)
from trading.adapters.hyperliquid_values import decimal_text, instant_of, milliseconds
from trading.adapters.hyperliquid_wire import (
    BookFrame,
    account_fill,
    decode_agents,
    decode_book,
    decode_candles,
    decode_collateral,
    decode_fills,
    decode_funding,
    decode_leverage,
    decode_listed,
    decode_marks,
    decode_meta,
    decode_order_state,
    decode_role,
    decode_state,
    decode_taker_fee,
    decode_time,
    decode_transfers,
    decode_unified,
    reason_of_state,
)
from trading.domain.errors import InvalidNumber, VenueUnavailable
from trading.domain.market import Level
from trading.domain.orders import Order, RejectReason, Side
from trading.domain.resting import AccountFill, FillCause
from trading.domain.units import ClientOrderId, Coin, Price, Quantity

LIQUIDATED = FillCause.LIQUIDATION
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


def an_order(**changes: object) -> Order:
    fields: dict[str, object] = {
        "client_order_id": ClientOrderId("0x" + "0A" * 16),
        "coin": Coin("ETH"),
        "side": Side.BUY,
        "quantity": Quantity(Decimal("0.0200")),
        "limit_price": Price(Decimal("3000.50")),
        "reduce_only": False,
        "slice_number": 0,
        "attempt": 1,
        "intended_at": NOON,
        "expires_at": NOON + timedelta(seconds=10),
    }
    return Order(**(fields | changes))  # type: ignore[arg-type]  # the fields come by name


def told_by(fill: AccountFill) -> tuple[Side, ClientOrderId | None, Quantity]:
    return fill.side, fill.client_order_id, fill.quantity


def an_answer(*statuses: object) -> object:
    return {"status": "ok", "response": {"type": "order", "data": {"statuses": list(statuses)}}}


class ToTheWire(unittest.TestCase):
    def test_decimals_are_written_plain_and_without_trailing_zeros(self) -> None:
        cases = {
            "100.0": "100",
            "60000": "60000",
            "60000.0": "60000",
            "0.3": "0.3",
            "0.00001000": "0.00001",
            "1E-5": "0.00001",
            "1E+15": "1000000000000000",
            "1670.10": "1670.1",
            "0.12345678": "0.12345678",
            "100": "100",
            "1.2E+2": "120",
        }
        for value, written in cases.items():
            with self.subTest(value=value):
                self.assertEqual(decimal_text(Decimal(value), "price"), written)

    def test_what_the_venue_s_parser_refuses_is_never_written(self) -> None:
        for value in ("0", "-1", "-0.0", "NaN", "Infinity", "1E-9", "0.123456789"):
            with self.subTest(value=value), self.assertRaises(InvalidNumber) as caught:
                decimal_text(Decimal(value), "size")
            self.assertEqual(caught.exception.field, "size")

    def test_both_legs_are_one_action_with_keys_in_the_order_that_is_hashed(self) -> None:
        long = an_order()
        short = an_order(
            coin=Coin("BTC"),
            side=Side.SELL,
            reduce_only=True,
            quantity=Quantity(Decimal("0.00100")),
            limit_price=Price(Decimal(59400)),
            client_order_id=ClientOrderId("0x" + "0b" * 16),
        )
        action = encode_orders([long, short], {Coin("ETH"): 1, Coin("BTC"): 0})
        ioc = {"limit": {"tif": "Ioc"}}
        first = {"a": 1, "b": True, "p": "3000.5", "s": "0.02", "r": False, "t": ioc, "c": "0x" + "0a" * 16}
        second = {"a": 0, "b": False, "p": "59400", "s": "0.001", "r": True, "t": ioc, "c": "0x" + "0b" * 16}
        self.assertEqual(action, {"type": "order", "orders": [first, second], "grouping": "na"})
        self.assertEqual(list(action), ["type", "orders", "grouping"])
        orders = action["orders"]
        assert isinstance(orders, list)
        self.assertEqual(list(orders[0]), ["a", "b", "p", "s", "r", "t", "c"])

    def test_leverage_is_cross_and_noop_is_bare(self) -> None:
        self.assertEqual(
            list(encode_leverage(4, 3).items()),
            [("type", "updateLeverage"), ("asset", 4), ("isCross", True), ("leverage", 3)],
        )
        self.assertEqual(encode_noop(), {"type": "noop"})

    def test_instants_go_out_as_whole_milliseconds_rounded_down(self) -> None:
        self.assertEqual(milliseconds(NOON + timedelta(microseconds=1999)), 1795348800001)
        self.assertEqual(instant_of(1795348800001), NOON + timedelta(milliseconds=1))


class WordsOnOrders(unittest.TestCase):
    def test_words_are_positional(self) -> None:
        answer = an_answer(
            {"filled": {"totalSz": "0.02", "avgPx": "2686.6", "oid": 77747314, "cloid": "0x"}},
            {"resting": {"oid": 77738308}},
            {"error": "Order must have minimum value of $10. asset=4"},
            "waitingForFill",
        )
        self.assertEqual(
            decode_words(answer, 4),
            (
                Executed(77747314, Decimal("0.02"), Decimal("2686.6")),
                Working("resting"),
                Refusal(RejectReason.NOTIONAL_MIN, "Order must have minimum value of $10. asset=4"),
                Working("waitingForFill"),
            ),
        )

    def test_one_error_for_a_batch_is_everybody_s(self) -> None:
        words = "Price must be divisible by tick size. asset=4"
        expected = (Refusal(RejectReason.PRICE, words),) * 3
        self.assertEqual(decode_words(an_answer({"error": words}), 3), expected)
        self.assertEqual(decode_words({"status": "err", "response": words}, 3), expected)

    def test_a_duplicate_nonce_proves_nothing(self) -> None:
        answer = {"status": "err", "response": "Invalid nonce: duplicate nonce 1700000000000"}
        (word,) = decode_words(answer, 1)
        self.assertIsInstance(word, Unclear)

    def test_an_answer_of_another_shape_is_unclear_for_every_order(self) -> None:
        filled = {"filled": {"totalSz": "1", "avgPx": "2", "oid": 3}}
        cases: tuple[object, ...] = (
            None,
            [],
            "ok",
            {},
            {"status": "ok"},
            {"status": "ok", "response": {"type": "default"}},
            {"status": "ok", "response": {"type": "order", "data": {}}},
            an_answer(),
            an_answer(filled),
            an_answer(filled, filled, filled),
            an_answer(filled, None),
            an_answer(filled, {"filled": {"oid": 3}}),
            an_answer(filled, {"filled": {"totalSz": "0.0", "avgPx": "2", "oid": 3}}),
            an_answer(filled, {"filled": {"totalSz": "1", "avgPx": "NaN", "oid": 3}}),
        )
        for answer in cases:
            with self.subTest(answer=answer):
                self.assertEqual([type(one) for one in decode_words(answer, 2)], [Unclear, Unclear])

    def test_an_unknown_element_leaves_the_others_their_word(self) -> None:
        first, second = decode_words(an_answer({"surprise": 1}, {"resting": {"oid": 1}}), 2)
        self.assertIsInstance(first, Unclear)
        self.assertEqual(second, Working("resting"))

    def test_a_done_action_is_told_from_a_refused_one(self) -> None:
        self.assertIsNone(decode_done({"status": "ok", "response": {"type": "default"}}))
        refused = decode_done({"status": "err", "response": "Invalid leverage value"})
        self.assertEqual(refused, Refusal(RejectReason.OTHER, "Invalid leverage value"))
        for answer in (None, {}, {"status": "maybe"}):
            self.assertIsInstance(decode_done(answer), Unclear)

    def test_only_the_parser_s_own_words_make_an_http_error_a_refusal(self) -> None:
        cases = (
            (400, b"Failed to parse the request body as JSON: expected value", True),
            (422, b"Failed to deserialize the JSON body into the target type", True),
            (415, b"Expected request with `Content-Type: application/json`", True),
            (422, b"something else", False),
            (429, b"null", False),
            (502, b"<html>Failed to parse the request body</html>", False),
            (500, b"Failed to parse the request body", False),
            (400, b"\xff\xfe", False),
        )
        for status, content, refusal in cases:
            with self.subTest(status=status, content=content):
                self.assertEqual(decode_http_refusal(status, content) is not None, refusal)

    def test_refusals_are_cut_and_on_one_line(self) -> None:
        (word,) = decode_words({"status": "err", "response": "a\nb\x00" + "c" * 1000}, 1)
        assert isinstance(word, Refusal)
        self.assertTrue(word.words.startswith("a b c"))
        self.assertLessEqual(len(word.words), 300)
        (word,) = decode_words({"status": "err", "response": {"no": "text"}}, 1)
        self.assertEqual(word, Refusal(RejectReason.OTHER, "{'no': 'text'}"))

    def test_every_sentence_of_the_venue_has_the_desk_s_reason(self) -> None:
        table = {
            "Price must be divisible by tick size. asset=4": RejectReason.PRICE,
            "Order has invalid price.": RejectReason.PRICE,
            "Invalid TP/SL price. asset=1": RejectReason.PRICE,
            "Price too far from oracle asset=3": RejectReason.PRICE,
            "Order price cannot be more than 80% away from the reference price": RejectReason.PRICE,
            "Order price cannot be more than 95% away from the reference price": RejectReason.PRICE,
            "Post only order would have immediately matched, bbo was 1@2. asset=4": RejectReason.PRICE,
            "Order must have minimum value of $10. asset=4": RejectReason.NOTIONAL_MIN,
            "Order must have minimum value of 10 USDC. asset=10107": RejectReason.NOTIONAL_MIN,
            "Insufficient margin to place order. asset=4": RejectReason.MARGIN,
            "Insufficient spot balance asset=10107": RejectReason.MARGIN,
            "Order would cause position to exceed margin tier limit at current leverage.": RejectReason.MARGIN,
            "Reduce only order would increase position. asset=4": RejectReason.REDUCE_ONLY,
            "Order could not immediately match against any resting orders. asset=78": RejectReason.NO_MATCH,
            "No liquidity available for market order.": RejectReason.NO_MATCH,
            "Order would increase open interest while open interest is capped. asset=9": RejectReason.OPEN_INTEREST,
            "Order would flip position while open interest is capped.": RejectReason.OPEN_INTEREST,
            "Order rejected due to price more aggressive than oracle while at open interest cap.": (
                RejectReason.OPEN_INTEREST
            ),
            "Order would increase open interest too quickly.": RejectReason.OPEN_INTEREST,
            "Order has zero size.": RejectReason.SIZE,
            "Order has invalid size.": RejectReason.SIZE,
            "Action already expired": RejectReason.EXPIRED,
            "Too many cumulative requests sent (97460 > 97456) for cumulative volume traded $87457.46. Place taker "
            "orders to free up 1 request per USDC traded.": RejectReason.RATE_LIMIT,
            "Trading is halted.": RejectReason.NOT_TRADABLE,
            "Only post-only orders allowed immediately after a network upgrade": RejectReason.OTHER,
            "User or API Wallet 0x14791697260e4c9a71f18484c9f997b308e59325 does not exist.": RejectReason.OTHER,
            "Must deposit before performing actions. User: 0x1479": RejectReason.OTHER,
            "Unable to recover signer.": RejectReason.OTHER,
            "Invalid nonce: nonce too low 1 < 2": RejectReason.OTHER,
            "Too many open orders": RejectReason.OTHER,
        }
        for sentence, reason in table.items():
            with self.subTest(sentence=sentence):
                self.assertIs(reason_of(sentence), reason)
                self.assertIs(reason_of(sentence.upper()), reason)

    def test_every_ending_of_an_order_has_the_desk_s_reason(self) -> None:
        table = {
            "tickRejected": RejectReason.PRICE,
            "minTradeNtlRejected": RejectReason.NOTIONAL_MIN,
            "perpMarginRejected": RejectReason.MARGIN,
            "reduceOnlyRejected": RejectReason.REDUCE_ONLY,
            "iocCancelRejected": RejectReason.NO_MATCH,
            "marginCanceled": RejectReason.MARGIN,
            "reduceOnlyCanceled": RejectReason.REDUCE_ONLY,
            "positionFlipAtOpenInterestCapRejected": RejectReason.OPEN_INTEREST,
            "somethingNewCanceled": RejectReason.OTHER,
        }
        for state, reason in table.items():
            with self.subTest(state=state):
                self.assertIs(reason_of_state(state), reason)


class Reads(unittest.TestCase):
    def test_delisted_coins_keep_their_place_in_the_universe(self) -> None:
        listings = decode_meta(
            {
                "universe": [
                    {"name": "OLD", "szDecimals": 1, "maxLeverage": 3, "isDelisted": True},
                    {"name": "kPEPE", "szDecimals": 0, "maxLeverage": "10"},
                    {"name": "BTC", "szDecimals": "5", "maxLeverage": 40},
                ]
            }
        )
        self.assertEqual([(coin, one.asset) for coin, one in listings.items()], [("OLD", 0), ("kPEPE", 1), ("BTC", 2)])
        old, pepe, btc = (one.instrument for one in listings.values())
        self.assertTrue(old.delisted)
        self.assertFalse(btc.delisted)
        self.assertEqual((btc.quantity_step, btc.price_decimals_max, btc.leverage_max), (Decimal("0.00001"), 1, 40))
        self.assertEqual((pepe.quantity_step, pepe.price_decimals_max, pepe.notional_min), (1, 6, 10))

    def test_only_a_coin_that_refuses_cross_margin_is_isolated_and_delisted_is_what_is_called_so(self) -> None:
        row = {"szDecimals": 6, "maxLeverage": 3}
        words: tuple[tuple[dict[str, object], bool, bool], ...] = (
            ({}, False, False),
            ({"onlyIsolated": False, "marginMode": "cross", "isDelisted": False}, False, False),
            ({"onlyIsolated": True}, True, False),
            ({"marginMode": "strictIsolated"}, True, False),
            ({"marginMode": "noCross", "isDelisted": True}, True, True),
        )
        universe = [{"name": str(place), **row, **more} for place, (more, _, _) in enumerate(words)]
        found = [(one.isolated, one.instrument.delisted) for one in decode_meta({"universe": universe}).values()]
        self.assertEqual([(isolated, delisted) for _, isolated, delisted in words], found)

    def test_marks_are_matched_to_names_by_place(self) -> None:
        names = [{"name": "A"}, {"name": "N"}, {"name": "B"}]
        answer = [{"universe": names}, [{"markPx": "1.5"}, {"markPx": None}, {"markPx": "0.002"}]]
        self.assertEqual(decode_marks(answer), {"A": Decimal("1.5"), "B": Decimal("0.002")})

    def test_a_book_may_have_an_empty_side_and_an_unknown_coin_has_none(self) -> None:
        answer = {"coin": "ETH", "time": 1795348800000, "levels": [[{"px": "2.1", "sz": "3.0", "n": 1}], []]}
        bids = (Level(Price(Decimal("2.1")), Quantity(Decimal(3))),)
        self.assertEqual(decode_book(answer), BookFrame(Coin("ETH"), bids, (), NOON))
        self.assertIsNone(decode_book(None))

    def test_transfers_come_to_the_perpetuals_and_to_spot_of_the_account_they_concern(self) -> None:
        me, other = "0x" + "aa" * 20, "0x" + "bb" * 20
        usdc, send = {"usdc": "10.5"}, {"type": "send", "token": "USDC", "amount": "10.5", "fee": "0.5"}
        cases: tuple[tuple[dict[str, object], str, str], ...] = (
            ({"type": "deposit", **usdc}, "10.5", "0"),
            ({"type": "withdraw", **usdc, "nonce": 1, "fee": "1.0"}, "-11.5", "0"),
            ({"type": "accountClassTransfer", **usdc, "toPerp": True}, "10.5", "-10.5"),
            ({"type": "accountClassTransfer", **usdc, "toPerp": False}, "-10.5", "10.5"),
            ({"type": "internalTransfer", **usdc, "user": other, "destination": me.upper(), "fee": "1.0"}, "10.5", "0"),
            ({"type": "internalTransfer", **usdc, "user": me, "destination": other, "fee": "1.0"}, "-11.5", "0"),
            ({"type": "subAccountTransfer", **usdc, "user": me, "destination": other}, "-10.5", "0"),
            ({"type": "vaultDeposit", **usdc, "vault": other}, "-10.5", "0"),
            ({"type": "vaultCreate", **usdc, "vault": other, "fee": "100.0"}, "-110.5", "0"),
            ({"type": "vaultWithdraw", "user": me, "requestedUsd": "12", "netWithdrawnUsd": "11.25"}, "11.25", "0"),
            ({**send, "user": me, "destination": other, "sourceDex": "", "destinationDex": ""}, "-11", "0"),
            ({**send, "user": other, "destination": me, "sourceDex": "", "destinationDex": ""}, "10.5", "0"),
            ({**send, "user": me, "destination": me, "sourceDex": "spot", "destinationDex": ""}, "10.5", "-11"),
            ({**send, "user": me, "destination": me, "sourceDex": "", "destinationDex": "xyz"}, "-11", "0"),
            ({**send, "token": "HYPE", "user": me, "destination": other, "sourceDex": ""}, "0", "0"),
            (
                {**send, "type": "spotTransfer", "user": me, "destination": other, "fee": "1", "feeToken": "HYPE"},
                "0",
                "-10.5",
            ),
            (
                {"type": "spotTransfer", "token": "USDC:0x6d", "amount": "10.5", "user": other, "destination": me},
                "0",
                "10.5",
            ),
            ({"type": "liquidation", "accountValue": "3"}, "0", "0"),
            ({"type": "somethingNew", "usdc": "5"}, "0", "0"),
        )
        for delta, perps, spot in cases:
            with self.subTest(delta):
                (one,) = decode_transfers([{"time": 1795348800000, "hash": "0x1", "delta": delta}], me)
                self.assertEqual((one.perps, one.spot, one.at), (Decimal(perps), Decimal(spot), NOON))

    def test_two_transfers_of_one_instant_are_two_and_one_told_twice_is_one(self) -> None:
        rows = [{"time": 1, "hash": "0x1", "delta": {"type": "deposit", "usdc": usdc}} for usdc in ("1", "2", "1")]
        self.assertEqual(len({one.key for one in decode_transfers(rows, "0x")}), 2)

    def test_small_answers_decode(self) -> None:
        self.assertEqual(decode_time({"time": 1795348800000, "specialStatuses": None}), NOON)
        self.assertEqual(decode_leverage({"leverage": {"type": "cross", "value": 20}}), (True, 20))
        self.assertEqual(decode_leverage({"leverage": {"type": "isolated", "value": "3"}}), (False, 3))
        self.assertEqual(decode_taker_fee({"userCrossRate": "0.000432"}), Decimal("0.000432"))
        for mode, unified in (("unifiedAccount", True), ("portfolioMargin", True), ("default", False)):
            self.assertEqual(decode_unified(mode), unified)
        self.assertEqual(decode_collateral({"balances": [{"coin": "HYPE", "total": "4.4"}]}), 0)
        role = decode_role({"role": "agent", "data": {"user": "0xABC"}})
        self.assertEqual((role.kind, role.owner), ("agent", "0xabc"))
        self.assertIsNone(decode_role({"role": "user"}).owner)
        (agent,) = decode_agents([{"name": "bot", "address": "0xAB", "validUntil": 1795348800000}])
        self.assertEqual((agent.name, agent.address, agent.valid_until), ("bot", "0xab", NOON))

    def test_a_fill_knows_its_order_its_fee_and_whether_it_has_a_client_order_id(self) -> None:
        row = {"coin": "ETH", "px": "2.5", "sz": "4", "side": "A", "fee": "-0.001", "oid": 7, "tid": 9}
        row["time"] = 1795348800000
        plain, named = decode_fills([row, {**row, "cloid": "0xAB"}])
        self.assertEqual((plain.price, plain.quantity, plain.fee), (Decimal("2.5"), 4, Decimal("-0.001")))
        self.assertEqual((plain.oid, plain.tid, plain.side), (7, 9, Side.SELL))
        self.assertEqual((plain.cloid, named.cloid), (None, "0xab"))

    def test_a_fill_of_the_account_knows_what_caused_it(self) -> None:
        """Whoever trades with a liquidation has its mark on the fill, too, and has lost nothing."""
        me, other = "0x" + "ab" * 20, "0x" + "cd" * 20
        row = {"coin": "ETH", "px": "2.5", "sz": "4", "side": "B", "fee": "0.1", "oid": 7, "tid": 9}
        row |= {"time": 1795348800000, "cloid": "0xAB"}
        rows: tuple[tuple[dict[str, object], FillCause], ...] = (
            ({}, FillCause.ORDER),
            ({"dir": None, "liquidation": None}, FillCause.ORDER),
            ({"dir": "Close Long", "liquidation": {"liquidatedUser": other}}, FillCause.ORDER),
            ({"dir": "Close Long", "liquidation": {"liquidatedUser": me.upper().replace("X", "x")}}, LIQUIDATED),
            ({"dir": "Liquidated Cross Long"}, LIQUIDATED),
            ({"dir": "Auto-Deleveraging"}, FillCause.AUTO_DELEVERAGING),
            ({"dir": "Settlement"}, FillCause.SETTLEMENT),
        )
        for more, cause in rows:
            with self.subTest(more):
                (fill,) = decode_fills([{**row, **more}])
                told = account_fill(fill, me)
                self.assertIs(cause, told.cause)
                self.assertEqual((Side.BUY, "0xab", 4, NOON), (*told_by(told), told.filled_at))
        (nameless,) = decode_fills([{**row, "cloid": None}])
        self.assertIsNone(account_fill(nameless, me).client_order_id)

    def test_what_is_listed_has_a_trigger_for_as_long_as_it_waits_for_one(self) -> None:
        row = {"coin": "ETH", "side": "A", "sz": "0.5", "limitPx": "2700.0", "triggerPx": "3000.0", "cloid": "0xAB"}
        waiting, fired, plain = decode_listed(
            [{**row, "isTrigger": True}, {**row, "isTrigger": False}, {**row, "side": "B", "cloid": None}]
        )
        self.assertEqual((3000, None, None), (waiting.trigger_price, fired.trigger_price, plain.trigger_price))
        self.assertEqual(("0xab", "0xab", None), tuple(one.client_order_id for one in (waiting, fired, plain)))
        self.assertEqual((Side.SELL, Side.BUY), (waiting.side, plain.side))
        self.assertEqual((Decimal("0.5"), 2700), (plain.quantity, plain.limit_price))
        with self.assertRaises(VenueUnavailable):
            decode_listed([{**row, "isTrigger": True, "triggerPx": "0.0"}])

    def test_what_settles_at_zero_hides_no_other_fill(self) -> None:
        row = {"px": "2.5", "sz": "4", "side": "A", "fee": "0", "oid": 7, "tid": 9, "time": 1795348800000}
        settled = {**row, "coin": "#120", "px": "0.0", "dir": "Settlement"}
        self.assertEqual([one.price for one in decode_fills([{**row, "coin": "ETH"}, settled])], [Decimal("2.5"), 0])
        with self.assertRaises(VenueUnavailable):
            decode_fills([{**settled, "px": "-1"}])

    def test_an_unknown_order_is_none(self) -> None:
        self.assertIsNone(decode_order_state({"status": "unknownOid"}))

    def test_flat_rows_are_no_holdings_and_a_missing_liquidation_price_is_none(self) -> None:
        position = {
            "coin": "ETH",
            "szi": "0.0",
            "leverage": {"type": "cross", "value": 5},
            "entryPx": "1",
            "positionValue": "0",
            "unrealizedPnl": "0",
            "liquidationPx": None,
            "marginUsed": "0",
            "maxLeverage": 50,
        }
        state = decode_state(
            {
                "marginSummary": {"accountValue": "10", "totalMarginUsed": "1"},
                "crossMaintenanceMarginUsed": "0.5",
                "assetPositions": [{"position": position}, {"position": {**position, "coin": "SOL", "szi": "2"}}],
                "time": 1795348800000,
            }
        )
        self.assertEqual(set(state.holdings), {"SOL"})
        self.assertIsNone(state.holdings[Coin("SOL")].liquidation_price)
        self.assertEqual((state.maintenance, state.at), (Decimal("0.5"), NOON))

    def test_a_mark_is_what_one_coin_is_worth_and_none_where_nothing_is_said_of_it(self) -> None:
        leverage = {"type": "cross", "value": 5}
        position = {"coin": "ETH", "szi": "-2", "leverage": leverage, "entryPx": "100", "unrealizedPnl": "0"}
        rest = {"marginSummary": {"accountValue": "10", "totalMarginUsed": "1"}, "crossMaintenanceMarginUsed": "0.5"}
        for value, mark in (("201", Decimal("100.5")), (None, None)):
            row = {"position": {**position, "positionValue": value}}
            state = decode_state({**rest, "assetPositions": [row], "time": 1795348800000})
            self.assertEqual(state.holdings[Coin("ETH")].mark_price, mark)

    def test_what_is_not_held_cross_has_a_maintenance_of_its_own_whatever_it_is_called(self) -> None:
        for kind, maintenance in (("cross", "0.5"), ("isolated", "5.5"), ("aNewOne", "5.5"), (None, "5.5")):
            position = {
                "coin": "ETH",
                "szi": "2",
                "leverage": {"type": kind, "value": 5},
                "entryPx": "100",
                "positionValue": "200",
                "unrealizedPnl": "0",
                "liquidationPx": None,
                "maxLeverage": 20,
            }
            state = decode_state(
                {
                    "marginSummary": {"accountValue": "10", "totalMarginUsed": "1"},
                    "crossMaintenanceMarginUsed": "0.5",
                    "assetPositions": [{"position": position}],
                    "time": 1795348800000,
                }
            )
            self.assertEqual(state.maintenance, Decimal(maintenance))
            self.assertEqual(state.leverages, {"ETH": 5} if kind == "cross" else {})

    def test_an_answer_of_another_shape_is_unavailable_never_believed(self) -> None:
        meta = {"name": "A", "szDecimals": 1, "maxLeverage": 3}
        cases: tuple[tuple[Callable[[object], object], object], ...] = (
            (decode_meta, None),
            (decode_meta, {"universe": {}}),
            (decode_meta, {"universe": []}),
            (decode_meta, {"universe": [{**meta, "szDecimals": 7}]}),
            (decode_meta, {"universe": [{**meta, "szDecimals": True}]}),
            (decode_meta, {"universe": [{**meta, "szDecimals": "-1"}]}),
            (decode_meta, {"universe": [{**meta, "name": ""}]}),
            (decode_marks, [{"universe": []}]),
            (decode_marks, [{"universe": [meta]}, []]),
            (decode_book, {"coin": "A", "time": 1, "levels": [[]]}),
            (decode_book, {"coin": "A", "time": 1, "levels": [[{"px": "0", "sz": "1"}], []]}),
            (decode_book, {"coin": "A", "time": 1, "levels": [[{"px": "x", "sz": "1"}], []]}),
            (decode_book, {"coin": "A", "time": 1, "levels": [[{"px": 1.5, "sz": "1"}], []]}),
            (decode_book, {"coin": "A", "time": 10**20, "levels": [[], []]}),
            (decode_state, {}),
            (decode_unified, {"mode": "default"}),
            (decode_unified, "somethingNew"),
            (decode_unified, None),
            (decode_order_state, {"status": "order"}),
            (decode_order_state, []),
            (decode_fills, {"rows": []}),
            (
                decode_fills,
                [{"coin": "A", "px": "1", "sz": "1", "side": "C", "fee": "0", "oid": 1, "tid": 1, "time": 1}],
            ),
            (decode_funding, [{"time": 1}]),
            (lambda one: decode_transfers(one, ""), [{"time": 1, "delta": {"type": "deposit"}}]),
            (lambda one: decode_transfers(one, ""), [{"time": 1, "hash": "0x", "delta": {"usdc": "1"}}]),
            (decode_candles, [{"t": 1}]),
            (decode_role, {"data": {}}),
            (decode_leverage, {}),
            (decode_taker_fee, {"userCrossRate": "Infinity"}),
            (decode_taker_fee, {"userCrossRate": "1e999999"}),
            (decode_taker_fee, {"userCrossRate": "1e-50"}),
            (decode_role, {"role": 5}),
            *((decode_time, {"time": one}) for one in (None, "-5", "1.5", "1e3", "٣", "9" * 5000, True, 1.5)),
        )
        for decode, answer in cases:
            with self.subTest(decode=decode, answer=answer), self.assertRaises(VenueUnavailable):
                decode(answer)


if __name__ == "__main__":
    unittest.main()
