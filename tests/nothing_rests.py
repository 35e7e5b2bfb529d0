"""The part of the Venue port about resting orders and fills, for a venue that has neither.

The law: it says so, in the words of the port; nothing is guessed and nothing is pretended.
"""

from collections.abc import Sequence
from datetime import datetime

from trading.domain.errors import VenueUnavailable
from trading.domain.orders import RejectReason
from trading.domain.resting import AccountFill, ListedOrder, PairLine, RestingOrder, RestingReport, RestingStatus
from trading.domain.units import ClientOrderId


class NothingRests:
    """Mix in beside Traits that say `rests_orders=False, tells_fills=False`."""

    def place_resting(self, orders: Sequence[RestingOrder], expires_at: datetime) -> tuple[RestingReport, ...]:
        words = "this venue rests no orders"
        return tuple(
            RestingReport(one.client_order_id, RestingStatus.REJECTED, RejectReason.OTHER, words) for one in orders
        )

    def cancel_resting(self, orders: Sequence[RestingOrder]) -> frozenset[ClientOrderId] | None:
        """There is nothing to take back."""
        return frozenset()

    def resting(self) -> tuple[ListedOrder, ...]:
        return ()

    def draw_lines(self, lines: Sequence[PairLine]) -> bool:
        return not lines

    def account_fills(self, since: datetime) -> tuple[AccountFill, ...]:
        raise VenueUnavailable("this venue does not tell the account's fills")
