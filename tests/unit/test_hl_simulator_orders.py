"""Tests of the exchange simulator's order rules, against what was measured on the real exchange."""

import unittest
from decimal import Decimal

from tests.fakes import FakeClock
from tests.price_grid import PRICES
from tests.servers.hyperliquid import AGENT, MASTER
from tests.servers.hyperliquid.exchange import Exchange
from tests.servers.hyperliquid.market import PaperFeed
from tests.servers.hyperliquid.trader import Answer, Trader, stop, wire
from tests.servers.hyperliquid.universe import Listing
from tests.unit.hl_simulator import BTC, CLOID, ETH, Desk, recorded
from trading.domain.units import exact


class Grid(Desk):
    def test_the_price_table_of_the_exchange_documentation(self) -> None:
        for decimals, price, legal in PRICES:
            with self.subTest(decimals=decimals, price=price):
                asset = self.exchange.list_coin(Listing(f"X{decimals}{price}", decimals, 10, 10))
                status = self.trader.place(wire(asset, "buy", "1", price, "Gtc"))[0]
                refused = {"error": f"Price must be divisible by tick size. asset={asset}"}
                self.assertEqual(status != refused, legal)

    def test_lots_zeroes_and_unknown_assets(self) -> None:
        for order, error in (
            (wire(ETH, "buy", "0.00001", "2800"), "Order has invalid size. asset=4"),
            (wire(ETH, "buy", "0", "2800"), "Order has zero size. asset=4"),
            (wire(ETH, "buy", "1", "0"), "Order has invalid price. asset=4"),
            (wire(999, "buy", "1", "1"), "Unknown asset. asset=999"),
            (wire(ETH, "sell", "1", "2800", trigger=stop("2700.123")), "Price must be divisible by tick size. asset=4"),
        ):
            with self.subTest(error):
                self.assertEqual(self.trader.place(order), [{"error": error}])

    def test_a_static_fault_refuses_the_whole_batch_with_one_error_and_leaves_no_record(self) -> None:
        good, bad = wire(ETH, "buy", "1", "2900", cloid=CLOID), wire(ETH, "buy", "1", "2900.12")
        statuses = self.trader.place(good, bad, good)
        self.assertEqual(statuses, [{"error": "Price must be divisible by tick size. asset=4"}])
        self.assertEqual(self.held(), 0)
        self.assertEqual(self.read("orderStatus", oid=CLOID), {"status": "unknownOid"})
        self.assertEqual(self.trader.place(), [{"error": "Orders are empty."}])

    def test_a_price_far_from_the_mark_is_refused(self) -> None:
        status = self.trader.place(wire(ETH, "buy", "1", "5100"))[0]
        self.assertIn("80% away from the reference price asset=4", status["error"])


class MinimumValue(Desk):
    ERROR = "Order must have minimum value of $10. asset=4"

    def test_the_limit_price_counts(self) -> None:
        self.assertEqual(self.trader.place(wire(ETH, "buy", "0.0035", "2850"))[0], {"error": self.ERROR})
        self.assertIn("filled", self.trader.place(wire(ETH, "buy", "0.0036", "2850"))[0])

    def test_only_closing_the_whole_position_is_exempt(self) -> None:
        for name, order, held, accepted in (
            ("opens", wire(ETH, "buy", "0.0009", "2900"), "0", False),
            ("increases", wire(ETH, "buy", "0.0009", "2900"), "0.0009", False),
            ("reduces a part", wire(ETH, "sell", "0.0021", "2700"), "0.0051", False),
            ("reduces a part, reduce-only", wire(ETH, "sell", "0.0021", "2700", reduce_only=True), "0.0051", False),
            (
                "part, reduce-only GTC",
                wire(ETH, "sell", "0.0021", "2825", "Gtc", reduce_only=True),
                "0.0051",
                False,
            ),
            ("whole, reduce-only IOC", wire(ETH, "sell", "0.0009", "2700", reduce_only=True), "0.0009", True),
            ("whole, reduce-only GTC", wire(ETH, "sell", "0.0009", "2826", "Gtc", reduce_only=True), "0.0009", True),
            ("whole, plain IOC", wire(ETH, "sell", "0.0009", "2700"), "0.0009", True),
            ("more than held, reduce-only", wire(ETH, "sell", "0.002", "2700", reduce_only=True), "0.0009", True),
            ("more than held, plain", wire(ETH, "sell", "0.002", "2700"), "0.0009", False),
        ):
            with self.subTest(name):
                self.setUp()
                if held != "0":
                    self.open_eth("0.01")
                    self.exchange.deleverage(MASTER, "ETH", Decimal("0.01") - Decimal(held))
                status = self.trader.place(order)[0]
                self.assertEqual("error" not in status, accepted, status)
                if not accepted:
                    self.assertEqual(status, {"error": self.ERROR})

    def test_a_position_stop_of_size_zero_is_accepted(self) -> None:
        self.open_eth("0.01")
        order = wire(ETH, "sell", "0", "2500", reduce_only=True, trigger=stop("2600"))
        self.assertEqual(self.trader.place(order, grouping="positionTpsl"), ["waitingForTrigger"])


