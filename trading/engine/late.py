"""Holdings that are the desk's and no position's: adopted, and sold off at once.

Of openings that nobody could explain in time, when they turn up; and what several closes have left of a coin, each too
little for an order, and handed on to be sold as one.

The law: only what such an order may have bought where a venue cannot prove absence, and only what was handed on; only
for a time; anything else that the venue holds beyond the book is drift, and never traded on.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal

from trading.domain.book import Book
from trading.domain.errors import VenueUnavailable
from trading.domain.exit_plan import ExitReason
from trading.domain.market import Account, Holding
from trading.domain.orders import Side
from trading.domain.trades import OVERFILL_MAX
from trading.domain.units import ZERO, Coin, PositionId, Price, Quantity, floor_to_step
from trading.engine import working
from trading.engine.desk import Desk
from trading.engine.dregs import HANDED_ON_FOR, dregs_of
from trading.engine.emergency import next_adoption
from trading.engine.recovery import book_holdings

ARRIVES_WITHIN = timedelta(minutes=15)
SEEN_FOR = timedelta(seconds=1)


@dataclass
class LateMemory:
    """What has turned up and since when: only what two readings show is believed."""

    seen: dict[Coin, tuple[Quantity, datetime]] = field(default_factory=dict)


def flatten(
    desk: Desk, memory: LateMemory, book: Book, account: Account, leave: Callable[[PositionId, ExitReason], None]
) -> bool:
    """Adopt and hand to *leave* what has turned up of unexplained openings; True while there is any of it.

    *book* was read before *account*.
    """
    accepted = desk.store.state().accepted_drift
    dregs = _handed_on(book, account, accepted)
    found = {} if desk.venue.traits.proves_absence else _in_lots(desk, _arrivals(book, account, accepted))
    found |= {coin: one.quantity for coin, one in dregs.items()}
    memory.seen = {coin: one for coin, one in memory.seen.items() if found.get(coin) == one[0]}
    for coin, quantity in found.items():
        since = memory.seen.setdefault(coin, (quantity, account.taken_at))[1]
        if account.taken_at - since >= SEEN_FOR:
            holding = dregs.get(coin) or replace(account.holdings[coin], quantity=quantity)
            what = "that several closes have left" if coin in dregs else "of an order that was given up have turned up"
            _adopt(desk, holding, account, leave, what)
    return bool(found)


def _in_lots(desk: Desk, arrivals: Mapping[Coin, Quantity]) -> dict[Coin, Quantity]:
    """What of *arrivals* can be sold: whole lots of what is listed. Nothing while the venue does not say."""
    try:
        listed = desk.venue.instruments() if arrivals else {}
    except VenueUnavailable:
        return {}
    lots = {
        coin: Quantity(floor_to_step(abs(quantity), listed[coin].quantity_step).copy_sign(quantity))
        for coin, quantity in arrivals.items()
        if coin in listed
    }
    return {coin: quantity for coin, quantity in lots.items() if quantity}


def _handed_on(book: Book, account: Account, accepted: Mapping[Coin, Quantity]) -> Mapping[Coin, Holding]:
    """What was handed on of coins that no position has a part of any more, at the price that it was booked at."""
    totals: dict[tuple[Coin, Side], tuple[Decimal, Decimal]] = {}
    for event, side in dregs_of(book, account.taken_at - HANDED_ON_FOR):
        quantity, usd = totals.get((event.coin, side), (ZERO, ZERO))
        totals[event.coin, side] = (quantity + event.quantity, usd + event.quantity * event.price)
    standing = book_holdings(book) if totals else {}
    found = {}
    for (coin, side), (quantity, usd) in totals.items():
        there = (account.held(coin) - accepted.get(coin, ZERO)) * side.sign
        if coin not in standing and there >= quantity:
            found[coin] = Holding(coin, Quantity(quantity * side.sign), Price(usd / quantity))
    return found


def _arrivals(book: Book, account: Account, accepted: Mapping[Coin, Quantity]) -> Mapping[Coin, Quantity]:
    """Signed coins beyond the book that an unexplained opening may have bought or sold, and that nobody has taken over
    since: a second time they would be somebody else's."""
    expected = _expected(book, account.taken_at - ARRIVES_WITHIN)
    bounds = book_holdings(book) if expected else {}
    found = {}
    for (coin, side), quantity in expected.items():
        low, high = bounds.get(coin, (Quantity(ZERO), Quantity(ZERO)))
        held = account.held(coin) - accepted.get(coin, ZERO)
        beyond = held - high if side is Side.BUY else low - held
        if beyond > 0 and quantity > 0:
            found[coin] = Quantity(min(beyond, quantity) * side.sign)
    return found


def _expected(book: Book, since: datetime) -> Mapping[tuple[Coin, Side], Decimal]:
    """How many coins the openings that were sent after *since* and never explained may still bring."""
    expected: dict[tuple[Coin, Side], Decimal] = {}
    first: datetime | None = None
    for trade in book.trades():
        for order in trade.unexplained if trade.opens else ():
            if not order.reduce_only and order.intended_at >= since:
                key = order.coin, order.side
                expected[key] = expected.get(key, ZERO) + order.quantity * OVERFILL_MAX
                first = order.intended_at if first is None else min(first, order.intended_at)
    if first is None:
        return {}
    for trade in book.trades():
        for leg in trade.terms.legs if trade.adopted and trade.terms.accepted_at >= first else ():
            if (leg.coin, leg.side) in expected:
                expected[leg.coin, leg.side] -= trade.filled(leg.coin)
    return expected


def _adopt(
    desk: Desk, holding: Holding, account: Account, leave: Callable[[PositionId, ExitReason], None], what: str
) -> None:
    with desk.store.exclusive() as book:
        terms = next_adoption(desk, book, holding, account)
        if terms is None:
            return
        working.adopt(desk, terms, holding.entry_price)
    words = f"{holding.quantity} {holding.coin} {what}; they are being sold off"
    desk.log.write("error", words, event="LateFill", position_id=terms.position_id, coin=holding.coin)
    leave(terms.position_id, ExitReason.REPAIR)
