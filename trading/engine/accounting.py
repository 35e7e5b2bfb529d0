"""The desk's money from its own records: what each fill and each hour of funding moved, summed by UTC day, by pair
and by the reason of an exit.

The law: every table is a sum of the same moves, so their totals agree to the last digit; an unknown price makes
no number.
"""

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Protocol, TypeVar

from trading.domain.accounts import EquityPoint, FundingShare, funded_to, funding_complete, hour_of
from trading.domain.book import Book
from trading.domain.errors import InvalidRequest
from trading.domain.exit_plan import ExitReason
from trading.domain.market import FundingPayment, Pair
from trading.domain.positions import Leg, Position
from trading.domain.trades import Trade
from trading.domain.units import ZERO, Coin, PositionId, Usd
from trading.engine.holdings import Fill, back_to, decided_until, fills_of, holdings_at, split

DAYS_DEFAULT = 7
DAYS_MAX = 366
POINTS_MAX = 1_000
PAIRS_MAX = 500
BASIS_POINTS = Decimal(10_000)
FUNDING_GIVEN_UP_AFTER = timedelta(days=7)
LISTED_AFTER = timedelta(seconds=30)
"""The venue pays on the hour and lists it a little later: an hour asked for too soon would read as one without
payment."""

Key = TypeVar("Key", bound=Hashable)


class AccountLog(Protocol):
    """Equity and funding by the hour, durable. Writing the same twice is writing it once. Raises StoreCorrupt."""

    def keep_equity(self, point: EquityPoint) -> None:
        """Synced. The last point of an hour is the hour's."""

    def keep_funding(self, shares: Sequence[FundingShare]) -> None:
        """Synced."""

    def equity(self, since: datetime, until: datetime) -> tuple[EquityPoint, ...]:
        """The points with since <= taken_at <= until, oldest first."""

    def funding(self, since: datetime, until: datetime) -> tuple[FundingShare, ...]:
        """The shares with since <= paid_at <= until, oldest first."""


class NothingKept:
    """An AccountLog for a desk that needs no history: it remembers nothing and says so."""

    def keep_equity(self, point: EquityPoint) -> None: ...

    def keep_funding(self, shares: Sequence[FundingShare]) -> None: ...

    def equity(self, since: datetime, until: datetime) -> tuple[EquityPoint, ...]:
        return ()

    def funding(self, since: datetime, until: datetime) -> tuple[FundingShare, ...]:
        return ()


@dataclass(frozen=True, slots=True)
class Money:
    """Sums in USD: fees and funding positive when paid, `slippage` positive when worse than arrival.

    `realized` is gross of fees and funding; `arrival` is what the turnover would have been at arrival prices.
    """

    turnover: Decimal = ZERO
    realized: Decimal = ZERO
    fees: Decimal = ZERO
    funding: Decimal = ZERO
    slippage: Decimal = ZERO
    arrival: Decimal = ZERO

    def __add__(self, other: "Money") -> "Money":
        return Money(
            self.turnover + other.turnover,
            self.realized + other.realized,
            self.fees + other.fees,
            self.funding + other.funding,
            self.slippage + other.slippage,
            self.arrival + other.arrival,
        )

    @property
    def net(self) -> Decimal:
        """Realized less fees and funding."""
        return self.realized - self.fees - self.funding

    @property
    def slippage_bps(self) -> Decimal | None:
        """Slippage in basis points of the turnover at arrival prices; None without a fill."""
        return self.slippage / self.arrival * BASIS_POINTS if self.arrival else None


NOTHING = Money()


@dataclass(frozen=True, slots=True)
class Move:
    """One movement of money of one leg: a fill, or the funding of an hour."""

    position_id: PositionId
    pair: Pair
    coin: Coin
    at: datetime
    money: Money

    @property
    def day(self) -> date:
        """The UTC day it belongs to."""
        return self.at.astimezone(UTC).date()


@dataclass(frozen=True, slots=True)
class DayLine:
    """One UTC day. `pnl` is net of fees and funding, without what is unrealized."""

    day: date
    realized_pnl: Decimal
    fees: Decimal
    funding: Decimal
    pnl: Decimal
    turnover: Decimal
    slippage_usd: Decimal
    slippage_bps: Decimal | None


@dataclass(frozen=True, slots=True)
class PairLine:
    """One pair over the days asked for. `closed` positions ended in them, `won` of these with a profit after costs."""

    pair: str
    open: int
    closed: int
    won: int
    realized_pnl: Decimal
    unrealized_pnl: Decimal | None
    fees: Decimal
    funding: Decimal
    pnl: Decimal
    turnover: Decimal
    slippage_usd: Decimal
    slippage_bps: Decimal | None


