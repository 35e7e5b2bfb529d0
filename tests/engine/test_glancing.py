"""The glance against the closer look: the same numbers, and nothing that has to go is ever taken for quiet."""

import unittest
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from random import Random
from unittest import mock

from tests.builders import T0, after, given_exit_plan, given_quote, given_trailing
from tests.engine.bent_venue import a_bent_scene
from trading.domain.exit_plan import ExitReason
from trading.domain.market import Account, Depth, Holding, Level, Quote
from trading.domain.orders import Side
from trading.domain.positions import Leg, Position, PositionStatus
from trading.domain.units import Coin, Price, Quantity, Ratio, Usd
from trading.engine import exits
from trading.engine.exits import Memory
from trading.engine.glancing import Roster
from trading.engine.valuing import Prices, mark_of

ETH, BTC = Coin("ETH"), Coin("BTC")
NOW = after(60)
WORLDS = 1500


def decimal(random: Random, low: int, high: int, digits: int) -> Decimal:
    return Decimal(random.randint(low * 10**digits, high * 10**digits)).scaleb(-digits)


def a_depth(random: Random, coin: Coin, mid: Decimal, at: datetime) -> Depth:
    """A book of a few levels around *mid*; now and then one that is one-sided, crossed, empty in places or damaged."""
    step = mid / 10_000
    count = random.randint(1, 6)

    def side(sign: int) -> tuple[Level, ...]:
        return tuple(
            Level(
                Price((mid + sign * step * (number + 1)).quantize(Decimal("0.01"))),
                Quantity(decimal(random, 0, 3, 4) + Decimal("0.0001")),
            )
            for number in range(count)
        )

    bids, asks = side(-1), side(1)
    odd = random.randint(0, 12)
    if odd == 0:
        bids = ()
    elif odd == 1:
        asks, bids = bids, asks
    elif odd == 2:
        bids = (replace(bids[0], quantity=Quantity(Decimal(0))), *bids[1:])
    elif odd == 3:
        asks = (*asks, Level(Price(Decimal("NaN")), Quantity(Decimal(1))))
    return Depth(coin, bids, asks, at)


def a_position(random: Random, base: Position) -> Position:
    """*base* with other quantities, prices and costs, partly closed at times."""

    def leg(side: Side, mid: int, coin: Coin) -> Leg:
        opened = decimal(random, 0, 2, 4) + Decimal("0.0001")
        closed = opened * Decimal(random.choice(("0", "0", "0.5", "1")))
        entry = Decimal(mid) * decimal(random, 95, 105, 3) / 100 / 3 * 3
        return Leg(
            coin=coin,
            side=side,
            opened=Quantity(opened),
            closed=Quantity(closed),
            entry_price=Price(entry),
            exit_price=None,
            realized=Usd(decimal(random, -20, 20, 2)),
            fees=Usd(decimal(random, 0, 2, 6)),
            funding=Usd(decimal(random, -2, 2, 6)),
        )

    return replace(
        base,
        long=leg(Side.BUY, 4000, ETH),
        short=leg(Side.SELL, 100_000, BTC),
        status=random.choice((PositionStatus.OPEN, PositionStatus.OPENING, PositionStatus.CLOSING)),
        entered_at=T0,
    )


