"""What a trade does next: one pure function, first match wins.

The law: a trade with an order in doubt does nothing but ask; an opening needs every gate to say yes; a closing never
gives up.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import takewhile

from trading.domain.desk_state import TradingState
from trading.domain.exit_plan import ExitReason
from trading.domain.market import Instrument, Quote, ratio_of
from trading.domain.orders import Order, RejectReason, Side, client_order_id
from trading.domain.trades import (
    HANDED_ON,
    LEFT_TO_OTHERS,
    UNLISTED,
    Event,
    HoldingGone,
    LegPlan,
    LegsBalanced,
    LegsUnbalanced,
    OrdersIntended,
    OrdersReported,
    SliceSkipped,
    Trade,
    TradeCanceled,
    TradeFilled,
    TradeRejected,
    TradeResumed,
    TradeStatus,
    TradeSuspended,
    imbalance_of,
    overfill_of,
)
from trading.domain.units import ONE, ZERO, Coin, Price, Quantity, Ratio, Usd, floor_to_step
from trading.engine.schedule import (
    CATCH_UP_MAX,
    close_rounds,
    due_at,
    filled_share,
    keeps_pace,
    missed_slice,
    next_slice_due,
    next_slice_number,
    remaining,
    rest_since,
    scheduled_of_close,
    slice_quantity,
)
from trading.utils.trade_calculator import known_limit

ENTRY_TTL = timedelta(seconds=10)
CLOSE_TTL = timedelta(seconds=5)
ENTRY_QUOTE_AGE_MAX = timedelta(seconds=2)
APPROVAL_AGE_MAX = timedelta(seconds=30)
COMPLETION_BANDS = (Ratio(Decimal("0.003")), Ratio(Decimal("0.006")), Ratio(Decimal("0.01")))
COMPLETION_WINDOW = timedelta(seconds=5)
CLOSE_BANDS = (Ratio(Decimal("0.01")), Ratio(Decimal("0.03")), Ratio(Decimal("0.08")))
CLOSE_PAUSE = timedelta(seconds=5)
TRIMS_MAX = 10
TRIM_PATIENCE = timedelta(seconds=60)
DOUBT_PATIENCE = timedelta(seconds=120)
"""How long after the expiry of an opening's orders their end may be unknown before somebody has to look."""
REPAIR_PATIENCE = timedelta(seconds=180)
"""How long a repair may stand still, whatever holds it up."""
IN_DOUBT_TOO_LONG = "how its orders ended has been unknown for too long; the venue is still being asked"
GONE_PATIENCE = timedelta(seconds=2)
STUCK_PATIENCE = timedelta(seconds=60)
RESIDUE_SHARE_MAX = Ratio(Decimal("0.05"))
ONE_LEGGED_MAX = 3
"""Slices in a row that may buy one leg only to sell it again, for a refusal of the other that nobody can place."""
UNFORESEEN = (RejectReason.OTHER, RejectReason.PRICE, RejectReason.SIZE, RejectReason.NOTIONAL_MIN)
_DESK_IS = {state: f"the desk is {state}" for state in TradingState}


@dataclass(frozen=True, slots=True)
class Market:
    """What the world looks like to one trade at one instant.

    `available` is what a reduce-only order may take of a coin, unsigned, as far as the venue was read: a coin that is
    missing was not read. `outstanding` (CLOSE only) is what the position still holds of a coin by the ledger, with what
    orders in doubt may have added; `opening_live` says that more may still be added, `opened_until` when that ended.
    `alone` are the coins that no
    other position of the desk has a part of; `dregs` those of which all that the desk still has, in several positions,
    is too little for an order each.
    """

    now: datetime
    quotes: Mapping[Coin, Quote]
    instruments: Mapping[Coin, Instrument]
    available: Mapping[Coin, Quantity]
    outstanding: Mapping[Coin, Quantity]
    opening_live: bool = False
    whole: Mapping[Coin, Quantity] | None = None
    alone: frozenset[Coin] = frozenset()
    dregs: frozenset[Coin] = frozenset()
    opened_until: datetime | None = None


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
    """Write the intent, then submit these orders as one group. `mids`, long and short, for a slice of a schedule."""

    orders: tuple[Order, ...]
    mids: tuple[Price, ...] = ()


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
        return _doubted_too_long(trade, market) or Ask(trade.in_doubt)
    if not trade.live:
        return Wait(f"the trade is {trade.status}")
    if trade.status is TradeStatus.SUSPENDED:
        return _leave_suspension(trade, market, policy)
    if trade.opens:
        return _next_of_open(trade, market, policy)
    return _next_of_close(trade, market, policy)