class RecordedProbes(Desk):
    """Each recorded testnet answer, reproduced; order ids and instants are the simulator's own."""

    def probe(self, words: str) -> Answer:
        return next(one["response"] for one in recorded("probes_testnet_2026-10.json") if words in one["probe"])

    def same(self, ours: Answer, theirs: Answer) -> None:
        """*ours* says everything *theirs* does, order ids and instants aside (the recordings are cut)."""
        if isinstance(theirs, dict):
            for key, value in theirs.items():
                self.assertIn(key, ours)
                if key not in ("oid", "statusTimestamp", "timestamp"):
                    self.same(ours[key], value)
        elif isinstance(theirs, list):
            self.assertEqual(len(ours), len(theirs))
            for mine, other in zip(ours, theirs, strict=True):
                self.same(mine, other)
        else:
            self.assertEqual(ours, theirs)

    def test_reduce_only_ioc_shrinks(self) -> None:
        self.exchange.set_market("ETH", bids=[("2686.6", "5")], asks=[("2686.8", "5")])
        self.open_eth("0.02")
        answer = self.trader.send(
            {
                "type": "order",
                "orders": [wire(ETH, "sell", "0.05", "2600", reduce_only=True)],
                "grouping": "na",
            }
        )
        self.same(answer, self.probe("P1 RO IOC"))
        self.assertEqual(self.held(), 0)

    def test_reduce_only_gtc_shrinks_and_keeps_what_was_asked(self) -> None:
        self.open_eth("0.02")
        self.trader.place(wire(ETH, "sell", "0.05", "2821.1", "Gtc", reduce_only=True))
        self.same(self.read("frontendOpenOrders")[0], self.probe("P1 RO GTC"))

    def test_a_resting_reduce_only_order_ends_with_its_position(self) -> None:
        self.open_eth("0.02")
        oid = self.trader.place(wire(ETH, "sell", "0.02", "2822.5", "Gtc", reduce_only=True))[0]["resting"]["oid"]
        self.trader.place(wire(ETH, "sell", "0.01", "2700"))
        self.assertEqual(self.read("frontendOpenOrders")[0]["sz"], "0.01")
        self.trader.place(wire(ETH, "sell", "0.01", "2700"))
        self.same(self.read("orderStatus", oid=oid), self.probe("P2 orderStatus"))

    def test_its_update_says_so(self) -> None:
        updates: list[Answer] = []
        self.open_eth("0.01")
        self.trader.place(wire(ETH, "sell", "0.01", "2822.5", "Gtc", reduce_only=True))
        self.exchange.on_news = lambda news: updates.extend(news.updates[MASTER])
        self.trader.place(wire(ETH, "sell", "0.01", "2700"))
        self.same(updates[-1], self.probe("P2b"))

    def test_reduce_only_without_a_position(self) -> None:
        self.same(self.trader.place(wire(ETH, "sell", "1", "2700", reduce_only=True))[0], self.probe("P3"))
        self.open_eth()
        self.same(self.trader.place(wire(ETH, "buy", "1", "2900", reduce_only=True))[0], self.probe("P3"))

    def test_cancels_of_a_live_a_filled_and_an_invented_order(self) -> None:
        oid = self.trader.place(wire(ETH, "buy", "0.01", "2700", "Gtc"))[0]["resting"]["oid"]
        filled = self.trader.place(wire(ETH, "buy", "0.01", "2900"))[0]["filled"]["oid"]
        rows = [{"a": ETH, "o": one} for one in (oid, filled, 12345)]
        self.same(self.trader.send({"type": "cancel", "cancels": rows}), self.probe("P4 cancel batch"))
        many = [{"a": ETH, "o": 1}] * 201
        self.same(self.trader.send({"type": "cancel", "cancels": many}), self.probe("P4 201"))

    def test_a_take_profit_child_in_both_lists(self) -> None:
        parent = wire(ETH, "buy", "0.0507", "2100", "Gtc")
        child = wire(ETH, "sell", "0.0507", "1980", reduce_only=True, trigger=stop("2200", "tp"))
        self.exchange.set_market("ETH", "2150")
        self.assertEqual(self.trader.place(parent, child, grouping="normalTpsl")[1], "waitingForFill")
        self.same(self.read("openOrders")[0], self.probe("P5 openOrders"))
        self.same(self.read("frontendOpenOrders")[0], self.probe("P5 frontend"))

    def test_a_thin_book(self) -> None:
        asset = 78
        while len(self.exchange.universe.listings) <= asset:
            self.exchange.list_coin(Listing(f"COIN{len(self.exchange.universe.listings)}", 0, 5, 5))
        coin = self.exchange.universe.listings[asset].coin
        self.exchange.set_market(coin, "0.28", bids=[], asks=[("0.2876", "136")])
        self.same(self.trader.place(wire(asset, "buy", "200", "0.287"))[0], self.probe("P6 market_open"))
        status = self.trader.place(wire(asset, "buy", "200", "0.29"))[0]
        self.same(status, self.probe("P6 IOC buy"))
        row = self.read("orderStatus", oid=status["filled"]["oid"])["order"]
        self.assertEqual((row["status"], row["order"]["sz"], row["order"]["origSz"]), ("filled", "64.0", "200.0"))

    def test_dust(self) -> None:
        self.same(self.trader.place(wire(ETH, "buy", "0.003", "2900"))[0], self.probe("P7"))
        self.open_eth("0.0051")
        order = wire(ETH, "sell", "0.0021", "2825", "Gtc", reduce_only=True)
        answer = self.trader.send({"type": "order", "orders": [order], "grouping": "na"})
        self.same(answer, self.probe("P9a"))
        self.exchange.deleverage(MASTER, "ETH", "0.0042")
        order = wire(ETH, "sell", "0.0009", "2826", "Gtc", reduce_only=True)
        self.same(self.trader.send({"type": "order", "orders": [order], "grouping": "na"}), self.probe("P9d RO"))
        self.same(self.read("openOrders"), self.probe("P9d openOrders"))
        self.trader.place(wire(ETH, "sell", "0.01", "2826", "Gtc", reduce_only=True))
        self.same(self.read("frontendOpenOrders"), self.probe("P9e"))


