"""The paper account: a fold of the records in its journal, and nothing else.

Cash moves by realized profit, fees and funding alone, so that their sum is the change of cash to the last digit: a
position keeps what it cost, not a rounded average. Memory is bounded; what it no longer remembers it says it does not
know.

Records, one dict each, amounts as decimal text:

    opened    at, seed, equity
    leverage  at, coin, leverage
    funding   at, payments: [coin, amount, quantity, paid_at]
    orders    at, orders: [client_order_id, coin, side, status, filled, average_price, fees, reason, detail]

and what `paper_resting` says of resting orders.
"""

from collections import OrderedDict, deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import ROUND_CEILING, ROUND_DOWN, ROUND_FLOOR, Decimal

from trading.adapters.paper_market import PaperMarket
from trading.adapters.paper_resting import PaperRests
from trading.adapters.paper_universe import INSTRUMENTS
from trading.domain.errors import StoreCorrupt
from trading.domain.market import Account, FundingPayment, Holding
from trading.domain.orders import Order, OrderReport, OrderStatus, RejectReason, Side
from trading.domain.units import ONE, ZERO, ClientOrderId, Coin, Price, Quantity, Usd, exact
from trading.ports import Json
from trading.utils.trade_calculator import liquidation_price

ORDERS_REMEMBERED = 10_000
PAYMENTS_REMEMBERED = 50_000
LEVERAGE_DEFAULT = 20  # Hyperliquid's for a coin whose leverage was never set, capped by the coin's own maximum
USD_STEP = Decimal("0.000001")
_PRICE_STEP = Decimal("0.0000000001")
_HOUR = timedelta(hours=1)
_NOTHING = Usd(ZERO)

Record = Mapping[str, Json]


@dataclass(frozen=True, slots=True)
class PaperPosition:
    """`quantity` signed, `cost` = quantity times average entry price, of the same sign."""

    quantity: Quantity
    cost: Usd

    @property
    def entry_price(self) -> Price:
        return Price(self.cost / self.quantity)


@dataclass(frozen=True, slots=True)
class PaperAccount:
    """The money at one point of the journal. `settled_until` is the last funding hour whose payments are in `cash`."""

    cash: Usd
    settled_until: datetime | None = None
    positions: Mapping[Coin, PaperPosition] = field(default_factory=dict)
    leverages: Mapping[Coin, int] = field(default_factory=dict)
    realized: Usd = _NOTHING
    fees: Usd = _NOTHING
    funding: Usd = _NOTHING

    def held(self, coin: Coin) -> Quantity:
        """Signed quantity of *coin*."""
        position = self.positions.get(coin)
        return position.quantity if position is not None else Quantity(ZERO)

    def leverage(self, coin: Coin) -> int:
        return self.leverages.get(coin, min(LEVERAGE_DEFAULT, INSTRUMENTS[coin].leverage_max))


def hour_of(at: datetime) -> datetime:
    """The full hour at or before *at*."""
    return at.replace(minute=0, second=0, microsecond=0)


def with_fill(
    account: PaperAccount, coin: Coin, side: Side, quantity: Decimal, price: Decimal, fees: Decimal
) -> PaperAccount:
    """*account* after *quantity* coins traded at *price*: what closes is realized, what is left opens or increases."""
    position = account.positions.get(coin, PaperPosition(Quantity(ZERO), Usd(ZERO)))
    signed = quantity * side.sign
    closes = min(quantity, abs(position.quantity)) if position.quantity * side.sign < 0 else ZERO
    share = _cost_share(position, closes)
    realized = closes * side.sign * -price - share
    opens = (quantity - closes) * side.sign
    after = PaperPosition(Quantity(position.quantity + signed), Usd(position.cost - share + opens * price))
    positions = {held: one for held, one in account.positions.items() if held != coin}
    if after.quantity != 0:
        positions[coin] = after
    return replace(
        account,
        cash=Usd(account.cash + realized - fees),
        positions=positions,
        realized=Usd(account.realized + realized),
        fees=Usd(account.fees + fees),
    )


