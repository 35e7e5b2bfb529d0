"""Asks a venue beside the caller, who has patience, and not for as long as a hanging connection takes.

The law: a question that hangs keeps nobody from the answers to others; the same question is under way once, and whoever
has waited for it in vain does not wait for it again.
"""

import threading
from collections.abc import Callable, Collection, Hashable, Mapping
from contextvars import copy_context
from functools import partial
from typing import Generic, TypeVar

from trading.domain.errors import VenueUnavailable
from trading.ports import Clock

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class _Question(Generic[Value]):
    """One question under way. `overdue`: somebody has lost patience with it."""

    def __init__(self, ask: Callable[[], Value], name: str) -> None:
        self._ask = ask
        self._answer: Value | BaseException | None = None
        self._done = threading.Event()
        self.overdue = False
        # A thread of a pool would be waited for when the process ends, for as long as its connection hangs.
        threading.Thread(target=copy_context().run, args=(self._run,), name=name, daemon=True).start()

    def _run(self) -> None:
        try:
            self._answer = self._ask()
        except BaseException as error:  # told to whoever waits for the answer, a bug as well
            self._answer = error
        self._done.set()

    @property
    def done(self) -> bool:
        return self._done.is_set()

    def wait(self, seconds: float) -> None:
        self.overdue = not self._done.wait(0 if self.overdue else max(seconds, 0)) or self.overdue

    def answer(self, words: str) -> Value:
        """Raises VenueUnavailable, saying *words*, when there is none yet; and whatever asking has raised."""
        if not self.done:
            raise VenueUnavailable(words)
        if isinstance(self._answer, BaseException):
            raise self._answer
        return self._answer  # type: ignore[return-value]  # it is done, so this is what was answered


class Asking(Generic[Key, Value]):
    """Questions by their key, which *ask* answers, or raises VenueUnavailable. Safe for several threads."""

    def __init__(self, name: str, ask: Callable[[Key], Value], clock: Clock, patience_seconds: float) -> None:
        self._name = name
        self._ask = ask
        self._clock = clock
        self._patience_seconds = patience_seconds
        self._lock = threading.Lock()
        self._under_way: dict[Key, _Question[Value]] = {}

    def answers(self, keys: Collection[Key]) -> Mapping[Key, Value | VenueUnavailable]:
        """What is answered to all *keys*, asked at once, within the patience; for the others why there is nothing."""
        questions = self._begun(keys)
        until = self._clock.monotonic() + self._patience_seconds
        found: dict[Key, Value | VenueUnavailable] = {}
        for key, question in questions.items():
            question.wait(until - self._clock.monotonic())
            try:
                found[key] = question.answer(f"the venue has not said yet: {self._name} {key}")
            except VenueUnavailable as error:
                found[key] = error
        return found

    def _begun(self, keys: Collection[Key]) -> Mapping[Key, _Question[Value]]:
        """Those that are under way, and new ones. An answer that nobody has fetched is not kept: it has grown old."""
        with self._lock:
            self._under_way = {key: one for key, one in self._under_way.items() if not one.done}
            for key in keys:
                if key not in self._under_way:
                    self._under_way[key] = _Question(partial(self._ask, key), f"{self._name} {key}")
            return {key: self._under_way[key] for key in keys}
