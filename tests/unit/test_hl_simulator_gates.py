"""Tests of the gates of the exchange simulator: signers, nonces, budget, expiry, leverage, agents; and of its reads."""

import json
import unittest
from decimal import Decimal
from typing import Any

from eth_account import Account as Wallet
from hyperliquid.utils.signing import sign_agent, sign_approve_builder_fee, sign_user_set_abstraction_action

from tests.servers.hyperliquid import AGENT, AGENT_KEY, MASTER, MASTER_KEY
from tests.servers.hyperliquid.account import Account, Leverage, Position, clearinghouse_state
from tests.servers.hyperliquid.exchange import AGENT_LIFE_MAX_MS, Exchange
from tests.servers.hyperliquid.info import BadBook
from tests.servers.hyperliquid.market import PaperFeed
from tests.servers.hyperliquid.trader import Answer, Trader, wire
from tests.servers.hyperliquid.universe import Listing, Universe, default_listings
from tests.servers.hyperliquid.words import DAY_MS, Unprocessable, bare, text
from tests.unit.hl_simulator import CLOID, ETH, Desk, recorded

NOOP: dict[str, object] = {"type": "noop"}
OK = {"status": "ok", "response": {"type": "default"}}
STRANGER_KEY = "0x" + "33" * 32


class Signers(Desk):
    def test_a_stranger_is_named(self) -> None:
        stranger = Trader(self.exchange, STRANGER_KEY)
        address = stranger.wallet.address.lower()
        answer = stranger.send(NOOP)
        self.assertEqual(answer, {"status": "err", "response": f"User or API Wallet {address} does not exist."})

    def test_the_other_network_is_a_stranger_unless_both_are_accepted(self) -> None:
        envelope = Trader(self.exchange, mainnet=True).envelope(NOOP)
        self.assertRegex(
            str(self.exchange.act(envelope)["response"]), "User or API Wallet 0x[0-9a-f]{40} does not exist."
        )
        both = Exchange(self.clock, networks=("testnet", "mainnet"))
        both.open_account(MASTER, 1)
        both.approve_agent(MASTER, AGENT)
        self.assertEqual(both.act(envelope), OK)

    def test_master_and_agent_act_for_the_same_account_with_nonces_of_their_own(self) -> None:
        nonce = self.exchange.now_ms()
        for key in (AGENT_KEY, MASTER_KEY):
            self.assertEqual(Trader(self.exchange, key).send(NOOP, nonce=nonce), OK)
        self.assertEqual([one.account for one in self.exchange.received], [MASTER, MASTER])
        self.assertEqual([one.type for one in self.exchange.received], ["noop", "noop"])

    def test_a_signature_over_a_form_that_is_not_canonical_is_a_stranger(self) -> None:
        status = self.trader.place(wire(ETH, "buy", "1.0", "2900"))
        self.assertIn("does not exist.", status)

    def test_revoked_agents_are_strangers(self) -> None:
        self.exchange.revoke_agent(AGENT)
        self.assertEqual(self.trader.send(NOOP)["response"], f"User or API Wallet {AGENT} does not exist.")

    def test_a_sub_account_is_traded_by_its_master(self) -> None:
        sub, other = "0x" + "5a" * 20, "0x" + "5b" * 20
        trader = Trader(self.exchange, vault=sub)
        self.assertEqual(trader.send(NOOP)["response"], f"Vault not registered: {sub}")
        self.exchange.sub_accounts |= {sub: MASTER, other: "0x" + "99" * 20}
        self.exchange.open_account(sub, 1_000)
        envelope = trader.envelope(
            {"type": "order", "orders": [wire(ETH, "buy", "0.1", "2900")], "grouping": "na"}, expires_after=2 * 10**12
        )
        envelope["vaultAddress"] = sub[2:].upper()
        self.assertEqual(self.exchange.act(envelope)["status"], "ok")
        self.assertEqual(self.exchange.position(sub, "ETH"), Decimal("0.1"))
        refusal = Trader(self.exchange, vault=other).send(NOOP)["response"]
        self.assertEqual(refusal, f"Sub-account {other} is not registered to {MASTER}")
        self.assertEqual(self.read("userRole", user=sub), {"role": "subAccount", "data": {"master": MASTER}})
        self.assertEqual(self.read("subAccounts")[0]["subAccountUser"], sub)
        self.assertIsNone(self.read("subAccounts", user=sub))

    def test_an_envelope_with_more_than_it_should_have_is_unprocessable(self) -> None:
        envelope = self.trader.envelope(NOOP)
        for bad in ({**envelope, "more": 1}, {**envelope, "nonce": "1"}, {**envelope, "signature": None}):
            with self.subTest(bad), self.assertRaises(Unprocessable):
                self.exchange.act(bad)
        self.assertEqual(self.exchange.act(envelope), OK)


