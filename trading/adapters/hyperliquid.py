"""The Hyperliquid venue: one account's perpetuals, traded by its API wallet.

The law: what may have left the house is never called unsent, and nothing is sent twice. A submit answers UNKNOWN for
whatever is not clear; doubt ends by fills and `orderStatus`, by an accepted `noop` that used up the order's nonce, or
by expiry on the venue's clock. Reads go by the account's own address, never by the API wallet's. Main-dex coins, cross
margin.
"""

import threading
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Generic, TypeVar

from trading.adapters.hyperliquid_api import (
    EXCHANGE_SECONDS_MAX,
    HEAVY,
    LIGHT,
    ROLE,
    SKEW_MAX,
    SKEW_WARNING,
    HyperliquidApi,
    Skew,
    network_of,
)
from trading.adapters.hyperliquid_budget import Lane, WeightMeter
from trading.adapters.hyperliquid_reports import (
    FILLS_LAG,
    Evidence,
    answered,
    can_no_longer_land,
    computed,
    own_fills,
    refused,
    report_on,
    unknown,
)
from trading.adapters.hyperliquid_signing import NonceRegister, Signer
from trading.adapters.hyperliquid_stream import PriceStream, stream_url
from trading.adapters.hyperliquid_wire import (
    Agent,
    BookFrame,
    Candle,
    Executed,
    Fill,
    FundingRow,
    Listing,
    OrderState,
    PerpState,
    Refusal,
    Role,
    Unclear,
    Word,
    Working,
    decode_agents,
    decode_book,
    decode_candles,
    decode_collateral,
    decode_done,
    decode_fills,
    decode_funding,
    decode_leverage,
    decode_marks,
    decode_meta,
    decode_order_state,
    decode_role,
    decode_state,
    decode_taker_fee,
    decode_unified,
    decode_words,
    encode_leverage,
    encode_noop,
    encode_orders,
    milliseconds,
)
from trading.adapters.keys import Wallet
from trading.domain.errors import Busy, InvalidNumber, VenueRejected, VenueUnavailable
from trading.domain.market import Account, Depth, FundingPayment, Instrument, Quote, Traits
from trading.domain.orders import Order, OrderReport, OrderStatus, RejectReason
from trading.domain.units import ClientOrderId, Coin, Price, Quantity, Usd
from trading.ports import Clock, Log
from trading.utils.trade_calculator import is_on_price_grid

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
OPENING_WEIGHT = 100
LEVERAGE_AGAIN_SECONDS = 1.0
STREAM_AGE_MAX = timedelta(seconds=2)
STREAM_WAIT_SECONDS = 0.5
FILL_PAUSES_SECONDS = (0.05, 0.15, 0.3, 0.5)
ASK_PACE_SECONDS = 0.25
ASK_PACE_LATER_SECONDS = 1.0
DOUBT_YOUNG_SECONDS = 2.0
REMEMBERED_MAX = 4096
FILLS_MARGIN = timedelta(minutes=2)
FILLS_PAGE = 2000
ROWS_PAGE = 500
PAGES_MAX = 40
FILL_ROWS_PER_WEIGHT = 20
CANDLE_ROWS_PER_WEIGHT = 60
HOUR = timedelta(hours=1)
# Payments are stamped some milliseconds after the hour they are for, and are readable a little later.
FUNDING_LAG = timedelta(seconds=10)
T = TypeVar("T")
_STRANGER = "the wallet key is not the account's and no approved API wallet of it"
_SPOILT = "another order of the group cannot be sent, so the group was not"


