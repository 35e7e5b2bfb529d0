"""What Hyperliquid really answered decodes, and what the official SDK signed is signed alike bit for bit."""

import json
import re
import unittest
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from trading.adapters.hyperliquid_actions import Executed, Refusal, Working, decode_done, decode_words, encode_orders
from trading.adapters.hyperliquid_signing import Signer
from trading.adapters.hyperliquid_wire import (
    decode_agents,
    decode_book,
    decode_candles,
    decode_collateral,
    decode_fills,
    decode_funding,
    decode_meta,
    decode_order_state,
    decode_role,
    decode_state,
    decode_transfers,
    reason_of_state,
)
from trading.adapters.keys import open_wallet
from trading.domain.orders import Order, RejectReason, Side
from trading.domain.units import ClientOrderId, Coin, Price, Quantity
from trading.utils.trade_calculator import liquidation_price

FOLDER = Path(__file__).parent / "hyperliquid"
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


def recorded(name: str) -> Any:
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"), parse_float=Decimal)


class Signatures(unittest.TestCase):
    def test_every_vector_is_signed_bit_for_bit_on_both_networks(self) -> None:
        found = recorded("l1-signing-vectors")
        wallet = open_wallet(found["private_key_public_test_value"])
        self.assertEqual(wallet.address, found["address"].lower())
        own = [one for one in found["vectors"] if one["vaultAddress"] is None]
        self.assertGreater(len(own), 10)
        for vector in own:
            for network, expected in vector["signatures"].items():
                with self.subTest(vector=vector["name"], expires=vector["expiresAfter"], network=network):
                    mainnet = network == "mainnet"
                    signed = wallet.signature(
                        vector["action"], vector["nonce"], vector["expiresAfter"], mainnet=mainnet
                    )
                    self.assertEqual(signed, {part: expected[part] for part in ("r", "s", "v")})

    def test_an_order_of_ours_is_the_request_that_the_sdk_posts(self) -> None:
        calls = {one["call"]: one["requests"] for one in recorded("sdk-0.24.0-requests")["calls"]}
        bodies = [
            json.loads(request["raw_body"])
            for requests in calls.values()
            for request in requests
            if request["path"] == "/exchange"
        ]
        posted = [one for one in bodies if one["action"]["type"] == "order"]
        wallet = open_wallet(recorded("l1-signing-vectors")["private_key_public_test_value"])
        compared = 0
        for body in posted:
            orders = body["action"]["orders"]
            if body["vaultAddress"] or any("Ioc" not in str(one["t"]) for one in orders) or "builder" in body["action"]:
                continue
            ours = encode_orders([order_of(one) for one in orders], {Coin(str(one["a"])): one["a"] for one in orders})
            for wire, sent in zip(ours["orders"], orders, strict=True):  # type: ignore[call-overload]  # a list of rows
                if "c" not in sent:
                    del wire["c"]
            with self.subTest(body=body):
                self.assertEqual(json.dumps(ours), json.dumps(body["action"]))
                signed = wallet.signature(ours, body["nonce"], body["expiresAfter"], mainnet=False)
                self.assertEqual(signed, body["signature"])
                compared += 1
        self.assertGreater(compared, 2)

    def test_requests_carry_what_the_sdk_s_do(self) -> None:
        calls = recorded("sdk-0.24.0-requests")["calls"]
        body = next(
            json.loads(request["raw_body"])
            for call in calls
            for request in call["requests"]
            if request["path"] == "/exchange"
        )
        wallet = open_wallet(recorded("l1-signing-vectors")["private_key_public_test_value"])
        register: Any = None
        ours = Signer(wallet, register, mainnet=False).request(body["action"], body["nonce"])
        self.assertEqual(ours, body)
        self.assertEqual(list(ours), list(body))


def order_of(wire: dict[str, Any]) -> Order:
    return Order(
        client_order_id=ClientOrderId(wire.get("c", "0x" + "0" * 32)),
        coin=Coin(str(wire["a"])),
        side=Side.BUY if wire["b"] else Side.SELL,
        quantity=Quantity(Decimal(wire["s"])),
        limit_price=Price(Decimal(wire["p"])),
        reduce_only=wire["r"],
        slice_number=0,
        attempt=0,
        intended_at=NOON,
        expires_at=NOON,
    )


