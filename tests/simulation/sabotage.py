"""The desk broken on purpose, one way at a time, to see that the simulation notices.

    python -m tests.simulation.sabotage [--seeds 400] [NAME ...]

The law: nothing is changed in the tree; a way to break it that no seed finds is a hole in the simulation.
"""

import argparse
import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any
from unittest import mock

from tests.simulation.disk import SimulatedDisk
from tests.simulation.processes import SimulatedSeats, SimulatedStore
from tests.simulation.run import Ran, ran
from trading.domain import book as books
from trading.domain import orders, resting
from trading.domain.desk_state import DeskState, TradingState
from trading.domain.orders import Order, OrderStatus
from trading.domain.resting import FillCause, Resting, RestingStatus
from trading.domain.trades import OrdersIntended, OrdersReported, Trade, TradeCanceled, record
from trading.engine import (
    closing,
    daily_loss,
    emergency,
    entry,
    exits,
    forgotten,
    guards,
    looking,
    losses,
    monitor,
    planning,
    playbook,
    protection,
    recovery,
    schedule,
    working,
)
from trading.utils import json_storage
from trading.utils.journal import Journal

SEEDS_MAX = 400
MISFITS = ("TypeError", "AttributeError", "NameError")
"""What a run ends with, by itself or as a bug in the log, where the desk was changed and a way to break it was not."""


def _intent_after_the_send(desk: Any, trade: Trade, step: playbook.Send) -> Trade:
    sent, reports = step.orders, desk.venue.submit(step.orders)
    trade = desk.store.save(record(trade, OrdersIntended(sent[0].intended_at, sent)))
    saved: Trade = desk.store.save(record(trade, OrdersReported(looking.later(desk, trade), reports)))
    return saved


def _doubt_becomes(status: OrderStatus) -> Callable[[Any, Trade, playbook.Send], Trade]:
    """A send that takes a lost answer for an end."""

    def send(desk: Any, trade: Trade, step: playbook.Send) -> Trade:
        sent = step.orders
        trade = desk.store.save(record(trade, OrdersIntended(sent[0].intended_at, sent)))
        reports = tuple(replace(one, status=status) if one.status.in_doubt else one for one in desk.venue.submit(sent))
        saved: Trade = desk.store.save(record(trade, OrdersReported(looking.later(desk, trade), reports)))
        return saved

    return send


def _absent_at_once(desk: Any, trade: Trade, sent: tuple[Order, ...]) -> Trade:
    """Unknown to the venue is taken for never arrived."""
    asked = [
        replace(one, status=OrderStatus.ABSENT) if one.status is OrderStatus.UNKNOWN else one
        for one in desk.venue.reports(sent)
    ]
    return record(trade, OrdersReported(looking.later(desk, trade), tuple(asked)))


def _without_attempt(real: Callable[..., Any]) -> Callable[..., Any]:
    return lambda trade_id, number, coin, attempt: real(trade_id, number, coin, 0)


def _every_order(change: Mapping[str, Any]) -> Callable[..., Order]:
    real = playbook._order

    def order(*args: Any, **kwargs: Any) -> Order:
        return replace(real(*args, **kwargs), **change)

    return order


def _scheduled_only(trade: Trade) -> Any:
    """The next slice by its schedule alone: whoever slept catches up at once."""
    if not trade.live or not trade.opens or any(schedule.remaining(trade, leg) <= 0 for leg in trade.terms.legs):
        return None
    number = schedule.next_slice_number(trade)
    return trade.terms.slices[min(number, len(trade.terms.slices)) - 1].due_at


def _gives_up(real: Callable[..., Any]) -> Callable[..., Any]:
    def send_rest(trade: Trade, market: Any, outstanding: Any) -> Any:
        if trade.orders:
            return playbook.Note(TradeCanceled(market.now, "tried once"))
        return real(trade, market, outstanding)

    return send_rest


def _whole_leg(real: Callable[..., Any]) -> Callable[..., Any]:
    """A completion that sends the leg's whole plan instead of what is missing."""

    def completion(trade: Trade, market: Any, ahead: Any, behind: Any, since: Any) -> Any:
        step = real(trade, market, ahead, behind, since)
        if isinstance(step, playbook.Send):
            return playbook.Send(tuple(replace(one, quantity=behind.quantity) for one in step.orders))
        return step

    return completion


@contextmanager
def _no_lock(*_: Any, **__: Any) -> Iterator[None]:
    yield


