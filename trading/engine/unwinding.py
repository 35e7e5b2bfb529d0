"""Leaving positions by what the venue holds, where the ledger cannot be trusted or written.

The law: of a coin that others are known to hold, too, theirs stays; every intent and every answer goes to the rescue
file and to stderr; one hand at a time.
"""

import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime

from trading.domain.book import Book
from trading.domain.errors import Busy, StoreCorrupt, VenueUnavailable
from trading.domain.exit_plan import ExitReason
from trading.domain.trades import close_trade_id
from trading.domain.units import ZERO, Coin, PositionId, Quantity
from trading.engine import errands, working
from trading.engine.desk import Desk
from trading.engine.recovery import DRIFT_PATIENCE, book_holdings, others_beside
from trading.ports import Store

ANSWER_SECONDS = 8.0
ALONE_SECONDS = 4.0
GOES_ON_SECONDS = 600.0
GOES_ON_PAUSE_SECONDS = 5.0
WITHOUT_LEDGER = PositionId("without_ledger")
"""The seat of whoever closes by what the venue holds."""
_turn = threading.Lock()
"""The same within a process, for a disk on which no seat can be had."""
_going_on = threading.Lock()


@dataclass
class Unwritten:
    """What is kept in mind of leaving without a ledger: how much of a coin, signed, is `beside` the book and stays,
    since when a position has read as nothing of the desk's, which have been `left`, and since when the close of one
    could not be written down."""

    beside: dict[Coin, Quantity] = field(default_factory=dict)
    flat_since: dict[PositionId, datetime] = field(default_factory=dict)
    left: set[PositionId] = field(default_factory=set)
    failing_since: dict[PositionId, datetime] = field(default_factory=dict)


def close_known(
    desk: Desk, until: float, error: StoreCorrupt, *, whole_account: bool, goes_on: bool
) -> Mapping[Coin, Quantity]:
    """Close all that is the desk's, or the *whole account*, for an *error* of the ledger that keeps a stop from being
    carried out by it; what is left of it, signed.

    Coins that the readable part of the ledger never traded are somebody else's. It *goes_on* for a while after the
    answer where something is left. Raises VenueUnavailable.
    """
    known = desk.store.salvaged(error.detail)
    coins = None if whole_account else _coins_known(known)
    spared = {} if whole_account else _known_of_others(known)

    def close(until: float) -> Mapping[Coin, Quantity]:
        return working.close_holdings(desk, coins, until, spared)

    left: Mapping[Coin, Quantity] | None = None
    try:
        with _alone(desk, ALONE_SECONDS):
            left = close(until)
    finally:
        if goes_on and (left is None or left):
            _go_on(desk, close)
    return left


def _go_on(desk: Desk, close: Callable[[float], Mapping[Coin, Quantity]]) -> None:
    """Close on beside the caller, who is answered meanwhile, one at a time in a process: without a ledger no state
    makes anybody else do it."""

    def go_on() -> None:
        try:
            until = desk.clock.monotonic() + GOES_ON_SECONDS
            while desk.clock.monotonic() < until:
                desk.clock.sleep(GOES_ON_PAUSE_SECONDS)
                with suppress(VenueUnavailable), _alone(desk, ANSWER_SECONDS):
                    if not close(desk.clock.monotonic() + ANSWER_SECONDS):
                        return
            desk.log.write("error", "the emergency stop is not through yet: press it again", event="NotFlatYet")
        finally:
            _going_on.release()

    if _going_on.acquire(blocking=False):
        errands.start(desk, "going on with an emergency stop without a ledger", go_on)


def _known_of_others(store: Store) -> Mapping[Coin, Quantity]:
    """What is known to be somebody else's, signed, as far as anything can still be read."""
    book, accepted = store.book(), store.state().accepted_drift
    own, beside = book_holdings(book), others_beside(book, accepted)
    return {coin: quantity for coin, quantity in accepted.items() if coin not in own} | {
        coin: Quantity(quantity) for coin, quantity in beside.items()
    }


def _coins_known(store: Store) -> set[Coin] | None:
    """Every coin of every trade of which anything can still be read; None, which is all coins, when nothing can."""
    return {leg.coin for trade in store.book().trades() for leg in trade.terms.legs} | store.broken_coins or None