class Matching(Desk):
    def test_an_order_sweeps_levels_and_its_average_is_cut(self) -> None:
        self.exchange.set_market("ETH", "2800", asks=[("2800.1", "0.1"), ("2800.4", "0.2"), ("2900", "9")])
        status = self.trader.place(wire(ETH, "buy", "0.25", "2850", cloid=CLOID))[0]
        self.assertEqual(status["filled"]["totalSz"], "0.25")
        self.assertEqual(status["filled"]["avgPx"], "2800.28")
        self.assertEqual(status["filled"]["cloid"], CLOID)
        self.assertEqual([row["px"] for row in self.exchange.fills(MASTER)], ["2800.1", "2800.4"])

    def test_a_book_that_does_not_refill_is_used_up(self) -> None:
        self.exchange.set_market("ETH", "2800", asks=[("2800.1", "0.1")], refill=False)
        statuses = self.trader.place(wire(ETH, "buy", "0.06", "2850"), wire(ETH, "buy", "0.06", "2850"))
        self.assertEqual([one["filled"]["totalSz"] for one in statuses], ["0.06", "0.04"])

    def test_post_only_orders_never_take(self) -> None:
        status = self.trader.place(wire(ETH, "buy", "1", "2801", "Alo"))[0]
        sentence = "Post only order would have immediately matched, bbo was 2799.9@2800.1. asset=4"
        self.assertEqual(status, {"error": sentence})
        self.assertIn("resting", self.trader.place(wire(ETH, "buy", "1", "2800", "Alo"))[0])

    def test_rejected_at_execution_is_kept_with_its_status(self) -> None:
        self.trader.place(wire(ETH, "buy", "1", "2700", cloid=CLOID))
        row = self.read("orderStatus", oid=CLOID)["order"]
        self.assertEqual((row["status"], row["order"]["tif"]), ("iocCancelRejected", "Ioc"))

    def test_a_resting_order_fills_as_maker_when_the_market_comes(self) -> None:
        oid = self.trader.place(wire(ETH, "buy", "1", "2750", "Gtc"))[0]["resting"]["oid"]
        self.exchange.set_market("ETH", "2740")
        fill = self.exchange.fills(MASTER)[0]
        self.assertEqual((fill["px"], fill["crossed"], fill["fee"]), ("2750.0", False, "0.4125"))
        self.assertEqual(self.status_of(oid), "filled")

    def test_a_gtc_that_fills_in_part_rests_with_the_remainder(self) -> None:
        self.exchange.set_market("ETH", "2800", asks=[("2800.1", "0.4")], refill=False)
        status = self.trader.place(wire(ETH, "buy", "1", "2801", "Gtc"))[0]
        self.assertIn("resting", status)
        self.assertEqual((self.held(), self.read("openOrders")[0]["sz"]), (Decimal("0.4"), "0.6"))

    def test_crossing_oneself_cancels_the_resting_order(self) -> None:
        oid = self.trader.place(wire(ETH, "buy", "1", "2800", "Gtc"))[0]["resting"]["oid"]
        self.assertIn("filled", self.trader.place(wire(ETH, "sell", "1", "2700"))[0])
        self.assertEqual(self.status_of(oid), "selfTradeCanceled")
        self.assertEqual(self.exchange.fills(MASTER)[0]["px"], "2799.9")

    def test_two_accounts_trade_with_each_other(self) -> None:
        other = Trader(self.exchange, "0x" + "22" * 32)
        self.exchange.open_account(other.wallet.address, 50_000)
        oid = other.place(wire(ETH, "sell", "0.5", "2800", "Gtc"))[0]["resting"]["oid"]
        status = self.trader.place(wire(ETH, "buy", "0.6", "2900"))[0]
        self.assertEqual(status["filled"]["avgPx"], "2800.01")
        maker = self.exchange.fills(other.wallet.address)[0]
        self.assertEqual((maker["oid"], maker["crossed"], maker["dir"]), (oid, False, "Open Short"))

    def test_a_flip_is_one_fill(self) -> None:
        self.open_eth("1")
        self.trader.place(wire(ETH, "sell", "3", "2700"))
        fill = self.exchange.fills(MASTER)[-1]
        self.assertEqual((fill["dir"], fill["startPosition"], fill["closedPnl"]), ("Long > Short", "1.0", "-0.2"))
        self.trader.place(wire(ETH, "buy", "3", "2900"))
        self.assertEqual(
            [row["dir"] for row in self.exchange.fills(MASTER)], ["Open Long", "Long > Short", "Short > Long"]
        )

    def test_a_second_resting_reduce_only_order_that_overcommits_cancels_the_first(self) -> None:
        self.open_eth("1")
        first = self.trader.place(wire(ETH, "sell", "0.7", "2900", "Gtc", reduce_only=True))[0]["resting"]["oid"]
        self.trader.place(wire(ETH, "sell", "0.7", "2910", "Gtc", reduce_only=True))
        self.assertEqual(self.status_of(first), "reduceOnlyCanceled")

    def test_a_cloid_belongs_to_its_latest_order(self) -> None:
        self.trader.place(wire(ETH, "buy", "1", "2700", cloid=CLOID))
        self.trader.place(wire(ETH, "buy", "1", "2900", cloid=CLOID))
        self.assertEqual(self.read("orderStatus", oid=CLOID.upper().replace("0X", "0x"))["order"]["status"], "filled")

    def test_scripted_whims(self) -> None:
        self.exchange.cap_next_fill("ETH", "0.3")
        self.exchange.refuse_next("BTC", "Insufficient margin to place order.", "perpMarginRejected")
        orders = (wire(ETH, "buy", "1", "2900"), wire(BTC, "sell", "0.01", "90000", cloid=CLOID))
        statuses = self.trader.place(*orders)
        self.assertEqual(statuses[0]["filled"]["totalSz"], "0.3")
        self.assertEqual(statuses[1], {"error": "Insufficient margin to place order. asset=3"})
        self.assertEqual(self.read("orderStatus", oid=CLOID)["order"]["status"], "perpMarginRejected")
        self.exchange.cap_next_fill("ETH", "0")
        self.assertIn("could not immediately match", self.trader.place(wire(ETH, "buy", "1", "2900"))[0]["error"])
        self.exchange.whims.halted.add("ETH")
        self.assertEqual(self.trader.place(wire(ETH, "buy", "1", "2900"))[0]["error"], "Trading is halted. asset=4")
        self.exchange.whims.halted.clear()
        self.exchange.whims.post_only = True
        self.assertIn("Only post-only orders allowed", self.trader.place(wire(ETH, "buy", "1", "2900"))[0]["error"])
        self.assertIn("resting", self.trader.place(wire(ETH, "buy", "1", "2700", "Alo"))[0])

    def test_a_delisted_coin_keeps_its_slot_and_does_not_trade(self) -> None:
        meta = self.read("meta")["universe"]
        self.assertEqual((meta[5]["name"], meta[5]["isDelisted"]), ("MATIC", True))
        self.assertIn("Trading is halted.", self.trader.place(wire(5, "buy", "100", "0.77"))[0]["error"])

    def test_too_many_open_orders(self) -> None:
        self.open_eth("1")
        self.exchange.matcher.open_orders_max = 20
        self.trader.place(*[wire(ETH, "buy", "0.01", "2000", "Gtc")] * 20)
        status = self.trader.place(wire(ETH, "sell", "0.1", "2900", "Gtc", reduce_only=True))[0]
        self.assertEqual(status, {"error": "Too many open orders. asset=4"})

    def test_ended_orders_are_forgotten_after_a_while(self) -> None:
        first = self.trader.place(wire(ETH, "buy", "0.01", "2000", cloid=CLOID))[0]
        self.assertIn("error", first)
        for _ in range(13):
            self.trader.place(*[wire(ETH, "buy", "0.01", "2000")] * 200)
        self.assertEqual(self.read("orderStatus", oid=CLOID), {"status": "unknownOid"})


