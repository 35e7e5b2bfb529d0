"""What Pear does with a request to trade: sizes it in dollars, sends one batch to the exchange, keeps the baskets.

The law: one write of an address at a time (408 for another), a key serves once a day, and nothing is filled here: every
size in a basket was filled at the exchange, under Pear's own cloids and with its builder fee.
"""

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, Decimal
from typing import Any, Literal

from tests.servers.pear.baskets import OTHER, ZERO, Basket, Baskets, Filled, Part, Side, row_of
from tests.servers.pear.door import AgentHand, Door
from tests.servers.pear.words import Body, Crashed, Refused, Row, iso, number, record, rows, word
from trading.domain.orders import Side as OrderSide
from trading.domain.units import hash_of
from trading.ports import Clock
from trading.utils.trade_calculator import marketable_limit

KEY_LIFE = timedelta(hours=24)
NOTIONAL_MIN = Decimal(10)
SIDE_ASSETS_MAX = 15
PEAR_MARK = "0x50454152"
FEE_TENTHS_BPS = 60
INTERNAL_SLIPPAGE = Decimal("0.08")
EXECUTED_AT_ONCE = "MARKET"
THRESHOLDS = ("PERCENTAGE", "DOLLAR", "POSITION_VALUE", "PRICE", "PRICE_RATIO", "WEIGHTED_RATIO")
KINDS = frozenset({"SYNC", "MARKET", "TRIGGER", "TWAP", "LADDER", "TP", "SL", "SPOT_MARKET", "SPOT_LIMIT", "SPOT_TWAP"})
# The exchange's sentences and what Pear calls them.
CODES = (
    ("Insufficient margin", "HL_INSUFFICIENT_MARGIN"),
    ("minimum value", "HL_MIN_TRADE_VALUE"),
    ("Reduce only", "HL_REDUCE_ONLY"),
    ("could not immediately match", "HL_IOC_NO_MATCH"),
    ("open interest", "HL_OPEN_INTEREST_CAP"),
    ("tick size", "HL_TICK_SIZE"),
    ("does not exist", "HL_AGENT_WALLET_REVOKED"),
)


@dataclass
class Whims:
    """What the fact sheet calls uncertain, each the way it is assumed to be; a test turns them."""

    rounding: Literal["nearest_bump", "ceil", "floor"] = "nearest_bump"
    value_is: Literal["notional", "margin", "a_side"] = "notional"
    strict_weights: bool = False
    duplicate_status: int = 409
    keys_die_of_failures: bool = False
    failures_have_codes: bool = True
    tells_fills: bool = True
    tells_position: bool = True
    positions_lag_seconds: float = 0.0
    busy_wait_seconds: float = 0.2


@dataclass(frozen=True, slots=True)
class Leg:
    """One order for the exchange."""

    coin: str
    side: Side
    size: Decimal
    reduces: bool


@dataclass(slots=True)
class OrderRow:
    """An order as /orders shows it."""

    id: str
    address: str
    kind: str
    status: str
    position_id: str | None
    parameters: Row
    assets: dict[Side, list[Row]]
    created_at: datetime
    updated_at: datetime

    def row(self) -> Row:
        return {
            "orderId": self.id,
            "address": self.address,
            "clientId": "APITRADER",
            "positionId": self.position_id,
            "parameters": self.parameters,
            "orderType": self.kind,
            "status": self.status,
            "longAssets": self.assets["long"],
            "shortAssets": self.assets["short"],
            "createdAt": iso(self.created_at),
            "updatedAt": iso(self.updated_at),
        }


@dataclass(slots=True)
class Customer:
    """Everything of one address."""

    baskets: Baskets
    orders: list[OrderRow] = field(default_factory=list)
    fills: list[Row] = field(default_factory=list)
    notifications: list[Row] = field(default_factory=list)
    keys: dict[tuple[str, str], datetime] = field(default_factory=dict)
    writing: threading.Lock = field(default_factory=threading.Lock)