class Nonces(Desk):
    def test_the_three_sentences(self) -> None:
        now = self.exchange.now_ms()
        self.trader.send(NOOP, nonce=now)
        for nonce, sentence in (
            (now, f"Invalid nonce: duplicate nonce {now}"),
            (now - 2 * DAY_MS - 1, f"Invalid nonce: nonce too low {now - 2 * DAY_MS - 1} < {now - 2 * DAY_MS}"),
            (now + DAY_MS + 1, f"Invalid nonce: nonce too high {now + DAY_MS + 1} > {now + DAY_MS}"),
        ):
            with self.subTest(sentence):
                self.assertEqual(self.trader.send(NOOP, nonce=nonce), {"status": "err", "response": sentence})

    def test_the_hundred_highest_set_the_floor_and_order_within_them_is_free(self) -> None:
        now = self.exchange.now_ms()
        for number in range(100, 200):
            self.trader.send(NOOP, nonce=now + number)
        self.assertEqual(
            self.trader.send(NOOP, nonce=now + 99)["response"],
            f"Invalid nonce: nonce too low {now + 99} < {now + 100}",
        )
        self.assertEqual(self.trader.send(NOOP, nonce=now + 300), OK)
        self.assertEqual(self.trader.send(NOOP, nonce=now + 250), OK)
        self.assertIn("duplicate", self.trader.send(NOOP, nonce=now + 100)["response"])

    def test_a_noop_burns_the_nonce_of_an_order_in_flight(self) -> None:
        order = self.trader.envelope({"type": "order", "orders": [wire(ETH, "buy", "1", "2900")], "grouping": "na"})
        nonce = order["nonce"]
        assert isinstance(nonce, int)
        self.assertEqual(self.trader.send(NOOP, nonce=nonce), OK)
        self.assertEqual(self.exchange.act(order)["response"], f"Invalid nonce: duplicate nonce {nonce}")
        self.assertEqual(self.held(), 0)

    def test_which_refusals_consume_a_nonce(self) -> None:
        now = self.exchange.now_ms()
        unpriced = {"type": "order", "orders": [wire(ETH, "buy", "1", "2900.12")], "grouping": "na"}
        duplicate = {"status": "err", "response": f"Invalid nonce: duplicate nonce {now}"}

        def business(trader: Trader) -> None:
            trader.send(unpriced, nonce=now)

        def expired(trader: Trader) -> None:
            self.assertEqual(trader.send(NOOP, nonce=now, expires_after=now - 1)["response"], "Action already expired")

        def schema(trader: Trader) -> None:
            with self.assertRaises(Unprocessable):
                self.exchange.act({**trader.envelope(NOOP, nonce=now), "action": {"type": "what"}})

        def budget(trader: Trader) -> None:
            self.exchange.exhaust_budget(MASTER)
            self.assertIn("Too many cumulative requests", trader.send(NOOP, nonce=now)["response"])
            self.exchange.account(MASTER).requests_used = 0

        for refuse, consumed in ((business, True), (expired, True), (schema, False), (budget, False)):
            with self.subTest(refuse.__name__):
                self.setUp()
                refuse(self.trader)
                self.assertEqual(self.trader.send(NOOP, nonce=now), duplicate if consumed else OK)


