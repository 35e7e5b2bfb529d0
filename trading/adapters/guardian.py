"""Guardian over HTTP: one question about one trade, asked once.

The law: only a complete, well-formed "approve" with an id is an approval. Silence, a garbled answer and an answer that
speaks of another trade are all GuardianUnavailable: no approval. Guardian need not echo anything; what it echoes has to
match.
"""

import json
from collections.abc import Mapping
from decimal import Decimal
from typing import cast

from trading.adapters.http import Peer, plain_text
from trading.domain.errors import GuardianUnavailable, InvalidNumber
from trading.domain.exit_plan import FURTHER_EXITS, TrailingStop
from trading.domain.signals import Approval
from trading.domain.units import Number, exact, hash_of
from trading.ports import Clock, Outcome, Proposal

APPROVAL_ID_LENGTH_MAX = 256
REASONING_LENGTH_MAX = 2000
REMARK_LENGTH_MAX = 300
REMARKS_MAX = 20
# What says which trade is meant. Guardian's own words, such as a confidence of its own, are not among them.
ECHOED_FIELDS = (
    "pair",
    "size",
    "position_size",
    "zscore",
    "signal_type",
    "signal_id",
    "trade_id",
    "leverage",
    "execution",
    "long",
    "short",
    "sides",
    "take_profit",
    "stop_loss",
    "trailing_stop",
    "max_holding_seconds",
    *FURTHER_EXITS,
    "expires_at",
    "proposal_hash",
)
# A sibling that reads our number into a float and writes it again may be off in the last digit.
ECHO_TOLERANCE = Decimal("1e-9")


class GuardianClient:
    """The Approver port over `POST {base_url}/api/trade/approve` and `/api/trade/outcome`.

    Raises InvalidRequest for a *base_url* that is no use.
    """

    def __init__(self, base_url: str, timeout_seconds: float, clock: Clock) -> None:
        self._peer = Peer("Guardian", "GUARDIAN_URL", base_url, timeout_seconds, clock, GuardianUnavailable)
        self._clock = clock

    def listens(self) -> int:
        """The status with which Guardian answers a harmless question. Raises GuardianUnavailable when it does not."""
        return self._peer.probe("/api/health")

    def approve(self, proposal: Proposal, within_seconds: float | None = None) -> Approval:
        body = approval_request(proposal)
        answer = self._peer.decoded(self._peer.post("/api/trade/approve", body, within_seconds))
        if not isinstance(answer, Mapping):
            raise _malformed("it is no object")
        _check_echo(answer, cast(Mapping[str, object], body["trade_proposal"]))
        approved = _decision(answer.get("decision"))
        return Approval(
            id=_approval_id(answer.get("approval_id"), approved),
            approved=approved,
            risk_score=_risk_score(answer.get("risk_score")),
            reasoning=_reasoning(answer.get("reasoning")),
            concerns=_remarks(answer, "concerns"),
            rule_violations=_remarks(answer, "rule_violations"),
            answered_at=self._clock.now(),
        )

    def report_outcome(self, outcome: Outcome) -> None:
        body: dict[str, object] = {
            "approval_id": outcome.approval_id,
            "pnl": float(outcome.pnl),
            "entry_price": float(outcome.entry_ratio),
            "exit_price": float(outcome.exit_ratio),
        }
        answer = self._peer.post("/api/trade/outcome", body)
        if not answer.ok and answer.status != 404:
            raise GuardianUnavailable(
                f"Guardian answered the outcome with status {answer.status}", status=answer.status
            )


