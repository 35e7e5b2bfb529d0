"""What rests at the venue for each position while nobody of ours may be alive: a stop and a mirrored take-profit a leg.

The law: what may rest is on disk before it is sent and is struck out only when the venue has it no more, so that no
trigger is forgotten and none outlives its position. It only reduces and opens nothing; a failure here delays no exit.
"""

import threading
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from trading.domain.book import Book
from trading.domain.errors import Busy, StoreCorrupt, VenueUnavailable
from trading.domain.positions import Position, PositionStatus
from trading.domain.resting import (
    Resting,
    RestingOrder,
    RestingReport,
    RestingStatus,
    TriggerKind,
    resting_order_id,
)
from trading.domain.units import ClientOrderId, Coin, PositionId
from trading.engine import errands
from trading.engine.desk import Desk
from trading.engine.guards import (
    LANDED_AFTER,
    LIFE,
    MOVE_INTERVAL,
    Changes,
    Guard,
    Listing,
    decide,
    key_of,
    settled,
    wanted,
)
from trading.engine.instants import lasts

MOVES_PER_MINUTE_MAX = 40
LIST_AGE_MAX = timedelta(seconds=60)
LIST_AGE_IN_DOUBT = timedelta(seconds=5)
LOOK_EVERY = timedelta(seconds=30)
LOOKS_AT_ONCE = 16
"""Positions handed out in one tick: after a start with hundreds of them they have their turn one after the other."""
LOOK_AGAIN = timedelta(seconds=3)
REFUSED_PAUSE = timedelta(seconds=60)
WAY_SECONDS = 1.0
SEAT_SECONDS = 0.5
TOLD_SECONDS = 2.0
TOLD_AFTER = timedelta(seconds=1.2)
"""So long after it has happened a fill is in the venue's list."""
LOOK_PAUSES = (0.2, 0.4, 0.6)
"""Seconds before each further look at the fills, TOLD_AFTER in all."""
FINDERS = PositionId("finders")
"""The seat of whoever looks: one after the other, for what the first finds is found for all who hold the coin."""
Finding = Callable[[Collection[Coin]], object]
"""Books what fills have taken of coins, also beside others who hold them; None where that cannot be told now."""


@dataclass
class Memory:
    """What one monitor remembers between two looks. Losing it costs one more look at the venue's list."""

    looks: dict[PositionId, tuple[tuple[object, ...], datetime]] = field(default_factory=dict)
    refused: dict[tuple[PositionId, Coin, TriggerKind], datetime] = field(default_factory=dict)
    """When the venue last refused what. Each for itself: one that is beyond the mark keeps no other from growing."""
    moved: deque[datetime] = field(default_factory=deque)
    listing: Listing | None = None
    doubts: dict[PositionId, Mapping[ClientOrderId, float]] = field(default_factory=dict)
    """Since when this monitor has known of what it has not seen at the venue, by the clock that nobody sets."""
    lock: threading.Lock = field(default_factory=threading.Lock)
    list_lock: AbstractContextManager[object] = field(default_factory=threading.Lock)
    """Held while the venue is asked, which takes its time; the other one never is: a tick waits for it."""


def due(desk: Desk, memory: Memory, book: Book) -> tuple[PositionId, ...]:
    """The positions whose protection is to be looked at now, LOOKS_AT_ONCE at most: those that have changed since the
    last look, and each every half minute."""
    if not desk.venue.traits.rests_orders:
        return ()
    now = desk.clock.now()
    found: list[PositionId] = []
    with memory.lock:
        known, memory.looks = memory.looks, {}
        for position in (*book.standing_positions(), *book.guarded_after_end()):
            signature = (position.status, position.long.held, position.short.held)
            look = known.get(position.id)
            # Later than can be: the clock was set back.
            at_once = look is None or look[0] != signature or not now < look[1] <= now + LOOK_EVERY
            if len(found) < LOOKS_AT_ONCE and at_once:
                look = (signature, now + (LOOK_AGAIN if position.closed else LOOK_EVERY))
                found.append(position.id)
            if look is not None:
                memory.looks[position.id] = look
        memory.refused = {key: at for key, at in memory.refused.items() if lasts(now, at, REFUSED_PAUSE)}
        memory.doubts = {one: doubts for one, doubts in memory.doubts.items() if one in memory.looks}
    return tuple(found)