class Budget(Desk):
    def test_a_batch_costs_what_it_holds_and_an_expired_one_five_times_that(self) -> None:
        self.trader.place(*[wire(ETH, "buy", "0.01", "2000")] * 3)
        self.assertEqual(self.read("userRateLimit")["nRequestsUsed"], 3)
        self.trader.send(NOOP, expires_after=1)
        self.assertEqual(self.read("userRateLimit")["nRequestsUsed"], 8)

    def test_volume_buys_requests(self) -> None:
        self.open_eth("1")
        self.assertEqual(self.read("userRateLimit"), {"cumVlm": "2800.1", "nRequestsUsed": 1, "nRequestsCap": 12_800})

    def test_cancels_go_on_when_orders_cannot_and_one_request_passes_every_ten_seconds(self) -> None:
        oid = self.trader.place(wire(ETH, "buy", "1", "2700", "Gtc"))[0]["resting"]["oid"]
        account = self.exchange.account(MASTER)
        account.requests_used, account.last_limited_ms = 10_000, self.exchange.now_ms()
        refusal = self.trader.place(wire(ETH, "buy", "1", "2900"))
        self.assertEqual(
            refusal,
            "Too many cumulative requests sent (10001 > 10000) for cumulative volume traded $0.00. Place taker orders "
            "to free up 1 request per USDC traded.",
        )
        self.assertEqual(self.trader.cancel((ETH, oid)), ["success"])
        self.clock.advance(10)
        self.assertEqual(self.trader.send(NOOP), OK)
        self.assertEqual(self.trader.send(NOOP)["status"], "err")


class Leverages(Desk):
    def test_refusals(self) -> None:
        only_isolated = self.exchange.list_coin(Listing("ISO", 1, 5, 5, only_isolated=True))
        for asset, cross, leverage, sentence in (
            (ETH, True, 26, "Invalid leverage value"),
            (ETH, True, 0, "Invalid leverage value"),
            (only_isolated, True, 2, "Cross margin is not allowed for this asset."),
            (99, True, 2, "Unknown asset. asset=99"),
        ):
            with self.subTest(sentence):
                action = {"type": "updateLeverage", "asset": asset, "isCross": cross, "leverage": leverage}
                self.assertEqual(self.trader.send(action), {"status": "err", "response": sentence})

    def test_with_an_open_position(self) -> None:
        self.open_eth("35")
        for cross, leverage, sentence in (
            (False, 5, "Cannot switch leverage type with open position."),
            (True, 10, None),
            (True, 1, None),
        ):
            with self.subTest(leverage=leverage, cross=cross):
                action = {"type": "updateLeverage", "asset": ETH, "isCross": cross, "leverage": leverage}
                answer = self.trader.send(action)
                self.assertEqual(answer, {"status": "err", "response": sentence} if sentence else OK)
        self.open_eth("0.6")
        self.exchange.open_account(MASTER, -2_000)
        less = {"type": "updateLeverage", "asset": ETH, "isCross": True, "leverage": 2}
        self.assertEqual(self.trader.send(less), OK)
        self.assertIn("Cross position does not", self.trader.send({**less, "leverage": 1})["response"])
        self.assertEqual(self.exchange.account(MASTER).positions["ETH"].leverage, Leverage(2))

    def test_isolated_leverage_may_grow_only(self) -> None:
        action = {"type": "updateLeverage", "asset": ETH, "isCross": False, "leverage": 5}
        self.trader.send(action)
        self.open_eth("1")
        self.assertEqual(self.trader.send({**action, "leverage": 6}), OK)
        self.assertIn("Isolated position does not", self.trader.send({**action, "leverage": 4})["response"])


class ScheduledCancels(Desk):
    def test_they_need_volume_and_notice_and_cancel_everything(self) -> None:
        at = self.exchange.now_ms() + 6_000
        refusal = self.trader.send({"type": "scheduleCancel", "time": at})["response"]
        self.assertEqual(
            refusal, "Cannot set scheduled cancel time until enough volume traded. Required: $1000000. Traded: $0.00."
        )
        self.exchange.schedule_volume = Decimal(0)
        early = {"type": "scheduleCancel", "time": at - 2_000}
        self.assertIn("too early", self.trader.send(early)["response"])
        self.trader.place(wire(ETH, "buy", "1", "2700", "Gtc", cloid=CLOID))
        self.assertEqual(self.trader.send({"type": "scheduleCancel", "time": at}), OK)
        self.clock.advance(5)
        self.exchange.tick()
        self.assertEqual(len(self.read("openOrders")), 1)
        self.clock.advance(1)
        self.exchange.tick()
        self.assertEqual(self.read("orderStatus", oid=CLOID)["order"]["status"], "scheduledCancel")

    def test_twaps_are_refused_honestly(self) -> None:
        twap = {"a": ETH, "b": True, "s": "1", "r": False, "m": 30, "t": False}
        for action in ({"type": "twapOrder", "twap": twap}, {"type": "twapCancel", "a": ETH, "t": 1}):
            self.assertEqual(self.trader.send(action)["response"], "Native TWAP orders are not simulated.")
        self.assertEqual(self.trader.send({"type": "setReferrer", "code": "TEST"}), OK)