def _doubted_too_long(trade: Trade, market: Market) -> Step | None:
    """An opening whose doubt has outlived its bound is suspended, so that somebody hears of it; the asking goes on."""
    if not trade.opens or trade.status not in (TradeStatus.WORKING, TradeStatus.REPAIRING):
        return None
    ended = max(order.expires_at for order in trade.in_doubt)
    if market.now - ended <= DOUBT_PATIENCE:
        return None
    return Note(TradeSuspended(market.now, IN_DOUBT_TOO_LONG))


def _leave_suspension(trade: Trade, market: Market, policy: Policy) -> Step:
    """Only a wish to be rid of it, or a person, ends a suspension; one for a doubt alone ends with the doubt, for legs
    that are apart must not wait. What an opening holds stays under the exits meanwhile."""
    if trade.why == IN_DOUBT_TOO_LONG:
        return Note(TradeResumed(market.now, "how its orders ended is known now"))
    if trade.opens and (policy.close_wanted or trade.cancel_wanted):
        return Note(TradeCanceled(market.now, trade.cancel_wanted or _why_not(policy)))
    return Wait(f"the trade is suspended: {trade.why}")


# --- opening ---------------------------------------------------------------------------------------------------------


def _next_of_open(trade: Trade, market: Market, policy: Policy) -> Step:
    if policy.close_wanted:
        # The close takes both legs whole, level or not: trimming beside it would be a second hand selling the same.
        return Note(TradeCanceled(market.now, trade.cancel_wanted or _why_not(policy)))
    may_open = policy.trading_state is TradingState.ACTIVE and not trade.cancel_wanted and not trade.lost
    overfilled = _take_back(trade, market)
    if overfilled is not None:
        return overfilled
    due = next_slice_due(trade)
    over = bool(trade.orders) and market.now >= trade.terms.gives_up_at
    given_up = over or bool(trade.unexplained) or bool(_refused_for_good(trade))
    done = due is None or _tail_is_dust(trade, market)
    levelling = _levelling(trade, market, may_open=may_open, last=done or given_up or not may_open)
    if levelling is not None:
        return levelling
    if not may_open:
        why = "a leg was taken at the venue by other hands" if trade.lost else _why_not(policy)
        return Note(TradeCanceled(market.now, trade.cancel_wanted or why))
    if due is None or done:
        return _verdict(trade, market.now)
    if given_up:
        return _give_up(trade, market.now)
    if trade.last_sent is None and market.now > _approval_ends_at(trade):
        return Note(TradeCanceled(market.now, "the approval was not used within its time"))
    if market.now < due:
        return Wait("the next slice is not due", due)
    return _send_slice(trade, market)


def _levelling(trade: Trade, market: Market, *, may_open: bool, last: bool) -> Step | None:
    """What has to happen before anything else because one leg runs ahead; None when the legs are level."""
    imbalance, repairing = imbalance_of(trade), trade.status is TradeStatus.REPAIRING
    tolerance = _tolerance(trade, market, closely=last or repairing)
    if imbalance and tolerance is None:
        return Wait("the venue's lots and minimums could not be read")
    if abs(imbalance) <= (tolerance or ZERO):
        return Note(LegsBalanced(market.now)) if repairing else None
    if repairing:
        return _repair(trade, market, may_complete=may_open)
    return None if _found_level(trade) else Note(LegsUnbalanced(market.now, imbalance))


def _why_not(policy: Policy) -> str:
    return "the position is being closed" if policy.close_wanted else _DESK_IS[policy.trading_state]


def closed_for(reason: ExitReason) -> str:
    """Why an opening is to stop when its position is closed for *reason*."""
    return f"the position is being closed: {reason}"


def stopped_by_desk(opening: Trade) -> bool:
    """Whether *opening* was canceled because the desk stopped, and not for its own sake."""
    stopped = (*_DESK_IS.values(), closed_for(ExitReason.EMERGENCY_STOP))
    return opening.status is TradeStatus.CANCELED and opening.why in stopped


def _approval_ends_at(trade: Trade) -> datetime:
    approval = trade.terms.approval
    return (approval.answered_at if approval is not None else trade.terms.accepted_at) + APPROVAL_AGE_MAX


