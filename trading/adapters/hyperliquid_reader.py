"""What Hyperliquid tells anybody who asks: market, account, fills and funding, read by the account's address alone.

The law: reads only and nothing that signs, so that a venue which trades elsewhere for the account can stand on it. What
an answer says is believed in full or not at all. Main-dex coins, cross margin.
"""

import threading
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Generic, TypeVar

from trading.adapters.asking import Asking, Patience
from trading.adapters.hyperliquid_api import HEAVY, LIGHT, ROLE, SKEW_MAX, SKEW_WARNING, HyperliquidApi, Skew
from trading.adapters.hyperliquid_budget import Lane, WeightMeter
from trading.adapters.hyperliquid_stream import PriceStream
from trading.adapters.hyperliquid_values import milliseconds, whole
from trading.adapters.hyperliquid_wire import (
    Agent,
    BookFrame,
    Fill,
    FundingRow,
    Listing,
    PerpState,
    Role,
    Transfer,
    account_fill,
    decode_agents,
    decode_book,
    decode_candles,
    decode_collateral,
    decode_fills,
    decode_funding,
    decode_listed,
    decode_marks,
    decode_meta,
    decode_role,
    decode_state,
    decode_taker_fee,
    decode_transfers,
    decode_unified,
)
from trading.domain.errors import VenueRejected, VenueUnavailable
from trading.domain.market import Account, Candle, CandleInterval, Depth, FundingPayment, Instrument, Quote, Traits
from trading.domain.orders import Order
from trading.domain.resting import AccountFill, ListedOrder, PairLine
from trading.domain.units import ZERO, Coin, Price, Quantity, Usd
from trading.ports import Clock, Log, Ticks

INSTRUMENTS_AGE_MAX_SECONDS = 300.0
# An unknown coin may have been listed since; asking for it again and again does not make the venue list it.
INSTRUMENTS_AGE_MIN_SECONDS = 15.0
ABSTRACTION_AGE_MAX_SECONDS = 60.0
# A close needs the account and prices, so these reads may use nearly all of the request budget; only what reduces may
# use the last of it. What keeps them from spending it is their pace, slower as the minute's budget fills: the shares of
# it from which on each next pace holds, and the paces. An exit may rest on a price of five seconds.
PRESSURES = (Decimal("0.35"), Decimal("0.55"), Decimal("0.75"))
ACCOUNT_AGES_SECONDS = (0.2, 1.0, 2.0, 4.0)
BOOK_AGES = tuple(timedelta(seconds=one) for one in (1.0, 2.5, 3.5, 4.5))
# The venue computes marks about every three seconds (documentation, "Robust price indices").
MARKS_AGES = tuple(timedelta(seconds=one) for one in (3, 6, 12, 20))
STALE_ACCOUNT_SECONDS_MAX = 10.0
OPENING_WEIGHT = 120
STREAM_AGE_MAX = timedelta(seconds=2)
LAST_PRICE_AGE_MAX = timedelta(seconds=60)
STREAM_WAIT_SECONDS = 0.5
# An exit of one coin does not wait longer for the price of another; who has no price at all waits for an exchange.
POLL_PATIENCE = Patience(others=1.0, alone=3.2)
LIST_PATIENCE = Patience(others=1.0, alone=1.0)
# How long a standing is waited for that follows an order of our own, before it is asked for.
STANDING_WAIT_SECONDS = 0.02
FILLS_MARGIN = timedelta(minutes=2)
FILLS_PAGE = 2000
ROWS_PAGE = 500
PAGES_MAX = 40
FILL_ROWS_PER_WEIGHT = 20
CANDLE_ROWS_PER_WEIGHT = 60
BARS_AGE_MAX_SECONDS = 60.0
HOUR = timedelta(hours=1)
# Payments are stamped some milliseconds after the hour they are for, and are readable a little later.
FUNDING_LAG = timedelta(seconds=10)
# An hour is settled once, and who asks for one has held something then: that nothing was paid is believed after this.
FUNDING_DOUBTED = timedelta(minutes=5)
T = TypeVar("T")
_Seen = tuple[BookFrame, datetime, tuple[Price, datetime]]
"""A book and when it was confirmed, a mark and when that was."""


