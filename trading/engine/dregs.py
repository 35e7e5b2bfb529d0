"""What several closes have left of a coin, each too little for an order: handed on, to be sold as one. Reads only."""

from collections.abc import Iterator
from datetime import datetime, timedelta

from trading.domain.book import Book
from trading.domain.market import Instrument, Quote
from trading.domain.orders import Side
from trading.domain.positions import Position, PositionStatus
from trading.domain.trades import HANDED_ON, HoldingGone
from trading.domain.units import Coin

HANDED_ON_FOR = timedelta(minutes=10)


def dregs_of(book: Book, since: datetime) -> Iterator[tuple[HoldingGone, Side]]:
    """Every residue that was handed on at *since* or later and has not been adopted yet, with the side of its
    holding."""
    adopted = {one.terms.pair.base: one.terms.accepted_at for one in book.adopted()}
    for trade in book.written_off():
        for event in trade.gone:
            taken = event.coin in adopted and adopted[event.coin] >= event.at
            if event.why == HANDED_ON and event.at >= since and not taken:
                yield event, next(leg.side.opposite for leg in trade.terms.legs if leg.coin == event.coin)


def only_dregs(
    book: Book, coin: Coin, sharers: list[Position], quote: Quote, instrument: Instrument, now: datetime
) -> bool:
    """Whether all that the others of a coin have of it is on its way out, in no doubt, and too little for an order
    each; or nobody else has any, but such a residue waits to be sold."""
    if not sharers:
        return any(event.coin == coin for event, _ in dregs_of(book, now - HANDED_ON_FOR))
    return all(
        one.status is PositionStatus.CLOSING
        and not any(trade.in_doubt or (trade.opens and trade.live) for trade in book.trades_of_position(one.id))
        and one.leg_of(coin).held * quote.mid < instrument.notional_min
        for one in sharers
    )