class Liquidation(unittest.TestCase):
    """The formula gives what the venue printed, at as many digits as it printed."""

    def assert_digits(self, position: dict[str, Any], margin_available: Decimal) -> None:
        quantity, printed = Decimal(position["szi"]), Decimal(position["liquidationPx"])
        mark = Decimal(position["positionValue"]) / abs(quantity)
        side = Side.BUY if quantity > 0 else Side.SELL
        found = liquidation_price(side, abs(quantity), mark, margin_available, 2 * int(position["maxLeverage"]))
        assert found is not None
        self.assertEqual(found.quantize(printed), printed)

    def test_cross_positions(self) -> None:
        account = recorded("clearinghouseState_cross_short_and_long")
        spare = Decimal(account["crossMarginSummary"]["accountValue"]) - Decimal(account["crossMaintenanceMarginUsed"])
        printed = [one["position"] for one in account["assetPositions"] if one["position"]["liquidationPx"]]
        self.assertTrue(printed)
        for position in printed:
            with self.subTest(coin=position["coin"]):
                self.assert_digits(position, spare)

    def test_isolated_positions(self) -> None:
        for name in ("clearinghouseState_isolated_short", "clearinghouseState_hip3_isolated_long_resting_order"):
            for element in recorded(name)["assetPositions"]:
                position = element["position"]
                value, margin = Decimal(position["positionValue"]), Decimal(position["marginUsed"])
                with self.subTest(coin=position["coin"]):
                    self.assert_digits(position, margin - value / (2 * int(position["maxLeverage"])))

    def test_a_long_that_nothing_can_liquidate_has_no_price(self) -> None:
        account = recorded("clearinghouseState_cross_short_and_long")
        spare = Decimal(account["crossMarginSummary"]["accountValue"]) - Decimal(account["crossMaintenanceMarginUsed"])
        long = next(one["position"] for one in account["assetPositions"] if not one["position"]["liquidationPx"])
        quantity = Decimal(long["szi"])
        mark = Decimal(long["positionValue"]) / quantity
        self.assertIsNone(liquidation_price(Side.BUY, quantity, mark, spare, 2 * int(long["maxLeverage"])))