def _tail_is_dust(trade: Trade, market: Market) -> bool:
    """All that is left of a leg is too little for an order of its own, at prices that may be relied on."""
    return _fresh_quotes(trade, market) is not None and _under_minimum(
        trade, market, [remaining(trade, leg) for leg in trade.terms.legs]
    )


def _send_slice(trade: Trade, market: Market) -> Step:
    """The slice that is due, both legs in one group. The caller has seen that what is left is no dust."""
    quotes = _fresh_quotes(trade, market)
    if quotes is None:
        return _held_back(trade, market, "no fresh quote on both legs")
    if _chases(trade, *quotes):
        return _held_back(trade, market, "the price ratio has run away from its arrival value")
    number, legs = next_slice_number(trade), trade.terms.legs
    quantities = _sendable(trade, market, number)
    if quantities is None:
        return _held_back(trade, market, "as much as a slice may take is less than the venue takes")
    orders = tuple(
        _order(trade, market, leg, quantity, trade.terms.slippage_max, number, reduce_only=False)
        for leg, quantity in zip(legs, quantities, strict=True)
    )
    return Send(orders, _mids(trade, quotes))


def _sendable(trade: Trade, market: Market, number: int) -> list[Quantity] | None:
    """What slice *number* takes of both legs; None for less than the venue takes.

    A schedule laid out near the minimum may slip under it when prices fall: then a slice takes some parts at once, and
    what would be left over under the minimum, too, but never the whole of a schedule that has far to go.
    """
    legs = trade.terms.legs
    whole = [remaining(trade, leg) for leg in legs]
    quantities = whole
    for parts in range(1, CATCH_UP_MAX + 1):
        quantities = [_part(trade, market, leg, number, parts) for leg in legs]
        rest = [Quantity(left - one) for left, one in zip(whole, quantities, strict=True)]
        if not _under_minimum(trade, market, quantities) and not (any(rest) and _under_minimum(trade, market, rest)):
            return quantities
    return None if _under_minimum(trade, market, quantities) else whole


def _held_back(trade: Trade, market: Market, why: str) -> Step:
    """A slice that cannot go waits while its interval lasts; then the rest takes its part."""
    missed = missed_slice(trade, market.now)
    if missed is None:
        return Wait(why)
    return Note(SliceSkipped(market.now, missed, why, _mids(trade, _quotes(trade, market))))


def _mids(trade: Trade, quotes: tuple[Quote, Quote] | None) -> tuple[Price, ...]:
    """What a slice of a schedule is measured by; nothing for a trade without one, or where a price is not known."""
    return (quotes[0].mid, quotes[1].mid) if quotes is not None and trade.terms.slice_interval_seconds else ()


def _part(trade: Trade, market: Market, leg: LegPlan, number: int, parts: int = 1) -> Quantity:
    return slice_quantity(trade, leg, number, market.instruments[leg.coin].quantity_step, parts)


def _chases(trade: Trade, long_quote: Quote, short_quote: Quote) -> bool:
    """True when entering now would pay more than the band over the ratio at arrival: re-pegging never chases."""
    arrival = ratio_of(trade.terms.long.arrival_price, trade.terms.short.arrival_price)
    executable = ratio_of(long_quote.ask, short_quote.bid)
    return executable / arrival - ONE > trade.terms.slippage_max


def _under_minimum(trade: Trade, market: Market, quantities: Sequence[Quantity]) -> bool:
    return any(
        not _reaches_minimum(market, leg.coin, leg.side, quantity, trade.terms.slippage_max)
        for quantity, leg in zip(quantities, trade.terms.legs, strict=True)
    )


def _verdict(trade: Trade, now: datetime) -> Note:
    if not trade.orders:
        return Note(TradeCanceled(now, "a leg has fallen below the venue's minimum"))
    if any(trade.filled(leg.coin) > 0 for leg in trade.terms.legs):
        return Note(TradeFilled(now))
    if trade.anything_filled:
        return Note(TradeCanceled(now, "one leg could not be filled; the other was taken back"))
    return Note(TradeRejected(now, _words_of(trade, trade.orders)))


