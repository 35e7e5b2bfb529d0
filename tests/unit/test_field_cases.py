"""The cases of other desks that docs/reliability.md lists: each is there as a test, and none is forgotten."""

import re
import unittest

from trading.conf import PROJECT_ROOT

CASES = (
    *("C48", "C48b", "C48c", "C48d", "C48e", "C49", "C50", "C51", "C52", "C53", "C54", "C55", "C56", "C58", "C59"),
    *("C60", "C61", "C62", "C63", "C64", "C69", "C70", "C71", "C72", "C73", "C74", "C75", "C76"),
)
"""There is no C57."""
ROW = re.compile(r"^\| (C\d+[a-z]?) \| `([\w/.]+)` \| \S", re.MULTILINE)


class CasesTest(unittest.TestCase):
    def test_every_case_has_a_row_and_a_test_of_its_number_in_the_file_it_names(self) -> None:
        rows = ROW.findall((PROJECT_ROOT / "docs/reliability.md").read_text(encoding="utf-8"))
        self.assertEqual(CASES, tuple(case for case, _ in rows))
        for case, file in rows:
            with self.subTest(case):
                written = (PROJECT_ROOT / "tests" / file).read_text(encoding="utf-8")
                self.assertRegex(written, rf"def test_{case.lower()}_\w+\(self\)")


if __name__ == "__main__":
    unittest.main()
