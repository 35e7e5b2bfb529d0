"""A venue as it is asked for what is shown: all its answers together may take so long, and no longer.

The law: what has not been answered by then is unknown, and whoever looks is told so; nothing that trades waits less for
it. An exchange that hangs costs seconds a question, and a page asks several.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, cast

from trading.domain.errors import VenueUnavailable
from trading.engine.desk import Desk
from trading.ports import Venue

SHOWN_SECONDS = 3.5
"""One question in full, which is three seconds, and what else is answered at once."""
JUDGED_SECONDS = 6.0
"""For what an opening would be judged by, which takes more questions; without an answer to each there is no verdict."""
WAITED_SECONDS = 1.0
"""What answers sooner, be it with a refusal, may be asked the next question, too."""


def patient(desk: Desk, seconds: float = SHOWN_SECONDS) -> Desk:
    """*desk* for what is shown to one caller: whatever it asks of the venue takes *seconds* from now in all, and then
    VenueUnavailable is raised. One that is patient already keeps its time."""
    if isinstance(desk.venue, _Patient):
        return desk
    return replace(desk, venue=cast(Venue, _Patient(desk, seconds)))


class _Patient:
    """A Venue that is asked beside the caller. Once it has kept a question waiting in vain, no other is put to it."""

    def __init__(self, desk: Desk, seconds: float) -> None:
        self._desk = desk
        self._until = desk.clock.monotonic() + seconds
        self._in_vain: VenueUnavailable | None = None

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._desk.venue, name)
        return partial(self._asked, found) if callable(found) else found

    def _asked(self, question: Callable[..., Any], *about: Any, **more: Any) -> Any:
        """Raises VenueUnavailable, and what else *question* raises in time."""
        if self._in_vain is not None:
            raise self._in_vain
        clock = self._desk.clock
        began = clock.monotonic()
        answers: list[Any] = []
        failures: list[BaseException] = []

        def ask() -> None:
            try:
                answers.append(question(*about, **more))
            except BaseException as failure:  # told to whoever waits for the answer, a bug as well
                failures.append(failure)

        self._desk.begin("asking for what is shown", ask).join(max(self._until - began, 0.0))
        for failure in failures:
            if isinstance(failure, VenueUnavailable) and clock.monotonic() - began >= WAITED_SECONDS:
                self._in_vain = failure
            raise failure
        if not answers:
            self._in_vain = VenueUnavailable("the venue has not answered in time")
            raise self._in_vain
        return answers[0]