class Trading:
    """The trading half of the server. Safe for several threads."""

    def __init__(self, door: Door, clock: Clock, agent_key: str, builder: str) -> None:
        self.whims = Whims()
        self.clock = clock
        self._door = door
        self._hand = AgentHand(door, agent_key, clock)
        self._builder = builder
        self._customers: dict[str, Customer] = {}
        self._lock = threading.RLock()
        self._sequence = 0

    def customer(self, address: str) -> Customer:
        with self._lock:
            return self._customers.setdefault(address, Customer(Baskets(address)))

    @property
    def customers(self) -> list[Customer]:
        with self._lock:
            return list(self._customers.values())

    # Reads

    def positions(self, address: str, *, sync: bool) -> list[Row]:
        with self._lock:
            customer, now = self.customer(address), self.clock.now()
            if sync:
                customer.baskets.follow(self._held(address), now)
            seen = [one for one in customer.baskets.open if one.visible_from <= now and one.flag != "FULLY_EXTERNAL"]
            marks = self.marks() if seen else {}
            return [row_of(one, marks) for one in seen]

    def marks(self) -> Mapping[str, Decimal]:
        meta, contexts = self._door.info({"type": "metaAndAssetCtxs"})
        return {one["name"]: Decimal(c["markPx"]) for one, c in zip(meta["universe"], contexts, strict=True)}

    def _held(self, address: str) -> dict[str, Decimal]:
        state = self._door.info({"type": "clearinghouseState", "user": address})
        return {one["position"]["coin"]: Decimal(one["position"]["szi"]) for one in state["assetPositions"]}

    # Writes

    @contextmanager
    def writing(self, address: str) -> Iterator[Customer]:
        """One write of an address at a time."""
        customer = self.customer(address)
        if not customer.writing.acquire(timeout=self.whims.busy_wait_seconds):
            raise Refused(408, "Another trade is still processing", "ACTIVE_TRADE_TIMEOUT")
        try:
            yield customer
        finally:
            customer.writing.release()

    def create(self, address: str, body: Body) -> Row:
        """POST /positions."""
        kind = word(body, "executionType")
        if kind not in KINDS:
            raise Refused(400, ["executionType must be one of the following values: MARKET, TRIGGER, TWAP, LADDER"])
        if kind != EXECUTED_AT_ONCE:
            raise Refused(400, f"{kind} orders are not simulated", "UNSUPPORTED_EXECUTION_TYPE")
        slippage = number(body, "slippage", Decimal("0.001"), Decimal("0.1"))
        leverage = int(number(body, "leverage", Decimal(1), Decimal(100)))
        usd = number(body, "usdValue", Decimal(1))
        lines = {name: _threshold(body, name) for name in ("takeProfit", "stopLoss")}
        with self.writing(address) as customer:
            self._use_key(customer, "create", body)
            try:
                legs = self._legs(self._weights(body), usd, leverage)
                fills = self._traded(address, legs, leverage, slippage)
            except Refused:
                self._give_key_back(customer, "create", body)
                raise
            return self._created(customer, body, legs, fills, leverage, lines)

    def close(self, address: str, basket_id: str, body: Body) -> Row:
        """POST /positions/{id}/close."""
        self._need_market(body)
        with self.writing(address) as customer:
            basket = self._basket(customer, basket_id)
            order = self._close(customer, basket, "MARKET")
            return {"orderId": order.id, "executionTime": iso(self.clock.now())}

    def close_all(self, address: str, body: Body) -> Row:
        """POST /positions/close-all: one after another, each with its own result."""
        self._need_market(body)
        results: list[Row] = []
        with self.writing(address) as customer:
            for basket in customer.baskets.open:
                try:
                    order = self._close(customer, basket, "MARKET")
                    results.append({"positionId": basket.id, "success": True, "orderId": order.id})
                except (Refused, Crashed) as error:
                    results.append({"positionId": basket.id, "success": False, "error": str(error)})
        return {"results": results}

    def adjust(self, address: str, basket_id: str, body: Body) -> Row:
        """POST /positions/{id}/adjust: by percent of the present size."""
        kind = word(body, "adjustmentType")
        percent = number(body, "adjustmentSize", Decimal(1), Decimal(100))
        if kind not in ("REDUCE", "INCREASE"):
            raise Refused(400, ["adjustmentType must be one of the following values: REDUCE, INCREASE"])
        self._need_market(body)
        with self.writing(address) as customer:
            self._use_key(customer, "adjust", body)
            basket = self._basket(customer, basket_id)
            grown = 1 + percent / 100 * (1 if kind == "INCREASE" else -1)
            targets = {coin: part.size * grown for coin, part in basket.parts.items()}
            order = self._move_to(customer, basket, targets)
            return {
                "orderId": order.id,
                "status": order.status,
                "adjustmentType": kind,
                "adjustmentSize": percent,
                "newSize": sum((one.entry for one in basket.parts.values()), ZERO),
                "executedAt": iso(self.clock.now()),
            }

    def adjust_advance(self, address: str, basket_id: str, body: object) -> Row:
        """POST /positions/{id}/adjust-advance: to absolute sizes in coins."""
        if not isinstance(body, list) or len(body) != 1:
            raise Refused(400, ["body must be an array of one item"])
        item = record(body[0], "body")
        with self.writing(address) as customer:
            basket = self._basket(customer, basket_id)
            targets = {coin: part.size for coin, part in basket.parts.items()}
            for side in OTHER:
                for row in rows(item, f"{side}Assets"):
                    coin = word(row, "asset")
                    if coin in basket.parts and basket.parts[coin].side != side:
                        raise Refused(400, f"{coin} is on the other side", "INVALID_POSITION_STRUCTURE")
                    basket.parts.setdefault(coin, Part(coin, side, ZERO, ZERO))
                    targets[coin] = number(row, "size", ZERO)
            try:
                order = self._move_to(customer, basket, targets)
            finally:
                for coin in [coin for coin, part in basket.parts.items() if part.size == 0]:
                    del basket.parts[coin]
            return {"orderId": order.id, "status": order.status, "executedAt": iso(self.clock.now())}

    def set_leverage(self, address: str, basket_id: str, body: Body) -> Row:
        leverage = int(number(body, "leverage", Decimal(1), Decimal(100)))
        with self.writing(address) as customer:
            basket = self._basket(customer, basket_id)
            self._ensure_leverage(address, tuple(basket.parts), leverage)
            basket.leverage = leverage
            return {}

    def set_risk(self, address: str, basket_id: str, body: Body) -> Row:
        """PUT /positions/{id}/riskParameters: null removes, what is left out stays."""
        with self._lock:
            customer = self.customer(address)
            basket = self._basket(customer, basket_id)
            if "takeProfit" in body:
                basket.take_profit = _threshold(body, "takeProfit")
            if "stopLoss" in body:
                basket.stop_loss = _threshold(body, "stopLoss")
            self._list_lines(customer, basket)
            row: Row = {"positionId": basket.id, "stopLoss": basket.stop_loss, "takeProfit": basket.take_profit}
            return {**row, "updatedAt": iso(self.clock.now())}

    def cancel(self, address: str, order_id: str) -> Row:
        """DELETE /orders/{id}/cancel, of TP and SL."""
        with self._lock:
            customer, now = self.customer(address), self.clock.now()
            order = next((one for one in customer.orders if one.id == order_id), None)
            if order is None:
                raise Refused(404, f"Order {order_id} not found", "ORDER_NOT_FOUND")
            if order.status != "OPEN":
                raise Refused(400, f"Order is {order.status}", "INVALID_ORDER_STATUS")
            basket = customer.baskets.find(order.position_id or "")
            if basket is not None and order.kind == "TP":
                basket.take_profit = None
            elif basket is not None:
                basket.stop_loss = None
            order.status, order.updated_at = "CANCELLED", now
            return {"orderId": order.id, "status": order.status, "cancelledAt": iso(now)}

    def look_at_lines(self) -> None:
        """Fire every TP and SL that the marks have reached. Called about once a second, as Pear does it."""
        guarded = [
            (customer, basket)
            for customer in self.customers
            for basket in customer.baskets.open
            if basket.take_profit is not None or basket.stop_loss is not None
        ]
        marks = self.marks() if guarded else {}
        for customer, basket in guarded:
            kind = _fired(basket, marks)
            if kind and customer.writing.acquire(blocking=False):
                try:
                    self._fire(customer, basket, kind)
                finally:
                    customer.writing.release()

    # How a trade is made

    def _weights(self, body: Body) -> dict[tuple[str, Side], Decimal]:
        """(coin, side) -> share of the whole."""
        given: dict[tuple[str, Side], Decimal | None] = {}
        for side in OTHER:
            assets = rows(body, f"{side}Assets")
            if len(assets) > SIDE_ASSETS_MAX:
                raise Refused(400, [f"{side}Assets must contain no more than {SIDE_ASSETS_MAX} elements"])
            for row in assets:
                has = row.get("weight") is not None
                weight = number(row, "weight", Decimal("0.0001"), Decimal(1)) if has else None
                given[word(row, "asset"), side] = weight
        coins = [coin for coin, _ in given]
        if not given or len(set(coins)) < len(coins):
            raise Refused(400, "A position needs assets, each on one side", "INVALID_POSITION_STRUCTURE")
        weights = {key: Decimal(1) if one is None else one for key, one in given.items()}
        total = sum(weights.values(), ZERO)
        if self.whims.strict_weights and abs(total - 1) > Decimal("0.0001"):
            raise Refused(400, "Weights must sum to 1", "INVALID_FIELD_VALUE")
        return {key: one / total for key, one in weights.items()}

    def _legs(self, weights: Mapping[tuple[str, Side], Decimal], usd: Decimal, leverage: int) -> list[Leg]:
        mids = self._door.info({"type": "allMids"})
        gross = (
            usd * {"notional": 1, "margin": leverage, "a_side": len({side for _, side in weights})}[self.whims.value_is]
        )
        legs = []
        for (coin, side), weight in weights.items():
            if coin not in mids or coin not in self._listings():
                raise self._failed(f"Unknown asset {coin}", "INVALID_FIELD_VALUE")
            mid = Decimal(mids[coin])
            legs.append(Leg(coin, side, self._lots(coin, gross * weight / mid, mid), reduces=False))
        return legs

    def _lots(self, coin: str, size: Decimal, price: Decimal) -> Decimal:
        step = Decimal(1).scaleb(-int(self._listings()[coin]["szDecimals"]))
        how = {"nearest_bump": ROUND_HALF_EVEN, "ceil": ROUND_CEILING, "floor": ROUND_FLOOR}[self.whims.rounding]
        lots = (size / step).to_integral_value(how) * step
        short = self.whims.rounding == "nearest_bump" and lots * price < NOTIONAL_MIN <= size * price + step * price
        return lots + step if short else lots

    def _listings(self) -> dict[str, Any]:
        return {one["name"]: one for one in self._door.info({"type": "meta"})["universe"] if not one.get("isDelisted")}

    def _asset_of(self, coin: str) -> int:
        return [one["name"] for one in self._door.info({"type": "meta"})["universe"]].index(coin)

    def _traded(self, address: str, legs: Sequence[Leg], leverage: int, slippage: Decimal) -> list[Row]:
        """One batch at the exchange; its fills in the exchange's rows. Refused when nothing at all was filled."""
        self._ensure_leverage(address, [one.coin for one in legs if not one.reduces], leverage)
        mids = self._door.info({"type": "allMids"})
        answer = self._act(self._batch(legs, {one.coin: Decimal(mids[one.coin]) for one in legs}, slippage))
        statuses = answer["data"]["statuses"]
        if len(statuses) == 1 and "error" in statuses[0]:
            statuses = statuses * len(legs)
        oids = [one["filled"]["oid"] for one in statuses if "filled" in one]
        if not oids:
            sentence = str(next((one["error"] for one in statuses if "error" in one), "nothing was filled"))
            raise self._failed(sentence, next((code for words, code in CODES if words in sentence), "HL_ORDER_FAILED"))
        since = int((self.clock.now() - timedelta(minutes=1)).timestamp() * 1000)
        fills: list[Row] = self._door.info({"type": "userFillsByTime", "user": address, "startTime": since})
        return [one for one in fills if one["oid"] in oids]

    def _batch(self, legs: Sequence[Leg], mids: Mapping[str, Decimal], slippage: Decimal) -> Row:
        orders = []
        for leg in legs:
            self._sequence += 1
            buys = OrderSide.BUY if (leg.side == "long") != leg.reduces else OrderSide.SELL
            decimals = 6 - int(self._listings()[leg.coin]["szDecimals"])
            limit = marketable_limit(mids[leg.coin], buys, slippage, decimals)
            orders.append(
                {
                    "a": self._asset_of(leg.coin),
                    "b": buys is OrderSide.BUY,
                    "p": _bare(limit),
                    "s": _bare(leg.size),
                    "r": leg.reduces,
                    "t": {"limit": {"tif": "Ioc"}},
                    "c": PEAR_MARK + hash_of("cloid", self._builder, self._sequence, self.clock.now())[:24],
                }
            )
        builder = {"b": self._builder, "f": FEE_TENTHS_BPS}
        return {"type": "order", "orders": orders, "grouping": "na", "builder": builder}

    def _ensure_leverage(self, address: str, coins: Sequence[str], leverage: int) -> None:
        for coin in coins:
            if coin not in self._listings() or leverage > self._listings()[coin]["maxLeverage"]:
                raise Refused(400, f"Leverage of {coin} is not possible", "LEVERAGE_CONFIG_FAILED")
            present = self._door.info({"type": "activeAssetData", "user": address, "coin": coin})["leverage"]
            if present != {"type": "cross", "value": leverage}:
                asset = self._asset_of(coin)
                self._act({"type": "updateLeverage", "asset": asset, "isCross": True, "leverage": leverage})

    def _act(self, action: Row) -> Any:
        answer = self._hand.send(action)
        if answer["status"] != "ok":
            sentence = str(answer["response"])
            raise self._failed(sentence, next((code for words, code in CODES if words in sentence), "HL_ORDER_FAILED"))
        return answer["response"]

    def _failed(self, message: str, code: str) -> Refused | Crashed:
        return Refused(400, message, code) if self.whims.failures_have_codes else Crashed()

    def _created(
        self,
        customer: Customer,
        body: Body,
        legs: Sequence[Leg],
        fills: list[Row],
        leverage: int,
        lines: Mapping[str, Row | None],
    ) -> Row:
        now = self.clock.now()
        with self._lock:
            visible_from = now + timedelta(seconds=self.whims.positions_lag_seconds)
            basket = customer.baskets.take(_sums(legs, fills), leverage, now, visible_from)
            complete = _total(fills) == sum((one.size for one in legs), ZERO)
            status = "EXECUTED" if complete else "PARTIALLY_FILLED"
            parameters: Row = {"leverage": leverage, "usdValue": body["usdValue"], "reduceOnly": False}
            order = self._order(customer, "MARKET", status, basket, parameters, legs)
            self._keep_fills(customer, order, fills)
            if basket is not None:
                basket.take_profit = lines["takeProfit"] or basket.take_profit
                basket.stop_loss = lines["stopLoss"] or basket.stop_loss
                self._list_lines(customer, basket)
        answer: Row = {"orderId": order.id}
        if basket is not None and self.whims.tells_position:
            answer["positionId"] = basket.id
        return {**answer, "fills": fills} if self.whims.tells_fills else answer

    def _move_to(self, customer: Customer, basket: Basket, targets: Mapping[str, Decimal]) -> OrderRow:
        legs = []
        mids = self._door.info({"type": "allMids"})
        for coin, target in targets.items():
            part = basket.parts[coin]
            step = Decimal(1).scaleb(-int(self._listings()[coin]["szDecimals"]))
            change = ((target - part.size) / step).to_integral_value(ROUND_HALF_EVEN) * step
            whole = change == -part.size
            if change and not whole and abs(change) * Decimal(mids[coin]) < NOTIONAL_MIN:
                raise self._failed("Order must have minimum value of $10.", "HL_MIN_TRADE_VALUE")
            if change:
                legs.append(Leg(coin, part.side, abs(change), reduces=change < 0))
        if not legs:
            return self._order(customer, "MARKET", "EXECUTED", basket, {"reduceOnly": True}, ())
        return self._trade_within(customer, basket, legs)

    def _close(self, customer: Customer, basket: Basket, kind: str) -> OrderRow:
        legs = [Leg(one.coin, one.side, one.size, reduces=True) for one in basket.parts.values()]
        order = self._trade_within(customer, basket, legs)
        order.kind = kind
        return order

    def _trade_within(self, customer: Customer, basket: Basket, legs: Sequence[Leg]) -> OrderRow:
        """Trade *legs* for a basket; what was filled changes it, whatever was not."""
        fills = self._traded(customer.baskets.address, legs, basket.leverage, INTERNAL_SLIPPAGE)
        now = self.clock.now()
        with self._lock:
            for leg, done in zip(legs, _sums(legs, fills), strict=True):
                if leg.reduces:
                    customer.baskets.reduce(basket, leg.coin, done.size, now)
                else:
                    basket.parts[leg.coin].size += done.size
                    basket.parts[leg.coin].entry += done.size * done.price
            complete = _total(fills) == sum((one.size for one in legs), ZERO)
            status = "EXECUTED" if complete else "PARTIALLY_FILLED"
            order = self._order(customer, "MARKET", status, basket, {"reduceOnly": True}, legs)
            self._keep_fills(customer, order, fills)
            self._list_lines(customer, basket)
            return order

    # TP and SL

    def _fire(self, customer: Customer, basket: Basket, kind: str) -> None:
        line = next(
            (
                one
                for one in customer.orders
                if one.position_id == basket.id and one.kind == kind and one.status == "OPEN"
            ),
            None,
        )
        try:
            self._close(customer, basket, kind)
            outcome = "FILLED"
        except (Refused, Crashed):
            outcome = "FAILED"
        with self._lock:
            if line is not None:
                line.status = "EXECUTED" if outcome == "FILLED" else "FAILED"
            row: Row = {"category": f"{kind}_ORDER_{outcome}", "parameters": {"position_id": basket.id}}
            customer.notifications.append({**row, "created_at": iso(self.clock.now()), "is_read": False})

    def _list_lines(self, customer: Customer, basket: Basket) -> None:
        """Keep the open TP and SL orders as the basket's own fields say."""
        wanted = {"TP": basket.take_profit, "SL": basket.stop_loss} if basket.open else {"TP": None, "SL": None}
        for kind, line in wanted.items():
            mine = [one for one in customer.orders if one.position_id == basket.id and one.kind == kind]
            for order in [one for one in mine if one.status == "OPEN"]:
                if line is None or order.parameters["triggerValue"] != line["value"]:
                    order.status = "CANCELLED"
            if line is not None and not any(one.status == "OPEN" for one in mine):
                parameters: Row = {"triggerType": line["type"], "triggerValue": line["value"], "reduceOnly": True}
                self._order(customer, kind, "OPEN", basket, parameters, ())

    # Books

    def _order(
        self, customer: Customer, kind: str, status: str, basket: Basket | None, parameters: Row, legs: Sequence[Leg]
    ) -> OrderRow:
        now = self.clock.now()
        name = hash_of("order", customer.baskets.address, len(customer.orders), self._sequence)[:32]
        assets: dict[Side, list[Row]] = {
            side: [{"asset": one.coin, "size": _bare(one.size)} for one in legs if one.side == side] for side in OTHER
        }
        position_id = basket.id if basket is not None else None
        order = OrderRow(name, customer.baskets.address, kind, status, position_id, parameters, assets, now, now)
        customer.orders.append(order)
        return order

    def _keep_fills(self, customer: Customer, order: OrderRow, fills: Sequence[Row]) -> None:
        for one in fills:
            customer.fills.append(
                {
                    "id": str(len(customer.fills) + 1),
                    "clientId": "APITRADER",
                    "orderId": order.id,
                    "externalOrderId": str(one["oid"]),
                    "tid": str(one["tid"]),
                    "assetName": one["coin"],
                    "address": customer.baskets.address,
                    "fillTime": one["time"],
                    "side": one["side"],
                    "dir": one["dir"],
                    "price": Decimal(str(one["px"])),
                    "size": Decimal(str(one["sz"])),
                    "isPearTrade": True,
                }
            )

    def _basket(self, customer: Customer, basket_id: str) -> Basket:
        basket = customer.baskets.find(basket_id)
        if basket is None:
            raise Refused(404, f"Position {basket_id} not found or already closed", "POSITION_NOT_FOUND")
        return basket

    def _need_market(self, body: Body) -> None:
        if word(body, "executionType") != EXECUTED_AT_ONCE:
            raise Refused(400, "Only MARKET is simulated", "UNSUPPORTED_EXECUTION_TYPE")

    def _use_key(self, customer: Customer, action: str, body: Body) -> None:
        key, now = body.get("idempotencyKey"), self.clock.now()
        if not isinstance(key, str):
            return
        used_at = customer.keys.get((action, key))
        if used_at is not None and now - used_at < KEY_LIFE:
            raise Refused(self.whims.duplicate_status, "Duplicate idempotency key")
        customer.keys[action, key] = now

    def _give_key_back(self, customer: Customer, action: str, body: Body) -> None:
        key = body.get("idempotencyKey")
        if isinstance(key, str) and not self.whims.keys_die_of_failures:
            del customer.keys[action, key]


