"""The Pear venue: pairs opened and closed through Pear's API, everything read from Hyperliquid itself.

The law: what may have left the house is never called unsent, and nothing is posted twice; Pear's word is no fill, the
exchange's is. Writes of the account go one at a time, closes before openings. With a wallet key of the account at hand,
a close that Pear refuses, or does not confirm in ten seconds, goes to the exchange directly, where it can only reduce.
"""

from collections.abc import Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path

from trading.adapters.hyperliquid import HyperliquidVenue
from trading.adapters.hyperliquid_actions import Refusal
from trading.adapters.hyperliquid_api import EXCHANGE_SECONDS_MAX, HyperliquidApi, network_of
from trading.adapters.hyperliquid_budget import Lane, WeightMeter
from trading.adapters.hyperliquid_reader import HyperliquidReader
from trading.adapters.hyperliquid_reports import refused, unknown
from trading.adapters.hyperliquid_rules import mistake_in
from trading.adapters.hyperliquid_stream import PriceStream, stream_url
from trading.adapters.hyperliquid_wire import Fill, account_fill
from trading.adapters.keys import Wallet
from trading.adapters.pear_api import READ_SECONDS_MAX, SYNC_SECONDS_MAX, Done, PearApi
from trading.adapters.pear_cuts import Cut, Sweep, as_held, writes_of
from trading.adapters.pear_direct import DirectCloses, is_pear_s_own
from trading.adapters.pear_register import Sent, WriteRegister
from trading.adapters.pear_reports import Evidence, evidence_of, owners_of, report_on, sent_at
from trading.adapters.pear_wire import (
    BUILDER_FEE,
    NOTIONAL_MIN,
    SLIPPAGE_MIN,
    Basket,
    Refused,
    Unclear,
    decode_baskets,
    decode_created,
    decode_failures,
    decode_lines,
    encode_lines,
    encode_open,
    has_failed,
    slippage_of,
    takes_weights_per_side,
)
from trading.domain.errors import Busy, StoreCorrupt, VenueUnavailable
from trading.domain.market import Account, Instrument, Traits
from trading.domain.orders import Order, OrderReport, RejectReason, Side
from trading.domain.resting import AccountFill, PairLine, RestingOrder, RestingReport, RestingStatus
from trading.domain.units import ZERO, ClientOrderId, Coin, Quantity, Ratio, Usd, hash_of
from trading.ports import Clock, Log

SETTLE_PAUSES_SECONDS = (0.05, 0.15, 0.3, 0.5, 0.6, 0.6)
# How long an order in doubt may be, and how often it is then asked about: a look at the fills is dear.
ASK_PACES_SECONDS = ((2.0, 0.25), (15.0, 1.0), (float("inf"), 5.0))
DEFAULT_LEVERAGE = 1
# An agreed leverage is for the opening that follows at once; what is held since knows better.
AGREED_SECONDS_MAX = 60.0
OPENING_PRICE_AGE_MAX = timedelta(seconds=3)
REMEMBERED_MAX = 4096
LINE_TOLERANCE = Ratio(Decimal("0.05"))
_SPOILT = "another order of the group cannot be sent, so the group was not"
_NO_REGISTER = "the register of orders cannot be had"
_UNSHOWN = "Pear shows no position that holds it, or not surely enough to take a part of it"


