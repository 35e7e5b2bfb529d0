"""What a trade does next: one pure function, first match wins.

The law: a trade with an order in doubt does nothing but ask; an opening needs every gate to say yes; a closing never
gives up.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from trading.domain.desk_state import TradingState
from trading.domain.market import Instrument, Quote, ratio_of
from trading.domain.orders import Order, OrderStatus, Side, client_order_id
from trading.domain.trades import (
    Event,
    LegPlan,
    LegsBalanced,
    LegsUnbalanced,
    Trade,
    TradeCanceled,
    TradeFilled,
    TradeRejected,
    TradeStatus,
    TradeSuspended,
    imbalance_of,
)
from trading.domain.units import ONE, ZERO, Coin, Quantity, Ratio, Usd, floor_to_step
from trading.utils.trade_calculator import marketable_limit

ENTRY_TTL = timedelta(seconds=10)
CLOSE_TTL = timedelta(seconds=5)
ENTRY_QUOTE_AGE_MAX = timedelta(seconds=2)
APPROVAL_AGE_MAX = timedelta(seconds=30)
COMPLETION_BANDS = (Ratio(Decimal("0.003")), Ratio(Decimal("0.006")), Ratio(Decimal("0.01")))
COMPLETION_WINDOW = timedelta(seconds=5)
CLOSE_BANDS = (Ratio(Decimal("0.01")), Ratio(Decimal("0.03")), Ratio(Decimal("0.08")))
CLOSE_PAUSE = timedelta(seconds=5)
TRIMS_MAX = 10
SENDS_OF_A_SLICE_MAX = 3
RESIDUE_SHARE_MAX = Ratio(Decimal("0.05"))


@dataclass(frozen=True, slots=True)
class Market:
    """What the world looks like to one trade at one instant.

    `available` is what a reduce-only order may take of a coin, unsigned, as far as the venue was read: a coin that is
    missing was not read. `outstanding` (CLOSE only) is what the position still holds of a coin by the ledger, with what
    orders in doubt may have added; `opening_live` says that more may still be added.
    """

    now: datetime
    quotes: Mapping[Coin, Quote]
    instruments: Mapping[Coin, Instrument]
    available: Mapping[Coin, Quantity]
    outstanding: Mapping[Coin, Quantity]
    opening_live: bool = False
    whole: Mapping[Coin, Quantity] | None = None


@dataclass(frozen=True, slots=True)
class Policy:
    """What the desk allows at this instant. `close_wanted`: the position of an OPEN is being closed."""

    trading_state: TradingState
    close_wanted: bool = False


@dataclass(frozen=True, slots=True)
class Ask:
    """Enquire about these orders; do nothing else."""

    orders: tuple[Order, ...]


@dataclass(frozen=True, slots=True)
class Send:
    """Write the intent, then submit these orders as one group."""

    orders: tuple[Order, ...]


@dataclass(frozen=True, slots=True)
class Note:
    """Record this event; nothing leaves the house."""

    event: Event


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing to do at this instant, and why. `until` is when that changes by itself, if it is known."""

    why: str
    until: datetime | None = None


Step = Ask | Send | Note | Wait


def next_step(trade: Trade, market: Market, policy: Policy) -> Step:
    """The next step of *trade*: the rows of the playbook in their order. Pure; never raises on a trade that replays."""
    if trade.in_doubt:
        return Ask(trade.in_doubt)
    if not trade.live:
        return Wait(f"the trade is {trade.status}")
    if trade.status is TradeStatus.SUSPENDED:
        return _leave_suspension(trade, market, policy)
    if trade.opens:
        return _next_of_open(trade, market, policy)
    return _next_of_close(trade, market)


def _leave_suspension(trade: Trade, market: Market, policy: Policy) -> Step:
    """Only a wish to be rid of it ends a suspended opening; what it holds stays under the exits meanwhile."""
    if trade.opens and (policy.close_wanted or trade.cancel_wanted):
        return Note(TradeCanceled(market.now, trade.cancel_wanted or _why_not(policy)))
    return Wait(f"the trade is suspended: {trade.why}")


