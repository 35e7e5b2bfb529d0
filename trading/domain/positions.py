"""A position is what a pair's trades add up to: derived, never stored on its own authority.

What trades cannot tell (exits changed by hand, the high-water mark of a trailing stop, funding) is the `Watch`, kept
beside it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from trading.domain.errors import InvariantBroken
from trading.domain.exit_plan import ExitPlan, ExitReason
from trading.domain.market import Pair
from trading.domain.naked import naked_by_losses
from trading.domain.orders import Side
from trading.domain.resting import Resting
from trading.domain.signals import Approval, Signal
from trading.domain.trades import LegPlan, Trade
from trading.domain.units import ZERO, Coin, PositionId, Price, Quantity, Ratio, TradeId, Usd

ASKED_FOR = frozenset({ExitReason.MANUAL, ExitReason.EMERGENCY_STOP})
"""Reasons that somebody gave. Any other is a barrier's, which is none for a leg that was lost before it was judged."""


class PositionStatus(StrEnum):
    OPENING = "opening"
    OPEN = "open"
    CLOSING = "closing"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class Watch:
    """What must survive a restart beside the trades.

    `high_water` is the highest net return seen, `funding_*` USD paid so far, `outcome_told` whether Guardian knows
    the end. `resting` is all that may rest at the venue for the position, `rested` how many groups ever did: no number
    serves twice.
    """

    position_id: PositionId
    exit_plan: ExitPlan
    high_water: Ratio | None = None
    funding_long: Usd = Usd(ZERO)
    funding_short: Usd = Usd(ZERO)
    funded_until: datetime | None = None
    outcome_told: bool = False
    resting: tuple[Resting, ...] = ()
    rested: int = 0


@dataclass(frozen=True, slots=True)
class Leg:
    """One leg, quantities in coins: `opened` (entries less trims), `closed`, and `held`, which is the difference.

    `realized` in USD is gross of fees and funding; `funding` is positive when paid.
    """

    coin: Coin
    side: Side
    opened: Quantity
    closed: Quantity
    entry_price: Price | None
    exit_price: Price | None
    realized: Usd
    fees: Usd
    funding: Usd

    @property
    def held(self) -> Quantity:
        return Quantity(self.opened - self.closed)

    @property
    def entry_notional(self) -> Usd:
        """USD at entry prices of what was opened and not trimmed back."""
        return Usd(self.opened * self.entry_price) if self.entry_price is not None else Usd(ZERO)

    def unrealized(self, price: Decimal) -> Usd:
        """USD gained on what is held if it were worth *price*."""
        if self.entry_price is None:
            return Usd(ZERO)
        return Usd(self.held * (price - self.entry_price) * self.side.sign)


@dataclass(frozen=True, slots=True)
class Position:
    """The projection of one opening trade and the closing trades that followed it.

    `lost` says that fills of others have taken something of a leg, and which reason that is for leaving.
    `closing_slowly`: it is being closed in slices that a breach would hurry, so its barriers are looked at meanwhile.
    """

    id: PositionId
    trade_id: TradeId
    pair: Pair
    status: PositionStatus
    leverage: int
    requested_usd: Usd
    long: Leg
    short: Leg
    exit_plan: ExitPlan
    signal: Signal | None
    approval: Approval | None
    entered_at: datetime
    exited_at: datetime | None
    exit_reason: ExitReason | None
    closing_trade_id: TradeId | None
    naked_max: Usd
    naked_usd_seconds: Decimal
    high_water: Ratio | None
    lost: ExitReason | None = None
    closing_slowly: bool = False

    @property
    def legs(self) -> tuple[Leg, Leg]:
        return (self.long, self.short)

    @property
    def entry_notional(self) -> Usd:
        return Usd(self.long.entry_notional + self.short.entry_notional)

    @property
    def realized(self) -> Usd:
        return Usd(self.long.realized + self.short.realized)

    @property
    def fees(self) -> Usd:
        return Usd(self.long.fees + self.short.fees)

    @property
    def funding(self) -> Usd:
        return Usd(self.long.funding + self.short.funding)

    @property
    def holds(self) -> bool:
        return self.long.held > 0 or self.short.held > 0

    @property
    def guarded(self) -> bool:
        """Do its barriers still decide anything. An opening that holds nothing yet has a time limit all the same."""
        if self.status is PositionStatus.OPENING:
            return True
        return self.holds and (self.status is not PositionStatus.CLOSING or self.closing_slowly)

    @property
    def closed(self) -> bool:
        return self.status is PositionStatus.CLOSED

    def leg_of(self, coin: Coin) -> Leg:
        for leg in self.legs:
            if leg.coin == coin:
                return leg
        raise InvariantBroken(f"{coin} is no leg of {self.id}")


