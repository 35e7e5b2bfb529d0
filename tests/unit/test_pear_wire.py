"""Pear's wire: what is posted is what was meant, and an answer is believed in full or not at all."""

import json
import unittest
from datetime import timedelta
from decimal import Decimal

from tests.fakes import NOON
from trading.adapters import pear_wire as wire
from trading.adapters.pear_cuts import as_held, cuts_of
from trading.adapters.pear_wire import Basket, Part, Refused, Unclear
from trading.domain.errors import VenueUnavailable
from trading.domain.market import Holding
from trading.domain.orders import Order, RejectReason, Side
from trading.domain.resting import PairLine
from trading.domain.units import ClientOrderId, Coin, Price, Quantity, Usd

BTC, ETH, SOL = Coin("BTC"), Coin("ETH"), Coin("SOL")
MIDS = {BTC: Price(Decimal(100_000)), ETH: Price(Decimal(4000)), SOL: Price(Decimal(200))}


def an_order(coin: Coin, side: Side, quantity: str, limit: str) -> Order:
    return Order(
        client_order_id=ClientOrderId("0x" + "0a" * 16),
        coin=coin,
        side=side,
        quantity=Quantity(Decimal(quantity)),
        limit_price=Price(Decimal(limit)),
        reduce_only=False,
        slice_number=1,
        attempt=0,
        intended_at=NOON,
        expires_at=NOON + timedelta(seconds=10),
    )


def a_basket(**changes: object) -> dict[str, object]:
    parts = [{"coin": "BTC", "actualSize": Decimal("0.01"), "targetWeight": 1}], [{"coin": "ETH", "actualSize": "0.25"}]
    row: dict[str, object] = {"positionId": "pos_1", "updatedAt": "2026-01-01T00:00:00.000Z"}
    return {**row, "longAssets": parts[0], "shortAssets": parts[1], "entryRatio": 5, "entryPriceRatio": 25} | changes


