"""Leaving positions by what the venue holds, where the ledger cannot be trusted or written.

The law: of a coin that others are known to hold, too, theirs stays; every intent and every answer goes to the rescue
file and to stderr; one hand at a time; what has been left once is let alone, for what is held later is somebody else's.
"""

import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal

from trading.domain.book import Book
from trading.domain.errors import Busy, StoreCorrupt, StoreHeld, VenueUnavailable
from trading.domain.exit_plan import ExitReason
from trading.domain.market import Account
from trading.domain.positions import Position
from trading.domain.trades import HoldingGone, LegLost, Trade, TradeAccepted, close_trade_id
from trading.domain.units import ZERO, ClientOrderId, Coin, PositionId, Quantity
from trading.engine import errands, flattening, protection, working
from trading.engine.desk import Desk
from trading.engine.flattening import Part
from trading.engine.instants import first_of
from trading.engine.recovery import DRIFT_PATIENCE, book_holdings, others_beside
from trading.ports import Store

TRY_SECONDS = 8.0
TURN_SECONDS = 8.0
ALONE_SECONDS = 4.0
GOES_ON_SECONDS = 600.0
GOES_ON_PAUSE_SECONDS = 5.0
WRITE_PATIENCE = timedelta(seconds=3)
"""How long a close that cannot be written down is tried again, before it is done without that."""
UNPROVEN_FOR = timedelta(seconds=90)
"""How long after its intent an order may land of which the venue cannot prove that it never will."""
WITHOUT_LEDGER = PositionId("without_ledger")
"""The seat of whoever closes by what the venue holds."""
_turn = threading.Lock()
"""The same within a process, for a disk on which no seat can be had."""
_going_on = {whole_account: threading.Lock() for whole_account in (False, True)}
"""One for each scope: who goes on with the desk's own would close no more than that of a whole account."""


@dataclass(frozen=True, slots=True)
class Meant:
    """The `coins` to be closed, all of them when None, what of them is known to be somebody else's and `spared`,
    signed, the desk's `parts` as the book tells them, and the coins of which others may hold some, `shared`."""

    coins: Collection[Coin] | None
    spared: Mapping[Coin, Quantity]
    parts: Mapping[Coin, Part]
    shared: Collection[Coin]


@dataclass
class Unwritten:
    """What is kept in mind of leaving without a ledger: since when a position has read as nothing of the desk's, which
    have been `left`, since when the close of one could not be written down, what was tried, of a coin when its
    positions had how much of it (`held`), and what that rested was `taken_back`."""

    flat_since: dict[PositionId, datetime] = field(default_factory=dict)
    left: set[PositionId] = field(default_factory=set)
    failing_since: dict[PositionId, datetime] = field(default_factory=dict)
    attempts: dict[Coin, flattening.Attempts] = field(default_factory=dict)
    taken_back: set[ClientOrderId] = field(default_factory=set)
    held: dict[Coin, Mapping[PositionId, Decimal]] = field(default_factory=dict)

    def filled(self, store: Store, book: Book, coin: Coin) -> Quantity:
        """What was sold of *coin*, by whomever, that *book* does not know of: so much less, once the book has less of
        it; what is written to its positions besides books nothing. What another process has sent, or this one for
        another caller, is in the rescue file of *store*; an order of which that does not say how it ended is in doubt
        here, too."""
        standing = [one for one in book.standing_positions() if coin in (one.long.coin, one.short.coin)]
        present = {one.id: leg.held for one in standing for leg in one.legs if leg.coin == coin}
        attempts = self.attempts.setdefault(coin, flattening.Attempts())
        before = self.held.get(coin, {}).items()
        booked = sum((max(held - present.get(one, ZERO), ZERO) for one, held in before), ZERO)
        self.held[coin], attempts.filled = present, Quantity(max(attempts.filled - booked, ZERO))
        booked_at = [_booked_at(trade) for one in standing for trade in book.trades_of_position(one.id)]
        written_at = max((at for at in booked_at if at is not None), default=None)
        ends = store.rescue_ends()
        attempts.settle(ends)
        for order in store.rescued():
            is_new = written_at is not None and order.intended_at >= written_at
            if order.coin == coin and is_new and order.client_order_id not in attempts.known:
                attempts.note(order, ends.get(order.client_order_id))
        return attempts.filled