class Agents(Desk):
    def approve(self, agent: str, name: str, key: str = MASTER_KEY) -> Answer:
        nonce = self.trader.next_nonce()
        action: dict[str, Any] = {"type": "approveAgent", "agentAddress": agent, "agentName": name, "nonce": nonce}
        signature = sign_agent(Wallet.from_key(key), action, False)
        if not name:
            del action["agentName"]
        return self.exchange.act({"action": action, "nonce": nonce, "signature": signature})

    def test_names_replace_and_the_fourth_is_too_many(self) -> None:
        agents = [f"0x{number:040x}" for number in range(1, 8)]
        self.assertEqual(self.approve(agents[0], ""), OK)
        self.assertEqual(self.approve(agents[1], ""), OK)
        self.assertNotIn(agents[0], self.exchange.agents)
        self.assertEqual(self.approve(agents[2], "two"), OK)
        self.assertEqual(self.approve(agents[3], "two"), OK)
        self.assertEqual(self.approve(agents[4], "three"), OK)
        refusal = self.approve(agents[5], "four")["response"]
        self.assertEqual(refusal, "Too many extra agents for cumulative volume traded. Current limit is 3")
        self.assertEqual(self.approve(agents[3], "five")["response"], "Extra agent already used.")
        rows = self.read("extraAgents")
        self.assertEqual([row["name"] for row in rows], ["bot", "two", "three"])
        self.assertEqual(self.read("userRole", user=agents[3]), {"role": "agent", "data": {"user": MASTER}})

    def test_a_name_may_end_in_its_expiry(self) -> None:
        now = self.exchange.now_ms()
        self.assertEqual(self.approve("0x" + "01" * 20, f"two valid_until {now + DAY_MS}"), OK)
        self.assertEqual(self.read("extraAgents")[1]["validUntil"], now + DAY_MS)
        for until in (now - 1, now + AGENT_LIFE_MAX_MS + 1):
            answer = self.approve("0x" + "02" * 20, f"three valid_until {until}")
            self.assertEqual(answer["response"], "Agent valid_until already expired.")

    def test_the_zero_address_revokes(self) -> None:
        self.approve("0x" + "00" * 20, "bot")
        self.assertEqual(self.read("extraAgents"), [])
        self.assertEqual(self.read("userRole", user=AGENT), {"role": "missing"})

    def test_an_agent_cannot_sign_for_its_master(self) -> None:
        answer = self.approve("0x" + "01" * 20, "two", AGENT_KEY)
        self.assertEqual(answer["response"], f"Must deposit before performing actions. User: {AGENT}")

    def test_a_builder_is_approved_by_the_master(self) -> None:
        nonce, builder = self.trader.next_nonce(), "0x" + "cd" * 20
        action: dict[str, Any] = {
            "type": "approveBuilderFee",
            "maxFeeRate": "0.01%",
            "builder": builder,
            "nonce": nonce,
        }
        signature = sign_approve_builder_fee(Wallet.from_key(MASTER_KEY), action, False)
        self.assertEqual(self.exchange.act({"action": action, "nonce": nonce, "signature": signature}), OK)
        self.assertEqual(self.read("maxBuilderFee", builder=builder), 10)
        action |= {"maxFeeRate": "much", "nonce": nonce + 1}
        signature = sign_approve_builder_fee(Wallet.from_key(MASTER_KEY), action, False)
        answer = self.exchange.act({"action": action, "nonce": nonce + 1, "signature": signature})
        self.assertEqual(answer["response"], "Invalid decimal number")

    def test_a_unified_account_keeps_its_money_in_spot(self) -> None:
        self.assertEqual(self.read("spotClearinghouseState"), {"balances": []})
        nonce = self.trader.next_nonce()
        action: dict[str, Any] = {"type": "userSetAbstraction", "user": MASTER, "abstraction": "unifiedAccount"}
        action["nonce"] = nonce
        signature = sign_user_set_abstraction_action(Wallet.from_key(MASTER_KEY), action, False)
        self.assertEqual(self.exchange.act({"action": action, "nonce": nonce, "signature": signature}), OK)
        self.assertEqual(self.read("userAbstraction"), "unifiedAccount")
        self.open_eth("1")
        self.exchange.set_market("ETH", "2900")
        state, spot = self.read("clearinghouseState"), self.read("spotClearinghouseState")
        self.assertEqual(state["withdrawable"], "0.0")
        self.assertEqual(spot["balances"][0]["total"], text(Decimal(100_000) - Decimal("1.260045")))
        upnl = Decimal(state["assetPositions"][0]["position"]["unrealizedPnl"])
        self.assertEqual(Decimal(spot["balances"][0]["total"]) + upnl, self.exchange.equity(MASTER))