@dataclass(frozen=True, slots=True)
class ReasonLine:
    """The positions that ended for one reason in the days asked for; `won` of them with a profit after costs. Their
    money is that of those days."""

    exit_reason: ExitReason
    closed: int
    won: int
    realized_pnl: Decimal
    fees: Decimal
    funding: Decimal
    pnl: Decimal
    turnover: Decimal
    slippage_usd: Decimal
    slippage_bps: Decimal | None


@dataclass(frozen=True, slots=True)
class AccountHistory:
    """What `/api/portfolio` says of the last days, today included: `days` newest first, `equity_curve` oldest
    first."""

    since: datetime
    today: DayLine
    days: tuple[DayLine, ...]
    pairs: tuple[PairLine, ...]
    reasons: tuple[ReasonLine, ...]
    equity_curve: tuple[EquityPoint, ...]


# Moves ----------------------------------------------------------------------------------------------------------------


def moves_of(position: Position, trades: Iterable[Trade], shares: Iterable[FundingShare] = ()) -> Iterator[Move]:
    """Every movement of *position*, whose *trades* and funding *shares* these are.

    A fill that reduces is realized against the leg's average entry, as `Position` has it. Funding that *shares* do not
    tell by the hour counts at the last instant at which it can have been paid: the exit, or the newest event.
    """
    latest = position.entered_at
    for trade in trades:
        latest = max(latest, trade.events[-1].at)
        for fill in fills_of(trade):
            leg = position.leg_of(fill.coin)
            yield Move(position.id, position.pair, leg.coin, fill.filled_at, _money_of(fill, leg))
    left = {leg.coin: leg.funding for leg in position.legs}
    for share in shares:
        left[share.coin] = Usd(left[share.coin] - share.amount)
        yield Move(position.id, position.pair, share.coin, share.paid_at, Money(funding=share.amount))
    for coin, amount in left.items():
        if amount:
            yield Move(position.id, position.pair, coin, position.exited_at or latest, Money(funding=amount))


def _money_of(fill: Fill, leg: Leg) -> Money:
    entry = leg.entry_price
    realized = ZERO
    if fill.reduces and entry is not None:
        realized = (fill.notional - fill.quantity * entry) * leg.side.sign
    arrival = fill.quantity * fill.arrival_price
    return Money(
        turnover=fill.notional,
        realized=realized,
        fees=fill.fees,
        slippage=(fill.notional - arrival) * fill.side.sign,
        arrival=arrival,
    )


# Tables ---------------------------------------------------------------------------------------------------------------


def since_of(now: datetime, days: int = DAYS_DEFAULT) -> datetime:
    """The UTC midnight at which the last *days* began, today counted. Raises InvalidRequest naming `days`."""
    if not 1 <= days <= DAYS_MAX:
        raise InvalidRequest({"days": f"must be a whole number from 1 to {DAYS_MAX}"})
    return datetime.combine(now.astimezone(UTC).date() - timedelta(days=days - 1), time(), UTC)


def history(
    book: Book, log: AccountLog, now: datetime, days: int, unrealized: Mapping[PositionId, Decimal | None]
) -> AccountHistory:
    """The tables of the last *days*, today counted. Raises InvalidRequest naming `days`, StoreCorrupt.

    Only positions that stood in those days are looked into, so the cost is that of the days asked for; one that had
    stood for longer than HELD_MAX before them and is archived by now is not found. *unrealized* has the standing
    positions' present value, None where it is unknown.
    """
    since = since_of(now, days)
    positions = [one for one in back_to(book, since) if one.exited_at is None or one.exited_at >= since]
    shares = _by_position(log.funding(min((one.entered_at for one in positions), default=since), now))
    moves: list[Move] = []
    standing: dict[Pair, list[Decimal | None]] = {}
    ended: dict[Pair, list[bool]] = {}
    left: dict[ExitReason, list[tuple[bool, Money]]] = {}
    for position in positions:
        found = moves_of(position, book.trades_of_position(position.id), shares.get(position.id, ()))
        mine = [move for move in found if move.at >= since]
        moves.extend(mine)
        if not position.closed:
            standing.setdefault(position.pair, []).append(unrealized.get(position.id))
        elif position.exit_reason is not ExitReason.NOT_FILLED:
            won = position.realized > position.fees + position.funding
            ended.setdefault(position.pair, []).append(won)
            if position.exit_reason is not None:
                money = sum((move.money for move in mine), NOTHING)
                left.setdefault(position.exit_reason, []).append((won, money))
    cells = _summed(((move.day, move.pair), move.money) for move in moves)
    by_day = _summed((day, money) for (day, _), money in cells.items())
    by_pair = _summed((pair, money) for (_, pair), money in cells.items())
    today = now.astimezone(UTC).date()
    pairs = [
        _pair_line(pair, by_pair.get(pair, NOTHING), standing.get(pair, []), ended.get(pair, []))
        for pair in dict.fromkeys([*standing, *ended, *by_pair])
    ]
    return AccountHistory(
        since=since,
        today=_day_line(today, by_day.get(today, NOTHING)),
        days=tuple(_day_line(day, by_day[day]) for day in sorted(by_day, reverse=True)),
        pairs=tuple(sorted(pairs, key=lambda line: (-line.turnover, line.pair))[:PAIRS_MAX]),
        reasons=tuple(_reason_line(reason, left[reason]) for reason in ExitReason if reason in left),
        equity_curve=thinned(log.equity(since, now), POINTS_MAX),
    )