class Answers(unittest.TestCase):
    def test_accounts(self) -> None:
        cross = decode_state(recorded("clearinghouseState_cross_short_and_long"))
        self.assertEqual(
            (cross.account_value, cross.margin_used, cross.maintenance),
            (Decimal("11524.216934"), Decimal("194.409"), Decimal("38.8818")),
        )
        short = cross.holdings[Coin("SOL")]
        self.assertEqual((short.quantity, short.entry_price), (Decimal("-0.5"), Decimal("138.76")))
        self.assertEqual(short.liquidation_price, Decimal("22881.19788911"))
        self.assertEqual(cross.leverages[Coin("SOL")], 20)
        flat = decode_state(recorded("clearinghouseState_flat_with_order_hold"))
        self.assertEqual((dict(flat.holdings), flat.account_value), ({}, Decimal("20.454862")))
        isolated = decode_state(recorded("clearinghouseState_isolated_short"))
        self.assertEqual(isolated.maintenance, Decimal("9.629"))
        # Else an opening beside it would take its leverage for agreed, and become isolated, too.
        self.assertEqual((len(isolated.holdings), dict(isolated.leverages)), (1, {}))
        hip3 = decode_state(recorded("clearinghouseState_hip3_isolated_long_resting_order"))
        self.assertEqual(hip3.holdings[Coin("flx:CRCL")].quantity, Decimal("0.13"))
        self.assertEqual(decode_collateral(recorded("spotClearinghouseState_2025")), Decimal("1.2908594"))

    def test_words_on_orders(self) -> None:
        market = decode_words(recorded("createOrder_market_filled"), 1)
        self.assertEqual(market, (Executed(296683658818, Decimal(1), Decimal("25.585")),))
        bracket = decode_words(recorded("createOrder_normalTpsl_filled_waitingForTrigger"), 3)
        waiting = Working("waitingForTrigger")
        self.assertEqual(bracket, (Executed(211341310459, Decimal(1), Decimal("39.9351")), waiting, waiting))

    def test_probes_of_the_test_network(self) -> None:
        probes = {re.match(r"P\w+", one["probe"])[0]: one["response"] for one in recorded("probes_testnet_2026-10")}  # type: ignore[index]  # every probe has a number
        by_text = {one["probe"]: one["response"] for one in recorded("probes_testnet_2026-10")}
        (shrunk,) = decode_words(by_text["P1 RO IOC sell 0.05 vs long 0.02 ETH"], 1)
        self.assertEqual(shrunk, Executed(62014444172, Decimal("0.02"), Decimal("2686.6")))
        cases = (
            ("P3", RejectReason.REDUCE_ONLY),
            ("P7", RejectReason.NOTIONAL_MIN),
        )
        for number, reason in cases:
            answer = {"status": "ok", "response": {"type": "order", "data": {"statuses": [probes[number]]}}}
            (word,) = decode_words(answer, 1)
            assert isinstance(word, Refusal)
            self.assertIs(word.reason, reason)
        overweight = decode_done(by_text["P4 201 cancels in one action"])
        self.assertEqual(overweight, Refusal(RejectReason.OTHER, "Signed action over weight limit of 200."))

    def test_states_of_orders(self) -> None:
        filled = decode_order_state(recorded("orderStatus_filled_2024"))
        assert filled is not None
        self.assertEqual(
            (filled.oid, filled.original, filled.remaining, filled.state), (6463065738, Decimal("0.2"), 0, "filled")
        )
        for name in ("orderStatus_open_alo_2025", "orderStatus_open_hip3_2025"):
            state = decode_order_state(recorded(name))
            assert state is not None
            self.assertTrue(state.open)
        for name in ("historicalOrders", "historicalOrders_ioc_filled_2024"):
            for row in recorded(name):
                state = decode_order_state({"status": "order", "order": row})
                assert state is not None
                self.assertTrue(state.rejected or state.state in ("filled", "open", "canceled", "triggered"), state)
                if state.rejected:
                    self.assertIs(reason_of_state(state.state), RejectReason.NO_MATCH)

    def test_the_market(self) -> None:
        listings = decode_meta(recorded("meta_2023"))
        self.assertEqual([listings[Coin(coin)].asset for coin in ("BTC", "ETH", "SOL", "kPEPE")], [0, 1, 5, 15])
        self.assertEqual(listings[Coin("BTC")].instrument.quantity_step, Decimal("0.00001"))
        book = decode_book({**recorded("l2Book_2023"), "time": 1684702800000})
        assert book is not None
        self.assertEqual((book.bids[0].price, book.asks[0].price), (Decimal("2.111"), Decimal("2.1124")))
        self.assertEqual((len(book.bids), len(book.asks)), (20, len(recorded("l2Book_2023")["levels"][1])))
        for name in ("candleSnapshot_2023", "candleSnapshot_BTC_1m_2024"):
            bars = decode_candles(recorded(name))
            self.assertEqual(len(bars), len(recorded(name)))
            self.assertTrue(all(one.low <= min(one.open, one.close) <= one.high for one in bars))

    def test_money_that_moved(self) -> None:
        rows = decode_funding(recorded("userFunding"))
        self.assertEqual(len(rows), len(recorded("userFunding")))
        self.assertEqual(
            (rows[0].coin, rows[0].usdc, rows[0].quantity), ("APE", Decimal("0.145796"), Decimal("40.13333333"))
        )
        self.assertEqual(rows[0].at, datetime(2023, 4, 20, tzinfo=UTC))
        moved = decode_transfers(recorded("userNonFundingLedgerUpdates_2024"), "0x" + "00" * 20)
        self.assertEqual([(one.perps, one.spot) for one in moved], [(-10, 0), (4, -4), (105, 0)])
        (fill,) = decode_fills(recorded("userFills_spot_2024"))
        self.assertEqual((fill.oid, fill.fee, fill.tid), (13981880088, Decimal("0.016534"), 1107801776196793))

    def test_identities(self) -> None:
        self.assertEqual(decode_role(recorded("userRole")).kind, "vault")
        first, second = decode_agents(recorded("extraAgents"))
        self.assertEqual((first.name, second.address), ("ok", "0xc06e6617005c1888aeb8b3017fe00f82b7b84fc0"))


if __name__ == "__main__":
    unittest.main()