def _give_up(trade: Trade, now: datetime) -> Note:
    if not trade.anything_filled:
        return _verdict(trade, now)
    if trade.unexplained:
        return Note(TradeCanceled(now, "an order was never explained, so that no more is sent"))
    refusals = _refused_for_good(trade)
    if refusals:
        return Note(TradeCanceled(now, f"no more of it is sent, the venue refuses a leg: {_words_of(trade, refusals)}"))
    return Note(TradeCanceled(now, f"its time is over: {filled_share(trade):.1%} was filled, the rest is given up"))


def _refused_for_good(trade: Trade) -> tuple[Order, ...]:
    """The last opening orders of the legs that were refused for what will not pass soon, or has not passed in
    ONE_LEGGED_MAX slices. A slice after them would buy one leg alone."""
    last = {one.coin: one for one in trade.orders if not one.reduce_only}
    reasons = ((one, trade.report_of(one).reason) for one in last.values())
    return tuple(
        one for one, reason in reasons if reason is not None and (not reason.heals or _one_legged(trade, one.coin))
    )


def _one_legged(trade: Trade, coin: Coin) -> bool:
    """Whether each of the last ONE_LEGGED_MAX slices has filled the other leg and nothing of *coin*, refused
    throughout."""
    refused: dict[int, bool] = {}
    filled: set[int] = set()
    for order in (one for one in trade.orders if not one.reduce_only):
        report = trade.report_of(order)
        if order.coin == coin:
            refused[order.slice_number] = refused.get(order.slice_number, True) and report.reason in UNFORESEEN
        elif report.filled:
            filled.add(order.slice_number)
    latest = list(refused)[-ONE_LEGGED_MAX:]
    return len(latest) == ONE_LEGGED_MAX and all(refused[number] and number in filled for number in latest)


def _words_of(trade: Trade, orders: Sequence[Order]) -> str:
    """How *orders* of a trade ended, in the venue's words."""
    reports = ((order, trade.report_of(order)) for order in orders)
    words = (f"{order.coin}: {report.detail or report.reason or report.status}" for order, report in reports)
    return "; ".join(dict.fromkeys(words))


# --- repair ----------------------------------------------------------------------------------------------------------


def _tolerance(trade: Trade, market: Market, *, closely: bool) -> Usd | None:
    """The larger of one lot and the venue's minimum, in USD; None while those are not known.

    What stays for good may be at most a small share of the leg besides: *closely* is how a trade is looked at when
    nothing more will be sent that could even it out, and while it is being repaired.
    """
    listed = [market.instruments.get(leg.coin) for leg in trade.terms.legs]
    lots, minimums = [ZERO], [ZERO]
    for leg, instrument in zip(trade.terms.legs, listed, strict=True):
        if instrument is None:
            return None
        lots.append(instrument.quantity_step * leg.arrival_price)
        minimums.append(instrument.notional_min)
    share = RESIDUE_SHARE_MAX * min(leg.notional for leg in trade.terms.legs)
    return Usd(max(*lots, min(max(minimums), share) if closely else max(minimums)))


def _found_level(trade: Trade) -> bool:
    """True when these very fills were found as level as they can be: they are not judged twice."""
    judged = (event for event in reversed(trade.events) if isinstance(event, OrdersReported | LegsBalanced))
    return isinstance(next(judged, None), LegsBalanced)


def _repair(trade: Trade, market: Market, *, may_complete: bool) -> Step:
    long, short = trade.terms.legs
    ahead, behind = (long, short) if imbalance_of(trade) > 0 else (short, long)
    since = trade.repairing_since or market.now
    if market.now - trade.events[-1].at > REPAIR_PATIENCE:
        return Note(TradeSuspended(market.now, "levelling its legs has stood still for too long"))
    if may_complete and market.now - since <= COMPLETION_WINDOW and _may_heal(trade, behind):
        completion = _completion(trade, market, ahead, behind, since)
        if completion is not None:
            return completion
    return _trim(trade, market, ahead, behind, since)


def _repairs(trade: Trade, *, reduce_only: bool) -> list[tuple[Order, ...]]:
    """The groups sent since the legs were last found unbalanced, latest first: completions, or trims."""
    since = takewhile(lambda event: not isinstance(event, LegsUnbalanced), reversed(trade.events))
    sent = (event.orders for event in since if isinstance(event, OrdersIntended))
    return [orders for orders in sent if orders[0].reduce_only is reduce_only]


def _may_heal(trade: Trade, behind: LegPlan) -> bool:
    if len(_repairs(trade, reduce_only=False)) >= len(COMPLETION_BANDS) or _repairs(trade, reduce_only=True):
        return False
    last = next(one for one in reversed(trade.orders) if one.coin == behind.coin)
    reason = trade.report_of(last).reason
    return reason is None or reason.heals