def approval_request(proposal: Proposal) -> dict[str, object]:
    """The body of the question. Unknown values are left out, not null: a sibling may compare them with numbers."""
    signal = proposal.signal
    trade: dict[str, object] = {
        "pair": str(signal.pair),
        "zscore": float(signal.zscore),
        "size": float(proposal.position_size),
        "position_size": float(proposal.position_size),
        "entry_spread": _float(signal.entry_spread),
        "correlation": _float(signal.correlation),
        "confidence": float(signal.confidence),
        "signal_type": str(signal.signal_type),
        "signal_id": signal.id,
        "trade_id": proposal.trade_id,
        "leverage": proposal.leverage,
        "execution": proposal.execution,
        "long": proposal.long_coin,
        "short": proposal.short_coin,
        "sides": {proposal.long_coin: "buy", proposal.short_coin: "sell"},
        "take_profit": float(proposal.take_profit),
        "stop_loss": float(proposal.stop_loss),
        "trailing_stop": _trailing(proposal.trailing),
        "max_holding_seconds": proposal.max_holding_seconds,
        "expires_at": proposal.expires_at.isoformat(),
        **{name: float(value) for name, value in proposal.further_exits.items()},
    }
    body: dict[str, object] = {
        "trade_proposal": _known(trade),
        "portfolio_state": {
            "total_value": float(proposal.total_value),
            "available_margin": float(proposal.available_margin),
            "margin_usage": float(proposal.margin_usage),
            "leverage": proposal.leverage,
            "num_positions": proposal.num_positions,
            "liquidation_distance": float(proposal.liquidation_distance),
        },
        "market_conditions": _known({"btc_volatility": _float(proposal.btc_volatility), "trend": proposal.trend}),
    }
    # Over everything that was said, so that an approval can be tied to exactly this question.
    fingerprint = hash_of(json.dumps(body, sort_keys=True))
    return {**body, "trade_proposal": {**_known(trade), "proposal_hash": fingerprint}}


def _trailing(stop: TrailingStop | None) -> dict[str, float] | None:
    return None if stop is None else {"arm": float(stop.arm), "gap": float(stop.gap)}


def _float(value: Decimal | None) -> float | None:
    return None if value is None else float(value)


def _known(values: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in values.items() if value is not None}


def _malformed(why: str) -> GuardianUnavailable:
    return GuardianUnavailable(f"Guardian's answer cannot be used: {why}")


def _check_echo(answer: Mapping[str, object], sent: Mapping[str, object]) -> None:
    """Raise when *answer* names, at its top or in its own `trade_proposal`, anything other than what was *sent*."""
    nested = answer.get("trade_proposal")
    for echo in (answer, nested if isinstance(nested, Mapping) else {}):
        for name in ECHOED_FIELDS:
            if echo.get(name) is not None and not _same(echo[name], sent.get(name)):
                raise _malformed(f"it speaks of another {name}")


def _same(echoed: object, sent: object) -> bool:
    if isinstance(sent, str):
        return echoed == sent
    if isinstance(sent, Mapping):
        alike = isinstance(echoed, Mapping) and echoed.keys() == sent.keys()
        return alike and all(_same(value, sent[name]) for name, value in cast(Mapping[str, object], echoed).items())
    try:
        wanted = exact(cast(Number, sent), "sent")
        return abs(exact(cast(Number, echoed), "echoed") - wanted) <= abs(wanted) * ECHO_TOLERANCE
    except InvalidNumber:
        return False


def _decision(value: object) -> bool:
    if value == "approve":
        return True
    if value == "reject":
        return False
    raise _malformed('its decision is neither "approve" nor "reject"')


def _approval_id(value: object, approved: bool) -> str:
    """Kept letter by letter, for Guardian will be asked about it again. A rejection may do without."""
    if isinstance(value, str) and len(value) <= APPROVAL_ID_LENGTH_MAX and value.isprintable():
        if value.strip() or not approved:
            return value
    elif value is None and not approved:
        return ""
    raise _malformed("its approval_id is no usable text")


def _risk_score(value: object) -> Decimal | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise _malformed("its risk_score is no number")
    score = Decimal(value)
    if abs(score) > 10**6 or (score and score.adjusted() < -30):
        raise _malformed("its risk_score is out of all bounds")
    return score


def _reasoning(value: object) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise _malformed("its reasoning is no text")
    return plain_text(value, REASONING_LENGTH_MAX)


def _remarks(answer: Mapping[str, object], name: str) -> tuple[str, ...]:
    value = answer.get(name)
    if value is None:
        return ()
    if not isinstance(value, list):
        raise _malformed(f"its {name} are no list")
    return tuple(plain_text(str(one), REMARK_LENGTH_MAX) for one in value[:REMARKS_MAX])
