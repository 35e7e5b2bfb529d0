"""The limits of the desk: every breach of an intended entry at once, and what is left of each limit.

Pure, and about openings only: closing needs nobody's permission. At a limit exactly is allowed. What cannot be
measured because another breach stands in the way is left out, never guessed; what is missing without such a reason is
a breach.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import NamedTuple

from trading.domain.errors import InvalidNumber
from trading.domain.market import Instrument, Pair, Quote
from trading.domain.orders import Side
from trading.domain.units import ZERO, Coin, Number, Price, Quantity, Ratio, Usd, exact, positive

AMOUNT_MAX = Decimal("1e15")
AMOUNT_MIN = Decimal("1e-12")
NOTHING = Usd(ZERO)
ALLOCATION_DEFAULT = Ratio(Decimal("0.30"))
PORTFOLIO_DEFAULT = Usd(Decimal(100))
RESERVE_DEFAULT = Ratio(Decimal("0.05"))
SPREAD_DEFAULT = Ratio(Decimal("0.005"))
COST_SHARE_DEFAULT = Ratio(Decimal("0.30"))


class BreachCode(StrEnum):
    """The words of a RISK_DENIED answer."""

    POSITIONS_AT_MAXIMUM = "POSITIONS_AT_MAXIMUM"
    ALLOCATION_EXCEEDED = "ALLOCATION_EXCEEDED"
    LEVERAGE_EXCEEDED = "LEVERAGE_EXCEEDED"
    PORTFOLIO_BELOW_MINIMUM = "PORTFOLIO_BELOW_MINIMUM"
    LEG_BELOW_VENUE_MINIMUM = "LEG_BELOW_VENUE_MINIMUM"
    MARGIN_INSUFFICIENT = "MARGIN_INSUFFICIENT"
    PAIR_ALREADY_OPEN = "PAIR_ALREADY_OPEN"
    COIN_HELD_OPPOSITE = "COIN_HELD_OPPOSITE"
    LEVERAGE_CONFLICT = "LEVERAGE_CONFLICT"
    COIN_NOT_TRADABLE = "COIN_NOT_TRADABLE"
    QUOTE_STALE = "QUOTE_STALE"
    WIDE_SPREAD = "WIDE_SPREAD"
    INSUFFICIENT_DEPTH = "INSUFFICIENT_DEPTH"
    COST_TOO_HIGH = "COST_TOO_HIGH"
    COOLDOWN = "COOLDOWN"


_ORDER = {code: place for place, code in enumerate(BreachCode)}


@dataclass(frozen=True, slots=True)
class Breach:
    """One limit that forbids the entry. `limit` and `actual` are numbers where the limit is one, else words."""

    code: BreachCode
    limit: str | Decimal
    actual: str | Decimal
    detail: str


@dataclass(frozen=True, slots=True)
class Headroom:
    """One numeric limit and what it leaves: `left` below zero is a breach, zero is exactly at the limit."""

    code: BreachCode
    name: str
    limit: Decimal
    actual: Decimal
    left: Decimal
    detail: str


@dataclass(frozen=True, slots=True)
class EntryLeg:
    """One leg of an intended entry, as measured.

    `quantity` is the whole leg in coins on the lot grid, `smallest` and `largest` its smallest and largest slice; all
    None when no price was there to size it with. `fillable` is how many coins of `largest` the book gives inside the
    slippage band from the touch; None without a book.
    """

    coin: Coin
    side: Side
    instrument: Instrument | None
    quote: Quote | None
    quantity: Quantity | None = None
    smallest: Quantity | None = None
    largest: Quantity | None = None
    fillable: Quantity | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """An intended opening. `position_size` is gross USD over both legs, `stop_loss` and the rest are fractions.

    `round_trip_cost` is that of opening, by its slices, and closing all of it at once at present depth, fees included,
    over gross notional; None when it could not be measured.
    """

    pair: Pair
    long: EntryLeg
    short: EntryLeg
    position_size: Usd
    leverage: int
    stop_loss: Ratio
    taker_fee: Ratio
    slippage_max: Ratio
    round_trip_cost: Decimal | None = None

    @property
    def legs(self) -> tuple[EntryLeg, EntryLeg]:
        return (self.long, self.short)


@dataclass(frozen=True, slots=True)
class StandingPair:
    """A pair that the desk holds, or may come to hold by a trade in flight or in doubt."""

    pair: Pair
    long_coin: Coin
    short_coin: Coin
    leverage: int


@dataclass(frozen=True, slots=True)
class ForeignHolding:
    """What the account holds of a coin beyond the book: signed coins, and the coin's leverage where the venue tells."""

    quantity: Quantity
    leverage: int | None = None


