"""The locks, the imports and the licences of what the service stands on, and that each mistake would be seen."""

import re
import shutil
import tempfile
import unittest
from pathlib import Path
from unittest import mock

from tests import dependencies
from tests.dependencies import LICENCES, LOCKS, ROOT, SOURCES, Locked, is_allowed, lock_in, pins_in, problems


class DependenciesTest(unittest.TestCase):
    def setUp(self) -> None:
        self.root = Path(self.enterContext(tempfile.TemporaryDirectory()))
        (self.root / LICENCES).parent.mkdir()
        for name in (*LOCKS, *LOCKS.values(), str(LICENCES), "manage.py"):
            shutil.copy(ROOT / name, self.root / name)

    def edit(self, name: str, old: str, new: str) -> None:
        path = self.root / name
        text = path.read_text(encoding="utf-8")
        self.assertRegex(text, old)
        path.write_text(re.sub(old, new, text, count=1), encoding="utf-8")

    def test_what_is_committed_is_well(self) -> None:
        self.assertEqual([], problems())

    def test_a_pin_that_the_lock_lacks_is_told(self) -> None:
        for requirements, lock in LOCKS.items():
            with self.subTest(requirements):
                self.edit(requirements, r"(requests|ruff)==", r"\1==9.")
                self.assertIn(
                    f"{lock}: re" if requirements == "requirements.txt" else f"{lock}: ru", problems(self.root)[0]
                )
                self.setUp()

    def test_an_entry_without_a_hash_is_told(self) -> None:
        self.edit(
            "requirements.lock",
            r"(?m)^annotated-types==(\S+) \\\n(    --hash=sha256:\w+( \\)?\n)+",
            r"annotated-types==\1\n",
        )
        self.assertEqual(["requirements.lock: annotated-types has no hash; run `make lock`"], problems(self.root))

    def test_an_import_that_is_not_pinned_by_name_is_told(self) -> None:
        self.edit("manage.py", "import os", "import os, toolz, nowhere, requests.adapters")
        told = problems(self.root)
        self.assertEqual(["nowhere", "toolz"], [line.split()[1] for line in told])

    def test_all_of_our_code_is_looked_through(self) -> None:
        self.assertTrue(all((ROOT / source).exists() for source in SOURCES))
        self.assertLessEqual({"django", "redis", "pydantic", "eth_account"}, dependencies.imported_in(ROOT))

    def test_a_licence_that_is_not_allowed_or_not_listed_is_told(self) -> None:
        with mock.patch.object(dependencies, "licence_of", lambda package: "AGPL-3.0"):
            told = problems(self.root)
        self.assertGreater(len(told), 50)
        self.assertIn("AGPL-3.0", told[0])
        self.assertIn("does not say", told[-1])

    def test_of_alternatives_one_is_enough_and_of_parts_all_count(self) -> None:
        for licence, allowed in (
            ("MIT", True),
            ("MIT OR GPL-3.0", True),
            ("Apache-2.0 AND CNRI-Python", True),
            ("BSD, Public Domain", True),
            ("(MIT OR GPL-2.0) AND BSD-3-Clause", True),
            ("MIT AND GPL-3.0", False),
            ("GPL-3.0-or-later", False),
            ("unknown", False),
            ("", False),
        ):
            with self.subTest(licence):
                self.assertIs(allowed, is_allowed(licence))

    def test_pins_and_locks_are_read_as_pip_reads_them(self) -> None:
        path = self.root / "some"
        path.write_text(
            "# words\n-r other.txt\nA.b_C[x]==1.2; sys_platform == 'linux'\nD==3 \\\n    --hash=sha256:aa \\\n"
            "    --hash=sha256:bb\n",
            encoding="utf-8",
        )
        self.assertEqual({"a-b-c": "1.2", "d": "3"}, pins_in(path))
        self.assertEqual({"a-b-c": Locked("1.2", 0), "d": Locked("3", 2)}, lock_in(path))
