"""Asks a venue beside the caller, who has patience, and not for as long as a hanging connection takes.

The law: a question that hangs keeps nobody from the answers to others; the same question is under way once, and whoever
has waited for it in vain does not wait for it again.
"""

import threading
from collections.abc import Callable, Collection, Hashable, Mapping
from contextvars import copy_context
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from trading.domain.errors import VenueUnavailable
from trading.ports import Clock

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds that answers are waited for: `others` while another one has come, `alone` while none has, and how long a
    late one is `kept` for whoever asks next. Answers of a venue that is slow as a whole come at about the same time:
    `straggling` is what the others have from the first."""

    others: float
    alone: float
    kept: float = 2.0
    straggling: float = 0.3


@dataclass(eq=False, slots=True)
class _Question(Generic[Value]):
    """`overdue`: somebody has lost patience with it; `fetched`: somebody has its answer."""

    answer: Value | BaseException | None = None
    done_at: float | None = None
    overdue: bool = False
    fetched: bool = False


@dataclass(eq=False)
class Asking(Generic[Key, Value]):
    """Questions by their key, which *ask* answers, or raises VenueUnavailable. Safe for several threads."""

    name: str
    ask: Callable[[Key], Value]
    clock: Clock
    patience: Patience
    _news: threading.Condition = field(default_factory=threading.Condition)
    _questions: dict[Key, _Question[Value]] = field(default_factory=dict)

    def answers(self, keys: Collection[Key]) -> Mapping[Key, Value | VenueUnavailable]:
        """What is answered to all *keys*, asked at once, within the patience; for the others why there is nothing."""
        if not keys:
            return {}
        with self._news:
            questions = {key: self._begun(key) for key in keys}
            self._wait(list(questions.values()))
            return {key: self._fetched(key, one) for key, one in questions.items()}

    def _begun(self, key: Key) -> _Question[Value]:
        """The one that is under way, or has been answered since without anybody being there; else a new one."""
        known, now = self._questions.get(key), self.clock.monotonic()
        young = known is not None and (known.done_at is None or now - known.done_at <= self.patience.kept)
        if known is not None and young and not known.fetched:
            return known
        question = self._questions[key] = _Question()
        # A thread of a pool would be waited for when the process ends, for as long as its connection hangs.
        run = (self._run, key, question)
        threading.Thread(target=copy_context().run, args=run, name=f"{self.name} {key}", daemon=True).start()
        return question

    def _run(self, key: Key, question: _Question[Value]) -> None:
        answer: Value | BaseException
        try:
            answer = self.ask(key)
        except BaseException as error:  # told to whoever waits for the answer, a bug as well
            answer = error
        with self._news:
            question.answer, question.done_at = answer, self.clock.monotonic()
            self._news.notify_all()

    def _wait(self, questions: Collection[_Question[Value]]) -> None:
        def all_done() -> bool:
            return all(one.done_at is not None or one.overdue for one in questions)

        def any_done() -> bool:
            return any(one.done_at is not None for one in questions) or all_done()

        if not self._news.wait_for(all_done, self.patience.others) and not any_done():
            self._news.wait_for(any_done, self.patience.alone - self.patience.others)
            self._news.wait_for(all_done, self.patience.straggling)
        for one in questions:
            one.overdue = one.done_at is None

    def _fetched(self, key: Key, question: _Question[Value]) -> Value | VenueUnavailable:
        """Raises what asking has raised, if that is a bug."""
        if question.done_at is None:
            return VenueUnavailable(f"the venue has not said yet: {self.name} {key}")
        question.fetched = True
        answer = question.answer
        if isinstance(answer, BaseException) and not isinstance(answer, VenueUnavailable):
            raise answer
        return answer  # type: ignore[return-value]  # it is done, so this is what was answered
