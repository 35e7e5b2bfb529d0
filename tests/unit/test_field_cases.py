"""The cases of other desks that docs/reliability.md lists: each is there as a test, and none is forgotten."""

import re
import unittest

from trading.conf import PROJECT_ROOT

CASES = (
    *("C48", "C48b", "C48c", "C48d", "C48e", "C49", "C50", "C51", "C52", "C53", "C54", "C55", "C56", "C58", "C59"),
    *("C60", "C61", "C62", "C63", "C64", "C69", "C70", "C71", "C72", "C73", "C74", "C75", "C76"),
)
"""There is no C57."""
ELSEWHERE = (
    *(f"C{number}" for number in (*range(1, 12), 13, 14, 15, 17, *range(19, 30), 32, 34, 35, 37, 38, 40, 42, 43)),
    *("C45", "C45b", "C45c", "C47", "C66", "C68"),
)
"""Those of schedules, barriers and accounting, which the document names as a whole."""
ROW = re.compile(r"^\| (C\d+[a-z]?) \| `([\w/.]+)` \| \S", re.MULTILINE)


class CasesTest(unittest.TestCase):
    def test_every_case_has_a_row_and_a_test_of_its_number_in_the_file_it_names(self) -> None:
        rows = ROW.findall((PROJECT_ROOT / "docs/reliability.md").read_text(encoding="utf-8"))
        self.assertEqual(CASES, tuple(case for case, _ in rows))
        for case, file in rows:
            with self.subTest(case):
                written = (PROJECT_ROOT / "tests" / file).read_text(encoding="utf-8")
                self.assertRegex(written, rf"def test_{case.lower()}_\w+\(self\)")

    def test_those_named_as_a_whole_have_a_test_each(self) -> None:
        files = ("test_field_twap.py", "test_field_barriers.py")
        written = "".join((PROJECT_ROOT / "tests/unit" / one).read_text(encoding="utf-8") for one in files)
        for case in ELSEWHERE:
            with self.subTest(case):
                self.assertRegex(written, rf"(def test_|_){case.lower()}_|\"{case}\"")


if __name__ == "__main__":
    unittest.main()
