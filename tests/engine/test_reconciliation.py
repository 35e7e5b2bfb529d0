"""The table of what is concluded from book and venue: the same in the code and in the document, every case once."""

import unittest
from decimal import Decimal

from trading.conf import PROJECT_ROOT
from trading.engine.reconciliation import TABLE, Conclusion, conclude


class ReconciliationTests(unittest.TestCase):
    def test_the_document_shows_the_table(self) -> None:
        shown = (PROJECT_ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
        for row in TABLE:
            with self.subTest(row.concluded):
                self.assertIn(f"| {row.book} | {row.venue} | {row.concluded} | {row.done} |", shown)

    def test_every_conclusion_has_one_row(self) -> None:
        self.assertEqual(sorted(Conclusion), sorted(row.concluded for row in TABLE))

    def test_one_reading_agrees_or_is_explained_by_a_doubt_or_has_to_be_confirmed(self) -> None:
        for low, high, held, accepted, expected in (
            ("1", "1", "1", "0", Conclusion.AGREES),
            ("1", "1", "3", "2", Conclusion.AGREES),
            ("1", "2", "1.5", "0", Conclusion.IN_DOUBT),
            ("-2", "-1", "-2", "0", Conclusion.IN_DOUBT),
            ("1", "1", "0", "0", Conclusion.UNCONFIRMED),
            ("1", "1", "-1", "0", Conclusion.UNCONFIRMED),
            ("1", "2", "2.1", "0", Conclusion.UNCONFIRMED),
        ):
            with self.subTest(low=low, high=high, held=held):
                numbers = (Decimal(one) for one in (low, high, held, accepted))
                self.assertIs(expected, conclude(*numbers))
