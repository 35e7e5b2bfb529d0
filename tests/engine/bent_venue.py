"""A scripted venue whose words can be bent one by one: a quote, a book, the account, the funding it lists; and a store
with members of a test's own."""

import unittest
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, NoReturn

from tests.engine.scripted_venue import Scene, ScriptedVenue, a_scene
from trading.domain.errors import StoreCorrupt, VenueUnavailable
from trading.domain.market import Account, Depth, FundingPayment, Quote
from trading.domain.resting import AccountFill
from trading.domain.units import Coin
from trading.engine.desk import Desk
from trading.ports import Store, Venue


class BentVenue(ScriptedVenue):
    """What it says passes through `bend_*` first; `payments` is what `funding` chooses from, `told_fills` what
    `account_fills` does, unless they are down."""

    bend_quote: Callable[[Quote], Quote] | None = None
    bend_depth: Callable[[Depth], Depth] | None = None
    bend_account: Callable[[Account], Account] | None = None
    payments: tuple[FundingPayment, ...] = ()
    asked_funding: int = 0
    told_fills: tuple[AccountFill, ...] = ()

    def quotes(self, coins: Collection[Coin]) -> Mapping[Coin, Quote]:
        found = super().quotes(coins)
        bend = self.bend_quote
        return found if bend is None else {coin: bend(quote) for coin, quote in found.items()}

    def depths(self, coins: Collection[Coin]) -> Mapping[Coin, Depth]:
        found = super().depths(coins)
        bend = self.bend_depth
        return found if bend is None else {coin: bend(depth) for coin, depth in found.items()}

    def account(self) -> Account:
        account = super().account()
        return account if self.bend_account is None else self.bend_account(account)

    def funding(self, coins: Collection[Coin], since: datetime, until: datetime) -> tuple[FundingPayment, ...]:
        self.asked_funding += 1
        if "funding" in self.reads_down:
            raise VenueUnavailable("funding cannot be read")
        return tuple(one for one in self.payments if one.coin in coins and since < one.paid_at <= until)

    def account_fills(self, since: datetime) -> tuple[AccountFill, ...]:
        if "account_fills" in self.reads_down:
            raise VenueUnavailable("the account's fills cannot be read")
        return tuple(one for one in self.told_fills if one.filled_at >= since)

    def straighten(self) -> None:
        self.bend_quote = self.bend_depth = self.bend_account = None


def a_bent_scene(case: unittest.TestCase, **config: Any) -> tuple[Scene, BentVenue]:
    """A scene whose venue can be bent."""
    scene = a_scene(case, **config)
    venue = BentVenue(scene.clock)
    return with_venue(scene, venue), venue


def with_venue(scene: Scene, venue: Venue) -> Scene:
    """*scene* trading at *venue* from now on."""
    bent = replace(scene, desk=replace(scene.desk, venue=venue))
    return replace(bent, venue=venue) if isinstance(venue, ScriptedVenue) else bent


class BentStore:
    """The store of a scene with some of its members replaced; all others are the real ones."""

    def __init__(self, store: Store, **members: object) -> None:
        self._store = store
        self._members = members

    def __getattr__(self, name: str) -> object:
        return self._members[name] if name in self._members else getattr(self._store, name)


def with_store(scene: Scene, **members: object) -> Desk:
    """The desk of *scene* with some members of its store replaced."""
    bent: Any = BentStore(scene.store, **members)
    return replace(scene.desk, store=bent)


def corrupt(*_: object, **__: object) -> NoReturn:
    """A member of a store whose disk is full."""
    raise StoreCorrupt("the disk is full")
