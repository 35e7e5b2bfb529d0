"""Holdings that are the desk's and no position's: adopted, and sold off at once.

Of openings that nobody could explain in time, when they turn up; and what several closes have left of a coin, each too
little for an order, and handed on to be sold as one.

The law: only what such an order may have bought where a venue cannot prove absence, and only what was handed on; only
for a time; anything else that the venue holds beyond the book is drift, and never traded on. What it has cost is what
the account's fills say; only where they cannot be read, or do not add up to it, the account's own entry price, and no
fee. What had gone again before anybody saw it is written down as the fills tell it, and nothing is sent for it.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal

from trading.domain.book import Book
from trading.domain.errors import VenueUnavailable
from trading.domain.exit_plan import ExitReason
from trading.domain.market import Account, Holding
from trading.domain.orders import Side
from trading.domain.resting import AccountFill
from trading.domain.trades import OVERFILL_MAX, Trade
from trading.domain.units import ZERO, ClientOrderId, Coin, PositionId, Price, Quantity, Usd, floor_to_step
from trading.engine import losses, working
from trading.engine.adoption import next_adoption
from trading.engine.desk import Desk
from trading.engine.dregs import HANDED_ON_FOR, dregs_of
from trading.engine.emergency import reopen
from trading.engine.instants import first_of, lasts
from trading.engine.reconciliation import Conclusion, conclude
from trading.engine.recovery import book_holdings

ARRIVES_WITHIN = timedelta(minutes=15)
SEEN_FOR = timedelta(seconds=1)
FILLS_EVERY = timedelta(seconds=30)
GONE = "it had come and gone before anybody saw it"


@dataclass
class LateMemory:
    """What has turned up and since when: only what two readings show is believed. `fills_at`: when fills were last
    looked through for what no reading has shown."""

    seen: dict[Coin, tuple[Quantity, datetime]] = field(default_factory=dict)
    fills_at: datetime | None = None


def flatten(
    desk: Desk, memory: LateMemory, book: Book, account: Account, leave: Callable[[PositionId, ExitReason], None]
) -> bool:
    """Adopt and hand to *leave* what has turned up of unexplained openings; True while there is any of it.

    *book* was read before *account*.
    """
    accepted = desk.store.state().accepted_drift
    dregs = _handed_on(book, account, accepted)
    expected = {} if desk.venue.traits.proves_absence else _expected(book, account.taken_at - ARRIVES_WITHIN)
    found = _in_lots(desk, _arrivals(book, account, accepted, expected))
    found |= {coin: one.quantity for coin, one in dregs.items()}
    memory.seen = {coin: one for coin, one in memory.seen.items() if found.get(coin) == one[0]}
    for coin, quantity in found.items():
        since = first_of(memory.seen[coin][1] if coin in memory.seen else None, account.taken_at)
        memory.seen[coin] = (quantity, since)
        if account.taken_at - since >= SEEN_FOR:
            if coin in dregs:
                _adopt(desk, dregs[coin], Usd(ZERO), account, leave, "that several closes have left")
            else:
                side = Side.BUY if quantity > 0 else Side.SELL
                holding, fees = _paid(desk, book, expected[coin, side], account.holdings[coin], quantity)
                _adopt(desk, holding, fees, account, leave, "of an order that was given up have turned up")
    if expected:
        _book_passed(desk, memory, min(one.since for one in expected.values()), account)
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


def _arrivals(
    book: Book, account: Account, accepted: Mapping[Coin, Quantity], expected: "Mapping[tuple[Coin, Side], _Expected]"
) -> Mapping[Coin, Quantity]:
    """Signed coins beyond the book that an unexplained opening may have bought or sold, and that nobody has taken over
    since: a second time they would be somebody else's."""
    bounds = book_holdings(book) if expected else {}
    found = {}
    for (coin, side), one in expected.items():
        low, high = bounds.get(coin, (Quantity(ZERO), Quantity(ZERO)))
        held = account.held(coin) - accepted.get(coin, ZERO)
        beyond = held - high if side is Side.BUY else low - held
        if beyond > 0 and one.most > one.taken_over:
            found[coin] = Quantity(min(beyond, one.most - one.taken_over) * side.sign)
    return found


@dataclass
class _Expected:
    """What the openings of a coin and side that were never explained may still bring: the first was sent at `since`,
    all together may bring `most` coins, of which `taken_over` have been adopted."""

    since: datetime
    orders: set[ClientOrderId] = field(default_factory=set)
    most: Decimal = ZERO
    taken_over: Decimal = ZERO


def _expected(book: Book, since: datetime) -> Mapping[tuple[Coin, Side], _Expected]:
    """Of the openings that were sent after *since*."""
    expected: dict[tuple[Coin, Side], _Expected] = {}
    for trade in book.trades():
        for order in trade.unexplained if trade.opens else ():
            if not order.reduce_only and order.intended_at >= since:
                one = expected.setdefault((order.coin, order.side), _Expected(order.intended_at))
                one.since = min(one.since, order.intended_at)
                one.orders.add(order.client_order_id)
                one.most += order.quantity * OVERFILL_MAX
    first = min((one.since for one in expected.values()), default=None)
    if first is None:
        return {}
    for trade in book.trades():
        for leg in trade.terms.legs if trade.adopted and trade.terms.accepted_at >= first else ():
            if (leg.coin, leg.side) in expected:
                expected[leg.coin, leg.side].taken_over += trade.filled(leg.coin)
    return expected


