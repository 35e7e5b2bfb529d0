"""Matching: what happens to one order against one book, and to resting ones when the market moves.

The rules are those documented for, or measured on, the real exchange (docs/adr/0070): checks in the exchange's order,
the $10 rule and its exemption, reduce-only that shrinks and never flips, expire-maker self-trade prevention, triggers
on the mark, one fill for a flip. Everything that happened is kept in `news` until it is told to the streams.
"""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal

from tests.servers.hyperliquid.account import FILLS_KEPT, Account, Position, standing
from tests.servers.hyperliquid.actions import Builder, OrderWire
from tests.servers.hyperliquid.market import Level, Market
from tests.servers.hyperliquid.orders import Order
from tests.servers.hyperliquid.universe import Listing, Universe
from tests.servers.hyperliquid.words import ZERO, Row, cut, rounded, text
from trading.domain.units import hash_of

MIN_VALUE_USD = Decimal(10)
PRICE_BAND = Decimal("0.8")
OPEN_ORDERS_MAX = 1000
HISTORY_MAX = 2000
FEE_DECIMALS = 6
MARKET_MAKER = "0x" + "aa" * 20
LIQUIDATOR = "0x2e3d94f0562703b25c83308a05046ddaf9a8dd14"
BUILDER_FEE_UNIT = Decimal("0.00001")
AUTO_DELEVERAGING = "Auto-Deleveraging"
NO_HASH = "0x" + "0" * 64

Status = str | Row


class Rejection(Exception):
    """One order refused: the sentence without its asset, and the status the order keeps."""

    def __init__(self, sentence: str, status: str) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.status = status


@dataclass(slots=True)
class News:
    """What happened since it was last told, by account and by coin."""

    updates: dict[str, list[Row]] = field(default_factory=lambda: defaultdict(list))
    fills: dict[str, list[Row]] = field(default_factory=lambda: defaultdict(list))
    events: dict[str, list[Row]] = field(default_factory=lambda: defaultdict(list))
    fundings: dict[str, list[Row]] = field(default_factory=lambda: defaultdict(list))
    trades: dict[str, list[Row]] = field(default_factory=lambda: defaultdict(list))
    touched: set[str] = field(default_factory=set)


@dataclass(slots=True)
class Whims:
    """What a test has ordered the exchange to do to coming orders."""

    refusals: dict[str, list[tuple[str, str]]] = field(default_factory=lambda: defaultdict(list))
    fill_caps: dict[str, list[Decimal]] = field(default_factory=lambda: defaultdict(list))
    halted: set[str] = field(default_factory=set)
    post_only: bool = False


@dataclass(frozen=True, slots=True)
class Match:
    price: Decimal
    size: Decimal
    level: Level | None
    maker: Order | None