def _cost_share(position: PaperPosition, closes: Decimal) -> Decimal:
    """The part of the cost that *closes* coins carry, rounded towards zero; the last of them carry what is left.

    So rounding loses nothing and never takes more than there is.
    """
    if closes == 0:
        return ZERO
    if closes == abs(position.quantity):
        return position.cost
    return (position.cost * closes / abs(position.quantity)).quantize(USD_STEP, ROUND_DOWN)


def with_payments(account: PaperAccount, payments: Sequence[FundingPayment], until: datetime) -> PaperAccount:
    """*account* with *payments* taken from its cash and every hour up to *until* settled."""
    paid = sum((payment.amount for payment in payments), ZERO)
    latest = hour_of(until) if account.settled_until is None else max(account.settled_until, hour_of(until))
    return replace(account, cash=Usd(account.cash - paid), funding=Usd(account.funding + paid), settled_until=latest)


def payments_due(account: PaperAccount, market: PaperMarket, now: datetime) -> tuple[FundingPayment, ...]:
    """What the hours since the last settlement cost, oldest first.

    Each is quantity x mark x rate, rounded against the account to a millionth of a dollar. Positions do not change
    between submits, so this is exact however long nobody looked.
    """
    if account.settled_until is None or not account.positions:
        return ()
    payments = []
    hour = account.settled_until + _HOUR
    while hour <= now:
        for coin, position in account.positions.items():
            cost = position.quantity * market.mark(coin, hour) * market.funding_rate(coin, hour)
            payments.append(FundingPayment(coin, Usd(cost.quantize(USD_STEP, ROUND_CEILING)), position.quantity, hour))
        hour += _HOUR
    return tuple(payments)


def equity_at(account: PaperAccount, marks: Mapping[Coin, Price]) -> Decimal:
    """Cash and unrealized profit in USD; *marks* has every coin held."""
    return account.cash + sum(
        (position.quantity * marks[coin] - position.cost for coin, position in account.positions.items()), ZERO
    )


def margin_used_at(account: PaperAccount, marks: Mapping[Coin, Price]) -> Decimal:
    """Initial margin of all positions in USD: |quantity| x mark / leverage."""
    return sum(
        (abs(position.quantity) * marks[coin] / account.leverage(coin) for coin, position in account.positions.items()),
        ZERO,
    )


def valued(account: PaperAccount, marks: Mapping[Coin, Price], now: datetime) -> Account:
    """The account as a venue reports it, valued at *marks*."""
    equity, used = equity_at(account, marks), margin_used_at(account, marks)
    maintenance = sum(
        (abs(one.quantity) * marks[coin] * _maintenance_rate(coin) for coin, one in account.positions.items()), ZERO
    )
    holdings = {
        coin: Holding(
            coin,
            one.quantity,
            Price(one.entry_price.quantize(_PRICE_STEP, ROUND_DOWN)),
            _liquidation_price(coin, one.quantity, marks[coin], equity - maintenance),
        )
        for coin, one in account.positions.items()
    }
    leverages = dict(account.leverages) | {coin: account.leverage(coin) for coin in account.positions}
    return Account(Usd(equity), Usd(used), Usd(equity - used), Usd(maintenance), holdings, leverages, now)


def _maintenance_rate(coin: Coin) -> Decimal:
    """Half the initial margin at the coin's maximum leverage (Hyperliquid documentation, margining)."""
    return ONE / (2 * INSTRUMENTS[coin].leverage_max)


def _liquidation_price(coin: Coin, quantity: Decimal, mark: Price, available: Decimal) -> Price | None:
    """Where cross margin, of which *available* USD are left, runs out if this coin alone moves."""
    side = Side.BUY if quantity > 0 else Side.SELL
    price = liquidation_price(side, abs(quantity), mark, available, 2 * INSTRUMENTS[coin].leverage_max)
    return None if price is None else Price(price.quantize(_PRICE_STEP, ROUND_DOWN))


