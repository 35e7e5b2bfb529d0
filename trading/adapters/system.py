"""The system's clock: the only place in the house that reads the time."""

import time
from datetime import UTC, datetime
from functools import partial


class SystemClock:
    """The Clock port over the operating system."""

    # The functions themselves: a trade asks two hundred times.
    now = staticmethod(partial(datetime.now, UTC))
    monotonic = staticmethod(time.monotonic)

    def sleep(self, seconds: float) -> None:
        """Sleep *seconds*; nothing for zero and below, because a wait that is already over is no error."""
        if seconds > 0:
            time.sleep(seconds)