def next_slice_due(trade: Trade) -> datetime | None:
    """When the next slice of an OPEN may go, by its schedule and its pace; None when no slice is left."""
    if not trade.live or not trade.opens or _remaining_is_dust(trade):
        return None
    number = _next_slice_number(trade)
    planned = trade.terms.slices
    pace = timedelta(seconds=float(trade.terms.slice_interval_seconds))
    last = trade.last_sent_at
    if number > len(planned) and not pace:
        return None
    scheduled = planned[min(number, len(planned)) - 1].due_at
    return scheduled if last is None else max(scheduled, last + pace)


def slices_done(trade: Trade) -> int:
    """How many scheduled slices have been sent and are known to have ended."""
    return min(_next_slice_number(trade) - 1, len(trade.terms.slices))


# --- opening ---------------------------------------------------------------------------------------------------------


def _next_of_open(trade: Trade, market: Market, policy: Policy) -> Step:
    may_open = policy.trading_state is TradingState.ACTIVE and not policy.close_wanted and not trade.cancel_wanted
    if abs(imbalance_of(trade)) > _tolerance(trade, market):
        if trade.status is TradeStatus.REPAIRING:
            return _repair(trade, market, may_complete=may_open)
        return Note(LegsUnbalanced(market.now, imbalance_of(trade)))
    if trade.status is TradeStatus.REPAIRING:
        return Note(LegsBalanced(market.now))
    if not may_open:
        return Note(TradeCanceled(market.now, trade.cancel_wanted or _why_not(policy)))
    due = next_slice_due(trade)
    if due is None:
        return _verdict(trade, market.now)
    if market.now >= trade.terms.gives_up_at and trade.terms.slice_interval_seconds and trade.orders:
        return _give_up(trade, market.now)
    if not trade.orders and market.now > _approval_ends_at(trade):
        return Note(TradeCanceled(market.now, "the approval was not used within its time"))
    if market.now < due:
        return Wait("the next slice is not due", due)
    return _send_slice(trade, market)


def _why_not(policy: Policy) -> str:
    if policy.close_wanted:
        return "the position is being closed"
    return f"the desk is {policy.trading_state}"


def _approval_ends_at(trade: Trade) -> datetime:
    approval = trade.terms.approval
    return (approval.answered_at if approval is not None else trade.terms.accepted_at) + APPROVAL_AGE_MAX


def _remaining(trade: Trade, leg: LegPlan) -> Quantity:
    return Quantity(leg.quantity - trade.filled(leg.coin))


def _remaining_is_dust(trade: Trade) -> bool:
    return any(_remaining(trade, leg) <= 0 for leg in trade.terms.legs)


def _next_slice_number(trade: Trade) -> int:
    """One more than the last slice sent, or that slice again when none of its orders ever landed."""
    if not trade.orders:
        return 1
    last = trade.orders[-1].slice_number
    landed = any(
        trade.report_of(order).status is not OrderStatus.ABSENT for order in trade.orders if order.slice_number == last
    )
    sends = len({order.attempt for order in trade.orders if order.slice_number == last})
    return last + 1 if landed or sends >= SENDS_OF_A_SLICE_MAX else last


def _send_slice(trade: Trade, market: Market) -> Step:
    quotes = _fresh_quotes(trade, market)
    if quotes is None:
        return Wait("no fresh quote on both legs")
    long_quote, short_quote = quotes
    if _chases(trade, long_quote, short_quote):
        return Wait("the price ratio has run away from its arrival value")
    number = _next_slice_number(trade)
    quantities = [_slice_quantity(trade, market, leg, number) for leg in trade.terms.legs]
    if _under_minimum(trade, market, quantities):
        # A schedule laid out near the minimum may slip under it when prices fall: then the rest goes in one piece.
        quantities = [_remaining(trade, leg) for leg in trade.terms.legs]
    if _under_minimum(trade, market, quantities):
        return _verdict(trade, market.now)
    orders = tuple(
        _order(trade, market, leg, quantity, trade.terms.slippage_max, number, reduce_only=False)
        for leg, quantity in zip(trade.terms.legs, quantities, strict=True)
    )
    return Send(orders)


