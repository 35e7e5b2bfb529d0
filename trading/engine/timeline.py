"""A trade's life, every instant of it: where it came from, what let it pass, what was sent and what the venue said, the
fills, and for an opening all that became of its position.

The law: each entry is read from a record of the ledger, at the record's own instant; nothing is told that was not
written down then.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from trading.domain.book import Book
from trading.domain.errors import Busy, StoreCorrupt
from trading.domain.positions import Position
from trading.domain.trades import (
    CancelWanted,
    Check,
    CloseHurried,
    Event,
    HoldingGone,
    LegLost,
    LegsUnbalanced,
    OrdersIntended,
    OrdersReported,
    SliceSkipped,
    Trade,
    TradeAccepted,
    TradeCanceled,
    TradeRejected,
    TradeResumed,
    TradeSuspended,
)
from trading.engine.desk import Desk
from trading.engine.holdings import fills_of
from trading.engine.outcomes import outcome_of

FUNDING_MAX = 500
VERDICTS = frozenset({"TradeFilled", "TradeRejected", "TradeCanceled", "TradeSuspended", "ExitEnded", "Outcome"})


@dataclass(frozen=True, slots=True)
class TimelineEntry:
    at: datetime
    event: str
    detail: str


def events_of(trade: Trade) -> tuple[TimelineEntry, ...]:
    """The events of the trade's own journal."""
    return tuple(TimelineEntry(event.at, type(event).__name__, _detail(event)) for event in trade.events)


def timeline(desk: Desk, trade: Trade) -> tuple[TimelineEntry, ...]:
    """Everything about *trade*, oldest first; of an opening also its position's funding, exit and outcome.

    Funding that cannot be read now is left out.
    """
    book = desk.store.book()
    entries = [*_beginning(trade), *events_of(trade), *_fills(trade)]
    if trade.opens:
        position = book.position(trade.terms.position_id)
        entries += [*_funding(desk, position), *_exits(book, position), *_outcome(book, position)]
    # Stable: entries of one instant stay in the order of their causes, and a verdict comes after its fills.
    return tuple(sorted(entries, key=lambda entry: (entry.at, entry.event in VERDICTS)))


def _beginning(trade: Trade) -> Iterator[TimelineEntry]:
    terms = trade.terms
    if terms.signal is not None:
        one = terms.signal
        words = f"{one.id}: {one.signal_type} {one.pair}, z {one.zscore}, confidence {one.confidence}"
        yield TimelineEntry(one.created_at, "SignalOffered", words)
    if terms.approval is not None:
        approval = terms.approval
        risk = f", risk {approval.risk_score}" if approval.risk_score is not None else ""
        yield TimelineEntry(approval.answered_at, "Approved", f"{approval.id}{risk}: {approval.reasoning}")
    if terms.checks:
        yield TimelineEntry(terms.accepted_at, "ChecksPassed", "; ".join(map(_check, terms.checks)))


def _check(check: Check) -> str:
    return f"{check.name} {_short(check.actual)} of {_short(check.limit)}"


def _fills(trade: Trade) -> Iterator[TimelineEntry]:
    for fill in fills_of(trade):
        if fill.quantity and fill.client_order_id is not None:
            words = f"{fill.side} {fill.quantity} {fill.coin} at {_short(fill.notional / fill.quantity)}"
            yield TimelineEntry(fill.filled_at, "Filled", f"{words}, fee {_short(fill.fees)} USD")


def _funding(desk: Desk, position: Position) -> Iterator[TimelineEntry]:
    until = position.exited_at or desk.clock.now()
    try:
        shares = desk.accounts.funding(position.entered_at, until)
    except (StoreCorrupt, Busy):
        return
    own = [one for one in shares if one.position_id == position.id]
    for share in own[-FUNDING_MAX:]:
        word = "paid" if share.amount >= 0 else "received"
        yield TimelineEntry(share.paid_at, "Funding", f"{word} {_short(abs(share.amount))} USD on {share.coin}")


def _exits(book: Book, position: Position) -> Iterator[TimelineEntry]:
    for closing in book.trades_of_position(position.id)[1:]:
        words = f"{closing.exit_reason or 'closing'} by trade {closing.id}"
        yield TimelineEntry(closing.terms.accepted_at, "ExitBegun", words)
        if closing.ended_at is not None:
            yield TimelineEntry(closing.ended_at, "ExitEnded", f"{closing.status} by trade {closing.id}")


def _outcome(book: Book, position: Position) -> Iterator[TimelineEntry]:
    if position.exited_at is None:
        return
    net = position.realized - position.fees - position.funding
    watch = book.watch(position.id)
    told = "Guardian has heard" if watch is not None and watch.outcome_told else "Guardian has not heard yet"
    outcome = outcome_of(position)
    share = f" ({outcome.pnl:.4%} of {position.entry_notional:.2f} USD); {told}" if outcome is not None else ""
    yield TimelineEntry(position.exited_at, "Outcome", f"{position.exit_reason}: {net:.4f} USD net{share}")


def _short(amount: Decimal) -> str:
    """Up to six decimals, without zeros that say nothing."""
    text = f"{amount:.6f}".rstrip("0").rstrip(".")
    return text if text not in ("", "-0") else "0"


def _detail(event: Event) -> str:
    match event:
        case TradeAccepted(terms=terms):
            legs = ", ".join(f"{leg.side} {leg.quantity} {leg.coin}" for leg in terms.legs)
            return f"{legs} in {len(terms.slices)} slice(s)"
        case OrdersIntended(orders=orders):
            return ", ".join(f"{one.side} {one.quantity} {one.coin} at {one.limit_price}" for one in orders)
        case OrdersReported(reports=reports):
            return ", ".join(
                f"{one.status} {one.filled}" + (f" at {_short(one.average_price)}" if one.average_price else "")
                for one in reports
            )
        case LegsUnbalanced(imbalance=imbalance):
            return f"{imbalance:.2f} USD apart"
        case HoldingGone(coin=coin, quantity=quantity, price=price, why=why):
            return f"{quantity} {coin} booked at {_short(price)}: {why}"
        case LegLost(coin=coin, quantity=quantity, price=price, why=why):
            return f"{quantity} {coin} taken at {_short(price)}: {why}"
        case SliceSkipped(number=number, why=why):
            return f"up to slice {number}: {why}"
        case CancelWanted(why=why) | CloseHurried(why=why) | TradeRejected(why=why) | TradeCanceled(why=why):
            return why
        case TradeSuspended(why=why) | TradeResumed(why=why):
            return why
        case _:
            return ""