@dataclass(frozen=True, slots=True)
class Unwound:
    """What a stop without a ledger has reached: what is `held` yet of what it closes, signed, and the positions of
    which something may still `land`."""

    held: Mapping[Coin, Quantity]
    landing: tuple[Position, ...]

    @property
    def done(self) -> bool:
        return not self.held and not self.landing


def close_known(
    desk: Desk,
    until: float,
    error: StoreCorrupt | StoreHeld,
    *,
    whole_account: bool,
    goes_on: bool,
    unwritten: Unwritten,
) -> Unwound:
    """Close all that is the desk's, or the *whole account*, for an *error* of the ledger that keeps a stop from being
    carried out by it.

    Where all of the ledger can be read that is what stands in the book; else it is all that is held of the coins which
    the readable part ever traded, or of all coins when nothing can be read, but for what is known to be others'. It
    *goes_on* for a while after the answer where it is not through. Raises VenueUnavailable.
    """
    known = desk.store.salvaged(error.detail)

    def close(until: float) -> Unwound:
        meant = Meant(None, {}, {}, ()) if whole_account else _meant(desk, known, until, unwritten)
        book = known.book()
        _clear_way(desk, book, book.standing_positions(), meant.shared, unwritten)
        held = flattening.close_holdings(desk, meant.coins, until, meant.spared, unwritten.attempts, meant.parts)
        return Unwound(held, () if held else _note_left(desk, book, book.standing_positions(), unwritten))

    unwound: Unwound | None = None
    try:
        with _alone(desk, ALONE_SECONDS):
            unwound = close(until)
    finally:
        if goes_on and (unwound is None or not unwound.done):
            _go_on(desk, close, _going_on[whole_account])
    return unwound


def _go_on(desk: Desk, close: Callable[[float], Unwound], going_on: threading.Lock) -> None:
    """Close on beside the caller, who is answered meanwhile, one at a time in a process, who holds *going_on*: without
    a ledger no state makes anybody else do it."""

    def go_on() -> None:
        try:
            until = desk.clock.monotonic() + GOES_ON_SECONDS
            while desk.clock.monotonic() < until:
                desk.clock.sleep(GOES_ON_PAUSE_SECONDS)
                with suppress(VenueUnavailable), _alone(desk, TURN_SECONDS):
                    if close(desk.clock.monotonic() + TRY_SECONDS).done:
                        return
            desk.log.write("error", "the emergency stop is not through yet: press it again", event="NotFlatYet")
        finally:
            going_on.release()

    if going_on.acquire(blocking=False):
        errands.start(desk, "going on with an emergency stop without a ledger", go_on)


def _meant(desk: Desk, known: Store, until: float, unwritten: Unwritten) -> Meant:
    """What a stop closes."""
    others, book, left = _known_of_others(known), known.book(), unwritten.left | desk.store.left()
    if not known.complete:
        parts = _parts(desk, book, None, left)
        for coin in parts:
            unwritten.filled(desk.store, book, coin)
        at_least = {coin: replace(part, most=None) for coin, part in parts.items()}
        return Meant(_coins_known(known), others, at_least, others)
    standing = {leg.coin for one in book.standing_positions() if one.id not in left for leg in one.legs}
    # What is held of the coins of trades that do not fold is the desk's, whatever the book has of them.
    measured = standing - known.broken_coins
    account = flattening.account_by(desk, until)
    own = _measured(desk, account, book, measured, left, others_beside(book, _accepted(known)), unwritten)
    return Meant(standing | known.broken_coins, others, own.parts, {*others, *own.shared})


def _known_of_others(store: Store) -> Mapping[Coin, Quantity]:
    """What is known to be somebody else's, signed, as far as anything can still be read."""
    book, accepted = store.book(), _accepted(store)
    own, beside = book_holdings(book), others_beside(book, accepted)
    return {coin: quantity for coin, quantity in accepted.items() if coin not in own} | {
        coin: Quantity(quantity) for coin, quantity in beside.items()
    }


def _coins_known(store: Store) -> set[Coin] | None:
    """Every coin of every trade of which anything can still be read; None, which is all coins, when nothing can."""
    return {leg.coin for trade in store.book().trades() for leg in trade.terms.legs} | store.broken_coins or None