def _chases(trade: Trade, long_quote: Quote, short_quote: Quote) -> bool:
    """True when entering now would pay more than the band over the ratio at arrival: re-pegging never chases."""
    arrival = ratio_of(trade.terms.long.arrival_price, trade.terms.short.arrival_price)
    executable = ratio_of(long_quote.ask, short_quote.bid)
    return executable / arrival - ONE > trade.terms.slippage_max


def _slice_quantity(trade: Trade, market: Market, leg: LegPlan, number: int) -> Quantity:
    """What slice *number* takes of a leg: its schedule and its share of what earlier slices missed; the last takes
    all."""
    planned = trade.terms.slices
    remaining = _remaining(trade, leg)
    if number >= len(planned):
        return remaining
    scheduled = [one.long_quantity if leg == trade.terms.long else one.short_quantity for one in planned]
    missed = sum(scheduled[: number - 1], ZERO) - trade.filled(leg.coin)
    share = floor_to_step(missed / (len(planned) - number + 1), market.instruments[leg.coin].quantity_step)
    return Quantity(min(remaining, scheduled[number - 1] + max(share, ZERO)))


def _under_minimum(trade: Trade, market: Market, quantities: Sequence[Quantity]) -> bool:
    return any(
        quantity * _touch(market.quotes[leg.coin], leg.side) < market.instruments[leg.coin].notional_min
        for quantity, leg in zip(quantities, trade.terms.legs, strict=True)
    )


def _verdict(trade: Trade, now: datetime) -> Note:
    if not trade.orders:
        return Note(TradeCanceled(now, "a leg has fallen below the venue's minimum"))
    if any(trade.filled(leg.coin) > 0 for leg in trade.terms.legs):
        return Note(TradeFilled(now))
    if trade.anything_filled:
        return Note(TradeCanceled(now, "one leg could not be filled; the other was taken back"))
    return Note(TradeRejected(now, _refusals(trade)))


def _give_up(trade: Trade, now: datetime) -> Note:
    return (
        _verdict(trade, now)
        if not trade.anything_filled
        else Note(TradeCanceled(now, "its time is over; what was not filled is given up"))
    )


def _refusals(trade: Trade) -> str:
    words = [
        f"{order.coin}: {report.detail or report.reason or report.status}"
        for order in trade.orders
        for report in [trade.report_of(order)]
    ]
    return "; ".join(dict.fromkeys(words)) or "nothing was filled"


# --- repair ----------------------------------------------------------------------------------------------------------


def _tolerance(trade: Trade, market: Market) -> Usd:
    """The larger of one lot and the venue's minimum, in USD."""
    sizes = [ZERO]
    for leg in trade.terms.legs:
        instrument = market.instruments.get(leg.coin)
        if instrument is not None:
            sizes += [instrument.notional_min, Usd(instrument.quantity_step * leg.arrival_price)]
    return Usd(max(sizes))


def _repair(trade: Trade, market: Market, *, may_complete: bool) -> Step:
    long, short = trade.terms.legs
    ahead, behind = (long, short) if imbalance_of(trade) > 0 else (short, long)
    since = trade.repairing_since or market.now
    if may_complete and market.now - since <= COMPLETION_WINDOW and _may_heal(trade, behind, since):
        completion = _completion(trade, market, ahead, behind, since)
        if completion is not None:
            return completion
    return _trim(trade, market, ahead, behind, since)


def _repairs(trade: Trade, since: datetime, *, reduce_only: bool) -> list[Order]:
    return [one for one in trade.orders if one.intended_at >= since and one.reduce_only == reduce_only]


