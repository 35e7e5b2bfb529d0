"""What is concluded when the book says one thing of a coin and the venue another, and what is done about it: one table.

The law: a holding that merely reads differently is reported, never traded on; only a fill, a refusal or a proof of
absence makes the desk act.
"""

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum


class Conclusion(StrEnum):
    AGREES = "AGREES"
    IN_DOUBT = "IN_DOUBT"
    ABSENT = "ABSENT"
    UNREAD = "UNREAD"
    UNCONFIRMED = "UNCONFIRMED"
    DRIFT = "DRIFT"
    LOST_LEG = "LOST_LEG"
    GONE = "GONE"
    SETTLED = "SETTLED"
    NOT_OURS = "NOT_OURS"
    RESIDUE = "RESIDUE"
    HANDED_ON = "HANDED_ON"
    LATE = "LATE"
    PASSED = "PASSED"
    FOREIGN = "FOREIGN"
    FORGOTTEN = "FORGOTTEN"
    ACCEPTED = "ACCEPTED"


@dataclass(frozen=True, slots=True)
class Row:
    """One case: what the book says, what the venue says, what follows, what is done."""

    book: str
    venue: str
    concluded: Conclusion
    done: str


TABLE = (
    Row("holds a quantity", "holds the same", Conclusion.AGREES, "nothing"),
    Row(
        "holds a quantity, and an order is in doubt",
        "holds what the order explains, filled in full, in part or not at all",
        Conclusion.IN_DOUBT,
        "the order is asked about; the trade sends nothing until it has ended",
    ),
    Row(
        "an order is in doubt",
        "does not know it, after its expiry and 5 s (or after an accepted noop with its nonce)",
        Conclusion.ABSENT,
        "its slice is due again under a new attempt number",
    ),
    Row(
        "anything",
        "cannot be read",
        Conclusion.UNREAD,
        "nothing is concluded and nothing opened; after 60 s without prices REDUCING",
    ),
    Row(
        "holds a quantity",
        "reads differently, once",
        Conclusion.UNCONFIRMED,
        "it is read again; an account that suddenly reads empty is not believed on one answer",
    ),
    Row(
        "holds a quantity",
        "reads differently twice, 2 s apart, and no fill explains it",
        Conclusion.DRIFT,
        "REDUCING and an alert; nothing is sent; a resume with accept_drift records it",
    ),
    Row(
        "holds a quantity",
        "has a fill that took of it: a liquidation, auto-deleveraging, a settlement, an order not ours",
        Conclusion.LOST_LEG,
        "it is booked at the fill, and the sister leg is closed at once",
    ),
    Row(
        "is closing and holds a quantity",
        "refuses to reduce it and still shows none of it 2 s later",
        Conclusion.GONE,
        "it is written off at the mark; already flat is success",
    ),
    Row(
        "is closing and holds a quantity",
        "lists the coin as delisted and shows none of it",
        Conclusion.SETTLED,
        "a minute after the last order, and after a second reading, it is written off at the last price known",
    ),
    Row(
        "is closing a part of a shared coin",
        "has held no more than what the others own of it for a minute",
        Conclusion.NOT_OURS,
        "it is written off at the mark; the others keep theirs",
    ),
    Row(
        "is closing a residue under the venue's minimum",
        "holds more of the coin, which is somebody else's in the same account",
        Conclusion.RESIDUE,
        "after a minute it is written off at the mark and left to them",
    ),
    Row(
        "is closing several positions with a residue under the venue's minimum each",
        "holds their sum",
        Conclusion.HANDED_ON,
        "after a minute each is booked at the mark, and their sum is adopted and sold as one",
    ),
    Row(
        "gave an order up without proof of its absence (Pear)",
        "holds what the order would have bought or sold",
        Conclusion.LATE,
        "it is adopted and sold",
    ),
    Row(
        "gave an order up without proof of its absence (Pear)",
        "holds none of it, and tells fills that brought it and took it again",
        Conclusion.PASSED,
        "it is adopted as lost already, at the fills' prices and fees; nothing is sent",
    ),
    Row(
        "holds nothing",
        "holds a quantity",
        Conclusion.FOREIGN,
        "it is reported, counted in the limits and never sold, unless a stop has the scope of the account",
    ),
    Row(
        "knows of no such trigger (a restored backup, a lost file)",
        "lists one in two lists 5 s apart, under an id that only a position of the book can have given",
        Conclusion.FORGOTTEN,
        "it is written down again, and then stays or is taken back like any other; whose id is not known is let alone",
    ),
    Row(
        "accepted a quantity as somebody else's, or as missing",
        "holds just that",
        Conclusion.ACCEPTED,
        "nothing; a fill that took what is missing makes it a lost leg all the same",
    ),
)
"""Every case, as `docs/reliability.md` shows it."""


def conclude(low: Decimal, high: Decimal, held: Decimal, accepted: Decimal) -> Conclusion:
    """What one reading says of a coin of a standing position, in signed coins.

    The book allows from *low* to *high*, apart only while an order is in doubt; *accepted* is somebody else's.
    UNCONFIRMED becomes DRIFT when it stays.
    """
    if not low <= held - accepted <= high:
        return Conclusion.UNCONFIRMED
    return Conclusion.AGREES if low == high else Conclusion.IN_DOUBT
