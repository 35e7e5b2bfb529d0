"""What a program says on stdout while it has something more important to do.

The law: whether anybody hears it changes nothing of its work. A log on a full disk, a pipe whose reader has gone and a
stdout that was closed end neither the watch nor an emergency stop.
"""

from contextlib import suppress

from django.core.management.base import OutputWrapper

from trading.management.unread import excuse, let_go


def say(out: OutputWrapper, words: str) -> None:
    # Python has no stdout where whoever started it has closed that: an AttributeError.
    with suppress(OSError, ValueError, AttributeError):
        try:
            out.write(words)
            out.flush()
        except BrokenPipeError:
            let_go(out)
        except OSError:
            excuse()  # and not let go of: there may be room again
