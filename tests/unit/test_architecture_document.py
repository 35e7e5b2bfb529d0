"""docs/architecture.md says where to look: every module has its place there, and no other is named."""

import re
import unittest

from trading.conf import PROJECT_ROOT

PAGE = PROJECT_ROOT / "docs" / "architecture.md"


class MapTest(unittest.TestCase):
    def named(self, folder: str) -> list[str]:
        """The modules in the rows of the table of *folder*."""
        _, table = PAGE.read_text(encoding="utf-8").split(f"| `{folder}/` | |\n")
        return re.findall(r"`(\w+)`", table.split("\n\n")[0])

    def test_every_module_stands_in_the_map_once_and_no_other_does(self) -> None:
        for folder in ("engine", "utils"):
            with self.subTest(folder):
                there = {one.stem for one in (PROJECT_ROOT / "trading" / folder).glob("*.py")} - {"__init__"}
                named = self.named(folder)
                self.assertEqual(sorted(there), sorted(named))