def protect(desk: Desk, memory: Memory, position_id: PositionId, find: Finding) -> None:
    """Bring what rests for a position to what should. Raises Busy when somebody else is at it, VenueUnavailable.

    What rested and is there no more may have fired, beside somebody else's holding even: *find* books what it has taken
    before it is struck out, for then nobody would ask about it again.
    """
    with desk.store.seat(position_id):
        book, now = desk.store.book(), desk.clock.now()
        position, watch = book.position(position_id), book.watch_of(position_id)
        if position.status is PositionStatus.CLOSING:
            # The close has made its way; what is left there guards what is not closed yet, and ends with it.
            return
        if not watch.resting and (position.closed or not desk.config.resting_protection):
            return
        listing = _listing(desk, memory, watch.resting)
        present, unclear = _seen(desk, memory, position_id, watch.resting, listing, find)
        wish = _wish(desk, position_id, unclear)
        changes = decide(wish, present, now)
        put_off = not changes.replaced and bool(decide(wish, present, now + MOVE_INTERVAL).replaced)
        with memory.lock:
            affordable = _has_room(memory, changes, now)
        if not affordable:
            # Before the list is read: that costs ten times what a move does, of the budget that orders go by.
            changes, put_off = _without_moves(changes), True
        if changes.replaced:
            # What stands in for one that has fired meanwhile would be larger than what is left, and take of others'.
            listing = read_list(desk, memory, timedelta(0))
            # What has been accounted for just now is not asked about again: a list this fresh clears nothing.
            present, unclear = _seen(desk, memory, position_id, present, listing, find)
            changes = decide(_wish(desk, position_id, unclear), present, now)
            if listing is None:
                changes = _without_moves(changes)
                _look_soon(memory, position_id, now)
        changes = _affordable(memory, changes, now)
        position = desk.store.book().position(position_id)
        if present != watch.resting:
            _note(desk, position_id, lambda _: present)
        _carry_out(desk, memory, position, changes)
        doubtful = any(not one.placed for one in desk.store.book().watch_of(position_id).resting)
        if unclear or doubtful or position.status is PositionStatus.OPENING or changes.replaced or put_off:
            _look_soon(memory, position_id, now)


def _seen(
    desk: Desk,
    memory: Memory,
    position_id: PositionId,
    resting: Sequence[Resting],
    listing: Listing | None,
    find: Finding,
) -> tuple[tuple[Resting, ...], frozenset[ClientOrderId]]:
    """*resting* as *listing* tells it, and those of it that count as there because it is not known what they took."""
    on_its_way = _on_its_way(memory, position_id, resting, listing, desk.clock.monotonic())
    unclear = _unaccounted(desk, position_id, resting, listing, find)
    if listing is not None and unclear:
        listing = replace(listing, ids=listing.ids | unclear)
    return settled(resting, listing, on_its_way), unclear


def _wish(desk: Desk, position_id: PositionId, unclear: Collection[ClientOrderId]) -> Mapping[Coin, Sequence[Guard]]:
    """What should rest; a coin of which it is *unclear* what has been taken is left as it is until that is known."""
    position = desk.store.book().position(position_id)
    if position.closed or not desk.config.resting_protection:
        return {leg.coin: () for leg in position.legs}
    found = wanted(position, desk.venue.account(), desk.venue.instruments())
    resting = desk.store.book().watch_of(position_id).resting
    doubted = {one.order.coin for one in resting if one.order.client_order_id in unclear}
    return {coin: guards for coin, guards in found.items() if coin not in doubted}


def in_the_way(book: Book, position_id: PositionId, shared: Collection[Coin]) -> tuple[Resting, ...]:
    """What may rest for a position on *shared* coins, which others hold, too: there it could sell theirs."""
    watch = book.watch(position_id)
    return tuple(one for one in watch.resting if one.order.coin in shared) if watch is not None else ()