@dataclass(frozen=True, slots=True)
class Outcome:
    """One order as it ended: the report and what the fold needs beside it."""

    order: Order
    report: OrderReport


class PaperLedger:
    """The account's journal, folded: money, the reports of the last orders, the last funding payments."""

    def __init__(self, seed: int, equity: Usd) -> None:
        self.account = PaperAccount(cash=equity)
        self.rests = PaperRests()
        self.opened = False
        self.payments: deque[FundingPayment] = deque(maxlen=PAYMENTS_REMEMBERED)
        self._seed = seed
        self._reports: OrderedDict[ClientOrderId, OrderReport] = OrderedDict()
        self._orders_forgotten_until: datetime | None = None
        self._payments_forgotten_until: datetime | None = None

    def take(self, record: Record) -> None:
        """Fold one more record. Raises StoreCorrupt for one that means nothing."""
        try:
            self._fold(record)
        except ValueError as error:
            raise StoreCorrupt(f"the paper account has a record that does not fold: {error}") from error

    def report_of(self, order: Order) -> OrderReport | None:
        """How *order* ended, as far as it is remembered."""
        return self._reports.get(order.client_order_id)

    def may_have_forgotten(self, order: Order) -> bool:
        """True when *order* is old enough to have been dropped from memory: nothing can be said of it."""
        return self._orders_forgotten_until is not None and order.intended_at <= self._orders_forgotten_until

    def paid(self, coins: Collection[Coin], since: datetime, until: datetime) -> tuple[FundingPayment, ...] | None:
        """The settled payments of *coins* with since < paid_at <= until; None when memory does not reach so far."""
        if self._payments_forgotten_until is not None and since < self._payments_forgotten_until:
            return None
        return tuple(one for one in self.payments if one.coin in coins and since < one.paid_at <= until)

    def _fold(self, record: Record) -> None:
        at = _instant(record, "at")
        match record.get("kind"):
            case "opened":
                self._open(record, at)
            case "leverage":
                self._set_leverage(record)
            case "funding":
                self._pay([_payment_of(one) for one in _rows(record, "payments")], at)
            case "orders":
                self._execute(record, at)
            case "rest":
                self.rests.rest(record)
            case "unrest":
                self.rests.unrest(record)
            case kind:
                raise ValueError(f"unknown kind {kind!r}")

    def _open(self, record: Record, at: datetime) -> None:
        if self.opened:
            raise ValueError("an account is opened once")
        if record.get("seed") != self._seed:
            raise ValueError(f"it belongs to the market of seed {record.get('seed')!r}, not {self._seed}")
        self.opened = True
        self.account = PaperAccount(cash=Usd(_amount(record, "equity")), settled_until=hour_of(at))

    def _set_leverage(self, record: Record) -> None:
        leverage = record.get("leverage")
        if not isinstance(leverage, int) or leverage < 1:
            raise ValueError("leverage must be a whole number from 1")
        self.account = replace(self.account, leverages={**self.account.leverages, _coin(record): leverage})

    def _pay(self, payments: Sequence[FundingPayment], at: datetime) -> None:
        self.account = with_payments(self.account, payments, at)
        dropped = len(self.payments) + len(payments) - PAYMENTS_REMEMBERED
        self.payments.extend(payments)
        if dropped > 0:
            self._payments_forgotten_until = self.payments[0].paid_at

    def _execute(self, record: Record, at: datetime) -> None:
        # Whoever wrote this had settled every hour before it.
        account = with_payments(self.account, (), at)
        for row in _rows(record, "orders"):
            report = _report_of(row, at)
            if report.filled > 0:
                price, side = _amount(row, "average_price"), Side(_text(row, "side"))
                account = with_fill(account, _coin(row), side, report.filled, price, report.fees)
                self.rests.filled(_coin(row), side, report, price, account.held(_coin(row)))
            self._remember(report)
        self.account = account

    def _remember(self, report: OrderReport) -> None:
        self._reports[report.client_order_id] = report
        if len(self._reports) > ORDERS_REMEMBERED:
            _, oldest = self._reports.popitem(last=False)
            self._orders_forgotten_until = oldest.reported_at