class ToTheWire(unittest.TestCase):
    def test_an_opening_is_dollars_and_weights_that_add_up_to_one_over_both_sides(self) -> None:
        orders = an_order(BTC, Side.BUY, "0.01", "100300"), an_order(ETH, Side.SELL, "0.5", "3990")
        slippage = wire.slippage_of(orders, MIDS)
        body = wire.encode_open(orders, MIDS, 2, slippage, "key")
        self.assertEqual(body["usdValue"], 3000.0)
        self.assertEqual(body["longAssets"], [{"asset": "BTC", "weight": 0.3333333333}])
        self.assertEqual(body["shortAssets"], [{"asset": "ETH", "weight": 0.6666666667}])
        self.assertEqual((body["executionType"], body["leverage"], body["idempotencyKey"]), ("MARKET", 2, "key"))
        self.assertEqual(body["slippage"], 0.0025)

    def test_the_band_is_the_stricter_one_and_never_beyond_pear_s_widest(self) -> None:
        for limits, band in (
            (("100300", "3980"), "0.003"),
            (("100500", "3996"), "0.001"),
            (("150000", "2000"), "0.1"),
            (("99000", "3990"), "-0.01"),
        ):
            with self.subTest(limits=limits):
                orders = an_order(BTC, Side.BUY, "1", limits[0]), an_order(ETH, Side.SELL, "1", limits[1])
                self.assertEqual(wire.slippage_of(orders, MIDS), Decimal(band))

    def test_a_cut_names_every_coin_of_the_basket_with_what_it_is_to_have(self) -> None:
        parts = Part(BTC, Side.BUY, Quantity(Decimal("0.01"))), Part(ETH, Side.SELL, Quantity(Decimal("0.25")))
        basket = Basket("pos_1", parts, "", None, None, None, None)
        body = wire.encode_targets(basket, {ETH: Quantity(Decimal("0.1"))})
        row = {"longAssets": [{"asset": "BTC", "size": 0.01}], "shortAssets": [{"asset": "ETH", "size": 0.1}]}
        self.assertEqual(body, [row])

    def test_no_more_is_left_of_a_coin_than_is_held_but_where_one_lies_against_another(self) -> None:
        one, oil = Quantity(Decimal(1)), Coin("xyz:CL")
        parts = Part(BTC, Side.BUY, one), Part(ETH, Side.SELL, one), Part(SOL, Side.SELL, one), Part(oil, Side.BUY, one)
        pair = Basket("pos_1", parts, "", None, None, None, None)
        against = Basket("pos_2", (Part(SOL, Side.BUY, one),), "", None, None, None, None)
        held = {coin: Holding(coin, Quantity(Decimal("0.4")), MIDS[coin]) for coin in (BTC, ETH)}
        first, _ = as_held((pair, against), held, MIDS)
        sizes = {part.coin: part.quantity for part in first.parts}
        self.assertEqual({BTC: Decimal("0.4"), ETH: Decimal(0), SOL: one, oil: one}, sizes)

    def test_a_coin_is_taken_from_where_it_is_held_on_the_other_side_of_the_order(self) -> None:
        """What somebody holds the other way round would be made smaller by buying."""
        one = Quantity(Decimal(1))
        short = Basket("pos_2", (Part(BTC, Side.SELL, one),), "2026-01-02", None, None, None, None)
        long = Basket("pos_1", (Part(BTC, Side.BUY, one),), "2026-01-01", None, None, None, None)
        order = an_order(BTC, Side.SELL, "1", "99000")
        self.assertEqual([cut.basket for cut in cuts_of([order], [short, long])], [long])
        self.assertEqual(cuts_of([order], [short]), [])

    def test_lines_are_dollars_and_positive(self) -> None:
        one = Quantity(Decimal(1))
        body = wire.encode_lines(PairLine(BTC, one, ETH, one, Usd(Decimal("30.004")), Usd(Decimal("17.5"))))
        self.assertEqual(body["takeProfit"], {"type": "DOLLAR", "value": 30.0})
        self.assertEqual(wire.decode_lines(body), (Decimal("30.00"), Decimal("17.50")))


class Refusals(unittest.TestCase):
    def said(self, status: int, body: object) -> Refused | Unclear:
        return wire.refusal_in(status, json.dumps(body).encode())

    def test_a_4xx_in_pear_s_own_words_is_a_no(self) -> None:
        for code, reason, nothing in (
            ("HL_INSUFFICIENT_MARGIN", RejectReason.MARGIN, False),
            ("HL_INSUFFICIENT_SPOT_BALANCE", RejectReason.MARGIN, False),
            ("HL_AGENT_WALLET_REVOKED", RejectReason.NOT_TRADABLE, False),
            ("HL_SOMETHING_NEW", RejectReason.OTHER, False),
            ("INVALID_FIELD_VALUE", RejectReason.OTHER, True),
            ("POSITION_NOT_FOUND", RejectReason.REDUCE_ONLY, True),
            ("POSITION_UNAUTHORIZED", RejectReason.OTHER, True),
            ("SOMETHING_NEW", RejectReason.OTHER, False),
            ("UNKNOWN", RejectReason.OTHER, False),
        ):
            for status in (400, 403):
                with self.subTest(code=code, status=status):
                    found = self.said(status, {"statusCode": status, "message": "no", "code": code})
                    assert isinstance(found, Refused)
                    self.assertEqual((found.reason, found.surely_nothing), (reason, nothing))
        for new in (None, "SOMETHING_NEW"):
            for status, nothing in ((400, False), (401, True), (403, False), (404, True)):
                with self.subTest(code=new, status=status):
                    found = self.said(status, {"statusCode": status, "message": "no", "code": new})
                    assert isinstance(found, Refused)
                    self.assertIs(found.surely_nothing, nothing)
        several = self.said(400, {"statusCode": 400, "message": ["a is wrong", "b\nis wrong"]})
        assert isinstance(several, Refused)
        self.assertEqual((several.words, several.surely_nothing), ("a is wrong; b is wrong", True))

    def test_everything_else_says_nothing_about_what_was_done(self) -> None:
        for status in (408, 409, 429, 500, 502, 503, 302):
            with self.subTest(status=status):
                self.assertIsInstance(self.said(status, {"message": "no", "code": "INTERNAL_ERROR"}), Unclear)
        nothing: tuple[object, ...] = ({"code": "X"}, [], {"message": 5})
        for body in nothing:
            self.assertIsInstance(self.said(400, body), Unclear)
        self.assertIsInstance(wire.refusal_in(400, b"<html>"), Unclear)

    def test_what_pear_itself_says_it_does_not_do_now_has_not_begun(self) -> None:
        for status, told in ((408, True), (409, True), (429, True), (500, False), (503, False)):
            for code in (None, "ACTIVE_TRADE_TIMEOUT"):
                with self.subTest(status=status, code=code):
                    self.assertEqual(self.not_begun(status, {"message": "no", "code": code}), told)
                    self.assertFalse(self.not_begun(status, {"code": code}))

    def not_begun(self, status: int, body: object) -> bool:
        found = self.said(status, body)
        assert isinstance(found, Unclear)
        return found.not_begun