def cannot_be_written(desk: Desk, position_id: PositionId, unwritten: Unwritten) -> bool:
    """Whether the close of a position, which could not be written down just now, is to be done without that."""
    now = desk.clock.now()
    since = unwritten.failing_since[position_id] = first_of(unwritten.failing_since.get(position_id), now)
    return not desk.store.writable or now - since >= WRITE_PATIENCE


def leave_without_ledger(
    desk: Desk, position_id: PositionId, reason: ExitReason, seconds: float, unwritten: Unwritten
) -> bool:
    """Leave a position whose close cannot be written down, by what the venue holds and to the rescue file; with it all
    that share a coin with it or with those, for nothing would tell their parts apart later. Takes some *seconds* once
    it has its turn.

    Of a coin no more is sold than the book has, on its side: so that doing it again sells nothing that is not the
    desk's. What has been left is said to the rescue file, too, and is let alone from then on: what is held later is
    somebody else's. Nothing is done for a position with a close that does not fold: it may have ended. Says whether the
    position is let alone from now on. Raises VenueUnavailable.
    """
    if position_id in _let_alone(desk, desk.store.book(), unwritten):
        return True
    with _alone(desk, TURN_SECONDS):
        # Whoever had the turn before may have left it.
        book = desk.store.book()
        alone = _let_alone(desk, book, unwritten)
        if position_id in alone:
            return True
        until = desk.clock.monotonic() + seconds
        _leave_by_holdings(desk, book, position_id, reason, until, unwritten, alone)
    return position_id in unwritten.left


def _booked_at(trade: Trade) -> datetime | None:
    """When what others took of *trade* was last written down, or it was accepted as an opening: of what was sold before
    that its book knows. A fill of its own says nothing of that, and may be told long after."""
    for event in reversed(trade.events):
        if isinstance(event, LegLost | HoldingGone) or (trade.opens and isinstance(event, TradeAccepted)):
            return event.at
    return None


def _let_alone(desk: Desk, book: Book, unwritten: Unwritten) -> Collection[PositionId]:
    """The standing positions that have been left, or may have ended by a close that does not fold."""
    broken, left = desk.store.broken, unwritten.left | desk.store.left()
    return {
        one.id
        for one in book.standing_positions()
        if one.id in left or close_trade_id(one.id, len(book.trades_of_position(one.id))) in broken
    }


def _leave_by_holdings(
    desk: Desk,
    book: Book,
    position_id: PositionId,
    reason: ExitReason,
    until: float,
    unwritten: Unwritten,
    alone: Collection[PositionId],
) -> None:
    account = desk.venue.account()
    coins = _entangled(book, position_id, alone)
    gone = [one for one in book.standing_positions() if {leg.coin for leg in one.legs} <= coins and one.id not in alone]
    others = others_beside(book, _accepted(desk.store))
    meant = _measured(desk, account, book, coins, alone, others, unwritten)
    ours = meant.coins
    if ours:
        pair = book.position(position_id).pair
        desk.log.write(
            "error",
            f"leaving {pair} without a ledger: {reason}",
            position_id=position_id,
            reason=reason,
            coins=sorted(ours),
            event="ExitFired",
        )
        _clear_way(desk, book, gone, meant.shared, unwritten)
        if flattening.close_holdings(desk, ours, until, meant.spared, unwritten.attempts, meant.parts):
            unwritten.flat_since.pop(position_id, None)
            return
    if ours != coins:
        # Of a coin nothing was there at the first look: that is believed at a second one.
        flat_since = unwritten.flat_since.setdefault(position_id, account.taken_at)
        if account.taken_at - flat_since < DRIFT_PATIENCE:
            return
    _note_left(desk, book, gone, unwritten)


def _clear_way(
    desk: Desk, book: Book, going: Collection[Position], shared: Collection[Coin], unwritten: Unwritten
) -> None:
    """Take back what rests for *going* on *shared* coins: it would stay there and sell what others hold. Nothing waits
    for the answer for longer than a second; one that did not come is asked for again."""
    found = (one.order for position in going for one in protection.in_the_way(book, position.id, shared))
    resting = [one for one in found if one.client_order_id not in unwritten.taken_back]

    def take_back() -> None:
        if desk.venue.cancel_resting(resting) is not None:
            unwritten.taken_back.update(one.client_order_id for one in resting)

    if resting:
        until = desk.clock.monotonic() + protection.WAY_SECONDS
        errands.wait(desk, [errands.start(desk, "taking back what rests, without a ledger", take_back)], until)