def clear_way(
    desk: Desk, position_id: PositionId, obstacles: Sequence[Resting], doubted: Collection[Coin], find: Finding
) -> None:
    """Before a close sends: take *obstacles* back, which are in its way, and let *find* book what they have taken, or
    the close would sell it once more, of what is somebody else's.

    One that was not there to be taken back has fired, as a rule: its fill is looked for until it is told of. Of coins
    *doubted*, of which the account shows something else than the book, fills are looked for once in any case. No exit
    waits longer for this than WAY_SECONDS for the venue's answer and TOLD_SECONDS for the fills.

    Only once the close is on disk, and the store takes in what is taken back: a position that nobody closes keeps its
    guard. Raises StoreCorrupt where that cannot be.
    """
    if desk.store.trouble:
        raise StoreCorrupt(f"the desk is halted: {desk.store.trouble}")
    desk.store.make_sure()
    name = f"clearing the way of {desk.store.book().position(position_id).pair}"
    answers: list[frozenset[ClientOrderId]] = []

    def clear() -> None:
        there = _taken_back(desk, position_id, obstacles)
        if there is not None:
            answers.append(there)

    _wait_for(desk, name, clear)
    there = answers[0] if answers else None

    def look() -> None:
        missed = [one for one in obstacles if there is None or one.order.client_order_id not in there]
        all_told = _look_for_fills(desk, position_id, missed, doubted, find)
        if there is not None:
            _strike_out(desk, position_id, obstacles, there, all_told=all_told)

    _wait_for(desk, name, look, TOLD_SECONDS)


def take_back(desk: Desk, position_id: PositionId) -> None:
    """After a position has ended: take back what may still rest for it. Waits a second at most; what could not be taken
    back stays written down, and the monitor goes on."""
    watch = desk.store.book().watch(position_id)
    if watch is not None and watch.resting:
        resting = watch.resting
        _wait_for(desk, f"taking back what rests for {position_id}", lambda: _take_back(desk, position_id, resting))


def _wait_for(desk: Desk, name: str, job: Callable[[], None], seconds: float = WAY_SECONDS) -> None:
    errands.wait(desk, [errands.start(desk, name, job)], desk.clock.monotonic() + seconds)


def _take_back(desk: Desk, position_id: PositionId, resting: Sequence[Resting]) -> None:
    there = _taken_back(desk, position_id, resting)
    if there is not None:
        _strike_out(desk, position_id, resting, there)


def _taken_back(desk: Desk, position_id: PositionId, resting: Sequence[Resting]) -> frozenset[ClientOrderId] | None:
    """Take *resting* back and say which of them were there until now; None while it is not known that none is."""
    try:
        with desk.store.seat(position_id, SEAT_SECONDS):
            return desk.venue.cancel_resting([one.order for one in resting])
    except Busy:
        # The monitor is at this very position: it finds it closed, or finds the order again, at its next look.
        return None


def _look_for_fills(
    desk: Desk, position_id: PositionId, missed: Sequence[Resting], doubted: Collection[Coin], find: Finding
) -> bool:
    """Let *find* book what *missed*, which could not be taken back, may have taken: once, and again while one that has
    rested may have been filled and not told of. False while it may still be so."""
    coins = {*doubted, *(one.order.coin for one in missed)}
    rested = [one for one in missed if one.placed]
    if not coins:
        return True
    with suppress(Busy), desk.store.seat(FINDERS, TOLD_SECONDS):
        found = None
        if doubted or len(rested) < len(missed) or _untold(desk, position_id, rested):
            found = find(coins)
        for pause in LOOK_PAUSES:
            if not _untold(desk, position_id, rested):
                return True
            desk.clock.sleep(pause)
            found = find(coins)
        return found is not None
    return False


def _unaccounted(
    desk: Desk, position_id: PositionId, resting: Sequence[Resting], listing: Listing | None, find: Finding
) -> frozenset[ClientOrderId]:
    """Those of *resting* that *listing* does not show any more, and of which it is not known what they have taken after
    *find* has looked for it."""
    left = settled(resting, listing)
    vanished = [one for one in resting if one.placed and one not in left and _untold(desk, position_id, [one])]
    if not vanished or listing is None:
        return frozenset()
    told = desk.clock.now() - listing.taken_at >= TOLD_AFTER
    if told and find({one.order.coin for one in vanished}) is not None:
        return frozenset()
    return frozenset(one.order.client_order_id for one in vanished)