class Answers(unittest.TestCase):
    def test_numbers_may_be_texts_and_unknown_fields_are_ignored(self) -> None:
        (basket,) = wire.decode_baskets([a_basket(somethingNew={"a": 1}, takeProfit={"type": "DOLLAR", "value": "12"})])
        self.assertEqual(
            [(one.coin, one.side, one.quantity) for one in basket.parts][1], (ETH, Side.SELL, Decimal("0.25"))
        )
        self.assertEqual((basket.take_profit, basket.stop_loss), (Decimal(12), None))
        self.assertEqual((basket.weighted_ratio, basket.price_ratio), (5, 25))
        self.assertIsNone(basket.part(SOL))

    def test_the_geometric_ratio_is_told_from_that_of_the_prices(self) -> None:
        for weighted, told in ((5, False), (Decimal("5.2"), False), (25, True), (None, False)):
            with self.subTest(weighted=weighted):
                (basket,) = wire.decode_baskets([a_basket(entryRatio=weighted)])
                self.assertIs(wire.takes_weights_per_side(basket), told)
        (single,) = wire.decode_baskets([a_basket(entryPriceRatio=None)])
        self.assertFalse(wire.takes_weights_per_side(single))

    def test_a_sweep_is_read_by_position(self) -> None:
        rows = [{"positionId": "a", "success": True}, {"positionId": "b", "success": False, "error": "busy"}]
        self.assertEqual(wire.decode_failures({"results": rows}), {"b": "busy"})
        others: tuple[object, ...] = ({"orderId": "x"}, [], {"results": "none"})
        for answer in others:
            self.assertEqual(wire.decode_failures(answer), {})

    def test_a_line_that_trails_is_not_ours_and_hides_no_position(self) -> None:
        for line in (
            {"type": "DOLLAR", "isTrailing": True, "trailingDeltaValue": 3},
            {"type": "DOLLAR", "value": 12, "isTrailing": True, "trailingDeltaValue": 3},
            {"type": "DOLLAR", "value": None},
        ):
            with self.subTest(line=line):
                (basket,) = wire.decode_baskets([a_basket(takeProfit=line)])
                self.assertIsNone(basket.take_profit)

    def test_what_no_close_needs_hides_no_position(self) -> None:
        odd: tuple[dict[str, object], ...] = (
            {"takeProfit": {"type": "DOLLAR", "value": "soon"}},
            {"stopLoss": {"type": "DOLLAR", "value": {}}},
            {"stopLoss": {"type": "DOLLAR", "value": Decimal("1e30")}},
            {"entryRatio": "NaN"},
            {"entryPriceRatio": []},
        )
        for more in odd:
            with self.subTest(more=more):
                (basket,) = wire.decode_baskets([a_basket(**more)])
                self.assertEqual([one.coin for one in basket.parts], [BTC, ETH])
                self.assertEqual((basket.take_profit, basket.stop_loss), (None, None))
                self.assertFalse(wire.takes_weights_per_side(basket))

    def test_a_position_that_cannot_be_read_hides_no_other_and_has_nothing_to_be_traded(self) -> None:
        """It may be anybody's. None was closed through Pear for as long as it stood there."""
        odd: tuple[object, ...] = (
            None,
            a_basket(positionId=None),
            a_basket(positionId=7),
            a_basket(longAssets={}),
            a_basket(longAssets=[None]),
            a_basket(longAssets=[{"actualSize": 1}]),
            *(
                a_basket(longAssets=[{"coin": "BTC", "actualSize": size}])
                for size in (None, "x", "NaN", "1e999999", True, Decimal("1e30"))
            ),
        )
        for row in odd:
            with self.subTest(row=row):
                first, unread, last = wire.decode_baskets([a_basket(), row, a_basket(positionId="pos_2")])
                self.assertEqual((first.id, last.id, len(last.parts)), ("pos_1", "pos_2", 2))
                self.assertEqual((unread.id, unread.parts, first.unread), ("", (), ""))
                self.assertIn("something else than expected", unread.unread)

    def test_a_hair_of_a_coin_is_none(self) -> None:
        sizes = {"longAssets": [{"coin": "BTC", "actualSize": Decimal("5.551115123125783e-17")}]}
        (basket,) = wire.decode_baskets([a_basket(**sizes)])
        self.assertEqual([one.coin for one in basket.parts], [ETH])

    def test_a_position_of_one_side_may_come_without_the_other(self) -> None:
        (basket,) = wire.decode_baskets([a_basket(shortAssets=None)])
        self.assertEqual([one.coin for one in basket.parts], [BTC])

    def test_a_line_in_another_unit_is_not_ours(self) -> None:
        (basket,) = wire.decode_baskets([a_basket(stopLoss={"type": "PERCENTAGE", "value": 8})])
        self.assertIsNone(basket.stop_loss)

    def test_the_fills_of_an_opening_are_summed_by_the_exchange_s_order(self) -> None:
        fills = [{"coin": "ETH", "sz": "0.1", "oid": 7}, {"coin": "ETH", "sz": "0.2", "oid": "7"}]
        created = wire.decode_created({"orderId": "a", "fills": fills})
        self.assertEqual(created.told, {7: (ETH, Decimal("0.3"))})
        self.assertEqual(wire.decode_created({"orderId": "a"}).told, {})

    def test_no_agent_is_said_in_several_ways(self) -> None:
        for answer in ({}, {"agentWalletAddress": None}, {"agentWalletAddress": ""}):
            self.assertIsNone(wire.decode_agent(answer))
        self.assertEqual(wire.decode_agent({"agentWalletAddress": "0xAB"}), "0xab")

    def test_what_has_another_shape_is_not_believed(self) -> None:
        tokens = {"accessToken": "a", "refreshToken": "b", "expiresIn": 900}
        self.assertEqual(wire.decode_tokens(tokens).expires_in, 900)
        for decode, answer in (
            (wire.decode_tokens, {**tokens, "expiresIn": 0}),
            (wire.decode_tokens, {**tokens, "accessToken": ""}),
            (wire.decode_tokens, []),
            (wire.decode_baskets, {}),
            (wire.decode_created, {"fills": []}),
            (wire.decode_created, {"orderId": "a", "fills": [{"coin": "ETH", "sz": "1"}]}),
        ):
            with self.subTest(decode=decode.__name__, answer=answer), self.assertRaises(VenueUnavailable):
                decode(answer)


if __name__ == "__main__":
    unittest.main()