def _threshold(body: Body, name: str) -> Row | None:
    given = body.get(name)
    if given is None:
        return None
    line = record(given, name)
    if line.get("type") not in THRESHOLDS:
        raise Refused(400, f"{name}: unknown type", "INVALID_RISK_PARAMETERS")
    value = number(line, "value", Decimal("-1e12"))
    if value == 0:
        raise Refused(400, f"{name}: must not be 0", "INVALID_RISK_PARAMETERS")
    return {"type": line["type"], "value": abs(value)}


def _fired(basket: Basket, marks: Mapping[str, Decimal]) -> str:
    """`TP` or `SL` when *marks* have reached it, else nothing."""
    profit = basket.profit(marks)
    entry = sum((one.entry for one in basket.parts.values()), ZERO)
    for kind, line, gained in (("TP", basket.take_profit, profit), ("SL", basket.stop_loss, -profit)):
        if line is None:
            continue
        value = Decimal(str(line["value"]))
        if line["type"] == "WEIGHTED_RATIO":
            ratio = basket.ratio(marks)
            reached = ratio >= value if kind == "TP" else ratio <= value
        elif line["type"] == "PERCENTAGE":
            reached = gained * 100 >= value * entry
        else:
            reached = line["type"] == "DOLLAR" and gained >= value
        if reached:
            return kind
    return ""


def _sums(legs: Sequence[Leg], fills: Sequence[Row]) -> list[Filled]:
    found = []
    for leg in legs:
        mine = [(Decimal(str(one["sz"])), Decimal(str(one["px"]))) for one in fills if one["coin"] == leg.coin]
        size = sum((one for one, _ in mine), ZERO)
        notional = sum((one * price for one, price in mine), ZERO)
        found.append(Filled(leg.coin, leg.side, size, notional / size if size else ZERO))
    return found


def _total(fills: Sequence[Row]) -> Decimal:
    return sum((Decimal(str(one["sz"])) for one in fills), ZERO)


def _bare(value: Decimal) -> str:
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