def leave_without_ledger(
    desk: Desk, position_id: PositionId, reason: ExitReason, until: float, unwritten: Unwritten
) -> None:
    """Leave a position whose close cannot be written down, by what the venue holds and to the rescue file; with it all
    that share a coin with it or with those, for nothing would tell their parts apart later.

    Of a coin no more is sold than the book has, on its side: so that doing it again sells nothing that is not the
    desk's. What has been left is said to the rescue file, too, and is let alone from then on: what is held later is
    somebody else's. Nothing is done for a position with a close that does not fold: it may have ended. Raises
    VenueUnavailable.
    """
    book = desk.store.book()
    lost = close_trade_id(position_id, len(book.trades_of_position(position_id))) in desk.store.broken
    if not lost and position_id not in unwritten.left:
        with _alone(desk, ANSWER_SECONDS):
            _leave_by_holdings(desk, book, position_id, reason, until, unwritten)


def _leave_by_holdings(
    desk: Desk, book: Book, position_id: PositionId, reason: ExitReason, until: float, unwritten: Unwritten
) -> None:
    account = desk.venue.account()
    coins = _entangled(book, position_id)
    others = others_beside(book, _accepted(desk))
    ours: set[Coin] = set()
    for coin, (low, high) in book_holdings(book, coins).items():
        sign = 1 if high > 0 else -1
        held = account.held(coin) * sign
        known = max(others.get(coin, ZERO) * sign, unwritten.beside.get(coin, ZERO) * sign)
        beyond = max(held - max(high, -low), known, ZERO)
        unwritten.beside[coin] = Quantity(beyond * sign)
        if held > beyond:
            ours.add(coin)
    if ours:
        unwritten.flat_since.pop(position_id, None)
        pair = book.position(position_id).pair
        desk.log.write(
            "error",
            f"leaving {pair} without a ledger: {reason}",
            position_id=position_id,
            reason=reason,
            coins=sorted(ours),
            event="ExitFired",
        )
        if working.close_holdings(desk, ours, until, unwritten.beside) or ours != coins:
            return
    elif account.taken_at - unwritten.flat_since.setdefault(position_id, account.taken_at) < DRIFT_PATIENCE:
        return
    _note_left(desk, book, coins, unwritten)


def _accepted(desk: Desk) -> Mapping[Coin, Quantity]:
    """What was accepted as somebody else's, as far as the state can be read."""
    try:
        return desk.store.state().accepted_drift
    except StoreCorrupt:
        return {}


def _note_left(desk: Desk, book: Book, coins: Collection[Coin], unwritten: Unwritten) -> None:
    """That nothing of the positions in *coins* is held any more, once nothing of theirs can land."""
    left = [one.id for one in book.standing_positions() if {leg.coin for leg in one.legs} <= set(coins)]
    doubts_end = [
        order.expires_at + working.SETTLED_AFTER_EXPIRY
        for one in left
        for trade in book.trades_of_position(one)
        for order in trade.in_doubt
    ]
    if all(desk.clock.now() >= end for end in doubts_end):
        unwritten.left.update(left)
        desk.store.rescue({"rescue": "left", "positions": [*left]})


@contextmanager
def _alone(desk: Desk, seconds: float) -> Iterator[None]:
    """One hand at a time closes by what the venue holds: two that see the same would sell it twice, and what is beside
    it, too. Where the turn cannot be had in *seconds*, or at all, it is done without."""
    until = desk.clock.monotonic() + seconds
    with ExitStack() as held:
        if _turn.acquire(timeout=seconds):
            held.callback(_turn.release)
        with suppress(Busy, StoreCorrupt, OSError):
            held.enter_context(desk.store.seat(WITHOUT_LEDGER, max(until - desk.clock.monotonic(), 0.0)))
        yield


def _entangled(book: Book, position_id: PositionId) -> set[Coin]:
    """The coins of a position, of those that share one with it, and so on."""
    pairs = [{leg.coin for leg in one.legs} for one in book.standing_positions()]
    coins = {leg.coin for leg in book.position(position_id).legs}
    while more := [pair for pair in pairs if pair & coins and not pair <= coins]:
        coins = coins.union(*more)
    return coins
