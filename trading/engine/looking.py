"""What the work on a trade goes by: the market, the account and the book as they are at one instant.

The law: a read that fails leaves its part empty and is no reason to stop; what that allows is the playbook's to decide.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal

from trading.domain.book import Book
from trading.domain.errors import VenueUnavailable
from trading.domain.market import Account, Instrument, Quote
from trading.domain.positions import Position, PositionStatus, position_of
from trading.domain.trades import LegPlan, Trade, TradeStatus, overfill_of
from trading.domain.units import ZERO, Coin, PositionId, Quantity
from trading.engine.desk import Desk
from trading.engine.dregs import only_dregs
from trading.engine.playbook import Market
from trading.engine.schedule import keeps_pace


def later(desk: Desk, trade: Trade) -> datetime:
    """Now, but never before the trade's last event: a clock set back must not make a journal that does not replay."""
    return max(desk.clock.now(), trade.events[-1].at)


def _time_of(desk: Desk, trade: Trade) -> datetime:
    """Now, for what *trade* decides. It goes on from its last event where the clock was set back: a close would try
    nothing more, and a leg that runs ahead stand alone, until the clock has caught up. The slices of an OPEN, which
    need fresh prices, wait for that, but no longer than they may."""
    last = trade.events[-1].at
    if not trade.live or desk.clock.now() >= last:
        desk.overtaken.pop(trade.id, None)
        return later(desk, trade)
    seconds = desk.clock.monotonic()
    began, seen_at = desk.overtaken.setdefault(trade.id, (last, seconds))
    now = max(began + timedelta(seconds=seconds - seen_at), last)
    scheduled = trade.opens and trade.status is TradeStatus.WORKING and not trade.in_doubt
    return last if scheduled and now < trade.terms.gives_up_at else now


def look(desk: Desk, trade: Trade) -> tuple[Market, Book]:
    """What this trade needs to see, and the book that was read last for it. A read that fails leaves its part empty;
    the playbook decides what that allows."""
    coins = tuple(leg.coin for leg in trade.terms.legs)
    if not trade.live or trade.in_doubt:
        return Market(_time_of(desk, trade), {}, {}, {}, {}), desk.store.book()
    reduces = _reduces(trade)
    # The book before the account and after it: whether others bought or sold meanwhile, one of them has it as theirs.
    before = _others_parts(desk.store.book(), trade) if reduces else {}
    account = account_or_none(desk) if reduces else None
    quotes: Mapping[Coin, Quote] = {}
    instruments: Mapping[Coin, Instrument] = {}
    try:
        instruments = desk.venue.instruments()
        quotes = desk.venue.quotes(coins)
    except VenueUnavailable:
        quotes = {}
    book = desk.store.book()
    sharers = {coin: _sharers(book, trade, coin) for coin in coins}
    # Read last: the age of a quote is judged, and an order dated, after every call that took its time.
    now = _time_of(desk, trade)
    opening = book.trades_of_position(trade.terms.position_id)[0]
    if account is not None:
        quotes = account.valuations(instruments) | dict(quotes)
    elif not trade.opens and desk.venue.traits.prices_closes and not keeps_pace(trade, now):
        quotes = _arrival_quotes(trade) | dict(quotes)
    market = Market(
        now=now,
        quotes=quotes,
        instruments=instruments,
        available=_available(book, trade, account, sharers, before, desk.store.state().accepted_drift)
        if account is not None
        else {},
        outstanding=outstanding(book, trade, with_doubt=account is not None),
        opening_live=not trade.opens and opening.live,
        opened_until=None if trade.opens else opening.ended_at,
        whole={leg.coin: _held_of(account, trade, leg) for leg in trade.terms.legs} if account is not None else None,
        alone=frozenset(coin for coin in coins if not sharers[coin]),
        dregs=frozenset(
            coin
            for coin in coins
            if _dregs(book, trade, coin, sharers[coin], quotes.get(coin), instruments.get(coin), now)
        ),
    )
    return market, book


def _arrival_quotes(trade: Trade) -> dict[Coin, Quote]:
    """What a CLOSE is made out by where the venue's own price is what it goes at, and nothing can be read of one that
    would serve for more."""
    return {
        leg.coin: Quote(leg.coin, leg.arrival_price, leg.arrival_price, leg.arrival_price, trade.terms.accepted_at)
        for leg in trade.terms.legs
    }


def _dregs(
    book: Book,
    trade: Trade,
    coin: Coin,
    sharers: list[Position],
    quote: Quote | None,
    instrument: Instrument | None,
    now: datetime,
) -> bool:
    if trade.opens or quote is None or instrument is None or not quote.usable:
        return False
    return only_dregs(book, coin, sharers, quote, instrument, now)


