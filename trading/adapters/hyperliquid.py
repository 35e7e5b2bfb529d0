"""The Hyperliquid venue: one account's perpetuals, traded by its API wallet.

The law: what may have left the house is never called unsent, and nothing is sent twice. A submit answers UNKNOWN for
whatever is not clear; doubt ends by fills and `orderStatus`, by an accepted `noop` that used up the order's nonce, or
by expiry on the venue's clock. Reads go by the account's own address, never by the API wallet's. Main-dex coins, cross
margin.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from trading.adapters.hyperliquid_actions import (
    Executed,
    Refusal,
    Unclear,
    Word,
    Working,
    decode_done,
    decode_words,
    encode_leverage,
    encode_noop,
    encode_orders,
)
from trading.adapters.hyperliquid_api import (
    EXCHANGE_SECONDS_MAX,
    HEAVY,
    LIGHT,
    HyperliquidApi,
    network_of,
)
from trading.adapters.hyperliquid_budget import Lane, WeightMeter
from trading.adapters.hyperliquid_news import AccountNews
from trading.adapters.hyperliquid_reader import STREAM_AGE_MAX, HyperliquidReader
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
from trading.adapters.hyperliquid_resting import RestingOrders
from trading.adapters.hyperliquid_rules import mistake_in
from trading.adapters.hyperliquid_signing import Claim, NonceRegister, Signer
from trading.adapters.hyperliquid_stream import PriceStream, stream_url
from trading.adapters.hyperliquid_values import instant_of, milliseconds
from trading.adapters.hyperliquid_wire import Fill, Listing, OrderState, decode_leverage, decode_order_state
from trading.adapters.keys import Wallet
from trading.domain.errors import Busy, VenueRejected, VenueUnavailable
from trading.domain.market import Traits
from trading.domain.orders import Order, OrderReport, OrderStatus, RejectReason
from trading.domain.resting import RestingOrder, RestingReport
from trading.domain.units import ClientOrderId, Coin
from trading.ports import Clock, Log
from trading.utils.owner import for_owner

LEVERAGE_AGAIN_SECONDS = 1.0
# The stream tells of fills about when the answer comes; asking for them costs a request of its own.
FILLS_NEWS_SECONDS = 0.15
FILL_PAUSES_SECONDS = (0.05, 0.15, 0.3, 0.5)
ASK_PACE_SECONDS = 0.25
ASK_PACE_LATER_SECONDS = 1.0
DOUBT_YOUNG_SECONDS = 2.0
REMEMBERED_MAX = 4096
_TRAITS = Traits(proves_absence=True, rests_orders=True, tells_fills=True)
_STRANGER = "the wallet key is not the account's and no approved API wallet of it"
_SPOILT = "another order of the group cannot be sent, so the group was not"
_Claiming = Callable[[Sequence[ClientOrderId], int | None], Claim]


@dataclass
class _Doubt:
    """What this process remembers of an order that it sent or asked about; times on the monotonic clock, but for
    `expires_at`, which is the venue's."""

    since: float
    asked: float | None = None
    last: OrderReport | None = None
    executed: Executed | None = None
    oid: int | None = None
    expires_at: datetime | None = None


