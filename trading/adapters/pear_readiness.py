"""Is the Pear venue fit to trade: the questions asked at start and by `manage.py doctor`, with what to do.

The law: reads only, and no word of an answer holds a secret. Pear does not say whether its agent and its fee are
approved; the exchange does, and without either every order fails.
"""

from collections.abc import Callable
from dataclasses import replace

from trading.adapters.hyperliquid_readiness import (
    ADDRESS_VARIABLE,
    AGENT_EXPIRY_WARNING,
    Finding,
    answers,
    clock_question,
    market,
    money_questions,
    wallet_key,
)
from trading.adapters.pear import PearVenue
from trading.adapters.pear_api import KEY_VARIABLE, LOGIN_REFUSED, URL_VARIABLE
from trading.adapters.pear_wire import BUILDER, BUILDER_FEE, decode_agent
from trading.domain.errors import VenueUnavailable
from trading.ports import Clock

PEAR_PAGE = "https://app.pear.garden"
# What may be taken back, or come to its end, after it was good to open with: Pear changes its agent every thirty days.
MAY_LAPSE = frozenset({"Pear log-in", "Pear's agent", "Pear's fee"})
TENTHS_OF_BASIS_POINT = 100_000


def readiness(venue: PearVenue, clock: Clock) -> tuple[Finding, ...]:
    """Every finding about *venue*; never raises. What cannot be reached is asked nothing more.

    While the account holds something, what has lapsed at Pear is no reason not to start: it has to be watched and told
    of, and a wallet key closes it without Pear.
    """
    reached = market(venue)
    if reached.verdict == "error":
        return (reached,)
    exchange: dict[str, Callable[[], Finding]] = {**clock_question(venue), "account": lambda: _account(venue)}
    exchange |= {"Pear's fee": lambda: _builder(venue), **money_questions(venue)}
    exchange["wallet key"] = lambda: _wallet_key(venue, clock)
    findings = (reached, *_pear(venue, clock), *answers(exchange))
    if not any(_has_lapsed(one) for one in findings) or not _may_hold_something(venue):
        return findings
    return tuple(replace(one, unavailable=True) if _has_lapsed(one) else one for one in findings)


def _has_lapsed(finding: Finding) -> bool:
    return finding.verdict == "error" and finding.name in MAY_LAPSE


def _may_hold_something(venue: PearVenue) -> bool:
    try:
        return bool(venue.account().holdings)
    except VenueUnavailable:
        return True


def _pear(venue: PearVenue, clock: Clock) -> tuple[Finding, ...]:
    try:
        venue.pear.healthy()
    except VenueUnavailable as error:
        remedy = f"check {URL_VARIABLE} and the network; it may pass by itself"
        return (Finding("Pear", "error", error.detail, remedy, unavailable=True),)
    log_in = _log_in(venue)
    if log_in.verdict == "error":
        return (Finding("Pear", "ok", "answers"), log_in)
    return (Finding("Pear", "ok", "answers"), log_in, *answers({"Pear's agent": lambda: _agent(venue, clock)}))


def _log_in(venue: PearVenue) -> Finding:
    try:
        venue.pear.log_in()
    except VenueUnavailable as error:
        if error.facts.get("status") not in LOGIN_REFUSED:
            return Finding("Pear log-in", "error", error.detail, "it may pass by itself; run it again", True)
        remedy = f"make a key with `manage.py pear_login` and set {KEY_VARIABLE}; check PEAR_CLIENT_ID too"
        return Finding("Pear log-in", "error", f"{KEY_VARIABLE}: {error.detail}", remedy)
    return Finding("Pear log-in", "ok", f"as {venue.account_id}")


def _agent(venue: PearVenue, clock: Clock) -> Finding:
    address = _agent_address(venue)
    if address is None:
        remedy = f"make one at {PEAR_PAGE} with the account's wallet, and approve it there"
        return Finding("Pear's agent", "error", "Pear has no agent wallet for the account", remedy)
    approved = next((one for one in venue.agents() if one.address == address), None)
    if approved is None:
        words = f"Pear's agent {address} is no API wallet of {venue.account_id} on Hyperliquid"
        return Finding("Pear's agent", "error", words, f"approve it at {PEAR_PAGE} with the account's wallet")
    if approved.valid_until - clock.now() < AGENT_EXPIRY_WARNING:
        words = f"Pear's agent {address} ends at {approved.valid_until:%Y-%m-%d %H:%M} UTC"
        return Finding("Pear's agent", "warning", words, f"approve the new one at {PEAR_PAGE} in good time")
    return Finding("Pear's agent", "ok", f"{address}, approved")


def _agent_address(venue: PearVenue) -> str | None:
    """Pear says in several ways that there is none: by a 404, or by an empty answer."""
    try:
        return decode_agent(venue.pear.read("/agentWallet"))
    except VenueUnavailable as error:
        if error.facts.get("status") == 404:
            return None
        raise


def _builder(venue: PearVenue) -> Finding:
    wanted = int(BUILDER_FEE * TENTHS_OF_BASIS_POINT)
    if venue.builder_fee(BUILDER) < wanted:
        words = f"Pear's fee of {BUILDER_FEE:.2%} is not approved on Hyperliquid"
        return Finding("Pear's fee", "error", words, f"approve it at {PEAR_PAGE} with the account's wallet")
    return Finding("Pear's fee", "ok", f"{BUILDER_FEE:.2%} each way, approved")


def _account(venue: PearVenue) -> Finding:
    role = venue.role_of(venue.account_id)
    if role.kind == "user":
        return Finding("account", "ok", f"{venue.account_id}, {'unified' if venue.unified() else 'classic'}")
    words = f"{venue.account_id} is no account but: {role.kind}, on Hyperliquid {venue.network}"
    return Finding(
        "account", "error", words, f"set {ADDRESS_VARIABLE} to the account that Pear trades for, and fund it"
    )


def _wallet_key(venue: PearVenue, clock: Clock) -> Finding:
    if venue.direct is None:
        words = "none: a close that Pear does not confirm can only be tried again through Pear"
        remedy = "set HYPERLIQUID_WALLET_KEY to an API wallet of the account, so that such a close goes out directly"
        return Finding("wallet key", "warning", words, remedy)
    return wallet_key(venue.direct, clock)
