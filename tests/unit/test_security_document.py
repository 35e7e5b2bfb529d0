"""What the documents point at is there: the tests of docs/security.md, and the files that any document names."""

import re
import unittest
from pathlib import Path
from unittest import TestLoader

from trading.conf import PROJECT_ROOT

DOCUMENTS = (PROJECT_ROOT / "README.md", *(PROJECT_ROOT / "docs").glob("*.md"))
_TEST = re.compile(r"`((?:api|engine|servers|unit|contracts|simulation|browser)\.test_[\w.]+)`")
_FILE = re.compile(r"`((?:docs|tests|trading|executor_agent|bench|deploy)/[\w./-]+\.(?:md|py|yml|json))`")


def tests_named(text: str) -> list[str]:
    return [f"tests.{name}" for name in _TEST.findall(text)]


def is_there(name: str) -> bool:
    """Whether *name* is a module, class or method with tests in it."""
    loader = TestLoader()
    try:
        found = loader.loadTestsFromName(name)
    except (ImportError, AttributeError, TypeError):
        return False
    return found.countTestCases() > 0 and not loader.errors


class SecurityTest(unittest.TestCase):
    def test_every_answer_is_shown_by_a_test_that_exists(self) -> None:
        text = (PROJECT_ROOT / "docs" / "security.md").read_text(encoding="utf-8")
        named = tests_named(text)
        self.assertGreater(len(set(named)), 40)
        self.assertEqual([], [name for name in sorted(set(named)) if not is_there(name)])

    def test_every_threat_has_an_answer_and_a_test(self) -> None:
        text = (PROJECT_ROOT / "docs" / "security.md").read_text(encoding="utf-8")
        rows = [
            row.split(" | ") for row in text.splitlines() if row.startswith("| ") and not row.startswith("| threat")
        ]
        self.assertGreater(len(rows), 30)
        for row in rows:
            with self.subTest(row[0]):
                self.assertEqual(3, len(row))
                self.assertTrue(tests_named(row[2]))

    def test_a_test_that_does_not_exist_would_be_noticed(self) -> None:
        for name in (
            "tests.unit.test_nothing",
            "tests.unit.test_documents.Nobody",
            f"{__name__}.SecurityTest.test_none",
        ):
            with self.subTest(name):
                self.assertFalse(is_there(name))
        self.assertTrue(is_there(f"{__name__}.SecurityTest"))


class FilesTest(unittest.TestCase):
    def test_every_file_that_a_document_names_is_there(self) -> None:
        for document in DOCUMENTS:
            for name in _FILE.findall(document.read_text(encoding="utf-8")):
                with self.subTest(f"{document.name}: {name}"):
                    self.assertTrue(Path(PROJECT_ROOT / name).is_file())
