"""Tasks that run one at a time in simulated time: who goes on, and when, is decided here and by nothing else.

The law: a task gives up its turn only where it sleeps, waits or ends, so a run is the same for the same seed. Time
stands still while a task works and passes only when all of them wait.
"""

import os
import threading
from heapq import heappop, heappush
from random import Random
from typing import Protocol

from trading.ports import Job

SWITCHES_MAX = 400_000


class Killed(BaseException):
    """The process died here: nothing in the house may catch this."""


class Restless(BaseException):
    """A run does not come to rest."""


class Owner(Protocol):
    """The process that a task belongs to."""

    alive: bool
    frozen_until: float


class Task:
    """One job of a process, in the shape of a thread."""

    def __init__(self, scheduler: "Scheduler", owner: Owner, name: str, job: Job) -> None:
        self.name = name
        self.owner = owner
        self.job = job
        self.done = False
        self.waiters: list[Task] = []
        self.turn = 0
        self.worker: _Worker | None = None
        self._scheduler = scheduler

    def is_alive(self) -> bool:
        """Whether it has not ended."""
        return not self.done

    def join(self, timeout: float | None = None) -> None:
        """Wait for its end, at most *timeout* seconds of simulated time."""
        self._scheduler.wait_for(self, timeout)


class Scheduler:
    """Simulated time and the queue of those who wait for it. `now` in seconds since the start of the run.

    A task that fails on anything but its death ends the run: `failure` holds what it raised.
    """

    def __init__(self, random: Random) -> None:
        self.now = 0.0
        self.switches = 0
        self.current: Task | None = None
        self.failure: BaseException | None = None
        self._random = random
        self._queue: list[tuple[float, float, int, Task | Job, int]] = []
        self._count = 0
        self._stopping = False
        self._rest = threading.Lock()
        self._rest.acquire()
        self._tasks: dict[int, Task] = {}

    def spawn(self, owner: Owner, name: str, job: Job, at: float | None = None) -> Task:
        """A new task that begins at *at*, now unless told otherwise."""
        task = Task(self, owner, name, job)
        self._tasks[id(task)] = task
        self._push(self.now if at is None else at, task)
        return task

    def at(self, instant: float, event: Job) -> None:
        """Do *event* at *instant*: something that happens to the world, at once and without waiting."""
        self._count += 1
        heappush(self._queue, (instant, self._random.random(), self._count, event, 0))

    def sleep(self, seconds: float) -> None:
        """Let *seconds* pass for the task at hand, while others work. Raises Killed when its process died meanwhile."""
        task = self._present()
        self._require_life(task)
        until = self.now + max(seconds, 0.0)
        if until >= task.owner.frozen_until and (not self._queue or self._queue[0][0] > until):
            # Nobody else has anything to do before.
            self.now = until
            self.switches += 1
        else:
            self._push(until, task)
            self._give_way(task)
        self._require_life(task)

    def wait_for(self, other: Task, timeout: float | None) -> None:
        """Let the task at hand wait until *other* is done, at most *timeout* seconds."""
        task = self._present()
        self._require_life(task)
        if not other.done and (timeout is None or timeout > 0):
            other.waiters.append(task)
            if timeout is not None:
                self._push(self.now + timeout, task)
            self._give_way(task)
            if task in other.waiters:
                other.waiters.remove(task)
        self._require_life(task)

    def kill(self, owner: Owner) -> None:
        """*owner* has died: each of its tasks ends where it stands, before anybody else goes on."""
        owner.alive = False
        for task in self._tasks.values():
            if task.owner is owner and task is not self.current:
                task.turn += 1
                self._count += 1
                heappush(self._queue, (self.now, -1.0, self._count, task, task.turn))

    def run(self, until: float) -> None:
        """Let everything happen up to *until*. Raises what a task or an event failed on."""
        self._stopping = False
        self._count += 1
        heappush(self._queue, (until, 2.0, self._count, self._halt, 0))
        self._pass_on(None)
        if self.failure is not None:
            raise self.failure

    def finish(self) -> None:
        """End every task where it stands; the scheduler is of no further use."""
        self._stopping = True
        self._queue.clear()
        for task in list(self._tasks.values()):
            self._push(self.now, task)
        self._count += 1
        heappush(self._queue, (self.now, 2.0, self._count, self._halt, 0))
        self._pass_on(None)

    def _halt(self) -> None:
        raise _Rest

    def _present(self) -> Task:
        if self.current is None:
            raise AssertionError("only a task sleeps")
        return self.current

    def _require_life(self, task: Task) -> None:
        if self._stopping or not task.owner.alive:
            raise Killed

    def _push(self, at: float, task: Task) -> None:
        task.turn += 1
        self._count += 1
        heappush(self._queue, (at, self._random.random(), self._count, task, task.turn))

    def _give_way(self, task: Task) -> None:
        """Stop here until it is this task's turn."""
        self._pass_on(task)

    def _pass_on(self, own: Task | None) -> None:
        """Find who is next and hand over; come back when it is the turn of *own* again (None: of the one who runs the
        scheduler)."""
        following = self._next()
        if following is own:
            return
        if following is None:
            self._rest.release()
        else:
            self._start(following)
        if own is None:
            self._rest.acquire()
        elif own.worker is not None:
            own.worker.go.acquire()

    def _next(self) -> Task | None:
        """The task whose turn it is, with the time set to it; None when the run is over."""
        while self._queue:
            at, _, _, one, turn = heappop(self._queue)
            if isinstance(one, Task):
                if one.done or turn != one.turn:
                    continue
                if one.owner.alive and at < one.owner.frozen_until and not self._stopping:
                    self._push(one.owner.frozen_until, one)
                    continue
                self.now = max(self.now, at)
                self.switches += 1
                if self.switches > SWITCHES_MAX and not self._stopping:
                    self.failure = self.failure or Restless(f"more than {SWITCHES_MAX} steps")
                    break
                self.current = one
                return one
            self.now = max(self.now, at)
            self.current = None
            try:
                one()
            except _Rest:
                break
            except BaseException as failure:
                self.failure = self.failure or failure
                break
        self.current = None
        return None

    def _start(self, task: Task) -> None:
        if task.worker is None:
            task.worker = _worker()
            task.worker.task = (self, task)
        task.worker.go.release()

    def begin(self, task: Task) -> None:
        """Do the job of *task*, unless its process died before it began."""
        self._require_life(task)
        task.job()

    def ended(self, task: Task) -> None:
        """*task* is done: those who waited for it go on, and whoever is next."""
        task.done = True
        self._tasks.pop(id(task), None)
        for waiter in task.waiters:
            self._push(self.now, waiter)
        task.waiters.clear()

    def hand_on(self) -> None:
        """Let whoever is next go on, without coming back."""
        following = None if self.failure is not None and not self._stopping else self._next()
        if following is None:
            self.current = None
            self._rest.release()
        else:
            self._start(following)


class _Rest(Exception):
    """The run is over for now."""


class _Worker:
    """A thread that lends itself to one task after the other."""

    def __init__(self) -> None:
        self.go = threading.Lock()
        self.go.acquire()
        self.task: tuple[Scheduler, Task] | None = None
        threading.Thread(target=self._work, name="simulated", daemon=True).start()

    def _work(self) -> None:
        while True:
            self.go.acquire()
            if self.task is None:
                raise AssertionError("a worker was woken for nothing")
            scheduler, task = self.task
            try:
                scheduler.begin(task)
            except Killed:
                pass
            except BaseException as failure:  # whatever it is, it belongs to the one who runs the scheduler
                scheduler.failure = scheduler.failure or failure
            scheduler.ended(task)
            self.task = None
            _idle.append(self)
            scheduler.hand_on()


_idle: list[_Worker] = []
# A forked child has none of its parent's threads.
os.register_at_fork(after_in_child=_idle.clear)


def _worker() -> _Worker:
    return _idle.pop() if _idle else _Worker()
