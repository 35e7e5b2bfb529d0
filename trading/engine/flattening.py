"""Closing what the venue holds with no ledger to go by.

The law: every intent and every answer is in the rescue file, the intent first; orders only reduce, in the bands of a
close and at its pace; what is not the desk's stays.
"""

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta

from trading.domain.codec import encode_event
from trading.domain.errors import VenueUnavailable
from trading.domain.market import Account
from trading.domain.orders import Order, OrderReport, Side, client_order_id
from trading.domain.trades import OrdersIntended, OrdersReported
from trading.domain.units import ZERO, ClientOrderId, Coin, Quantity, TradeId, floor_to_step
from trading.engine.desk import Desk
from trading.engine.playbook import CLOSE_BANDS, CLOSE_PAUSE, CLOSE_TTL
from trading.engine.working import SETTLE_PAUSE_SECONDS, SETTLE_PAUSE_SECONDS_MAX
from trading.utils.trade_calculator import marketable_limit

ATTEMPT_PATIENCE = timedelta(seconds=10)
"""How long after its expiry an order that was sent without a ledger is waited for, where nobody tells its end."""
FLAT_READS = 2
"""An account that suddenly reads empty is never believed on one answer."""


def account_by(desk: Desk, until: float) -> Account:
    """The account, asked for again and again until the clock's `monotonic` reaches *until*. Raises VenueUnavailable."""
    while True:
        try:
            return desk.venue.account()
        except VenueUnavailable:
            if desk.clock.monotonic() >= until:
                raise
            desk.clock.sleep(SETTLE_PAUSE_SECONDS_MAX)


@dataclass
class Attempts:
    """Of closing one coin without a ledger: how many orders were sent, when the last one was, on the clock's
    `monotonic`, which are `known`, what they have filled, and those of which nobody knows yet how they ended."""

    count: int = 0
    sent_at: float = 0.0
    known: set[ClientOrderId] = field(default_factory=set)
    filled: Quantity = Quantity(ZERO)
    doubts: tuple[Order, ...] = ()

    def note(self, order: Order, report: OrderReport | None) -> None:
        """*order* was sent, by whomever; *report* is what was told of it, if anything."""
        self.known.add(order.client_order_id)
        if report is None or report.status.in_doubt:
            self.doubts = (*self.doubts, order)
        else:
            self.filled = Quantity(self.filled + report.filled)

    def settle(self, ends: Mapping[ClientOrderId, OrderReport]) -> None:
        """What was in doubt is none any more where *ends* tells how it ended."""
        ended = [ends[one.client_order_id].filled for one in self.doubts if one.client_order_id in ends]
        self.filled = Quantity(self.filled + sum(ended, ZERO))
        self.doubts = tuple(one for one in self.doubts if one.client_order_id not in ends)


@dataclass(frozen=True, slots=True)
class Part:
    """How much of a coin the book has on its side, unsigned: at `least`, and at `most` where that is known."""

    sign: int
    least: Quantity
    most: Quantity | None


def close_holdings(
    desk: Desk,
    coins: Collection[Coin] | None,
    until: float,
    spared: Mapping[Coin, Quantity],
    attempts: dict[Coin, Attempts],
    parts: Mapping[Coin, Part],
) -> Mapping[Coin, Quantity]:
    """Close what the venue holds of *coins* (of all, when None) beyond what is *spared*, signed, with no ledger to go
    by; return what is left of that, signed. Of a coin that has one of *parts* its least goes whatever is spared, and no
    more in all than its most.

    For when the ledger cannot be read or written: every intent and every answer goes to the store's rescue file
    instead, the intent first. Orders only reduce, in the bands of a close and at its pace; *attempts* knows what was
    tried before. Of a coin of which others may hold some nothing is sent while an order is in doubt, for it could land
    and take of theirs. That nothing is left is believed when FLAT_READS in a row say so, however late it is by then.
    Returns soon after *until* on the clock's `monotonic`, and not before what is due has been sent once: a venue may
    take as long as that to answer. One that cannot be read raises VenueUnavailable, after trying as long.
    """
    empty, sent, pause = 0, False, SETTLE_PAUSE_SECONDS
    while True:
        _ask_about_attempts(desk, attempts)
        held: Mapping[Coin, Quantity] = {}
        try:
            account = desk.venue.account()
            held = _held(account, coins, spared, attempts, parts)
            due = {coin: one for coin, one in held.items() if _is_due(desk, coin, spared, parts, attempts)}
            orders = _closing_orders(desk, account, due, spared, attempts) if due else ()
        except VenueUnavailable:
            if desk.clock.monotonic() >= until:
                raise
            orders, empty = (), 0
        else:
            empty = 0 if held else empty + 1
            for coin in () if held else attempts.keys() & (attempts.keys() if coins is None else coins):
                # Whoever has some of it to close again begins with the narrowest band.
                attempts[coin].count = 0
            if empty == FLAT_READS or (held and (sent or not orders) and desk.clock.monotonic() >= until):
                return held
        if orders:
            sent = True
            desk.store.rescue({"rescue": "intended", "event": encode_event(OrdersIntended(desk.clock.now(), orders))})
            _note_attempts(desk, attempts, orders, desk.venue.submit(orders))
            tried = min(attempts[order.coin].count for order in orders)
            pause = SETTLE_PAUSE_SECONDS if tried < len(CLOSE_BANDS) else SETTLE_PAUSE_SECONDS_MAX
        else:
            # As any close that waits: the exchange counts what it is asked.
            pause = SETTLE_PAUSE_SECONDS_MAX if empty else min(2 * pause, SETTLE_PAUSE_SECONDS_MAX)
        desk.clock.sleep(pause)


