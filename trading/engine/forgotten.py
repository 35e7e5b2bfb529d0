"""Triggers that rest at the venue though no watch knows of them: after a restored backup, a lost file, a write that
never came.

The law: ours is only what bears an id that a position of the book must have given it, and forgotten only what a later
list still shows. It is written down again and no more: whether it stays or is taken back is for protection to say.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from trading.domain.book import Book
from trading.domain.errors import Busy
from trading.domain.positions import Position
from trading.domain.resting import ListedOrder, Resting, RestingOrder, TriggerKind, resting_order_id
from trading.domain.units import ClientOrderId, PositionId
from trading.engine import protection
from trading.engine.desk import Desk
from trading.engine.instants import is_due

LOOK_EVERY = timedelta(seconds=60)
CONFIRMED_AFTER = timedelta(seconds=5)
"""Lists lag behind what was taken back by up to a second; what was struck out before this list is no more in it."""
ENDED_MAX = 200
"""The newest positions whose names are tried, beside all that stand."""
NUMBERS_AHEAD = 64
"""How many groups more than its watch says may have rested for a position: the watch may be from before them."""


@dataclass(frozen=True, slots=True)
class Name:
    """What an id is the hash of."""

    position_id: PositionId
    kind: TriggerKind
    number: int


@dataclass
class Memory:
    """What one monitor has seen at the venue and not in the book: what is ours, and since when; whose name is not known
    is a stranger's, and is not looked up again."""

    ours: dict[ClientOrderId, tuple[Name, datetime]] = field(default_factory=dict)
    strangers: frozenset[ClientOrderId] = frozenset()
    looked_at: datetime | None = None


def due(desk: Desk, memory: Memory) -> bool:
    """Whether it is time to look: at the start, each minute, and soon again where something was found."""
    if not desk.venue.traits.rests_orders:
        return False
    every = CONFIRMED_AFTER if memory.ours else LOOK_EVERY
    return is_due(desk.clock.now(), memory.looked_at, every)


def look(desk: Desk, guards: protection.Memory, memory: Memory) -> None:
    """Compare the venue's list with what the watches know, and write down again what is ours and was listed before,
    too. Raises StoreCorrupt."""
    memory.looked_at = desk.clock.now()
    # The list first: what is placed meanwhile is in the book by then, for an intent is on disk before it is sent.
    listing = protection.read_list(desk, guards, CONFIRMED_AFTER if memory.ours else LOOK_EVERY)
    if listing is None:
        return
    book, now = desk.store.book(), desk.clock.now()
    unknown = _unknown(book, listing.orders)
    fresh = {key: one for key, one in unknown.items() if key not in memory.ours and key not in memory.strangers}
    names = _named(_candidates(book), fresh.values()) if fresh else {}
    memory.strangers = frozenset(key for key in unknown if key in memory.strangers or key in fresh.keys() - names)
    seen = {key: one for key, one in memory.ours.items() if key in unknown}
    memory.ours = {**seen, **{key: (name, now) for key, name in names.items()}}
    for key, (name, since) in seen.items():
        if listing.taken_at - since >= CONFIRMED_AFTER and _written_down(desk, name, unknown[key]):
            del memory.ours[key]
            protection.look_now(guards, name.position_id)


def _unknown(book: Book, listed: Iterable[ListedOrder]) -> Mapping[ClientOrderId, ListedOrder]:
    """Those of *listed* with an id that is in no watch."""
    watches = (book.watch(one.id) for one in (*book.standing_positions(), *book.guarded_after_end()))
    known = {one.order.client_order_id for watch in watches if watch is not None for one in watch.resting}
    ids = {one.client_order_id: one for one in listed}
    return {key: one for key, one in ids.items() if key is not None and key not in known}


def _candidates(book: Book) -> Iterable[tuple[Position, int]]:
    """Positions that may have given a name, each with the last number that it may have got to."""
    newest, _ = book.page_of_positions(ENDED_MAX)
    positions = {one.id: one for one in (*book.standing_positions(), *newest)}
    watches = ((one, book.watch(one.id)) for one in positions.values())
    return [(one, NUMBERS_AHEAD + (watch.rested if watch is not None else 0)) for one, watch in watches]


def _named(candidates: Iterable[tuple[Position, int]], listed: Collection[ListedOrder]) -> dict[ClientOrderId, Name]:
    """Those of *listed* that one of *candidates* must have named; a trigger only ever guards a leg of its position."""
    coins = {one.client_order_id: one.coin for one in listed}
    found = {}
    for position, last in candidates:
        for coin in {*coins.values()}.intersection(leg.coin for leg in position.legs):
            for kind in TriggerKind:
                for number in range(1, last + 1):
                    key = resting_order_id(position.id, coin, kind, number)
                    if coins.get(key) == coin:
                        found[key] = Name(position.id, kind, number)
    return found


def _written_down(desk: Desk, name: Name, listed: ListedOrder) -> bool:
    """Put *listed* back into the watch of its position; False while somebody else is at that."""
    if listed.client_order_id is None:
        return True
    # What has fired waits for no trigger any more, and stands where it may trade.
    trigger = listed.limit_price if listed.trigger_price is None else listed.trigger_price
    order = RestingOrder(
        listed.client_order_id, listed.coin, listed.side, listed.quantity, trigger, listed.limit_price, name.kind
    )
    try:
        with desk.store.seat(name.position_id), desk.store.exclusive() as book:
            watch = book.watch_of(name.position_id)
            if any(one.order.client_order_id == order.client_order_id for one in watch.resting):
                return True
            resting = (*watch.resting, Resting(order, desk.clock.now(), placed=True))
            desk.store.save_watch(replace(watch, resting=resting, rested=max(watch.rested, name.number)))
    except Busy:
        return False
    desk.log.write(
        "warning",
        f"a {name.kind} of {order.quantity} {order.coin} at {trigger} rests at the venue and was not written down: "
        "it is now, and stays or goes like any other",
        position_id=name.position_id,
        client_order_id=order.client_order_id,
        event="ProtectionFound",
    )
    return True
