"""Taking every live trade further and comparing the book with the venue. Each tick calls it; there is no separate
crash path.

The law: a holding that reads differently is reported, never traded on.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal

from trading.domain.book import Book
from trading.domain.desk_state import Cause, DeskState
from trading.domain.errors import Busy
from trading.domain.market import Account, Traits
from trading.domain.positions import PositionStatus
from trading.domain.trades import OVERFILL_MAX, Trade, TradeStatus
from trading.domain.units import ONE, ZERO, Coin, PositionId, Quantity, TradeId
from trading.engine.desk import Desk
from trading.engine.dregs import HANDED_ON_FOR, dregs_of
from trading.engine.instants import first_of
from trading.engine.playbook import IN_DOUBT_TOO_LONG
from trading.engine.reconciliation import Conclusion, conclude
from trading.engine.states import lift, reduce

DRIFT_PATIENCE = timedelta(seconds=2)
FILLS_LAG = timedelta(seconds=1)
"""By how much the list of fills may lag the account that shows what they did."""
FILLS_PATIENCE = timedelta(seconds=10)
"""How long what is lacking is no drift yet where nobody can be asked which fill took it."""
COMPARED_APART_MAX = timedelta(seconds=5)
CLOSE_DEADLINE = timedelta(seconds=60)


@dataclass(frozen=True, slots=True)
class Drift:
    """The venue's signed holding of *coin* is outside what the book allows for, and what was `accepted` as others'
    beside it."""

    coin: Coin
    venue: Quantity
    book: Quantity
    accepted: Quantity = Quantity(ZERO)

    @property
    def words(self) -> str:
        words = f"{self.coin}: the venue holds {self.venue}, the book {self.book}"
        return f"{words}, and {self.accepted} are accepted as others'" if self.accepted else words


@dataclass
class DriftMemory:
    """Drifts seen and since when: only what reads the same twice, two seconds apart, is believed. `fills_asked` is when
    the account's fills were last asked for a coin, of those times that there was an answer; `compared_at` the last
    reading that was compared."""

    seen: dict[Coin, tuple[Drift, datetime]] = field(default_factory=dict)
    fills_asked: dict[Coin, datetime] = field(default_factory=dict)
    compared_at: datetime | None = None

    def may_be_told(self, coin: Coin, since: datetime, now: datetime) -> bool:
        """Whether the fill may yet be told that took what has been lacking of *coin* since *since*."""
        asked = coin in self.fills_asked and self.fills_asked[coin] - since >= FILLS_LAG
        return not asked and now - since < FILLS_PATIENCE


def recover(desk: Desk, take_up: Callable[[TradeId], None]) -> None:
    """Hand every live trade to *take_up*, openings before closings, so that a close finds its opening settled."""
    trades = desk.store.book().live_trades()
    for trade in sorted(trades, key=lambda one: not one.opens):
        take_up(trade.id)
    suspended = [trade for trade in trades if trade.status is TradeStatus.SUSPENDED]
    for trade in suspended:
        reduce(desk, _cause_of(trade), f"a trade of {trade.terms.pair} is suspended: {trade.why}")
    if not any(_cause_of(trade) is Cause.LONG_DOUBT for trade in suspended):
        lift(desk, Cause.LONG_DOUBT, "how the orders ended that were in doubt for so long is known now")
    for trade_id, why in desk.store.broken.items():
        reduce(desk, Cause.BROKEN_RECORD, f"trade {trade_id} does not replay: {why}")


def _cause_of(trade: Trade) -> Cause:
    """A suspension for a doubt alone ends by itself with the doubt, and so does what it does to the desk."""
    return Cause.LONG_DOUBT if trade.why == IN_DOUBT_TOO_LONG else Cause.SUSPENDED_TRADE


def overdue_closes(book: Book, now: datetime) -> tuple[Trade, ...]:
    """The closes of *book* that have not ended within a minute of their time. They go on, for a close never gives up,
    and somebody has to hear of it."""
    closes = (trade for trade in book.live_trades() if not trade.opens)
    return tuple(one for one in closes if now - max(one.terms.gives_up_at, one.terms.accepted_at) > CLOSE_DEADLINE)


def book_holdings(
    book: Book,
    coins: Collection[Coin] | None = None,
    without: Collection[PositionId] = (),
    doubt_share: Decimal = ONE,
) -> Mapping[Coin, tuple[Quantity, Quantity]]:
    """The least and the most, signed, that the book says is held of each coin it has traded in standing positions, but
    for those *without*; of *coins* only, if given. Of an order in doubt *doubt_share* at most may have been filled."""
    bounds: dict[Coin, tuple[Decimal, Decimal]] = {}
    for position in book.standing_positions():
        if position.id in without:
            continue
        legs = [leg for leg in position.legs if coins is None or leg.coin in coins]
        if not legs:
            continue
        opening, *closings = book.trades_of_position(position.id)
        for leg in legs:
            low, high = bounds.get(leg.coin, (ZERO, ZERO))
            doubt = opening.doubtful(leg.coin) * doubt_share
            leaving = _leaving(opening, leg.coin) + sum((_leaving(one, leg.coin) for one in closings), ZERO)
            ends = sorted(((leg.held - leaving) * leg.side.sign, (leg.held + doubt) * leg.side.sign))
            bounds[leg.coin] = (low + ends[0], high + ends[1])
    return {coin: (Quantity(low), Quantity(high)) for coin, (low, high) in bounds.items()}


def others_beside(book: Book, accepted: Mapping[Coin, Quantity]) -> Mapping[Coin, Decimal]:
    """What others are known to hold, signed, of coins that the desk has positions in, on their side: what they held
    when a position was opened, or what was accepted as theirs since."""
    others: dict[Coin, Decimal] = {}
    for position in book.standing_positions():
        for leg in book.trade(position.trade_id).terms.legs:
            theirs = max(leg.beside, accepted.get(leg.coin, ZERO) * leg.side.sign)
            if theirs > abs(others.get(leg.coin, ZERO)):
                others[leg.coin] = theirs * leg.side.sign
    return others


def drifts(book: Book, account: Account, state: DeskState, traits: Traits) -> tuple[Drift, ...]:
    """Every coin of a standing position whose holding at the venue the book cannot explain, accepted drift allowed
    for, and what was handed on: while all others of a coin leave, too, it is beside the book, to be sold as one. And
    what a venue that is told dollars may make of an order in doubt."""
    found = []
    waiting = _handed_on(book, account.taken_at)
    doubt_share = ONE if traits.sizes_in_coins else OVERFILL_MAX
    for coin, (low, high) in book_holdings(book, doubt_share=doubt_share).items():
        accepted, dregs = state.accepted_drift.get(coin, Quantity(ZERO)), waiting.get(coin, ZERO)
        least, most = low + min(dregs, ZERO), high + max(dregs, ZERO)
        if conclude(least, most, account.held(coin), accepted) is Conclusion.UNCONFIRMED:
            found.append(Drift(coin, account.held(coin), Quantity(low), accepted))
    return tuple(found)


def _handed_on(book: Book, at: datetime) -> Mapping[Coin, Decimal]:
    """What waits to be sold as one, signed, of coins in which no position stays."""
    waiting: dict[Coin, Decimal] = {}
    for event, side in dregs_of(book, at - HANDED_ON_FOR):
        waiting[event.coin] = waiting.get(event.coin, ZERO) + event.quantity * side.sign
    if waiting:
        staying = (one for one in book.standing_positions() if one.status is not PositionStatus.CLOSING)
        for coin in {leg.coin for one in staying for leg in one.legs}:
            waiting.pop(coin, None)
    return waiting


def foreign_holdings(book: Book, account: Account) -> Mapping[Coin, Quantity]:
    """What the account holds, signed, of coins in which the desk has no standing position: reported, never sold.

    A coin that the desk has closed since the account was read is nobody else's yet.
    """
    held = {coin: one.quantity for coin, one in account.holdings.items() if one.quantity}
    if not held:
        return {}
    own = book_holdings(book).keys() | _left_since(book, account.taken_at)
    return {coin: quantity for coin, quantity in held.items() if coin not in own}


def _left_since(book: Book, at: datetime) -> set[Coin]:
    """The coins of closes that ended at *at* or later."""
    return {leg.coin for trade in book.closes_ended_since(at) for leg in trade.terms.legs}


def reconcile(desk: Desk, memory: DriftMemory, book: Book, account: Account, lacking: Collection[Coin] = ()) -> bool:
    """Compare *book*, read before *account*, with it; a drift that stays makes the desk REDUCING. Nothing is sent.

    Stays: over two readings of the venue two seconds apart. The same old reading looked at twice is one. What a
    coin of *lacking* has too little of a fill may explain: that is drift once the fills have been asked for and explain
    nothing. True when all is decided: nothing differs that is not drift yet.
    """
    now, state = account.taken_at, desk.store.state()
    # Nobody has asked for fills while the monitor slept.
    slept = memory.compared_at is not None and now - memory.compared_at > COMPARED_APART_MAX
    memory.compared_at = now
    present = {drift.coin: drift for drift in drifts(book, account, state, desk.venue.traits)}
    memory.seen = {coin: seen for coin, seen in memory.seen.items() if present.get(coin) == seen[0]}
    decided = True
    for coin, drift in present.items():
        known = None if coin not in memory.seen or (slept and coin in lacking) else memory.seen[coin][1]
        since = first_of(known, now)
        memory.seen[coin] = (drift, since)
        waits = coin in lacking and memory.may_be_told(coin, since, now)
        if now - since >= DRIFT_PATIENCE and not waits and _stands(desk, drift, account):
            reduce(desk, Cause.DRIFT, drift.words)
        else:
            decided = False
    return decided


def _stands(desk: Desk, drift: Drift, account: Account) -> bool:
    """Whether *account* differs like that from the book as it is by now. What a fill explains is taken off what was
    accepted and out of the book in two writes, under the book's lock: without it one may be seen and not the other."""
    try:
        with desk.store.exclusive() as book:
            return drift in drifts(book, account, desk.store.state(), desk.venue.traits)
    except Busy:
        return False


def doubts(book: Book) -> tuple[Trade, ...]:
    """The live trades with an order in doubt."""
    return tuple(trade for trade in book.live_trades() if trade.in_doubt)


def _leaving(trade: Trade, coin: Coin) -> Decimal:
    """Coins that reduce-only orders in doubt may already have taken away."""
    return sum(
        (
            order.quantity - trade.report_of(order).filled
            for order in trade.in_doubt
            if order.coin == coin and order.reduce_only
        ),
        ZERO,
    )