class _Kept(Generic[T]):
    """A value of the venue that changes seldom, read anew when it has grown old, by one thread at a time.

    While that is under way, or has failed less than *again_seconds* ago, the old value serves; without one, others wait
    and the failure is raised.
    """

    def __init__(self, clock: Clock, again_seconds: float, read: Callable[[], T]) -> None:
        self._clock = clock
        self._again_seconds = again_seconds
        self._read = read
        self._lock = threading.Lock()
        self._value: tuple[T, float] | None = None
        self._failed_at: float | None = None

    def get(self, age_max_seconds: float) -> T:
        """Raises VenueUnavailable."""
        known = self._value
        if known is not None and self._serves(known[1], age_max_seconds):
            return known[0]
        if not self._lock.acquire(blocking=known is None) and known is not None:
            return known[0]
        try:
            known = self._value
            if known is None or not self._serves(known[1], age_max_seconds):
                known = self._value = self._read(), self._clock.monotonic()
                self._failed_at = None
            return known[0]
        except VenueUnavailable:
            if known is None:
                raise
            self._failed_at = self._clock.monotonic()
            return known[0]
        finally:
            self._lock.release()

    def _serves(self, read_at: float, age_max_seconds: float) -> bool:
        now = self._clock.monotonic()
        failed_lately = self._failed_at is not None and now - self._failed_at < self._again_seconds
        return failed_lately or now - read_at <= age_max_seconds


@dataclass
class _Doubt:
    """What this process remembers of an order that it sent or asked about; times on the monotonic clock."""

    since: float
    asked: float | None = None
    last: OrderReport | None = None
    executed: Executed | None = None
    oid: int | None = None


