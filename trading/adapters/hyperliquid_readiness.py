"""Is the Hyperliquid venue fit to trade: the questions asked at start and by `manage.py doctor`, with what to do.

The law: reads only, and no word of an answer holds a secret. The key must be the account's own or an approved API
wallet of it; anything else would trade another account, or none.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Literal

from trading.adapters.hyperliquid import HyperliquidVenue
from trading.adapters.hyperliquid_api import SKEW_MAX, SKEW_WARNING
from trading.adapters.hyperliquid_reader import HyperliquidReader
from trading.conf import ConfigurationError
from trading.domain.errors import VenueUnavailable
from trading.ports import Clock

AGENT_EXPIRY_WARNING = timedelta(days=7)
BUDGET_WARNING = Decimal("0.6")
ADDRESS_VARIABLE = "HYPERLIQUID_ACCOUNT_ADDRESS"
KEY_VARIABLE = "HYPERLIQUID_WALLET_KEY"

Verdict = Literal["ok", "warning", "error"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One row of the doctor's table; `remedy` is empty when all is well.

    `unavailable` tells an error that the service may start on, because it may pass by itself or came while there was
    something to watch, from one that somebody has to mend before.
    """

    name: str
    verdict: Verdict
    words: str
    remedy: str = ""
    unavailable: bool = False


def readiness(venue: HyperliquidVenue, clock: Clock) -> tuple[Finding, ...]:
    """Every finding about *venue*; never raises. After the venue cannot be reached nothing more is asked of it."""
    reached = market(venue)
    if reached.verdict == "error":
        return (reached,)
    return (
        reached,
        *answers(
            {
                **clock_question(venue),
                "account": lambda: _account_role(venue),
                "wallet key": lambda: wallet_key(venue, clock),
                **money_questions(venue),
            }
        ),
    )


def money_questions(venue: HyperliquidReader) -> dict[str, Callable[[], Finding]]:
    """What is asked about the account's money and the exchange's budget."""
    return {"equity": lambda: _money(venue), "fees": lambda: _fees(venue), "request budget": lambda: _budget(venue)}


def clock_question(venue: HyperliquidReader) -> dict[str, Callable[[], Finding]]:
    return {"venue clock": lambda: _clock(venue)}


def check_ready(findings: tuple[Finding, ...]) -> tuple[Finding, ...]:
    """*findings* again, when the service may start on them.

    Raises ConfigurationError with a line for each error that somebody has to mend before, and VenueUnavailable for
    those that it may start on.
    """
    wrong = [one for one in findings if one.verdict == "error"]
    lasting = tuple(f"{one.words}; {one.remedy}" for one in wrong if not one.unavailable)
    if lasting:
        raise ConfigurationError(lasting)
    if wrong:
        raise VenueUnavailable("; ".join(one.words for one in wrong))
    return findings


def answers(questions: Mapping[str, Callable[[], Finding]]) -> tuple[Finding, ...]:
    """Each question's finding; one that cannot be asked is a finding that says so."""
    return tuple(_asked(name, question) for name, question in questions.items())


def _asked(name: str, question: Callable[[], Finding]) -> Finding:
    try:
        return question()
    except VenueUnavailable as error:
        if error.facts.get("status") == "budget":
            remedy = "ask again in a minute, or set VENUE_WEIGHT_PER_MINUTE to what this machine may spend"
            return Finding(name, "warning", f"not asked: {error.detail}", remedy, unavailable=True)
        return Finding(name, "error", error.detail, "it may pass by itself; run it again", unavailable=True)


def market(venue: HyperliquidReader) -> Finding:
    """Does the exchange answer. After an error nothing more need be asked of it."""
    try:
        instruments = venue.instruments()
    except VenueUnavailable as error:
        remedy = "check HYPERLIQUID_API_URL and the network; it may pass by itself"
        return Finding("venue", "error", error.detail, remedy, unavailable=True)
    traded = sum(1 for one in instruments.values() if not one.delisted)
    return Finding("venue", "ok", f"Hyperliquid {venue.network}, {traded} coins")