def _may_heal(trade: Trade, behind: LegPlan, since: datetime) -> bool:
    if len(_repairs(trade, since, reduce_only=False)) >= len(COMPLETION_BANDS):
        return False
    if _repairs(trade, since, reduce_only=True):
        return False
    last = next(one for one in reversed(trade.orders) if one.coin == behind.coin)
    reason = trade.report_of(last).reason
    return reason is None or reason.heals


def _completion(trade: Trade, market: Market, ahead: LegPlan, behind: LegPlan, since: datetime) -> Step | None:
    """The lagging leg's missing quantity, inside a widening band; None when it is under the venue's minimum."""
    instrument, quote = market.instruments.get(behind.coin), market.quotes.get(behind.coin)
    if instrument is None or quote is None or market.now - quote.taken_at > ENTRY_QUOTE_AGE_MAX or not quote.usable:
        return Wait("no fresh quote on the lagging leg", since + COMPLETION_WINDOW)
    wanted = trade.filled(ahead.coin) / ahead.quantity * behind.quantity
    missing = floor_to_step(wanted - trade.filled(behind.coin), instrument.quantity_step)
    if missing * _touch(quote, behind.side) < instrument.notional_min:
        return None
    band = COMPLETION_BANDS[len(_repairs(trade, since, reduce_only=False))]
    number = trade.orders[-1].slice_number
    return Send((_order(trade, market, behind, Quantity(missing), band, number, reduce_only=False),))


def _trim(trade: Trade, market: Market, ahead: LegPlan, behind: LegPlan, since: datetime) -> Step:
    """Take back what the leading leg is ahead. A residue too small to trade stays when it is small, else both legs
    go."""
    trims = _repairs(trade, since, reduce_only=True)
    if len({one.intended_at for one in trims}) >= TRIMS_MAX:
        return Note(TradeSuspended(market.now, "the leading leg could be neither completed nor trimmed back"))
    pause = _pause_until(trims, len({one.intended_at for one in trims}))
    if pause is not None and market.now < pause:
        return Wait("the next trim is not due", pause)
    instrument, quote = market.instruments.get(ahead.coin), market.quotes.get(ahead.coin)
    if instrument is None or quote is None or not quote.usable:
        return Wait(f"no price for {ahead.coin}")
    held = trade.filled(ahead.coin)
    level = trade.filled(behind.coin) / behind.quantity * ahead.quantity
    excess = held if level == 0 else floor_to_step(held - level, instrument.quantity_step)
    band = CLOSE_BANDS[min(len({one.intended_at for one in trims}), len(CLOSE_BANDS) - 1)]
    number = trade.orders[-1].slice_number
    if excess < held and excess * quote.bid < instrument.notional_min:
        if excess <= RESIDUE_SHARE_MAX * ahead.quantity:
            return Note(LegsBalanced(market.now))
        legs = [(leg, trade.filled(leg.coin)) for leg in (ahead, behind)]
    else:
        legs = [(ahead, Quantity(excess))]
    orders = tuple(
        _order(trade, market, leg, quantity, band, number, reduce_only=True)
        for leg, wanted in legs
        if leg.coin in market.quotes and (quantity := _clamped(market, leg.coin, wanted)) > 0
    )
    return Send(orders) if orders else Wait(f"the venue holds no {ahead.coin} to trim")


# --- closing ---------------------------------------------------------------------------------------------------------


def _next_of_close(trade: Trade, market: Market) -> Step:
    outstanding = {leg.coin: market.outstanding.get(leg.coin, Quantity(ZERO)) for leg in trade.terms.legs}
    flat = all(quantity <= 0 for quantity in outstanding.values())
    level = flat or abs(imbalance_of(trade)) <= _tolerance(trade, market)
    if trade.status is TradeStatus.WORKING and not level:
        return Note(LegsUnbalanced(market.now, imbalance_of(trade)))
    if trade.status is TradeStatus.REPAIRING and level:
        return Note(LegsBalanced(market.now))
    if not flat:
        return _send_rest(trade, market, outstanding)
    if market.opening_live:
        return Wait("the opening trade has not ended")
    if trade.anything_filled:
        return Note(TradeFilled(market.now))
    return Note(TradeCanceled(market.now, "there was nothing left to close"))


