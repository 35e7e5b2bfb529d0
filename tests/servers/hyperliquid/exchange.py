"""The exchange behind the wire: accounts, signers, nonces and the gates every action passes, in the exchange's order.

The law is one lock: whatever reads or changes a book, an account or a nonce holds it, so an action is all or nothing
and every stream tells what happened in the order in which it happened.
"""

import heapq
import threading
from collections import defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from tests.servers.hyperliquid.account import Account, Leverage, standing
from tests.servers.hyperliquid.actions import (
    Action,
    Cancels,
    Modify,
    Noop,
    OrderWire,
    PlaceOrders,
    ScheduleCancel,
    SetReferrer,
    TwapCancel,
    TwapOrder,
    UpdateIsolatedMargin,
    UpdateLeverage,
    UserSigned,
    parse_action,
)
from tests.servers.hyperliquid.market import Feed, Level, Market, synthetic
from tests.servers.hyperliquid.matching import Matcher, News, Status, Whims
from tests.servers.hyperliquid.orders import Order
from tests.servers.hyperliquid.signing import (
    CHAINS,
    SOURCES,
    connection_id,
    l1_digest,
    recover,
    signature_of,
    user_digest,
)
from tests.servers.hyperliquid.universe import Listing, Universe, default_listings
from tests.servers.hyperliquid.words import (
    DAY_MS,
    HOUR_MS,
    Refused,
    Row,
    as_address,
    bare,
    member,
    milliseconds,
    natural,
    only,
    record,
    text,
)
from trading.ports import Clock

NONCES_KEPT = 100
RECEIVED_KEPT = 20_000
ACTION_WEIGHT_MAX = 200
NAMED_AGENTS_MAX = 3
AGENT_LIFE_MS = 90 * DAY_MS
AGENT_LIFE_MAX_MS = 180 * DAY_MS
EXPIRED_COST = 5
LIMITED_PAUSE_MS = 10_000
SCHEDULE_NOTICE_MS = 5_000
SCHEDULE_VOLUME_USD = Decimal(1_000_000)
ENVELOPE = ("action", "nonce", "signature", "vaultAddress", "expiresAfter")
NO_ADDRESS = "0x" + "0" * 40
OK: Row = {"status": "ok", "response": {"type": "default"}}


@dataclass(frozen=True, slots=True)
class Agent:
    """A key that may trade for *master*. An unnamed one has the name ""."""

    address: str
    master: str
    name: str
    valid_until: int


@dataclass(frozen=True, slots=True)
class Received:
    """One action as it came and what it was answered; `signer` is empty when it was refused before it was known.

    `came_at` is when it had come, before anybody looked at it, by the clock without any skew."""

    action: Mapping[str, object]
    nonce: int
    signer: str
    account: str
    expires_after: int | None
    answer: Row
    at_ms: int
    came_at: datetime

    @property
    def type(self) -> str:
        return str(self.action.get("type"))


@dataclass(slots=True)
class Envelope:
    """One parsed request to /exchange. `signer` and `account` are filled in once they are known."""

    action: Action | UserSigned
    posted: Mapping[str, object]
    nonce: int
    vault: str | None
    expires_after: int | None
    signer: str = ""
    account: str = ""


@dataclass(slots=True)
class Nonces:
    """The nonces one signer has used: all of them tell duplicates, the hundred highest set the floor."""

    used: set[int] = field(default_factory=set)
    highest: list[int] = field(default_factory=list)

    def use(self, nonce: int, now_ms: int) -> None:
        """Raises Refused with the exchange's three sentences: duplicate, too low, too high."""
        if nonce in self.used:
            raise Refused(f"Invalid nonce: duplicate nonce {nonce}")
        floor = now_ms - 2 * DAY_MS
        if len(self.highest) == NONCES_KEPT:
            floor = max(floor, self.highest[0])
        if nonce < floor:
            raise Refused(f"Invalid nonce: nonce too low {nonce} < {floor}")
        if nonce > now_ms + DAY_MS:
            raise Refused(f"Invalid nonce: nonce too high {nonce} > {now_ms + DAY_MS}")
        self.used.add(nonce)
        heapq.heappush(self.highest, nonce)
        if len(self.highest) > NONCES_KEPT:
            heapq.heappop(self.highest)