def _completion(trade: Trade, market: Market, ahead: LegPlan, behind: LegPlan, since: datetime) -> Step | None:
    """The lagging leg's missing quantity, inside a widening band; None when it is under the venue's minimum."""
    quote = _usable_quote(market, behind.coin)
    if quote is None or market.now - quote.taken_at > ENTRY_QUOTE_AGE_MAX:
        return Wait("no fresh quote on the lagging leg", since + COMPLETION_WINDOW)
    wanted = trade.filled(ahead.coin) * behind.quantity / ahead.quantity
    step = market.instruments[behind.coin].quantity_step
    # A leading leg may have been filled beyond its plan: the lagging one does not follow it there.
    missing = Quantity(floor_to_step(min(wanted, behind.quantity) - trade.filled(behind.coin), step))
    band = COMPLETION_BANDS[len(_repairs(trade, reduce_only=False))]
    if not _reaches_minimum(market, behind.coin, behind.side, missing, band):
        return None
    number = trade.orders[-1].slice_number
    return Send((_order(trade, market, behind, missing, band, number, reduce_only=False),))


def _trim(trade: Trade, market: Market, ahead: LegPlan, behind: LegPlan, since: datetime) -> Step:
    """Take back what the leading leg is ahead. A residue too small to trade stays when it is small, else both legs
    go."""
    trims = _repairs(trade, reduce_only=True)
    if len(trims) >= TRIMS_MAX:
        return Note(TradeSuspended(market.now, "the leading leg could be neither completed nor trimmed back"))
    pause = _pause_until(trims[0] if trims else (), len(trims))
    if pause is not None and market.now < pause:
        return Wait("the next trim is not due", pause)
    if _usable_quote(market, ahead.coin) is None:
        return Wait(f"no price for {ahead.coin}")
    held = trade.filled(ahead.coin)
    level = trade.filled(behind.coin) * ahead.quantity / behind.quantity
    step = market.instruments[ahead.coin].quantity_step
    excess = held if level == 0 else Quantity(floor_to_step(held - level, step))
    legs = [(ahead, excess)]
    if excess < held and _close_band(market, ahead.coin, ahead.side.opposite, excess, len(trims)) is None:
        if excess <= RESIDUE_SHARE_MAX * ahead.quantity:
            return Note(LegsBalanced(market.now))
        legs = [(leg, trade.filled(leg.coin)) for leg in (ahead, behind)]
    orders = tuple(
        _reducing_order(trade, market, leg, quantity, len(trims), trade.orders[-1].slice_number)
        for leg, wanted in legs
        if _usable_quote(market, leg.coin) is not None and (quantity := _clamped(market, leg.coin, wanted)) > 0
    )
    if orders:
        return Send(orders)
    if market.now - since > TRIM_PATIENCE:
        return Note(TradeSuspended(market.now, f"the venue holds no {ahead.coin} that could be trimmed back"))
    return Wait(f"the venue holds no {ahead.coin} to trim", since + TRIM_PATIENCE)


def _take_back(trade: Trade, market: Market) -> Step | None:
    """Back to what was asked for, where the venue has filled far more; None when there is nothing to take back."""
    over = [(leg, excess) for leg in trade.terms.legs if (excess := overfill_of(trade, leg.coin))]
    if not over:
        return None
    tries = sum(1 for event in trade.events if isinstance(event, OrdersIntended) and event.orders[0].reduce_only)
    if tries >= TRIMS_MAX:
        return Note(TradeSuspended(market.now, "more was filled than asked for, and it could not be taken back"))
    pause = _pause_until(trade.orders, tries)
    if pause is not None and market.now < pause:
        return Wait("the next try to take back is not due", pause)
    orders = tuple(
        _reducing_order(trade, market, leg, quantity, tries, trade.orders[-1].slice_number)
        for leg, excess in over
        if _usable_quote(market, leg.coin) is not None and (quantity := _clamped(market, leg.coin, excess)) > 0
    )
    return Send(orders) if orders else Wait("no price to take back what was filled beyond what was asked for")


# --- closing ---------------------------------------------------------------------------------------------------------