@contextmanager
def _book_without_lock(store: SimulatedStore) -> Iterator[Any]:
    yield store.book()


def _slowly(real: Callable[..., Trade]) -> Callable[..., Trade]:
    """An acceptance that takes its time after the limits were checked."""

    def admit(desk: Any, terms: Any) -> Trade:
        desk.clock.sleep(0.5)
        return real(desk, terms)

    return admit


def _forgets_the_halt(real: Callable[..., None]) -> Callable[..., None]:
    def write(store: Any, state: DeskState) -> None:
        if state.state in (TradingState.LIQUIDATING, TradingState.HALTED):
            store._known_state = store._state_file.content(), state
            return
        real(store, state)

    return write


def _torn_is_empty(real: Callable[..., Any]) -> Callable[..., Any]:
    """A journal whose end is torn is begun anew."""

    def close_after(journal: Any, place: Any) -> None:
        journal._disk.truncate(journal._handle, 0)
        journal._disk.write(journal._handle, b"[\n]\n", 0)

    return close_after


def _nothing(*_: Any, **__: Any) -> None:
    return None


def _no_positions(*_: Any, **__: Any) -> tuple[()]:
    return ()


def _ignores_losses(real: Callable[..., Any]) -> Callable[..., Any]:
    """Barriers are asked as if no leg had been lost."""

    def reason(desk: Any, memory: Any, position: Any, *args: Any, **kwargs: Any) -> Any:
        return real(desk, memory, replace(position, lost=None), *args, **kwargs)

    return reason


def _due_long_ago(trade: Trade, number: int) -> Any:
    return trade.terms.accepted_at


def _costs_more(real: Callable[..., Any]) -> Callable[..., Any]:
    """An account that pays a fee which nobody books."""

    def trade(self: Any, coin: Any, signed: Any, price: Any, fee: Any, order: Any, by: Any) -> Any:
        return real(self, coin, signed, price, fee + 1, order, by)

    return trade


def _only_what_is_held(real: Callable[..., Any]) -> Callable[..., Any]:
    """Limits that do not count what is still in flight."""

    def exposure(desk: Any, book: Any, account: Any) -> Any:
        class Held:
            def __getattr__(self, name: str) -> Any:
                return getattr(book, name)

            def standing_positions(self) -> Any:
                return tuple(one for one in book.standing_positions() if one.holds)

        return real(desk, Held(), account)

    return exposure


def _takes_no_for_yes(real: Callable[..., Any]) -> Callable[..., Any]:
    def approve(guardian: Any, proposal: Any, within_seconds: Any = None) -> Any:
        approval = real(guardian, proposal, within_seconds)
        return replace(approval, approved=True, id=approval.id or f"made up for {proposal.trade_id}")

    return approve


def _rests_before_it_is_written(desk: Any, memory: Any, position: Any, wanted: Any) -> Any:
    """Triggers are sent and only then written down."""
    book = desk.store.book()
    watch, now = book.watch_of(position.id), desk.clock.now()
    number = watch.rested + 1
    orders = [protection._named(position.id, guard, number) for guard in wanted]
    desk.store._process.world.guards.owners.update({one.client_order_id: position.id for one in orders})
    desk.venue.place_resting(orders, now + guards.LIFE)
    there = (*watch.resting, *(Resting(order, now, placed=True) for order in orders))
    desk.store.save_watch(replace(watch, resting=there, rested=number))
    return {(order.coin, order.kind): RestingStatus.RESTING for order in orders}


def _any_size_serves(order: Any, guard: Any) -> bool:
    return bool(order.side == guard.side)


def _without_group(real: Callable[..., Any]) -> Callable[..., Any]:
    return lambda position_id, coin, kind, number: real(position_id, coin, kind, 1)


def _leaves_what_ended(real: Callable[..., Any]) -> Callable[..., Any]:
    """Whatever rests for a position that has ended stays where it is."""

    def protect(desk: Any, memory: Any, position_id: Any, find: Any) -> None:
        if not desk.store.book().position(position_id).closed:
            real(desk, memory, position_id, find)

    return protect


def _only_what_is_placed(resting: Any, *_: Any) -> Any:
    """What may have come to rest, and nobody has seen there yet, is forgotten."""
    return tuple(one for one in resting if one.placed)


