"""What every hour that is played out of turn needs of the world: to look at the desk's state, and to let time pass."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from trading.domain.desk_state import DeskState, TradingState

if TYPE_CHECKING:
    from tests.simulation.world import World

STEP = 1.0


class Hour:
    def __init__(self, world: "World") -> None:
        self.world = world

    def _desk_state(self) -> DeskState | None:
        process = self.world.process("web")
        return process.desk.store.state() if process is not None and process.desk is not None else None

    def _state(self) -> TradingState | None:
        state = self._desk_state()
        return state.state if state is not None else None

    def _until(self, ready: Callable[[], bool], seconds: float) -> bool:
        bound = self.world.scheduler.now + seconds
        while not ready():
            if self.world.scheduler.now >= bound:
                return False
            self._pass(STEP)
        return True

    def _pass(self, seconds: float) -> None:
        self.world.scheduler.run(self.world.scheduler.now + seconds)
