"""Guardian's stand-in for demo mode: rules, no model.

The law: the desk's own limits, checked once more by code that shares nothing with the desk's, and a look at whether the
signal makes sense. All broken rules are named, not the first. Its yes has an id of its own for every question.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal

from trading.domain.signals import Approval, SignalType
from trading.domain.units import ONE, ZERO, Ratio, Usd, hash_of
from trading.ports import Clock, Outcome, Proposal

ZSCORE_PLAUSIBLE_MAX = Decimal(8)
ZSCORE_WEAK = ONE
MARGIN_USAGE_HIGH_PERCENT = Decimal(60)
LIQUIDATION_NEAR_PERCENT = Decimal(20)


@dataclass(frozen=True, slots=True)
class DemoLimits:
    """MAX_POSITIONS, MAX_ALLOCATION (gross notional over equity), MAX_LEVERAGE and MIN_PORTFOLIO_USD."""

    positions_max: int
    allocation_max: Ratio
    leverage_max: int
    portfolio_min: Usd


@dataclass(frozen=True, slots=True)
class DemoGuardian:
    """The Approver port by rule."""

    limits: DemoLimits
    clock: Clock

    def approve(self, proposal: Proposal, within_seconds: float | None = None) -> Approval:
        """Approve when no rule is broken. `risk_score` is 0 to 1: the fullest limit, at least 0.5 for a weak signal."""
        violations = tuple(self._violations(proposal))
        concerns = tuple(_concerns(proposal))
        now = self.clock.now()
        return Approval(
            id=f"demo_{hash_of(proposal, now.isoformat())[:32]}",
            approved=not violations,
            risk_score=self._risk_score(proposal, bool(violations)),
            reasoning=self._reasoning(proposal, violations, concerns),
            concerns=concerns,
            rule_violations=violations,
            answered_at=now,
        )

    def report_outcome(self, outcome: Outcome) -> None:
        """Nothing: rules learn nothing from how it ended."""

    def _violations(self, proposal: Proposal) -> Iterator[str]:
        limits, signal = self.limits, proposal.signal
        if proposal.total_value < limits.portfolio_min:
            yield f"the portfolio of {_usd(proposal.total_value)} is below {_usd(limits.portfolio_min)}"
        if proposal.position_size > proposal.total_value * limits.allocation_max:
            allowed = Usd(max(ZERO, proposal.total_value * limits.allocation_max))
            yield f"a size of {_usd(proposal.position_size)} is more than the {_usd(allowed)} that may be allocated"
        if proposal.num_positions >= limits.positions_max:
            yield f"{proposal.num_positions} of {limits.positions_max} positions are open"
        if not 1 <= proposal.leverage <= limits.leverage_max:
            yield f"a leverage of {proposal.leverage} is not between 1 and {limits.leverage_max}"
        if abs(signal.zscore) > ZSCORE_PLAUSIBLE_MAX:
            yield f"a z-score of {signal.zscore:.2f} is a broken pair, not a spread that will return"
        if (signal.zscore > 0) is not (signal.signal_type is SignalType.SHORT_SPREAD) and signal.zscore != 0:
            yield f"a z-score of {signal.zscore:.2f} does not agree with {signal.signal_type}"
        if (proposal.long_coin, proposal.short_coin) != (signal.long_coin, signal.short_coin):
            yield f"long {proposal.long_coin} and short {proposal.short_coin} is not what the signal says"

    def _risk_score(self, proposal: Proposal, violated: bool) -> Decimal:
        if violated or proposal.total_value <= 0:
            return ONE
        limits = self.limits
        shares = (
            proposal.position_size / (proposal.total_value * limits.allocation_max),
            Decimal(proposal.num_positions) / limits.positions_max,
            Decimal(proposal.leverage - 1) / limits.leverage_max,
            Decimal("0.5") if abs(proposal.signal.zscore) < ZSCORE_WEAK else ZERO,
        )
        return min(ONE, max(shares)).quantize(Decimal("0.01"), ROUND_HALF_EVEN)

    def _reasoning(self, proposal: Proposal, violations: tuple[str, ...], concerns: tuple[str, ...]) -> str:
        if violations:
            return f"Rejected: {'; '.join(violations)}."
        size, pair = _usd(proposal.position_size), proposal.signal.pair
        text = f"Approved: {size} of {pair} at a z-score of {proposal.signal.zscore:.2f} is within all limits."
        return f"{text} Mind that {'; '.join(concerns)}." if concerns else text


def _concerns(proposal: Proposal) -> Iterator[str]:
    if abs(proposal.signal.zscore) < ZSCORE_WEAK:
        yield "the spread is hardly stretched, so there is little to gain by its return"
    if proposal.margin_usage > MARGIN_USAGE_HIGH_PERCENT:
        yield f"{proposal.margin_usage:.0f} % of the margin is in use"
    if proposal.liquidation_distance < LIQUIDATION_NEAR_PERCENT:
        yield f"liquidation is {proposal.liquidation_distance:.0f} % away"


def _usd(amount: Usd) -> str:
    return f"${amount:,.2f}"
