"""Pauses and first sights by the time of day, which somebody may set back: then nobody knows how long ago it was."""

from datetime import datetime, timedelta


def lasts(now: datetime, since: datetime, pause: timedelta) -> bool:
    """Is the *pause* that began at *since* still on. Not where that is later than *now*: no pause outlasts the step."""
    return timedelta(0) <= now - since < pause


def first_of(seen: datetime | None, now: datetime) -> datetime:
    """Since when something is seen that is seen *now*: anew where that would be later, for the clock was set back."""
    return now if seen is None or seen > now else seen


def is_due(now: datetime, tried: datetime | None, pause: timedelta) -> bool:
    """Is the *pause* since it was last *tried* over, if it ever was."""
    return tried is None or not lasts(now, tried, pause)
