"""Closes that Pear does not confirm, sent to the exchange itself by the account's wallet key.

The law: only what reduces, at most once an order, at most what is missing of it, and not before Pear has refused it or
has had ten seconds; both may still take effect, and then the exchange lets the second one take nothing more.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal

from trading.adapters.hyperliquid import HyperliquidVenue
from trading.adapters.hyperliquid_reports import Sum, refused, sum_of, unknown
from trading.adapters.pear_reports import Evidence, ended_by_venue
from trading.domain.errors import VenueUnavailable
from trading.domain.orders import Order, OrderReport, OrderStatus, RejectReason
from trading.domain.units import ZERO, ClientOrderId, Price, Quantity, Ratio, floor_to_step
from trading.ports import Clock, Log
from trading.utils.trade_calculator import marketable_limit

PATIENCE = timedelta(seconds=10)
LIFE = timedelta(seconds=5)
# The widest of a close's bands: it has waited ten seconds already.
BAND = Ratio(Decimal("0.08"))
REMEMBERED_MAX = 1024


class DirectCloses:
    """The direct way out of *venue*'s account. Safe for several threads."""

    def __init__(self, venue: HyperliquidVenue, clock: Clock, log: Log) -> None:
        self._venue = venue
        self._clock = clock
        self._log = log
        self._sent: dict[ClientOrderId, Order] = {}

    def instead(
        self, order: Order, report: OrderReport, evidence: Evidence, touch: Callable[[], Decimal | None]
    ) -> OrderReport:
        """*report*, or what was done directly instead; sends when Pear has refused *order*, or has had its time and it
        is in doubt."""
        told = self._told(order)
        if told is None:
            denied = _denied_by_pear(report, evidence)
            if denied is None and not (report.status.in_doubt and evidence.venue_now - evidence.sent_at >= PATIENCE):
                return report
            filled = Quantity(sum_of(evidence.fills).quantity)
            try:
                told = self.send(order, filled, touch(), denied or "Pear did not confirm it in time")
            except VenueUnavailable as error:
                told = unknown(order, error.detail, self._clock.now())
        return _together(order, sum_of(evidence.fills), told, self._clock.now())

    def send(self, order: Order, filled: Quantity, touch: Decimal | None, why: str) -> OrderReport:
        """What came of sending what is missing of *order* directly. Raises VenueUnavailable where nothing was sent: the
        exchange lists no such coin, there is no price, or nothing is missing."""
        instrument = self._venue.instruments().get(order.coin)
        if touch is None or instrument is None:
            raise VenueUnavailable(f"no price to close {order.coin} directly")
        missing = Quantity(floor_to_step(order.quantity - filled, instrument.quantity_step))
        if missing <= 0:
            raise VenueUnavailable("nothing of it is missing")
        now = self._clock.now()
        own = replace(
            order,
            quantity=missing,
            limit_price=Price(marketable_limit(touch, order.side, BAND, instrument.price_decimals_max)),
            intended_at=now,
            expires_at=now + LIFE,
        )
        self._remember(own)
        self._log.write(
            "warning",
            f"closing {missing} {order.coin} at the exchange itself: {why}",
            event="ClosedDirectly",
            client_order_id=order.client_order_id,
        )
        (report,) = self._venue.submit([own])
        return report

    def _told(self, order: Order) -> OrderReport | None:
        """The exchange's word on what was sent directly for *order*, by whatever process; None when nothing was."""
        own = self._sent.get(order.client_order_id)
        try:
            if own is None:
                sent_at = self._venue.sent_at(order.client_order_id)
                if sent_at is None:
                    return None
                own = replace(order, intended_at=sent_at, expires_at=sent_at + LIFE)
            (report,) = self._venue.reports([own])
        except VenueUnavailable as error:
            return unknown(order, error.detail, self._clock.now())
        return report

    def _remember(self, order: Order) -> None:
        while len(self._sent) >= REMEMBERED_MAX:
            del self._sent[next(iter(self._sent))]
        self._sent[order.client_order_id] = order


def is_pear_s_own(reason: RejectReason) -> bool:
    """May the exchange take what Pear refuses for *reason*: is it none that the exchange itself would give."""
    return reason not in (RejectReason.REDUCE_ONLY, RejectReason.NO_MATCH, RejectReason.NOTIONAL_MIN)


def _denied_by_pear(report: OrderReport, evidence: Evidence) -> str | None:
    """Pear's words when *report* is its no, and no other's."""
    told = None if evidence.sent is None else evidence.sent.refused
    if told is None or report.status is not OrderStatus.REJECTED or not is_pear_s_own(told[0]):
        return None
    return f"Pear says no: {told[1]}"


def _together(order: Order, pear: Sum, direct: OrderReport, now: datetime) -> OrderReport:
    """What Pear's fills and the direct ones add up to; in doubt, and claiming nothing, while the direct order is."""
    if direct.status.in_doubt:
        return unknown(order, f"closed directly: {direct.detail}", now)
    if not pear.quantity + direct.filled:
        return refused(order, direct.reason or RejectReason.OTHER, f"closed directly: {direct.detail}", now)
    paid = direct.filled * (direct.average_price or ZERO)
    instants = [one for one in (pear.last_at, direct.filled_at) if one is not None]
    last_at = max(instants, default=None)
    total = Sum(pear.quantity + direct.filled, pear.usd + paid, pear.fees + direct.fees, last_at)
    return ended_by_venue(order, total, now)
