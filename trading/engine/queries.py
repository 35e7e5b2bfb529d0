"""What the desk shows, as records whose field names are the API's JSON names. Reads only; nothing here decides
anything."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from functools import partial

from trading.domain.book import Book
from trading.domain.desk_state import DeskState, TradingState
from trading.domain.errors import Busy, StoreCorrupt, VenueUnavailable
from trading.domain.market import Account
from trading.domain.naked import naked_in_all
from trading.domain.positions import Position, PositionStatus
from trading.domain.trades import Naked
from trading.domain.units import ZERO, Coin, PositionId, TradeId, Usd
from trading.engine import planning
from trading.engine.accounting import DAYS_DEFAULT, AccountHistory, history, since_of
from trading.engine.desk import Desk
from trading.engine.patience import patient
from trading.engine.records import NakedView, PositionView, TradeView, position_view, trade_view
from trading.engine.recovery import Drift, drifts, foreign_holdings
from trading.engine.terms import DeskTerms, terms_of
from trading.engine.timeline import timeline
from trading.engine.valuing import (
    Mark,
    coins_of,
    decode_mark,
    distance_of,
    mark_key,
    mark_of,
    read_prices,
)
from trading.utils.risk_controls import Headroom, headroom

CACHED_MARK_AGE_MAX = timedelta(seconds=5)
CLOSED_VIEWS_MAX = 250


@dataclass(frozen=True, slots=True)
class Portfolio:
    """The account and what is left of each limit. Money in USD; None where the venue could not be read.

    `naked_exposure` is what all positions together hold unmatched now, `naked_today` the most of it at any instant
    since midnight UTC, and its integral. `daily_loss` is what counts towards `max_daily_loss`, as a fraction: a resume
    from a daily loss begins it anew, `today_pnl` goes on.
    """

    equity: Usd | None
    margin_used: Usd | None
    margin_available: Usd | None
    gross_exposure: Decimal | None
    net_exposure: Decimal | None
    open_positions: int
    limits: tuple[Headroom, ...]
    foreign_holdings: Mapping[Coin, Decimal]
    drifts: tuple[Drift, ...]
    accepted_drift: Mapping[Coin, Decimal]
    naked_exposure: Decimal
    naked_today: NakedView
    today_pnl: Decimal | None
    today_since: datetime | None
    daily_loss: Decimal | None
    trading_state: TradingState
    causes: tuple[str, ...]
    realized_pnl: Decimal
    unrealized_pnl: Decimal | None
    fees: Decimal
    funding: Decimal
    history: AccountHistory | None
    terms: DeskTerms
    taken_at: datetime


def positions(
    desk: Desk, status: PositionStatus | None, limit: int, before: PositionId | None
) -> tuple[tuple[PositionView, ...], int]:
    """Newest first, and how many there are in all with that status. Raises PositionNotFound for an unknown *before*;
    it may be of any status, for statuses change between two pages."""
    book = desk.store.book()
    found, total = book.page_of_positions(limit, before, status)
    return _viewed(patient(desk), book, list(found)), total


def position(desk: Desk, position_id: PositionId, *, just_made: bool = False) -> PositionView:
    """Raises PositionNotFound. One that was *just_made* is marked at the process's own prices: the monitor has not
    looked at it yet; and nobody is patient for it, since whoever has made it is worked beside his caller."""
    book = desk.store.book()
    shown = desk if just_made else patient(desk)
    return _viewed(shown, book, [book.position(position_id)], cached=not just_made)[0]


def unmarked_position(desk: Desk, position_id: PositionId) -> PositionView:
    """By the book alone, for whoever has no time left to ask the venue or the cache. Raises PositionNotFound."""
    book = desk.store.book()
    return position_view(book, book.position(position_id), None, desk.clock.now())


def trades(desk: Desk, limit: int, before: TradeId | None) -> tuple[tuple[TradeView, ...], int]:
    """Newest first, and how many there are in all. Raises TradeNotFound for an unknown *before*."""
    found, total = desk.store.book().page_of_trades(limit, before)
    now = desk.clock.now()
    return tuple(trade_view(one, now) for one in found), total


def trade(desk: Desk, trade_id: TradeId) -> TradeView:
    """With the whole timeline. Raises TradeNotFound."""
    found = desk.store.book().trade(trade_id)
    return replace(trade_view(found, desk.clock.now()), timeline=timeline(desk, found))


def portfolio(desk: Desk, days: int | None = DAYS_DEFAULT) -> Portfolio:
    """The account against the limits, and what the last *days* made, today counted; without that where *days* is None,
    for it looks into each position of a month. Raises InvalidRequest.

    A venue that cannot be read leaves its numbers unknown, and so does an account log that cannot be trusted.
    """
    desk = patient(desk)
    if days is not None:
        since_of(desk.clock.now(), days)
    book, state, now = desk.store.book(), desk.store.state(), desk.clock.now()
    standing = book.standing_positions()
    views = _viewed(desk, book, list(standing))
    try:
        account: Account | None = desk.venue.account()
    except VenueUnavailable:
        account = None
    exposure = None if account is None else planning.exposure_of(desk, book, account)
    longs, shorts = [view.long.notional for view in views], [view.short.notional for view in views]
    long, short = _total(longs), _total(shorts)
    ever, naked = book.sums(), _naked_today(book, now)
    return Portfolio(
        equity=account.equity if account else None,
        margin_used=account.margin_used if account else None,
        margin_available=account.margin_available if account else None,
        gross_exposure=_total([*longs, *shorts]),
        net_exposure=None if long is None or short is None else long - short,
        open_positions=len(standing),
        limits=() if exposure is None else headroom(None, exposure, planning.limits_of(desk)),
        foreign_holdings={} if account is None else dict(foreign_holdings(book, account)),
        drifts=() if account is None else drifts(book, account, state, desk.venue.traits),
        accepted_drift=dict(state.accepted_drift),
        naked_exposure=naked.now,
        naked_today=NakedView(naked.max, naked.usd_seconds),
        today_pnl=state.made_today(account.equity) if account else None,
        today_since=_midnight(state.baseline_day),
        daily_loss=_daily_loss(state, account),
        trading_state=state.state,
        causes=tuple(sorted(state.causes)),
        realized_pnl=ever.realized,
        unrealized_pnl=_total([view.unrealized_pnl for view in views]),
        fees=ever.fees,
        funding=ever.funding,
        history=None if days is None else _history(desk, book, now, days, views),
        terms=terms_of(desk),
        taken_at=now,
    )


def _daily_loss(state: DeskState, account: Account | None) -> Decimal | None:
    base = state.day_base
    return None if account is None or base is None or base <= 0 else max((base - account.equity) / base, ZERO)


def _history(desk: Desk, book: Book, now: datetime, days: int, views: Sequence[PositionView]) -> AccountHistory | None:
    try:
        return history(book, desk.accounts, now, days, {view.position_id: view.unrealized_pnl for view in views})
    except (StoreCorrupt, Busy):
        return None


class _Kept:
    """Views of closed positions, which change no more: as long as the book has the very same position, so long its view
    holds. Late fees, funding and an outcome that is told make the book project it anew."""

    def __init__(self) -> None:
        self._views: dict[PositionId, tuple[Position, PositionView]] = {}

    def get(self, position: Position, make: Callable[[], PositionView]) -> PositionView:
        known = self._views.get(position.id)
        if known is not None and known[0] is position:
            return known[1]
        view = make()
        if len(self._views) >= CLOSED_VIEWS_MAX:
            self._views.clear()
        self._views[position.id] = position, view
        return view


_closed = _Kept()


def _viewed(desk: Desk, book: Book, found: list[Position], *, cached: bool = True) -> tuple[PositionView, ...]:
    marks, now = _marks(desk, [one for one in found if not one.closed], cached=cached), desk.clock.now()
    return tuple(
        _closed.get(one, partial(position_view, book, one, None, now))
        if one.closed
        else position_view(book, one, marks.get(one.id), now)
        for one in found
    )


def _marks(desk: Desk, standing: list[Position], *, cached: bool) -> dict[PositionId, Mark]:
    """The monitor's marks, if they may be *cached* ones; where it has none that is fresh, the process's own look.

    A live venue's requests are counted: what the monitor has read a moment ago is not asked for again to be shown.
    """
    if not standing:
        return {}
    now = desk.clock.now()
    known = desk.cache.get_many([mark_key(one) for one in standing]) if cached else {}
    marks = {}
    for position in standing:
        mark = decode_mark(known.get(mark_key(position)))
        if mark is not None and abs(now - mark.taken_at) <= CACHED_MARK_AGE_MAX:
            marks[position.id] = mark
    unmarked = [one for one in standing if one.id not in marks]
    if unmarked:
        prices, account = read_prices(desk, coins_of(unmarked)), _account(desk)
        for position in unmarked:
            mark = mark_of(desk, position, prices, now)
            if mark is not None:
                distance = None if account is None else distance_of(position, account, prices.quotes)
                marks[position.id] = replace(mark, liquidation_distance=distance)
    return marks


def _account(desk: Desk) -> Account | None:
    try:
        return desk.venue.account()
    except VenueUnavailable:
        return None


def _naked_today(book: Book, now: datetime) -> Naked:
    """Of all that stands and all that was closed since midnight UTC. Most were never naked and cost nothing."""
    midnight = datetime.combine(now.astimezone(UTC).date(), time(), UTC)
    concerned = (
        (book.trades_of_position(one.id), one.exited_at)
        for one in book.positions()
        if one.naked_max and (one.exited_at is None or one.exited_at >= midnight)
    )
    return naked_in_all(concerned, midnight, now)


def _total(amounts: Sequence[Decimal | None]) -> Decimal | None:
    """The sum; None when a part of it is unknown."""
    known = [one for one in amounts if one is not None]
    return sum(known, ZERO) if len(known) == len(amounts) else None


def _midnight(day: date | None) -> datetime | None:
    return None if day is None else datetime.combine(day, time(), UTC)