class _Kept(Generic[T]):
    """A value of the venue that changes seldom, read anew when it has grown old, by one thread at a time.

    While that is under way, for others at once and for who began it after a second, or has failed less than
    *again_seconds* ago, the old value serves; without one, all wait for the same reading and its failure is raised.
    """

    def __init__(self, name: str, clock: Clock, again_seconds: float, read: Callable[[], T]) -> None:
        self._first = Asking[str, T]("the list of", lambda _: self._kept_anew(), clock, POLL_PATIENCE)
        self._anew = Asking[str, T]("a new list of", lambda _: self._kept_anew(), clock, LIST_PATIENCE)
        self._name = name
        self._clock = clock
        self._again_seconds = again_seconds
        self._read = read
        self._lock = threading.Lock()
        self._value: tuple[T, float] | None = None
        self._failed_at: float | None = None

    def get(self, age_max_seconds: float) -> T:
        """Raises VenueUnavailable."""
        known = self._value
        if known is None:
            first = self._first.answers((self._name,))[self._name]
            if isinstance(first, VenueUnavailable):
                raise first
            return first
        if self._serves(known[1], age_max_seconds) or not self._lock.acquire(blocking=False):
            return known[0]
        try:
            answer = self._anew.answers((self._name,))[self._name]
            return known[0] if isinstance(answer, VenueUnavailable) else answer
        finally:
            self._lock.release()

    def _kept_anew(self) -> T:
        try:
            value = self._read()
        except VenueUnavailable:
            self._failed_at = self._clock.monotonic()
            raise
        self._value, self._failed_at = (value, self._clock.monotonic()), None
        return value

    def _serves(self, read_at: float, age_max_seconds: float) -> bool:
        now = self._clock.monotonic()
        failed_lately = self._failed_at is not None and now - self._failed_at < self._again_seconds
        return failed_lately or now - read_at <= age_max_seconds


@dataclass(frozen=True, slots=True)
class _Bars:
    """Bars as they were read at `read_at`, on the monotonic clock, for the span from `start` to `end`."""

    bars: tuple[Candle, ...]
    start: datetime
    end: datetime
    read_at: float

    def serves(self, interval: CandleInterval, start: datetime, end: datetime, now: float) -> bool:
        """Has no bar of the span asked for begun since, and is the running one fresh enough."""
        epoch = datetime.fromtimestamp(0, end.tzinfo)
        same_bar = (end - epoch) // interval.length == (self.end - epoch) // interval.length
        return self.start <= start and self.end <= end and same_bar and now - self.read_at <= BARS_AGE_MAX_SECONDS