def first_watch(opening: Trade) -> Watch:
    """The watch of a position as its opening trade leaves it to the desk."""
    plan = opening.terms.exit_plan
    if plan is None:
        raise InvariantBroken("an opening trade has an exit plan", trade_id=opening.id)
    return Watch(opening.terms.position_id, plan)


def position_of(trades: Sequence[Trade], watch: Watch | None = None) -> Position:
    """Project *trades*, the opening one first, onto a position. Pure; raises InvariantBroken when there is no opening
    trade.

    The status: live and something to wait for is opening, a live close is closing, ended with something held is open,
    ended with nothing held is closed.
    """
    if not trades or not trades[0].opens:
        raise InvariantBroken("a position begins with its opening trade")
    opening, closings = trades[0], trades[1:]
    watch = watch or first_watch(opening)
    long = _leg(opening, closings, opening.terms.long, watch.funding_long)
    short = _leg(opening, closings, opening.terms.short, watch.funding_short)
    status = _status(opening, closings, held=long.held > 0 or short.held > 0)
    ends = [trade.ended_at for trade in trades if trade.ended_at is not None]
    last = max([*ends, *(loss.at for loss in opening.lost)], default=None)
    exited_at = last if status is PositionStatus.CLOSED else None
    naked = [*(trade.naked for trade in trades), naked_by_losses(opening, exited_at)]
    return Position(
        id=opening.terms.position_id,
        trade_id=opening.id,
        pair=opening.terms.pair,
        status=status,
        leverage=opening.terms.leverage,
        requested_usd=opening.terms.requested_usd,
        long=long,
        short=short,
        exit_plan=watch.exit_plan,
        signal=opening.terms.signal,
        approval=opening.terms.approval,
        entered_at=opening.terms.accepted_at,
        exited_at=exited_at,
        exit_reason=_exit_reason(opening, closings, status),
        closing_trade_id=closings[-1].id if closings else None,
        naked_max=Usd(max(one.max for one in naked)),
        naked_usd_seconds=sum((one.usd_seconds for one in naked), ZERO),
        high_water=watch.high_water,
        lost=_lost_by(opening),
        closing_slowly=any(one.live and one.terms.slice_interval_seconds and one.hurried is None for one in closings),
    )


def _status(opening: Trade, closings: Sequence[Trade], *, held: bool) -> PositionStatus:
    if any(trade.live for trade in closings):
        return PositionStatus.CLOSING
    if opening.live:
        return PositionStatus.OPENING
    return PositionStatus.OPEN if held else PositionStatus.CLOSED


def _exit_reason(opening: Trade, closings: Sequence[Trade], status: PositionStatus) -> ExitReason | None:
    if status is PositionStatus.CLOSED and not opening.anything_filled:
        return ExitReason.NOT_FILLED
    if closings:
        reason = closings[-1].exit_reason
        before = any(loss.filled_at <= closings[0].terms.accepted_at for loss in opening.lost)
        return _lost_by(opening) if before and reason not in ASKED_FOR else reason
    if status is not PositionStatus.CLOSED:
        return None
    return _lost_by(opening) or ExitReason.REPAIR


def _lost_by(opening: Trade) -> ExitReason | None:
    """The reason for leaving that a lost leg is; a liquidation outweighs the rest."""
    reasons = {loss.reason for loss in opening.lost}
    if not reasons:
        return None
    return ExitReason.LIQUIDATION if ExitReason.LIQUIDATION in reasons else ExitReason.LEG_LOST


def _leg(opening: Trade, closings: Sequence[Trade], plan: LegPlan, funding: Usd) -> Leg:
    bought = traded = fees = ZERO
    sold = exits = ZERO
    trimmed = ZERO
    for trade in (opening, *closings):
        for order in trade.orders:
            if order.coin != plan.coin:
                continue
            report = trade.report_of(order)
            fees += report.fees
            if report.filled == 0 or report.average_price is None:
                continue
            if order.reduce_only:
                sold += report.filled
                exits += report.filled * report.average_price
                trimmed += report.filled if trade is opening else ZERO
            else:
                bought += report.filled
                traded += report.filled * report.average_price
        for gone in trade.gone:
            if gone.coin == plan.coin:
                sold += gone.quantity
                exits += gone.quantity * gone.price
        for loss in trade.lost:
            if loss.coin == plan.coin:
                sold += loss.quantity
                exits += loss.quantity * loss.price
                fees += loss.fees
    entry = traded / bought if bought else None
    realized = (exits - sold * entry) * plan.side.sign if entry is not None else ZERO
    return Leg(
        coin=plan.coin,
        side=plan.side,
        opened=Quantity(bought - trimmed),
        closed=Quantity(sold - trimmed),
        entry_price=Price(entry) if entry is not None else None,
        exit_price=Price(exits / sold) if sold else None,
        realized=Usd(realized),
        fees=Usd(fees),
        funding=funding,
    )