def opened_record(at: datetime, seed: int, equity: Usd) -> dict[str, Json]:
    return {"kind": "opened", "at": at.isoformat(), "seed": seed, "equity": str(equity)}


def leverage_record(at: datetime, coin: Coin, leverage: int) -> dict[str, Json]:
    return {"kind": "leverage", "at": at.isoformat(), "coin": coin, "leverage": leverage}


def funding_record(at: datetime, payments: Sequence[FundingPayment]) -> dict[str, Json]:
    rows: list[Json] = [
        {
            "coin": one.coin,
            "amount": str(one.amount),
            "quantity": str(one.quantity),
            "paid_at": one.paid_at.isoformat(),
        }
        for one in payments
    ]
    return {"kind": "funding", "at": at.isoformat(), "payments": rows}


def orders_record(at: datetime, outcomes: Sequence[Outcome]) -> dict[str, Json]:
    """One record for one submit, so that both legs are on disk or neither is."""
    rows: list[Json] = [_row_of(one.order, one.report) for one in outcomes]
    return {"kind": "orders", "at": at.isoformat(), "orders": rows}


def _row_of(order: Order, report: OrderReport) -> Json:
    return {
        "client_order_id": order.client_order_id,
        "coin": order.coin,
        "side": order.side.value,
        "quantity": str(order.quantity),
        "limit_price": str(order.limit_price),
        "reduce_only": order.reduce_only,
        "status": report.status.value,
        "filled": str(report.filled),
        "average_price": None if report.average_price is None else str(report.average_price),
        "fees": str(report.fees),
        "reason": None if report.reason is None else report.reason.value,
        "detail": report.detail,
    }


def _report_of(row: Record, at: datetime) -> OrderReport:
    return OrderReport(
        client_order_id=ClientOrderId(_text(row, "client_order_id")),
        status=OrderStatus(_text(row, "status")),
        reported_at=at,
        filled=Quantity(_amount(row, "filled")),
        average_price=None if row.get("average_price") is None else Price(_amount(row, "average_price")),
        fees=Usd(_amount(row, "fees")),
        reason=None if row.get("reason") is None else RejectReason(_text(row, "reason")),
        detail=_text(row, "detail"),
    )


def _payment_of(row: Record) -> FundingPayment:
    return FundingPayment(
        _coin(row), Usd(_amount(row, "amount")), Quantity(_amount(row, "quantity")), _instant(row, "paid_at")
    )


def average_price(usd: Decimal, quantity: Decimal) -> Price:
    """What was paid over what was got, truncated as on the venue: to ten decimals, so never beyond a legal limit."""
    return Price((usd / quantity).quantize(_PRICE_STEP, ROUND_FLOOR))


def _text(record: Record, name: str) -> str:
    value = record.get(name)
    if not isinstance(value, str):
        raise ValueError(f"{name} must be text")
    return value


def _amount(record: Record, name: str) -> Decimal:
    return exact(_text(record, name), name)


def _instant(record: Record, name: str) -> datetime:
    instant = datetime.fromisoformat(_text(record, name))
    if instant.tzinfo is None:
        raise ValueError(f"{name} lacks its offset")
    return instant


def _coin(record: Record) -> Coin:
    coin = Coin(_text(record, "coin"))
    if coin not in INSTRUMENTS:
        raise ValueError(f"{coin!r} is not listed")
    return coin


def _rows(record: Record, name: str) -> Sequence[Record]:
    rows = record.get(name)
    if not isinstance(rows, list):
        raise ValueError(f"{name} must be a list")
    records = [row for row in rows if isinstance(row, dict)]
    if len(records) < len(rows):
        raise ValueError(f"{name} must be a list of records")
    return records