class Matcher:
    """The books and the orders of all accounts. The caller holds the exchange's lock."""

    def __init__(self, universe: Universe, market: Callable[[str], Market], now_ms: Callable[[], int]) -> None:
        self.universe = universe
        self.accounts: dict[str, Account] = {}
        self.whims = Whims()
        self.news = News()
        self._market = market
        self._now = now_ms
        self.open_orders_max = OPEN_ORDERS_MAX
        self._oid = 62_014_444_000
        self._sequence = 0

    def mark_of(self, coin: str) -> Decimal:
        return self._market(coin).mark

    # Books

    def resting(self, coin: str) -> list[Order]:
        return [one for account in self.accounts.values() for one in account.live_orders(coin) if one.resting]

    def book(self, coin: str) -> tuple[list[tuple[Decimal, Decimal, int]], list[tuple[Decimal, Decimal, int]]]:
        """(price, size, orders) best first, bids then asks: the market's levels and what accounts rest."""
        market, resting = self._market(coin), self.resting(coin)
        sides = []
        for levels, is_buy in ((market.bids, True), (market.asks, False)):
            prices: dict[Decimal, list[Decimal]] = defaultdict(list)
            for level in levels:
                if level.size > 0:
                    prices[level.price].append(level.size)
            for order in resting:
                if order.is_buy == is_buy:
                    prices[order.limit].append(order.left)
            ranked = sorted(prices, reverse=is_buy)
            sides.append([(price, sum(prices[price], ZERO), len(prices[price])) for price in ranked])
        return sides[0], sides[1]

    def matches(self, coin: str, is_buy: bool, size: Decimal, limit: Decimal | None) -> list[Match]:
        """What an order would meet, in price-time priority and no further than *limit*."""
        market = self._market(coin)
        levels = market.asks if is_buy else market.bids
        makers = [one for one in self.resting(coin) if one.is_buy != is_buy]
        ranked: list[tuple[Decimal, int, Level | None, Order | None]] = [(one.price, 1, one, None) for one in levels]
        ranked += [(one.limit, 0, None, one) for one in sorted(makers, key=lambda one: one.oid)]
        ranked.sort(key=lambda offer: (offer[0] if is_buy else -offer[0], offer[1]))
        found, left = [], size
        for price, _, level, maker in ranked:
            beyond = limit is not None and (price > limit if is_buy else price < limit)
            if left <= 0 or beyond:
                break
            there = maker.left if maker is not None else level.size if level is not None else ZERO
            if there > 0:
                found.append(Match(price, min(left, there), level, maker))
                left -= min(left, there)
        return found

    # Placing

    def place(
        self, account: Account, wire: OrderWire, builder: Builder | None = None, tied: bool = False
    ) -> tuple[Status, Order]:
        """Place one order that passed the static checks; its status element and the order as kept."""
        order = self._new(account, wire, builder)
        order.position_tied = tied
        try:
            return self._placed(account, order), order
        except Rejection as rejection:
            self._end(account, order, rejection.status)
            return {"error": f"{rejection.sentence} asset={order.asset}"}, order

    def park(self, account: Account, wire: OrderWire, parent: Order) -> tuple[Status, Order]:
        """A take-profit or stop that waits for *parent*, which rests or is filled, to fill completely."""
        order = self._new(account, wire, None)
        order.parent, order.placed = parent, True
        order.siblings = list(parent.children)
        for sibling in parent.children:
            sibling.siblings.append(order)
        parent.children.append(order)
        self._tell(account, order)
        order.waiting = parent.live
        return "waitingForFill" if parent.live else "waitingForTrigger", order

    def _new(self, account: Account, wire: OrderWire, builder: Builder | None) -> Order:
        self._oid += 1
        listing = self.universe.listings[wire.asset]
        account.leverages.setdefault(listing.coin, account.leverage_of(listing))
        now = self._now()
        order = Order(
            oid=self._oid,
            user=account.address,
            asset=wire.asset,
            coin=listing.coin,
            is_buy=wire.is_buy,
            limit=wire.limit,
            original=wire.size,
            left=wire.size,
            reduce_only=wire.reduce_only,
            tif="Ioc" if wire.tif == "FrontendMarket" else wire.tif,
            trigger=wire.trigger,
            cloid=wire.cloid,
            placed_at=now,
            builder=builder,
            status_at=now,
        )
        account.keep(order)
        return order

    def _placed(self, account: Account, order: Order) -> Status:
        self._check_whims(order)
        self._check_builder(account, order)
        if len(account.live_orders()) > self.open_orders_max and (order.reduce_only or order.trigger is not None):
            raise Rejection("Too many open orders.", "tooManyOpenOrdersRejected")
        if order.trigger is not None:
            return self._rest_trigger(account, order)
        return self._execute(account, order)

    def _check_whims(self, order: Order) -> None:
        refusals = self.whims.refusals[order.coin]
        if refusals:
            raise Rejection(*refusals.pop(0))
        if order.coin in self.whims.halted or self.universe.of(order.coin).delisted:
            raise Rejection("Trading is halted.", "rejected")
        if self.whims.post_only and order.tif != "Alo":
            raise Rejection("Only post-only orders allowed immediately after a network upgrade", "rejected")

    def _check_builder(self, account: Account, order: Order) -> None:
        if order.builder is not None and order.builder.fee > account.builder_fees.get(order.builder.address, 0):
            raise Rejection("Builder fee has not been approved.", "rejected")

    def _rest_trigger(self, account: Account, order: Order) -> Status:
        if order.fires_at(self.mark_of(order.coin)):
            raise Rejection("Invalid TP/SL price.", "badTriggerPxRejected")
        if order.position_tied:
            order.original = order.left = abs(account.held(order.coin))
        else:
            self._check_value(account, order)
        order.placed = True
        self._tell(account, order)
        return "waitingForTrigger"

    def _execute(self, account: Account, order: Order) -> Status:
        """Match, then rest what a GTC or ALO has left. Checks in the exchange's order: liquidity, margin, value,
        reduce-only."""
        market = self._market(order.coin)
        matches = self.matches(order.coin, order.is_buy, order.left, order.limit)
        if order.tif == "Alo" and matches:
            bid, ask = market.bids[0].price if market.bids else ZERO, market.asks[0].price if market.asks else ZERO
            raise Rejection(
                f"Post only order would have immediately matched, bbo was {text(bid)}@{text(ask)}.", "badAloPxRejected"
            )
        if order.tif == "Ioc" and not matches:
            raise Rejection("Order could not immediately match against any resting orders.", "iocCancelRejected")
        self._check_margin(account, order)
        self._check_value(account, order)
        self._check_band(order, market)
        self._shrink(account, order)
        cap = self.whims.fill_caps[order.coin]
        wanted = min(order.left, cap.pop(0)) if cap else order.left
        filled, average = self._take(account, order, wanted)
        if order.left == 0 or (order.tif == "Ioc" and filled > 0):
            self._end(account, order, "filled")
        elif order.tif == "Ioc":
            raise Rejection("Order could not immediately match against any resting orders.", "iocCancelRejected")
        else:
            self._rest(account, order)
        self._follow_position(account, order.coin)
        if order.status != "filled":
            return {"resting": self._named(order)}
        shown = cut(average, self.universe.of(order.coin).price_decimals)
        return {"filled": {"totalSz": text(filled), "avgPx": text(shown), **self._named(order)}}

    def _named(self, order: Order) -> Row:
        return {"oid": order.oid} if order.cloid is None else {"oid": order.oid, "cloid": order.cloid}

    def _check_margin(self, account: Account, order: Order) -> None:
        held = account.held(order.coin)
        opens = order.left if held == 0 or (held > 0) == order.is_buy else max(ZERO, order.left - abs(held))
        if order.reduce_only or opens == 0:
            return
        leverage = account.leverages[order.coin].value
        if opens * self.mark_of(order.coin) / leverage > standing(account, self.mark_of).available:
            raise Rejection("Insufficient margin to place order.", "perpMarginRejected")

    def _check_value(self, account: Account, order: Order) -> None:
        """At least $10 at the limit price, unless the order closes exactly the whole position."""
        if order.left * order.limit >= MIN_VALUE_USD:
            return
        held = account.held(order.coin)
        closes = held != 0 and (held > 0) != order.is_buy
        whole = order.left == abs(held) or (order.reduce_only and order.left > abs(held))
        if not (closes and whole):
            raise Rejection("Order must have minimum value of $10.", "minTradeNtlRejected")

    def _check_band(self, order: Order, market: Market) -> None:
        if abs(order.limit - market.mark) > PRICE_BAND * market.mark:
            raise Rejection("Order price cannot be more than 80% away from the reference price", "oracleRejected")

    def _shrink(self, account: Account, order: Order) -> None:
        if not order.reduce_only:
            return
        held = account.held(order.coin)
        if held == 0 or (held > 0) == order.is_buy:
            raise Rejection("Reduce only order would increase position.", "reduceOnlyRejected")
        order.left = min(order.left, abs(held))

    def _rest(self, account: Account, order: Order) -> None:
        order.placed = True
        self._tell(account, order)
        if not order.reduce_only:
            return
        rivals = [
            one
            for one in account.live_orders(order.coin)
            if one.reduce_only and one.resting and one.is_buy == order.is_buy and one is not order
        ]
        room = abs(account.held(order.coin)) - order.left
        for rival in sorted(rivals, key=lambda one: one.oid, reverse=True):
            room -= rival.left
            if room < 0:
                self._end(account, rival, "reduceOnlyCanceled")

    # Filling

    def _take(self, account: Account, order: Order, wanted: Decimal) -> tuple[Decimal, Decimal]:
        """Fill up to *wanted* against the book; (size, average price). Own resting orders in the way are cancelled."""
        self._sequence += 1
        self._expire_own(account, order, wanted)
        filled, notional = ZERO, ZERO
        for match in self.matches(order.coin, order.is_buy, wanted, order.limit):
            self._fill_maker(order.coin, match)
            self._fill(account, order, match.size, match.price, crossed=True)
            filled += match.size
            notional += match.size * match.price
        return filled, notional / filled if filled else ZERO

    def _expire_own(self, account: Account, order: Order, wanted: Decimal) -> None:
        while True:
            matches = self.matches(order.coin, order.is_buy, wanted, order.limit)
            own = [one.maker for one in matches if one.maker is not None and one.maker.user == account.address]
            if not own:
                return
            self._end(account, own[0], "selfTradeCanceled")

    def _fill_maker(self, coin: str, match: Match) -> None:
        if match.level is not None and not self._market(coin).refill:
            match.level.size -= match.size
        if match.maker is None:
            return
        owner = self.accounts[match.maker.user]
        self._fill(owner, match.maker, match.size, match.price, crossed=False)
        if match.maker.left == 0:
            self._end(owner, match.maker, "filled")
        self._follow_position(owner, coin)

    def _fill(
        self,
        account: Account,
        order: Order,
        size: Decimal,
        price: Decimal,
        *,
        crossed: bool,
        forced: Row | None = None,
    ) -> None:
        """Book one fill. `forced` replaces parts of the row of a liquidation or a deleveraging."""
        listing, start = self.universe.of(order.coin), account.held(order.coin)
        closed_pnl = self._move(account, listing, size if order.is_buy else -size, price)
        notional = size * price
        fee = cut(notional * (account.taker_fee if crossed else account.maker_fee), FEE_DECIMALS)
        if forced is not None and forced.get("dir") == AUTO_DELEVERAGING:
            fee = ZERO
        builder_fee = ZERO
        if order.builder is not None:
            builder_fee = cut(notional * order.builder.fee * BUILDER_FEE_UNIT, FEE_DECIMALS)
        account.raw -= fee + builder_fee
        account.volume += notional
        order.left -= size
        self._sequence += 1
        tid = int(hash_of("tid", self._sequence)[:12], 16)
        row: Row = {
            "coin": order.coin,
            "px": text(price),
            "sz": text(size),
            "side": order.side,
            "time": self._now(),
            "startPosition": text(start),
            "dir": direction(start, account.held(order.coin)),
            "closedPnl": text(rounded(closed_pnl, FEE_DECIMALS)),
            "hash": f"0x{hash_of('action', order.oid)}",
            "oid": order.oid,
            "crossed": crossed,
            "fee": text(fee + builder_fee),
            "tid": tid,
            "feeToken": "USDC",
            "twapId": None,
        }
        if order.cloid is not None:
            row["cloid"] = order.cloid
        if builder_fee:
            row["builderFee"] = text(builder_fee)
        row |= forced or {}
        account.fills.append(row)
        del account.fills[:-FILLS_KEPT]
        self.news.fills[account.address].append(row)
        self.news.touched.add(account.address)
        self._print_trade(account, order, row)

    def _print_trade(self, account: Account, order: Order, fill: Row) -> None:
        """The public trade; a maker's is printed by its taker, unless the market itself came to it."""
        market = self._market(order.coin)
        market.volume_usd += Decimal(str(fill["px"])) * Decimal(str(fill["sz"]))
        buyer, seller = (account.address, MARKET_MAKER) if order.is_buy else (MARKET_MAKER, account.address)
        shared = {name: fill[name] for name in ("coin", "px", "sz", "time", "hash", "tid")}
        trade: Row = {**shared, "side": order.side, "users": [buyer, seller]}
        if not fill["crossed"]:
            return
        market.trades.append(trade)
        self.news.trades[order.coin].append(trade)

    def _move(self, account: Account, listing: Listing, signed: Decimal, price: Decimal) -> Decimal:
        """Change the position and the cash by one fill; the profit it realized, gross of fees."""
        position = account.positions.get(listing.coin)
        if position is None:
            position = Position(listing, ZERO, ZERO, account.leverages[listing.coin])
            account.positions[listing.coin] = position
        start, size = position.size, abs(signed)
        closing = min(size, abs(start)) if (start > 0) != (signed > 0) else ZERO
        opening = size - closing
        part = closing / abs(start) if start else ZERO
        entry = position.entry_notional if closing == abs(start) else position.entry_notional * part
        realized = (closing * price - entry) if start > 0 else (entry - closing * price)
        position.entry_notional += opening * price - entry if closing else opening * price
        position.size = start + signed
        sign = 1 if signed > 0 else -1
        self._settle(account, position, part, sign * closing * price, sign * opening * price)
        position.funding_since_change = ZERO
        if start and (position.size > 0) != (start > 0):
            position.funding_since_open = ZERO
        if position.size == 0:
            del account.positions[listing.coin]
        return realized if closing else ZERO

    def _settle(self, account: Account, position: Position, part: Decimal, closed: Decimal, opened: Decimal) -> None:
        """Pay for what was closed and opened (signed notionals); an isolated position has a purse of its own."""
        if position.leverage.is_cross:
            account.raw -= closed + opened
            return
        released = position.raw * part
        margin = abs(opened) / position.leverage.value
        position.raw += margin - opened - released
        account.raw += released - closed - margin

    # What follows from a fill, a price, an hour

    def _follow_position(self, account: Account, coin: str) -> None:
        """Reduce-only orders shrink with their position and end with it; position-tied ones grow with it too."""
        held = account.held(coin)
        for order in account.live_orders(coin):
            if not order.reduce_only or not order.placed or order.waiting:
                continue
            if held == 0 or (held > 0) == order.is_buy:
                self._end(account, order, "reduceOnlyCanceled")
            elif order.position_tied:
                order.original = order.left = abs(held)
            elif order.resting:
                order.left = min(order.left, abs(held))

    def follow_market(self, coin: str) -> None:
        """Fire triggers, fill what the market came to, liquidate who cannot carry on."""
        mark = self.mark_of(coin)
        for account in list(self.accounts.values()):
            for order in account.live_orders(coin):
                if order.armed and order.fires_at(mark):
                    self._fire(account, order)
            for order in account.live_orders(coin):
                if order.resting:
                    self._fill_resting(account, order)
        self.watch_margins()

    def watch_margins(self) -> None:
        """Liquidate whoever can no longer carry what they hold."""
        for account in list(self.accounts.values()):
            if account.positions:
                self._watch_margin(account)

    def _fire(self, account: Account, order: Order) -> None:
        assert order.trigger is not None
        order.fired, order.placed = True, False
        order.tif = "Ioc" if order.trigger.is_market else "Gtc"
        self._tell(account, order, "triggered")
        try:
            self._execute(account, order)
        except Rejection as rejection:
            thin = order.trigger.is_market and rejection.status == "iocCancelRejected"
            self._end(account, order, "marketOrderNoLiquidityRejected" if thin else rejection.status)

    def _fill_resting(self, account: Account, order: Order) -> None:
        market = self._market(order.coin)
        levels = market.asks if order.is_buy else market.bids
        crossed = [one for one in levels if (one.price <= order.limit if order.is_buy else one.price >= order.limit)]
        there = min(order.left, sum((one.size for one in crossed), ZERO))
        if there <= 0:
            return
        self._sequence += 1
        self._fill(account, order, there, order.limit, crossed=False)
        if order.left == 0:
            self._end(account, order, "filled")
        self._follow_position(account, order.coin)

    def _watch_margin(self, account: Account) -> None:
        now = standing(account, self.mark_of)
        cross = [coin for coin, one in account.positions.items() if one.leverage.is_cross]
        if cross and now.cross_value < now.cross_maintenance:
            method = "market" if now.cross_value * 3 >= now.cross_maintenance * 2 else "backstop"
            for coin in cross:
                self.liquidate(account, coin, method)
        for coin, position in list(account.positions.items()):
            mark = self.mark_of(coin)
            if not position.leverage.is_cross and position.margin_used(mark) < position.maintenance(mark):
                self.liquidate(account, coin, "market")

    def liquidate(self, account: Account, coin: str, method: str = "market") -> None:
        """Sell or buy back the whole position: to the book (`market`), what is left at the mark (`backstop`)."""
        for order in account.live_orders(coin):
            self._end(account, order, "liquidatedCanceled")
        position, mark = account.positions[coin], self.mark_of(coin)
        value = standing(account, self.mark_of).equity
        note: Row = {
            "lid": self._sequence,
            "liquidator": LIQUIDATOR,
            "liquidated_user": account.address,
            "liquidated_ntl_pos": text(rounded(position.value(mark), FEE_DECIMALS)),
            "liquidated_account_value": text(rounded(value, FEE_DECIMALS)),
        }
        self.news.events[account.address].append({"liquidation": note})
        order = self._forced(account, coin, abs(position.size))
        marks: Row = {"liquidatedUser": account.address, "markPx": text(mark), "method": "market"}
        if method == "market":
            for match in self.matches(coin, order.is_buy, order.left, None):
                if match.level is not None:
                    self._fill_maker(coin, match)
                    self._fill(account, order, match.size, match.price, crossed=True, forced={"liquidation": marks})
        if order.left > 0:
            kind = "Cross" if position.leverage.is_cross else "Isolated"
            words = f"Liquidated {kind} {'Short' if order.is_buy else 'Long'}"
            forced: Row = {"liquidation": {**marks, "method": "backstop"}, "dir": words}
            self._fill(account, order, order.left, mark, crossed=True, forced=forced)
        self._end(account, order, "filled")

    def deleverage(self, account: Account, coin: str, size: Decimal, price: Decimal) -> None:
        """Take *size* out of a position at *price*, as auto-deleveraging does: no fee, nobody asked."""
        order = self._forced(account, coin, min(size, abs(account.held(coin))))
        self._fill(account, order, order.left, price, crossed=False, forced={"dir": AUTO_DELEVERAGING})
        self._end(account, order, "filled")
        self._follow_position(account, coin)

    def _forced(self, account: Account, coin: str, size: Decimal) -> Order:
        is_buy = account.held(coin) < 0
        wire = OrderWire(self.universe.asset(coin), is_buy, self.mark_of(coin), size, True, "Ioc", None, None)
        order = self._new(account, wire, None)
        order.tif = "LiquidationMarket"
        return order

    def charge_funding(self, coin: str, rate: Decimal, oracle: Decimal, hour_ms: int) -> None:
        """The hourly payment of everybody who holds *coin*: size x oracle price x rate, longs pay a positive one."""
        for account in self.accounts.values():
            position = account.positions.get(coin)
            if position is None:
                continue
            paid = rounded(position.size * oracle * rate, FEE_DECIMALS)
            if position.leverage.is_cross:
                account.raw -= paid
            else:
                position.raw -= paid
            position.funding_all_time += paid
            position.funding_since_open += paid
            position.funding_since_change += paid
            delta: Row = {"coin": coin, "usdc": text(-paid), "szi": text(position.size), "fundingRate": text(rate)}
            self.news.touched.add(account.address)
            row: Row = {"time": hour_ms, "hash": NO_HASH, "delta": {"type": "funding", **delta, "nSamples": 1}}
            account.fundings.append(row)
            self.news.fundings[account.address].append({"time": hour_ms, **delta, "nSamples": 1})
            self.news.events[account.address].append({"funding": {"time": hour_ms, **delta}})

    # Ending

    def cancel(self, account: Account, asset: int, target: int | str) -> Status:
        """`success`, or the one sentence for never placed, already cancelled, filled or another asset."""
        order = account.find(target)
        if order is None or not order.live or order.asset != asset:
            return {"error": f"Order was never placed, already canceled, or filled. asset={asset}"}
        self._end(account, order, "canceled")
        return "success"

    def cancel_all(self, account: Account, status: str) -> None:
        for order in account.live_orders():
            if order.live:
                self._end(account, order, status)

    def _end(self, account: Account, order: Order, status: str) -> None:
        order.status = status
        account.live.pop(order.oid, None)
        self._tell(account, order)
        complete = status == "filled" and order.left == 0
        for child in order.children:
            if child.live and complete:
                child.waiting = False
            elif child.live:
                self._end(account, child, "canceled")
        if status == "filled":
            for sibling in order.siblings:
                if sibling.live:
                    self._end(account, sibling, "siblingFilledCanceled")
        elif status.endswith("Canceled") and status != "reduceOnlyCanceled":
            self.news.events[account.address].append({"nonUserCancel": [{"coin": order.coin, "oid": order.oid}]})

    def _tell(self, account: Account, order: Order, status: str | None = None) -> None:
        order.status_at = self._now()
        update, kept = order.update_row(), order.status_row()
        if status is not None:
            update["status"] = kept["status"] = status
        account.history.append(kept)
        del account.history[:-HISTORY_MAX]
        self.news.updates[account.address].append(update)
        self.news.touched.add(account.address)


def direction(before: Decimal, after: Decimal) -> str:
    """What a fill did to the position, in the exchange's words."""
    if before and after and (before > 0) != (after > 0):
        return "Long > Short" if before > 0 else "Short > Long"
    long = before > 0 or (before == 0 and after > 0)
    grew = abs(after) > abs(before)
    return f"{'Open' if grew else 'Close'} {'Long' if long else 'Short'}"
