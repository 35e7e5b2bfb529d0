"""Opening a pair: every gate in its order, then one trade, worked at once.

The law: one signal, one trade, whatever is retried or sent concurrently; silence of any gate is a no.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum

from trading.domain.book import Book
from trading.domain.desk_state import DeskState, Rejection
from trading.domain.errors import (
    Busy,
    CanceledByHand,
    GuardianRejected,
    GuardianUnavailable,
    IdempotencyMismatch,
    InvalidRequest,
    InvariantBroken,
    MonitorDown,
    RiskDenied,
    SignalExpired,
    SignalLowConfidence,
    SignalNotPending,
    TradingHalted,
    VenueRejected,
    VenueUnavailable,
)
from trading.domain.market import Account, CandleInterval
from trading.domain.positions import Position
from trading.domain.signals import Approval, Signal
from trading.domain.trades import Trade, open_trade_id
from trading.domain.units import Coin, TradeId, hash_of
from trading.engine import errands, planning, queries, working
from trading.engine.barriers import further
from trading.engine.desk import Desk
from trading.engine.planning import Draft, World
from trading.engine.playbook import stopped_by_desk
from trading.engine.records import PositionView
from trading.engine.requests import ExecuteRequest
from trading.engine.states import live_beat, require_active, standing_rejection
from trading.engine.valuing import coins_of, distance_of
from trading.ports import Proposal
from trading.utils.candle_statistics import day_trend, day_volatility
from trading.utils.risk_controls import Breach

ANSWER_SECONDS = 9.0
ATTEMPTS_OF_A_SIGNAL_MAX = 3
COMPARED_PAUSE_SECONDS = 0.05
COMPARED_WITHIN_SECONDS = 3.5
"""The patience with a drift (2 s), a round of the monitor at its default interval, and room to spare."""
FUTURE_MAX = timedelta(seconds=5)
GUARDIAN_SECONDS_MIN = 0.5
MARKET_COIN = Coin("BTC")
MARKET_SPAN = timedelta(hours=27)
"""A day of whole hours, the hour before them and the one that is still running."""


class Outcome(StrEnum):
    """How a request to execute ended, when it did not end with an error."""

    OPENED = "OPENED"
    WORKING = "WORKING"
    REPEATED = "REPEATED"


@dataclass(frozen=True, slots=True)
class Answer:
    """The position that a request made, now or earlier."""

    outcome: Outcome
    position: PositionView


def execute(desk: Desk, request: ExecuteRequest, key: str | None = None, *, request_id: str = "") -> Answer:
    """Open the pair of a signal, or give the answer that the same request got before.

    *key* names the request, the signal id serves otherwise; *request_id* is only written down. Answers within 9.5 s.
    Raises every refusal that there is: idempotency, trading state, monitor, signal, limits, Guardian, venue; a
    refusal before acceptance changes nothing.
    """
    until = desk.clock.monotonic() + ANSWER_SECONDS
    key = key or request.signal_id
    known = _known(desk.store.book(), request, key)
    if known is not None:
        return _answer(known, queries.position(desk, known.terms.position_id), repeated=True)
    opening = _Opening(desk, request, key, until, request_id)
    ended = errands.ends_by(desk, f"opening by {request.signal_id}", opening.run, until)
    return opening.answer() if ended else opening.answer_so_far()


class _Opening:
    """One request on its way through the gates and to its orders, worked beside a caller who does not wait for ever.
    Raises what `execute` does."""

    def __init__(self, desk: Desk, request: ExecuteRequest, key: str, until: float, request_id: str) -> None:
        self._desk = desk
        self._request = request
        self._key = key
        self._until = until
        self._request_id = request_id
        self._lock = threading.Lock()
        self._given_up = False
        self._trade_id: TradeId | None = None
        self._repeated = False
        self._ended: tuple[Trade, PositionView] | None = None

    def run(self) -> None:
        """Every gate in its order, the trade on disk, its orders."""
        desk, until = self._desk, self._until
        with desk.store.seat(_signal_seat(self._request.signal_id), ANSWER_SECONDS):
            trade = _known(desk.store.book(), self._request, self._key)
            if trade is not None:
                self._repeat(trade.id)
            else:
                trade = _accepted(desk, self._request, self._key, until, self._request_id, self._begin)
        if not self._repeated:
            # The monitor may have taken it up already: it is re-read under its seat, or left to it.
            left = max(until - desk.clock.monotonic(), 0.0)
            trade = working.work_if_free(desk, trade.id, until=until, wait_seconds=left)
        # Marked here, too: a venue that hangs is as slow to tell a price, and the caller does not wait for it.
        self._ended = trade, queries.position(desk, trade.terms.position_id, just_made=not self._repeated)

    def answer(self) -> Answer:
        """What it has come to, once it has run."""
        if self._ended is None:
            raise InvariantBroken("an opening has ended with neither a trade nor a refusal")
        return _answer(*self._ended, repeated=self._repeated)

    def answer_so_far(self) -> Answer:
        """The trade as it stands while it is still worked; one that is not accepted by now never will be."""
        with self._lock:
            accepted = self._trade_id
            self._given_up = accepted is None
        if accepted is None:
            raise VenueUnavailable("what must be known before an opening could not be read in time; nothing was sent")
        self._desk.store.make_sure()
        trade = self._desk.store.book().find_trade(accepted)
        if trade is None:
            raise Busy(f"signal {self._request.signal_id} is being accepted just now; ask again")
        shown = queries.unmarked_position(self._desk, trade.terms.position_id)
        return _answer(trade, shown, repeated=self._repeated)

    def _repeat(self, trade_id: TradeId) -> None:
        """It was accepted while this one waited for its turn: whatever happens now, something has been sent."""
        with self._lock:
            self._trade_id, self._repeated = trade_id, True

    def _begin(self, trade_id: TradeId) -> None:
        """Called before the trade is written down: whoever has been told that nothing was sent has been told the
        truth."""
        with self._lock:
            if self._given_up:
                raise VenueUnavailable("the caller has been told that nothing was sent")
            self._trade_id = trade_id


def judge_signal(desk: Desk, signal: Signal, *, now: datetime) -> None:
    """Raises SignalNotPending, SignalExpired or SignalLowConfidence when *signal* may not be traded."""
    config = desk.config
    if signal.status != "pending":
        raise SignalNotPending(f"signal {signal.id} is {signal.status}, not pending", status=signal.status)
    age = now - signal.created_at
    if age > timedelta(seconds=config.max_signal_age_seconds):
        raise SignalExpired(
            f"signal {signal.id} is {age.total_seconds():.0f} s old; the limit is {config.max_signal_age_seconds} s"
        )
    if age < -FUTURE_MAX:
        raise SignalExpired(f"signal {signal.id} is dated {-age.total_seconds():.0f} s in the future")
    if signal.confidence < config.min_signal_confidence:
        raise SignalLowConfidence(
            f"signal {signal.id} has confidence {signal.confidence}; the least is {config.min_signal_confidence}"
        )


def require_monitor(desk: Desk) -> None:
    """Raises MonitorDown when the configuration wants a live monitor and there is none, or it has only just begun: what
    happened while nobody watched must be known before anything is added to it."""
    if not desk.config.require_monitor:
        return
    if live_beat(desk) is None:
        raise MonitorDown("no monitor is watching; start `manage.py monitor_positions`")
    if not desk.store.compared():
        raise MonitorDown("the monitor has not compared the book with the venue yet; try again in a moment")


def _await_monitor(desk: Desk) -> None:
    """`require_monitor`, waiting a moment for one that has just begun: whoever has started the service and sends the
    first signal has done nothing wrong."""
    until = desk.clock.monotonic() + COMPARED_WITHIN_SECONDS
    while True:
        try:
            return require_monitor(desk)
        except MonitorDown:
            left = until - desk.clock.monotonic()
            if left <= 0 or live_beat(desk) is None:
                raise
            desk.clock.sleep(min(COMPARED_PAUSE_SECONDS, left))


def owned(book: Book, signal_id: str) -> Trade | None:
    """The trade that has made *signal_id* its own: live, filled or in doubt, for ever. None when it may still be
    traded."""
    trades = book.trades_of_signal(signal_id)
    for trade in trades:
        if trade.live or trade.anything_filled or trade.unexplained:
            return trade
    return trades[-1] if len(trades) >= ATTEMPTS_OF_A_SIGNAL_MAX else None


def risk_denied(breaches: tuple[Breach, ...]) -> RiskDenied:
    """The refusal that carries all *breaches*."""
    words = "; ".join(f"{breach.code}: {breach.detail}" for breach in breaches)
    return RiskDenied(words, breaches=breaches)


def _known(book: Book, request: ExecuteRequest, key: str) -> Trade | None:
    """The trade of a request that was heard before; None for a new one. Raises when the signal or the key is taken."""
    trade = book.trade_of_key(key)
    if trade is not None:
        if trade.terms.fingerprint != request.fingerprint:
            raise IdempotencyMismatch(f"the key {key} was used for another request", trade_id=trade.id)
        return trade
    owner = owned(book, request.signal_id)
    if owner is not None:
        raise SignalNotPending(
            f"signal {request.signal_id} has been traded already",
            trade_id=owner.id,
            position_id=owner.terms.position_id,
        )
    return None


def _answer(trade: Trade, shown: PositionView, *, repeated: bool = False) -> Answer:
    _require_answerable(trade)
    fresh = Outcome.WORKING if trade.live else Outcome.OPENED
    return Answer(Outcome.REPEATED if repeated else fresh, shown)


def _require_answerable(trade: Trade) -> None:
    """Raises TradingHalted, CanceledByHand or VenueRejected for *trade* that has ended with nothing filled."""
    if trade.live or trade.anything_filled:
        return
    facts = {"trade_id": trade.id, "position_id": trade.terms.position_id}
    if stopped_by_desk(trade):
        raise TradingHalted(
            f"the desk was stopped before anything was filled ({trade.why}); once it is ACTIVE another key may try",
            **facts,
        )
    if trade.cancel_wanted:
        raise CanceledByHand(f"nothing was filled: {trade.why}", **facts)
    raise VenueRejected(f"nothing was filled: {trade.why}", **facts)


def _accepted(
    desk: Desk,
    request: ExecuteRequest,
    key: str,
    until: float,
    request_id: str,
    begin: Callable[[TradeId], None],
) -> Trade:
    """All gates, then the trade on disk, after *begin* was told of it."""
    require_active(desk)
    _await_monitor(desk)
    if until - desk.clock.monotonic() < min(desk.config.agent_timeout_seconds, ANSWER_SECONDS / 2):
        raise Busy(f"signal {request.signal_id} is being worked by another request; try again")
    signal = desk.signals.signal(request.signal_id, request.pair)
    if request.pair is not None and request.pair != signal.pair:
        raise InvalidRequest({"pair": f"is not the signal's pair, {signal.pair}; leave it out or correct it"})
    judge_signal(desk, signal, now=desk.clock.now())
    _respect_rejection(desk, request)
    before = planning.look_for(desk, request, signal.pair)
    book = desk.store.book()
    trade_id = open_trade_id(signal.id, len(book.trades_of_signal(signal.id)) + 1)
    plan = _judged(desk, request, signal, before, book)
    desk.venue.require_room()
    approval = _approved(desk, plan, trade_id, before, book, until)
    fresh = planning.look_for(desk, request, signal.pair)
    with desk.store.exclusive() as book:
        _known(book, request, key)
        # Once more: Guardian has thought, and the venue was read, for seconds.
        require_active(desk)
        require_monitor(desk)
        judge_signal(desk, signal, now=desk.clock.now())
        plan = planning.draft(desk, request, signal, fresh)
        breaches = planning.breaches_of(desk, plan, book, fresh.account)
        if breaches:
            raise _denied(desk, request, breaches)
        if book.trade_of_approval(approval.id) is not None:
            raise GuardianUnavailable("Guardian's approval id has been used before; that is no approval")
        terms = planning.terms_of(desk, plan, trade_id, approval, key, fresh, book)
        checks = planning.checks_of(desk, plan, book, fresh.account)
        begin(trade_id)
        trade = working.admit(desk, replace(terms, request_id=request_id, checks=checks))
    desk.log.write(
        "info",
        f"accepted: long {terms.long.coin}, short {terms.short.coin}, {request.position_size} USD by {plan.execution}",
        trade_id=trade.id,
        position_id=terms.position_id,
        signal_id=signal.id,
        approval_id=approval.id,
        slices=len(terms.slices),
        leverage=terms.leverage,
        event="TradeAccepted",
    )
    return trade


def _judged(desk: Desk, request: ExecuteRequest, signal: Signal, world: World, book: Book) -> Draft:
    plan = planning.draft(desk, request, signal, world)
    breaches = planning.breaches_of(desk, plan, book, world.account)
    if breaches:
        raise _denied(desk, request, breaches)
    return plan


def _denied(desk: Desk, request: ExecuteRequest, breaches: tuple[Breach, ...]) -> RiskDenied:
    desk.log.write(
        "warning",
        f"denied: {', '.join(dict.fromkeys(str(breach.code) for breach in breaches))}",
        signal_id=request.signal_id,
        position_size=request.position_size,
        event="TradeDenied",
    )
    return risk_denied(breaches)


def _approved(desk: Desk, plan: Draft, trade_id: TradeId, world: World, book: Book, until: float) -> Approval:
    """Guardian's yes. A no is kept, and stands for the signal at this size or a larger one."""
    if until - desk.clock.monotonic() < GUARDIAN_SECONDS_MIN:
        raise GuardianUnavailable("there was no time left to ask Guardian; try again")
    approval = desk.approvals.approve(
        _proposal(desk, plan, trade_id, world, book), max(until - desk.clock.monotonic() - GUARDIAN_SECONDS_MIN, 0.0)
    )
    if approval.approved:
        if not approval.id:
            raise GuardianUnavailable("Guardian's yes came without an approval id; that is no approval")
        if approval.rule_violations:
            raise GuardianUnavailable(
                f"Guardian's yes names broken rules ({'; '.join(approval.rule_violations)}); that is no approval",
                rule_violations=list(approval.rule_violations),
                reasoning=approval.reasoning,
            )
        return approval
    signal, size = plan.signal, plan.entry.position_size
    expires_at = signal.created_at + timedelta(seconds=desk.config.max_signal_age_seconds)
    rejection = Rejection(signal.id, size, approval.reasoning, expires_at)
    desk.store.change_state(lambda state: _with_rejection(state, rejection, desk.clock.now()))
    desk.log.write(
        "warning",
        f"Guardian rejected {signal.pair}",
        signal_id=signal.id,
        reasoning=approval.reasoning,
        event="GuardianRejected",
    )
    raise GuardianRejected(
        f"Guardian rejected the trade: {approval.reasoning}",
        reasoning=approval.reasoning,
        risk_score=approval.risk_score,
        concerns=list(approval.concerns),
        rule_violations=list(approval.rule_violations),
    )