class Triggers(Desk):
    def test_they_fire_on_the_mark_on_their_side(self) -> None:
        for kind, side, price, mark, other in (
            ("sl", "sell", "2700", "2700", "2701"),
            ("tp", "sell", "2900", "2900", "2899"),
            ("sl", "buy", "2900", "2901", "2899"),
            ("tp", "buy", "2700", "2699", "2701"),
        ):
            with self.subTest(kind=kind, side=side):
                self.setUp()
                self.open_eth("1", "buy" if side == "sell" else "sell")
                limit = "2500" if side == "sell" else "3100"
                order = wire(ETH, side, "1", limit, reduce_only=True, cloid=CLOID, trigger=stop(price, kind))
                self.assertEqual(self.trader.place(order), ["waitingForTrigger"])
                self.exchange.set_market("ETH", mark=other)
                self.assertNotEqual(self.held(), 0)
                self.exchange.set_market("ETH", mark=mark)
                self.assertEqual(self.held(), 0)
                self.assertEqual([row["status"] for row in self.read("historicalOrders")[:2]], ["filled", "triggered"])

    def test_one_on_the_wrong_side_of_the_mark_is_refused(self) -> None:
        self.open_eth()
        order = wire(ETH, "sell", "1", "2500", reduce_only=True, trigger=stop("2900"))
        self.assertEqual(self.trader.place(order), [{"error": "Invalid TP/SL price. asset=4"}])

    def test_a_stop_limit_rests_after_it_fired(self) -> None:
        self.open_eth()
        order = wire(ETH, "sell", "1", "2850", reduce_only=True, cloid=CLOID, trigger=stop("2700", market=False))
        self.trader.place(order)
        self.exchange.set_market("ETH", mark="2690")
        row = self.read("orderStatus", oid=CLOID)["order"]
        self.assertEqual(
            (row["status"], row["order"]["orderType"], row["order"]["isTrigger"]), ("open", "Stop Limit", False)
        )

    def test_a_market_stop_on_an_empty_book_dies(self) -> None:
        self.open_eth()
        self.trader.place(wire(ETH, "sell", "1", "2600", reduce_only=True, cloid=CLOID, trigger=stop("2700")))
        self.exchange.set_market("ETH", mark="2690", bids=[])
        self.assertEqual(self.read("orderStatus", oid=CLOID)["order"]["status"], "marketOrderNoLiquidityRejected")
        self.assertEqual(self.held(), 1)

    def bracket(self, price: str, tif: str = "Ioc") -> list[Answer]:
        statuses = self.trader.place(
            wire(ETH, "buy", "1", price, tif),
            wire(ETH, "sell", "1", "2500", reduce_only=True, trigger=stop("2600")),
            wire(ETH, "sell", "1", "2700", reduce_only=True, trigger=stop("2950", "tp")),
            grouping="normalTpsl",
        )
        assert isinstance(statuses, list)
        return statuses

    def test_children_wait_for_their_parent_and_one_fills_cancels_the_other(self) -> None:
        statuses = self.bracket("2900")
        self.assertEqual(statuses[1:], ["waitingForTrigger"] * 2)
        self.exchange.set_market("ETH", "2960")
        self.assertEqual(self.held(), 0)
        ended = {row["order"]["orderType"]: row["status"] for row in reversed(self.read("historicalOrders"))}
        self.assertEqual(ended["Take Profit Market"], "filled")
        self.assertEqual(ended["Stop Market"], "siblingFilledCanceled")

    def test_children_of_a_resting_parent_wait_then_arm_or_go_with_it(self) -> None:
        statuses = self.bracket("2750", "Gtc")
        self.assertEqual(statuses[1:], ["waitingForFill"] * 2)
        self.assertEqual(len(self.read("frontendOpenOrders")[-1]["children"]), 2)
        self.exchange.set_market("ETH", "2745")
        self.assertEqual(self.held(), 1)
        self.exchange.set_market("ETH", "2590")
        self.assertEqual(self.held(), 0)
        self.exchange.set_market("ETH", "2800")
        oid = self.bracket("2750", "Gtc")[0]["resting"]["oid"]
        self.assertEqual(self.trader.cancel((ETH, oid)), ["success"])
        self.assertEqual(self.read("openOrders"), [])

    def test_children_of_a_refused_parent_are_refused_with_it(self) -> None:
        statuses = self.bracket("2700")
        self.assertEqual(len({one["error"] for one in statuses}), 1)
        self.exchange.cap_next_fill("ETH", "0.5")
        self.assertEqual(self.bracket("2900")[1:], [{"error": "Parent order was canceled."}] * 2)

    def test_shapes_that_are_no_bracket(self) -> None:
        parent = wire(ETH, "buy", "1", "2900")
        child = wire(ETH, "sell", "1", "2500", reduce_only=True, trigger=stop("2600"))
        for orders, error in (
            ((parent,), "Unexpected number of trigger orders"),
            ((parent, parent), "Unexpected number of trigger orders"),
            ((parent, {**child, "r": False}), "Trigger order is not reduce only."),
            ((parent, {**child, "b": True}), "Trigger order has unexpected side."),
        ):
            with self.subTest(error):
                self.assertEqual(self.trader.place(*orders, grouping="normalTpsl"), [{"error": error}])

    def test_a_position_stop_follows_its_position_and_ends_with_it(self) -> None:
        self.open_eth("1")
        order = wire(ETH, "sell", "0", "2500", reduce_only=True, cloid=CLOID, trigger=stop("2600"))
        self.trader.place(order, grouping="positionTpsl")
        self.open_eth("0.5")
        row = self.read("frontendOpenOrders")[0]
        self.assertEqual((row["sz"], row["isPositionTpsl"]), ("1.5", True))
        self.trader.place(wire(ETH, "sell", "1.5", "2700"))
        self.assertEqual(self.read("orderStatus", oid=CLOID)["order"]["status"], "reduceOnlyCanceled")