def _keeps_what_was_placed(real: Callable[..., Any]) -> Callable[..., Any]:
    """What rested once is taken to rest on."""

    def settled(resting: Any, *args: Any) -> Any:
        left = {one.order.client_order_id: one for one in real(resting, *args)}
        return tuple(left.get(one.order.client_order_id, one) for one in resting)

    return settled


def _clears_first(real: Callable[..., Any]) -> Callable[..., Any]:
    def closing_trade(desk: Any, position_id: Any, *args: Any, **kwargs: Any) -> Any:
        protection.take_back(desk, position_id)
        return real(desk, position_id, *args, **kwargs)

    return closing_trade


def _nothing_once_lost(real: Callable[..., Any]) -> Callable[..., Any]:
    def wanted(position: Any, account: Any, instruments: Any) -> Any:
        if position.lost:
            return {leg.coin: () for leg in position.legs}
        return real(position, account, instruments)

    return wanted


def _forced_or_rested(real: Callable[..., Any]) -> Callable[..., Any]:
    """Of the fills those that are somebody's order are told by nothing."""

    def candidates(*args: Any) -> Any:
        return [one for one in real(*args) if one[0].cause is not FillCause.ORDER or one[0].client_order_id]

    return candidates


def _never(*_: Any) -> bool:
    return False


def _forgets_changed_exits(real: Callable[..., None]) -> Callable[..., None]:
    """A watch is in memory and never on disk."""

    def save(store: Any, watch: Any) -> None:
        if store.book().watch_of(watch.position_id).exit_plan == watch.exit_plan:
            real(store, watch)

    return save


def _all_told(*args: Any) -> bool:
    return True


def _active_policy(*_: Any) -> Any:
    return playbook.Policy(TradingState.ACTIVE)


def _as_it_is(desk: Any, trade: Trade, why: str) -> Trade:
    return trade