def _send_rest(trade: Trade, market: Market, outstanding: Mapping[Coin, Quantity]) -> Step:
    """Everything that is left of both legs, in a band that widens to the last and then stays, every few seconds for
    ever."""
    rounds = len({one.intended_at for one in trade.orders})
    pause = _pause_until(trade.orders, rounds)
    if pause is not None and market.now < pause:
        return Wait("the next attempt to close is not due", pause)
    band = CLOSE_BANDS[min(rounds, len(CLOSE_BANDS) - 1)]
    orders = []
    for leg in trade.terms.legs:
        quantity = _clamped(market, leg.coin, outstanding[leg.coin])
        if quantity > 0 and _may_be_closed(market, leg, quantity):
            orders.append(_order(trade, market, leg, quantity, band, rounds + 1, reduce_only=True))
    return Send(tuple(orders)) if orders else Wait("nothing that the venue would take is left to close")


def _may_be_closed(market: Market, leg: LegPlan, quantity: Quantity) -> bool:
    """A price to work from, and not a residue under the minimum that would leave others' part of the coin behind."""
    instrument, quote = market.instruments.get(leg.coin), market.quotes.get(leg.coin)
    if instrument is None or quote is None or not quote.usable:
        return False
    whole = (market.whole or {}).get(leg.coin)
    return quantity * _touch(quote, leg.side) >= instrument.notional_min or whole is None or quantity >= whole


def _pause_until(orders: Sequence[Order], rounds: int) -> datetime | None:
    """The first tries follow each other at once; from the last band on there is a pause between them."""
    return orders[-1].intended_at + CLOSE_PAUSE if rounds >= len(CLOSE_BANDS) else None


# --- orders ----------------------------------------------------------------------------------------------------------


def _fresh_quotes(trade: Trade, market: Market) -> tuple[Quote, Quote] | None:
    quotes = [market.quotes.get(leg.coin) for leg in trade.terms.legs]
    long, short = quotes
    if long is None or short is None or any(leg.coin not in market.instruments for leg in trade.terms.legs):
        return None
    fresh = all(market.now - one.taken_at <= ENTRY_QUOTE_AGE_MAX and one.usable for one in (long, short))
    return (long, short) if fresh else None


def _touch(quote: Quote, side: Side) -> Decimal:
    return quote.ask if side is Side.BUY else quote.bid


def _clamped(market: Market, coin: Coin, wanted: Quantity) -> Quantity:
    """At most what the venue holds, rounded down to its lots; what was not read does not clamp."""
    available = market.available.get(coin, wanted)
    instrument = market.instruments.get(coin)
    quantity = max(min(wanted, available), ZERO)
    return Quantity(floor_to_step(quantity, instrument.quantity_step) if instrument is not None else quantity)


def _order(
    trade: Trade, market: Market, leg: LegPlan, quantity: Quantity, band: Ratio, number: int, *, reduce_only: bool
) -> Order:
    instrument = market.instruments[leg.coin]
    side = leg.side.opposite if trade.opens and reduce_only else leg.side
    touch = _touch(market.quotes[leg.coin], side)
    attempt = sum(1 for one in trade.orders if one.slice_number == number and one.coin == leg.coin)
    return Order(
        client_order_id=client_order_id(trade.id, number, leg.coin, attempt),
        coin=leg.coin,
        side=side,
        quantity=quantity,
        limit_price=marketable_limit(touch, side, band, instrument.price_decimals_max),
        reduce_only=reduce_only,
        slice_number=number,
        attempt=attempt,
        intended_at=market.now,
        expires_at=market.now + (CLOSE_TTL if reduce_only else ENTRY_TTL),
    )