class Modifying(Desk):
    def modify(self, oid: int | str, order: dict[str, object], **more: object) -> Answer:
        return self.trader.send({"type": "batchModify", "modifies": [{"oid": oid, "order": order}], **more})

    def test_a_modified_order_has_a_new_id_and_the_same_cloid(self) -> None:
        old = self.trader.place(wire(ETH, "buy", "1", "2700", "Gtc", cloid=CLOID))[0]["resting"]["oid"]
        answer = self.modify(CLOID, wire(ETH, "buy", "2", "2710", "Gtc", cloid=CLOID))
        new = answer["response"]["data"]["statuses"][0]["resting"]
        self.assertEqual((new["oid"] > old, new["cloid"], self.status_of(old)), (True, CLOID, "canceled"))
        single = {"type": "modify", "oid": new["oid"], "order": wire(ETH, "buy", "2", "2720", "Alo")}
        self.assertEqual(self.trader.send(single), {"status": "ok", "response": {"type": "default"}})

    def test_what_cannot_be_modified(self) -> None:
        oid = self.trader.place(wire(ETH, "buy", "1", "2700", "Gtc"))[0]["resting"]["oid"]
        for target, order, error in (
            (1, wire(ETH, "buy", "1", "2700", "Gtc"), "Cannot modify canceled or filled order"),
            (oid, wire(BTC, "buy", "1", "90000", "Gtc"), "Cannot modify canceled or filled order"),
            (oid, wire(ETH, "buy", "1", "2700.12", "Gtc"), "Attempted to modify to invalid new order"),
            (oid, wire(ETH, "buy", "1", "2700", "Ioc"), "Attempted to modify to invalid new order"),
            (oid, wire(ETH, "buy", "1", "2900", "Gtc"), "Error placing new order during modify: Post only"),
        ):
            with self.subTest(error):
                status = self.modify(target, order)["response"]["data"]["statuses"][0]
                self.assertTrue(status["error"].startswith(error), status)
        self.assertEqual(self.status_of(oid), "canceled")
        single = {"type": "modify", "oid": oid, "order": wire(ETH, "buy", "1", "2700", "Gtc")}
        refusal = {"status": "err", "response": "Cannot modify canceled or filled order"}
        self.assertEqual(self.trader.send(single), refusal)

    def test_always_place_permits_a_taker(self) -> None:
        oid = self.trader.place(wire(ETH, "buy", "1", "2700", "Gtc"))[0]["resting"]["oid"]
        answer = self.modify(oid, wire(ETH, "buy", "1", "2900", "Ioc"), a=True)
        self.assertIn("filled", answer["response"]["data"]["statuses"][0])

    def test_cancelling_by_cloid_needs_the_right_asset(self) -> None:
        self.trader.place(wire(ETH, "buy", "1", "2700", "Gtc", cloid=CLOID))
        for asset, expected in ((BTC, "error"), (ETH, "success"), (ETH, "error")):
            answer = self.trader.send({"type": "cancelByCloid", "cancels": [{"asset": asset, "cloid": CLOID}]})
            status = answer["response"]["data"]["statuses"][0]
            self.assertIn(expected, status)