def _paid(desk: Desk, book: Book, expected: _Expected, holding: Holding, quantity: Quantity) -> tuple[Holding, Usd]:
    """*quantity* of *holding*, signed, at the price of the fills that brought it, and their fees.

    The fills are those of no other order of the desk, oldest first, after what was taken over before.
    """
    arrived = replace(holding, quantity=quantity)
    try:
        fills = desk.venue.account_fills(expected.since) if desk.venue.traits.tells_fills else ()
    except VenueUnavailable:
        return arrived, Usd(ZERO)
    trades = (*book.trades(), *losses.trades_in(book, holding.coin, expected.since))
    others = {order.client_order_id for trade in trades for order in trade.orders} - expected.orders
    own = [
        (fill, fill.quantity)
        for fill in sorted(fills, key=lambda one: (one.client_order_id not in expected.orders, one.filled_at, one.id))
        if fill.coin == holding.coin and fill.side.sign * quantity > 0 and fill.client_order_id not in others
    ]
    parts = _parts(own, expected.taken_over, abs(quantity))
    if sum((part for _, part in parts), ZERO) < abs(quantity):
        return arrived, Usd(ZERO)
    return replace(arrived, entry_price=_price(parts)), _fees(parts)


_Part = tuple[AccountFill, Quantity]


def _parts(fills: Iterable[_Part], passed: Decimal, most: Decimal) -> Sequence[_Part]:
    """What *most* coins at most, after the first *passed*, are of each of *fills*."""
    parts = []
    for fill, quantity in fills:
        skipped = min(passed, quantity)
        part = min(most, quantity - skipped)
        passed, most = passed - skipped, most - part
        if part > 0:
            parts.append((fill, Quantity(part)))
    return parts


def _price(parts: Sequence[_Part]) -> Price:
    return Price(sum((part * fill.price for fill, part in parts), ZERO) / sum((part for _, part in parts), ZERO))


def _fees(parts: Sequence[_Part]) -> Usd:
    return Usd(sum((fill.fee * part / fill.quantity for fill, part in parts), ZERO))


def _book_passed(desk: Desk, memory: LateMemory, since: datetime, account: Account) -> None:
    """Write down what came of unexplained openings and had gone again, as a rule by a close that was given up too,
    before an account showed it: the fills since the first of them was sent, at *since*, are all that is left of it."""
    now = account.taken_at
    if not desk.venue.traits.tells_fills or (memory.fills_at is not None and lasts(now, memory.fills_at, FILLS_EVERY)):
        return
    memory.fills_at = now
    try:
        fills = desk.venue.account_fills(since)
    except VenueUnavailable:
        return
    with desk.store.exclusive() as book:
        bounds, accepted = book_holdings(book), desk.store.state().accepted_drift
        for (coin, side), one in _expected(book, now - ARRIVES_WITHIN).items():
            low, high = bounds.get(coin, (ZERO, ZERO))
            agrees = conclude(low, high, account.held(coin), accepted.get(coin, ZERO)) is Conclusion.AGREES
            if not agrees or not _passed(book.trades(), coin, side, one, fills)[0]:
                continue
            # Looked for in the memory first, for the archive is read for it: of a large ledger what ended a minute ago
            # is there.
            came, went = _passed(losses.trades_in(book, coin, one.since), coin, side, one, fills)
            if not came:
                continue
            quantity = Quantity(sum((part for _, part in came), ZERO) * side.sign)
            terms = next_adoption(desk, book, Holding(coin, quantity, _price(came)), account)
            if terms is None:
                continue
            lost = [losses.loss_of(fill, part, now, GONE) for fill, part in went]
            working.adopt(desk, terms, _price(came), _fees(came), lost)
            words = f"{quantity} {coin} of an order that was given up have come, and gone before anybody saw them"
            desk.log.write("error", words, event="LateFillGone", position_id=terms.position_id, coin=coin)


def _passed(
    trades: Collection[Trade], coin: Coin, side: Side, expected: _Expected, fills: Iterable[AccountFill]
) -> tuple[Sequence[_Part], Sequence[_Part]]:
    """What of *fills* may be of *expected* openings, is of none of *trades* and was taken over by nobody, as far as
    others of them have taken it since; and what of those."""
    free = losses.nobodys(trades, coin, [one for one in fills if one.coin == coin], expected.orders)
    # One of more than they may have brought is somebody else's.
    came = [(one, quantity) for one, quantity in free if one.side is side and one.quantity <= expected.most]
    if not came:
        return (), ()
    first = came[0][0].filled_at
    went = [(one, quantity) for one, quantity in free if one.side is not side and one.filled_at >= first]
    most = min(sum((part for _, part in went), ZERO), expected.most - expected.taken_over)
    parts = _parts(came, expected.taken_over, most)
    return parts, _parts(went, ZERO, sum((part for _, part in parts), ZERO))


def _adopt(
    desk: Desk,
    holding: Holding,
    fees: Usd,
    account: Account,
    leave: Callable[[PositionId, ExitReason], None],
    what: str,
) -> None:
    with desk.store.exclusive() as book:
        terms = next_adoption(desk, book, holding, account)
        if terms is None:
            return
        reopen(desk)
        working.adopt(desk, terms, holding.entry_price, fees)
    words = f"{holding.quantity} {holding.coin} {what}; they are being sold off"
    desk.log.write("error", words, event="LateFill", position_id=terms.position_id, coin=holding.coin)
    leave(terms.position_id, ExitReason.REPAIR)
