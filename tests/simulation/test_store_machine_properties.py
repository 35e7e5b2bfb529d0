"""The store as a state machine that may die at every write and every sync: hypothesis looks for the shortest loss."""

import tempfile
import unittest
from pathlib import Path

try:
    from hypothesis import HealthCheck, settings
    from hypothesis import strategies as st
    from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
except ImportError as error:
    raise unittest.SkipTest("hypothesis is not installed (requirements-dev.txt)") from error

from tests.simulation.disk import Crashed
from tests.simulation.store_crashes import BINDING, Episode
from trading.utils.json_storage import JsonStore

FOLDER = tempfile.TemporaryDirectory()
_STEPS = ("save_trade", "save_watch", "change_state", "roll_over", "write_log")


def tearDownModule() -> None:
    FOLDER.cleanup()


class StoreMachine(RuleBasedStateMachine):
    """One store at a time on one simulated disk; `Episode` knows what was acknowledged."""

    def __init__(self) -> None:
        super().__init__()
        self.episode: Episode | None = None
        self.open_store: JsonStore | None = None

    @initialize(seed=st.integers(0, 1 << 16))
    def begin(self, seed: int) -> None:
        self.episode = Episode(seed, Path(FOLDER.name) / "data")
        self.start_again(power=False)

    @rule(step=st.sampled_from(_STEPS), dies_after=st.none() | st.integers(1, 12), power=st.booleans())
    def live(self, step: str, dies_after: int | None, power: bool) -> None:
        episode, store = self.there()
        episode.disk.crash_at = episode.disk.calls + dies_after if dies_after is not None else None
        try:
            getattr(episode, step)(store)
            episode.disk.crash_at = None
        except Crashed:
            self.start_again(power=power)

    @rule(dies_after=st.integers(1, 25), power=st.booleans())
    def die_while_opening(self, dies_after: int, power: bool) -> None:
        episode, _ = self.there()
        episode.disk.kill()
        episode.disk.crash_at = dies_after
        try:
            JsonStore(episode.data_dir, BINDING, disk=episode.disk).close()
        except Crashed:
            episode.counts["crashes"] += 1
        self.start_again(power=power)

    @precondition(lambda self: self.open_store is not None)
    @rule()
    def look(self) -> None:
        episode, store = self.there()
        episode.check(store)

    def start_again(self, *, power: bool) -> None:
        episode = self.episode
        assert episode is not None
        if power:
            episode.disk.lose_power()
        else:
            episode.disk.kill()
        self.open_store = JsonStore(episode.data_dir, BINDING, disk=episode.disk, roll_bytes=9000)
        episode.check(self.open_store)

    def there(self) -> tuple[Episode, JsonStore]:
        assert self.episode is not None
        assert self.open_store is not None
        return self.episode, self.open_store


StoreMachineTest = StoreMachine.TestCase
# By its own name, so that a test process beside this one can hand it over.
StoreMachineTest.__module__, StoreMachineTest.__qualname__ = __name__, "StoreMachineTest"
StoreMachineTest.settings = settings(
    max_examples=25, stateful_step_count=20, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)


if __name__ == "__main__":
    unittest.main()