class Exchange:
    """One exchange of one network. `networks` are the signing sources it accepts: its own, unless it is told more.

    `skew_ms` is how far its clock is ahead of ours.
    """

    def __init__(
        self,
        clock: Clock,
        network: str = "testnet",
        *,
        listings: Sequence[Listing] | None = None,
        feed: Feed | None = None,
        networks: Sequence[str] = (),
    ) -> None:
        self.clock = clock
        self.network = network
        self.networks = tuple(networks) or (network,)
        assert all(one in SOURCES for one in (network, *self.networks)), "networks are mainnet and testnet"
        self.lock = threading.RLock()
        self.universe = Universe(listings if listings is not None else default_listings(network))
        self.feed = feed
        self.markets = {one.coin: synthetic(one, feed) for one in self.universe.listings}
        self.matcher = Matcher(self.universe, self.market, self.now_ms)
        self.agents: dict[str, Agent] = {}
        self.sub_accounts: dict[str, str] = {}
        self.nonces: dict[str, Nonces] = defaultdict(Nonces)
        self.received: deque[Received] = deque(maxlen=RECEIVED_KEPT)
        self.funding_history: dict[str, list[Row]] = defaultdict(list)
        self.on_news: Callable[[News], None] = lambda news: None
        self.on_markets: Callable[[], None] = lambda: None
        self.schedule_volume = SCHEDULE_VOLUME_USD
        self.skew_ms = 0
        self._block_ms: int | None = None
        self._to_follow: deque[str] = deque()
        self._following = False
        self._funded_until = milliseconds(clock) // HOUR_MS

    # What a test scripts

    @property
    def whims(self) -> Whims:
        return self.matcher.whims

    def cap_next_fill(self, coin: str, size: Decimal | str) -> None:
        """The next order on *coin* fills at most *size*."""
        with self.lock:
            self.whims.fill_caps[coin].append(Decimal(size))

    def refuse_next(self, coin: str, sentence: str, status: str = "rejected") -> None:
        """Refuse the next order on *coin* with *sentence* (its ` asset=N` is added) and keep it as *status*."""
        with self.lock:
            self.whims.refusals[coin].append((sentence, status))

    def exhaust_budget(self, user: str, cancels_too: bool = False) -> None:
        """Use up the address's requests for life: one passes every ten seconds, and for a while cancels do."""
        with self.lock:
            account = self.account(user)
            account.requests_used = account.requests_cap * (2 if cancels_too else 1)
            account.last_limited_ms = self.now_ms()

    def now_ms(self) -> int:
        """The exchange's time: it stands still while one action is carried out, as within a block."""
        return self._block_ms if self._block_ms is not None else milliseconds(self.clock) + self.skew_ms

    def open_account(self, address: str, usd: Decimal | int, abstraction: str = "default") -> Account:
        """Give *address* an account with that much USDC; more, if it has one."""
        with self.lock:
            account = self.matcher.accounts.setdefault(as_address(address), Account(as_address(address)))
            account.raw += Decimal(usd)
            account.abstraction = abstraction
            delta: Row = {"type": "deposit", "usdc": text(Decimal(usd))}
            account.ledger.append({"time": self.now_ms(), "hash": "0x" + "0" * 64, "delta": delta})
            return account

    def transfer(self, user: str, usd: str, *, to_spot: bool = False) -> None:
        """Pay so much in, or out where it is negative; or move it to spot, of which nothing else is known here."""
        with self.lock:
            account, amount = self.account(user), Decimal(usd)
            delta: Row = {"type": "deposit", "usdc": text(amount)}
            if amount < 0:
                delta = {"type": "withdraw", "usdc": text(-amount - 1), "nonce": self.now_ms(), "fee": "1.0"}
            if to_spot:
                delta = {"type": "accountClassTransfer", "usdc": text(amount), "toPerp": False}
            account.raw += -amount if to_spot else amount
            row: Row = {"time": self.now_ms(), "hash": f"0x{len(account.ledger):064x}", "delta": delta}
            account.ledger.append(row)

    def approve_agent(self, master: str, agent: str, name: str = "") -> None:
        """Let *agent* trade for *master*, as an approveAgent action does but without its rules."""
        with self.lock:
            valid_until = self.now_ms() + AGENT_LIFE_MS
            self.agents[as_address(agent)] = Agent(as_address(agent), as_address(master), name, valid_until)

    def revoke_agent(self, agent: str) -> None:
        with self.lock:
            del self.agents[as_address(agent)]

    def set_market(
        self,
        coin: str,
        mid: Decimal | str | None = None,
        *,
        mark: Decimal | str | None = None,
        oracle: Decimal | str | None = None,
        spread_bps: Decimal | str | None = None,
        depth_usd: Decimal | str | int | None = None,
        gap_bps: Decimal | str | None = None,
        bids: Sequence[tuple[str, str]] | None = None,
        asks: Sequence[tuple[str, str]] | None = None,
        refill: bool | None = None,
        funding_rate: Decimal | str | None = None,
    ) -> None:
        """Script the market of *coin* from now on; what is left out stays.

        A new mid takes mark and oracle along unless they are given too. `bids` and `asks` are (price, size) rows, best
        first, and replace the synthetic side; giving both without a mid moves the mid between them. Triggers, resting
        orders and liquidations follow at once, and the streams are told.
        """
        with self.lock:
            market = self.market(coin)
            market.feed = None
            given = {"spread_bps": spread_bps, "depth_usd": depth_usd, "gap_bps": gap_bps, "funding_rate": funding_rate}
            for name, value in given.items():
                if value is not None:
                    setattr(market, name, Decimal(value))
            if refill is not None:
                market.refill = refill
            if mid is None and bids and asks:
                mid = (Decimal(bids[0][0]) + Decimal(asks[0][0])) / 2
            if mid is not None:
                market.mid = market.mark = market.oracle = Decimal(mid)
            market.mark = Decimal(mark) if mark is not None else market.mark
            market.oracle = Decimal(oracle) if oracle is not None else market.oracle
            if any(value is not None for value in (mid, spread_bps, depth_usd, gap_bps)):
                market.build_book()
            if bids is not None:
                market.bids = [Level(Decimal(price), Decimal(size)) for price, size in bids]
            if asks is not None:
                market.asks = [Level(Decimal(price), Decimal(size)) for price, size in asks]
            self._moved(market)
            self._publish()
            self.on_markets()

    def set_history(self, coin: str, mids: Sequence[Decimal | str]) -> None:
        """Script what candles tell of *coin* before now: a minute each of *mids*, over and over. It stands still
        from now on, at the mid it has."""
        with self.lock:
            market = self.market(coin)
            market.feed = None
            market.live_through([Decimal(one) for one in mids], self.now_ms())

    def list_coin(self, listing: Listing) -> int:
        """List another coin while the exchange runs; its asset id."""
        with self.lock:
            self.markets[listing.coin] = synthetic(listing, self.feed)
            return self.universe.add(listing)

    def tick(self) -> None:
        """Catch up with the clock: feeds, hourly funding, scheduled cancels. Safe to call at any time."""
        with self.lock:
            for coin in self.markets:
                self.market(coin)
            now = self.now_ms()
            while self._funded_until < now // HOUR_MS:
                self._funded_until += 1
                self.charge_funding(self._funded_until * HOUR_MS)
            for account in self.matcher.accounts.values():
                if account.cancel_all_at is not None and account.cancel_all_at <= now:
                    account.cancel_all_at = None
                    self.matcher.cancel_all(account, "scheduledCancel")
            self._publish()

    def charge_funding(self, hour_ms: int | None = None, coins: Sequence[str] = ()) -> None:
        """One hour's funding of *coins* (all of them when none is named), stamped *hour_ms* or the last full hour."""
        with self.lock:
            stamp = hour_ms if hour_ms is not None else self.now_ms() // HOUR_MS * HOUR_MS
            for coin in coins or tuple(self.markets):
                market = self.markets[coin]
                rate = market.feed.funding_rate(coin, stamp) if market.feed is not None else market.funding_rate
                self.matcher.charge_funding(coin, rate, market.oracle, stamp)
                row: Row = {
                    "coin": coin,
                    "fundingRate": text(rate),
                    "premium": text(market.premium),
                    "time": stamp + 27,
                }
                self.funding_history[coin].append(row)
            self.matcher.watch_margins()
            self._publish()

    def liquidate(self, user: str, coin: str, method: str = "market") -> None:
        """Liquidate a position now, whatever its margin."""
        with self.lock:
            self.matcher.liquidate(self.account(user), coin, method)
            self._publish()

    def deleverage(self, user: str, coin: str, size: Decimal | str, price: Decimal | str | None = None) -> None:
        """Force *size* of a position closed at *price* (the mark when none is given), as auto-deleveraging does."""
        with self.lock:
            at = Decimal(price) if price is not None else self.market(coin).mark
            self.matcher.deleverage(self.account(user), coin, Decimal(size), at)
            self._publish()

    # The truth, for assertions

    def account(self, user: str) -> Account:
        """The account; an empty one for an address without any, as the exchange answers."""
        address = as_address(user)
        return self.matcher.accounts.get(address, Account(address))

    def position(self, user: str, coin: str) -> Decimal:
        with self.lock:
            return self.account(user).held(coin)

    def positions(self, user: str) -> dict[str, Decimal]:
        with self.lock:
            return {coin: one.size for coin, one in self.account(user).positions.items()}

    def equity(self, user: str) -> Decimal:
        with self.lock:
            return standing(self.account(user), self.matcher.mark_of).equity

    def fills(self, user: str, coin: str | None = None) -> list[Row]:
        """Oldest first."""
        with self.lock:
            return [dict(row) for row in self.account(user).fills if coin in (None, row["coin"])]

    def order(self, user: str, target: int | str) -> Order | None:
        with self.lock:
            return self.account(user).find(target)

    def market(self, coin: str) -> Market:
        """The market of *coin* as of now."""
        market = self.markets[coin]
        if market.refresh(self.now_ms()):
            self._moved(market)
        return market

    def _moved(self, market: Market) -> None:
        market.remember(self.now_ms())
        market.fed_at_ms = self.now_ms()
        self._to_follow.append(market.listing.coin)
        if self._following:
            # A look at another market while one is being followed: its turn comes next, not in between.
            return
        self._following = True
        try:
            while self._to_follow:
                self.matcher.follow_market(self._to_follow.popleft())
        finally:
            self._following = False

    # Actions

    def read_envelope(self, envelope: Mapping[str, object]) -> Envelope:
        """Parse a request to /exchange; raises Unprocessable. Nothing is consumed."""
        only(envelope, *ENVELOPE)
        posted = record(member(envelope, "action"))
        vault, expires = envelope.get("vaultAddress"), envelope.get("expiresAfter")
        return Envelope(
            parse_action(posted),
            posted,
            natural(envelope, "nonce"),
            as_address(vault) if isinstance(vault, str) else None,
            natural(envelope, "expiresAfter") if expires is not None else None,
        )

    def act(self, envelope: Mapping[str, object]) -> Row:
        """Carry out one request to /exchange and answer it; raises Unprocessable for what is a 422."""
        came_at = self.clock.now()
        request = self.read_envelope(envelope)
        signature = signature_of(envelope)
        with self.lock:
            self._block_ms = self.now_ms()
            try:
                self._authorize(request, signature)
                answer = self._dispatch(request)
            except Refused as refusal:
                answer = {"status": "err", "response": str(refusal)}
            finally:
                self._block_ms = None
            self.received.append(
                Received(
                    request.posted,
                    request.nonce,
                    request.signer,
                    request.account,
                    request.expires_after,
                    answer,
                    self.now_ms(),
                    came_at,
                )
            )
            self._publish()
            return answer

    def _authorize(self, request: Envelope, signature: tuple[int, int, int]) -> None:
        """Signer, authority, budget, nonce, expiry: what a refusal consumes depends on how far it came."""
        if isinstance(request.action, UserSigned):
            self._authorize_user(request, request.action, signature)
        else:
            self._authorize_l1(request, request.action, signature)
        self._spend(request)
        now = self.now_ms()
        self.nonces[request.signer].use(request.nonce, now)
        if request.expires_after is not None and now > request.expires_after:
            self.account(request.account).requests_used += (EXPIRED_COST - 1) * _weight(request.action)
            raise Refused("Action already expired")

    def _authorize_user(self, request: Envelope, action: UserSigned, signature: tuple[int, int, int]) -> None:
        request.signer = request.account = recover(user_digest(action), signature)
        chains = [CHAINS[network] for network in self.networks]
        known = request.signer in self.matcher.accounts
        if not known or action.chain_name not in chains or action.nonce != request.nonce:
            raise Refused(f"Must deposit before performing actions. User: {request.signer}")

    def _authorize_l1(self, request: Envelope, action: Action, signature: tuple[int, int, int]) -> None:
        connection = connection_id(action, request.nonce, request.vault, request.expires_after)
        signers = [recover(l1_digest(connection, network), signature) for network in self.networks]
        known = [signer for signer in signers if signer in self.agents or signer in self.matcher.accounts]
        request.signer = known[0] if known else signers[0]
        if not known:
            raise Refused(f"User or API Wallet {request.signer} does not exist.")
        agent = self.agents.get(request.signer)
        master = agent.master if agent is not None else request.signer
        request.account = master
        if request.vault is not None:
            if request.vault not in self.sub_accounts:
                raise Refused(f"Vault not registered: {request.vault}")
            if self.sub_accounts[request.vault] != master:
                raise Refused(f"Sub-account {request.vault} is not registered to {master}")
            request.account = request.vault

    def _spend(self, request: Envelope) -> None:
        """The address's budget of requests for life; cancels may go on for a while after it is used up."""
        account = self.account(request.account)
        cap, weight = account.requests_cap, _weight(request.action)
        if isinstance(request.action, Cancels):
            cap = min(cap + 100_000, 2 * cap)
        now = self.now_ms()
        if account.requests_used + weight > cap and now - account.last_limited_ms < LIMITED_PAUSE_MS:
            raise Refused(
                f"Too many cumulative requests sent ({account.requests_used + weight} > {cap}) for cumulative volume "
                f"traded ${account.volume:.2f}. Place taker orders to free up 1 request per USDC traded."
            )
        if account.requests_used + weight > cap:
            account.last_limited_ms = now
        account.requests_used += weight

    def _dispatch(self, request: Envelope) -> Row:
        account, action = self.account(request.account), request.action
        match action:
            case PlaceOrders():
                return self._place(account, action)
            case Cancels():
                _check_weight(len(action.targets))
                statuses = [self.matcher.cancel(account, asset, target) for asset, target in action.targets]
                return {"status": "ok", "response": {"type": "cancel", "data": {"statuses": statuses}}}
            case Modify():
                return self._modify(account, action)
            case UpdateLeverage():
                return self._update_leverage(account, action)
            case UpdateIsolatedMargin():
                return self._update_isolated_margin(account, action)
            case ScheduleCancel():
                return self._schedule_cancel(account, action)
            case UserSigned():
                return self._user_signed(account, action)
            case TwapOrder() | TwapCancel():
                raise Refused("Native TWAP orders are not simulated.")
            case Noop() | SetReferrer():
                return OK

    # Orders

    def _place(self, account: Account, action: PlaceOrders) -> Row:
        _check_weight(len(action.orders))
        problem = self._static_problem(action)
        if problem is not None:
            return _statuses([{"error": problem}])
        if action.grouping == "normalTpsl":
            return _statuses(self._place_bracket(account, action))
        tied = action.grouping == "positionTpsl"
        placed = [self.matcher.place(account, wire, action.builder, tied) for wire in action.orders]
        return _statuses([status for status, _ in placed])

    def _place_bracket(self, account: Account, action: PlaceOrders) -> list[Status]:
        parent_wire, *child_wires = action.orders
        status, parent = self.matcher.place(account, parent_wire, action.builder)
        if not parent.live and parent.left > 0:
            # Refused, or an IOC that did not fill completely: its children go with it.
            error: Status = {"error": "Parent order was canceled."}
            if isinstance(status, dict) and "error" in status:
                error = status
            return [status, *([error] * len(child_wires))]
        return [status, *(self.matcher.park(account, wire, parent)[0] for wire in child_wires)]

    def _static_problem(self, action: PlaceOrders) -> str | None:
        """The first fault that refuses the whole batch before anything of it is executed."""
        if not action.orders:
            return "Orders are empty."
        for wire in action.orders:
            problem = self._wire_problem(wire, action.grouping == "positionTpsl")
            if problem is not None:
                return f"{problem} asset={wire.asset}"
        triggers = [wire for wire in action.orders if wire.trigger is not None]
        children = action.orders[1:] if action.grouping == "normalTpsl" else action.orders
        if action.grouping not in ("normalTpsl", "positionTpsl"):
            return None
        if not triggers or any(wire.trigger is None for wire in children) or len(children) > 2:
            return "Unexpected number of trigger orders"
        if any(not wire.reduce_only for wire in triggers):
            return "Trigger order is not reduce only."
        parent = action.orders[0]
        if action.grouping == "normalTpsl" and any(wire.is_buy == parent.is_buy for wire in children):
            return "Trigger order has unexpected side."
        return None

    def _wire_problem(self, wire: OrderWire, tied: bool) -> str | None:
        if wire.asset >= len(self.universe.listings):
            return "Unknown asset."
        listing = self.universe.listings[wire.asset]
        prices = [wire.limit] if wire.trigger is None else [wire.limit, wire.trigger.price]
        if any(price <= 0 for price in prices):
            return "Order has invalid price."
        if not all(listing.legal_price(price) for price in prices):
            return "Price must be divisible by tick size."
        if wire.size == 0 and not tied:
            return "Order has zero size."
        return None if listing.legal_size(wire.size) else "Order has invalid size."

    def _modify(self, account: Account, action: Modify) -> Row:
        _check_weight(len(action.modifications))
        statuses: list[Status] = []
        for one in action.modifications:
            try:
                statuses.append(self._modified(account, one.target, one.order, action.always))
            except Refused as refusal:
                if action.type == "modify":
                    raise
                statuses.append({"error": str(refusal)})
        return OK if action.type == "modify" else _statuses(statuses)

    def _modified(self, account: Account, target: int | str, wire: OrderWire, always: bool) -> Status:
        """Cancel and place: a new order id, and the old order is gone even when the new one is refused."""
        old = account.find(target)
        if old is None or not old.live or old.asset != wire.asset:
            raise Refused("Cannot modify canceled or filled order")
        if self._wire_problem(wire, tied=False) is not None or (not always and wire.tif not in ("Alo", "Gtc")):
            raise Refused("Attempted to modify to invalid new order")
        self.matcher.cancel(account, old.asset, old.oid)
        if not always:
            wire = OrderWire(wire.asset, wire.is_buy, wire.limit, wire.size, wire.reduce_only, "Alo", None, wire.cloid)
        status, _ = self.matcher.place(account, wire)
        if isinstance(status, dict) and "error" in status:
            raise Refused(f"Error placing new order during modify: {status['error']}")
        return status

    # Leverage, margin, the rest

    def _listing(self, asset: int) -> Listing:
        if asset >= len(self.universe.listings):
            raise Refused(f"Unknown asset. asset={asset}")
        return self.universe.listings[asset]

    def _update_leverage(self, account: Account, action: UpdateLeverage) -> Row:
        listing = self._listing(action.asset)
        if not 1 <= action.leverage <= listing.max_leverage:
            raise Refused("Invalid leverage value")
        if action.is_cross and listing.only_isolated:
            raise Refused("Cross margin is not allowed for this asset.")
        leverage = Leverage(action.leverage, action.is_cross)
        position = account.positions.get(listing.coin)
        if position is None:
            account.leverages[listing.coin] = leverage
            return OK
        if position.leverage.is_cross != action.is_cross:
            raise Refused("Cannot switch leverage type with open position.")
        before, position.leverage = position.leverage, leverage
        if action.is_cross and standing(account, self.matcher.mark_of).available < 0:
            position.leverage = before
            raise Refused("Cross position does not have sufficient margin available to decrease leverage.")
        if not action.is_cross and action.leverage < before.value:
            position.leverage = before
            raise Refused(
                "Isolated position does not have sufficient margin available to decrease leverage. To decrease "
                "leverage, add margin to the position."
            )
        account.leverages[listing.coin] = leverage
        return OK

    def _update_isolated_margin(self, account: Account, action: UpdateIsolatedMargin) -> Row:
        listing = self._listing(action.asset)
        position = account.positions.get(listing.coin)
        if position is None or position.leverage.is_cross:
            raise Refused("Position does not use isolated margin.")
        usd = Decimal(action.ntli) / 1_000_000
        mark = self.market(listing.coin).mark
        needed = position.value(mark) / position.leverage.value
        spare = standing(account, self.matcher.mark_of).available if usd > 0 else position.margin_used(mark) - needed
        if abs(usd) > spare:
            raise Refused("Insufficient margin for isolated margin update.")
        position.raw += usd
        account.raw -= usd
        return OK

    def _schedule_cancel(self, account: Account, action: ScheduleCancel) -> Row:
        if account.volume < self.schedule_volume:
            raise Refused(
                "Cannot set scheduled cancel time until enough volume traded. "
                f"Required: ${bare(self.schedule_volume)}. Traded: ${account.volume:.2f}."
            )
        if action.at_ms is not None and action.at_ms < self.now_ms() + SCHEDULE_NOTICE_MS:
            raise Refused("Scheduled cancel time too early, must be at least 5 seconds from now.")
        account.cancel_all_at = action.at_ms
        return OK

    def _user_signed(self, account: Account, action: UserSigned) -> Row:
        if action.type == "approveAgent":
            self._approve_agent(account, str(action.fields["agentAddress"]), str(action.fields["agentName"]))
        elif action.type == "approveBuilderFee":
            rate = str(action.fields["maxFeeRate"])
            if not rate.endswith("%"):
                raise Refused("Invalid decimal number")
            account.builder_fees[str(action.fields["builder"])] = int(Decimal(rate[:-1]) * 1000)
        elif action.fields["user"] == account.address:
            account.abstraction = str(action.fields["abstraction"])
        return OK

    def _approve_agent(self, account: Account, agent: str, name: str) -> None:
        now = self.now_ms()
        label, _, until = name.partition(" valid_until ")
        valid_until = int(until) if until.isdigit() else now + AGENT_LIFE_MS
        if not now < valid_until <= now + AGENT_LIFE_MAX_MS:
            raise Refused("Agent valid_until already expired.")
        if agent in self.agents or agent in self.matcher.accounts:
            raise Refused("Extra agent already used.")
        mine = [one for one in self.agents.values() if one.master == account.address]
        for replaced in [one for one in mine if one.name == label]:
            del self.agents[replaced.address]
        named = [one for one in mine if one.name not in ("", label)]
        if label and len(named) >= NAMED_AGENTS_MAX:
            raise Refused(f"Too many extra agents for cumulative volume traded. Current limit is {NAMED_AGENTS_MAX}")
        if agent != NO_ADDRESS:
            self.agents[agent] = Agent(agent, account.address, label, valid_until)

    def _publish(self) -> None:
        news, self.matcher.news = self.matcher.news, News()
        self.on_news(news)


def _weight(action: Action | UserSigned) -> int:
    """What an action costs the address: one, or one for each order or cancel in it."""
    match action:
        case PlaceOrders():
            return max(1, len(action.orders))
        case Cancels():
            return max(1, len(action.targets))
        case Modify():
            return max(1, len(action.modifications))
        case _:
            return 1


def _check_weight(count: int) -> None:
    if count > ACTION_WEIGHT_MAX:
        raise Refused(f"Signed action over weight limit of {ACTION_WEIGHT_MAX}.")


def _statuses(statuses: Sequence[Status]) -> Row:
    return {"status": "ok", "response": {"type": "order", "data": {"statuses": list(statuses)}}}