def _next_of_close(trade: Trade, market: Market, policy: Policy) -> Step:
    outstanding = {leg.coin: market.outstanding.get(leg.coin, Quantity(ZERO)) for leg in trade.terms.legs}
    flat = all(quantity <= 0 for quantity in outstanding.values())
    slowly = not flat and policy.trading_state is not TradingState.LIQUIDATING and keeps_pace(trade, market.now)
    tolerance = _tolerance(trade, market, closely=False)
    level = flat or (tolerance is not None and abs(imbalance_of(trade)) <= tolerance)
    judged = level or tolerance is None or (slowly and _found_level(trade))
    if trade.status is TradeStatus.WORKING and not judged:
        return Note(LegsUnbalanced(market.now, imbalance_of(trade)))
    if trade.status is TradeStatus.REPAIRING and level:
        return Note(LegsBalanced(market.now))
    if not flat:
        gone = _gone(trade, market, outstanding)
        if gone is not None:
            return Note(gone)
        return _send_part(trade, market, outstanding) if slowly else _send_rest(trade, market, outstanding)
    if market.opening_live:
        return Wait("the opening trade has not ended")
    if trade.anything_filled:
        return Note(TradeFilled(market.now))
    return Note(TradeCanceled(market.now, "there was nothing left to close"))


def _send_part(trade: Trade, market: Market, outstanding: Mapping[Coin, Quantity]) -> Step:
    """The next slice of a CLOSE, once the legs are level and it is due. It is not held to its arrival: what a close
    waits for is time, not a price."""
    if trade.status is TradeStatus.REPAIRING:
        return _even_out(trade, market, outstanding)
    number = next_slice_number(trade)
    due = due_at(trade, number)
    if market.now < due:
        return Wait("the next slice is not due", due)
    quotes = _quotes(trade, market)
    if quotes is None:
        return Wait("no price on both legs")
    legs = trade.terms.legs
    all_of_it = {leg.coin: _clamped(market, leg.coin, outstanding[leg.coin]) for leg in legs}
    parts = {
        leg.coin: all_of_it[leg.coin]
        if number == len(trade.terms.slices)
        else min(all_of_it[leg.coin], _part(trade, market, leg, number))
        for leg in legs
    }
    rest = [Quantity(all_of_it[leg.coin] - parts[leg.coin]) for leg in legs]
    small = _under_minimum(trade, market, list(parts.values()))
    if not all(parts.values()) or small or (any(rest) and _under_minimum(trade, market, rest)):
        return _send_rest(trade, market, outstanding)
    band = trade.terms.slippage_max
    orders = tuple(_order(trade, market, leg, parts[leg.coin], band, number, reduce_only=True) for leg in legs)
    return Send(orders, _mids(trade, quotes))


def _even_out(trade: Trade, market: Market, outstanding: Mapping[Coin, Quantity]) -> Step:
    """What the lagging leg of a CLOSE in slices is behind, in bands that widen; less than the venue takes is left to
    the next slice."""
    long, short = trade.terms.legs
    ahead, behind = (long, short) if imbalance_of(trade) > 0 else (short, long)
    tries = _repairs(trade, reduce_only=True)
    pause = _pause_until(tries[0] if tries else (), len(tries))
    if pause is not None and market.now < pause:
        return Wait("the next attempt to even out is not due", pause)
    if _usable_quote(market, behind.coin) is None:
        return Wait(f"no price for {behind.coin}")
    wanted = trade.filled(ahead.coin) * behind.quantity / ahead.quantity - trade.filled(behind.coin)
    missing = _clamped(market, behind.coin, Quantity(min(wanted, outstanding[behind.coin])))
    if missing <= 0 or _close_band(market, behind.coin, behind.side, missing, len(tries)) is None:
        return Note(LegsBalanced(market.now))
    number = trade.orders[-1].slice_number
    return Send((_reducing_order(trade, market, behind, missing, len(tries), number),))


def _send_rest(trade: Trade, market: Market, outstanding: Mapping[Coin, Quantity]) -> Step:
    """Everything that is left of both legs, in a band that widens to the last and then stays, every few seconds for
    ever."""
    stuck = _stuck(trade, market, outstanding)
    if stuck is not None:
        return Note(stuck)
    rounds = close_rounds(trade)
    pause = _pause_until(trade.orders, rounds)
    if pause is not None and market.now < pause:
        return Wait("the next attempt to close is not due", pause)
    number, orders = scheduled_of_close(trade) + rounds + 1, []
    for leg in trade.terms.legs:
        quantity = _clamped(market, leg.coin, outstanding[leg.coin])
        if not market.opening_live and _vanished(market, leg.coin) and _denied_at(trade, market, leg.coin) is None:
            # The venue's own refusal is the second witness: an order that only reduces does nothing where nothing is.
            quantity = outstanding[leg.coin]
        if quantity > 0 and _may_be_closed(market, leg, quantity, rounds):
            orders.append(_reducing_order(trade, market, leg, quantity, rounds, number))
    return Send(tuple(orders)) if orders else Wait("nothing that the venue would take is left to close")