def _is_due(
    desk: Desk,
    coin: Coin,
    spared: Mapping[Coin, Quantity],
    parts: Mapping[Coin, Part],
    attempts: Mapping[Coin, Attempts],
) -> bool:
    before = attempts.get(coin)
    if before is None:
        return True
    pause = CLOSE_PAUSE.total_seconds() if before.count >= len(CLOSE_BANDS) else 0.0
    is_bounded = coin in parts and parts[coin].most is not None
    if spared.get(coin) and not is_bounded:
        # The account alone tells how much is left, and shows what has been sold a moment later.
        pause = max(pause, SETTLE_PAUSE_SECONDS_MAX)
    waits = before.doubts and (is_bounded or spared.get(coin))
    return desk.clock.monotonic() - before.sent_at >= pause and not waits


def _ask_about_attempts(desk: Desk, attempts: Mapping[Coin, Attempts]) -> None:
    """How the orders in doubt have ended. At Pear, who is asked lets a close that Pear does not confirm go to the
    exchange."""
    doubts = tuple(order for one in attempts.values() for order in one.doubts)
    told: tuple[OrderReport, ...] = ()
    if doubts:
        with suppress(VenueUnavailable):
            told = tuple(report for report in desk.venue.reports(doubts) if not report.status.in_doubt)
    if told:
        desk.store.rescue({"rescue": "reported", "event": encode_event(OrdersReported(desk.clock.now(), told))})
    ends = {report.client_order_id: report for report in told}
    for one in attempts.values():
        one.settle(ends)
        one.doubts = tuple(order for order in one.doubts if desk.clock.now() - order.expires_at <= ATTEMPT_PATIENCE)


def _note_attempts(
    desk: Desk, attempts: dict[Coin, Attempts], orders: Sequence[Order], reports: tuple[OrderReport, ...]
) -> None:
    desk.store.rescue({"rescue": "reported", "event": encode_event(OrdersReported(desk.clock.now(), reports))})
    for order, report in zip(orders, reports, strict=True):
        one = attempts.setdefault(order.coin, Attempts())
        one.count, one.sent_at = one.count + 1, desk.clock.monotonic()
        one.note(order, report)


def _held(
    account: Account,
    coins: Collection[Coin] | None,
    spared: Mapping[Coin, Quantity],
    attempts: Mapping[Coin, Attempts],
    parts: Mapping[Coin, Part],
) -> Mapping[Coin, Quantity]:
    found = {}
    for coin, one in account.holdings.items():
        if coins is None or coin in coins:
            filled = attempts[coin].filled if coin in attempts else Quantity(ZERO)
            ours = ours_of(one.quantity, spared.get(coin, Quantity(ZERO)), parts.get(coin), filled)
            if ours:
                found[coin] = ours
    return found


def ours_of(held: Quantity, theirs: Quantity, part: Part | None, filled: Quantity) -> Quantity:
    """What is the desk's of a holding, signed, when *theirs* is known to be others' and *filled* has been sold without
    a ledger. The account may have been read too early, others may buy or sell meanwhile: the book knows how much it
    is."""
    sign = 1 if held > 0 else -1
    # Of the other side nothing can be theirs.
    ours = max((held - theirs) * sign, ZERO) if theirs * sign > 0 else abs(held)
    if part is not None and part.sign != sign:
        return Quantity(ZERO if part.most is not None else ours * sign)
    if part is not None:
        ours = ours if part.most is None else min(ours, part.most - filled)
        ours = max(ours, min(abs(held), part.least - filled))
    return Quantity(max(ours, ZERO) * sign)


def _closing_orders(
    desk: Desk,
    account: Account,
    held: Mapping[Coin, Quantity],
    spared: Mapping[Coin, Quantity],
    attempts: Mapping[Coin, Attempts],
) -> tuple[Order, ...]:
    """One order a coin for all of it, rounded down to its lots; none for a residue under the venue's minimum beside
    what is *spared*. Where no price can be read, the venue's own valuation of what it holds serves. Ids are hashes of
    the instant, for without a ledger nothing else tells tries apart."""
    instruments = desk.venue.instruments()
    quotes = account.valuations(instruments)
    with suppress(VenueUnavailable):
        quotes |= desk.venue.quotes(tuple(held))
    # After the calls that took their time: the orders expire soon.
    now, orders = desk.clock.now(), []
    for coin, quantity in held.items():
        quote, instrument = quotes.get(coin), instruments.get(coin)
        if quote is None or instrument is None or not quote.usable:
            continue
        tries = attempts[coin].count if coin in attempts else 0
        side = Side.SELL if quantity > 0 else Side.BUY
        touch = quote.bid if side is Side.SELL else quote.ask
        amount = Quantity(floor_to_step(abs(quantity), instrument.quantity_step))
        if not amount or (spared.get(coin) and amount * touch < instrument.notional_min):
            continue
        # As in any close the widest band that is due and in which it reaches the venue's minimum, if there is one.
        bands = reversed(CLOSE_BANDS[: tries + 1])
        limits = [marketable_limit(touch, side, band, instrument.price_decimals_max) for band in bands]
        fits = (one for one in limits if amount * min(touch, one) >= instrument.notional_min)
        orders.append(
            Order(
                client_order_id=client_order_id(TradeId(f"rescue {now.isoformat()}"), tries + 1, coin, 0),
                coin=coin,
                side=side,
                quantity=amount,
                limit_price=next(fits, limits[0]),
                reduce_only=True,
                slice_number=tries + 1,
                attempt=0,
                intended_at=now,
                expires_at=now + CLOSE_TTL,
            )
        )
    return tuple(orders)