def thinned(points: Sequence[EquityPoint], most: int) -> tuple[EquityPoint, ...]:
    """At most *most* of *points*, evenly spaced, the newest always among them."""
    stride = max(-(-len(points) // most), 1)
    return tuple(points[::-1][::stride][::-1])


def _by_position(shares: Iterable[FundingShare]) -> Mapping[PositionId, list[FundingShare]]:
    grouped: dict[PositionId, list[FundingShare]] = {}
    for share in shares:
        grouped.setdefault(share.position_id, []).append(share)
    return grouped


def _summed(amounts: Iterable[tuple[Key, Money]]) -> dict[Key, Money]:
    sums: dict[Key, Money] = {}
    for key, money in amounts:
        sums[key] = sums.get(key, NOTHING) + money
    return sums


def _day_line(day: date, money: Money) -> DayLine:
    return DayLine(
        day=day,
        realized_pnl=money.realized,
        fees=money.fees,
        funding=money.funding,
        pnl=money.net,
        turnover=money.turnover,
        slippage_usd=money.slippage,
        slippage_bps=money.slippage_bps,
    )


def _pair_line(pair: Pair, money: Money, standing: Sequence[Decimal | None], ended: Sequence[bool]) -> PairLine:
    return PairLine(
        pair=str(pair),
        open=len(standing),
        closed=len(ended),
        won=sum(ended),
        realized_pnl=money.realized,
        unrealized_pnl=_sum_known(standing),
        fees=money.fees,
        funding=money.funding,
        pnl=money.net,
        turnover=money.turnover,
        slippage_usd=money.slippage,
        slippage_bps=money.slippage_bps,
    )


def _reason_line(reason: ExitReason, ended: Sequence[tuple[bool, Money]]) -> ReasonLine:
    money = sum((one for _, one in ended), NOTHING)
    return ReasonLine(
        exit_reason=reason,
        closed=len(ended),
        won=sum(won for won, _ in ended),
        realized_pnl=money.realized,
        fees=money.fees,
        funding=money.funding,
        pnl=money.net,
        turnover=money.turnover,
        slippage_usd=money.slippage,
        slippage_bps=money.slippage_bps,
    )


def _sum_known(amounts: Iterable[Decimal | None]) -> Decimal | None:
    total = ZERO
    for amount in amounts:
        if amount is None:
            return None
        total += amount
    return total


# Funding --------------------------------------------------------------------------------------------------------------


def funding_until(book: Book, position: Position, now: datetime) -> datetime:
    """The last full hour whose funding of *position* can be told: listed by the venue, not after the exit, and with
    nobody's holding of its coins in doubt."""
    coins = tuple(leg.coin for leg in position.legs)
    return hour_of(decided_until(book, coins, min(position.exited_at or now, now - LISTED_AFTER)))


def funding_shares(book: Book, position: Position, payments: Iterable[FundingPayment]) -> tuple[FundingShare, ...]:
    """What of *payments* is *position*'s, by what everybody held at each payment's instant."""
    shares = []
    for payment in payments:
        part = split(payment, holdings_at(book, payment)).get(position.id)
        if part is not None:
            shares.append(FundingShare(position.id, payment.coin, payment.paid_at, part))
    return tuple(shares)


def unfunded(book: Book, positions: Iterable[Position], now: datetime) -> tuple[Position, ...]:
    """Those of *positions* with an hour due; closed ones too, for an exit does not wait for the hours before it.

    After a week a closed position is left alone: no venue would still tell.
    """
    return tuple(
        position
        for position in positions
        if (position.exited_at is None or now - position.exited_at <= FUNDING_GIVEN_UP_AFTER)
        and not funding_complete(position, book.watch(position.id))
        and funding_until(book, position, now) > funded_to(position, book.watch(position.id))
    )