def _gone(trade: Trade, market: Market, outstanding: Mapping[Coin, Quantity]) -> HoldingGone | None:
    """A leg of which the venue holds nothing by two witnesses: its refusal to reduce, and a reading two seconds later.

    Already flat is success; what remains to be said is that other hands did it.
    """
    if market.opening_live:
        return None
    for leg in trade.terms.legs:
        quote, denied_at = _usable_quote(market, leg.coin), _denied_at(trade, market, leg.coin)
        if outstanding[leg.coin] <= 0 or quote is None or denied_at is None or not _vanished(market, leg.coin):
            continue
        if market.now - denied_at >= GONE_PATIENCE:
            why = "the venue holds none of it and refuses to reduce it"
            return HoldingGone(market.now, leg.coin, outstanding[leg.coin], quote.mark, why)
    return None


def _stuck(trade: Trade, market: Market, outstanding: Mapping[Coin, Quantity]) -> HoldingGone | None:
    """What a close has had nothing to send for in a minute and never will: it is written off, or the close, and an
    emergency stop with it, would never end.

    Either the venue holds no more of the coin than other positions own, so that ours was taken by other hands; or it is
    a residue under the venue's minimum beside what somebody else holds in the account, neither enough nor all of it; or
    the coin was delisted and settled, and has no price to send an order at.
    """
    since = max(trade.last_sent_at or trade.terms.accepted_at, rest_since(trade))
    if market.opening_live or market.whole is None or market.now - since < STUCK_PATIENCE:
        return None
    for leg in trade.terms.legs:
        quote, quantity = _usable_quote(market, leg.coin), outstanding[leg.coin]
        why = _why_stuck(market, leg, quantity) if quantity > 0 else ""
        if quote is not None and why:
            return HoldingGone(market.now, leg.coin, quantity, quote.mark, why)
        if quantity > 0 and _vanished(market, leg.coin) and _is_unlisted(market, leg.coin):
            return HoldingGone(market.now, leg.coin, quantity, leg.arrival_price, UNLISTED)
    return None


def _why_stuck(market: Market, leg: LegPlan, quantity: Quantity) -> str:
    """Why *quantity* of a coin that the account does hold cannot leave; empty when it can."""
    if _vanished(market, leg.coin):
        return ""
    if leg.coin in market.dregs and not _may_be_closed(market, leg, quantity, len(CLOSE_BANDS)):
        return HANDED_ON
    if leg.coin not in market.alone:
        lost = _clamped(market, leg.coin, quantity) == 0
        return "the venue holds no more of it than other positions own" if lost else ""
    if _may_be_closed(market, leg, quantity, len(CLOSE_BANDS)):
        return ""
    return LEFT_TO_OTHERS


def _is_unlisted(market: Market, coin: Coin) -> bool:
    """Whether the venue's list was read and says that it takes no order of the coin any more."""
    instrument = market.instruments.get(coin)
    return instrument is not None and instrument.delisted


def _vanished(market: Market, coin: Coin) -> bool:
    """The account was read and holds nothing of the coin."""
    return market.whole is not None and market.whole.get(coin) == 0


def _denied_at(trade: Trade, market: Market, coin: Coin) -> datetime | None:
    """When the venue refused the trade's last order of the coin because there was nothing to reduce; None otherwise.

    A refusal from before the opening had ended says nothing of what has been filled since. It is told by the venue's
    clock, or by ours; but no order was refused before it was meant, and that is by ours, as the opening's end is.
    """
    last = next((one for one in reversed(trade.orders) if one.coin == coin), None)
    if last is None:
        return None
    report = trade.report_of(last)
    denied_at = max(report.reported_at, last.intended_at)
    too_early = market.opened_until is not None and denied_at < market.opened_until
    return denied_at if report.reason is RejectReason.REDUCE_ONLY and not too_early else None