class RecordedAccounts(unittest.TestCase):
    """The recorded accounts come out of their raw numbers, liquidation prices digit for digit."""

    def rebuilt(self, name: str) -> tuple[Any, Any]:
        theirs = recorded(f"clearinghouseState_{name}.json")
        account, marks = Account(MASTER), {}
        raw = Decimal(theirs["crossMarginSummary"]["totalRawUsd"])
        account.raw = raw
        for row in theirs["assetPositions"]:
            one = row["position"]
            size, leverage = Decimal(one["szi"]), one["leverage"]
            mark = Decimal(one["positionValue"]) / abs(size)
            marks[one["coin"]] = mark
            listing = Listing(one["coin"], 2, int(one["maxLeverage"]), int(one["maxLeverage"]))
            cost = abs(size * mark - Decimal(one["unrealizedPnl"]))
            account.positions[one["coin"]] = Position(
                listing,
                size,
                cost,
                Leverage(int(leverage["value"]), leverage["type"] == "cross"),
                Decimal(leverage.get("rawUsd", "0")),
            )
        return theirs, json.loads(json.dumps(clearinghouse_state(account, marks.__getitem__, 0)))

    def test_their_summaries_and_positions(self) -> None:
        for name in ("cross_short_and_long", "isolated_short", "hip3_isolated_long_resting_order"):
            theirs, ours = self.rebuilt(name)
            with self.subTest(name):
                for key in ("marginSummary", "crossMarginSummary", "crossMaintenanceMarginUsed"):
                    self.assertEqual(ours[key], theirs[key])
                for mine, other in zip(ours["assetPositions"], theirs["assetPositions"], strict=True):
                    self.same_position(mine["position"], other["position"])

    def same_position(self, mine: Any, other: Any) -> None:
        for key in ("coin", "szi", "entryPx", "positionValue", "unrealizedPnl", "marginUsed"):
            self.assertEqual(mine[key], other[key], key)
        for key in ("liquidationPx", "returnOnEquity"):
            if other[key] is None:
                self.assertIsNone(mine[key])
            else:
                shown = Decimal(other[key])
                self.assertEqual(Decimal(mine[key]).quantize(shown), shown, key)

    def test_margin_tiers_are_continuous(self) -> None:
        tiered = Universe(default_listings("mainnet")).of("BTC")
        edge = Decimal(150_000_000)
        self.assertEqual(tiered.maintenance(edge), edge / 80)
        self.assertEqual(tiered.maintenance(edge * 2), edge / 80 + edge / 40)
        self.assertEqual(tiered.maintenance_rate_at(edge), Decimal(1) / 40)