def _untold(desk: Desk, position_id: PositionId, rested: Iterable[Resting]) -> bool:
    """Whether one of *rested* may have taken of its position what no loss is booked for yet."""
    book = desk.store.book()
    position, opening = book.position(position_id), book.trades_of_position(position_id)[0]
    coins = [(one.order.coin, one.order.quantity) for one in rested]
    return any(position.leg_of(coin).held > 0 and opening.lost_of(coin) < quantity for coin, quantity in coins)


def _carry_out(desk: Desk, memory: Memory, position: Position, changes: Changes) -> None:
    """Place first, then take back what that replaces: between the two more rests than is held, which only reduces."""
    unseen = {(guard.coin, guard.kind) for guard in changes.place}
    place = [one for one in changes.place if (position.id, one.coin, one.kind) not in memory.refused]
    for (coin, kind), status in (_place(desk, memory, position, place) if place else {}).items():
        if status is RestingStatus.RESTING:
            unseen.discard((coin, kind))
        elif status is RestingStatus.REJECTED:
            memory.refused[position.id, coin, kind] = desk.clock.now()
    over = [one for one in changes.replaced if key_of(one) not in unseen]
    _cancel(desk, position.id, [*changes.cancel, *over])


def _place(
    desk: Desk, memory: Memory, position: Position, guards: Sequence[Guard]
) -> Mapping[tuple[Coin, TriggerKind], RestingStatus]:
    """Intent to disk, then one group, then the answer to disk. Nothing for a position whose close was accepted while
    the account was read: that has made its way already."""
    now = desk.clock.now()
    with desk.store.exclusive() as book:
        if book.position(position.id).status in (PositionStatus.CLOSING, PositionStatus.CLOSED):
            return {}
        watch = book.watch_of(position.id)
        number = watch.rested + 1
        orders = [_named(position.id, guard, number) for guard in guards]
        intended = tuple(Resting(order, now) for order in orders)
        written = (*watch.resting, *intended)
        desk.store.save_watch(replace(watch, resting=written, rested=number))
    _on_its_way(memory, position.id, written, None, desk.clock.monotonic())
    reports = desk.venue.place_resting(orders, now + LIFE)
    words = {one.client_order_id: one.status for one in reports}

    def told(resting: Iterable[Resting]) -> tuple[Resting, ...]:
        return tuple(
            replace(one, placed=one.placed or words.get(one.order.client_order_id) is RestingStatus.RESTING)
            for one in resting
            if words.get(one.order.client_order_id) is not RestingStatus.REJECTED
        )

    _note(desk, position.id, told)
    _tell_placed(desk, position, orders, reports)
    return {(order.coin, order.kind): words[order.client_order_id] for order in orders}


def _cancel(desk: Desk, position_id: PositionId, resting: Sequence[Resting]) -> None:
    there = desk.venue.cancel_resting([one.order for one in resting]) if resting else None
    if there is not None:
        _strike_out(desk, position_id, resting, there)


def _strike_out(
    desk: Desk,
    position_id: PositionId,
    resting: Sequence[Resting],
    there: Collection[ClientOrderId],
    *,
    all_told: bool = False,
) -> None:
    """What the venue says is not there any more is written down no more, unless it may still be on its way. Nor what
    was not *there* before, while it may have taken what nobody has booked yet; *all_told* says that it has not."""
    gone = {
        one.order.client_order_id
        for one in resting
        if one.placed and (all_told or one.order.client_order_id in there or not _untold(desk, position_id, [one]))
    }
    if gone:
        _note(desk, position_id, lambda there: tuple(one for one in there if one.order.client_order_id not in gone))
        words = f"{len(gone)} order(s) that rested at the venue taken back"
        desk.log.write("info", words, position_id=position_id, event="ProtectionRemoved")


def _note(desk: Desk, position_id: PositionId, change: Callable[[Sequence[Resting]], tuple[Resting, ...]]) -> None:
    with desk.store.exclusive() as book:
        watch = book.watch_of(position_id)
        resting = change(watch.resting)
        if resting != watch.resting:
            desk.store.save_watch(replace(watch, resting=resting))


def _named(position_id: PositionId, guard: Guard, number: int) -> RestingOrder:
    return RestingOrder(
        client_order_id=resting_order_id(position_id, guard.coin, guard.kind, number),
        coin=guard.coin,
        side=guard.side,
        quantity=guard.quantity,
        trigger_price=guard.trigger_price,
        limit_price=guard.limit_price,
        kind=guard.kind,
    )