def _held_of(account: Account, trade: Trade, leg: LegPlan) -> Quantity:
    """What the venue holds of a coin on the side that the position is on: on the other side it holds none of it."""
    side = leg.side if trade.opens else leg.side.opposite
    return Quantity(max(account.held(leg.coin) * side.sign, ZERO))


def _reduces(trade: Trade) -> bool:
    overfilled = any(overfill_of(trade, leg.coin) for leg in trade.terms.legs)
    return not trade.opens or trade.status is TradeStatus.REPAIRING or overfilled


def account_or_none(desk: Desk) -> Account | None:
    """The account as it is now; None when the venue cannot be read."""
    try:
        return desk.venue.account()
    except VenueUnavailable:
        return None


def outstanding(book: Book, trade: Trade, *, with_doubt: bool) -> Mapping[Coin, Quantity]:
    """`outstanding_of` each leg of a CLOSE; nothing of an OPEN."""
    if trade.opens:
        return {}
    opening, *closings = book.trades_of_position(trade.terms.position_id)
    # The trade in hand may be ahead of the book by an event that is not saved yet.
    ours = [trade if one.id == trade.id else one for one in closings]
    position = position_of((opening, *ours), book.watch(trade.terms.position_id))
    return {leg.coin: outstanding_of(position, opening, leg.coin, with_doubt=with_doubt) for leg in trade.terms.legs}


def _available(
    book: Book,
    trade: Trade,
    account: Account,
    sharers: Mapping[Coin, list[Position]],
    before: Mapping[tuple[PositionId, Coin], Quantity],
    accepted: Mapping[Coin, Quantity],
) -> Mapping[Coin, Quantity]:
    """min(own book, venue holding) begins here: what the venue holds on our side, less what other positions own of
    it, or did *before* the account was read.

    Where others share the coin, what they may have bought without knowing it yet is theirs too, and what our own
    opening may have trimmed without knowing it yet is not ours any more. Of those that are being closed as well our own
    book comes first: where other hands took of the coin, it is missing to the last, for two who left it to each other
    would never be flat.

    What somebody held beside it when it was accepted, or what of the coin was *accepted* as theirs since, is left to
    them as long as our own part is in doubt; what is known to be ours goes whatever they hold.
    """
    own = book.position(trade.terms.position_id)
    planned = {leg.coin: leg for leg in book.trade(own.trade_id).terms.legs}
    available = {}
    for leg in trade.terms.legs:
        others = sharers[leg.coin]
        held = _held_of(account, trade, leg)
        parts = {one.id: max(one.leg_of(leg.coin).held, before.get((one.id, leg.coin), ZERO)) for one in others}
        staying = sum((parts[one.id] for one in others if one.status is not PositionStatus.CLOSING), ZERO)
        ended = sum((part for (one, coin), part in before.items() if coin == leg.coin and one not in parts), ZERO)
        leaving = sum(parts.values(), ended) - staying
        theirs = sum((book.trade(one.trade_id).doubtful(leg.coin) for one in others), ZERO)
        gone = _trimming(book.trade(own.trade_id), leg.coin) if others else ZERO
        known = own.leg_of(leg.coin).held - gone
        sure = min(held - staying, known)
        plan = planned[leg.coin]
        abroad = max(plan.beside, accepted.get(leg.coin, ZERO) * plan.side.sign, ZERO)
        available[leg.coin] = Quantity(max(held - staying - leaving - theirs - gone - abroad, sure, ZERO))
    return available


def _others_parts(book: Book, trade: Trade) -> Mapping[tuple[PositionId, Coin], Quantity]:
    """What the other standing positions hold of the coins of *trade*, now."""
    coins = [leg.coin for leg in trade.terms.legs]
    return {(one.id, coin): one.leg_of(coin).held for coin in coins for one in _sharers(book, trade, coin)}


def _sharers(book: Book, trade: Trade, coin: Coin) -> list[Position]:
    """The other standing positions with a part of *coin*."""
    own = trade.terms.position_id
    return [one for one in book.standing_positions() if one.id != own and coin in (one.long.coin, one.short.coin)]


def _trimming(opening: Trade, coin: Coin) -> Decimal:
    """Coins that trims in doubt may have taken back already."""
    return sum((order.quantity for order in opening.in_doubt if order.coin == coin and order.reduce_only), ZERO)


def outstanding_of(position: Position, opening: Trade, coin: Coin, *, with_doubt: bool) -> Quantity:
    """What a close of *position* has still to take of *coin*: what is held and, if asked, what may yet turn out to
    be."""
    held = position.leg_of(coin).held
    return Quantity(max(held + (opening.doubtful(coin) if with_doubt else ZERO), ZERO))
