"""The actions of /exchange as typed records: parsed as strictly as the exchange does, and written out canonically.

The law: what is hashed is never what was posted but what the parsed record says, in the one canonical order (the real
exchange deserialises and packs again), so a signature over any other form recovers a stranger.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal

from tests.servers.hyperliquid.words import (
    Row,
    Unprocessable,
    address,
    as_cloid,
    bare,
    decimal,
    items,
    member,
    natural,
    only,
    record,
    truth,
    whole,
    word,
)

GROUPINGS = ("na", "normalTpsl", "positionTpsl")
TIFS = {"Gtc": "Gtc", "Ioc": "Ioc", "Alo": "Alo", "FrontendMarket": "FrontendMarket"}


@dataclass(frozen=True, slots=True)
class Trigger:
    is_market: bool
    price: Decimal
    kind: str

    def canonical(self) -> Row:
        return {"isMarket": self.is_market, "triggerPx": bare(self.price), "tpsl": self.kind}


@dataclass(frozen=True, slots=True)
class OrderWire:
    """One order as asked for; exactly one of `tif` and `trigger` is set."""

    asset: int
    is_buy: bool
    limit: Decimal
    size: Decimal
    reduce_only: bool
    tif: str | None
    trigger: Trigger | None
    cloid: str | None

    @classmethod
    def parse(cls, source: Mapping[str, object]) -> "OrderWire":
        kind = record(member(source, "t"))
        tif, trigger = None, None
        if set(kind) == {"limit"}:
            tif = word(record(kind["limit"]), "tif")
            if tif not in TIFS:
                raise Unprocessable(f"unknown tif {tif}")
        elif set(kind) == {"trigger"}:
            inner = record(kind["trigger"])
            trigger = Trigger(truth(inner, "isMarket"), decimal(inner, "triggerPx"), word(inner, "tpsl"))
            if trigger.kind not in ("tp", "sl"):
                raise Unprocessable(f"unknown tpsl {trigger.kind}")
        else:
            raise Unprocessable("unknown order type")
        cloid = source.get("c")
        return cls(
            natural(source, "a"),
            truth(source, "b"),
            decimal(source, "p"),
            decimal(source, "s"),
            truth(source, "r"),
            tif,
            trigger,
            as_cloid(word(source, "c")) if cloid is not None else None,
        )

    def canonical(self) -> Row:
        kind: Row = {"limit": {"tif": self.tif}} if self.trigger is None else {"trigger": self.trigger.canonical()}
        row: Row = {
            "a": self.asset,
            "b": self.is_buy,
            "p": bare(self.limit),
            "s": bare(self.size),
            "r": self.reduce_only,
            "t": kind,
        }
        return row if self.cloid is None else {**row, "c": self.cloid}


@dataclass(frozen=True, slots=True)
class Builder:
    """Who brought the order, and the fee for it in tenths of a basis point."""

    address: str
    fee: int


@dataclass(frozen=True, slots=True)
class PlaceOrders:
    orders: tuple[OrderWire, ...]
    grouping: str | int
    builder: Builder | None
    type: str = "order"

    @classmethod
    def parse(cls, source: Mapping[str, object]) -> "PlaceOrders":
        only(source, "type", "orders", "grouping", "builder")
        grouping = member(source, "grouping")
        if isinstance(grouping, dict):
            only(grouping, "p")
            grouping = natural(grouping, "p")
        elif grouping not in GROUPINGS:
            raise Unprocessable("unknown grouping")
        builder = None
        if source.get("builder") is not None:
            inner = record(source["builder"])
            builder = Builder(address(inner, "b"), natural(inner, "f"))
        orders = tuple(OrderWire.parse(one) for one in items(source, "orders"))
        return cls(orders, grouping if isinstance(grouping, int) else str(grouping), builder)

    def canonical(self) -> Row:
        grouping: object = {"p": self.grouping} if isinstance(self.grouping, int) else self.grouping
        row: Row = {"type": self.type, "orders": [one.canonical() for one in self.orders], "grouping": grouping}
        if self.builder is None:
            return row
        return {**row, "builder": {"b": self.builder.address, "f": self.builder.fee}}


@dataclass(frozen=True, slots=True)
class Cancels:
    """Cancels by order id or by cloid; each names its asset. The keys differ between the two actions."""

    type: str
    targets: tuple[tuple[int, int | str], ...]

    @classmethod
    def by_oid(cls, source: Mapping[str, object]) -> "Cancels":
        only(source, "type", "cancels")
        return cls("cancel", tuple((natural(one, "a"), natural(one, "o")) for one in items(source, "cancels")))

    @classmethod
    def by_cloid(cls, source: Mapping[str, object]) -> "Cancels":
        only(source, "type", "cancels")
        rows = items(source, "cancels")
        return cls("cancelByCloid", tuple((natural(one, "asset"), as_cloid(word(one, "cloid"))) for one in rows))

    def canonical(self) -> Row:
        asset, target = ("a", "o") if self.type == "cancel" else ("asset", "cloid")
        return {"type": self.type, "cancels": [{asset: one, target: other} for one, other in self.targets]}


@dataclass(frozen=True, slots=True)
class Modification:
    target: int | str
    order: OrderWire

    @classmethod
    def parse(cls, source: Mapping[str, object]) -> "Modification":
        oid = member(source, "oid")
        target = as_cloid(oid) if isinstance(oid, str) else natural(source, "oid")
        return cls(target, OrderWire.parse(record(member(source, "order"))))

    def canonical(self) -> Row:
        return {"oid": self.target, "order": self.order.canonical()}


@dataclass(frozen=True, slots=True)
class Modify:
    """`modify` with one, or `batchModify` with some; `always` allows replacements that trade at once."""

    type: str
    modifications: tuple[Modification, ...]
    always: bool

    @classmethod
    def single(cls, source: Mapping[str, object]) -> "Modify":
        only(source, "type", "oid", "order", "a")
        return cls("modify", (Modification.parse(source),), source.get("a") is True)

    @classmethod
    def batch(cls, source: Mapping[str, object]) -> "Modify":
        only(source, "type", "modifies", "a")
        rows = items(source, "modifies")
        return cls("batchModify", tuple(Modification.parse(one) for one in rows), source.get("a") is True)

    def canonical(self) -> Row:
        row: Row = {"type": self.type}
        if self.type == "modify":
            row |= self.modifications[0].canonical()
        else:
            row["modifies"] = [one.canonical() for one in self.modifications]
        return {**row, "a": True} if self.always else row


@dataclass(frozen=True, slots=True)
class UpdateLeverage:
    asset: int
    is_cross: bool
    leverage: int
    type: str = "updateLeverage"

    @classmethod
    def parse(cls, source: Mapping[str, object]) -> "UpdateLeverage":
        only(source, "type", "asset", "isCross", "leverage")
        return cls(natural(source, "asset"), truth(source, "isCross"), natural(source, "leverage"))

    def canonical(self) -> Row:
        return {"type": self.type, "asset": self.asset, "isCross": self.is_cross, "leverage": self.leverage}


@dataclass(frozen=True, slots=True)
class UpdateIsolatedMargin:
    """`ntli` is in millionths of a dollar; negative takes out. `is_buy` is ignored by the exchange."""

    asset: int
    is_buy: bool
    ntli: int
    type: str = "updateIsolatedMargin"

    @classmethod
    def parse(cls, source: Mapping[str, object]) -> "UpdateIsolatedMargin":
        only(source, "type", "asset", "isBuy", "ntli")
        return cls(natural(source, "asset"), truth(source, "isBuy"), whole(source, "ntli"))

    def canonical(self) -> Row:
        return {"type": self.type, "asset": self.asset, "isBuy": self.is_buy, "ntli": self.ntli}


@dataclass(frozen=True, slots=True)
class ScheduleCancel:
    at_ms: int | None
    type: str = "scheduleCancel"

    @classmethod
    def parse(cls, source: Mapping[str, object]) -> "ScheduleCancel":
        only(source, "type", "time")
        return cls(natural(source, "time") if source.get("time") is not None else None)

    def canonical(self) -> Row:
        return {"type": self.type} if self.at_ms is None else {"type": self.type, "time": self.at_ms}


@dataclass(frozen=True, slots=True)
class SetReferrer:
    code: str
    type: str = "setReferrer"

    @classmethod
    def parse(cls, source: Mapping[str, object]) -> "SetReferrer":
        only(source, "type", "code")
        return cls(word(source, "code"))

    def canonical(self) -> Row:
        return {"type": self.type, "code": self.code}


@dataclass(frozen=True, slots=True)
class Noop:
    """Burns its nonce and nothing else."""

    type: str = "noop"

    @classmethod
    def parse(cls, source: Mapping[str, object]) -> "Noop":
        only(source, "type")
        return cls()

    def canonical(self) -> Row:
        return {"type": self.type}


@dataclass(frozen=True, slots=True)
class TwapOrder:
    """Understood and verified, but refused: native TWAPs are not simulated."""

    asset: int
    is_buy: bool
    size: Decimal
    reduce_only: bool
    minutes: int
    randomize: bool
    type: str = "twapOrder"

    @classmethod
    def parse(cls, source: Mapping[str, object]) -> "TwapOrder":
        only(source, "type", "twap")
        twap = record(member(source, "twap"))
        return cls(
            natural(twap, "a"),
            truth(twap, "b"),
            decimal(twap, "s"),
            truth(twap, "r"),
            natural(twap, "m"),
            truth(twap, "t"),
        )

    def canonical(self) -> Row:
        twap = {"a": self.asset, "b": self.is_buy, "s": bare(self.size), "r": self.reduce_only}
        return {"type": self.type, "twap": {**twap, "m": self.minutes, "t": self.randomize}}


@dataclass(frozen=True, slots=True)
class TwapCancel:
    asset: int
    twap_id: int
    type: str = "twapCancel"

    @classmethod
    def parse(cls, source: Mapping[str, object]) -> "TwapCancel":
        only(source, "type", "a", "t")
        return cls(natural(source, "a"), natural(source, "t"))

    def canonical(self) -> Row:
        return {"type": self.type, "a": self.asset, "t": self.twap_id}


@dataclass(frozen=True, slots=True)
class UserSigned:
    """An action under its own EIP-712 type, signed by the master key: `fields` are what the digest covers."""

    type: str
    fields: Mapping[str, object]
    chain_id: int
    chain_name: str
    nonce: int


Action = (
    PlaceOrders
    | Cancels
    | Modify
    | UpdateLeverage
    | UpdateIsolatedMargin
    | ScheduleCancel
    | SetReferrer
    | Noop
    | TwapOrder
    | TwapCancel
)

_PARSERS: dict[str, Callable[[Mapping[str, object]], Action]] = {
    "order": PlaceOrders.parse,
    "cancel": Cancels.by_oid,
    "cancelByCloid": Cancels.by_cloid,
    "modify": Modify.single,
    "batchModify": Modify.batch,
    "updateLeverage": UpdateLeverage.parse,
    "updateIsolatedMargin": UpdateIsolatedMargin.parse,
    "scheduleCancel": ScheduleCancel.parse,
    "setReferrer": SetReferrer.parse,
    "noop": Noop.parse,
    "twapOrder": TwapOrder.parse,
    "twapCancel": TwapCancel.parse,
}

# The signed fields of each user-signed action, in order, with their EIP-712 types. `agentName` may be left out of the
# posted action and is signed as "".
USER_SIGNED: dict[str, tuple[str, tuple[tuple[str, str], ...]]] = {
    "approveAgent": (
        "ApproveAgent",
        (("hyperliquidChain", "string"), ("agentAddress", "address"), ("agentName", "string"), ("nonce", "uint64")),
    ),
    "approveBuilderFee": (
        "ApproveBuilderFee",
        (("hyperliquidChain", "string"), ("maxFeeRate", "string"), ("builder", "address"), ("nonce", "uint64")),
    ),
    "userSetAbstraction": (
        "UserSetAbstraction",
        (("hyperliquidChain", "string"), ("user", "address"), ("abstraction", "string"), ("nonce", "uint64")),
    ),
}


def parse_action(source: Mapping[str, object]) -> Action | UserSigned:
    """The typed action; raises Unprocessable for an unknown type, a missing or a superfluous field."""
    kind = word(source, "type")
    if kind in USER_SIGNED:
        return _user_signed(kind, source)
    if kind not in _PARSERS:
        raise Unprocessable(f"unknown variant `{kind}`")
    return _PARSERS[kind](source)


def _user_signed(kind: str, source: Mapping[str, object]) -> UserSigned:
    fields: Row = {}
    for name, sort in USER_SIGNED[kind][1]:
        if name == "agentName":
            fields[name] = word(source, name) if source.get(name) is not None else ""
        elif sort == "uint64":
            fields[name] = natural(source, name)
        else:
            fields[name] = address(source, name) if sort == "address" else word(source, name)
    try:
        chain_id = int(word(source, "signatureChainId"), 16)
    except ValueError as error:
        raise Unprocessable("signatureChainId is no hex number") from error
    return UserSigned(kind, fields, chain_id, word(source, "hyperliquidChain"), natural(source, "nonce"))
