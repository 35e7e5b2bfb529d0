"""How the desk's peers are: the venue, its prices, Scout and Guardian, each with when it was last heard.

The law: Guardian is never asked only to see whether it is there; what nobody has asked yet is unknown, not down.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from trading.domain.errors import VenueUnavailable
from trading.domain.market import Quote
from trading.domain.units import DOLLAR, Coin
from trading.engine.desk import Desk
from trading.engine.hearing import GUARDIAN, SCOUT, Heard
from trading.engine.patience import patient
from trading.engine.valuing import EXIT_PRICE_AGE_MAX, coins_of

SCOUT_AGE_MAX = timedelta(minutes=2)
APPROVALS_LOOKED_AT_MAX = 50
LIKELY_COIN = Coin("BTC")


@dataclass(frozen=True, slots=True)
class Connection:
    """One peer. `status` is up, late (heard, but too long ago), down (it failed last), or unknown (not asked yet)."""

    name: str
    status: str
    heard_at: datetime | None
    words: str


def connections(desk: Desk) -> tuple[Connection, ...]:
    """Every peer as it is now. Never raises for a peer that fails: that is what it tells."""
    desk = patient(desk)
    return (_prices(desk), _venue(desk), _scout(desk), _guardian(desk))


def prices_heard_at(desk: Desk) -> datetime | None:
    """When the oldest price among what stands was confirmed last, for an exit is as blind as its older leg; with
    nothing standing, any price. None where the venue lacks one of them. Raises VenueUnavailable."""
    return _oldest(_quotes(desk).values())


def _quotes(desk: Desk) -> Mapping[Coin, Quote | None]:
    """Of the coins whose prices matter now. The dollars beside what was taken over have none."""
    standing = [coin for coin in coins_of(desk.store.book().standing_positions()) if coin != DOLLAR]
    coins = standing or [LIKELY_COIN]
    told = desk.venue.quotes(coins)
    return {coin: told.get(coin) for coin in coins}


def _oldest(quotes: Iterable[Quote | None]) -> datetime | None:
    found = [*quotes]
    known = [one.taken_at for one in found if one is not None]
    return min(known) if len(known) == len(found) else None


def _prices(desk: Desk) -> Connection:
    try:
        quotes = _quotes(desk)
    except VenueUnavailable as error:
        return Connection("Prices", "down", None, error.detail)
    oldest = _oldest(quotes.values())
    if oldest is None:
        lacking = ", ".join(coin for coin, one in quotes.items() if one is None)
        return Connection("Prices", "down", None, f"the venue has no price for {lacking}")
    late = desk.clock.now() - oldest > EXIT_PRICE_AGE_MAX
    return Connection("Prices", "late" if late else "up", oldest, "confirmed")


def _venue(desk: Desk) -> Connection:
    try:
        account = desk.venue.account()
    except VenueUnavailable as error:
        return Connection("Venue", "down", None, error.detail)
    return Connection("Venue", "up", account.taken_at, f"{desk.venue.name}, {desk.venue.network}")


def _scout(desk: Desk) -> Connection:
    heard = desk.hearing.of(SCOUT)
    late = heard.at is not None and desk.clock.now() - heard.at > SCOUT_AGE_MAX
    return _told("Scout", heard, late=late)


def _guardian(desk: Desk) -> Connection:
    """What this process has heard, or the newest approval that is on record."""
    heard = desk.hearing.of(GUARDIAN)
    if heard.at is None and not heard.why:
        newest = desk.store.book().trades()[-APPROVALS_LOOKED_AT_MAX:]
        answers = [trade.terms.approval.answered_at for trade in newest if trade.terms.approval is not None]
        heard = Heard(at=max(answers, default=None))
    return _told("Guardian", heard, late=False)


def _told(name: str, heard: Heard, *, late: bool) -> Connection:
    if heard.why:
        return Connection(name, "down", heard.at, heard.why)
    if heard.at is None:
        return Connection(name, "unknown", None, "not asked yet")
    return Connection(name, "late" if late else "up", heard.at, "answered")