def _on_its_way(
    memory: Memory, position_id: PositionId, resting: Iterable[Resting], listing: Listing | None, now: float
) -> frozenset[ClientOrderId]:
    """Those of *resting* that may have arrived after *listing*, though the desk's clock says that their time is over:
    it may have been set forward since. What another process has sent counts from when this one first heard of it."""
    with memory.lock:
        known = memory.doubts.pop(position_id, {})
        names = [one.order.client_order_id for one in resting if not one.placed]
        heard = {name: known.get(name, now) for name in names}
        if heard:
            memory.doubts[position_id] = heard
    asked_at = listing.asked_at if listing is not None else now
    return frozenset(name for name, at in heard.items() if asked_at < at + LANDED_AFTER.total_seconds())


def _listing(desk: Desk, memory: Memory, resting: Collection[Resting]) -> Listing | None:
    """The venue's list, no older than *resting* needs it; None where nothing rests, and while it cannot be read."""
    if not resting:
        return None
    return read_list(desk, memory, LIST_AGE_MAX if all(one.placed for one in resting) else LIST_AGE_IN_DOUBT)


def read_list(desk: Desk, memory: Memory, age_max: timedelta) -> Listing | None:
    """The venue's list, younger than *age_max*; None while it cannot be read."""
    with memory.list_lock:
        known, now = memory.listing, desk.clock.now()
        # One from later than now is from before the clock was set back, and knows of nothing that was placed since.
        if known is not None and lasts(now, known.taken_at, age_max):
            return known
        asked_at = desk.clock.monotonic()
        try:
            listed = desk.venue.resting()
        except VenueUnavailable:
            return None
        named = tuple(one for one in listed if one.client_order_id is not None)
        ids = frozenset(one.client_order_id for one in named if one.client_order_id is not None)
        memory.listing = Listing(ids, now, named, asked_at)
        return memory.listing


def _affordable(memory: Memory, changes: Changes, now: datetime) -> Changes:
    """*changes* without the moves that the budget of the minute has no room for: those are tried again later."""
    with memory.lock:
        if _has_room(memory, changes, now):
            memory.moved.extend([now] * changes.moves)
            return changes
    return _without_moves(changes)


def _has_room(memory: Memory, changes: Changes, now: datetime) -> bool:
    """Whether the budget of the minute bears the moves of *changes*. The caller holds the lock."""
    while memory.moved and now - memory.moved[0] >= timedelta(minutes=1):
        memory.moved.popleft()
    return not changes.moves or len(memory.moved) + changes.moves <= MOVES_PER_MINUTE_MAX


def _without_moves(changes: Changes) -> Changes:
    kept = {key_of(one) for one in changes.replaced}
    return Changes(tuple(one for one in changes.place if (one.coin, one.kind) not in kept), changes.cancel)


def _look_soon(memory: Memory, position_id: PositionId, now: datetime) -> None:
    with memory.lock:
        look = memory.looks.get(position_id)
        if look is not None:
            memory.looks[position_id] = (look[0], min(look[1], now + LOOK_AGAIN))


def look_now(memory: Memory, position_id: PositionId) -> None:
    """Let the next tick look at a position, whenever it was looked at last."""
    with memory.lock:
        memory.looks.pop(position_id, None)


def _tell_placed(
    desk: Desk, position: Position, orders: Sequence[RestingOrder], reports: Sequence[RestingReport]
) -> None:
    """One line for what was taken or may have been, one for what was refused."""
    told = list(zip(orders, reports, strict=True))
    for refused in (False, True):
        some = [(order, one) for order, one in told if (one.status is RestingStatus.REJECTED) is refused]
        if some:
            words = ", ".join(f"{one.kind} of {one.quantity} {one.coin} at {one.trigger_price}" for one, _ in some)
            desk.log.write(
                "warning" if refused else "info",
                f"{position.pair}: {'refused at the venue' if refused else 'now rests at the venue'}: {words}",
                position_id=position.id,
                event="ProtectionRefused" if refused else "ProtectionPlaced",
                statuses=sorted({report.status for _, report in some}),
                detail=some[0][1].detail or None,
            )
