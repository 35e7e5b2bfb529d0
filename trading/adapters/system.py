"""The system's clock: the only place in the house that reads the time."""

import time
from datetime import UTC, datetime


class SystemClock:
    """The Clock port over the operating system."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Sleep *seconds*; nothing for zero and below, because a wait that is already over is no error."""
        if seconds > 0:
            time.sleep(seconds)