def _may_be_closed(market: Market, leg: LegPlan, quantity: Quantity, rounds: int) -> bool:
    """A price to work from, and not a residue under the minimum that would leave others' part of the coin behind."""
    if _usable_quote(market, leg.coin) is None:
        return False
    whole = (market.whole or {}).get(leg.coin)
    if whole is None or quantity >= whole:
        return True
    return _close_band(market, leg.coin, leg.side, quantity, rounds) is not None


def _close_band(market: Market, coin: Coin, side: Side, quantity: Quantity, rounds: int) -> Ratio | None:
    """The widest band due after *rounds* in which the order still reaches the venue's minimum; None when there is
    none."""
    due = CLOSE_BANDS[: rounds + 1]
    return next((band for band in reversed(due) if _reaches_minimum(market, coin, side, quantity, band)), None)


def _pause_until(orders: Sequence[Order], rounds: int) -> datetime | None:
    """The first tries follow each other at once; from the last band on there is a pause between them."""
    return orders[-1].intended_at + CLOSE_PAUSE if rounds >= len(CLOSE_BANDS) else None


# --- orders ----------------------------------------------------------------------------------------------------------


def _quotes(trade: Trade, market: Market) -> tuple[Quote, Quote] | None:
    long, short = (_usable_quote(market, leg.coin) for leg in trade.terms.legs)
    return None if long is None or short is None else (long, short)


def _fresh_quotes(trade: Trade, market: Market) -> tuple[Quote, Quote] | None:
    quotes = _quotes(trade, market)
    fresh = quotes is not None and all(market.now - one.taken_at <= ENTRY_QUOTE_AGE_MAX for one in quotes)
    return quotes if fresh else None


def _usable_quote(market: Market, coin: Coin) -> Quote | None:
    """A price that an order of *coin* can be made from, lots and price grid known as well."""
    quote = market.quotes.get(coin)
    return quote if quote is not None and quote.usable and coin in market.instruments else None


def _touch(quote: Quote, side: Side) -> Price:
    return quote.ask if side is Side.BUY else quote.bid


def _limit(market: Market, coin: Coin, side: Side, band: Ratio) -> Price:
    return known_limit(_touch(market.quotes[coin], side), side, band, market.instruments[coin].price_decimals_max)


def _reaches_minimum(market: Market, coin: Coin, side: Side, quantity: Quantity, band: Ratio) -> bool:
    """The venue measures an order at its limit price (Hyperliquid); what the touch makes of it must do as well."""
    price = min(_touch(market.quotes[coin], side), _limit(market, coin, side, band))
    return quantity * price >= market.instruments[coin].notional_min


def _clamped(market: Market, coin: Coin, wanted: Quantity) -> Quantity:
    """At most what the venue holds, rounded down to its lots; what was not read does not clamp."""
    available = market.available.get(coin, wanted)
    instrument = market.instruments.get(coin)
    quantity = max(min(wanted, available), ZERO)
    return Quantity(floor_to_step(quantity, instrument.quantity_step) if instrument is not None else quantity)


def _reducing_order(trade: Trade, market: Market, leg: LegPlan, quantity: Quantity, rounds: int, number: int) -> Order:
    """A reduce-only order in the band due after *rounds*, narrower where only that reaches the venue's minimum."""
    side = leg.side.opposite if trade.opens else leg.side
    widest = CLOSE_BANDS[min(rounds, len(CLOSE_BANDS) - 1)]
    band = _close_band(market, leg.coin, side, quantity, rounds) or widest
    return _order(trade, market, leg, quantity, band, number, reduce_only=True)


def _order(
    trade: Trade, market: Market, leg: LegPlan, quantity: Quantity, band: Ratio, number: int, *, reduce_only: bool
) -> Order:
    side = leg.side.opposite if trade.opens and reduce_only else leg.side
    attempt = sum(1 for one in trade.orders if one.slice_number == number and one.coin == leg.coin)
    return Order(
        client_order_id=client_order_id(trade.id, number, leg.coin, attempt),
        coin=leg.coin,
        side=side,
        quantity=quantity,
        limit_price=_limit(market, leg.coin, side, band),
        reduce_only=reduce_only,
        slice_number=number,
        attempt=attempt,
        intended_at=market.now,
        expires_at=market.now + (CLOSE_TTL if reduce_only else ENTRY_TTL),
        mid=market.quotes[leg.coin].mid,
    )