def _measured(
    desk: Desk,
    account: Account,
    book: Book,
    coins: Collection[Coin],
    alone: Collection[PositionId],
    others: Mapping[Coin, Decimal],
    unwritten: Unwritten,
) -> Meant:
    """What may be closed of *coins*: those of which *account* has some of the desk's, and how much the book has of each
    at most, in which no position that is let *alone* counts."""
    ours, shared = set[Coin](), set[Coin]()
    parts, spared = _parts(desk, book, coins, alone), dict[Coin, Quantity]()
    for coin, part in parts.items():
        theirs = Quantity(max(others.get(coin, ZERO) * part.sign, ZERO) * part.sign)
        filled, held = unwritten.filled(desk.store, book, coin), account.held(coin)
        spared[coin] = theirs
        if flattening.ours_of(held, theirs, part, filled):
            ours.add(coin)
        if theirs or (part.most is not None and held * part.sign > part.most - filled):
            shared.add(coin)
    return Meant(ours, spared, parts, shared)


def _parts(
    desk: Desk, book: Book, coins: Collection[Coin] | None, alone: Collection[PositionId]
) -> Mapping[Coin, Part]:
    """How much of each coin the book has, in which no position that is let *alone* counts; with the end of its orders
    in doubt, which could not be written down, as the venue tells it by now."""
    least, most = dict[Coin, Decimal](), dict[Coin, Decimal]()
    positions = [one.id for one in book.standing_positions() if one.id not in alone]
    trades = [trade for one in positions for trade in book.trades_of_position(one)]
    doubts = [(order, trade.report_of(order).filled) for trade in trades for order in trade.in_doubt]
    with suppress(VenueUnavailable):
        reports = desk.venue.reports([order for order, _ in doubts]) if doubts else ()
        for (order, before), report in zip(doubts, reports, strict=True):
            coin, more, ended = order.coin, report.filled - before, not report.status.in_doubt
            rest = order.quantity - report.filled if ended else Decimal(ZERO)
            # What reduces may have taken all of itself at least, and nothing at most; what opens the reverse.
            least[coin] = least.get(coin, ZERO) + (rest if order.reduce_only else more)
            most[coin] = most.get(coin, ZERO) - (more if order.reduce_only else rest)
    parts = {}
    for coin, (low, high) in book_holdings(book, coins, alone).items():
        sign = 1 if high > 0 else -1
        known, possible = (low, high) if sign > 0 else (-high, -low)
        parts[coin] = Part(
            sign,
            Quantity(max(known + least.get(coin, ZERO), ZERO)),
            Quantity(max(possible + most.get(coin, ZERO), ZERO)),
        )
    return parts


def _accepted(store: Store) -> Mapping[Coin, Quantity]:
    """What was accepted as somebody else's, as far as the state can be read."""
    try:
        return store.state().accepted_drift
    except StoreCorrupt:
        return {}


def _note_left(desk: Desk, book: Book, gone: Collection[Position], unwritten: Unwritten) -> tuple[Position, ...]:
    """Note that nothing of *gone* is held any more, but for those that are returned: of them something can land yet."""
    landing = tuple(one for one in gone if _may_land(desk, book, one))
    fresh = [one.id for one in gone if one not in landing and one.id not in unwritten.left]
    if fresh:
        unwritten.left.update(fresh)
        desk.store.rescue({"rescue": "left", "positions": [*fresh]})
    return landing


def _may_land(desk: Desk, book: Book, position: Position) -> bool:
    """Whether an order of *position* of which nobody knows how it ended can still land."""
    doubts = [one for trade in book.trades_of_position(position.id) for one in trade.in_doubt]
    if desk.venue.traits.proves_absence:
        ends = [one.expires_at + working.SETTLED_AFTER_EXPIRY for one in doubts]
    else:
        ends = [one.intended_at + UNPROVEN_FOR for one in doubts]
    return any(desk.clock.now() < end for end in ends)


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


def _entangled(book: Book, position_id: PositionId, alone: Collection[PositionId]) -> set[Coin]:
    """The coins of a position, of those that share one with it, and so on, but for those that are let *alone*."""
    pairs = [{leg.coin for leg in one.legs} for one in book.standing_positions() if one.id not in alone]
    coins = {leg.coin for leg in book.position(position_id).legs}
    while more := [pair for pair in pairs if pair & coins and not pair <= coins]:
        coins = coins.union(*more)
    return coins