class HyperliquidVenue:
    """A Venue (see ports) for the account at *address*. Safe for several threads and several processes.

    Constructing it sends nothing. *stream* may be None: prices are then polled. `close` ends the stream.
    """

    name = "hyperliquid"

    def __init__(
        self,
        api: HyperliquidApi,
        signer: Signer,
        address: str,
        network: str,
        clock: Clock,
        log: Log,
        stream: PriceStream | None = None,
        proof: Path | None = None,
    ) -> None:
        self.account_id = address.lower()
        self.network = network
        self._api = api
        self._signer = signer
        self._clock = clock
        self._log = log
        self._stream = stream
        self._traits = Traits(single_leg=True, proves_absence=True)
        self._listings = _Kept(clock, INSTRUMENTS_AGE_MIN_SECONDS, self._read_listings)
        self._unified = _Kept(clock, INSTRUMENTS_AGE_MIN_SECONDS, self._read_unified)
        self._account: tuple[float, Account] | None = None
        self._changes = 0
        self._unclear_leverage: dict[Coin, float] = {}
        self._marks_lock = threading.Lock()
        self._doubts_lock = threading.Lock()
        self._books: dict[Coin, tuple[BookFrame, datetime]] = {}
        self._marks: tuple[datetime, Mapping[Coin, Price]] | None = None
        self._doubts: dict[ClientOrderId, _Doubt] = {}
        self._burned: dict[int, bool] = {}
        self._proven = False
        self._proof = proof

    @classmethod
    def open(
        cls,
        base_url: str,
        wallet: Wallet,
        address: str,
        weight_per_minute: int,
        shared_dir: Path,
        clock: Clock,
        log: Log,
        *,
        streams: bool = True,
        exchange_seconds: float = EXCHANGE_SECONDS_MAX,
    ) -> "HyperliquidVenue":
        """The venue behind *base_url*, put together; sends nothing.

        *shared_dir* holds the nonces and the request budget: one folder for all desks of the machine. Raises
        InvalidRequest for a *base_url* that is no use and StoreCorrupt when *shared_dir* cannot be made.
        """
        network = network_of(base_url)
        meter = WeightMeter(shared_dir / f"hyperliquid-{network}.weight", weight_per_minute, clock)
        register = NonceRegister(shared_dir / f"hyperliquid-{network}", wallet.address, clock)
        return cls(
            HyperliquidApi(base_url, meter, clock, exchange_seconds),
            Signer(wallet, register, mainnet=network == "mainnet"),
            address,
            network,
            clock,
            log,
            PriceStream(stream_url(base_url), clock, log) if streams else None,
            shared_dir / f"hyperliquid-{network}.proven",
        )

    @property
    def traits(self) -> Traits:
        return self._traits

    @property
    def signer_address(self) -> str:
        return self._signer.address

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

    # The market

    def instruments(self) -> Mapping[Coin, Instrument]:
        """Everything on the main dex. Read anew after five minutes; an older list serves while that fails."""
        return {coin: one.instrument for coin, one in self._listings.get(INSTRUMENTS_AGE_MAX_SECONDS).items()}

    def quotes(self, coins: Collection[Coin]) -> Mapping[Coin, Quote]:
        quotes = {}
        for coin, (book, mark, seen_at) in self._prices(coins).items():
            if book.bids and book.asks:
                quotes[coin] = Quote(coin, book.bids[0].price, book.asks[0].price, mark, seen_at)
        return quotes

    def depths(self, coins: Collection[Coin]) -> Mapping[Coin, Depth]:
        return {coin: Depth(coin, book.bids, book.asks, at) for coin, (book, _, at) in self._prices(coins).items()}

    def candles(self, coin: Coin, interval: str, start: datetime, end: datetime) -> tuple[Candle, ...]:
        """The bars of *coin* that began in [start, end], oldest first; *interval* as the venue names it (1m, 1h, 1d).

        At most the newest 5,000 are to be had. Raises VenueUnavailable.
        """
        span = {"coin": coin, "interval": interval, "startTime": milliseconds(start), "endTime": milliseconds(end)}
        answer = self._api.read({"type": "candleSnapshot", "req": span}, HEAVY, Lane.ORDINARY)
        bars = decode_candles(answer)
        self._api.meter.charge(len(bars) // CANDLE_ROWS_PER_WEIGHT)
        return bars

    def _prices(self, coins: Collection[Coin]) -> Mapping[Coin, tuple[BookFrame, Price, datetime]]:
        """Book, mark and instant of the last confirmation: from the stream where it is fresh, else polled.

        A coin that cannot be read is left out while another can; when none can, VenueUnavailable.
        """
        listed = self._listed_for(coins)
        asked = [coin for coin in dict.fromkeys(coins) if coin in listed and not listed[coin].instrument.delisted]
        found = self._streamed(asked)
        failure: VenueUnavailable | None = None
        for coin in [one for one in asked if one not in found]:
            try:
                polled = self._polled(coin)
            except VenueUnavailable as error:
                failure = error
                continue
            if polled is not None:
                found[coin] = polled
        if failure is not None and not found:
            raise failure
        return found

    def _streamed(self, coins: Sequence[Coin]) -> dict[Coin, tuple[BookFrame, Price, datetime]]:
        if self._stream is None or not coins:
            return {}
        self._stream.want(coins)
        self._stream.wait_for(coins, STREAM_WAIT_SECONDS)
        now, found = self._clock.now(), {}
        for coin in coins:
            price = self._stream.price(coin)
            if price is not None and now - price.confirmed_at <= STREAM_AGE_MAX:
                found[coin] = (price.book, price.mark, price.confirmed_at)
        return found

    def _polled(self, coin: Coin) -> tuple[BookFrame, Price, datetime] | None:
        book, seen_at = self._book(coin)
        mark = self._mark(coin)
        return None if book is None or mark is None else (book, mark, seen_at)

    def _book(self, coin: Coin) -> tuple[BookFrame | None, datetime]:
        known = self._books.get(coin)
        now = self._clock.now()
        if known is not None and abs(now - known[1]) <= BOOK_AGES[self._pressure()]:
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
        if book is not None:
            self._books[coin] = (book, now)
        return book, now

    def _mark(self, coin: Coin) -> Price | None:
        with self._marks_lock:
            now = self._clock.now()
            if self._marks is None or abs(now - self._marks[0]) > MARKS_AGES[self._pressure()]:
                try:
                    self._marks = now, decode_marks(self._api.read({"type": "metaAndAssetCtxs"}, HEAVY, Lane.LOOK))
                except VenueUnavailable as error:
                    if self._marks is None or not _over_budget(error):
                        raise
            return self._marks[1].get(coin)

    def _read_listings(self) -> Mapping[Coin, Listing]:
        return decode_meta(self._api.read({"type": "meta"}, HEAVY, Lane.LOOK))

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

        A fifth of a second old at most, some seconds as the request budget fills, and never older than what this
        process sent last.
        """
        known, changes = self._account, self._changes
        age = None if known is None else self._clock.monotonic() - known[0]
        if known is not None and age is not None and age <= ACCOUNT_AGES_SECONDS[self._pressure()]:
            return known[1]
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

    def _read_account(self) -> Account:
        state = self._state(Lane.LOOK)
        equity = state.account_value
        if self.unified():
            answer = self._api.read(self._about("spotClearinghouseState"), LIGHT, Lane.LOOK)
            equity = decode_collateral(answer) + state.unrealized
        return Account(
            equity=Usd(equity),
            margin_used=Usd(state.margin_used),
            margin_available=Usd(equity - state.margin_used),
            maintenance_margin=Usd(state.maintenance),
            holdings=state.holdings,
            leverages=state.leverages,
            taken_at=self._clock.now(),
        )

    def unified(self) -> bool:
        """Does the account's money live in spot. Read anew every minute. Raises VenueUnavailable."""
        return self._unified.get(ABSTRACTION_AGE_MAX_SECONDS)

    def _read_unified(self) -> bool:
        return decode_unified(self._api.read(self._about("userAbstraction"), HEAVY, Lane.LOOK))

    def clock_skew(self) -> Skew:
        """How far the venue's clock is from ours, not older than half a minute. Raises VenueUnavailable."""
        return self._api.skew(Lane.WATCH)

    def set_leverage(self, coin: Coin, leverage: int) -> None:
        """Sends nothing when the coin has this cross leverage already."""
        if not self.is_proven():
            raise VenueRejected(_STRANGER, coin=coin)
        listing = self._listed_for([coin]).get(coin)
        if listing is None or listing.instrument.delisted:
            raise VenueRejected(f"{coin} cannot be traded", coin=coin)
        if not 1 <= leverage <= listing.instrument.leverage_max:
            raise VenueRejected(f"leverage of {coin} must be 1 to {listing.instrument.leverage_max}", coin=coin)
        unclear_at = self._unclear_leverage.get(coin)
        if unclear_at is not None and self._clock.monotonic() - unclear_at < LEVERAGE_AGAIN_SECONDS:
            raise VenueUnavailable(f"whether the leverage of {coin} was set is not clear; asked again in a moment")
        present = self._api.read({**self._about("activeAssetData"), "coin": coin}, HEAVY, Lane.ORDINARY)
        if decode_leverage(present) == (True, leverage):
            return
        try:
            nonce = self._signer.register.next_nonce()
        except (Busy, OSError) as error:
            raise VenueUnavailable(f"no nonce can be had: {error}") from error
        answer = self._api.write(
            self._signer.request(encode_leverage(listing.asset, leverage), nonce), 1, Lane.ORDINARY
        )
        outcome = _done(answer)
        self._changed()
        if isinstance(outcome, Refusal) and outcome.reason is not RejectReason.RATE_LIMIT:
            raise VenueRejected(outcome.words, coin=coin)
        if outcome is not None:
            self._unclear_leverage[coin] = self._clock.monotonic()
            raise VenueUnavailable(f"the leverage of {coin} may not have been set: {outcome.words}")

    def funding(self, coins: Collection[Coin], since: datetime, until: datetime) -> tuple[FundingPayment, ...]:
        """Each payment counts for the full hour that it was made for. Raises VenueUnavailable, too, for the few seconds
        after an hour in which its payments may not be listed yet."""
        hour = until.replace(minute=0, second=0, microsecond=0)
        if hour <= since:
            return ()
        venue_now = self._venue_now(Lane.WATCH)
        rows = self._funding_rows(since, until)
        if venue_now < hour + FUNDING_LAG and not any(_hour_of(row.at) == hour for row in rows):
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
            if len(page) < ROWS_PAGE or newest <= start:
                return tuple(rows.values())
            start = newest
        raise VenueUnavailable("the account has more funding payments than can be read")

    def _state(self, lane: Lane) -> PerpState:
        answer, asked_at, answered_at = self._api.timed(self._about("clearinghouseState"), LIGHT, lane)
        state = decode_state(answer)
        self._api.saw_venue_time(state.at, asked_at, answered_at)
        return state

    def _about(self, kind: str) -> dict[str, object]:
        return {"type": kind, "user": self.account_id}

    # Sending

    def submit(self, orders: Sequence[Order]) -> tuple[OrderReport, ...]:
        """An order that was submitted before, by whatever process, is not sent again but told about."""
        if not orders:
            return ()
        try:
            known = self._signer.register.known([one.client_order_id for one in orders])
            fresh = {one.client_order_id: one for one in orders if one.client_order_id not in known}
            reports = self._submitted(tuple(fresh.values())) if fresh else ()
        except (Busy, OSError) as error:
            # The register is asked before anything leaves.
            return self._all_refused(orders, RejectReason.OTHER, f"no nonce can be had: {error}: nothing was sent")
        told = self._told([one for one in orders if one.client_order_id in known])
        words = {one.client_order_id: one for one in (*reports, *told)}
        return tuple(words[one.client_order_id] for one in orders)

    def _submitted(self, orders: Sequence[Order]) -> tuple[OrderReport, ...]:
        """Check, claim and send *orders*. Raises Busy and OSError while nothing has left."""
        try:
            if not self.is_proven(Lane.CLOSE if all(one.reduce_only for one in orders) else Lane.ORDINARY):
                return self._all_refused(orders, RejectReason.OTHER, f"{_STRANGER}: nothing was sent")
            listings = self._listed_for([one.coin for one in orders])
            if any(not one.reduce_only for one in orders) and self._skewed():
                return self._all_refused(orders, RejectReason.OTHER, "clock skew: see the clock of this machine")
        except VenueUnavailable as error:
            return self._all_refused(orders, RejectReason.OTHER, f"{error.detail}: nothing was sent")
        refusals = self._unsendable(orders, listings)
        if refusals is not None:
            return refusals
        claim = self._signer.register.claim([one.client_order_id for one in orders])
        if claim.known:
            # Somebody else sends the same order at this very moment; who asks next learns what became of it.
            return tuple(unknown(one, "it is being sent elsewhere", self._clock.now()) for one in orders)
        return self._sent(orders, claim.nonce, {one.coin: listings[one.coin].asset for one in orders})

    def _unsendable(self, orders: Sequence[Order], listings: Mapping[Coin, Listing]) -> tuple[OrderReport, ...] | None:
        """The refusals of a group that breaks the venue's static rules; None when it can be sent.

        The venue would refuse it whole with one sentence; here the culprit can be told from its group.
        """
        venue_now = self._venue_now_or_ours()
        mistakes = [_mistake(one, listings.get(one.coin), venue_now) for one in orders]
        if not any(mistakes):
            return None
        now = self._clock.now()
        spoilt = Refusal(RejectReason.OTHER, _SPOILT)
        pairs = zip(orders, (one or spoilt for one in mistakes), strict=True)
        return tuple(refused(order, one.reason, one.words, now) for order, one in pairs)

    def _sent(self, orders: Sequence[Order], nonce: int, assets: Mapping[Coin, int]) -> tuple[OrderReport, ...]:
        """Send *orders* as one action and read what came of them."""
        lane = Lane.CLOSE if all(one.reduce_only for one in orders) else Lane.ORDINARY
        action = encode_orders(orders, assets)
        expires_after = milliseconds(min(one.expires_at for one in orders))
        answer = self._api.write(self._signer.request(action, nonce, expires_after), 1, lane)
        self._changed()
        words = _words(answer, len(orders))
        for order, word in zip(orders, words, strict=True):
            doubt = self._doubt(order)
            if isinstance(word, Executed):
                doubt.executed, doubt.oid = word, word.oid
        return self._settled(orders, words, lane)

    def _settled(self, orders: Sequence[Order], words: Sequence[Word], lane: Lane) -> tuple[OrderReport, ...]:
        """The reports of *words*; what was executed is read back until its fills, and so its fees, are all there."""
        reports = tuple(_report_of(order, word, self._clock.now()) for order, word in zip(orders, words, strict=True))
        executed = [order for order, word in zip(orders, words, strict=True) if isinstance(word, Executed)]
        if not executed:
            return reports
        told = {}
        for pause in (0.0, *FILL_PAUSES_SECONDS):
            self._clock.sleep(pause)
            try:
                fills = self._fills_of(executed, lane)
            except VenueUnavailable:
                break
            told = {one.client_order_id: self._answered(one, fills) for one in executed}
            if not any(one.status.in_doubt for one in told.values()):
                break
        return tuple(told.get(one.client_order_id, one) for one in reports)

    def _answered(self, order: Order, fills: Sequence[Fill]) -> OrderReport:
        executed = self._doubt(order).executed
        assert executed is not None  # noqa: S101 - only executed orders are asked about
        return answered(order, executed, own_fills(order, fills, [executed.oid]), self._clock.now())

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

    def _venue_now_or_ours(self) -> datetime:
        """The same, or our own instant: a close does not wait for the venue's clock to be readable."""
        try:
            return self._venue_now(Lane.CLOSE)
        except VenueUnavailable:
            return self._clock.now()

    def _all_refused(self, orders: Sequence[Order], reason: RejectReason, words: str) -> tuple[OrderReport, ...]:
        now = self._clock.now()
        return tuple(refused(one, reason, words, now) for one in orders)

    # Asking

    def reports(self, orders: Sequence[Order]) -> tuple[OrderReport, ...]:
        """Asked again within a quarter of a second (a second, when the doubt is older than two), an order in doubt is
        answered with the last word on it."""
        if not orders:
            return ()
        lane = Lane.CLOSE if any(one.reduce_only for one in orders) else Lane.WATCH
        now = self._clock.monotonic()
        due = [one for one in orders if self._doubt(one).last is None or self._is_due(self._doubt(one), now)]
        told = {report.client_order_id: report for report in self._asked(due, lane)}
        return tuple(told.get(one.client_order_id) or self._last(one) for one in orders)

    def _told(self, orders: Sequence[Order]) -> tuple[OrderReport, ...]:
        """Reports for a submit, which must not raise."""
        try:
            return self.reports(orders)
        except VenueUnavailable as error:
            return tuple(unknown(one, error.detail, self._clock.now()) for one in orders)

    def _asked(self, orders: Sequence[Order], lane: Lane) -> list[OrderReport]:
        if not orders:
            return []
        # The clock first: what an order is found to be later is true of an instant after this one.
        venue_now = self._venue_now(lane)
        states = {one.client_order_id: self._order_state(one, lane) for one in orders}
        traded = [one for one in orders if self._may_have_traded(one, states[one.client_order_id], venue_now)]
        fills = self._fills_of(traded, lane) if traded else ()
        found = []
        for order in orders:
            doubt, state = self._doubt(order), states[order.client_order_id]
            oids = {one for one in (doubt.oid, state.oid if state is not None else None) if one is not None}
            own = own_fills(order, fills, oids)
            unseen = state is None and not own and doubt.executed is None
            burned = unseen and not can_no_longer_land(order, venue_now) and self._burn(order, lane)
            report = report_on(order, Evidence(state, own, venue_now, doubt.executed, burned), self._clock.now())
            found.append(self._noted(order, self._unless_too_late(order, report)))
        return found

    def _may_have_traded(self, order: Order, state: OrderState | None, venue_now: datetime) -> bool:
        """Is a look at the fills, which costs ten times as much as one at the state, worth its price."""
        if state is not None:
            return not state.open
        return self._doubt(order).executed is not None or can_no_longer_land(order, venue_now)

    def _burn(self, order: Order, lane: Lane) -> bool:
        """Use up the nonce of *order*, if it is known; True when the venue took the `noop`: then the order has not
        landed and cannot (documentation, "Nonces and API wallets").

        Tried once a nonce: a second `noop` would be refused as the duplicate of the first and prove nothing.
        """
        try:
            nonce = self._signer.register.nonce_of(order.client_order_id)
        except (Busy, OSError):
            return False
        if nonce is None:
            return False
        if nonce not in self._burned:
            _make_room(self._burned)
            outcome = _done(self._api.write(self._signer.request(encode_noop(), nonce), 1, lane))
            if isinstance(outcome, Refusal) and outcome.reason is RejectReason.RATE_LIMIT:
                # Its nonce was not looked at, so that it may be tried again.
                return False
            self._burned[nonce] = outcome is None
            if self._burned[nonce]:
                self._log.write("info", "orders never reached the venue: their nonce was free", nonce=nonce)
        return self._burned[nonce]

    def _unless_too_late(self, order: Order, report: OrderReport) -> OrderReport:
        """*report*, or a final word from the submit's answer when its fills stay unreadable for too long: a repair or
        an exit waits for it."""
        doubt = self._doubt(order)
        waited = self._clock.monotonic() - doubt.since
        if not report.status.in_doubt or doubt.executed is None or waited <= FILLS_LAG.total_seconds():
            return report
        self._log.write(
            "warning", "fills cannot be read: the fee was computed by the account's rate", order=order.client_order_id
        )
        return computed(order, doubt.executed, self._traits.taker_fee, self._clock.now())

    def _order_state(self, order: Order, lane: Lane) -> OrderState | None:
        request = {**self._about("orderStatus"), "oid": order.client_order_id}
        return decode_order_state(self._api.read(request, LIGHT, lane))

    def _fills_of(self, orders: Sequence[Order], lane: Lane) -> tuple[Fill, ...]:
        """The account's fills while any of *orders* could trade, in the venue's time."""
        skew = self._api.skew(lane).ahead
        start = milliseconds(min(one.intended_at for one in orders) + skew - FILLS_MARGIN)
        end = milliseconds(max(one.expires_at for one in orders) + abs(skew) + FILLS_MARGIN)
        fills: dict[tuple[int, int, Coin], Fill] = {}
        for _ in range(PAGES_MAX):
            request = {**self._about("userFillsByTime"), "startTime": start, "endTime": end}
            page = decode_fills(self._api.read(request, HEAVY, lane))
            self._api.meter.charge(len(page) // FILL_ROWS_PER_WEIGHT)
            fills.update({(one.tid, one.oid, one.coin): one for one in page})
            newest = max((milliseconds(one.at) for one in page), default=start)
            if len(page) < FILLS_PAGE or newest <= start:
                return tuple(fills.values())
            start = newest
        raise VenueUnavailable("the account has more fills in that time than can be read")

    def _doubt(self, order: Order) -> _Doubt:
        with self._doubts_lock:
            doubt = self._doubts.get(order.client_order_id)
            if doubt is None:
                _make_room(self._doubts)
                doubt = self._doubts[order.client_order_id] = _Doubt(self._clock.monotonic())
            return doubt

    def _is_due(self, doubt: _Doubt, now: float) -> bool:
        if doubt.asked is None or doubt.last is None or not doubt.last.status.in_doubt:
            return True
        young = now - doubt.since <= DOUBT_YOUNG_SECONDS
        return now - doubt.asked >= (ASK_PACE_SECONDS if young else ASK_PACE_LATER_SECONDS)

    def _last(self, order: Order) -> OrderReport:
        last = self._doubt(order).last
        assert last is not None  # noqa: S101 - an order without a last word is due
        return last

    def _noted(self, order: Order, report: OrderReport) -> OrderReport:
        doubt = self._doubt(order)
        doubt.asked, doubt.last = self._clock.monotonic(), report
        return report

    # Readiness

    def is_proven(self, lane: Lane = Lane.ORDINARY) -> bool:
        """Is the key known to be the account's own or an API wallet of it? Asks the venue until it is, once for all
        processes: the venue never lets an API wallet's address serve a second account (documentation, "Nonces and API
        wallets").

        Nothing that is signed leaves before: the key of another account would trade that one. Raises VenueUnavailable.
        """
        if not self._proven:
            self._proven = self.signer_address == self.account_id or self._proven_before()
        if not self._proven:
            role = self.role_of(self.signer_address, lane)
            self._proven = role.kind == "agent" and role.owner == self.account_id
            if self._proven:
                self._keep_proof()
        return self._proven

    def _proven_before(self) -> bool:
        try:
            return self._proof is not None and self._proof.read_text(encoding="utf-8") == self._proof_text()
        except (OSError, ValueError):
            return False

    def _keep_proof(self) -> None:
        """A proof that cannot be written is asked for again by the next process."""
        if self._proof is not None:
            with suppress(OSError):
                self._proof.write_text(self._proof_text(), encoding="utf-8")

    def _proof_text(self) -> str:
        return f"{self.signer_address} is an API wallet of {self.account_id}\n"

    def role_of(self, address: str, lane: Lane = Lane.ORDINARY) -> Role:
        """What *address* is to the venue. Raises VenueUnavailable."""
        return decode_role(self._api.read({"type": "userRole", "user": address}, ROLE, lane))

    def agents(self) -> tuple[Agent, ...]:
        """The account's named API wallets. Raises VenueUnavailable."""
        return decode_agents(self._api.read(self._about("extraAgents"), HEAVY, Lane.ORDINARY))

    def learn_fees(self) -> None:
        """Take the account's own taker fee into `traits`. Raises VenueUnavailable."""
        rate = decode_taker_fee(self._api.read(self._about("userFees"), HEAVY, Lane.ORDINARY))
        self._traits = replace(self._traits, taker_fee=rate)


def _mistake(order: Order, listing: Listing | None, venue_now: datetime) -> Refusal | None:
    """Why *order* must not be sent, by the venue's static rules."""
    if listing is None:
        return Refusal(RejectReason.NOT_TRADABLE, f"{order.coin} is not listed")
    if listing.instrument.delisted:
        return Refusal(RejectReason.NOT_TRADABLE, f"{order.coin} is delisted")
    if venue_now > order.expires_at:
        return Refusal(RejectReason.EXPIRED, "expired before it was sent")
    try:
        fits = is_on_price_grid(order.limit_price, listing.instrument.price_decimals_max)
    except InvalidNumber:
        fits = False
    if not fits:
        return Refusal(RejectReason.PRICE, "the price is not on the venue's grid")
    quantity = order.quantity
    if not quantity.is_finite() or quantity <= 0 or quantity % listing.instrument.quantity_step != 0:
        return Refusal(RejectReason.SIZE, "the quantity is not on the venue's grid")
    return None


def _words(answer: object, count: int) -> tuple[Word, ...]:
    return (answer,) * count if isinstance(answer, Refusal | Unclear) else decode_words(answer, count)


def _done(answer: object) -> Refusal | Unclear | None:
    return answer if isinstance(answer, Refusal | Unclear) else decode_done(answer)


def _report_of(order: Order, word: Word, now: datetime) -> OrderReport:
    match word:
        case Executed():
            return answered(order, word, (), now)
        case Working(words):
            return OrderReport(order.client_order_id, OrderStatus.ACCEPTED, now, detail=f"the venue says {words}")
        case Refusal(reason, words):
            return refused(order, reason, words, now)
        case Unclear(words):
            return unknown(order, words, now)


def _make_room(remembered: dict[Any, Any]) -> None:
    """Forget the oldest entries, so that one more fits."""
    while len(remembered) >= REMEMBERED_MAX:
        del remembered[next(iter(remembered))]


def _hour_of(instant: datetime) -> datetime:
    """The full hour nearest to *instant*: payments are stamped around it, mostly some milliseconds after."""
    return (instant + HOUR / 2).replace(minute=0, second=0, microsecond=0)


def _over_budget(error: VenueUnavailable) -> bool:
    """Was it our own budget that kept the question from being asked."""
    return error.facts.get("status") == "budget"