class HyperliquidReader:
    """The account at *address*, and the market, through *api*. Safe for several threads.

    *stream* may be None: prices are then polled. `close` ends the stream.
    """

    def __init__(
        self,
        api: HyperliquidApi,
        address: str,
        network: str,
        clock: Clock,
        log: Log,
        traits: Traits,
        stream: PriceStream | None = None,
    ) -> None:
        self.account_id = address.lower()
        self.network = network
        self._api = api
        self._clock = clock
        self._log = log
        self._stream = stream
        self._traits = traits
        self._listings = _Kept("instruments", clock, INSTRUMENTS_AGE_MIN_SECONDS, self._read_listings)
        self._unified = _Kept("account modes", clock, INSTRUMENTS_AGE_MIN_SECONDS, self._read_unified)
        self._listed: Mapping[Coin, Listing] = {}
        self._instruments: tuple[Mapping[Coin, Listing], Mapping[Coin, Instrument]] | None = None
        self._account: tuple[float, Account] | None = None
        self._behind: tuple[float, str] | None = None
        self._changes = 0
        self._news = stream.news if stream is not None else None
        self._changed_by = 0
        self._changed_at: datetime | None = None
        self._told_by = -1  # the number of the frame that told of the fills of the last change
        self._late: frozenset[Coin] = frozenset()
        self._bars: dict[tuple[Coin, CandleInterval], _Bars] = {}
        self._marks_lock = threading.Lock()
        self._polls = Asking("the price of", self._polled, clock, POLL_PATIENCE)
        self._last_seen: dict[Coin, _Seen] = {}
        self._books: dict[Coin, tuple[BookFrame, datetime]] = {}
        self._marks: tuple[datetime, Mapping[Coin, Price]] | None = None

    @property
    def traits(self) -> Traits:
        return self._traits

    @property
    def meter(self) -> WeightMeter:
        return self._api.meter

    @property
    def stream_alive(self) -> bool:
        """Is the price stream connected at this moment. False without one, and before a coin was asked for."""
        return self._stream is not None and self._stream.alive

    def close(self) -> None:
        """End the price stream."""
        if self._stream is not None:
            self._stream.close()

    def share_listings(self, other: "HyperliquidReader") -> None:
        """Go by the list that *other* reads of the same exchange, which is there when it cannot be read any more."""
        self._listings = other._listings

    # The market

    def instruments(self) -> Mapping[Coin, Instrument]:
        """Everything on the main dex. Read anew after five minutes; an older list serves while that fails."""
        listings = self._listings.get(INSTRUMENTS_AGE_MAX_SECONDS)
        known = self._instruments
        if known is None or known[0] is not listings:
            known = self._instruments = listings, {coin: one.instrument for coin, one in listings.items()}
        return known[1]

    def quotes(self, coins: Collection[Coin]) -> Mapping[Coin, Quote]:
        quotes = {}
        for coin, (book, seen_at, (mark, marked_at)) in self._prices(coins).items():
            if book.bids and book.asks:
                quotes[coin] = Quote(coin, book.bids[0].price, book.asks[0].price, mark, seen_at, marked_at)
        return quotes

    def depths(self, coins: Collection[Coin]) -> Mapping[Coin, Depth]:
        return {coin: Depth(coin, book.bids, book.asks, at) for coin, (book, at, _) in self._prices(coins).items()}

    def candles(self, coin: Coin, interval: CandleInterval, start: datetime, end: datetime) -> tuple[Candle, ...]:
        """At most the newest 5,000 are to be had (documentation, "Candle snapshot"); paid for by their number.

        Bars of an hour or longer are read once a minute: those that have ended change no more, and a new one is asked
        for when it is due.
        """
        if coin not in self._listed_for((coin,)):
            return ()
        kept = self._bars.get((coin, interval))
        if kept is not None and kept.serves(interval, start, end, self._clock.monotonic()):
            return tuple(bar for bar in kept.bars if start <= bar.opened_at <= end)
        span = {"coin": coin, "interval": interval, "startTime": milliseconds(start), "endTime": milliseconds(end)}
        answer = self._api.read({"type": "candleSnapshot", "req": span}, HEAVY, Lane.ORDINARY)
        bars = decode_candles(answer)
        self._api.meter.charge(len(bars) // CANDLE_ROWS_PER_WEIGHT)
        # The exchange counts the bar in which the span begins.
        found = tuple(bar for bar in bars if bar.opened_at >= start)
        if interval.length >= HOUR:
            self._bars[coin, interval] = _Bars(found, start, end, self._clock.monotonic())
        return found

    def wait_for_ticks(self, since: int, coins: Collection[Coin], seconds: float) -> Ticks:
        if self._stream is None:
            self._clock.sleep(seconds)
            return Ticks(since, frozenset())
        self._stream.want(coins)
        return self._stream.wait_for_ticks(since, coins, seconds)

    def _prices(self, coins: Collection[Coin]) -> Mapping[Coin, _Seen]:
        """Book and mark with the instants of their last confirmation: from the stream where it is fresh, else polled.

        Those to be polled are asked for at once; while others are there, none is waited for longer than a second. A
        coin that cannot be read is told as it was seen last, with the age that has, for a minute: a close may work from
        that. Then it is left out while another is there; when none is, VenueUnavailable.
        """
        listed = self._listed_for(coins)
        asked = [coin for coin in dict.fromkeys(coins) if coin in listed and not listed[coin].instrument.delisted]
        found = self._streamed(asked)
        found |= {coin: kept for coin in asked if coin not in found and (kept := self._kept_price(coin)) is not None}
        failure: VenueUnavailable | None = None
        for coin, answer in self._polls.answers([one for one in asked if one not in found]).items():
            seen = self._seen_last(coin)
            if isinstance(answer, VenueUnavailable):
                failure = answer
            elif answer is None or seen is None or answer[1] >= seen[1]:
                # Of a server that is behind it may be of before what was seen last.
                seen = answer
            if seen is not None:
                found[coin] = seen
        if failure is not None and not found:
            raise failure
        self._last_seen.update(found)
        return found

    def _seen_last(self, coin: Coin) -> _Seen | None:
        last = self._last_seen.get(coin)
        # One of later than now was seen before the clock was set back: nobody knows how old it is.
        return last if last and timedelta(0) <= self._clock.now() - last[1] <= LAST_PRICE_AGE_MAX else None

    def _streamed(self, coins: Sequence[Coin]) -> dict[Coin, _Seen]:
        if self._stream is None or not coins:
            return {}
        self._stream.want(coins)
        prices = self._stream.prices(coins, STREAM_WAIT_SECONDS)
        skew = self._api.last_skew()
        late = {coin for coin, price in prices.items() if _came_late(price.book.at, price.booked_at, skew)}
        self._note_lateness(late, prices.keys())
        now = self._clock.now()
        return {
            coin: (price.book, price.confirmed_at, (price.mark, price.confirmed_at))
            for coin, price in prices.items()
            if coin not in late and now - price.confirmed_at <= STREAM_AGE_MAX
        }

    def _note_lateness(self, late: Collection[Coin], told: Collection[Coin]) -> None:
        """One line when the stream falls behind with coins, however often others are looked at in between."""
        if not self._late.issuperset(late):
            self._log.write("warning", "the venue's price stream is seconds behind; polling meanwhile")
        self._late = self._late.difference(told).union(late)

    def _kept_price(self, coin: Coin) -> _Seen | None:
        """What was polled a moment ago, if it need not be asked for again."""
        known, marks, now = self._books.get(coin), self._marks, self._clock.now()
        if known is None or marks is None or not self._serves(known[1], BOOK_AGES, now):
            return None
        mark = marks[1].get(coin) if self._serves(marks[0], MARKS_AGES, now) else None
        return None if mark is None else (*known, (mark, marks[0]))

    def _serves(self, read_at: datetime, ages: Sequence[timedelta], now: datetime) -> bool:
        return abs(now - read_at) <= ages[self._pressure()]

    def _polled(self, coin: Coin) -> _Seen | None:
        book, seen_at = self._book(coin)
        mark = self._mark(coin)
        return None if book is None or mark is None else (book, seen_at, mark)

    def _book(self, coin: Coin) -> tuple[BookFrame | None, datetime]:
        known = self._books.get(coin)
        now = self._clock.now()
        if known is not None and self._serves(known[1], BOOK_AGES, now):
            return known
        try:
            answer = self._api.read({"type": "l2Book", "coin": coin}, LIGHT, Lane.LOOK)
        except VenueUnavailable as error:
            # Out of budget an old price with its age is of more use than none: a close may work from it.
            if known is None or not _over_budget(error):
                raise
            return known
        # Stamped before asking: a price is no younger than the question it answers.
        book = decode_book(answer)
        if book is not None and book.coin != coin:
            raise VenueUnavailable(f"Hyperliquid was asked for the book of {coin} and told that of {book.coin}")
        skew = self._api.last_skew()
        if book is not None and skew is not None and _came_late(book.at, now, skew):
            # The server is behind: the price is of then, which is more than none.
            now = book.at - skew.earliest
        if book is not None:
            self._books[coin] = (book, now)
        return book, now

    def _mark(self, coin: Coin) -> tuple[Price, datetime] | None:
        """With its instant. While others read the marks anew, those known serve as long as they would with the budget
        used up."""
        known = self._marks
        lasting = known is not None and abs(self._clock.now() - known[0]) <= MARKS_AGES[-1]
        if not self._marks_lock.acquire(blocking=not lasting) and known is not None:
            return _mark_in(known, coin)
        try:
            now = self._clock.now()
            if self._marks is None or not self._serves(self._marks[0], MARKS_AGES, now):
                try:
                    self._marks = now, decode_marks(self._api.read({"type": "metaAndAssetCtxs"}, HEAVY, Lane.LOOK))
                except VenueUnavailable as error:
                    if self._marks is None or not _over_budget(error):
                        raise
            return _mark_in(self._marks, coin)
        finally:
            self._marks_lock.release()

    def _read_listings(self) -> Mapping[Coin, Listing]:
        """A coin keeps its place, which is its id to the venue, also when it is delisted: a list in which one has lost
        it is not believed. An order by it would be for another coin."""
        listings = decode_meta(self._api.read({"type": "meta"}, HEAVY, Lane.LOOK))
        moved = [
            coin for coin, one in self._listed.items() if coin not in listings or listings[coin].asset != one.asset
        ]
        if moved:
            words = (
                f"Hyperliquid lists {len(moved)} coins no more, or in other places: a service that starts takes them so"
            )
            self._log.write("error", words, coins=moved[:5])
            raise VenueUnavailable(words)
        self._listed = listings
        return listings

    def _listed_for(self, coins: Iterable[Coin]) -> Mapping[Coin, Listing]:
        """The listings, read anew when one of *coins* is not among them: it may just have been listed."""
        listings = self._listings.get(INSTRUMENTS_AGE_MAX_SECONDS)
        if all(coin in listings for coin in coins):
            return listings
        return self._listings.get(INSTRUMENTS_AGE_MIN_SECONDS)

    # The account

    def account(self) -> Account:
        """The account's money in USD: perpetuals in a classic account, spot USDC plus unrealized profit in a unified
        one, whose collateral lives there (documentation, "Account abstraction modes").

        As the live stream says; else a fifth of a second old at most, some seconds as the request budget fills. Never
        older than what this process sent last.
        """
        known, changes = self._account, self._changes
        age = None if known is None else self._clock.monotonic() - known[0]
        if known is not None and age is not None and age <= ACCOUNT_AGES_SECONDS[self._pressure()]:
            return known[1]
        streamed = self._streamed_account()
        if streamed is not None:
            return streamed
        behind = self._behind
        if behind is not None and self._clock.monotonic() - behind[0] <= ACCOUNT_AGES_SECONDS[self._pressure()]:
            # It answers at once: whoever asks again and again would spend the budget on it.
            raise VenueUnavailable(behind[1])
        try:
            account = self._read_account()
        except VenueUnavailable as error:
            if known is None or age is None or age > STALE_ACCOUNT_SECONDS_MAX or not _over_budget(error):
                raise
            return known[1]
        if changes == self._changes:
            self._account = self._clock.monotonic(), account
        return account

    def _changed(self) -> None:
        """The account is about to be, or has just been, changed: what was read of it before is of no use."""
        self._changes += 1
        self._account = None
        self._changed_by = self._news.number if self._news is not None else 0
        self._changed_at, self._told_by = self._clock.now(), -1

    def _pressure(self) -> int:
        """How full the minute's budget is: an index into the paces."""
        limit = self._api.meter.limit
        used = self._api.meter.used() if limit else 0
        return sum(used >= share * limit for share in PRESSURES) if limit else 0

    def require_room(self) -> None:
        """Raises VenueUnavailable when an opening could not be sent now: too little budget, or clocks too far apart."""
        meter = self._api.meter
        if meter.limit and meter.used() + OPENING_WEIGHT > meter.ceiling(Lane.ORDINARY):
            raise VenueUnavailable("the venue's request budget of this minute leaves no room for an opening")
        if self._skewed():
            raise VenueUnavailable("the clocks of this machine and the venue are too far apart for an opening")

    def _streamed_account(self) -> Account | None:
        """A classic account as the stream has said within two seconds; a unified one's money is not in its words."""
        if self._news is None:
            return None
        told = self._news.standing_after(self._changed_by, STANDING_WAIT_SECONDS)
        if told is None or self._clock.now() - told[1] > STREAM_AGE_MAX:
            return None
        if _came_late(told[0].at, told[1], self._api.last_skew()):
            return None
        if not self._holds_changes(told[0]) or self.unified():
            return None
        return _account_of(told[0], told[0].account_value, told[1])

    def _holds_changes(self, state: PerpState) -> bool:
        """Is *state* surely of after this process's last change. A frame may have been on its way when that was
        answered; one that follows its fills, in the same connection, was not. Who answers another one may lag."""
        if self._changed_at is None or (self._news is not None and self._told_by > self._news.begun):
            return True
        skew = self._api.last_skew()
        return skew is not None and state.at >= self._changed_at + skew.ahead + skew.uncertain

    def _read_account(self) -> Account:
        # Stamped before asking: what was filled while the answer was on its way may not be in it.
        asked_at = self._clock.now()
        state = self._state(Lane.LOOK)
        equity = state.account_value
        if self.unified():
            answer = self._api.read(self._about("spotClearinghouseState"), LIGHT, Lane.LOOK)
            equity = decode_collateral(answer) + state.unrealized
        return _account_of(state, equity, asked_at)

    def unified(self) -> bool:
        """Does the account's money live in spot. Read anew every minute. Raises VenueUnavailable."""
        return self._unified.get(ABSTRACTION_AGE_MAX_SECONDS)

    def _read_unified(self) -> bool:
        return decode_unified(self._api.read(self._about("userAbstraction"), HEAVY, Lane.LOOK))

    def clock_skew(self) -> Skew:
        """How far the venue's clock is from ours, not older than half a minute. Raises VenueUnavailable."""
        return self._api.skew(Lane.WATCH)

    def funding(self, coins: Collection[Coin], since: datetime, until: datetime) -> tuple[FundingPayment, ...]:
        """Each payment counts for the full hour that it was made for. Raises VenueUnavailable, too, for the minutes
        after an hour in which none of its payments is listed: a server that is behind has none of them yet."""
        hour = until.replace(minute=0, second=0, microsecond=0)
        if hour <= since:
            return ()
        venue_now = self._venue_now(Lane.WATCH)
        rows = self._funding_rows(since, until)
        if venue_now < hour + FUNDING_DOUBTED and not any(_hour_of(row.at) == hour for row in rows):
            raise VenueUnavailable(f"the funding of {hour:%H:%M} may not be listed yet")
        payments = [
            FundingPayment(row.coin, Usd(-row.usdc), Quantity(row.quantity), _hour_of(row.at))
            for row in rows
            if row.coin in coins and since < _hour_of(row.at) <= until
        ]
        return tuple(sorted(payments, key=lambda one: (one.paid_at, one.coin)))

    def _funding_rows(self, since: datetime, until: datetime) -> tuple[FundingRow, ...]:
        """Every payment stamped from *since* to shortly after *until*, each once: pages overlap in their last
        instant."""
        rows: dict[tuple[Coin, datetime], FundingRow] = {}
        start, end = milliseconds(since), milliseconds(until + FUNDING_LAG)
        for _ in range(PAGES_MAX):
            request = {**self._about("userFunding"), "startTime": start, "endTime": end}
            page = decode_funding(self._api.read(request, HEAVY, Lane.ORDINARY))
            self._api.meter.charge(len(page) // FILL_ROWS_PER_WEIGHT)
            rows.update({(row.coin, row.at): row for row in page})
            newest = max((milliseconds(row.at) for row in page), default=start)
            if len(page) < ROWS_PAGE:
                return tuple(rows.values())
            if newest <= start:
                # More of one instant than a page holds: the rest of it cannot be asked for.
                break
            start = newest
        raise VenueUnavailable("the account has more funding payments than can be read")

    def transferred(self, since: datetime) -> Usd:
        """See the port. A classic account has its money with the perpetuals, and what goes on to spot has left it."""
        first = since + self._api.skew(Lane.WATCH).ahead
        unified = self.unified()
        moved = [one for one in self._transfers(first) if one.at > first]
        return Usd(sum((one.perps + one.spot if unified else one.perps for one in moved), ZERO))

    def _transfers(self, since: datetime) -> tuple[Transfer, ...]:
        """Every transfer from *since* on by the venue's clock, each once: pages overlap in their last instant."""
        rows: dict[str, Transfer] = {}
        start = milliseconds(since)
        for _ in range(PAGES_MAX):
            request = {**self._about("userNonFundingLedgerUpdates"), "startTime": start}
            page = decode_transfers(self._api.read(request, HEAVY, Lane.WATCH), self.account_id)
            self._api.meter.charge(len(page) // FILL_ROWS_PER_WEIGHT)
            news = {one.key: one for one in page if one.key not in rows}
            if not news:
                return tuple(rows.values())
            rows |= news
            start = max(milliseconds(one.at) for one in rows.values())
        raise VenueUnavailable("the account has more transfers than can be read")

    def _state(self, lane: Lane) -> PerpState:
        answer, asked_at, answered_at = self._api.timed(self._about("clearinghouseState"), LIGHT, lane)
        state = decode_state(answer)
        self._api.saw_venue_time(state.at, asked_at, answered_at)
        if _came_late(state.at, asked_at, self._api.last_skew()):
            # What was filled since is not in it: a close that went by it would find nothing to close.
            words = f"a server of the exchange is seconds behind, and told the account as it was at {state.at:%H:%M:%S}"
            self._behind = self._clock.monotonic(), words
            raise VenueUnavailable(words)
        return state

    def _about(self, kind: str) -> dict[str, object]:
        return {"type": kind, "user": self.account_id}

    def _skewed(self) -> bool:
        skew = self._api.skew(Lane.WATCH)
        if skew.surely_exceeds(SKEW_WARNING):
            self._log.write(
                "warning", "this machine's clock and the venue's are apart", seconds=skew.ahead.total_seconds()
            )
        return skew.surely_exceeds(SKEW_MAX)

    def _venue_now(self, lane: Lane) -> datetime:
        """The venue's present instant, rather too early than too late. Raises VenueUnavailable."""
        skew = self._api.skew(lane)
        return self._clock.now() + skew.ahead - skew.uncertain

    def _in_venue_time(self, orders: Sequence[Order]) -> tuple[tuple[Order, ...], datetime]:
        """*orders* and the venue's present instant, or ours: a close does not wait for the venue's clock to be
        readable.

        Where our clock is surely wrong, those that reduce live as long by the venue's: nothing else goes out then, and
        an exit must not be over before it comes.
        """
        try:
            skew = self._api.skew(Lane.CLOSE)
        except VenueUnavailable:
            return tuple(orders), self._clock.now()
        ahead = skew.correction
        timed = (replace(one, expires_at=one.expires_at + ahead) if one.reduce_only else one for one in orders)
        return tuple(timed), self._clock.now() + skew.ahead - skew.uncertain

    def resting(self) -> tuple[ListedOrder, ...]:
        """See the port."""
        return decode_listed(self._api.read(self._about("frontendOpenOrders"), HEAVY, Lane.WATCH))

    def draw_lines(self, lines: Sequence[PairLine]) -> bool:
        """The exchange knows coins and no pairs."""
        return not lines

    def account_fills(self, since: datetime) -> tuple[AccountFill, ...]:
        """See the port. For closes as well as for watching, so it may use the last of the budget."""
        rows = self._fills_between(since, self._clock.now(), Lane.CLOSE)
        skew = self._api.skew(Lane.CLOSE)
        first = since + skew.ahead - skew.uncertain
        told = sorted((one for one in rows if one.at >= first), key=lambda one: (one.at, one.tid, one.oid))
        return tuple(account_fill(one, self.account_id) for one in told)

    def _fills_between(self, start: datetime, end: datetime, lane: Lane) -> tuple[Fill, ...]:
        """The account's fills from *start* to *end*, in our time, and two minutes around it for clocks that differ."""
        skew = self._api.skew(lane).ahead
        first, last = milliseconds(start + skew - FILLS_MARGIN), milliseconds(end + abs(skew) + FILLS_MARGIN)
        fills: dict[tuple[int, int, Coin], Fill] = {}
        for _ in range(PAGES_MAX):
            request = {**self._about("userFillsByTime"), "startTime": first, "endTime": last}
            page = decode_fills(self._api.read(request, HEAVY, lane))
            self._api.meter.charge(len(page) // FILL_ROWS_PER_WEIGHT)
            fills.update({(one.tid, one.oid, one.coin): one for one in page})
            newest = max((milliseconds(one.at) for one in page), default=first)
            if len(page) < FILLS_PAGE:
                return tuple(fills.values())
            if newest <= first:
                break
            first = newest
        raise VenueUnavailable("the account has more fills in that time than can be read")

    def _leveraged(self, coin: Coin, leverage: int) -> Listing:
        """The listing of *coin*; raises VenueRejected when it cannot be traded, or not with this *leverage*."""
        listing = self._listed_for([coin]).get(coin)
        if listing is None or listing.instrument.delisted:
            raise VenueRejected(f"{coin} cannot be traded", coin=coin)
        if listing.isolated:
            raise VenueRejected(f"{coin} cannot be traded with cross margin", coin=coin)
        if not 1 <= leverage <= listing.instrument.leverage_max:
            raise VenueRejected(f"leverage of {coin} must be 1 to {listing.instrument.leverage_max}", coin=coin)
        return listing

    def role_of(self, address: str, lane: Lane = Lane.ORDINARY) -> Role:
        """What *address* is to the venue. Raises VenueUnavailable."""
        return decode_role(self._api.read({"type": "userRole", "user": address}, ROLE, lane))

    def agents(self) -> tuple[Agent, ...]:
        """The account's named API wallets. Raises VenueUnavailable."""
        return decode_agents(self._api.read(self._about("extraAgents"), HEAVY, Lane.ORDINARY))

    def builder_fee(self, builder: str) -> int:
        """The most that *builder* may take of a fill, in tenths of a basis point. Raises VenueUnavailable."""
        return whole(self._api.read({**self._about("maxBuilderFee"), "builder": builder}, HEAVY, Lane.ORDINARY))

    def learn_fees(self) -> None:
        """Take the account's own taker fee into `traits`. Raises VenueUnavailable."""
        rate = decode_taker_fee(self._api.read(self._about("userFees"), HEAVY, Lane.ORDINARY))
        self._traits = replace(self._traits, taker_fee=rate)


def _mark_in(marks: tuple[datetime, Mapping[Coin, Price]], coin: Coin) -> tuple[Price, datetime] | None:
    mark = marks[1].get(coin)
    return None if mark is None else (mark, marks[0])


def _came_late(at: datetime, seen_at: datetime, skew: Skew | None) -> bool:
    """Had what the venue stamped *at* surely grown too old before it was there, at *seen_at* by our clock, which is
    *skew* beside the venue's."""
    return skew is not None and seen_at + skew.ahead - skew.uncertain - at > STREAM_AGE_MAX


def _account_of(state: PerpState, equity: Decimal, taken_at: datetime) -> Account:
    return Account(
        equity=Usd(equity),
        margin_used=Usd(state.margin_used),
        margin_available=Usd(equity - state.margin_used),
        maintenance_margin=Usd(state.maintenance),
        holdings=state.holdings,
        leverages=state.leverages,
        taken_at=taken_at,
    )


def _hour_of(instant: datetime) -> datetime:
    """The full hour nearest to *instant*: payments are stamped around it, mostly some milliseconds after."""
    return (instant + HOUR / 2).replace(minute=0, second=0, microsecond=0)


def _over_budget(error: VenueUnavailable) -> bool:
    """Was it our own budget that kept the question from being asked."""
    return error.facts.get("status") == "budget"