def _clock(venue: HyperliquidReader) -> Finding:
    skew = venue.clock_skew()
    words = (
        f"{skew.ahead.total_seconds():+.3f} s against this machine, give or take {skew.uncertain.total_seconds():.3f}"
    )
    remedy = "let the system set its clock by NTP"
    if skew.surely_exceeds(SKEW_MAX):
        return Finding("venue clock", "error", f"the venue's clock is {words}: entries are refused", remedy, True)
    if skew.surely_exceeds(SKEW_WARNING):
        return Finding("venue clock", "warning", f"the venue's clock is {words}", remedy)
    return Finding("venue clock", "ok", words)


def _account_role(venue: HyperliquidVenue) -> Finding:
    # An account that a key was proven to belong to needs no second question, which costs a twentieth of the budget.
    role = None if venue.is_proven() and venue.signer_address != venue.account_id else venue.role_of(venue.account_id)
    if role is None or role.kind == "user":
        kind = "unified" if venue.unified() else "classic"
        return Finding("account", "ok", f"{venue.account_id}, {kind}")
    remedies = {
        "agent": f"{ADDRESS_VARIABLE} is an API wallet's address: set its master's, {role.owner}",
        "missing": f"set {ADDRESS_VARIABLE} to an account of this network, or fund it",
    }
    remedy = remedies.get(role.kind, f"set {ADDRESS_VARIABLE} to a master account: a {role.kind} is not supported")
    return Finding(
        "account", "error", f"{venue.account_id} is no account but: {role.kind}, on Hyperliquid {venue.network}", remedy
    )


def wallet_key(venue: HyperliquidVenue, clock: Clock) -> Finding:
    """Is the key the account's, or an approved API wallet of it, for long enough."""
    signer = venue.signer_address
    if signer == venue.account_id:
        remedy = "approve an API wallet and set its key: it can trade but not withdraw"
        return Finding("wallet key", "warning", "the key is the account's own, which can withdraw", remedy)
    if not venue.is_proven():
        role = venue.role_of(signer)
        whose = f"belongs to {role.owner}" if role.kind == "agent" else "is no API wallet"
        remedy = f"approve {signer} as an API wallet of {venue.account_id}, or set the right {KEY_VARIABLE}"
        return Finding("wallet key", "error", f"{KEY_VARIABLE}: the key of {signer} {whose}", remedy)
    named = next((one for one in venue.agents() if one.address == signer), None)
    # Proven once for all processes, and perhaps long ago; an unnamed one is not among them.
    if named is None and venue.role_of(signer).owner != venue.account_id:
        words = f"API wallet {signer} is approved no more: nothing can be opened or closed with it"
        remedy = f"approve a new one of {venue.account_id} and set {KEY_VARIABLE}"
        return Finding("wallet key", "error", words, remedy, unavailable=True)
    if named is not None and named.valid_until - clock.now() < AGENT_EXPIRY_WARNING:
        words = f"API wallet {signer} ends at {named.valid_until:%Y-%m-%d %H:%M} UTC"
        return Finding("wallet key", "warning", words, "approve a new one in good time")
    return Finding("wallet key", "ok", f"API wallet {signer}")


def _money(venue: HyperliquidReader) -> Finding:
    account = venue.account()
    if account.equity <= 0:
        return Finding("equity", "warning", "the account holds no USDC", "deposit, or check the network")
    return Finding("equity", "ok", f"{account.equity:.2f} USD, {account.margin_available:.2f} free")


def _fees(venue: HyperliquidReader) -> Finding:
    venue.learn_fees()
    return Finding("fees", "ok", f"{venue.traits.taker_fee * 100:f} % as a taker")


def _budget(venue: HyperliquidReader) -> Finding:
    used, limit = venue.meter.used(), venue.meter.limit
    if not limit:
        return Finding("request budget", "warning", "not metered", "set VENUE_WEIGHT_PER_MINUTE to 1200")
    if used > limit * BUDGET_WARNING:
        remedy = "run fewer desks behind one address, or look less often"
        return Finding("request budget", "warning", f"{used} of {limit} in the last minute", remedy)
    return Finding("request budget", "ok", f"{used} of {limit} in the last minute")