def _with_rejection(state: DeskState, rejection: Rejection, now: datetime) -> DeskState:
    standing = tuple(
        one
        for one in state.rejections
        if one.expires_at > now
        and not (one.signal_id == rejection.signal_id and one.position_size >= rejection.position_size)
    )
    return replace(state, rejections=(*standing, rejection))


def _respect_rejection(desk: Desk, request: ExecuteRequest) -> None:
    rejection = standing_rejection(desk.store.state(), request.signal_id, request.position_size, desk.clock.now())
    if rejection is not None:
        raise GuardianRejected(
            f"Guardian has rejected this signal at {rejection.position_size} USD: {rejection.reasoning}",
            reasoning=rejection.reasoning,
            concerns=[],
            rule_violations=[],
            risk_score=None,
        )


def _proposal(desk: Desk, plan: Draft, trade_id: TradeId, world: World, book: Book) -> Proposal:
    account, entry = world.account, plan.entry
    standing, conditions = book.standing_positions(), _conditions(desk, world.now)
    return Proposal(
        trade_id=trade_id,
        signal=plan.signal,
        long_coin=entry.long.coin,
        short_coin=entry.short.coin,
        position_size=entry.position_size,
        leverage=entry.leverage,
        execution=plan.execution,
        take_profit=plan.exit_plan.take_profit,
        stop_loss=plan.exit_plan.stop_loss,
        expires_at=plan.signal.created_at + timedelta(seconds=desk.config.max_signal_age_seconds),
        total_value=account.equity,
        available_margin=account.margin_available,
        margin_usage=account.margin_used / account.equity * 100,
        num_positions=len(standing),
        liquidation_distance=_nearest_liquidation(desk, standing, account) * 100,
        btc_volatility=conditions.volatility,
        trend=conditions.trend,
        trailing=plan.exit_plan.trailing,
        max_holding_seconds=plan.exit_plan.max_holding_seconds,
        further_exits=further(plan.exit_plan),
    )


@dataclass(frozen=True, slots=True)
class _Conditions:
    """The market at large: how much BTC moves in a day, in percent, and which way. None is not known."""

    volatility: Decimal | None = None
    trend: str | None = None


def _conditions(desk: Desk, now: datetime) -> _Conditions:
    """From BTC's bars of the last day. What cannot be read stays unknown: Guardian is told less, not something else."""
    try:
        hours = desk.venue.candles(MARKET_COIN, CandleInterval.HOUR, now - MARKET_SPAN, now)
    except VenueUnavailable:
        return _Conditions()
    return _Conditions(day_volatility(hours, now), day_trend(hours, now))


def _nearest_liquidation(desk: Desk, standing: tuple[Position, ...], account: Account) -> Decimal:
    """The least distance to liquidation of any position, a fraction; one when nothing held can be liquidated."""
    if not standing:
        return Decimal(1)
    quotes = desk.venue.quotes(coins_of(standing))
    distances = [distance_of(position, account, quotes) for position in standing]
    return min((one for one in distances if one is not None), default=Decimal(1))


def _signal_seat(signal_id: str) -> TradeId:
    """Identical requests that arrive together queue here, so that Guardian is asked once."""
    return TradeId("sig_" + hash_of("signal", signal_id)[:24])