@dataclass(frozen=True, slots=True)
class Exposure:
    """What is at risk already, trades in flight and in doubt counted at full size.

    `gross_usd` is the notional of all that, foreign holdings included. `margin_pending` in USD is what live openings
    may still take from `margin_available`. `cooling_until` names pairs that may not be opened before an instant.
    """

    now: datetime
    equity: Usd
    margin_available: Usd
    positions: int
    standing: tuple[StandingPair, ...] = ()
    foreign: Mapping[Coin, ForeignHolding] = field(default_factory=dict)
    gross_usd: Usd = NOTHING
    margin_pending: Usd = NOTHING
    cooling_until: Mapping[Pair, datetime] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Limits:
    """The configured bounds; shares and spreads are fractions."""

    max_positions: int = 3
    max_allocation: Ratio = ALLOCATION_DEFAULT
    max_leverage: int = 3
    min_portfolio_usd: Usd = PORTFOLIO_DEFAULT
    margin_reserve: Ratio = RESERVE_DEFAULT
    quote_age_max_seconds: Decimal = Decimal(2)
    leg_spread_max: Ratio = SPREAD_DEFAULT
    cost_share_of_stop: Ratio = COST_SHARE_DEFAULT


# The whole entry ------------------------------------------------------------------------------------------------------


def entry_breaches(entry: Entry, exposure: Exposure, limits: Limits) -> tuple[Breach, ...]:
    """Everything that forbids *entry*, in the order of the codes; empty when nothing does.

    Raises InvalidNumber where the entry or the account is described by numbers that are none.
    """
    breaches = (*book_breaches(entry, exposure, limits), *market_breaches(entry, exposure.now, limits))
    return tuple(sorted(breaches, key=lambda breach: _ORDER[breach.code]))


def book_breaches(entry: Entry, exposure: Exposure, limits: Limits) -> tuple[Breach, ...]:
    """The part that depends on the book and the account: what is checked again under the book lock."""
    _require_numbers(entry, exposure)
    return (
        *_exceeded(_book_headroom(entry, exposure, limits)),
        *_pair_taken(entry, exposure),
        *_coins_taken(entry, exposure),
        *_cooling(entry, exposure),
    )


def market_breaches(entry: Entry, now: datetime, limits: Limits) -> tuple[Breach, ...]:
    """The part that depends on the venue's list, quotes and depth at *now*."""
    found = [breach for leg in entry.legs for breach in (*_untradable(leg), *_unquoted(leg, now, limits))]
    found += _exceeded(_market_headroom(entry, now, limits))
    found += [breach for leg in entry.legs for breach in _bookless(leg, now, limits)]
    unmeasured = entry.round_trip_cost is None or any(leg.largest is None for leg in entry.legs)
    if not found and unmeasured:
        detail = "the order book is too thin to size and price a round trip"
        found.append(Breach(BreachCode.INSUFFICIENT_DEPTH, "a priced round trip", "none", detail))
    return tuple(found)


def headroom(entry: Entry | None, exposure: Exposure, limits: Limits) -> tuple[Headroom, ...]:
    """Every numeric limit with what it leaves, after *entry* if one is given. What cannot be measured is left out."""
    _require_numbers(entry, exposure)
    if entry is None:
        return tuple(_account_headroom(None, exposure, limits))
    return (*_book_headroom(entry, exposure, limits), *_market_headroom(entry, exposure.now, limits))


def _require_numbers(entry: Entry | None, exposure: Exposure) -> None:
    for name in ("equity", "margin_available", "margin_pending", "gross_usd"):
        exact(getattr(exposure, name), name)
    if entry is not None:
        for name in ("position_size", "leverage", "stop_loss"):
            positive(getattr(entry, name), name)


def _exceeded(measures: Iterator[Headroom]) -> list[Breach]:
    return [Breach(one.code, one.limit, one.actual, one.detail) for one in measures if one.left < 0]