class PearVenue(HyperliquidReader):
    """A Venue (see ports) for the account at *address*. Safe for several threads and several processes.

    Constructing it sends nothing. *direct* is the same account's own venue, for closes that Pear does not confirm.
    `close` ends the streams.
    """

    name = "pear"

    def __init__(
        self,
        api: HyperliquidApi,
        pear: PearApi,
        register: WriteRegister,
        address: str,
        network: str,
        clock: Clock,
        log: Log,
        stream: PriceStream | None = None,
        direct: HyperliquidVenue | None = None,
    ) -> None:
        traits = Traits(
            proves_absence=False, sizes_in_coins=False, keeps_pairs=True, tells_fills=True, prices_closes=True
        )
        fee = Ratio(traits.taker_fee + BUILDER_FEE)
        traits = replace(traits, rests_orders=direct is not None, taker_fee=fee)
        super().__init__(api, address, network, clock, log, traits, stream)
        if direct is not None:
            direct.share_listings(self)
        self.pear = pear
        self.direct = direct
        self._register = register
        self._closes = DirectCloses(direct, clock, log) if direct is not None else None
        self._leverages: dict[Coin, tuple[int, float]] = {}
        self._read_otherwise = False
        self._sync_is_slow = False
        self._unread: AbstractSet[str] = frozenset()
        self._asked: dict[ClientOrderId, tuple[float, OrderReport]] = {}

    @classmethod
    def open(
        cls,
        pear_url: str,
        api_key: str,
        client_id: str,
        exchange_url: str,
        address: str,
        weight_per_minute: int,
        shared_dir: Path,
        clock: Clock,
        log: Log,
        *,
        wallet: Wallet | None = None,
        streams: bool = True,
        exchange_seconds: float = EXCHANGE_SECONDS_MAX,
    ) -> "PearVenue":
        """The venue behind *pear_url* and *exchange_url*, put together; sends nothing.

        *shared_dir* holds the register of orders and the exchange's request budget: one folder for all desks of the
        machine. Raises InvalidRequest for a URL that is no use and StoreCorrupt when *shared_dir* cannot be made.
        """
        network = network_of(exchange_url)
        meter = WeightMeter(shared_dir / f"hyperliquid-{network}.weight", weight_per_minute, clock)
        direct = None
        if wallet is not None:
            direct = HyperliquidVenue.open(
                exchange_url, wallet, address, weight_per_minute, shared_dir, clock, log, streams=False
            )
        return cls(
            HyperliquidApi(exchange_url, meter, clock, exchange_seconds),
            PearApi(pear_url, address, api_key, client_id, clock),
            WriteRegister(shared_dir / f"pear-{network}", address.lower()),
            address,
            network,
            clock,
            log,
            PriceStream(stream_url(exchange_url), clock, log) if streams else None,
            direct,
        )

    def close(self) -> None:
        """End the price streams."""
        super().close()
        if self.direct is not None:
            self.direct.close()

    # The market and the account

    def instruments(self) -> Mapping[Coin, Instrument]:
        """What the exchange lists, with Pear's own minimum."""
        listed = super().instruments()
        return {
            coin: replace(one, notional_min=Usd(max(one.notional_min, NOTIONAL_MIN))) for coin, one in listed.items()
        }

    def require_room(self) -> None:
        """Raises VenueUnavailable, too, when Pear gives no token or wants to be left alone."""
        super().require_room()
        self.pear.require_room()

    def set_leverage(self, coin: Coin, leverage: int) -> None:
        """Nothing is sent: Pear sets it with the opening that it is for."""
        self._leveraged(coin, leverage)
        self._leverages[coin] = leverage, self._clock.monotonic()

    def learn_fees(self) -> None:
        """The account's own fee at the exchange, and Pear's on top."""
        super().learn_fees()
        self._traits = replace(self._traits, taker_fee=Ratio(self._traits.taker_fee + BUILDER_FEE))

    def baskets(self, *, hurried: bool = False) -> tuple[Basket, ...]:
        """The positions as Pear keeps them, synced with the exchange first, which may take its time: after one that
        was not waited for to the end the next one is, unless *hurried*. Raises VenueUnavailable."""
        patient = self._sync_is_slow and not hurried
        seconds = SYNC_SECONDS_MAX if patient else READ_SECONDS_MAX
        try:
            found = decode_baskets(self.pear.read("/positions", {"syncPosition": "true"}, seconds))
        except VenueUnavailable as error:
            # Where Pear hangs altogether, at every other time only: a close is to be tried often.
            self._sync_is_slow = not patient and "status" not in error.facts
            raise
        self._tell_unread({one.unread for one in found if one.unread})
        return found

    def _tell_unread(self, why: AbstractSet[str]) -> None:
        """Say once of positions at Pear that they cannot be read: they hide no other, and none of them is traded."""
        if why and why != self._unread:
            self._log.write(
                "warning", f"a position at Pear cannot be read: {'; '.join(sorted(why))}", event="PearUnclear"
            )
        self._unread = why

    # Sending

    def submit(self, orders: Sequence[Order]) -> tuple[OrderReport, ...]:
        """An order that was submitted before, by whatever process, is not sent again but told about."""
        try:
            known = self._register.known()
        except Busy as error:
            return tuple(self._unsent(one, f"{_NO_REGISTER}: {error}") for one in orders)
        except (OSError, StoreCorrupt) as error:
            # What reduces needs no file where there is a wallet key.
            why = f"{_NO_REGISTER}: {error}"
            return tuple(
                self._closed_directly(one, f"{why}: nothing was sent to Pear")
                if one.reduce_only
                else self._unsent(one, why)
                for one in orders
            )
        fresh = [one for one in orders if one.client_order_id not in known]
        words = {one.client_order_id: one for one in self._told([o for o in orders if o.client_order_id in known])}
        for reports in (
            self._reduced([one for one in fresh if one.reduce_only]),
            self._opened([one for one in fresh if not one.reduce_only]),
        ):
            words |= {one.client_order_id: one for one in reports}
        return tuple(words[one.client_order_id] for one in orders)

    def _opened(self, orders: Sequence[Order]) -> tuple[OrderReport, ...]:
        """One POST /positions for all of *orders*, which open."""
        if not orders:
            return ()
        try:
            mistakes = self._mistakes(orders)
            if not any(mistakes):
                quotes, now = self.quotes([one.coin for one in orders]), self._clock.now()
                # A price that cannot be read now is told as it was. Pear lays the band around its own mid.
                if any(abs(now - one.taken_at) > OPENING_PRICE_AGE_MAX for one in quotes.values()):
                    return tuple(self._unsent(one, "no fresh price can be had: nothing was sent") for one in orders)
                mids = {coin: one.mid for coin, one in quotes.items()}
                mistakes = [_off_market(one, mids[one.coin]) if one.coin in mids else _NO_PRICE for one in orders]
            if any(mistakes):
                return self._refused_unsent(orders, mistakes)
            if self._skewed():
                return tuple(self._unsent(one, "clock skew: see the clock of this machine") for one in orders)
            slippage = slippage_of(orders, mids)
            key = hash_of("pear", *(one.client_order_id for one in orders))[:32]
            body = encode_open(orders, mids, self._leverage_of(orders), slippage, key)
        except VenueUnavailable as error:
            return tuple(self._unsent(one, f"{error.detail}: nothing was sent") for one in orders)
        return self._open_in_turn(orders, body, key)

    def _open_in_turn(self, orders: Sequence[Order], body: object, key: str) -> tuple[OrderReport, ...]:
        try:
            self.pear.require_room()
            with self._register.turn(closes=False):
                late = [one for one in orders if self._clock.now() > one.expires_at]
                if late:
                    return self._refused_unsent(orders, [_EXPIRED if one in late else None for one in orders])
                early = self._posted(orders, "/positions", body, key)
        except (VenueUnavailable, Busy, OSError, StoreCorrupt) as error:
            return tuple(self._unsent(one, f"{error}: nothing was sent") for one in orders)
        return early or self._settled(orders)

    def _reduced(self, orders: Sequence[Order]) -> tuple[OrderReport, ...]:
        """The baskets that hold what *orders* reduce, closed or cut down, one write each."""
        if not orders:
            return ()
        try:
            mistakes = self._mistakes(orders)
        except VenueUnavailable as error:
            return tuple(self._unsent(one, f"{error.detail}: nothing was sent") for one in orders)
        account = self._account_to_reduce(orders)
        if account is not None:
            mistakes = [
                known or self._nothing_to_reduce(order, account.held(order.coin))
                for order, known in zip(orders, mistakes, strict=True)
            ]
        reports = {
            order.client_order_id: self._kept(order, refused(order, one.reason, one.words, self._clock.now()))
            for order, one in zip(orders, mistakes, strict=True)
            if one is not None
        }
        left = [one for one in orders if one.client_order_id not in reports]
        for report in self._cut(left, account):
            reports[report.client_order_id] = report
        return tuple(reports[one.client_order_id] for one in orders)

    def _account_to_reduce(self, orders: Sequence[Order]) -> Account | None:
        """What *orders* reduce; None where the exchange cannot be read, for what leaves Pear whole needs no reading."""
        try:
            account = self.account()
            if any(self._nothing_to_reduce(one, account.held(one.coin)) for one in orders):
                # By a reading of before, what another process has opened since would be called gone.
                self._changed()
                account = self.account()
        except VenueUnavailable:
            return None
        return account

    def _cut(self, orders: Sequence[Order], account: Account | None) -> list[OrderReport]:
        """One write a basket, by a reading in the turn: sizes at Pear are absolute, and by an older one a cut would
        give back what another write has taken since."""
        if not orders:
            return []
        reports: dict[ClientOrderId, OrderReport] = {}
        posted: list[Order] = []
        why, directly = _UNSHOWN, True
        try:
            self.pear.log_in()
            with self._register.turn(closes=True):
                # What can go to the exchange waits no longer than a read may take.
                baskets = self.baskets(hurried=self._closes is not None)
                for cut in self._writes(orders, baskets, account):
                    reports |= {
                        one.client_order_id: one
                        for one in self._posted(cut.orders, cut.path, cut.body, cut.key, cut.expected)
                    }
                    posted += cut.orders
        except VenueUnavailable as error:
            why = error.detail
        except Busy as error:
            why, directly = f"no turn could be had: {error}", False
        except (OSError, StoreCorrupt) as error:
            why = f"{_NO_REGISTER}: {error}"
        settling = [one for one in posted if one.client_order_id not in reports]
        reports |= {one.client_order_id: one for one in self._settled(settling)}
        words = f"{why}: nothing was sent to Pear"
        for order in [one for one in orders if one.client_order_id not in reports]:
            report = self._closed_directly(order, words) if directly else self._unsent(order, words)
            reports[order.client_order_id] = report
        return list(reports.values())

    def _writes(
        self, orders: Sequence[Order], baskets: tuple[Basket, ...], account: Account | None
    ) -> Sequence[Cut | Sweep]:
        """The writes that carry out *orders* by *baskets* of which no more is believed than the exchange has. Where
        that is less by *account*, which may have been read before the turn, and others have opened since, it is asked.
        """
        listed = self._listed_for(())
        if account is not None and as_held(baskets, account.holdings, listed) != baskets:
            self._changed()
            account = self._account_to_reduce(())
        return writes_of(orders, baskets, None if account is None else account.holdings, listed)

    def _closed_directly(self, order: Order, why: str) -> OrderReport:
        """By the exchange, when there is a key for it; nothing has gone to Pear. It needs no file."""
        if self._closes is None:
            return self._unsent(order, f"{why}, and there is no wallet key to close it with")
        try:
            if order.client_order_id not in self._register.known():
                self._register.claim([order], "direct", self._clock.now())
        except Busy as error:
            return self._unsent(order, f"{_NO_REGISTER}: {error}")
        except (OSError, StoreCorrupt) as error:
            self._log.write("error", f"closing without the register of orders: {error}", event="OrdersUnwritten")
        self._changed()
        try:
            report = self._closes.send(order, Quantity(ZERO), self._touch(order), why)
        except VenueUnavailable as error:
            return self._unsent(order, f"{why}, and to the exchange neither: {error.detail}")
        return report if report.status.in_doubt else self._kept(order, report)

    def _touch(self, order: Order) -> Decimal | None:
        """The touch that *order* would meet now; None without one."""
        try:
            quote = self.quotes([order.coin]).get(order.coin)
        except VenueUnavailable:
            return None
        if quote is None or not quote.usable:
            return None
        return quote.ask if order.side is Side.BUY else quote.bid

    def _posted(
        self,
        orders: Sequence[Order],
        path: str,
        body: object,
        key: str,
        expected: Mapping[Coin, Quantity] | None = None,
    ) -> tuple[OrderReport, ...]:
        """Register and post once; the caller has the turn. Reports, when there is a last word already.

        Raises VenueUnavailable, Busy, OSError and StoreCorrupt while nothing was posted, and only then.
        """
        if self._register.claim(orders, key, self._clock.now(), expected):
            return tuple(unknown(one, "it is being sent elsewhere", self._clock.now()) for one in orders)
        self._changed()
        outcome = self.pear.write("POST", path, body)
        self._changed()
        try:
            return self._noted(orders, outcome)
        except (Busy, OSError, StoreCorrupt) as error:
            # It was posted, whatever cannot be written down: the fills tell what became of it.
            self._log.write("warning", f"what Pear said of an order could not be registered: {error}")
            return ()

    def _noted(self, orders: Sequence[Order], outcome: Done | Refused | Unclear) -> tuple[OrderReport, ...]:
        """Register what Pear said; reports, when that is the last word already."""
        now = self._clock.now()
        match outcome:
            case Done(answer) if has_failed(answer):
                self._register.refused(orders, now, RejectReason.OTHER, "its order has failed")
            case Done(answer):
                self._register.answered(orders, now, _told_in(answer))
                self._tell_failures(answer)
            case Refused(reason, words, _, _, True) if not self._goes_directly(orders, reason):
                return tuple(self._kept(one, refused(one, reason, words, now)) for one in orders)
            case Refused(reason, words):
                self._register.refused(orders, now, reason, words)
            case Unclear(words, not_begun):
                if not_begun and all(one.reduce_only for one in orders):
                    # A close may be sent again: it waits for no longer than what was done takes to show.
                    self._register.refused(orders, now, RejectReason.OTHER, words)
                self._log.write("warning", f"Pear left it open what became of an order: {words}", event="PearUnclear")
        return ()

    def _goes_directly(self, orders: Sequence[Order], reason: RejectReason) -> bool:
        """Is Pear's no to *orders* not the last word, because the exchange itself may take them."""
        return self._closes is not None and all(one.reduce_only for one in orders) and is_pear_s_own(reason)

    def _tell_failures(self, answer: object) -> None:
        """A sweep succeeds as a whole and fails by position: what was not closed shows no fills, and is tried again."""
        for position_id, words in decode_failures(answer).items():
            self._log.write("warning", f"Pear did not close {position_id}: {words}", event="PearUnclear")

    def _settled(self, orders: Sequence[Order]) -> tuple[OrderReport, ...]:
        """What the exchange shows, waited for as long as a caller can be held; where it cannot be read, no longer."""
        reports: tuple[OrderReport, ...] = ()
        try:
            reports = self.reports(orders)
            for pause in SETTLE_PAUSES_SECONDS:
                if not any(one.status.in_doubt for one in reports):
                    break
                self._clock.sleep(pause)
                self._forget_pace(orders)
                reports = self.reports(orders)
        except VenueUnavailable as error:
            return reports or tuple(unknown(one, error.detail, self._clock.now()) for one in orders)
        return reports

    def _mistakes(self, orders: Sequence[Order]) -> list[Refusal | None]:
        """Why each of *orders* must not be sent, by the static rules. Raises VenueUnavailable."""
        listings, (timed, now) = self._listed_for([one.coin for one in orders]), self._in_venue_time(orders)
        found = []
        for order in timed:
            mistake = mistake_in(order, listings.get(order.coin), now)
            if mistake is None and not order.reduce_only and order.quantity * order.limit_price < NOTIONAL_MIN:
                mistake = Refusal(RejectReason.NOTIONAL_MIN, f"below Pear's minimum of {NOTIONAL_MIN} USD a coin")
            found.append(mistake)
        return found

    def _nothing_to_reduce(self, order: Order, held: Quantity) -> Refusal | None:
        there = -held * order.side.sign
        if there <= 0:
            return Refusal(RejectReason.REDUCE_ONLY, "the account holds nothing that it would reduce")
        if order.quantity < there and order.quantity * order.limit_price < NOTIONAL_MIN:
            return Refusal(RejectReason.NOTIONAL_MIN, f"below Pear's minimum of {NOTIONAL_MIN} USD a coin")
        return None

    def _refused_unsent(self, orders: Sequence[Order], mistakes: Sequence[Refusal | None]) -> tuple[OrderReport, ...]:
        """The whole group: one order alone would be a naked leg."""
        now, spoilt = self._clock.now(), Refusal(RejectReason.OTHER, _SPOILT)
        pairs = zip(orders, (one or spoilt for one in mistakes), strict=True)
        return tuple(self._kept(order, refused(order, one.reason, one.words, now)) for order, one in pairs)

    def _unsent(self, order: Order, words: str) -> OrderReport:
        return self._kept(order, refused(order, RejectReason.OTHER, words, self._clock.now()))

    def _kept(self, order: Order, report: OrderReport, fills: Sequence[Fill] = ()) -> OrderReport:
        """*report*, registered as the last word, so that every process tells the same."""
        try:
            self._register.ended(order, report, (one.tid for one in fills))
        except (Busy, OSError, StoreCorrupt) as error:
            self._log.write("warning", f"the last word on an order could not be registered: {error}")
        return report

    def _leverage_of(self, orders: Sequence[Order]) -> int:
        """As agreed for these coins just now, else as the account has it; of two that differ the lower one."""
        present, now = self.account().leverages, self._clock.monotonic()
        found = []
        for coin in (one.coin for one in orders):
            agreed, at = self._leverages.get(coin, (DEFAULT_LEVERAGE, now))
            fresh = coin in self._leverages and now - at <= AGREED_SECONDS_MAX
            found.append(agreed if fresh else present.get(coin, agreed))
        return min(found)

    # Asking

    def reports(self, orders: Sequence[Order]) -> tuple[OrderReport, ...]:
        """Asked again within a pace that slows as a doubt grows old, an order is answered with the last word on it."""
        now = self._clock.monotonic()
        due = [one for one in orders if self._is_due(one, now)]
        told = {one.client_order_id: one for one in self._asked_about(due)} if due else {}
        return tuple(told.get(one.client_order_id) or self._asked[one.client_order_id][1] for one in orders)

    def _told(self, orders: Sequence[Order]) -> tuple[OrderReport, ...]:
        """Reports for a submit, which must not raise."""
        try:
            return self.reports(orders)
        except VenueUnavailable as error:
            return tuple(unknown(one, error.detail, self._clock.now()) for one in orders)

    def _asked_about(self, orders: Sequence[Order]) -> list[OrderReport]:
        try:
            known = self._register.known()
        except (Busy, OSError, StoreCorrupt) as error:
            raise VenueUnavailable(f"{_NO_REGISTER}: {error}") from error
        ended = {name: one.final for name, one in known.items() if one.final is not None}
        open_ones = [one for one in orders if one.client_order_id not in ended]
        reports = {one.client_order_id: one for one in self._from_fills(open_ones, known)} if open_ones else {}
        found = [reports.get(one.client_order_id) or ended[one.client_order_id] for one in orders]
        for order, report in zip(orders, found, strict=True):
            self._remember(order, report)
        return found

    def _from_fills(self, orders: Sequence[Order], known: Mapping[ClientOrderId, Sent]) -> list[OrderReport]:
        lane = Lane.CLOSE if any(one.reduce_only for one in orders) else Lane.WATCH
        # The clock first: what an order is found to be later is true of an instant after this one.
        venue_now, clocks = self._venue_now(lane), self._api.skew(lane)
        since = min(sent_at(one, known) for one in orders)
        fills = self._fills_between(since, self._clock.now(), lane)
        evidence = evidence_of(orders, known, fills, venue_now, clocks)
        return [self._judged(one, evidence[one.client_order_id]) for one in orders]

    def _judged(self, order: Order, evidence: Evidence) -> OrderReport:
        report = report_on(order, evidence, self._clock.now())
        if self._closes is not None and order.reduce_only:
            report = self._closes.instead(order, report, evidence, lambda: self._touch(order))
        return report if report.status.in_doubt else self._kept(order, report, evidence.fills)

    def _is_due(self, order: Order, now: float) -> bool:
        known = self._asked.get(order.client_order_id)
        if known is None:
            return True
        if not known[1].status.in_doubt:
            return False
        age = (self._clock.now() - order.intended_at).total_seconds()
        return now - known[0] >= next(pace for limit, pace in ASK_PACES_SECONDS if age <= limit)

    def _remember(self, order: Order, report: OrderReport) -> None:
        while len(self._asked) >= REMEMBERED_MAX:
            del self._asked[next(iter(self._asked))]
        self._asked[order.client_order_id] = self._clock.monotonic(), report

    def _forget_pace(self, orders: Sequence[Order]) -> None:
        for order in orders:
            self._asked.pop(order.client_order_id, None)

    # Resting, and the account's fills

    def place_resting(self, orders: Sequence[RestingOrder], expires_at: datetime) -> tuple[RestingReport, ...]:
        """At the exchange itself, by the wallet key; without one nothing can rest."""
        if self.direct is not None:
            return self.direct.place_resting(orders, expires_at)
        words = "nothing rests at the exchange without HYPERLIQUID_WALLET_KEY"
        return tuple(
            RestingReport(one.client_order_id, RestingStatus.REJECTED, RejectReason.OTHER, words) for one in orders
        )

    def cancel_resting(self, orders: Sequence[RestingOrder]) -> frozenset[ClientOrderId] | None:
        return self.direct.cancel_resting(orders) if self.direct is not None else frozenset()

    def draw_lines(self, lines: Sequence[PairLine]) -> bool:
        """As TP and SL of the positions that hold just what these pairs do, in dollars; what stands there stays."""
        if not lines:
            return True
        try:
            baskets = self.baskets()
            drawn = [self._drawn(line, baskets) for line in lines]
        except VenueUnavailable as error:
            self._log.write("warning", f"the second line at Pear could not be drawn: {error.detail}")
            return False
        return all(drawn)

    def _drawn(self, line: PairLine, baskets: Collection[Basket]) -> bool:
        basket = next((one for one in baskets if _is_pair(one, line)), None)
        if basket is None:
            return False
        self._check_reading(basket)
        body = encode_lines(line)
        if decode_lines(body) == (basket.take_profit, basket.stop_loss):
            return True
        # Without a turn: it trades nothing, and no close is to wait for it.
        outcome = self.pear.write("PUT", f"/positions/{basket.id}/riskParameters", body)
        if not isinstance(outcome, Done):
            self._log.write("warning", f"Pear did not take the second line of a position: {outcome.words}")
        return isinstance(outcome, Done)

    def _check_reading(self, basket: Basket) -> None:
        """Say once that Pear takes weights otherwise than the desk sends them."""
        if not self._read_otherwise and takes_weights_per_side(basket):
            words = "Pear seems to take weights per side: its ratio is that of the prices, not the geometric one"
            self._log.write("error", words, event="PearReadsOtherwise", position=basket.id)
            self._read_otherwise = True

    def account_fills(self, since: datetime) -> tuple[AccountFill, ...]:
        """Fills that Pear made for the desk carry the desk's own ids, as the register knows them."""
        fills = self._fills_between(since, self._clock.now(), Lane.CLOSE)
        skew = self._api.skew(Lane.CLOSE)
        try:
            owners = owners_of(self._register.known(), fills, skew)
        except (Busy, OSError, StoreCorrupt) as error:
            raise VenueUnavailable(f"{_NO_REGISTER}: {error}") from error
        first = since + skew.ahead - skew.uncertain
        told = sorted((one for one in fills if one.at >= first), key=lambda one: (one.at, one.tid, one.oid))
        return tuple(
            replace(account_fill(one, self.account_id), client_order_id=owners[one.tid, one.oid])
            if (one.tid, one.oid) in owners
            else account_fill(one, self.account_id)
            for one in told
        )


