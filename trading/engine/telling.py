"""What people are told of the work on a trade: lines of the activity log.

The law: nothing is decided here, and nothing here reads the venue.
"""

from collections.abc import Mapping

from trading.domain.naked import naked_now
from trading.domain.orders import OrderReport
from trading.domain.trades import Trade
from trading.domain.units import ZERO
from trading.engine import looking
from trading.engine.desk import Desk
from trading.engine.schedule import filled_share, next_slice_due, pace_of, slices_done

_KINDS = {
    "TradeFilled": "success",
    "TradeRejected": "warning",
    "TradeCanceled": "warning",
    "TradeSuspended": "error",
    "HoldingGone": "error",
    "SliceSkipped": "warning",
    "CloseHurried": "warning",
}
_WORDS = {
    "TradeFilled": "filled",
    "TradeRejected": "was rejected by the venue",
    "TradeCanceled": "was canceled",
    "TradeSuspended": "is suspended and needs somebody to look at it",
    "TradeResumed": "goes on",
    "LegsUnbalanced": "has one leg ahead of the other; levelling",
    "LegsBalanced": "is level again",
    "SliceSkipped": "passed over a slice; the rest takes its part",
    "CloseHurried": "takes all that is left now",
    "HoldingGone": "wrote off what cannot be closed any more; it is booked at the last price known",
}


def tell_delay(desk: Desk, trade: Trade, attempt: int) -> None:
    """A close that is still trying after its widest band needs somebody to look, while it goes on."""
    desk.log.write(
        "error",
        f"the close of {trade.terms.pair} is not through yet: attempt {attempt}",
        trade_id=trade.id,
        position_id=trade.terms.position_id,
        event="CloseDelayed",
    )


def tell(desk: Desk, trade: Trade) -> None:
    """One log line for an event that people care about."""
    event = trade.events[-1]
    name = type(event).__name__
    desk.log.write(
        _KINDS.get(name, "info"),
        f"{trade.terms.effect} trade of {trade.terms.pair} {_WORDS[name]}",
        trade_id=trade.id,
        position_id=trade.terms.position_id,
        event=name,
        why=getattr(event, "why", None),
        **_naked_facts(desk, trade),
    )


def _naked_facts(desk: Desk, trade: Trade) -> Mapping[str, object]:
    """The naked-exposure meter of a trade that was ever uneven, and what all live trades leave unmatched now."""
    meter = naked_now(trade, looking.later(desk, trade))
    if not meter.max:
        return {}
    others = sum((one.naked.now for one in desk.store.book().live_trades() if one.id != trade.id), ZERO)
    return {
        "naked_usd": meter.now,
        "naked_max_usd": meter.max,
        "naked_usd_seconds": meter.usd_seconds,
        "naked_in_all_usd": others + meter.now,
    }


def tell_slice(desk: Desk, trade: Trade, number: int) -> None:
    """How far a schedule has come, and at what price against its own instants."""
    pace, due = pace_of(trade), next_slice_due(trade)
    desk.log.write(
        "info",
        f"{trade.terms.effect} trade of {trade.terms.pair}: slice {number} of {len(trade.terms.slices)} has gone, "
        f"{filled_share(trade):.1%} is filled",
        trade_id=trade.id,
        position_id=trade.terms.position_id,
        slices_done=slices_done(trade),
        next_slice_at=due,
        benchmark_bps=None if pace is None else pace.slippage_bps,
        event="SliceSent",
    )


def tell_report(desk: Desk, trade: Trade, report: OrderReport) -> None:
    """What the venue said of one order of *trade*."""
    order = next(one for one in trade.orders if one.client_order_id == report.client_order_id)
    desk.log.write(
        "info" if report.filled else "warning",
        f"{order.side} {order.quantity} {order.coin}: {report.status}",
        trade_id=trade.id,
        client_order_id=report.client_order_id,
        slice_number=order.slice_number,
        filled=report.filled,
        average_price=report.average_price,
        reason=report.reason,
        detail=report.detail or None,
    )