def _at_most(code: BreachCode, name: str, limit: Decimal, actual: Decimal, detail: str) -> Headroom:
    return Headroom(code, name, limit, actual, limit - actual, detail)


def _at_least(code: BreachCode, name: str, limit: Decimal, actual: Decimal, detail: str) -> Headroom:
    return Headroom(code, name, limit, actual, actual - limit, detail)


def _book_headroom(entry: Entry, exposure: Exposure, limits: Limits) -> Iterator[Headroom]:
    # The limit of the one position before that of all together, which is of the same code: callers look at the first.
    if exposure.equity > 0:
        share = entry.position_size / exposure.equity
        detail = "gross notional of the position over equity"
        yield _at_most(BreachCode.ALLOCATION_EXCEEDED, "max_allocation", limits.max_allocation, share, detail)
    listed = [leg.instrument.leverage_max for leg in entry.legs if leg.instrument is not None]
    cap = Decimal(min([limits.max_leverage, *listed]))
    detail = "leverage of the position against the desk's and the venue's maximum"
    yield _at_most(BreachCode.LEVERAGE_EXCEEDED, "max_leverage", cap, Decimal(entry.leverage), detail)
    yield from _account_headroom(entry, exposure, limits)


def _account_headroom(entry: Entry | None, exposure: Exposure, limits: Limits) -> Iterator[Headroom]:
    size = entry.position_size if entry is not None else NOTHING
    yield Headroom(
        BreachCode.POSITIONS_AT_MAXIMUM,
        "max_positions",
        limit=Decimal(limits.max_positions),
        actual=Decimal(exposure.positions),
        left=Decimal(limits.max_positions - exposure.positions - (entry is not None)),
        detail="positions standing, in flight and in doubt",
    )
    if exposure.equity > 0:
        whole = limits.max_positions * limits.max_allocation
        detail = "gross notional of the whole account over equity"
        share = (exposure.gross_usd + size) / exposure.equity
        yield _at_most(BreachCode.ALLOCATION_EXCEEDED, "max_gross", whole, share, detail)
    yield _at_least(
        BreachCode.PORTFOLIO_BELOW_MINIMUM,
        "min_portfolio_usd",
        limits.min_portfolio_usd,
        exposure.equity,
        "equity of the account",
    )
    free = exposure.margin_available - exposure.margin_pending - limits.margin_reserve * max(exposure.equity, ZERO)
    needed = size / entry.leverage + size * entry.taker_fee if entry is not None else ZERO
    detail = "margin and entry fee against the margin that may be used"
    yield _at_most(BreachCode.MARGIN_INSUFFICIENT, "margin_usd", max(free, ZERO), needed, detail)


def _market_headroom(entry: Entry, now: datetime, limits: Limits) -> Iterator[Headroom]:
    for leg in entry.legs:
        if leg.quote is not None and _timely(leg.quote, now, limits) and _tradable(leg):
            yield from _leg_headroom(leg, leg.quote, entry.slippage_max, limits)
    if entry.round_trip_cost is not None:
        allowed = limits.cost_share_of_stop * entry.stop_loss
        detail = "cost of opening and closing at once, fees included, as a fraction of gross notional"
        yield _at_most(BreachCode.COST_TOO_HIGH, "round_trip_cost", allowed, entry.round_trip_cost, detail)


def _leg_headroom(leg: EntryLeg, quote: Quote, slippage_max: Ratio, limits: Limits) -> Iterator[Headroom]:
    spread = (quote.ask - quote.bid) / quote.mid
    detail = f"bid-ask spread of {leg.coin} over its mid"
    yield _at_most(BreachCode.WIDE_SPREAD, f"leg_spread:{leg.coin}", limits.leg_spread_max, spread, detail)
    if leg.smallest is not None and leg.instrument is not None:
        yield _at_least(
            BreachCode.LEG_BELOW_VENUE_MINIMUM,
            f"leg_notional:{leg.coin}",
            leg.instrument.notional_min,
            leg.smallest * _lowest_price(leg.side, quote, slippage_max),
            f"smallest order of {leg.coin} in USD at its limit price",
        )
    if leg.largest is not None and leg.fillable is not None:
        detail = f"largest order of {leg.coin} against what its book gives inside the slippage band"
        yield _at_most(BreachCode.INSUFFICIENT_DEPTH, f"depth:{leg.coin}", leg.fillable, leg.largest, detail)