def patches() -> Mapping[str, tuple[Any, ...]]:
    """Every way to break the desk: a name, and what is put in the place of what."""
    from tests.simulation.exchange import Exchange
    from tests.simulation.processes import SimulatedGuardian
    from tests.simulation.triggers import Triggers

    obj = mock.patch.object
    real_id, real_rest = orders.client_order_id, playbook._send_rest
    return {
        "intent written after the send": (obj(working, "_send", _intent_after_the_send),),
        "a lost answer is a rejection": (obj(working, "_send", _doubt_becomes(OrderStatus.REJECTED)),),
        "absence assumed early": (
            obj(working, "_ask", _absent_at_once),
            obj(working, "_send", _doubt_becomes(OrderStatus.ABSENT)),
        ),
        "attempt number missing from the id": (obj(playbook, "client_order_id", _without_attempt(real_id)),),
        "repair switched off": (obj(playbook, "_levelling", _nothing),),
        "repair sends the whole leg": (obj(playbook, "_completion", _whole_leg(playbook._completion)),),
        "reduce-only dropped": (obj(playbook, "_order", _every_order({"reduce_only": False})),),
        "book lock dropped": (
            obj(SimulatedStore, "exclusive", _book_without_lock),
            obj(working, "admit", _slowly(working.admit)),
        ),
        "seats dropped": (obj(SimulatedSeats, "seat", _no_lock),),
        "stale price accepted": (obj(playbook, "ENTRY_QUOTE_AGE_MAX", timedelta(seconds=60)),),
        "halt not durable": (
            obj(json_storage.JsonStore, "_write_state", _forgets_the_halt(json_storage.JsonStore._write_state)),
        ),
        "emergency stop not carried on": (obj(emergency, "push", _nothing), obj(emergency, "close_all", _nothing)),
        "a stop lets slices through": (obj(working, "_policy", _active_policy), obj(working, "want_cancel", _as_it_is)),
        "torn tail read as empty": (obj(Journal, "_close_after", _torn_is_empty(Journal._close_after)),),
        "nothing is synced": (obj(SimulatedDisk, "sync", _nothing),),
        "TWAP catch-up unbounded": (obj(playbook, "next_slice_due", _scheduled_only),),
        "close given up": (obj(playbook, "_send_rest", _gives_up(real_rest)),),
        "a signal trades again and again": (obj(entry, "_known", _nothing),),
        "limits forget what is in flight": (obj(planning, "exposure_of", _only_what_is_held(planning.exposure_of)),),
        "an approval serves twice": (obj(books.Book, "trade_of_approval", _nothing),),
        "Guardian's no is a yes": (obj(SimulatedGuardian, "approve", _takes_no_for_yes(SimulatedGuardian.approve)),),
        "nobody takes trades up again": (obj(recovery, "recover", _nothing), obj(monitor, "recover", _nothing)),
        "exits never fire": (obj(exits, "sweep", _nothing), obj(monitor, "_judge", _nothing)),
        "drift is not looked for": (obj(monitor, "reconcile", _nothing),),
        "what lacks is drift before the fills were asked": (
            obj(recovery.DriftMemory, "may_be_told", lambda memory, coin, since, now: False),
        ),
        "fees are forgotten": (obj(Exchange, "_trade", _costs_more(Exchange._trade)),),
        "gone is not noticed": (obj(playbook, "_gone", _nothing),),
        "a trigger rests before it is written down": (obj(protection, "_place", _rests_before_it_is_written),),
        "a trigger is not reduce-only": (obj(Triggers, "only_reduce", False),),
        "triggers stay when a position has ended": (
            obj(protection, "take_back", _nothing),
            obj(protection, "clear_way", _nothing),
            obj(protection, "protect", _leaves_what_ended(protection.protect)),
        ),
        "triggers keep their old size": (obj(guards, "_serves", _any_size_serves),),
        "group number missing from a trigger's id": (
            obj(protection, "resting_order_id", _without_group(resting.resting_order_id)),
        ),
        "a trigger in doubt is forgotten": (
            obj(protection, "settled", _only_what_is_placed),
            obj(forgotten, "look", _nothing),
        ),
        "a stop is taken back before its close is accepted": (
            obj(closing, "_closing_trade", _clears_first(closing._closing_trade)),
        ),
        "a lost leg takes the stop of its sister along": (
            obj(protection, "wanted", _nothing_once_lost(guards.wanted)),
        ),
        "nothing rests": (obj(protection, "due", _no_positions),),
        "a close does not ask what has fired": (obj(protection, "_look_for_fills", _all_told),),
        "a fired trigger is not noticed": (
            obj(working, "book_losses", _no_positions),
            obj(losses, "missing", _no_positions),
        ),
        "the sister of a lost leg stays": (
            obj(monitor, "_leave_lost", _nothing),
            obj(exits, "_reason_to_leave", _ignores_losses(exits._reason_to_leave)),
        ),
        "changed exits are not durable": (
            obj(json_storage.JsonStore, "save_watch", _forgets_changed_exits(json_storage.JsonStore.save_watch)),
        ),
        "what was closed by hand is not found by its fill": (
            obj(losses, "_candidates", _forced_or_rested(losses._candidates)),
        ),
        "what others took back is not placed again": (
            obj(protection, "settled", _keeps_what_was_placed(guards.settled)),
        ),
        "the close of a coin that was settled waits for ever": (obj(playbook, "_is_unlisted", _never),),
        "what is paid out is a loss": (obj(daily_loss, "_with_transfers", lambda desk, memory, state: state),),
        "a close in slices has no pace": (obj(playbook, "due_at", _due_long_ago),),
    }


def broken(name: str, seeds: Sequence[int]) -> Ran | None:
    """The first of *seeds* in which breaking the desk in the way of that *name* is noticed; None when none does.

    What puts an end to a run because it does not fit into the desk any more breaks nothing: raises RuntimeError.
    """
    active = patches()[name]
    for patch in active:
        patch.start()
    try:
        caught = next((one for seed in seeds if (one := ran(seed)).failure), None)
        if caught is not None and any(word in caught.failure for word in MISFITS):
            raise RuntimeError(f"{name!r} does not fit the desk any more: {caught.failure}")
        return caught
    finally:
        for patch in active:
            patch.stop()


def tried(name_and_seeds: tuple[str, int]) -> tuple[str, Ran | None]:
    """One way to break it, for a process of a pool."""
    name, seeds = name_and_seeds
    return name, broken(name, range(seeds))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--seeds", type=int, default=SEEDS_MAX)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    asked = parser.parse_args()
    names, missed = asked.names or list(patches()), 0
    with multiprocessing.get_context("fork").Pool(asked.jobs) as pool:
        for name, caught in pool.imap(tried, [(name, asked.seeds) for name in names]):
            missed += caught is None
            words = f"seed {caught.seed}: {caught.failure[:100]}" if caught else f"NOT CAUGHT in {asked.seeds} seeds"
            print(f"{name:<40} {words}", flush=True)
    print(f"{len(names) - missed} of {len(names)} caught")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
