"""How an approved trade ended, told to Guardian: an outbox that the ledger keeps.

The law: an end stays in the outbox until Guardian has taken it, a day has passed or there was nothing to tell, whatever
is restarted meanwhile; nothing of trading waits for it.

What is due is derived from the book, so there is no second list that could disagree with it: a closed position with an
approval whose watch does not say `outcome_told`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from trading.domain.accounts import funding_complete
from trading.domain.errors import GuardianUnavailable, VenueUnavailable
from trading.domain.positions import Position
from trading.domain.units import PositionId
from trading.engine.desk import Desk
from trading.engine.funding import collect_funding, funding_settled
from trading.engine.instants import lasts
from trading.engine.valuing import entry_ratio, pair_ratio
from trading.ports import Outcome

RETRY_MIN = timedelta(seconds=30)
RETRY_MAX = timedelta(hours=1)
BACKOFF = 4
"""The pause between two tries is this part of the time since the exit: it grows with the trouble, also across
restarts."""
GIVEN_UP_AFTER = timedelta(hours=24)
AT_ONCE_MAX = 50


@dataclass
class Outbox:
    """When each end was last tried. Losing it costs one try too many, never an end."""

    tried: dict[PositionId, datetime] = field(default_factory=dict)


def due(desk: Desk, outbox: Outbox) -> tuple[PositionId, ...]:
    """The ends to tell now, longest waiting first. What is a day old is given up for good, with a line in the log."""
    now, untold = desk.clock.now(), desk.store.book().untold()
    kept = {position.id for position in untold}
    outbox.tried = {key: at for key, at in outbox.tried.items() if key in kept}
    waiting = []
    for position in untold:
        if _too_old(position, now):
            _mark(desk, position.id)
            desk.log.write(
                "warning",
                "Guardian never took the outcome of a trade; given up",
                position_id=position.id,
                event="OutcomeGivenUp",
            )
        elif funding_settled(position, now) and _may_try(outbox, position, now):
            waiting.append(position)
    waiting.sort(key=lambda one: (outbox.tried.get(one.id, one.entered_at), one.id))
    return tuple(position.id for position in waiting[:AT_ONCE_MAX])


def deliver(desk: Desk, outbox: Outbox, ends: Sequence[PositionId]) -> None:
    """Tell *ends* one after the other until one does not get through; the rest is due again at the next look."""
    for position_id in ends:
        outbox.tried[position_id] = desk.clock.now()
        try:
            delivered = _deliver(desk, position_id)
        except (GuardianUnavailable, VenueUnavailable) as error:
            desk.log.write("warning", f"an outcome could not be told: {error.detail}", position_id=position_id)
            return
        if delivered:
            outbox.tried.pop(position_id, None)


def pause_after(position: Position, now: datetime) -> timedelta:
    """How long to leave Guardian alone about *position* after a try at *now* that failed."""
    age = now - (position.exited_at or now)
    return min(max(age / BACKOFF, RETRY_MIN), RETRY_MAX)


def outcome_of(position: Position) -> Outcome | None:
    """Net PnL over entry notional and the pair's price ratios in and out; None for a position that was never filled
    on both legs."""
    entry, long, short = entry_ratio(position), position.long.exit_price, position.short.exit_price
    out = None if long is None or short is None else pair_ratio(position, long, short)
    if position.approval is None or entry is None or out is None or not position.entry_notional:
        return None
    net = position.realized - position.fees - position.funding
    return Outcome(position.approval.id, net / position.entry_notional, entry, out)


def _deliver(desk: Desk, position_id: PositionId) -> bool:
    """Tell one end; False while its funding is not complete, because an order on one of its coins is in doubt."""
    collect_funding(desk, desk.store.book().position(position_id))
    position = desk.store.book().position(position_id)
    if not funding_complete(position, desk.store.book().watch(position_id)):
        return False
    outcome = outcome_of(position)
    if outcome is not None:
        desk.approvals.report_outcome(outcome)
    _mark(desk, position_id)
    return True


def _mark(desk: Desk, position_id: PositionId) -> None:
    with desk.store.exclusive() as book:
        desk.store.save_watch(replace(book.watch_of(position_id), outcome_told=True))


def _may_try(outbox: Outbox, position: Position, now: datetime) -> bool:
    tried = outbox.tried.get(position.id)
    return tried is None or not lasts(now, tried, pause_after(position, tried))


def _too_old(position: Position, now: datetime) -> bool:
    return position.exited_at is None or now - position.exited_at > GIVEN_UP_AFTER