def _lowest_price(side: Side, quote: Quote, slippage_max: Ratio) -> Price:
    """The venue measures an order at its limit price (Hyperliquid): for a SELL that is below the touch."""
    return quote.ask if side is Side.BUY else Price(quote.bid * (1 - slippage_max))


def _tradable(leg: EntryLeg) -> bool:
    return leg.instrument is not None and not leg.instrument.delisted


def _timely(quote: Quote, now: datetime, limits: Limits) -> bool:
    """A quote from the future is as bad as an old one."""
    return quote.usable and abs(_age(quote, now)) <= limits.quote_age_max_seconds


def _age(quote: Quote, now: datetime) -> Decimal:
    return Decimal(str((now - quote.taken_at).total_seconds()))


def _untradable(leg: EntryLeg) -> Iterator[Breach]:
    if not _tradable(leg):
        actual = "not listed" if leg.instrument is None else "delisted"
        yield Breach(BreachCode.COIN_NOT_TRADABLE, "listed", actual, f"{leg.coin} cannot be traded at the venue")


def _unquoted(leg: EntryLeg, now: datetime, limits: Limits) -> Iterator[Breach]:
    if not _tradable(leg):
        return
    limit, code = limits.quote_age_max_seconds, BreachCode.QUOTE_STALE
    if leg.quote is None:
        yield Breach(code, limit, "none", f"there is no quote of {leg.coin}")
    elif not leg.quote.usable:
        yield Breach(code, limit, "unusable", f"the quote of {leg.coin} is missing a price, crossed, or not a number")
    elif not _timely(leg.quote, now, limits):
        yield Breach(code, limit, _age(leg.quote, now), f"age of the quote of {leg.coin} in seconds")


def _bookless(leg: EntryLeg, now: datetime, limits: Limits) -> Iterator[Breach]:
    if not leg.largest or leg.fillable is not None or leg.quote is None:
        return
    if _tradable(leg) and _timely(leg.quote, now, limits):
        detail = f"there is no order book of {leg.coin} to measure its depth"
        yield Breach(BreachCode.INSUFFICIENT_DEPTH, "none", leg.largest, detail)


def _pair_taken(entry: Entry, exposure: Exposure) -> Iterator[Breach]:
    coins = {entry.long.coin, entry.short.coin}
    for standing in exposure.standing:
        if {standing.long_coin, standing.short_coin} == coins:
            detail = "one open position per pair, in either direction"
            yield Breach(BreachCode.PAIR_ALREADY_OPEN, "one position", str(standing.pair), detail)
            return


def _coins_taken(entry: Entry, exposure: Exposure) -> Iterator[Breach]:
    """A coin may be shared on the same side at the same leverage only: the venue nets per coin."""
    for leg in entry.legs:
        held = tuple(_held(leg.coin, exposure))
        others = [leverage for _, leverage in held if leverage not in (None, entry.leverage)]
        if any(side is leg.side.opposite for side, _ in held):
            detail = f"{leg.coin} is held on the other side"
            yield Breach(BreachCode.COIN_HELD_OPPOSITE, leg.side.value, leg.side.opposite.value, detail)
        elif others:
            detail = f"{leg.coin} is held at another leverage"
            yield Breach(BreachCode.LEVERAGE_CONFLICT, f"{others[0]}x", f"{entry.leverage}x", detail)


def _held(coin: Coin, exposure: Exposure) -> Iterator[tuple[Side, int | None]]:
    foreign = exposure.foreign.get(coin)
    if foreign is not None and foreign.quantity:
        yield (Side.BUY if foreign.quantity > 0 else Side.SELL), foreign.leverage
    for standing in exposure.standing:
        if standing.long_coin == coin:
            yield Side.BUY, standing.leverage
        if standing.short_coin == coin:
            yield Side.SELL, standing.leverage