class Reads(Desk):
    def test_indices_differ_between_the_networks(self) -> None:
        names = {network: [one.coin for one in default_listings(network)] for network in ("mainnet", "testnet")}
        self.assertEqual((names["mainnet"].index("BTC"), names["testnet"].index("BTC")), (0, 3))
        self.assertEqual(names["mainnet"], [row["name"] for row in recorded("meta_2023.json")["universe"]])
        self.assertEqual(sorted(names["mainnet"]), sorted(names["testnet"]))

    def test_every_type_answers(self) -> None:
        self.open_eth("1")
        fields = {"coin": "ETH", "startTime": 0, "oid": 1, "builder": AGENT}
        request = {"coin": "ETH", "interval": "1m", "startTime": self.exchange.now_ms() - 300_000}
        for kind in (
            *("meta", "metaAndAssetCtxs", "allMids", "l2Book", "candleSnapshot", "recentTrades", "fundingHistory"),
            *("predictedFundings", "spotMeta", "spotMetaAndAssetCtxs", "perpDexs", "exchangeStatus"),
            *("clearinghouseState", "spotClearinghouseState", "openOrders", "frontendOpenOrders", "orderStatus"),
            *("historicalOrders", "userFills", "userFillsByTime", "userFunding", "userNonFundingLedgerUpdates"),
            *("userFees", "userRateLimit", "userRole", "extraAgents", "subAccounts", "userAbstraction"),
            *("maxBuilderFee", "activeAssetData"),
        ):
            with self.subTest(kind):
                answer = self.read(kind, req=request, **fields)
                json.dumps(answer)
                self.assertEqual(self.info.calls[kind], 1)
                self.assertGreaterEqual(self.info.weight(kind, answer), 2)

    def test_what_does_not_fit_is_unprocessable(self) -> None:
        for request in (
            {"type": "teleport"},
            {"type": 5},
            {},
            {"type": "clearinghouseState"},
            {"type": "clearinghouseState", "user": "0x12"},
            {"type": "meta", "dex": "xyz"},
            {"type": "orderStatus", "user": MASTER, "oid": "0x12"},
            {"type": "userFillsByTime", "user": MASTER},
            {"type": "candleSnapshot", "req": {"coin": "ETH", "interval": "2s", "startTime": 0}},
            {"type": "activeAssetData", "user": MASTER, "coin": "NONE"},
        ):
            with self.subTest(request), self.assertRaises(Unprocessable):
                self.info.answer(request)

    def test_unknown_coins_and_users_are_no_errors(self) -> None:
        self.assertIsNone(self.read("l2Book", coin="NONE"))
        request = {"coin": "NONE", "interval": "1m", "startTime": 0}
        self.assertEqual(self.read("candleSnapshot", req=request), [])
        self.assertEqual(self.read("recentTrades", coin="NONE"), [])
        state = self.read("clearinghouseState", user=AGENT[2:].upper())
        self.assertEqual((state["assetPositions"], state["withdrawable"]), ([], "0.0"))

    def test_books_can_be_coarse(self) -> None:
        self.exchange.set_market(
            "ETH", bids=[("2799.9", "1"), ("2799.2", "2"), ("2797", "1")], asks=[("2800.1", "1"), ("2801.5", "2")]
        )
        coarse = self.read("l2Book", coin="ETH", nSigFigs=4)
        self.assertEqual(coarse["levels"][0][0], {"px": "2799.0", "sz": "3.0", "n": 2})
        self.assertEqual(coarse["spread"], "0.2")
        self.assertEqual(self.read("l2Book", coin="ETH", nSigFigs=5, mantissa=5)["levels"][0][0]["px"], "2799.5")
        for figures, mantissa in ((1, None), (6, None), (4, 2), (5, 3), (None, 2)):
            with self.subTest(figures=figures, mantissa=mantissa), self.assertRaises(BadBook):
                self.read("l2Book", coin="ETH", nSigFigs=figures, mantissa=mantissa)

    def test_resting_orders_are_in_the_book(self) -> None:
        self.trader.place(wire(ETH, "buy", "1", "2800", "Gtc"))
        self.assertEqual(self.read("l2Book", coin="ETH")["levels"][0][0], {"px": "2800.0", "sz": "1.0", "n": 1})

    def test_fills_page_by_time_and_aggregate_by_order(self) -> None:
        start = self.exchange.now_ms()
        self.exchange.set_market("ETH", "2800", asks=[("2800.1", "1"), ("2800.3", "1")])
        self.open_eth("2")
        self.clock.advance(1)
        self.open_eth("0.5")
        self.assertEqual([row["sz"] for row in self.read("userFills")], ["0.5", "1.0", "1.0"])
        merged = self.read("userFillsByTime", startTime=start, aggregateByTime=True)
        self.assertEqual([merged[0][key] for key in ("px", "sz", "fee")], ["2800.2", "2.0", "2.52018"])
        self.assertEqual(len(self.read("userFillsByTime", startTime=start + 1, endTime=start + 1_000)), 1)
        self.assertEqual(self.read("userFillsByTime", startTime=start, reversed=True)[0]["sz"], "0.5")

    def test_reads_may_lag_behind_writes(self) -> None:
        self.info.lag.milliseconds = 1_000
        self.trader.place(wire(ETH, "buy", "1", "2900", cloid=CLOID))
        self.assertEqual(self.read("orderStatus", oid=CLOID), {"status": "unknownOid"})
        self.assertEqual((len(self.read("userFills")), self.read("historicalOrders")), (1, []))
        self.info.lag.fills_too = True
        self.assertEqual(self.read("userFills"), [])
        self.clock.advance(1)
        self.assertEqual(self.read("orderStatus", oid=CLOID)["order"]["status"], "filled")
        self.assertEqual(len(self.read("userFills")), 1)

    def test_candles_follow_the_mids(self) -> None:
        start = self.exchange.now_ms()
        for mid in ("2810", "2790", "2805"):
            self.clock.advance(20)
            self.exchange.set_market("ETH", mid)
        rows = self.read(
            "candleSnapshot", req={"coin": "ETH", "interval": "1m", "startTime": start, "endTime": 2 * 10**12}
        )
        self.assertEqual(len(rows), 2)
        self.assertEqual([rows[0][key] for key in ("t", "T", "s", "i")], [start, start + 59_999, "ETH", "1m"])
        self.assertEqual([rows[0][key] for key in ("o", "h", "l", "c")], ["2800.0", "2810.0", "2790.0", "2790.0"])
        self.assertEqual(rows[1]["c"], "2805.0")

    def test_candles_before_now_are_what_was_scripted(self) -> None:
        self.exchange.set_market("ETH", "2810")
        self.clock.advance(90)
        self.exchange.set_history("ETH", ["2700", "2900"])
        self.clock.advance(60)
        now = self.exchange.now_ms()
        bars = self.exchange.market("ETH").candles("1m", now - 5 * 60_000, now, now)
        self.assertEqual([one["c"] for one in bars[:-2]], ["2900.0", "2700.0", "2900.0", "2700.0"])
        self.assertTrue(all(one["o"] == one["h"] == one["l"] == one["c"] for one in bars[:-2]))
        self.assertEqual([bars[-2][key] for key in ("o", "h", "l", "c")], ["2900.0", "2900.0", "2810.0", "2810.0"])
        self.assertEqual(bars[-1]["c"], "2810.0")

    def test_a_fed_market_moves_until_it_is_scripted(self) -> None:
        live = Exchange(self.clock, feed=PaperFeed(7))
        before = live.market("SOL").mid
        self.clock.advance(60)
        live.tick()
        moved = live.market("SOL").mid
        self.assertNotEqual(before, moved)
        self.assertEqual(len(live.market("SOL").candles("1m", 0, live.now_ms(), live.now_ms())), 5_000)
        live.set_market("SOL", "100")
        self.clock.advance(60)
        live.tick()
        self.assertEqual(live.market("SOL").mid, 100)
        self.clock.advance(3_600)
        live.tick()
        self.assertEqual(len(live.funding_history["AVAX"]), 1)

    def test_numbers_on_the_wire(self) -> None:
        for value, shown, signed in (
            ("60000", "60000.0", "60000"),
            ("0.0100", "0.01", "0.01"),
            ("-0", "0.0", "0"),
            ("1E+3", "1000.0", "1000"),
            ("1E-7", "0.0000001", "0.0000001"),
        ):
            with self.subTest(value):
                self.assertEqual((text(Decimal(value)), bare(Decimal(value))), (shown, signed))
