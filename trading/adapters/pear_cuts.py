"""What has to be taken out of Pear's positions to carry out orders that reduce: one write a position.

The law: pure; sizes are absolute, so that a write can be repeated and goes by one reading; more than a position holds
is never taken from it, and none is left more than the exchange has. Where that is not known only wholes leave.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from trading.adapters.pear_wire import NOTIONAL_MIN, Basket, Part, encode_close, encode_targets
from trading.domain.market import Holding
from trading.domain.orders import Order
from trading.domain.units import ZERO, Coin, Quantity, hash_of


@dataclass(frozen=True, slots=True)
class Cut:
    """One write that takes *orders* out of a basket: the whole of it, or down to *targets*. An order of a coin without
    a target is of a leg that the close of the whole may take unseen."""

    basket: Basket
    orders: tuple[Order, ...]
    targets: Mapping[Coin, Quantity]

    @property
    def expected(self) -> Mapping[Coin, Quantity]:
        """What is to be taken of each coin."""
        parts = {one.coin: one.quantity for one in self.basket.parts}
        asked = {one.coin: one.quantity for one in self.orders}
        return {**asked, **{coin: Quantity(parts[coin] - target) for coin, target in self.targets.items()}}

    @property
    def path(self) -> str:
        return f"/positions/{self.basket.id}/{'close' if self.whole else 'adjust-advance'}"

    @property
    def body(self) -> object:
        return encode_close() if self.whole else encode_targets(self.basket, self.targets)

    @property
    def key(self) -> str:
        """Names the write in the register; Pear takes none for it."""
        return _key_of(self.basket.id, self.orders)

    @property
    def whole(self) -> bool:
        return all(self.targets.get(one.coin, one.quantity) == 0 for one in self.basket.parts)


@dataclass(frozen=True, slots=True)
class Sweep:
    """One write that closes everything Pear holds. `expected` as of a cut; a coin in several baskets may be missing."""

    orders: tuple[Order, ...]
    expected: Mapping[Coin, Quantity]
    path = "/positions/close-all"

    @property
    def body(self) -> object:
        return encode_close()

    @property
    def key(self) -> str:
        return _key_of(self.path, self.orders)


def as_held(baskets: Collection[Basket], held: Mapping[Coin, Holding], listed: Collection[Coin]) -> tuple[Basket, ...]:
    """*baskets* with no more of a coin than is *held* of it: what Pear shows may be of a moment before, and by that a
    size to be left would be bought back. Not where one lies against another, nor of what is *listed* elsewhere."""
    sides = {(one.coin, one.side) for basket in baskets for one in basket.parts}

    def there(part: Part) -> Part:
        if (part.coin, part.side.opposite) in sides or part.coin not in listed:
            return part
        quantity = held[part.coin].quantity if part.coin in held else ZERO
        return replace(part, quantity=Quantity(min(part.quantity, max(quantity * part.side.sign, ZERO))))

    return tuple(replace(basket, parts=tuple(map(there, basket.parts))) for basket in baskets)


def cuts_of(orders: Sequence[Order], baskets: Collection[Basket]) -> list[Cut]:
    """The writes that carry out *orders*, one a basket: of those that hold a coin, one that holds all the coins, else
    the one that was changed last, as far as it reaches. One that holds too little of it for a trade comes last."""
    newest = sorted(baskets, key=lambda one: one.updated_at, reverse=True)
    whole = [one for one in newest if all(_serves(one, order) for order in orders)]
    groups: dict[str, list[Order]] = {}
    for order in orders:
        serving = [one for one in (*whole, *newest) if _serves(one, order)]
        basket = next((one for one in (*serving, *newest) if _holds(one, order)), None)
        if basket is not None:
            groups.setdefault(basket.id, []).append(order)
    return [
        Cut(basket, tuple(groups[basket.id]), _targets(basket, groups[basket.id]))
        for basket in newest
        if basket.id in groups
    ]


def writes_of(
    orders: Sequence[Order],
    baskets: tuple[Basket, ...],
    held: Mapping[Coin, Holding] | None,
    listed: Collection[Coin],
) -> Sequence[Cut | Sweep]:
    """The writes that carry out *orders* by *baskets* of which no more is believed than is *held*.

    A part is taken by the size that is to be left: where nothing is known of what is held, or Pear shows more than that
    and one that cannot be read may lie against it, only what leaves whole by what Pear shows goes.
    """
    there = baskets if held is None else as_held(baskets, held, listed)
    if held is None or (there != baskets and any(one.unread for one in baskets)):
        return _with_hidden([one for one in cuts_of(orders, baskets) if one.whole], orders, baskets, held)
    cuts = cuts_of(orders, there)
    found = swept(cuts, there, held)
    return found if found is not cuts else _with_hidden(cuts, orders, there, held)


def _with_hidden(
    cuts: Sequence[Cut], orders: Sequence[Order], baskets: Collection[Basket], held: Mapping[Coin, Holding] | None
) -> list[Cut]:
    """*cuts*, but an order goes with the close of a position that shows one side only, and may have the other without
    showing it, when less of its coin is shown than is *held*: cut out of another position, or closed at the exchange
    besides, it would be taken twice. Where there is no such leg, its own turn comes when its group has been filled
    without it."""
    found = list(cuts)
    for order in orders:
        leaves_whole = any(one.whole and order in one.orders for one in found)
        place = next((place for place, one in enumerate(found) if _may_hide(one, order)), None)
        if place is not None and not leaves_whole and _shows_too_little(order, baskets, held):
            found = [_without(one, order) for one in found]
            found[place] = replace(found[place], orders=(*found[place].orders, order))
    return [one for one in found if one.orders]


def swept(cuts: Sequence[Cut], baskets: Collection[Basket], held: Mapping[Coin, Holding]) -> Sequence[Cut | Sweep]:
    """One sweep instead of *cuts* that take all of everything, as an emergency stop without a ledger does.

    What is *held* besides was not opened through Pear, which lists no such position (documentation, "FULLY_EXTERNAL")
    and might sweep it away.
    """
    orders = tuple(order for cut in cuts for order in cut.orders)
    coins = [one.coin for one in orders]
    everything = len(cuts) == len(baskets) > 1 and all(cut.whole for cut in cuts) and len(set(coins)) == len(coins)
    asked = {one.coin: one.quantity for one in orders}
    if not everything or any(abs(one.quantity) > asked.get(one.coin, ZERO) for one in held.values()):
        return cuts
    return [Sweep(orders, {coin: quantity for cut in cuts for coin, quantity in cut.expected.items()})]


def _key_of(name: str, orders: Sequence[Order]) -> str:
    return hash_of(name, *(one.client_order_id for one in orders))[:32]


def _holds(basket: Basket, order: Order) -> bool:
    return any(_reduces(order, one) for one in basket.parts)


def _reduces(order: Order, part: Part) -> bool:
    return part.coin == order.coin and part.side is not order.side


def _serves(basket: Basket, order: Order) -> bool:
    """Holds *basket* all that *order* is to take, or as much of it as the exchange trades: a leg that was completed
    alone is a basket of its own, beside one that may have got next to nothing of it."""
    part = basket.part(order.coin)
    if part is None or not _holds(basket, order):
        return False
    return part.quantity >= order.quantity or part.quantity * order.limit_price >= NOTIONAL_MIN


def _may_hide(cut: Cut, order: Order) -> bool:
    return cut.whole and cut.basket.part(order.coin) is None and len({one.side for one in cut.basket.parts}) == 1


def _shows_too_little(order: Order, baskets: Collection[Basket], held: Mapping[Coin, Holding] | None) -> bool:
    """Do *baskets* have less of the coin than is *held*; where that is not known, nothing of it."""
    shown = sum((part.quantity for one in baskets for part in one.parts if _reduces(order, part)), ZERO)
    if held is None:
        return not shown
    return order.coin in held and shown < abs(held[order.coin].quantity)


def _without(cut: Cut, order: Order) -> Cut:
    if order not in cut.orders:
        return cut
    targets = {coin: target for coin, target in cut.targets.items() if coin != order.coin}
    return replace(cut, orders=tuple(one for one in cut.orders if one != order), targets=targets)


def _targets(basket: Basket, orders: Sequence[Order]) -> Mapping[Coin, Quantity]:
    """What each coin of *basket* that is reduced is to have left."""
    parts = {one.coin: one for one in basket.parts}
    return {one.coin: Quantity(max(parts[one.coin].quantity - one.quantity, ZERO)) for one in orders}