class HyperliquidVenue(HyperliquidReader):
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
        super().__init__(api, address, network, clock, log, _TRAITS, stream)
        self._signer = signer
        self._unclear_leverage: dict[Coin, float] = {}
        self._leveraged_by = 0
        self._doubts_lock = threading.Lock()
        self._doubts: dict[ClientOrderId, _Doubt] = {}
        self._burned: dict[int, bool] = {}
        self._proven = False
        self._proof = proof
        self._rests = RestingOrders(api, signer, self._listed_for, self.is_proven, self._changed)

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
        api = HyperliquidApi(base_url, meter, clock, exchange_seconds)
        register = NonceRegister(shared_dir / f"hyperliquid-{network}", wallet.address, clock, api.correction)
        return cls(
            api,
            Signer(wallet, register, mainnet=network == "mainnet"),
            address,
            network,
            clock,
            log,
            PriceStream(stream_url(base_url), clock, log, news=AccountNews(address)) if streams else None,
            shared_dir / f"hyperliquid-{network}.proven",
        )

    @property
    def signer_address(self) -> str:
        return self._signer.address

    # The account

    def set_leverage(self, coin: Coin, leverage: int) -> None:
        """Sends nothing when the coin has this cross leverage already."""
        if not self.is_proven():
            raise VenueRejected(_STRANGER, coin=coin)
        listing = self._leveraged(coin, leverage)
        unclear_at = self._unclear_leverage.get(coin)
        if unclear_at is not None and self._clock.monotonic() - unclear_at < LEVERAGE_AGAIN_SECONDS:
            raise VenueUnavailable(f"whether the leverage of {coin} was set is not clear; asked again in a moment")
        if self._leverage_of(coin) == (True, leverage):
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
        self._leveraged_by = self._changed_by
        if isinstance(outcome, Refusal) and outcome.reason is not RejectReason.RATE_LIMIT:
            raise VenueRejected(outcome.words, coin=coin)
        if outcome is not None:
            self._unclear_leverage[coin] = self._clock.monotonic()
            raise VenueUnavailable(f"the leverage of {coin} may not have been set: {outcome.words}")

    def _leverage_of(self, coin: Coin) -> tuple[bool, int]:
        """Is the coin's leverage cross, and how high: as the live stream has said within two seconds, else asked."""
        told = self._news.leverage_after(self._leveraged_by, coin) if self._news is not None else None
        if told is not None and self._clock.now() - told[2] <= STREAM_AGE_MAX:
            return told[:2]
        present = self._api.read({**self._about("activeAssetData"), "coin": coin}, HEAVY, Lane.ORDINARY)
        return decode_leverage(present)

    # Sending

    def submit(self, orders: Sequence[Order]) -> tuple[OrderReport, ...]:
        """An order that was submitted before, by whatever process, is not sent again but told about."""
        if not orders:
            return ()
        try:
            known = self._signer.register.known([one.client_order_id for one in orders])
            fresh = {one.client_order_id: one for one in orders if one.client_order_id not in known}
            reports = self._submitted(tuple(fresh.values()), self._signer.register.claim) if fresh else ()
        except (Busy, OSError) as error:
            # The register is asked before anything leaves.
            if isinstance(error, OSError) and all(one.reduce_only for one in orders):
                self._log.write("error", f"closing without the register of nonces: {error}", event="NoncesUnwritten")
                return self._submitted(orders, self._signer.register.claim_unwritten)
            return self._all_refused(orders, RejectReason.OTHER, f"no nonce can be had: {error}: nothing was sent")
        told = self._told([one for one in orders if one.client_order_id in known])
        words = {one.client_order_id: one for one in (*reports, *told)}
        return tuple(words[one.client_order_id] for one in orders)

    def _submitted(self, orders: Sequence[Order], claimed: _Claiming) -> tuple[OrderReport, ...]:
        """Check, claim and send *orders*. Raises Busy and OSError while nothing has left."""
        try:
            if not self.is_proven(Lane.CLOSE if all(one.reduce_only for one in orders) else Lane.ORDINARY):
                return self._all_refused(orders, RejectReason.OTHER, f"{_STRANGER}: nothing was sent")
            listings = self._listed_for([one.coin for one in orders])
            if any(not one.reduce_only for one in orders) and self._skewed():
                return self._all_refused(orders, RejectReason.OTHER, "clock skew: see the clock of this machine")
        except VenueUnavailable as error:
            return self._all_refused(orders, RejectReason.OTHER, f"{error.detail}: nothing was sent")
        timed, venue_now = self._in_venue_time(orders)
        refusals = self._unsendable(timed, listings, venue_now)
        if refusals is not None:
            return refusals
        expires_after = milliseconds(min(one.expires_at for one in timed))
        claim = claimed([one.client_order_id for one in orders], expires_after if timed != tuple(orders) else None)
        if claim.known:
            # Somebody else sends the same order at this very moment; who asks next learns what became of it.
            return tuple(unknown(one, "it is being sent elsewhere", self._clock.now()) for one in orders)
        assets = {one.coin: listings[one.coin].asset for one in orders}
        return self._sent(timed, claim.nonce, assets, expires_after)

    def _unsendable(
        self, orders: Sequence[Order], listings: Mapping[Coin, Listing], venue_now: datetime
    ) -> tuple[OrderReport, ...] | None:
        """The refusals of a group that breaks the venue's static rules; None when it can be sent.

        The venue would refuse it whole with one sentence; here the culprit can be told from its group.
        """
        mistakes = [mistake_in(one, listings.get(one.coin), venue_now) for one in orders]
        if not any(mistakes):
            return None
        now = self._clock.now()
        spoilt = Refusal(RejectReason.OTHER, _SPOILT)
        pairs = zip(orders, (one or spoilt for one in mistakes), strict=True)
        return tuple(refused(order, one.reason, one.words, now) for order, one in pairs)

    def _sent(
        self, orders: Sequence[Order], nonce: int, assets: Mapping[Coin, int], expires_after: int
    ) -> tuple[OrderReport, ...]:
        """Send *orders* as one action and read what came of them."""
        lane = Lane.CLOSE if all(one.reduce_only for one in orders) else Lane.ORDINARY
        action = encode_orders(orders, assets)
        answer = self._api.write(self._signer.request(action, nonce, expires_after), 1, lane)
        self._changed()
        words = _words(answer, len(orders))
        for order, word in zip(orders, words, strict=True):
            doubt = self._doubt(order)
            doubt.expires_at = instant_of(expires_after)
            if isinstance(word, Executed):
                doubt.executed, doubt.oid = word, word.oid
        return self._settled(orders, words, lane)

    def _settled(self, orders: Sequence[Order], words: Sequence[Word], lane: Lane) -> tuple[OrderReport, ...]:
        """The reports of *words*; what was executed is read back until its fills, and so its fees, are all there."""
        reports = tuple(_report_of(order, word, self._clock.now()) for order, word in zip(orders, words, strict=True))
        executed = [order for order, word in zip(orders, words, strict=True) if isinstance(word, Executed)]
        if not executed:
            return reports
        told = self._heard(executed)
        if told:
            return tuple(told.get(one.client_order_id, one) for one in reports)
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

    def _heard(self, orders: Sequence[Order]) -> dict[ClientOrderId, OrderReport]:
        """The reports of *orders*, all executed, by the fills that the stream tells; nothing when one is missing."""
        executed = [doubt.executed for doubt in map(self._doubt, orders) if doubt.executed is not None]
        if self._news is None:
            return {}
        heard = self._news.fills_of({one.oid: one.quantity for one in executed}, FILLS_NEWS_SECONDS)
        if heard is None:
            return {}
        fills, number = heard
        told = {one.client_order_id: self._answered(one, fills) for one in orders}
        if any(one.status.in_doubt for one in told.values()):
            return {}
        self._changed_by = self._told_by = number
        return told

    def _answered(self, order: Order, fills: Sequence[Fill]) -> OrderReport:
        executed = self._doubt(order).executed
        assert executed is not None  # noqa: S101 - only executed orders are asked about
        return answered(order, executed, own_fills(order, fills, [executed.oid]), self._clock.now())

    def _all_refused(self, orders: Sequence[Order], reason: RejectReason, words: str) -> tuple[OrderReport, ...]:
        now = self._clock.now()
        return tuple(refused(one, reason, words, now) for one in orders)

    # Resting

    def place_resting(self, orders: Sequence[RestingOrder], expires_at: datetime) -> tuple[RestingReport, ...]:
        """All of *orders* in one signed action, which expires by the venue's clock."""
        with suppress(VenueUnavailable):
            expires_at += self._api.skew(Lane.WATCH).correction
        return self._rests.place(orders, expires_at)

    def cancel_resting(self, orders: Sequence[RestingOrder]) -> frozenset[ClientOrderId] | None:
        return self._rests.cancel(orders)

    # Asking

    def sent_at(self, client_order_id: ClientOrderId) -> datetime | None:
        """When an order was sent, by whatever process: its nonce, as far as the register remembers. None: never.

        Raises VenueUnavailable when that cannot be looked up.
        """
        try:
            nonce = self._signer.register.nonce_of(client_order_id)
        except (Busy, OSError) as error:
            raise VenueUnavailable(f"the register of nonces cannot be had: {error}") from error
        return None if nonce is None else instant_of(nonce) - (self._api.correction() or timedelta(0))

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
        orders = [replace(one, expires_at=self._expiry_of(one)) for one in orders]
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

    def _expiry_of(self, order: Order) -> datetime:
        """When *order* expires by the venue's clock: as it was sent, by whatever process; else as it was meant."""
        doubt = self._doubt(order)
        if doubt.expires_at is None:
            try:
                told = self._signer.register.expiry_of(order.client_order_id)
            except (Busy, OSError):
                return order.expires_at
            doubt.expires_at = order.expires_at if told is None else instant_of(told)
        return doubt.expires_at

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
        state = decode_order_state(self._api.read(request, LIGHT, lane))
        if state is not None and state.cloid not in (None, order.client_order_id.lower()):
            raise VenueUnavailable(f"Hyperliquid was asked about {order.client_order_id} and told of {state.cloid}")
        return state

    def _fills_of(self, orders: Sequence[Order], lane: Lane) -> tuple[Fill, ...]:
        """The account's fills while any of *orders* could trade."""
        start, end = min(one.intended_at for one in orders), max(one.expires_at for one in orders)
        return self._fills_between(start, end, lane)

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
            with suppress(OSError), open(self._proof, "w", encoding="utf-8", opener=for_owner) as file:
                file.write(self._proof_text())

    def _proof_text(self) -> str:
        return f"{self.signer_address} is an API wallet of {self.account_id}\n"


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
