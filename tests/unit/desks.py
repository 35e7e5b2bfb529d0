"""A desk over a venue of the simulators, with its ledger on disk."""

from tests.engine.scripted_venue import BINDING
from tests.fakes import FakeApprover, FakeCache, FakeSignals
from tests.unit.hyperliquid_world import HyperliquidWorld
from tests.unit.pear_world import PearWorld
from trading.conf import Config
from trading.engine.desk import Desk
from trading.utils.json_storage import JsonStore


def a_desk(world: HyperliquidWorld | PearWorld, signals: FakeSignals, **config: object) -> Desk:
    """One that trades at the venue of *world*, in its folder and by its clock, configured as *config* says."""
    data_dir = world.folder / "data"
    store = JsonStore(data_dir, BINDING)
    world.addCleanup(store.close)
    return Desk(
        config=Config.of(data_dir=data_dir, max_leverage=3, **config),
        venue=world.venue,
        store=store,
        cache=FakeCache(world.clock),
        signals=signals,
        approvals=FakeApprover(clock=world.clock),
        log=world.log,
        clock=world.clock,
    )
