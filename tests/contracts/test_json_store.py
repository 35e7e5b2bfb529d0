"""The JSON store keeps the promises of every store."""

import tempfile
import unittest
from pathlib import Path

from tests.contracts.store_contract import ACCEPT, BINDING, StoreContract
from trading.ports import Store
from trading.utils.inspection import verify
from trading.utils.json_storage import JsonStore

NAMES = ("venue", "network", "account")


class JsonStoreContract(StoreContract, unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.data_dir = Path(folder.name) / "data"
        self.addCleanup(self.check_the_ledger)

    @property
    def process_script(self) -> str:
        return (
            "from pathlib import Path\n"
            "from trading.domain.desk_state import Binding\n"
            "from trading.utils.json_storage import JsonStore\n"
            f"store = JsonStore(Path({str(self.data_dir)!r}), Binding{tuple(getattr(BINDING, n) for n in NAMES)!r})\n"
            + ACCEPT
        )

    def make_store(self) -> Store:
        store = JsonStore(self.data_dir, BINDING)
        self.addCleanup(store.close)
        return store

    def check_the_ledger(self) -> None:
        """Whatever a test did, the files agree with each other afterwards."""
        report = verify(self.data_dir)
        self.assertEqual((report.problems, report.notes), ((), ()))


if __name__ == "__main__":
    unittest.main()
