"""The JSON store keeps the promises of every store."""

import tempfile
import unittest
from pathlib import Path

from tests.contracts.store_contract import BINDING, StoreContract
from trading.ports import Store
from trading.utils.json_storage import JsonStore, verify


class JsonStoreContract(StoreContract, unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.data_dir = Path(folder.name) / "data"
        self.addCleanup(self.check_the_ledger)

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