class Money(Desk):
    def test_fees_are_cut_to_six_decimals_and_contain_the_builder_fee(self) -> None:
        self.exchange.account(MASTER).taker_fee = exact("0.000432", "fee")
        self.exchange.account(MASTER).builder_fees["0x" + "ab" * 20] = 10
        asset = self.exchange.list_coin(Listing("HYPE", 2, 10, 10))
        self.exchange.set_market("HYPE", "24.24", bids=[("24.2", "9")], asks=[("24.24257", "9")])
        self.trader.place(wire(asset, "buy", "1", "25"), builder={"b": "0x" + "ab" * 20, "f": 10})
        fill = self.exchange.fills(MASTER)[0]
        self.assertEqual((fill["fee"], fill["builderFee"]), ("0.012896", "0.002424"))
        refused = self.trader.place(wire(asset, "buy", "1", "25"), builder={"b": "0x" + "ab" * 20, "f": 11})[0]
        self.assertEqual(refused["error"], f"Builder fee has not been approved. asset={asset}")

    def test_closed_profit_is_gross_and_with_fees_explains_the_account(self) -> None:
        self.open_eth("1")
        self.exchange.set_market("ETH", "2850", funding_rate="0.0001")
        self.exchange.charge_funding(coins=["ETH"])
        self.trader.place(wire(ETH, "sell", "1", "2700"))
        fills = self.exchange.fills(MASTER)
        self.assertEqual(fills[1]["closedPnl"], "49.7")
        gross = sum(Decimal(str(row["closedPnl"])) - Decimal(str(row["fee"])) for row in fills)
        funding = self.read("userFunding", startTime=0)[0]["delta"]
        self.assertEqual((funding["usdc"], funding["szi"], funding["fundingRate"]), ("-0.285", "1.0", "0.0001"))
        self.assertEqual(self.exchange.equity(MASTER), 100_000 + gross + Decimal(funding["usdc"]))

    def test_funding_is_paid_each_full_hour_of_the_clock(self) -> None:
        self.open_eth("2", "sell")
        self.exchange.set_market("ETH", oracle="2810")
        self.clock.advance(3 * 3600 + 1)
        self.exchange.tick()
        self.exchange.tick()
        rows = self.read("userFunding", startTime=0)
        self.assertEqual([row["delta"]["usdc"] for row in rows], ["0.07025"] * 3)
        self.assertEqual(
            self.read("clearinghouseState")["assetPositions"][0]["position"]["cumFunding"]["sinceOpen"], "-0.21075"
        )
        history = self.read("fundingHistory", coin="ETH", startTime=0)
        self.assertEqual([row["time"] % 3_600_000 for row in history], [27, 27, 27])

    def test_margin_is_needed_to_open_and_not_to_close(self) -> None:
        self.trader.send({"type": "updateLeverage", "asset": ETH, "isCross": True, "leverage": 1})
        self.exchange.set_market("ETH", "2800", asks=[("2800.1", "500")], bids=[("2799.9", "500")])
        status = self.trader.place(wire(ETH, "buy", "36", "2900"))[0]
        self.assertEqual(status, {"error": "Insufficient margin to place order. asset=4"})
        self.open_eth("35")
        self.assertIn("filled", self.trader.place(wire(ETH, "sell", "35", "2700"))[0])

    def test_a_resting_order_holds_margin(self) -> None:
        self.trader.place(wire(ETH, "buy", "1", "2700", "Gtc"))
        self.assertEqual(self.read("clearinghouseState")["withdrawable"], "99865.0")
        self.assertEqual(self.read("activeAssetData", coin="ETH")["availableToTrade"][0], "99865.0")

    def test_a_cross_account_is_liquidated_at_its_maintenance_margin(self) -> None:
        self.exchange.open_account(MASTER, -97_000)
        self.trader.place(wire(ETH, "sell", "1", "3000", "Gtc"))
        self.open_eth("10")
        price = Decimal(self.read("clearinghouseState")["assetPositions"][0]["position"]["liquidationPx"])
        self.exchange.set_market("ETH", price + 1)
        self.assertEqual(self.held(), 10)
        self.exchange.set_market("ETH", price - 1)
        self.assertEqual((self.held(), self.read("openOrders")), (0, []))
        fill = self.exchange.fills(MASTER)[-1]
        liquidation = fill["liquidation"]
        assert isinstance(liquidation, dict)
        self.assertEqual(
            (fill["dir"], liquidation["method"], liquidation["liquidatedUser"]), ("Close Long", "market", MASTER)
        )

    def test_far_below_it_the_backstop_takes_over(self) -> None:
        self.exchange.open_account(MASTER, -97_000)
        self.open_eth("10", "sell")
        self.exchange.set_market("ETH", "3090")
        fill = self.exchange.fills(MASTER)[-1]
        self.assertEqual((fill["dir"], fill["px"]), ("Liquidated Cross Short", "3090.0"))

    def test_deleveraging_costs_no_fee(self) -> None:
        self.open_eth("2")
        self.exchange.deleverage(MASTER, "ETH", "0.5", "2790")
        fill = self.exchange.fills(MASTER)[-1]
        self.assertEqual((fill["dir"], fill["fee"], self.held()), ("Auto-Deleveraging", "0.0", Decimal("1.5")))

    def test_isolated_positions_have_a_purse_of_their_own(self) -> None:
        self.trader.send({"type": "updateLeverage", "asset": ETH, "isCross": False, "leverage": 10})
        self.open_eth("1")
        state = self.read("clearinghouseState")
        position = state["assetPositions"][0]["position"]
        self.assertEqual(position["leverage"], {"type": "isolated", "value": 10, "rawUsd": "-2520.09"})
        self.assertEqual(position["marginUsed"], "279.91")
        add = {"type": "updateIsolatedMargin", "asset": ETH, "isBuy": True, "ntli": 12_500_000}
        self.assertEqual(self.trader.send(add)["status"], "ok")
        for ntli in (-200_000_000, 10**12):
            self.assertEqual(self.trader.send({**add, "ntli": ntli})["status"], "err")
        self.trader.place(wire(ETH, "sell", "0.5", "2700"))
        self.trader.place(wire(ETH, "sell", "0.5", "2700"))
        fees = sum((Decimal(str(row["fee"])) for row in self.exchange.fills(MASTER)), Decimal(0))
        self.assertEqual(self.exchange.equity(MASTER), Decimal("99999.8") - fees)
        self.open_eth("1")
        self.exchange.set_market("ETH", "2560")
        self.assertEqual((self.held(), self.exchange.fills(MASTER)[-1]["dir"]), (0, "Close Long"))
        refusal = self.trader.send(add)
        self.assertEqual(refusal["response"], "Position does not use isolated margin.")


class MovingMarket(unittest.TestCase):
    def test_an_order_is_not_touched_by_the_move_it_is_executed_on(self) -> None:
        clock = FakeClock()
        exchange = Exchange(clock, feed=PaperFeed(7))
        exchange.open_account(MASTER, 100_000)
        exchange.approve_agent(MASTER, AGENT)
        trader = Trader(exchange)
        for number in range(20):
            clock.advance(1)
            side, price = ("buy", "3500") if number % 2 == 0 else ("sell", "2700")
            status = trader.place(wire(ETH, side, "0.1", price), wire(BTC, side, "0.01", "95000"))[0]
            self.assertEqual(status["filled"]["totalSz"], "0.1")
        self.assertTrue(all(row["crossed"] for row in exchange.fills(MASTER)))