def _cooling(entry: Entry, exposure: Exposure) -> Iterator[Breach]:
    coins = {entry.pair.base, entry.pair.quote}
    ends = [until for pair, until in exposure.cooling_until.items() if {pair.base, pair.quote} == coins]
    if ends and exposure.now < max(ends):
        detail = f"{entry.pair} rests after a losing exit"
        yield Breach(BreachCode.COOLDOWN, max(ends).isoformat(), exposure.now.isoformat(), detail)


# One limit at a time --------------------------------------------------------------------------------------------------


class Verdict(NamedTuple):
    """Whether a limit is kept, and what there is to say of it. A pair that is false itself where the limit is not kept:
    a plain one would be true either way, and a caller who forgets to take it apart would let everything pass."""

    passed: bool
    message: str

    def __bool__(self) -> bool:
        return self.passed


def validate_max_positions(current_positions: Number, max_positions: Number = 3) -> Verdict:
    """Is there room for one more position. Zero is a fair count of positions; below zero and fractions are refused."""
    limit = _whole(max_positions, "max_positions")
    current = _whole(current_positions, "current_positions") if exact(current_positions, "current_positions") else ZERO
    if current >= limit:
        return Verdict(False, f"Positions at maximum: {_plain(current)} of {_plain(limit)} are open")
    return Verdict(True, f"Positions OK: {_plain(current)} of {_plain(limit)} are open")


def validate_position_size(position_size: Number, portfolio_value: Number, max_allocation: Number = 0.30) -> Verdict:
    """Is the gross notional within its share of the portfolio."""
    size, value = _amount(position_size, "position_size"), _amount(portfolio_value, "portfolio_value")
    allocation = _amount(max_allocation, "max_allocation")
    if allocation > 1:
        raise InvalidNumber("max_allocation", "max_allocation is a fraction and must be at most one")
    limit = value * allocation
    if size > limit:
        return Verdict(
            False, f"Position size {_plain(size)} USD exceeds the maximum of {_plain(limit)} USD, the allocation limit"
        )
    return Verdict(True, f"Position size OK: {_plain(size)} of at most {_plain(limit)} USD")


def validate_leverage(leverage: Number, max_leverage: Number = 3) -> Verdict:
    """Is the leverage within its maximum."""
    used, limit = _amount(leverage, "leverage"), _amount(max_leverage, "max_leverage")
    if used > limit:
        return Verdict(False, f"Leverage {_plain(used)}x exceeds the maximum of {_plain(limit)}x")
    return Verdict(True, f"Leverage OK: {_plain(used)}x of at most {_plain(limit)}x")


def validate_portfolio_value(portfolio_value: Number, min_portfolio: Number = 100) -> Verdict:
    """Is the portfolio worth enough to trade with."""
    value, limit = _amount(portfolio_value, "portfolio_value"), _amount(min_portfolio, "min_portfolio")
    if value < limit:
        return Verdict(False, f"Portfolio value {_plain(value)} USD is below the minimum of {_plain(limit)} USD")
    return Verdict(True, f"Portfolio value OK: {_plain(value)} USD, at least {_plain(limit)}")


def validate_all_risk_controls(
    portfolio_value: Number,
    position_size: Number,
    leverage: Number,
    current_positions: Number,
    max_positions: Number = 3,
    max_allocation: Number = 0.30,
    max_leverage: Number = 3,
    min_portfolio: Number = 100,
) -> Verdict:
    """All four; the message lists every failure, not the first."""
    results = (
        validate_portfolio_value(portfolio_value, min_portfolio),
        validate_max_positions(current_positions, max_positions),
        validate_position_size(position_size, portfolio_value, max_allocation),
        validate_leverage(leverage, max_leverage),
    )
    failures = [message for passed, message in results if not passed]
    return Verdict(not failures, "; ".join(failures) or "All risk controls passed")


def _amount(value: Number, name: str) -> Decimal:
    number = positive(value, name)
    if not AMOUNT_MIN <= number <= AMOUNT_MAX:
        raise InvalidNumber(name, f"{name} must lie between {AMOUNT_MIN} and {AMOUNT_MAX}")
    return number


def _whole(value: Number, name: str) -> Decimal:
    number = _amount(value, name)
    if number != number.to_integral_value():
        raise InvalidNumber(name, f"{name} must be a whole number")
    return number


def _plain(number: Decimal) -> str:
    """Without exponent and trailing zeros."""
    return format(number.normalize(), "f")