class GlanceTest(unittest.TestCase):
    def setUp(self) -> None:
        self.scene, self.venue = a_bent_scene(self)
        self.base = self.scene.opened()

    def test_it_finds_the_same_return_digit_for_digit_and_takes_no_breach_for_quiet(self) -> None:
        random, compared, quiet, breached = Random(7), 0, 0, 0
        for _ in range(WORLDS):
            position = self.a_world(random)
            mark = mark_of(self.scene.desk, position, self.prices, NOW)
            roster = Roster()
            roster.update((position,))
            sights, _ = roster.sights(self.prices, self.account, NOW)
            (one,) = roster.concerned(None)
            if ETH not in sights or BTC not in sights:
                continue
            fee = self.venue.traits.taker_fee
            assert mark is not None
            self.assertEqual(mark.exit_return, one.exit_return(sights[ETH], sights[BTC], fee))
            compared += mark.exit_return is not None
            told: list[ExitReason] = []
            memory = Memory(account=self.account)
            exits._look_closer(
                self.scene.desk,
                memory,
                position,
                self.prices,
                self.account,
                NOW,
                lambda _, reason, told=told: told.append(reason),  # type: ignore[misc]  # a bound default
            )
            if one.is_quiet(sights[ETH], sights[BTC], fee, NOW - T0):
                quiet += 1
                self.assertEqual(([], Memory()), (told, replace(memory, high_water={})))
            breached += bool(told or memory.breached)
        self.assertGreater(min(compared, quiet, breached), WORLDS / 50)

    def a_world(self, random: Random) -> Position:
        eth, btc = Decimal(4000) * decimal(random, 97, 103, 3) / 100, Decimal(100_000)
        old = timedelta(seconds=random.choice((0, 0, 0, 0, 4, 6)))
        depths = {coin: a_depth(random, coin, mid, NOW - old) for coin, mid in ((ETH, eth), (BTC, btc))}
        quotes = {
            coin: replace(self.a_quote(one, mid), taken_at=NOW)
            for coin, one, mid in ((ETH, depths[ETH], eth), (BTC, depths[BTC], btc))
        }
        self.prices = Prices(quotes, depths)
        self.account = self.an_account(random)
        plan = given_exit_plan(
            stop_loss=Ratio(decimal(random, 1, 40, 1) / 1000),
            take_profit=Ratio(decimal(random, 1, 40, 1) / 1000),
            max_holding_seconds=random.choice((None, None, 59, 60, 61)),
            trailing=random.choice((None, None, None, given_trailing())),
        )
        return replace(a_position(random, self.base), exit_plan=plan)

    @staticmethod
    def a_quote(depth: Depth, mid: Decimal) -> Quote:
        bid = depth.bids[0].price if depth.bids else Price(mid - 1)
        ask = depth.asks[0].price if depth.asks else Price(mid + 1)
        return Quote(depth.coin, bid, ask, Price(mid), NOW)

    @staticmethod
    def an_account(random: Random) -> Account:
        price = random.choice((None, Decimal(3400), Decimal(3800), Decimal("NaN"), Decimal(0)))
        holding = Holding(ETH, Quantity(Decimal(1)), Price(Decimal(4000)), None if price is None else Price(price))
        return Account(Usd(Decimal(1000)), Usd(Decimal(0)), Usd(Decimal(0)), Usd(Decimal(10)), {ETH: holding}, {}, NOW)


class RosterTest(unittest.TestCase):
    def setUp(self) -> None:
        self.scene, self.venue = a_bent_scene(self)
        self.position = self.scene.opened()
        self.other = self.scene.opened("signal_2", pair="SOL/AVAX")

    def test_what_was_worked_out_is_kept_while_a_position_stays_the_same(self) -> None:
        roster = Roster()
        self.assertTrue(roster.update((self.position, self.other)))
        before = list(roster.concerned(None))
        self.assertFalse(roster.update((self.position, self.other)))
        changed = replace(self.other, leverage=2)
        self.assertTrue(roster.update((self.position, changed)))
        same, anew = roster.concerned(None)
        self.assertIs(before[0], same)
        self.assertIs(changed, anew.position)

    def test_only_positions_of_the_coins_are_concerned_each_once(self) -> None:
        roster = Roster()
        roster.update((self.position, self.other))
        found = [one.position.id for one in roster.concerned({ETH, BTC, Coin("DOGE")})]
        self.assertEqual([self.position.id], found)
        self.assertEqual(2, len(roster.concerned(None)))

    def test_the_same_frame_looked_at_twice_is_news_once(self) -> None:
        roster = Roster()
        roster.update((self.position,))
        quote = given_quote("ETH", at=NOW)
        depth = Depth(ETH, (Level(quote.bid, Quantity(Decimal(1))),), (Level(quote.ask, Quantity(Decimal(1))),), NOW)
        prices = Prices({ETH: quote}, {ETH: depth})
        later = Prices({ETH: replace(quote, taken_at=after(61))}, {ETH: replace(depth, taken_at=after(61))})
        said_again = Prices({ETH: quote}, {ETH: replace(depth, bids=(*depth.bids,), asks=(*depth.asks,))})
        self.assertEqual({ETH}, roster.sights(prices, None, NOW)[1])
        self.assertEqual(frozenset(), roster.sights(later, None, after(61))[1])
        self.assertEqual({ETH}, roster.sights(said_again, None, NOW)[1])

    def test_a_quiet_position_gets_no_closer_look(self) -> None:
        memory, seen = Memory(account=self.venue.account()), []
        exits.sweep(self.scene.desk, memory, lambda *_: None)
        with mock.patch.object(exits, "_look_closer", lambda *words: seen.append(words[2].id)):
            exits.sweep(self.scene.desk, memory, lambda *_: None)
            self.assertEqual([], seen)
            self.venue.move("ETH", "3910")
            exits.sweep(self.scene.desk, memory, lambda *_: None, {Coin("SOL")})
            self.assertEqual([], seen)
            exits.sweep(self.scene.desk, memory, lambda *_: None, {ETH})
        self.assertEqual([self.position.id], seen)
