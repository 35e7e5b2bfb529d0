"""A long random walk over the exchange simulator: whatever is sent, its books agree with each other."""

import random
import unittest
from decimal import ROUND_HALF_EVEN, Decimal

from tests.fakes import FakeClock
from tests.servers.hyperliquid import AGENT, MASTER
from tests.servers.hyperliquid.account import standing
from tests.servers.hyperliquid.exchange import Exchange
from tests.servers.hyperliquid.trader import Trader, stop, wire
from tests.servers.hyperliquid.words import bare

SEEDS = 2
STEPS = 150
START_USD = 20_000
COINS = {"ETH": 4, "BTC": 3, "SOL": 0}
OTHER_KEY = "0x" + "22" * 32


class Walk:
    """Two accounts that trade with the market and with each other, by one seed."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.clock = FakeClock()
        self.exchange = Exchange(self.clock)
        other = Trader(self.exchange, OTHER_KEY)
        self.traders = {MASTER: Trader(self.exchange), other.wallet.address.lower(): other}
        for user in self.traders:
            self.exchange.open_account(user, START_USD)
        self.exchange.approve_agent(MASTER, AGENT)
        for coin in COINS:
            self.exchange.set_market(
                coin, refill=self.chance.random() < 0.5, depth_usd=self.chance.choice((2_000, 100_000))
            )

    def near(self, coin: str) -> str:
        """A legal price within five percent of the mid."""
        market = self.exchange.market(coin)
        price = market.mid * Decimal(str(self.chance.uniform(0.95, 1.05)))
        return bare(market.listing.on_grid(price, ROUND_HALF_EVEN))

    def step(self) -> None:
        user = self.chance.choice(list(self.traders))
        coin = self.chance.choice(list(COINS))
        dice = self.chance.random()
        if dice < 0.6:
            self.place(user, coin)
        elif dice < 0.7:
            for order in self.exchange.account(user).live_orders()[:1]:
                self.traders[user].cancel((order.asset, order.oid))
        elif dice < 0.78:
            action = {"type": "updateLeverage", "asset": COINS[coin], "isCross": self.chance.random() < 0.7}
            self.traders[user].send({**action, "leverage": self.chance.randint(1, 20)})
        elif dice < 0.92:
            self.exchange.set_market(coin, self.near(coin))
        else:
            self.clock.advance(1_800)
            self.exchange.tick()

    def place(self, user: str, coin: str) -> None:
        listing = self.exchange.universe.of(coin)
        side, other = self.chance.sample(("buy", "sell"), 2)
        usd = Decimal(str(self.chance.uniform(8, 9_000)))
        size = bare((usd / self.exchange.market(coin).mid).quantize(listing.lot))
        tif, reduces = self.chance.choice(("Ioc", "Gtc", "Alo")), self.chance.random() < 0.4
        order = wire(COINS[coin], side, size, self.near(coin), tif, reduce_only=reduces)
        trigger = stop(self.near(coin), self.chance.choice(("tp", "sl")), self.chance.random() < 0.5)
        child = wire(COINS[coin], other, size, self.near(coin), reduce_only=True, trigger=trigger)
        shape = self.chance.random()
        if shape < 0.7:
            self.traders[user].place(order)
        elif shape < 0.85:
            self.traders[user].place(order, child, grouping="normalTpsl")
        else:
            self.traders[user].place(child)


class Books(unittest.TestCase):
    def agree(self, walk: Walk, user: str) -> None:
        account = walk.exchange.account(user)
        now = standing(account, walk.exchange.matcher.mark_of)
        traded = sum((Decimal(str(row["closedPnl"])) - Decimal(str(row["fee"])) for row in account.fills), Decimal(0))
        rows = [row["delta"] for row in account.fundings if isinstance(row["delta"], dict)]
        received = sum((Decimal(row["usdc"]) for row in rows), Decimal(0))
        self.assertAlmostEqual(now.equity, START_USD + traded + received + now.unrealized, delta=Decimal("0.001"))
        for coin, position in account.positions.items():
            filled = [row for row in account.fills if row["coin"] == coin]
            signs = {"B": 1, "A": -1}
            total = sum((signs[str(row["side"])] * Decimal(str(row["sz"])) for row in filled), Decimal(0))
            self.assertEqual(position.size, total)
            self.assertGreater(position.entry_notional, 0)
        for order in account.live_orders():
            self.assertTrue(order.live and order.left >= 0)
            if order.reduce_only and order.resting:
                self.assertLessEqual(order.left, abs(account.held(order.coin)))

    def test_equity_is_explained_positions_are_their_fills_and_reduce_only_never_overcommits(self) -> None:
        for seed in range(SEEDS):
            walk = Walk(seed)
            for number in range(STEPS):
                walk.step()
                for user in walk.traders:
                    with self.subTest(seed=seed, step=number):
                        self.agree(walk, user)
            self.assertGreater(len(walk.exchange.account(MASTER).fills), 10)