_NO_PRICE = Refusal(RejectReason.NOT_TRADABLE, "no price can be had")
_EXPIRED = Refusal(RejectReason.EXPIRED, "expired before it was sent")


def _off_market(order: Order, mid: Decimal) -> Refusal | None:
    """Pear takes a band around the mid, not a limit: one that does not reach the market, or is narrower than Pear's
    narrowest, would be overstepped."""
    band = (order.limit_price / mid - 1) * order.side.sign
    if band <= 0:
        return Refusal(RejectReason.NO_MATCH, "its limit does not reach the market")
    if band < SLIPPAGE_MIN:
        return Refusal(RejectReason.PRICE, f"its band is narrower than Pear's narrowest, {SLIPPAGE_MIN}")
    return None


def _told_in(answer: object) -> Mapping[int, tuple[Coin, Quantity]]:
    """The fills that an answer tells; none when it tells none that can be read: the exchange's are the truth."""
    try:
        return decode_created(answer).told
    except VenueUnavailable:
        return {}


def _is_pair(basket: Basket, line: PairLine) -> bool:
    """Is *basket* the pair of *line*, and hardly more or less of it: a leg that was completed alone is kept elsewhere,
    and the pair's dollars on the other are reached by a move that it does not feel; what is somebody else's stays."""
    wanted = {(line.long_coin, Side.BUY): line.long_quantity, (line.short_coin, Side.SELL): line.short_quantity}
    parts = {(one.coin, one.side): one.quantity for one in basket.parts}
    return parts.keys() == wanted.keys() and all(
        abs(parts[name] - quantity) <= quantity * LINE_TOLERANCE for name, quantity in wanted.items()
    )
